//! Twin of `noise`, and its arithmetic.
//!
//! The arithmetic is written so that WGSL can repeat it word for word: it uses 32-bit integers and
//! `f32` with `+`, `-`, `*` and the square root, and rounds nothing before a polynomial.

use core::f32::consts::FRAC_PI_4;

use crate::kernels::{Noise, Reads, Writes};

/// Runs [`Noise`].
pub(super) fn run(p: &Noise, reads: Reads<'_>, mut writes: Writes<'_, '_>) {
    let output = writes.floats();
    let state = p.reads(reads).state;
    for (n, sample) in output.chunks_mut(p.sample_elements()).enumerate() {
        let index = state[1].wrapping_add(n as u32);
        for (block, four) in sample.chunks_mut(4).enumerate() {
            let counter = p.stream.counter(block as u32, index, state[0]);
            four.copy_from_slice(&normals(counter, [state[2], state[3]])[..four.len()]);
        }
    }
}

/// Returns four standard normals. Words 0 and 1 of Philox's block determine the first two, and words 2
/// and 3 the others.
pub fn normals(counter: [u32; 4], key: [u32; 2]) -> [f32; 4] {
    let words = philox4x32_10(counter, key);
    let [first, second] = normal_pair(words[0], words[1]);
    let [third, fourth] = normal_pair(words[2], words[3]);
    [first, second, third, fourth]
}

/// Returns 128 random bits for each counter and key: Philox4x32 with 10 rounds (Salmon et al. 2011,
/// <https://doi.org/10.1145/2063384.2063405>).
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut x, mut key] = [counter, [key[0], key[1], 0, 0]];
    for _ in 0..10 {
        let [high_0, low_0] = wide_product(0xD251_1F53, x[0]);
        let [high_1, low_1] = wide_product(0xCD9E_8D57, x[2]);
        x = [high_1 ^ x[1] ^ key[0], low_1, high_0 ^ x[3] ^ key[1], low_0];
        key[0] = key[0].wrapping_add(0x9E37_79B9);
        key[1] = key[1].wrapping_add(0xBB67_AE85);
    }
    x
}

/// Returns the high and the low word of a product.
fn wide_product(a: u32, b: u32) -> [u32; 2] {
    let product = u64::from(a) * u64::from(b);
    [(product >> 32) as u32, product as u32]
}

/// Returns two standard normals from two random words by Box-Muller: `r cos(2 pi v)` and
/// `r sin(2 pi v)` with `r = sqrt(-2 ln u)`.
///
/// `u` comes from the first word and `v` from the second. Each is `((word >> 8) + 1/2) / 2^24`, which
/// is never 0 and never 1. The error is at most 1.1e-6, and 1e-7 in the root mean square; the largest
/// exact value is 5.89.
pub fn normal_pair(radius_word: u32, angle_word: u32) -> [f32; 2] {
    let radius = radius(radius_word);
    let [cosine, sine] = cos_sin(angle_word);
    [radius * cosine, radius * sine]
}

/// Returns `sqrt(-2 ln u)` for `u = ((word >> 8) + 1/2) / 2^24`.
pub fn radius(word: u32) -> f32 {
    // ln 2 in two parts. The first part has few enough bits that its multiples are exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // sqrt 2 in units of 2^-24. A significand above it is halved.
    const SQRT_2: u32 = 23_726_566;

    // u = 2^exponent * (1 + s), with s from sqrt(1/2) - 1 to sqrt(2) - 1. All of it is exact, because
    // the integers below have at most 24 bits.
    let odd = ((word >> 8) << 1) | 1; // u * 2^25
    let shift = odd.leading_zeros() - 7;
    let significand = odd << shift; // 2^24 to 2^25
    let [exponent, s] = if significand > SQRT_2 {
        [-(shift as f32), (significand as i32 - (1 << 25)) as f32 * (0.5 / 16_777_216.0)]
    } else {
        [-1.0 - shift as f32, (significand as i32 - (1 << 24)) as f32 * (1.0 / 16_777_216.0)]
    };

    // ln(1 + s) = s - s^2 / 2 + s^3 P(s), P minimax: relative error 6e-9.
    let p = 0.127_624_85 + s * -0.076_369_405;
    let p = -0.131_595_5 + s * p;
    let p = 0.142_015_4 + s * p;
    let p = -0.166_234_1 + s * p;
    let p = 0.200_012_43 + s * p;
    let p = -0.250_008_2 + s * p;
    let p = 0.333_333_3 + s * p;
    let square = s * s;
    let rest = square * s * p - 0.5 * square + exponent * LN_2_LOW;
    let log = exponent * LN_2_HIGH + (s + rest);
    libm::sqrtf(-2.0 * log)
}

/// Returns `[cos(2 pi v), sin(2 pi v)]` for `v = ((word >> 8) + 1/2) / 2^24`.
pub fn cos_sin(word: u32) -> [f32; 2] {
    // v = quadrant / 4 + x / 8, with x from -1 to 1. It is exact, because the integers have at most 24 bits.
    let odd = ((word >> 8) << 1) | 1; // v * 2^25
    let quadrant = (odd + (1 << 22)) >> 23;
    let x = (odd as i32 - (quadrant << 23) as i32) as f32 * (1.0 / 4_194_304.0);
    let square = x * x;

    // sin(pi/4 x) = x S(x^2), S minimax: relative error 3e-8.
    let sine = 0.002_490_993_1 + square * -3.659_276_3e-5;
    let sine = -0.080_745_82 + square * sine;
    let sine = x * (FRAC_PI_4 + square * sine);
    // cos(pi/4 x) = 1 + x^2 C(x^2), C minimax: absolute error 5e-10.
    let cosine = -0.000_325_863_13 + square * 3.490_262_3e-6;
    let cosine = 0.015_854_282 + square * cosine;
    let cosine = 1.0 + square * (-0.308_425_13 + square * cosine);

    match quadrant & 3 {
        0 => [cosine, sine],
        1 => [-sine, cosine],
        2 => [-cosine, -sine],
        _ => [sine, -cosine],
    }
}
