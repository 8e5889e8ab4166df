//! Strips: ranges of lines of an image, with the source lines that they depend on.

use core::ops::Range;

/// A range of lines of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Strip {
    /// The index of the image.
    pub sample: usize,
    /// The lines of the result.
    pub lines: Range<usize>,
    /// The source lines that are bound. They include all lines that the windows of the result's lines reach.
    pub source: Range<usize>,
}

impl Strip {
    /// Returns the strip of all lines of each image.
    pub fn all(lines: usize, source: usize) -> Self {
        Strip { sample: 0, lines: 0..lines, source: 0..source }
    }
}

/// The relation between the lines of a result and the lines of its sources.
pub(super) struct Windows {
    /// The number of lines in a window.
    pub size: usize,
    /// The number of lines between the starts of two windows.
    pub stride: usize,
    /// The number of lines by which the first window starts above the image.
    pub padding: usize,
    /// The factor by which the sources are enlarged.
    pub upsample: usize,
}

impl Windows {
    /// Windows of one line: every line of the result depends on the same line of the sources.
    pub const NONE: Self = Windows { size: 1, stride: 1, padding: 0, upsample: 1 };

    /// Returns the source lines that `lines` of the result depend on, for a source of `height` lines. It returns at
    /// least one line, even if all windows are in the padding.
    pub fn source(&self, lines: &Range<usize>, height: usize) -> Range<usize> {
        let top = (lines.start * self.stride).saturating_sub(self.padding) / self.upsample;
        let below = ((lines.end - 1) * self.stride + self.size).saturating_sub(self.padding).div_ceil(self.upsample);
        let top = top.min(height - 1);
        top..below.clamp(top + 1, height)
    }

    /// Returns the number of enlarged lines by which a strip's first window starts above the bound source lines. It
    /// is negative if the window starts below the first of them.
    pub fn padding_top(&self, strip: &Strip) -> i32 {
        let [padding, bound, first] =
            [self.padding, strip.source.start * self.upsample, strip.lines.start * self.stride].map(|n| n as i32);
        padding + bound - first
    }
}
