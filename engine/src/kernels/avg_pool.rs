//! `avg_pool`: the mean of windows that do not overlap.

use alloc::vec::Vec;

use super::{Binding, Half, Load, Parameters, Reads, in_fours};
use crate::{Error, Result};

/// The parameters of average pooling, with the window as the stride and without padding
///
/// ```text
/// y[n, p, q, c] = sum_{i < kh, j < kw} v[n, p kh + i, q kw + j, c] / (kh kw)
/// ```
///
/// where `v` is the source through [`Load`]. Rows and columns that fill no whole window are left
/// out, as in PyTorch's `avg_pool2d`. A window as large as the image makes it global pooling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvgPool {
    /// Samples.
    pub batch: usize,
    /// Height of the source.
    pub height: usize,
    /// Width of the source.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// Height and width of the window, and its steps.
    pub kernel: [usize; 2],
    /// What is done to a source's value when it is loaded.
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
    /// Height and width of the result.
    pub fn out_size(&self) -> [usize; 2] {
        [self.height / self.kernel[0], self.width / self.kernel[1]]
    }

    /// Whether windows have so many pixels, such as a picture's last ones, that many invocations of a GPU share each.
    pub fn has_large_windows(&self) -> bool {
        self.kernel[0] * self.kernel[1] > 64
    }

    /// The buffers, by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> AvgPoolReads<'a> {
        AvgPoolReads { source: reads.floats(), rows: reads.floats_if(self.load != Load::Plain) }
    }
}

impl Parameters for AvgPool {
    fn name(&self) -> &'static str {
        "avg_pool"
    }

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
        // Of large windows there are few, and each is the work of many.
        let output = Binding::write("output", [n, out_h, out_w, c]);
        bindings.push(output.or_half(Half::Result, source_in_fours && !self.has_large_windows()));
        bindings
    }
}
