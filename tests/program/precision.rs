//! Tests which values of a program are stored in half precision.

use std::sync::Arc;

use percept::Device;
use percept::kernels::{Activation, Conv, Dense, Kernel, Load, RowSlice};
use percept::models::UnetConfig;
use percept::program::{Graph, Program, Role};
use percept::weights::{Recipe, Synthetic, tensors_of};
use percept::{DType, Precision};
use percept_tests::{SplitMix, add_unet, read_output};

/// Builds the program of a UNet from its configuration, without loading weights.
fn unet_of(config: &UnetConfig) -> Program {
    let mut g = Graph::new();
    tensors_of(|scope| {
        let output = add_unet(&mut g, config, scope, 1)?;
        g.output("output", output);
        Ok(())
    })
    .expect("a unet");
    g.finish().expect("a program")
}

fn dtypes(program: &Program) -> Vec<DType> {
    program.values().iter().map(|value| value.dtype).collect()
}

#[test]
fn what_lies_between_the_layers_of_a_unet_is_half() {
    let program = unet_of(&UnetConfig::from_json(UnetConfig::RCDM_128).expect("a configuration"));
    let half = program.stored_in(Precision::F16);
    for value in half.values() {
        let want = match (&value.role, &*value.shape) {
            (Role::Weight(Recipe::Matrix { .. }), _) => DType::F16,
            // Images within the network, but not its input and output, which have 3 and 6 channels.
            (Role::Activation, [1, _, width, channels]) if *width > 2 && channels % 32 == 0 => DType::F16,
            // Statistics are [n, tiles, 2, channels].
            _ => DType::F32,
        };
        assert_eq!(value.dtype, want, "{} {}", value.name, value.shape);
    }
    let (single, half) = (program.memory(), half.memory());
    assert!(half.weights * 100 < single.weights * 51, "{half:?} of {single:?}");
    assert!(half.activations * 100 < single.activations * 60, "{half:?} of {single:?}");
}

#[test]
fn single_precision_is_what_it_was() {
    let program = unet_of(&UnetConfig::from_json(UnetConfig::RCDM_128).expect("a configuration"));
    let back = program.stored_in(Precision::F16).stored_in(Precision::F32);
    assert_eq!(dtypes(&back), dtypes(&program));
    assert_eq!(back.plan(), program.plan());
}

/// Builds two convolutions and a linear layer of one row, and checks the type of each of their values.
#[test]
fn one_kernel_that_cannot_is_enough() {
    let between = |channels: usize, rows: RowSlice| {
        let mut g = Graph::new();
        let x = g.input("x", [1, 5, 5, 8]);
        let affine = g.input("rows", [1, rows.row_length]);
        let conv = |g: &mut Graph, p: Conv, reads: &[_]| g.op1("conv", p, reads).expect("a convolution");
        let first = g.weight(Recipe::matrix("first".into(), 72, channels));
        let y = conv(&mut g, Conv::new([1, 5, 5, 8], channels, 3), &[x, first]);
        let load = Load::Affine { rows, activation: Activation::Silu };
        let second = g.weight(Recipe::matrix("second".into(), 9 * channels, 8));
        let z = conv(&mut g, Conv { load, ..Conv::new([1, 5, 5, channels], 8, 3) }, &[y, affine, second]);
        g.output("z", z);
        let program = g.finish().expect("a program").stored_in(Precision::F16);
        let of = |id| program.value(id).dtype;
        [of(program.ops()[0].reads[0]), of(program.ops()[0].writes[0]), of(program.output("z").expect("z"))]
    };
    let rows = |row_length, offset| RowSlice { row_length, offset };
    // An input is rounded, too, if its channels are a multiple of four; a result that nothing reads is not.
    assert_eq!(between(12, rows(24, 0)), [DType::F16, DType::F16, DType::F32]);
    // Channels that are not a multiple of four, and rows whose offset is not one.
    assert_eq!(between(10, rows(20, 0)), [DType::F16, DType::F32, DType::F32]);
    assert_eq!(between(12, rows(26, 2)), [DType::F16, DType::F32, DType::F32]);
}

/// Each step changes the carried values a little, so rounding them would accumulate errors.
#[test]
fn values_that_are_carried_stay_single() {
    let mut g = Graph::new();
    let conv = |g: &mut Graph, x| {
        let weight = g.weight(Recipe::matrix("w".into(), 72, 8));
        g.op1("conv", Conv::new([1, 5, 5, 8], 8, 3), &[x, weight]).expect("a convolution")
    };
    let [image, x] = ["image", "x"].map(|name| g.input(name, [1, 5, 5, 8]));
    let start = conv(&mut g, image);
    g.begin_body();
    let between = conv(&mut g, x);
    let next = conv(&mut g, between);
    g.carry(x, next, Some(start)).expect("a carry");
    g.output("next", next);
    let program = g.finish().expect("a program").stored_in(Precision::F16);
    let named = |id| program.value(id).dtype;
    let [prologue, first, second] = program.ops() else { panic!("{} ops", program.ops().len()) };
    assert_eq!([prologue.reads[0], first.writes[0]].map(named), [DType::F16; 2], "not carried");
    assert_eq!([prologue.writes[0], first.reads[0], second.writes[0]].map(named), [DType::F32; 3], "carried");
}

/// All sources of a kernel have the same type, and its residual has the type of its result.
#[test]
fn one_source_that_stays_single_keeps_the_others_single() {
    let dtypes_of = |carries_second: bool, carries_residual: bool| {
        let mut g = Graph::new();
        let conv = |g: &mut Graph, conv: Conv, reads: &[_]| g.op1("conv", conv, reads).expect("a convolution");
        let [first, second, residual] = ["first", "second", "residual"].map(|name| g.input(name, [1, 5, 5, 8]));
        g.begin_body();
        let wide = g.weight(Recipe::matrix("wide".into(), 144, 8));
        let both = Conv { in_channels: [8, 8], residual: Some(1), ..Conv::new([1, 5, 5, 8], 8, 3) };
        let sum = conv(&mut g, both, &[first, second, wide, residual]);
        let narrow = g.weight(Recipe::matrix("narrow".into(), 72, 8));
        let [next, next_residual] = [(); 2].map(|()| conv(&mut g, Conv::new([1, 5, 5, 8], 8, 3), &[sum, narrow]));
        if carries_second {
            g.carry(second, next, None).expect("a carry");
        }
        if carries_residual {
            g.carry(residual, next_residual, None).expect("a carry");
        }
        g.output("next", next);
        g.output("next_residual", next_residual);
        let program = g.finish().expect("a program").stored_in(Precision::F16);
        let op = &program.ops()[0];
        let [first, second, _, residual] = op.reads[..] else { panic!("{:?}", op.reads) };
        [first, second, residual, op.writes[0]].map(|id| program.value(id).dtype)
    };
    let (half, single) = (DType::F16, DType::F32);
    assert_eq!(dtypes_of(false, false), [half; 4]);
    assert_eq!(dtypes_of(true, false), [single, single, half, half]);
    assert_eq!(dtypes_of(false, true), [half, half, single, single]);
}

#[test]
fn rows_of_linear_layers_stay_single() {
    let mut g = Graph::new();
    let x = g.input("x", [4, 8]);
    let weight = g.weight(Recipe::matrix("w".into(), 8, 8));
    let dense = Dense {
        rows: 4,
        in_features: 8,
        out_features: 8,
        bias: false,
        residual: false,
        activation: Activation::Identity,
    };
    let y = g.op1("dense", Kernel::from(dense.clone()), &[x, weight]).expect("a layer");
    let z = g.op1("dense", Kernel::from(dense), &[y, weight]).expect("a layer");
    g.output("z", z);
    let program = g.finish().expect("a program").stored_in(Precision::F16);
    assert_eq!(dtypes(&program), [DType::F32, DType::F16, DType::F32, DType::F32]);
}

/// On the host, large samples are widened one by one. The results are bitwise identical, and the memory does
/// not grow with the number of samples.
#[test]
fn large_samples_are_widened_one_by_one() {
    let program = |batch: usize| {
        let mut g = Graph::new();
        let x = g.input("x", [batch, 64, 64, 128]);
        let rows = g.input("rows", [batch, 256]);
        let affine = RowSlice { row_length: 256, offset: 0 };
        let conv = Conv {
            load: Load::Affine { rows: affine, activation: Activation::Silu },
            residual: Some(1),
            stats: Some(64),
            ..Conv::new([batch, 64, 64, 128], 128, 1)
        };
        let weight = g.weight(Recipe::matrix("w".into(), 128, 128));
        let written = g.op("conv", conv, &[x, rows, weight, x]).expect("a convolution");
        let conv = Conv::new([batch, 64, 64, 128], 4, 1);
        let weight = g.weight(Recipe::matrix("v".into(), 128, 4));
        let y = g.op1("last", conv, &[written[0], weight]).expect("a convolution");
        g.output("y", y);
        g.output("stats", written[1]);
        Arc::new(g.finish().expect("a program"))
    };
    let [many, one] = [3, 1].map(program);
    let weights =
        Synthetic::new([("w", [128, 128]), ("v", [4, 128])].map(|(name, shape)| (name.into(), shape.into())).into());
    let mut random = SplitMix::new(1);
    let (x, rows) = (random.floats(3 * 64 * 64 * 128), random.floats(3 * 256));
    let reference = Device::reference().with_precision(Precision::F16);
    for device in [&reference, &Device::cpu().expect("a CPU").with_precision(Precision::F16)] {
        let run = |program: &Arc<Program>, x: &[f32], rows: &[f32]| {
            let mut executor = device.load(program.clone(), &weights).expect("an executor");
            executor.write("x", x).expect("x");
            executor.write("rows", rows).expect("rows");
            executor.run(0..2).expect("a run");
            ["y", "stats"].map(|name| read_output(executor.as_mut(), name).expect("an output"))
        };
        let together = run(&many, &x, &rows);
        for (n, (x, rows)) in x.chunks_exact(64 * 64 * 128).zip(rows.chunks_exact(256)).enumerate() {
            for (all, alone) in together.iter().zip(run(&one, x, rows)) {
                assert!(all[n * alone.len()..][..alone.len()] == alone, "sample {n} on {}", device.name());
                assert!(alone.iter().any(|y| *y != 0.0));
            }
        }
    }
    let scratch =
        |program: &Arc<Program>| reference.load(program.clone(), &weights).expect("an executor").memory().scratch;
    // The first convolution's source, residual and result.
    assert_eq!([scratch(&many), scratch(&one)], [3 * 64 * 64 * 128 * 4; 2]);
}
