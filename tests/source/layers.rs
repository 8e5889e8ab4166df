//! Tests the layers of engine/src: each names only those below it, and no two files name each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use regex::Regex;

use crate::scan::{collect, root};

/// The layers, lowest first.
const LAYERS: [&str; 13] = [
    "error",
    "tensor",
    "kernels",
    "reference",
    "weights",
    "program",
    "device",
    "models",
    "diffusion",
    "images",
    "encoding",
    "sampling",
    "check",
];

/// A file as a path of modules: `device::gpu::run`; the root is empty.
type Module = String;

/// Returns, for each file, the files of the crate that its `use` lines name.
fn uses() -> BTreeMap<Module, BTreeSet<Module>> {
    let src = root().join("engine/src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    let module = |path: &Path| {
        let path = path.strip_prefix(&src).expect("a file of the crate").with_extension("");
        let mut names: Vec<&str> = path.iter().filter_map(|name| name.to_str()).collect();
        names.pop_if(|name| ["mod", "lib"].contains(name));
        names.join("::")
    };
    let texts: BTreeMap<Module, String> =
        files.iter().map(|path| (module(path), fs::read_to_string(path).expect("a source"))).collect();
    let modules: BTreeSet<&str> = texts.keys().map(String::as_str).collect();
    let named = |(name, text): (&Module, &String)| {
        let paths = used(text).into_iter().filter_map(|path| absolute(name, &path));
        (name.clone(), paths.filter_map(|path| longest(&path, &modules)).filter(|other| other != name).collect())
    };
    texts.iter().map(named).collect()
}

/// Returns the paths of the crate that the `use` lines of a file name: `crate::a::B`, `super::c`.
fn used(text: &str) -> Vec<String> {
    // Unit tests may name the code that they test.
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let line = Regex::new(r"(?m)^\s*(?:pub(?:\([a-z :]+\))? )?use ((?:crate|super|self)::[^;]+);").expect("a pattern");
    line.captures_iter(code).flat_map(|found| leaves("", &found[1])).collect()
}

/// Returns the paths of a tree of `use`: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn leaves(prefix: &str, tree: &str) -> Vec<String> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, character) in tree.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&tree[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tree[from..]);
    let parts = parts.into_iter().map(str::trim).filter(|part| !part.is_empty());
    let of_part = |part: &str| match part.split_once('{') {
        Some((head, rest)) => leaves(&format!("{prefix}{head}"), rest.trim_end().trim_end_matches('}')),
        None => Vec::from([format!("{prefix}{}", part.split(" as ").next().unwrap_or(part))]),
    };
    parts.flat_map(of_part).collect()
}

/// Returns a path from the root of the crate.
fn absolute(module: &str, path: &str) -> Option<String> {
    let mut base: Vec<&str> = module.split("::").filter(|name| !name.is_empty()).collect();
    let mut names = path.split("::").peekable();
    match names.next()? {
        "crate" => base.clear(),
        "super" => {
            base.pop();
            while names.next_if_eq(&"super").is_some() {
                base.pop();
            }
        }
        _ => {}
    }
    Some(base.into_iter().chain(names).collect::<Vec<_>>().join("::"))
}

/// Returns the file that a path leads into.
fn longest(path: &str, modules: &BTreeSet<&str>) -> Option<Module> {
    let names: Vec<&str> = path.split("::").collect();
    (1..=names.len()).rev().map(|count| names[..count].join("::")).find(|name| modules.contains(name.as_str()))
}

#[test]
fn layers_name_only_those_below() {
    let place = |module: &str| LAYERS.iter().position(|layer| Some(*layer) == module.split("::").next());
    for (module, others) in uses().iter().filter(|(module, _)| !module.is_empty()) {
        let own = place(module).unwrap_or_else(|| panic!("{module} lies in no layer of LAYERS"));
        for other in others {
            assert!(place(other).is_some_and(|other| other <= own), "{module} names {other}, which lies above it");
        }
    }
}

#[test]
fn no_two_files_name_each_other() {
    let uses = uses();
    for start in uses.keys().filter(|module| !module.is_empty()) {
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let mut open: Vec<&str> = uses[start].iter().map(String::as_str).collect();
        while let Some(module) = open.pop() {
            assert_ne!(module, start, "{start} names itself through {reached:?}");
            if reached.insert(module) {
                open.extend(uses[module].iter().map(String::as_str));
            }
        }
    }
}

#[test]
fn use_lines_are_read() {
    let text = "use crate::{Error, a::{B, c::*}};\n    pub(super) use super::d::E as F;\nuse std::io;\n\
                #[cfg(test)]\nmod tests {\n    use crate::g;";
    let paths: Vec<_> = used(text).iter().filter_map(|path| absolute("x::y", path)).collect();
    assert_eq!(paths, ["Error", "a::B", "a::c::*", "x::d::E"]);
    let modules = BTreeSet::from(["a", "a::c", "x::d"]);
    let found: Vec<_> = paths.iter().filter_map(|path| longest(path, &modules)).collect();
    assert_eq!(found, ["a", "a::c", "x::d"]);
}
