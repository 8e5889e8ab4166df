//! Child processes with a time limit, so that a test that hangs fails and reports its location.

use std::io::Read;
use std::panic::Location;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The time that a child may run, unless the test gives another limit.
const LIMIT: Duration = Duration::from_secs(120);

/// The time that a build by Cargo may take, from scratch and with other tests running.
pub const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);

/// The time between two polls of a child.
const POLL: Duration = Duration::from_millis(2);

/// Runs a command to its end and captures its output, like [`Command::output`], for at most two minutes. The
/// child keeps the command's standard input.
///
/// # Panics
/// Panics if the child does not start. If it has not ended in time, kills it and panics with the command, the
/// caller and the output so far.
#[track_caller]
pub fn output(command: &mut Command) -> Output {
    output_within(command, LIMIT)
}

/// Does the same as [`output`] with another limit.
///
/// # Panics
/// See [`output`].
#[track_caller]
pub fn output_within(command: &mut Command, limit: Duration) -> Output {
    match command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
        Ok(child) => wait_within(child, command, limit),
        Err(error) => panic!("{command:?} does not start: {error}"),
    }
}

/// Waits for the child that a command started, for at most two minutes.
///
/// # Panics
/// See [`output`].
#[track_caller]
pub fn wait(child: Child, command: &Command) -> Output {
    wait_within(child, command, LIMIT)
}

/// Waits until the child has ended and no process writes to its pipes any more.
#[track_caller]
fn wait_within(mut child: Child, command: &Command, limit: Duration) -> Output {
    let began = Instant::now();
    drop(child.stdin.take());
    let stdout = Printed::of(child.stdout.take());
    let stderr = Printed::of(child.stderr.take());
    loop {
        match child.try_wait() {
            Ok(Some(status)) if stdout.is_whole() && stderr.is_whole() => {
                return Output { status, stdout: stdout.bytes(), stderr: stderr.bytes() };
            }
            Ok(_) if began.elapsed() < limit => thread::sleep(POLL),
            ended => {
                // The child may have ended already, while a child of its own holds the pipes.
                let _ = child.kill();
                let _ = child.wait();
                let printed =
                    [stdout.bytes(), stderr.bytes()].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                panic!(
                    "{}: {command:?} did not end within {limit:?} ({ended:?}); standard output: {:?}, standard error: {:?}",
                    Location::caller(),
                    printed[0],
                    printed[1]
                );
            }
        }
    }
}

/// The output of a child on a pipe. A thread reads it while the child runs, so that the pipe never fills up.
struct Printed {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Printed {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let read = bytes.clone();
        let reader = thread::spawn(move || {
            let Some(mut pipe) = pipe else { return };
            let mut chunk = vec![0; 1 << 16];
            while let Ok(length @ 1..) = pipe.read(&mut chunk) {
                read.lock().expect("no thread panics with the bytes").extend_from_slice(&chunk[..length]);
            }
        });
        Printed { bytes, reader }
    }

    fn is_whole(&self) -> bool {
        self.reader.is_finished()
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().expect("no thread panics with the bytes").clone()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        command
    }

    #[test]
    fn returns_what_a_child_prints_and_how_it_ends() {
        let ended = output(&mut shell("echo out; echo err >&2; exit 3"));
        assert_eq!(
            (ended.status.code(), &ended.stdout[..], &ended.stderr[..]),
            (Some(3), &b"out\n"[..], &b"err\n"[..])
        );
    }

    #[test]
    fn a_megabyte_on_both_pipes_does_not_block() {
        let ended = output(&mut shell("head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2; echo end"));
        assert_eq!((ended.stdout.len(), ended.stderr.len()), (1_000_004, 1_000_000));
        assert!(ended.stdout.ends_with(b"\0end\n"));
    }

    /// Returns the panic's message and the seconds until the panic.
    fn hangs(command: &mut Command) -> (String, f64) {
        let began = Instant::now();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            output_within(command, Duration::from_millis(200))
        }));
        let message = caught.expect_err("it hangs").downcast::<String>().expect("a message");
        (*message, began.elapsed().as_secs_f64())
    }

    #[test]
    fn a_child_that_hangs_is_killed_and_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("still there");
        // The child writes the file unless it is killed.
        let script = format!("echo begun; sleep 1.5 && touch '{}'", file.display());
        let (message, seconds) = hangs(&mut shell(&script));
        assert!((0.2..1.4).contains(&seconds), "{seconds} s");
        for part in [file!(), "\"sh\" \"-c\" \"echo begun", "did not end within 200ms", "standard output: \"begun\\n\""]
        {
            assert!(message.contains(part), "{part:?} is not in {message}");
        }
        thread::sleep(Duration::from_secs(2));
        assert!(!file.exists(), "it was not killed");
    }

    #[test]
    fn a_child_whose_own_child_holds_the_pipe_is_no_endless_wait() {
        let (message, seconds) = hangs(&mut shell("sleep 3 & echo left"));
        assert!(seconds < 2.5 && message.contains("left"), "{seconds} s: {message}");
    }

    #[test]
    fn a_child_that_was_started_elsewhere_is_waited_for() {
        let mut command = shell("read line; echo \"$line\" >&2");
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        // Standard input is closed; otherwise the child would wait for a line.
        let ended = wait(child.expect("sh starts"), &command);
        assert_eq!((ended.status.code(), &ended.stdout[..], &ended.stderr[..]), (Some(0), &b""[..], &b"\n"[..]));
    }
}
