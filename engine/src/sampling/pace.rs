//! Determines how many ops fit a time, from measured times.

use std::ops::Range;
use std::time::Duration;

use crate::device::Timing;
use crate::program::Program;

/// The cost of each 32-bit word of an op's memory traffic, in multiply-adds. Used until the op is measured.
const WORD_COST: f64 = 8.0;
/// The fixed cost of every op, in multiply-adds: that of a dispatch.
const OP_COST: f64 = 1e4;
/// The factor by which the estimate for an op that was never measured exceeds its share.
const CAUTION: f64 = 2.0;

/// The times that the ops of a program take on a device.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// The cost of each op, independent of the device.
    costs: Vec<f64>,
    /// The last two times of each op, in seconds. The longer one counts: a single short time may have been luck, and a
    /// single long time, for example because a driver compiled a shader, is soon forgotten.
    last: Vec<[Option<f64>; 2]>,
    /// The seconds per unit of cost, as last measured.
    rate: Option<f64>,
}

impl Pace {
    /// Creates the pace of a program whose ops have not been measured yet.
    pub fn new(program: &Program) -> Self {
        let words = |index: usize| program.bytes_moved(index..index + 1) as f64 / 4.0;
        let arithmetic = |index: usize| program.ops()[index].kernel.parameters().multiply_adds() as f64;
        let ops = 0..program.ops().len();
        let costs: Vec<f64> = ops.map(|index| OP_COST + arithmetic(index) + WORD_COST * words(index)).collect();
        Pace { last: vec![[None; 2]; costs.len()], costs, rate: None }
    }

    /// Estimates how many seconds the ops take. Returns infinity if nothing has been measured yet.
    pub fn estimate(&self, ops: Range<usize>) -> f64 {
        let guess = |index: usize| self.rate.map_or(f64::INFINITY, |rate| CAUTION * rate * self.costs[index]);
        let longest = |index: usize| self.last[index].iter().flatten().copied().reduce(f64::max);
        ops.map(|index| longest(index).unwrap_or_else(|| guess(index))).sum()
    }

    /// Returns as many of the ops, counted from the first, as fit into `seconds`, but at least one.
    pub fn fitting(&self, ops: Range<usize>, seconds: f64) -> Range<usize> {
        let mut left = seconds;
        let fits = |index: &usize| {
            left -= self.estimate(*index..index + 1);
            left >= 0.0
        };
        let count = ops.clone().take_while(fits).count().max(1);
        ops.start..ops.end.min(ops.start + count)
    }

    /// Updates the estimates with the time that some ops took.
    pub fn learn(&mut self, took: &Timing) {
        let cost: f64 = self.costs[took.ops.clone()].iter().sum();
        let [at_least, at_most] = [took.at_least, took.at_most].map(|time| time.as_secs_f64());
        let before = self.estimate(took.ops.clone());
        // On a device without a clock, the time is only known to lie between two bounds.
        let seconds = if before.is_finite() { before.clamp(at_least, at_most) } else { at_most };
        for index in took.ops.clone() {
            let share = match before.is_finite() && before > 0.0 {
                true => self.estimate(index..index + 1) / before,
                false => self.costs[index] / cost,
            };
            let [newer, _] = self.last[index];
            self.last[index] = [Some(seconds * share), newer];
        }
        self.rate = Some(seconds / cost);
    }
}

/// Returns a time that was measured on the host, where both bounds are equal.
pub(super) fn measured(ops: Range<usize>, time: Duration) -> Timing {
    Timing { ops, at_least: time, at_most: time }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace { costs: vec![1.0, 2.0, 4.0, 1.0], last: vec![[None; 2]; 4], rate: None }
    }

    fn took(ops: Range<usize>, milliseconds: u64) -> Timing {
        measured(ops, Duration::from_millis(milliseconds))
    }

    #[test]
    fn one_op_at_a_time_until_something_was_measured() {
        let mut pace = pace();
        assert_eq!(pace.fitting(0..4, 1.0), 0..1);
        pace.learn(&took(0..1, 1));
        // The other ops are expected to take twice their share: 4, 8 and 2 ms.
        assert_eq!(pace.fitting(1..4, 0.011), 1..2);
        assert_eq!(pace.fitting(1..4, 0.0121), 1..3);
        assert_eq!(pace.fitting(1..4, 1.0), 1..4);
    }

    #[test]
    fn the_longer_of_two_times_counts() {
        let mut pace = pace();
        for (milliseconds, expected) in [(500, 0.5), (2, 0.5), (2, 0.002), (3, 0.003), (2, 0.003), (2, 0.002)] {
            pace.learn(&took(2..3, milliseconds));
            assert!((pace.estimate(2..3) - expected).abs() < 1e-9, "{}", pace.estimate(2..3));
        }
    }

    #[test]
    fn a_time_between_two_looks_changes_only_what_contradicts_it() {
        let mut pace = pace();
        pace.learn(&took(0..4, 8));
        let between = |at_least, at_most| Timing {
            ops: 0..4,
            at_least: Duration::from_millis(at_least),
            at_most: Duration::from_millis(at_most),
        };
        for (at_least, at_most, expected) in [(0, 16, 0.008), (10, 16, 0.010), (0, 5, 0.010), (0, 5, 0.005)] {
            pace.learn(&between(at_least, at_most));
            assert!((pace.estimate(0..4) - expected).abs() < 1e-9, "{}", pace.estimate(0..4));
        }
    }

    #[test]
    fn a_slice_of_ops_that_were_never_measured_is_shared_by_their_costs() {
        let mut pace = pace();
        pace.learn(&took(0..4, 16));
        for (op, expected) in [0.002, 0.004, 0.008, 0.002].into_iter().enumerate() {
            assert!((pace.estimate(op..op + 1) - expected).abs() < 1e-9, "{op}: {}", pace.estimate(op..op + 1));
        }
    }

    #[test]
    fn at_least_one_op_runs_however_little_time_there_is() {
        let mut pace = pace();
        pace.learn(&took(0..4, 800));
        assert_eq!(pace.fitting(1..4, 0.0), 1..2);
        assert_eq!(pace.fitting(3..4, 0.0), 3..4);
    }
}
