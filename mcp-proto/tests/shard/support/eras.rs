//! Targets that speak one era strictly, and may change it.

use super::server::{Seen, json_reply, reply};
use super::{Step, Talks, World};
use std::cell::Cell;
use std::rc::Rc;

/// What a target speaks from now on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Speaks {
    /// Revisions with sessions, and nothing else.
    Legacy,
    /// 2026-07-28, and nothing else.
    Modern,
}

/// Whether a request says that it stands for itself.
fn claims(seen: &Seen) -> bool {
    (seen.http.is_empty() || seen.field("mcp-protocol-version") == Some("2026-07-28"))
        && seen.json_if_any()["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
}

/// What a server that knows 2026-07-28 alone refuses, as the official ones do.
fn refused_by_modern(seen: &Seen) -> Option<super::server::Reply> {
    match (seen.http.as_str(), seen.method.as_str()) {
        ("GET" | "DELETE", _) => Some(reply(405, "", "")),
        (_, "initialize") => Some(json_reply(
            400,
            &format!(
                r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32022,"message":"Unsupported protocol version","data":{{"supported":["2026-07-28"],"requested":"2025-11-25"}}}}}}"#,
                seen.id.as_deref().unwrap_or("null")
            ),
        )),
        _ if seen.id.is_some() && !claims(seen) => {
            Some(json_reply(400, &seen.error(-32602, "params._meta: required")))
        }
        _ => None,
    }
}

/// What a process says in place of an HTTP response.
fn as_line(step: Step) -> Option<Step> {
    let Step::Send(bytes) = step else { return None };
    let text = String::from_utf8(bytes).unwrap();
    let (_, body) = text.split_once("\r\n\r\n")?;
    (!body.is_empty()).then(|| Step::Send(format!("{body}\n").into()))
}

impl World {
    /// A target speaks this alone, until the cell says otherwise.
    pub(crate) fn speaks(&mut self, name: &str, speaks: Speaks) -> Rc<Cell<Speaks>> {
        let era = Rc::new(Cell::new(speaks));
        let (now, server) = (Rc::clone(&era), self.server(name));
        server.keeps_sessions = speaks == Speaks::Legacy;
        let talks = server.talks;
        let mut before = server.script.take();
        let mut script = move |seen: &Seen| {
            if let Some(reply) = before.as_mut().and_then(|before| before(seen)) {
                return Some(reply);
            }
            match now.get() {
                Speaks::Modern if seen.method == "server/discover" && claims(seen) => Some(seen.result(
                    r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"prompts":{},"resources":{}},"ttlMs":0,"cacheScope":"public"}"#,
                )),
                Speaks::Modern => refused_by_modern(seen),
                Speaks::Legacy if seen.field("mcp-protocol-version") == Some("2026-07-28") => {
                    Some(json_reply(400, &seen.error(-32000, "Bad Request: Unsupported protocol version")))
                }
                Speaks::Legacy if seen.method == "server/discover" => Some(json_reply(200, &seen.error(-32601, "no"))),
                Speaks::Legacy => None,
            }
        };
        server.script = Some(Box::new(move |seen| match (talks, script(seen)) {
            (Talks::Lines, Some(steps)) => Some(steps.into_iter().filter_map(as_line).collect()),
            (_, steps) => steps,
        }));
        era
    }

    /// It is replaced by one that speaks the other era and knows nothing of the past.
    pub(crate) fn turn(&mut self, name: &str, era: &Cell<Speaks>, speaks: Speaks) {
        era.set(speaks);
        let server = self.server(name);
        server.keeps_sessions = speaks == Speaks::Legacy;
        server.sessions.clear();
    }

    /// How many tools a target has run.
    pub(crate) fn effects(&mut self, name: &str) -> usize {
        self.server(name).ran.len()
    }
}
