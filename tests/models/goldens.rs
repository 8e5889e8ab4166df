//! Tests every golden file on the fast CPU path, and the small ones on the twins.

use std::path::{Path, PathBuf};

use percept::Device;
use percept::Precision;
use percept::check::{Options, Report, check};
use safetensors::SafeTensors;
use serde_json::{Value, json};

/// Returns the goldens of a folder, in order.
fn goldens(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder's entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "safetensors"));
    files.sort();
    files
}

fn assert_passes(device: &Device, file: &Path) -> Report {
    let report = check(file, device, &Options::default()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    for tensor in &report.tensors {
        println!("{} {} {:.1e} (bound {:.0e})", file.display(), tensor.name, tensor.error, tensor.bound);
    }
    assert!(report.passed(), "{report:#?}");
    report
}

#[test]
fn goldens_pass_on_the_cpu() {
    let device = Device::cpu().expect("a CPU");
    let files = goldens("goldens");
    assert!(files.len() >= 41, "goldens are missing: {files:?}");
    for file in files {
        assert_passes(&device, &file);
    }
}

/// Tests whole runs of the trained demo models, and their encoder and head.
#[test]
fn demo_goldens_pass_on_the_cpu() {
    let device = Device::cpu().expect("a CPU");
    let files = goldens("../examples/assets/goldens");
    assert!(files.len() >= 5, "goldens are missing: {files:?}");
    for file in files {
        assert_passes(&device, &file);
    }
}

#[test]
fn small_goldens_pass_by_the_twins() {
    let small = [
        "head_",
        "unet_",
        "superres_",
        "classifier_",
        "resnet18",
        "vit_",
        "dinov2_",
        "sampler_ddim_reverse",
        "sampler_ddim_predict",
        "sampler_unclipped",
        "sampler_cosine",
        "sampler_rescaled",
    ];
    let name = |file: &PathBuf| file.file_name().expect("a file's name").to_string_lossy().into_owned();
    let is_small = |file: &PathBuf| small.iter().any(|start| name(file).starts_with(start));
    let files: Vec<PathBuf> = goldens("goldens").into_iter().filter(is_small).collect();
    assert!(files.len() >= 25, "goldens are missing: {files:?}");
    // The reference device uses one thread, and this is the slowest test of the program.
    std::thread::scope(|scope| {
        for first in 0..2 {
            let files = files.iter().skip(first).step_by(2);
            scope.spawn(|| {
                for file in files {
                    assert_passes(&Device::reference(), file);
                }
            });
        }
    });
}

/// Returns the goldens of networks, which are run in half precision as well.
fn networks() -> Vec<PathBuf> {
    let runs = ["sampler_", "schedules", "preprocess_"];
    goldens("goldens").into_iter().filter(|file| !runs.iter().any(|run| file.to_string_lossy().contains(run))).collect()
}

#[test]
fn networks_pass_in_half_precision() {
    let cpu = Device::cpu().expect("a CPU").with_precision(Precision::F16);
    let files = networks();
    assert!(files.len() >= 20, "goldens are missing: {files:?}");
    for file in files {
        let report = assert_passes(&cpu, &file);
        let rounding = report.rounding.clone().expect("weights that were rounded");
        let (tensor, worst) = rounding.worst.expect("one of them");
        // These weights are below 1, where half a unit in the last place is at most this.
        assert!(worst.largest_error > 0.0 && worst.largest_error <= 0.5f64.powi(12), "{tensor}: {worst:?}");
        // The pass must not have run in f32.
        assert!(report.tensors.iter().all(|tensor| tensor.error > 1e-5), "{report:#?}");
    }
}

#[test]
fn small_networks_pass_in_half_precision_by_the_twins() {
    let twins = Device::reference().with_precision(Precision::F16);
    for name in
        ["resnet18_64", "vit_tiny_p16_96", "unet_rcdm_32", "unet_rcdm_32_cbn", "head_dino", "classifier_attnpool_32"]
    {
        assert_passes(&twins, &Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("goldens/{name}.safetensors")));
    }
}

/// Writes a golden again with another value of a flag in its configuration.
fn write_with_flag(golden: &Path, to: &Path, flag: &str, value: &Value) {
    let bytes = std::fs::read(golden).expect("a readable golden");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
    let mut metadata = header.metadata().clone().expect("metadata");
    let mut config: Value = serde_json::from_str(&metadata["config"]).expect("JSON");
    assert!(config.get(flag).is_some_and(|old| old != value), "{flag} is {value} in {}", golden.display());
    config[flag] = value.clone();
    metadata.insert("config".to_string(), config.to_string());
    let tensors = SafeTensors::deserialize(&bytes).expect("tensors");
    let file = safetensors::serialize(tensors.tensors(), Some(metadata)).expect("a file");
    std::fs::write(to, file).expect("a writable folder");
}

/// Each golden fails with another value of the flag that it tests, by far more than its bound. An engine that
/// ignored the flag would not pass.
#[test]
fn goldens_fail_with_another_flag() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cases = [
        ("sampler_unclipped_ddpm_6", "clip_denoised", json!(true), 0.9),
        ("sampler_unclipped_ddim_6", "clip_denoised", json!(true), 0.9),
        ("sampler_unclipped_ddim_6", "eta", json!(0.0), 0.05),
        ("sampler_ddim_predict_xstart_6", "predict_xstart", json!(false), 1.0),
        ("sampler_ddim_predict_xstart_6", "clip_denoised", json!(false), 0.3),
        ("sampler_cosine_6", "noise_schedule", json!("linear"), 0.5),
        ("sampler_rescaled_4000_6", "rescale_timesteps", json!(false), 0.2),
        ("sampler_rescaled_4000_6", "diffusion_steps", json!(1000), 0.05),
    ];
    for (golden, flag, value, apart) in cases {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("goldens/{golden}.safetensors"));
        let to = folder.path().join(format!("{golden}.safetensors"));
        write_with_flag(&from, &to, flag, &value);
        let only_sample = Options { only: Some("out.sample".into()), ..Options::default() };
        let report = check(&to, &Device::cpu().expect("a CPU"), &only_sample).expect("a golden that can be run");
        let [sample] = &report.tensors[..] else { panic!("want one tensor: {report:#?}") };
        assert!(sample.error > apart && !report.passed(), "{golden} with {flag} {value}: {sample:?}");
    }
}

/// The check itself must be able to fail.
#[test]
fn a_wrong_golden_fails() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let good =
        goldens("goldens").into_iter().find(|file| file.ends_with("head_simclr.safetensors")).expect("the golden");
    let mut bytes = std::fs::read(good).expect("a readable golden");
    // The last four bytes are an element of out.head or in.trunk. Either way the result differs.
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&(1.0e3f32).to_le_bytes());
    let file = folder.path().join("wrong.safetensors");
    std::fs::write(&file, &bytes).expect("a writable folder");
    let report = check(&file, &Device::reference(), &Options::default()).expect("a golden that can be run");
    assert!(!report.passed(), "{report:?}");

    // NaN never passes.
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&file, &bytes).expect("a writable folder");
    match check(&file, &Device::reference(), &Options::default()) {
        Ok(report) => assert!(!report.passed(), "{report:?}"),
        Err(error) => assert!(error.to_string().contains("NaN"), "{error}"),
    }
}
