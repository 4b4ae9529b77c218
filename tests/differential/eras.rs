//! Conversations that cross eras and transports, each on both runtimes and compared byte for byte.

use crate::conversations::alike_before;
use crate::talk::{
    ACCEPTED, CALL, EVENTS, INITIALIZE, INITIALIZED, INITIALIZED_RESULT, LOGGED, Party, RESULT, TOOLS, Talk,
    chunk, json, post,
};
use crate::wire::field;

/// What a modern client says of itself in `_meta`.
const CLAIM: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"script","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#;
const DISCOVERED: &str = r#"{"jsonrpc":"2.0","id":"mcp-gateway-discover","result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"script","version":"1"}}}}"#;
const MODERN_RESULT: &str = r#"{ "id":2, "jsonrpc":"2.0", "result":{"resultType":"complete","content":[{"type":"text","text":"3\ud83d\ude00"}],"_x":[null]} }"#;

/// A call that stands for itself.
fn modern_call() -> String {
    CALL.replace(r#""name":"add","#, &format!(r#""name":"add",{CLAIM},"#))
}

fn post_modern(body: &str) -> String {
    post("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: add\r\n", body)
}

/// A client's session at what speaks for itself.
fn session(talk: &mut Talk, client: Party) -> String {
    let answer = talk.hear_message(client);
    let session = format!("Mcp-Session-Id: {}\r\n", field(&answer, "mcp-session-id").unwrap());
    talk.say(client, post(&session, INITIALIZED));
    assert!(talk.hear_message(client).starts_with("HTTP/1.1 202 "));
    session
}

#[test]
fn a_modern_client_at_a_modern_target() {
    alike_before(&["modern"], "", |talk| {
        let client = talk.client();
        talk.say(client, post_modern(&modern_call()));
        let target = talk.target(0);
        let asked = talk.hear_message(target);
        assert!(asked.ends_with(&modern_call()));
        assert_eq!(field(&asked, "mcp-name"), Some("add"));
        talk.say(target, json("", MODERN_RESULT));
        assert!(talk.hear_message(client).ends_with(MODERN_RESULT));
    });
}

#[test]
fn a_modern_client_at_a_legacy_target() {
    alike_before(&["legacy"], "", |talk| {
        let client = talk.client();
        talk.say(client, post_modern(&modern_call()));
        let target = talk.target(0);
        // A session that the client never sees, and the tools, since header fields may repeat their arguments.
        assert!(talk.hear_message(target).contains(r#""method":"initialize""#));
        let initialized = INITIALIZED_RESULT.replace(r#""id":1"#, r#""id":2"#);
        talk.say(target, json("Mcp-Session-Id: its-own\r\n", &initialized));
        assert!(talk.hear_message(target).ends_with(INITIALIZED));
        talk.say(target, ACCEPTED);
        assert!(talk.hear_message(target).ends_with(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#));
        talk.say(target, json("", &format!(r#"{{"jsonrpc":"2.0","id":1,"result":{TOOLS}}}"#)));
        let asked = talk.hear_message(target);
        assert!(asked.ends_with(&CALL.replace(r#""id":2"#, r#""id":3"#)));
        assert_eq!(field(&asked, "mcp-session-id"), Some("its-own"));
        talk.say(target, json("", &RESULT.replace(r#""id":2"#, r#""id":3"#)));
        let finished = RESULT.replace(
            r#""_x":[null]}"#,
            r#""_x":[null],"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"script","version":"1"}}}"#,
        );
        assert!(talk.hear_message(client).ends_with(&finished));
        // The next one finds all that.
        talk.say(client, post_modern(&modern_call()));
        assert!(talk.hear_message(target).contains(r#""method":"tools/call""#));
        talk.say(target, [EVENTS, &chunk(&format!("data: {LOGGED}\n\n"))].concat());
        talk.say(target, chunk(&format!("data: {}\n\n", RESULT.replace(r#""id":2"#, r#""id":4"#))));
        talk.say(target, "0\r\n\r\n");
        assert!(talk.hear(client, "0\r\n\r\n").contains(&finished));
    });
}

#[test]
fn a_legacy_client_at_a_modern_target() {
    alike_before(&["modern"], "", |talk| {
        let client = talk.client();
        talk.say(client, post("", INITIALIZE));
        let target = talk.target(0);
        assert!(talk.hear_message(target).contains(r#""method":"server/discover""#));
        talk.say(target, json("", DISCOVERED));
        let session = session(talk, client);
        talk.say(client, post(&session, CALL));
        // Which header fields repeat arguments is said by the tool.
        assert!(talk.hear_message(target).contains(r#""method":"tools/list""#));
        let list = format!(r#"{{"jsonrpc":"2.0","id":"mcp-gateway-names","result":{TOOLS}}}"#);
        talk.say(target, json("", &list));
        let asked = talk.hear_message(target);
        let claim = CLAIM.replace(r#"Capabilities":{}"#, r#"Capabilities":{"roots":{}}"#);
        assert!(asked.ends_with(&CALL.replace(r#""name":"add""#, &format!(r#"{claim},"name":"add""#))));
        assert_eq!(field(&asked, "mcp-name"), Some("add"));
        talk.say(target, json("", MODERN_RESULT));
        assert!(talk.hear_message(client).ends_with(RESULT));
    });
}

#[test]
fn a_client_of_http_and_sse() {
    alike_before(&["legacy"], "", |talk| {
        let (stream, poster) = (talk.client(), talk.client());
        talk.say(stream, "GET /sse HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
        let opened = talk.hear(stream, "\n\n\r\n");
        let (_, place) = opened.split_once("event: endpoint\ndata: ").unwrap();
        let say = |talk: &mut Talk, body: &str| {
            talk.say(poster, post("", body).replace("/mcp", place.trim_end()));
            assert!(talk.hear_message(poster).starts_with("HTTP/1.1 202 "));
        };
        say(talk, INITIALIZE);
        let target = talk.target(0);
        assert!(talk.hear_message(target).ends_with(INITIALIZE));
        talk.say(target, json("Mcp-Session-Id: its-own\r\n", INITIALIZED_RESULT));
        assert!(talk.hear(stream, "\n\n\r\n").contains(&format!("data: {INITIALIZED_RESULT}\n")));
        say(talk, INITIALIZED);
        assert!(talk.hear_message(target).ends_with(INITIALIZED));
        talk.say(target, ACCEPTED);
        // Its stream is the session's as well.
        assert!(talk.hear_message(target).starts_with("GET /mcp "));
        talk.say(target, [EVENTS, &chunk(&format!("data: {LOGGED}\n\n"))].concat());
        assert!(talk.hear(stream, "\n\n\r\n").contains(&format!("data: {LOGGED}\n")));
        say(talk, CALL);
        let other = talk.target(0);
        assert!(talk.hear_message(other).ends_with(CALL));
        talk.say(other, json("", RESULT));
        assert!(talk.hear(stream, "\n\n\r\n").contains(&format!("data: {RESULT}\n")));
    });
}

/// The configuration of a server that is a child process.
fn child(protocol: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential/child.sh");
    format!("mcpServers:\n  child: {{command: sh, args: ['{script}'], protocol: {protocol}}}\n")
}

#[test]
fn a_legacy_client_at_a_child_process() {
    alike_before(&[], &child("legacy"), |talk| {
        let client = talk.client();
        talk.say(client, post("", INITIALIZE));
        let session = session(talk, client);
        talk.say(client, post(&session, CALL));
        let heard = [INITIALIZE, INITIALIZED, CALL].join(",");
        assert!(talk.hear_message(client).ends_with(&format!(r#"{{"heard":[{heard}]}}}}"#)));
    });
}

#[test]
fn a_modern_client_at_a_legacy_child_process() {
    alike_before(&[], &child("legacy"), |talk| {
        let client = talk.client();
        talk.say(client, post_modern(&modern_call()));
        let answer = talk.hear_message(client);
        assert!(answer.contains(&CALL.replace(r#""id":2"#, r#""id":3"#)), "{answer}");
        assert!(answer.contains(r#"],"resultType":"complete","_meta":"#), "{answer}");
    });
}

#[test]
fn a_modern_client_at_a_modern_child_process() {
    alike_before(&[], &child("modern"), |talk| {
        let client = talk.client();
        talk.say(client, post_modern(&modern_call()));
        let heard = modern_call().replace(r#""id":2"#, r#""id":1"#);
        assert!(talk.hear_message(client).ends_with(&format!(r#"{{"heard":[{heard}]}}}}"#)));
    });
}
