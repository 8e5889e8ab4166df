//! `percept check`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use percept::check::{Options, Report, TensorReport, check};
use percept::weights::WeightRounding;
use percept::{Error, Result};
use serde_json::{Value, json};

use crate::DeviceArguments;
use crate::terminal::{print, print_error, progress};

#[derive(Args)]
pub struct Arguments {
    /// Golden files, or folders of golden files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Check only tensors whose name contains PATTERN
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Write the computed tensors to files of the same names in this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// The result of checking one file.
struct Outcome {
    file: PathBuf,
    report: Result<Report>,
    seconds: f64,
}

impl Outcome {
    /// True if `--only` selects none of the file's tensors.
    fn is_skipped(&self, arguments: &Arguments) -> bool {
        arguments.only.is_some() && self.report.as_ref().is_ok_and(|report| report.tensors.is_empty())
    }

    /// Returns the error, prefixed with the file's name if it does not contain it.
    fn error(&self) -> Option<String> {
        let file = self.file.display().to_string();
        let error = self.report.as_ref().err()?.to_string();
        Some(if error.contains(&file) { error } else { format!("{file}: {error}") })
    }

    fn json(&self, arguments: &Arguments) -> Value {
        let tensor = |tensor: &TensorReport| {
            json!({
                "name": tensor.name, "error": tensor.error, "bound": tensor.bound,
                "passed": tensor.passed(), "detail": tensor.detail,
            })
        };
        let tensors: Vec<Value> = self.report.iter().flat_map(|report| &report.tensors).map(tensor).collect();
        json!({
            "file": self.file.display().to_string(),
            "passed": self.report.as_ref().is_ok_and(Report::passed),
            "skipped": self.is_skipped(arguments),
            "error": self.error(),
            "tensors": tensors,
            "rounding": self.report.as_ref().ok().and_then(|report| rounding_json(report.rounding.as_ref()?)),
            "seconds": self.seconds,
        })
    }
}

/// Returns the rounding errors of weights stored in half precision, or `None` if there are no such weights.
pub fn rounding_json(rounding: &WeightRounding) -> Option<Value> {
    let (tensor, worst) = rounding.worst.as_ref()?;
    let (error, largest) = (worst.largest_error, worst.largest);
    Some(json!({"weights": rounding.weights, "largest_error": error, "tensor": tensor, "largest": largest}))
}

/// Checks the goldens. Fails if a tensor exceeds its bound or a file cannot be run.
pub fn run(arguments: &Arguments, on: &DeviceArguments) -> Result<ExitCode> {
    let device = on.open(None)?;
    let files = goldens(&arguments.files)?;
    let options = Options { only: arguments.only.clone(), out: arguments.out.clone() };

    let bar = progress(files.len() as u64, "checking");
    let mut outcomes = Vec::new();
    for file in files {
        bar.set_message(file.display().to_string());
        let started = Instant::now();
        let report = check(&file, &device, &options);
        let outcome = Outcome { file, report, seconds: started.elapsed().as_secs_f64() };
        if !arguments.json {
            bar.suspend(|| print_outcome(&outcome))?;
        }
        outcomes.push(outcome);
        bar.inc(1);
    }
    drop(bar);

    let skipped = |outcome: &&Outcome| outcome.is_skipped(arguments);
    let considered = outcomes.len() - outcomes.iter().filter(skipped).count();
    let passed = outcomes.iter().filter(|outcome| outcome.report.as_ref().is_ok_and(Report::passed)).count();
    let all_passed = passed == considered && considered > 0;
    if arguments.json {
        let files: Vec<Value> = outcomes.iter().map(|outcome| outcome.json(arguments)).collect();
        print(
            json!({"device": device.name(), "precision": device.precision().name(), "passed": all_passed, "files": files}),
        )?;
    } else {
        summarise(&outcomes, passed, considered)?;
    }
    if considered == 0 {
        let only = arguments.only.as_deref().unwrap_or_default();
        return Err(Error::config("--only", "a part of a tensor's name in one of the files", format!("{only:?}")));
    }
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the files, with each folder replaced by the goldens in it, sorted by name.
fn goldens(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(goldens_in(path)?);
        } else {
            // A missing file fails when it is checked.
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn goldens_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error| Error::file(folder.display(), "a folder that can be read", error);
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>();
    let mut paths = paths.map_err(unreadable)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    paths.sort();
    if paths.is_empty() {
        return Err(Error::file(folder.display(), "a folder of goldens", "one without a .safetensors file"));
    }
    Ok(paths)
}

/// Prints one line per tensor.
fn print_outcome(outcome: &Outcome) -> Result<()> {
    let report = match (&outcome.report, outcome.error()) {
        (Ok(report), _) => report,
        (Err(_), error) => {
            print_error(&error.unwrap_or_default());
            return print(format_args!("{}: FAILED: cannot be run", outcome.file.display()));
        }
    };
    let width = report.tensors.iter().map(|tensor| tensor.name.len()).max().unwrap_or(0);
    for tensor in &report.tensors {
        let TensorReport { name, error, bound, detail } = tensor;
        let verdict = if tensor.passed() { "ok" } else { "FAILED" };
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        print(format_args!("{}  {name:width$}  {error:.2e}  bound {bound:.0e}  {verdict}{detail}", report.file))?;
    }
    if let Some((tensor, worst)) = report.rounding.as_ref().and_then(|rounding| rounding.worst.as_ref()) {
        let (error, largest) = (worst.largest_error, worst.largest);
        let worst = format_args!("at most {error:.1e}, of {tensor}, whose largest is {largest:.2}");
        print(format_args!("{}  weights rounded to f16 by {worst}", report.file))?;
    }
    Ok(())
}

fn summarise(outcomes: &[Outcome], passed: usize, considered: usize) -> Result<()> {
    let tensors = || outcomes.iter().flat_map(|outcome| &outcome.report).flat_map(|report| &report.tensors);
    let good = tensors().filter(|tensor| tensor.passed()).count();
    let seconds: f64 = outcomes.iter().map(|outcome| outcome.seconds).sum();
    print(format_args!(
        "{passed} of {considered} files passed, {good} of {} tensors are within their bounds, {seconds:.1} s",
        tensors().count()
    ))
}
