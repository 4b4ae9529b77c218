//! A server that is a program on this machine: `command` and what goes with it.

use super::environment::expand;
use super::report::{Entry, Report};
use routing::Process;
use std::sync::Arc;

/// Keys of such a server alone.
pub(super) const KEYS: &[&str] = &["command", "args", "env", "cwd", "shared"];

/// What a program gets of the gateway's own environment, as the MCP SDKs have it: what it needs to run, nothing secret.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "LANG",
    "LC_ALL",
    "LC_ADDRESS",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_IDENTIFICATION",
    "LC_MEASUREMENT",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NAME",
    "LC_NUMERIC",
    "LC_PAPER",
    "LC_TELEPHONE",
    "LC_TIME",
];

/// A program while its keys are being read.
#[derive(Debug, Default)]
pub(super) struct Program {
    command: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    cwd: Option<String>,
    shared: bool,
}

impl Program {
    /// Takes one of [`KEYS`]; `false` when its value is of no use, which was reported.
    pub(super) fn read_key(&mut self, report: &mut Report, entry: &Entry<'_>) -> bool {
        match entry.key {
            "command" => match report.expanded(entry) {
                Some(command) if command.trim().is_empty() => {
                    report.expected(entry, "a program");
                    return false;
                }
                Some(command) => self.command = command,
                None => return false,
            },
            "args" => {
                let before = report.problems.len();
                self.args.clear();
                for text in report.texts(entry) {
                    match expand(text, report.environment) {
                        Ok(text) => self.args.push(text),
                        Err(message) => report.problem(entry, message),
                    }
                }
                return report.problems.len() == before;
            }
            "env" => {
                let before = report.problems.len();
                for variable in report.entries(entry) {
                    self.read_variable(report, &variable);
                }
                return report.problems.len() == before;
            }
            "cwd" => match report.expanded(entry) {
                Some(folder) => self.cwd = Some(folder),
                None => return false,
            },
            _ => match report.bool(entry) {
                Some(shared) => self.shared = shared,
                None => return false,
            },
        }
        true
    }

    fn read_variable(&mut self, report: &mut Report, entry: &Entry<'_>) {
        if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
            return report.problem(entry, format!("{:?} is no name of a variable", entry.key));
        }
        let Some(value) = report.expanded(entry) else { return };
        set(&mut self.env, entry.key, value);
    }

    /// The whole of it, with what it has of the gateway's environment.
    pub(super) fn finish(self, environment: fn(&str) -> Option<String>) -> Arc<Process> {
        let mut env: Vec<(String, String)> = INHERITED
            .iter()
            .filter_map(|name| environment(name).map(|value| ((*name).to_owned(), value)))
            .collect();
        for (name, value) in self.env {
            set(&mut env, &name, value);
        }
        let Self { command, args, cwd, shared, .. } = self;
        Arc::new(Process { command, args, env, cwd, shared })
    }
}

fn set(env: &mut Vec<(String, String)>, name: &str, value: String) {
    match env.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => *known = value,
        None => env.push((name.to_owned(), value)),
    }
}
