//! Tests the flags of `percept devices`, `check` and `bench`, and those before any command.

use super::{Run, Same, Shows, Table, assert_values, check, flag, no_inputs};

pub const PERCEPT: Table = Table {
    program: "percept",
    command: "",
    inputs: no_inputs,
    flags: &[
        flag(
            "--device",
            "",
            &["--device cpu check --json @demo/goldens/head.safetensors", CHECK_REFERENCE],
            Shows(devices),
        ),
        flag(
            "--precision",
            "",
            &["--precision f32 bench --device cpu --json @demo/head.safetensors", BENCH_F16],
            Shows(precisions),
        ),
        flag(
            "--version",
            "",
            &["--version", "-V"],
            Shows(|runs| {
                for run in runs {
                    assert_eq!(run.succeeded().ended.stdout, concat!("percept ", env!("CARGO_PKG_VERSION"), "\n"));
                }
            }),
        ),
    ],
};
const CHECK_REFERENCE: &str = "--device reference check --json @demo/goldens/head.safetensors";
const BENCH_F16: &str = "--precision f16 bench --device cpu --json @demo/head.safetensors";

/// Checks a run on the CPU and one on the twins.
fn devices(runs: &[Run]) {
    assert_values(runs, "/device", &["cpu", "reference"]);
}

/// Checks a run in single precision and one in half precision.
fn precisions(runs: &[Run]) {
    assert_values(runs, "/precision", &["f32", "f16"]);
}

pub const DEVICES: Table = Table {
    program: "percept",
    command: "devices",
    inputs: no_inputs,
    flags: &[
        flag(
            "--json",
            "devices",
            &["", "--json"],
            Shows(|runs| {
                assert!(runs[0].succeeded().ended.stdout.contains("(taken by auto)"));
                assert!(runs[1].value("/devices").is_array());
            }),
        ),
        flag(
            "--device",
            "devices",
            &["", "--device cpu", "--device reference", "--device abacus"],
            Shows(|runs| {
                let taken = |run: &Run, by: &str| {
                    let lines = run.succeeded().ended.stdout.lines();
                    let taken: Vec<&str> = lines.filter(|line| line.contains(&format!("taken by {by}"))).collect();
                    let [line] = taken[..] else { panic!("{}: {}", run.line, run.ended.stdout) };
                    line.split(' ').next().map(str::to_string)
                };
                assert_eq!(taken(&runs[1], "cpu"), Some("cpu".into()));
                assert_eq!(taken(&runs[2], "reference"), Some("reference".into()));
                assert!(taken(&runs[0], "auto").is_some());
                runs[3].fails(1, &["--device", "abacus"]);
            }),
        ),
        flag(
            "--device",
            "devices --json",
            &["--device cpu", "--device reference"],
            Shows(|runs| {
                assert_values(runs, "/taken", &["cpu", "reference"]);
            }),
        ),
        // The list of devices does not depend on the precision.
        flag("--precision", "devices", &["", "--precision f32", "--precision f16"], Same),
    ],
};

const HEAD: &str = "check --device cpu --json @demo/goldens/head.safetensors";

pub const CHECK: Table = Table {
    program: "percept",
    command: "check",
    inputs: no_inputs,
    flags: &[
        flag(
            "--only",
            "check --device cpu --json @demo/goldens/head.safetensors @demo/goldens/encoder.safetensors",
            &["", "--only head", "--only trunk"],
            Shows(|runs| {
                let names = |run: &Run| {
                    let json = run.json();
                    let files = json["files"].as_array().expect("a list");
                    let tensors = files.iter().flat_map(|file| file["tensors"].as_array().expect("a list"));
                    tensors.map(|tensor| tensor["name"].as_str().expect("a name").to_string()).collect::<Vec<_>>()
                };
                let want = [&["out.head", "out.trunk"][..], &["out.head"], &["out.trunk"]];
                assert!(runs.iter().map(names).eq(want), "{:?}", runs.iter().map(names).collect::<Vec<_>>());
            }),
        ),
        flag(
            "--out",
            HEAD,
            &["", "--out one", "--out other"],
            Shows(|runs| {
                let want = [&[][..], &["one/head.safetensors"], &["other/head.safetensors"]];
                assert!(runs.iter().map(Run::names).eq(want), "{:?}", runs.iter().map(Run::names).collect::<Vec<_>>());
            }),
        ),
        flag(
            "--json",
            "check --device cpu @demo/goldens/head.safetensors",
            &["", "--json"],
            Shows(|runs| {
                assert!(runs[0].succeeded().ended.stdout.contains("1 of 1 files passed"));
                assert_eq!(runs[1].value("/passed"), true);
            }),
        ),
        flag(
            "--device",
            "check --json @demo/goldens/head.safetensors",
            &["--device cpu", "--device reference"],
            Shows(|runs| {
                devices(runs);
                // Each device sums in its own order.
                let error = "/files/0/tensors/0/error";
                assert_ne!(runs[0].value(error), runs[1].value(error));
            }),
        ),
        flag(
            "--precision",
            HEAD,
            &["--precision f32", "--precision f16"],
            Shows(|runs| {
                precisions(runs);
                assert_values(runs, "/files/0/tensors/0/bound", &[1e-4, 1e-2]);
                let [single, half] = [0, 1].map(|run: usize| runs[run].value("/files/0/tensors/0/error").as_f64());
                assert!(single > Some(0.0) && half > single.map(|error| 10.0 * error), "{single:?} {half:?}");
            }),
        ),
    ],
};

const BENCH_HEAD: &str = "bench --device cpu --json @demo/head.safetensors";

pub const BENCH: Table = Table {
    program: "percept",
    command: "bench",
    inputs: no_inputs,
    flags: &[
        flag(
            "--batch",
            "bench --device cpu --json --runs 1 @demo/head.safetensors",
            &["", "--batch 3", "--batch 65536"],
            Shows(|runs| {
                assert_values(runs, "/batch", &[1, 3, 65536]);
                assert_gflop(runs, &[1.0, 3.0, 65536.0]);
            }),
        ),
        flag(
            "--size",
            "bench --device cpu --json --runs 1 @demo/encoder.safetensors",
            &["", "--size 64", "--size 128", "--size 192"],
            Shows(|runs| {
                assert_gflop(runs, &[1.0, 1.0, 4.0, 9.0]);
            }),
        ),
        flag(
            "--runs",
            BENCH_HEAD,
            &["", "--runs 1", "--runs 7"],
            Shows(|runs| assert_values(runs, "/runs", &[20, 1, 7])),
        ),
        flag(
            "--profile",
            BENCH_HEAD,
            &["", "--profile"],
            Shows(|runs| {
                assert!(runs[0].json()["ops"].is_null());
                assert_eq!(runs[1].value("/ops").as_array().map(Vec::len), Some(3));
            }),
        ),
        flag(
            "--json",
            "bench --device cpu --runs 1 @demo/head.safetensors",
            &["", "--json"],
            Shows(|runs| {
                assert!(runs[0].succeeded().ended.stdout.contains("a head, one forward pass\ndevice       cpu\n"));
                assert_eq!(runs[1].value("/kind"), "head");
            }),
        ),
        flag(
            "--device",
            "bench --json --runs 1 @demo/head.safetensors",
            &["--device cpu", "--device reference"],
            Shows(devices),
        ),
        flag(
            "--precision",
            BENCH_HEAD,
            &["--precision f32", "--precision f16"],
            Shows(|runs| {
                precisions(runs);
                let [single, half] =
                    [0, 1].map(|run: usize| runs[run].value("/memory/weights").as_f64().expect("bytes"));
                assert!(half < 0.75 * single, "weights of {single} and {half} bytes");
            }),
        ),
    ],
};

/// Asserts that each run computes this many times as much as the first.
fn assert_gflop(runs: &[Run], times: &[f64]) {
    let gflop: Vec<f64> = runs.iter().map(|run| run.value("/gflop").as_f64().expect("a number")).collect();
    for (run, times) in gflop.iter().zip(times) {
        assert!((run / gflop[0] / times - 1.0).abs() < 1e-6, "{gflop:?} are not as {times} to 1");
    }
}

#[test]
fn every_flag_before_a_command_is_felt() {
    check(&PERCEPT);
}

#[test]
fn every_flag_of_devices_is_felt() {
    check(&DEVICES);
}

#[test]
fn every_flag_of_check_is_felt() {
    check(&CHECK);
}

#[test]
fn every_flag_of_bench_is_felt() {
    check(&BENCH);
}
