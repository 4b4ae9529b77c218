//! What a request claims of its era, and what its header fields must repeat of it.

use crate::support::client::{EVERYTHING, INITIALIZED, call, initialize, post, request, session_field};
use crate::support::{Answer, Setup, World};
use serde_json::json;

const PREFIX: &str = "io.modelcontextprotocol/";

/// A request with this `_meta`.
fn claiming(method: &str, params: &str, meta: &str) -> String {
    let comma = if params.is_empty() { "" } else { "," };
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}{comma}"_meta":{{{meta}}}}}}}"#
    )
}

/// What stands for a handshake, in this version.
fn envelope(version: &str) -> String {
    format!(r#""{PREFIX}protocolVersion":"{version}","{PREFIX}clientCapabilities":{{}}"#)
}

fn fields(version: &str, method: &str, name: Option<&str>) -> String {
    let name = name.map(|name| format!("Mcp-Name: {name}\r\n")).unwrap_or_default();
    format!("MCP-Protocol-Version: {version}\r\nMcp-Method: {method}\r\n{name}")
}

fn send(world: &mut World, fields: &str, body: &str) -> Answer {
    let client = world.connect(0);
    world.send(client, &post(fields, body));
    world.clients[client].answer()
}

fn refused(answer: &Answer) -> (u16, Option<i64>) {
    (answer.status, answer.code())
}

const NAMED: &str = r#""name":"echo""#;

#[test]
fn a_claim_is_checked_then_the_fields_then_the_version() {
    let mut world = Setup::modern(&["alpha"]);
    let version = format!(r#""{PREFIX}protocolVersion":"2026-07-28""#);
    let with = |more: &str| format!("{}{more}", envelope("2026-07-28"));
    let good = fields("2026-07-28", "tools/call", Some("echo"));
    // Everything is wrong at once: the claim comes first, then the fields, then the version.
    for (fields, meta, expected) in [
        (String::new(), version.clone(), -32602),
        (String::new(), format!(r#"{version},"{PREFIX}clientCapabilities":7"#), -32602),
        (good.clone(), format!(r#""{PREFIX}protocolVersion":7,"{PREFIX}clientCapabilities":{{}}"#), -32602),
        (good.clone(), with(&format!(r#","{PREFIX}clientInfo":"me""#)), -32602),
        (good.clone(), with(&format!(r#","{PREFIX}logLevel":"loud""#)), -32602),
        (good.clone(), with(&format!(r#","{PREFIX}logLevel":3"#)), -32602),
        (String::new(), envelope("2099-01-01"), -32020),
        (good.clone(), envelope("2099-01-01"), -32020),
        (fields("2099-01-01", "tools/call", Some("echo")), envelope("2099-01-01"), -32022),
        // A revision with sessions is no version that a message can claim for itself.
        (fields("2025-11-25", "tools/call", Some("echo")), envelope("2025-11-25"), -32022),
    ] {
        let answer = send(&mut world, &fields, &claiming("tools/call", NAMED, &meta));
        assert_eq!(refused(&answer), (400, Some(expected)), "{meta} {fields}: {}", answer.text());
        assert_eq!(answer.json()["id"], 1);
    }
    let answer = send(
        &mut world,
        &fields("2099-01-01", "tools/call", Some("echo")),
        &claiming("tools/call", NAMED, &envelope("2099-01-01")),
    );
    assert_eq!(
        answer.json()["error"]["data"],
        json!({"supported": ["2026-07-28"], "requested": "2099-01-01"})
    );
    assert_eq!(world.server("alpha").count("tools/call"), 0);
    for level in ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"] {
        let meta = with(&format!(r#","{PREFIX}logLevel":"{level}""#));
        assert_eq!(send(&mut world, &good, &claiming("tools/call", NAMED, &meta)).status, 200);
    }
}

#[test]
fn fields_repeat_version_method_and_name() {
    let mut world = Setup::modern(&["alpha"]);
    let body = claiming("tools/call", NAMED, &envelope("2026-07-28"));
    let (version, method, name) =
        ("MCP-Protocol-Version: 2026-07-28\r\n", "Mcp-Method: tools/call\r\n", "Mcp-Name: echo\r\n");
    for (number, fields) in [
        [version, method, ""],
        [version, "", name],
        ["", method, name],
        [version, method, "Mcp-Name: Echo\r\n"],
        [version, "Mcp-Method: Tools/Call\r\n", name],
        [version, "Mcp-Method: tools/list\r\n", name],
        ["MCP-Protocol-Version: 2025-11-25\r\n", method, name],
        [version, method, "Mcp-Name: echo\r\nmcp-name: echo\r\n"],
        [version, "Mcp-Method: tools/call\r\nmcp-method: tools/call\r\n", name],
        ["MCP-Protocol-Version: 2026-07-28\r\nmcp-protocol-version: 2026-07-28\r\n", method, name],
        [version, method, "Mcp-Name: =?base64?!!!?=\r\n"],
        [version, method, "Mcp-Name: =?base64?ZWNobw=?=\r\n"],
        [version, method, "Mcp-Name: =?base64?RWNobw==?=\r\n"],
        [version, method, "Mcp-Name:\r\n"],
    ]
    .into_iter()
    .enumerate()
    {
        let answer = send(&mut world, &fields.concat(), &body);
        assert_eq!(refused(&answer), (400, Some(-32020)), "{number}: {}", answer.text());
    }
    assert_eq!(world.server("alpha").count("tools/call"), 0);
    for fields in [
        ["mcp-protocol-version: 2026-07-28\r\n", "MCP-METHOD:tools/call\r\n", "mcp-name:  echo \t\r\n"],
        [version, method, "Mcp-Name: =?base64?ZWNobw==?=\r\n"],
    ] {
        assert_eq!(send(&mut world, &fields.concat(), &body).status, 200, "{fields:?}");
    }
}

#[test]
fn a_name_that_is_no_field_value_is_written_in_base64() {
    let mut world = Setup::modern(&["alpha"]);
    let body = |name: &str| claiming("tools/call", &format!(r#""name":{name}"#), &envelope("2026-07-28"));
    for (name, field) in [
        (r#""föhn""#, "=?base64?ZsO2aG4=?="),
        (r#"" x""#, "=?base64?IHg=?="),
        (r#""=?base64?eA==?=""#, "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
        (r#""a\u0020b""#, "a b"),
    ] {
        let answer = send(&mut world, &fields("2026-07-28", "tools/call", Some(field)), &body(name));
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let seen = world.server("alpha").last("tools/call").clone();
        assert_eq!(seen.field("mcp-name"), Some(field), "it is written anew as it was");
        assert_eq!(
            seen.json()["params"]["name"].to_string(),
            serde_json::from_str::<serde_json::Value>(name).unwrap().to_string()
        );
    }
}

#[test]
fn names_are_those_of_the_method() {
    let mut world = Setup::modern(&["alpha"]);
    let read = claiming("resources/read", r#""uri":"demo://one""#, &envelope("2026-07-28"));
    assert_eq!(
        send(&mut world, &fields("2026-07-28", "resources/read", Some("demo://one")), &read).status,
        200
    );
    assert_eq!(
        refused(&send(&mut world, &fields("2026-07-28", "resources/read", None), &read)),
        (400, Some(-32020))
    );
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let body = claiming(method, r#""taskId":"t""#, &envelope("2026-07-28"));
        let answer = send(&mut world, &fields("2026-07-28", method, None), &body);
        assert_eq!(refused(&answer), (400, Some(-32020)), "{method}");
        let answer = send(&mut world, &fields("2026-07-28", method, Some("t")), &body);
        assert_eq!(answer.code(), Some(-32601), "{method} reached the target, which knows no tasks");
        assert_eq!(world.server("alpha").last(method).field("mcp-name"), Some("t"));
    }
    // Others have none, and one that is there says nothing.
    let list = claiming("tools/list", "", &envelope("2026-07-28"));
    for name in [None, Some("whatever")] {
        assert_eq!(send(&mut world, &fields("2026-07-28", "tools/list", name), &list).status, 200);
    }
    // What names nothing has no field to repeat it, and is refused for that.
    let nameless = claiming("tools/call", "", &envelope("2026-07-28"));
    assert_eq!(
        refused(&send(&mut world, &fields("2026-07-28", "tools/call", None), &nameless)),
        (400, Some(-32602))
    );
}

#[test]
fn a_modern_field_without_a_claim_is_told_what_is_missing() {
    let mut world = Setup::modern(&["alpha"]);
    let only = "MCP-Protocol-Version: 2026-07-28\r\n";
    let answer = send(&mut world, only, &call("echo"));
    assert_eq!(refused(&answer), (400, Some(-32602)));
    assert!(answer.text().contains("protocolVersion"), "{}", answer.text());
    let answer = send(&mut world, only, &initialize("2025-11-25", "{}"));
    assert_eq!(refused(&answer), (400, Some(-32020)), "{}", answer.text());
    // It says itself that it is a modern message, and then there is no such method.
    let modern = claiming("initialize", "", &envelope("2026-07-28"));
    let answer = send(&mut world, &fields("2026-07-28", "initialize", None), &modern);
    assert_eq!(refused(&answer), (404, Some(-32601)));
}

#[test]
fn methods_of_the_other_era_are_not_found() {
    let mut world = Setup::modern(&["alpha"]);
    for method in ["ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"] {
        let body = claiming(method, r#""uri":"demo://one""#, &envelope("2026-07-28"));
        let answer = send(&mut world, &fields("2026-07-28", method, None), &body);
        assert_eq!(refused(&answer), (404, Some(-32601)), "{method}: {}", answer.text());
    }
    let (client, session) = world.begin();
    let answer = world.ask(client, &session, &request("server/discover", "{}"));
    assert_eq!(answer.code(), None, "a session may ask all the same: {}", answer.text());
}

#[test]
fn notifications_are_accepted_and_batches_are_not() {
    let mut world = Setup::modern(&["alpha"]);
    let notice = |meta: &str| {
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":9{meta}}}}}"#)
    };
    let claim = format!(r#","_meta":{{{}}}"#, envelope("2026-07-28"));
    for (fields, body) in [
        (fields("2026-07-28", "notifications/cancelled", None), notice(&claim)),
        (String::new(), notice(&claim)),
        ("MCP-Protocol-Version: 2026-07-28\r\n".to_owned(), notice("")),
        ("MCP-Protocol-Version: 2026-07-28\r\n".to_owned(), INITIALIZED.to_owned()),
    ] {
        let answer = send(&mut world, &fields, &body);
        assert_eq!((answer.status, answer.text()), (202, ""), "{body}");
    }
    assert_eq!(world.server("alpha").seen.len(), 0, "they are for nobody");
    let (client, session) = world.begin_as("2025-03-26", "{}");
    let modern = claiming("tools/call", NAMED, &envelope("2026-07-28"));
    let batch = format!("[{},{modern}]", call("echo").replace(r#""id":1"#, r#""id":2"#));
    let answer = world.ask(client, &session, &batch);
    assert_eq!(refused(&answer), (400, Some(-32600)), "{}", answer.text());
    assert_eq!(world.server("alpha").count("tools/call"), 0, "and nothing of it is done");
    let answer = send(&mut world, &fields("2026-07-28", "tools/call", Some("echo")), &format!("[{modern}]"));
    assert_eq!(answer.status, 400);
}

#[test]
fn answers_belong_to_sessions() {
    let mut world = Setup::modern(&["alpha"]);
    let answer = r#"{"jsonrpc":"2.0","id":"x","result":{}}"#;
    assert_eq!(send(&mut world, "", answer).status, 400);
    assert_eq!(send(&mut world, "MCP-Protocol-Version: 2026-07-28\r\n", answer).status, 400);
    let (client, session) = world.begin();
    assert_eq!(world.ask(client, &session, answer).status, 202);
}

#[test]
fn get_and_delete_do_not_exist_in_the_modern_era() {
    let mut world = Setup::new(&["alpha"]).build();
    let (_, session) = world.begin();
    for session in [String::new(), session_field(&session)] {
        for method in ["GET", "DELETE"] {
            let client = world.connect(0);
            let head = format!(
                "{method} /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n{session}\r\n"
            );
            world.send(client, head.as_bytes());
            let answer = world.clients[client].answer();
            assert_eq!(answer.status, 405, "{method} {session}: {}", answer.text());
        }
    }
    assert_eq!(world.counters(0).sessions.value(), 1, "it was not ended");
}

#[test]
fn a_session_id_says_nothing_in_a_modern_request_and_none_is_given() {
    let mut world = Setup::new(&["alpha"]).build();
    let (client, session) = world.begin_as("2025-11-25", EVERYTHING);
    let body = claiming("tools/call", NAMED, &envelope("2026-07-28"));
    let good = fields("2026-07-28", "tools/call", Some("echo"));
    for session in [session_field(&session), session_field("nonsense")] {
        let answer = send(&mut world, &format!("{good}{session}Last-Event-ID: 3\r\n"), &body);
        assert_eq!((answer.status, answer.field("mcp-session-id")), (200, None), "{}", answer.text());
    }
    // Nothing of a connection's past matters.
    world.send(client, &post(&good, &body));
    assert_eq!(world.clients[client].answer().json()["result"]["resultType"], "complete");
    assert_eq!(world.ask(client, &session, &call("echo")).json()["result"]["resultType"], json!(null));
}

#[test]
fn a_client_of_a_session_may_write_a_part_of_the_claim_itself() {
    let mut world = Setup::modern(&["alpha"]);
    let (client, session) = world.begin();
    world.ask(client, &session, &request("logging/setLevel", r#"{"level":"debug"}"#));
    for key in ["logLevel", "clientInfo", "clientCapabilities"] {
        let written = match key {
            "logLevel" => json!("info"),
            _ => json!({"name": "own"}),
        };
        let body = claiming("tools/call", NAMED, &format!(r#""{PREFIX}{key}":{written}"#));
        assert_eq!(world.ask(client, &session, &body).status, 200);
        let sent = world.server("alpha").last("tools/call").clone();
        assert_eq!(sent.json()["params"]["_meta"][format!("{PREFIX}{key}")], written);
        assert_eq!(sent.body.matches(key).count(), 1, "{}", sent.body);
        assert!(sent.body.contains(r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#));
    }
}
