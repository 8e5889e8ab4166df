//! The vector instructions of this machine, and elementwise functions that compile to them.

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

use crate::kernels::{Activation, Load};

/// What the machine has: AVX-512, AVX2 with FMA, NEON, or plain scalars.
pub static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// `f32` lanes of one vector.
pub static LANES: LazyLock<usize> = LazyLock::new(|| ARCH.dispatch(Lanes));

/// A plain loop that is to be compiled to the machine's vector instructions.
///
/// Implementors mark `run` and what it calls `#[inline(always)]`: only what is inlined into the
/// function that has the instructions gets them. A closure would not do, since nothing forces it in.
pub trait Loop {
    /// Runs it.
    fn run(self);
}

/// Runs a loop on the machine's vector instructions.
pub fn vectorized(work: impl Loop) {
    struct Dispatched<W>(W);

    impl<W: Loop> WithSimd for Dispatched<W> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, _simd: S) {
            self.0.run();
        }
    }

    ARCH.dispatch(Dispatched(work));
}

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

/// `x Phi(x) = max(x, 0) - |x| Phi(-|x|)`, `Phi(-a) = exp(-a P(a)) / 2`: the shaders' polynomial, whose Phi is off by
/// at most 8e-9. From 10 on, where Phi is 1e-23, nothing is left of the second term.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    let a = x.abs().min(10.0);
    let mut p = 1.965_011_5e-6_f32;
    for coefficient in
        [-2.729_453e-5, 1.290_502_8e-4, 9.491_714e-5, -4.895_99e-3, 3.638_757_8e-2, 0.318_298_88, 0.797_885_3]
    {
        p = p.mul_add(a, coefficient);
    }
    // NaN stays NaN in the first term, whatever the second is.
    let positive = if x < 0.0 { 0.0 } else { x };
    positive - 0.5 * a * exp(-a * p)
}

impl Activation {
    /// The activation of a row, in place: as [`Activation::of`], by vector instructions.
    #[inline(always)]
    pub(super) fn apply(self, row: &mut [f32]) {
        match self {
            Activation::Identity => {}
            Activation::Relu => row.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x }),
            Activation::Silu => row.iter_mut().for_each(|x| *x /= 1.0 + exp(-*x)),
            Activation::Gelu => row.iter_mut().for_each(|x| *x = gelu(*x)),
        }
    }
}

/// What a [`Load`] does to the channels of a pixel of sample `n`, in place.
#[inline(always)]
pub(super) fn load_pixel(load: Load, rows: Option<&[f32]>, n: usize, pixel: &mut [f32]) {
    if let (Load::Affine { rows: slice, activation }, Some(rows)) = (load, rows) {
        let (scale, shift) = slice.of(rows, n, 2 * pixel.len()).split_at(pixel.len());
        for ((value, scale), shift) in pixel.iter_mut().zip(scale).zip(shift) {
            *value = value.mul_add(*scale, *shift);
        }
        activation.apply(pixel);
    }
}

/// Adds a row to another, element by element.
#[inline(always)]
pub(super) fn add_row(row: &mut [f32], other: &[f32]) {
    row.iter_mut().zip(other).for_each(|(value, other)| *value += other);
}

/// The sum of values: sixteen partial sums at a time, in an order that depends on the length alone.
#[inline(always)]
pub(super) fn sum(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x);
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// The sum of the values' squares, in the same order.
#[inline(always)]
pub(super) fn sum_of_squares(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum = x.mul_add(*x, *sum));
    }
    sums.iter().sum::<f32>() + rest.iter().fold(0.0, |sum, x| x.mul_add(*x, sum))
}

/// Replaces scores by `exp(score - max)` over the sum of all of them.
#[inline(always)]
pub(super) fn softmax(scores: &mut [f32]) {
    // Sixteen partial results at a time, in an order that depends on the length alone.
    let (chunks, rest) = scores.as_chunks::<16>();
    let mut largest = [f32::NEG_INFINITY; 16];
    for chunk in chunks {
        largest.iter_mut().zip(chunk).for_each(|(largest, x)| *largest = largest.max(*x));
    }
    let max = largest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|score| *score = exp(*score - max));
    let total = sum(scores);
    scores.iter_mut().for_each(|score| *score /= total);
}

#[cfg(test)]
mod tests {
    use super::{exp, gelu};

    /// That a machine without AVX-512 takes AVX2 cannot be seen on one that has it; that percept was built for both can.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_widest_vectors_of_the_machine_are_taken() {
        use pulp::Arch;
        use pulp::x86::{V3, V4};

        let lanes = |arch: Arch| arch.dispatch(super::Lanes);
        let [avx2, avx512] = [V3::try_new().map(Arch::V3), V4::try_new().map(Arch::V4)];
        assert!(avx2.is_none_or(|arch| lanes(arch) == 8) && avx512.is_none_or(|arch| lanes(arch) == 16));
        assert_eq!(*super::LANES, avx512.or(avx2).map_or(1, lanes));
    }

    /// With u half a unit in the last place: Phi's 8e-9; of the second term t = |x| exp(-a P) / 2, 4 u for the argument of
    /// exp, times that, 4 u for exp and 2 u for the products; u for the difference.
    #[test]
    fn gelu_is_close() {
        for i in -120_000..120_000 {
            let x = i as f32 * 1e-4;
            let (magnitude, u) = (f64::from(x.abs()), f64::from(f32::EPSILON) / 2.0);
            let phi = |x: f64| 0.5 * libm::erfc(-x * core::f64::consts::FRAC_1_SQRT_2);
            let (want, tail) = (f64::from(x) * phi(f64::from(x)), phi(-magnitude));
            let of_tail = magnitude * tail * (4.0 * -(2.0 * tail).ln() + 6.0) * u;
            let bound = magnitude * 8e-9 + of_tail + u * want.abs();
            let error = (f64::from(gelu(x)) - want).abs();
            assert!(error <= bound, "{x}: {error:e}, bound {bound:e}");
        }
        assert_eq!([gelu(0.0), gelu(50.0), gelu(f32::INFINITY)], [0.0, 50.0, f32::INFINITY]);
        assert!(gelu(f32::NAN).is_nan() && gelu(-50.0).abs() < 1e-20);
    }

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
