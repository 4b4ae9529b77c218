//! Processes that are to be killed: this program again, in another role.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

const ROLE: &str = "LEAKS_TEST_ROLE";

/// A process in some role. Dropped, it is killed.
pub(crate) struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts the test called `role` of this program, which knows what to do with `words`; returns what it says when it
    /// is ready.
    pub(crate) fn start(role: &str, words: &str) -> (Self, String) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", role, "--nocapture"]).env(ROLE, format!("{role} {words}"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        loop {
            let mut line = String::new();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "{role} {words} has ended");
            // Behind what the harness says.
            if let Some((_, said)) = line.split_once("ready ") {
                let said = said.trim().to_owned();
                return (Self { child, output }, said);
            }
        }
    }

    /// kill -9.
    pub(crate) fn kill(self) {}
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone.
        _ = self.child.kill();
        _ = self.child.wait();
        _ = self.output.get_ref();
    }
}

/// What this process was given to do in `role`, if it was started for that.
pub(crate) fn words(role: &str) -> Option<String> {
    std::env::var(ROLE).ok()?.strip_prefix(role).map(|words| words.trim().to_owned())
}

/// Tells whoever started this process that it is ready.
pub(crate) fn ready(words: &str) {
    println!("ready {words}");
}

/// The processes that have `mark` in their command line.
pub(crate) fn marked(mark: &str) -> Vec<u32> {
    let folders = fs::read_dir("/proc").unwrap().flatten();
    let pids = folders.filter_map(|folder| folder.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
    })
    .collect()
}

/// kill -9 to all of these.
pub(crate) fn kill(pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    // Some may be gone already.
    _ = Command::new("kill").arg("-9").args(pids).stderr(Stdio::null()).status();
}
