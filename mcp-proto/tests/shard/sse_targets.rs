//! Targets of revision 2024-11-05 over HTTP+SSE.

use crate::support::client::{EVERYTHING, call, initialize, post, request};
use crate::support::modern::Ask;
use crate::support::parking::{ACCEPT, FORM, ROOTS};
use crate::support::rand::Dice;
use crate::support::server::{Talks, chunk, event, json_reply, reply, stream_end, stream_head};
use crate::support::{Setup, Step, World};
use mcp_proto::Fault;
use serde_json::{Value, json};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn alone() -> World {
    Setup::new(&["alpha"]).sse("alpha").build()
}

fn said(message: &str) -> Vec<Step> {
    vec![Step::Send(event(message).into())]
}

#[test]
fn a_session_has_a_stream_of_its_own_and_posts_to_its_endpoint() {
    let mut world = Setup::new(&["alpha"]).shards(2).sse("alpha").build();
    world.server("alpha").revision = Some("2024-11-05".to_owned());
    let (client, session) = world.begin();
    let answer = world.ask(client, &session, &call("echo"));
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(
        answer.text(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"alpha:echo"}]}}"#
    );
    assert_eq!(world.ask_on(1, &session, &call("add")).tool_text(), "alpha:add");
    let (_, other) = world.begin();
    let seen = &world.server("alpha").seen;
    let told: Vec<_> = seen
        .iter()
        .map(|seen| (seen.http.as_str(), seen.path.as_str(), seen.method.as_str(), seen.id.as_deref()))
        .collect();
    assert_eq!(
        told[..7],
        [
            ("GET", "/sse", "", None),
            ("POST", "/messages?stream=1", "initialize", Some("1")),
            ("POST", "/messages?stream=1", "notifications/initialized", None),
            ("POST", "/messages?stream=1", "tools/call", Some("2")),
            ("POST", "/messages?stream=1", "tools/call", Some("3")),
            ("GET", "/sse", "", None),
            ("POST", "/messages?stream=2", "initialize", Some("1")),
        ]
    );
    assert_eq!(
        (seen[0].field("accept"), seen[0].field("host")),
        (Some("text/event-stream"), Some("10.0.0.1:80"))
    );
    assert_eq!(
        seen[1].json()["params"],
        serde_json::from_str::<Value>(&initialize("2025-11-25", EVERYTHING)).unwrap()["params"]
    );
    assert_eq!(world.counters(0).target_streams.value(), 2);
    world.delete(1, &session);
    world.delete(0, &other);
    world.assert_clean();
}

#[test]
fn answers_and_questions_come_on_the_stream_in_any_order() {
    let mut world = Setup::new(&["alpha", "beta"]).shards(2).sse("alpha").build();
    let (_, session) = world.begin();
    world.server("alpha").on("tools/call", |_| Vec::new());
    let clients = [0, 1].map(|shard| world.call_later(shard, &session, &call("alpha_echo")));
    world.say_on_stream(
        "alpha",
        r#"{"jsonrpc":"2.0","id":"e","method":"elicitation/create","params":{"message":"?"}}"#,
    );
    let asked = world.messages(clients[1]).pop().unwrap();
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"action":"decline"}}}}"#, asked["id"]);
    assert_eq!(world.ask_on(0, &session, &answer).status, 202);
    let reply = world.server("alpha").seen.last().unwrap();
    assert_eq!(
        (reply.body.as_str(), reply.path.as_str()),
        (r#"{"jsonrpc":"2.0","id":"e","result":{"action":"decline"}}"#, "/messages?stream=1")
    );
    for (client, number) in clients.into_iter().zip([2, 3]).rev() {
        world.say_on_stream(
            "alpha",
            &format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{"n":{number}}}}}"#),
        );
        let answer = world.clients[client].answer();
        assert!(answer.complete);
        assert_eq!(answer.json(), json!({"jsonrpc": "2.0", "id": 1, "result": {"n": number}}));
    }
    world.say_on_stream("alpha", r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#);
    assert_eq!(world.server("alpha").seen.last().unwrap().body, r#"{"jsonrpc":"2.0","id":"p","result":{}}"#);
    world.delete(0, &session);
    world.assert_clean();
}

#[test]
fn an_answer_may_come_before_its_posts() {
    let mut world = alone();
    let (client, session) = world.begin();
    // The POST is accepted only a second after the answer came.
    world.server("alpha").posts = Some(Box::new(|_| {
        vec![
            Step::Wait(SECOND),
            Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nAccepted".to_vec()),
            Step::Done,
        ]
    }));
    for _ in 0..3 {
        assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), "alpha:echo");
    }
    world.advance(2 * SECOND);
    assert_eq!(world.counters(0).calls.value(), 1, "the stream itself");
    world.delete(0, &session);
    world.assert_clean();
}

#[test]
fn a_post_that_is_refused_fails_its_call() {
    let mut world = alone();
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |_| Vec::new());
    for status in [400, 500, 503] {
        world.server("alpha").posts = Some(Box::new(move |_| reply(status, "", "no")));
        let words = world.ask(client, &session, &call("echo")).tool_text();
        assert_eq!(words, format!("target \"alpha\" failed: it answered with HTTP status {status}"));
    }
    world.server("alpha").posts = None;
    world.server("alpha").script = None;
    assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), "alpha:echo");
    assert_eq!(world.server("alpha").count("initialize"), 1);
    // One that does not know the stream any more is begun with anew.
    world.server("alpha").on("tools/call", |_| Vec::new());
    world.server("alpha").posts = Some(Box::new(|_| json_reply(404, "{}")));
    assert_eq!(
        world.ask(client, &session, &call("echo")).tool_text(),
        "target \"alpha\" failed: it answered with HTTP status 404"
    );
    world.server("alpha").script = None;
    world.server("alpha").posts = None;
    assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), "alpha:echo");
    assert_eq!(world.server("alpha").count("initialize"), 2);
    world.delete(0, &session);
    world.assert_clean();
}

#[test]
fn every_form_of_endpoint_is_understood() {
    for (endpoint, path) in [
        ("http://10.0.0.1:80/m?stream=", "/m?stream=1"),
        ("/m?stream=", "/m?stream=1"),
        ("messages/?stream=", "/messages/?stream=1"),
        ("?stream=", "/sse?stream=1"),
    ] {
        let mut world = alone();
        world.server("alpha").endpoint = endpoint.to_owned();
        let (client, session) = world.begin();
        assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), "alpha:echo", "{endpoint}");
        assert_eq!(world.server("alpha").last("tools/call").path, path);
    }
}

#[test]
fn an_endpoint_at_another_origin_is_not_used() {
    for endpoint in ["http://10.0.0.1/m?stream=", "https://10.0.0.2/m?stream=", "//evil.example/m?stream="] {
        let mut world = Setup::new(&["alpha", "beta"]).sse("beta").build();
        world.server("beta").endpoint = endpoint.to_owned();
        let (client, session) = world.begin();
        let words = world.ask(client, &session, &call("beta_echo")).tool_text();
        let why = "the endpoint its event stream names can't be used: it is at another origin";
        assert_eq!(words, format!("target \"beta\" failed: {why}"));
        assert_eq!(world.server("beta").methods(), ["GET"]);
        assert_eq!(world.counters(0).channels_failed.value(), 1);
        assert_eq!(world.server("beta").stream(), None);
    }
}

#[test]
fn a_target_without_such_a_stream_is_told_of() {
    for (answer, why) in [
        (reply(404, "", ""), "it answered with HTTP status 404"),
        (
            reply(200, "content-type: text/html\r\n", "hi"),
            "its answer is malformed: it answers a GET with no event stream",
        ),
        (vec![Step::Fin], "its event stream ended"),
        (
            vec![Step::Send(stream_head().into()), Step::Send(b"0\r\n\r\n".to_vec()), Step::Done],
            "its event stream ended",
        ),
    ] {
        let mut world = Setup::new(&["alpha", "beta"]).sse("beta").build();
        let steps = answer.clone();
        world.server("beta").on("GET", move |_| steps.clone());
        let (client, session) = world.begin();
        let words = world.ask(client, &session, &call("beta_echo")).tool_text();
        assert_eq!(words, format!("target \"beta\" failed: {why}"));
        let before = world.server("beta").count("GET");
        world.ask(client, &session, &call("beta_echo"));
        assert_eq!(world.server("beta").count("GET"), before, "it rests");
        world.server("beta").script = None;
        world.advance(2 * SECOND);
        assert_eq!(world.ask(client, &session, &call("beta_echo")).tool_text(), "beta:echo");
    }
}

#[test]
fn a_target_that_can_not_be_reached_is_told_of() {
    let mut world = Setup::new(&["alpha", "beta"]).sse("beta").build();
    world.server("beta").refuses = Some(Some(Fault::Refused));
    let (client, session) = world.begin();
    let words = world.ask(client, &session, &call("beta_echo")).tool_text();
    assert_eq!(words, "target \"beta\" failed: it can't be reached (connection refused)");
}

#[test]
fn a_stream_that_never_names_an_endpoint_is_given_up() {
    let mut world = Setup::new(&["alpha", "beta"]).sse("beta").build();
    world.server("beta").on("GET", |_| vec![Step::Send(stream_head().into())]);
    let client = world.connect(0);
    world.send(client, &post("", &initialize("2025-11-25", "{}")));
    world.advance(3 * SECOND);
    let answer = world.clients[client].answer();
    let session = answer.field("mcp-session-id").unwrap().to_owned();
    world.advance(297 * SECOND);
    assert_eq!(world.server("beta").stream(), None);
    world.delete(0, &session);
    world.assert_clean();
}

#[test]
fn a_stream_that_ends_fails_its_calls_and_is_opened_anew() {
    for end in [stream_end(), vec![Step::Reset]] {
        let mut world = Setup::new(&["alpha", "beta"]).shards(2).sse("alpha").build();
        let (_, session) = world.begin();
        world.ask_on(0, &session, &request("resources/subscribe", r#"{"uri":"alpha+demo://a"}"#));
        let listener = world.listen(0, &session);
        world.server("alpha").on("tools/call", |_| Vec::new());
        let clients = [0, 1].map(|shard| world.call_later(shard, &session, &call("alpha_echo")));
        let key = world.server("alpha").stream().unwrap();
        world.say(key, end);
        for client in clients {
            let words = world.clients[client].answer().tool_text();
            assert_eq!(words, "target \"alpha\" failed: its event stream ended");
        }
        world.server("alpha").script = None;
        let before = world.server("alpha").seen.len();
        assert_eq!(world.ask_on(1, &session, &call("alpha_echo")).tool_text(), "alpha:echo");
        let mut after = world.server("alpha").methods()[before..].to_vec();
        after[3..].sort_unstable();
        assert_eq!(
            after,
            ["GET", "initialize", "notifications/initialized", "resources/subscribe", "tools/call"]
        );
        assert!(world.methods(listener).contains(&"notifications/tools/list_changed".to_owned()));
        world.delete(0, &session);
        world.assert_clean();
    }
}

#[test]
fn what_is_no_message_is_passed_over() {
    let mut world = Setup::new(&["alpha"]).sse("alpha").config(|config| config.limits.message = 1000).build();
    let (client, session) = world.begin();
    let key = world.server("alpha").stream().unwrap();
    for stray in [
        ": ping\n\n",
        "event: ping\ndata: {}\n\n",
        "data: no JSON\n\n",
        "event: endpoint\ndata: /other\n\n",
        "data:\n\n",
    ] {
        world.say(key, vec![Step::Send(chunk(stray).into())]);
    }
    assert_eq!((world.counters(0).malformed.value(), world.counters(0).dropped.value()), (1, 1));
    world.server("alpha").on("tools/call", |seen| {
        said(&format!(
            r#"{{"result":{{"x":"{}"}},"jsonrpc":"2.0","id":{}}}"#,
            "x".repeat(5000),
            seen.id.as_deref().unwrap()
        ))
    });
    let words = world.ask(client, &session, &call("echo")).tool_text();
    assert_eq!(words, "target \"alpha\" failed: its answer is too large to be looked into");
    // Lines of one event are one message.
    world.server("alpha").on("tools/call", |seen| {
        let event = format!(
            "data: {{\"jsonrpc\":\"2.0\",\ndata: \"id\":{},\r\ndata: \"result\":{{}}}}\r\n\r\n",
            seen.id.as_deref().unwrap()
        );
        vec![Step::Send(chunk(&event).into())]
    });
    assert_eq!(
        world.ask(client, &session, &call("echo")).json(),
        json!({"jsonrpc": "2.0", "id": 1, "result": {}})
    );
}

#[test]
fn it_makes_no_difference_how_the_stream_is_cut() {
    for seed in 0..30 {
        let mut world = Setup::new(&["alpha", "beta"]).sse("alpha").sse("beta").build();
        world.chop = Some(Dice::new(seed));
        let (client, session) = world.begin();
        assert_eq!(world.ask(client, &session, &call("beta_echo")).tool_text(), "beta:echo");
        let list = world.ask(client, &session, &request("tools/list", "{}")).json();
        assert_eq!(list["result"]["tools"].as_array().unwrap().len(), 4);
        world.delete(0, &session);
        world.assert_clean();
    }
}

#[test]
fn a_call_without_an_answer_is_given_up_and_the_target_told() {
    let mut world = alone();
    let (_, session) = world.begin();
    world.server("alpha").on("tools/call", |_| Vec::new());
    let client = world.call_later(0, &session, &call("echo"));
    world.advance(300 * SECOND);
    assert_eq!(
        world.clients[client].answer().tool_text(),
        "target \"alpha\" failed: it took too long to answer"
    );
    assert_eq!(world.server("alpha").last("notifications/cancelled").json()["params"]["requestId"], 2);
    world.delete(0, &session);
    world.assert_clean();
}

#[test]
fn a_client_that_reads_slowly_slows_its_own_stream() {
    let mut world =
        Setup::new(&["alpha"]).sse("alpha").config(|config| config.limits.buffer = 4 << 10).build();
    let (_, session) = world.begin();
    world.server("alpha").on("tools/call", |_| Vec::new());
    let slow = world.connect(0);
    world.clients[slow].window = 0;
    world.ask_later(slow, &session, &call("echo"));
    let key = world.server("alpha").stream().unwrap();
    let ask = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"roots/list","params":{{"x":"{}"}}}}"#,
        "x".repeat(1000)
    );
    for _ in 0..6 {
        world.say_on_stream("alpha", &ask);
    }
    assert!(world.is_paused(key));
    world.take(slow, usize::MAX);
    assert!(!world.is_paused(key));
    assert_eq!(world.messages(slow).len(), 6);
}

#[test]
fn all_kinds_of_targets_are_one_server() {
    let mut world = Setup::new(&["alpha", "beta", "gamma", "delta"])
        .shards(2)
        .process("beta")
        .sse("gamma")
        .shared("delta")
        .build();
    let (_, session) = world.begin();
    let names = |world: &mut World, shard: usize| -> (Vec<String>, Value) {
        let list = world.ask_on(shard, &session, &request("tools/list", "{}")).json();
        let names = list["result"]["tools"].as_array().unwrap().iter();
        (
            names.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect(),
            list["result"]["_meta"].clone(),
        )
    };
    let all = [
        "alpha_echo",
        "alpha_add",
        "beta_echo",
        "beta_add",
        "gamma_echo",
        "gamma_add",
        "delta_echo",
        "delta_add",
    ];
    for shard in [0, 1] {
        assert_eq!(names(&mut world, shard), (all.map(str::to_owned).to_vec(), Value::Null));
        for target in ["alpha", "beta", "gamma", "delta"] {
            let text = world.ask_on(shard, &session, &call(&format!("{target}_echo"))).tool_text();
            assert_eq!(text, format!("{target}:echo"));
            let uri = format!(r#"{{"uri":"{target}+demo://one"}}"#);
            let read = world.ask_on(shard, &session, &request("resources/read", &uri)).json();
            assert_eq!(read["result"]["contents"][0]["uri"], format!("{target}+demo://one"));
        }
    }
    // One is dead, and in a page of its own so that no kept copy stands in for it.
    world.server("beta").refuses = Some(Some(Fault::Other));
    world.server("beta").lists.insert("tools", vec!["new".to_owned()]);
    let key = world.connections("beta")[0];
    world.say(key, vec![Step::Fin]);
    for shard in [1, 0] {
        let (found, meta) = names(&mut world, shard);
        assert_eq!(found, all.map(str::to_owned), "the last good copy");
        let partial = &meta["mcp-gateway/partial"][0];
        assert_eq!((&partial["target"], &partial["stale"]), (&json!("beta"), &json!(true)));
    }
    assert_eq!(world.ask_on(1, &session, &call("gamma_echo")).tool_text(), "gamma:echo");
    world.delete(0, &session);
    world.advance(600 * SECOND);
    world.assert_clean();
    assert_eq!(world.counters(0).processes.value(), 0);
}

#[test]
fn a_target_that_speaks_nothing_newer_is_found_out_and_asked_again_now_and_then() {
    let mut world = Setup::new(&["alpha"])
        .sse("alpha")
        .targets(|target| target.protocol = routing::Protocol::Auto)
        .build();
    let alpha = world.server("alpha");
    alpha.talks = Talks::Stream;
    alpha.posts = Some(Box::new(|seen| match seen.path.as_str() {
        "/sse" => reply(405, "", ""),
        _ => reply(202, "", ""),
    }));
    let (client, session) = world.begin();
    assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), "alpha:echo");
    let asked = |world: &mut World| {
        let seen = &world.server("alpha").seen;
        seen.iter()
            .filter(|seen| seen.path == "/sse")
            .map(|seen| (seen.http.clone(), seen.method.clone()))
            .collect::<Vec<_>>()
    };
    let text = str::to_owned;
    let first = vec![
        (text("POST"), text("server/discover")),
        (text("POST"), text("initialize")),
        (text("GET"), text("")),
    ];
    assert_eq!(asked(&mut world), first);
    world.advance(301 * SECOND);
    for _ in 0..2 {
        assert_eq!(world.ask_on(0, &session, &call("echo")).tool_text(), "alpha:echo");
    }
    assert_eq!(asked(&mut world)[3..], [(text("POST"), text("server/discover"))]);
    // It has learnt the next revision: there is no such stream any more.
    let key = world.server("alpha").stream().unwrap();
    let alpha = world.server("alpha");
    (alpha.talks, alpha.posts) = (Talks::Http, None);
    alpha.streams = false;
    alpha.on("GET", |_| reply(405, "", ""));
    world.say(key, vec![Step::Reset]);
    for _ in 0..3 {
        world.ask_on(0, &session, &call("echo"));
        world.advance(2 * SECOND);
    }
    assert_eq!(world.ask_on(0, &session, &call("echo")).tool_text(), "alpha:echo");
    world.delete(0, &session);
    world.assert_clean();
}

/// A target of this transport alone that has not been met.
fn unknown(shards: u16) -> World {
    let setup = Setup::new(&["alpha"]).shards(shards).sse("alpha");
    let mut world = setup.targets(|target| target.protocol = routing::Protocol::Auto).build();
    let alpha = world.server("alpha");
    alpha.talks = Talks::Stream;
    alpha.posts = Some(Box::new(|seen| match seen.path.as_str() {
        "/sse" => reply(404, "", "Cannot POST /sse"),
        _ => reply(202, "", ""),
    }));
    world
}

#[test]
fn requests_that_meet_an_unknown_target_at_once_all_get_there() {
    let mut world = unknown(1);
    let clients = [(); 3].map(|()| world.connect(0));
    for client in clients {
        // No call of a tool: the first of those asks for the schemas, and the others wait.
        world.queue(client, &Ask { method: "prompts/get", ..Ask::default() }.text());
    }
    world.run();
    for client in clients {
        let answer = world.clients[client].answer();
        assert!(answer.text().contains("alpha:echo"), "{}", answer.text());
    }
}

#[test]
fn a_shard_learns_from_a_session_how_its_target_is_reached() {
    let mut world = unknown(2);
    let (_, session) = world.begin_on(0, "2025-11-25", EVERYTHING);
    assert_eq!(world.ask_on(1, &session, &call("echo")).tool_text(), "alpha:echo");
    let posts = world.server("alpha").seen.iter().filter(|seen| seen.path == "/sse" && seen.http == "POST");
    assert_eq!(posts.count(), 2, "the question for the era, and the first initialize");
}

#[test]
fn a_modern_client_hears_what_is_logged_from_the_first_call_on() {
    let mut world = alone();
    let meta = r#","io.modelcontextprotocol/logLevel":"info""#;
    assert_eq!(world.ask_modern(0, &Ask { meta, ..Ask::call(1) }).tool_text(), "alpha:echo");
    let told = world.server("alpha").last("logging/setLevel").clone();
    assert_eq!(told.json()["params"], json!({"level": "info"}));
    assert_eq!(world.server("alpha").last("tools/call").path, told.path, "it was told in the same session");
}

#[test]
fn what_a_target_asks_after_its_first_question_is_the_same_calls() {
    let mut world = alone();
    world.server("alpha").on("tools/call", |_| Vec::new());
    let client = world.begin_modern(0, &Ask::call(1));
    world.say_on_stream("alpha", FORM);
    let answer = world.clients[client].answer();
    let responses = format!(r#"{{"{}":{ACCEPT}}}"#, answer.asked()[0].0);
    // It comes while the client has the word.
    world.say_on_stream("alpha", ROOTS);
    let answer = world.ask_modern(0, &Ask::again(2, &answer.state(), &responses));
    assert_eq!(answer.asked()[0].1, json!({"method": "roots/list"}));
}
