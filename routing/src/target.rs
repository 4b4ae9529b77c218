//! One named MCP server behind the gateway: where it is and how it wants to be spoken to.

use crate::{BackendName, Endpoint, TargetId};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The name of a target: an RFC 1035 label (a lower-case letter, then letters, digits and hyphens, at most 63).
///
/// It has no underscore, which makes `target_tool` split at the first one without doubt, and it starts with a
/// letter, which makes `target+scheme://…` a valid URI (RFC 3986, 3.1).
#[derive(Clone, Debug, Eq)]
pub struct TargetName(Arc<str>);

impl Hash for TargetName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq for TargetName {
    fn eq(&self, other: &Self) -> bool {
        // Nearly always a copy of the target's own.
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Ord for TargetName {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for TargetName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The text is no [`TargetName`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InvalidTargetName;

impl fmt::Display for InvalidTargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a target name is 1 to 63 lower-case letters, digits and hyphens, \
             starts with a letter and does not end with a hyphen",
        )
    }
}

impl std::error::Error for InvalidTargetName {}

impl TargetName {
    /// Takes `text` as it stands.
    ///
    /// # Errors
    /// When `text` is no RFC 1035 label in lower case.
    pub fn parse(text: &str) -> Result<Self, InvalidTargetName> {
        let bytes = text.as_bytes();
        let legal = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        match (bytes.first(), bytes.last()) {
            (Some(first), Some(last))
                if bytes.len() <= 63
                    && first.is_ascii_lowercase()
                    && *last != b'-'
                    && bytes.iter().all(legal) =>
            {
                Ok(Self(text.into()))
            }
            _ => Err(InvalidTargetName),
        }
    }

    /// The nearest legal name for a free text such as a key of an `mcpServers` map: lower case, every run of other
    /// characters one hyphen, `t-` before a leading digit, cut at 63. `Brave_Search` becomes `brave-search`.
    ///
    /// # Errors
    /// When no letter or digit is left.
    pub fn derive(text: &str) -> Result<Self, InvalidTargetName> {
        let mut name = String::with_capacity(text.len());
        for c in text.chars() {
            if c.is_ascii_alphanumeric() {
                name.push(c.to_ascii_lowercase());
            } else if !name.is_empty() && !name.ends_with('-') {
                name.push('-');
            }
        }
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            name.insert_str(0, "t-");
        }
        name.truncate(63);
        Self::parse(name.trim_end_matches('-'))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long one phase of a request to a target may take. There is no total: a stream that is alive may go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// To open a TCP connection.
    pub connect: Duration,
    /// From the request's last byte to the answer's first.
    pub first_byte: Duration,
    /// Between two bytes of an answer that has begun. Event streams are exempt: they may be silent for hours.
    pub idle: Duration,
    /// For its part in something that is asked of all targets: `initialize`, lists, notifications.
    pub gather: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(300),
            idle: Duration::from_secs(300),
            gather: Duration::from_secs(5),
        }
    }
}

/// Which header fields of a client's request reach a target. Empty by default: no token passes through.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Forwarding {
    /// Field names in lower case.
    pub fields: Vec<String>,
}

/// What a target speaks, as far as its configuration says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Protocol {
    /// Found out by asking it.
    #[default]
    Auto,
    /// 2026-07-28 or later: no session, every request stands for itself.
    Modern,
    /// A revision with a handshake, 2025-03-26 to 2025-11-25, over Streamable HTTP; over stdio also 2024-11-05.
    Legacy,
    /// 2024-11-05 over HTTP+SSE: one stream for everything it says.
    Sse,
}

/// A target that is a child process: it reads messages from its standard input and writes them to its standard output.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Process {
    /// The program: a path, or a name that is looked for in `PATH`.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, whole: nothing of the gateway's own is added.
    pub env: Vec<(String, String)>,
    /// The folder it starts in; the gateway's own when not given.
    pub cwd: Option<String>,
    /// One process for all client sessions instead of one for each. A process that speaks 2026-07-28 is always shared.
    pub shared: bool,
}

/// One named MCP server and its endpoints.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// What it is called among all targets of a snapshot. Its name is what clients see in front of its tools when there are
    /// several targets; its backend is filled in by that.
    pub id: TargetId,
    /// Where it listens, always resolved. Empty: known but unreachable; calls to it fail at once.
    pub endpoints: Vec<Endpoint>,
    /// The `Host` field it expects (RFC 9110, 7.2).
    pub authority: String,
    /// The path of its MCP endpoint, with query if any.
    pub path: String,
    /// Fields added to every request to it: name and value.
    pub headers: Vec<(String, String)>,
    /// Fields of the client's request that are passed on to it.
    pub forward: Forwarding,
    /// Its deadlines.
    pub timeouts: Timeouts,
    /// What it speaks.
    pub protocol: Protocol,
    /// Set for a target that is a child process; it has no endpoints then.
    pub process: Option<Arc<Process>>,
}

impl Target {
    /// A target at one address, with the address as its authority and default deadlines.
    #[must_use]
    pub fn new(name: TargetName, endpoint: SocketAddr, path: &str) -> Self {
        Self { endpoints: vec![endpoint.into()], ..Self::named(name, &endpoint.to_string(), path) }
    }

    /// A target without endpoints yet, and default deadlines.
    #[must_use]
    pub fn named(name: TargetName, authority: &str, path: &str) -> Self {
        Self {
            id: TargetId::new(BackendName::default(), name),
            endpoints: Vec::new(),
            authority: authority.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            forward: Forwarding::default(),
            timeouts: Timeouts::default(),
            protocol: Protocol::default(),
            process: None,
        }
    }

    /// What it is called in its backend.
    #[must_use]
    pub fn name(&self) -> &TargetName {
        &self.id.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_labels_and_nothing_else() {
        for good in ["a", "time", "mcp-server-3001", "a1"] {
            assert_eq!(TargetName::parse(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(64);
        for bad in ["", "-a", "a-", "A", "a_b", "3001", "a.b", "é", long.as_str()] {
            assert_eq!(TargetName::parse(bad), Err(InvalidTargetName), "{bad}");
        }
    }

    #[test]
    fn derives_a_label_from_what_people_write() {
        for (text, name) in [
            ("Brave_Search", "brave-search"),
            ("MCP DOCKER!", "mcp-docker"),
            ("3001", "t-3001"),
            ("  a  b ", "a-b"),
        ] {
            assert_eq!(TargetName::derive(text).unwrap().as_str(), name);
        }
        assert_eq!(TargetName::derive("___"), Err(InvalidTargetName));
        assert_eq!(TargetName::derive(&"x".repeat(80)).unwrap().as_str().len(), 63);
    }
}
