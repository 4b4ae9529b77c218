//! Gateways that a client starts as a program: with each goes all that it had.

use crate::client::{INITIALIZED, call, initialize};
use crate::gateway::{Configuration, Runtime};
use crate::process;
use crate::target::{Kind, Target};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// So many for each kind of target, and as many for each way to go.
const CROWD: usize = 5;

/// How such a gateway ends.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Its client is gone: its input ends.
    Closed,
    Terminated,
    Killed,
}

pub(crate) fn come_and_go(runtime: Runtime) {
    for kind in [Kind::Process, Kind::Legacy, Kind::Modern, Kind::Sse] {
        let target = Target::start(kind);
        let file = Configuration::patient(&target.entry());
        for way in [Way::Closed, Way::Terminated, Way::Killed] {
            let mut crowd: Vec<Child> = Vec::new();
            for _ in 0..CROWD {
                match open(runtime, &file) {
                    Some(gateway) => crowd.push(gateway),
                    // There is no io_uring, which the other tests say.
                    None => return,
                }
            }
            assert!(!target.holds().is_empty());
            for gateway in &mut crowd {
                match way {
                    Way::Closed => drop(gateway.stdin.take()),
                    Way::Terminated => {
                        let pid = gateway.id().to_string();
                        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
                    }
                    Way::Killed => process::kill(&[gateway.id()]),
                }
            }
            for mut gateway in crowd {
                gateway.wait().unwrap();
            }
            target.until_disconnected();
        }
    }
}

/// A gateway with a session and two calls of its client.
fn open(runtime: Runtime, file: &Configuration) -> Option<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-gateway"));
    command.args(["stdio", "--log-level=off", "--access-log=off"]).arg(runtime.flag());
    command.arg("--config").arg(&file.0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut gateway = command.spawn().unwrap();
    let mut output = BufReader::new(gateway.stdout.take().unwrap()).lines();
    let input = gateway.stdin.as_mut().unwrap();
    let messages = [&initialize("2025-11-25"), INITIALIZED, &call(2, "ask"), &call(3, "hang")];
    // One that can't run has hung up.
    _ = input.write_all(format!("{}\n", messages.join("\n")).as_bytes());
    let asked = output.find(|line| line.as_ref().is_ok_and(|line| line.contains("elicitation/create")));
    if asked.is_none() {
        let code = gateway.wait().unwrap().code();
        assert!(runtime == Runtime::Glommio && code == Some(78), "left with {code:?}");
        return None;
    }
    Some(gateway)
}
