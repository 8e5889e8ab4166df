//! Parts of a large op that its twin computes quickly.
//!
//! A part is an op of the same kernel: the lines of the source around some pixels and some columns of the
//! weight, one head of an attention, or a tile of statistics. The whole op must give the same results at the
//! same places as the twin of the part. The bound of the error is the same, too, since each element sums the
//! same terms.

use std::ops::Range;

use percept::kernels::{Attention, AvgPool, ChannelStats, Concat, Conv, Dense, Kernel, Load, Parameters, RowSlice};
use percept_tests::{Case, SplitMix};

/// The number of pixels in a run of a convolution's result, which are those of one tile of its statistics.
const RUN: usize = 64;

/// The largest number of multiply-adds with which a matrix product is compared whole.
const FEW: u64 = 1 << 28;

/// The largest number of outputs with which an image is compared whole.
const SMALL: usize = 1 << 22;

/// A part of an op, and the elements of the op that it computes.
pub struct Sample {
    /// The part. Its twin's outputs are also outputs of the op.
    pub case: Case,
    /// For each output and each compared element, the positions in the part's output and in the op's.
    pub places: Vec<Vec<[usize; 2]>>,
    /// The statistics of the compared elements, if the op gathers them, and their positions in its second
    /// output.
    pub stats: Option<(ChannelStats, Vec<usize>)>,
}

impl Sample {
    /// Creates a sample of a whole op.
    fn whole(case: &Case) -> Self {
        let outputs = case.kernel.parameters().bindings().into_iter().filter(|binding| binding.written);
        let places = outputs.map(|binding| (0..binding.shape.elements()).map(|i| [i, i]).collect()).collect();
        Sample { case: case.clone(), places, stats: None }
    }

    /// Creates a part whose output is consecutive in the op's, beginning with this element.
    fn consecutive(case: Case, first: usize) -> Self {
        let mut sample = Sample::whole(&case);
        sample.places.iter_mut().flatten().for_each(|place| place[1] += first);
        sample
    }
}

/// Returns the parts of an op that are compared. If a device runs the op in several dispatches, `begins` holds
/// the elements of the first output at which they begin, and the samples include the places on both sides.
pub fn samples(case: &Case, begins: &[usize]) -> Vec<Sample> {
    match &case.kernel {
        Kernel::Conv(p) => conv(p, case, begins),
        Kernel::Dense(p) if p.multiply_adds() > FEW => dense(p, case),
        Kernel::Attention(p) => attention(p, case),
        Kernel::ChannelStats(p) => channel_stats(p, case, begins),
        Kernel::AvgPool(p) if p.out_size()[0] * p.out_size()[1] * p.channels > SMALL => avg_pool(p, case, begins),
        Kernel::Concat(p) if p.height * p.width * (p.channels[0] + p.channels[1]) > SMALL => concat(p, case, begins),
        _ => vec![Sample::whole(case)],
    }
}

/// Chooses the first and the last of `count` units and two more next to each, some in the middle, two at
/// random, and those on both sides of the places where a dispatch begins.
fn chosen(count: usize, begins: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut random = SplitMix::new(count as u64);
    let mut anywhere = || random.bits() as usize % count;
    let mut chosen = vec![0, 1, 2, count / 3, count / 2, anywhere(), anywhere()];
    chosen.extend([1, 2, 3].map(|from_end| count.saturating_sub(from_end)));
    chosen.extend(begins.flat_map(|unit| [unit.saturating_sub(1), unit]));
    chosen.retain(|&unit| unit < count);
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

/// Chooses columns on both sides of the edges of a device's tiles (16, 32, 64, 128 and 1024 columns), the last
/// ones and some at random; if there are only a few, all of them.
fn columns(count: usize) -> Vec<usize> {
    if count <= 16 {
        return (0..count).collect();
    }
    let mut random = SplitMix::new(count as u64);
    let mut columns = vec![0, 15, 16, 31, 32, 63, 64, 127, 128, 1023, 1024, count / 2, count - 2, count - 1];
    columns.extend((0..4).map(|_| random.bits() as usize % count));
    columns.retain(|&column| column < count);
    columns.sort_unstable();
    columns.dedup();
    columns
}

/// Keeps only these columns of rows of `width` elements.
fn kept(values: &[f32], width: usize, columns: &[usize]) -> Vec<f32> {
    values.chunks_exact(width).flat_map(|row| columns.iter().map(|&column| row[column])).collect()
}

/// Samples runs of pixels in some of the columns.
fn conv(p: &Conv, case: &Case, begins: &[usize]) -> Vec<Sample> {
    assert_eq!(p.batch, 1, "{p:?}");
    assert!(p.stats.is_none_or(|tile| tile == RUN), "{p:?}");
    let [out_h, out_w] = p.out_size();
    let columns = columns(p.out_channels);
    let runs = chosen((out_h * out_w).div_ceil(RUN), begins.iter().map(|first| first / p.out_channels / RUN));
    let weight = kept(case.floats("weight"), p.out_channels, &columns);
    let of_run = |run: usize| conv_run(p, case, &columns, &weight, run * RUN..(run * RUN + RUN).min(out_h * out_w));
    runs.into_iter().map(of_run).collect()
}

/// Samples a convolution of the part of the image on which some consecutive pixels of the result depend: only
/// the lines, and the pixels of each line, that they need.
fn conv_run(p: &Conv, case: &Case, columns: &[usize], weight: &[f32], pixels: Range<usize>) -> Sample {
    let [out_h, out_w] = p.out_size();
    let lines = pixels.start / out_w..(pixels.end - 1) / out_w + 1;
    let across = if lines.len() == 1 { pixels.start % out_w..(pixels.end - 1) % out_w + 1 } else { 0..out_w };
    let (rows, top) = part(p, lines, p.height, p.kernel[0]);
    let (cols, left) = part(p, across, p.width, p.kernel[1]);
    let k = columns.len();

    let small = Conv {
        height: rows.len(),
        width: cols.len(),
        out_channels: k,
        add: p.add.map(|_| RowSlice { row_length: k, offset: 0 }),
        residual: p.residual.map(|_| 1),
        stats: None,
        ..p.clone()
    };
    let mut sample = Case::random(small.clone(), 0);
    for (name, channels) in ["source", "second"].into_iter().zip(p.in_channels).filter(|(_, channels)| *channels > 0) {
        let source = case.floats(name);
        let line = |y: usize| &source[(y * p.width + cols.start) * channels..(y * p.width + cols.end) * channels];
        sample.set(name, &rows.clone().flat_map(line).copied().collect::<Vec<f32>>());
    }
    if p.load != Load::Plain {
        sample.set("rows", case.floats("rows"));
    }
    sample.set("weight", weight);
    if p.bias {
        sample.set("bias", &kept(case.floats("bias"), p.out_channels, columns));
    }
    if let Some(add) = p.add {
        sample.set("add", &kept(add.of(case.floats("add"), 0, p.out_channels), p.out_channels, columns));
    }
    let [small_h, small_w] = small.out_size();
    if let Some(enlarged) = p.residual {
        let residual = case.floats("residual");
        let mut values = Vec::new();
        for (y, x) in (0..small_h).flat_map(|y| (0..small_w).map(move |x| (y, x))) {
            // Beyond the image, the part's result is not compared.
            let [y, x] = [(y + top).min(out_h - 1), (x + left).min(out_w - 1)];
            let pixel = y / enlarged * (out_w / enlarged) + x / enlarged;
            values.extend(columns.iter().map(|&column| residual[pixel * p.out_channels + column]));
        }
        sample.set("residual", &values);
    }

    let place = |pixel: usize| {
        let here = (pixel / out_w - top) * small_w + pixel % out_w - left;
        columns.iter().enumerate().map(move |(i, &column)| [here * k + i, pixel * p.out_channels + column])
    };
    let stats = p.stats.map(|tile| {
        let of_run = ChannelStats { batch: 1, height: 1, width: pixels.len(), channels: k, tile };
        let row = pixels.start / tile * 2;
        let places = [row, row + 1].into_iter();
        (of_run, places.flat_map(|row| columns.iter().map(move |&column| row * p.out_channels + column)).collect())
    });
    Sample { case: sample, places: vec![pixels.flat_map(place).collect()], stats }
}

/// Returns the range of a side of the sources, which has `length` elements, on which the elements `of` of the
/// result's side depend, and the number of elements of the result's side before it. The range begins with the
/// window of the first element, or a little before, at a multiple of the stride. If the range ends before the
/// side, so do all windows.
fn part(p: &Conv, of: Range<usize>, length: usize, window: usize) -> (Range<usize>, usize) {
    let mut first = (of.start * p.stride).saturating_sub(p.padding) / p.upsample;
    while !(first * p.upsample).is_multiple_of(p.stride) {
        first -= 1;
    }
    let end = ((of.end - 1) * p.stride + window).saturating_sub(p.padding).div_ceil(p.upsample);
    (first..end.clamp(first + 1, length), first * p.upsample / p.stride)
}

/// Samples some of the columns, in all rows.
fn dense(p: &Dense, case: &Case) -> Vec<Sample> {
    let columns = columns(p.out_features);
    let k = columns.len();
    let mut sample = Case::random(Dense { out_features: k, ..p.clone() }, 0);
    sample.set("source", case.floats("source"));
    for (name, present) in [("weight", true), ("bias", p.bias), ("residual", p.residual)] {
        if present {
            sample.set(name, &kept(case.floats(name), p.out_features, &columns));
        }
    }
    let row = |r: usize| columns.iter().enumerate().map(move |(i, &column)| [r * k + i, r * p.out_features + column]);
    vec![Sample { case: sample, places: vec![(0..p.rows).flat_map(row).collect()], stats: None }]
}

/// Samples the first and the last head, for all queries.
fn attention(p: &Attention, case: &Case) -> Vec<Sample> {
    assert_eq!(p.batch, 1, "{p:?}");
    let d = p.head_channels;
    let mut heads = vec![0, p.heads - 1];
    heads.dedup();
    let of_head = |head: usize| {
        let tokens = case.floats("qkv").chunks_exact(3 * p.channels());
        let parts = tokens.flat_map(|token| p.offsets(head).into_iter().flat_map(|from| &token[from..from + d]));
        let mut sample = Case::random(Attention { heads: 1, ..p.clone() }, 0);
        sample.set("qkv", &parts.copied().collect::<Vec<f32>>());
        let token = |t: usize| (0..d).map(move |c| [t * d + c, t * p.channels() + head * d + c]);
        Sample { case: sample, places: vec![(0..p.tokens()).flat_map(token).collect()], stats: None }
    };
    heads.into_iter().map(of_head).collect()
}

/// Samples some of the tiles, in all channels.
fn channel_stats(p: &ChannelStats, case: &Case, begins: &[usize]) -> Vec<Sample> {
    assert_eq!(p.batch, 1, "{p:?}");
    let (pixels, c) = (p.height * p.width, p.channels);
    let of_tile = |tile: usize| {
        let pixels = tile * p.tile..(tile * p.tile + p.tile).min(pixels);
        let mut sample = Case::random(ChannelStats { height: 1, width: pixels.len(), ..p.clone() }, 0);
        sample.set("source", &case.floats("source")[pixels.start * c..pixels.end * c]);
        Sample::consecutive(sample, tile * 2 * c)
    };
    chosen(p.tiles(), begins.iter().map(|first| first / (2 * c))).into_iter().map(of_tile).collect()
}

/// Samples some of the lines.
fn avg_pool(p: &AvgPool, case: &Case, begins: &[usize]) -> Vec<Sample> {
    assert_eq!(p.batch, 1, "{p:?}");
    let [out_h, out_w] = p.out_size();
    let (from, to) = (p.kernel[0] * p.width * p.channels, out_w * p.channels);
    let of_line = |line: usize| {
        let mut sample = Case::random(AvgPool { height: p.kernel[0], ..p.clone() }, 0);
        sample.set("source", &case.floats("source")[line * from..(line + 1) * from]);
        if p.load != Load::Plain {
            sample.set("rows", case.floats("rows"));
        }
        Sample::consecutive(sample, line * to)
    };
    chosen(out_h, begins.iter().map(|first| first / to)).into_iter().map(of_line).collect()
}

/// Samples some of the lines.
fn concat(p: &Concat, case: &Case, begins: &[usize]) -> Vec<Sample> {
    assert_eq!(p.batch, 1, "{p:?}");
    let to = p.width * (p.channels[0] + p.channels[1]);
    let of_line = |line: usize| {
        let mut sample = Case::random(Concat { height: 1, ..p.clone() }, 0);
        for (name, channels) in ["source", "second"].into_iter().zip(p.channels) {
            let from = p.width * channels;
            sample.set(name, &case.floats(name)[line * from..(line + 1) * from]);
        }
        Sample::consecutive(sample, line * to)
    };
    chosen(p.height, begins.iter().map(|first| first / to)).into_iter().map(of_line).collect()
}
