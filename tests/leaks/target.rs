//! Scripted targets: one that keeps sessions, a modern one, one of 2024-11-05 over HTTP+SSE, and a child process. Each has
//! a tool `hang` that never answers and a tool `ask` that asks its client something and waits.

use crate::gateway::until_none;
use crate::process::{self, Process};
use crate::wire::Wire;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Legacy,
    Modern,
    Sse,
    Process,
}

/// A target before which a gateway is started.
pub(crate) struct Target {
    pub(crate) kind: Kind,
    /// In the command line of children.
    mark: String,
    /// What serves over HTTP, and where.
    server: Option<(Process, SocketAddr)>,
}

impl Target {
    pub(crate) fn start(kind: Kind) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mark = format!("leaks-{}-{}", std::process::id(), COUNT.fetch_add(1, SeqCst));
        let mut target = Self { kind, mark, server: None };
        if kind != Kind::Process {
            target.serve(0);
        }
        target
    }

    fn serve(&mut self, port: u16) {
        let (process, address) = Process::start("target::as_target", &format!("{:?} {port}", self.kind));
        self.server = Some((process, address.parse().unwrap()));
    }

    /// As the configuration has it.
    pub(crate) fn entry(&self) -> String {
        let address = self.server.as_ref().map(|(_, address)| address.to_string()).unwrap_or_default();
        match self.kind {
            Kind::Legacy | Kind::Modern => format!("{{url: 'http://{address}/mcp'}}"),
            Kind::Sse => format!("{{url: 'http://{address}/sse', type: sse}}"),
            Kind::Process => {
                let script = Path::new(env!("CARGO_TARGET_TMPDIR")).join("leaks-child.sh");
                // All that write it write the same; none reads half of it.
                let own = script.with_extension(&self.mark);
                fs::write(&own, CHILD).unwrap();
                fs::rename(&own, &script).unwrap();
                format!("{{command: /bin/sh, args: ['{}', '{}']}}", script.display(), self.mark)
            }
        }
    }

    /// kill -9, for all that it is.
    pub(crate) fn kill(&mut self) -> Option<u16> {
        process::kill(&process::marked(&self.mark));
        let (process, address) = self.server.take()?;
        process.kill();
        Some(address.port())
    }

    /// Starts it again where it was.
    pub(crate) fn start_again(&mut self, port: Option<u16>) {
        if let Some(port) = port {
            self.serve(port);
        }
    }

    /// What the gateway has open here: children, or connections and sessions.
    pub(crate) fn holds(&self) -> Vec<String> {
        let Some((_, address)) = &self.server else {
            return process::marked(&self.mark).iter().map(|pid| format!("child {pid}")).collect();
        };
        let state =
            Wire::say(*address, "GET /state HTTP/1.1\r\n\r\n").and_then(|mut wire| wire.hear_answer());
        let state = state.unwrap();
        let (_, state) = state.split_once("\r\n\r\n").unwrap();
        if state == "0 connections, 0 sessions" { Vec::new() } else { vec![state.to_owned()] }
    }

    /// Waits until no child and no connection is left. A gateway that is gone can't end sessions.
    pub(crate) fn until_disconnected(&self) {
        until_none("what a gateway that is gone had open", || {
            self.holds().into_iter().filter(|held| !held.starts_with("0 connections")).collect()
        });
    }

    pub(crate) fn until_alone(&self) {
        until_none("what is open at the target", || self.holds());
    }
}

/// Not a test of its own: what [`Target`] starts.
#[test]
fn as_target() {
    let Some(words) = process::words("target::as_target") else { return };
    let (kind, port) = words.split_once(' ').unwrap();
    let kind = match kind {
        "Legacy" => Kind::Legacy,
        "Modern" => Kind::Modern,
        _ => Kind::Sse,
    };
    let listener = TcpListener::bind(("127.0.0.1", port.parse().unwrap())).unwrap();
    process::ready(&listener.local_addr().unwrap().to_string());
    let server = Arc::new(Server { kind, ..Server::default() });
    for stream in listener.incoming().flatten() {
        let server = Arc::clone(&server);
        let serve = move || {
            server.connections.fetch_add(1, SeqCst);
            // Whatever is wrong with a connection ends it.
            _ = server.serve(&stream);
            server.connections.fetch_sub(1, SeqCst);
        };
        thread::Builder::new().stack_size(256 << 10).spawn(serve).unwrap();
    }
}

impl Default for Kind {
    fn default() -> Self {
        Self::Legacy
    }
}

#[derive(Default)]
struct Server {
    kind: Kind,
    connections: AtomicUsize,
    sessions: AtomicUsize,
    /// The event streams on which everything is answered.
    streams: Mutex<BTreeMap<usize, TcpStream>>,
    given: AtomicUsize,
}

/// How a request is answered.
enum Reply {
    /// With this status, these fields, this body.
    Whole(u16, String, String),
    /// With an event stream that begins so, and stays open.
    Stream(String),
    Never,
}

impl Server {
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        while let Some((line, body)) = request(&mut reader)? {
            let (method, path) = line.split_once(' ').unwrap_or_default();
            let path = path.split(' ').next().unwrap_or_default();
            let reply = match (method, path) {
                (_, "/state") => {
                    let (connections, sessions) =
                        (self.connections.load(SeqCst) - 1, self.sessions.load(SeqCst));
                    Reply::Whole(
                        200,
                        String::new(),
                        format!("{connections} connections, {sessions} sessions"),
                    )
                }
                ("POST", _) => self.message(path, &body),
                ("DELETE", _) => {
                    self.sessions.fetch_sub(1, SeqCst);
                    Reply::Whole(200, String::new(), String::new())
                }
                (_, "/sse") => self.begin_stream(stream)?,
                _ if self.kind == Kind::Legacy => Reply::Stream(String::new()),
                _ => Reply::Whole(405, String::new(), String::new()),
            };
            write_reply(stream, &reply)?;
            if !matches!(reply, Reply::Whole(..)) {
                // Until the gateway closes it. One that was reset has no address any more.
                _ = io::copy(&mut reader, &mut io::sink());
                let peer = stream.peer_addr().ok();
                self.streams.lock().unwrap().retain(|_, other| other.peer_addr().ok() != peer);
                return Ok(());
            }
        }
        Ok(())
    }

    fn begin_stream(&self, stream: &TcpStream) -> io::Result<Reply> {
        let number = self.given.fetch_add(1, SeqCst);
        self.streams.lock().unwrap().insert(number, stream.try_clone()?);
        Ok(Reply::Stream(format!("event: endpoint\ndata: /messages?{number}\n\n")))
    }

    fn message(&self, path: &str, body: &str) -> Reply {
        let message: Value = serde_json::from_str(body).unwrap_or_default();
        let answer = answer(self.kind, &message);
        let accepted = || Reply::Whole(202, String::new(), String::new());
        if self.kind == Kind::Sse {
            let Some((_, number)) = path.split_once('?') else {
                return Reply::Whole(405, String::new(), String::new());
            };
            let streams = self.streams.lock().unwrap();
            if let (Some(stream), Some(answer)) = (streams.get(&number.parse().unwrap()), answer) {
                // It may be gone by now.
                _ = write!(&*stream, "{}", chunk(&format!("data: {answer}\n\n")));
            }
            return accepted();
        }
        let mut fields = "Content-Type: application/json\r\n".to_owned();
        match (message["method"].as_str(), answer) {
            (Some("subscriptions/listen"), Some(answer)) => Reply::Stream(format!("data: {answer}\n\n")),
            (Some("tools/call"), Some(answer)) if self.kind == Kind::Legacy => {
                Reply::Stream(format!("data: {answer}\n\n"))
            }
            (Some("tools/call"), None) => Reply::Never,
            (_, None) => accepted(),
            (Some("initialize"), Some(answer)) if self.kind == Kind::Legacy => {
                self.sessions.fetch_add(1, SeqCst);
                fields += &format!("Mcp-Session-Id: {}\r\n", self.given.fetch_add(1, SeqCst));
                Reply::Whole(200, fields, answer)
            }
            (_, Some(answer)) if answer.contains("\"error\"") => Reply::Whole(400, fields, answer),
            (_, Some(answer)) => Reply::Whole(200, fields, answer),
        }
    }
}

/// What a target of this kind says to a message, if anything.
fn answer(kind: Kind, message: &Value) -> Option<String> {
    let (method, id) = (message["method"].as_str()?, message.get("id")?);
    let form = r#""method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}}}"#;
    let result = match (method, kind) {
        ("server/discover", Kind::Modern) => {
            r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true}}}"#.to_owned()
        }
        ("server/discover", _) | ("initialize", Kind::Modern) => {
            return Some(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"Method not found"}}}}"#
            ));
        }
        ("initialize", _) => format!(
            r#"{{"protocolVersion":{},"capabilities":{{"tools":{{"listChanged":true}}}},"serverInfo":{{"name":"leaks","version":"1"}}}}"#,
            message["params"]["protocolVersion"]
        ),
        ("tools/list", _) => {
            let tool = |name| format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#);
            format!(r#"{{"resultType":"complete","tools":[{},{}]}}"#, tool("ask"), tool("hang"))
        }
        ("tools/call", _) if message["params"]["name"] == "hang" => return None,
        ("tools/call", Kind::Modern) => {
            format!(r#"{{"resultType":"input_required","inputRequests":{{"q":{{{form}}}}},"requestState":"s"}}"#)
        }
        ("tools/call", _) => return Some(format!(r#"{{"jsonrpc":"2.0","id":"q",{form}}}"#)),
        ("subscriptions/listen", _) => {
            return Some(format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"notifications":{}}}}}"#,
                message["params"]["notifications"]
            ));
        }
        _ => "{}".to_owned(),
    };
    Some(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
}

/// The same as a program: a line for a line.
const CHILD: &str = r#"
while IFS= read -r line; do
    case $line in *'"id":'*'"method":'*) ;; *) continue ;; esac
    id=${line#*'"id":'}
    id=${id%%,*}
    case $line in
    *'"method":"initialize"'*) body='"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"leaks","version":"1"}}' ;;
    *'"method":"server/discover"'*) body='"error":{"code":-32601,"message":"Method not found"}' ;;
    *'"method":"tools/list"'*) body='"result":{"tools":[{"name":"ask","inputSchema":{"type":"object"}},{"name":"hang","inputSchema":{"type":"object"}}]}' ;;
    *'"hang"'*) continue ;;
    *'"ask"'*) id='"q"' body='"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}}}' ;;
    *) body='"result":{}' ;;
    esac
    printf '{"jsonrpc":"2.0","id":%s,%s}\n' "$id" "$body"
done
"#;

/// The next request: its first line and its body.
fn request(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<(String, String)>> {
    let (mut first, mut length) = (String::new(), 0);
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((first.trim_end().to_owned(), String::from_utf8(body).map_err(io::Error::other)?)))
}

fn write_reply(mut to: &TcpStream, reply: &Reply) -> io::Result<()> {
    let text = match reply {
        Reply::Whole(status, fields, body) => {
            format!("HTTP/1.1 {status} x\r\n{fields}content-length: {}\r\n\r\n{body}", body.len())
        }
        Reply::Stream(begin) => {
            let begin = if begin.is_empty() { String::new() } else { chunk(begin) };
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n{begin}"
            )
        }
        Reply::Never => return Ok(()),
    };
    to.write_all(text.as_bytes())
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}
