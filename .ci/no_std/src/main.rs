//! Samples with percept without std: runs a golden and compares it with PyTorch's results, then samples the same
//! network from drawn noise.
//!
//! This binary defines a panic handler, and a program may have only one. If any crate linked std, there would be
//! two, and the binary would not compile (E0152).
#![no_std]
#![no_main]

extern crate alloc;

mod host;

use alloc::vec::Vec;
use core::ffi::c_int;
use core::fmt::Write;
use core::ops::ControlFlow;

use host::Output;
use percept::Method;
use percept::device::{HostExecutor, Reference};
use percept::diffusion::Sampler;
use percept::diffusion::{Batch, NoiseFrom, SamplingLoop};
use percept::models::UnetConfig;
use percept::weights::{ModelFile, Synthetic, WeightSource};
use percept::{Error, Result, Tensor};

const NAME: &str = "sampler_ddim_reverse_10";
static GOLDEN: &[u8] = include_bytes!("../../../tests/goldens/sampler_ddim_reverse_10.safetensors");

/// The bound on the relative error of a whole sampling run.
const BOUND: f64 = 1e-3;

/// The entry point, which libc's startup code calls.
#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    // If a line cannot be written, the exit code still reports the result.
    match prove() {
        Ok((error, power)) => {
            let _ = writeln!(
                Output::stdout(),
                "{NAME}: relative error {error:.1e}, at most {BOUND:.0e}; from drawn noise: mean square {power:.3}"
            );
            0
        }
        Err(error) => {
            let _ = writeln!(Output::stderr(), "error: {error}");
            1
        }
    }
}

/// Returns the golden's relative error, and the mean square of a batch of samples from drawn noise.
fn prove() -> Result<(f64, f64)> {
    let golden = ModelFile::parse(NAME, GOLDEN)?;
    let config = UnetConfig::from_json(golden.required_metadata("config")?)?;
    let weights = Synthetic::from_json(golden.required_metadata("weights")?)?;
    let image = |name: &str| -> Result<Tensor> {
        let shape = golden.shape(name).ok_or_else(|| Error::file(NAME, name, "none of that name"))?;
        Tensor::new(shape, golden.tensor(name)?)?.permute([0, 2, 3, 1])
    };
    let (start, want) = (image("in.xT")?, image("out.sample")?);
    let feat = golden.tensor("in.feat")?;
    let batch = start.shape()[0];

    let reverse = Method { sampler: Sampler::DdimReverse, steps: "ddim10".into(), clip: true };
    let given = Batch { feat: &feat, start: Some(start.data()), ..Batch::default() };
    let got = sample(&weights, &config, &reverse, batch, NoiseFrom::Host, &given)?;
    let error = relative_error(&got, want.data());
    // Written this way to refuse NaN too.
    if !(error <= BOUND) {
        return Err(Error::config(NAME, alloc::format!("a relative error of at most {BOUND:e}"), error));
    }

    let drawn = Batch { feat: &feat, seed: 7, ..Batch::default() };
    let got = sample(&weights, &config, &Method::ddpm(2), batch, NoiseFrom::Seed, &drawn)?;
    let power = got.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / got.len() as f64;
    // The last step clips to [-1, 1], so the mean square is at most 1. At 0 the images would be constant.
    if !(power > 0.0 && power <= 1.0) {
        return Err(Error::config("a sample from drawn noise", "a mean square in (0, 1]", power));
    }
    Ok((error, power))
}

/// Samples a batch on the reference executor.
fn sample(
    weights: &Synthetic,
    config: &UnetConfig,
    method: &Method,
    batch: usize,
    noise: NoiseFrom,
    inputs: &Batch<'_>,
) -> Result<Vec<f32>> {
    let sampling = SamplingLoop::new(weights, config, method, batch, noise)?;
    let mut executor = HostExecutor::new(sampling.program(), weights, Reference)?;
    sampling.run(&mut executor, inputs, &mut |_, _| Ok(ControlFlow::Continue(())))
}

/// Returns `|got - want|_2 / |want|_2`, or NaN if the lengths differ.
fn relative_error(got: &[f32], want: &[f32]) -> f64 {
    if got.len() != want.len() {
        return f64::NAN;
    }
    let (difference, norm) = got.iter().zip(want).fold((0.0, 0.0), |(difference, norm), (&got, &want)| {
        let (got, want) = (f64::from(got), f64::from(want));
        (difference + (got - want) * (got - want), norm + want * want)
    });
    libm::sqrt(difference / norm)
}
