//! Twin of `conv`.

use super::channel_stats;
use crate::kernels::conv::ConvReads;
use crate::kernels::{Conv, Load, Reads, Writes};

/// The number of output channels that are summed together, so that a loaded value is computed once for all of them.
pub(super) const CHUNK: usize = 64;

/// Runs [`Conv`].
pub(super) fn run(p: &Conv, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let output = writes.floats();
    let stats = writes.floats_if(p.stats.is_some());
    let reads = p.reads(reads);
    let [out_h, out_w] = p.out_size();
    for (pixel, output) in output.chunks_exact_mut(p.out_channels).enumerate() {
        let (n, y, x) = (pixel / (out_h * out_w), pixel / out_w % out_h, pixel % out_w);
        for (chunk, output) in output.chunks_mut(CHUNK).enumerate() {
            let first = chunk * CHUNK;
            let mut sums = [0.0f64; CHUNK];
            for ky in 0..p.kernel[0] {
                for kx in 0..p.kernel[1] {
                    for c in 0..p.channels() {
                        let v = f64::from(value(p, &reads, n, y * p.stride + ky, x * p.stride + kx, c));
                        let row = (ky * p.kernel[1] + kx) * p.channels() + c;
                        for (o, sum) in sums[..output.len()].iter_mut().enumerate() {
                            *sum += v * f64::from(reads.weight.at(row * p.out_channels + first + o));
                        }
                    }
                }
            }
            for (o, (out, sum)) in (first..).zip(output.iter_mut().zip(sums)) {
                *out = p.activation.of((sum + added(p, &reads, [n, y, x, o])) as f32);
            }
        }
    }
    if let (Some(of_output), Some(stats)) = (p.channel_stats(), stats) {
        let stats: &mut [u32] = bytemuck::cast_slice_mut(stats);
        channel_stats::run(&of_output, Reads::new(&[bytemuck::cast_slice(output)]), Writes::new(&mut [stats]));
    }
}

/// Returns the loaded value at a pixel of the enlarged and padded image, which is zero in the padding.
fn value(p: &Conv, reads: &ConvReads<'_>, n: usize, y: usize, x: usize, c: usize) -> f32 {
    let inside = |position: usize, length: usize| (p.padding..p.padding + length * p.upsample).contains(&position);
    if !inside(y, p.height) || !inside(x, p.width) {
        return 0.0;
    }
    let [first, second] = p.in_channels;
    let (y, x) = ((y - p.padding) / p.upsample, (x - p.padding) / p.upsample);
    let pixel = (n * p.height + y) * p.width + x;
    let v = match reads.second {
        Some(other) if c >= first => other[pixel * second + c - first],
        _ => reads.source[pixel * first + c],
    };
    match (p.load, reads.rows) {
        (Load::Affine { rows, activation }, Some(all)) => {
            let row = rows.of(all, n, 2 * p.channels());
            activation.of(v * row[c] + row[p.channels() + c])
        }
        _ => v,
    }
}

/// Returns the sum of the bias, per-sample row and residual of one output element.
fn added(p: &Conv, reads: &ConvReads<'_>, [n, y, x, o]: [usize; 4]) -> f64 {
    let [out_h, out_w] = p.out_size();
    let mut sum = 0.0;
    if let Some(bias) = reads.bias {
        sum += f64::from(bias[o]);
    }
    if let (Some(slice), Some(rows)) = (p.add, reads.add) {
        sum += f64::from(slice.of(rows, n, p.out_channels)[o]);
    }
    if let (Some(enlarged), Some(residual)) = (p.residual, reads.residual) {
        let pixel = (n * (out_h / enlarged) + y / enlarged) * (out_w / enlarged) + x / enlarged;
        sum += f64::from(residual[pixel * p.out_channels + o]);
    }
    sum
}
