//! Tests layouts that differ from those of `layouts/files` only in names: the same tensors under other names
//! become the same models.

use std::path::PathBuf;

use percept_weights::Checkpoint;
use percept_weights::convert::{Options, plan};
use percept_weights::verify;
use safetensors::tensor::Dtype;
use tempfile::TempDir;

use super::convert::{converted, layout};
use super::faults::{Tensors, saved, tensors};

/// Returns the tensors whose names begin with `begin`, with that part replaced by `to`.
fn renamed<'a>(
    from: &'a Tensors,
    begin: &'a str,
    to: &'a str,
) -> impl Iterator<Item = (String, (Dtype, Vec<usize>, Vec<u8>))> {
    from.iter().filter_map(move |(name, tensor)| Some((format!("{to}{}", name.strip_prefix(begin)?), tensor.clone())))
}

/// Converts a checkpoint and the renamed one, and asserts that both models are equal.
fn assert_same(original: &str, others: &Tensors, parts: usize) {
    let folder = TempDir::new().expect("a folder");
    let convert = |checkpoint: &PathBuf, name: &str| {
        converted(checkpoint, &folder.path().join(name), &Options::default()).expect("models")
    };
    let want = convert(&layout(original), "want.safetensors");
    let got = convert(&saved(&folder, others), "got.safetensors");
    assert_eq!((want.len(), got.len()), (parts, parts), "{original}");
    for ((want, tensors), (got, _)) in want.iter().zip(&got) {
        let comparison = verify::compare(want, got).expect("two files");
        assert!(comparison.different.is_empty(), "{:?}", comparison.different);
        assert_eq!(comparison.compared.len(), tensors.len());
        assert!(comparison.compared.iter().all(|(_, error, _)| *error == 0.0));
    }
}

/// Barlow Twins in its authors' format: the layers of the projector are numbered consecutively.
#[test]
fn barlow_twins_by_its_authors() {
    let vissl = tensors("vissl_barlow.torch");
    let root = "classy_state_dict.base_model.model.";
    let mut others: Tensors =
        renamed(&vissl, &format!("{root}trunk._feature_blocks."), "model.module.backbone.").collect();
    for (from, to) in
        [("0.clf.0.", "0."), ("0.clf.1.", "1."), ("1.clf.0.", "3."), ("1.clf.1.", "4."), ("2.clf.0.", "6.")]
    {
        others.extend(renamed(&vissl, &format!("{root}heads.{from}"), &format!("model.module.projector.{to}")));
    }
    // The authors also save a norm of the loss, which is not part of the model.
    others.insert("model.module.bn.running_mean".into(), (Dtype::F32, vec![1], vec![0; 4]));
    assert_same("vissl_barlow.torch", &others, 2);
}

/// SwAV stores its head and its prototypes next to the trunk's layers.
#[test]
fn swav() {
    let (resnet, head) = (tensors("torchvision_resnet50.pth"), tensors("swav_head.pth"));
    let mut others: Tensors = renamed(&resnet, "", "module.").collect();
    others.retain(|name, _| !name.contains(".fc."));
    others.extend(renamed(&head, "", "module.projection_head."));
    others.insert("module.prototypes.weight".into(), (Dtype::F32, vec![2, 16], vec![0; 128]));
    let folder = TempDir::new().expect("a folder");
    let checkpoint = Checkpoint::open(&saved(&folder, &others)).expect("a checkpoint");
    let (conversions, unused) = plan(&checkpoint, &Options::default()).expect("a plan");
    let found: Vec<_> = conversions.iter().map(|plan| (plan.model.kind.name(), plan.matched.len())).collect();
    assert_eq!(found, [("resnet", 265), ("head", 8)]);
    assert!(conversions.iter().all(|plan| plan.faults.is_none()));
    assert_eq!(conversions[1].config.json, r#"{"dims":[32,32,16],"head":"swav"}"#);
    assert_eq!(unused, ["module.prototypes.weight"]);
}

/// Prefixes that training scripts add to a model's names.
#[test]
fn nests() {
    let resnet = tensors("torchvision_resnet50.pth");
    for nest in ["state_dict.", "model.", "module.", "state_dict.module.", "_orig_mod.", "model_ema."] {
        assert_same("torchvision_resnet50.pth", &renamed(&resnet, "", nest).collect(), 1);
    }
}

/// DINOv2 keeps its blocks in chunks; a block has the same number as without chunks.
#[test]
fn blocks_in_chunks() {
    let plain = tensors("dinov2_vits14_reg.pth");
    let mut others = plain.clone();
    others.retain(|name, _| !name.starts_with("blocks."));
    for (block, chunk) in [(0, 0), (1, 1)] {
        others.extend(renamed(&plain, &format!("blocks.{block}."), &format!("blocks.{chunk}.{block}.")));
    }
    assert_eq!(plain.len(), others.len());
    assert_same("dinov2_vits14_reg.pth", &others, 1);
}

/// The downward half of a UNet without a pooling is not a classifier.
#[test]
fn a_classifier_without_its_end() {
    let unet = tensors("adm_classcond.pt");
    let mut others = unet.clone();
    others.retain(|name, _| !name.starts_with("output_blocks.") && !name.starts_with("out."));
    let folder = TempDir::new().expect("a folder");
    let checkpoint = Checkpoint::open(&saved(&folder, &others)).expect("a checkpoint");
    let told = plan(&checkpoint, &Options::default()).map(|_| ()).expect_err("no model").to_string();
    assert!(told.contains("the last layer of a classifier"), "{told}");
}
