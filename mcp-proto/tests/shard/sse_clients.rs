//! Clients of 2024-11-05: one stream for everything, and POSTs that are only accepted.

use crate::support::client::{EVERYTHING, INITIALIZED, call, initialize, post, post_at, request};
use crate::support::rand::Dice;
use crate::support::server::{Reply, event, open_stream, stream, stream_end};
use crate::support::{End, Setup, Step, World};
use serde_json::{Value, json};
use std::time::Duration;

fn world() -> World {
    World::new(&["alpha", "beta"])
}

/// The answers a client has on its stream, by id.
fn answer(world: &World, client: usize, id: &Value) -> Value {
    let messages = world.messages(client);
    let mut own = messages.into_iter().filter(|it| it["id"] == *id && it.get("method").is_none());
    let found = own.next().unwrap_or_else(|| panic!("no answer to {id}"));
    assert_eq!(own.next(), None, "a second answer to {id}");
    found
}

fn numbered(id: u64, body: &str) -> String {
    body.replace(r#""id":1,"#, &format!(r#""id":{id},"#))
}

/// Nothing is left but what `sessions` streams with a session need.
fn assert_rest(world: &mut World, sessions: u64) {
    world.advance(Duration::from_secs(60));
    for shard in 0..world.shards.len() {
        let counters = world.counters(shard);
        assert!(counters.calls.value() <= 2 * sessions, "{} calls", counters.calls.value());
        assert!(counters.sessions.value() <= sessions && counters.streams.value() <= sessions);
    }
}

#[test]
fn the_first_event_tells_where_to_post_and_answers_come_as_messages() {
    let mut world = World::new(&["alpha"]);
    let client = world.connect(0);
    world.send(
        client,
        b"GET /sse HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl\r\nAccept: */*\r\n\r\n",
    );
    let opened = world.clients[client].answer();
    assert_eq!(opened.status, 200);
    assert_eq!(opened.field("content-type"), Some("text/event-stream"));
    assert_eq!(opened.field("cache-control"), Some("no-cache, no-transform"));
    let endpoint = opened.text().strip_prefix("event: endpoint\ndata: /sse?sessionId=").unwrap();
    let sealed = endpoint.strip_suffix("\n\n").unwrap().to_owned();

    // At the place of Streamable HTTP as well.
    let post = world.connect(0);
    let body = initialize("2024-11-05", r#"{"roots":{}}"#);
    world.send(post, &post_at(&format!("/mcp?sessionId={sealed}"), &body));
    let accepted = world.clients[post].answer();
    assert_eq!((accepted.status, accepted.text()), (202, "Accepted"));
    assert_eq!(accepted.field("mcp-session-id"), None);
    let expected = concat!(
        "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":0,\"result\":",
        r#"{"capabilities":{"completions":{},"logging":{},"prompts":{},"resources":{"subscribe":true},"tools":{}},"protocolVersion":"2024-11-05","serverInfo":{"name":"alpha","version":"1"}}"#,
        "}\n\n"
    );
    let text = world.clients[client].answer().text().to_owned();
    let (_, events) = text.split_once("\n\n").unwrap();
    assert_eq!(events, expected);
    assert_eq!(world.server("alpha").last("initialize").json()["params"]["protocolVersion"], "2024-11-05");
}

#[test]
fn a_session_lives_on_the_stream_whatever_form_targets_answer_in() {
    let mut world = world();
    world.server("beta").on("tools/call", |seen| {
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
        let events = [event(progress), event(&seen.response(r#"{"content":[]}"#))];
        stream(&events)
    });
    let (client, endpoint) = world.begin_sse(0);
    for (id, body) in [
        (1, request("tools/list", "{}")),
        (2, call("alpha_echo")),
        (3, call("beta_echo")),
        (4, request("ping", "{}")),
    ] {
        assert_eq!(world.post_to(0, &endpoint, &numbered(id, &body)).status, 202);
    }
    assert_eq!(answer(&world, client, &json!(1))["result"]["tools"].as_array().unwrap().len(), 4);
    assert_eq!(answer(&world, client, &json!(2))["result"]["content"][0]["text"], "alpha:echo");
    assert_eq!(answer(&world, client, &json!(3))["result"]["content"], json!([]));
    assert_eq!(answer(&world, client, &json!(4))["result"], json!({}));
    assert_eq!(world.methods(client).iter().filter(|it| *it == "notifications/progress").count(), 1);
    assert_eq!(world.server("alpha").last("tools/call").session(), Some("alpha-1"));
    assert!(world.clients[client].answer().events().iter().all(|event| event.id.is_none()));
    // One line in the log for each message, none for its POST.
    let logged: Vec<_> =
        world.records.iter().map(|it| (it.http_method.as_str(), it.method.as_str())).collect();
    let expected =
        ["initialize", "notifications/initialized", "tools/list", "tools/call", "tools/call", "ping"];
    assert_eq!(logged, expected.map(|method| ("POST", method)));
    assert!(world.records.iter().all(|it| it.route == "/sse" && it.client.is_some()));
    assert_eq!(world.counters(0).requests.value(), 7);
}

#[test]
fn the_stream_is_the_sessions_own_once_the_client_is_ready() {
    let mut world = world();
    let (client, endpoint) = world.open_sse(0);
    world.post_to(0, &endpoint, &initialize("2024-11-05", EVERYTHING));
    assert_eq!(world.server("alpha").count("GET"), 0);
    world.post_to(0, &endpoint, INITIALIZED);
    let order: Vec<_> = world.server("alpha").methods().into_iter().map(str::to_owned).collect();
    assert_eq!(order, ["initialize", "notifications/initialized", "GET"]);
    world.say_on_stream("alpha", r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    assert_eq!(world.methods(client), ["answer", "notifications/tools/list_changed"]);
    assert_eq!(world.counters(0).streams.value(), 1);
}

#[test]
fn targets_ask_on_the_stream_and_are_answered_by_a_post() {
    let mut world = Setup::new(&["alpha", "beta"]).shards(3).build();
    world.server("beta").on("tools/call", |_| {
        let ask = r#"{"jsonrpc":"2.0","id":"q","method":"roots/list"}"#;
        open_stream(&[event(ask)])
    });
    let (client, endpoint) = world.begin_sse(1);
    world.post_to(0, &endpoint, &call("beta_echo"));
    let asked = world.messages(client).pop().unwrap();
    assert_eq!(asked["method"], "roots/list");
    let reply = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"roots":[]}}}}"#, asked["id"]);
    assert_eq!(world.post_to(2, &endpoint, &reply).status, 202);
    let seen = world.server("beta").seen.last().unwrap().clone();
    assert_eq!(seen.body, r#"{"jsonrpc":"2.0","id":"q","result":{"roots":[]}}"#);
    let key = world.server("beta").last("tools/call").key;
    let result = event(r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#);
    world.say(key, [vec![Step::Send(result.into())], stream_end()].concat());
    assert_eq!(answer(&world, client, &json!(1))["result"]["content"], json!([]));
}

#[test]
fn a_post_is_refused_as_http() {
    let mut world = Setup::new(&["alpha"]).config(|config| config.limits.request = 500).build();
    let (client, endpoint) = world.begin_sse(0);
    let before = world.clients[client].raw.len();
    let mut refused = |text: Vec<u8>| {
        let client = world.connect(0);
        world.send(client, &text);
        world.clients[client].answer().status
    };
    let text = |body: &str| String::from_utf8(post_at(&endpoint, body)).unwrap();
    assert_eq!(refused(post_at(&endpoint, "{")), 400);
    assert_eq!(refused(post_at(&endpoint, "[]")), 400);
    assert_eq!(refused(post_at(&endpoint, r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},7]"#)), 400);
    assert_eq!(refused(text("{}").replace("application/json", "text/plain").into()), 415);
    assert_eq!(refused(post_at(&endpoint, &"x".repeat(501))), 413);
    assert_eq!(refused(text("{}").replace("host: localhost", "host: evil.example").into()), 403);
    assert_eq!(refused(text("{}").replacen("host", "origin: http://evil.example\r\nhost", 1).into()), 403);
    assert_eq!(refused(post_at("/sse?sessionId=x", "{}")), 404);
    assert_eq!(refused(post_at("/mcp?a=b&sessionId=", "{}")), 404);
    assert_eq!(refused(post_at("/sse", "{}")), 400);
    assert_eq!(refused(text("").replace("POST", "DELETE").into()), 405);
    let get = |accept: &str, more: &str| {
        format!("GET /sse HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\n{more}\r\n").into_bytes()
    };
    assert_eq!(refused(get("application/json", "")), 406);
    assert_eq!(refused(get("text/event-stream", "origin: http://evil.example\r\n")), 403);
    assert_eq!(refused(post_at("/sse/x", "{}")), 404);
    assert_eq!(world.clients[client].raw.len(), before, "nothing of it is said on the stream");
}

#[test]
fn what_comes_out_of_order_is_refused_on_the_stream() {
    let mut world = world();
    let (client, endpoint) = world.open_sse(0);
    world.post_to(0, &endpoint, &request("ping", "{}"));
    world.post_to(0, &endpoint, &numbered(2, &call("alpha_echo")));
    // Nobody waits for an answer to these.
    world.post_to(0, &endpoint, INITIALIZED);
    world.post_to(0, &endpoint, r#"{"jsonrpc":"2.0","id":7,"result":{}}"#);
    world.post_to(0, &endpoint, &initialize("2024-11-05", "{}"));
    world.post_to(0, &endpoint, &initialize("2024-11-05", "{}").replace(r#""id":0"#, r#""id":3"#));
    let messages = world.messages(client);
    assert_eq!(messages.len(), 4, "{messages:?}");
    assert_eq!(messages[0]["result"], json!({}));
    assert_eq!(messages[1]["error"], json!({"code": -32600, "message": "initialize comes first"}));
    assert_eq!(messages[2]["result"]["protocolVersion"], "2024-11-05");
    assert_eq!(messages[3]["error"]["message"], "this connection has its session already");
    assert_eq!(world.server("alpha").count("initialize"), 1);
}

#[test]
fn messages_in_an_array_are_answered_one_by_one() {
    let mut world = world();
    let (client, endpoint) = world.begin_sse(0);
    let body = format!("[{},{INITIALIZED},{}]", call("alpha_echo"), numbered(2, &call("nowhere")));
    assert_eq!(world.post_to(0, &endpoint, &body).status, 202);
    assert_eq!(answer(&world, client, &json!(1))["result"]["content"][0]["text"], "alpha:echo");
    assert_eq!(answer(&world, client, &json!(2))["error"]["message"], "unknown tool: nowhere");
}

#[test]
fn any_shard_takes_the_posts_of_a_stream() {
    let mut world = Setup::new(&["alpha", "beta"]).shards(3).build();
    let (client, endpoint) = world.open_sse(1);
    for (shard, body) in [(2, initialize("2024-11-05", EVERYTHING)), (0, INITIALIZED.to_owned())] {
        let answer = world.post_to(shard, &endpoint, &body);
        assert_eq!((answer.status, answer.text()), (202, "Accepted"));
    }
    for shard in 0..3 {
        let body = numbered(shard as u64 + 1, &call("beta_echo"));
        assert_eq!(world.post_to(shard, &endpoint, &body).status, 202);
        assert_eq!(answer(&world, client, &json!(shard + 1))["result"]["content"][0]["text"], "beta:echo");
    }
    assert_eq!(world.post_to(2, &endpoint, "{").status, 400);
    assert_eq!(world.server("beta").count("initialize"), 1);
    assert_eq!([0, 1, 2].map(|shard| world.counters(shard).sessions.value()), [0, 1, 0]);
    let requests = [0, 1, 2].map(|shard| world.counters(shard).requests.value());
    assert_eq!(requests, [2, 2, 3]);
    world.hang_up(client);
    for shard in 0..3 {
        assert_eq!(world.post_to(shard, &endpoint, &call("beta_echo")).status, 404);
    }
    assert_rest(&mut world, 0);
}

#[test]
fn the_end_of_the_stream_ends_its_session_and_no_other() {
    let mut world = world();
    let (other, other_endpoint) = world.begin_sse(0);
    let (client, endpoint) = world.begin_sse(0);
    world.server("beta").on("tools/call", |_| Reply::new());
    world.post_to(0, &endpoint, &call("beta_echo"));
    world.hang_up(client);
    for name in ["alpha", "beta"] {
        assert_eq!(world.server(name).count("DELETE"), 1, "{name}");
        assert_eq!(world.server(name).last("DELETE").session(), Some(format!("{name}-2").as_str()));
    }
    assert_eq!(world.post_to(0, &endpoint, &call("alpha_echo")).status, 404);
    world.post_to(0, &other_endpoint, &call("alpha_echo"));
    assert_eq!(answer(&world, other, &json!(1))["result"]["content"][0]["text"], "alpha:echo");
    assert_eq!(world.counters(0).sessions.value(), 1);
    assert_eq!(world.counters(0).streams.value(), 1);
    world.kill("beta");
    world.hang_up(other);
    assert_rest(&mut world, 0);
}

#[test]
fn what_the_end_of_a_stream_opens_may_take_its_place() {
    let mut world = World::new(&["alpha"]);
    let (client, _) = world.begin_sse(0);
    // To end its session takes a connection, and there is none.
    world.kill("alpha");
    world.half_close(client);
    assert_eq!(world.server("alpha").count("DELETE"), 1);
}

#[test]
fn a_stream_may_end_in_any_phase() {
    for phase in 0..6 {
        for proper in [true, false] {
            let mut world = Setup::new(&["alpha", "beta"]).shards(2).build();
            let (client, endpoint) = world.open_sse(0);
            let held = move |seen: &crate::support::server::Seen| match (phase, seen.method.as_str()) {
                (1, "initialize") | (3, "notifications/initialized") | (4 | 5, "tools/call") => {
                    Some(Reply::new())
                }
                _ => None,
            };
            world.server("alpha").script = Some(Box::new(held));
            let bodies = [initialize("2024-11-05", EVERYTHING), INITIALIZED.to_owned(), call("alpha_echo")];
            for body in &bodies[..[0, 1, 1, 2, 3, 3][phase]] {
                world.post_to(1, &endpoint, body);
            }
            if phase == 5 {
                // Within the answer.
                let key = world.server("alpha").last("tools/call").key;
                world.say(key, open_stream(&[event(r#"{"jsonrpc":"2.0","method":"x"}"#)]));
            }
            match proper {
                true => world.half_close(client),
                false => world.hang_up(client),
            }
            world.kill("alpha");
            assert_rest(&mut world, 0);
            assert_eq!(world.post_to(1, &endpoint, INITIALIZED).status, 404, "phase {phase}");
        }
    }
}

#[test]
fn a_client_that_does_not_read_stops_what_feeds_it() {
    let mut world = Setup::new(&["alpha", "beta"]).config(|config| config.limits.buffer = 8 << 10).build();
    let (client, endpoint) = world.begin_sse(0);
    for name in ["alpha", "beta"] {
        world.server(name).on("tools/call", |seen| {
            let progress = |number: usize| {
                let padding = "x".repeat(2000);
                event(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":1,"progress":{number},"message":"{padding}"}}}}"#))
            };
            let mut events: Vec<_> = (0..60).map(progress).collect();
            events.push(event(&seen.response(r#"{"content":[]}"#)));
            stream(&events)
        });
    }
    for name in ["alpha", "beta"] {
        world.server(name).delay = Duration::from_secs(1);
    }
    world.post_to(0, &endpoint, &call("alpha_echo"));
    world.post_to(0, &endpoint, &numbered(2, &call("beta_echo")));
    world.chop = Some(Dice::new(3));
    // Each of the two that feed it may have one message on its way.
    world.bound = (8 << 10) + 2 * 3000 + 1000;
    world.clients[client].window = 0;
    world.advance(Duration::from_secs(2));
    let keys: Vec<_> =
        ["alpha", "beta"].map(|name| world.server(name).last("tools/call").key).into_iter().collect();
    assert!(keys.iter().all(|key| world.is_paused(*key)));
    // Others wait until it reads.
    let third = world.connect(0);
    world.send(third, &post_at(&endpoint, &numbered(3, &request("ping", "{}"))));
    assert!(world.clients[third].answers().is_empty());
    for _ in 0..60 {
        let before = world.clients[client].raw.len();
        world.take(client, 4000);
        assert!(world.clients[client].raw.len() > before, "it stands still");
    }
    world.take(client, usize::MAX);
    assert_eq!(world.clients[third].answer().status, 202);
    assert_eq!(answer(&world, client, &json!(3))["result"], json!({}));
    let progress = |name: &str| world.methods(client).iter().filter(|it| *it == name).count();
    assert_eq!(progress("notifications/progress"), 120);
    assert!(keys.iter().all(|key| !world.is_paused(*key)));
}

#[test]
fn a_long_answer_is_one_event() {
    let mut world = World::new(&["alpha"]);
    let (client, endpoint) = world.begin_sse(0);
    let long = "x".repeat(200_000);
    let result = format!(r#"{{"content":[{{"type":"text","text":"{long}"}}]}}"#);
    world.bound = 1 << 20;
    world.server("alpha").on("tools/call", move |seen| {
        let response = seen.response(&result);
        let (front, back) = response.split_at(100_000);
        {
            let piece = |text: &str| Step::Send(crate::support::server::chunk(text).into());
            let head = Step::Send(crate::support::server::stream_head().into());
            let wait = Step::Wait(Duration::from_secs(1));
            let (front, back) = (format!("data: {front}"), format!("{back}\n\n"));
            [vec![head, piece(&front), wait, piece(&back)], stream_end()].concat()
        }
    });
    world.post_to(0, &endpoint, &call("echo"));
    // In the middle of it.
    world.post_to(0, &endpoint, &numbered(2, &request("ping", "{}")));
    assert_eq!(answer(&world, client, &json!(2))["result"], json!({}));
    world.advance(Duration::from_secs(2));
    assert!(answer(&world, client, &json!(1))["result"]["content"][0]["text"] == *long);
}

#[test]
fn at_the_limit_of_messages_posts_wait_and_then_are_refused() {
    let mut world = Setup::new(&["alpha"]).config(|config| config.limits.stream_calls = 2).build();
    let (client, endpoint) = world.begin_sse(0);
    world.server("alpha").on("tools/call", |_| Reply::new());
    let posts: Vec<_> = (1..=5)
        .map(|id| {
            let post = world.connect(0);
            world.send(post, &post_at(&endpoint, &numbered(id, &call("echo"))));
            post
        })
        .collect();
    let statuses: Vec<_> =
        posts.iter().map(|post| world.clients[*post].answers().first().map(|answer| answer.status)).collect();
    assert_eq!(statuses, [Some(202), Some(202), None, None, Some(503)]);
    assert_eq!(world.server("alpha").count("tools/call"), 2);
    world.kill("alpha");
    assert_eq!(world.server("alpha").count("tools/call"), 4);
    assert_eq!(world.clients[posts[3]].answer().status, 202);
    // One that waits when the stream ends is told so; one whose client is gone is forgotten.
    for id in 6..8 {
        let post = world.connect(0);
        world.send(post, &post_at(&endpoint, &numbered(id, &call("echo"))));
    }
    let (gone, told) = (world.clients.len() - 2, world.clients.len() - 1);
    world.hang_up(gone);
    world.hang_up(client);
    assert_eq!(world.clients[told].answer().status, 404);
    assert_eq!(world.server("alpha").count("tools/call"), 4);
}

#[test]
fn a_silent_stream_is_kept_alive_by_comments() {
    let mut world = world();
    let (client, _) = world.begin_sse(0);
    let before = world.clients[client].raw.len();
    world.advance(Duration::from_secs(31));
    let said = String::from_utf8(world.clients[client].raw[before..].to_vec()).unwrap();
    assert_eq!(said, "3\r\n:\n\n\r\n".repeat(2));
    // The session is not idle while its stream is open.
    world.advance(Duration::from_secs(3 * 3600));
    assert_eq!(world.counters(0).sessions.value(), 1);
}

#[test]
fn a_drained_stream_ends_when_its_calls_are_answered() {
    let mut world = world();
    let (client, endpoint) = world.begin_sse(0);
    let (idle, _) = world.begin_sse(0);
    world.server("alpha").delay = Duration::from_secs(2);
    world.post_to(0, &endpoint, &call("alpha_echo"));
    world.drain(Duration::from_secs(10));
    assert!(world.clients[idle].answer().complete, "the end of the chunked body was written");
    assert!(!world.clients[client].answer().complete);
    world.advance(Duration::from_secs(3));
    assert_eq!(answer(&world, client, &json!(1))["result"]["content"][0]["text"], "alpha:echo");
    assert!(world.clients[client].answer().complete);
    assert_eq!(world.clients[client].end, Some(End::Finished));
    assert_eq!(world.server("beta").count("DELETE"), 2);
    assert!(world.shards[0].is_drained());
}

#[test]
fn a_target_that_fails_is_told_of_on_the_stream() {
    let mut world = world();
    let (client, endpoint) = world.begin_sse(0);
    world.server("alpha").on("tools/call", |_| vec![Step::Reset]);
    world.post_to(0, &endpoint, &call("alpha_echo"));
    let text = answer(&world, client, &json!(1))["result"]["content"][0]["text"].to_string();
    assert!(text.contains("target \\\"alpha\\\" failed"), "{text}");
    assert_eq!(world.clients[client].end, None);
}

#[test]
fn streamable_http_speaks_the_revisions_of_2024_as_well() {
    for revision in ["2024-11-05", "2024-10-07"] {
        let mut world = world();
        let client = world.connect(0);
        world.send(client, &post("", &initialize(revision, "{}")));
        assert_eq!(world.clients[client].answer().json()["result"]["protocolVersion"], revision);
    }
}
