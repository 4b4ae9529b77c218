//! The official packages under `target/parts`: where they are, and servers made of them.

use crate::process::{Process, free_port, listens_at};
use std::env;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder that `tests/parts/install` has filled.
pub(crate) struct Parts(PathBuf);

impl Parts {
    /// Where they are, or `None`, said aloud: without them there is nothing to test with.
    pub(crate) fn installed() -> Option<Self> {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target folder");
        let parts = target.join("parts");
        // The last thing that the installation does.
        if parts.join("installed-python2.txt").exists() {
            return Some(Self(parts));
        }
        skip("the real clients and servers are not installed: run tests/run");
        None
    }

    /// `node` with a script of `tests/parts`.
    pub(crate) fn script(&self, path: &str) -> Command {
        let mut node = self.node();
        node.arg(source(path));
        node
    }

    /// The same as a line for a shell.
    pub(crate) fn script_line(&self, path: &str) -> String {
        format!("{} {}", self.0.join("node_modules/.bin/node").display(), source(path).display())
    }

    /// `node` with a file of an installed package.
    pub(crate) fn package(&self, path: &str) -> Command {
        let mut node = self.node();
        node.arg(self.0.join("node_modules").join(path));
        node
    }

    /// `python` of one generation of the SDK with a script of `tests/parts`.
    pub(crate) fn python(&self, sdk: Python, path: &str) -> Command {
        let mut python = Command::new(self.0.join(sdk.folder()).join("bin/python"));
        python.arg(source(path));
        python
    }

    /// The reference server.
    pub(crate) fn everything(&self) -> Server {
        let mut command = self.package("@modelcontextprotocol/server-everything/dist/index.js");
        command.arg("streamableHttp");
        Server::start("everything", command)
    }

    /// The reference server with HTTP+SSE.
    pub(crate) fn everything_sse(&self) -> Server {
        let mut command = self.package("@modelcontextprotocol/server-everything/dist/index.js");
        command.arg("sse");
        Server::start("everything", command).at("/sse")
    }

    /// The reference server as it is in a pod, which has an address of its own. It tells it with its environment, as `HOST`.
    pub(crate) fn everything_at(&self, address: SocketAddr) -> Server {
        let mut command = self.node();
        command.arg("--require").arg(source("pod.cjs")).env("HOST", address.ip().to_string());
        command.arg(self.0.join("node_modules/@modelcontextprotocol/server-everything/dist/index.js"));
        command.arg("streamableHttp");
        Server::start_at("everything", address, command)
    }

    /// The conformance fixture.
    pub(crate) fn fixture(&self, era: Era) -> Server {
        let mut command = self.script("fixture/main.mjs");
        command.env("ERA", era.name());
        Server::start("fixture", command)
    }

    /// The conformance fixture with HTTP+SSE.
    pub(crate) fn fixture_sse(&self) -> Server {
        let mut command = self.script("fixture/main.mjs");
        command.env("TRANSPORT", "sse");
        Server::start("fixture", command).at("/sse")
    }

    /// The conformance fixture with lists in pages of `length`.
    pub(crate) fn fixture_in_pages_of(&self, length: u32, era: Era) -> Server {
        let mut command = self.script("fixture/main.mjs");
        command.env("ERA", era.name()).env("PAGE", length.to_string());
        Server::start("fixture", command)
    }

    /// The reference server, to be started by who wants to talk to it.
    pub(crate) fn everything_stdio(&self) -> Command {
        let mut command = self.package("@modelcontextprotocol/server-everything/dist/index.js");
        command.arg("stdio");
        command
    }

    /// The conformance fixture, to be started by who wants to talk to it.
    pub(crate) fn fixture_stdio(&self) -> Command {
        let mut command = self.script("fixture/main.mjs");
        command.env("TRANSPORT", "stdio").env("PAGE", "7");
        command
    }

    /// A small official server in Python, likewise.
    pub(crate) fn time_stdio(&self) -> Command {
        let mut command = Command::new(self.0.join(Python::V2.folder()).join("bin/python"));
        command.args(["-m", "mcp_server_time"]);
        command
    }

    fn node(&self) -> Command {
        let mut node = Command::new(self.0.join("node_modules/.bin/node"));
        // Programs that keep settings in the user's folder shall not.
        node.env("PARTS", &self.0).env("HOME", env!("CARGO_TARGET_TMPDIR"));
        node
    }
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    /// Sessions, up to 2025-11-25.
    Legacy,
    /// 2026-07-28 alone.
    Modern,
    /// Both at one address.
    Dual,
}

impl Era {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
            Self::Dual => "dual",
        }
    }
}

/// The generations of the Python SDK, each in an environment of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Python {
    V1,
    V2,
}

impl Python {
    fn folder(self) -> &'static str {
        match self {
            Self::V1 => "python1",
            Self::V2 => "python2",
        }
    }
}

/// An MCP server on a port of its own.
pub(crate) struct Server {
    pub(crate) url: String,
    _process: Process,
}

impl Server {
    fn start(name: &str, command: Command) -> Self {
        Self::start_at(name, (Ipv4Addr::LOCALHOST, free_port()).into(), command)
    }

    fn start_at(name: &str, address: SocketAddr, mut command: Command) -> Self {
        command.env("PORT", address.port().to_string());
        let mut process = Process::start(&format!("{name}-{address}"), &mut command);
        process.wait_until(|| listens_at(address)).expect("the server starts");
        Self { url: format!("http://{address}/mcp"), _process: process }
    }

    /// The same with another path.
    fn at(mut self, path: &str) -> Self {
        self.url = self.url.replace("/mcp", path);
        self
    }
}

/// Says that a test did nothing, past the harness, which swallows what passing tests print. Where all must run it is a
/// failure.
pub(crate) fn skip(why: &str) {
    assert!(env::var("CI").as_deref() != Ok("true"), "{why}");
    let _ = writeln!(io::stderr(), "\nSKIPPED: {why}");
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parts").join(path)
}
