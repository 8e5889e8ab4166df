//! The noise of a run. It is counter-based, so that any part of it can be drawn anywhere and in any
//! order. A sample's noise depends only on the seed and the sample's index, and not on the other samples
//! of its batch.
//!
//! Element `i` of the `[h, w, c]` elements of sample `s` at step `k` (0 is the noisiest) comes from
//! Philox4x32-10 with the 64-bit seed as key and `(i / 4, s, k, stream)` as counter. Box-Muller turns
//! the four words of a block into four normals: words 0 and 1 give the normals at `i mod 4` = 0 (the
//! cosine) and 1 (the sine), and words 2 and 3 give those at 2 and 3. The arithmetic is that of the
//! twin of the kernel [`Noise`](crate::kernels::Noise) in [`reference`](mod@crate::reference).

pub use crate::kernels::noise::Stream;
use crate::reference::normals;

/// Fills `sample` with the standard normals of one sample: its `[h, w, c]` elements at step `step`.
/// [`Stream::Start`] has no steps and treats `step` as 0.
///
/// ```
/// use percept::diffusion::noise::{Stream, fill};
///
/// let (mut whole, mut again) = ([0.0; 10], [0.0; 10]);
/// fill(42, 3, 0, Stream::Start, &mut whole);
/// fill(42, 3, 0, Stream::Start, &mut again);
/// assert_eq!(whole, again);
/// fill(42, 4, 0, Stream::Start, &mut again);
/// assert_ne!(whole, again);
/// ```
pub fn fill(seed: u64, sample_index: u32, step: u32, stream: Stream, sample: &mut [f32]) {
    let [_, _, low, high] = state(step, sample_index, seed);
    for (block, four) in sample.chunks_mut(4).enumerate() {
        let counter = stream.counter(block as u32, sample_index, step);
        four.copy_from_slice(&normals(counter, [low, high])[..four.len()]);
    }
}

/// Returns the words of a sampler's state, as the kernels read them: the index of the next step, the index
/// in the run of the batch's first sample, the low word of the seed, and its high word.
pub fn state(step: u32, first_sample: u32, seed: u64) -> [u32; 4] {
    [step, first_sample, seed as u32, (seed >> 32) as u32]
}
