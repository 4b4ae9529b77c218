//! Which requests a rule is for: host, path, method, header fields, query parameters, and which of several rules wins
//! (Gateway API v1, HTTPRoute).

use regex::Regex;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt;

/// What is known of a request before its body is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a, H> {
    /// The `Host` field, or what stands in its place; a port in it is ignored.
    pub host: &'a str,
    /// The request target's path, as it was sent.
    pub path: &'a str,
    /// What follows the first `?` of the request target.
    pub query: &'a str,
    /// The method, as it was sent.
    pub method: &'a str,
    /// The first field of that name, in lower case.
    pub header: H,
}

/// A host, or hosts.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum HostMatch {
    /// This one.
    Exact(String),
    /// All that end with this, which begins with a dot: `*.example.com` is `.example.com`, and not `example.com`.
    Below(String),
    /// Every one.
    Any,
}

impl HostMatch {
    /// Reads a hostname as Gateway API writes it; empty means every host.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        match text.strip_prefix('*') {
            _ if text.is_empty() || text == "*" => Self::Any,
            Some(suffix) => Self::Below(suffix.to_owned()),
            None => Self::Exact(text),
        }
    }

    /// Whether it covers `host`, a name in lower case without port.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
            Self::Any => true,
        }
    }

    /// What both cover, if anything.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let covers_all = |wide: &Self, narrow: &Self| match (wide, narrow) {
            (Self::Any, _) => true,
            (Self::Below(wide), Self::Below(narrow)) => narrow.ends_with(wide.as_str()),
            (wide, Self::Exact(name)) => wide.covers(name),
            (_, Self::Any | Self::Below(_)) => false,
        };
        match (covers_all(self, other), covers_all(other, self)) {
            (true, _) => Some(other.clone()),
            (_, true) => Some(self.clone()),
            _ => None,
        }
    }

    /// Sorts the most specific first: exact names, then the longest suffix.
    #[must_use]
    pub fn precedence(&self) -> impl Ord + use<> {
        match self {
            Self::Exact(name) => (0, Reverse(name.len())),
            Self::Below(suffix) => (1, Reverse(suffix.len())),
            Self::Any => (2, Reverse(0)),
        }
    }
}

impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(suffix) => write!(f, "*{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// The name in a `Host` field, without port, as [`HostMatch::covers`] wants it.
#[must_use]
pub fn host_name(field: &str) -> Cow<'_, str> {
    let name = match field.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => field.split(':').next().unwrap_or_default(),
    };
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}

/// A regular expression that matches whole texts, in time linear to their length.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles `text`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        // By itself first: what closes the group below would match parts of texts.
        Regex::new(text)
            .and_then(|_| Regex::new(&format!("^(?:{text})$")))
            .map(Self)
            .map_err(|error| error.to_string())
    }

    fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// Which paths.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PathMatch {
    /// This one.
    Exact(String),
    /// This one and all below it, element by element: `/a` is for `/a`, `/a/` and `/a/b`, not for `/ab`.
    Prefix(String),
    /// All that the pattern matches.
    Regex(Pattern),
}

impl PathMatch {
    fn covers(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == path,
            Self::Prefix(prefix) => below(prefix, path).is_some(),
            Self::Regex(pattern) => pattern.matches(path),
        }
    }

    /// Sorts the most specific first. Gateway API leaves the place of patterns open: here, between exact and prefix.
    fn precedence(&self) -> (u8, Reverse<usize>) {
        match self {
            Self::Exact(_) => (0, Reverse(0)),
            Self::Regex(_) => (1, Reverse(0)),
            Self::Prefix(prefix) => (2, Reverse(prefix.trim_end_matches('/').len())),
        }
    }
}

/// What follows `prefix` in `path`, element by element: empty, or with a slash at its start.
#[must_use]
pub fn below<'p>(prefix: &str, path: &'p str) -> Option<&'p str> {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// Which values of a header field or query parameter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ValueMatch {
    /// This one.
    Exact(String),
    /// All that the pattern matches.
    Regex(Pattern),
}

impl ValueMatch {
    fn covers(&self, value: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == value,
            Self::Regex(pattern) => pattern.matches(value),
        }
    }
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Match {
    /// Of the path.
    pub path: PathMatch,
    /// Of the method, if it matters.
    pub method: Option<String>,
    /// Of header fields: name in lower case, and value.
    pub headers: Vec<(String, ValueMatch)>,
    /// Of query parameters: name and value, decoded.
    pub query: Vec<(String, ValueMatch)>,
}

impl Default for Match {
    /// Everything: Gateway API's prefix `/`.
    fn default() -> Self {
        Self { path: PathMatch::Prefix("/".to_owned()), method: None, headers: Vec::new(), query: Vec::new() }
    }
}

impl Match {
    /// Whether the request meets all conditions; its host is looked at elsewhere.
    pub fn covers<'a, H: Fn(&str) -> Option<&'a str>>(&self, facts: &Facts<'_, H>) -> bool {
        let header = |(name, value): &(String, ValueMatch)| {
            (facts.header)(name).is_some_and(|present| value.covers(present))
        };
        let query = |(name, value): &(String, ValueMatch)| {
            parameter(facts.query, name).is_some_and(|present| value.covers(&present))
        };
        self.path.covers(facts.path)
            && self.method.as_deref().is_none_or(|method| method == facts.method)
            && self.headers.iter().all(header)
            && self.query.iter().all(query)
    }

    /// Sorts the most specific first: exact path, longest prefix, method, most header fields, most query parameters.
    /// What is equal keeps the order it is given in (oldest route, then `namespace/name`, then the order of rules).
    #[must_use]
    pub fn precedence(&self) -> impl Ord + use<> {
        let counts = (Reverse(self.headers.len()), Reverse(self.query.len()));
        (self.path.precedence(), self.method.is_none(), counts)
    }
}

/// The first parameter of that name, decoded.
fn parameter<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key) == name).then(|| decoded(value))
    })
}

/// Percent-encoding and `+` undone (WHATWG URL, application/x-www-form-urlencoded); what is no encoding stays.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        rest = after;
        bytes.push(match (byte, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                rest = after.get(2..).unwrap_or_default();
                (high * 16 + low) as u8
            }
            (b'+', ..) => b' ',
            _ => byte,
        });
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}
