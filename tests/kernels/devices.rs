//! Every device against the twins: on every kernel's table, at the edges of the devices' tiles, and on
//! random shapes.

use percept::Precision;
use percept::kernels::Kernel;
use percept_tests::{Case, SplitMix, adapters, as_hardware, left_out, part, ran, seeds};

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

/// Hardware runs everything. The first software adapter runs a third, since it runs everything by the variants of hardware
/// as well, and the others a sixteenth.
#[test]
fn every_adapter_agrees_on_the_tables() {
    let all = super::every_case();
    for (index, adapter) in adapters().iter().enumerate() {
        let on = On::gpu(adapter);
        let parts = match (index, adapter.is_software()) {
            (0, false) => 1,
            (0, true) => 3,
            _ => 16,
        };
        let cases: Vec<&Case> = part(&all, parts).collect();
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
const HARDWARE_ROUNDS: u64 = 2;

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
    for seed in seeds(HARDWARE_ROUNDS) {
        assert_agrees_on_random_shapes(&on, seed);
    }
    let what = format!("{} cases, {edges} edges of tiles and {HARDWARE_ROUNDS} random shapes", cases.len());
    ran(&first.name(), format!("the variants of hardware: {what}"));
}

fn assert_agrees_on_random_shapes(on: &On, seed: u64) {
    let cases = shapes::of_every_kernel(&mut SplitMix::new(11 + seed), seed);
    cases.iter().for_each(|case| on.assert_agrees(case, Precision::F32));
}

/// Rounds of random shapes on the first adapter.
const ROUNDS: u64 = 6;

#[test]
fn every_adapter_agrees_on_random_shapes() {
    for (index, adapter) in adapters().iter().enumerate() {
        let on = On::gpu(adapter);
        let rounds = if index == 0 { ROUNDS } else { 1 };
        seeds(rounds).for_each(|seed| assert_agrees_on_random_shapes(&on, seed));
        ran(&adapter.name(), format!("{rounds} random shapes of every kernel"));
        if index > 0 {
            left_out(&adapter.name(), format!("{} random shapes of every kernel", ROUNDS - rounds), SAME_SHADERS);
        }
    }
}

#[test]
#[ignore = "takes many minutes"]
fn every_adapter_agrees_on_all_tables_and_many_random_shapes() {
    for adapter in adapters() {
        let on = On::gpu(&adapter);
        super::every_case().iter().for_each(|case| on.assert_agrees(case, Precision::F32));
        (0..50).for_each(|seed| assert_agrees_on_random_shapes(&on, seed));
    }
}
