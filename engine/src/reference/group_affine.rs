//! Twin of `group_affine`.

use crate::kernels::{GroupAffine, Reads, Writes};

/// The number of values, their mean, and the sum of their squared differences from it.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    m2: f64,
}

impl Moments {
    /// Returns the moments of both sets of values together (Chan, Golub and LeVeque 1979).
    fn merge(self, other: Moments) -> Moments {
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        Moments {
            count,
            mean: self.mean + delta * other.count / count,
            m2: self.m2 + other.m2 + delta * delta * self.count * other.count / count,
        }
    }
}

/// Runs [`GroupAffine`].
pub(super) fn run(p: &GroupAffine, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let output = writes.floats();
    let buffers = p.reads(reads);
    let [first, second] = p.channels;
    let channels = p.all_channels();

    let channel = |n: usize, c: usize| -> Moments {
        let (stats, width, c) = match buffers.second {
            Some(other) if c >= first => (other, second, c - first),
            _ => (buffers.stats, first, c),
        };
        let tile = |t: usize| {
            let row = (n * p.tiles() + t) * 2;
            Moments {
                count: p.tile.min(p.pixels - t * p.tile) as f64,
                mean: f64::from(stats[row * width + c]),
                m2: f64::from(stats[(row + 1) * width + c]),
            }
        };
        (0..p.tiles()).map(tile).fold(Moments::default(), Moments::merge)
    };

    let group_size = channels / p.groups;
    for n in 0..p.batch {
        for g in 0..p.groups {
            let members = g * group_size..(g + 1) * group_size;
            let group = members.clone().map(|c| channel(n, c)).fold(Moments::default(), Moments::merge);
            let deviation = libm::sqrt(group.m2 / group.count + f64::from(p.eps));
            for c in members {
                let mut scale = f64::from(buffers.gamma[c]) / deviation;
                let mut shift = f64::from(buffers.beta[c]) - group.mean * scale;
                if let (Some(slice), Some(rows)) = (p.film, buffers.film) {
                    let film = slice.of(rows, n, 2 * channels);
                    let gain = 1.0 + f64::from(film[c]);
                    scale *= gain;
                    shift = shift * gain + f64::from(film[channels + c]);
                }
                output[n * 2 * channels + c] = scale as f32;
                output[n * 2 * channels + channels + c] = shift as f32;
            }
        }
    }
}
