//! The gateway as a process, and what it holds.

use crate::wire::{PATIENCE, Wire};
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// The code with which glommio is refused where io_uring can't be used.
const UNUSABLE: i32 = 78;

/// What ends by its time ends soon; what a busy machine must be able to do in time has long.
const SETTINGS: &str = "\
sessionKey: 5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a
limits: {channels: 4000, parked: 4000}
timeouts:
  head: 3s
  keepAlive: 3s
  initialize: 30s
  session: 3s
  parked: 3s
  comment: 1s
  pool: 300ms
  process: 1s
  firstByte: 5s
  shutdown: 1s
  idle: 5s
";

/// For gateways that are ended themselves: nothing else ends by its time.
const PATIENT: &str = "\
timeouts: {initialize: 60s, gather: 60s, process: 1s, shutdown: 1s}
";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    Tokio,
    Glommio,
}

impl Runtime {
    pub(crate) fn flag(self) -> String {
        format!("--runtime={self:?}").to_lowercase()
    }
}

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    child: Child,
}

impl Gateway {
    /// Starts it with two workers before one target. `None`, said aloud, where glommio can't run.
    pub(crate) fn start(runtime: Runtime, target: &str) -> Option<Self> {
        let file = Configuration::new(SETTINGS, target);
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-gateway"));
        command.args(["--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--log-format=json", "--workers=2"]);
        command.arg(runtime.flag()).arg("--config").arg(&file.0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, log) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // Read to its end, so that it doesn't fill up.
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| _ = sender.send(line)));
        let mut said = Vec::new();
        while let Ok(line) = log.recv_timeout(PATIENCE) {
            let json: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if json["message"] == "serving" {
                let url = json["url"].as_str().unwrap().trim_start_matches("http://");
                let address = url.trim_end_matches("/mcp").parse().unwrap();
                let admin = json["admin"].as_str().unwrap().parse().unwrap();
                return Some(Self { address, admin, child });
            }
            said.push(line);
        }
        let code = child.wait().unwrap().code();
        assert!(runtime == Runtime::Glommio && code == Some(UNUSABLE), "left with {code:?}: {said:#?}");
        without_io_uring(&said);
        None
    }

    /// The gauges of `/metrics` that are not 0: open connections, sessions, streams, calls, children.
    pub(crate) fn holds(&self) -> Vec<String> {
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let metrics = Wire::say(self.admin, request).and_then(|mut wire| wire.hear_answer()).unwrap();
        let gauges = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" gauge"));
        // Those about the process and its configuration.
        let own = |name: &&str| {
            ["build", "start", "workers", "config", "targets", "endpoints", "backends", "rules", "listeners"]
                .iter()
                .all(|what| !name.starts_with(&format!("mcp_gateway_{what}")))
        };
        let gauges: Vec<&str> = gauges.filter(own).collect();
        assert!(gauges.len() > 7, "{metrics}");
        let value = |name: &&str| {
            let line = metrics.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            (!line.ends_with(" 0")).then(|| line.to_owned())
        };
        gauges.iter().filter_map(value).collect()
    }

    /// Its open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// The memory it has in use, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }

    /// kill -9.
    pub(crate) fn kill(self) {}
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Gone already when it has ended by itself, which no test wants.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A configuration file that is there as long as its value.
pub(crate) struct Configuration(pub(crate) PathBuf);

impl Configuration {
    /// With this target, and times that are long.
    pub(crate) fn patient(target: &str) -> Self {
        Self::new(PATIENT, target)
    }

    fn new(settings: &str, target: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("leaks-{}-{}.yaml", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, format!("{settings}targets:\n  a: {target}\n")).unwrap();
        Self(path)
    }
}

impl Drop for Configuration {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.0);
    }
}

/// Waits until nothing is `left`.
pub(crate) fn until_none<T: std::fmt::Debug>(what: &str, mut left: impl FnMut() -> Vec<T>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = left();
        if now.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left of {what}: {now:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Where everything must run and the kernel offers io_uring, that it can't be used is a failure. Written past the harness,
/// which swallows what passing tests print.
fn without_io_uring(said: &[String]) {
    let offered =
        fs::read_to_string("/proc/sys/kernel/io_uring_disabled").is_ok_and(|text| text.trim() == "0");
    let all_must_run = env::var("CI").is_ok_and(|value| value == "true");
    assert!(!(offered && all_must_run), "glommio can't run here though io_uring is on: {said:#?}");
    _ = writeln!(io::stderr(), "\nSKIPPED: glommio can't run here: {said:?}");
}
