//! One request, one target: what reaches it, and what comes back.

use crate::support::client::{call, post, request, session_field};
use crate::support::server::{
    self, Seen, chunk, chunked_reply, event, json_reply, reply, stream, tool_result,
};
use crate::support::{Setup, World};

#[test]
fn a_single_target_is_seen_as_it_is() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    let body = r#" {"id" : 12345678901234567890123, "zzz":[1e400], "method":"tools\/call","jsonrpc":"2.0", "params":{"x-unknown":"\u00e9","name":"echo","arguments":{"a":1.10}} } "#;
    let response =
        [r#"{"jsonrpc":"2.0", "#, r#""id":12345678901234567890123,"result":{"uri":"a://b","x":1.10}} "#];
    world.server("alpha").on("tools/call", move |_| chunked_reply(&response));
    let answer = world.ask(client, &session, body);
    assert_eq!(world.server("alpha").last("tools/call").body, body);
    assert_eq!(answer.text(), response.concat());
}

#[test]
fn everything_passes_a_single_target_byte_for_byte() {
    for (method, params) in [
        ("tools/call", r#"{"name":"alph_echo"}"#),
        ("tools/list", r#"{"cursor":"", "other":1}"#),
        ("prompts/get", r#"{"name":"é . /"}"#),
        ("resources/read", r#"{"uri":"beta+demo://one"}"#),
        ("resources/subscribe", r#"{"uri":"demo://one"}"#),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"a","value":"b"}}"#,
        ),
        ("logging/setLevel", r#"{"level":"debug"}"#),
        ("tasks/list", "{}"),
        ("example.org/own", r#"{"_meta":{"progressToken":7}}"#),
    ] {
        let mut world = World::new(&["alpha"]);
        let (client, session) = world.begin();
        let own =
            r#"{"_meta":{"a":[ ]},"tools":[{"name":"x","$defs":{}}],"contents":[{"uri":"demo://one"}]}"#;
        world.server("alpha").on(method, move |seen| seen.result(own));
        let body = request(method, params);
        let answer = world.ask(client, &session, &body);
        assert_eq!(world.server("alpha").last(method).body, body);
        assert_eq!(answer.text(), format!(r#"{{"jsonrpc":"2.0","id":1,"result":{own}}}"#), "{method}");
    }
}

#[test]
fn a_target_is_asked_in_its_own_session_and_revision() {
    let mut world = Setup::new(&["alpha"])
        .targets(|target| {
            target.authority = "mcp.example".to_owned();
            target.path = "/deep/mcp?key=1".to_owned();
            target.headers = vec![("x-own".to_owned(), "yes".to_owned())];
            target.forward.fields = vec!["x-trace".to_owned()];
        })
        .build();
    let (client, session) = world.begin_as("2025-06-18", "{}");
    let fields = format!("{}x-trace: t1\r\nauthorization: secret\r\ncookie: a\r\n", session_field(&session));
    world.send(client, &post(&fields, &call("echo")));
    let seen = world.server("alpha").last("tools/call").clone();
    assert_eq!((seen.http.as_str(), seen.path.as_str()), ("POST", "/deep/mcp?key=1"));
    for (field, value) in [
        ("host", Some("mcp.example")),
        ("accept", Some("application/json, text/event-stream")),
        ("content-type", Some("application/json")),
        ("mcp-session-id", Some("alpha-1")),
        ("mcp-protocol-version", Some("2025-06-18")),
        ("x-own", Some("yes")),
        ("x-trace", Some("t1")),
        ("authorization", None),
        ("cookie", None),
    ] {
        assert_eq!(seen.field(field), value, "{field}");
    }
}

#[test]
fn a_call_finds_its_target_by_name() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    let answer = world.ask(client, &session, &call("beta_echo"));
    assert_eq!(world.server("beta").last("tools/call").body, call("echo"));
    let expected = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{}}}"#, tool_result("beta:echo"));
    assert_eq!(answer.text(), expected);
    assert_eq!(world.server("alpha").count("tools/call"), 0);
    assert_eq!(world.server("beta").count("tools/list"), 0, "a plain name needs no list");
}

#[test]
fn names_are_found_that_do_not_say_their_target() {
    for (name, target, original) in [
        ("only", Some("beta"), "only"),
        ("echo", None, "ambiguous tool: echo may be alpha_echo or beta_echo"),
        ("gamma_echo", None, "unknown tool: gamma_echo"),
        ("alpha_spaced_name_", Some("alpha"), "spaced name!"),
    ] {
        let mut world = World::new(&["alpha", "beta"]);
        world.server("beta").lists.get_mut("tools").unwrap().push("only".to_owned());
        world.server("alpha").lists.get_mut("tools").unwrap().push("spaced name!".to_owned());
        let (client, session) = world.begin();
        let listed = world.ask_on(0, &session, &request("tools/list", "{}"));
        let shown: Vec<_> = listed.json()["result"]["tools"].as_array().unwrap().clone();
        let name = shown
            .iter()
            .filter_map(|tool| tool["name"].as_str())
            .find(|it| name.ends_with('_') && it.starts_with(name))
            .unwrap_or(name)
            .to_owned();
        let answer = world.ask(client, &session, &call(&name));
        match target {
            Some(target) => assert_eq!(answer.tool_text(), format!("{target}:{original}")),
            None => assert_eq!(
                (answer.code(), answer.json()["error"]["message"].as_str()),
                (Some(-32602), Some(original))
            ),
        }
    }
}

#[test]
fn a_shortened_name_is_found_on_a_shard_that_never_listed() {
    let mut world = Setup::new(&["alpha", "beta"]).shards(2).build();
    let long = "a".repeat(80);
    let tools = world.server("beta").lists.get_mut("tools").unwrap();
    tools.push(long.clone());
    tools.push("with.dot".to_owned());
    world.server("beta").page = 2;
    let (_, session) = world.begin();
    let beta = routing::TargetName::parse("beta").unwrap();
    for original in [long.as_str(), "with.dot"] {
        let name = routing::names::federated(&beta, original);
        assert!(name.len() <= 64);
        let answer = world.ask_on(1, &session, &call(&name));
        assert_eq!(answer.tool_text(), format!("beta:{original}"));
    }
    // Two pages, each asked for once: the second name was known by then.
    assert_eq!(world.server("beta").count("tools/list"), 2);
}

#[test]
fn a_prefixed_name_still_works_when_one_target_is_left() {
    let mut world = World::new(&["alpha"]);
    world.server("alpha").lists.get_mut("tools").unwrap().push("alpha_own".to_owned());
    let (client, session) = world.begin();
    for (name, expected) in
        [("alpha_echo", "echo"), ("echo", "echo"), ("alpha_own", "alpha_own"), ("alpha_none", "alpha_none")]
    {
        let answer = world.ask(client, &session, &call(name));
        assert_eq!(answer.tool_text(), format!("alpha:{expected}"));
    }
}

#[test]
fn uris_and_prompts_are_put_back_and_renamed() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    for (method, sent, received) in [
        ("resources/read", r#"{"uri":"beta+demo://one"}"#, r#"{"uri":"demo://one"}"#),
        ("resources/read", r#"{"uri":"ui://beta+w/x"}"#, r#"{"uri":"ui://w/x"}"#),
        ("resources/subscribe", r#"{"uri":"beta+demo://one"}"#, r#"{"uri":"demo://one"}"#),
        ("resources/unsubscribe", r#"{"uri":"beta+demo://one"}"#, r#"{"uri":"demo://one"}"#),
        ("prompts/get", r#"{"name":"beta_greet"}"#, r#"{"name":"greet"}"#),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/resource","uri":"beta+demo://{id}"},"context":{"arguments":{"a":"b"}}}"#,
            r#"{"ref":{"type":"ref/resource","uri":"demo://{id}"},"context":{"arguments":{"a":"b"}}}"#,
        ),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/prompt","name":"beta_greet"}}"#,
            r#"{"ref":{"type":"ref/prompt","name":"greet"}}"#,
        ),
    ] {
        let answer = world.ask(client, &session, &request(method, sent));
        assert!(answer.json()["result"].is_object(), "{method}: {}", answer.text());
        assert_eq!(world.server("beta").last(method).body, request(method, received));
    }
    let read = world.ask(client, &session, &request("resources/read", r#"{"uri":"beta+demo://one"}"#));
    assert_eq!(
        read.text(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"contents":[{"uri":"beta+demo://one","text":"beta"}]}}"#
    );
}

#[test]
fn uris_in_results_are_renamed_and_nothing_else() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    let result = |uri: &str, ui: &str| {
        format!(
            r#"{{"content":[{{"type":"resource_link","uri":"{uri}","icons":[{{"src":"demo://one"}}]}},{{"type":"resource","resource":{{"uri":"{ui}"}}}},{{"type":"text","text":"demo://one"}}],"structuredContent":{{"uri":"demo://one"}}}}"#
        )
    };
    world.server("alpha").on("tools/call", move |seen| seen.result(&result("demo://one", "ui://w")));
    let answer = world.ask(client, &session, &call("alpha_echo"));
    let expected = result("alpha+demo://one", "ui://alpha+w");
    assert_eq!(answer.text(), format!(r#"{{"jsonrpc":"2.0","id":1,"result":{expected}}}"#));
}

#[test]
fn what_is_not_known_is_refused_by_several() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    for (method, params, code) in [
        ("tasks/list", "{}", -32601),
        ("example.org/own", "{}", -32601),
        ("resources/read", r#"{"uri":"demo://one"}"#, -32002),
        ("resources/read", r#"{"uri":"gamma+demo://one"}"#, -32002),
        ("resources/read", r#"{"uri":7}"#, -32602),
        ("tools/call", "{}", -32602),
        ("tools/call", r#"{"name":["beta_echo"]}"#, -32602),
        ("prompts/get", r#"{"name":"nothing"}"#, -32602),
        ("completion/complete", "{}", -32602),
    ] {
        let answer = world.ask(client, &session, &request(method, params));
        assert_eq!((answer.status, answer.code()), (200, Some(code)), "{method} {params}");
    }
}

#[test]
fn ping_is_answered_here() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    let answer = world.ask(client, &session, r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#);
    assert_eq!(answer.text(), r#"{"jsonrpc":"2.0","id":"p","result":{}}"#);
    assert_eq!(world.server("alpha").count("ping"), 0);
}

#[test]
fn an_answer_keeps_the_form_its_target_chose_if_the_client_takes_it() {
    let json = |seen: &Seen| seen.result(&tool_result("x"));
    let events = |seen: &Seen| stream(&[event(&seen.response(&tool_result("x")))]);
    for targets in [vec!["alpha"], vec!["alpha", "beta"]] {
        for (accept, as_events, is_stream) in [
            ("application/json, text/event-stream", false, false),
            ("application/json, text/event-stream", true, true),
            ("application/json", true, false),
            ("text/event-stream", false, true),
            ("*/*", true, true),
            ("APPLICATION/JSON;q=0.5", false, false),
        ] {
            let mut world = World::new(&targets);
            let (client, session) = world.begin();
            match as_events {
                true => world.server("alpha").on("tools/call", events),
                false => world.server("alpha").on("tools/call", json),
            }
            let sent = post(&session_field(&session), &call("alpha_echo"));
            let sent = String::from_utf8(sent).unwrap();
            let sent = sent.replace("application/json, text/event-stream", accept);
            world.send(client, sent.as_bytes());
            let answer = world.clients[client].answer();
            assert!(answer.complete);
            assert_eq!(answer.is_stream(), is_stream, "{accept}");
            assert_eq!(answer.tool_text(), "x");
            assert_eq!(answer.json()["id"], 1);
        }
    }
}

#[test]
fn what_a_target_says_before_its_answer_passes_in_order() {
    for targets in [vec!["alpha"], vec!["alpha", "beta"]] {
        let mut world = World::new(&targets);
        let (client, session) = world.begin();
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}"#;
        let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","logger":"l","data":1}}"#;
        world.server("alpha").on("tools/call", move |seen| {
            stream(&[event(progress), event(log), chunk(":\n\n"), event(&seen.response("{}"))])
        });
        let answer = world.ask(client, &session, &call("alpha_echo"));
        let log = if targets.len() > 1 { log.replace(r#""l""#, r#""alpha/l""#) } else { log.to_owned() };
        let data: Vec<_> = answer.events().into_iter().map(|event| event.data).collect();
        assert_eq!(data, [progress, &log, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#]);
        assert!(answer.complete);
    }
}

#[test]
fn notifications_are_accepted_and_passed_where_they_belong() {
    for (targets, method, reached) in [
        (vec!["alpha"], "notifications/roots/list_changed", 1),
        (vec!["alpha"], "notifications/example", 1),
        (vec!["alpha", "beta"], "notifications/roots/list_changed", 1),
        (vec!["alpha", "beta"], "notifications/example", 0),
    ] {
        let mut world = World::new(&targets);
        let (client, session) = world.begin();
        let answer = world.ask(client, &session, &format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#));
        assert_eq!((answer.status, answer.text()), (202, ""));
        for target in targets {
            assert_eq!(world.server(target).count(method), reached, "{method}");
        }
    }
}

#[test]
fn a_cancellation_reaches_the_target_at_work_on_any_shard() {
    let mut world = Setup::new(&["alpha", "beta"]).shards(2).build();
    let (client, session) = world.begin();
    world.server("beta").on("tools/call", |_| Vec::new());
    world.queue(client, &post(&session_field(&session), &call("beta_echo")));
    world.run();
    let cancel =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"enough"}}"#;
    for shard in [0, 1] {
        assert_eq!(world.ask_on(shard, &session, cancel).status, 202);
        assert_eq!(world.server("beta").last("notifications/cancelled").body, cancel);
    }
    assert_eq!(world.server("beta").count("notifications/cancelled"), 2);
    assert_eq!(world.server("alpha").count("notifications/cancelled"), 0);
}

#[test]
fn errors_of_a_target_are_the_clients() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    let error = |seen: &Seen| seen.error(-32042, "go there");
    for status in [200, 400, 500] {
        world.server("alpha").on("tools/call", move |seen| json_reply(status, &error(seen)));
        let answer = world.ask(client, &session, &call("echo"));
        let expected = if status == 400 { 400 } else { 200 };
        assert_eq!(
            (answer.status, answer.text()),
            (expected, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"go there"}}"#)
        );
    }
    world.server("alpha").on("tools/call", |_| {
        json_reply(400, r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"m"},"id":null}"#)
    });
    assert_eq!(world.ask(client, &session, &call("echo")).json()["id"], 1);
    world
        .server("alpha")
        .on("tools/call", |_| json_reply(400, r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"m"}}"#));
    assert_eq!(world.ask(client, &session, &call("echo")).json()["id"], 1);
}

#[test]
fn interim_answers_of_a_target_are_not_passed() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |seen| {
        let mut steps = vec![server_text("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")];
        steps.extend(seen.result("{}"));
        steps
    });
    let answer = world.ask(client, &session, &call("echo"));
    assert_eq!((answer.status, answer.text()), (200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#));
    assert_eq!(answer.field("link"), None);
}

fn server_text(text: &str) -> server::Step {
    server::Step::Send(text.into())
}

#[test]
fn an_answer_without_a_length_ends_with_its_connection() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |seen| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
        vec![server_text(head), server_text(&seen.response("{}")), server::Step::Fin]
    });
    let answer = world.ask(client, &session, &call("echo"));
    assert_eq!((answer.complete, answer.text()), (true, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#));
    world.server("alpha").on("tools/call", |seen| seen.result("{}"));
    assert!(world.ask(client, &session, &call("echo")).complete);
}

#[test]
fn a_target_that_gives_no_usable_answer_is_named() {
    for (name, steps) in [
        ("neither JSON nor", reply(200, "content-type: text/html\r\n", "<html>")),
        ("HTTP status 502", reply(502, "content-type: text/html\r\n", "<html>")),
        ("credentials", reply(401, "www-authenticate: Bearer\r\n", "")),
        ("malformed", vec![server_text("SSH-2.0-OpenSSH\r\n")]),
        ("HTTP status 404", reply(404, "", "")),
        ("without an answer", stream(&[])),
        ("connection reset", vec![server::Step::Reset]),
        ("connection closed", vec![server::Step::Fin]),
    ] {
        for targets in [vec!["alpha"], vec!["alpha", "beta"]] {
            let mut world = World::new(&targets);
            world.servers.iter_mut().for_each(|server| server.keeps_sessions = false);
            let (client, session) = world.begin();
            let steps = steps.clone();
            world.server("alpha").on("tools/call", move |_| steps.clone());
            let answer = world.ask(client, &session, &call("alpha_echo"));
            let text = answer.tool_text();
            assert!(
                text.starts_with("target \"alpha\" failed: ") && text.contains(name),
                "{name}: {}",
                answer.text()
            );
            assert_eq!(
                (answer.status, &answer.json()["result"]["isError"], answer.field("www-authenticate")),
                (200, &true.into(), None)
            );
            assert_eq!(world.counters(0).calls.value(), 0, "{name}");
        }
    }
}
