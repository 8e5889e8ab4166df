//! Tests faulty checkpoints: every fault is named, and nothing is written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use percept_weights::Checkpoint;
use percept_weights::convert::{Options, plan};
use percept_weights::rounding::Float;
use percept_weights::verify;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::convert::{converted, layout, with};

/// The tensors of a checkpoint, which tests change.
pub type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

pub fn tensors(name: &str) -> Tensors {
    let checkpoint = Checkpoint::open(&layout(name)).expect("a checkpoint");
    let content = |tensor: &percept_weights::checkpoint::Tensor| {
        let bytes = tensor.read().expect("elements").into_owned();
        (tensor.name().to_string(), (tensor.dtype(), tensor.shape().to_vec(), bytes))
    };
    checkpoint.tensors().iter().map(content).collect()
}

pub fn saved(folder: &TempDir, tensors: &Tensors) -> PathBuf {
    let path = folder.path().join("changed.safetensors");
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor")));
    let file = safetensors::serialize(views, None).expect("tensors");
    std::fs::write(&path, file).expect("a file");
    path
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Returns the error of planning or converting a changed checkpoint.
fn error(path: &Path, options: &Options) -> String {
    let out = path.with_file_name("out.safetensors");
    let error = converted(path, &out, options).expect_err("an error");
    assert!(!out.exists(), "{error}");
    error.to_string()
}

#[test]
fn missing_misshaped_and_unexpected_are_named() {
    let mut changed = tensors("dino_resnet50_full.pth");
    let place = "teacher.module.backbone.";
    let lost = changed.remove(&format!("{place}layer2.1.conv2.weight")).expect("a tensor");
    changed.insert(format!("{place}layer2.1.konv2.weight"), lost);
    changed.insert(format!("{place}layer3.0.bn1.bias"), (Dtype::F32, vec![3], floats(&[0.0; 3])));
    changed.insert("teacher.module.head.mlp.9.bias".into(), (Dtype::F32, vec![1], floats(&[0.0])));
    let folder = TempDir::new().expect("a folder");
    let checkpoint = Checkpoint::open(&saved(&folder, &changed)).expect("a checkpoint");
    let (conversions, unused) = plan(&checkpoint, &Options::default()).expect("a plan");
    let faults = conversions[0].faults.as_ref().expect("faults of the trunk");
    assert_eq!(faults.missing, [("layer2.1.conv2.weight".into(), Some("layer2.1.konv2.weight".into()))]);
    assert_eq!(faults.misshaped.len(), 1);
    assert_eq!(
        (faults.misshaped[0].at.as_str(), faults.misshaped[0].got.as_str()),
        ("layer3.0.bn1.bias", "[3]"),
        "{faults:?}"
    );
    assert_eq!(faults.unexpected, ["layer2.1.konv2.weight"]);
    assert_eq!(conversions[0].matched.len(), 263);
    let faults = conversions[1].faults.as_ref().expect("faults of the head");
    assert_eq!(faults.unexpected, ["mlp.9.bias"]);
    assert!(faults.missing.is_empty() && faults.misshaped.is_empty());
    assert!(unused.iter().all(|name| !name.starts_with("teacher")), "{unused:?}");
}

/// All tensors with NaN, infinities, or values that half precision cannot hold are named, and no file is left.
#[test]
fn what_is_not_finite_is_named() {
    let mut changed = tensors("simclr_head.pth");
    let folder = TempDir::new().expect("a folder");
    let simclr = with(json!({"head": "simclr"}));
    let plant = |changed: &mut Tensors, name: &str, value: f32| {
        changed.get_mut(name).expect("a tensor").2[4..8].copy_from_slice(&value.to_le_bytes());
    };
    plant(&mut changed, "mlp.0.weight", 70_000.0);
    converted(&saved(&folder, &changed), &folder.path().join("fits.safetensors"), &simclr).expect("a model in f32");
    let half = Options { dtype: Some(Float::F16), ..simclr.clone() };
    let told = error(&saved(&folder, &changed), &half);
    assert!(told.contains("mlp.0.weight: 1 elements too large for f16, up to 7.000e4"), "{told}");
    plant(&mut changed, "mlp.2.bias", f32::NAN);
    plant(&mut changed, "mlp.2.weight", f32::NEG_INFINITY);
    let told = error(&saved(&folder, &changed), &simclr);
    assert!(told.contains("mlp.2.bias: 1 elements that are NaN or infinite"), "{told}");
    assert!(told.contains("mlp.2.weight: 1 elements that are NaN or infinite"), "{told}");
}

/// An infinity that both files have does not hide other differences, and NaN differs from everything.
#[test]
fn what_differs_beside_an_infinity_is_told() {
    let compared = |a: [f32; 3], b: [f32; 3]| {
        let (first, second) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
        let file = |folder, values: [f32; 3]| {
            saved(folder, &BTreeMap::from([("w".to_string(), (Dtype::F32, vec![3], floats(&values)))]))
        };
        let comparison = verify::compare(&file(&first, a), &file(&second, b)).expect("two files");
        (comparison.compared[0].1, comparison.compared[0].2)
    };
    assert_eq!(compared([f32::INFINITY, 3.0, 4.0], [f32::INFINITY, 3.0, 4.5]), (0.1, 0.5));
    assert_eq!(compared([f32::INFINITY, 3.0, 4.0], [f32::INFINITY, 3.0, 4.0]), (0.0, 0.0));
    for other in [f32::NEG_INFINITY, f32::NAN, 1.0] {
        assert_eq!(compared([f32::INFINITY, 3.0, 4.0], [other, 3.0, 4.0]), (f64::INFINITY, f64::INFINITY));
    }
    assert_eq!(compared([f32::NAN, 3.0, 4.0], [f32::NAN, 3.0, 4.5]), (f64::INFINITY, f64::INFINITY));
}

/// `verify` names a tensor whose hash is missing or differs.
#[test]
fn tensors_without_their_hash_are_named() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("head.safetensors");
    converted(&layout("simclr_head.pth"), &path, &with(json!({"head": "simclr"}))).expect("a model");
    let file = std::fs::read(&path).expect("a file");
    let (length, rest) = file.split_at(8);
    let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize);
    let header: Value = serde_json::from_slice(header).expect("JSON");
    // Changes the hashes in the header and verifies the file.
    let verified = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let mut header = header.clone();
        let hashes = &mut header["__metadata__"]["percept.sha256"];
        let mut changed = serde_json::from_str(hashes.as_str().expect("text")).expect("an object");
        change(&mut changed);
        *hashes = Value::Object(changed).to_string().into();
        let header = header.to_string();
        let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat();
        std::fs::write(&path, file).expect("a file");
        verify::file(&path).map(|verified| verified.hashed).map_err(|error| error.to_string())
    };
    assert_eq!(verified(&|_| ()), Ok(4));
    let error = verified(&|hashes| drop(hashes.remove("mlp.2.weight"))).expect_err("a tensor without a hash");
    assert!(error.contains("none of mlp.2.weight"), "{error}");
    let error = verified(&|hashes| hashes["mlp.2.weight"] = hashes["mlp.0.weight"].clone()).expect_err("another hash");
    assert!(error.contains("mlp.2.weight: expected bytes of SHA-256"), "{error}");
    // Other tools write no hashes.
    assert_eq!(verified(&serde_json::Map::clear), Ok(0));
}

#[test]
fn a_file_without_a_model_is_told_what_it_seems_to_be() {
    let told = error_of(&layout("opt.pt"), &Options::default());
    assert!(told.contains("the state of an optimizer"), "{told}");
    let told = error_of(&super::file("plain.safetensors"), &Options::default());
    assert!(told.contains("17 tensors such as optimizer.state.0.exp_avg"), "{told}");
}

fn error_of(path: &Path, options: &Options) -> String {
    let checkpoint = Checkpoint::open(path).expect("a checkpoint");
    match plan(&checkpoint, options) {
        Err(error) => error.to_string(),
        Ok((conversions, _)) => panic!("{} models", conversions.len()),
    }
}

/// Flags that the weights do not determine must be given, and flags must not contradict the weights.
#[test]
fn flags() {
    let rcdm = layout("rcdm_time_embedding.pt");
    for (flags, expected) in [
        (json!({}), "image_size, num_heads or num_head_channels: the weights do not tell"),
        (json!({"image_size": 32}), "expected num_heads or num_head_channels: the weights do not tell"),
        (
            json!({"image_size": 32, "num_heads": 4, "num_channels": 64}),
            "num_channels: expected 32, as the weights have it, got 64",
        ),
        (
            json!({"image_size": 32, "num_heads": 4, "channel_mult": "1,2,1"}),
            r#"channel_mult: expected "1,1,1", as the weights have it, got "1,2,1""#,
        ),
        (
            json!({"image_size": 32, "num_heads": 4, "attention_resolutions": "32,16"}),
            r#"attention_resolutions: expected "16,8", as the weights have it, got "32,16""#,
        ),
        (json!({"image_size": 32, "num_heads": 4, "num_hats": 1}), "--config: num_hats: expected one of image_size"),
        (json!({"image_size": 32, "num_heads": 7}), "num_heads: expected a divisor of 32 channels"),
        (json!({"image_size": 33, "num_heads": 4}), "image_size: expected a multiple of 4"),
        (json!({"image_size": "big", "num_heads": 4}), "a JSON object of the model's flags"),
    ] {
        let told = error_of(&rcdm, &with(flags.clone()));
        assert!(told.contains(expected), "{flags}: {told}");
    }
    let mut preset = Options::default();
    preset.given.preset = Some("rcdm-128".into());
    let told = error_of(&rcdm, &preset);
    assert!(told.contains("as the weights have it"), "{told}");
    preset.given.preset = Some("rcdm-129".into());
    let told = error_of(&rcdm, &preset);
    assert!(told.contains("--preset: expected one of rcdm-128, adm-64"), "{told}");
    preset.given.preset = Some("rcdm-128".into());
    let told = error_of(&layout("torchvision_resnet50.pth"), &preset);
    assert!(told.contains("--preset: expected none for a resnet"), "{told}");

    let told = error_of(&layout("simclr_head.pth"), &Options::default());
    assert!(told.contains("\"dino\" (GELU) or \"simclr\" (ReLU)"), "{told}");
    let told = error_of(&layout("torchvision_resnet50.pth"), &with(json!({"width": 5})));
    assert!(told.contains("width: expected 4, as the weights have it, got 5"), "{told}");
    // Flags of training are accepted, because people pass the flags that they trained with.
    let trained =
        json!({"image_size": 32, "num_heads": 4, "dropout": 0.1, "use_fp16": true, "timestep_respacing": "100"});
    let checkpoint = Checkpoint::open(&rcdm).expect("a checkpoint");
    assert!(plan(&checkpoint, &with(trained)).is_ok());
}

/// guided-diffusion has no flag for the number of classes, so `num_classes` 0 takes the number from the
/// weights.
#[test]
fn zero_classes_take_the_number_of_the_weights() {
    let path = layout("adm_classcond.pt");
    let checkpoint = Checkpoint::open(&path).expect("a checkpoint");
    let flags = |classes: Option<usize>| {
        let mut flags = json!({"image_size": 32, "num_head_channels": 16, "use_new_attention_order": true});
        classes.inspect(|&classes| flags["num_classes"] = classes.into());
        with(flags)
    };
    let config = |classes| {
        let (conversions, _) = plan(&checkpoint, &flags(classes)).expect("a plan");
        conversions[0].config.json.clone()
    };
    let told: Value = serde_json::from_str(&config(None)).expect("JSON");
    let classes = told["num_classes"].as_u64().expect("a number") as usize;
    assert!(classes > 0);
    for given in [0, classes] {
        assert_eq!(config(Some(given)), config(None), "{given}");
    }
    let error = error_of(&path, &flags(Some(classes + 1)));
    assert!(error.contains(&format!("num_classes: expected {classes}, as the weights have it")), "{error}");
}
