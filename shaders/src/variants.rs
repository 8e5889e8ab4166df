//! Every variant of every kernel that there is: what the build validates, and all that an executor asks for.

use crate::shader::Shader;
use crate::tile::Tile;

/// Every variant of every kernel.
pub fn variants() -> Vec<Shader> {
    let mut all = Vec::new();
    for kernel in [
        "advance",
        "channel_stats",
        "concat",
        "ddpm_step",
        "embedding",
        "film_affine",
        "max_pool",
        "noise",
        "not_finite",
        "resize_bilinear",
        "to_rgba8",
    ] {
        all.push(Shader::new(kernel));
    }
    all.extend(attention());
    all.extend(conv());
    all.extend(dense());
    all.extend(subsets(Shader::new("avg_pool"), &["rows", "wide"]));
    all.extend(subsets(Shader::new("ddim_step"), &["noise"]));
    all.extend(subsets(Shader::new("group_affine"), &["alone", "second", "film"]));
    all.extend(subsets(Shader::new("layer_norm"), &["alone"]));
    all.extend(subsets(Shader::new("tokens"), &["own_prefix"]));
    all
}

/// Quads of queries, keys and quads of channels of an invocation: for heads of up to 64, 128, 192 and 256
/// channels on a GPU, and on a CPU that plays one. Channels that are no multiple of 4 have the first of both.
fn attention() -> Vec<Shader> {
    let tile = |[quads, keys, columns]: [u32; 3]| {
        let shader = Shader::new("attention");
        shader.constant("QUADS", quads).constant("KEYS", keys).constant("COLUMNS", columns)
    };
    let gpu = [[1, 8, 2], [1, 4, 2], [1, 4, 3], [1, 4, 4]].map(tile);
    let cpu = [[2, 8, 2], [2, 8, 4], [2, 8, 6], [2, 8, 8]].map(tile);
    let narrow = [&gpu[0], &cpu[0]].map(|shader| shader.clone().with("narrow", true));
    [&gpu[..], &cpu, &narrow].concat()
}

/// Products with every tile and every kind of sources, each with the ends that it may have.
fn conv() -> Vec<Shader> {
    let mut all = Vec::new();
    for tile in Tile::PRODUCTS.into_iter().chain([Tile::REDUCE]) {
        let loads: &[&str] = if tile == Tile::REDUCE { &[] } else { &["narrow_in", "rows", "second"] };
        for shader in subsets(tile.shader(), loads) {
            let with_residual = shader.clone().with("residual", true);
            all.push(with_residual.clone());
            all.push(with_residual.clone().with("narrow_out", true));
            if tile.gathers_stats() {
                // Statistics and a residual beside two sources would be too many buffers.
                all.push(if shader.flags.contains("second") { shader } else { with_residual }.with("stats", true));
            }
        }
    }
    all
}

fn dense() -> Vec<Shader> {
    let mut all = Vec::new();
    for rows in [1, 4, 8] {
        for columns4 in [4, 16] {
            let shader = Shader::new("dense").constant("ROWS", rows).constant("COLUMNS4", columns4);
            all.extend(subsets(shader, &["narrow_in"]));
        }
    }
    all
}

/// The shader with every subset of the flags.
fn subsets(shader: Shader, flags: &[&'static str]) -> Vec<Shader> {
    (0..1u32 << flags.len())
        .map(|chosen| {
            let chosen = |place: usize| chosen >> place & 1 == 1;
            flags.iter().enumerate().fold(shader.clone(), |shader, (place, flag)| shader.with(flag, chosen(place)))
        })
        .collect()
}
