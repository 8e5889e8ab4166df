//! Tests that the header matches the source.

use std::fs;

use crate::root;

#[test]
fn the_header_is_that_of_the_source() {
    let folder = root().join("engine/c");
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).expect("a configuration");
    let bindings = cbindgen::Builder::new().with_config(config).with_src(folder.join("src/lib.rs")).generate();
    let mut want = Vec::new();
    bindings.expect("a header").write(&mut want);
    let got = fs::read(folder.join("percept.h")).unwrap_or_default();
    let want = String::from_utf8(want).expect("text");
    assert!(
        String::from_utf8_lossy(&got) == want,
        "engine/c/percept.h is old: cbindgen --config engine/c/cbindgen.toml engine/c/src/lib.rs makes\n{want}"
    );
}
