//! Dispatch of `advance`.

use percept_shaders::Shader;

use super::{Dispatch, params};

params! { "advance":
    grid_width: u32,
}

/// See [`Advance`](crate::kernels::Advance).
pub(super) fn dispatch() -> Dispatch {
    // One workgroup of four.
    Dispatch::new(Shader::new("advance"), &Params { grid_width: 0 }, 1).bind(&["state", "next_state"])
}
