//! Every kernel: its twin against an independent statement of what is true, on a table of cases that
//! the fast CPU path and a GPU run as well.

mod advance;
mod attention;
mod avg_pool;
mod bounds;
mod channel_stats;
mod concat;
mod conv;
mod ddim_step;
mod ddpm_step;
mod dense;
mod devices;
mod edges;
mod embedding;
mod extremes;
mod film_affine;
mod grids;
mod group_affine;
mod halves;
mod large;
mod layer_norm;
mod max_pool;
mod names;
mod noise;
mod not_finite;
mod on;
mod resize_bilinear;
mod shapes;
mod splits;
mod to_rgba8;
mod tokens;

use percept::kernels::{Kernel, MAX_BINDINGS};
use percept::{DType, Error};
use percept_tests::Case;

/// Every case of every kernel with its inputs: what any executor is compared with the twins on.
pub fn every_case() -> Vec<Case> {
    fn with<P>(cases: Vec<P>, inputs: impl Fn(P, u64) -> Case) -> impl Iterator<Item = Case> {
        cases.into_iter().zip(0..).map(move |(p, seed)| inputs(p, seed))
    }
    fn random<P: Into<Kernel>>(cases: Vec<P>) -> impl Iterator<Item = Case> {
        with(cases, Case::random)
    }
    let mut all = Vec::new();
    all.extend(random(advance::cases()));
    all.extend(with(attention::cases(), attention::inputs));
    all.extend(random(avg_pool::cases()));
    all.extend(random(channel_stats::cases()));
    all.extend(random(concat::cases()));
    all.extend(random(conv::cases()));
    all.extend(with(ddim_step::cases(), ddim_step::inputs));
    all.extend(with(ddpm_step::cases(), ddpm_step::inputs));
    all.extend(random(dense::cases()));
    all.extend(with(embedding::cases(), embedding::inputs));
    all.extend(random(film_affine::cases()));
    all.extend(with(group_affine::cases(), group_affine::inputs));
    all.extend(with(layer_norm::cases(), layer_norm::inputs));
    all.extend(random(max_pool::cases()));
    all.extend(random(noise::cases()));
    all.extend(with(not_finite::cases(), not_finite::inputs));
    all.extend(random(resize_bilinear::cases()));
    all.extend(with(to_rgba8::cases(), to_rgba8::inputs));
    all.extend(random(tokens::cases()));
    all
}

/// Asserts that a check failed for the shape, and names the layer.
#[track_caller]
pub fn refused(checked: percept::Result<()>, layer: &str) {
    match checked {
        Err(Error::Shape(mismatch)) => assert_eq!(mismatch.at, layer),
        other => panic!("want a refused shape at {layer}, got {other:?}"),
    }
}

#[test]
fn every_kernel_binds_few_buffers_and_writes_the_last() {
    for case in every_case() {
        let bindings = case.kernel.parameters().bindings();
        assert!(bindings.len() <= MAX_BINDINGS, "{}", case.name());
        let written: Vec<bool> = bindings.iter().map(|b| b.written).collect();
        assert!(written.is_sorted() && written.contains(&true), "{}", case.name());
        let mut names: Vec<&str> = bindings.iter().map(|b| b.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), bindings.len(), "buffers of one name: {}", case.name());
    }
}

#[test]
fn every_twin_writes_everything_and_the_same_again() {
    for case in every_case() {
        let first = case.run(percept::reference::run);
        let bindings = case.kernel.parameters().bindings();
        for (output, binding) in first.iter().zip(bindings.iter().filter(|b| b.written)) {
            let finite = output.iter().all(|&word| f32::from_bits(word).is_finite());
            assert!(finite || binding.dtype == DType::U32, "{}", case.name());
        }
        assert_eq!(first, case.run(percept::reference::run), "{}", case.name());
    }
}
