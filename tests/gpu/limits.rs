//! Tests wgpu's default limits, and smaller ones: work that does not fit a binding is split, and gives the same
//! results.

use std::path::Path;
use std::sync::Arc;

use percept::Device;
use percept::check::{Options, check};
use percept::device::Executor;
use percept::device::gpu::dispatch::{Capabilities, Region, dispatches, weight_parts};
use percept::device::gpu::{Adapter, Gpu, GpuExecutor};
use percept::kernels::{
    Activation, AvgPool, ChannelStats, Concat, Conv, Dense, Kernel, LayerNorm, Load, MaxPool, ResizeBilinear, RowSlice,
    Tokens,
};
use percept::models::{ResNetConfig, UnetConfig, resnet};
use percept::program::{Graph, Program, Role};
use percept::weights::{Synthetic, tensors_of};
use percept::{DType, Precision, wgpu};
use percept_tests::{Case, add_unet, bindings, run_guarded};

use super::first_adapter;

/// Opens a device without any feature, and with this limit of a binding in bytes.
fn gpu(adapter: &Adapter, max_storage_buffer_binding_size: u64) -> Gpu {
    let limits = wgpu::Limits { max_storage_buffer_binding_size, ..wgpu::Limits::default() };
    Gpu::open_with(adapter, wgpu::Features::empty(), limits).expect("a device of few resources")
}

const DEFAULT: u64 = 128 << 20;

fn default_capabilities() -> Capabilities {
    Capabilities { native_f16: false, max_binding_bytes: DEFAULT as usize, max_buffer_bytes: 256 << 20 }
}

#[test]
fn the_defaults_do_without_any_feature() {
    let Some(adapter) = first_adapter() else { return };
    let gpu = gpu(&adapter, DEFAULT);
    assert_eq!(*gpu.capabilities(), default_capabilities());
    assert!(gpu.device().features().is_empty());
    for name in [
        "unet_rcdm_32_cbn",
        "superres_16_32",
        "sampler_cosine_6",
        "resnet18_64",
        "dinov2_reg4_p14_70x84",
        "head_vicreg",
    ] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("goldens/{name}.safetensors"));
        let report = check(&file, &Device::from(gpu.clone()), &Options::default()).expect("a golden");
        assert!(report.passed(), "{report:#?}");
    }
}

/// Returns kernels with a weight, or a batch, of more than 64 KiB.
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
        Tokens { batch: 7, height: 8, width: 9, channels: 40, prefix: 8, own_prefix: false }.into(),
        Tokens { batch: 7, height: 8, width: 9, channels: 40, prefix: 8, own_prefix: true }.into(),
        ResizeBilinear { batch: 9, height: 20, width: 9, channels: 8, out_height: 40, out_width: 24 }.into(),
        LayerNorm { batch: 9, tokens: 80, first: 5, count: 72, channels: 40, eps: 1e-6 }.into(),
    ]
}

/// Returns kernels of which one image is larger than 64 KiB, so that they must run in strips.
fn images_larger_than_64_kib() -> Vec<Kernel> {
    let rows = RowSlice { row_length: 100, offset: 4 };
    let load = Load::Affine { rows, activation: Activation::Silu };
    let affine = Conv { load, bias: true, ..Conv::new([2, 40, 40, 16], 32, 3) };
    let conv = |source, out_channels, kernel| Conv::new(source, out_channels, kernel);
    vec![
        // The first gathers statistics in the store; the second cannot with its tile, and computes them
        // separately.
        Conv { stats: Some(64), add: Some(RowSlice { row_length: 36, offset: 4 }), ..affine.clone() }.into(),
        Conv { stats: Some(80), ..affine.clone() }.into(),
        // The source fits, but its enlargement does not; the residual is half as large as the result.
        Conv { upsample: 2, residual: Some(2), ..conv([2, 32, 16, 16], 16, 3) }.into(),
        // The result fits, but the source does not; columns and channels are not multiples of four.
        Conv { stride: 3, padding: 2, ..conv([1, 44, 94, 6], 7, 4) }.into(),
        Conv { in_channels: [16, 8], residual: Some(1), ..conv([1, 35, 32, 0], 36, 3) }.into(),
        Conv { stride: 2, padding: 3, activation: Activation::Relu, ..conv([2, 96, 80, 3], 12, 7) }.into(),
        // Some lines lie completely in the padding, above and below.
        Conv { padding: 4, ..conv([1, 96, 80, 3], 4, 1) }.into(),
        MaxPool { batch: 2, height: 50, width: 40, channels: 16, kernel: [3, 3], stride: 2, padding: 1 }.into(),
        MaxPool { batch: 1, height: 50, width: 60, channels: 6, kernel: [2, 3], stride: 1, padding: 1 }.into(),
        AvgPool { batch: 2, height: 45, width: 40, channels: 16, kernel: [2, 2], load }.into(),
        ChannelStats { batch: 2, height: 90, width: 16, channels: 32, tile: 64 }.into(),
        ChannelStats { batch: 1, height: 50, width: 30, channels: 32, tile: 90 }.into(),
        Concat { batch: 2, height: 40, width: 16, channels: [24, 12] }.into(),
    ]
}

/// Tests batches in half precision, too, with bindings half as large. A network below tests images in half
/// precision.
#[test]
fn what_is_split_gives_the_same_bits() {
    let Some(adapter) = first_adapter() else { return };
    let whole = gpu(&adapter, DEFAULT);
    let all = larger_than_64_kib().into_iter().chain(images_larger_than_64_kib()).collect();
    for (precision, limit, kernels) in
        [(Precision::F32, 64 << 10, all), (Precision::F16, 32 << 10, larger_than_64_kib())]
    {
        let small = gpu(&adapter, limit);
        for (seed, kernel) in (0..).zip(kernels) {
            let case = Case::random(kernel, seed);
            let bindings = bindings(&case, precision);
            if precision == Precision::F16 && bindings.iter().all(|binding| binding.dtype != DType::F16) {
                continue;
            }
            let count = |gpu: &Gpu| dispatches(&case.kernel, &bindings, gpu.capabilities()).expect("dispatches").len();
            assert!(count(&small) > count(&whole), "{} is not split in {}", case.name(), precision.name());
            let bits = |gpu: &Gpu| -> Vec<Vec<u32>> {
                let outputs =
                    run_guarded(gpu, &case, precision).unwrap_or_else(|error| panic!("{}: {error}", case.name()));
                outputs.into_iter().map(|output| output.into_iter().map(f32::to_bits).collect()).collect()
            };
            let got = bits(&small);
            assert!(got.iter().all(|output| is_something(output)), "{}", case.name());
            assert_eq!(got, bits(&whole), "{} in {}", case.name(), precision.name());
        }
    }
}

/// Returns true if values are finite and not all the same, so that two runs that both failed do not pass as
/// equal.
fn is_something(bits: &[u32]) -> bool {
    bits.iter().all(|word| f32::from_bits(*word).is_finite()) && bits.iter().any(|word| *word != bits[0])
}

#[test]
fn large_weights_are_split_between_columns() {
    let capabilities = default_capabilities();
    // 160 MiB, and 256 MiB.
    assert_eq!(weight_parts(1024, 40_960, DType::F32, &capabilities), [0..32_768, 32_768..40_960]);
    assert_eq!(weight_parts(8192, 8192, DType::F32, &capabilities), [0..4096, 4096..8192]);
    // One column more than a part holds.
    assert_eq!(weight_parts(1 << 19, 65, DType::F32, &capabilities), [0..64, 64..65]);
    assert_eq!(weight_parts(3, 5, DType::F32, &capabilities).len(), 1);
}

/// Builds ResNet-18 for an image of `size` x `size` pixels. At 224 pixels the result of its stem alone has 3.2 MB.
fn resnet_18(size: usize) -> (Arc<Program>, Synthetic) {
    let config = ResNetConfig::named("resnet18").expect("a configuration");
    let mut g = Graph::new();
    let shapes = tensors_of(|scope| {
        let image = g.input("image", [1, size, size, 3]);
        let values = resnet(&mut g, &config, scope, image)?;
        g.output("trunk", values.trunk);
        Ok(())
    });
    (Arc::new(g.finish().expect("a program")), Synthetic::new(shapes.expect("a ResNet")))
}

#[test]
fn a_network_in_strips_gives_the_same_bits() {
    let Some(adapter) = first_adapter() else { return };
    // The limits are smaller than the largest activations, and large enough for the partial results of split sums. With
    // less room, sums are split into fewer parts and round differently.
    for (precision, size, strip) in [(Precision::F32, 224, 2 << 20), (Precision::F16, 288, 9 << 18)] {
        let (single, weights) = resnet_18(size);
        let program = Arc::new(single.stored_in(precision));
        let trunk = |bytes: u64| trunk(&gpu(&adapter, bytes), &program, &weights);
        let (whole, strips) = (trunk(DEFAULT), trunk(strip));
        assert!(strips.0 > whole.0, "{} dispatches, and {} in strips", whole.0, strips.0);
        assert_eq!(strips.1, whole.1);
    }
}

/// Returns the number of dispatches of an encoder's program, and the bits of its `trunk`.
fn trunk(gpu: &Gpu, program: &Arc<Program>, weights: &Synthetic) -> (usize, Vec<u32>) {
    let mut executor = GpuExecutor::guarded(gpu, program.clone(), weights).expect("a network");
    let elements = program.value(program.input("image").expect("an image")).shape.elements();
    let image: Vec<f32> = (0..elements).map(|i| (i % 1009) as f32 / 500.0 - 1.0).collect();
    executor.write("image", &image).expect("an input");
    executor.run(program.body()).expect("a run");
    let trunk = executor.read("trunk").expect("an output");
    assert_eq!(executor.broken_guard().expect("guards"), None);
    (executor.dispatches(program.body()), trunk.into_iter().map(f32::to_bits).collect())
}

/// Builds the UNet of RCDM as released, for pictures of `size` x `size` pixels, without its weights.
fn rcdm_128(size: usize) -> Arc<Program> {
    let config = UnetConfig::from_json(UnetConfig::RCDM_128).expect("a configuration");
    step(&UnetConfig { image_size: size, ..config })
}

/// Builds one of ADM's upsamplers as released.
fn upsampler(preset: &str) -> Arc<Program> {
    let flags = percept_weights::hyperparameters::preset(preset).expect("a preset");
    step(&UnetConfig::of_kind("superres", &serde_json::Value::Object(flags).to_string()).expect("a configuration"))
}

/// Builds a UNet for one picture.
fn step(config: &UnetConfig) -> Arc<Program> {
    let mut g = Graph::new();
    tensors_of(|scope| {
        let output = add_unet(&mut g, config, scope, 1)?;
        g.output("output", output);
        Ok(())
    })
    .expect("a unet");
    Arc::new(g.finish().expect("a program"))
}

/// Returns the number of dispatches of a program. Each must fit the default limits and bind parts that begin at
/// valid offsets.
fn dispatches_within_the_defaults(program: &Program, capabilities: &Capabilities) -> usize {
    let mut count = 0;
    for op in program.ops() {
        let bindings = program.bindings(op);
        for dispatch in dispatches(&op.kernel, &bindings, capabilities).expect("dispatches") {
            assert!(dispatch.grid.iter().all(|&size| (1..=65_535).contains(&size)), "{dispatch:?}");
            for bound in &dispatch.buffers {
                let whole = bindings.iter().find(|binding| binding.name == bound.of);
                let elements = match (&bound.region, whole) {
                    (Region::Elements { count, .. }, _) => *count,
                    (Region::Whole, Some(binding)) => binding.shape.elements(),
                    (Region::Part(part), Some(binding)) => {
                        binding.shape[0]
                            * weight_parts(binding.shape[0], binding.shape[1], binding.dtype, capabilities)[*part].len()
                    }
                    (_, None) => panic!("{bound:?} of {}", op.layer),
                };
                let bytes_of_one = whole.map_or(4, |binding| binding.dtype.bytes());
                assert!(elements * bytes_of_one <= DEFAULT as usize, "{bound:?} of {}", op.layer);
                if let Region::Elements { first, .. } = bound.region {
                    assert!((first * bytes_of_one).is_multiple_of(256), "{bound:?} of {}", op.layer);
                }
            }
            count += 1;
        }
    }
    count
}

#[test]
fn a_step_of_rcdm_128_fits_the_default_limits_in_at_most_300_dispatches() {
    let program = rcdm_128(128);
    let count = dispatches_within_the_defaults(&program, &default_capabilities());
    println!("RCDM-128: {} ops, {count} dispatches", program.ops().len());
    assert!(count <= 300, "{count} dispatches");
}

/// Its largest images have 256 MiB, twice the limit of a binding; in half precision they just fit one.
#[test]
fn a_step_on_512_pixels_fits_the_default_limits() {
    let capabilities = default_capabilities();
    let program = rcdm_128(512);
    for (precision, most) in [(Precision::F32, 256 << 20), (Precision::F16, 128 << 20)] {
        let program = program.stored_in(precision);
        let largest = program.values().iter().filter(|value| value.role == Role::Activation).map(|value| value.bytes());
        assert_eq!(largest.max(), Some(most));
        let count = dispatches_within_the_defaults(&program, &capabilities);
        println!("RCDM-128 on 512 pixels in {}: {} ops, {count} dispatches", precision.name(), program.ops().len());
    }
}

/// Tests the upsamplers from 64 to 256 pixels and from 128 to 512. The largest images of the latter are one and
/// a half times as large as a binding.
#[test]
fn a_step_of_adms_upsamplers_fits_the_default_limits() {
    for (preset, mebibytes) in [("upsampler-64-256", 48), ("upsampler-128-512", 192)] {
        let program = upsampler(preset);
        let largest = program.values().iter().filter(|value| value.role == Role::Activation).map(|value| value.bytes());
        assert_eq!(largest.max().map(|bytes| bytes >> 20), Some(mebibytes), "{preset}");
        let count = dispatches_within_the_defaults(&program, &default_capabilities());
        println!("{preset}: {} ops, {count} dispatches", program.ops().len());
    }
}
