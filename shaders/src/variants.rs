//! Every variant of every kernel. The build validates all of them, and executors request no others.

use crate::shader::Shader;
use crate::tile::Tile;

/// Returns every variant of a kernel. Kernels without an entry have only the plain shader.
pub fn variants(kernel: &'static str) -> Vec<Shader> {
    let shader = Shader::new(kernel);
    match kernel {
        "attention" => attention(),
        "avg_pool" => avg_pool(),
        "channel_stats" | "concat" | "max_pool" => with_halves(shader, &[]),
        "conv" => conv(),
        "ddim_step" => subsets(shader, &["noise"]),
        "dense" => dense(),
        "group_affine" => subsets(shader, &["second", "film"]),
        "layer_norm" => with_halves(shader, &["half_out"]),
        "tokens" => subsets(shader, &["own_prefix"]).into_iter().flat_map(|tokens| with_halves(tokens, &[])).collect(),
        _ => Vec::from([shader]),
    }
}

/// Returns the half-precision variants of a shader, with every subset of the flags that apply only to them. Each exists
/// with `f16`, for devices that support it, and without, for all others.
fn halves(shader: Shader, flags: &[&'static str]) -> Vec<Shader> {
    let packed = subsets(shader.with("half", true), flags);
    packed.into_iter().flat_map(|shader| subsets(shader, &["f16"])).collect()
}

/// Returns the shader and its half-precision variants.
fn with_halves(shader: Shader, flags: &[&'static str]) -> Vec<Shader> {
    let mut all = halves(shader.clone(), flags);
    all.push(shader);
    all
}

/// Returns variants with the keys and quads of channels per invocation for heads of up to 64, 128, 192 and 256
/// channels. Numbers of channels that are not multiples of 4 use the first tile.
fn attention() -> Vec<Shader> {
    let tiles = [[8, 2], [4, 2], [4, 3], [4, 4]];
    let tile = |[keys, columns]: [u32; 2]| Shader::new("attention").constant("KEYS", keys).constant("COLUMNS", columns);
    let narrow = tile(tiles[0]).with("narrow", true);
    tiles.into_iter().flat_map(|sizes| with_halves(tile(sizes), &[])).chain([narrow]).collect()
}

fn avg_pool() -> Vec<Shader> {
    let mut all = Vec::new();
    for pool in subsets(Shader::new("avg_pool"), &["rows"]) {
        all.extend(with_halves(pool.clone().with("wide", true), &[]));
        all.push(pool.clone());
        all.extend(halves(pool.with("fours", true), &["half_out"]));
    }
    all
}

/// Returns products with every tile and every kind of sources, each with all the stores that it can have.
fn conv() -> Vec<Shader> {
    let mut all = Vec::new();
    for tile in Tile::PRODUCTS.into_iter().chain([Tile::REDUCE]) {
        let loads: &[&str] = if tile == Tile::REDUCE { &[] } else { &["narrow_in", "rows", "second"] };
        for shader in subsets(tile.shader(), loads) {
            let with_residual = shader.clone().with("residual", true);
            all.extend(with_halves(with_residual.clone(), &[]));
            all.extend(with_halves(with_residual.clone().with("narrow_out", true), &[]));
            if tile != Tile::REDUCE {
                all.extend(halves(with_residual.clone().with("sums", true), &[]));
            }
            if tile.gathers_stats() {
                // Statistics, a residual and two sources together would be too many buffers.
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

/// Returns the shader with every subset of the flags.
fn subsets(shader: Shader, flags: &[&'static str]) -> Vec<Shader> {
    (0..1u32 << flags.len())
        .map(|chosen| {
            let chosen = |place: usize| chosen >> place & 1 == 1;
            flags.iter().enumerate().fold(shader.clone(), |shader, (place, flag)| shader.with(flag, chosen(place)))
        })
        .collect()
}
