//! The noise of a sampling run: counter-based, so that any part of it can be drawn anywhere, in any
//! order, and a picture depends on its seed and its index alone, not on what it was batched with.
//!
//! Element `i` of the `[h, w, c]` elements of sample `s`, at the `k`-th step taken (0 the noisiest),
//! comes from Philox4x32-10 with the 64-bit seed as key and `(i / 4, s, k, stream)` as counter. The
//! four words of a block make four normals by Box-Muller: words 0 and 1 the normals at `i mod 4` = 0
//! (the cosine's) and 1 (the sine's), words 2 and 3 those at 2 and 3. The arithmetic is the twin of
//! kernel [`Noise`](crate::kernels::Noise), [`reference::noise`](mod@crate::reference::noise).

pub use crate::kernels::noise::Stream;
use crate::reference::noise::normals;

/// Fills `sample` with the standard normals of one sample: its `[h, w, c]` elements at step `step`,
/// which [`Stream::Start`] takes as 0.
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

/// The words of a sampler's state, as the kernels read them: the index of the step to be taken, the
/// index in the run of the batch's first sample, the seed's low word and its high word.
pub fn state(step: u32, first_sample: u32, seed: u64) -> [u32; 4] {
    [step, first_sample, seed as u32, (seed >> 32) as u32]
}
