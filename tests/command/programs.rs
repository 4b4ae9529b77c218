//! Targets that are programs, through the whole gateway: they serve, and nothing of them stays.

use crate::gateway::{File, Gateway, PATIENCE, runtimes};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A server in a few lines of shell: its one tool tells the number of its process.
const SERVER: &str = r#"while read -r line; do
    id=${line#*\"id\":}; id=${id%%[,\}]*}
    case $line in
    *'"notifications/'*) continue ;;
    *'"initialize"'*) answer='"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"shell","version":"1"}}' ;;
    *'"tools/list"'*) answer='"result":{"tools":[{"name":"pid","inputSchema":{"type":"object"}}]}' ;;
    *'"tools/call"'*) answer='"result":{"content":[{"type":"text","text":"'$$'"}]}' ;;
    *) answer='"error":{"code":-32601,"message":"method not found"}' ;;
    esac
    printf '{"jsonrpc":"2.0","id":%s,%s}\n' "$id" "$answer"
done"#;

/// It hears no SIGTERM, neither does its own child, and the end of its input tells it nothing.
fn stubborn() -> String {
    format!("trap '' TERM; sh -c 'while :; do sleep 1; done' $MARK &\n{SERVER}\nwhile :; do sleep 1; done")
}

/// A configuration with one target, a shell that runs `script` and can be found by `mark`.
pub(crate) fn configuration(name: &str, script: &str, mark: &str) -> File {
    let server = json!({"command": "sh", "args": ["-c", script, mark], "env": {"MARK": mark}});
    let text = json!({"mcpServers": {"tool": server}, "timeouts": {"initialize": "30s"}}).to_string();
    // `${` is the configuration's own.
    File::new(name, &text.replace("${", "${DOLLAR:-$}{"))
}

pub(crate) fn server() -> &'static str {
    SERVER
}

pub(crate) fn mark(name: &str, runtime: &str) -> String {
    format!("command-test-{}-{name}-{runtime}", std::process::id())
}

/// How many processes have `mark` in their command line.
pub(crate) fn marked(mark: &str) -> usize {
    let folders = fs::read_dir("/proc").unwrap().flatten();
    let lines = folders.filter_map(|folder| fs::read(folder.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())).count()
}

pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A client with a session.
struct Client {
    gateway: SocketAddr,
    session: String,
}

impl Client {
    fn new(gateway: SocketAddr) -> Self {
        let mut client = Self { gateway, session: String::new() };
        let (head, body) = client.send("POST", &initialize().to_string());
        assert!(head.starts_with("HTTP/1.1 200"), "{head}{body}");
        let id = |line: &str| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("mcp-session-id").then(|| value.trim().to_owned())
        };
        client.session = head.lines().find_map(id).unwrap();
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        client.send("POST", &initialized.to_string());
        client
    }

    /// The answer to a call of the tool.
    fn call(&self) -> Value {
        let (_, body) = self.send("POST", &call().to_string());
        let json = body.lines().filter_map(|line| line.strip_prefix("data:")).next_back().unwrap_or(&body);
        serde_json::from_str(json).unwrap_or_else(|_| panic!("{body}"))
    }

    fn send(&self, method: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.gateway).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let session = match self.session.as_str() {
            "" => String::new(),
            id => format!("Mcp-Session-Id: {id}\r\n"),
        };
        write!(
            stream,
            "{method} /mcp HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\n{session}Content-Length: {}\r\n\r\n{body}",
            self.gateway,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }
}

pub(crate) fn initialize() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}})
}

pub(crate) fn call() -> Value {
    json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "pid", "arguments": {}}})
}

/// The number of the process that answered.
fn pid(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

fn gateway(runtime: &str, file: &File) -> Gateway {
    // One worker: each has a process of its own to find out what a target speaks.
    Gateway::start(&["--config", file.path(), "--workers=1", &format!("--runtime={runtime}")])
}

#[test]
fn each_session_has_a_process_until_it_ends() {
    for runtime in runtimes() {
        let mark = mark("session", runtime);
        let file = configuration(&format!("session-{runtime}.json"), SERVER, &mark);
        let gateway = gateway(runtime, &file);
        let clients = [Client::new(gateway.endpoint), Client::new(gateway.endpoint)];
        let [one, two] = clients.each_ref().map(|client| client.call());
        assert_ne!(pid(&one), pid(&two));
        assert_eq!(pid(&clients[0].call()), pid(&one));
        clients.iter().for_each(|client| assert!(client.send("DELETE", "").0.starts_with("HTTP/1.1 20")));
        until("their processes are gone", || marked(&mark) == 0);
        assert_eq!(gateway.end("-TERM"), Some(0));
    }
}

/// Takes the four seconds that a stubborn one gets, on each runtime.
#[test]
fn nothing_outlives_a_gateway_that_is_stopped() {
    for runtime in runtimes() {
        let mark = mark("stopped", runtime);
        let file = configuration(&format!("stopped-{runtime}.json"), &stubborn(), &mark);
        let gateway = gateway(runtime, &file);
        pid(&Client::new(gateway.endpoint).call());
        assert!(marked(&mark) >= 2);
        assert_eq!(gateway.end("-TERM"), Some(0));
        assert_eq!(marked(&mark), 0);
    }
}

/// Likewise.
#[test]
fn nothing_outlives_a_gateway_that_is_killed() {
    for runtime in runtimes() {
        let mark = mark("killed", runtime);
        let file = configuration(&format!("killed-{runtime}.json"), &stubborn(), &mark);
        let gateway = gateway(runtime, &file);
        pid(&Client::new(gateway.endpoint).call());
        assert!(marked(&mark) >= 2);
        assert_eq!(gateway.end("-KILL"), None);
        until("nothing is left", || marked(&mark) == 0);
    }
}

#[test]
fn a_program_that_cannot_be_started_is_named() {
    for runtime in runtimes() {
        let text =
            r#"{"mcpServers": {"tool": {"command": "/nonexistent/server"}}, "timeouts": {"gather": "1s"}}"#;
        let file = File::new(&format!("missing-{runtime}.json"), text);
        let gateway = gateway(runtime, &file);
        let answer = Client::new(gateway.endpoint).call();
        assert!(answer["result"]["isError"] == true || answer["error"]["code"].is_i64(), "{answer}");
        let logged = gateway.logged("can't start the process");
        assert_eq!(logged["target"], "tool");
        assert_eq!(
            logged["reason"],
            "\"/nonexistent/server\" is not found, or the folder it starts in is not"
        );
        assert_eq!(gateway.end("-TERM"), Some(0));
    }
}
