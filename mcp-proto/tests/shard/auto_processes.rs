//! Child processes whose era must be found out, and those that speak 2026-07-28.

use crate::support::client::{call, initialize, post, request};
use crate::support::modern::Ask;
use crate::support::{Setup, Step, World};
use routing::Protocol;
use serde_json::{Value, json};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

fn auto(targets: &[&str]) -> Setup {
    Setup::new(targets).process("alpha").targets(|target| {
        if target.process.is_some() {
            target.protocol = Protocol::Auto;
        }
    })
}

/// Makes a process one that needs no handshake.
fn modern(world: &mut World) {
    let alpha = world.server("alpha");
    alpha.on("server/discover", |seen| {
        let result = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"serverInfo":{"name":"m","version":"1"},"ttlMs":0,"cacheScope":"public"}"#;
        vec![Step::Send(format!("{}\n", seen.response(result)).into())]
    });
    alpha.on("tools/call", |seen| {
        let text = format!(
            r#"{{"resultType":"complete","content":[{{"type":"text","text":{}}}]}}"#,
            seen.json()["params"]["name"]
        );
        vec![Step::Send(format!("{}\n", seen.response(&text)).into())]
    });
}

fn modern_post(body: &str) -> Vec<u8> {
    let message: Value = serde_json::from_str(body).unwrap();
    let method = message["method"].as_str().unwrap();
    let name = message["params"]["name"].as_str().map(|name| format!("mcp-name: {name}\r\n"));
    let fields =
        format!("mcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\n{}", name.unwrap_or_default());
    post(&fields, body)
}

fn modern_call(id: u64, name: &str) -> String {
    let meta = json!({VERSION: "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}, "progressToken": "t"});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name, "_meta": meta}})
        .to_string()
}

#[test]
fn the_process_that_was_asked_becomes_the_first_sessions_own() {
    let mut world = auto(&["alpha"]).build();
    let (client, session) = world.begin();
    assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), "alpha:echo");
    assert_eq!(
        world.server("alpha").methods(),
        ["server/discover", "initialize", "notifications/initialized", "tools/call"]
    );
    assert_eq!(world.server("alpha").running(), 1);
    let (_, other) = world.begin();
    assert_eq!(world.server("alpha").count("server/discover"), 1, "it is known now");
    assert_eq!(world.server("alpha").running(), 2);
    world.advance(400 * SECOND);
    assert_eq!(world.ask_on(0, &session, &call("echo")).tool_text(), "alpha:echo");
    assert_eq!(world.counters(0).processes_total.value(), 2, "none is started only to ask again");
    world.delete(0, &session);
    world.delete(0, &other);
    world.assert_clean();
}

#[test]
fn a_process_that_is_silent_or_dies_when_asked_is_greeted() {
    for (answer, wait, starts) in [(Vec::new(), 10, 1), (vec![Step::Fin], 0, 2)] {
        let mut world = auto(&["alpha"]).build();
        world.server("alpha").on("server/discover", move |_| answer.clone());
        let client = world.connect(0);
        world.send(client, &post("", &initialize("2025-11-25", "{}")));
        world.advance(wait * SECOND);
        let session = world.clients[client].answer().field("mcp-session-id").unwrap().to_owned();
        assert_eq!(world.ask_on(0, &session, &call("echo")).tool_text(), "alpha:echo");
        assert_eq!(world.counters(0).processes_total.value(), starts);
        world.delete(0, &session);
        world.assert_clean();
    }
}

#[test]
fn a_modern_process_serves_all_sessions_without_a_handshake() {
    let mut world = auto(&["alpha", "beta"]).shards(2).build();
    modern(&mut world);
    let sessions = [world.begin().1, world.begin_on(1, "2025-11-25", "{}").1];
    for shard in [0, 1] {
        for session in &sessions {
            let answer = world.ask_on(shard, session, &call("alpha_echo"));
            assert_eq!(answer.json()["result"], json!({"content": [{"type": "text", "text": "echo"}]}));
        }
    }
    assert_eq!(world.server("alpha").running(), 1);
    assert_eq!(world.server("alpha").count("initialize"), 0);
    assert_eq!(world.server("alpha").last("tools/call").json()["params"]["_meta"][VERSION], "2026-07-28");
    for session in &sessions {
        world.delete(0, session);
    }
    world.advance(600 * SECOND);
    world.assert_clean();
}

#[test]
fn a_modern_client_reaches_processes_of_both_eras() {
    for is_modern in [false, true] {
        for shard in [0, 1] {
            let mut world = auto(&["alpha"]).shards(2).build();
            if is_modern {
                modern(&mut world);
            }
            let clients = [(); 2].map(|()| world.connect(shard));
            for client in clients {
                world.send(client, &modern_post(&modern_call(7, "echo")));
                let answer = world.clients[client].answer();
                assert_eq!(answer.status, 200, "{}", answer.text());
                let answer = answer.json();
                let text = if is_modern { "echo" } else { "alpha:echo" };
                assert_eq!((&answer["id"], &answer["result"]["resultType"]), (&json!(7), &json!("complete")));
                assert_eq!(answer["result"]["content"][0]["text"], text);
            }
            assert_eq!(world.server("alpha").count("initialize"), usize::from(!is_modern));
            let sent = world.server("alpha").last("tools/call").json();
            assert_eq!(sent["params"]["_meta"][VERSION].is_null(), !is_modern);
            world.advance(3600 * SECOND);
            world.assert_clean();
        }
    }
}

#[test]
fn progress_of_a_modern_process_finds_its_call() {
    let mut world = auto(&["alpha"]).shards(2).build();
    modern(&mut world);
    world.server("alpha").on("tools/call", |_| Vec::new());
    let clients = [0, 1].map(|shard| {
        let client = world.connect(shard);
        world.send(client, &modern_post(&modern_call(7, "echo")));
        client
    });
    let sent: Vec<_> =
        world.server("alpha").seen.iter().filter(|seen| seen.method == "tools/call").cloned().collect();
    for (seen, client) in sent.iter().zip(clients) {
        let token = &seen.json()["params"]["_meta"]["progressToken"];
        world.print("alpha", &format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":{token},\"progress\":1}}}}\n"));
        let told = world.messages(client).pop().unwrap();
        assert_eq!(told["params"], json!({"progressToken": "t", "progress": 1}));
        world.print("alpha", &format!("{}\n", seen.response(r#"{"resultType":"complete","content":[]}"#)));
        assert!(world.clients[client].answer().complete);
        assert_eq!(world.messages(client).pop().unwrap()["id"], 7);
    }
}

/// A modern client's subscription, on a client of its own.
fn subscribe(world: &mut World, shard: usize) -> usize {
    let meta = json!({VERSION: "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let wanted = json!({"toolsListChanged": true, "resourceSubscriptions": ["demo://a"]});
    let params = json!({"notifications": wanted, "_meta": meta});
    let body = json!({"jsonrpc": "2.0", "id": "s", "method": "subscriptions/listen", "params": params});
    let client = world.connect(shard);
    world.send(client, &modern_post(&body.to_string()));
    world.advance(SECOND);
    client
}

#[test]
fn a_subscription_hears_a_process_with_sessions() {
    for (shared, shard) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let setup = auto(&["alpha"]).shards(2);
        let mut world = if shared { setup.shared("alpha") } else { setup }.build();
        let client = subscribe(&mut world, shard);
        let acknowledged = world.messages(client)[0]["params"]["notifications"].clone();
        assert_eq!(acknowledged["resourceSubscriptions"], json!(["demo://a"]), "{shared} {shard}");
        assert_eq!(
            world.server("alpha").last("resources/subscribe").json()["params"],
            json!({"uri": "demo://a"})
        );
        let updated = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\"params\":{\"uri\":\"demo://a\"}}\n";
        world.print("alpha", updated);
        let told = world.messages(client).pop().unwrap();
        assert_eq!(
            (&told["method"], &told["params"]["uri"]),
            (&json!("notifications/resources/updated"), &json!("demo://a"))
        );
        // One that dies is started again, for it is listened to; what it said meanwhile may be lost.
        let before = world.messages(client).len();
        let key = *world.connections("alpha").last().unwrap();
        world.say(key, vec![Step::Fin]);
        world.advance(5 * SECOND);
        assert_eq!(world.server("alpha").running(), 1);
        assert_eq!(world.server("alpha").count("resources/subscribe"), 2);
        let methods = world.methods(client).split_off(before);
        assert!(methods.contains(&"notifications/resources/updated".to_owned()), "{methods:?}");
        world.hang_up(client);
        world.advance(3600 * SECOND);
        world.assert_clean();
    }
}

#[test]
fn a_subscription_hears_a_process_without_sessions() {
    for shard in [0, 1] {
        let mut world = auto(&["alpha"]).shards(2).build();
        modern(&mut world);
        world.server("alpha").on("subscriptions/listen", |seen| {
            let id = seen.id.clone().unwrap();
            let text = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\",\"params\":{{\"_meta\":{{\"io.modelcontextprotocol/subscriptionId\":{id}}},\"notifications\":{}}}}}\n", seen.json()["params"]["notifications"]);
            vec![Step::Send(text.into())]
        });
        let client = subscribe(&mut world, shard);
        assert_eq!(world.messages(client)[0]["params"]["notifications"]["toolsListChanged"], true);
        world.advance(3000 * SECOND);
        assert_eq!(world.server("alpha").count("subscriptions/listen"), 1, "it may be silent for ever");
        assert_eq!(world.server("alpha").running(), 1);
        let id = world.server("alpha").last("subscriptions/listen").id.clone().unwrap();
        world.print("alpha", &format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\"params\":{{\"_meta\":{{\"io.modelcontextprotocol/subscriptionId\":{id}}},\"uri\":\"demo://a\"}}}}\n"));
        let told = world.messages(client).pop().unwrap();
        assert_eq!(
            told["params"],
            json!({"_meta": {"io.modelcontextprotocol/subscriptionId": "s"}, "uri": "demo://a"})
        );
        // It takes it back: it is asked again.
        world.print("alpha", &format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{id}}}}}\n"));
        world.advance(2 * SECOND);
        assert_eq!(world.server("alpha").count("subscriptions/listen"), 2);
        world.hang_up(client);
        let cancelled = world.server("alpha").last("notifications/cancelled").json();
        assert_eq!(
            cancelled["params"]["requestId"].to_string(),
            world.server("alpha").last("subscriptions/listen").id.clone().unwrap()
        );
        world.advance(3600 * SECOND);
        world.assert_clean();
    }
}

#[test]
fn what_a_modern_process_logs_goes_to_the_only_call_that_wants_it() {
    let line = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"d\"}}\n";
    for shard in [0, 1] {
        let mut world = auto(&["alpha"]).shards(2).build();
        modern(&mut world);
        world.server("alpha").on("tools/call", |_| Vec::new());
        let meta = r#","io.modelcontextprotocol/logLevel":"info""#;
        let silent = world.begin_modern(shard, &Ask::call(1));
        let wants = world.begin_modern(shard, &Ask { meta, ..Ask::call(2) });
        let other = world.begin_modern(0, &Ask::call(3));
        world.print("alpha", line);
        assert_eq!(world.methods(wants), ["notifications/message"]);
        // Whose it is can't be told any more, and it must not be shown to somebody else.
        let second = world.begin_modern(0, &Ask { meta, ..Ask::call(4) });
        world.print("alpha", line);
        assert_eq!(world.methods(wants).len(), 1);
        for client in [silent, other, second] {
            assert!(world.clients[client].answers().is_empty());
        }
        assert_eq!(world.counters(0).dropped.value(), 1);
    }
    // Two calls of one session are its client's both.
    let mut world = auto(&["alpha"]).build();
    modern(&mut world);
    world.server("alpha").on("tools/call", |_| Vec::new());
    let (client, session) = world.begin();
    world.ask(client, &session, &request("logging/setLevel", r#"{"level":"info"}"#));
    let calls = [(); 2].map(|()| world.call_later(0, &session, &call("echo")));
    world.print("alpha", line);
    assert_eq!(world.methods(calls[1]), ["notifications/message"]);
    assert!(world.clients[calls[0]].answers().is_empty());
}

#[test]
fn a_cancellation_on_a_shard_that_does_not_know_the_era_ends_the_call_on_another() {
    let mut world = auto(&["alpha"]).shards(2).build();
    modern(&mut world);
    let (_, session) = world.begin();
    world.server("alpha").on("tools/call", |_| Vec::new());
    let client = world.call_later(0, &session, &call("echo"));
    let asked = world.server("alpha").last("tools/call").json()["id"].clone();
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(world.ask_on(1, &session, cancel).status, 202);
    assert_eq!(world.server("alpha").last("notifications/cancelled").json()["params"]["requestId"], asked);
    assert!(world.is_answered(client, 0));
    assert_eq!(world.server("alpha").count("server/discover"), 1, "no other process is asked for that");
}
