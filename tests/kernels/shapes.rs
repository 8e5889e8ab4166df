//! Kernels with random shapes, and their inputs.

use percept::kernels::{
    Activation, Advance, Attention, AvgPool, ChannelStats, Concat, Conv, DdimStep, DdpmStep, Dense, Embedding,
    FilmAffine, GroupAffine, Index, Load, MAX_BINDINGS, MaxPool, Noise, NotFinite, Parameters, Prediction, QkvOrder,
    ResizeBilinear, RowSlice, Stream, ToRgba8, Tokens,
};
use percept_tests::{Case, SplitMix};

use super::{attention, ddim_step, ddpm_step, embedding, group_affine, layer_norm, to_rgba8};

/// Draws a number from 1 to the given one.
fn upto(random: &mut SplitMix) -> impl FnMut(usize) -> usize {
    |most| 1 + random.bits() as usize % most
}

/// Creates a convolution with a random shape and fusion.
pub fn conv(random: &mut SplitMix) -> Conv {
    let mut upto = upto(random);
    let (batch, height, width) = (upto(3), upto(9), upto(9));
    // In half of the cases all sizes are multiples of 4, which a GPU loads at once.
    let (unit, odd) = if upto(2) == 1 { (1, 1) } else { (4, 0) };
    let in_channels = [unit * upto(40 / unit), if upto(3) == 1 { unit * upto(20 / unit) } else { 0 }];
    let (out_channels, kernel, upsample) = (unit * upto(70 / unit), [upto(4), upto(4)], upto(2));
    let load = match upto(3) {
        1 => Load::Plain,
        choice => {
            let channels = in_channels[0] + in_channels[1];
            let rows = RowSlice { row_length: 2 * channels + 4 + odd, offset: 4 - odd };
            Load::Affine { rows, activation: if choice == 2 { Activation::Silu } else { Activation::Relu } }
        }
    };
    let add = (upto(2) == 1).then_some(RowSlice { row_length: out_channels + 8 - 6 * odd, offset: 4 - 3 * odd });
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
        stats: None,
    };
    let room = |length: usize, window: usize| length * upsample + 2 * conv.padding >= window;
    if !room(height, kernel[0]) || !room(width, kernel[1]) {
        conv.padding = 2;
    }
    let [out_h, out_w] = conv.out_size();
    conv.residual = [None, Some(1), (out_h % 2 == 0 && out_w % 2 == 0).then_some(2)][upto(3) - 1];
    // Only if a buffer is left for them.
    conv.stats = (upto(2) == 1 && conv.bindings().len() < MAX_BINDINGS).then(|| upto(80));
    conv
}

/// Returns one case of every kernel.
pub fn of_every_kernel(random: &mut SplitMix, seed: u64) -> Vec<Case> {
    let conv = conv(random);
    let mut upto = upto(random);
    let (batch, height, width) = (upto(3), upto(12), upto(12));
    // In half of the cases all sizes are multiples of 4.
    let unit = if upto(2) == 1 { 1 } else { 4 };
    let channels = unit * upto(80 / unit);
    let second = unit * upto(40 / unit);
    let activation = [Activation::Identity, Activation::Relu, Activation::Silu, Activation::Gelu][upto(4) - 1];
    let rows = RowSlice { row_length: 2 * channels + 3 * unit, offset: unit * upto(3) };
    let load = if upto(2) == 1 { Load::Plain } else { Load::Affine { rows, activation } };
    let kernel = [upto(height), upto(width)];
    let (bias, residual) = (upto(2) == 1, upto(2) == 1);
    let dense = Dense {
        rows: upto(19),
        in_features: unit * upto(300 / unit),
        out_features: upto(200),
        bias,
        residual,
        activation,
    };
    let order = if upto(2) == 1 { QkvOrder::HeadsFirst } else { QkvOrder::QkvFirst };
    let attention = Attention { batch, height, width, heads: upto(3), head_channels: unit * upto(70 / unit), order };
    let groups = upto(4);
    let group_affine = GroupAffine {
        batch,
        pixels: height * width,
        tile: upto(70),
        channels: [groups * upto(9), if bias { groups * upto(5) } else { 0 }],
        groups,
        eps: 1e-5,
        film: None,
    };
    let film = RowSlice { row_length: 2 * group_affine.all_channels() + 3, offset: upto(3) };
    let group_affine = GroupAffine { film: residual.then_some(film), ..group_affine };
    let index = if upto(2) == 1 { Index::PerSample } else { Index::Step };
    let window = [upto(3), upto(3)];
    let max_pool =
        MaxPool { batch, height: height + 2, width: width + 2, channels, kernel: window, stride: upto(3), padding: 0 };
    let max_pool = MaxPool { padding: upto(window[0].min(window[1]) / 2 + 1) - 1, ..max_pool };
    let predict = if upto(2) == 1 { Prediction::Epsilon } else { Prediction::Start };
    let (learned_variance, clip, noise) = (upto(2) == 1, upto(2) == 1, upto(2) == 1);
    let steps = upto(9);
    let ddpm = DdpmStep { batch, height, width, channels: 3, steps, learned_variance, predict, clip };
    let ddim = DdimStep { batch, height, width, channels: 3, steps, learned_variance, predict, clip, noise };
    let stream = if upto(2) == 1 { Stream::Start } else { Stream::Step };
    let tokens = Tokens { batch, height, width, channels, prefix: upto(6), own_prefix: upto(2) == 1 };
    let [out_height, out_width] = [upto(25), upto(25)];
    let resize = ResizeBilinear { batch, height, width, channels, out_height, out_width };
    let norm = layer_norm::random(&mut upto, seed);
    let film_affine =
        FilmAffine { batch, channels, rows, film: RowSlice { row_length: 2 * channels + 5, offset: upto(5) } };
    vec![
        Case::random(Advance {}, seed),
        attention::inputs(attention, seed),
        Case::random(AvgPool { batch, height, width, channels, kernel, load }, seed),
        Case::random(ChannelStats { batch, height, width, channels, tile: upto(80) }, seed),
        Case::random(Concat { batch, height, width, channels: [channels, second] }, seed),
        Case::random(conv, seed),
        ddim_step::inputs(ddim, seed),
        ddpm_step::inputs(ddpm, seed),
        Case::random(dense, seed),
        embedding::inputs(Embedding { table_rows: upto(9), channels, batch, index }, seed),
        Case::random(film_affine, seed),
        group_affine::inputs(group_affine, seed),
        norm,
        Case::random(max_pool, seed),
        Case::random(Noise { batch, sample: [height, width, upto(5)], stream }, seed),
        Case::random(NotFinite { batch, height, width, channels }, seed),
        Case::random(resize, seed),
        to_rgba8::inputs(ToRgba8 { batch, height, width: upto(150) }, seed),
        Case::random(tokens, seed),
    ]
}
