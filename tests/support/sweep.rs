//! Parts of sweeps: tests of many cases, of which each run takes some and runs of other commits take others.

/// The number of this run among others, from `PERCEPT_ROTATION`; 0 without it.
fn rotation() -> usize {
    match std::env::var("PERCEPT_ROTATION") {
        Ok(number) => number.parse().expect("PERCEPT_ROTATION is a number"),
        Err(_) => 0,
    }
}

/// One of `of` parts of the cases, which together have all of them. Which one follows from the rotation.
pub fn part<T>(all: &[T], of: usize) -> impl ExactSizeIterator<Item = &T> {
    all.iter().skip(rotation() % of).step_by(of)
}

/// As many seeds as asked for, other ones in each rotation.
pub fn seeds(count: u64) -> std::ops::Range<u64> {
    let first = rotation() as u64 * count;
    first..first + count
}
