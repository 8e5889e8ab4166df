//! Comparisons of values. NaN never passes.

use std::fmt::Debug;

/// The largest allowed difference from the expected value: `|got - want| <= absolute + relative * |want|`.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// The part that does not depend on the expected value.
    pub absolute: f64,
    /// The part in proportion to the expected value.
    pub relative: f64,
}

impl Bound {
    /// Equality.
    pub const EXACT: Bound = Bound::new(0.0, 0.0);

    /// The error of rounding to `f32` and a handful of operations in `f32`, for values of the order of 1.
    pub const F32: Bound = Bound::new(1e-6, 1e-6);

    /// Creates a bound.
    pub const fn new(absolute: f64, relative: f64) -> Self {
        Bound { absolute, relative }
    }

    fn allows(self, got: f64, want: f64) -> bool {
        // Equal infinities have no difference.
        got == want || (got - want).abs() <= self.absolute + self.relative * want.abs()
    }
}

/// Asserts that every element of `got` is within `bound` of the same element of `want`.
///
/// # Panics
/// Panics if an element is not within the bound or is NaN, or if the lengths differ. The message names the
/// first such element and the one with the largest error.
#[track_caller]
pub fn assert_close<G, W>(name: &str, got: &[G], want: &[W], bound: Bound)
where
    G: Copy + Into<f64> + Debug,
    W: Copy + Into<f64> + Debug,
{
    assert_eq!(got.len(), want.len(), "{name}: number of elements");
    let error = |i: usize| {
        let difference: f64 = got[i].into() - want[i].into();
        if difference.is_nan() { f64::INFINITY } else { difference.abs() }
    };
    let wrong: Vec<usize> = (0..got.len()).filter(|&i| !bound.allows(got[i].into(), want[i].into())).collect();
    let Some(&first) = wrong.first() else { return };
    let most = wrong.iter().copied().fold(first, |a, b| if error(b) > error(a) { b } else { a });
    let line = |i: usize| format!("[{i}]: got {:?}, want {:?}, error {:e}", got[i], want[i], error(i));
    panic!(
        "{name}: {} of {} elements are over {bound:?}\n  first {}\n  most  {}",
        wrong.len(),
        got.len(),
        line(first),
        line(most),
    );
}

/// Returns `|got - want|_2 / |want|_2`, the error that goldens are held to. It is 0 if both are all zeros, and
/// infinite if a value is NaN, so that no comparison lets it pass.
///
/// # Panics
/// Panics if the lengths differ.
#[track_caller]
pub fn relative_error<G, W>(got: &[G], want: &[W]) -> f64
where
    G: Copy + Into<f64>,
    W: Copy + Into<f64>,
{
    assert_eq!(got.len(), want.len(), "number of elements");
    let norm = |squares: f64| squares.sqrt();
    let difference = norm(got.iter().zip(want).map(|(&g, &w)| (g.into() - w.into()).powi(2)).sum());
    let size = norm(want.iter().map(|&w| w.into().powi(2)).sum());
    let error = if difference == 0.0 { 0.0 } else { difference / size };
    if error.is_nan() { f64::INFINITY } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(got: &[f32], want: &[f64], bound: Bound) -> Option<String> {
        let (got, want) = (got.to_vec(), want.to_vec());
        let caught = std::panic::catch_unwind(move || assert_close("it", &got, &want, bound));
        caught.err().map(|panic| *panic.downcast::<String>().expect("a message"))
    }

    #[test]
    fn within_the_bound_passes_and_over_it_fails() {
        let bound = Bound::new(0.25, 0.5);
        assert_eq!(message(&[1.75, -1.75, 0.25], &[1.0, -1.0, 0.0], bound), None);
        assert!(message(&[1.76], &[1.0], bound).is_some());
        assert!(message(&[0.24], &[1.0], bound).is_some());
    }

    #[test]
    fn it_says_which_is_first_and_which_is_farthest_off() {
        let text = message(&[0.0, 1.5, 9.0, 3.0], &[0.0, 1.0, 2.0, 3.0], Bound::EXACT).expect("a panic");
        assert!(text.starts_with("it: 2 of 4"), "{text}");
        assert!(text.contains("first [1]: got 1.5, want 1.0"), "{text}");
        assert!(text.contains("most  [2]: got 9.0, want 2.0"), "{text}");
    }

    #[test]
    fn nan_and_other_lengths_never_pass() {
        let wide = Bound::new(f64::INFINITY, 0.0);
        assert!(message(&[f32::NAN], &[0.0], wide).is_some());
        assert!(message(&[0.0], &[f64::NAN], wide).is_some());
        assert!(message(&[f32::NAN], &[f64::NAN], wide).is_some());
        assert!(message(&[f32::INFINITY], &[1.0], Bound::new(1.0, 1.0)).is_some());
        assert!(message(&[], &[0.0], wide).is_some());
        assert_eq!(message(&[f32::INFINITY], &[f64::INFINITY], Bound::EXACT), None);
    }

    #[test]
    fn the_relative_error_is_that_of_the_norms() {
        assert_eq!(relative_error(&[3.0f32, 8.0], &[3.0f32, 4.0]), 0.8);
        assert_eq!(relative_error(&[0.0f32; 2], &[0.0f32; 2]), 0.0);
        assert_eq!(relative_error(&[1.0f32], &[0.0f32]), f64::INFINITY);
        assert_eq!(relative_error(&[f32::NAN], &[1.0f32]), f64::INFINITY);
        assert_eq!(relative_error(&[1.0f32], &[f32::NAN]), f64::INFINITY);
    }
}
