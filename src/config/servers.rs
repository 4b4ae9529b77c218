//! The servers of a configuration: the `mcpServers` map as clients write it, and `targets` with the same keys on top.

use super::report::{Entry, Report};
use super::tree::Value;
use axum::http::{HeaderName, HeaderValue, Uri};
use routing::{Forwarding, Protocol, Target, TargetName, Timeouts};
use std::time::Duration;

/// A configured server: a target whose host is not looked up yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Server {
    /// Its key in the file, or its name on the command line.
    pub(crate) written: String,
    /// Everything but the endpoints.
    pub(crate) target: Target,
    /// Host name or address to look up.
    pub(crate) host: String,
    /// Port behind it.
    pub(crate) port: u16,
}

impl Server {
    /// The server at `url`, called `written` by its user.
    ///
    /// # Errors
    /// What is wrong with the name or with the URL.
    pub(crate) fn new(written: &str, url: &str, timeouts: Timeouts) -> Result<Self, String> {
        let name = TargetName::derive(written).map_err(|invalid| invalid.to_string())?;
        let place = Place::parse(url)?;
        Ok(Draft { written: written.to_owned(), ..Draft::new(name, timeouts) }.at(place))
    }
}

/// Keys of a server.
const KEYS: &[&str] =
    &["url", "type", "transport", "headers", "forwardHeaders", "timeouts", "disabled", "enabled"];
/// Keys that some client writes and that mean nothing to a gateway.
const CLIENT_KEYS: &[&str] =
    &["timeout", "description", "autoApprove", "alwaysAllow", "env", "trust", "gallery", "version"];
/// Keys of a server that a client would start as a child process.
const STDIO_KEYS: &[&str] = &["command", "args", "cwd", "envFile"];
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
        let mut draft = Draft { written: entry.key.to_owned(), ..Draft::new(name, timeouts) };
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
                let mut draft = Draft { written: entry.key.to_owned(), ..Draft::new(name, timeouts) };
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
    headers: Vec<(String, String)>,
    forward: Vec<String>,
    timeouts: Timeouts,
    skipped: bool,
    /// Its place was given but is of no use; that was reported.
    refused: bool,
}

impl Draft {
    fn new(name: TargetName, timeouts: Timeouts) -> Self {
        Self {
            written: String::new(),
            name,
            place: None,
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
        if let Some(entry) = entries.iter().find(|entry| entry.key == "command") {
            self.refused = true;
            report.problem(
                entry,
                "a server started as a child process (stdio) is not supported yet; \
                 give the \"url\" of one that speaks Streamable HTTP, or set \"disabled\": true",
            );
        }
        for entry in &entries {
            self.read_key(report, entry);
        }
    }

    fn read_key(&mut self, report: &mut Report, entry: &Entry<'_>) {
        match entry.key {
            "url" => match report.expanded(entry).map(|url| Place::parse(&url)) {
                Some(Ok(place)) => self.place = Some(place),
                Some(Err(message)) => {
                    self.refused = true;
                    report.problem(entry, message);
                }
                None => self.refused = true,
            },
            // With a "command", which is reported already.
            "type" | "transport" if self.refused => {}
            "type" | "transport" => self.refused = !transport(report, entry),
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
            key if STDIO_KEYS.contains(&key) && self.refused => {}
            _ => report.unknown(entry, KEYS),
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
        match self.place.take() {
            _ if self.skipped || self.refused => None,
            Some(place) => Some(self.at(place)),
            None => {
                report.problem(entry, "has no \"url\"");
                None
            }
        }
    }

    fn at(self, place: Place) -> Server {
        Server {
            written: self.written,
            target: Target {
                name: self.name,
                endpoints: Vec::new(),
                authority: place.authority,
                path: place.path,
                headers: self.headers,
                forward: Forwarding { fields: self.forward },
                timeouts: self.timeouts,
                protocol: Protocol::default(),
                process: None,
            },
            host: place.host,
            port: place.port,
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

/// Whether the gateway speaks the transport; says so when not.
fn transport(report: &mut Report, entry: &Entry<'_>) -> bool {
    let message = match &entry.node.value {
        Value::Text(text) => match text.as_str() {
            "http" | "streamable-http" | "streamableHttp" | "streamable_http" => return true,
            "sse" => {
                "the HTTP+SSE transport is not supported yet; give the URL of a Streamable HTTP endpoint"
            }
            "stdio" => "\"stdio\" needs a \"command\"",
            _ => {
                report.expected(entry, "\"http\" or \"streamable-http\"");
                return false;
            }
        },
        _ => {
            report.expected(entry, "\"http\" or \"streamable-http\"");
            return false;
        }
    };
    report.problem(entry, message);
    false
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
