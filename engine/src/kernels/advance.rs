//! `advance`: advances the sampler's state to the next step.

use alloc::vec::Vec;

use super::{Binding, Parameters, Reads};
use crate::Result;

/// The number of words of a sampler's state.
pub const STATE_WORDS: usize = 4;

/// Parameters of the step counter, which advances a sampler's state by one step. There are none.
///
/// ```text
/// next_state = (state[0] + 1, state[1], state[2], state[3])
/// ```
///
/// A sampler's state is four `u32`: the index of the next step (the first is 0), the index in the run
/// of the batch's first sample, the low word of the seed and its high word. The state stays on the
/// device, so that many steps can be submitted at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advance {}

/// The buffers that the step counter reads.
pub struct AdvanceReads<'a> {
    /// `[4]`
    pub state: &'a [u32],
}

impl Advance {
    /// Returns the buffers by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> AdvanceReads<'a> {
        AdvanceReads { state: reads.words() }
    }
}

impl Parameters for Advance {
    /// Accepts everything, because there are no parameters.
    fn check(&self, _layer: &str) -> Result<()> {
        Ok(())
    }

    fn bindings(&self) -> Vec<Binding> {
        Vec::from([Binding::read_u32("state", [STATE_WORDS]), Binding::write_u32("next_state", [STATE_WORDS])])
    }
}
