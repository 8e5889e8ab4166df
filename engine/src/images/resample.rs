//! Antialiased resizing with the same bytes as Pillow's `Image.resize`.
//!
//! No library does this. RCDM's networks were trained on images that Pillow resized, and Pillow's
//! bytes depend on its fixed-point arithmetic: coefficients are computed in `f64`, normalized, and
//! rounded to integers of [`PRECISION_BITS`] fractional bits, and each of the two passes rounds to
//! `u8`. Resamplers that compute in floats or 14 bits differ from it by one in many bytes.
//!
//! The order of the passes affects the bytes, too. This module resizes along the rows first and then
//! along the columns, as Pillow does up to version 12, with which every RCDM network was trained.
//! Pillow 13 resizes along the columns first if the height shrinks by more than twice as many pixels
//! as the width, as it does for images more than twice as high as wide.

use std::ops::Range;

use image::RgbImage;

/// The fractional bits of a coefficient. The other bits of an `i32` are 8 for the byte and 2 for
/// overshoot.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// A resampling filter, named as in Pillow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// The mean of the pixels under the output pixel.
    Box,
    /// A triangle filter.
    Bilinear,
    /// Keys' cubic convolution with a = -0.5.
    Bicubic,
}

impl Filter {
    /// Returns half the filter's width, in pixels of the smaller of the two images.
    fn support(self) -> f64 {
        match self {
            Filter::Box => 0.5,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    /// Returns the filter's value at a distance of `x` pixels, before normalization. The terms are in
    /// Pillow's order, because the last bit of a coefficient can decide a rounding.
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

/// The weighted input pixels that make one output pixel of a pass.
struct Tap {
    /// The first input pixel.
    first: usize,
    /// The weights of that pixel and the following ones, with [`PRECISION_BITS`] fractional bits.
    coefficients: Vec<i32>,
}

/// The initial value of a pass's sums: one half, so that dropping the fraction rounds to nearest.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Converts a sum of bytes times coefficients to a byte. Clamps, because the bicubic filter can overshoot.
fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Returns the taps of the output pixels in `window` for resizing `input` pixels to `output` pixels.
fn taps(input: usize, output: usize, window: Range<usize>, filter: Filter) -> Vec<Tap> {
    let scale = input as f64 / output as f64;
    // For antialiasing, the filter widens when the image shrinks. It never narrows.
    let filter_scale = scale.max(1.0);
    let support = filter.support() * filter_scale;
    let tap = |position: usize| {
        let center = (position as f64 + 0.5) * scale;
        // The casts truncate and saturate at 0, like Pillow's cast and check.
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

/// Resizes `image` to `width` x `height` pixels and returns the part `columns` x `rows`. Computes only
/// that part, so that cropping an enlarged strip of 16384 x 1 pixels does not need the memory of the
/// whole enlargement.
///
/// The callers in the parent module ensure that the image and the size have at least one pixel, and
/// that the part lies within the size.
pub(super) fn resize_part(
    image: &RgbImage,
    (width, height): (u32, u32),
    filter: Filter,
    columns: Range<u32>,
    rows: Range<u32>,
) -> RgbImage {
    let index = |range: Range<u32>| range.start as usize..range.end as usize;
    // If a side keeps its length, each tap has the single coefficient 1 and the pass is a copy, as in Pillow.
    let across = taps(image.width() as usize, width as usize, index(columns.clone()), filter);
    let down = taps(image.height() as usize, height as usize, index(rows.clone()), filter);

    // Pillow rounds to u8 between the passes. Only the rows that the second pass reads are computed.
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

/// Resizes `image` to `width` x `height` pixels; see [`resize_part`].
pub(super) fn resize(image: &RgbImage, (width, height): (u32, u32), filter: Filter) -> RgbImage {
    resize_part(image, (width, height), filter, 0..width, 0..height)
}
