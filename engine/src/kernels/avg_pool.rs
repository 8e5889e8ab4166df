//! `avg_pool`: the mean of non-overlapping windows.

use alloc::vec::Vec;

use super::{Binding, Half, Kernel, Load, Parameters, Reads, in_fours};
use crate::{Error, Result};

/// Parameters of average pooling over windows. The stride is the window, and there is no padding.
///
/// ```text
/// y[n, p, q, c] = sum_{i < kh, j < kw} v[n, p kh + i, q kw + j, c] / (kh kw)
/// ```
///
/// Here `v` is the source after [`Load`]. Rows and columns that do not fill a whole window are
/// ignored, as in PyTorch's `avg_pool2d`. A window as large as the image gives global pooling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvgPool {
    /// The number of samples.
    pub batch: usize,
    /// The height of the source.
    pub height: usize,
    /// The width of the source.
    pub width: usize,
    /// The number of channels.
    pub channels: usize,
    /// The height and width of the window, which are also its steps.
    pub kernel: [usize; 2],
    /// The map that is applied to the source's values when they are loaded.
    pub load: Load,
}

/// The buffers that average pooling reads.
pub struct AvgPoolReads<'a> {
    /// `[n, h, w, c]`
    pub source: &'a [f32],
    /// `[n, row_length]`
    pub rows: Option<&'a [f32]>,
}

impl AvgPool {
    /// Returns the height and width of the result.
    pub fn out_size(&self) -> [usize; 2] {
        [self.height / self.kernel[0], self.width / self.kernel[1]]
    }

    /// Returns `true` if a window has more than 64 pixels, as in the pooling at the end of a network. Many invocations
    /// of a GPU then share each window.
    pub fn has_large_windows(&self) -> bool {
        self.kernel[0] * self.kernel[1] > 64
    }

    /// Returns the buffers by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> AvgPoolReads<'a> {
        AvgPoolReads { source: reads.floats(), rows: reads.floats_if(self.load != Load::Plain) }
    }
}

impl Parameters for AvgPool {
    fn check(&self, layer: &str) -> Result<()> {
        let [kernel_h, kernel_w] = self.kernel;
        let sizes = [self.batch, self.channels, kernel_h, kernel_w];
        if sizes.contains(&0) || self.out_size().contains(&0) {
            return Err(Error::shape(
                layer,
                alloc::format!("a window of {:?} that fits into the image", self.kernel),
                alloc::format!("{}x{} pixels, {} channels", self.height, self.width, self.channels),
            ));
        }
        match self.load {
            Load::Plain => Ok(()),
            Load::Affine { rows, .. } => rows.check(layer, 2 * self.channels),
        }
    }

    fn bindings(&self) -> Vec<Binding> {
        let [n, c] = [self.batch, self.channels];
        let [out_h, out_w] = self.out_size();
        let source_in_fours = in_fours(&[c]) && self.load.is_in_fours();
        let source = Binding::read("source", [n, self.height, self.width, c]).or_half(Half::Source, source_in_fours);
        let mut bindings = Vec::from([source]);
        bindings.extend(self.load.binding(n));
        // The result of large windows is small, and the invocations that share a window store one channel at a time,
        // not the four that half precision needs.
        let output = Binding::write("output", [n, out_h, out_w, c]);
        bindings.push(output.or_half(Half::Result, source_in_fours && !self.has_large_windows()));
        bindings
    }

    fn with_batch(&self, batch: usize) -> Option<(usize, Kernel)> {
        Some((self.batch, AvgPool { batch, ..self.clone() }.into()))
    }
}
