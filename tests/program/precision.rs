//! Which values of a program are stored in half precision.

use percept::kernels::{Activation, Conv, Dense, Kernel, Load, RowSlice};
use percept::models::{UnetConfig, condition, unet};
use percept::program::{Graph, Program, Role};
use percept::weights::{Recipe, tensors_of};
use percept::{DType, Precision};

/// A UNet of a configuration with so many colours, without its weights.
fn unet_of(config: &UnetConfig) -> Program {
    let mut g = Graph::new();
    tensors_of(|scope| {
        let size = config.image_size;
        let x = g.input("x", [1, size, size, 3]);
        let time = g.input("time", [1, config.num_channels]);
        let feat = g.input("feat", [1, config.ssl_dim]);
        let condition = condition(&mut g, config, scope, Some(feat), None)?;
        let output = unet(&mut g, config, scope, x, time, &condition)?;
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
            // Images within the network; not the network's own, of 3 and 6 channels.
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

/// Two convolutions, a linear layer of one row: what each of their values is stored as.
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
    // An input is rounded, too, where it lies in fours; a result that nothing reads is not.
    assert_eq!(between(12, rows(24, 0)), [DType::F16, DType::F16, DType::F32]);
    // Channels that are no multiple of four, and rows that do not begin at one.
    assert_eq!(between(10, rows(20, 0)), [DType::F16, DType::F32, DType::F32]);
    assert_eq!(between(12, rows(26, 2)), [DType::F16, DType::F32, DType::F32]);
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
