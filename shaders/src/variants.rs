//! Every variant of every kernel that there is: what the build validates, and all that an executor asks for.

use crate::shader::Shader;
use crate::tile::Tile;

/// Every variant of every kernel.
pub fn variants() -> Vec<Shader> {
    let mut all = Vec::new();
    for kernel in
        ["advance", "ddpm_step", "embedding", "film_affine", "noise", "not_finite", "resize_bilinear", "to_rgba8"]
    {
        all.push(Shader::new(kernel));
    }
    all.extend(attention());
    all.extend(conv());
    all.extend(dense());
    for kernel in ["channel_stats", "concat", "max_pool"] {
        all.extend(with_halves(Shader::new(kernel), &[]));
    }
    for pool in subsets(Shader::new("avg_pool"), &["rows"]) {
        all.extend(with_halves(pool.clone().with("wide", true), &[]));
        all.push(pool.clone());
        all.extend(halves(pool.with("fours", true), &["half_out"]));
    }
    all.extend(subsets(Shader::new("ddim_step"), &["noise"]));
    all.extend(subsets(Shader::new("group_affine"), &["alone", "second", "film"]));
    for norm in subsets(Shader::new("layer_norm"), &["alone"]) {
        all.extend(with_halves(norm, &["half_out"]));
    }
    for tokens in subsets(Shader::new("tokens"), &["own_prefix"]) {
        all.extend(with_halves(tokens, &[]));
    }
    all
}

/// The shader for values of half precision, with every subset of the flags that are for such alone: as devices hold them that
/// can, and as all others do.
fn halves(shader: Shader, flags: &[&'static str]) -> Vec<Shader> {
    let packed = subsets(shader.with("half", true), flags);
    packed.into_iter().flat_map(|shader| subsets(shader, &["f16"])).collect()
}

/// The shader, and the same for values of half precision.
fn with_halves(shader: Shader, flags: &[&'static str]) -> Vec<Shader> {
    let mut all = halves(shader.clone(), flags);
    all.push(shader);
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
    let half = gpu.iter().chain(&cpu).flat_map(|shader| halves(shader.clone(), &[]));
    half.chain([&gpu[..], &cpu, &narrow].concat()).collect()
}

/// Products with every tile and every kind of sources, each with the ends that it may have.
fn conv() -> Vec<Shader> {
    let mut all = Vec::new();
    for tile in Tile::PRODUCTS.into_iter().chain([Tile::REDUCE]) {
        let loads: &[&str] = if tile == Tile::REDUCE { &[] } else { &["narrow_in", "rows", "second"] };
        for shader in subsets(tile.shader(), loads) {
            let with_residual = shader.clone().with("residual", true);
            all.extend(with_halves(with_residual.clone(), &[]));
            all.extend(with_halves(with_residual.clone().with("narrow_out", true), &[]));
            if tile.is_split() {
                all.extend(halves(with_residual.clone().with("sums", true), &[]));
            }
            if tile.gathers_stats() {
                // Statistics and a residual beside two sources would be too many buffers.
                let stored = if shader.flags.contains("second") { shader } else { with_residual };
                all.extend(with_halves(stored.with("stats", true), &[]));
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
            for shader in subsets(shader, &["narrow_in"]) {
                all.extend(with_halves(shader, &[]));
            }
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
