//! Dispatches of `dense`.

use alloc::vec::Vec;

use percept_shaders::Shader;
use percept_shaders::params::Dense as Params;

use super::shared::{Dispatch, Region, Target, activation, weight_parts};
use crate::kernels::Dense;

/// With fewer columns than this, a workgroup computes 16 columns instead of 64, so that there are more workgroups.
const MANY_COLUMNS: usize = 8192;

/// Returns the dispatches of [`Dense`], one for each part of the weight.
pub(super) fn dispatches(p: &Dense, target: Target<'_>) -> Vec<Dispatch> {
    let Target { halves, capabilities } = target;
    let columns4 = if p.out_features < MANY_COLUMNS { 4 } else { 16 };
    let rows = match p.rows {
        1 => 1,
        2..=4 => 4,
        _ => 8,
    };
    let shader = Shader::new("dense")
        .constant("ROWS", rows as u32)
        .constant("COLUMNS4", columns4 as u32)
        .with("half", halves.weight)
        .with("narrow_in", !p.in_features.is_multiple_of(4));
    let parts = weight_parts(p.in_features, p.out_features, halves.weight_type(), capabilities).into_iter().enumerate();
    let of_part = |(part, columns): (usize, core::ops::Range<usize>)| {
        let (column_tiles, row_blocks) = (columns.len().div_ceil(4 * columns4), p.rows.div_ceil(rows));
        let params = Params {
            grid_width: 0,
            column_tiles: column_tiles as u32,
            row_blocks: row_blocks as u32,
            rows: p.rows as u32,
            in_features: p.in_features as u32,
            out_features: p.out_features as u32,
            first_column: columns.start as u32,
            bias: p.bias.into(),
            residual: p.residual.into(),
        };
        Dispatch::new(shader.clone(), &params, column_tiles * row_blocks)
            .bind(&["source"])
            .bind_as("weight", "weight", Region::Part(part))
            .bind_if(&[("bias", p.bias), ("residual", p.residual)])
            .bind(&["output"])
            .set("ACTIVATION", activation(p.activation))
    };
    parts.map(of_part).collect()
}
