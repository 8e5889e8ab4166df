//! Tests flags that change how a result is computed but not the result itself. Their effect shows while the
//! command runs, or in the files that it leaves.

use super::sample::{drawn, npy};
use crate::{Folder, asset};

/// A job of more than one sample fails as a whole, and everything that was saved before it remains.
#[test]
fn a_batch_is_what_is_saved_at_once() {
    // The initial noise of the last of five samples contains NaN.
    let mut noise = drawn(3, 5);
    *noise.last_mut().expect("an element") = f32::NAN;
    for (flags, saved) in [
        ("", None),
        ("--batch 1", Some(4)),
        ("--batch 2", Some(4)),
        ("--batch 3", Some(3)),
        ("--batch 4294967295", None),
    ] {
        let folder = Folder::new();
        folder.write("noise.npy", npy(&noise));
        let bundle = asset("trunk.bundle.json").display().to_string();
        let line =
            format!("sample --device cpu --samples 5 --steps 1 -o s.npz --noise noise.npy {flags} --bundle {bundle}");
        let ended = folder.percept(&line, &[asset("images/4_star.png")]);
        assert_eq!(ended.code, Some(1), "{flags}");
        assert!(ended.stderr.contains("start: expected finite values, got NaN"), "{flags}: {}", ended.stderr);
        let rows = folder.path("s.npz.state").exists().then(|| {
            let state = folder.read("s.npz.state");
            let line = state.split(|&byte| byte == b'\n').next().expect("a line");
            let json: serde_json::Value = serde_json::from_slice(line).expect("JSON");
            json["mark"]["rows"].as_u64().expect("a number")
        });
        assert_eq!(rows, saved, "{flags}");
    }
}

/// Returns the largest number of threads of the CPU path that a run has at a time.
#[cfg(target_os = "linux")]
fn most_threads(folder: &Folder, line: &str) -> usize {
    use std::time::{Duration, Instant};
    let mut command = folder.command("percept");
    let mut run = command.args(line.split_whitespace()).stdout(std::process::Stdio::null()).spawn().expect("starts");
    let tasks = format!("/proc/{}/task", run.id());
    let (began, mut most) = (Instant::now(), 0);
    while run.try_wait().expect("a process").is_none() && began.elapsed() < Duration::from_secs(120) {
        // A thread may end between two polls.
        let names = std::fs::read_dir(&tasks).into_iter().flatten().flatten();
        let names = names.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        most = most.max(names.filter(|name| name.starts_with("percept-")).count());
        std::thread::sleep(Duration::from_millis(1));
    }
    let ended = percept_tests::wait(run, &command);
    assert_eq!(ended.status.code(), Some(0), "{line}");
    most
}

#[cfg(target_os = "linux")]
#[test]
fn as_many_threads_as_asked_for() {
    let folder = Folder::new();
    percept_tests::write_upsampler_32_64(&folder.path("up.safetensors"), false);
    image::RgbImage::new(32, 32).save(folder.path("32.png")).expect("a folder to write to");
    let [bundle, star] = ["trunk.bundle.json", "images/4_star.png"].map(|name| asset(name).display().to_string());
    let sample = format!("sample --device cpu --samples 1 --steps 5 -o s.npz --bundle {bundle} {star}");
    let upscale = "upscale --device cpu --steps 5 -o l.npz --upsampler up.safetensors 32.png".to_string();
    let cores = std::thread::available_parallelism().expect("a number of cores").get();
    for line in [sample, upscale] {
        let most = ["--threads 1", "--threads 3", "--threads 11", ""]
            .map(|flag| most_threads(&folder, &format!("{line} {flag}")));
        assert_eq!(most, [1, 3, 11, cores], "{line}");
    }
}
