//! The gateway as its users start it.

use crate::parts::{Server, skip};
use crate::process::{Process, free_port, listens};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    Tokio,
    Glommio,
}

impl Runtime {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tokio => "tokio",
            Self::Glommio => "glommio",
        }
    }
}

/// The gateway's program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-gateway");

/// Settings that leave nobody out.
const PATIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parts/patient.yaml");

/// With this it leaves where glommio can't run.
const NO_GLOMMIO: &str = "exit status: 78";

pub(crate) struct Gateway {
    pub(crate) url: String,
    _process: Process,
}

impl Gateway {
    /// Starts the gateway before these servers, under the names `a`, `b` and so on. `None`, said aloud, if this machine
    /// lacks what the runtime needs.
    pub(crate) fn before(runtime: Runtime, servers: &[&Server]) -> Option<Self> {
        let urls: Vec<_> = servers.iter().map(|server| server.url.as_str()).collect();
        Self::with_targets(runtime, &["--settings", PATIENT], &urls)
    }

    /// The same before servers of which some may be away.
    pub(crate) fn before_urls(runtime: Runtime, urls: &[&str]) -> Option<Self> {
        Self::with_targets(runtime, &[], urls)
    }

    fn with_targets(runtime: Runtime, flags: &[&str], urls: &[&str]) -> Option<Self> {
        let targets =
            ('a'..).zip(urls).flat_map(|(name, url)| ["--target".to_owned(), format!("{name}={url}")]);
        let arguments = flags.iter().copied().map(str::to_owned).chain(targets);
        Self::start(runtime, arguments).unwrap_or_else(|why| panic!("the gateway left with {why}"))
    }

    /// Starts the gateway with a file. What it says where it doesn't start, or `None`, said aloud, if this machine lacks
    /// what the runtime needs.
    pub(crate) fn with_file(runtime: Runtime, file: &Path) -> Result<Option<Self>, String> {
        Self::start(runtime, ["--config".to_owned(), file.display().to_string()])
    }

    /// Starts the gateway where Kubernetes objects say what it serves, at this address.
    pub(crate) fn of_kubernetes(runtime: Runtime, ip: Ipv4Addr, arguments: &[&str]) -> Option<Self> {
        let admin = SocketAddr::from((ip, 9901));
        let url = format!("http://{ip}:8080/mcp");
        let started = Self::run(runtime, url, admin, arguments, || true);
        started.unwrap_or_else(|why| panic!("the gateway left with {why}"))
    }

    fn start(runtime: Runtime, arguments: impl IntoIterator<Item = String>) -> Result<Option<Self>, String> {
        let (port, admin) = (free_port(), SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
        let listen = ["--listen".to_owned(), format!("127.0.0.1:{port}")];
        let arguments: Vec<_> = listen.into_iter().chain(arguments).collect();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        Self::run(runtime, format!("http://127.0.0.1:{port}/mcp"), admin, &arguments, || listens(port))
    }

    fn run(
        runtime: Runtime,
        url: String,
        admin: SocketAddr,
        arguments: &[&str],
        listens: impl Fn() -> bool,
    ) -> Result<Option<Self>, String> {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).args(["--admin", &admin.to_string()]);
        command.args(["--workers", "2", "--runtime", runtime.name()]);
        let mut process = Process::start(&format!("gateway-{admin}"), &mut command);
        match process.wait_until(|| listens() && is_ready(admin)) {
            Ok(()) => Ok(Some(Self { url, _process: process })),
            Err(why) if runtime == Runtime::Glommio && why.starts_with(NO_GLOMMIO) => {
                without_io_uring(&why);
                Ok(None)
            }
            Err(why) => Err(why),
        }
    }
}

/// glommio needs io_uring. Where the kernel says that it's switched off there is nothing to test, even where all must
/// run.
fn without_io_uring(why: &str) {
    let switched_off =
        fs::read_to_string("/proc/sys/kernel/io_uring_disabled").is_ok_and(|text| text.trim() != "0");
    if switched_off {
        println!("SKIPPED: io_uring is switched off on this machine");
    } else {
        skip(&format!("glommio doesn't run here: the gateway left with {why}"));
    }
}

pub(crate) fn is_ready(admin: SocketAddr) -> bool {
    let answer = || {
        let mut stream = TcpStream::connect(admin)?;
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    };
    answer().is_ok_and(|text| text.starts_with("HTTP/1.1 200"))
}
