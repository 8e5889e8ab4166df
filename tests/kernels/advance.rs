//! Tests `advance` by hand. It is too simple for another reference.

use percept::kernels::Advance;
use percept_tests::Case;

/// Returns the cases that every device runs.
pub fn table() -> Vec<Case> {
    crate::random(cases())
}

/// Returns the only case.
pub fn cases() -> Vec<Advance> {
    vec![Advance {}]
}

#[test]
fn only_the_step_goes_on() {
    let mut case = Case::random(Advance {}, 0);
    for (state, want) in [
        ([0, 0, 0, 0], [1, 0, 0, 0]),
        ([41, 7, 0xffff_ffff, 3], [42, 7, 0xffff_ffff, 3]),
        ([0xffff_ffff, 1, 2, 3], [0, 1, 2, 3]),
    ] {
        case.set_words("state", &state);
        assert_eq!(case.run(percept::reference::run), [want]);
    }
}
