//! Kernels with sizes at, just below and just above those of the devices' tiles.

use percept::kernels::{Activation, Attention, Conv, Dense, Kernel, QkvOrder};

fn attention(tokens: usize, heads: usize, head_channels: usize, order: QkvOrder) -> Kernel {
    Attention { batch: 2, height: tokens, width: 1, heads, head_channels, order }.into()
}

fn dense(rows: usize, in_features: usize, out_features: usize) -> Kernel {
    Dense { rows, in_features, out_features, bias: true, residual: true, activation: Activation::Silu }.into()
}

fn conv(shape: [usize; 4], out_channels: usize, kernel: usize) -> Conv {
    Conv { bias: true, ..Conv::new(shape, out_channels, kernel) }
}

/// Returns kernels with sizes at, just below and just above the rows (96), terms (128), panels (8 to 32) and
/// blocks (1024 columns) of the CPU's tiles.
pub fn edges() -> Vec<Kernel> {
    let mut kernels: Vec<Kernel> = Vec::new();
    for rows in [1, 5, 6, 7, 11, 12, 13, 95, 96, 97, 192, 193] {
        kernels.push(dense(rows, 33, 17));
    }
    for terms in [1, 127, 128, 129, 255, 256, 257] {
        kernels.push(conv([1, 3, 5, terms], 9, 1).into());
        kernels.push(conv([2, 3, 3, terms], 5, 3).into());
    }
    for columns in [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1023, 1024, 1025, 2049] {
        kernels.push(conv([1, 2, 7, 10], columns, 1).into());
    }
    for tokens in [1, 2, 15, 16, 17, 47, 48, 49, 96, 97, 257] {
        for order in [QkvOrder::HeadsFirst, QkvOrder::QkvFirst] {
            kernels.push(attention(tokens, 3, 9, order));
        }
    }
    kernels.push(attention(20, 2, 257, QkvOrder::HeadsFirst));
    kernels
}

/// Returns kernels with sizes around those of a GPU's tiles: for convolutions 32, 64 and 128 pixels and
/// columns, 16 terms; for linear layers 4 and 8 rows, 32 and 128 terms; for attention 32 queries, 64 keys, 64
/// to 256 channels.
pub fn gpu_edges() -> Vec<Kernel> {
    let mut kernels: Vec<Kernel> = Vec::new();
    for pixels in [31, 32, 33, 63, 64, 65, 127, 128, 129] {
        kernels.push(Conv { stats: Some(64), ..conv([2, 1, pixels, 8], 12, 1) }.into());
        for columns in [31, 32, 33, 63, 64, 65, 127, 128, 129] {
            kernels.push(conv([1, pixels, 1, 5], columns, 1).into());
        }
    }
    for terms in [3, 4, 5, 15, 16, 17, 20, 31, 32, 33] {
        kernels.push(conv([1, 5, 5, terms], 8, 3).into());
    }
    // Few pixels and long sums, which are split.
    kernels.push(Conv { stats: Some(64), ..conv([2, 8, 8, 256], 64, 3) }.into());
    kernels.push(conv([3, 4, 4, 515], 65, 3).into());
    for rows in [2, 3, 4, 5, 8, 9] {
        kernels.push(dense(rows, 36, 17));
    }
    for terms in [31, 32, 33, 124, 128, 132, 256, 260] {
        kernels.push(dense(2, terms, 7));
    }
    for tokens in [31, 32, 33, 63, 64, 65, 128, 129] {
        kernels.push(attention(tokens, 1, 4, QkvOrder::QkvFirst));
    }
    for channels in [60, 64, 68, 124, 128, 132, 192, 196, 256, 260] {
        kernels.push(attention(5, 2, channels, QkvOrder::HeadsFirst));
    }
    kernels
}
