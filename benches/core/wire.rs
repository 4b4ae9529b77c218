//! One whole `Shard`, and both of its ends: [`Wire`] plays frontend and targets. It does what the shard's actions ask
//! for, and answers what targets are asked.

use bytes::BytesMut;
use mcp_proto::{AccessLog, Action, Config, ConnId, Keys, Limits, Shard, ShardId, Start, Timeouts};
use memchr::memmem;
use routing::{Protocol, Routes, Target, TargetName};
use std::collections::BTreeMap;
use std::io::{IoSlice, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who speaks what in a row, and what the client does over and over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) client: Protocol,
    pub(crate) target: Protocol,
    pub(crate) targets: usize,
    /// Sessions that the shard has, the client's among them.
    pub(crate) sessions: usize,
    /// Tools of each target, where calls are the unit.
    pub(crate) tools: usize,
    pub(crate) unit: Unit,
}

/// What a client does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    /// `tools/call`, answered by a text of so many bytes.
    Call(usize),
    /// `tools/list`, of ten tools at each target, whose lists hold for so many milliseconds.
    List(u32),
    /// `initialize`, `notifications/initialized` and DELETE.
    Life,
    /// A notification of a target, on its stream to the client's GET stream.
    Notify,
}

const fn row(name: &'static str, client: Protocol, target: Protocol, targets: usize, unit: Unit) -> Row {
    Row { name, client, target, targets, sessions: 1, tools: 1, unit }
}

/// Everything that is counted and timed. Texts of 104 bytes make JSON answers of 200 bytes.
pub(crate) const ROWS: [Row; 15] = {
    use Protocol::{Legacy, Modern};
    [
        row("call-200B", Legacy, Legacy, 3, Unit::Call(104)),
        row("call-4KB", Legacy, Legacy, 3, Unit::Call(4 << 10)),
        row("call-64KB", Legacy, Legacy, 3, Unit::Call(64 << 10)),
        row("call-one-target", Legacy, Legacy, 1, Unit::Call(104)),
        row("call-modern", Modern, Modern, 3, Unit::Call(104)),
        row("call-legacy-to-modern", Legacy, Modern, 3, Unit::Call(104)),
        row("call-modern-to-legacy", Modern, Legacy, 3, Unit::Call(104)),
        row("call-64KB-legacy-to-modern", Legacy, Modern, 3, Unit::Call(64 << 10)),
        row("call-64KB-modern-to-legacy", Modern, Legacy, 3, Unit::Call(64 << 10)),
        row("call-1MB-legacy-to-modern", Legacy, Modern, 3, Unit::Call(1 << 20)),
        row("list", Legacy, Legacy, 3, Unit::List(0)),
        row("list-modern", Modern, Modern, 3, Unit::List(0)),
        row("list-cached", Modern, Modern, 3, Unit::List(3_600_000)),
        row("session", Legacy, Legacy, 3, Unit::Life),
        row("notify", Legacy, Legacy, 3, Unit::Notify),
    ]
};

/// A shard, one client's connection to it, and three targets.
pub(crate) struct Wire {
    shard: Shard,
    client: ConnId,
    now: Instant,
    /// Where reads land.
    block: BytesMut,
    /// What targets have got of a request.
    targets: BTreeMap<usize, Vec<u8>>,
    /// What the client has got.
    answer: Vec<u8>,
    row: Row,
    /// What the client asks over and over.
    request: Vec<u8>,
    /// The target's answer to that, before and behind its id.
    result: [String; 2],
    /// The same as it is sent.
    reply: Vec<u8>,
    /// The last stream that a target was asked for, and the client's that it is for.
    stream: Option<ConnId>,
    listener: ConnId,
}

impl Wire {
    /// A shard that has served the row's unit before: its pools are filled and its buffers have grown.
    pub(crate) fn new(row: Row) -> Self {
        let mut wire = Self::start(row);
        for _ in 1..row.sessions {
            wire.initialize();
        }
        if row.tools > 1 {
            // Whatever is kept of lists is there when calls are counted.
            let list = wire.list();
            wire.ask(&list);
        }
        wire.request = match row.unit {
            Unit::Call(_) => wire.call(),
            Unit::List(_) => wire.list(),
            Unit::Life | Unit::Notify => Vec::new(),
        };
        if row.unit == Unit::Notify {
            wire.listen();
        }
        for _ in 0..100 {
            wire.unit();
        }
        wire
    }

    /// Opens a session, and its stream on a connection of its own.
    pub(crate) fn listen(&mut self) {
        let session = self.initialize();
        self.listener = self
            .shard
            .accepted(([127, 0, 0, 1], 8080).into(), ([127, 0, 0, 1], 9).into(), self.now)
            .expect("there is room");
        let asker = std::mem::replace(&mut self.client, self.listener);
        let fields = in_session(&session);
        self.ask(
            format!("GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n{fields}\r\n")
                .as_bytes(),
        );
        assert!(self.answer.starts_with(b"HTTP/1.1 200 OK\r\n") && self.stream.is_some());
        self.client = asker;
    }

    /// A target says something on its last stream, and the client hears it.
    fn notify(&mut self) {
        self.answer.clear();
        let asker = std::mem::replace(&mut self.client, self.listener);
        self.read(self.stream.expect("a stream"), NOTICE);
        self.settle();
        self.client = asker;
        assert!(self.answer.ends_with(b"}\n\n\r\n"));
    }

    /// The row's unit, once.
    pub(crate) fn unit(&mut self) {
        if self.row.unit == Unit::Notify {
            return self.notify();
        }
        if self.row.unit == Unit::Life {
            let session = self.initialize();
            let head =
                format!("DELETE /mcp HTTP/1.1\r\nhost: localhost\r\nmcp-session-id: {session}\r\n\r\n");
            return self.ask(head.as_bytes());
        }
        let request = std::mem::take(&mut self.request);
        self.ask(&request);
        self.request = request;
        let least = match self.row.unit {
            Unit::Call(size) => size,
            _ => 10 * self.row.targets * DESCRIPTION,
        };
        assert!(self.answer.starts_with(b"HTTP/1.1 200 OK\r\n") && self.answer.len() > least);
    }

    fn start(row: Row) -> Self {
        let now = Instant::now();
        let target = |(name, port): (String, u16)| {
            let name = TargetName::parse(&name).expect("a good name");
            let mut target = Target::new(name, SocketAddr::from(([127, 0, 0, 1], port)), "/mcp");
            // A legacy one is found out by asking, as by default.
            target.protocol = if row.target == Protocol::Modern { Protocol::Modern } else { Protocol::Auto };
            target
        };
        let names =
            ["b", "a", "c"].into_iter().map(str::to_owned).chain((3..).map(|number| format!("t{number}")));
        let routes = names.zip(1..).take(row.targets).map(target).collect();
        let config = Config {
            shards: 1,
            limits: Limits {
                sessions: Limits::default().sessions.max(row.sessions + 1),
                ..Limits::default()
            },
            timeouts: Timeouts::default(),
            access_log: AccessLog::default(),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            keys: Keys::new([1; 32], &[]),
        };
        let start = Start {
            id: ShardId(0),
            config: Arc::new(config),
            routes: Arc::new(Routes::new(routes).expect("names differ")),
            seed: [2; 32],
            unix: Duration::from_secs(1_795_000_000),
            counters: Arc::default(),
        };
        let mut shard = Shard::new(start, now);
        let client = shard
            .accepted(([127, 0, 0, 1], 8080).into(), ([127, 0, 0, 1], 9).into(), now)
            .expect("there is room");
        let result = row.result();
        let mut wire = Self {
            shard,
            client,
            now,
            block: BytesMut::new(),
            targets: BTreeMap::new(),
            answer: Vec::new(),
            row,
            request: Vec::new(),
            result,
            reply: Vec::new(),
            stream: None,
            listener: client,
        };
        wire.settle();
        wire
    }

    /// Opens a session; its id.
    fn initialize(&mut self) -> String {
        self.ask(&post("", br#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#));
        let head = String::from_utf8_lossy(&self.answer).to_lowercase();
        let text = String::from_utf8_lossy(&self.answer).into_owned();
        let at = head.find("mcp-session-id: ").expect("a session") + 16;
        let session = text.get(at..).and_then(|rest| rest.lines().next()).expect("an id").to_owned();
        self.ask(&post(&in_session(&session), br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#));
        session
    }

    /// A call of the first target's tool, by a client of the row's era.
    fn call(&mut self) -> Vec<u8> {
        let name = if self.row.targets == 1 { "call" } else { "b_call" };
        let params = format!(r#""name":"{name}","arguments":{{"size":104,"nonce":"0123456789abcdef"}}"#);
        self.message("tools/call", name, &params)
    }

    fn list(&mut self) -> Vec<u8> {
        self.message("tools/list", "", "")
    }

    /// A request of the row's client.
    fn message(&mut self, method: &str, name: &str, params: &str) -> Vec<u8> {
        let modern = self.row.client == Protocol::Modern;
        let comma = if modern && !params.is_empty() { "," } else { "" };
        let meta = if modern { CLAIM } else { "" };
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{{params}{comma}{meta}}}}}"#);
        let fields = match modern {
            true => {
                let name = if name.is_empty() { String::new() } else { format!("mcp-name: {name}\r\n") };
                format!("mcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\n{name}")
            }
            false => in_session(&self.initialize()),
        };
        post(&fields, body.as_bytes())
    }

    /// The client sends `request`; what comes back stands in `answer`.
    fn ask(&mut self, request: &[u8]) {
        self.answer.clear();
        self.read(self.client, request);
        self.settle();
    }

    fn read(&mut self, conn: ConnId, bytes: &[u8]) {
        if self.block.capacity() < bytes.len() {
            self.block.reserve(bytes.len().max(64 << 10));
        }
        self.block.extend_from_slice(bytes);
        let bytes = self.block.split();
        self.shard.received(conn, bytes, self.now);
    }

    /// Does what the shard asks for, until it asks for nothing.
    fn settle(&mut self) {
        while let Some(action) = self.shard.poll() {
            match action {
                Action::Open { conn, .. } => self.shard.connected(conn, self.now),
                Action::Flush { conn } => {
                    self.take(conn);
                    self.reply(conn);
                }
                _ => {}
            }
        }
    }

    /// Takes all that waits for `conn`.
    fn take(&mut self, conn: ConnId) {
        loop {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = self.shard.unsent(conn, &mut slices);
            let into = if conn == self.client {
                &mut self.answer
            } else {
                self.targets.entry(conn.index()).or_default()
            };
            let mut count = 0;
            for slice in slices.iter().take(filled) {
                into.extend_from_slice(slice);
                count += slice.len();
            }
            if count == 0 {
                return;
            }
            self.shard.sent(conn, count, self.now);
        }
    }

    /// Plays the target behind `conn`, once it has a whole request.
    fn reply(&mut self, conn: ConnId) {
        let Some(request) = self.targets.get_mut(&conn.index()) else { return };
        if !is_whole(request) {
            return;
        }
        let has = |text: &[u8]| memmem::find(request, text).is_some();
        let mut reply = std::mem::take(&mut self.reply);
        reply.clear();
        let asked = self.row.unit.method();
        if request.starts_with(b"GET ") {
            self.stream = Some(conn);
            // Nothing more will come: what is held is counted.
            *request = Vec::new();
            reply.extend_from_slice(STREAM);
        } else if !asked.is_empty() && has(asked.as_bytes()) && !has(b"mcp-gateway-names") {
            let [before, behind] = &self.result;
            answer(&mut reply, "", &[before, id(request), behind]);
        } else {
            self.row.first_words(request, &mut reply);
        }
        request.clear();
        self.read(conn, &reply);
        self.reply = reply;
    }
}

impl Row {
    /// What a target answers before it is called.
    fn first_words(self, request: &[u8], out: &mut Vec<u8>) {
        let has = |text: &[u8]| memmem::find(request, text).is_some();
        let (fields, result) = match () {
            () if has(br#""initialize""#) => (
                "mcp-session-id: 0a0b0c0d-0000-4000-8000-000000000000\r\n",
                r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}}"#,
            ),
            () if has(br#""server/discover""#) && self.target == Protocol::Legacy => {
                return out.extend_from_slice(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
            }
            () if has(br#""server/discover""#) => (
                "",
                r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}"#,
            ),
            () if has(br#""tools/list""#) => {
                let more = (1..self.tools).map(|number| {
                    format!(r#",{{"name":"tool-{number}","inputSchema":{{"type":"object"}}}}"#)
                });
                let kind = if self.target == Protocol::Modern { r#","resultType":"complete""# } else { "" };
                let more: String = more.collect();
                let list = format!(
                    r#"{{"tools":[{{"name":"call","inputSchema":{{"type":"object"}}}}{more}]{kind}}}"#
                );
                return answer(
                    out,
                    "",
                    &[r#"{"jsonrpc":"2.0","id":"#, id(request), r#","result":"#, &list, "}"],
                );
            }
            () => return out.extend_from_slice(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"),
        };
        answer(out, fields, &[r#"{"jsonrpc":"2.0","id":"#, id(request), r#","result":"#, result, "}"]);
    }

    /// The message that answers the unit's request, before and behind its id.
    fn result(self) -> [String; 2] {
        let kind = if self.target == Protocol::Modern { r#""resultType":"complete","# } else { "" };
        let result = match self.unit {
            Unit::Call(size) => {
                let text = "x".repeat(size);
                format!(r#"{kind}"content":[{{"type":"text","text":"{text}"}}],"isError":false"#)
            }
            Unit::List(ttl) => {
                let ttl = match self.target {
                    Protocol::Modern => format!(r#","ttlMs":{ttl},"cacheScope":"public""#),
                    _ => String::new(),
                };
                let tools = (0..10).map(tool).collect::<Vec<_>>().join(",");
                format!(r#"{kind}"tools":[{tools}]{ttl}"#)
            }
            Unit::Life | Unit::Notify => String::new(),
        };
        [r#"{"jsonrpc":"2.0","id":"#.to_owned(), format!(r#","result":{{{result}}}}}"#)]
    }
}

impl Unit {
    fn method(self) -> &'static str {
        match self {
            Self::Call(_) => "\"tools/call\"",
            Self::List(_) => "\"tools/list\"",
            Self::Life | Self::Notify => "",
        }
    }
}

/// Bytes of a tool's description.
const DESCRIPTION: usize = 300;

/// A tool as targets list it.
fn tool(number: usize) -> String {
    let description = "what it does, ".repeat(DESCRIPTION / 14 + 1);
    let name = if number == 0 { "call".to_owned() } else { format!("tool-{number}") };
    format!(
        r#"{{"name":"{name}","title":"Tool {number}","description":"{description}","inputSchema":{{"type":"object","properties":{{"size":{{"type":"integer","minimum":0}},"nonce":{{"type":"string"}}}},"required":["size"]}}}}"#
    )
}

/// A target's answer to GET, and what it says there.
const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
const NOTICE: &[u8] = b"80\r\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"error\",\"logger\":\"bench\",\"data\":\"x\"}}\n\n\r\n";

/// What a modern client says of itself.
const CLAIM: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#;

/// The id of the message in a request, as it is written.
fn id(request: &[u8]) -> &str {
    let id = str::from_utf8(request).ok().and_then(|text| text.split(r#""id":"#).nth(1));
    id.and_then(|id| id.split([',', '}']).next()).unwrap_or_default()
}

fn in_session(session: &str) -> String {
    format!("mcp-session-id: {session}\r\nmcp-protocol-version: 2025-11-25\r\n")
}

/// Whether the head and as much body as it promises are there.
fn is_whole(request: &[u8]) -> bool {
    let Some(end) = memmem::find(request, b"\r\n\r\n") else { return false };
    let head = request.get(..end).unwrap_or_default();
    let length = head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        let value = str::from_utf8(value).ok()?;
        name.eq_ignore_ascii_case(b"content-length:").then(|| value.trim().parse::<usize>().ok())?
    });
    request.len() >= end + 4 + length.unwrap_or(0)
}

/// A request; `fields` are more header lines.
fn post(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:8080\r\naccept: application/json, text/event-stream\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Writes an answer with a body in parts; `fields` are more header lines.
fn answer(out: &mut Vec<u8>, fields: &str, body: &[&str]) {
    let length: usize = body.iter().map(|part| part.len()).sum();
    // A vector takes everything.
    _ = write!(
        out,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{fields}content-length: {length}\r\n\r\n"
    );
    body.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}
