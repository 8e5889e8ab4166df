//! Every device against the twins: on every kernel's table, at the edges of the devices' tiles, and on
//! random shapes.

use percept::Precision;
use percept::kernels::Kernel;
use percept_tests::{Case, SplitMix, adapters, as_hardware, left_out, part, parts_on, ran, seeds};

use crate::edges::{edges, gpu_edges};
use crate::on::On;
use crate::shapes;

#[test]
fn the_cpu_agrees_on_every_table() {
    let cases = super::every_case();
    assert!(cases.len() > 100);
    let on = On::cpu();
    cases.iter().for_each(|case| on.assert_agrees(case, Precision::F32));
}

#[test]
fn the_cpu_agrees_at_the_edges_of_its_tiles() {
    let on = On::cpu();
    for (seed, kernel) in (0..).zip(edges()) {
        on.assert_agrees(&Case::random(kernel, seed), Precision::F32);
    }
}

#[test]
fn the_cpu_agrees_on_random_convolutions() {
    let (on, mut random) = (On::cpu(), SplitMix::new(7));
    for seed in 0..200 {
        on.assert_agrees(&Case::random(shapes::conv(&mut random), seed), Precision::F32);
    }
}

/// Why an adapter other than the first runs less.
const SAME_SHADERS: &str = "the shaders are those of the first adapter, and only the driver is another";

/// Hardware runs all cases. The first software adapter runs a third of them, since it also runs all of them with the
/// variants of hardware, and other software adapters run a sixteenth.
#[test]
fn every_adapter_agrees_on_the_tables() {
    let all = super::every_case();
    for (index, adapter) in adapters().iter().enumerate() {
        let on = On::gpu(adapter);
        let cases = part(&all, parts_on(adapter, if index == 0 { 3 } else { 16 }));
        ran(&adapter.name(), format!("{} of {} cases of the kernels' tables", cases.len(), all.len()));
        cases.for_each(|case| on.assert_agrees(case, Precision::F32));
    }
}

#[test]
fn the_first_adapter_agrees_at_the_edges_of_its_tiles() {
    let adapters = adapters();
    let Some((first, others)) = adapters.split_first() else { return };
    let on = On::gpu(first);
    let kernels: Vec<Kernel> = edges().into_iter().chain(gpu_edges()).collect();
    let what = format!("{} kernels at the edges of their tiles", kernels.len());
    for (seed, kernel) in (0..).zip(kernels) {
        on.assert_agrees(&Case::random(kernel, seed), Precision::F32);
    }
    ran(&first.name(), &what);
    others.iter().for_each(|adapter| left_out(&adapter.name(), &what, SAME_SHADERS));
}

/// The variants that a graphics card takes, with other tiles and with workgroups that share a row, on the first adapter. A
/// software adapter does not choose them by itself.
#[test]
fn the_first_adapter_agrees_on_the_variants_of_hardware() {
    let Some(first) = adapters().into_iter().next() else { return };
    let on = On::gpu_as(&first, as_hardware);
    let cases = super::every_case();
    cases.iter().for_each(|case| on.assert_agrees(case, Precision::F32));
    let kernels: Vec<Kernel> = edges().into_iter().chain(gpu_edges()).collect();
    let edges = kernels.len();
    for (seed, kernel) in (0..).zip(kernels) {
        on.assert_agrees(&Case::random(kernel, seed), Precision::F32);
    }
    let rounds = ROUNDS / parts_on(&first, 25);
    seeds(rounds).for_each(|seed| assert_agrees_on_random_shapes(&on, seed));
    let what = format!("{} cases, {edges} edges of tiles and {rounds} random shapes", cases.len());
    ran(&first.name(), format!("the variants of hardware: {what}"));
}

/// Rounds of random shapes, of each of which every kernel runs one.
const ROUNDS: usize = 50;

fn assert_agrees_on_random_shapes(on: &On, seed: u64) {
    let cases = shapes::of_every_kernel(&mut SplitMix::new(11 + seed), seed);
    cases.iter().for_each(|case| on.assert_agrees(case, Precision::F32));
}

/// Hardware runs all rounds, the first software adapter an eighth of them, and other software adapters one.
#[test]
fn every_adapter_agrees_on_random_shapes() {
    for (index, adapter) in adapters().iter().enumerate() {
        let on = On::gpu(adapter);
        let rounds = ROUNDS / parts_on(adapter, if index == 0 { 8 } else { ROUNDS });
        ran(&adapter.name(), format!("{rounds} of {ROUNDS} random shapes of every kernel"));
        seeds(rounds).for_each(|seed| assert_agrees_on_random_shapes(&on, seed));
    }
}

/// All cases of the tables and all rounds of random shapes, on software adapters too.
#[test]
#[ignore = "takes many minutes"]
fn every_adapter_agrees_on_all_tables_and_random_shapes() {
    for adapter in adapters() {
        let on = On::gpu(&adapter);
        super::every_case().iter().for_each(|case| on.assert_agrees(case, Precision::F32));
        seeds(ROUNDS).for_each(|seed| assert_agrees_on_random_shapes(&on, seed));
    }
}
