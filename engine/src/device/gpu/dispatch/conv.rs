//! Dispatches of `conv`.

use alloc::vec::Vec;

use percept_shaders::params::Conv as Params;
use percept_shaders::{Shader, Tile};

use super::channel_stats;
use super::shared::{Dispatch, Halves, PARTIALS, Region, Target, activation, weight_parts};
use super::strip::{Strip, Windows};
use super::tiles::tile;
use crate::kernels::{Activation, ChannelStats, Conv, Load};

// Models request statistics with the tile size that a store can gather.
const _: () = assert!(Conv::STATS_TILE == percept_shaders::STATS_TILE as usize);

/// Returns the dispatches of [`Conv`]: one for each part of the weight, one that adds up the sums if they are split,
/// and one for the statistics if the store cannot gather them.
pub(super) fn dispatches(p: &Conv, target: Target<'_>) -> Vec<Dispatch> {
    strip(p, target, &Strip::all(p.out_size()[0], p.height))
}

/// Returns the dispatches for a strip of each image. Sums are split as they are for the whole image.
pub(super) fn strip(p: &Conv, target: Target<'_>, strip: &Strip) -> Vec<Dispatch> {
    let Target { halves, capabilities } = target;
    let ([out_h, out_w], depth) = (p.out_size(), p.depth());
    let (tile, splits) = tile(out_h * out_w, p.out_channels, depth, capabilities);
    let pixels = strip.lines.len() * out_w;
    // A split has whole tiles of terms, so there can be fewer splits than `tile` returned.
    let split_depth = depth.div_ceil(splits).next_multiple_of(tile.depth as usize);
    let splits = depth.div_ceil(split_depth);
    let last = if splits == 1 { tile } else { Tile::REDUCE };
    let stats = gathers_stats(p, halves, last);

    // Process all samples at once, or as many as have raw sums that fit in one binding.
    let sums = splits * pixels * p.out_channels.next_multiple_of(4);
    let samples = if splits == 1 { p.batch } else { (capabilities.max_binding_bytes / 4 / sums).clamp(1, p.batch) };
    let mut dispatches = Vec::new();
    for first in (0..p.batch).step_by(samples) {
        let samples = samples.min(p.batch - first);
        let partials = Region::Elements { first: 0, count: samples * sums };
        let params = Params {
            first_sample: first as u32,
            samples: samples as u32,
            splits: splits as u32,
            split_depth: split_depth as u32,
            ..params(p, strip)
        };
        for (part, columns) in
            weight_parts(depth, p.out_channels, halves.weight_type(), capabilities).into_iter().enumerate()
        {
            let params = Params { first_column: columns.start as u32, end_column: columns.end as u32, ..params };
            dispatches.push(if splits == 1 {
                bind_store(p, stats, product(p, halves, tile, store(p, halves, tile, stats), params, part))
            } else {
                let shader =
                    tile.shader().with("residual", true).with("half", halves.weight).with("sums", halves.weight);
                let sums = bind_sums(product(p, halves, tile, shader, raw(params), part));
                sums.bind_as("output", PARTIALS, partials.clone())
            });
        }
        if splits > 1 {
            let reduction = on_grid(samples, last, store(p, halves, last, stats), params);
            dispatches.push(bind_store(p, stats, reduction.bind_as(PARTIALS, PARTIALS, partials)));
        }
    }
    if let (Some(of_output), false) = (p.channel_stats(), stats) {
        let of_lines = ChannelStats { height: strip.lines.len(), ..of_output };
        let of_result = Target { halves: Halves { source: halves.result, ..Halves::default() }, capabilities };
        let stats = channel_stats::dispatches(&of_lines, of_result).into_iter();
        dispatches.extend(stats.map(|dispatch| dispatch.renamed(&[("output", "stats"), ("source", "output")])));
    }
    dispatches
}

pub(super) fn windows(p: &Conv) -> Windows {
    Windows { size: p.kernel[0], stride: p.stride, padding: p.padding, upsample: p.upsample }
}

/// Returns true if a store with this tile can gather the requested statistics. With two sources and a residual it
/// cannot, because it would bind too many buffers.
fn gathers_stats(p: &Conv, halves: Halves, tile: Tile) -> bool {
    let fits = tile.gathers_stats() && !is_narrow_out(p, halves) && !(has_second(p) && p.residual.is_some());
    p.stats == Some(Conv::STATS_TILE) && fits
}

/// Returns the shader that stores results.
fn store(p: &Conv, halves: Halves, tile: Tile, stats: bool) -> Shader {
    let residual = tile == Tile::REDUCE || !(stats && has_second(p));
    let shader = tile.shader().with("half", halves.weight).with("narrow_out", is_narrow_out(p, halves));
    shader.with("residual", residual).with("stats", stats)
}

/// Returns true if the store cannot access columns in groups of four: because a size is not a multiple of four, or
/// because the shader's groups are half precision and the result is `f32`.
fn is_narrow_out(p: &Conv, halves: Halves) -> bool {
    let rows = p.add.map_or([0; 2], |add| [add.row_length, add.offset]);
    let in_fours = rows.iter().chain([&p.out_channels]).all(|size| size.is_multiple_of(4));
    !in_fours || (halves.weight && !halves.result)
}

fn has_second(p: &Conv) -> bool {
    p.in_channels[1] > 0
}

/// Returns the parameters for the whole weight, without the grid.
fn params(p: &Conv, strip: &Strip) -> Params {
    let [_, out_w] = p.out_size();
    let mut params = Params {
        height: strip.source.len() as u32,
        width: p.width as u32,
        first: p.in_channels[0] as u32,
        channels: p.channels() as u32,
        kernel_height: p.kernel[0] as u32,
        kernel_width: p.kernel[1] as u32,
        stride: p.stride as u32,
        padding_top: windows(p).padding_top(strip) as u32,
        padding_left: p.padding as u32,
        depth: p.depth() as u32,
        pixels: (strip.lines.len() * out_w) as u32,
        out_width: out_w as u32,
        out_channels: p.out_channels as u32,
        end_column: p.out_channels as u32,
        bias: p.bias.into(),
        residual: p.residual.unwrap_or(0) as u32,
        ..Params::default()
    };
    if let Load::Affine { rows, .. } = p.load {
        (params.rows_length, params.rows_offset) = (rows.row_length as u32, rows.offset as u32);
    }
    if let Some(add) = p.add {
        (params.add, params.add_length, params.add_offset) = (1, add.row_length as u32, add.offset as u32);
    }
    params
}

/// Returns the parameters for raw sums: the columns are rounded up to a multiple of four, and nothing is added.
fn raw(params: Params) -> Params {
    let (out_channels, end_column) = (params.out_channels.next_multiple_of(4), params.end_column.next_multiple_of(4));
    Params { out_channels, end_column, bias: 0, add: 0, residual: 0, ..params }
}

/// Returns a dispatch whose grid covers `images` images in tiles.
fn on_grid(images: usize, tile: Tile, shader: Shader, params: Params) -> Dispatch {
    let pixel_tiles = params.pixels.div_ceil(tile.pixels());
    let column_tiles = (params.end_column - params.first_column).div_ceil(tile.columns());
    let workgroups = images * (pixel_tiles * column_tiles) as usize;
    Dispatch::new(shader, &Params { pixel_tiles, column_tiles, ..params }, workgroups)
}

/// Returns the dispatch for the product with one part of the weight, with its inputs bound.
fn product(p: &Conv, halves: Halves, tile: Tile, shader: Shader, params: Params, part: usize) -> Dispatch {
    let mut multiples_of_4 = Vec::from(p.in_channels);
    let mut names = Vec::from(["source"]);
    if has_second(p) {
        names.push("second");
    }
    let mut load_activation = None;
    if let Load::Affine { rows, activation } = p.load {
        names.push("rows");
        multiples_of_4.extend([rows.row_length, rows.offset]);
        load_activation = Some(activation);
    }
    let in_fours = multiples_of_4.iter().all(|size| size.is_multiple_of(4));
    let shader = shader
        .with("narrow_in", !in_fours || (halves.weight && !halves.source))
        .with("rows", load_activation.is_some())
        .with("second", has_second(p));
    let dispatch = on_grid((params.samples * params.splits) as usize, tile, shader, params)
        .bind(&names)
        .bind_as("weight", "weight", Region::Part(part))
        .set("UPSAMPLE", p.upsample as u32);
    match load_activation {
        Some(kind) => dispatch.set("LOAD_ACTIVATION", activation(kind)),
        None => dispatch,
    }
}

/// Binds the buffers that are added to a result and the buffers that it is stored in.
fn bind_store(p: &Conv, stats: bool, dispatch: Dispatch) -> Dispatch {
    let mut added = Vec::from([("bias", p.bias), ("add", p.add.is_some())]);
    if dispatch.shader.flags.contains("residual") {
        added.push(("residual", p.residual.is_some()));
    }
    let outputs: &[_] = if stats { &["output", "stats"] } else { &["output"] };
    dispatch.bind_if(&added).bind(outputs).set("STORE_ACTIVATION", activation(p.activation))
}

/// Binds placeholders for the buffers that a result is stored with, because nothing is added to raw sums.
fn bind_sums(dispatch: Dispatch) -> Dispatch {
    dispatch
        .bind_if(&["bias", "add", "residual"].map(|name| (name, false)))
        .set("STORE_ACTIVATION", activation(Activation::Identity))
}
