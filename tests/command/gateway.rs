//! A gateway as its users start it, and what it takes to look at it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Far beyond what anything here takes; ends a test that would hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-gateway"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Those that can run here.
pub(crate) fn runtimes() -> Vec<&'static str> {
    let mut runtimes = vec!["tokio"];
    match runtime_glommio::probe() {
        Ok(()) => runtimes.push("glommio"),
        Err(reason) => println!("SKIPPED: on glommio, {reason}"),
    }
    runtimes
}

pub(crate) fn output(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A gateway that serves, on ports the kernel chose.
pub(crate) struct Gateway {
    pub(crate) child: Child,
    pub(crate) log: Receiver<String>,
    pub(crate) endpoint: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) runtime: String,
    /// What it logged before it served.
    pub(crate) preface: Vec<String>,
}

impl Gateway {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut fixed = vec!["--admin=127.0.0.1:0", "--log-format=json"];
        for default in ["--listen=127.0.0.1:0", "--runtime=tokio"] {
            let (flag, _) = default.split_once('=').unwrap();
            if !arguments.iter().any(|argument| argument.starts_with(flag)) {
                fixed.push(default);
            }
        }
        Self::from(command(&[&fixed, arguments].concat()))
    }

    pub(crate) fn from(mut command: Command) -> Self {
        Self::from_command(&mut command)
    }

    pub(crate) fn from_command(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (sender, log) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut gateway = Self {
            child,
            log,
            endpoint: nowhere,
            admin: nowhere,
            runtime: String::new(),
            preface: Vec::new(),
        };
        let line = loop {
            let line = gateway.next_line();
            match line["message"].as_str().unwrap() {
                "serving" => break line,
                message => gateway.preface.push(message.to_owned()),
            }
        };
        let field = |key| line[key].as_str().unwrap().to_owned();
        // One that serves its standard input has neither; one that serves Gateways, where these say.
        if let Some(address) = field("url").strip_prefix("http://") {
            gateway.endpoint = address.strip_suffix("/mcp").unwrap_or(address).parse().unwrap();
        }
        if let Some(admin) = line["admin"].as_str() {
            gateway.admin = admin.parse().unwrap();
        }
        gateway.runtime = field("runtime");
        gateway
    }

    pub(crate) fn next_line(&self) -> serde_json::Value {
        serde_json::from_str(&self.log.recv_timeout(PATIENCE).unwrap()).unwrap()
    }

    /// The next log line with this message.
    pub(crate) fn logged(&self, message: &str) -> serde_json::Value {
        loop {
            let line = self.next_line();
            if line["message"] == message {
                return line;
            }
        }
    }

    pub(crate) fn admin(&self, path: &str) -> (u16, String) {
        get(self.admin, path)
    }

    /// The value of a metric without labels, or with those in `name`.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let (_, metrics) = self.admin("/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{metrics}")).parse().unwrap()
    }

    /// Waits until `find` finds something in what `path` of the admin endpoint says.
    pub(crate) fn until<T>(&self, path: &str, find: impl Fn(u16, &str) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            let (status, text) = self.admin(path);
            if let Some(found) = find(status, &text) {
                return found;
            }
            assert!(Instant::now() < end, "{path} says {status}:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    pub(crate) fn end(self, signal: &str) -> Option<i32> {
        self.signal(signal);
        self.ended()
    }

    pub(crate) fn ended(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Gone already when the test went well.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// A loopback address of this test's own, so that any port on it is free, and a port.
pub(crate) fn own_address() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    let ip = Ipv4Addr::new(127, COUNT.fetch_add(1, Relaxed), high, low.max(1));
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

/// A file that is gone after the test.
pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn new(name: &str, content: &str) -> Self {
        // Tests run side by side, and two of them may think of the same name.
        static COUNT: AtomicU8 = AtomicU8::new(0);
        let (id, count) = (std::process::id(), COUNT.fetch_add(1, Relaxed));
        let file = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{id}-{count}-{name}")));
        file.write(content);
        file
    }

    /// All at once: who reads it meanwhile reads what was there before.
    pub(crate) fn write(&self, content: &str) {
        let own = self.0.with_extension("new");
        std::fs::write(&own, content).unwrap();
        std::fs::rename(&own, &self.0).unwrap();
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}
