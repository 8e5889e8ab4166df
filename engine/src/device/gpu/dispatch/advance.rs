//! Dispatch of `advance`.

use alloc::vec::Vec;

use percept_shaders::Shader;
use percept_shaders::params::Advance as Params;

use super::shared::{Dispatch, Target};
use crate::kernels::Advance;

/// Returns the dispatch of [`Advance`].
pub(super) fn dispatches(_: &Advance, _: Target<'_>) -> Vec<Dispatch> {
    // A single workgroup with one invocation per word of the state.
    Vec::from([Dispatch::new(Shader::new("advance"), &Params { grid_width: 0 }, 1).bind(&["state", "next_state"])])
}
