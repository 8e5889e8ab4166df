//! The vector instructions of this machine, and elementwise functions that compile to them.

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

use crate::kernels::{Activation, Load};

/// The instruction set of this machine: AVX-512, AVX2 with FMA, NEON, or plain scalars.
pub static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// The number of `f32` lanes in one vector.
pub static LANES: LazyLock<usize> = LazyLock::new(|| ARCH.dispatch(Lanes));

/// A plain loop that is compiled to the machine's vector instructions.
///
/// Implementors mark `run` and everything that it calls `#[inline(always)]`, because only code that is inlined into
/// the function with the instructions enabled can use them. A closure does not work, because nothing forces it to be
/// inlined.
pub trait Loop {
    /// Runs the loop.
    fn run(self);
}

/// Runs a loop with the machine's vector instructions.
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

/// Returns `exp(x)`, within 2 units in the last place for x in [-87, 88]. Values of x outside are clamped to that
/// range.
///
/// It uses Cody and Waite's reduction and a polynomial, without branches, so that a loop over it becomes vector code.
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
    // 2^n from the exponent bits, for n in [-126, 127].
    let two_to_n = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    exp_r * two_to_n
}

/// Returns `x Phi(x) = max(x, 0) - |x| Phi(-|x|)` with `Phi(-a) = exp(-a P(a)) / 2`. P is the polynomial of the
/// shaders, with which Phi is off by at most 8e-9. For |x| of at least 10, where Phi is 1e-23, the second term
/// vanishes.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    let a = x.abs().min(10.0);
    let mut p = 1.965_011_5e-6_f32;
    for coefficient in
        [-2.729_453e-5, 1.290_502_8e-4, 9.491_714e-5, -4.895_99e-3, 3.638_757_8e-2, 0.318_298_88, 0.797_885_3]
    {
        p = p.mul_add(a, coefficient);
    }
    // The first term is NaN if x is, so the result is too.
    let positive = if x < 0.0 { 0.0 } else { x };
    positive - 0.5 * a * exp(-a * p)
}

impl Activation {
    /// Applies the activation to a row in place, as [`Activation::of`] does, with vector instructions.
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

/// Applies a [`Load`] to the channels of a pixel of sample `n`, in place.
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

/// Adds `other` to `row`, element by element.
#[inline(always)]
pub(super) fn add_row(row: &mut [f32], other: &[f32]) {
    row.iter_mut().zip(other).for_each(|(value, other)| *value += other);
}

/// Returns the sum of the values, computed as sixteen partial sums in an order that depends only on the length.
#[inline(always)]
pub(super) fn sum(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x);
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// Returns the sum of the squares of the values, in the same order as `sum`.
#[inline(always)]
pub(super) fn sum_of_squares(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum = x.mul_add(*x, *sum));
    }
    sums.iter().sum::<f32>() + rest.iter().fold(0.0, |sum, x| x.mul_add(*x, sum))
}

/// Replaces each score by `exp(score - max)`, divided by the sum over all scores.
#[inline(always)]
pub(super) fn softmax(scores: &mut [f32]) {
    // Compute sixteen partial results in an order that depends only on the length.
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

    /// A machine with AVX-512 cannot show that one without it uses AVX2, but it can show that percept is built for
    /// both.
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

    /// Let u be half a unit in the last place, and t = |x| exp(-a P) / 2 the second term. The bound is the sum of:
    ///
    /// - `|x| 8e-9` for the error of Phi,
    /// - `t (4 u a P + 4 u + 2 u)` for the argument of exp, exp itself and the products,
    /// - `u |x Phi(x)|` for the difference.
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
