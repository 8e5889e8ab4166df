//! Bounds of the difference between a device's result and the twin's. They are derived, not found by trial.

use percept::kernels::{
    Activation, ChannelStats, Conv, DdimStep, DdpmStep, Dense, GroupAffine, Kernel, LayerNorm, Load, Prediction,
};
use percept_tests::Case;

/// Half a unit in the last place of 1: the largest relative error of one rounding.
const EPSILON: f64 = f32::EPSILON as f64 / 2.0;

/// The order in which a device adds up products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sums {
    /// Blocks of 128 terms, then the sums of the blocks.
    InBlocks,
    /// Any order; the worst is one after the other.
    InOneChain,
}

impl Sums {
    /// Returns the roundings of a sum of `terms` products: one per product and addition in a chain, and some
    /// for the operations around it.
    fn roundings(self, terms: usize) -> f64 {
        match self {
            Sums::InBlocks => (terms.min(128) + terms.div_ceil(128) + 16) as f64,
            Sums::InOneChain => (terms + 16) as f64,
        }
    }
}

/// Bounds the difference between a device's statistics and the twin's. The device computes them from values
/// that differ from the values `y` by at most `off`.
///
/// Over a tile of k values let b be the largest `off`, and u half a unit in the last place. The device's values
/// are y' = y + d, with |d| <= b.
///
/// - Mean: the mean of y' is off by at most b. The device rounds it in k - 1 additions and a division, and the
///   twin once: E = b + (k + 2) u max|y'| in all.
/// - M2: the squared difference y' - mean' is off from y - mean by at most e = b + E, so that the sum of
///   squares is off by at most D = sum (2 |y - mean| e + e^2). Each square has three roundings, their sum k - 1
///   more, and the twin's result one. This adds (k + 4) u (M2 + D).
///
/// Each formula counts one rounding too many, to cover the products of rounding errors.
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

/// Bounds the difference between a device's result and the twin's, for every element of every output.
///
/// The error of a sum with n roundings is at most n eps sum |a b|. To compute the sum of magnitudes, the twin
/// runs on the magnitudes of all inputs without activations. This is enough because no activation is larger
/// than its argument, and no activation is steeper than 1 except SiLU and GELU, which reach 1.13.
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
            // For inputs of magnitude up to m, the error of a score is at most n eps sum |q k| / sqrt(d) <= n
            // eps sqrt(d) m^2. The relative error of a weight is at most twice that, and weights scale values
            // up to m.
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
        // On the CPU, the remaining kernels are the twins themselves.
        _ if sums == Sums::InBlocks => same(0.0),
        Kernel::FilmAffine(_) => magnitudes(case.kernel.clone(), 1),
        Kernel::GroupAffine(p) => vec![group_affine_bounds(p, case)],
        // A radius of at most 5.9 and a cosine of at most 1, each with a dozen roundings.
        Kernel::Noise(_) => same(5.9 * 2.0 * 12.0 * EPSILON),
        Kernel::DdpmStep(p) => ddpm_bounds(p, case),
        Kernel::DdimStep(p) => ddim_bounds(p, case),
        // The shares of two neighbours are off by 5 (WGSL's 2.5 units of a quotient) and 6 halves of a unit in
        // the last place. Their products and the sum add 3 roundings. The same holds for both directions.
        Kernel::ResizeBilinear(_) => {
            let largest = case.floats("source").iter().fold(0.0, |most: f64, x| most.max(f64::from(x.abs())));
            same(1.2 * 2.0 * (5.0 + 6.0 + 3.0) * EPSILON * largest)
        }
        // These kernels only copy, count or compare.
        Kernel::Advance(_) | Kernel::Concat(_) | Kernel::Embedding(_) | Kernel::MaxPool(_) | Kernel::NotFinite(_) => {
            same(0.0)
        }
        // `to_rgba8` computes a sum, a product that no driver can fuse with it, and a conversion; `tokens` only
        // a sum.
        Kernel::ToRgba8(_) | Kernel::Tokens(_) => same(0.0),
    }
}

/// Bounds the gain and bias of group norms. Let n be the number of merged moments of a group, and u half a unit
/// in the last place. The mean is off by at most (n + 3) u max|mean|. M2 + count delta^2, whose terms all have
/// the same sign, is off by n + 8 roundings and by the effect of the mean's error. The gain has half the
/// relative error of the variance and 8 more roundings (a root and a quotient may have 2.5 units each). The
/// bias has the error of the mean times the gain, and of the sum.
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

/// Bounds layer norms. Let k be the number of channels, and u half a unit in the last place. The mean is off by
/// at most E = (k + 2) u max|x|, and a difference from it by e = E + u |x - mean|. The variance is off by the
/// effect of that error, mean(2 |x - mean| e + e^2), and k + 4 roundings. The deviation has half the relative
/// error of the variance, 3 roundings of the division and the addition of eps, and 5 of the root (WGSL's 2.5
/// units). The quotient has 5 as well, and gain and bias 2.
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

/// Returns a row of a sampler's table, and x_t, the network's output and the variance of every element.
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

/// Bounds the error of x_0: two products and their difference. Clipping does not increase it.
fn x_0_bound(predict: Prediction, row: &[f64], x: f64, output: f64) -> f64 {
    match predict {
        Prediction::Epsilon => 4.0 * EPSILON * ((row[0] * x).abs() + (row[1] * output).abs()),
        Prediction::Start => 0.0,
    }
}

/// Bounds a sum of three products, with the exponential off by at most 3 + 2 |x| units in the last place
/// (WGSL's bound) plus the effect of its argument's error.
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

/// Bounds the recomputed noise, a difference and a quotient (2.5 units), and then a sum of three products.
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
