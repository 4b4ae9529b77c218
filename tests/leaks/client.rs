//! Clients: each has open what its era lets it have, and then waits.

use crate::process;
use crate::wire::{Wire, field};
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    /// A session, its stream, and two calls.
    Legacy,
    /// Two calls, of which one is parked where the target is a legacy one.
    Modern,
    /// A subscription.
    Listen,
    /// A session on one event stream, and two calls.
    Sse,
}

pub(crate) const ERAS: [Era; 4] = [Era::Legacy, Era::Modern, Era::Listen, Era::Sse];

/// All of a client's connections.
pub(crate) type Open = Vec<Wire>;

/// A client that has got as far as it can. Where the machine is so busy that the gateway gives it up in between, it
/// begins again.
pub(crate) fn open(era: Era, gateway: SocketAddr) -> Open {
    let mut last = None;
    for _ in 0..20 {
        match attempt(era, gateway) {
            Ok(open) => return open,
            Err(error) => last = Some(error),
        }
    }
    panic!("a {era:?} client gets nowhere: {last:?}");
}

fn attempt(era: Era, gateway: SocketAddr) -> io::Result<Open> {
    match era {
        Era::Legacy => legacy(gateway),
        Era::Modern => modern(gateway),
        Era::Listen => {
            let mut listen = Wire::say(gateway, &modern_post("subscriptions/listen", "", LISTEN))?;
            listen.hear("subscriptions/acknowledged")?;
            Ok(vec![listen])
        }
        Era::Sse => sse(gateway),
    }
}

fn legacy(gateway: SocketAddr) -> io::Result<Open> {
    let mut first = Wire::say(gateway, &post("/mcp", "", &initialize("2025-11-25")))?;
    let answer = expect(&first.hear_answer()?, "200")?;
    let session = field(&answer, "mcp-session-id").ok_or_else(|| io::Error::other(answer.clone()))?;
    let session = format!("Mcp-Session-Id: {session}\r\n");
    first.write(&post("/mcp", &session, INITIALIZED))?;
    expect(&first.hear_answer()?, "202")?;
    let get = format!("GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{session}\r\n");
    let mut stream = Wire::say(gateway, &get)?;
    expect(&stream.hear("\r\n\r\n")?, "200")?;
    // One after the other: on a channel nobody knows which of two calls a question belongs to.
    let mut ask = Wire::say(gateway, &post("/mcp", &session, &call(2, "ask")))?;
    ask.hear("elicitation/create")?;
    let hang = Wire::say(gateway, &post("/mcp", &session, &call(3, "hang")))?;
    Ok(vec![first, stream, ask, hang])
}

fn modern(gateway: SocketAddr) -> io::Result<Open> {
    let hang = Wire::say(gateway, &modern_post("tools/call", "hang", r#""name":"hang""#))?;
    let mut ask = Wire::say(gateway, &modern_post("tools/call", "ask", r#""name":"ask""#))?;
    ask.hear("\"requestState\":")?;
    Ok(vec![hang, ask])
}

fn sse(gateway: SocketAddr) -> io::Result<Open> {
    let get = "GET /sse HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
    let mut stream = Wire::say(gateway, get)?;
    stream.hear("data: ")?;
    let place = stream.hear("\n")?;
    let mut posts = Wire::connect(gateway)?;
    let mut say = |body: &str| {
        posts.write(&post(place.trim_end(), "", body))?;
        expect(&posts.hear_answer()?, "202")
    };
    say(&initialize("2024-11-05"))?;
    stream.hear("\"result\"")?;
    say(INITIALIZED)?;
    say(&call(2, "ask"))?;
    stream.hear("elicitation/create")?;
    say(&call(3, "hang"))?;
    Ok(vec![stream, posts])
}

/// Not a test of its own: clients of each era, which are to be killed.
#[test]
fn as_clients() {
    let Some(words) = process::words("client::as_clients") else { return };
    let (address, count) = words.split_once(' ').unwrap();
    let (address, count): (SocketAddr, usize) = (address.parse().unwrap(), count.parse().unwrap());
    let open: Vec<Open> = (0..count).flat_map(|_| ERAS).map(|era| open(era, address)).collect();
    process::ready(&open.len().to_string());
    thread::sleep(Duration::from_secs(3600));
}

fn expect(answer: &str, status: &str) -> io::Result<String> {
    match answer.strip_prefix("HTTP/1.1 ").is_some_and(|rest| rest.starts_with(status)) {
        true => Ok(answer.to_owned()),
        false => Err(io::Error::other(answer.to_owned())),
    }
}

fn post(path: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json, text/event-stream\r\n\
         Content-Type: application/json\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// A request that stands for itself.
fn modern_post(method: &str, name: &str, params: &str) -> String {
    let prefix = "io.modelcontextprotocol/";
    let name = if name.is_empty() { String::new() } else { format!("Mcp-Name: {name}\r\n") };
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params},"_meta":{{"{prefix}protocolVersion":"2026-07-28","{prefix}clientInfo":{{"name":"leaks","version":"1"}},"{prefix}clientCapabilities":{{"elicitation":{{"form":{{}}}}}}}}}}}}"#
    );
    let fields = format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n{name}");
    post("/mcp", &fields, &body)
}

pub(crate) fn initialize(revision: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{revision}","capabilities":{{"elicitation":{{}}}},"clientInfo":{{"name":"leaks","version":"1"}}}}}}"#
    )
}

pub(crate) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const LISTEN: &str = r#""notifications":{"toolsListChanged":true}"#;

pub(crate) fn call(id: u32, name: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}"}}}}"#)
}
