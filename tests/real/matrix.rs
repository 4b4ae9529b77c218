//! Every official client before every kind of server, with the gateway between on both runtimes, and without it where
//! they understand each other. Each pair is a cell: the drivers in `tests/parts/clients` and [`crate::rmcp`] run the
//! checks of one table in it.
//!
//! The outcome is a Markdown table, printed and left in the folder for test output: per cell how many checks passed
//! directly, on tokio and on glommio. `README.md` shows it, and the test sees to it that it shows the latest.

#![expect(clippy::indexing_slicing, reason = "JSON gives null for what it doesn't have")]

use crate::gateway::{Gateway, PROGRAM, Runtime};
use crate::parts::{Era, Parts, Python, Server};
use crate::rmcp;
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, thread};

const RUNTIMES: [Runtime; 2] = [Runtime::Tokio, Runtime::Glommio];

/// How many cells of the Rust client are busy at a time.
const AT_ONCE: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Http,
    Sse,
    Stdio,
}

/// The program that drives a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driver {
    TypeScript1,
    TypeScript2,
    Python1,
    Python2,
    Inspector,
    Rmcp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Legacy,
    Auto,
    Modern,
}

/// A row of the matrix.
struct Client {
    name: &'static str,
    driver: Driver,
    mode: Mode,
    reach: Reach,
}

/// How a client comes to a server or to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Http,
    Sse,
    /// It starts mcp-remote, which goes there by HTTP.
    Remote,
    /// It starts the gateway itself.
    Started,
}

const CLIENTS: &[Client] = &[
    Client { name: "TypeScript 1", driver: Driver::TypeScript1, mode: Mode::Legacy, reach: Reach::Http },
    Client {
        name: "TypeScript 2 legacy",
        driver: Driver::TypeScript2,
        mode: Mode::Legacy,
        reach: Reach::Http,
    },
    Client { name: "TypeScript 2 auto", driver: Driver::TypeScript2, mode: Mode::Auto, reach: Reach::Http },
    Client {
        name: "TypeScript 2 modern",
        driver: Driver::TypeScript2,
        mode: Mode::Modern,
        reach: Reach::Http,
    },
    Client { name: "Python 1", driver: Driver::Python1, mode: Mode::Legacy, reach: Reach::Http },
    Client { name: "Python 2 legacy", driver: Driver::Python2, mode: Mode::Legacy, reach: Reach::Http },
    Client { name: "Python 2 auto", driver: Driver::Python2, mode: Mode::Auto, reach: Reach::Http },
    Client { name: "Python 2 modern", driver: Driver::Python2, mode: Mode::Modern, reach: Reach::Http },
    Client { name: "Rust legacy", driver: Driver::Rmcp, mode: Mode::Legacy, reach: Reach::Http },
    Client { name: "Rust modern", driver: Driver::Rmcp, mode: Mode::Modern, reach: Reach::Http },
    Client { name: "Inspector legacy", driver: Driver::Inspector, mode: Mode::Legacy, reach: Reach::Http },
    Client { name: "Inspector modern", driver: Driver::Inspector, mode: Mode::Modern, reach: Reach::Http },
    Client { name: "TypeScript 1 SSE", driver: Driver::TypeScript1, mode: Mode::Legacy, reach: Reach::Sse },
    Client { name: "Python 1 SSE", driver: Driver::Python1, mode: Mode::Legacy, reach: Reach::Sse },
    Client { name: "Python 2 SSE", driver: Driver::Python2, mode: Mode::Legacy, reach: Reach::Sse },
    Client { name: "mcp-remote", driver: Driver::TypeScript1, mode: Mode::Legacy, reach: Reach::Remote },
    Client {
        name: "TypeScript 1 stdio",
        driver: Driver::TypeScript1,
        mode: Mode::Legacy,
        reach: Reach::Started,
    },
    Client {
        name: "TypeScript 2 stdio",
        driver: Driver::TypeScript2,
        mode: Mode::Modern,
        reach: Reach::Started,
    },
    Client { name: "Python 2 stdio", driver: Driver::Python2, mode: Mode::Auto, reach: Reach::Started },
];

/// A column of the matrix.
struct Target {
    name: &'static str,
    table: &'static str,
    era: Era,
    transport: Transport,
    /// Its entry in the gateway's file.
    entry: Value,
    /// A process without sessions is shared, and says of no log line whose it is: every client gets a gateway, and so a
    /// process, of its own, as it has directly.
    alone: bool,
    _server: Option<Server>,
}

impl Target {
    fn all(parts: &Parts) -> Vec<Self> {
        let http = |name, table, era, server| Self::at(name, table, era, Transport::Http, server);
        vec![
            http("everything", "everything", Era::Legacy, parts.everything()),
            Self::at("everything SSE", "everything", Era::Legacy, Transport::Sse, parts.everything_sse()),
            Self::started("everything stdio", "everything", Era::Legacy, parts.everything_stdio()),
            // In pages, so that lists take more than one request.
            http("fixture modern", "fixture", Era::Modern, parts.fixture_in_pages_of(7, Era::Modern)),
            http("fixture legacy", "fixture", Era::Legacy, parts.fixture_in_pages_of(7, Era::Legacy)),
            http("fixture dual", "fixture", Era::Dual, parts.fixture_in_pages_of(7, Era::Dual)),
            Self::at("fixture SSE", "fixture", Era::Legacy, Transport::Sse, parts.fixture_sse()),
            Self {
                alone: true,
                ..Self::started("fixture stdio", "fixture", Era::Dual, parts.fixture_stdio())
            },
            Self::started("time stdio", "time", Era::Dual, parts.time_stdio()),
        ]
    }

    fn at(name: &'static str, table: &'static str, era: Era, transport: Transport, server: Server) -> Self {
        let entry = json!({ "url": server.url });
        Self { name, table, era, transport, entry, alone: false, _server: Some(server) }
    }

    fn started(name: &'static str, table: &'static str, era: Era, command: Command) -> Self {
        let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
        let env: BTreeMap<_, _> =
            command.get_envs().filter_map(|(name, value)| Some((text(name), text(value?)))).collect();
        let args: Vec<_> = command.get_args().map(text).collect();
        let entry = json!({ "command": text(command.get_program()), "args": args, "env": env });
        Self { name, table, era, transport: Transport::Stdio, entry, alone: false, _server: None }
    }

    fn file(&self) -> PathBuf {
        let path = folder().join(format!("{}.json", self.name.replace(' ', "-")));
        // Nobody shall be left out because the machine is busy.
        let timeouts = json!({ "initialize": "60s", "gather": "60s" });
        let settings = json!({ "admin": "off", "mcpServers": { "a": self.entry }, "timeouts": timeouts });
        fs::write(&path, settings.to_string()).expect("the folder for test output is writable");
        path
    }

    /// Whether this client understands it without the gateway, and how it gets there.
    fn directly(&self, client: &Client, parts: &Parts) -> Option<Value> {
        let understood = match client.mode {
            Mode::Legacy => self.era != Era::Modern,
            Mode::Auto => true,
            Mode::Modern => self.era != Era::Legacy,
        };
        let reached = match (client.reach, self.transport) {
            (Reach::Http, Transport::Http) => json!({ "transport": "http", "url": self.entry["url"] }),
            (Reach::Sse, Transport::Sse) => json!({ "transport": "sse", "url": self.entry["url"] }),
            (Reach::Remote, Transport::Http) => remote(parts, self.entry["url"].as_str()?),
            (Reach::Started, Transport::Stdio) => json!({
                "transport": "stdio",
                "command": self.entry["command"],
                "arguments": self.entry["args"],
                "env": self.entry["env"],
            }),
            _ => return None,
        };
        understood.then_some(reached)
    }

    /// The same through the gateway.
    fn through(&self, client: &Client, parts: &Parts, runtime: Runtime, gateway: &Gateway) -> Value {
        match client.reach {
            Reach::Http => json!({ "transport": "http", "url": gateway.url }),
            Reach::Sse => json!({ "transport": "sse", "url": gateway.url.replace("/mcp", "/sse") }),
            Reach::Remote => remote(parts, &gateway.url),
            Reach::Started => json!({
                "transport": "stdio",
                "command": PROGRAM,
                "arguments": ["stdio", "--config", self.file(), "--runtime", runtime.name()],
            }),
        }
    }
}

fn remote(parts: &Parts, url: &str) -> Value {
    let program = parts.package("mcp-remote/dist/proxy.js");
    let mut arguments: Vec<_> =
        program.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
    arguments.extend([url, "--transport", "http-only", "--allow-http"].map(str::to_owned));
    let env = json!({ "MCP_REMOTE_CONFIG_DIR": folder() });
    json!({ "transport": "stdio", "command": program.get_program().to_string_lossy(), "arguments": arguments, "env": env })
}

#[test]
fn every_client_before_every_server() {
    let Some(parts) = Parts::installed() else { return };
    let targets = Target::all(&parts);
    let mut matrix = Matrix::default();
    let (mut cells, mut gateways) = (Vec::new(), Vec::new());
    for target in &targets {
        for client in CLIENTS {
            if let Some(reached) = target.directly(client, &parts) {
                cells.push(Cell::new(client, target, "direct", reached));
            }
        }
        for runtime in RUNTIMES {
            let each = if target.alone { 1 } else { CLIENTS.len() };
            for clients in CLIENTS.chunks(each) {
                match Gateway::with_file(runtime, &target.file()) {
                    Ok(Some(gateway)) => {
                        for client in clients {
                            let reached = target.through(client, &parts, runtime, &gateway);
                            cells.push(Cell::new(client, target, runtime.name(), reached));
                        }
                        gateways.push(gateway);
                    }
                    Ok(None) => matrix.skipped.push(runtime),
                    Err(why) => {
                        let why = format!("the gateway left with {why}");
                        for client in clients {
                            matrix.fail(client.name, target.name, runtime.name(), &why);
                        }
                    }
                }
            }
        }
    }
    // To look at one row, column or way alone.
    let only = env::var("MATRIX");
    let all = only.is_err();
    if let Ok(only) = only {
        cells.retain(|cell| {
            cell.given["name"].as_str().is_some_and(|name| only.split(',').all(|part| name.contains(part)))
        });
        matrix.cells.clear();
    }
    let mut again = cells.clone();
    for (cell, lines) in run(&parts, cells) {
        matrix.cells.insert(cell, Outcome::read(&lines));
    }
    // Some sixty programs at once on a small machine: who was only starved does well the second time.
    again.retain(|cell| matrix.cells.get(&cell.key).is_some_and(|outcome| !outcome.failed.is_empty()));
    for (cell, lines) in run(&parts, again) {
        println!("once more {cell:?}, after {:?}", matrix.cells.get(&cell));
        matrix.cells.insert(cell, Outcome::read(&lines));
    }
    let table = matrix.table(&targets);
    fs::write(folder().join("matrix.md"), &table).expect("the folder for test output is writable");
    println!("{table}");
    assert!(matrix.failures().is_empty(), "{:#?}\n{table}", matrix.failures());
    if all && matrix.skipped.is_empty() {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let readme = fs::read_to_string(readme).expect("there is a README");
        let file = folder().join("matrix.md");
        assert!(readme.contains(&table), "README.md shows another table than {}", file.display());
    }
}

/// One client before one server, in one way: `direct`, or the runtime that the gateway between them runs on.
#[derive(Clone)]
struct Cell {
    key: Key,
    driver: Driver,
    given: Value,
}

type Key = (&'static str, &'static str, &'static str);

impl Cell {
    fn new(client: &Client, target: &Target, way: &'static str, reached: Value) -> Self {
        let mut given = reached;
        given["name"] = json!(format!("{}/{}/{way}", client.name, target.name));
        given["table"] = json!(target.table);
        given["mode"] = json!(format!("{:?}", client.mode).to_lowercase());
        given["sdk"] = json!(if client.driver == Driver::TypeScript1 { 1 } else { 2 });
        Self { key: (client.name, target.name, way), driver: client.driver, given }
    }
}

/// The lines of each cell. Two programs run at a time; each is busy with several cells.
fn run(parts: &Parts, cells: Vec<Cell>) -> BTreeMap<Key, Vec<String>> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for cell in cells {
        match cell.driver {
            Driver::TypeScript1 | Driver::TypeScript2 | Driver::Rmcp => first.push(cell),
            Driver::Python1 | Driver::Python2 | Driver::Inspector => second.push(cell),
        }
    }
    let share = |cells: Vec<Cell>| {
        let (rust, others): (Vec<_>, Vec<_>) =
            cells.into_iter().partition(|cell| cell.driver == Driver::Rmcp);
        let mut lines = in_rust(rust);
        for program in [Driver::TypeScript1, Driver::Python1, Driver::Python2, Driver::Inspector] {
            // Both generations of the TypeScript SDK live in one program.
            let its = |cell: &&Cell| {
                cell.driver == program || (program, cell.driver) == (Driver::TypeScript1, Driver::TypeScript2)
            };
            let its: Vec<_> = others.iter().filter(its).collect();
            if !its.is_empty() {
                lines.append(&mut by_program(parts, program, &its));
            }
        }
        lines
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| share(second));
        let mut lines = share(first);
        lines.append(&mut other.join().expect("drivers are run to their end"));
        lines
    })
}

fn by_program(parts: &Parts, program: Driver, cells: &[&Cell]) -> BTreeMap<Key, Vec<String>> {
    let mut command = match program {
        Driver::Python1 => parts.python(Python::V1, "clients/matrix.py"),
        Driver::Python2 => parts.python(Python::V2, "clients/matrix.py"),
        Driver::Inspector => parts.script("clients/inspector.mjs"),
        Driver::TypeScript1 | Driver::TypeScript2 | Driver::Rmcp => parts.script("clients/matrix.mjs"),
    };
    let file = folder().join(format!("cells-{program:?}.json"));
    let given: Vec<_> = cells.iter().map(|cell| &cell.given).collect();
    fs::write(&file, json!({ "cells": given }).to_string()).expect("the folder for test output is writable");
    let output = command.arg(&file).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = String::from_utf8_lossy(&output.stdout);
    let mut lines: BTreeMap<_, _> = cells.iter().map(|cell| (cell.key, Vec::new())).collect();
    for (name, line) in printed.lines().filter_map(|line| line.split_once('\t')) {
        let cell = cells.iter().find(|cell| cell.given["name"] == name).expect("drivers know their cells");
        lines.entry(cell.key).or_default().push(line.to_owned());
    }
    fs::write(folder().join(format!("driver-{program:?}.log")), output.stderr)
        .expect("the folder is writable");
    lines
}

fn in_rust(cells: Vec<Cell>) -> BTreeMap<Key, Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let one = |cell: Cell| async move {
        let mode = if cell.given["mode"] == "legacy" { rmcp::Mode::Legacy } else { rmcp::Mode::Discover };
        let text = |key: &str| cell.given[key].as_str().unwrap_or_default();
        (cell.key, rmcp::lines(mode, text("url"), text("table")).await)
    };
    runtime.block_on(futures_util::stream::iter(cells).map(one).buffer_unordered(AT_ONCE).collect())
}

#[derive(Default)]
struct Matrix {
    cells: BTreeMap<Key, Outcome>,
    /// Runtimes that this machine can't run.
    skipped: Vec<Runtime>,
}

/// What came of a cell.
#[derive(Debug, Default)]
struct Outcome {
    /// What the two spoke.
    era: String,
    passed: BTreeSet<String>,
    failed: Vec<String>,
}

impl Outcome {
    fn read(lines: &[String]) -> Self {
        let mut outcome = Self::default();
        for line in lines {
            match line.split_once(' ') {
                Some(("era", era)) => outcome.era = era.to_owned(),
                Some(("ok", check)) => _ = outcome.passed.insert(check.to_owned()),
                Some(("FAIL", why)) => outcome.failed.push(why.to_owned()),
                // A remark.
                _ => {}
            }
        }
        if outcome.passed.is_empty() && outcome.failed.is_empty() {
            outcome.failed.push("nothing was checked".to_owned());
        }
        outcome
    }
}

impl Matrix {
    fn fail(&mut self, client: &'static str, target: &'static str, way: &'static str, why: &str) {
        let outcome = Outcome { failed: vec![why.to_owned()], ..Outcome::default() };
        self.cells.insert((client, target, way), outcome);
    }

    /// What failed, and what passes directly but not through the gateway.
    fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for ((client, target, way), outcome) in &self.cells {
            let cell = format!("{client} / {target} / {way}");
            failures.extend(outcome.failed.iter().map(|why| format!("{cell}: {why}")));
            let direct = self.cells.get(&(*client, *target, "direct"));
            if let Some(direct) =
                direct.filter(|direct| outcome.failed.is_empty() && direct.era == outcome.era)
            {
                let lost = direct.passed.difference(&outcome.passed);
                failures.extend(lost.map(|check| format!("{cell}: {check} passes directly only")));
            }
        }
        failures
    }

    /// Rows of clients, columns of targets; in each cell the passed checks directly, on tokio and on glommio.
    fn table(&self, targets: &[Target]) -> String {
        let mut table = String::from("| client |");
        for target in targets {
            _ = write!(table, " {} |", target.name);
        }
        _ = writeln!(table, "\n| --- |{}", " --- |".repeat(targets.len()));
        for client in CLIENTS {
            _ = write!(table, "| {} |", client.name);
            for target in targets {
                let ways =
                    ["direct", "tokio", "glommio"].map(|way| self.shown(client.name, target.name, way));
                _ = write!(table, " {} |", ways.join(" "));
            }
            table.push('\n');
        }
        table
    }

    fn shown(&self, client: &'static str, target: &'static str, way: &'static str) -> String {
        match self.cells.get(&(client, target, way)) {
            Some(outcome) if outcome.failed.is_empty() => outcome.passed.len().to_string(),
            Some(outcome) => format!("**{} failed**", outcome.failed.len()),
            None => "–".to_owned(),
        }
    }
}

/// Where files of this test go.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("matrix");
    fs::create_dir_all(&folder).expect("the folder for test output is writable");
    folder
}
