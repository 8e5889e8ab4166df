//! Tests `percept sample` into npz files: a folder of pictures as conditions, given starts, and interrupted
//! runs.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::flags::sample::{drawn, npy};
use crate::{Folder, asset};

fn trunk() -> String {
    format!("--device cpu --bundle {}", asset("trunk.bundle.json").display())
}

/// Runs the program and kills it once it has saved something. Returns false if it ends before that.
fn killed(folder: &Folder, line: &str, pictures: &[PathBuf]) -> bool {
    let mut command = folder.command("percept");
    let mut run = command.args(line.split_whitespace()).args(pictures).spawn().expect("starts");
    let began = Instant::now();
    while run.try_wait().expect("a process").is_none() {
        if began.elapsed() > Duration::from_secs(300) {
            run.kill().expect("a process");
            panic!("{line}: neither saved nor over");
        }
        if folder.path("s.npz.state").exists() {
            run.kill().expect("a process");
            percept_tests::wait(run, &command);
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

#[test]
fn a_run_that_was_killed_goes_on_to_the_same_bytes() {
    let folder = Folder::new();
    let pictures = ["1.png", "2.png"].map(PathBuf::from);
    fs::copy(asset("images/1_disc.png"), folder.path("1.png")).expect("a copy");
    fs::copy(asset("images/4_star.png"), folder.path("2.png")).expect("a copy");
    // First five jobs, of which the third spans both pictures; then one job, during which most machines kill
    // the program.
    for (flags, resumed_with) in [("--samples 10 --steps 3 --batch 4", "--batch 3"), ("--samples 8 --steps 25", "")] {
        let line = format!("sample {} {flags} --seed 3 -o", trunk());
        folder.percept_succeeds(&format!("{line} whole.npz"), &pictures);
        if !killed(&folder, &format!("{line} s.npz"), &pictures) {
            assert_eq!(folder.read("s.npz"), folder.read("whole.npz"), "a machine that is too fast to be interrupted");
            continue;
        }
        let left = ["1.png", "2.png", "s.npz.part", "s.npz.state", "whole.npz"];
        assert_eq!(folder.names(), left);
        let fails = |flags: &str, saying: &[&str]| {
            folder.percept_fails(&format!("{line} s.npz {flags}"), &pictures, saying);
        };
        fails("", &["s.npz.state", "or --resume to go on with it"]);
        let line = line.replace("--seed 3", "--seed 4");
        folder.percept_fails(
            &format!("{line} s.npz --resume"),
            &pictures,
            &["seed: 3, as when the run was begun, got 4"],
        );
        fails("--resume --eta 0.5 --sampler ddim", &["bundle 1 steps: ", "as when the run was begun, got ddim"]);
        let other = folder
            .percept(&format!("{} s.npz --resume --preprocessing squash", line.replace("seed 4", "seed 3")), &pictures);
        assert_eq!(other.code, Some(1));
        let saying = "bundle 1 preprocessing: rcdm at 64 pixels, as when the run was begun, got squash at 64 pixels";
        assert!(other.stderr.contains(saying), "{}", other.stderr);
        fs::copy(asset("images/8_moon.png"), folder.path("2.png")).expect("a copy");
        fails("--resume", &["picture 2: 2.png, SHA-256 ", "as when the run was begun"]);
        fs::copy(asset("images/4_star.png"), folder.path("2.png")).expect("a copy");
        assert_eq!(folder.names(), left);
        let line = line.replace("seed 4", "seed 3").replace("--batch 4", resumed_with);
        folder.percept_succeeds(&format!("{line} s.npz --resume"), &pictures);
        assert!(folder.read("s.npz") == folder.read("whole.npz"), "{flags}");
        assert_eq!(folder.names(), ["1.png", "2.png", "s.npz", "whole.npz"]);
        // There is nothing left to resume, which is not an error.
        folder.percept_succeeds(&format!("{line} s.npz --resume"), &pictures);
        assert!(folder.read("s.npz") == folder.read("whole.npz"), "{flags}");
        fs::remove_file(folder.path("s.npz")).expect("the file");
    }
}

#[test]
fn a_folder_of_pictures_as_conditions() {
    let folder = Folder::new();
    fs::create_dir(folder.path("photos")).expect("a folder");
    for name in ["2_square.png", "5_ring.png"] {
        fs::copy(asset("images").join(name), folder.path("photos").join(name)).expect("a copy");
    }
    folder.write("photos/notes.txt", "no picture");
    let npz = |images: &[PathBuf]| {
        folder.percept_succeeds(&format!("sample {} --samples 1 --steps 1 -o s.npz", trunk()), images);
        folder.read("s.npz")
    };
    let want = npz(&["2_square.png", "5_ring.png"].map(|name| asset("images").join(name)));
    assert!(npz(&["photos".into()]) == want && npz(&["photos/*.png".into()]) == want);
    folder.percept_fails("sample photos/*.gif", &[], &["photos/*.gif", "one that fits no file"]);
}

#[test]
fn samples_begin_as_what_is_given() {
    let folder = Folder::new();
    let pictures = [asset("images/2_square.png"), asset("images/4_star.png")];
    let npz = |flags: &str| {
        folder.percept_succeeds(
            &format!("sample {} --samples 2 --steps 2 --seed 6 -o s.npz {flags}", trunk()),
            &pictures,
        );
        folder.read("s.npz")
    };
    // A file with the noise that the seed draws.
    folder.write("noise.npy", npy(&drawn(6, 4)));
    let plain = npz("");
    assert!(npz("--noise noise.npy") == plain && npz("--noise noise.npy --batch 3") == plain);
    // From a picture with little noise, and also into a grid.
    let star = asset("images/4_star.png").display().to_string();
    let near = npz(&format!("--from {star} --from-step 0"));
    assert!(near != plain && near == npz(&format!("--from {star} --from-step 0 --batch 1")));
    let crop = percept::images::Preprocessing::new("rcdm", 32).expect("a preset");
    let crop = crop.crop(&percept::images::open(&star).expect("a picture")).expect("a crop");
    // Compares the samples of the second picture, the one that all samples started from, by the bytes after the
    // headers of the archive and of the array. The samples of the first picture do not stay near the start,
    // because the demo's decoder follows h.
    let apart = |bytes: &[u8]| {
        let samples = bytes[39 + 128 + 2 * 3072..].iter().take(2 * 3072);
        let distances = samples.zip(crop.as_raw().iter().cycle()).map(|(a, b)| f64::from(a.abs_diff(*b)));
        distances.sum::<f64>() / (2.0 * 3072.0)
    };
    let (near, plain) = (apart(&near), apart(&plain));
    assert!(near < 6.0 && plain > 3.0 * near, "{near} and {plain} of 255");
    let line = format!("sample {} --samples 2 --steps 2 -o grid.png --from {star} --from-step 1", trunk());
    folder.percept_succeeds(&line, &pictures);
    let grid = folder.read("grid.png");
    let said = b"start\x004_star.png noised to step 1";
    assert!(grid.windows(said.len()).any(|bytes| bytes == said), "the text chunks of the picture");
    for (flags, saying) in [
        ("--noise noise.npy --samples 3", "expected shape [6, 32, 32, 3], as the samples have, got [4, 32, 32, 3]"),
        ("--noise gone.npy", "gone.npy: expected a .npy or uncompressed .npz file of float32"),
        ("--from gone.png --from-step 0", "gone.png"),
        ("-o grid.png --resume", "--resume: expected -o FILE.npz"),
    ] {
        let line = format!("sample {} --steps 2 {flags}", trunk());
        folder.percept_fails(&line, &pictures, &[saying]);
    }
    let line = format!("sample {} --steps 2 -o t.npz --from {star} --from-step 2", trunk());
    folder.percept_fails(&line, &pictures, &["--from-step: expected 0 to 1, the noisiest step, got 2"]);
    let both = format!("sample {} --noise noise.npy --from {star} --from-step 0", trunk());
    assert_eq!(folder.percept(&both, &pictures).code, Some(2));
}
