//! What a call asks of the kernel: each byte is read once and written once, on either side.

use crate::gateway::{Gateway, Runtime};
use crate::on_both_runtimes;
use crate::talk::{ACCEPTED, CALL, INITIALIZE, INITIALIZED_RESULT, RESULT, Talk, json, post};
use crate::wire::{PATIENCE, Wire, field};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

on_both_runtimes![a_call_reads_twice_and_writes_twice];

/// Keep-alive connections, and calls on each of them.
const CONNECTIONS: usize = 16;
const CALLS: usize = 250;

/// Moving bytes, by any name.
const MOVES: &str = "read,write,readv,writev,recvfrom,sendto,recvmsg,sendmsg";
/// A client's request and a target's answer are read, and both are written.
const MOVES_OF_A_CALL: usize = 4;
/// Waiting, by any name.
const WAITS: [&str; 3] = ["epoll_wait", "epoll_pwait", "io_uring_enter"];
/// For the request and for the answer, where nobody else's comes at the same time.
const WAITS_OF_A_CALL: usize = 2;
/// What starting and ending take, once: reading the configuration, waking workers, logging.
const ONCE: usize = 300;

fn a_call_reads_twice_and_writes_twice(runtime: Runtime) {
    if !can_trace() {
        return;
    }
    let summary = Summary::new(runtime);
    let mut command = Command::new("strace");
    // The gateway stays this process' child, with the tracer beside it.
    command.args(["-D", "-f", "-c", "-e"]).arg(format!("trace={MOVES},{}", WAITS.join(",")));
    command.arg("-o").arg(&summary.0).arg(Gateway::command().get_program());
    let Some(mut talk) = Talk::start_by(command, runtime, &["legacy"; 3], "") else { return };
    talk.targets.iter().for_each(|target| target.serve(answer));
    let address = talk.gateway.address;
    let mut first = Wire::connect(address);
    first.say(post("", INITIALIZE));
    let session = first.hear_message();
    let session = format!("Mcp-Session-Id: {}\r\n", field(&session, "mcp-session-id").unwrap());
    thread::scope(|scope| {
        for number in 0..CONNECTIONS {
            let tool = ["a_add", "b_add", "c_add"][number % 3];
            let call = post(&session, &CALL.replace("\"add\"", &format!("\"{tool}\"")));
            scope.spawn(move || {
                let mut wire = Wire::connect(address);
                for _ in 0..CALLS {
                    wire.say(&call);
                    assert!(wire.hear_message().ends_with(RESULT));
                }
            });
        }
    });
    talk.gateway.terminate();
    talk.gateway.wait();
    let counts = summary.read();
    let waits: usize = WAITS.iter().filter_map(|name| counts.get(*name)).sum();
    let moves = counts.values().sum::<usize>() - waits;
    let calls = CONNECTIONS * CALLS;
    println!("{calls} calls on {runtime:?}: {counts:?}");
    assert!(moves <= MOVES_OF_A_CALL * calls + ONCE, "{calls} calls: {counts:?}");
    assert!(waits <= WAITS_OF_A_CALL * calls + ONCE, "{calls} calls: {counts:?}");
    // As many as there must be, or else they have another name now.
    assert!(moves >= MOVES_OF_A_CALL * calls, "{calls} calls: {counts:?}");
}

/// What a target says to each message.
fn answer(request: &str) -> String {
    match () {
        () if request.contains(r#""initialize""#) => json("Mcp-Session-Id: its-own\r\n", INITIALIZED_RESULT),
        () if request.contains(r#""tools/call""#) => json("", RESULT),
        () => ACCEPTED.to_owned(),
    }
}

/// Where the tracer writes its table.
struct Summary(PathBuf);

impl Summary {
    fn new(runtime: Runtime) -> Self {
        let name = format!("system-calls-{}-{runtime:?}", std::process::id());
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }

    /// How often each was called. The tracer ends a little later than the gateway.
    fn read(&self) -> BTreeMap<String, usize> {
        let deadline = Instant::now() + PATIENCE;
        let table = loop {
            let table = fs::read_to_string(&self.0).unwrap_or_default();
            if table.lines().any(|line| line.ends_with(" total")) {
                break table;
            }
            assert!(Instant::now() < deadline, "{table}");
            thread::sleep(Duration::from_millis(10));
        };
        let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        // Share, seconds, microseconds each, calls, errors if any, name; the total is none of them.
        let row = |row: Vec<&str>| Some(((*row.last()?).to_owned(), row.get(3)?.parse().ok()?));
        rows.filter_map(row).filter(|(name, _)| name != "total").collect()
    }
}

impl Drop for Summary {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.0);
    }
}

/// Whether system calls can be traced here; it is said if not.
fn can_trace() -> bool {
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-o", "/dev/null", "true"]).stderr(Stdio::null());
    let status = command.status();
    let must_be_here = env::var("CI").is_ok_and(|value| value == "true");
    assert!(status.is_ok() || !must_be_here, "strace is not installed");
    if status.as_ref().is_ok_and(|status| status.success()) {
        return true;
    }
    // Past the harness, which swallows what passing tests print.
    _ = writeln!(io::stderr(), "\nSKIPPED: system calls can't be traced here: {status:?}");
    false
}
