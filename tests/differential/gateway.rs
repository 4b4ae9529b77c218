//! The gateway as a process: one worker, a fixed session key, and what the kernel knows about it.

use crate::wire::{PATIENCE, Target};
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The code with which glommio is refused where io_uring can't be used.
const UNUSABLE: i32 = 78;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    Tokio,
    Glommio,
}

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    child: Child,
    /// Keeps the other end of its log from breaking.
    _log: Receiver<String>,
}

impl Gateway {
    pub(crate) fn command() -> Command {
        Command::new(env!("CARGO_BIN_EXE_mcp-gateway"))
    }

    /// The gateway with at most `descriptors` open files.
    pub(crate) fn command_with_few(descriptors: u32) -> Command {
        let mut shell = Command::new("sh");
        let script = format!(r#"ulimit -n {descriptors} && exec "$0" "$@""#);
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_mcp-gateway")]);
        shell
    }

    /// Starts it before `targets`, which are called `a`, `b` and so on; `more` is configuration besides. `None`, said
    /// aloud, where glommio can't run.
    pub(crate) fn start(
        mut command: Command,
        runtime: Runtime,
        targets: &[Target],
        more: &str,
    ) -> Option<Self> {
        // However busy the machine is, nobody is left out.
        let patient = "timeouts: {initialize: 60s, gather: 60s}";
        let mut text = format!("sessionKey: {}\n{patient}\n{more}targets:\n", "5a".repeat(32));
        for (name, target) in ('a'..).zip(targets) {
            let Target { address, protocol, .. } = target;
            text += &format!("  {name}: {{url: 'http://{address}/mcp', protocol: {protocol}}}\n");
        }
        let file = Configuration::new(&text);
        command.args(["--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--log-format=json", "--workers=1"]);
        command.arg(format!("--runtime={runtime:?}").to_lowercase()).arg("--config").arg(&file.0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, log) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut said = Vec::new();
        while let Ok(line) = log.recv_timeout(PATIENCE) {
            let url = line.split_once(r#""message":"serving","url":"http://"#);
            if let Some((address, _)) = url.and_then(|(_, rest)| rest.split_once("/mcp")) {
                return Some(Self { address: address.parse().unwrap(), child, _log: log });
            }
            said.push(line);
        }
        let code = child.wait().unwrap().code();
        assert!(runtime == Runtime::Glommio && code == Some(UNUSABLE), "left with {code:?}: {said:#?}");
        without_io_uring(&said);
        None
    }

    /// Tells it to end, as an operator does.
    pub(crate) fn terminate(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// Waits until it has ended well.
    pub(crate) fn wait(&mut self) {
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }

    /// The most memory it ever had in use, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }

    /// Its CPU time so far, in clock ticks of 10 ms.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = self.proc("stat");
        // The name, in parentheses, may hold anything; utime and stime are the 12th and 13th after it (proc(5)).
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// What its descriptors are: number, and what it leads to.
    pub(crate) fn descriptors(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let number = |entry: io::Result<fs::DirEntry>| entry.unwrap();
        let leads = |entry: fs::DirEntry| {
            let link = fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().into_string().unwrap(), link.display().to_string()))
        };
        entries.map(number).filter_map(leads).collect()
    }

    /// The flags of a descriptor, as open(2) has them.
    pub(crate) fn flags(&self, descriptor: &str) -> u32 {
        let text = self.proc(&format!("fdinfo/{descriptor}"));
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        u32::from_str_radix(flags.trim(), 8).unwrap()
    }

    /// Waits until its descriptors are as they should be.
    pub(crate) fn wait_until(&self, good: impl Fn(&[(String, String)]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.descriptors();
            if good(&now) {
                return;
            }
            assert!(Instant::now() < deadline, "{now:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Gone already when it was stopped.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A configuration file that is gone when the gateway has read it.
struct Configuration(PathBuf);

impl Configuration {
    fn new(text: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("differential-{}-{}.yaml", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Configuration {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.0);
    }
}

/// There is nothing to compare without io_uring; where everything must run and the kernel offers it, that's a failure.
/// Written past the harness, which swallows what passing tests print.
fn without_io_uring(said: &[String]) {
    let offered =
        fs::read_to_string("/proc/sys/kernel/io_uring_disabled").is_ok_and(|text| text.trim() == "0");
    let all_must_run = env::var("CI").is_ok_and(|value| value == "true");
    assert!(!(offered && all_must_run), "glommio can't run here though io_uring is on: {said:#?}");
    _ = writeln!(io::stderr(), "\nSKIPPED: glommio can't run here: {said:?}");
}
