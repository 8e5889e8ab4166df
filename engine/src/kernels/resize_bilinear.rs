//! `resize_bilinear`: images of another size, by bilinear interpolation.

use alloc::vec::Vec;

use super::{Binding, Parameters, Reads};
use crate::{Error, Result};

/// The parameters of bilinear resizing, PyTorch's `interpolate` with `mode="bilinear"` and `align_corners=False`
///
/// ```text
/// y[n, p, q, c] = sum_{i, j} (1 - |s(p) - i|)+ (1 - |t(q) - j|)+ source[n, i, j, c]
/// s(p) = min(max((p + 1/2) height / out_height - 1/2, 0), height - 1), t(q) of the widths
/// ```
///
/// The corners of both images lie on each other, and what lies beyond the outermost pixels' centres is theirs. Smaller
/// images are made of the four pixels around a place too, without averaging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResizeBilinear {
    /// Samples.
    pub batch: usize,
    /// Height of the source.
    pub height: usize,
    /// Width of the source.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// Height of the result.
    pub out_height: usize,
    /// Width of the result.
    pub out_width: usize,
}

/// The buffer that resizing reads.
pub struct ResizeBilinearReads<'a> {
    /// `[n, h, w, c]`
    pub source: &'a [f32],
}

impl ResizeBilinear {
    /// The buffers, by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> ResizeBilinearReads<'a> {
        ResizeBilinearReads { source: reads.floats() }
    }
}

impl Parameters for ResizeBilinear {
    fn name(&self) -> &'static str {
        "resize_bilinear"
    }

    fn check(&self, layer: &str) -> Result<()> {
        let sides = [[self.height, self.out_height], [self.width, self.out_width]];
        // Places are counted in parts of 2 * out, which a GPU has 32 bits for.
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
}
