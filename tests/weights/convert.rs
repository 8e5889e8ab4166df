//! Tests that checkpoints of every layout, written by PyTorch, become models that compute the same as PyTorch.

use std::path::{Path, PathBuf};

use percept::Device;
use percept::check;
use percept::weights::OpenModel;
use percept_weights::Checkpoint;
use percept_weights::convert::{Converted, Options, Source, paths, plan, write};
use percept_weights::hyperparameters::Given;
use percept_weights::layouts::Part;
use percept_weights::rounding::Float;
use percept_weights::{report, verify};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::faults::{saved, tensors};

/// Returns the path of a checkpoint of `layouts/make_layouts.py`.
pub fn layout(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/layouts/files").join(name)
}

/// Returns options with flags.
pub fn with(flags: Value) -> Options {
    let flags = flags.as_object().cloned().unwrap_or_default();
    Options { given: Given { preset: None, flags }, ..Options::default() }
}

/// Converts a checkpoint into a folder.
pub fn converted(checkpoint: &Path, out: &Path, options: &Options) -> percept::Result<Vec<(PathBuf, Vec<Converted>)>> {
    let (conversions, _) = plan(&Checkpoint::open(checkpoint)?, options)?;
    let paths = paths(&conversions, out);
    for conversion in &conversions {
        assert!(conversion.faults.is_none(), "{}", report::planned(conversion));
    }
    let pairs: Vec<_> = conversions.iter().zip(paths.clone()).collect();
    let source = Source::new(&[], &conversions);
    let tensors = write(&pairs, &source, options.license.as_deref(), &|_| (), &report::refuse_not_finite)?;
    Ok(paths.into_iter().zip(tensors).collect())
}

/// Returns the largest error of a golden of `layouts/` with the model in a folder.
fn check(golden: &str, folder: &TempDir) -> f64 {
    check_with(golden, folder, "", "")
}

/// Does the same after replacing `from` by `to` in the golden's header.
fn check_with(golden: &str, folder: &TempDir, from: &str, to: &str) -> f64 {
    let path = folder.path().join(golden);
    let bytes = std::fs::read(layout(golden)).expect("a file");
    let (header, data) = bytes[8..].split_at(u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize);
    let header = String::from_utf8(header.to_vec()).expect("JSON");
    // Quotes are escaped within a JSON string.
    let escaped = |text: &str| text.replace('"', "\\\"");
    let header = if from.is_empty() { header } else { header.replace(&escaped(from), &escaped(to)) };
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(&path, [&length[..], header.as_bytes(), data].concat()).expect("a file");
    let report = check::check(&path, &Device::cpu().expect("a CPU"), &check::Options::default());
    let report = report.unwrap_or_else(|error| panic!("{golden}: {error}"));
    assert!(!report.tensors.is_empty(), "{golden}");
    let errors = report.tensors.iter().map(|tensor| tensor.error);
    // NaN is the largest error, whatever follows it.
    errors.fold(0.0, |worst: f64, error| if worst.is_nan() || error <= worst { worst } else { error })
}

/// Returns each checkpoint, the flags that its weights do not determine, and its parts.
fn layouts() -> Vec<(&'static str, Value, &'static [&'static str])> {
    const BOTH: &[&str] = &["trunk", "head"];
    vec![
        ("torchvision_resnet50.pth", json!({}), &["trunk"]),
        ("torchvision_resnet18_legacy.pth", json!({}), &["trunk"]),
        ("dino_resnet50_full.pth", json!({}), BOTH),
        ("vicreg_resnet50_full.pth", json!({}), BOTH),
        ("vissl_barlow.torch", json!({}), BOTH),
        ("vissl_simclr.torch", json!({}), BOTH),
        ("dino_vit_small16.pth", json!({}), &["trunk"]),
        // The first entry of its archive's directory has 76 bytes, and so has the part after the directory: see
        // Cargo.toml on `zip`.
        ("dino_vit_small16_full.pth", json!({}), BOTH),
        ("timm_vit.safetensors", json!({}), &["trunk"]),
        ("dinov2_vits14_reg.pth", json!({"pos_embed": "dino"}), &["trunk"]),
        ("rcdm_time_embedding.pt", json!({"image_size": 32, "num_heads": 4}), &["unet"]),
        ("rcdm_cbn_sn.pt", json!({"image_size": 32, "num_heads": 4}), &["unet"]),
        (
            "adm_classcond.pt",
            json!({"image_size": 32, "num_head_channels": 16, "use_new_attention_order": true}),
            &["unet"],
        ),
        ("simclr_head.pth", json!({"head": "simclr"}), &["head"]),
        ("swav_head.pth", json!({"head": "swav"}), &["head"]),
        ("byol_head.pth", json!({}), &["head"]),
    ]
}

#[test]
fn every_layout_runs_to_pytorchs_output() {
    for (name, flags, parts) in layouts() {
        let folder = TempDir::new().expect("a folder");
        let (stem, _) = name.rsplit_once('.').expect("an ending");
        let out = if parts == ["head"] { format!("{stem}.head.safetensors") } else { format!("{stem}.safetensors") };
        let written = converted(&layout(name), &folder.path().join(out), &with(flags));
        let written = written.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(written.len(), parts.len(), "{name}");
        for (part, (path, _)) in parts.iter().zip(written) {
            let golden = format!("{stem}.{part}.golden.safetensors");
            let error = check(&golden, &folder);
            assert!(error <= check::FORWARD_BOUND, "{golden}: {error:.2e}");
            assert_same_config(&golden, &path);
            // The file is complete, has hashes, and gives finite results on noise.
            let verified = verify::file(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(verified.hashed, verified.tensors, "{name}");
        }
    }
}

/// The configuration that follows from names and shapes is that of PyTorch's model.
fn assert_same_config(golden: &str, model: &Path) {
    let read = |path: &Path, key: &str| -> Value {
        let file = OpenModel::open(path).expect("a file");
        serde_json::from_str(file.required_metadata(key).expect("a configuration")).expect("JSON")
    };
    let (want, got) = (read(&layout(golden), "config"), read(model, "percept.config"));
    let (want, got) = (want.as_object().expect("an object"), got.as_object().expect("an object"));
    // A model file has no flags of training and of sampling, and none that follow from the names of tensors.
    let foreign = ["dropout", "use_checkpoint", "use_fp16", "use_kl", "rescale_learned_sigmas", "timestep_respacing"];
    for (flag, want) in want.iter().filter(|(flag, _)| !foreign.contains(&flag.as_str()) && *flag != "use_bn") {
        let flag = if flag == "native_image" { "image" } else { flag };
        let got = got.get(flag).unwrap_or(&Value::Null);
        let is_default = (flag == "ln_eps" || flag == "arch") && got.is_null();
        // Sizes that no feature map has do not matter.
        let is_same_attention = flag == "attention_resolutions" && {
            let finest: Vec<&str> = want.as_str().expect("sizes").split(',').collect();
            finest.starts_with(&got.as_str().expect("sizes").split(',').collect::<Vec<_>>())
        };
        assert!(got == want || is_default || is_same_attention, "{golden}: {flag} is {want}, got {got}");
    }
}

/// The converter folds norms as percept does when it loads: fewer tensors, the same function.
#[test]
fn folded() {
    for (name, flags, parts) in layouts() {
        let folder = TempDir::new().expect("a folder");
        let (stem, _) = name.rsplit_once('.').expect("an ending");
        let out = if parts == ["head"] { format!("{stem}.head.safetensors") } else { format!("{stem}.safetensors") };
        let options = Options { fold: true, ..with(flags) };
        let written = converted(&layout(name), &folder.path().join(out), &options);
        let written = written.unwrap_or_else(|error| panic!("{name}: {error}"));
        for (part, (_, tensors)) in parts.iter().zip(written) {
            let norms = ["running_var", "u0"];
            let left = tensors.iter().filter(|one| norms.iter().any(|leaf| one.name.ends_with(leaf)));
            assert_eq!(left.count(), 0, "{name}");
            let golden = format!("{stem}.{part}.golden.safetensors");
            // The golden's configuration is that of the file, except for the folded norm.
            let error = check_with(&golden, &folder, "\"spectral_norm\": true", "\"spectral_norm\": false");
            assert!(error <= check::FORWARD_BOUND, "{golden}: {error:.2e}");
        }
    }
}

/// The legacy stream holds the same models.
#[test]
fn both_containers_become_the_same_models() {
    for (name, legacy, flags) in [
        ("dino_resnet50_full.pth", "dino_resnet50_full_legacy.pth", json!({})),
        ("vissl_simclr.torch", "vissl_simclr_legacy.torch", json!({})),
        ("rcdm_time_embedding.pt", "rcdm_time_embedding_legacy.pt", json!({"image_size": 32, "num_heads": 4})),
    ] {
        let folder = TempDir::new().expect("a folder");
        let (zip, stream) = (folder.path().join("zip.safetensors"), folder.path().join("stream.safetensors"));
        let zip = converted(&layout(name), &zip, &with(flags.clone())).expect("models");
        let stream = converted(&layout(legacy), &stream, &with(flags)).expect("models");
        assert_eq!(zip.len(), stream.len());
        for ((zip, _), (stream, _)) in zip.iter().zip(&stream) {
            assert_eq!(std::fs::read(zip).expect("a file"), std::fs::read(stream).expect("a file"), "{name}");
        }
    }
}

/// Compares a model file with the checkpoint that it was made from: the same tensors under other names.
#[test]
fn a_model_file_holds_what_the_checkpoint_held() {
    let folder = TempDir::new().expect("a folder");
    let out = folder.path().join("model.safetensors");
    let checkpoint = layout("vissl_barlow.torch");
    let written = converted(&checkpoint, &out, &Options::default()).expect("models");
    for ((path, tensors), count) in written.iter().zip([265, 11]) {
        let comparison = verify::compare(&checkpoint, path).expect("two files");
        assert_eq!((comparison.compared.len(), tensors.len()), (count, count));
        assert!(comparison.different.is_empty(), "{:?}", comparison.different);
        assert!(comparison.compared.iter().all(|(_, relative, largest)| (*relative, *largest) == (0.0, 0.0)));
    }
    // A file of another model differs.
    let other = verify::compare(&written[0].0, &written[1].0).expect("two files");
    assert!(other.compared.is_empty() && other.different.len() == 276, "{:?}", other.different);
}

#[test]
fn a_part_alone() {
    let folder = TempDir::new().expect("a folder");
    let out = folder.path().join("model.safetensors");
    let only = |part| Options { part: Some(part), ..Options::default() };
    let written = converted(&layout("dino_resnet50_full.pth"), &out, &only(Part::Head)).expect("a head");
    assert!(written.len() == 1 && written[0].0 == out, "{:?}", written[0].0);
    assert_eq!(OpenModel::open(&out).expect("a file").metadata("percept.kind"), Some("head"));
    let error = converted(&layout("dino_resnet50_full.pth"), &out, &only(Part::Decoder)).expect_err("no decoder");
    assert!(
        error.to_string().contains("expected a checkpoint with a decoder, got one with a trunk and a head"),
        "{error}"
    );
}

/// Rounding errors are reported, and are small compared with the bounds of half precision. Vectors are not
/// rounded.
#[test]
fn other_types() {
    let folder = TempDir::new().expect("a folder");
    let out = folder.path().join("torchvision_resnet18_legacy.safetensors");
    let golden = "torchvision_resnet18_legacy.trunk.golden.safetensors";
    for (float, bound, largest) in [(Float::F16, 1e-2, 2.0f64.powi(-12)), (Float::Bf16, 1e-1, 2.0f64.powi(-9))] {
        let options = Options { dtype: Some(float), ..Options::default() };
        let written = converted(&layout("torchvision_resnet18_legacy.pth"), &out, &options).expect("a model");
        let error = check(golden, &folder);
        assert!(error > check::FORWARD_BOUND && error <= bound, "{float:?}: {error:.2e}");
        let mut rounded = 0;
        for one in &written[0].1 {
            let is_vector = one.float == Float::F32;
            assert_eq!(is_vector, one.rounding.largest_error == 0.0, "{}", one.name);
            // Half a unit in the last place of the largest element.
            let unit = 2.0f64.powi(one.rounding.largest.log2().ceil() as i32);
            assert!(one.rounding.largest_error <= largest * unit, "{one:?}");
            assert_eq!(one.rounding.overflows, 0);
            rounded += usize::from(!is_vector);
        }
        // 20 convolutions and the classes.
        assert_eq!(rounded, 21);
        assert_wide_elements_come_first(&out);
    }
}

/// Tensors of f32 precede those of f16, so every tensor is aligned to its element size.
fn assert_wide_elements_come_first(path: &Path) {
    let bytes = std::fs::read(path).expect("a file");
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("a header");
    let mut tensors: Vec<_> = header.tensors().into_values().collect();
    tensors.sort_by_key(|tensor| tensor.data_offsets);
    let widths: Vec<usize> = tensors.iter().map(|tensor| tensor.dtype.bitsize() / 8).collect();
    assert!(widths.contains(&4) && widths.contains(&2), "{widths:?}");
    assert!(widths.is_sorted_by(|a, b| a >= b), "{widths:?}");
}

/// Rounding errors of f64 tensors are those of the f64 values, not of their nearest f32.
#[test]
fn rounding_is_measured_from_the_checkpoints_numbers() {
    let folder = TempDir::new().expect("a folder");
    let mut changed = tensors("simclr_head.pth");
    let (dtype, shape, bytes) = changed.get_mut("mlp.0.weight").expect("a tensor");
    // All types round 4 + 2^-23 to 4. The other elements are 0, which no type rounds.
    let lost = 2.0f64.powi(-23);
    let mut values = vec![0.0; shape.iter().product()];
    values[0] = 4.0 + lost;
    (*dtype, *bytes) = (safetensors::Dtype::F64, values.into_iter().flat_map(f64::to_le_bytes).collect());
    let path = saved(&folder, &changed);
    for float in [None, Some(Float::F32), Some(Float::F16), Some(Float::Bf16)] {
        let options = Options { dtype: float, ..with(json!({"head": "simclr"})) };
        let written = converted(&path, &folder.path().join("out.safetensors"), &options).expect("a model");
        let tensor = written[0].1.iter().find(|tensor| tensor.name == "mlp.0.weight").expect("a tensor");
        assert_eq!((tensor.rounding.largest_error, tensor.rounding.largest), (lost, 4.0 + lost), "{float:?}");
    }
}

/// One `--config` can describe an encoder and its head: each takes its own flags.
#[test]
fn an_encoder_and_a_head_share_a_configuration() {
    let configs = |flags: Value| -> Vec<String> {
        let checkpoint = Checkpoint::open(&layout("dino_resnet50_full.pth")).expect("a checkpoint");
        let (conversions, _) = plan(&checkpoint, &with(flags)).expect("a plan");
        conversions.into_iter().map(|conversion| conversion.config.json).collect()
    };
    let told = configs(json!({}));
    assert_eq!(told.len(), 2);
    let flags: Vec<Value> = told.iter().map(|json| serde_json::from_str(json).expect("JSON")).collect();
    let (trunk, head) = (flags[0].as_object().expect("flags"), flags[1].as_object().expect("flags"));
    let both: serde_json::Map<String, Value> = trunk.clone().into_iter().chain(head.clone()).collect();
    assert!(both.contains_key("head") && both.len() > head.len(), "{both:?}");
    assert_eq!(configs(Value::Object(both)), told);
}

/// The metadata names the source of the model, and other tools can open the file.
#[test]
fn metadata() {
    let folder = TempDir::new().expect("a folder");
    let out = folder.path().join("model.safetensors");
    let options = Options { license: Some("CC-BY-NC-4.0".into()), image_size: Some(64), ..Options::default() };
    converted(&layout("torchvision_resnet50.pth"), &out, &options).expect("a model");
    let bytes = std::fs::read(&out).expect("a file");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("a .safetensors file");
    assert_eq!(file.len(), 267);
    let model = OpenModel::open(&out).expect("a model");
    let value = |key: &str| model.metadata(key).unwrap_or_else(|| panic!("{key}")).to_string();
    assert_eq!(value("percept.kind"), "resnet");
    assert_eq!(value("percept.license"), "CC-BY-NC-4.0");
    assert_eq!(value("percept.preprocessing"), r#"{"preset":"rcdm","size":64}"#);
    assert_eq!(value("percept.version"), env!("CARGO_PKG_VERSION"));
    // Elements are aligned for programs that map the file.
    assert_eq!((bytes.len() - file.tensors().iter().map(|(_, view)| view.data().len()).sum::<usize>()) % 8, 0);
    // Converting again gives the same model.
    let again = folder.path().join("again.safetensors");
    converted(&out, &again, &options).expect("a model");
    let comparison = verify::compare(&out, &again).expect("two files");
    assert!(comparison.different.is_empty() && comparison.compared.iter().all(|(_, error, _)| *error == 0.0));
}
