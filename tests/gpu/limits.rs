//! wgpu's default limits, and smaller ones: what does not fit a binding is split, and gives the same.

use std::path::Path;
use std::sync::Arc;

use percept::check::{Options, check};
use percept::gpu::dispatch::{Profile, Region, dispatches, weight_parts};
use percept::gpu::{Adapter, Gpu};
use percept::kernels::{Activation, Concat, Conv, Dense, Kernel, Load, MaxPool, RowSlice};
use percept::models::{UnetConfig, condition, unet};
use percept::pipeline::Device;
use percept::program::{Graph, Program};
use percept::weights::tensors_of;
use percept::wgpu;
use percept_tests::{Case, run_guarded};

use super::first_adapter;

/// A device whose bindings hold so many bytes at most, without any feature.
fn gpu(adapter: &Adapter, max_storage_buffer_binding_size: u64) -> Gpu {
    let limits = wgpu::Limits { max_storage_buffer_binding_size, ..wgpu::Limits::default() };
    Gpu::open_with(adapter, wgpu::Features::empty(), limits).expect("a device of few resources")
}

const DEFAULT: u64 = 128 << 20;

fn default_profile() -> Profile {
    Profile { software: false, subgroups: false, max_binding_bytes: DEFAULT as usize, max_buffer_bytes: 256 << 20 }
}

#[test]
fn the_defaults_do_without_any_feature() {
    let Some(adapter) = first_adapter() else { return };
    let gpu = gpu(&adapter, DEFAULT);
    assert_eq!(*gpu.profile(), Profile { software: gpu.profile().software, ..default_profile() });
    assert!(gpu.device().features().is_empty());
    for name in ["unet_rcdm_32_cbn", "sampler_ddpm_10", "resnet18_64", "head_vicreg"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("goldens/{name}.safetensors"));
        let report = check(&file, &Device::Gpu(gpu.clone()), &Options::default()).expect("a golden");
        assert!(report.passed(), "{report:#?}");
    }
}

/// Kernels with a weight, or a batch, of more than 64 KiB.
fn larger_than_64_kib() -> Vec<Kernel> {
    let rows = RowSlice { row_length: 128, offset: 0 };
    vec![
        Dense {
            rows: 3,
            in_features: 200,
            out_features: 333,
            bias: true,
            residual: true,
            activation: Activation::Silu,
        }
        .into(),
        Conv { bias: true, residual: Some(1), ..Conv::new([1, 6, 6, 16], 200, 3) }.into(),
        Conv {
            bias: true,
            load: Load::Affine { rows, activation: Activation::Silu },
            stats: Some(64),
            ..Conv::new([7, 20, 20, 16], 32, 3)
        }
        .into(),
        Concat { batch: 5, height: 16, width: 16, channels: [40, 24] }.into(),
        MaxPool { batch: 9, height: 16, width: 16, channels: 16, kernel: [3, 3], stride: 2, padding: 1 }.into(),
    ]
}

#[test]
fn what_is_split_gives_the_same_bits() {
    let Some(adapter) = first_adapter() else { return };
    let (whole, small) = (gpu(&adapter, DEFAULT), gpu(&adapter, 64 << 10));
    for (seed, kernel) in (0..).zip(larger_than_64_kib()) {
        let count = |gpu: &Gpu| dispatches(&kernel, gpu.profile()).expect("dispatches").len();
        assert!(count(&small) > count(&whole), "{kernel:?} is not split");
        let case = Case::random(kernel, seed);
        let bits = |gpu: &Gpu| -> Vec<Vec<u32>> {
            let outputs = run_guarded(gpu, &case).unwrap_or_else(|error| panic!("{}: {error}", case.name()));
            outputs.into_iter().map(|output| output.into_iter().map(f32::to_bits).collect()).collect()
        };
        assert_eq!(bits(&small), bits(&whole), "{}", case.name());
    }
}

#[test]
fn large_weights_are_split_between_columns() {
    let profile = default_profile();
    // 160 MiB, and 256 MiB.
    assert_eq!(weight_parts(1024, 40_960, &profile), [0..32_768, 32_768..40_960]);
    assert_eq!(weight_parts(8192, 8192, &profile), [0..4096, 4096..8192]);
    // One column more than a part holds.
    assert_eq!(weight_parts(1 << 19, 65, &profile), [0..64, 64..65]);
    assert_eq!(weight_parts(3, 5, &profile).len(), 1);
}

/// The UNet of RCDM as released, without its weights.
fn rcdm_128() -> Arc<Program> {
    let config = UnetConfig::from_json(UnetConfig::RCDM_128).expect("a configuration");
    let mut g = Graph::new();
    tensors_of(|scope| {
        let x = g.input("x", [1, 128, 128, 3]);
        let time = g.input("time", [1, config.num_channels]);
        let feat = g.input("feat", [1, config.ssl_dim]);
        let condition = condition(&mut g, &config, scope, Some(feat), None)?;
        let output = unet(&mut g, &config, scope, x, time, &condition)?;
        g.output("output", output);
        Ok(())
    })
    .expect("a unet");
    Arc::new(g.finish().expect("a program"))
}

#[test]
fn a_step_of_rcdm_128_fits_the_default_limits_in_at_most_300_dispatches() {
    for (software, subgroups) in [(false, false), (true, false), (true, true)] {
        let profile = Profile { software, subgroups, ..default_profile() };
        let program = rcdm_128();
        let mut count = 0;
        for op in program.ops() {
            let names = op.kernel.parameters().bindings();
            for dispatch in dispatches(&op.kernel, &profile).expect("dispatches") {
                assert!(dispatch.grid.iter().all(|&size| (1..=65_535).contains(&size)), "{dispatch:?}");
                for bound in &dispatch.buffers {
                    let whole = names.iter().find(|binding| binding.name == bound.of);
                    let elements = match (&bound.region, whole) {
                        (Region::Elements { count, .. }, _) => *count,
                        (Region::Whole, Some(binding)) => binding.shape.elements(),
                        (Region::Part(part), Some(binding)) => {
                            binding.shape[0] * weight_parts(binding.shape[0], binding.shape[1], &profile)[*part].len()
                        }
                        (_, None) => panic!("{bound:?} of {}", op.layer),
                    };
                    assert!(elements * 4 <= DEFAULT as usize, "{bound:?} of {}", op.layer);
                }
                count += 1;
            }
        }
        println!(
            "RCDM-128: {} ops, {count} dispatches (software: {software}, subgroups: {subgroups})",
            program.ops().len()
        );
        // With subgroups, on software, statistics are gathered apart.
        assert!(count <= if subgroups { 330 } else { 300 }, "{count} dispatches");
    }
}
