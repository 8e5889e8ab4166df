//! `resize_bilinear`: resizes images by bilinear interpolation.

use alloc::vec::Vec;

use super::{Binding, Kernel, Parameters, Reads};
use crate::{Error, Result};

/// Parameters of bilinear resizing, as PyTorch's `interpolate` does it with `mode="bilinear"` and
/// `align_corners=False`.
///
/// ```text
/// y[n, p, q, c] = sum_{i, j} (1 - |s(p) - i|)+ (1 - |t(q) - j|)+ source[n, i, j, c]
/// s(p) = min(max((p + 1/2) height / out_height - 1/2, 0), height - 1), t(q) of the widths
/// ```
///
/// The outer corners of the two images coincide, and positions beyond the centres of the outermost pixels take the
/// values of those pixels. Shrinking also interpolates between the four nearest pixels only, without averaging over
/// more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResizeBilinear {
    /// The number of samples.
    pub batch: usize,
    /// The height of the source.
    pub height: usize,
    /// The width of the source.
    pub width: usize,
    /// The number of channels.
    pub channels: usize,
    /// The height of the result.
    pub out_height: usize,
    /// The width of the result.
    pub out_width: usize,
}

/// The buffer that resizing reads.
pub struct ResizeBilinearReads<'a> {
    /// `[n, h, w, c]`
    pub source: &'a [f32],
}

impl ResizeBilinear {
    /// Returns the buffers by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> ResizeBilinearReads<'a> {
        ResizeBilinearReads { source: reads.floats() }
    }
}

impl Parameters for ResizeBilinear {
    fn check(&self, layer: &str) -> Result<()> {
        let sides = [[self.height, self.out_height], [self.width, self.out_width]];
        // Positions are counted in units of 1 / (2 * out), and the count must fit into 32 bits on a GPU.
        let is_counted = |[size, out]: [usize; 2]| size.checked_mul(out).is_some_and(|parts| parts <= 1 << 30);
        if [self.batch, self.channels].contains(&0)
            || sides.as_flattened().contains(&0)
            || !sides.iter().all(|&side| is_counted(side))
        {
            let expected = "sizes above 0, each side times its new length at most 2^30";
            return Err(Error::shape(layer, expected, alloc::format!("{self:?}")));
        }
        Ok(())
    }

    fn bindings(&self) -> Vec<Binding> {
        let [n, c] = [self.batch, self.channels];
        Vec::from([
            Binding::read("source", [n, self.height, self.width, c]),
            Binding::write("output", [n, self.out_height, self.out_width, c]),
        ])
    }

    fn with_batch(&self, batch: usize) -> Option<(usize, Kernel)> {
        Some((self.batch, ResizeBilinear { batch, ..self.clone() }.into()))
    }
}
