//! Ops of which one image is larger than a binding may be: run in strips of lines.

use alloc::vec::Vec;
use core::ops::Range;

use super::split::{alignment, too_large};
use super::{Dispatch, Halves, Profile, Region, Types, avg_pool, channel_stats, concat, conv, max_pool, native};
use crate::Result;
use crate::kernels::{AvgPool, Binding, ChannelStats, Concat, Conv, Kernel, MaxPool};

/// Some lines of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Strip {
    /// Which image.
    pub sample: usize,
    /// The lines of the result.
    pub lines: Range<usize>,
    /// The lines of the sources that are bound: at least those that the windows of the result's lines reach.
    pub source: Range<usize>,
}

impl Strip {
    /// All lines of each image.
    pub fn all(lines: usize, source: usize) -> Self {
        Strip { sample: 0, lines: 0..lines, source: 0..source }
    }
}

/// How the lines of a result come from those of its sources.
pub(super) struct Windows {
    /// Lines of a window.
    pub size: usize,
    /// Lines between two windows.
    pub stride: usize,
    /// Lines that the first window begins above the image.
    pub padding: usize,
    /// How many times the sources are enlarged.
    pub upsample: usize,
}

impl Windows {
    /// Every line of the result comes from the same line of the sources.
    const NONE: Self = Windows { size: 1, stride: 1, padding: 0, upsample: 1 };

    /// The lines of a source of so many that these of the result come from; at least one, even if the windows lie in
    /// the padding.
    fn source(&self, lines: &Range<usize>, height: usize) -> Range<usize> {
        let top = (lines.start * self.stride).saturating_sub(self.padding) / self.upsample;
        let below = ((lines.end - 1) * self.stride + self.size).saturating_sub(self.padding).div_ceil(self.upsample);
        let top = top.min(height - 1);
        top..below.clamp(top + 1, height)
    }

    /// How far above the lines that are bound, enlarged, the first window of a strip begins; negative where it begins
    /// below their first.
    pub fn padding_top(&self, strip: &Strip) -> i32 {
        let [padding, bound, first] =
            [self.padding, strip.source.start * self.upsample, strip.lines.start * self.stride].map(|n| n as i32);
        padding + bound - first
    }
}

/// The dispatches of a kernel of which a buffer of one sample is too large for a binding: those of as many lines at a
/// time as fit.
///
/// # Errors
/// [`Error::OutOfMemory`] where not one line fits, or no line begins where a binding may, or lines depend on all others.
pub(super) fn by_lines(kernel: &Kernel, types: Types<'_>, profile: &Profile) -> Result<Vec<Dispatch>> {
    let image = Image::new(kernel, types).ok_or_else(|| too_large(kernel, types, "one sample", profile))?;
    let refused = || too_large(kernel, types, "one line", profile);
    let mut dispatches = Vec::new();
    for sample in 0..image.samples {
        let mut from = 0;
        while from < image.height {
            let strips = (from + 1..=image.height).map_while(|to| image.strip(sample, from..to, profile));
            let strip = strips.filter(|strip| image.may_end(strip)).last().ok_or_else(refused)?;
            from = strip.lines.end;
            for mut dispatch in image.dispatches(&strip, profile) {
                for bound in &mut dispatch.buffers {
                    let binding = image.bindings.iter().find(|binding| binding.name == bound.of);
                    if let (Some(binding), Region::Whole) = (binding, &bound.region) {
                        bound.region = image.region(binding, &strip);
                    }
                }
                dispatches.push(dispatch);
            }
        }
    }
    native(&mut dispatches, profile);
    Ok(dispatches)
}

/// A kernel whose result is an image of lines, each made of the lines of the sources around it.
struct Image<'a> {
    kernel: &'a Kernel,
    bindings: Vec<Binding>,
    halves: Halves,
    windows: Windows,
    samples: usize,
    /// Lines and columns of the result: of what is made statistics of, where the result is statistics.
    height: usize,
    width: usize,
    /// Pixels of a tile of the statistics, where there are some.
    tile: Option<usize>,
    /// How many times a residual is enlarged.
    residual: usize,
}

impl<'a> Image<'a> {
    /// None for a kernel that has no lines.
    fn new(kernel: &'a Kernel, types: Types<'_>) -> Option<Self> {
        let (bindings, halves) = (types.bindings(kernel), types.halves(kernel));
        let plain = |batch, height, width| (batch, [height, width], Windows::NONE);
        let (samples, [height, width], windows) = match kernel {
            Kernel::Conv(p) => (p.batch, p.out_size(), conv::windows(p)),
            Kernel::MaxPool(p) => (p.batch, p.out_size(), max_pool::windows(p)),
            Kernel::AvgPool(p) => {
                let windows = Windows { size: p.kernel[0], stride: p.kernel[0], ..Windows::NONE };
                (p.batch, p.out_size(), windows)
            }
            Kernel::ChannelStats(p) => plain(p.batch, p.height, p.width),
            Kernel::Concat(p) => plain(p.batch, p.height, p.width),
            _ => return None,
        };
        let (tile, residual) = match kernel {
            Kernel::Conv(p) => (p.stats, p.residual.unwrap_or(1)),
            Kernel::ChannelStats(p) => (Some(p.tile), 1),
            _ => (None, 1),
        };
        Some(Image { kernel, bindings, halves, windows, samples, height, width, tile, residual })
    }

    /// The strip of these lines of a sample, with the lines of the sources from one on at which a binding may begin;
    /// none where there is no such line, or a buffer would not fit a binding.
    fn strip(&self, sample: usize, lines: Range<usize>, profile: &Profile) -> Option<Strip> {
        let source = self.windows.source(&lines, self.bindings[0].shape[1]);
        // Only where windows are told how far above the bound lines they begin may there be more lines above them.
        let least = if matches!(self.kernel, Kernel::Conv(_) | Kernel::MaxPool(_)) { 0 } else { source.start };
        let mut starts = (least..=source.start).rev();
        starts.find_map(|start| {
            let strip = Strip { sample, lines: lines.clone(), source: start..source.end };
            let fits = |binding: &Binding| match self.region(binding, &strip) {
                Region::Elements { first, count } => {
                    let bytes = count * binding.dtype.bytes();
                    first.is_multiple_of(alignment(binding)) && bytes <= profile.max_binding_bytes
                }
                Region::Whole | Region::Part(_) => {
                    binding.name == "weight" || binding.bytes() <= profile.max_binding_bytes
                }
            };
            self.bindings.iter().all(fits).then_some(strip)
        })
    }

    /// Whether another strip may begin behind this one.
    fn may_end(&self, strip: &Strip) -> bool {
        let end = strip.lines.end;
        let tiles_end = self.tile.is_none_or(|tile| (end * self.width).is_multiple_of(tile));
        let begins = |binding: &Binding| match self.region(binding, &Strip { lines: end..end + 1, ..strip.clone() }) {
            Region::Elements { first, .. } => is_source(binding) || first.is_multiple_of(alignment(binding)),
            Region::Whole | Region::Part(_) => true,
        };
        end == self.height || tiles_end && end.is_multiple_of(self.residual) && self.bindings.iter().all(begins)
    }

    /// What a strip uses of a buffer `[samples, lines, ...]`: all of one that has no lines.
    fn region(&self, binding: &Binding, strip: &Strip) -> Region {
        let lines = &strip.lines;
        let used = match (binding.name, self.tile) {
            _ if is_source(binding) => strip.source.clone(),
            ("residual", _) => lines.start / self.residual..lines.end / self.residual,
            ("stats", Some(tile)) => self.tiles(lines, tile),
            ("output", Some(tile)) if matches!(self.kernel, Kernel::ChannelStats(_)) => self.tiles(lines, tile),
            ("output", _) => lines.clone(),
            _ => return Region::Whole,
        };
        let line = binding.shape.elements() / binding.shape[0] / binding.shape[1];
        Region::Elements { first: (strip.sample * binding.shape[1] + used.start) * line, count: used.len() * line }
    }

    /// The tiles of lines, the first of which begins one.
    fn tiles(&self, lines: &Range<usize>, tile: usize) -> Range<usize> {
        lines.start * self.width / tile..(lines.end * self.width).div_ceil(tile)
    }

    fn dispatches(&self, strip: &Strip, profile: &Profile) -> Vec<Dispatch> {
        let (batch, height, halves) = (1, strip.source.len(), self.halves);
        match self.kernel {
            Kernel::Conv(p) => {
                let (load, add) = (p.load.of_sample(strip.sample), p.add.map(|add| add.of_sample(strip.sample)));
                conv::strip(&Conv { batch, load, add, ..p.clone() }, halves, strip, profile)
            }
            Kernel::MaxPool(p) => Vec::from([max_pool::strip(&MaxPool { batch, ..p.clone() }, halves, strip)]),
            Kernel::AvgPool(p) => {
                let load = p.load.of_sample(strip.sample);
                Vec::from([avg_pool::dispatch(&AvgPool { batch, height, load, ..p.clone() }, halves)])
            }
            Kernel::ChannelStats(p) => {
                Vec::from([channel_stats::dispatch(&ChannelStats { batch, height, ..p.clone() }, halves.source)])
            }
            Kernel::Concat(p) => Vec::from([concat::dispatch(&Concat { batch, height, ..p.clone() }, halves)]),
            _ => Vec::new(),
        }
    }
}

fn is_source(binding: &Binding) -> bool {
    ["source", "second"].contains(&binding.name)
}
