//! A target: a small MCP server whose every answer a test can replace.

use super::Key;
use bytes::BytesMut;
use mcp_proto::Fault;
use mcp_proto::Limits;
use mcp_proto::http::{Request, RequestEvent, ServerCodec};
use mcp_proto::jsonrpc::envelope::{Envelope, Id};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What a server does next on a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    /// The answer is complete: the next request may be read.
    Done,
    Fin,
    Reset,
}

pub(crate) type Reply = Vec<Step>;

/// A request a server received.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) key: Key,
    pub(crate) http: String,
    pub(crate) path: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: String,
    /// The JSON-RPC method; empty for responses and for GET and DELETE.
    pub(crate) method: String,
    /// The id as it was written.
    pub(crate) id: Option<String>,
}

impl Seen {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn session(&self) -> Option<&str> {
        self.field("mcp-session-id")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The same, or nothing where there is no body.
    pub(crate) fn json_if_any(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// A JSON answer with this result.
    pub(crate) fn result(&self, result: &str) -> Reply {
        json_reply(200, &self.response(result))
    }

    /// The response with this result, alone.
    pub(crate) fn response(&self, result: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, self.id.as_deref().unwrap_or("null"))
    }

    /// A JSON-RPC error, alone.
    pub(crate) fn error(&self, code: i64, message: &str) -> String {
        let id = self.id.as_deref().unwrap_or("null");
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#)
    }
}

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Talks {
    /// Each answer to its request.
    Http,
    /// A child process, in lines.
    Lines,
    /// All answers on the event stream of a GET, which names the endpoint for requests.
    Stream,
}

pub(crate) type Script = Box<dyn FnMut(&Seen) -> Option<Reply>>;

/// How a POST is answered where that is not the answer to its message.
pub(crate) type Posts = Box<dyn FnMut(&Seen) -> Reply>;

/// Makes something else of an answer.
pub(crate) type Twist = Box<dyn FnMut(&Seen, Reply) -> Reply>;

pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) talks: Talks,
    /// What a stream's first event names, with its number behind it.
    pub(crate) endpoint: String,
    /// Answers that a test wants otherwise; `None` leaves it to the server.
    pub(crate) script: Option<Script>,
    /// How the POSTs of messages are answered, by a server that answers messages on a stream.
    pub(crate) posts: Option<Posts>,
    pub(crate) seen: Vec<Seen>,
    /// Everything it received, byte for byte.
    pub(crate) raw: Vec<u8>,
    pub(crate) capabilities: Value,
    pub(crate) instructions: Option<String>,
    pub(crate) revision: Option<String>,
    /// Names, or URIs, by list: `tools`, `prompts`, `resources`, `resourceTemplates`.
    pub(crate) lists: BTreeMap<&'static str, Vec<String>>,
    /// How many items a page has.
    pub(crate) page: usize,
    pub(crate) keeps_sessions: bool,
    pub(crate) sessions: BTreeSet<String>,
    /// Whether a GET is answered with a stream.
    pub(crate) streams: bool,
    /// New connections fail like this; `Some(None)`: they are never answered.
    pub(crate) refuses: Option<Option<Fault>>,
    /// How many bytes it takes on each connection.
    pub(crate) window: usize,
    /// How long it thinks before each answer.
    pub(crate) delay: Duration,
    /// The tools it has run.
    pub(crate) ran: Vec<String>,
    /// What becomes of an answer of its own to `tools/call`, once the tool has run.
    pub(crate) twist: Option<Twist>,
    links: BTreeMap<Key, Link>,
    given: usize,
}

struct Link {
    codec: ServerCodec,
    head: Option<Request>,
    body: Vec<u8>,
    /// The number of its event stream.
    number: Option<usize>,
    steps: VecDeque<Step>,
    until: Option<Instant>,
    /// It serves a GET's stream.
    stream: bool,
    waiting: bool,
}

impl Server {
    pub(crate) fn new(name: &str, address: SocketAddr) -> Self {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>();
        Self {
            name: name.to_owned(),
            address,
            talks: Talks::Http,
            endpoint: "/messages?stream=".to_owned(),
            script: None,
            posts: None,
            seen: Vec::new(),
            raw: Vec::new(),
            capabilities: json!({"tools": {}, "prompts": {}, "resources": {"subscribe": true}, "logging": {}, "completions": {}}),
            instructions: None,
            revision: None,
            lists: [
                ("tools", list(&["echo", "add"])),
                ("prompts", list(&["greet"])),
                ("resources", list(&["demo://one"])),
                ("resourceTemplates", list(&["demo://{id}"])),
            ]
            .into(),
            page: usize::MAX,
            keeps_sessions: true,
            sessions: BTreeSet::new(),
            streams: true,
            refuses: None,
            window: usize::MAX,
            delay: Duration::ZERO,
            ran: Vec::new(),
            twist: None,
            links: BTreeMap::new(),
            given: 0,
        }
    }

    /// Answers `method` with what `reply` makes.
    pub(crate) fn on(&mut self, method: &'static str, mut reply: impl FnMut(&Seen) -> Reply + 'static) {
        let mut before = self.script.take();
        self.script = Some(Box::new(move |seen| {
            if seen.method == method || (seen.method.is_empty() && seen.http == method) {
                return Some(reply(seen));
            }
            before.as_mut().and_then(|before| before(seen))
        }));
    }

    /// The JSON-RPC methods it was asked, and the HTTP methods where there is none.
    pub(crate) fn methods<'a>(&'a self) -> Vec<&'a str> {
        let name = |seen: &'a Seen| if seen.method.is_empty() { seen.http.as_str() } else { &seen.method };
        self.seen.iter().map(name).collect()
    }

    /// How often it was asked this.
    pub(crate) fn count(&self, method: &str) -> usize {
        self.methods().into_iter().filter(|seen| *seen == method).count()
    }

    /// The last request with this method.
    pub(crate) fn last(&self, method: &str) -> &Seen {
        let found = self.seen.iter().rev().find(|seen| seen.method == method || seen.http == method);
        found.unwrap_or_else(|| panic!("{} saw no {method}: {:?}", self.name, self.methods()))
    }

    /// The connection of a GET stream.
    pub(crate) fn stream(&self) -> Option<Key> {
        self.links.iter().rev().find(|(_, link)| link.stream).map(|(key, _)| *key)
    }

    /// Whether a request on this connection is not answered to its end.
    pub(crate) fn is_busy(&self, key: Key) -> bool {
        self.links.get(&key).is_some_and(|link| link.waiting)
    }

    /// Whether an event stream is open on this connection.
    pub(crate) fn streams_on(&self, key: Key) -> bool {
        self.links.get(&key).is_some_and(|link| link.stream)
    }

    pub(super) fn accepts(&self) -> Option<Result<(), Fault>> {
        match self.refuses {
            None => Some(Ok(())),
            Some(Some(fault)) => Some(Err(fault)),
            Some(None) => None,
        }
    }

    pub(super) fn accept(&mut self, key: Key) {
        let link = Link {
            codec: ServerCodec::new(&Limits::default()),
            head: None,
            body: Vec::new(),
            number: None,
            steps: VecDeque::new(),
            until: None,
            stream: false,
            waiting: false,
        };
        self.links.insert(key, link);
    }

    pub(super) fn gone(&mut self, key: Key) {
        self.links.remove(&key);
    }

    pub(super) fn say(&mut self, key: Key, steps: Vec<Step>) {
        self.links.get_mut(&key).unwrap().steps.extend(steps);
    }

    /// The next thing a connection does, if any is due.
    pub(super) fn step(&mut self, now: Instant) -> Option<(Key, Step)> {
        let mut done = None;
        let mut found = None;
        for (key, link) in &mut self.links {
            if link.until.is_some_and(|until| until > now) {
                continue;
            }
            link.until = None;
            let Some(step) = link.steps.pop_front() else { continue };
            match step {
                Step::Fin | Step::Reset => link.steps.clear(),
                Step::Wait(time) => link.until = Some(now + time),
                Step::Done => {
                    link.waiting = false;
                    link.codec.proceed();
                    done = Some(*key);
                }
                _ => {}
            }
            found = Some((*key, step));
            break;
        }
        if let Some(key) = done {
            self.read(key);
        }
        found
    }

    /// When a wait is over.
    pub(super) fn next_step(&self) -> Option<Instant> {
        self.links.values().filter(|link| !link.steps.is_empty()).filter_map(|link| link.until).min()
    }

    pub(super) fn receive(&mut self, key: Key, bytes: &[u8], _: Instant) {
        if self.window != usize::MAX {
            self.window -= bytes.len();
        }
        self.raw.extend_from_slice(bytes);
        let Some(link) = self.links.get_mut(&key) else { return };
        if self.talks == Talks::Lines {
            link.body.extend_from_slice(bytes);
            return self.read_lines(key);
        }
        link.codec.feed(BytesMut::from(bytes));
        self.read(key);
    }

    fn read_lines(&mut self, key: Key) {
        loop {
            let Some(link) = self.links.get_mut(&key) else { return };
            let Some(end) = link.body.iter().position(|byte| *byte == b'\n') else { return };
            let mut line: Vec<u8> = link.body.drain(..=end).collect();
            line.pop();
            self.answer(Seen::of(key, String::new(), String::new(), Vec::new(), line));
        }
    }

    /// How many connections, or processes, there are.
    pub(crate) fn running(&self) -> usize {
        self.links.len()
    }

    /// A message as it is said on the one stream of such a server.
    pub(crate) fn said(&self, message: &str) -> Step {
        Step::Send(match self.talks {
            Talks::Lines => format!("{message}\n").into(),
            _ => event(message).into(),
        })
    }

    fn read(&mut self, key: Key) {
        loop {
            let Some(link) = self.links.get_mut(&key).filter(|link| !link.waiting) else { return };
            match link.codec.next().unwrap_or_else(|refused| panic!("the gateway sent bad HTTP: {refused:?}"))
            {
                None => return,
                Some(RequestEvent::Head(head)) => link.head = Some(head),
                Some(RequestEvent::Body(piece)) => link.body.extend_from_slice(&piece),
                Some(RequestEvent::End) => {
                    let seen = Seen::new(key, &link.head.take().unwrap(), std::mem::take(&mut link.body));
                    link.waiting = true;
                    self.answer(seen);
                }
            }
        }
    }

    fn answer(&mut self, seen: Seen) {
        let scripted = self.script.as_mut().and_then(|script| script(&seen));
        match (self.talks, seen.method.is_empty()) {
            (Talks::Http, _) | (Talks::Stream, true) => {}
            (Talks::Lines, true) => return self.seen.push(seen),
            (_, false) => return self.answer_on_stream(seen, scripted),
        }
        let steps = scripted.unwrap_or_else(|| {
            let steps = self.own_answer(&seen);
            self.twisted(&seen, steps)
        });
        let delay = self.delay;
        let Some(link) = self.links.get_mut(&seen.key) else { return };
        link.stream = seen.http == "GET";
        if !delay.is_zero() {
            link.steps.push_back(Step::Wait(delay));
        }
        link.steps.extend(steps);
        self.seen.push(seen);
    }

    /// Answers a message where this kind of server does: a script's steps are what comes on the stream.
    fn answer_on_stream(&mut self, seen: Seen, scripted: Option<Reply>) {
        let mut steps = scripted.unwrap_or_else(|| {
            let answer = self.own_answer(&seen).into_iter().filter_map(|step| match step {
                Step::Send(bytes) => Some(String::from_utf8(bytes).unwrap()),
                _ => None,
            });
            let bodies = answer.map(|answer| answer.split_once("\r\n\r\n").unwrap().1.to_owned());
            let steps = bodies.filter(|body| !body.is_empty()).map(|body| self.said(&body)).collect();
            self.twisted(&seen, steps)
        });
        if !self.delay.is_zero() && !steps.is_empty() {
            steps.insert(0, Step::Wait(self.delay));
        }
        let mut key = seen.key;
        if self.talks == Talks::Stream {
            let accepts = self.posts.as_mut().map_or_else(|| reply(202, "", ""), |posts| posts(&seen));
            if let Some(link) = self.links.get_mut(&seen.key) {
                link.steps.extend(accepts);
            }
            let number = seen.path.rsplit('=').next().and_then(|number| number.parse().ok());
            let stream = self.links.iter().find(|(_, link)| link.number.is_some() && link.number == number);
            match stream {
                Some((stream, _)) => key = *stream,
                None => steps.clear(),
            }
        }
        if let Some(link) = self.links.get_mut(&key) {
            link.steps.extend(steps);
        }
        self.seen.push(seen);
    }

    fn twisted(&mut self, seen: &Seen, steps: Reply) -> Reply {
        match &mut self.twist {
            Some(twist) if seen.method == "tools/call" => twist(seen, steps),
            _ => steps,
        }
    }

    /// The first words of an event stream that says everything.
    fn begin_stream(&mut self, key: Key) -> Reply {
        self.given += 1;
        if let Some(link) = self.links.get_mut(&key) {
            link.number = Some(self.given);
        }
        let endpoint = format!("event: endpoint\ndata: {}{}\n\n", self.endpoint, self.given);
        vec![Step::Send(format!("{}{}", stream_head(), chunk(&endpoint)).into())]
    }

    /// What a plain server says.
    pub(crate) fn own_answer(&mut self, seen: &Seen) -> Reply {
        if seen.method == "initialize" {
            return self.begin_session(seen);
        }
        if self.talks == Talks::Stream && seen.http == "GET" {
            return self.begin_stream(seen.key);
        }
        if self.talks == Talks::Http
            && self.keeps_sessions
            && seen.session().is_none_or(|session| !self.sessions.contains(session))
        {
            return json_reply(404, &seen.error(-32001, "Session not found"));
        }
        match (seen.http.as_str(), seen.id.is_some() && !seen.method.is_empty()) {
            ("GET", _) if self.streams => vec![Step::Send(stream_head().into())],
            ("GET", _) => {
                json_reply(405, r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no"}}"#)
            }
            ("DELETE", _) => {
                self.sessions.remove(seen.session().unwrap_or_default());
                reply(200, "", "")
            }
            (_, true) => self.own_result(seen),
            (_, false) => reply(202, "", ""),
        }
    }

    fn begin_session(&mut self, seen: &Seen) -> Reply {
        let asked = seen.json()["params"]["protocolVersion"].as_str().unwrap_or_default().to_owned();
        let mut result = json!({
            "protocolVersion": self.revision.clone().unwrap_or(asked),
            "capabilities": self.capabilities,
            "serverInfo": {"name": self.name, "version": "1"},
        });
        if let Some(instructions) = &self.instructions {
            result["instructions"] = instructions.clone().into();
        }
        let body = seen.response(&result.to_string());
        if !self.keeps_sessions || self.talks != Talks::Http {
            return json_reply(200, &body);
        }
        self.given += 1;
        let session = format!("{}-{}", self.name, self.given);
        let field = format!("mcp-session-id: {session}\r\n");
        self.sessions.insert(session);
        reply(200, &format!("content-type: application/json\r\n{field}"), &body)
    }

    fn own_result(&mut self, seen: &Seen) -> Reply {
        let name = self.name.clone();
        let params = seen.json()["params"].clone();
        match seen.method.as_str() {
            "tools/call" => {
                self.ran.push(params["name"].as_str().unwrap_or_default().to_owned());
                seen.result(&tool_result(&format!("{name}:{}", params["name"].as_str().unwrap_or(""))))
            }
            "prompts/get" => seen.result(&format!(
                r#"{{"messages":[{{"role":"user","content":{{"type":"text","text":"{name}:{}"}}}}]}}"#,
                params["name"].as_str().unwrap_or("")
            )),
            "resources/read" => {
                seen.result(&format!(r#"{{"contents":[{{"uri":{},"text":"{name}"}}]}}"#, params["uri"]))
            }
            "completion/complete" => seen.result(&format!(r#"{{"completion":{{"values":["{name}"]}}}}"#)),
            "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" => seen.result("{}"),
            "tools/list" => self.own_page(seen, "tools", "name"),
            "prompts/list" => self.own_page(seen, "prompts", "name"),
            "resources/list" => self.own_page(seen, "resources", "uri"),
            "resources/templates/list" => self.own_page(seen, "resourceTemplates", "uriTemplate"),
            _ => json_reply(200, &seen.error(-32601, "Method not found")),
        }
    }

    fn own_page(&self, seen: &Seen, list: &'static str, key: &str) -> Reply {
        let items = &self.lists[list];
        let start = match seen.json()["params"]["cursor"].as_str() {
            None => 0,
            Some(cursor) => match cursor.strip_prefix("at-").and_then(|at| at.parse::<usize>().ok()) {
                Some(at) => at,
                None => return json_reply(200, &seen.error(-32602, "Invalid cursor")),
            },
        };
        let end = start.saturating_add(self.page).min(items.len());
        let shown = items[start..end].iter().map(|item| match list {
            "tools" => format!(r#"{{"{key}":"{item}","inputSchema":{{"type":"object","$defs":{{}}}}}}"#),
            _ => format!(r#"{{"{key}":"{item}"}}"#),
        });
        let shown = shown.collect::<Vec<_>>().join(",");
        let next = if end < items.len() { format!(r#","nextCursor":"at-{end}""#) } else { String::new() };
        seen.result(&format!(r#"{{"{list}":[{shown}]{next}}}"#))
    }
}

impl Seen {
    fn new(key: Key, head: &Request, body: Vec<u8>) -> Self {
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        let query = head.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = format!("{}{query}", head.path());
        let fields = head.fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), text(value)));
        Self::of(key, head.method.as_str().to_owned(), path, fields.collect(), body)
    }

    fn of(key: Key, http: String, path: String, fields: Vec<(String, String)>, body: Vec<u8>) -> Self {
        let body = String::from_utf8(body).unwrap();
        let envelope = Envelope::parse(body.as_bytes(), 128).ok();
        let id = envelope.as_ref().and_then(|envelope| match envelope.id {
            Id::Raw(id) => Some(id.to_owned()),
            Id::Absent | Id::Null => None,
        });
        let method = envelope.and_then(|envelope| Some(envelope.method?.value.into_owned()));
        Self { key, http, path, fields, method: method.unwrap_or_default(), id, body }
    }
}

pub(crate) fn tool_result(text: &str) -> String {
    format!(r#"{{"content":[{{"type":"text","text":"{text}"}}]}}"#)
}

/// A whole answer, then ready for the next request.
pub(crate) fn reply(status: u16, fields: &str, body: &str) -> Reply {
    let head = format!("HTTP/1.1 {status} x\r\n{fields}content-length: {}\r\n\r\n{body}", body.len());
    vec![Step::Send(head.into()), Step::Done]
}

pub(crate) fn json_reply(status: u16, body: &str) -> Reply {
    reply(status, "content-type: application/json\r\n", body)
}

/// A JSON answer in chunks of these pieces.
pub(crate) fn chunked_reply(pieces: &[&str]) -> Reply {
    let mut text =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    for piece in pieces {
        text.push_str(&chunk(piece));
    }
    text.push_str("0\r\n\r\n");
    vec![Step::Send(text.into()), Step::Done]
}

pub(crate) fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// The head of an event stream.
pub(crate) fn stream_head() -> &'static str {
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
}

/// One event, as a chunk.
pub(crate) fn event(message: &str) -> String {
    chunk(&format!("event: message\ndata: {message}\n\n"))
}

/// One event with an id, as a chunk.
pub(crate) fn event_with(id: &str, message: &str) -> String {
    chunk(&format!("id: {id}\ndata: {message}\n\n"))
}

/// The steps that end a stream.
pub(crate) fn stream_end() -> Reply {
    vec![Step::Send(b"0\r\n\r\n".to_vec()), Step::Done]
}

/// A stream that is left open behind these chunks.
pub(crate) fn open_stream(chunks: &[String]) -> Reply {
    vec![Step::Send(format!("{}{}", stream_head(), chunks.concat()).into())]
}

/// A stream of these chunks.
pub(crate) fn stream(chunks: &[String]) -> Reply {
    [open_stream(chunks), stream_end()].concat()
}
