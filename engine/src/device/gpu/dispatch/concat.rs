//! Dispatch of `concat`.

use alloc::vec::Vec;

use percept_shaders::Shader;
use percept_shaders::params::Concat as Params;

use super::shared::{Dispatch, THREADS, Target};
use crate::kernels::Concat;

/// Returns the dispatch of [`Concat`].
pub(super) fn dispatches(p: &Concat, target: Target<'_>) -> Vec<Dispatch> {
    let halves = target.halves;
    let [first, second] = p.channels.map(|channels| halves.values(channels));
    let elements = p.batch * p.height * p.width * (first + second);
    let params = Params { grid_width: 0, elements: elements as u32, first: first as u32, second: second as u32 };
    let shader = Shader::new("concat").with("half", halves.source);
    Vec::from([Dispatch::new(shader, &params, elements.div_ceil(THREADS)).bind(&["source", "second", "output"])])
}
