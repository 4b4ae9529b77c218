//! What becomes of a request that matches: headers and path are changed, and it goes to a backend, elsewhere, or nowhere
//! (Gateway API v1, HTTPRoute rules and filters).

use crate::Backend;
use std::sync::Arc;
use std::time::Duration;

/// One rule of a route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Whose rule it is, for the log: `namespace/route/number`.
    pub name: Arc<str>,
    /// Changes to the request's header fields.
    pub request_headers: HeaderEdits,
    /// Changes to the answer's header fields.
    pub response_headers: HeaderEdits,
    /// Changes to the request's target.
    pub rewrite: Rewrite,
    /// From the request's end to the answer's head, retries included; none: the target's own deadlines.
    pub request_timeout: Option<Duration>,
    /// The same for each attempt at a target.
    pub backend_timeout: Option<Duration>,
    /// Who answers.
    pub answer: Answer,
}

impl Rule {
    /// A rule that gives everything to `backend`.
    #[must_use]
    pub fn to(name: &str, backend: Arc<Backend>) -> Self {
        Self {
            name: name.into(),
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            rewrite: Rewrite::default(),
            request_timeout: None,
            backend_timeout: None,
            answer: Answer::Backends(vec![Share { weight: 1, to: Ok(backend) }]),
        }
    }
}

/// Who answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// The gateway, with a redirection.
    Redirect(Redirect),
    /// One of these, drawn by weight. None, or only ones without weight: 500.
    Backends(Vec<Share>),
    /// Nobody: 500 with this reason (a filter that is not supported must not be skipped).
    Unsupported(Arc<str>),
}

/// A backend and how much of the requests it gets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Share {
    /// Its part of the sum of all weights.
    pub weight: u32,
    /// The backend, or why there is none: 500.
    pub to: Result<Arc<Backend>, Arc<str>>,
}

/// Draws by weight, `roll` being any number; `None` if nothing has weight.
#[must_use]
pub fn draw(shares: &[Share], roll: u64) -> Option<&Share> {
    let sum: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
    let mut place = roll.checked_rem(sum)?;
    shares.iter().find(|share| {
        let hit = place < u64::from(share.weight);
        place = place.saturating_sub(u64::from(share.weight));
        hit
    })
}

/// Changes to header fields, done in this order: set, add, remove. Names are in lower case.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HeaderEdits {
    /// In place of all fields of that name.
    pub set: Vec<(String, String)>,
    /// Behind the fields of that name.
    pub add: Vec<(String, String)>,
    /// All fields of that name.
    pub remove: Vec<String>,
}

impl HeaderEdits {
    /// Whether there is nothing to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// Whether fields of that name stay as they are.
    #[must_use]
    pub fn keeps(&self, name: &str) -> bool {
        let is_it = |other: &String| other.eq_ignore_ascii_case(name);
        !self.set.iter().any(|(set, _)| is_it(set)) && !self.remove.iter().any(is_it)
    }

    /// The fields there are in the end because of it.
    pub fn added(&self) -> impl Iterator<Item = (&str, &str)> {
        let stays = |(name, _): &&(String, String)| !self.remove.contains(name);
        let added = self.set.iter().chain(&self.add).filter(stays);
        added.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Changes to where a request goes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rewrite {
    /// In place of the `Host`.
    pub host: Option<String>,
    /// In place of the path.
    pub path: Option<PathEdit>,
}

/// A new path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PathEdit {
    /// This.
    Full(String),
    /// This in place of the prefix that matched; what follows stays.
    Prefix {
        /// The prefix of the match.
        matched: String,
        /// What takes its place.
        by: String,
    },
}

impl PathEdit {
    /// The new path for `path`.
    #[must_use]
    pub fn apply(&self, path: &str) -> String {
        match self {
            Self::Full(full) => full.clone(),
            Self::Prefix { matched, by } => {
                let rest = crate::matching::below(matched, path).unwrap_or(path);
                let joined = format!("{}{rest}", by.trim_end_matches('/'));
                if joined.is_empty() { "/".to_owned() } else { joined }
            }
        }
    }
}

/// Where else to ask. What is not said stays as the client asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host.
    pub host: Option<String>,
    /// The port; not said, it is the scheme's own or, if no scheme is said, the listener's.
    pub port: Option<u16>,
    /// The path.
    pub path: Option<PathEdit>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}
