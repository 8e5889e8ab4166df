//! Dispatches of `conv`.

use alloc::vec::Vec;

use percept_shaders::{Shader, Tile};

use super::strips::{Strip, Windows};
use super::tiles::tile;
use super::{Dispatch, Halves, PARTIALS, Profile, Region, activation, channel_stats, params, weight_parts};
use crate::kernels::{Activation, ChannelStats, Conv, Load};

params! { "conv":
    grid_width: u32,
    first_sample: u32,
    samples: u32,
    splits: u32,
    pixel_tiles: u32,
    column_tiles: u32,
    height: u32,
    width: u32,
    first: u32,
    channels: u32,
    kernel_height: u32,
    kernel_width: u32,
    stride: u32,
    padding_top: u32,
    padding_left: u32,
    depth: u32,
    split_depth: u32,
    pixels: u32,
    out_width: u32,
    out_channels: u32,
    first_column: u32,
    end_column: u32,
    rows_length: u32,
    rows_offset: u32,
    bias: u32,
    add: u32,
    add_length: u32,
    add_offset: u32,
    residual: u32,
}

/// Pixels of a tile of the statistics that a store can gather.
const STATS_TILE: usize = 64;

/// See [`Conv`]: a dispatch for each part of the weight; where sums are split, one that adds them up; and one for
/// the statistics where the store cannot gather them.
pub(super) fn dispatches(p: &Conv, halves: Halves, profile: &Profile) -> Vec<Dispatch> {
    strip(p, halves, &Strip::all(p.out_size()[0], p.height), profile)
}

/// Of some lines of each image: sums as for all of them.
pub(super) fn strip(p: &Conv, halves: Halves, strip: &Strip, profile: &Profile) -> Vec<Dispatch> {
    let ([out_h, out_w], depth) = (p.out_size(), p.depth());
    let (tile, splits) = tile(out_h * out_w, p.out_channels, depth, profile);
    let pixels = strip.lines.len() * out_w;
    // A split has whole tiles of terms, so that there may be fewer.
    let split_depth = depth.div_ceil(splits).next_multiple_of(tile.depth as usize);
    let splits = depth.div_ceil(split_depth);
    let last = if splits == 1 { tile } else { Tile::REDUCE };
    let stats = gathers_stats(p, halves, last);

    // All samples at once, or as many as have their raw sums in one binding.
    let sums = splits * pixels * p.out_channels.next_multiple_of(4);
    let samples = if splits == 1 { p.batch } else { (profile.max_binding_bytes / 4 / sums).clamp(1, p.batch) };
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
            weight_parts(depth, p.out_channels, halves.weight_type(), profile).into_iter().enumerate()
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
        dispatches.push(
            channel_stats::dispatch(&of_lines, halves.result).renamed(&[("output", "stats"), ("source", "output")]),
        );
    }
    dispatches
}

pub(super) fn windows(p: &Conv) -> Windows {
    Windows { size: p.kernel[0], stride: p.stride, padding: p.padding, upsample: p.upsample }
}

/// Whether a store with this tile can gather the statistics that are asked for: not beside two sources and a
/// residual, for it would bind too many buffers.
fn gathers_stats(p: &Conv, halves: Halves, tile: Tile) -> bool {
    let fits = tile.gathers_stats() && !is_narrow_out(p, halves) && !(has_second(p) && p.residual.is_some());
    p.stats == Some(STATS_TILE) && fits
}

/// The shader that stores results.
fn store(p: &Conv, halves: Halves, tile: Tile, stats: bool) -> Shader {
    let residual = tile == Tile::REDUCE || !(stats && has_second(p));
    let shader = tile.shader().with("half", halves.weight).with("narrow_out", is_narrow_out(p, halves));
    shader.with("residual", residual).with("stats", stats)
}

/// Whether what is stored, or added to it, does not lie in fours of columns, or is `f32` where a shader has fours of half
/// precision.
fn is_narrow_out(p: &Conv, halves: Halves) -> bool {
    let rows = p.add.map_or([0; 2], |add| [add.row_length, add.offset]);
    let in_fours = rows.iter().chain([&p.out_channels]).all(|size| size.is_multiple_of(4));
    !in_fours || (halves.weight && !halves.result)
}

fn has_second(p: &Conv) -> bool {
    p.in_channels[1] > 0
}

/// The parameters but for the grid, with the whole weight.
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

/// The same for raw sums: columns in whole fours, and nothing added.
fn raw(params: Params) -> Params {
    let (out_channels, end_column) = (params.out_channels.next_multiple_of(4), params.end_column.next_multiple_of(4));
    Params { out_channels, end_column, bias: 0, add: 0, residual: 0, ..params }
}

/// So many images in tiles.
fn on_grid(images: usize, tile: Tile, shader: Shader, params: Params) -> Dispatch {
    let pixel_tiles = params.pixels.div_ceil(tile.pixels());
    let column_tiles = (params.end_column - params.first_column).div_ceil(tile.columns());
    let workgroups = images * (pixel_tiles * column_tiles) as usize;
    Dispatch::new(shader, &Params { pixel_tiles, column_tiles, ..params }, workgroups)
}

/// The product with a part of the weight, its inputs bound.
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

/// Binds what a result is stored with and to.
fn bind_store(p: &Conv, stats: bool, dispatch: Dispatch) -> Dispatch {
    let mut added = Vec::from([("bias", p.bias), ("add", p.add.is_some())]);
    if dispatch.shader.flags.contains("residual") {
        added.push(("residual", p.residual.is_some()));
    }
    let outputs: &[_] = if stats { &["output", "stats"] } else { &["output"] };
    dispatch.bind_if(&added).bind(outputs).set("STORE_ACTIVATION", activation(p.activation))
}

/// Binds what raw sums are stored with: nothing.
fn bind_sums(dispatch: Dispatch) -> Dispatch {
    dispatch
        .bind_if(&["bias", "add", "residual"].map(|name| (name, false)))
        .set("STORE_ACTIVATION", activation(Activation::Identity))
}
