//! Tests `group_affine`: the twin against a normalisation of the concatenated values themselves.

use percept::kernels::Parameters;
use percept::kernels::{ChannelStats, GroupAffine, RowSlice};
use percept_tests::{Bound, Case, Image, SplitMix, assert_close};

const EPS: f32 = 1e-5;

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::with(cases(), inputs)
}

/// Returns cases with ones only, groups of one channel and of all, groups across the border of two sources,
/// tiles that fit and that do not, and FiLM in the middle of a row.
pub fn cases() -> Vec<GroupAffine> {
    let new = |[batch, pixels, tile]: [usize; 3], channels, groups| GroupAffine {
        batch,
        pixels,
        tile,
        channels,
        groups,
        eps: EPS,
        film: None,
    };
    let film = |row_length, offset| Some(RowSlice { row_length, offset });
    vec![
        new([1, 1, 1], [1, 0], 1),
        new([1, 1, 64], [4, 0], 2),
        new([2, 6, 1], [3, 0], 3),
        new([2, 15, 4], [6, 0], 1),
        new([2, 15, 4], [6, 0], 6),
        new([2, 63, 64], [8, 0], 4),
        new([2, 64, 64], [8, 0], 4),
        new([2, 65, 64], [8, 0], 4),
        new([1, 129, 64], [66, 0], 33),
        // The border between the sources lies inside a group, or between two groups.
        new([2, 15, 4], [5, 3], 2),
        new([2, 15, 4], [1, 11], 3),
        new([1, 9, 16], [11, 1], 4),
        new([2, 15, 4], [4, 4], 2),
        new([1, 20, 7], [3, 2], 1),
        // Sizes around the 256 parts or members of a group that a workgroup processes at once.
        new([2, 255, 1], [2, 0], 2),
        new([2, 256, 1], [2, 0], 2),
        new([2, 257, 1], [2, 0], 2),
        new([1, 300 * 64 - 1, 64], [1, 0], 1),
        new([1, 2, 1], [300, 0], 1),
        GroupAffine { film: film(1028, 3), ..new([2, 3, 2], [500, 12], 2) },
        GroupAffine { film: film(12, 0), ..new([2, 15, 4], [6, 0], 3) },
        GroupAffine { film: film(31, 5), ..new([3, 15, 4], [5, 4], 3) },
        GroupAffine { eps: 0.5, ..new([2, 15, 4], [6, 0], 3) },
    ]
}

/// Creates both sources; the second is empty if it has no channels. Every channel has its own mean and spread,
/// far from the others', so that any other grouping would give other results.
fn sources(p: &GroupAffine, seed: u64) -> [Vec<f32>; 2] {
    let mut random = SplitMix::new(seed ^ 0x5eed);
    p.channels.map(|channels| {
        let shapes: Vec<(f32, f32)> = (0..channels).map(|_| (3.0 * random.float(), 1.5 + random.float())).collect();
        let values = p.batch * p.pixels * channels;
        let mut value = |i: usize| {
            let (mean, spread) = shapes[i % channels];
            mean + spread * random.float()
        };
        (0..values).map(&mut value).collect()
    })
}

/// Creates inputs with statistics that are computed from values, because arbitrary ones would be inconsistent.
pub fn inputs(p: GroupAffine, seed: u64) -> Case {
    let mut case = Case::random(p.clone(), seed);
    let names = ["stats", "second"];
    for ((name, channels), source) in names.iter().zip(p.channels).zip(sources(&p, seed)) {
        if channels > 0 {
            let mut stats =
                Case::random(ChannelStats { batch: p.batch, height: p.pixels, width: 1, channels, tile: p.tile }, 0);
            stats.set("source", &source);
            case.set(name, &stats.twin());
        }
    }
    case
}

/// Normalises `x`, which need not be one of the values, as channel `c` of sample `n`.
struct Norm<'a> {
    p: &'a GroupAffine,
    case: &'a Case,
    values: Image,
}

impl Norm<'_> {
    fn of(&self, n: usize, c: usize, x: f64) -> f64 {
        let channels = self.values.shape[3];
        let group_of = |c: usize| c * self.p.groups / channels;
        let members: Vec<f64> = self
            .values
            .indices()
            .into_iter()
            .zip(&self.values.data)
            .filter(|([sample, .., channel], _)| *sample == n && group_of(*channel) == group_of(c))
            .map(|(_, &value)| value)
            .collect();
        let mean = members.iter().sum::<f64>() / members.len() as f64;
        let var = members.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / members.len() as f64;
        let (gamma, beta) = (self.case.floats("gamma"), self.case.floats("beta"));
        let y = (x - mean) / (var + f64::from(self.p.eps)).sqrt() * f64::from(gamma[c]) + f64::from(beta[c]);
        let Some(slice) = self.p.film else { return y };
        let row = &self.case.floats("film")[n * slice.row_length + slice.offset..];
        y * (1.0 + f64::from(row[c])) + f64::from(row[channels + c])
    }
}

#[test]
fn the_twins_rows_normalise() {
    for (seed, p) in cases().into_iter().enumerate() {
        p.check("norm").expect("a case that is a group norm");
        let case = inputs(p.clone(), seed as u64);
        let [first, second] = sources(&p, seed as u64);
        let shape = |channels| [p.batch, p.pixels, 1, channels];
        let mut values = Image::new(shape(p.channels[0]), &first);
        if p.channels[1] > 0 {
            values = values.concat(&Image::new(shape(p.channels[1]), &second));
        }
        let norm = Norm { p: &p, case: &case, values };

        let channels = p.channels[0] + p.channels[1];
        let (mut got, mut want) = (Vec::new(), Vec::new());
        for (n, row) in case.twin().chunks(2 * channels).enumerate() {
            for c in 0..channels {
                // Two points determine a line; the third is one of the normalised values.
                let value = norm.values.data[norm.values.at([n, p.pixels - 1, 0, c])];
                for x in [0.0, 1.0, value] {
                    got.push(f64::from(row[c]) * x + f64::from(row[channels + c]));
                    want.push(norm.of(n, c, x));
                }
            }
        }
        // With one pixel and one channel per group, the deviation is sqrt(eps), which magnifies the rounding of
        // the means.
        let bound = if p.pixels * channels == p.groups { Bound::new(1e-4, 0.0) } else { Bound::new(5e-6, 1e-6) };
        assert_close(&case.name(), &got, &want, bound);
    }
}

#[test]
fn by_hand() {
    let p = GroupAffine {
        batch: 1,
        pixels: 3,
        tile: 2,
        channels: [1, 1],
        groups: 1,
        eps: 0.0,
        film: Some(RowSlice { row_length: 5, offset: 1 }),
    };
    let mut case = Case::random(p, 0);
    // 1, 3 and 5 in the first source, 7, 9 and 11 in the second: mean 6, variance 70 / 6.
    case.set("stats", &[2.0, 2.0, 5.0, 0.0]);
    case.set("second", &[8.0, 2.0, 11.0, 0.0]);
    case.set("gamma", &[1.0, 2.0]);
    case.set("beta", &[0.0, 10.0]);
    case.set("film", &[99.0, 0.0, 1.0, 0.0, 1000.0]);
    let deviation = (70.0f64 / 6.0).sqrt();
    let want = [1.0 / deviation, 4.0 / deviation, -6.0 / deviation, 20.0 - 24.0 / deviation + 1000.0];
    assert_close("by hand", &case.twin(), &want, Bound::F32);
}

#[test]
fn tiles_of_one_value_have_only_their_means() {
    let p = GroupAffine { batch: 1, pixels: 2, tile: 1, channels: [1, 0], groups: 1, eps: 0.0, film: None };
    let mut case = Case::random(p, 0);
    // 10 000 and 10 002: mean 10 001, deviation 1.
    case.set("stats", &[10_000.0, 0.0, 10_002.0, 0.0]);
    case.set("gamma", &[1.0]);
    case.set("beta", &[0.5]);
    assert_eq!(case.twin(), [1.0, -10_000.5]);
}

#[test]
fn what_is_no_group_norm_is_refused() {
    let good = cases().remove(9);
    let film = |row_length, offset| Some(RowSlice { row_length, offset });
    assert_eq!(GroupAffine { film: film(17, 1), ..good.clone() }.check("norm"), Ok(()));
    for bad in [
        GroupAffine { groups: 3, ..good.clone() },
        GroupAffine { groups: 0, ..good.clone() },
        GroupAffine { tile: 0, ..good.clone() },
        GroupAffine { channels: [0, 8], ..good.clone() },
        GroupAffine { film: film(16, 1), ..good.clone() },
    ] {
        crate::refused(bad.check("norm"), "norm");
    }
}
