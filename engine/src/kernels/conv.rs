//! `conv`: two-dimensional convolution, with the surrounding operations fused into its loads and its store.

use alloc::vec::Vec;

use super::{Activation, Binding, ChannelStats, Half, Kernel, Load, Matrix, Parameters, Reads, RowSlice, in_fours};
use crate::{Error, Result};

/// Parameters of a two-dimensional convolution.
///
/// ```text
/// y[n, p, q, o] = activation( sum_{i, j, c} v[n, p s + i - pad, q s + j - pad, c] w[i, j, c, o]
///                             + bias[o] + add[n, o] + residual[n, p, q, o] )
/// ```
///
/// Here `v` is the source, or two sources concatenated along the channels, after [`Load`] and then
/// enlarged by nearest neighbour. Outside of the image `v` is zero: the load does not map the padding.
///
/// If a norm follows, the store also gathers the statistics of the result that [`ChannelStats`] would
/// compute, so that no kernel has to read the result again for them:
///
/// ```text
/// stats[n, t, 0, o] = sum_{(p, q) in t} y[n, p, q, o] / |t|
/// stats[n, t, 1, o] = sum_{(p, q) in t} (y[n, p, q, o] - stats[n, t, 0, o])^2
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv {
    /// The number of samples.
    pub batch: usize,
    /// The height of the sources.
    pub height: usize,
    /// The width of the sources.
    pub width: usize,
    /// The number of channels of the first and of the second source; the second is 0 if there is one source.
    pub in_channels: [usize; 2],
    /// The number of channels of the result.
    pub out_channels: usize,
    /// The height and width of the window.
    pub kernel: [usize; 2],
    /// The step of the window, in both directions.
    pub stride: usize,
    /// The number of zeros around the (enlarged) image, on each side.
    pub padding: usize,
    /// The factor by which the source is enlarged, by nearest neighbour: 1 or 2.
    pub upsample: usize,
    /// The map that is applied to the sources' values when they are loaded.
    pub load: Load,
    /// True if a bias per channel is added.
    pub bias: bool,
    /// The position of the values per (sample, channel) that are added, or `None` if there are none.
    pub add: Option<RowSlice>,
    /// The factor by which the residual is enlarged, by nearest neighbour, or `None` if no residual is added.
    pub residual: Option<usize>,
    /// The activation, which is applied last.
    pub activation: Activation,
    /// The number of pixels of a tile of the result's statistics, or `None` if they are not gathered.
    /// If they are, the kernel writes a second buffer, `stats [n, tiles, 2, out_channels]`.
    pub stats: Option<usize>,
}

/// The buffers that a convolution reads.
pub struct ConvReads<'a> {
    /// `[n, h, w, in_channels.0]`
    pub source: &'a [f32],
    /// `[n, h, w, in_channels.1]`
    pub second: Option<&'a [f32]>,
    /// `[n, row_length]`
    pub rows: Option<&'a [f32]>,
    /// `[kernel_h * kernel_w * in_channels, out_channels]`, or packed by the executor
    pub weight: Matrix<'a>,
    /// `[out_channels]`
    pub bias: Option<&'a [f32]>,
    /// `[n, row_length]`
    pub add: Option<&'a [f32]>,
    /// `[n, out_h / r, out_w / r, out_channels]`, enlarged by the factor `r`
    pub residual: Option<&'a [f32]>,
}

impl Conv {
    /// The number of pixels of a tile for which every device gathers statistics while it stores the result.
    pub const STATS_TILE: usize = 64;

    /// Creates a convolution of one source with stride 1, padded to keep the size of the image, and without any fusion.
    pub fn new(source: [usize; 4], out_channels: usize, kernel: usize) -> Self {
        let [batch, height, width, channels] = source;
        Conv {
            batch,
            height,
            width,
            in_channels: [channels, 0],
            out_channels,
            kernel: [kernel; 2],
            stride: 1,
            padding: kernel / 2,
            upsample: 1,
            load: Load::Plain,
            bias: false,
            add: None,
            residual: None,
            activation: Activation::Identity,
            stats: None,
        }
    }

    /// Returns the number of channels of all sources together.
    pub fn channels(&self) -> usize {
        self.in_channels[0] + self.in_channels[1]
    }

    /// Returns the number of rows of the weight matrix, which is the number of products that one output element sums.
    pub fn depth(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.channels()
    }

    /// Returns the height and width of the result. A side is 0 if the window does not fit into the padded image.
    pub fn out_size(&self) -> [usize; 2] {
        let size = |length: usize, window: usize| {
            (length * self.upsample + 2 * self.padding)
                .checked_sub(window)
                .and_then(|room| room.checked_div(self.stride))
                .map_or(0, |steps| steps + 1)
        };
        [size(self.height, self.kernel[0]), size(self.width, self.kernel[1])]
    }

    /// Returns the kernel that would compute the statistics of the result, or `None` if the store does not gather them.
    pub fn channel_stats(&self) -> Option<ChannelStats> {
        let [height, width] = self.out_size();
        let of_tile = |tile| ChannelStats { batch: self.batch, height, width, channels: self.out_channels, tile };
        self.stats.map(of_tile)
    }

    /// Returns the buffers by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> ConvReads<'a> {
        ConvReads {
            source: reads.floats(),
            second: reads.floats_if(self.in_channels[1] > 0),
            rows: reads.floats_if(self.load != Load::Plain),
            weight: reads.matrix(),
            bias: reads.floats_if(self.bias),
            add: reads.floats_if(self.add.is_some()),
            residual: reads.floats_if(self.residual.is_some()),
        }
    }
}

impl Parameters for Conv {
    fn check(&self, layer: &str) -> Result<()> {
        let [out_h, out_w] = self.out_size();
        let [kernel_h, kernel_w] = self.kernel;
        let sizes = [self.batch, self.height, self.width, self.in_channels[0], self.out_channels, self.upsample];
        if sizes.contains(&0) || [kernel_h, kernel_w, self.stride, out_h, out_w].contains(&0) {
            let pixels = alloc::format!("{}x{} pixels", self.height * self.upsample, self.width * self.upsample);
            return Err(Error::shape(
                layer,
                alloc::format!("a window of {:?} that fits into the padded image", self.kernel),
                alloc::format!("{pixels}, padding {}, {} channels", self.padding, self.channels()),
            ));
        }
        if let Some(enlarged) = self.residual
            && (enlarged == 0 || out_h % enlarged != 0 || out_w % enlarged != 0)
        {
            let expected = alloc::format!("a size that a residual enlarged {enlarged} times fills");
            return Err(Error::shape(layer, expected, alloc::format!("{out_h}x{out_w}")));
        }
        if let Load::Affine { rows, .. } = self.load {
            rows.check(layer, 2 * self.channels())?;
        }
        self.channel_stats().iter().try_for_each(|stats| stats.check(layer))?;
        self.add.iter().try_for_each(|add| add.check(layer, self.out_channels))
    }

    fn bindings(&self) -> Vec<Binding> {
        let [n, h, w] = [self.batch, self.height, self.width];
        let [out_h, out_w] = self.out_size();
        let sources_in_fours = in_fours(&self.in_channels) && self.load.is_in_fours();
        let source = |name, channels| Binding::read(name, [n, h, w, channels]).or_half(Half::Source, sources_in_fours);
        let mut bindings = Vec::from([source("source", self.in_channels[0])]);
        if self.in_channels[1] > 0 {
            bindings.push(source("second", self.in_channels[1]));
        }
        bindings.extend(self.load.binding(n));
        bindings.push(Binding::read("weight", [self.depth(), self.out_channels]).or_half(Half::Weight, true));
        if self.bias {
            bindings.push(Binding::read("bias", [self.out_channels]));
        }
        let add_in_fours = self.add.is_none_or(|add| in_fours(&[add.row_length, add.offset]));
        let result_in_fours = in_fours(&[self.out_channels]) && add_in_fours;
        if let Some(add) = self.add {
            bindings.push(Binding::read("add", [n, add.row_length]));
        }
        if let Some(enlarged) = self.residual {
            let residual = Binding::read("residual", [n, out_h / enlarged, out_w / enlarged, self.out_channels]);
            bindings.push(residual.or_half(Half::Result, result_in_fours));
        }
        let output = Binding::write("output", [n, out_h, out_w, self.out_channels]);
        bindings.push(output.or_half(Half::Result, result_in_fours));
        if let Some(stats) = self.channel_stats() {
            bindings.push(Binding::write("stats", [n, stats.tiles(), 2, self.out_channels]));
        }
        bindings
    }

    fn multiply_adds(&self) -> u64 {
        let [out_h, out_w] = self.out_size();
        (self.batch * out_h * out_w) as u64 * self.depth() as u64 * self.out_channels as u64
    }

    fn with_batch(&self, batch: usize) -> Option<(usize, Kernel)> {
        Some((self.batch, Conv { batch, ..self.clone() }.into()))
    }
}
