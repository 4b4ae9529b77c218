//! The configuration: a file and flags in, [`Settings`] or a list of [`Problem`]s out.
//!
//! ```text
//! text ─ tree ─► keys with lines ─ report ─► typed values ─► Settings ◄─ arguments (flags win)
//!                                    └─────► problems, notes
//! ```

mod environment;
mod manifests;
mod program;
mod report;
mod secret;
mod servers;
mod tree;
mod units;

pub(crate) use report::Problem;
pub(crate) use servers::Server;
pub(crate) use units::show_duration;

use k8s_adapter::objects::Objects;
use mcp_proto::{AccessLog, Limits, Timeouts};
use report::{Entry, Report};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tree::Value;

/// Everything an operator can set, with the defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Where clients connect.
    pub(crate) listen: SocketAddr,
    /// Where health and metrics are served, if at all.
    pub(crate) admin: Option<SocketAddr>,
    /// Which frontend pumps the bytes.
    pub(crate) runtime: Runtime,
    /// Worker threads; `None` is one per core.
    pub(crate) workers: Option<u16>,
    /// Which requests are logged.
    pub(crate) access_log: AccessLog,
    /// Host names besides loopback ones.
    pub(crate) allowed_hosts: Vec<String>,
    /// Browser origins besides loopback ones.
    pub(crate) allowed_origins: Vec<String>,
    /// Newest first; none is a random one.
    pub(crate) session_keys: Vec<[u8; 32]>,
    /// Bounds.
    pub(crate) limits: Limits,
    /// Deadlines on the client side.
    pub(crate) timeouts: Timeouts,
    /// For targets that set none of their own.
    pub(crate) target_timeouts: routing::Timeouts,
    /// How long calls under way may take once the gateway was told to stop.
    pub(crate) shutdown: Duration,
    /// What stands behind the gateway.
    pub(crate) servers: Vec<Server>,
    /// Kubernetes objects that say so instead.
    pub(crate) manifests: Option<Arc<Objects>>,
}

/// Which frontend to use.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Runtime {
    /// The standard one
    Tokio,
    /// io_uring, one executor per core
    Glommio,
    /// glommio where the machine allows it, else tokio
    Auto,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 8080).into(),
            admin: Some((Ipv4Addr::LOCALHOST, 9901).into()),
            runtime: Runtime::Tokio,
            workers: None,
            access_log: AccessLog::default(),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            session_keys: Vec::new(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            target_timeouts: routing::Timeouts::default(),
            shutdown: Duration::from_secs(10),
            servers: Vec::new(),
            manifests: None,
        }
    }
}

impl Settings {
    /// The keys that differ from `newer` and that only a restart puts in force.
    pub(crate) fn fixed_keys_changed(&self, newer: &Self) -> Vec<&'static str> {
        [
            ("listen", self.listen != newer.listen),
            ("admin", self.admin != newer.admin),
            ("runtime", self.runtime != newer.runtime),
            ("workers", self.workers != newer.workers),
            ("accessLog", self.access_log != newer.access_log),
            ("allowedHosts", self.allowed_hosts != newer.allowed_hosts),
            ("allowedOrigins", self.allowed_origins != newer.allowed_origins),
            ("sessionKey", self.session_keys != newer.session_keys),
            ("limits", self.limits != newer.limits),
            ("timeouts", self.timeouts != newer.timeouts),
        ]
        .into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
        .collect()
    }
}

/// The values of `accessLog`.
pub(crate) const ACCESS_LOG: &[(&str, AccessLog)] =
    &[("off", AccessLog::Off), ("errors", AccessLog::Errors), ("all", AccessLog::All)];
const RUNTIMES: &[(&str, Runtime)] =
    &[("tokio", Runtime::Tokio), ("glommio", Runtime::Glommio), ("auto", Runtime::Auto)];
const KEYS: &[&str] = &[
    "mcpServers",
    "targets",
    "listen",
    "admin",
    "runtime",
    "workers",
    "accessLog",
    "allowedHosts",
    "allowedOrigins",
    "sessionKey",
    "sessionKeyFile",
    "limits",
    "timeouts",
];

/// Settings and what was said about them.
pub(crate) type Read = Result<(Settings, Vec<String>), Vec<Problem>>;

/// What the file at `path`, or the folder of manifests there, says.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn load(path: &Path) -> Read {
    if path.is_dir() {
        return manifests::read_folder(path);
    }
    let text = read_text(path)?;
    match manifests::is_one(&text) {
        true => manifests::read(&[(path.display().to_string(), text)]),
        false => read_settings(path, &text),
    }
}

/// The settings in the file at `path`.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn read_file(path: &Path) -> Read {
    read_settings(path, &read_text(path)?)
}

fn read_text(path: &Path) -> Result<String, Vec<Problem>> {
    std::fs::read_to_string(path).map_err(|error| vec![Problem::unreadable(path, &error)])
}

/// The bytes of the file at `path`, or of all manifests in the folder there with their names.
///
/// # Errors
/// When one can't be read.
pub(crate) fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    if path.is_dir() { manifests::bytes(path) } else { std::fs::read(path) }
}

fn read_settings(path: &Path, text: &str) -> Read {
    read(&path.display().to_string(), text, path.parent(), |name| std::env::var(name).ok())
}

/// The settings in `text`, which came from `source` in `folder`.
fn read(source: &str, text: &str, folder: Option<&Path>, environment: fn(&str) -> Option<String>) -> Read {
    let tree = tree::parse(text).map_err(|error| {
        vec![Problem {
            source: source.to_owned(),
            line: Some(error.line),
            key: String::new(),
            message: error.message,
        }]
    })?;
    let mut report = Report::new(source.to_owned(), environment);
    let mut settings = Settings::default();
    let (mut servers, mut targets) = (None, None);
    for entry in report.top(&tree) {
        match entry.key {
            "mcpServers" => servers = Some(entry),
            "targets" => targets = Some(entry),
            "timeouts" => read_timeouts(&mut report, &entry, &mut settings),
            "limits" => read_limits(&mut report, &entry, &mut settings.limits),
            "sessionKeyFile" => read_key_file(&mut report, &entry, folder, &mut settings.session_keys),
            _ => read_key(&mut report, &entry, &mut settings),
        }
    }
    settings.servers =
        servers::read(&mut report, servers.as_ref(), targets.as_ref(), settings.target_timeouts);
    if report.problems.is_empty() { Ok((settings, report.notes)) } else { Err(report.problems) }
}

fn read_key(report: &mut Report, entry: &Entry<'_>, settings: &mut Settings) {
    match entry.key {
        "listen" => set(&mut settings.listen, address(report, entry)),
        "admin" => match &entry.node.value {
            Value::Text(off) if off == "off" => settings.admin = None,
            _ => set(&mut settings.admin, address(report, entry).map(Some)),
        },
        "runtime" => set(&mut settings.runtime, report.choice(entry, RUNTIMES)),
        "workers" => settings.workers = report.count(entry, 1024).and_then(|count| count.try_into().ok()),
        "accessLog" => set(&mut settings.access_log, report.choice(entry, ACCESS_LOG)),
        "allowedHosts" => settings.allowed_hosts = owned(report.texts(entry)),
        "allowedOrigins" => settings.allowed_origins = owned(report.texts(entry)),
        "sessionKey" => read_session_keys(report, entry, &mut settings.session_keys),
        // Editors look for it, to complete keys.
        "$schema" => {}
        _ => report.unknown(entry, KEYS),
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn owned(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(str::to_owned).collect()
}

fn address(report: &mut Report, entry: &Entry<'_>) -> Option<SocketAddr> {
    let address = if let Value::Text(text) = &entry.node.value { text.parse().ok() } else { None };
    if address.is_none() {
        report.expected(entry, "an address and a port such as \"127.0.0.1:8080\" or \"0.0.0.0:8080\"");
    }
    address
}

const SESSION_KEY: &str =
    "expected 32 bytes as 64 hexadecimal digits or as base64; make one with: openssl rand -hex 32";

fn read_session_keys(report: &mut Report, entry: &Entry<'_>, keys: &mut Vec<[u8; 32]>) {
    for text in report.texts(entry) {
        match environment::expand(text, report.environment).map(|text| secret::parse(&text)) {
            Ok(Some(key)) => keys.push(key),
            Ok(None) => report.problem(entry, SESSION_KEY),
            Err(message) => report.problem(entry, message),
        }
    }
}

fn read_key_file(report: &mut Report, entry: &Entry<'_>, folder: Option<&Path>, keys: &mut Vec<[u8; 32]>) {
    let Some(name) = report.text(entry) else { return };
    let path = folder.unwrap_or_else(|| Path::new("")).join(name);
    match read_keys(&path) {
        Ok(found) => keys.extend(found),
        Err(message) => report.problem(entry, format!("{} {message}", path.display())),
    }
}

/// The session keys in the file at `path`, one a line.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_keys(path: &Path) -> Result<Vec<[u8; 32]>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("can't be read: {error}"))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let found: Option<Vec<[u8; 32]>> = lines.map(secret::parse).collect();
    found
        .filter(|found| !found.is_empty())
        .ok_or_else(|| format!("must have in each line a key: {SESSION_KEY}"))
}

fn read_limits(report: &mut Report, limits: &Entry<'_>, into: &mut Limits) {
    for entry in report.entries(limits) {
        let mut fields = limit_fields(into);
        let Some((_, unit, field)) = fields.iter_mut().find(|(key, ..)| *key == entry.key) else {
            let known: Vec<&str> = fields.iter().map(|(key, ..)| *key).collect();
            report.unknown(&entry, &known);
            continue;
        };
        let value = match unit {
            Unit::Bytes => report.size(&entry),
            Unit::Things => report.count(&entry, usize::MAX),
        };
        set(*field, value);
    }
}

/// How the value of a limit is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unit {
    Bytes,
    Things,
}

/// Every limit: its key, its unit, its field.
fn limit_fields(limits: &mut Limits) -> Vec<(&'static str, Unit, &mut usize)> {
    use Unit::{Bytes, Things};
    vec![
        ("head", Bytes, &mut limits.head),
        ("fields", Things, &mut limits.fields),
        ("request", Bytes, &mut limits.request),
        ("message", Bytes, &mut limits.message),
        ("gather", Bytes, &mut limits.gather),
        ("buffer", Bytes, &mut limits.buffer),
        ("depth", Things, &mut limits.depth),
        ("batch", Things, &mut limits.batch),
        ("connections", Things, &mut limits.connections),
        ("targetConnections", Things, &mut limits.target_connections),
        ("targetWaiting", Things, &mut limits.target_waiting),
        ("forwarded", Things, &mut limits.forwarded),
        ("streamCalls", Things, &mut limits.stream_calls),
        ("parked", Things, &mut limits.parked),
        ("parkedBytes", Bytes, &mut limits.parked_bytes),
        ("channels", Things, &mut limits.channels),
        ("sessions", Things, &mut limits.sessions),
        ("session", Bytes, &mut limits.session),
        ("sessionId", Bytes, &mut limits.session_id),
        ("names", Things, &mut limits.names),
        ("catalogue", Bytes, &mut limits.catalogue),
    ]
}

fn read_timeouts(report: &mut Report, timeouts: &Entry<'_>, settings: &mut Settings) {
    for entry in report.entries(timeouts) {
        if servers::timeout(report, &entry, &mut settings.target_timeouts) {
            continue;
        }
        if entry.key == "shutdown" {
            set(&mut settings.shutdown, report.duration(&entry, Duration::ZERO));
            continue;
        }
        let fields = timeout_fields(&mut settings.timeouts);
        let known: Vec<&str> = fields
            .iter()
            .map(|(key, _)| *key)
            .chain(["shutdown"])
            .chain(servers::TIMEOUTS.iter().copied())
            .collect();
        match fields.into_iter().find(|(key, _)| *key == entry.key) {
            Some((_, field)) => set(field, report.duration(&entry, Duration::from_millis(1))),
            None => report.unknown(&entry, &known),
        }
    }
}

/// Every deadline on the client side: its key, its field.
fn timeout_fields(timeouts: &mut Timeouts) -> Vec<(&'static str, &mut Duration)> {
    vec![
        ("head", &mut timeouts.head),
        ("body", &mut timeouts.body),
        ("keepAlive", &mut timeouts.keep_alive),
        ("write", &mut timeouts.write),
        ("initialize", &mut timeouts.initialize),
        ("session", &mut timeouts.session),
        ("sessionLife", &mut timeouts.session_life),
        ("comment", &mut timeouts.comment),
        ("parked", &mut timeouts.parked),
        ("pool", &mut timeouts.pool),
        ("process", &mut timeouts.process),
    ]
}

#[cfg(test)]
mod tests;
