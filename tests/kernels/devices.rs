//! Every device against the twins: on every kernel's table, at the edges of the devices' tiles, and on
//! random shapes.

use percept::kernels::{Activation, Attention, Conv, Dense, Kernel, Load, QkvOrder, RowSlice};
use percept::pipeline::Device;
use percept_tests::{Bound, Case, SplitMix, assert_close, run_on};

/// Half a unit in the last place of 1: the largest relative error of one rounding.
const EPSILON: f64 = f32::EPSILON as f64 / 2.0;

/// Roundings of a sum of so many products, whatever its order: one per product and addition in a
/// chain, blocks of 128 terms added up, and what stands around it.
fn roundings(terms: usize) -> f64 {
    (terms.min(128) + terms.div_ceil(128) + 16) as f64
}

/// How far a device's result may be from the twin's, per element and output.
///
/// A sum's error is at most n eps sum |a b|, n being its roundings. The sum of magnitudes is what the
/// twin makes of the magnitudes of all inputs without activations, since no activation is larger than
/// its argument; none but SiLU and GELU is steeper than 1, and those by at most 1.13.
fn bounds(case: &Case) -> Vec<Vec<f64>> {
    let magnitudes = |kernel: Kernel, terms: usize| {
        let mut case = case.clone();
        case.kernel = kernel;
        case.map_floats(f32::abs);
        let factor = 1.2 * roundings(terms) * EPSILON;
        let twin = case.twin_outputs();
        twin.into_iter().map(|output| output.into_iter().map(|x| factor * f64::from(x) + 1e-30).collect()).collect()
    };
    let plain = |load| match load {
        Load::Plain => Load::Plain,
        Load::Affine { rows, .. } => Load::Affine { rows, activation: Activation::Identity },
    };
    let same = |bound: f64| {
        let outputs = case.twin_outputs();
        outputs.into_iter().map(|output| vec![bound; output.len()]).collect()
    };
    match &case.kernel {
        Kernel::Conv(p) => {
            let linear = Conv { load: plain(p.load), activation: Activation::Identity, ..p.clone() };
            magnitudes(linear.into(), p.depth())
        }
        Kernel::Dense(p) => magnitudes(Dense { activation: Activation::Identity, ..p.clone() }.into(), p.in_features),
        Kernel::AvgPool(p) => {
            let linear = percept::kernels::AvgPool { load: plain(p.load), ..p.clone() };
            magnitudes(linear.into(), p.kernel[0] * p.kernel[1])
        }
        Kernel::Attention(p) => {
            // Inputs are in [-1, 1): a score's error is at most n eps sqrt(d), and twice that changes
            // a weight's share, of values of magnitude 1.
            let score = roundings(p.head_channels) * EPSILON * (p.head_channels as f64).sqrt();
            same(2.0 * score + 2.0 * roundings(p.tokens()) * EPSILON)
        }
        Kernel::ChannelStats(p) => {
            // The mean of so many values in [-1, 1), then a sum of so many squares below 4.
            let count = p.tile as f64;
            let of_both = [(count + 2.0) * EPSILON, (count + 4.0) * EPSILON * 4.0 * count];
            let elements = case.twin().len();
            vec![(0..elements).map(|i| of_both[i / p.channels % 2]).collect()]
        }
        _ => same(0.0),
    }
}

fn assert_agrees(device: &Device, case: &Case) {
    let got = run_on(device, case).unwrap_or_else(|error| panic!("{}: {error}", case.name()));
    let want = case.twin_outputs();
    for ((got, want), bounds) in got.iter().zip(&want).zip(bounds(case)) {
        assert_eq!(got.len(), want.len(), "{}", case.name());
        let worst = bounds.iter().copied().fold(0.0, f64::max);
        if worst == 0.0 {
            // To the bit, which also holds for words that are no floats.
            let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(got), bits(want), "{}", case.name());
            continue;
        }
        assert_close(&case.name(), got, want, Bound::new(worst, 0.0));
        for (index, ((got, want), bound)) in got.iter().zip(want).zip(bounds).enumerate() {
            let error = (f64::from(*got) - f64::from(*want)).abs();
            assert!(error <= bound, "{}: element {index}: got {got}, want {want}, bound {bound:e}", case.name());
        }
    }
}

fn conv(shape: [usize; 4], out_channels: usize, kernel: usize) -> Conv {
    Conv { bias: true, ..Conv::new(shape, out_channels, kernel) }
}

/// Sizes at, just below and just above the rows (96), terms (128), panels (8 to 32) and blocks (1024
/// columns) of the CPU's tiles.
fn edges() -> Vec<Kernel> {
    let mut kernels: Vec<Kernel> = Vec::new();
    for rows in [1, 5, 6, 7, 11, 12, 13, 95, 96, 97, 192, 193] {
        kernels.push(
            Dense { rows, in_features: 33, out_features: 17, bias: true, residual: true, activation: Activation::Silu }
                .into(),
        );
    }
    for terms in [1, 127, 128, 129, 255, 256, 257] {
        kernels.push(conv([1, 3, 5, terms], 9, 1).into());
        kernels.push(conv([2, 3, 3, terms], 5, 3).into());
    }
    for columns in [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1023, 1024, 1025, 2049] {
        kernels.push(conv([1, 2, 7, 10], columns, 1).into());
    }
    for tokens in [1, 2, 15, 16, 17, 47, 48, 49, 96, 97, 257] {
        for order in [QkvOrder::HeadsFirst, QkvOrder::QkvFirst] {
            kernels.push(Attention { batch: 2, height: tokens, width: 1, heads: 3, head_channels: 9, order }.into());
        }
    }
    kernels.push(
        Attention { batch: 1, height: 4, width: 5, heads: 2, head_channels: 257, order: QkvOrder::HeadsFirst }.into(),
    );
    kernels
}

/// A convolution of random shape and fusion.
fn random_conv(random: &mut SplitMix) -> Conv {
    let mut upto = |most: usize| 1 + random.bits() as usize % most;
    let (batch, height, width) = (upto(3), upto(9), upto(9));
    let in_channels = [upto(40), if upto(3) == 1 { upto(20) } else { 0 }];
    let (out_channels, kernel, upsample) = (upto(70), [upto(4), upto(4)], upto(2));
    let load = match upto(3) {
        1 => Load::Plain,
        choice => {
            let channels = in_channels[0] + in_channels[1];
            let rows = RowSlice { row_length: 2 * channels + 5, offset: 3 };
            Load::Affine { rows, activation: if choice == 2 { Activation::Silu } else { Activation::Relu } }
        }
    };
    let add = (upto(2) == 1).then_some(RowSlice { row_length: out_channels + 2, offset: 1 });
    let activation = [Activation::Identity, Activation::Relu, Activation::Silu, Activation::Gelu][upto(4) - 1];
    let mut conv = Conv {
        batch,
        height,
        width,
        in_channels,
        out_channels,
        kernel,
        stride: upto(3),
        padding: upto(4) - 1,
        upsample,
        load,
        bias: upto(2) == 1,
        add,
        residual: None,
        activation,
    };
    let room = |length: usize, window: usize| length * upsample + 2 * conv.padding >= window;
    if !room(height, kernel[0]) || !room(width, kernel[1]) {
        conv.padding = 2;
    }
    let [out_h, out_w] = conv.out_size();
    conv.residual = [None, Some(1), (out_h % 2 == 0 && out_w % 2 == 0).then_some(2)][upto(3) - 1];
    conv
}

#[test]
fn the_cpu_agrees_on_every_table() {
    let device = Device::cpu().expect("a CPU");
    let cases = super::every_case();
    assert!(cases.len() > 100);
    cases.iter().for_each(|case| assert_agrees(&device, case));
}

#[test]
fn the_cpu_agrees_at_the_edges_of_its_tiles() {
    let device = Device::cpu().expect("a CPU");
    for (seed, kernel) in edges().into_iter().enumerate() {
        assert_agrees(&device, &Case::random(kernel, seed as u64));
    }
}

#[test]
fn the_cpu_agrees_on_random_convolutions() {
    let device = Device::cpu().expect("a CPU");
    let mut random = SplitMix::new(7);
    for seed in 0..200 {
        assert_agrees(&device, &Case::random(random_conv(&mut random), seed));
    }
}
