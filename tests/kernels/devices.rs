//! Tests every device against the twins: on every kernel's table, at the edges of the devices' tiles, and on
//! random shapes.

use percept::Precision;
use percept::kernels::Kernel;
use percept_tests::{Case, SplitMix, adapters, left_out, part, parts_on, ran, seeds};

use crate::edges::{edges, gpu_edges};
use crate::runner::Runner;
use crate::shapes;

#[test]
fn the_cpu_agrees_on_every_table() {
    let cases = super::every_case();
    assert!(cases.len() > 100);
    let runner = Runner::cpu();
    cases.iter().for_each(|case| runner.assert_agrees(case, Precision::F32));
}

#[test]
fn the_cpu_agrees_at_the_edges_of_its_tiles() {
    let runner = Runner::cpu();
    for (seed, kernel) in (0..).zip(edges()) {
        runner.assert_agrees(&Case::random(kernel, seed), Precision::F32);
    }
}

#[test]
fn the_cpu_agrees_on_random_convolutions() {
    let (runner, mut random) = (Runner::cpu(), SplitMix::new(7));
    for seed in 0..200 {
        runner.assert_agrees(&Case::random(shapes::conv(&mut random), seed), Precision::F32);
    }
}

/// The reason why adapters other than the first run fewer cases.
const SAME_SHADERS: &str = "the shaders are those of the first adapter, and only the driver is another";

/// The first adapter and hardware run all cases, and other software adapters a sixteenth of them.
#[test]
fn every_adapter_agrees_on_the_tables() {
    let all = super::every_case();
    for (index, adapter) in adapters().iter().enumerate() {
        let runner = Runner::gpu(adapter);
        let cases = part(&all, parts_on(adapter, if index == 0 { 1 } else { 16 }));
        ran(&adapter.name(), format!("{} of {} cases of the kernels' tables", cases.len(), all.len()));
        cases.for_each(|case| runner.assert_agrees(case, Precision::F32));
    }
}

#[test]
fn the_first_adapter_agrees_at_the_edges_of_its_tiles() {
    let adapters = adapters();
    let Some((first, others)) = adapters.split_first() else { return };
    let runner = Runner::gpu(first);
    let kernels: Vec<Kernel> = edges().into_iter().chain(gpu_edges()).collect();
    let what = format!("{} kernels at the edges of their tiles", kernels.len());
    for (seed, kernel) in (0..).zip(kernels) {
        runner.assert_agrees(&Case::random(kernel, seed), Precision::F32);
    }
    ran(&first.name(), &what);
    others.iter().for_each(|adapter| left_out(&adapter.name(), &what, SAME_SHADERS));
}

/// The number of rounds of random shapes. Each round runs every kernel once.
const ROUNDS: usize = 50;

fn assert_agrees_on_random_shapes(runner: &Runner, seed: u64) {
    let cases = shapes::of_every_kernel(&mut SplitMix::new(11 + seed), seed);
    cases.iter().for_each(|case| runner.assert_agrees(case, Precision::F32));
}

/// Hardware runs all rounds, the first software adapter an eighth of them, and other software adapters one.
#[test]
fn every_adapter_agrees_on_random_shapes() {
    for (index, adapter) in adapters().iter().enumerate() {
        let runner = Runner::gpu(adapter);
        let rounds = ROUNDS / parts_on(adapter, if index == 0 { 8 } else { ROUNDS });
        ran(&adapter.name(), format!("{rounds} of {ROUNDS} random shapes of every kernel"));
        seeds(rounds).for_each(|seed| assert_agrees_on_random_shapes(&runner, seed));
    }
}

/// Runs all cases of the tables and all rounds of random shapes, on software adapters too.
#[test]
#[ignore = "takes many minutes"]
fn every_adapter_agrees_on_all_tables_and_random_shapes() {
    for adapter in adapters() {
        let runner = Runner::gpu(&adapter);
        super::every_case().iter().for_each(|case| runner.assert_agrees(case, Precision::F32));
        seeds(ROUNDS).for_each(|seed| assert_agrees_on_random_shapes(&runner, seed));
    }
}
