//! The way of a request: which rule of the snapshot it meets, and where that leads it.
//!
//! ```text
//! head ─► Port::rule ┬► nothing is served there: 404
//!                    ├► Answer::Redirect: go elsewhere
//!                    ├► no backend: 500
//!                    └► a backend, the session's own or drawn by weight ─► the rule's edits ─► MCP, or pass_through
//! ```
//!
//! It is found once. What an exchange leads to (messages on one stream, the same exchange on another shard) goes the
//! same way.

use crate::conn::Role;
use crate::exchange::{Answer as Progress, ExchangeId, Work};
use crate::http::{Fields, Request, is_of_connection};
use crate::intake::{host_of, stream_id};
use crate::leg::Trouble;
use crate::refusal::{self, Refusal};
use crate::session::Session;
use crate::shard::Shard;
use rand_chacha::rand_core::Rng;
use routing::matching::{Facts, PathMatch, below};
use routing::{
    Answer, Backend, BackendName, Form, HeaderEdits, PathEdit, Redirect, Rule, Share, Target, TargetId,
};
use std::net::SocketAddr;
use std::sync::Arc;

/// Where an exchange goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Way {
    /// The rule it met; none where no rule was asked: on the way of an attached client.
    pub(crate) rule: Option<Arc<Rule>>,
    /// Who serves it: what it opens, lists or names is this backend's and no other's.
    pub(crate) backend: BackendName,
    pub(crate) transport: Transport,
}

/// Which of MCP's transports over HTTP a path means.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Transport {
    /// 2025-03-26 and later.
    #[default]
    Streamable,
    /// 2024-11-05, HTTP+SSE: a stream, and where to POST to it.
    Sse,
}

/// What a rule makes of a request.
pub(crate) enum Next {
    /// It is to be served.
    Serve,
    /// It is a plain HTTP service's.
    Pass(Arc<Backend>),
    /// Its client is to ask elsewhere: the status, and where.
    Redirect(u16, String),
}

/// The matched rule, as far as the request's head decides.
struct Met {
    rule: Arc<Rule>,
    /// No path of MCP's: which one it is matters only if the backend speaks MCP.
    transport: Option<Transport>,
    redirect: Option<(u16, String)>,
}

impl Way {
    /// To a backend, by no rule.
    pub(crate) fn to(backend: BackendName) -> Self {
        Self { backend, ..Self::default() }
    }

    /// What becomes of an answer's header fields.
    pub(crate) fn answer_edits(&self) -> Option<&HeaderEdits> {
        let rule = self.rule.as_ref().filter(|rule| matches!(rule.answer, Answer::Backends(_)))?;
        let edits = &rule.response_headers;
        (!edits.is_empty()).then_some(edits)
    }
}

impl Shard {
    /// The backend of that name as the snapshot in force has it; one without targets when it is gone.
    pub(crate) fn backend(&self, name: &BackendName) -> &Backend {
        self.routes.backend(name).map_or(&self.gone, |backend| backend)
    }

    /// The backend that serves an exchange.
    pub(crate) fn backend_of(&self, id: ExchangeId) -> &Backend {
        self.exchange(id).map_or(&self.gone, |exchange| self.backend(&exchange.way.backend))
    }

    /// Whether a target is the only one of its backend, so that nothing of it is renamed.
    pub(crate) fn is_alone(&self, target: &TargetId) -> bool {
        self.backend(&target.backend).single().is_some_and(|single| single.id == *target)
    }

    /// The backend of a client that no rule was asked about: the one without a name, or the only one.
    pub(crate) fn only_backend(&self) -> BackendName {
        let mut names = self.routes.backends().keys();
        match (names.next(), names.next()) {
            (Some(only), None) => only.clone(),
            _ => BackendName::default(),
        }
    }

    /// Finds the way of an exchange from its head.
    ///
    /// # Errors
    /// When it leads nowhere.
    pub(crate) fn find_way(&mut self, id: ExchangeId) -> Result<Next, Refusal> {
        let Met { rule, transport, redirect } = self.meet(id)?;
        // Also where it is refused from now on, for the log.
        if let Some(exchange) = self.exchange_mut(id) {
            exchange.way.rule = Some(Arc::clone(&rule));
        }
        if let Some((status, location)) = redirect {
            return Ok(Next::Redirect(status, location));
        }
        let backend = self.choose(id, &rule)?;
        let Some(exchange) = self.exchange_mut(id) else { return Ok(Next::Serve) };
        exchange.way.backend = backend.name().clone();
        if backend.form() == Form::Mcp {
            exchange.way.transport = transport.ok_or_else(nothing_here)?;
        }
        if !rule.request_headers.is_empty() {
            let plain = backend.form() == Form::Http;
            let may = |name: &str| if plain { !is_of_connection(name) } else { !is_own(name) };
            exchange.head.fields.edit(&rule.request_headers, may);
        }
        if let Some(host) = &rule.rewrite.host {
            exchange.head.fields.set("host", host);
        }
        if rule.request_timeout.is_some() {
            self.limit_exchange(id);
        }
        Ok(if backend.form() == Form::Http { Next::Pass(backend) } else { Next::Serve })
    }

    /// From now on an exchange has the time that its rule gives it.
    pub(crate) fn limit_exchange(&mut self, id: ExchangeId) {
        let now = self.now;
        let Some(exchange) = self.exchange_mut(id) else { return };
        let time = exchange.way.rule.as_ref().and_then(|rule| rule.request_timeout);
        exchange.limit = time.map(|time| now + time);
        if time.is_some() {
            self.watch(id.conn);
        }
    }

    /// The time of an exchange is over, and its answer has not begun: it is answered as if its targets had failed.
    pub(crate) fn out_of_time(&mut self, id: ExchangeId) {
        self.gather_due(id);
        let Some(exchange) = self.exchange(id) else { return };
        let legs = exchange.parts.iter().filter_map(|part| match part.work {
            Work::Relay { leg, .. } | Work::Pass { leg, .. } => Some(leg),
            _ => None,
        });
        for leg in legs.collect::<Vec<_>>() {
            self.break_off(leg, Trouble::Late("answer"));
        }
        if self.exchange(id).is_some_and(|exchange| exchange.answer == Progress::Open) {
            self.refuse(id, &unserved(504, "it took too long to answer"));
        }
    }

    /// Takes a request that stands for itself to the backend that something it brings is of, if its rule leads there.
    pub(crate) fn turn_to(&mut self, id: ExchangeId, backend: &BackendName) -> bool {
        let Some(exchange) = self.exchange_mut(id) else { return false };
        if exchange.way.backend == *backend {
            return true;
        }
        let leads = exchange.way.rule.as_ref().is_some_and(|rule| rule.leads_to(backend).is_some());
        let turns = leads && exchange.session.is_none();
        if turns {
            exchange.way.backend = backend.clone();
        }
        turns
    }

    /// The rule that a request meets.
    fn meet(&self, id: ExchangeId) -> Result<Met, Refusal> {
        let Some(Role::Client(client)) = self.conns.get(id.conn).map(|conn| &conn.role) else {
            return Err(nothing_here());
        };
        let (Some(at), Some(exchange)) = (client.at, &client.exchange) else { return Err(nothing_here()) };
        let head = &exchange.head;
        let path = head.path();
        let port = self.routes.port(&at).ok_or_else(nothing_here)?;
        let facts = Facts {
            host: if port.is_by_host() { head.authority() } else { "" },
            path,
            query: head.query().unwrap_or_default(),
            method: head.method.as_str(),
            header: |name: &str| head.fields.text(name),
        };
        let entry = port.rule(&facts).ok_or_else(nothing_here)?;
        let redirect = match &entry.rule.answer {
            Answer::Redirect(redirect) => Some((redirect.status, location(redirect, head, at))),
            Answer::Backends(_) | Answer::Unsupported(_) => None,
        };
        let transport = transport(&entry.on.path, entry.rule.rewrite.path.as_ref(), path);
        Ok(Met { rule: Arc::clone(&entry.rule), transport, redirect })
    }

    /// Which of a rule's backends serves an exchange: that of its session, whatever the weights are now, or one that is
    /// drawn. Where there is one, nothing is looked at; a session of another is not found there.
    fn choose(&mut self, id: ExchangeId, rule: &Rule) -> Result<Arc<Backend>, Refusal> {
        let chosen = match &rule.answer {
            Answer::Backends(shares) if let [Share { weight: 1.., to }] = shares.as_slice() => {
                to.as_ref().map_err(AsRef::as_ref)
            }
            _ => match self.bound_to(id) {
                Some(own) => return rule.leads_to(&own).map(Arc::clone).ok_or_else(Refusal::session_unknown),
                None => rule.backend(self.rng.next_u64()),
            },
        };
        chosen.map(Arc::clone).map_err(|reason| unserved(500, reason))
    }

    /// The backend of the session, or of the stream, that a request names.
    fn bound_to(&self, id: ExchangeId) -> Option<BackendName> {
        let Role::Client(client) = &self.conns.get(id.conn)?.role else { return None };
        let exchange = client.exchange.as_ref()?;
        let Some(sealed) = exchange.head.fields.first("mcp-session-id") else {
            return self.backend_of_stream(stream_id(&exchange.head)?);
        };
        let known = client.memo.as_ref().filter(|(text, _)| text == sealed).map(|(_, session)| *session);
        match known.and_then(|session| self.sessions.get(session)) {
            Some(session) => Some(session.backend.clone()),
            None => Session::backend_of(&self.config.keys, sealed),
        }
    }
}

/// Fields that are between a client, the gateway and an MCP server: no rule has a say in them. The host has a filter of
/// its own.
fn is_own(name: &str) -> bool {
    name.starts_with("mcp-") || matches!(name, "host" | "accept" | "content-type" | "last-event-id" | "via")
}

/// The fields of a client's request that reach an MCP server: those it wants, and those that a rule adds.
pub(crate) fn passed<'a>(
    fields: &'a Fields,
    target: &'a Target,
) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    let wanted = target.forward.fields.iter().filter_map(|name| Some((name.as_str(), fields.sent(name)?)));
    wanted.chain(fields.given().filter(|(name, _)| *name != "host"))
}

/// The transport that a path means; none where it is no path of MCP's.
fn transport(on: &PathMatch, edit: Option<&PathEdit>, path: &str) -> Option<Transport> {
    let by_segment = |path: &str| match path.trim_end_matches('/').rsplit('/').next() {
        Some("sse") => Transport::Sse,
        _ => Transport::Streamable,
    };
    let PathMatch::Prefix(prefix) = on else {
        return Some(match edit {
            Some(edit) => by_segment(&edit.apply(path)),
            None => by_segment(path),
        });
    };
    if let Some(PathEdit::Full(full)) = edit {
        return Some(by_segment(full));
    }
    match (below(prefix, path)?.trim_end_matches('/'), edit) {
        ("/mcp", _) => Some(Transport::Streamable),
        ("/sse", _) => Some(Transport::Sse),
        ("", Some(PathEdit::Prefix { by, .. })) => Some(by_segment(by)),
        ("", _) if !prefix.trim_end_matches('/').is_empty() => Some(Transport::Streamable),
        _ => None,
    }
}

/// Where a redirected client is to ask (Gateway API v1, HTTPRequestRedirectFilter): what the filter does not name stays
/// as the client asked, but for the port, which is the one of the scheme it names, or else the listener's.
fn location(redirect: &Redirect, head: &Request, at: SocketAddr) -> String {
    let path = redirect.path.as_ref().map_or_else(|| head.path().to_owned(), |edit| edit.apply(head.path()));
    let query = head.query().map(|query| format!("?{query}")).unwrap_or_default();
    let Some(host) =
        redirect.host.as_deref().or_else(|| Some(host_of(head.authority())).filter(|host| !host.is_empty()))
    else {
        // An HTTP/1.0 client that names no host knows where it asked.
        return format!("{path}{query}");
    };
    let scheme = redirect.scheme.as_deref().unwrap_or("http");
    let usual = if scheme == "https" { 443 } else { 80 };
    let unsaid = if redirect.scheme.is_some() { usual } else { at.port() };
    let port = Some(redirect.port.unwrap_or(unsaid)).filter(|port| *port != usual);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}{path}{query}")
}

fn nothing_here() -> Refusal {
    Refusal::http(404, "nothing is served at this path")
}

fn unserved(status: u16, reason: &str) -> Refusal {
    Refusal { code: refusal::INTERNAL_ERROR, message: reason.to_owned().into(), ..Refusal::http(status, "") }
}
