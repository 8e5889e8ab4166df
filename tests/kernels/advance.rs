//! `advance`: by hand, for there is nothing else to it.

use percept::kernels::Advance;
use percept_tests::Case;

/// There is one.
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
