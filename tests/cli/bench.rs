//! Tests `percept bench`: its output, and the arguments that it refuses.

use percept::check::Network;
use percept::device::gpu::{Adapter, Gpu};
use percept::program::Program;
use serde_json::Value;

use crate::{Folder, asset, root};

/// Returns the output of a run with `--json`.
fn json(line: &str, file: &str) -> Value {
    let printed = Folder::new().percept_succeeds(&format!("bench --json --runs 3 {line}"), &[asset(file)]);
    assert_eq!(printed.lines().count(), 1, "{printed}");
    serde_json::from_str(&printed).expect("one JSON object")
}

fn number(json: &Value, key: &str) -> f64 {
    json[key].as_f64().unwrap_or_else(|| panic!("{key} is no number in {json}"))
}

/// Asserts properties that hold on every device.
fn assert_plausible(json: &Value, batch: u64) {
    assert_eq!(
        (&json["precision"], &json["batch"], &json["runs"]),
        (&"f32".into(), &batch.into(), &3.into()),
        "{json}"
    );
    let positive =
        ["median_ms", "min_ms", "first_run_ms", "load_ms", "gflop", "gflop_per_s", "bytes_moved", "gb_per_s"];
    for key in positive.into_iter().chain(["peak_bytes", "dispatches"]) {
        assert!(number(json, key) > 0.0, "{key} in {json}");
    }
    assert!(number(json, "min_ms") <= number(json, "median_ms"), "{json}");
    assert!(number(json, "pipelines_ms") <= number(json, "load_ms"), "{json}");
    let rate = number(json, "gflop") / number(json, "median_ms") * 1e3;
    assert!((rate / number(json, "gflop_per_s") - 1.0).abs() < 1e-9, "{json}");
    assert!(number(json, "peak_bytes") >= number(&json["memory"], "weights"), "{json}");
}

/// Asserts that the times of ops add up to those of kernels, and that their work adds up to that of the whole
/// program.
fn assert_ops_add_up(json: &Value, program: &Program) {
    let listed = |key: &str| json[key].as_array().unwrap_or_else(|| panic!("{key} is no list in {json}")).clone();
    let (ops, kernels) = (listed("ops"), listed("kernels"));
    let told: Vec<(&str, &str)> =
        ops.iter().filter_map(|op| Some((op["layer"].as_str()?, op["kernel"].as_str()?))).collect();
    let own: Vec<(&str, &str)> = program.ops().iter().map(|op| (op.layer.as_str(), op.kernel.name())).collect();
    assert_eq!(told, own);
    for key in ["ms", "gflop", "bytes_moved"] {
        let sum = |of: &[Value]| of.iter().map(|entry| number(entry, key)).sum::<f64>();
        let (of_ops, of_kernels) = (sum(&ops), sum(&kernels));
        assert!(of_ops > 0.0 && (of_ops / of_kernels - 1.0).abs() < 1e-9, "{key}: {of_ops}, {of_kernels}");
        if key != "ms" {
            assert!((of_ops / number(json, key) - 1.0).abs() < 1e-9, "{key}: {of_ops} in {json}");
        }
    }
    let shares: f64 = ops.iter().map(|op| number(op, "share")).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
}

fn program(file: &str, batch: usize) -> Program {
    Network::open(asset(file), None).expect("a network").program(batch).expect("a program")
}

#[test]
fn every_kind_of_file_on_the_cpu() {
    // The golden's own batch, or synthetic inputs for a model file.
    for (file, kind, batch) in [
        ("goldens/head.safetensors", "head", 8),
        ("goldens/encoder.safetensors", "resnet", 8),
        ("goldens/trunk_ddim25.safetensors", "unet", 4),
        ("head.safetensors", "head", 1),
        ("encoder.safetensors", "resnet", 1),
        ("decoder_trunk.safetensors", "unet", 1),
    ] {
        let json = json("--device cpu", file);
        assert_plausible(&json, batch);
        assert_eq!((&json["kind"], &json["device"], &json["pipelines"]), (&kind.into(), &"cpu".into(), &0.into()));
        let program = program(file, batch as usize);
        assert_eq!(json["dispatches"], program.ops().len());
        assert_eq!(json["bytes_moved"], program.bytes_moved(program.body()));
        assert!(json["ops"].is_null(), "{json}");
    }
}

#[test]
fn every_network_of_the_goldens_can_be_timed() {
    for (name, kind, batch) in [
        ("resnet18_64", "resnet", 2),
        ("head_dino", "head", 3),
        ("unet_adm_classcond_32", "unet", 2),
        ("unet_rcdm_32_cbn", "unet", 2),
        ("superres_16_32", "superres", 2),
        ("classifier_attnpool_32", "classifier", 2),
        ("sampler_ddpm_10", "unet", 2),
    ] {
        let network = Network::open(root().join(format!("tests/goldens/{name}.safetensors")), None).expect(name);
        assert_eq!((network.model().kind(), network.batch()), (kind, batch), "{name}");
        // Only the network's outputs are computed, not the other values that a check compares.
        let program = network.program(batch).expect(name);
        assert!(program.outputs().iter().all(|(output, _)| output.starts_with("out.")), "{name}");
    }
}

#[test]
fn the_batch_and_the_size_asked_for() {
    for file in ["goldens/encoder.safetensors", "encoder.safetensors"] {
        let [one, three] = [1, 3].map(|batch| json(&format!("--device cpu --batch {batch}"), file));
        assert_plausible(&one, 1);
        assert_plausible(&three, 3);
        assert!((number(&three, "gflop") / number(&one, "gflop") - 3.0).abs() < 1e-9, "{one} {three}");
        assert!(number(&three["memory"], "activations") > number(&one["memory"], "activations"), "{one} {three}");
    }
    // The file's preprocessing gives a size of 64.
    let [own, same, twice] =
        ["", "--size 64", "--size 128"].map(|size| json(&format!("--device cpu {size}"), "encoder.safetensors"));
    assert_eq!(own["gflop"], same["gflop"]);
    assert!((number(&twice, "gflop") / number(&own, "gflop") - 4.0).abs() < 1e-6, "{own} {twice}");
}

#[test]
fn times_every_op_by_the_hosts_clock() {
    let json = json("--device cpu --profile --batch 2", "decoder_trunk.safetensors");
    assert_plausible(&json, 2);
    assert_eq!(json["clock"], "host");
    assert_ops_add_up(&json, &program("decoder_trunk.safetensors", 2));
}

#[test]
fn times_on_a_software_adapter() {
    let Some(adapter) = percept_tests::adapters().into_iter().find(Adapter::is_software) else { return };
    let gpu = Gpu::open(&adapter).expect("a device");
    let line = format!("--profile --batch 2 --device {}", adapter.name().split(' ').next().unwrap_or_default());
    let json = json(&line, "encoder.safetensors");
    assert_plausible(&json, 2);
    assert_eq!(json["device"], adapter.name());
    assert!(number(&json, "pipelines") >= 1.0 && number(&json, "pipelines_ms") > 0.0, "{json}");
    let has_clock = gpu.device().features().contains(percept::wgpu::Features::TIMESTAMP_QUERY);
    assert_eq!(json["clock"], if has_clock { "device" } else { "host" });
    assert_ops_add_up(&json, &program("encoder.safetensors", 2));
}

#[test]
fn prints_for_people() {
    let folder = Folder::new();
    let printed = folder.percept_succeeds("bench --device cpu --runs 4 --profile", &[asset("head.safetensors")]);
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[0].ends_with("head.safetensors: a head, one forward pass"), "{printed}");
    for start in
        ["device       cpu", "batch        1", "precision    f32", "load  ", "first run  ", "memory       weights"]
    {
        assert!(lines.iter().any(|line| line.starts_with(start)), "{start:?} begins no line of {printed}");
    }
    assert!(lines.iter().any(|line| line.contains(" ms, the median of 4; the fastest ")), "{printed}");
    assert!(lines.iter().any(|line| line.starts_with("dense              3  ")), "{printed}");
    assert!(lines.iter().any(|line| line.starts_with("3 ops one by one, ")), "{printed}");
}

#[test]
fn what_it_refuses() {
    let folder = Folder::new();
    folder.write("text.safetensors", "not a golden");
    folder.percept_fails("bench missing.safetensors", &[], &["missing.safetensors", "a readable .safetensors file"]);
    folder.percept_fails("bench text.safetensors", &[], &["text.safetensors", "a .safetensors file"]);
    folder.write("neither.safetensors", b"\x02\0\0\0\0\0\0\0{}");
    folder.percept_fails("bench neither.safetensors", &[], &["neither.safetensors", "a golden or a model file"]);
    let schedules = root().join("tests/goldens/schedules.safetensors");
    folder.percept_fails("bench", &[schedules], &["schedules.safetensors", "a golden of a network", "\"schedule\""]);
    folder.percept_fails("bench --device abacus", &[asset("head.safetensors")], &["--device", "abacus"]);
    for (file, saying) in
        [("head.safetensors", "but for an encoder"), ("goldens/encoder.safetensors", "none for a golden")]
    {
        folder.percept_fails("bench --size 64", &[asset(file)], &["--size", saying]);
    }
    let saying = ["image", "at most 4294967295 elements"];
    folder.percept_fails("bench --device cpu --batch 65536 --size 2048", &[asset("encoder.safetensors")], &saying);
    for flag in ["--batch 0", "--batch 65537", "--batch many", "--runs 0", "--size 0"] {
        let ended = folder.percept(&format!("bench {flag}"), &[asset("head.safetensors")]);
        assert_eq!(ended.code, Some(2), "{flag}: {}", ended.stderr);
        assert!(ended.stderr.contains(flag.split(' ').next().unwrap_or_default()), "{flag}: {}", ended.stderr);
    }
}
