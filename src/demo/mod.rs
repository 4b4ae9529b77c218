//! The demo: two small MCP servers on loopback sockets, for a gateway that was told nothing else to serve.
//!
//! They speak Streamable HTTP like any other server, with sessions, and the gateway knows no shortcut to them. This
//! file is what every such server needs; [`clock`] and [`notes`] are what makes them different:
//!
//! ```text
//! POST /mcp ─► initialize ─► a session ┐
//! POST /mcp ─► request ────────────────┴─► Offer::answer ─► JSON, or an event stream when it takes time
//! POST /mcp ─► notification ─► 202          DELETE /mcp ─► the session ends          GET /mcp ─► 405
//! ```

mod clock;
mod notes;

use crate::config::Server;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::stream::{BoxStream, StreamExt};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;

/// Revisions the servers speak, oldest first.
const REVISIONS: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];
/// Sessions a server remembers; the oldest ones make room.
const SESSIONS: usize = 1_000;

/// Starts the servers on the present runtime and tells where they are.
///
/// # Errors
/// When there is no loopback port to be had.
pub(crate) async fn start() -> io::Result<Vec<Server>> {
    let offers: [(&str, Arc<dyn Offer>); 2] =
        [("clock", Arc::new(clock::Clock)), ("notes", Arc::<notes::Notes>::default())];
    let mut servers = Vec::new();
    for (name, offer) in offers {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/mcp", listener.local_addr()?);
        let router = router(Demo { name, offer, sessions: Arc::default() });
        tokio::spawn(async move { axum::serve(listener, router).await });
        servers.push(Server::new(name, &url, routing::Timeouts::default()).map_err(io::Error::other)?);
    }
    Ok(servers)
}

/// What a server has to offer besides the protocol.
trait Offer: Send + Sync {
    /// Its `capabilities`.
    fn capabilities(&self) -> Value;
    /// The answer to a request.
    fn answer(&self, method: &str, params: &Value) -> Answer;
}

/// How a request is answered.
enum Answer {
    /// At once, with a result.
    Result(Value),
    /// With a JSON-RPC error: code and message.
    Error(i64, String),
    /// By an event stream of notifications and then a result.
    Stream(BoxStream<'static, Message>),
}

/// What goes over an event stream.
enum Message {
    Notification(Value),
    Result(Value),
}

impl Answer {
    /// A tool's output.
    fn tool(text: impl Into<String>) -> Self {
        Self::Result(json!({"content": [{"type": "text", "text": text.into()}]}))
    }

    /// A tool's failure: for the model to read, so it is no protocol error.
    fn tool_error(text: &str) -> Self {
        Self::Result(json!({"content": [{"type": "text", "text": text}], "isError": true}))
    }

    fn unknown_method(method: &str) -> Self {
        Self::Error(-32601, format!("Method not found: {method}"))
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::Error(-32602, message.into())
    }
}

#[derive(Clone)]
struct Demo {
    name: &'static str,
    offer: Arc<dyn Offer>,
    sessions: Arc<Mutex<BTreeSet<(u64, String)>>>,
}

fn router(demo: Demo) -> Router {
    // No stream is offered on GET; axum answers it with 405, as the specification wants it.
    Router::new().route("/mcp", post(receive).delete(end)).with_state(demo)
}

async fn receive(State(demo): State<Demo>, headers: HeaderMap, body: Bytes) -> Response {
    // The gateway is no browser: whoever sends an Origin is a web page that has no business here.
    if headers.contains_key(header::ORIGIN) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let Ok(Value::Object(message)) = serde_json::from_slice(&body) else {
        return (StatusCode::BAD_REQUEST, failed(&Value::Null, -32700, "expected one JSON-RPC message"))
            .into_response();
    };
    let nothing = Value::Null;
    let (id, params) = (message.get("id"), message.get("params").unwrap_or(&nothing));
    let method = message.get("method").and_then(Value::as_str);
    if let (Some("initialize"), Some(id)) = (method, id) {
        return demo.initialize(id, params);
    }
    if let Some(refusal) = demo.check(&headers) {
        return refusal;
    }
    match (method, id) {
        (Some("ping"), Some(id)) => finished(id, json!({})),
        (Some(method), Some(id)) => respond(id.clone(), demo.offer.answer(method, params)),
        // Notifications and answers.
        _ => StatusCode::ACCEPTED.into_response(),
    }
}

async fn end(State(demo): State<Demo>, headers: HeaderMap) -> Response {
    if let Some(refusal) = demo.check(&headers) {
        return refusal;
    }
    let session = session(&headers);
    demo.sessions().retain(|(_, known)| known != session);
    StatusCode::NO_CONTENT.into_response()
}

impl Demo {
    fn initialize(&self, id: &Value, params: &Value) -> Response {
        let offered = params.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
        let revision = if REVISIONS.contains(&offered) { offered } else { "2025-11-25" };
        let mut random = [0; 16];
        if getrandom::fill(&mut random).is_err() {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        let session: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut sessions = self.sessions();
        let serial = sessions.last().map_or(0, |(serial, _)| serial + 1);
        sessions.insert((serial, session.clone()));
        if sessions.len() > SESSIONS {
            sessions.pop_first();
        }
        let result = json!({
            "protocolVersion": revision,
            "capabilities": self.offer.capabilities(),
            "serverInfo": {"name": self.name, "version": env!("CARGO_PKG_VERSION")},
        });
        ([("mcp-session-id", session)], finished(id, result)).into_response()
    }

    /// The answer to a request without a session of ours, or in a revision that is not ours.
    fn check(&self, headers: &HeaderMap) -> Option<Response> {
        let revision =
            headers.get("mcp-protocol-version").map(|revision| revision.to_str().unwrap_or_default());
        let session = session(headers);
        let (status, reason) = if session.is_empty() {
            (StatusCode::BAD_REQUEST, "Mcp-Session-Id is missing")
        } else if !self.sessions().iter().any(|(_, known)| known == session) {
            (StatusCode::NOT_FOUND, "no such session")
        } else if revision.is_some_and(|revision| !REVISIONS.contains(&revision)) {
            (StatusCode::BAD_REQUEST, "unsupported MCP-Protocol-Version")
        } else {
            return None;
        };
        Some((status, failed(&Value::Null, -32600, reason)).into_response())
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, BTreeSet<(u64, String)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn session(headers: &HeaderMap) -> &str {
    headers.get("mcp-session-id").and_then(|session| session.to_str().ok()).unwrap_or_default()
}

fn respond(id: Value, answer: Answer) -> Response {
    match answer {
        Answer::Result(result) => finished(&id, result),
        Answer::Error(code, message) => failed(&id, code, &message),
        Answer::Stream(messages) => Sse::new(messages.map(move |message| {
            let message = match message {
                Message::Notification(notification) => notification,
                Message::Result(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            };
            Ok::<_, Infallible>(Event::default().event("message").data(message.to_string()))
        }))
        .into_response(),
    }
}

fn finished(id: &Value, result: Value) -> Response {
    document(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

fn failed(id: &Value, code: i64, message: &str) -> Response {
    document(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}))
}

fn document(message: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], message.to_string()).into_response()
}

#[cfg(test)]
mod tests;
