//! The gateway as its users start it.

use crate::parts::{Server, skip};
use crate::process::{Process, free_port, listens};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    Tokio,
    Glommio,
}

pub(crate) struct Gateway {
    pub(crate) url: String,
    _process: Process,
}

impl Gateway {
    /// Starts the gateway before these servers, under the names `a`, `b` and so on. `None`, said aloud, if this machine
    /// lacks what the runtime needs.
    pub(crate) fn before(runtime: Runtime, servers: &[&Server]) -> Option<Self> {
        let urls: Vec<_> = servers.iter().map(|server| server.url.as_str()).collect();
        Self::before_urls(runtime, &urls)
    }

    pub(crate) fn before_urls(runtime: Runtime, urls: &[&str]) -> Option<Self> {
        let (port, admin) = (free_port(), free_port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-gateway"));
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--admin", &format!("127.0.0.1:{admin}")]);
        command.args(["--workers", "2", "--runtime", &format!("{runtime:?}").to_lowercase()]);
        for (name, url) in ('a'..).zip(urls) {
            command.args(["--target", &format!("{name}={url}")]);
        }
        let mut process = Process::start(&format!("gateway-{port}"), &mut command);
        match process.wait_until(|| listens(port) && is_ready(admin)) {
            Ok(()) => Some(Self { url: format!("http://127.0.0.1:{port}/mcp"), _process: process }),
            Err(why) if runtime == Runtime::Glommio => {
                without_io_uring(&why);
                None
            }
            Err(why) => panic!("the gateway left with {why}"),
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

fn is_ready(admin: u16) -> bool {
    let answer = || {
        let mut stream = TcpStream::connect(("127.0.0.1", admin))?;
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{admin}\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    };
    answer().is_ok_and(|text| text.starts_with("HTTP/1.1 200"))
}
