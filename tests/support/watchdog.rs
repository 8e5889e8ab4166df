//! A time limit for every test program: a program that hangs is aborted and prints where its threads are.
//!
//! libtest has no limit of its own. The watchdog starts before `main` in every program that links this crate.
//! If a program still runs after `LIMIT` (or `PERCEPT_TEST_LIMIT` seconds), it prints the stack of each thread
//! and aborts.

use std::time::Duration;

/// The longest that a test program may run: several times as long as the slowest takes on two cores, and longer
/// than the builds that some wait for.
const LIMIT: Duration = Duration::from_secs(30 * 60);

#[ctor::ctor(unsafe)]
fn start() {
    let seconds = std::env::var("PERCEPT_TEST_LIMIT").ok().and_then(|text| text.parse().ok());
    let limit = seconds.map_or(LIMIT, Duration::from_secs);
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        say(&format!("\nthe tests still run after {} s; they hang at\n", limit.as_secs()));
        stacks::print();
        std::process::abort();
    });
}

/// Writes to stderr directly, because libtest captures the output of `eprintln!`.
fn say(text: &str) {
    use std::io::Write;
    // The program must end even if stderr is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(target_os = "linux")]
mod stacks {
    use std::backtrace::Backtrace;
    use std::fs;
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use super::say;

    /// The stack that a thread has left for the watchdog.
    static STACK: Mutex<Option<String>> = Mutex::new(None);
    /// The time that a thread has to answer. A thread that holds a lock which the handler needs never answers.
    const PATIENCE: Duration = Duration::from_secs(2);

    /// Runs on the thread whose stack is wanted. It allocates, which signal handlers must not do in general;
    /// but the program aborts in any case, and if the handler hangs, the watchdog continues without it.
    extern "C" fn leave_stack(_: libc::c_int) {
        let stack = Backtrace::force_capture().to_string();
        if let Ok(mut left) = STACK.try_lock() {
            *left = Some(stack);
        }
    }

    /// Prints, for every other thread, its name and the frames that lie in this workspace.
    pub fn print() {
        let handler: extern "C" fn(libc::c_int) = leave_stack;
        // SAFETY: `handler` has the signature that `signal` requires. It replaces the default action, which
        // ends the program.
        unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
        // SAFETY: both only return numbers.
        let (process, own) = unsafe { (libc::getpid(), libc::gettid()) };
        let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let threads = tasks.filter_map(|task| task.file_name().to_str()?.parse::<libc::pid_t>().ok());
        for thread in threads.filter(|thread| *thread != own) {
            // SAFETY: sends a signal that has a handler to a thread of this process. A thread that has ended
            // gets none.
            unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) };
            let frames = own_frames(&answer().unwrap_or_default());
            if !frames.is_empty() {
                let name = fs::read_to_string(format!("/proc/self/task/{thread}/comm")).unwrap_or_default();
                say(&format!("thread {}:\n{frames}", name.trim_end()));
            }
        }
    }

    fn answer() -> Option<String> {
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            if let Some(stack) = STACK.lock().ok()?.take() {
                return Some(stack);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// Returns the frames of a stack that do not belong to a library. Each frame is a line with its function
    /// and a line with its place.
    fn own_frames(stack: &str) -> String {
        let lines: Vec<&str> = stack.lines().collect();
        let is_own = |function: &str, place: &str| {
            let is_place = place.trim_start().starts_with("at ");
            is_place && !place.contains("/rustc/") && !place.contains("/.cargo/") && !function.contains("leave_stack")
        };
        let frames = lines.windows(2).filter(|frame| is_own(frame[0], frame[1]));
        frames.flat_map(|frame| [frame[0], "\n", frame[1], "\n"]).collect()
    }
}

#[cfg(not(target_os = "linux"))]
mod stacks {
    /// Prints nothing, since stacks are not available here. libtest has named the tests that run for more than
    /// a minute.
    pub fn print() {}
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    /// Hangs if [`a_program_that_hangs_ends_and_says_where`] asks for it.
    #[test]
    fn hangs_on_request() {
        if std::env::var_os("PERCEPT_TEST_HANG").is_some() {
            hang();
        }
    }

    #[inline(never)]
    fn hang() {
        loop {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_program_that_hangs_ends_and_says_where() {
        let mut program = Command::new(std::env::current_exe().expect("this test"));
        program.args(["--exact", "watchdog::tests::hangs_on_request"]);
        let ended = crate::output(program.env("PERCEPT_TEST_HANG", "1").env("PERCEPT_TEST_LIMIT", "1"));
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && told.contains("still run after 1 s"), "{told}");
        assert!(!cfg!(target_os = "linux") || told.contains("watchdog::tests::hang\n"), "{told}");
    }
}
