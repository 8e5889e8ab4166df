//! Compares a device's outputs with the twin's samples.

use percept::kernels::ChannelStats;
use percept_tests::Case;

use crate::bounds::{Sums, bounds, stats_bounds};
use crate::samples::Sample;

/// The largest allowed difference between an output's samples and the twin's, `|got - want|_2 / |want|_2`. The
/// bound of a single element allows for the worst order of a sum, and so for one missing term among thousands;
/// this bound does not.
pub const RELATIVE: f64 = 1e-5;

/// A sample with the outputs of its twin.
pub struct Expected {
    sample: Sample,
    outputs: Vec<Vec<f32>>,
    stats: Vec<f32>,
}

impl Expected {
    /// Runs the twin.
    pub fn of(sample: Sample) -> Self {
        let outputs = sample.case.twin_outputs();
        let stats = sample.stats.as_ref().map(|(p, _)| {
            let mut of_run = Case::random(p.clone(), 0);
            of_run.set("source", &compared(&outputs[0], &sample.places[0]));
            of_run.twin()
        });
        Expected { stats: stats.unwrap_or_default(), sample, outputs }
    }
}

/// Returns the elements of a sample's output that are compared.
fn compared<T: Copy>(output: &[T], places: &[[usize; 2]]) -> Vec<T> {
    places.iter().map(|&[here, _]| output[here]).collect()
}

/// The differences between a device's outputs and the expected ones.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// The number of elements compared.
    pub elements: usize,
    /// The largest relative error of an output's samples: see [`RELATIVE`].
    pub relative: f64,
    /// The largest ratio of an element's error to its bound.
    pub of_bound: f64,
    /// The first error, if there is one.
    pub wrong: Option<String>,
}

/// Compares an op's outputs on a device that sums in the given order.
pub fn check(expected: &[Expected], got: &[Vec<f32>], sums: Sums) -> Checked {
    let outputs = if expected.iter().any(|e| e.sample.stats.is_some()) { 2 } else { expected[0].outputs.len() };
    assert_eq!(got.len(), outputs, "outputs");
    let mut norms = vec![Norms::default(); outputs];
    let mut checked = Checked::default();
    for Expected { sample, outputs, stats } in expected {
        let all_bounds = bounds(&sample.case, sums);
        for (output, places) in sample.places.iter().enumerate() {
            for &[here, there] in places {
                let element = Element { output, place: there, got: got[output][there], want: outputs[output][here] };
                element.check(all_bounds[output][here], &mut norms[output], &mut checked);
            }
        }
        if let Some((p, places)) = &sample.stats {
            for ((&place, &want), bound) in
                places.iter().zip(stats).zip(bounds_of_stats(sample, p, outputs, &all_bounds))
            {
                Element { output: 1, place, got: got[1][place], want }.check(bound, &mut norms[1], &mut checked);
            }
        }
    }
    checked.relative = norms.iter().map(Norms::relative).fold(0.0, f64::max);
    if checked.wrong.is_none() && !(checked.relative <= RELATIVE) {
        checked.wrong = Some(format!("a relative error of {:e}, more than {RELATIVE:e}", checked.relative));
    }
    checked
}

fn bounds_of_stats(sample: &Sample, p: &ChannelStats, outputs: &[Vec<f32>], bounds: &[Vec<f64>]) -> Vec<f64> {
    let places = &sample.places[0];
    stats_bounds(p, &compared(&outputs[0], places), &compared(&bounds[0], places))
}

/// An element of an output.
#[derive(Debug)]
struct Element {
    output: usize,
    place: usize,
    got: f32,
    want: f32,
}

impl Element {
    /// Elements with a bound of 0, such as words that are not floats and values that are only copied, must be
    /// bitwise equal.
    fn check(&self, bound: f64, norms: &mut Norms, checked: &mut Checked) {
        checked.elements += 1;
        let Element { output, place, got, want } = *self;
        if got.to_bits() == want.to_bits() {
            norms.add(0.0, want);
            return;
        }
        let error = (f64::from(got) - f64::from(want)).abs();
        norms.add(error, want);
        checked.of_bound = checked.of_bound.max(if error.is_nan() { f64::INFINITY } else { error / bound });
        if (bound == 0.0 || !(error <= bound)) && checked.wrong.is_none() {
            let at = format!("element {place} of output {output}");
            checked.wrong = Some(format!("{at}: got {got:?}, want {want:?}, error {error:e}, bound {bound:e}"));
        }
    }
}

/// Sums of squares.
#[derive(Clone, Default)]
struct Norms {
    errors: f64,
    values: f64,
}

impl Norms {
    fn add(&mut self, error: f64, want: f32) {
        self.errors += error * error;
        self.values += f64::from(want).powi(2);
    }

    /// Returns the relative error, or infinity if an error is NaN.
    fn relative(&self) -> f64 {
        let relative = if self.errors == 0.0 { 0.0 } else { (self.errors / self.values).sqrt() };
        if relative.is_nan() { f64::INFINITY } else { relative }
    }
}
