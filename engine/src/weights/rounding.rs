//! Statistics of the rounding of numbers to fewer bits.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::{Error, Result};

/// Statistics of rounded numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rounding {
    /// The largest absolute difference between a number and its rounded value.
    pub largest_error: f64,
    /// The largest absolute value before rounding.
    pub largest: f64,
    /// The count of numbers that rounding made infinite.
    pub overflows: usize,
    /// The count of numbers that were NaN or infinite before rounding.
    pub not_finite: usize,
}

impl Rounding {
    /// Adds a number and its rounded value to the statistics.
    pub fn add(&mut self, exact: f64, stored: f32) {
        if !exact.is_finite() {
            self.not_finite += 1;
        } else if !stored.is_finite() {
            self.overflows += 1;
        } else {
            self.largest_error = self.largest_error.max((exact - f64::from(stored)).abs());
        }
        self.largest = self.largest.max(exact.abs());
    }
}

/// Statistics of the weights of a program that are stored in half precision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WeightRounding {
    /// The number of weights stored in half precision.
    pub weights: usize,
    /// The name of the first tensor and the statistics of the weight with the largest error. The statistics compare
    /// the weight after folding with its rounded values.
    pub worst: Option<(String, Rounding)>,
}

impl WeightRounding {
    /// Adds a weight to the statistics.
    ///
    /// # Errors
    /// Returns [`Error::NotFinite`] if the weight has elements that are too large for half precision.
    pub(crate) fn add(&mut self, name: &str, rounding: Rounding) -> Result<()> {
        if rounding.overflows > 0 {
            let got = alloc::format!("{} elements over it, up to {}", rounding.overflows, rounding.largest);
            let expected = alloc::format!("weights of at most {} in f16 (f32 takes larger ones)", f16::MAX);
            return Err(Error::not_finite(name, expected, got));
        }
        self.weights += 1;
        if self.worst.as_ref().is_none_or(|(_, worst)| rounding.largest_error > worst.largest_error) {
            self.worst = Some((name.to_string(), rounding));
        }
        Ok(())
    }
}

/// A converter to half precision that gathers statistics of the rounding.
pub(crate) struct Halver {
    pub rounding: Rounding,
    back: Vec<f32>,
}

impl Halver {
    pub fn new() -> Self {
        Halver { rounding: Rounding::default(), back: Vec::new() }
    }

    /// Rounds `values` to `halves`, which must have the same length.
    pub fn round(&mut self, values: &[f32], halves: &mut [f16]) {
        self.back.resize(values.len(), 0.0);
        halves.convert_from_f32_slice(values);
        halves.convert_to_f32_slice(&mut self.back);
        values.iter().zip(&self.back).for_each(|(&exact, &back)| self.rounding.add(f64::from(exact), back));
    }
}
