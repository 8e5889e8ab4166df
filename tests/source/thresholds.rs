//! Tests that every number at which the engine changes its behaviour has a test that reaches both of its sides.
//!
//! `thresholds.txt` lists the numbers. [`scan`] finds them in the sources, and a number without a line fails
//! [`every_threshold_has_a_test`], which prints the whole list (`cargo test -p percept-tests --test source --
//! --show-output`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::scan::{Number, expressions, numbers, root};

/// The table's entry for a number.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// Tests that reach both sides: `tests/kernels/large.rs::name_of_the_test`.
    Tests(Vec<String>),
    /// The reason why it is not a threshold: a coefficient, a bit position, a number of a format.
    Constant(String),
}

/// Reads the table: a line `[file]`, then lines `expression | test, test` or `expression | - reason`.
fn table() -> BTreeMap<Number, Entry> {
    let text = fs::read_to_string(root().join("tests/source/thresholds.txt")).expect("the table");
    let (mut table, mut file) = (BTreeMap::new(), String::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            file = name.to_string();
            continue;
        }
        let (expression, says) = line.split_once(" | ").unwrap_or_else(|| panic!("no ` | ` in {line:?}"));
        let entry = match says.strip_prefix("- ") {
            Some(reason) => Entry::Constant(reason.to_string()),
            None => Entry::Tests(says.split(", ").map(str::to_string).collect()),
        };
        let number = Number { file: file.clone(), expression: expression.to_string() };
        assert!(table.insert(number, entry).is_none(), "{file}: {expression} has two lines");
    }
    table
}

/// Returns true if a file has a test of this name: `file::name`.
fn is_test(test: &str) -> bool {
    let Some((file, name)) = test.split_once("::") else { return false };
    let Ok(text) = fs::read_to_string(root().join(file)) else { return false };
    let head = format!("fn {name}(");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let place = lines.iter().position(|line| line.starts_with(&head));
    place.is_some_and(|place| {
        lines[..place].iter().rev().take_while(|line| line.starts_with("#[")).any(|&l| l == "#[test]")
    })
}

#[test]
fn every_threshold_has_a_test() {
    let table = table();
    for (number, entry) in &table {
        let says = match entry {
            Entry::Tests(tests) => tests.join(", "),
            Entry::Constant(reason) => format!("no threshold: {reason}"),
        };
        println!("{}: {}: {says}", number.file, number.expression);
    }
    let named: BTreeSet<Number> = table.keys().cloned().collect();
    let found = numbers();
    let without: Vec<&Number> = found.difference(&named).collect();
    assert!(without.is_empty(), "without a line in tests/source/thresholds.txt: {without:#?}");
    let gone: Vec<&Number> = named.difference(&found).collect();
    assert!(gone.is_empty(), "in tests/source/thresholds.txt and no longer in the sources: {gone:#?}");
}

#[test]
fn every_test_of_the_table_exists() {
    let table = table();
    let tests = table.values().flat_map(|entry| match entry {
        Entry::Tests(tests) => tests.as_slice(),
        Entry::Constant(_) => &[],
    });
    let missing: Vec<&String> = tests.filter(|test| !is_test(test)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
    assert!(!is_test("tests/source/thresholds.rs::table") && !is_test("tests/source/thresholds.rs::nothing"));
}

#[test]
fn the_scan_finds_constants_comparisons_limits_and_ranges() {
    let cases: [(&str, &[&str]); 12] = [
        ("const MAX_GRID: usize = 65_535;", &["MAX_GRID"]),
        ("pub(super) const WAIT: Duration = Duration::from_millis(400);", &["WAIT"]),
        ("const STEP = 256u;", &["STEP"]),
        ("const NAME: &str = \"x\";", &[]),
        ("if a > 64 || b == 1 || c <= 0 {", &["> 64"]),
        ("if value > 1 << 12 {", &["> 1 << 12"]),
        ("let x = (a >> 16u) + (b << 8u);", &[]),
        ("1..=4 => 4,", &["1..=4"]),
        ("_ => 32,", &[]),
        ("let c = n.next_multiple_of(64).min(256);", &["min(256)", "next_multiple_of(64)"]),
        ("(a / b).clamp(1, batch)", &["clamp(1, batch)"]),
        ("if !(1..=79).contains(&length) {", &["1..=79"]),
    ];
    for (line, want) in cases {
        let mut got = expressions(line);
        got.sort();
        assert_eq!(got, want, "{line}");
    }
}
