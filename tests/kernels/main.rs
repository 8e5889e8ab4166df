//! Tests every kernel: its twin against an independent definition of the correct result, on a table of cases
//! that the fast CPU path and a GPU run as well.

mod bounds;
mod devices;
mod edges;
mod extremes;
mod grids;
mod halves;
mod large;
mod names;
mod runner;
mod shapes;
mod splits;
mod variants;

use percept::kernels::{Kernel, MAX_BINDINGS};
use percept::{DType, Error};
use percept_tests::Case;

macro_rules! tables {
    ($($(#[$doc:meta])* $kernel:ident: $module:ident,)*) => {
        $(mod $module;)*

        /// Returns every case of every kernel with its inputs, for comparisons of any executor with the twins.
        pub fn every_case() -> Vec<Case> {
            let mut all = Vec::new();
            $(all.extend($module::table());)*
            all
        }
    };
}

percept::for_each_kernel!(tables);

/// Creates cases with random inputs.
fn random<P: Into<Kernel>>(cases: Vec<P>) -> Vec<Case> {
    with(cases, Case::random)
}

/// Creates cases with the inputs that `inputs` makes from a seed.
fn with<P>(cases: Vec<P>, inputs: impl Fn(P, u64) -> Case) -> Vec<Case> {
    cases.into_iter().zip(0..).map(|(p, seed)| inputs(p, seed)).collect()
}

/// Asserts that a check refused the shape, and that the error names the layer.
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
