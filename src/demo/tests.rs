//! The demo servers as a client meets them, without the gateway.

use super::*;
use crate::greeting::Client;
use hyper::Method;
use std::future::Future;

/// A client of the server called `name`.
async fn client(name: &str) -> Client {
    let servers = start().await.unwrap();
    let server = servers.iter().find(|server| server.written == name).unwrap();
    Client::new(server.target.authority.parse().unwrap())
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn tool_text(result: &Value) -> &str {
    result.pointer("/content/0/text").and_then(Value::as_str).unwrap()
}

#[test]
fn a_session_is_needed_and_ends() {
    run(async {
        let mut client = client("clock").await;
        let missing = client.call("ping", json!({})).await.unwrap_err().to_string();
        assert!(missing.starts_with("400 Bad Request: "), "{missing}");
        client.initialize().await.unwrap();
        assert_eq!(client.call("ping", json!({})).await.unwrap(), json!({}));
        client.end().await.unwrap();
        let gone = client.call("ping", json!({})).await.unwrap_err().to_string();
        assert!(gone.starts_with("404 Not Found: "), "{gone}");
        let refused = client.send(Method::GET, String::new()).await.unwrap_err().to_string();
        assert!(refused.starts_with("405 Method Not Allowed: "), "{refused}");
    });
}

#[test]
fn a_wait_without_a_second_is_an_event_stream_of_one() {
    run(async {
        let mut client = client("clock").await;
        client.initialize().await.unwrap();
        let call = json!({
            "jsonrpc": "2.0", "id": "x", "method": "tools/call",
            "params": {"name": "wait", "arguments": {"seconds": 0}, "_meta": {"progressToken": 7}},
        });
        let answer = client.send(Method::POST, call.to_string()).await.unwrap();
        let result = json!({
            "jsonrpc": "2.0", "id": "x", "result": {"content": [{"type": "text", "text": "waited 0 s"}]},
        });
        assert_eq!(answer, format!("event: message\ndata: {result}\n\n"));
        let refused =
            client.call("tools/call", json!({"name": "wait", "arguments": {"seconds": 61}})).await.unwrap();
        assert_eq!(tool_text(&refused), "seconds must be a whole number from 0 to 60");
        assert_eq!(refused["isError"], true);
    });
}

#[test]
fn notes_are_written_by_tools_and_read_as_resources() {
    run(async {
        let mut client = client("notes").await;
        client.initialize().await.unwrap();
        for (text, uri) in [("milk", "note://1"), ("bread", "note://2")] {
            let added =
                client.call("tools/call", json!({"name": "add", "arguments": {"text": text}})).await.unwrap();
            assert_eq!(tool_text(&added), uri);
        }
        let list = client.call("tools/call", json!({"name": "list"})).await.unwrap();
        assert_eq!(tool_text(&list), "1. milk\n2. bread");
        let read = client.call("resources/read", json!({"uri": "note://2"})).await.unwrap();
        assert_eq!(read["contents"], json!([{"uri": "note://2", "mimeType": "text/plain", "text": "bread"}]));
        let missing =
            client.call("resources/read", json!({"uri": "note://3"})).await.unwrap_err().to_string();
        assert!(missing.contains("-32002") && missing.contains("note://3"), "{missing}");
        let prompt = client.call("prompts/get", json!({"name": "summarize"})).await.unwrap();
        assert_eq!(prompt["messages"][0]["content"]["text"], "Summarize these notes:\n1. milk\n2. bread");
    });
}
