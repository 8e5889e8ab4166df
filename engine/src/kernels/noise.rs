//! `noise`: standard normals from a counter.

use alloc::vec::Vec;

use super::advance::STATE_WORDS;
use super::{Binding, Parameters, Reads};
use crate::{Error, Result};

/// What the noise is for. Streams of one seed have nothing in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// The image of pure noise that sampling begins with, x_T.
    Start,
    /// The noise that a step adds.
    Step,
}

impl Stream {
    /// Its number in the counter.
    pub fn number(self) -> u32 {
        match self {
            Stream::Start => 0,
            Stream::Step => 1,
        }
    }

    /// Philox's counter for four consecutive elements of a sample: those from `4 * block` on. The
    /// start has no step: there, `step` is taken as 0.
    pub fn counter(self, block: u32, sample: u32, step: u32) -> [u32; 4] {
        let step = match self {
            Stream::Start => 0,
            Stream::Step => step,
        };
        [block, sample, step, self.number()]
    }
}

/// The parameters of noise
///
/// ```text
/// y[n, i] = normal[i mod 4] of philox4x32_10(counter = (i / 4, state[1] + n, k, stream),
///                                            key = (state[2], state[3]))
/// ```
///
/// where i runs over the elements of one sample and k is `state[0]`, or 0 for [`Stream::Start`].
/// Philox is that of Salmon et al. 2011, <https://doi.org/10.1145/2063384.2063405>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noise {
    /// Samples.
    pub batch: usize,
    /// Height, width and channels of one sample.
    pub sample: [usize; 3],
    /// What the noise is for.
    pub stream: Stream,
}

/// The buffers that noise reads.
pub struct NoiseReads<'a> {
    /// `[4]`: see [`Advance`](super::Advance)
    pub state: &'a [u32],
}

impl Noise {
    /// Elements of one sample.
    pub fn sample_elements(&self) -> usize {
        self.sample.iter().product()
    }

    /// The buffers, by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> NoiseReads<'a> {
        NoiseReads { state: reads.words() }
    }
}

impl Parameters for Noise {
    fn name(&self) -> &'static str {
        "noise"
    }

    fn check(&self, layer: &str) -> Result<()> {
        if self.batch == 0 || self.sample.contains(&0) {
            return Err(Error::shape(
                layer,
                "sizes of at least 1",
                alloc::format!("{} samples of {:?}", self.batch, self.sample),
            ));
        }
        Ok(())
    }

    fn bindings(&self) -> Vec<Binding> {
        let [h, w, c] = self.sample;
        Vec::from([Binding::read_u32("state", [STATE_WORDS]), Binding::write("output", [self.batch, h, w, c])])
    }
}
