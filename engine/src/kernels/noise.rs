//! `noise`: standard normal noise from a counter-based generator.

use alloc::vec::Vec;

use super::advance::STATE_WORDS;
use super::{Binding, Parameters, Reads};
use crate::{Error, Result};

/// The use of the noise. Different streams of one seed have no noise in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// The image of pure noise, x_T, that sampling starts from.
    Start,
    /// The noise that a step adds.
    Step,
}

impl Stream {
    /// Returns the stream's number in the counter.
    pub fn number(self) -> u32 {
        match self {
            Stream::Start => 0,
            Stream::Step => 1,
        }
    }

    /// Returns Philox's counter for four consecutive elements of a sample, the first of which is
    /// `4 * block`. [`Stream::Start`] belongs to no step, so `step` is replaced by 0.
    pub fn counter(self, block: u32, sample: u32, step: u32) -> [u32; 4] {
        let step = match self {
            Stream::Start => 0,
            Stream::Step => step,
        };
        [block, sample, step, self.number()]
    }
}

/// Parameters of standard normal noise from a counter-based generator.
///
/// ```text
/// y[n, i] = normal[i mod 4] of philox4x32_10(counter = (i / 4, state[1] + n, k, stream),
///                                            key = (state[2], state[3]))
/// ```
///
/// Here `i` is the index of an element in its sample, and `k` is `state[0]`, or 0 for
/// [`Stream::Start`]. Philox is the generator of Salmon et al. 2011,
/// <https://doi.org/10.1145/2063384.2063405>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noise {
    /// The number of samples.
    pub batch: usize,
    /// The height, width and number of channels of one sample.
    pub sample: [usize; 3],
    /// The use of the noise.
    pub stream: Stream,
}

/// The buffers that noise reads.
pub struct NoiseReads<'a> {
    /// `[4]`: see [`Advance`](super::Advance)
    pub state: &'a [u32],
}

impl Noise {
    /// Returns the number of elements of one sample.
    pub fn sample_elements(&self) -> usize {
        self.sample.iter().product()
    }

    /// Returns the buffers by name.
    pub fn reads<'a>(&self, mut reads: Reads<'a>) -> NoiseReads<'a> {
        NoiseReads { state: reads.words() }
    }
}

impl Parameters for Noise {
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
