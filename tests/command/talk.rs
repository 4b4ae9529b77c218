//! A client of a session, over HTTP by hand.

use crate::gateway::PATIENCE;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A session at `/mcp` of an address.
pub(crate) struct Talk {
    address: SocketAddr,
    /// What the `Host` field says.
    host: String,
    session: String,
}

impl Talk {
    pub(crate) fn begin(address: SocketAddr) -> Self {
        Self::begin_at(address, &address.to_string())
    }

    /// Initializes a session with a server that is addressed as `host`.
    pub(crate) fn begin_at(address: SocketAddr, host: &str) -> Self {
        let mut talk = Self { address, host: host.to_owned(), session: String::new() };
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}});
        let head: Vec<String> = talk.post(&body).lines().map(Result::unwrap).collect();
        let session = head.iter().find(|line| line.to_ascii_lowercase().starts_with("mcp-session-id:"));
        talk.session = format!("{}\r\n", session.unwrap_or_else(|| panic!("{head:?}")));
        talk
    }

    /// The names of all tools, sorted.
    pub(crate) fn tools(&self) -> Vec<String> {
        let answer = self.ask("tools/list", &json!({}));
        let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let mut names: Vec<String> =
            tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    /// The answer to a request.
    pub(crate) fn ask(&self, method: &str, params: &Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 2, "method": method, "params": params});
        let mut text = String::new();
        self.post(&body).read_to_string(&mut text).unwrap();
        let message = text.lines().find_map(|line| {
            serde_json::from_str::<Value>(line.strip_prefix("data: ").unwrap_or(line))
                .ok()
                .filter(Value::is_object)
        });
        message.unwrap_or_else(|| panic!("{text}"))
    }

    /// A call that takes two seconds, which has begun: it has told of its progress.
    pub(crate) fn slow_call(&self, tool: &str) -> BufReader<TcpStream> {
        let params = json!({"name": tool, "arguments": {"seconds": 2}, "_meta": {"progressToken": "p"}});
        let mut stream =
            self.post(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}));
        let mut line = String::new();
        while !line.contains("notifications/progress") {
            line.clear();
            assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the answer ended early");
        }
        stream
    }

    fn post(&self, body: &Value) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = body.to_string();
        write!(
            stream,
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Accept: application/json, text/event-stream\r\n{}Content-Length: {}\r\n\r\n{body}",
            self.host,
            self.session,
            body.len()
        )
        .unwrap();
        BufReader::new(stream)
    }
}

/// The status of a GET that is addressed to `host`.
pub(crate) fn status(address: SocketAddr, host: &str) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /mcp HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer[9..12].parse().unwrap()
}
