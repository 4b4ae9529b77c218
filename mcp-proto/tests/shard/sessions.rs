//! Sessions: how they begin, what they are at the targets, and how they end.

use crate::support::client::{EVERYTHING, call, initialize, post, request, session_field};
use crate::support::server::{Server, json_reply, reply};
use crate::support::{End, Setup, World};
use mcp_proto::Fault;
use serde_json::json;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_single_targets_answer_is_the_answer() {
    let mut world = World::new(&["alpha"]);
    world.server("alpha").instructions = Some("Be kind.".to_owned());
    let client = world.connect(0);
    let asked = initialize("2025-06-18", EVERYTHING);
    world.send(client, &post("", &asked));
    let seen = world.server("alpha").last("initialize").clone();
    assert_eq!((seen.body.as_str(), seen.session()), (asked.as_str(), None));
    let answer = world.clients[client].answer();
    let result = answer.json()["result"].clone();
    assert_eq!(result["serverInfo"]["name"], "alpha");
    assert_eq!(result["instructions"], "Be kind.");
    assert_ne!(answer.field("mcp-session-id"), Some("alpha-1"), "the target's own id stays here");
}

#[test]
fn several_targets_answer_as_one() {
    let mut world = World::new(&["alpha", "beta"]);
    let alpha = world.server("alpha");
    alpha.capabilities = json!({"tools": {"listChanged": false}, "logging": {}, "experimental": {"a": {"x": 1}, "b": {}}, "tasks": {}});
    alpha.instructions = Some("First.".to_owned());
    let beta = world.server("beta");
    beta.capabilities = json!({"resources": {"subscribe": true}, "completions": {}, "experimental": {"a": {"x": 2}, "c": {}}});
    beta.instructions = Some(" Second. ".to_owned());
    let client = world.connect(0);
    world.send(client, &post("", &initialize("2025-11-25", "{}")));
    let result = world.clients[client].answer().json()["result"].clone();
    let expected = json!({
        "tools": {"listChanged": true}, "resources": {"subscribe": true, "listChanged": true},
        "logging": {}, "completions": {}, "experimental": {"b": {}, "c": {}},
    });
    assert_eq!(result["capabilities"], expected);
    assert_eq!(result["instructions"], "# alpha\n\nFirst.\n\n# beta\n\nSecond.");
    assert_eq!(result["serverInfo"]["name"], "mcp-gateway");
    assert_eq!(result["protocolVersion"], "2025-11-25");
}

#[test]
fn revisions_are_negotiated() {
    for (offered, to_target, answered) in [
        ("2025-03-26", "2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25", "2025-11-25"),
        ("2024-11-05", "2024-11-05", "2024-11-05"),
        ("2099-01-01", "2025-11-25", "2025-11-25"),
    ] {
        for targets in [vec!["alpha"], vec!["alpha", "beta"]] {
            let mut world = World::new(&targets);
            let client = world.connect(0);
            world.send(client, &post("", &initialize(offered, "{}")));
            let asked = world.server("alpha").last("initialize").json();
            assert_eq!(asked["params"]["protocolVersion"], to_target);
            assert_eq!(world.clients[client].answer().json()["result"]["protocolVersion"], answered);
        }
    }
}

#[test]
fn each_target_is_asked_in_the_revision_it_chose() {
    let mut world = World::new(&["alpha", "beta"]);
    world.server("beta").revision = Some("2025-03-26".to_owned());
    let (client, session) = world.begin();
    world.ask(client, &session, &request("tools/list", "{}"));
    for (target, revision) in [("alpha", "2025-11-25"), ("beta", "2025-03-26")] {
        for method in ["notifications/initialized", "tools/list"] {
            assert_eq!(world.server(target).last(method).field("mcp-protocol-version"), Some(revision));
        }
    }
}

#[test]
fn initialize_that_cannot_be_is_refused() {
    let mut world = World::new(&["alpha"]);
    let client = world.connect(0);
    world.send(client, &post("", &request("initialize", "{}")));
    assert_eq!(world.clients[client].answer().code(), Some(-32602));
    let refuse =
        |server: &mut Server| server.on("initialize", |seen| json_reply(200, &seen.error(-32000, "full")));
    refuse(world.server("alpha"));
    world.send(client, &post("", &initialize("2025-11-25", "{}")));
    let answer = world.clients[client].answer();
    assert_eq!((answer.code(), answer.field("mcp-session-id")), (Some(-32000), None));
    assert_eq!(world.counters(0).sessions.value(), 0);
}

#[test]
fn a_late_target_joins_later_and_is_announced() {
    let mut world = World::new(&["alpha", "beta"]);
    world.server("beta").delay = Duration::from_secs(4);
    let client = world.connect(0);
    world.send(client, &post("", &initialize("2025-11-25", EVERYTHING)));
    world.advance(Duration::from_millis(2_999));
    assert!(world.clients[client].raw.is_empty());
    world.advance(Duration::from_millis(1));
    let answer = world.clients[client].answer();
    let session = answer.field("mcp-session-id").unwrap().to_owned();
    assert_eq!(answer.json()["result"]["capabilities"]["prompts"]["listChanged"], true);
    let stream = world.listen(0, &session);
    let listed = world.ask(client, &session, &request("tools/list", "{}"));
    assert_eq!(listed.json()["result"]["_meta"]["mcp-gateway/partial"][0]["reason"], "it is still starting");
    world.advance(Duration::from_secs(9));
    let beta = world.server("beta");
    assert_eq!(beta.methods()[..2], ["initialize", "notifications/initialized"]);
    assert_eq!(beta.last("notifications/initialized").session(), Some("beta-1"));
    let changed = ["tools", "prompts", "resources"].map(|list| format!("notifications/{list}/list_changed"));
    assert_eq!(world.methods(stream), changed);
    world.server("beta").delay = Duration::ZERO;
    let listed = world.ask(client, &session, &request("tools/list", "{}"));
    assert_eq!(listed.json()["result"]["tools"].as_array().unwrap().len(), 4);
}

#[test]
fn a_silent_target_costs_initialize_its_deadline_once() {
    let mut world = World::new(&["alpha", "beta"]);
    world.server("beta").refuses = Some(None);
    let client = world.connect(0);
    world.send(client, &post("", &initialize("2025-11-25", "{}")));
    // No connection within two seconds is a failure of its own.
    world.advance(2 * SECOND);
    assert_eq!(world.clients[client].answer().status, 200);
    assert_eq!(
        world.records.last().unwrap().error,
        "target \"beta\" is missing: it can't be reached (connection timed out)"
    );
}

#[test]
fn calls_to_a_dead_target_fail_at_once() {
    let mut world = World::new(&["alpha", "beta"]);
    world.server("beta").refuses = Some(Some(Fault::Refused));
    let (client, session) = world.begin();
    for _ in 0..2 {
        let answer = world.ask(client, &session, &call("beta_echo"));
        assert_eq!(answer.tool_text(), "target \"beta\" failed: it can't be reached (connection refused)");
        let answer = world.ask(client, &session, &request("prompts/get", r#"{"name":"beta_greet"}"#));
        assert_eq!(
            (answer.code(), &answer.json()["error"]["data"]),
            (Some(-32603), &json!({"target": "beta"}))
        );
    }
    // After a rest it is tried again, and it is there.
    world.server("beta").refuses = None;
    world.advance(SECOND);
    assert_eq!(world.ask(client, &session, &call("beta_echo")).tool_text(), "beta:echo");
    assert_eq!(world.server("beta").methods(), ["initialize", "notifications/initialized", "tools/call"]);
}

#[test]
fn a_session_that_a_target_lost_is_opened_anew_once() {
    for (status, words) in [(404, "gone"), (404, ""), (400, "Bad Request: No valid session ID provided")] {
        let mut world = World::new(&["alpha", "beta"]);
        let (client, session) = world.begin();
        world.ask(client, &session, &request("logging/setLevel", r#"{"level":"error"}"#));
        world.ask(client, &session, &request("resources/subscribe", r#"{"uri":"beta+demo://a"}"#));
        world.ask(client, &session, &request("resources/subscribe", r#"{"uri":"beta+demo://b"}"#));
        world.ask(client, &session, &request("resources/unsubscribe", r#"{"uri":"beta+demo://b"}"#));
        world.server("beta").on("tools/call", move |seen| match seen.session() {
            Some("beta-1") => reply(status, "content-type: text/plain\r\n", words),
            _ => seen.result("{}"),
        });
        let before = world.server("beta").seen.len();
        let answer = world.ask(client, &session, &call("beta_echo"));
        assert_eq!(answer.text(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        let beta = world.server("beta");
        let mut after = beta.methods()[before..].to_vec();
        after[3..].sort_unstable();
        assert_eq!(
            after,
            [
                "tools/call",
                "initialize",
                "notifications/initialized",
                "logging/setLevel",
                "resources/subscribe",
                "tools/call"
            ]
        );
        assert_eq!(beta.last("logging/setLevel").json()["params"], json!({"level": "error"}));
        assert_eq!(beta.last("resources/subscribe").json()["params"], json!({"uri": "demo://a"}));
        assert_eq!(
            beta.last("initialize").json()["params"]["capabilities"].to_string(),
            serde_json::from_str::<serde_json::Value>(EVERYTHING).unwrap().to_string()
        );
        assert!(beta.seen[before + 3..].iter().all(|seen| seen.session() == Some("beta-2")));
    }
}

#[test]
fn a_target_that_forgets_every_session_fails_the_call() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |_| reply(404, "", ""));
    let answer = world.ask(client, &session, &call("echo"));
    assert_eq!(answer.tool_text(), "target \"alpha\" failed: it answered with HTTP status 404");
    assert_eq!(world.server("alpha").count("tools/call"), 2);
}

#[test]
fn two_calls_that_find_the_session_lost_open_one() {
    let mut world = Setup::new(&["alpha", "beta"]).shards(2).build();
    let (_, session) = world.begin();
    world.server("beta").sessions.clear();
    let clients = [world.connect(0), world.connect(0), world.connect(1)];
    for client in clients {
        world.queue(client, &post(&session_field(&session), &call("beta_echo")));
    }
    world.run();
    for client in clients {
        assert_eq!(world.clients[client].answer().tool_text(), "beta:echo");
    }
    assert_eq!(world.server("beta").count("initialize"), 2, "the first and one more");
}

#[test]
fn delete_ends_the_session_everywhere() {
    let mut world = Setup::new(&["alpha", "beta", "gamma"]).shards(3).build();
    world.server("gamma").keeps_sessions = false;
    let (client, session) = world.begin();
    let stream = world.listen(1, &session);
    world.ask_on(2, &session, &call("alpha_echo"));
    let answer = world.delete(1, &session);
    assert_eq!((answer.status, answer.text()), (200, ""));
    for target in ["alpha", "beta"] {
        let name = format!("{target}-1");
        assert_eq!(world.server(target).count("DELETE"), 1);
        assert_eq!(world.server(target).last("DELETE").session(), Some(name.as_str()));
    }
    assert_eq!(world.server("gamma").count("DELETE"), 0, "it keeps no session");
    assert!(world.clients[stream].answer().complete, "the stream ended properly");
    for shard in 0..3 {
        let answer = world.ask_on(shard, &session, &call("alpha_echo"));
        assert_eq!((answer.status, answer.code()), (404, Some(-32001)));
        assert_eq!(world.listen(shard, &session), world.clients.len() - 1);
        assert_eq!(world.clients.last().unwrap().answer().status, 404);
        assert_eq!(world.delete(shard, &session).status, 404);
        assert_eq!(world.counters(shard).sessions.value(), 0);
    }
    assert_eq!(world.ask(client, &session, &call("alpha_echo")).status, 404);
}

#[test]
fn a_target_that_does_not_answer_delete_delays_nothing_for_long() {
    let mut world = World::new(&["alpha", "beta"]);
    let (_, session) = world.begin();
    world.server("beta").on("DELETE", |_| Vec::new());
    world.server("alpha").on("DELETE", |_| reply(405, "", ""));
    let client = world.connect(0);
    world.send(
        client,
        format!("DELETE /mcp HTTP/1.1\r\nhost: localhost\r\nmcp-session-id: {session}\r\n\r\n").as_bytes(),
    );
    world.advance(5 * SECOND);
    assert_eq!(world.clients[client].answer().status, 200);
}

#[test]
fn an_idle_session_ends_at_the_targets_too() {
    let mut world = Setup::new(&["alpha", "beta"]).shards(2).build();
    let (_, session) = world.begin();
    let minutes = |count: u64| Duration::from_secs(60 * count);
    // Used on another shard it stays; a stream keeps it, too.
    for _ in 0..3 {
        world.advance(minutes(25));
        assert_eq!(world.ask_on(1, &session, &call("alpha_echo")).tool_text(), "alpha:echo");
    }
    let stream = world.listen(1, &session);
    world.advance(minutes(180));
    assert_eq!(world.server("alpha").count("DELETE"), 0);
    world.hang_up(stream);
    world.advance(minutes(40));
    assert_eq!(["alpha", "beta"].map(|target| world.server(target).count("DELETE")), [1, 1]);
    assert_eq!((world.counters(0).sessions.value(), world.counters(0).sessions_expired.value()), (0, 1));
    for shard in 0..2 {
        assert_eq!(world.ask_on(shard, &session, &call("alpha_echo")).status, 404);
    }
}

#[test]
fn a_sealed_id_has_an_end() {
    let mut world =
        Setup::new(&["alpha"]).config(|config| config.timeouts.session_life = 100 * SECOND).build();
    let (client, session) = world.begin();
    world.advance(30 * SECOND);
    assert_eq!(world.ask(client, &session, &call("echo")).status, 200);
    world.advance(71 * SECOND);
    assert_eq!(world.ask_on(0, &session, &call("echo")).status, 404);
}

#[test]
fn an_id_that_was_not_given_is_not_found() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    let mut changed = session.into_bytes();
    changed[20] = if changed[20] == b'A' { b'B' } else { b'A' };
    let other = Setup::new(&["alpha"])
        .config(|config| config.keys = mcp_proto::Keys::new([8; 32], &[]))
        .build()
        .begin()
        .1;
    for wrong in [String::from_utf8(changed).unwrap(), other, "alpha-1".to_owned(), "x".to_owned()] {
        assert_eq!((world.ask(client, &wrong, &call("echo")).status), 404);
    }
    world.send(client, &post("", &call("echo")));
    let answer = world.clients[client].answer();
    assert_eq!((answer.status, answer.code()), (400, Some(-32600)));
    assert_eq!(world.server("alpha").count("tools/call"), 0);
}

#[test]
fn a_session_that_was_never_told_of_is_ended() {
    let mut world = World::new(&["alpha", "beta"]);
    world.server("beta").delay = SECOND;
    let client = world.connect(0);
    world.send(client, &post("", &initialize("2025-11-25", "{}")));
    world.hang_up(client);
    world.advance(10 * SECOND);
    assert_eq!(["alpha", "beta"].map(|target| world.server(target).sessions.len()), [0, 0]);
    assert_eq!((world.counters(0).sessions.value(), world.counters(0).calls.value()), (0, 0));
    assert_eq!(world.clients[client].end, Some(End::HungUp));
}

#[test]
fn the_log_level_is_set_at_all_that_have_logging() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    world.server("beta").on("logging/setLevel", |seen| json_reply(200, &seen.error(-32601, "no")));
    let body = request("logging/setLevel", r#"{"level":"warning"}"#);
    let answer = world.ask(client, &session, &body);
    assert_eq!(answer.text(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(world.server("alpha").last("logging/setLevel").body, body);
    world.server("alpha").on("logging/setLevel", |seen| json_reply(200, &seen.error(-32602, "bad level")));
    assert!(world.ask(client, &session, &body).code().is_some(), "no target has taken it");
}
