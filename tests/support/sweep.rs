//! Sweeps: tests of many cases. On software adapters, which compile shaders slowly, each run takes only a part
//! of them.

use percept::device::gpu::Adapter;

/// Returns the value of `PERCEPT_ROTATION`, which chooses the part that a run takes, or 0 if it is not set.
fn rotation() -> usize {
    match std::env::var("PERCEPT_ROTATION") {
        Ok(number) => number.parse().expect("PERCEPT_ROTATION is a number"),
        Err(_) => 0,
    }
}

/// Returns the number of parts of a sweep on an adapter: `software` on software adapters, 1 on hardware.
pub fn parts_on(adapter: &Adapter, software: usize) -> usize {
    if adapter.is_software() { software } else { 1 }
}

/// Returns one of `parts` parts of the cases. Each rotation returns another part, and together they hold all
/// cases.
pub fn part<T>(all: &[T], parts: usize) -> impl ExactSizeIterator<Item = &T> {
    part_in(rotation(), all, parts)
}

fn part_in<T>(rotation: usize, all: &[T], parts: usize) -> impl ExactSizeIterator<Item = &T> {
    all.iter().skip(rotation % parts).step_by(parts)
}

/// Returns `count` seeds. Each rotation returns others.
pub fn seeds(count: usize) -> std::ops::Range<u64> {
    let first = (rotation() * count) as u64;
    first..first + count as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hold_all_cases_once() {
        let all: Vec<usize> = (0..10).collect();
        for parts in [1, 3, 16] {
            let mut taken: Vec<usize> =
                (7..7 + parts).flat_map(|rotation| part_in(rotation, &all, parts)).copied().collect();
            taken.sort_unstable();
            assert_eq!(taken, all, "{parts} parts");
        }
    }
}
