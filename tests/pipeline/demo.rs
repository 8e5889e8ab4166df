//! Tests the demo set: its crops, its bundles, and that the same seed gives the same pictures.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use image::RgbImage;
use percept::Precision;
use percept::device::cpu::Cpu;
use percept::diffusion::Sampler;
use percept::diffusion::{Batch, NoiseFrom, SamplingLoop};
use percept::images;
use percept::models::UnetConfig;
use percept::weights::OpenModel;
use percept::weights::WeightSource;
use percept::{Bundle, Device, Method, Rcdm, SampleOptions};
use percept_tests::{SplitMix, relative_error};
use safetensors::tensor::Dtype;

use crate::model_files::{asset, cpu};

/// Returns the example pictures in the order of their file names.
fn pictures() -> Vec<(PathBuf, RgbImage)> {
    let entries = fs::read_dir(asset("images")).expect("the demo's pictures");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), images::open(&path).expect("a picture"))).collect()
}

fn bundle(layer: &str) -> Bundle {
    Bundle::open(asset(&format!("{layer}.bundle.json")), &cpu()).expect("a bundle")
}

/// The crops are identical, bit for bit, to the inputs of PyTorch's encoder.
#[test]
fn crops_are_pillows() {
    let golden = OpenModel::open(asset("goldens/encoder.safetensors")).expect("the golden");
    let (dtype, want) = golden.raw("in.image").expect("the images");
    assert_eq!((dtype, want.len()), (Dtype::F32, 8 * 3 * 64 * 64 * 4));
    let preprocessing = *bundle("trunk").encoder.preprocessing();
    assert_eq!((preprocessing.preset(), preprocessing.size()), ("rcdm", 64));
    let pictures = pictures();
    assert_eq!(pictures.len(), 8);
    for ((path, picture), want) in pictures.iter().zip(want.chunks_exact(3 * 64 * 64 * 4)) {
        let input = preprocessing.to_input(&preprocessing.crop(picture).expect("a crop"));
        // Planes of red, green and blue.
        let planes = (0..3).flat_map(|channel| input.iter().skip(channel).step_by(3));
        let got: Vec<u8> = planes.flat_map(|value| value.to_le_bytes()).collect();
        assert!(got == want, "{} differs", path.display());
    }
}

#[test]
fn bundles_go_from_a_picture_to_pictures() {
    for (layer, files) in [("trunk", 1), ("head", 2)] {
        let mut bundle = bundle(layer);
        assert_eq!((bundle.layer.as_str(), bundle.encoder.dim(), bundle.rcdm.config().ssl_dim), (layer, 256, 256));
        assert_eq!(bundle.encoder.models().count(), files);
        let pictures = pictures();
        let encoded: Vec<Vec<f32>> =
            pictures[..2].iter().map(|(_, picture)| bundle.encoder.encode(picture).expect("h")).collect();
        let golden = if layer == "head" { "head" } else { "encoder" };
        let golden = OpenModel::open(asset(&format!("goldens/{golden}.safetensors"))).expect("the golden");
        let want = golden.tensor(&format!("out.{layer}")).expect("representations of all pictures");
        for (h, want) in encoded.iter().zip(want.chunks_exact(256)) {
            assert_eq!(h.len(), 256);
            assert!(relative_error(h, want) <= 1e-5, "{layer}");
        }
        assert_ne!(encoded[0], encoded[1]);

        let options = SampleOptions { samples: 2, method: Method::ddim(2), seed: 3, ..SampleOptions::default() };
        let samples = bundle.rcdm.sample(&encoded[0], &options).expect("pictures");
        assert!(samples.iter().all(|sample| sample.dimensions() == (32, 32)));
        // Each sample has its own noise, and more than one colour.
        assert_ne!(samples[0], samples[1]);
        assert!(samples.iter().all(|sample| sample.pixels().any(|pixel| pixel != sample.get_pixel(0, 0))));
    }
}

/// Tests a run of the demo in half precision. It gives other bytes but nearly the same pictures, in half the
/// memory.
#[test]
fn half_precision_makes_nearly_the_same_pictures() {
    let h = bundle("trunk").encoder.encode(&pictures()[1].1).expect("h");
    let options = SampleOptions { samples: 4, method: Method::ddpm(10), seed: 2, ..SampleOptions::default() };
    let on = |precision| {
        let device = Device::cpu().expect("a CPU").with_precision(precision);
        let rcdm = Rcdm::open(asset("decoder_trunk.safetensors"), &device).expect("a decoder");
        let memory = rcdm.estimate(&options.method, 4).expect("an estimate");
        (rcdm.sample(&h, &options).expect("pictures"), memory)
    };
    let ((single, whole), (half, less)) = (on(Precision::F32), on(Precision::F16));
    let bytes =
        |pictures: &[RgbImage]| pictures.iter().flat_map(|picture| picture.as_raw().clone()).collect::<Vec<u8>>();
    let (single, half) = (bytes(&single), bytes(&half));
    let differences: Vec<u8> = single.iter().zip(&half).map(|(a, b)| a.abs_diff(*b)).collect();
    let largest = differences.iter().max().copied().unwrap_or_default();
    let near = differences.iter().filter(|difference| **difference <= 2).count();
    println!("largest difference {largest}, {near} of {} bytes within 2", differences.len());
    assert!(largest > 0 && largest <= 16 && near * 100 >= 99 * differences.len(), "{largest}, {near}");
    assert!(less.weights * 100 < whole.weights * 55, "{less:?} of {whole:?}");
    assert!(less.activations * 100 < whole.activations * 75, "{less:?} of {whole:?}");
}

fn sample(rcdm: &mut Rcdm, encoded: &[Vec<f32>], options: &SampleOptions) -> Vec<Vec<RgbImage>> {
    let encoded: Vec<&[f32]> = encoded.iter().map(Vec::as_slice).collect();
    rcdm.sample_all(&encoded, options, &mut |_| ControlFlow::Continue(())).expect("pictures")
}

#[test]
fn the_same_seed_makes_the_same_bytes() {
    let mut encoder = bundle("trunk").encoder;
    let encoded: Vec<Vec<f32>> =
        pictures()[..2].iter().map(|(_, picture)| encoder.encode(picture).expect("h")).collect();
    let on = |threads| {
        let device = Device::from(Cpu::new(Some(threads)).expect("threads"));
        Rcdm::open(asset("decoder_trunk.safetensors"), &device).expect("a decoder")
    };
    let noisy = Method { sampler: Sampler::Ddim { eta: 1.0 }, ..Method::ddim(2) };
    for method in [Method::ddim(2), Method::ddpm(3), noisy] {
        let options =
            |seed, batch| SampleOptions { samples: 4, method: method.clone(), seed, batch, ..SampleOptions::default() };
        let want = sample(&mut on(1), &encoded, &options(5, Some(1)));
        assert_eq!(want.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]);
        for threads in [1, 2] {
            let mut rcdm = on(threads);
            // 8 samples in batches of 1, 3 (the last one of 2) and 4, and all at once.
            for batch in [Some(1), Some(3), Some(4), None] {
                let got = sample(&mut rcdm, &encoded, &options(5, batch));
                assert!(got == want, "{method:?}, batch {batch:?}, {threads} threads");
            }
            // The first picture's samples are the first of the run, with or without a second picture.
            assert!(rcdm.sample(&encoded[0], &options(5, None)).expect("pictures") == want[0]);
            let other = sample(&mut rcdm, &encoded, &options(6, None));
            assert!(other.iter().flatten().zip(want.iter().flatten()).all(|(other, want)| other != want));
        }
    }
}

/// Every float is the same, not only the bytes, whatever else is in the batch.
#[test]
fn samples_do_not_depend_on_their_batch() {
    let model = OpenModel::open(asset("decoder_trunk.safetensors")).expect("a decoder");
    let config = UnetConfig::from_json(model.metadata("percept.config").expect("metadata")).expect("a configuration");
    let h = SplitMix::new(4).floats(6 * config.ssl_dim);
    let run = |threads: usize, size: usize| -> Vec<u32> {
        let device = Device::from(Cpu::new(Some(threads)).expect("threads"));
        let sampling = SamplingLoop::new(&model, &config, &Method::ddpm(2), size, NoiseFrom::Seed).expect("a program");
        let mut executor = device.load(sampling.program(), &model).expect("an executor");
        let mut bits = Vec::new();
        for (first, feat) in h.chunks_exact(size * config.ssl_dim).enumerate() {
            let batch = Batch { feat, seed: 7, first_sample: (first * size) as u32, ..Batch::default() };
            let x = sampling.run(executor.as_mut(), &batch, &mut |_, _| Ok(ControlFlow::Continue(())));
            bits.extend(x.expect("samples").into_iter().map(f32::to_bits));
        }
        bits
    };
    let want = run(1, 1);
    assert_eq!(want.len(), 6 * 32 * 32 * 3);
    for (threads, size) in [(1, 2), (1, 3), (1, 6), (2, 1), (2, 2), (2, 3), (2, 6)] {
        assert!(run(threads, size) == want, "{threads} threads, batches of {size}");
    }
}

/// All 64 bits of a seed matter.
#[test]
fn seeds_differ_in_every_bit() {
    let rcdm = Rcdm::open(asset("decoder_trunk.safetensors"), &cpu()).expect("a decoder");
    let h = vec![0.5; rcdm.config().ssl_dim];
    let of = |seed| {
        let options = SampleOptions { samples: 1, method: Method::ddim(2), seed, ..SampleOptions::default() };
        rcdm.sample(&h, &options).expect("a picture")
    };
    let zero = of(0);
    assert!(of(0) == zero);
    assert!([1, 1 << 31, 1 << 32, 1 << 63].into_iter().all(|seed| of(seed) != zero));
}
