//! Twin of `channel_stats`.

use crate::kernels::{ChannelStats, Reads, Writes};

/// Runs [`ChannelStats`].
pub(super) fn run(p: &ChannelStats, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let output = writes.floats();
    let source = p.reads(reads).source;
    let pixels = p.height * p.width;
    for n in 0..p.batch {
        for t in 0..p.tiles() {
            let tile = t * p.tile..((t + 1) * p.tile).min(pixels);
            for c in 0..p.channels {
                let value = |pixel: usize| f64::from(source[(n * pixels + pixel) * p.channels + c]);
                let mean = tile.clone().map(value).sum::<f64>() / tile.len() as f64;
                let m2: f64 = tile.clone().map(|pixel| (value(pixel) - mean) * (value(pixel) - mean)).sum();
                let row = (n * p.tiles() + t) * 2;
                output[row * p.channels + c] = mean as f32;
                output[(row + 1) * p.channels + c] = m2 as f32;
            }
        }
    }
}
