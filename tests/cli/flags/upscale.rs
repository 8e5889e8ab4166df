//! Tests the flags of `percept upscale`.

use image::RgbImage;
use percept_tests::{SplitMix, write_upsampler_32_64};

use super::{Differ, Run, Same, Shows, Table, Test, assert_values, check, flag};
use crate::Folder;

const LINE: &str = "upscale --device cpu --steps 2 -o l.npz --upsampler @in/up.safetensors @in/32.png";
const NO_UPSAMPLER: &str = "upscale --device cpu --steps 2 -o l.npz @in/32.png";
const NO_STEPS: &str = "upscale --device cpu -o l.npz --upsampler @in/up.safetensors @in/32.png";
const NO_OUTPUT: &str = "upscale --device cpu --steps 2 --upsampler @in/up.safetensors @in/32.png";
const NO_DEVICE: &str = "upscale --steps 1 -o l.npz --json --upsampler @in/up.safetensors @in/32.png";
const CLASSES: &str = "upscale --device cpu --steps 2 -o l.npz --upsampler @in/classes.safetensors @in/32.png";
/// The same two timesteps with either sampler.
const DDIM2: &str = "upscale --device cpu --steps ddim2 -o l.npz --upsampler @in/up.safetensors @in/32.png";
/// Pictures of another size than the upsampler's.
const OTHER: &str = "upscale --device cpu --steps 2 -o l.npz --upsampler @in/up.safetensors @in/50.png";
const THREE: &str =
    "upscale --device cpu --steps 2 -o l.npz --upsampler @in/up.safetensors @in/32.png @in/b.png @in/c.png";

pub(super) const TABLE: Table = Table {
    program: "percept",
    command: "upscale",
    inputs,
    flags: &[
        flag(
            "--upsampler",
            NO_UPSAMPLER,
            &["--upsampler @in/up.safetensors", "--upsampler @in/classes.safetensors --class 0"],
            Differ,
        ),
        flag("--crop", LINE, &["", "--crop"], Same),
        flag(
            "--crop",
            OTHER,
            &["", "--crop"],
            Shows(|runs| {
                runs[0].fails(1, &["50.png", "or --crop", "50 x 50"]);
                assert_eq!(runs[1].names(), ["l.npz"]);
            }),
        ),
        flag("--steps", NO_STEPS, &["--steps 1", "--steps 2", "--steps 3", "--steps ddim2"], Differ),
        flag("--sampler", DDIM2, &["--sampler ddpm", "--sampler ddim"], Differ),
        flag("--sampler", DDIM2, &["", "--sampler ddpm"], Same),
        flag("--eta", DDIM2, &["--sampler ddim --eta 0", "--sampler ddim --eta 0.5", "--sampler ddim --eta 1"], Differ),
        flag("--eta", DDIM2, &["--sampler ddim", "--sampler ddim --eta 0"], Same),
        flag("--class", CLASSES, &["--class 0", "--class 1", "--class 6"], Differ),
        flag(
            "--seed",
            LINE,
            &["", "--seed 5", "--seed 4294967296", "--seed 4294967301", "--seed 18446744073709551615"],
            Differ,
        ),
        flag("--seed", LINE, &["", "--seed 0"], Same),
        flag("--batch", THREE, &["", "--batch 1", "--batch 2", "--batch 4294967295"], Same),
        flag("--threads", THREE, &["", "--threads 1", "--threads 3"], Same),
        flag("--threads", "", &["--threads"], Test("as_many_threads_as_asked_for")),
        flag(
            "--output",
            NO_OUTPUT,
            &["", "-o l.npz", "--output grid.png"],
            Shows(|runs| {
                let names: Vec<Vec<&str>> = runs.iter().map(Run::names).collect();
                assert_eq!(names, [["percept.png"], ["l.npz"], ["grid.png"]]);
            }),
        ),
        flag(
            "--json",
            LINE,
            &["", "--json"],
            Shows(|runs| {
                assert!(runs[0].succeeded().ended.stdout.starts_with("l.npz: 1 picture from 32 to 64 pixels, "));
                assert_values(&runs[1..], "/upsampler/steps", &["2"]);
            }),
        ),
        flag("--json", LINE, &["", "--json"], Same),
        flag(
            "--device",
            NO_DEVICE,
            &["--device cpu", "--device reference"],
            Shows(|runs| {
                assert_values(runs, "/device", &["cpu", "reference"]);
            }),
        ),
        flag("--precision", LINE, &["--precision f32", "--precision f16"], Differ),
        flag("--precision", LINE, &["", "--precision f32"], Same),
    ],
};

fn inputs(folder: &Folder) {
    write_upsampler_32_64(&folder.path("up.safetensors"), false);
    write_upsampler_32_64(&folder.path("classes.safetensors"), true);
    for (seed, (name, size)) in (1..).zip([("32.png", 32), ("b.png", 32), ("c.png", 32), ("50.png", 50)]) {
        let mut random = SplitMix::new(seed);
        let picture = RgbImage::from_fn(size, size, |_, _| image::Rgb([0; 3].map(|_| random.word() as u8)));
        picture.save(folder.path(name)).expect("a folder to write to");
    }
}

#[test]
fn every_flag_of_upscale_is_felt() {
    check(&TABLE);
}
