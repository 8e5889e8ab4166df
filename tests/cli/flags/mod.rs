//! Tests every flag of every command, each in runs that show its effect.
//!
//! Each command has a [`Table`] with an entry for every flag that its `--help` lists, so a new flag fails a
//! test until it has an entry. An entry runs the command with and without the flag, or with several values, and
//! states the expected effect.

mod beside;
mod encode;
mod measure;
pub mod sample;
mod too_large;
mod upscale;
mod weights;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Ended, Folder, asset, root};

/// The flags of a command.
struct Table {
    program: &'static str,
    /// Empty for the flags before the command.
    command: &'static str,
    /// Writes the files that lines name as `@in/NAME`.
    inputs: fn(&Folder),
    flags: &'static [Flag],
}

const TABLES: [&Table; 12] = [
    &measure::PERCEPT,
    &measure::DEVICES,
    &measure::CHECK,
    &measure::BENCH,
    &encode::TABLE,
    &sample::TABLE,
    &upscale::TABLE,
    &weights::PERCEPT_WEIGHTS,
    &weights::INSPECT,
    &weights::CONVERT,
    &weights::VERIFY,
    &weights::BUNDLE,
];

/// A flag and its effect. In its lines, paths begin with `@demo/`, `@tests/` or `@in/`; `@star` and `@disc` are
/// pictures and `@trunk` is a bundle of the demo.
struct Flag {
    name: &'static str,
    /// The arguments common to all runs.
    base: &'static str,
    /// The arguments that each run adds.
    added: &'static [&'static str],
    then: Then,
}

enum Then {
    /// Every run succeeds, and no two give the same result.
    Differ,
    /// Every run succeeds, and all give the same result.
    Same,
    /// The results of the runs pass this check.
    Shows(fn(&[Run])),
    /// The test of this name shows the effect, because it takes more than runs of a command.
    Test(&'static str),
}

use Then::{Differ, Same, Shows, Test};

const fn flag(name: &'static str, base: &'static str, added: &'static [&'static str], then: Then) -> Flag {
    Flag { name, base, added, then }
}

fn no_inputs(_: &Folder) {}

/// The output of a run, and the files that it left, by path.
#[derive(Clone)]
struct Run {
    line: String,
    ended: std::rc::Rc<Ended>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Run {
    fn succeeded(&self) -> &Self {
        assert_eq!(self.ended.code, Some(0), "{}: {}", self.line, self.ended.stderr);
        self
    }

    /// Returns the result of the run: its files, or its output if it writes none.
    fn result(&self) -> (&BTreeMap<String, Vec<u8>>, &str) {
        self.succeeded();
        (&self.files, if self.files.is_empty() { &self.ended.stdout } else { "" })
    }

    fn names(&self) -> Vec<&str> {
        self.succeeded().files.keys().map(String::as_str).collect()
    }

    /// Returns the JSON object that it prints.
    fn json(&self) -> Value {
        let stdout = &self.succeeded().ended.stdout;
        serde_json::from_str(stdout).unwrap_or_else(|error| panic!("{}: {error}: {stdout}", self.line))
    }

    /// Returns the value of a key of that object.
    fn value(&self, key: &str) -> Value {
        let json = self.json();
        json.pointer(key).unwrap_or_else(|| panic!("{}: no {key} in {json}", self.line)).clone()
    }

    /// Asserts that the run fails with this exit code and a message that contains all of `saying`.
    fn fails(&self, code: i32, saying: &[&str]) {
        assert_eq!(self.ended.code, Some(code), "{}: {}{}", self.line, self.ended.stdout, self.ended.stderr);
        let printed = [self.ended.stdout.as_str(), &self.ended.stderr].concat();
        for part in saying {
            assert!(printed.contains(part), "{}: {part:?} is not in {printed}", self.line);
        }
    }
}

/// Asserts that the JSON object of each run has this value for a key.
fn assert_values<V: Into<Value> + Clone>(runs: &[Run], key: &str, values: &[V]) {
    let got: Vec<Value> = runs.iter().map(|run| run.value(key)).collect();
    let want: Vec<Value> = values.iter().cloned().map(Into::into).collect();
    assert_eq!(got, want, "{key} of {}", runs[0].line);
}

/// Collects the files of a folder and its subfolders, by their paths relative to it.
fn files(folder: &Path, prefix: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = format!("{prefix}{}", path.file_name().expect("a name").to_string_lossy());
        if path.is_dir() {
            files(&path, &format!("{name}/"), found);
        } else {
            found.insert(name, std::fs::read(path).expect("a file"));
        }
    }
}

/// The runs of a table. Each line runs only once.
struct Runs<'a> {
    program: &'a str,
    inputs: Folder,
    made: BTreeMap<String, Run>,
}

impl Runs<'_> {
    fn new(table: &Table) -> Runs<'_> {
        let inputs = Folder::new();
        (table.inputs)(&inputs);
        Runs { program: table.program, inputs, made: BTreeMap::new() }
    }

    fn word(&self, word: &str) -> PathBuf {
        match word.strip_prefix('@').and_then(|path| path.split_once('/')) {
            Some(("demo", name)) => asset(name),
            Some(("tests", name)) => root().join("tests").join(name),
            Some(("in", name)) => self.inputs.path(name),
            _ => match word {
                "@star" => asset("images/4_star.png"),
                "@disc" => asset("images/1_disc.png"),
                "@trunk" => asset("trunk.bundle.json"),
                _ => word.into(),
            },
        }
    }

    #[track_caller]
    fn run(&mut self, line: &str) -> Run {
        if let Some(made) = self.made.get(line) {
            return made.clone();
        }
        let folder = Folder::new();
        let words: Vec<PathBuf> = line.split_whitespace().map(|word| self.word(word)).collect();
        let ended = folder.run(self.program, "", &words).into();
        let mut found = BTreeMap::new();
        files(folder.0.path(), "", &mut found);
        let run = Run { line: line.to_string(), ended, files: found };
        self.made.insert(line.to_string(), run.clone());
        run
    }
}

impl Flag {
    /// Asserts that the flag has the effect that the entry states.
    #[track_caller]
    fn check(&self, runs: &mut Runs<'_>) {
        let runs: Vec<Run> = self.added.iter().map(|added| runs.run(&format!("{} {added}", self.base))).collect();
        match self.then {
            Differ => {
                for (place, run) in runs.iter().enumerate() {
                    let same = runs[..place].iter().find(|other| other.result() == run.result());
                    assert!(same.is_none(), "{} gives the same as {}", run.line, same.expect("one").line);
                }
            }
            Same => {
                let other = runs.iter().find(|other| other.result() != runs[0].result());
                assert!(other.is_none(), "{} gives other than {}", other.expect("one").line, runs[0].line);
            }
            Shows(shows) => shows(&runs),
            Test(name) => assert!(is_test(name), "{}: no test is called {name}", self.name),
        }
    }
}

/// Returns true if the sources of this program have a test of this name.
fn is_test(name: &str) -> bool {
    let mut sources = BTreeMap::new();
    files(&root().join("tests/cli"), "", &mut sources);
    let wanted = format!("#[test]\nfn {name}()");
    sources.values().any(|source| String::from_utf8_lossy(source).contains(&wanted))
}

/// Runs the entries of a table.
#[track_caller]
fn check(table: &Table) {
    let mut runs = Runs::new(table);
    for flag in table.flags {
        flag.check(&mut runs);
    }
}

/// Returns the `--help` of a command.
fn help(program: &str, command: &str) -> String {
    let ended = Folder::new().run(program, &format!("{command} --help"), &[]);
    assert_eq!(ended.code, Some(0), "{program} {command}: {}", ended.stderr);
    ended.stdout
}

/// Returns the flags in a help text: the long form, and the short form if there is one. Descriptions are
/// indented more than flags.
fn flags_of(help: &str) -> BTreeMap<String, Option<String>> {
    let mut flags = BTreeMap::new();
    for line in help.lines() {
        let text = line.trim_start();
        if !text.starts_with('-') || line.len() - text.len() > 6 {
            continue;
        }
        let mut words = text.split_whitespace().map(|word| word.trim_end_matches(','));
        let first = words.next().expect("a flag");
        match first.starts_with("--") {
            true => flags.insert(first.into(), None),
            false => flags.insert(words.next().expect("its long form").into(), Some(first.into())),
        };
    }
    flags
}

/// Returns the commands that the help text of a program lists, except `help`.
fn commands_of(help: &str) -> BTreeSet<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(String::from).collect()
}

/// This test runs `--help` of every command itself.
#[test]
fn every_flag_that_help_lists_has_an_entry_and_no_other_has() {
    for program in ["percept", "percept-weights"] {
        let tables: Vec<&&Table> = TABLES.iter().filter(|table| table.program == program).collect();
        let mut commands = commands_of(&help(program, ""));
        assert!(!commands.is_empty(), "{program}");
        commands.insert(String::new());
        assert_eq!(
            tables.iter().map(|table| table.command.to_string()).collect::<BTreeSet<_>>(),
            commands,
            "{program}"
        );
        for table in tables {
            let name = format!("{program} {}", table.command);
            let mut listed = flags_of(&help(program, table.command));
            assert_eq!(listed.remove("--help"), Some(Some("-h".into())), "{name}");
            let entries: BTreeSet<&str> = table.flags.iter().map(|flag| flag.name).collect();
            assert_eq!(entries, listed.keys().map(String::as_str).collect::<BTreeSet<_>>(), "{name}");
            for (flag, short) in &listed {
                let added = table.flags.iter().filter(|entry| entry.name == flag).flat_map(|entry| entry.added);
                let words: Vec<&str> = added.flat_map(|added| added.split_whitespace()).collect();
                for form in [Some(flag), short.as_ref()].into_iter().flatten() {
                    assert!(words.contains(&form.as_str()), "{name}: no run has {form}");
                }
            }
        }
    }
}

#[test]
fn a_flag_without_an_entry_is_found_in_a_help_text() {
    let text = "\
What it does

Usage: percept [OPTIONS]

Commands:
  one   Does this,
        and that
  help  Print this message

Options:
  -o, --output <FILE>
          What to write: see
          --noise for what it begins as

      --eta=<E>
          How much

  -h, --help
          Print help
";
    let flags = flags_of(&text.replace("=<", " <"));
    let listed: Vec<(&str, Option<&str>)> = flags.iter().map(|(long, short)| (&long[..], short.as_deref())).collect();
    assert_eq!(listed, [("--eta", None), ("--help", Some("-h")), ("--output", Some("-o"))]);
    assert_eq!(commands_of(text).into_iter().collect::<Vec<_>>(), ["one"]);
}
