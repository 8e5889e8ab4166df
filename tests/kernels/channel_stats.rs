//! Tests `channel_stats`: the twin against raw moments, and by hand.

use percept::kernels::ChannelStats;
use percept::kernels::Parameters;
use percept_tests::{Bound, Case, assert_close};

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::random(cases())
}

/// Returns cases with one pixel, odd sizes, and tiles that fit, do not fit, or are larger than the image.
pub fn cases() -> Vec<ChannelStats> {
    let new =
        |[batch, height, width, channels]: [usize; 4], tile| ChannelStats { batch, height, width, channels, tile };
    let mut cases = vec![
        new([1, 1, 1, 1], 1),
        new([1, 1, 1, 3], 64),
        new([2, 3, 5, 7], 1),
        new([2, 3, 5, 7], 4),
        new([2, 3, 5, 7], 14),
        new([2, 3, 5, 7], 15),
        new([2, 3, 5, 7], 16),
        new([1, 8, 8, 65], 16),
        new([2, 3, 3, 31], 7),
        new([2, 3, 3, 32], 8),
        new([2, 3, 3, 33], 9),
        new([3, 33, 31, 2], 1024),
    ];
    for pixels in [63, 64, 65, 127, 128, 129] {
        cases.push(new([2, 1, pixels, 3], 64));
    }
    cases
}

/// Computes the statistics tile by tile from the sums of values and of squares. In `f64` the loss of precision
/// is negligible.
pub fn truth(p: &ChannelStats, source: &[f32]) -> Vec<f64> {
    let sample = p.height * p.width * p.channels;
    let mut result = Vec::new();
    for values in source.chunks(sample) {
        for tile in values.chunks(p.tile * p.channels) {
            let count = (tile.len() / p.channels) as f64;
            let power =
                |k: i32, c: usize| -> f64 { tile.chunks(p.channels).map(|pixel| f64::from(pixel[c]).powi(k)).sum() };
            result.extend((0..p.channels).map(|c| power(1, c) / count));
            result.extend((0..p.channels).map(|c| power(2, c) - power(1, c).powi(2) / count));
        }
    }
    result
}

#[test]
fn the_twin_has_the_raw_moments() {
    for (seed, p) in cases().into_iter().enumerate() {
        p.check("stats").expect("a case that has statistics");
        let case = Case::random(p.clone(), seed as u64);
        assert_close(&case.name(), &case.twin(), &truth(&p, case.floats("source")), Bound::F32);
    }
}

#[test]
fn by_hand() {
    let p = ChannelStats { batch: 1, height: 2, width: 2, channels: 2, tile: 3 };
    let mut case = Case::random(p, 0);
    case.set("source", &[1.0, -4.0, 2.0, -4.0, 3.0, 2.0, 9.0, 5.0]);
    // The means of both channels, then M2, over three pixels, then over the last one.
    assert_eq!(case.twin(), [2.0, -2.0, 2.0, 24.0, 9.0, 5.0, 0.0, 0.0]);
}

#[test]
fn a_large_mean_does_not_swallow_the_spread() {
    let p = ChannelStats { batch: 1, height: 1, width: 64, channels: 1, tile: 64 };
    let mut case = Case::random(p, 0);
    let source: Vec<f32> = (0..64).map(|i| if i % 2 == 0 { 9_999.0 } else { 10_001.0 }).collect();
    case.set("source", &source);
    assert_eq!(case.twin(), [10_000.0, 64.0]);
}

#[test]
fn what_has_no_statistics_is_refused() {
    let good = ChannelStats { batch: 1, height: 2, width: 2, channels: 2, tile: 3 };
    for bad in [
        ChannelStats { batch: 0, ..good.clone() },
        ChannelStats { height: 0, ..good.clone() },
        ChannelStats { channels: 0, ..good.clone() },
        ChannelStats { tile: 0, ..good.clone() },
    ] {
        crate::refused(bad.check("norm1"), "norm1");
    }
}
