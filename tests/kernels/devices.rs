//! Every device against the twins: on every kernel's table, at the edges of the devices' tiles, and on
//! random shapes.

use percept::Precision;
use percept::kernels::Kernel;
use percept_tests::{Case, SplitMix, adapters, as_hardware, left_out, ran};

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

/// Why the others run less than the first adapter.
const SAME_SHADERS: &str = "the shaders are those of the first adapter, and only the driver is another";

/// The first adapter runs everything, the others every eighth case of the tables.
#[test]
fn every_adapter_agrees_on_the_tables() {
    for (index, adapter) in adapters().iter().enumerate() {
        let on = On::gpu(adapter);
        let step = if index == 0 { 1 } else { 8 };
        let all = super::every_case();
        let cases: Vec<&Case> = all.iter().step_by(step).collect();
        cases.iter().for_each(|case| on.assert_agrees(case, Precision::F32));
        ran(&adapter.name(), format!("{} of {} cases of the kernels' tables", cases.len(), all.len()));
        if index > 0 {
            left_out(&adapter.name(), format!("{} cases of the tables", all.len() - cases.len()), SAME_SHADERS);
        }
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

/// Rounds of random shapes for what a graphics card would take.
const HARDWARE_ROUNDS: u64 = 4;

/// The variants that a card takes, other tiles and workgroups that share a row, on the first adapter: no adapter that plays a
/// GPU would choose them.
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
    let mut random = SplitMix::new(13);
    for seed in 0..HARDWARE_ROUNDS {
        shapes::of_every_kernel(&mut random, seed).iter().for_each(|case| on.assert_agrees(case, Precision::F32));
    }
    let what = format!("{} cases, {edges} edges of tiles and {HARDWARE_ROUNDS} random shapes", cases.len());
    ran(&first.name(), format!("the variants of hardware: {what}"));
}

/// Random shapes of every kernel on the first adapter.
const ROUNDS: u64 = 50;

#[test]
fn every_adapter_agrees_on_random_shapes() {
    for (index, adapter) in adapters().iter().enumerate() {
        let on = On::gpu(adapter);
        let mut random = SplitMix::new(11);
        let rounds = if index == 0 { ROUNDS } else { 4 };
        for seed in 0..rounds {
            shapes::of_every_kernel(&mut random, seed).iter().for_each(|case| on.assert_agrees(case, Precision::F32));
        }
        ran(&adapter.name(), format!("{rounds} random shapes of every kernel"));
        if index > 0 {
            left_out(&adapter.name(), format!("{} random shapes of every kernel", ROUNDS - rounds), SAME_SHADERS);
        }
    }
}
