//! What storing numbers in fewer bits does to them.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::{Error, Result};

/// What became of numbers that were rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rounding {
    /// The largest difference of a number from what it was.
    pub largest_error: f64,
    /// The largest number, without its sign.
    pub largest: f64,
    /// How many became infinite.
    pub overflows: usize,
    /// How many were NaN or infinite before.
    pub not_finite: usize,
}

impl Rounding {
    /// Counts a number in.
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

/// What storing the weights of a program in half precision did to them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WeightRounding {
    /// How many weights are stored so.
    pub weights: usize,
    /// The one with the largest error, by the name of its first tensor, as it was read and folded.
    pub worst: Option<(String, Rounding)>,
}

impl WeightRounding {
    /// Counts a weight in.
    ///
    /// # Errors
    /// [`Error::NotFinite`] where it has elements that half precision has no room for.
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

/// Rounds to half precision and counts what that does.
pub(crate) struct Halver {
    pub rounding: Rounding,
    back: Vec<f32>,
}

impl Halver {
    pub fn new() -> Self {
        Halver { rounding: Rounding::default(), back: Vec::new() }
    }

    /// Rounds as many values as there are of both.
    pub fn round(&mut self, values: &[f32], halves: &mut [f16]) {
        self.back.resize(values.len(), 0.0);
        halves.convert_from_f32_slice(values);
        halves.convert_to_f32_slice(&mut self.back);
        values.iter().zip(&self.back).for_each(|(&exact, &back)| self.rounding.add(f64::from(exact), back));
    }
}
