//! Antialiased resizing that gives the very bytes Pillow's `Image.resize` gives.
//!
//! Not a library's: RCDM's networks were trained on what Pillow makes, and Pillow's bytes come from
//! its fixed-point arithmetic: coefficients are computed in `f64`, normalised, rounded to integers
//! of [`PRECISION_BITS`] fractional bits, and each of the two passes rounds to `u8`. Float or 14-bit
//! resamplers differ from that by one in many bytes.
//!
//! The order of the passes shows in the bytes too. It is: first along the rows, then along the
//! columns, which is Pillow's up to version 12 and so that of every RCDM network's training. Pillow
//! 13 takes the columns first where the height shrinks by more than twice as many pixels as the
//! width, as it does for pictures over twice as high as wide.

use std::ops::Range;

use image::RgbImage;

/// Fractional bits of a coefficient: an `i32` has 8 for the byte and 2 for the overshoot beyond it.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// A resampling filter, by Pillow's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// The mean of the pixels under the output pixel.
    Box,
    /// A triangle.
    Bilinear,
    /// Keys' cubic convolution with a = -0.5.
    Bicubic,
}

impl Filter {
    /// Half the filter's width, in pixels of the smaller of the two images.
    fn support(self) -> f64 {
        match self {
            Filter::Box => 0.5,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    /// The filter's value at a distance of `x` pixels, before normalisation. The terms are in
    /// Pillow's order, since the last bit of a coefficient can decide a rounding.
    fn at(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        match self {
            Filter::Box if x > -0.5 && x <= 0.5 => 1.0,
            Filter::Box => 0.0,
            Filter::Bilinear => (1.0 - x.abs()).max(0.0),
            Filter::Bicubic => match x.abs() {
                x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
                x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
                _ => 0.0,
            },
        }
    }
}

/// What one output pixel of a pass is made of.
struct Tap {
    /// The first input pixel.
    first: usize,
    /// The weights of that pixel and those after it, of [`PRECISION_BITS`] fractional bits.
    coefficients: Vec<i32>,
}

/// The sum that a pass starts from: one half, so that dropping the fraction rounds.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// A sum of byte times coefficient, which the bicubic filter can overshoot, as a byte.
fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// The taps of the output pixels `window` where `input` pixels are resized to `output` pixels.
fn taps(input: usize, output: usize, window: Range<usize>, filter: Filter) -> Vec<Tap> {
    let scale = input as f64 / output as f64;
    // The filter widens with the reduction, which is what antialiasing is; it never narrows.
    let filter_scale = scale.max(1.0);
    let support = filter.support() * filter_scale;
    let tap = |position: usize| {
        let center = (position as f64 + 0.5) * scale;
        // Casts of f64 truncate and saturate at 0, as Pillow's cast and check do.
        let first = (center - support + 0.5) as usize;
        let end = ((center + support + 0.5) as usize).min(input);
        let weights: Vec<f64> =
            (first..end).map(|i| filter.at((i as f64 - center + 0.5) * (1.0 / filter_scale))).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: f64| {
            let weight = if sum != 0.0 { weight / sum } else { weight };
            (weight * f64::from(1 << PRECISION_BITS) + 0.5f64.copysign(weight)) as i32
        };
        Tap { first, coefficients: weights.into_iter().map(fixed).collect() }
    };
    window.map(tap).collect()
}

/// The part `columns` x `rows` of `image` resized to `width` x `height` pixels. Only that part is
/// computed, so that a strip of 16384 x 1 pixels does not need the memory of its enlargement.
///
/// The image and the size have at least one pixel, and the part lies within the size: the callers
/// in this module's parent see to it.
pub(super) fn resize_part(
    image: &RgbImage,
    (width, height): (u32, u32),
    filter: Filter,
    columns: Range<u32>,
    rows: Range<u32>,
) -> RgbImage {
    let index = |range: Range<u32>| range.start as usize..range.end as usize;
    // A pass that changes nothing is a copy in Pillow too: a tap of the one coefficient 1.
    let across = taps(image.width() as usize, width as usize, index(columns.clone()), filter);
    let down = taps(image.height() as usize, height as usize, index(rows.clone()), filter);

    // Pillow rounds to u8 between the passes. Only the rows that the second pass reads are made.
    let first_row = down.first().map_or(0, |tap| tap.first);
    let end_row = down.last().map_or(0, |tap| tap.first + tap.coefficients.len());
    let stride = 3 * across.len();
    let mut between = Vec::with_capacity((end_row - first_row) * stride);
    let input_rows = image.as_raw().chunks_exact(3 * image.width() as usize);
    for row in input_rows.take(end_row).skip(first_row) {
        for tap in &across {
            let mut sums = [HALF; 3];
            for (pixel, &weight) in row[3 * tap.first..].chunks_exact(3).zip(&tap.coefficients) {
                sums.iter_mut().zip(pixel).for_each(|(sum, &v)| *sum += i32::from(v) * weight);
            }
            between.extend(sums.map(to_byte));
        }
    }

    let mut output = Vec::with_capacity(down.len() * stride);
    let mut sums = vec![HALF; stride];
    for tap in &down {
        sums.fill(HALF);
        let rows = between[(tap.first - first_row) * stride..].chunks_exact(stride);
        for (row, &weight) in rows.zip(&tap.coefficients) {
            sums.iter_mut().zip(row).for_each(|(sum, &v)| *sum += i32::from(v) * weight);
        }
        output.extend(sums.iter().copied().map(to_byte));
    }
    RgbImage::from_raw(columns.end - columns.start, rows.end - rows.start, output)
        .expect("one byte was pushed for each channel")
}

/// `image` resized to `width` x `height` pixels; see [`resize_part`].
pub(super) fn resize(image: &RgbImage, (width, height): (u32, u32), filter: Filter) -> RgbImage {
    resize_part(image, (width, height), filter, 0..width, 0..height)
}
