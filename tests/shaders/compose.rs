//! Tests the composer: each directive, and the place that each error names.

use std::collections::{BTreeMap, BTreeSet};

use percept_shaders::{ComposeError, compose};

/// Composes `main.wgsl` from this text with the flags and constants. `shared/` has `a.wgsl`, which imports
/// `b.wgsl`, and `bad.wgsl`.
fn composed(text: &str, flags: &[&'static str], constants: &[(&'static str, u32)]) -> Result<String, ComposeError> {
    let read = |name: &str| match name {
        "main.wgsl" => Some(text),
        "shared/a.wgsl" => Some("#import b.wgsl\na $N"),
        "shared/b.wgsl" => Some("b"),
        "shared/bad.wgsl" => Some("fine\n$missing"),
        _ => None,
    };
    let flags: BTreeSet<&str> = flags.iter().copied().collect();
    let constants: BTreeMap<&str, u32> = constants.iter().copied().collect();
    compose("main.wgsl", &read, &flags, &constants)
}

#[test]
fn wgsl_stays_what_it_is() {
    assert_eq!(composed("a;\n\n    b; // c\n", &[], &[]).unwrap(), "a;\n\n    b; // c\n");
    assert_eq!(composed("no newline", &[], &[]).unwrap(), "no newline\n");
    assert_eq!(composed("", &[], &[]).unwrap(), "");
}

#[test]
fn a_part_stands_where_it_is_first_asked_for() {
    let text = "first\n#import b.wgsl\n#import a.wgsl\n#import b.wgsl\n    #import a.wgsl\nlast";
    assert_eq!(composed(text, &[], &[("N", 7)]).unwrap(), "first\nb\na 7\nlast\n");
    assert_eq!(composed("#import a.wgsl\n#import b.wgsl", &[], &[("N", 7)]).unwrap(), "b\na 7\n");
    // Lines that are left out import nothing.
    assert_eq!(composed("#if x\n#import b.wgsl\n#end\n#import b.wgsl", &[], &[]).unwrap(), "b\n");
}

#[test]
fn flags_choose_lines() {
    let text = "#if x\nwith\n#else\nwithout\n#end\n#if !x\nnot\n#end\nalways";
    assert_eq!(composed(text, &["x"], &[]).unwrap(), "with\nalways\n");
    assert_eq!(composed(text, &["y"], &[]).unwrap(), "without\nnot\nalways\n");
    let nested = "#if x\n#if y\nxy\n#else\nx\n#end\n#else\n#if y\ny\n#else\nnone\n#end\n#end";
    for (flags, want) in [(&["x", "y"][..], "xy\n"), (&["x"], "x\n"), (&["y"], "y\n"), (&[], "none\n")] {
        assert_eq!(composed(nested, flags, &[]).unwrap(), want, "{flags:?}");
    }
}

#[test]
fn loops_repeat_lines() {
    assert_eq!(composed("#for i in 0..3\nv_$i\n#end", &[], &[]).unwrap(), "v_0\nv_1\nv_2\n");
    assert_eq!(composed("#for i in 0..$N\nv_$i of $N\n#end", &[], &[("N", 2)]).unwrap(), "v_0 of 2\nv_1 of 2\n");
    assert_eq!(composed("#for i in 0..0\nv_$i\n#end\nend", &[], &[]).unwrap(), "end\n");
    let nested = "#for r in 0..2\n#for c in 0..2\n#if x\ns_${r}_$c += a_$r * b_$c;\n#end\n#end\n#end";
    let want = "s_0_0 += a_0 * b_0;\ns_0_1 += a_0 * b_1;\ns_1_0 += a_1 * b_0;\ns_1_1 += a_1 * b_1;\n";
    assert_eq!(composed(nested, &["x"], &[]).unwrap(), want);
    assert_eq!(composed(nested, &[], &[]).unwrap(), "");
    // A loop's variable hides a constant of its name, inside the loop only.
    assert_eq!(composed("#for i in 0..1\n$i\n#end\n$i", &[], &[("i", 9)]).unwrap(), "0\n9\n");
}

#[test]
fn constants_stand_in_lines() {
    assert_eq!(composed("$A ${A}u a$A_$B", &[], &[("A", 3), ("B", 40)]).unwrap(), "3 3u a3_40\n");
    // If the line is left out, they need not exist.
    assert_eq!(composed("#if x\n$A\n#end", &[], &[]).unwrap(), "");
}

#[test]
fn an_error_names_its_file_and_line() {
    for (text, line, message) in [
        ("a\n$missing", 2, "this variant gives $missing no value"),
        ("${a", 1, "a ${ without its }"),
        ("#for i in 0..1\n#end\n$i", 3, "this variant gives $i no value"),
        ("a\n#if x\nb", 2, "this block has no #end"),
        ("#if x\n#if x\n#end", 1, "this block has no #end"),
        ("#for i in 0..2\n", 1, "this block has no #end"),
        ("#for i in 0..$N\n#end", 1, "want #for NAME in 0..COUNT"),
        ("#for i in 1..2\n#end", 1, "want #for NAME in 0..COUNT"),
        ("a\n#end", 2, "want #import, #if, #else, #for or #end in their places"),
        ("a\n#else\n#end", 2, "want #import, #if, #else, #for or #end in their places"),
        ("#define A 1", 1, "want #import, #if, #else, #for or #end in their places"),
        ("a\nb\n#import none.wgsl", 3, "shared/none.wgsl:0: there is no such file"),
    ] {
        let want = ComposeError { file: "main.wgsl".to_string(), line, message: message.to_string() };
        assert_eq!(composed(text, &["x"], &[]), Err(want), "{text:?}");
    }
}

#[test]
fn an_error_in_a_part_names_the_part() {
    let error = composed("\n\n\n#import bad.wgsl", &[], &[]).unwrap_err();
    assert_eq!(error.to_string(), "shared/bad.wgsl:2: this variant gives $missing no value");
}

#[test]
fn a_kernel_without_a_file_is_an_error() {
    let error = compose("none.wgsl", &|_| None, &BTreeSet::new(), &BTreeMap::new()).unwrap_err();
    assert_eq!(error.to_string(), "none.wgsl:0: there is no such file");
}
