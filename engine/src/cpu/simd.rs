//! The vector instructions of this machine, and elementwise functions that compile to them.

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

use crate::kernels::Activation;

/// What the machine has: AVX-512, AVX2 with FMA, NEON, or plain scalars.
pub static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// `f32` lanes of one vector.
pub static LANES: LazyLock<usize> = LazyLock::new(|| ARCH.dispatch(Lanes));

struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> usize {
        S::F32_LANES
    }
}

/// `exp(x)` within 2 units in the last place, for x in [-87, 88]; clamped there outside.
///
/// Cody and Waite's reduction and a polynomial, without a branch, so that a loop over it becomes vector code.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(core::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4_f32;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p.mul_add(r, coefficient);
    }
    let exp_r = p.mul_add(r * r, r) + 1.0;
    // 2^n by the exponent bits; n lies in [-126, 127].
    let two_to_n = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    exp_r * two_to_n
}

impl Activation {
    /// The activation of a row, in place: as [`Activation::of`], by vector instructions.
    #[inline(always)]
    pub(super) fn apply(self, row: &mut [f32]) {
        match self {
            Activation::Identity => {}
            Activation::Relu => row.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x }),
            Activation::Silu => row.iter_mut().for_each(|x| *x /= 1.0 + exp(-*x)),
            // Rare (heads, and tokens of ViTs): exactness before speed.
            Activation::Gelu => row.iter_mut().for_each(|x| *x = Activation::Gelu.of(*x)),
        }
    }
}

/// Replaces scores by `exp(score - max)` and returns their sum.
#[inline(always)]
pub(super) fn exp_of_differences(scores: &mut [f32], max: f32) -> f32 {
    scores.iter_mut().for_each(|score| *score = exp(*score - max));
    // Sixteen partial sums, in an order that depends on the length alone.
    let (chunks, rest) = scores.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x);
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn exp_is_close() {
        let mut worst = 0.0f64;
        for i in -86_000..88_000 {
            let x = i as f32 * 1e-3;
            let want = f64::from(x).exp();
            worst = worst.max(((f64::from(exp(x)) - want) / want).abs());
        }
        assert!(worst <= 2.0 * f64::from(f32::EPSILON), "{worst:e}");
    }
}
