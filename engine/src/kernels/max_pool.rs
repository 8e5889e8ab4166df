//! `max_pool`: the largest value of each window.

use alloc::vec::Vec;

use super::{Binding, Half, Kernel, Parameters, Reads, in_fours};
use crate::{Error, Result};

/// Parameters of max pooling over windows.
///
/// ```text
/// y[n, p, q, c] = max_{i < kh, j < kw} x[n, p s + i - pad, q s + j - pad, c]
/// ```
///
/// The maximum is over the pixels inside the image: padding never wins, and NaN always does, as in
/// PyTorch's `max_pool2d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxPool {
    /// The number of samples.
    pub batch: usize,
    /// The height of the source.
    pub height: usize,
    /// The width of the source.
    pub width: usize,
    /// The number of channels.
    pub channels: usize,
    /// The height and width of the window.
    pub kernel: [usize; 2],
    /// The step of the window, in both directions.
    pub stride: usize,
    /// The number of pixels by which windows extend past each side of the image; at most half a window.
    pub padding: usize,
}

/// The buffers that max pooling reads.
pub struct MaxPoolReads<'a> {
    /// `[n, h, w, c]`
    pub source: &'a [f32],
}

impl MaxPool {
    /// Returns the height and width of the result. A side is 0 if the window does not fit into the padded image.
    pub fn out_size(&self) -> [usize; 2] {
        let size = |length: usize, window: usize| {
            (length + 2 * self.padding).checked_sub(window).map_or(0, |room| room / self.stride + 1)
        };
        [size(self.height, self.kernel[0]), size(self.width, self.kernel[1])]
    }

    /// Returns the buffers by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> MaxPoolReads<'a> {
        MaxPoolReads { source: reads.floats() }
    }
}

impl Parameters for MaxPool {
    fn check(&self, layer: &str) -> Result<()> {
        let [kernel_h, kernel_w] = self.kernel;
        let sizes = [self.batch, self.height, self.width, self.channels];
        if sizes.contains(&0)
            || [kernel_h, kernel_w, self.stride].contains(&0)
            || self.padding > kernel_h.min(kernel_w) / 2
            || self.out_size().contains(&0)
        {
            return Err(Error::shape(
                layer,
                "a window that fits into the padded image, padded by at most half a window",
                alloc::format!("{self:?}"),
            ));
        }
        Ok(())
    }

    fn bindings(&self) -> Vec<Binding> {
        let [n, c] = [self.batch, self.channels];
        let [out_h, out_w] = self.out_size();
        let source = Binding::read("source", [n, self.height, self.width, c]);
        let bindings = [source, Binding::write("output", [n, out_h, out_w, c])];
        Vec::from(bindings.map(|binding| binding.or_half(Half::Source, in_fours(&[c]))))
    }

    fn with_batch(&self, batch: usize) -> Option<(usize, Kernel)> {
        Some((self.batch, MaxPool { batch, ..self.clone() }.into()))
    }
}
