//! Ops with images that exceed the binding limit, which run in strips of lines.

use alloc::vec::Vec;
use core::ops::Range;

use super::shared::{Capabilities, Dispatch, Region, Target, Types, native};
use super::strip::{Strip, Windows};
use super::too_large::{alignment, too_large};
use super::{avg_pool, channel_stats, concat, conv, max_pool};
use crate::Result;
use crate::kernels::{AvgPool, Binding, ChannelStats, Concat, Conv, Kernel, MaxPool};

/// Returns the dispatches of a kernel with a buffer in which a single sample exceeds the binding limit. Each dispatch
/// covers as many lines as fit.
///
/// # Errors
/// Returns [`Error::OutOfMemory`] if a single line does not fit, if no line starts at an offset where a binding may
/// begin, or if each line depends on all others.
pub(super) fn by_lines(kernel: &Kernel, types: Types<'_>, capabilities: &Capabilities) -> Result<Vec<Dispatch>> {
    let image = Image::new(kernel, types).ok_or_else(|| too_large(kernel, types, "one sample", capabilities))?;
    let refused = || too_large(kernel, types, "one line", capabilities);
    let mut dispatches = Vec::new();
    for sample in 0..image.samples {
        let mut from = 0;
        while from < image.height {
            let strips = (from + 1..=image.height).map_while(|to| image.strip(sample, from..to, capabilities));
            let strip = strips.filter(|strip| image.may_end(strip)).last().ok_or_else(refused)?;
            from = strip.lines.end;
            for mut dispatch in image.dispatches(&strip, capabilities) {
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
    native(&mut dispatches, capabilities);
    Ok(dispatches)
}

/// A kernel whose result is an image, each line of which depends on the source lines around it.
struct Image<'a> {
    kernel: &'a Kernel,
    bindings: Vec<Binding>,
    halves: super::shared::Halves,
    windows: Windows,
    samples: usize,
    /// The height and width of the result or, if the result is statistics, of the image that they describe.
    height: usize,
    width: usize,
    /// The number of pixels in a tile of the statistics, if there are statistics.
    tile: Option<usize>,
    /// The factor by which a residual is enlarged.
    residual: usize,
}

impl<'a> Image<'a> {
    /// Returns `None` if the kernel's result has no lines.
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

    /// Returns the strip of these lines of a sample, with source lines that start at an offset where a binding may
    /// begin. Returns `None` if there is no such offset, or if a buffer does not fit in a binding.
    fn strip(&self, sample: usize, lines: Range<usize>, capabilities: &Capabilities) -> Option<Strip> {
        let source = self.windows.source(&lines, self.bindings[0].shape[1]);
        // Extra source lines above the strip require a kernel with a parameter for the position of the first window.
        let least = if matches!(self.kernel, Kernel::Conv(_) | Kernel::MaxPool(_)) { 0 } else { source.start };
        let mut starts = (least..=source.start).rev();
        starts.find_map(|start| {
            let strip = Strip { sample, lines: lines.clone(), source: start..source.end };
            let fits = |binding: &Binding| match self.region(binding, &strip) {
                Region::Elements { first, count } => {
                    let bytes = count * binding.dtype.bytes();
                    first.is_multiple_of(alignment(binding)) && bytes <= capabilities.max_binding_bytes
                }
                Region::Whole | Region::Part(_) => {
                    binding.name == "weight" || binding.bytes() <= capabilities.max_binding_bytes
                }
            };
            self.bindings.iter().all(fits).then_some(strip)
        })
    }

    /// Returns true if another strip may start after this one.
    fn may_end(&self, strip: &Strip) -> bool {
        let end = strip.lines.end;
        let tiles_end = self.tile.is_none_or(|tile| (end * self.width).is_multiple_of(tile));
        let begins = |binding: &Binding| match self.region(binding, &Strip { lines: end..end + 1, ..strip.clone() }) {
            Region::Elements { first, .. } => is_source(binding) || first.is_multiple_of(alignment(binding)),
            Region::Whole | Region::Part(_) => true,
        };
        end == self.height || tiles_end && end.is_multiple_of(self.residual) && self.bindings.iter().all(begins)
    }

    /// Returns the region of a `[samples, lines, ...]` buffer that a strip uses, or the whole buffer if it has no
    /// lines.
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

    /// Returns the tiles of the lines. The first line must start a tile.
    fn tiles(&self, lines: &Range<usize>, tile: usize) -> Range<usize> {
        lines.start * self.width / tile..(lines.end * self.width).div_ceil(tile)
    }

    fn dispatches(&self, strip: &Strip, capabilities: &Capabilities) -> Vec<Dispatch> {
        let (batch, height, target) = (1, strip.source.len(), Target { halves: self.halves, capabilities });
        match self.kernel {
            Kernel::Conv(p) => {
                let (load, add) = (p.load.of_sample(strip.sample), p.add.map(|add| add.of_sample(strip.sample)));
                conv::strip(&Conv { batch, load, add, ..p.clone() }, target, strip)
            }
            Kernel::MaxPool(p) => Vec::from([max_pool::strip(&MaxPool { batch, ..p.clone() }, self.halves, strip)]),
            Kernel::AvgPool(p) => {
                let load = p.load.of_sample(strip.sample);
                avg_pool::dispatches(&AvgPool { batch, height, load, ..p.clone() }, target)
            }
            Kernel::ChannelStats(p) => channel_stats::dispatches(&ChannelStats { batch, height, ..p.clone() }, target),
            Kernel::Concat(p) => concat::dispatches(&Concat { batch, height, ..p.clone() }, target),
            _ => Vec::new(),
        }
    }
}

fn is_source(binding: &Binding) -> bool {
    ["source", "second"].contains(&binding.name)
}
