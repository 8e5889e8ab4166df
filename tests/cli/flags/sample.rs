//! Tests the flags of `percept sample`.

use percept::diffusion::noise::{Stream, fill};
use percept_tests::write_upsampler_32_64;

use super::{Differ, Run, Same, Shows, Table, Test, assert_values, check, flag};
use crate::Folder;
use crate::sample::arr_0;

/// One sample of the demo, in a file without metadata about its origin.
const BUNDLE: &str = "sample --device cpu --samples 1 --steps 2 -o s.npz --bundle @trunk @star";
const NO_BUNDLE: &str = "sample --device cpu --samples 1 --steps 2 -o s.npz @star";
const NO_DEVICE: &str = "sample --samples 1 --steps 1 -o s.npz --json --bundle @trunk @star";
const NO_SAMPLES: &str = "sample --device cpu --steps 2 -o s.npz --bundle @trunk @star";
const NO_STEPS: &str = "sample --device cpu --samples 1 -o s.npz --bundle @trunk @star";
const NO_OUTPUT: &str = "sample --device cpu --samples 1 --steps 2 --bundle @trunk @star";
/// Model files instead of a bundle: without the encoder, without the decoder, and complete.
const NO_ENCODER: &str = "sample --device cpu --samples 1 --steps 2 -o s.npz --image-size 64 --decoder @demo/decoder_trunk.safetensors @star";
const NO_DECODER: &str = "sample --device cpu --samples 1 --steps 2 -o s.npz --encoder @demo/encoder.safetensors @star";
const FILES: &str = "sample --device cpu --samples 1 --steps 2 -o s.npz --encoder @demo/encoder.safetensors --decoder @demo/decoder_trunk.safetensors @star";
/// The same two timesteps with either sampler.
const DDIM2: &str = "sample --device cpu --samples 1 --steps ddim2 -o s.npz --bundle @trunk @star";
/// Three samples.
const THREE: &str = "sample --device cpu --samples 3 --steps 2 -o s.npz --bundle @trunk @star";
/// A run that was interrupted before.
const BEGUN: &str = "sample --device cpu --samples 1 --steps 2 -o @in/begun.npz --bundle @trunk @star";

pub(super) const TABLE: Table = Table {
    program: "percept",
    command: "sample",
    inputs,
    flags: &[
        flag(
            "--bundle",
            NO_BUNDLE,
            &["--bundle @trunk", "--bundle @demo/head.bundle.json", "--bundle @trunk --bundle @demo/head.bundle.json"],
            Differ,
        ),
        flag("--encoder", NO_ENCODER, &["--encoder @demo/encoder.safetensors", RANDOM_5, RANDOM_33_BITS], Differ),
        flag("--head", FILES, &["", "--head @demo/head.safetensors"], Differ),
        // One layer of a ResNet-18 is as wide as the decoder's representations.
        flag(
            "--layer",
            NO_ENCODER,
            &[
                "--encoder random:resnet18",
                "--encoder random:resnet18 --layer layer2",
                "--encoder random:resnet18 --layer layer3",
            ],
            Shows(|runs| {
                runs[0].fails(1, &["the 512 elements of the encoder's trunk"]);
                runs[1].fails(1, &["the 128 elements of the encoder's layer2"]);
                runs[2].succeeded();
            }),
        ),
        flag("--preprocessing", FILES, &["", "--preprocessing squash", "--preprocessing imagenet"], Differ),
        flag("--preprocessing", BUNDLE, &["", "--preprocessing squash", "--preprocessing imagenet"], Differ),
        flag("--image-size", FILES, &["", "--image-size 65", "--image-size 96"], Differ),
        flag("--image-size", BUNDLE, &["", "--image-size 65", "--image-size 96"], Differ),
        flag(
            "--decoder",
            NO_DECODER,
            &["--decoder @demo/decoder_trunk.safetensors", "--decoder @demo/decoder_head.safetensors"],
            Differ,
        ),
        flag(
            "--samples",
            NO_SAMPLES,
            &["--samples 1", "--samples 3", ""],
            Shows(|runs| {
                let of = runs.iter().map(|run| arr_0(&run.succeeded().files["s.npz"])).collect::<Vec<_>>();
                assert_eq!(
                    of.iter().map(|(shape, _)| &shape[..]).collect::<Vec<_>>(),
                    ["1, 32, 32, 3", "3, 32, 32, 3", "4, 32, 32, 3"]
                );
                assert!(of.iter().all(|(_, samples)| samples.starts_with(&of[0].1)), "the first sample is another");
            }),
        ),
        flag(
            "--upsampler",
            BUNDLE,
            &["", "--upsampler @in/up.safetensors", "--upsampler @in/classes.safetensors --class 1"],
            Differ,
        ),
        flag("--upsampler-steps", UP, &["", "--upsampler-steps 1", "--upsampler-steps 3"], Differ),
        flag("--upsampler-steps", UP, &["", "--upsampler-steps 2"], Same),
        flag("--steps", NO_STEPS, &["--steps 1", "--steps 2", "--steps 3", "--steps ddim2"], Differ),
        flag("--steps", NO_STEPS, &["", "--steps 25"], Same),
        flag("--sampler", DDIM2, &["--sampler ddpm", "--sampler ddim"], Differ),
        flag("--sampler", DDIM2, &["", "--sampler ddpm"], Same),
        flag("--eta", DDIM2, &["--sampler ddim --eta 0", "--sampler ddim --eta 0.5", "--sampler ddim --eta 1"], Differ),
        flag("--eta", DDIM2, &["--sampler ddim", "--sampler ddim --eta 0"], Same),
        flag("--class", UP_CLASSES, &["--class 0", "--class 1", "--class 6"], Differ),
        flag(
            "--seed",
            BUNDLE,
            &["", "--seed 5", "--seed 4294967296", "--seed 4294967301", "--seed 18446744073709551615"],
            Differ,
        ),
        flag("--seed", BUNDLE, &["", "--seed 0"], Same),
        flag("--batch", THREE, &["", "--batch 1", "--batch 2", "--batch 4294967295"], Same),
        flag("--batch", "", &["--batch"], Test("a_batch_is_what_is_saved_at_once")),
        flag("--threads", THREE, &["", "--threads 1", "--threads 3"], Same),
        flag("--threads", "", &["--threads"], Test("as_many_threads_as_asked_for")),
        flag("--noise", BUNDLE, &["", "--noise @in/noise_5.npy", "--noise @in/noise_6.npy"], Differ),
        // No step of ddim draws noise, so the seed determines only the initial noise.
        flag("--noise", DDIM2, &["--sampler ddim --seed 6", "--sampler ddim --noise @in/noise_6.npy"], Same),
        flag(
            "--from",
            BUNDLE,
            &["", "--from @disc --from-step 0", "--from @demo/images/8_moon.png --from-step 0"],
            Differ,
        ),
        flag("--from-step", BUNDLE, &["--from @disc --from-step 0", "--from @disc --from-step 1"], Differ),
        flag(
            "--output",
            NO_OUTPUT,
            &["", "-o s.npz", "--output grid.png"],
            Shows(|runs| {
                let names: Vec<Vec<&str>> = runs.iter().map(Run::names).collect();
                assert_eq!(names, [["percept.png"], ["s.npz"], ["grid.png"]]);
            }),
        ),
        flag(
            "--json",
            BUNDLE,
            &["", "--json"],
            Shows(|runs| {
                assert!(
                    runs[0].succeeded().ended.stdout.starts_with("s.npz: 1 picture, 1 sample of each from trunk, ")
                );
                assert_values(&runs[1..], "/samples", &[1]);
            }),
        ),
        flag("--json", BUNDLE, &["", "--json"], Same),
        // Nothing was interrupted.
        flag("--resume", BUNDLE, &["", "--resume"], Same),
        flag(
            "--resume",
            BEGUN,
            &["", "--resume"],
            Shows(|runs| {
                runs[0].fails(1, &["begun.npz.state", "or --resume to go on with it"]);
                runs[1].fails(1, &["begun.npz.state", "the state of an interrupted run"]);
            }),
        ),
        flag("--resume", "", &[], Test("a_run_that_was_killed_goes_on_to_the_same_bytes")),
        flag(
            "--device",
            NO_DEVICE,
            &["--device cpu", "--device reference"],
            Shows(|runs| {
                assert_values(runs, "/device", &["cpu", "reference"]);
            }),
        ),
        flag("--precision", BUNDLE, &["--precision f32", "--precision f16"], Differ),
        flag("--precision", BUNDLE, &["", "--precision f32"], Same),
    ],
};
const RANDOM_5: &str = "--encoder random:resnet18:5 --layer layer3";
const RANDOM_33_BITS: &str = "--encoder random:resnet18:4294967301 --layer layer3";
const UP: &str =
    "sample --device cpu --samples 1 --steps 2 -o s.npz --upsampler @in/up.safetensors --bundle @trunk @star";
const UP_CLASSES: &str =
    "sample --device cpu --samples 1 --steps 2 -o s.npz --upsampler @in/classes.safetensors --bundle @trunk @star";

fn inputs(folder: &Folder) {
    write_upsampler_32_64(&folder.path("up.safetensors"), false);
    write_upsampler_32_64(&folder.path("classes.safetensors"), true);
    for seed in [5, 6] {
        folder.write(&format!("noise_{seed}.npy"), npy(&drawn(seed, 1)));
    }
    folder.write("begun.npz.state", "{}\n");
}

/// Returns the initial noise of samples of 32 x 32 pixels for a seed.
pub fn drawn(seed: u64, samples: u32) -> Vec<f32> {
    let mut noise = vec![0.0; samples as usize * 32 * 32 * 3];
    for (number, of_sample) in (0..).zip(noise.chunks_mut(32 * 32 * 3)) {
        fill(seed, number, 0, Stream::Start, of_sample);
    }
    noise
}

/// Returns images of 32 x 32 pixels in the format in which numpy saves them.
pub fn npy(images: &[f32]) -> Vec<u8> {
    let shape = format!("({}, 32, 32, 3)", images.len() / (32 * 32 * 3));
    let dictionary = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    npy.extend((dictionary.len() as u16).to_le_bytes());
    npy.extend(dictionary.as_bytes());
    npy.extend(images.iter().flat_map(|value| value.to_le_bytes()));
    npy
}

#[test]
fn every_flag_of_sample_is_felt() {
    check(&TABLE);
}
