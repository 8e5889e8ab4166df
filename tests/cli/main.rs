//! Tests the command line from the outside: its output, its messages and its exit codes.

mod bench;
mod check;
mod devices;
mod embed;
mod encode;
mod flags;
mod large;
mod model_files;
mod sample;
mod sample_errors;
mod upscale;
mod weights;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// Returns the root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the repository")
}

/// Returns the path of a file of the demo set.
fn asset(name: &str) -> PathBuf {
    root().join("examples/assets").join(name)
}

/// Returns the folder of the programs, after building them.
///
/// Cargo tells tests the paths of the programs of their own package, but these belong to other packages. They
/// are in `target/<profile>`, above the `deps` folder that this test runs from. `cargo test` does not build
/// them, so they may be missing or, worse, old. The `cargo build` here does nothing if they are up to date.
fn programs() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = std::env::current_exe().expect("the test has a path");
        let folder = test.parent().and_then(Path::parent).expect("tests run in target/<profile>/deps");
        let profile = folder.file_name().expect("a profile's folder").to_string_lossy();
        let target = folder.parent().expect("target");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.current_dir(root()).arg("build").arg("--target-dir").arg(target);
        // Name only the programs: if packages were named, the libraries would be built again with those
        // packages' features.
        cargo.args(
            ["percept", "percept-weights", "embed", "job", "service", "texture"]
                .iter()
                .flat_map(|name| ["--bin", name]),
        );
        cargo.args(["--profile", if profile == "debug" { "dev" } else { &profile }]);
        let built = percept_tests::output_within(&mut cargo, percept_tests::BUILD_LIMIT);
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        folder.to_owned()
    })
}

/// The result of a run of a program.
struct Ended {
    /// The exit code; 101 is a panic.
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// An empty folder in which programs run.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).expect("a temporary folder can be written to");
    }

    /// Returns the names of everything in the folder.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("a folder");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(programs().join(program));
        command.current_dir(self.0.path()).env_remove("PERCEPT_DEVICE").stdin(Stdio::null());
        // Without it, libwayland prints an error to the programs' standard error when EGL looks for a display.
        if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
            command.env("XDG_RUNTIME_DIR", std::env::temp_dir());
        }
        command
    }

    /// Runs `percept` here, with the words of `line` and then `paths` as arguments.
    #[track_caller]
    fn percept(&self, line: &str, paths: &[PathBuf]) -> Ended {
        self.run("percept", line, paths)
    }

    #[track_caller]
    fn run(&self, program: &str, line: &str, paths: &[PathBuf]) -> Ended {
        let output = percept_tests::output(self.command(program).args(line.split_whitespace()).args(paths));
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// Runs `percept` here, which must succeed, and returns its output.
    #[track_caller]
    fn percept_succeeds(&self, line: &str, paths: &[PathBuf]) -> String {
        let ended = self.percept(line, paths);
        assert_eq!(ended.code, Some(0), "{line}: {}", ended.stderr);
        assert_eq!(ended.stderr, "", "{line}: nothing but errors and progress bars goes to standard error");
        ended.stdout
    }

    /// Runs `percept` here, which must fail with code 1, print all of `saying` on standard error and nothing on
    /// standard output, and leave no files.
    #[track_caller]
    fn percept_fails(&self, line: &str, paths: &[PathBuf], saying: &[&str]) {
        let before = self.names();
        let ended = self.percept(line, paths);
        assert_eq!(ended.code, Some(1), "{line}: {}", ended.stderr);
        assert!(ended.stderr.starts_with("error: "), "{line}: {}", ended.stderr);
        for part in saying {
            assert!(ended.stderr.contains(part), "{line}: {part:?} is not in {}", ended.stderr);
        }
        assert_eq!(ended.stdout, "", "{line}");
        assert_eq!(self.names(), before, "{line}: files were left behind");
    }
}
