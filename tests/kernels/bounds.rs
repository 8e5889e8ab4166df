//! How far a device's result may be from its twin's: derived, not tried out.

use percept::kernels::{
    Activation, ChannelStats, Conv, DdimStep, DdpmStep, Dense, GroupAffine, Kernel, LayerNorm, Load, Prediction,
};
use percept_tests::Case;

/// Half a unit in the last place of 1: the largest relative error of one rounding.
const EPSILON: f64 = f32::EPSILON as f64 / 2.0;

/// In which order a device adds up products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sums {
    /// Blocks of 128 terms, and then these.
    InBlocks,
    /// Any order: one after the other is the worst.
    InOneChain,
}

impl Sums {
    /// Roundings of a sum of so many products: one per product and addition in a chain, and what stands around it.
    fn roundings(self, terms: usize) -> f64 {
        match self {
            Sums::InBlocks => (terms.min(128) + terms.div_ceil(128) + 16) as f64,
            Sums::InOneChain => (terms + 16) as f64,
        }
    }
}

/// How far a device's statistics may be from the twin's, of values `y` that on the device are off by `off`.
///
/// Over a tile of k values let b be the largest `off`, and u half a unit in the last place; the device's
/// values are y' = y + d, |d| <= b.
///
/// - Mean: that of y' is off by at most b. It is rounded in k - 1 additions and a division, the twin's once:
///   E = b + (k + 2) u max|y'| in all.
/// - M2: what is squared, y' - mean', is off from y - mean by at most e = b + E, so that the sum of squares
///   is off by at most D = sum (2 |y - mean| e + e^2). Each square has three roundings, their sum k - 1 more,
///   the twin's one: (k + 4) u (M2 + D) beside that.
///
/// Each counts one rounding too many, for the products of them.
pub fn stats_bounds(p: &ChannelStats, y: &[f32], off: &[f64]) -> Vec<f64> {
    let (sample, tile) = (p.height * p.width * p.channels, p.tile * p.channels);
    let mut bounds = Vec::new();
    for (y, off) in y.chunks(sample).zip(off.chunks(sample)) {
        for (y, off) in y.chunks(tile).zip(off.chunks(tile)) {
            let count = (y.len() / p.channels) as f64;
            let of_channel = |c: usize| {
                let values = || y.iter().skip(c).step_by(p.channels).map(|y| f64::from(*y));
                let offs = || off.iter().skip(c).step_by(p.channels).copied();
                let b = offs().fold(0.0, f64::max);
                let most = values().map(f64::abs).fold(0.0, f64::max) + b;
                let of_mean = b + (count + 2.0) * EPSILON * most;
                let e = b + of_mean;
                let mean = values().sum::<f64>() / count;
                let m2: f64 = values().map(|y| (y - mean).powi(2)).sum();
                let d: f64 = values().map(|y| 2.0 * (y - mean).abs() * e + e * e).sum();
                [of_mean, d + (count + 4.0) * EPSILON * (m2 + d)]
            };
            let of_channels: Vec<[f64; 2]> = (0..p.channels).map(of_channel).collect();
            bounds.extend([0, 1].iter().flat_map(|row| of_channels.iter().map(|of_both| of_both[*row])));
        }
    }
    bounds
}

/// How far a device's result may be from the twin's, per element and output.
///
/// A sum's error is at most n eps sum |a b|, n being its roundings. The sum of magnitudes is what the
/// twin makes of the magnitudes of all inputs without activations, since no activation is larger than
/// its argument; none but SiLU and GELU is steeper than 1, and those by at most 1.13.
pub fn bounds(case: &Case, sums: Sums) -> Vec<Vec<f64>> {
    let magnitudes = |kernel: Kernel, terms: usize| {
        let mut case = case.clone();
        case.kernel = kernel;
        case.map_floats(f32::abs);
        let factor = 1.2 * sums.roundings(terms) * EPSILON;
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
            let linear = Conv { load: plain(p.load), activation: Activation::Identity, stats: None, ..p.clone() };
            let mut bounds: Vec<Vec<f64>> = magnitudes(linear.into(), p.depth());
            if let Some(stats) = p.channel_stats() {
                bounds.push(stats_bounds(&stats, &case.twin(), &bounds[0]));
            }
            bounds
        }
        Kernel::Dense(p) => magnitudes(Dense { activation: Activation::Identity, ..p.clone() }.into(), p.in_features),
        Kernel::AvgPool(p) => {
            let linear = percept::kernels::AvgPool { load: plain(p.load), ..p.clone() };
            magnitudes(linear.into(), p.kernel[0] * p.kernel[1])
        }
        Kernel::Attention(p) => {
            // Of inputs up to m, a score's error is at most n eps sum |q k| / sqrt(d) <= n eps sqrt(d) m^2; twice that,
            // relative to it, changes a weight's share, of values up to m.
            let largest = case.floats("qkv").iter().fold(0.0, |m: f64, x| m.max(f64::from(x.abs())));
            let magnitude = (p.head_channels as f64).sqrt() * largest * largest;
            let score = sums.roundings(p.head_channels) * EPSILON * magnitude;
            same(largest * (2.0 * score + 2.0 * sums.roundings(p.tokens()) * EPSILON))
        }
        Kernel::ChannelStats(p) => {
            let source = case.floats("source");
            vec![stats_bounds(p, source, &vec![0.0; source.len()])]
        }
        Kernel::LayerNorm(p) => vec![layer_norm_bounds(p, case)],
        // The twins themselves, on a CPU.
        _ if sums == Sums::InBlocks => same(0.0),
        Kernel::FilmAffine(_) => magnitudes(case.kernel.clone(), 1),
        Kernel::GroupAffine(p) => vec![group_affine_bounds(p, case)],
        // A radius of at most 5.9 and a cosine of at most 1, each of a dozen roundings.
        Kernel::Noise(_) => same(5.9 * 2.0 * 12.0 * EPSILON),
        Kernel::DdpmStep(p) => ddpm_bounds(p, case),
        Kernel::DdimStep(p) => ddim_bounds(p, case),
        // The shares of two neighbours are off by 5 (WGSL's 2.5 units of a quotient) and 6 halves of a unit in the last
        // place, their products and the sum have 3 roundings more; so down as well as across.
        Kernel::ResizeBilinear(_) => {
            let largest = case.floats("source").iter().fold(0.0, |most: f64, x| most.max(f64::from(x.abs())));
            same(1.2 * 2.0 * (5.0 + 6.0 + 3.0) * EPSILON * largest)
        }
        // Nothing is computed.
        Kernel::Advance(_) | Kernel::Concat(_) | Kernel::Embedding(_) | Kernel::MaxPool(_) | Kernel::NotFinite(_) => {
            same(0.0)
        }
        // A sum and a product, which no driver can fuse, and a conversion; a sum alone.
        Kernel::ToRgba8(_) | Kernel::Tokens(_) => same(0.0),
    }
}

/// Gain and bias of group norms: with n the merged moments of a group and u half a unit in the last place, the
/// mean is off by at most (n + 3) u max|mean|; M2 + count delta^2, all of one sign, by n + 8 roundings and by what
/// the mean's error changes. The gain has half the variance's relative error and 8 roundings more (a root
/// and a quotient may have 2.5 each); the bias that of the mean times the gain, and of the sum.
fn group_affine_bounds(p: &GroupAffine, case: &Case) -> Vec<f64> {
    let [first, second] = p.channels;
    let channels = p.all_channels();
    let tiles = p.tiles();
    let size = channels / p.groups;
    // Count, mean and M2 of a channel's tile.
    let moments = |n: usize, c: usize, t: usize| -> [f64; 3] {
        let (stats, width, c) =
            if c < first { (case.floats("stats"), first, c) } else { (case.floats("second"), second, c - first) };
        let at = |row: usize| f64::from(stats[((n * tiles + t) * 2 + row) * width + c]);
        [p.tile.min(p.pixels - t * p.tile) as f64, at(0), at(1)]
    };
    let mut bounds = vec![0.0; p.batch * 2 * channels];
    for n in 0..p.batch {
        for g in 0..p.groups {
            let members = g * size..(g + 1) * size;
            let of_group: Vec<[f64; 3]> =
                members.clone().flat_map(|c| (0..tiles).map(move |t| (c, t))).map(|(c, t)| moments(n, c, t)).collect();
            let terms = of_group.len() as f64;
            let count: f64 = of_group.iter().map(|[count, ..]| count).sum();
            let mean = of_group.iter().map(|[count, mean, _]| count * mean).sum::<f64>() / count;
            let largest = of_group.iter().map(|[_, mean, _]| mean.abs()).fold(0.0, f64::max);
            let of_mean = (terms + 3.0) * EPSILON * largest;
            let spread = |[count, one, m2]: &[f64; 3]| m2 + count * (one - mean).powi(2);
            let variance = of_group.iter().map(spread).sum::<f64>() / count;
            let shaken: f64 =
                of_group.iter().map(|[k, one, _]| k * (2.0 * (one - mean).abs() * of_mean + of_mean.powi(2))).sum();
            let of_variance = (terms + 8.0) * EPSILON * variance + shaken / count;
            let deviation = (variance + f64::from(p.eps)).sqrt();
            let relative = 0.5 * of_variance / deviation.powi(2) + 8.0 * EPSILON;
            for c in members {
                let scale = (f64::from(case.floats("gamma")[c]) / deviation).abs();
                let beta = f64::from(case.floats("beta")[c]).abs();
                let of_shift = scale * (mean.abs() * relative + of_mean) + 3.0 * EPSILON * (beta + mean.abs() * scale);
                let (gain, film_shift) = p.film.map_or((1.0, 0.0), |slice| {
                    let film = slice.of(case.floats("film"), n, 2 * channels);
                    (1.0 + f64::from(film[c]).abs(), f64::from(film[channels + c]).abs())
                });
                let row = n * 2 * channels;
                bounds[row + c] = 1.2 * gain * scale * (relative + 3.0 * EPSILON) + 1e-30;
                let film_roundings = 4.0 * EPSILON * (gain * (beta + mean.abs() * scale) + film_shift);
                bounds[row + channels + c] = 1.2 * (gain * of_shift + film_roundings) + 1e-30;
            }
        }
    }
    bounds
}

/// Layer norms: with k channels and u half a unit in the last place, the mean is off by at most E = (k + 2) u max|x|,
/// and a difference from it by e = E + u |x - mean|. The variance is off by what that changes, mean(2 |x - mean| e +
/// e^2), and k + 4 roundings; the deviation has half its relative error, 3 roundings of the division and of eps's sum
/// and 5 of the root (WGSL's 2.5 units); the quotient has as many, and gain and bias 2.
fn layer_norm_bounds(p: &LayerNorm, case: &Case) -> Vec<f64> {
    let (channels, source) = (p.channels as f64, case.floats("source"));
    let mut bounds = Vec::new();
    for row in 0..p.batch * p.count {
        let token: Vec<f64> = source[p.token(row) * p.channels..][..p.channels].iter().map(|&x| f64::from(x)).collect();
        let mean = token.iter().sum::<f64>() / channels;
        let of_mean = (channels + 2.0) * EPSILON * token.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        let of_difference = |x: f64| of_mean + EPSILON * (x - mean).abs();
        let variance = token.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / channels;
        let shaken = |x: &f64| 2.0 * (x - mean).abs() * of_difference(*x) + of_difference(*x).powi(2);
        let of_variance = (channels + 4.0) * EPSILON * variance + token.iter().map(shaken).sum::<f64>() / channels;
        let deviation = (variance + f64::from(p.eps)).sqrt();
        let relative = 0.5 * of_variance / deviation.powi(2) + 13.0 * EPSILON;
        for (c, x) in token.iter().enumerate() {
            let scale = (f64::from(case.floats("gamma")[c]) / deviation).abs();
            let product = scale * (x - mean).abs();
            let of_product = scale * of_difference(*x) + relative * product;
            let beta = f64::from(case.floats("beta")[c]).abs();
            bounds.push(1.2 * (of_product + 2.0 * EPSILON * (product + beta)) + 1e-30);
        }
    }
    bounds
}

/// A row of a sampler's table, and the network's output and x_t of every element.
fn step_inputs(case: &Case, channels: usize, output_channels: usize, columns: usize) -> (Vec<f64>, Vec<[f64; 3]>) {
    let table: Vec<&[f32]> = case.floats("table").chunks_exact(columns).collect();
    let row = table[(case.words("state")[0] as usize).min(table.len() - 1)].iter().map(|&x| f64::from(x)).collect();
    let of = |(i, &x): (usize, &f32)| {
        let output = &case.floats("model_output")[i / channels * output_channels..];
        let variance = if output_channels > channels { output[channels + i % channels] } else { 1.0 };
        [x, output[i % channels], variance].map(f64::from)
    };
    (row, case.floats("x_t").iter().enumerate().map(of).collect())
}

/// How far x_0 may be off: the two products and their difference; clipping makes nothing worse.
fn x_0_bound(predict: Prediction, row: &[f64], x: f64, output: f64) -> f64 {
    match predict {
        Prediction::Epsilon => 4.0 * EPSILON * ((row[0] * x).abs() + (row[1] * output).abs()),
        Prediction::Start => 0.0,
    }
}

/// A sum of three products; the exponential is within 3 + 2 |x| units in the last place (WGSL's bound), and
/// what its argument is off by beside that.
fn ddpm_bounds(p: &DdpmStep, case: &Case) -> Vec<Vec<f64>> {
    let (row, elements) = step_inputs(case, p.channels, p.output_channels(), DdpmStep::COLUMNS);
    let twin = case.twin_outputs();
    let (mut x_prev, mut starts) = (Vec::new(), Vec::new());
    for (i, [x, output, variance]) in elements.into_iter().enumerate() {
        let of_start = x_0_bound(p.predict, &row, x, output);
        let fraction = if p.learned_variance { (variance + 1.0) / 2.0 } else { 1.0 };
        let log_variance = fraction * row[5] + (1.0 - fraction) * row[4];
        let of_log = 6.0 * EPSILON * ((fraction * row[5]).abs() + ((1.0 - fraction) * row[4]).abs());
        let noise = row[6] * (0.5 * log_variance).exp() * f64::from(case.floats("noise")[i]).abs();
        let of_noise = noise * (0.5 * of_log + 2.0 * EPSILON * (3.0 + log_variance.abs()) + 3.0 * EPSILON);
        let mean = (row[2] * f64::from(twin[1][i])).abs() + (row[3] * x).abs();
        x_prev.push(1.2 * (row[2].abs() * of_start + of_noise + 4.0 * EPSILON * (mean + noise)) + 1e-30);
        starts.push(of_start);
    }
    vec![x_prev, starts]
}

/// The noise found again is a difference and a quotient (2.5 units); then a sum of three products.
fn ddim_bounds(p: &DdimStep, case: &Case) -> Vec<Vec<f64>> {
    let (row, elements) = step_inputs(case, p.channels, p.output_channels(), DdimStep::COLUMNS);
    let twin = case.twin_outputs();
    let (mut x_prev, mut starts) = (Vec::new(), Vec::new());
    for (i, [x, output, _]) in elements.into_iter().enumerate() {
        let of_start = x_0_bound(p.predict, &row, x, output);
        let start = f64::from(twin[1][i]);
        let of_difference = 3.0 * EPSILON * ((row[0] * x).abs() + start.abs()) + of_start;
        let epsilon = ((row[0] * x - start) / row[1]).abs();
        let of_epsilon = (of_difference / row[1]).abs() + 6.0 * EPSILON * epsilon;
        let noise = if p.noise { (row[4] * f64::from(case.floats("noise")[i])).abs() } else { 0.0 };
        let parts = (row[2] * start).abs() + (row[3] * epsilon).abs() + noise;
        x_prev.push(1.2 * ((row[2] * of_start).abs() + (row[3] * of_epsilon).abs() + 4.0 * EPSILON * parts) + 1e-30);
        starts.push(of_start);
    }
    vec![x_prev, starts]
}
