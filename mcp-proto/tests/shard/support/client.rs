//! A client: what it sends, what it got.

use super::{Answer, Key, World, read_answers};
use serde_json::Value;

/// How a client's connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// Closed after everything was sent.
    Finished,
    /// Reset by the gateway.
    Aborted,
    /// The client itself went away.
    HungUp,
}

#[derive(Debug)]
pub(crate) struct Client {
    /// Its connection, while it is open.
    pub(crate) key: Option<Key>,
    /// Everything it received.
    pub(crate) raw: Vec<u8>,
    pub(crate) end: Option<End>,
    /// How many bytes it takes.
    pub(crate) window: usize,
    /// Bytes are only counted, for answers too large to keep.
    pub(crate) counts: bool,
    pub(crate) received: usize,
    /// Which of its requests were HEAD.
    to_head: Vec<bool>,
}

impl Client {
    pub(super) fn new(key: Option<Key>) -> Self {
        Self {
            key,
            raw: Vec::new(),
            end: None,
            window: usize::MAX,
            counts: false,
            received: 0,
            to_head: Vec::new(),
        }
    }

    pub(super) fn note_requests(&mut self, text: &[u8]) {
        if text.starts_with(b"HEAD ") {
            self.to_head.resize(self.answers().len(), false);
            self.to_head.push(true);
        }
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        if self.window != usize::MAX {
            self.window -= bytes.len();
        }
        self.received += bytes.len();
        if !self.counts {
            self.raw.extend_from_slice(bytes);
        }
    }

    pub(crate) fn answers(&self) -> Vec<Answer> {
        read_answers(&self.raw, &self.to_head, self.end == Some(End::Finished))
    }

    /// The answer that came last, or is coming.
    pub(crate) fn answer(&self) -> Answer {
        self.answers().pop().unwrap_or_else(|| panic!("no answer; the connection: {:?}", self.end))
    }
}

/// A POST of a message, with these fields besides the usual ones.
pub(crate) fn post(fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\naccept: application/json, text/event-stream\r\n\
         content-type: application/json\r\n{fields}content-length: {length}\r\n\r\n{body}"
    )
    .into()
}

/// A POST to another place, as the clients of 2024 made it.
pub(crate) fn post_at(place: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {place} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into()
}

/// A session's field.
pub(crate) fn session_field(session: &str) -> String {
    format!("mcp-session-id: {session}\r\n")
}

/// `initialize` with the given revision and capabilities.
pub(crate) fn initialize(revision: &str, capabilities: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{revision}","capabilities":{capabilities},"clientInfo":{{"name":"test","version":"1"}}}}}}"#
    )
}

pub(crate) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

pub(crate) const EVERYTHING: &str =
    r#"{"roots":{"listChanged":true},"sampling":{},"elicitation":{"form":{},"url":{}}}"#;

/// A request with number 1.
pub(crate) fn request(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
}

pub(crate) fn call(name: &str) -> String {
    request("tools/call", &format!(r#"{{"name":"{name}","arguments":{{"message":"hi"}}}}"#))
}

impl World {
    /// A client with a session on shard 0: its number and its session id.
    pub(crate) fn begin(&mut self) -> (usize, String) {
        self.begin_as("2025-11-25", EVERYTHING)
    }

    pub(crate) fn begin_as(&mut self, revision: &str, capabilities: &str) -> (usize, String) {
        self.begin_on(0, revision, capabilities)
    }

    pub(crate) fn begin_on(&mut self, shard: usize, revision: &str, capabilities: &str) -> (usize, String) {
        let client = self.connect(shard);
        self.send(client, &post("", &initialize(revision, capabilities)));
        let answer = self.clients[client].answer();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let session =
            answer.field("mcp-session-id").unwrap_or_else(|| panic!("{}", answer.text())).to_owned();
        let greeted = self.ask(client, &session, INITIALIZED);
        assert_eq!((greeted.status, greeted.text()), (202, ""));
        (client, session)
    }

    /// Sends a message in a session; the answer as far as it comes at once.
    pub(crate) fn ask(&mut self, client: usize, session: &str, body: &str) -> Answer {
        self.send(client, &post(&session_field(session), body));
        self.clients[client].answer()
    }

    /// The same for an answer that takes its time; what it is among the client's answers.
    pub(crate) fn ask_later(&mut self, client: usize, session: &str, body: &str) -> usize {
        let before = self.clients[client].answers().len();
        self.send(client, &post(&session_field(session), body));
        before
    }

    pub(crate) fn is_answered(&self, client: usize, number: usize) -> bool {
        self.clients[client].answers().get(number).is_some_and(|answer| answer.complete)
    }

    /// The same on a connection of its own: the number of that client.
    pub(crate) fn call_later(&mut self, shard: usize, session: &str, body: &str) -> usize {
        let client = self.connect(shard);
        self.ask_later(client, session, body);
        client
    }

    /// The same on a connection of its own: the client's number.
    pub(crate) fn ask_on_later(&mut self, session: &str, body: &str) -> usize {
        let client = self.connect(0);
        self.ask_later(client, session, body);
        client
    }

    /// The same on a connection of its own, on a shard.
    pub(crate) fn ask_on(&mut self, shard: usize, session: &str, body: &str) -> Answer {
        let client = self.connect(shard);
        self.ask(client, session, body)
    }

    /// A client of its own opens the session's GET stream.
    pub(crate) fn listen(&mut self, shard: usize, session: &str) -> usize {
        self.listen_with(shard, &session_field(session))
    }

    pub(crate) fn listen_with(&mut self, shard: usize, fields: &str) -> usize {
        let client = self.connect(shard);
        let head =
            format!("GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n{fields}\r\n");
        self.send(client, head.as_bytes());
        client
    }

    pub(crate) fn delete(&mut self, shard: usize, session: &str) -> Answer {
        let client = self.connect(shard);
        let head = format!("DELETE /mcp HTTP/1.1\r\nhost: localhost\r\nmcp-session-id: {session}\r\n\r\n");
        self.send(client, head.as_bytes());
        self.clients[client].answer()
    }

    /// A client opens its one stream (MCP 2024-11-05): its number, and where it is to POST.
    pub(crate) fn open_sse(&mut self, shard: usize) -> (usize, String) {
        let client = self.connect(shard);
        self.send(client, b"GET /sse HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n");
        let events = self.clients[client].answer().events();
        assert_eq!(events[0].other.as_deref(), Some("endpoint"));
        (client, events[0].data.clone())
    }

    /// The same with a session, of a client that can be asked anything.
    pub(crate) fn begin_sse(&mut self, shard: usize) -> (usize, String) {
        let (client, endpoint) = self.open_sse(shard);
        for body in [&initialize("2024-11-05", EVERYTHING), INITIALIZED] {
            let answer = self.post_to(shard, &endpoint, body);
            assert_eq!((answer.status, answer.text()), (202, "Accepted"));
        }
        (client, endpoint)
    }

    /// A POST on a connection of its own to where a stream is fed.
    pub(crate) fn post_to(&mut self, shard: usize, endpoint: &str, body: &str) -> Answer {
        let client = self.connect(shard);
        self.send(client, &post_at(endpoint, body));
        self.clients[client].answer()
    }

    /// The same without a look at how it is answered.
    pub(crate) fn call_at(&mut self, shard: usize, endpoint: &str, body: &str) {
        let client = self.connect(shard);
        self.send(client, &post_at(endpoint, body));
    }

    /// The messages a client got on lines.
    pub(crate) fn lines(&self, client: usize) -> Vec<Value> {
        let raw = std::str::from_utf8(&self.clients[client].raw).unwrap();
        raw.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }

    /// The messages a client got on the stream it reads.
    pub(crate) fn messages(&self, client: usize) -> Vec<Value> {
        self.clients[client].answer().messages()
    }

    /// The methods of these messages.
    pub(crate) fn methods(&self, client: usize) -> Vec<String> {
        let method = |message: Value| message["method"].as_str().unwrap_or("answer").to_owned();
        self.messages(client).into_iter().map(method).collect()
    }
}
