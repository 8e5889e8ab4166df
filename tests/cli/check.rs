//! Tests `percept check`: its verdicts and its output. The tests of the models check that the goldens pass.

use serde_json::Value;

use crate::{Folder, asset};

#[test]
fn prints_a_line_per_tensor_and_a_summary() {
    let printed = Folder::new().percept_succeeds("check", &[asset("goldens/head.safetensors")]);
    let lines: Vec<&str> = printed.lines().collect();
    let [tensor, summary] = lines[..] else { panic!("{printed}") };
    assert!(tensor.contains("head.safetensors  out.head  "), "{tensor}");
    assert!(tensor.ends_with("e-7  bound 1e-4  ok"), "{tensor}");
    assert!(summary.starts_with("1 of 1 files passed, 1 of 1 tensors are within their bounds, "), "{summary}");
}

#[test]
fn a_file_that_cannot_be_run_fails_and_the_next_is_run() {
    let folder = Folder::new();
    folder.write("text.safetensors", "not a golden");
    let paths = ["missing.safetensors".into(), "text.safetensors".into(), asset("goldens/head.safetensors")];
    let ended = folder.percept("check", &paths);
    assert_eq!(ended.code, Some(1));
    for name in ["missing.safetensors", "text.safetensors"] {
        assert!(ended.stderr.lines().any(|line| line.starts_with(&format!("error: {name}: "))), "{}", ended.stderr);
        assert!(ended.stdout.contains(&format!("{name}: FAILED")), "{}", ended.stdout);
    }
    assert!(ended.stdout.contains("out.head"), "{}", ended.stdout);
    assert!(ended.stdout.contains("1 of 3 files passed"), "{}", ended.stdout);
}

#[test]
fn a_tensor_over_its_bound_fails() {
    let folder = Folder::new();
    // The last bytes of the file are the last element of out.head or of in.trunk. Either way the result
    // differs.
    let mut golden = std::fs::read(asset("goldens/head.safetensors")).expect("a golden");
    let end = golden.len();
    golden[end - 4..].copy_from_slice(&1e3f32.to_le_bytes());
    folder.write("wrong.safetensors", golden);
    let weights = std::fs::read(asset("head.safetensors")).expect("the demo's head");
    std::fs::write(folder.path("head.safetensors"), weights).expect("a temporary folder");
    // The golden names its weights as ../head.safetensors.
    std::fs::create_dir(folder.path("goldens")).expect("a folder");
    std::fs::rename(folder.path("wrong.safetensors"), folder.path("goldens/wrong.safetensors")).expect("renamed");
    for line in ["check goldens/wrong.safetensors", "check goldens"] {
        let ended = folder.percept(line, &[]);
        assert_eq!(ended.code, Some(1), "{line}: {}", ended.stderr);
        assert!(
            ended.stdout.contains("wrong.safetensors  out.head") && ended.stdout.contains("FAILED"),
            "{}",
            ended.stdout
        );
        assert!(ended.stdout.contains("0 of 1 files passed"), "{}", ended.stdout);
    }
}

#[test]
fn prints_json() {
    let folder = Folder::new();
    let line = "check --json --device cpu --precision f32 --out computed";
    let printed = folder.percept_succeeds(line, &[asset("goldens/head.safetensors")]);
    let json: Value = serde_json::from_str(&printed).expect("one JSON object");
    assert_eq!((&json["passed"], &json["device"]), (&Value::Bool(true), &Value::from("cpu")));
    let tensor = &json["files"][0]["tensors"][0];
    assert_eq!(tensor["name"], "out.head");
    assert!(tensor["error"].as_f64() < tensor["bound"].as_f64() && tensor["error"].as_f64() > Some(0.0), "{printed}");
    assert!(folder.path("computed/head.safetensors").is_file());
}

#[test]
fn half_precision_tells_what_rounding_weights_did() {
    let folder = Folder::new();
    let golden = [asset("goldens/head.safetensors")];
    let printed = folder.percept_succeeds("check --json --device cpu --precision f16", &golden);
    let json: Value = serde_json::from_str(&printed).expect("one JSON object");
    let file = &json["files"][0];
    assert_eq!((&json["passed"], &json["precision"]), (&Value::Bool(true), &Value::from("f16")));
    assert_eq!(file["tensors"][0]["bound"], 1e-2);
    let rounding = &file["rounding"];
    assert!(rounding["weights"].as_u64() > Some(0) && rounding["tensor"].is_string(), "{printed}");
    let [error, largest] = ["largest_error", "largest"].map(|key| rounding[key].as_f64().expect("a number"));
    assert!(error > 0.0 && error <= largest / 2048.0, "{printed}");
    let printed = folder.percept_succeeds("check --device cpu --precision f16", &golden);
    assert!(printed.contains("weights rounded to f16 by at most"), "{printed}");
}

#[test]
fn what_it_refuses() {
    let folder = Folder::new();
    let golden = asset("goldens/head.safetensors");
    folder.percept_fails("check --device abacus", std::slice::from_ref(&golden), &["--device", "abacus"]);
    std::fs::create_dir(folder.path("empty")).expect("a folder");
    folder.percept_fails("check empty", &[], &["empty", "a folder of goldens"]);
    let ended = folder.percept("check --only no.such.tensor", &[golden]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("--only") && ended.stderr.contains("no.such.tensor"), "{}", ended.stderr);
}
