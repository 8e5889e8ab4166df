//! `advance`: the sampler's state goes to the next step.

use alloc::vec::Vec;

use super::{Binding, Parameters, Reads};
use crate::Result;

/// Words of a sampler's state.
pub const STATE_WORDS: usize = 4;

/// The parameters of the step counter, which has none
///
/// ```text
/// next_state = (state[0] + 1, state[1], state[2], state[3])
/// ```
///
/// A sampler's state is four `u32`: the index of the step to be taken (0 the first), the index in the
/// run of the batch's first sample, the low word of the seed and its high word. It lies on the device,
/// so that many steps can be submitted at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advance {}

/// The buffers that the step counter reads.
pub struct AdvanceReads<'a> {
    /// `[4]`
    pub state: &'a [u32],
}

impl Advance {
    /// The buffers, by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> AdvanceReads<'a> {
        AdvanceReads { state: reads.words() }
    }
}

impl Parameters for Advance {
    fn name(&self) -> &'static str {
        "advance"
    }

    /// There is nothing that could be wrong.
    fn check(&self, _layer: &str) -> Result<()> {
        Ok(())
    }

    fn bindings(&self) -> Vec<Binding> {
        Vec::from([Binding::read_u32("state", [STATE_WORDS]), Binding::write_u32("next_state", [STATE_WORDS])])
    }
}
