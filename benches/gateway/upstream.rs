//! The fake target: an MCP server over Streamable HTTP that costs as little as it can, on one thread.
//!
//! It serves four loopback ports: three targets of ten tools for contenders that federate, and one target of thirty
//! for those that pass bytes through. Each of them serves the harness as well:
//!
//! - `GET /streams`: how many event streams of live sessions are open, on all ports;
//! - `GET /lists`: how many `tools/list` have come, on all ports;
//! - `POST /notify?n=N&every=NANOSECONDS`: N log notifications, so far apart, each on another stream of the first and the
//!   last port in turn.

use crate::http::{Incoming, Kind};
use crate::payload::{self, NONCE};
use crate::timer::Timer;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serde::Deserialize;
use serde_json::value::RawValue;
use slab::Slab;
use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Targets that federating contenders get, and then the one for the others.
pub(crate) const PORTS: usize = 4;
/// Tokens from here on are listeners.
const LISTENERS: usize = usize::MAX - PORTS - 1;
const TIMER: Token = Token(LISTENERS - 1);
/// Tools of each target but the last.
const TOOLS: usize = 10;

struct Server {
    poll: Poll,
    listeners: Vec<TcpListener>,
    conns: Slab<Conn>,
    sessions: HashSet<String>,
    issued: u64,
    /// Connections with events still to be written, one a turn.
    paced: Vec<usize>,
    /// Notifications still to be sent.
    round: Option<Round>,
    /// `tools/list` that have come.
    listed: u64,
    lists: Vec<String>,
    filler: Vec<u8>,
    scratch: Vec<u8>,
}

/// Notifications on one stream after the other.
struct Round {
    timer: Timer,
    streams: Vec<usize>,
    sent: usize,
    count: usize,
}

struct Conn {
    stream: TcpStream,
    port: usize,
    incoming: Incoming,
    out: Vec<u8>,
    written: usize,
    /// Parts of the answer that are written apart.
    later: VecDeque<Vec<u8>>,
    /// What follows in a text too long to be held.
    long: Option<Long>,
    /// The session whose event stream this is, or empty.
    listening: String,
}

/// The rest of a very long answer: text from `at` to `end`, and what closes it.
struct Long {
    at: usize,
    end: usize,
    tail: Vec<u8>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
    #[serde(borrow)]
    protocol_version: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
struct Arguments<'a> {
    size: Option<usize>,
    #[serde(borrow)]
    nonce: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    #[serde(borrow)]
    progress_token: Option<&'a RawValue>,
    /// Set when the request stands for itself.
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<&'a RawValue>,
}

impl Message<'_> {
    fn is_modern(&self) -> bool {
        self.params.as_ref().and_then(|params| params.meta.as_ref()?.version).is_some()
    }
}

/// The fake target's process.
pub(crate) struct Upstream {
    child: Child,
    pub(crate) targets: [SocketAddr; PORTS],
}

impl Upstream {
    /// Starts it on ports from `port` on, or on any when that is 0.
    pub(crate) fn start(port: u16) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["upstream", &port.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let ports: Vec<u16> = line.split_whitespace().filter_map(|port| port.parse().ok()).collect();
        let ports: [u16; PORTS] = ports.try_into().map_err(|_| io::Error::other("no fake target"))?;
        Ok(Self { child, targets: ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port))) })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // Nothing is left to do for a process that can't be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until killed, on ports from `first` on, or on any when that is 0. Prints them on one line first.
pub(crate) fn serve(first: u16) -> io::Result<()> {
    let mut server = Server {
        poll: Poll::new()?,
        listeners: Vec::new(),
        conns: Slab::new(),
        sessions: HashSet::new(),
        issued: 0,
        paced: Vec::new(),
        round: None,
        listed: 0,
        lists: (0..PORTS).map(tools).collect(),
        filler: payload::filler(),
        scratch: vec![0; 64 << 10],
    };
    let mut ports = String::new();
    for number in 0..PORTS {
        let port = if first == 0 { 0 } else { first + number as u16 };
        let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
        server.poll.registry().register(&mut listener, Token(LISTENERS + number), Interest::READABLE)?;
        ports.push_str(&format!("{} ", listener.local_addr()?.port()));
        server.listeners.push(listener);
    }
    println!("{}", ports.trim_end());
    server.run()
}

/// The tools of one port, as the text of a list.
fn tools(port: usize) -> String {
    let describe = |prefix: &str, number: usize| {
        let name = match number {
            0 => "call".to_owned(),
            1 => "progress".to_owned(),
            _ => format!("tool_{number}"),
        };
        let text = "A tool that answers with as many bytes as it is asked for, and nothing else. ".repeat(3);
        format!(
            r#"{{"name":"{prefix}{name}","title":"Tool {number}","description":"{text}","inputSchema":{{"type":"object","properties":{{"size":{{"type":"integer","description":"Bytes of text in the answer"}},"nonce":{{"type":"string","description":"Sixteen characters that the answer starts with"}}}},"required":["size","nonce"]}},"annotations":{{"readOnlyHint":true}}}}"#
        )
    };
    let prefixes: &[&str] = if port + 1 == PORTS { &["a_", "b_", "c_"] } else { &[""] };
    let all: Vec<String> =
        prefixes.iter().flat_map(|prefix| (0..TOOLS).map(|number| describe(prefix, number))).collect();
    format!("[{}]", all.join(","))
}

impl Server {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let timeout = (!self.paced.is_empty()).then_some(Duration::ZERO);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for key in std::mem::take(&mut self.paced) {
                self.continue_answer(key);
            }
            for event in &events {
                let Token(key) = event.token();
                if key >= LISTENERS {
                    self.accept(key - LISTENERS)?;
                } else if event.token() == TIMER {
                    self.notify()?;
                } else if self.conns.contains(key) && self.turn(key, event.is_writable()).is_err() {
                    drop(self.conns.try_remove(key));
                }
            }
        }
    }

    fn accept(&mut self, port: usize) -> io::Result<()> {
        while let Some(listener) = self.listeners.get(port)
            && let Ok((mut stream, _)) = listener.accept()
        {
            stream.set_nodelay(true)?;
            let slot = self.conns.vacant_entry();
            self.poll.registry().register(
                &mut stream,
                Token(slot.key()),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            slot.insert(Conn {
                stream,
                port,
                incoming: Incoming::new(Kind::Request),
                out: Vec::new(),
                written: 0,
                later: VecDeque::new(),
                long: None,
                listening: String::new(),
            });
        }
        Ok(())
    }

    /// Reads what came, answers what is complete. An error ends the connection.
    fn turn(&mut self, key: usize, writable: bool) -> io::Result<()> {
        if writable && let Some(conn) = self.conns.get_mut(key) {
            conn.flush()?;
        }
        while let Some(conn) = self.conns.get_mut(key) {
            let count = match conn.stream.read(&mut self.scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            if conn.incoming.feed(self.scratch.get(..count).unwrap_or_default())? {
                self.answer(key)?;
            }
            // A short read has emptied the socket (epoll(7), edge-triggered streams).
            if count < self.scratch.len() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn answer(&mut self, key: usize) -> io::Result<()> {
        let path = self.conns.get(key).map_or("", |conn| &conn.incoming.head.path);
        if ["/streams", "/lists", "/notify?"].iter().any(|of| path.starts_with(of)) {
            return self.serve_harness(key);
        }
        let Self { conns, sessions, issued, paced, listed, lists, filler, .. } = self;
        let Some(conn) = conns.get_mut(key) else { return Ok(()) };
        let head = &conn.incoming.head;
        let known = sessions.contains(&head.session);
        match head.method.as_str() {
            "DELETE" if sessions.remove(&head.session) => conn.status("200 OK"),
            "GET" if known => {
                conn.listening.clone_from(&conn.incoming.head.session);
                conn.out.extend_from_slice(STREAM_HEAD);
                conn.incoming.next();
                conn.flush()
            }
            "POST" => {
                let body = std::mem::take(&mut conn.incoming.body);
                match serde_json::from_slice::<Message<'_>>(&body) {
                    Err(_) => conn.status("400 Bad Request")?,
                    Ok(message) if message.method == "initialize" => {
                        *issued += 1;
                        let session = format!("{:08x}-0000-4000-8000-{:012x}", conn.port, *issued);
                        conn.initialize(&message, &session)?;
                        sessions.insert(session);
                    }
                    Ok(message) if !known && !message.is_modern() => conn.status("404 Not Found")?,
                    Ok(message) => {
                        *listed += u64::from(message.method == "tools/list");
                        let list = lists.get(conn.port).map_or("[]", String::as_str);
                        conn.request(&message, list, filler)?;
                        if !conn.later.is_empty() {
                            paced.push(key);
                        }
                    }
                }
                conn.incoming.body = body;
                conn.incoming.next();
                Ok(())
            }
            _ => conn.status("404 Not Found"),
        }
    }

    /// What only the harness asks for.
    fn serve_harness(&mut self, key: usize) -> io::Result<()> {
        let Some(conn) = self.conns.get(key) else { return Ok(()) };
        let (path, query) = conn.incoming.head.path.split_once('?').unwrap_or((&conn.incoming.head.path, ""));
        let number = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(1)
        };
        let figure = match path {
            "/streams" => self.streams(|_| true).len() as u64,
            "/lists" => self.listed,
            _ => {
                let timer = Timer::every(Duration::from_nanos(number("every")))?;
                timer.register(self.poll.registry(), TIMER)?;
                let streams = self.streams(|port| port == 0 || port + 1 == PORTS);
                let count = streams.len() as u64;
                self.round = Some(Round { timer, streams, sent: 0, count: number("n") as usize });
                count
            }
        };
        self.conns.get_mut(key).map_or(Ok(()), |conn| conn.figure(figure))
    }

    /// The open event streams of live sessions, on the ports asked for.
    fn streams(&self, wanted: impl Fn(usize) -> bool) -> Vec<usize> {
        let live = |conn: &Conn| wanted(conn.port) && self.sessions.contains(&conn.listening);
        self.conns.iter().filter(|(_, conn)| live(conn)).map(|(key, _)| key).collect()
    }

    /// Sends the notifications that are due.
    fn notify(&mut self) -> io::Result<()> {
        let Some(round) = &mut self.round else { return Ok(()) };
        for _ in 0..round.timer.expired()? {
            if round.sent == round.count || round.streams.is_empty() {
                self.round = None;
                return Ok(());
            }
            let stream = round.streams.get(round.sent % round.streams.len()).copied();
            let event = chunk(&payload::notification("bench", round.sent));
            round.sent += 1;
            if let Some(key) = stream
                && let Some(conn) = self.conns.get_mut(key)
            {
                conn.out.extend_from_slice(&event);
                if conn.flush().is_err() {
                    drop(self.conns.try_remove(key));
                }
            }
        }
        Ok(())
    }

    /// Writes the next part of an answer whose parts are written apart.
    fn continue_answer(&mut self, key: usize) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Some(part) = conn.later.pop_front() else { return };
        conn.out.extend_from_slice(&part);
        if conn.flush().is_err() {
            drop(self.conns.try_remove(key));
        } else if !conn.later.is_empty() {
            self.paced.push(key);
        }
    }
}

const DISCOVERED: &[u8] = br#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":3600000,"cacheScope":"public"}"#;
/// How long a list of 2026-07-28 holds: longer than any turn.
const HOLD: &[u8] = br#","ttlMs":3600000,"cacheScope":"public""#;
const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";

impl Conn {
    fn initialize(&mut self, message: &Message<'_>, session: &str) -> io::Result<()> {
        let version = message.params.as_ref().and_then(|params| params.protocol_version.as_deref());
        let result = format!(
            r#"{{"protocolVersion":"{}","capabilities":{{"tools":{{"listChanged":true}},"prompts":{{}},"resources":{{}},"logging":{{}}}},"serverInfo":{{"name":"bench","version":"1"}}}}"#,
            version.unwrap_or("2025-11-25")
        );
        self.json(message, &[result.as_bytes()], &format!("mcp-session-id: {session}\r\n"))
    }

    fn request(&mut self, message: &Message<'_>, list: &str, filler: &[u8]) -> io::Result<()> {
        if message.id.is_none() {
            return self.status("202 Accepted");
        }
        let params = message.params.as_ref();
        let kind: &[u8] = if message.is_modern() { br#","resultType":"complete""# } else { b"" };
        match message.method.as_ref() {
            "server/discover" => self.json(message, &[DISCOVERED], ""),
            "tools/list" => {
                let hold = if message.is_modern() { HOLD } else { b"" };
                self.json(message, &[br#"{"tools":"#, list.as_bytes(), kind, hold, b"}"], "")
            }
            "tools/call" => {
                let name = params.and_then(|params| params.name.as_deref()).unwrap_or_default();
                let arguments = params.and_then(|params| params.arguments.as_ref());
                let nonce = arguments.and_then(|arguments| arguments.nonce.as_deref()).unwrap_or_default();
                let size = arguments.and_then(|arguments| arguments.size).unwrap_or(NONCE);
                if size > payload::LONGEST {
                    return self.long_json(message, nonce, size, kind);
                }
                let filler = filler.get(..size.saturating_sub(nonce.len())).unwrap_or(filler);
                let result = [
                    br#"{"content":[{"type":"text","text":""#,
                    nonce.as_bytes(),
                    filler,
                    br#""}],"isError":false"#,
                    kind,
                    b"}",
                ];
                if name.ends_with("progress") {
                    let token = params.and_then(|params| params.meta.as_ref()?.progress_token);
                    self.events(message, &result, token.map_or("0", RawValue::get))
                } else {
                    self.json(message, &result, "")
                }
            }
            "prompts/list" => self.json(message, &[br#"{"prompts":[]}"#], ""),
            "resources/list" => self.json(message, &[br#"{"resources":[]}"#], ""),
            "resources/templates/list" => self.json(message, &[br#"{"resourceTemplates":[]}"#], ""),
            _ => self.json(message, &[b"{}"], ""),
        }
    }

    /// A JSON answer in one write. `fields` are more header lines.
    fn json(&mut self, message: &Message<'_>, result: &[&[u8]], fields: &str) -> io::Result<()> {
        let id = message.id.map_or("null", RawValue::get);
        let size: usize = result.iter().map(|part| part.len()).sum();
        // `{"jsonrpc":"2.0","id":` and `,"result":` and `}`
        let length = size + id.len() + 22 + 10 + 1;
        write!(
            self.out,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{fields}content-length: {length}\r\n\r\n"
        )?;
        self.envelope(id, result)?;
        self.flush()
    }

    /// A JSON answer that is made while it is sent.
    fn long_json(&mut self, message: &Message<'_>, nonce: &str, size: usize, kind: &[u8]) -> io::Result<()> {
        let id = message.id.map_or("null", RawValue::get);
        let start =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":"{nonce}"#);
        let tail = [br#""}],"isError":false"#, kind, b"}}"].concat();
        let length = start.len() + size - nonce.len() + tail.len();
        write!(
            self.out,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{start}"
        )?;
        self.long = Some(Long { at: 0, end: size - nonce.len(), tail });
        self.flush()
    }

    fn envelope(&mut self, id: &str, result: &[&[u8]]) -> io::Result<()> {
        write!(self.out, r#"{{"jsonrpc":"2.0","id":{id},"result":"#)?;
        for part in result {
            self.out.extend_from_slice(part);
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Three progress notifications and the result, each in a write of its own.
    fn events(&mut self, message: &Message<'_>, result: &[&[u8]], token: &str) -> io::Result<()> {
        let id = message.id.map_or("null", RawValue::get);
        for step in 1..=3 {
            let text = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{step},"total":3}}}}"#
            );
            self.later.push_back(chunk(&text));
        }
        let mut text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"#);
        for part in result {
            text.push_str(str::from_utf8(part).unwrap_or_default());
        }
        text.push('}');
        let mut last = chunk(&text);
        last.extend_from_slice(b"0\r\n\r\n");
        self.later.push_back(last);
        self.out.extend_from_slice(STREAM_HEAD);
        if let Some(first) = self.later.pop_front() {
            self.out.extend_from_slice(&first);
        }
        self.flush()
    }

    fn status(&mut self, line: &str) -> io::Result<()> {
        self.incoming.next();
        write!(self.out, "HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n")?;
        self.flush()
    }

    /// A number as plain text.
    fn figure(&mut self, figure: u64) -> io::Result<()> {
        self.incoming.next();
        let text = figure.to_string();
        write!(self.out, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())?;
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        loop {
            while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
                match self.stream.write(rest) {
                    Ok(count) => self.written += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            self.out.clear();
            self.written = 0;
            let Some(long) = &mut self.long else { return Ok(()) };
            payload::extend(&mut self.out, &mut long.at, long.end);
            if long.at == long.end {
                self.out.append(&mut long.tail);
                self.long = None;
            }
        }
    }
}

/// One event in one chunk.
fn chunk(data: &str) -> Vec<u8> {
    let event = format!("event: message\ndata: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}
