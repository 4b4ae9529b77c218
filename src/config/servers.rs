//! The servers of a configuration: the `mcpServers` map as clients write it, and `targets` with the same keys on top.

use super::program::{self, Program};
use super::report::{Entry, Report};
use super::tree::Value;
use axum::http::{HeaderName, HeaderValue, Uri};
use routing::{Forwarding, Process, Protocol, Target, TargetName, Timeouts};
use std::sync::Arc;
use std::time::Duration;

/// A configured server: a target whose host is not looked up yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Server {
    /// Its key in the file, or its name on the command line.
    pub(crate) written: String,
    /// Everything but the endpoints.
    pub(crate) target: Target,
    /// Host name or address to look up, and the port behind it; none for a program.
    pub(crate) host: Option<(String, u16)>,
}

impl Server {
    /// The server at `url`, called `written` by its user.
    ///
    /// # Errors
    /// What is wrong with the name or with the URL.
    pub(crate) fn new(written: &str, url: &str, timeouts: Timeouts) -> Result<Self, String> {
        let name = TargetName::derive(written).map_err(|invalid| invalid.to_string())?;
        let place = Place::parse(url)?;
        Ok(Draft::new(written, name, timeouts).at(place))
    }
}

/// Keys of a server.
const KEYS: &[&str] =
    &["url", "type", "transport", "protocol", "headers", "forwardHeaders", "timeouts", "disabled", "enabled"];
/// Keys that some client writes and that mean nothing to a gateway.
const CLIENT_KEYS: &[&str] =
    &["timeout", "description", "autoApprove", "alwaysAllow", "trust", "gallery", "version"];
/// The values of `protocol`.
const PROTOCOLS: &[(&str, Protocol)] = &[
    ("auto", Protocol::Auto),
    ("modern", Protocol::Modern),
    ("legacy", Protocol::Legacy),
    ("sse", Protocol::Sse),
];
/// Fields the gateway itself writes.
const OWN_FIELDS: &[&str] = &[
    "accept",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The servers of `mcpServers` and `targets`, in the order of the file.
pub(super) fn read(
    report: &mut Report,
    servers: Option<&Entry<'_>>,
    targets: Option<&Entry<'_>>,
    timeouts: Timeouts,
) -> Vec<Server> {
    let mut drafts: Vec<(Entry<'_>, Draft)> = Vec::new();
    for entry in servers.map(|servers| report.entries(servers)).unwrap_or_default() {
        let Some(name) = name(report, &entry) else { continue };
        if let Some((first, _)) = drafts.iter().find(|(_, draft)| draft.name == name) {
            let message = format!("is the same target \"{name}\" as {:?} in line {}", first.key, first.line);
            report.problem(&entry, message);
            continue;
        }
        let mut draft = Draft::new(entry.key, name, timeouts);
        draft.read(report, &entry);
        drafts.push((entry, draft));
    }
    let from_servers = drafts.len();
    for entry in targets.map(|targets| report.entries(targets)).unwrap_or_default() {
        let Some(name) = name(report, &entry) else { continue };
        let known = drafts.iter().position(|(_, draft)| draft.name == name);
        match known
            .and_then(|index| drafts.get_mut(index).map(|(first, draft)| (index, first.clone(), draft)))
        {
            Some((index, _, draft)) if index < from_servers => draft.read(report, &entry),
            Some((_, first, _)) => {
                let message =
                    format!("is the same target \"{name}\" as {:?} in line {}", first.key, first.line);
                report.problem(&entry, message);
            }
            None => {
                let mut draft = Draft::new(entry.key, name, timeouts);
                draft.read(report, &entry);
                drafts.push((entry, draft));
            }
        }
    }
    drafts.into_iter().filter_map(|(entry, draft)| draft.finish(report, &entry)).collect()
}

fn name(report: &mut Report, entry: &Entry<'_>) -> Option<TargetName> {
    TargetName::derive(entry.key).map_err(|invalid| report.problem(entry, invalid.to_string())).ok()
}

/// A server while it is being read.
struct Draft {
    written: String,
    name: TargetName,
    place: Option<Place>,
    program: Option<Program>,
    /// What `type` says.
    transport: Option<Transport>,
    protocol: Option<Protocol>,
    headers: Vec<(String, String)>,
    forward: Vec<String>,
    timeouts: Timeouts,
    skipped: bool,
    /// What it is was given but is of no use; that was reported.
    refused: bool,
}

/// What `type` and `transport` can say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Transport {
    Http,
    Sse,
    Stdio,
}

impl Draft {
    fn new(written: &str, name: TargetName, timeouts: Timeouts) -> Self {
        Self {
            written: written.to_owned(),
            name,
            place: None,
            program: None,
            transport: None,
            protocol: None,
            headers: Vec::new(),
            forward: Vec::new(),
            timeouts,
            skipped: false,
            refused: false,
        }
    }

    fn read(&mut self, report: &mut Report, server: &Entry<'_>) {
        let entries = report.entries(server);
        // Clients keep what they don't start at present: it may be anything.
        let off = |entry: &Entry<'_>| match entry.key {
            "disabled" => matches!(entry.node.value, Value::Bool(true)),
            "enabled" => matches!(entry.node.value, Value::Bool(false)),
            _ => false,
        };
        if let Some(entry) = entries.iter().find(|entry| off(entry)) {
            self.skipped = true;
            report.note(entry, "this server is left out");
            return;
        }
        if entries.iter().any(|entry| entry.key == "command") {
            self.program.get_or_insert_default();
        }
        for entry in &entries {
            self.read_key(report, entry);
        }
    }

    fn read_key(&mut self, report: &mut Report, entry: &Entry<'_>) {
        match entry.key {
            "url" if self.program.is_some() => {
                self.refused = true;
                report.problem(entry, "a server is at a \"url\" or is started by a \"command\", not both");
            }
            "url" => match report.expanded(entry).map(|url| Place::parse(&url)) {
                Some(Ok(place)) => self.place = Some(place),
                Some(Err(message)) => {
                    self.refused = true;
                    report.problem(entry, message);
                }
                None => self.refused = true,
            },
            "type" | "transport" => match transport(report, entry) {
                Some(Transport::Stdio) if self.program.is_none() => {
                    self.refused = true;
                    report.problem(entry, "\"stdio\" needs a \"command\"");
                }
                Some(Transport::Http | Transport::Sse) if self.program.is_some() => {
                    self.refused = true;
                    report.problem(entry, "a server that is started by a \"command\" speaks \"stdio\"");
                }
                Some(transport) => self.transport = Some(transport),
                None => self.refused = true,
            },
            "protocol" => match report.choice(entry, PROTOCOLS) {
                Some(Protocol::Sse) if self.program.is_some() => {
                    self.refused = true;
                    report.problem(entry, "\"sse\" is spoken at a \"url\" only");
                }
                protocol => self.protocol = protocol,
            },
            "envFile" => {
                self.refused = true;
                report.problem(entry, "files of variables are not read; write them into \"env\"");
            }
            key if program::KEYS.contains(&key) => self.read_program_key(report, entry),
            "headers" | "forwardHeaders" if self.program.is_some() => {
                report.note(entry, "means nothing to a program and is ignored");
            }
            "headers" => {
                for field in report.entries(entry) {
                    self.read_header(report, &field);
                }
            }
            "forwardHeaders" => {
                for field in report.texts(entry) {
                    if let Some(field) = field_name(report, entry, field) {
                        self.forward.push(field);
                    }
                }
            }
            "timeouts" => {
                for entry in report.entries(entry) {
                    if !timeout(report, &entry, &mut self.timeouts) {
                        report.unknown(&entry, TIMEOUTS);
                    }
                }
            }
            "disabled" | "enabled" => _ = report.bool(entry),
            key if CLIENT_KEYS.contains(&key) => {
                report.note(entry, "means nothing to the gateway and is ignored")
            }
            _ => report.unknown(entry, &[KEYS, program::KEYS].concat()),
        }
    }

    fn read_program_key(&mut self, report: &mut Report, entry: &Entry<'_>) {
        match &mut self.program {
            Some(_) if self.place.is_some() => {
                // Said of the "command", once.
                if entry.key == "command" {
                    report
                        .problem(entry, "a server is at a \"url\" or is started by a \"command\", not both");
                }
                self.refused = true;
            }
            Some(program) => self.refused |= !program.read_key(report, entry),
            // Some clients write it for all.
            None if entry.key == "env" => {
                report.note(entry, "means nothing without a \"command\" and is ignored")
            }
            None => report.problem(entry, "is for a server that is started by a \"command\""),
        }
    }

    fn read_header(&mut self, report: &mut Report, entry: &Entry<'_>) {
        let Some(field) = field_name(report, entry, entry.key) else { return };
        let Some(value) = report.expanded(entry) else { return };
        if !HeaderValue::from_str(&value).is_ok_and(|value| value.to_str().is_ok()) {
            report.problem(entry, "a header value is made of visible ASCII characters and spaces");
            return;
        }
        self.headers.retain(|(other, _)| *other != field);
        self.headers.push((field, value.trim().to_owned()));
    }

    fn finish(mut self, report: &mut Report, entry: &Entry<'_>) -> Option<Server> {
        match (self.place.take(), self.program.take()) {
            _ if self.skipped || self.refused => None,
            (Some(place), _) => Some(self.at(place)),
            (None, Some(program)) => Some(self.started_by(program.finish(report.environment))),
            (None, None) => {
                report.problem(entry, "has no \"url\" and no \"command\"");
                None
            }
        }
    }

    fn at(self, place: Place) -> Server {
        let host = Some((place.host, place.port));
        self.server(host, &place.authority, &place.path, None)
    }

    fn started_by(self, process: Arc<Process>) -> Server {
        self.server(None, "", "", Some(process))
    }

    fn server(
        self,
        host: Option<(String, u16)>,
        authority: &str,
        path: &str,
        process: Option<Arc<Process>>,
    ) -> Server {
        let by_transport =
            || if self.transport == Some(Transport::Sse) { Protocol::Sse } else { Protocol::Auto };
        Server {
            written: self.written,
            target: Target {
                headers: self.headers,
                forward: Forwarding { fields: self.forward },
                timeouts: self.timeouts,
                protocol: self.protocol.unwrap_or_else(by_transport),
                process,
                ..Target::named(self.name, authority, path)
            },
            host,
        }
    }
}

/// Keys of a target's deadlines.
pub(super) const TIMEOUTS: &[&str] = &["connect", "firstByte", "idle", "gather"];

/// Sets the deadline `entry` names; `false` when it names none of a target's.
pub(super) fn timeout(report: &mut Report, entry: &Entry<'_>, timeouts: &mut Timeouts) -> bool {
    let field = match entry.key {
        "connect" => &mut timeouts.connect,
        "firstByte" => &mut timeouts.first_byte,
        "idle" => &mut timeouts.idle,
        "gather" => &mut timeouts.gather,
        _ => return false,
    };
    if let Some(duration) = report.duration(entry, Duration::from_millis(1)) {
        *field = duration;
    }
    true
}

/// The transport `entry` names; says so when it names none.
fn transport(report: &mut Report, entry: &Entry<'_>) -> Option<Transport> {
    if let Value::Text(text) = &entry.node.value {
        match text.as_str() {
            "http" | "streamable-http" | "streamableHttp" | "streamable_http" => {
                return Some(Transport::Http);
            }
            "sse" => return Some(Transport::Sse),
            "stdio" => return Some(Transport::Stdio),
            _ => {}
        }
    }
    report.expected(entry, "\"http\", \"streamable-http\", \"sse\" or \"stdio\"");
    None
}

fn field_name(report: &mut Report, entry: &Entry<'_>, field: &str) -> Option<String> {
    let Ok(name) = HeaderName::try_from(field) else {
        report.problem(entry, format!("{field:?} is no header name"));
        return None;
    };
    if OWN_FIELDS.contains(&name.as_str()) {
        report.problem(entry, format!("the gateway writes \"{name}\" itself"));
        return None;
    }
    Some(name.as_str().to_owned())
}

/// What a URL says.
#[derive(Debug, Eq, PartialEq)]
struct Place {
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Place {
    fn parse(url: &str) -> Result<Self, String> {
        let example = "expected a URL such as \"http://127.0.0.1:3001/mcp\"";
        let (scheme, _) = url.split_once("://").ok_or_else(|| format!("{example}, found {url:?}"))?;
        match scheme.to_ascii_lowercase().as_str() {
            "http" => {}
            "https" => return Err("TLS to targets (https://) is not supported yet; use http://".to_owned()),
            _ => return Err(format!("{example}, found {url:?}")),
        }
        let uri: Uri = url.parse().map_err(|error| format!("{example}, found {url:?}: {error}"))?;
        let authority = uri.authority().ok_or_else(|| format!("{example}, found {url:?}"))?;
        if authority.as_str().contains('@') {
            return Err("user and password in a URL are not supported; use \"headers\"".to_owned());
        }
        // `Authority::port` is silent about ports that are too big.
        let port = match authority.as_str().strip_prefix(authority.host()).unwrap_or_default() {
            "" => 80,
            port => port.trim_start_matches(':').parse().map_err(|_| format!("{port:?} is no port"))?,
        };
        if authority.host().is_empty() || port == 0 {
            return Err(format!("{example}, found {url:?}"));
        }
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_to_connect_and_what_to_ask_for() {
        let place = |url| Place::parse(url).unwrap();
        let whole = place("http://tools.example:3001/mcp?a=b#part");
        assert_eq!((whole.host.as_str(), whole.port), ("tools.example", 3001));
        assert_eq!((whole.authority.as_str(), whole.path.as_str()), ("tools.example:3001", "/mcp?a=b"));
        let bare = place("HTTP://tools.example");
        assert_eq!((bare.port, bare.authority.as_str(), bare.path.as_str()), (80, "tools.example", "/"));
        let six = place("http://[::1]:3001/mcp");
        assert_eq!((six.host.as_str(), six.authority.as_str()), ("::1", "[::1]:3001"));
    }

    #[test]
    fn other_urls_are_refused_with_a_reason() {
        for (url, reason) in [
            (
                "127.0.0.1:3001",
                "expected a URL such as \"http://127.0.0.1:3001/mcp\", found \"127.0.0.1:3001\"",
            ),
            ("ftp://a/", "expected a URL such as \"http://127.0.0.1:3001/mcp\", found \"ftp://a/\""),
            ("https://a/", "TLS to targets (https://) is not supported yet; use http://"),
            ("http://me:secret@a/", "user and password in a URL are not supported; use \"headers\""),
            ("http://a:99999/", "\":99999\" is no port"),
            ("http://a:0/", "expected a URL such as \"http://127.0.0.1:3001/mcp\", found \"http://a:0/\""),
        ] {
            assert_eq!(Place::parse(url).unwrap_err(), reason, "{url}");
        }
    }
}
