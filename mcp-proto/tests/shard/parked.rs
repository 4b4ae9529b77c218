//! A legacy target asks while it works on a modern client's call: parked calls.

use crate::support::modern::{ASKABLE, Ask};
use crate::support::parking::{ACCEPT, FORM, MINUTE, ROOTS, asking, assert_quiet, bodies, finish, key};
use crate::support::server::{chunk, event, event_with, json_reply, open_stream, stream, stream_end};
use crate::support::{Setup, Step, World};
use serde_json::{Value, json};

#[test]
fn a_question_ends_the_request_and_its_answer_goes_on_with_the_call() {
    for shard in [0, 1] {
        for targets in [vec!["alpha"], vec!["alpha", "beta"]] {
            for accept in ["application/json, text/event-stream", "application/json", "text/event-stream"] {
                let mut world = asking(&targets, 2, &[FORM]);
                let name = if targets.len() == 1 { "echo" } else { "alpha_echo" };
                let answer = world.ask_modern(0, &Ask { accept, name, ..Ask::call(1) });
                assert_eq!((answer.complete, answer.status), (true, 200));
                assert_eq!(answer.is_stream(), accept == "text/event-stream");
                let (key, state) = (key(&answer), answer.state());
                let result = json!({
                    "resultType": "input_required",
                    "inputRequests": {&key: {"method": "elicitation/create",
                        "params": {"message": "who?", "requestedSchema": {"type": "object"}}}},
                    "requestState": state,
                });
                assert_eq!(answer.json(), json!({"jsonrpc": "2.0", "id": 1, "result": result}));
                assert_eq!(world.counters(0).parked.value(), 1);

                let responses = format!(r#"{{"{key}":{ACCEPT},"other":{{}}}}"#);
                let again = Ask { accept, name, ..Ask::again(7, &state, &responses) };
                let client = world.begin_modern(shard, &again);
                assert_eq!(
                    bodies(&mut world),
                    [format!(r#"{{"jsonrpc":"2.0","id":"e \"1\"","result":{ACCEPT}}}"#)]
                );
                let call = world.server("alpha").last("tools/call").clone();
                let reply = world.server("alpha").seen.last().unwrap().clone();
                assert_eq!(reply.session(), call.session());
                finish(&mut world, r#"{"content":[]}"#);
                let answer = world.clients[client].answer();
                assert!(answer.complete);
                let info = json!({"io.modelcontextprotocol/serverInfo": {"name": "alpha", "version": "1"}});
                assert_eq!(
                    answer.json(),
                    json!({"jsonrpc": "2.0", "id": 7, "result": {"content": [], "resultType": "complete", "_meta": info}})
                );
                assert_eq!(world.server("alpha").count("tools/call"), 1);
                assert_quiet(&world);
                // The session is free for the next.
                world.begin_modern(0, &Ask { name, ..Ask::call(2) });
                assert_eq!(world.server("alpha").last("tools/call").session(), call.session());
            }
        }
    }
}

#[test]
fn several_questions_at_once_are_asked_at_once() {
    let mut world = asking(
        &["alpha", "beta"],
        1,
        &[
            r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"messages":[{"content":{"type":"resource","resource":{"uri":"demo://one"}}}],"_meta":{"progressToken":3,"x":1},"task":{"ttl":1}}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"between"}}"#,
            r#"{"jsonrpc":"2.0","id":2,"method":"elicitation/create","params":{"mode":"url","elicitationId":"i","url":"https://x/"}}"#,
            ROOTS,
        ],
    );
    let call = Ask { name: "alpha_echo", ..Ask::call(1) };
    let answer = world.ask_modern(0, &call);
    let asked = answer.asked();
    let requests: Vec<_> = asked.iter().map(|(_, request)| request.clone()).collect();
    let resource = json!({"content": {"type": "resource", "resource": {"uri": "alpha+demo://one"}}});
    assert_eq!(
        requests,
        [
            json!({"method": "sampling/createMessage", "params": {"messages": [resource], "_meta": {"x": 1}}}),
            json!({"method": "elicitation/create", "params": {"mode": "url", "url": "https://x/"}}),
            json!({"method": "roots/list"}),
        ]
    );
    // What is missing is asked again, under a new state; the old one is used up.
    let first = answer.state();
    let some = format!(r#"{{"{}":{{"role":"a"}},"{}":{{"roots":[]}}}}"#, asked[0].0, asked[2].0);
    let answer = world.ask_modern(0, &Ask { name: "alpha_echo", ..Ask::again(2, &first, &some) });
    assert_eq!(answer.asked(), [asked[1].clone()]);
    assert_eq!(
        bodies(&mut world),
        [
            r#"{"jsonrpc":"2.0","id":1,"result":{"role":"a"}}"#,
            r#"{"jsonrpc":"2.0","id":12345678901234567890,"result":{"roots":[]}}"#,
        ]
    );
    let second = answer.state();
    let rest = format!(r#"{{"{}":{ACCEPT}}}"#, asked[1].0);
    let old = world.ask_modern(0, &Ask { name: "alpha_echo", ..Ask::again(3, &first, &rest) });
    assert_eq!((old.status, old.code()), (400, Some(-32602)));
    let client = world.begin_modern(0, &Ask { name: "alpha_echo", ..Ask::again(4, &second, &rest) });
    assert_eq!(bodies(&mut world).len(), 3);
    finish(&mut world, "{}");
    assert_eq!(world.clients[client].answer().json()["id"], 4);
    assert_quiet(&world);
}

#[test]
fn a_state_is_good_once_for_its_own_request_and_for_a_while() {
    let mut world = asking(&["alpha"], 2, &[FORM]);
    let answer = world.ask_modern(0, &Ask::call(1));
    let (state, responses) = (answer.state(), format!(r#"{{"{}":{ACCEPT}}}"#, key(&answer)));
    let refused = |world: &mut World, ask: &Ask<'_>, words: &str| {
        for shard in [0, 1] {
            let answer = world.ask_modern(shard, ask);
            assert_eq!((answer.status, answer.code()), (400, Some(-32602)), "{}", answer.text());
            assert_eq!(answer.json()["error"]["message"], words);
            assert_eq!(bodies(world), Vec::<String>::new());
        }
    };
    // Changed, the state is not ours; and a legacy target gives none.
    let mut tampered = state.clone();
    tampered.replace_range(40..41, if &state[40..41] == "A" { "B" } else { "A" });
    refused(
        &mut world,
        &Ask::again(2, &tampered, &responses),
        "params.requestState is none that was given here",
    );
    refused(
        &mut world,
        &Ask::again(2, "else", &responses),
        "params.requestState is none that was given here",
    );
    let other = Ask { name: "add", ..Ask::again(2, &state, &responses) };
    refused(&mut world, &other, "params.requestState was given for another request");
    let other = Ask { method: "prompts/get", ..Ask::again(2, &state, &responses) };
    refused(&mut world, &other, "params.requestState was given for another request");
    let other = Ask::again(2, &state, "[]");
    refused(&mut world, &other, "params.inputResponses is no object");

    // The same request spelled otherwise is the same.
    let again = Ask::again(2, &state, &responses);
    let params = again.params.replace(
        r#"{"message":"hi","deep":{"b":1,"a":2}}"#,
        r#"{ "deep":{"a":2,"b":1}, "message":"h\u0069"}"#,
    );
    assert_ne!(params, again.params);
    let client = world.begin_modern(1, &Ask { params, ..again });
    assert_eq!(bodies(&mut world).len(), 1);
    let answer = world.ask_modern(0, &Ask::again(3, &state, &responses));
    assert_eq!(
        answer.json()["error"]["message"],
        "params.requestState was used already, or its call was given up"
    );
    finish(&mut world, "{}");
    assert!(world.clients[client].answer().complete);
    let answer = world.ask_modern(0, &Ask::again(3, &state, &responses));
    assert_eq!(
        answer.json()["error"]["message"],
        "params.requestState was used already, or its call was given up"
    );
    world.advance(11 * MINUTE);
    let answer = world.ask_modern(0, &Ask::again(3, &state, &responses));
    assert_eq!(answer.json()["error"]["message"], "params.requestState has expired");
    assert_quiet(&world);
}

#[test]
fn what_comes_meanwhile_is_said_in_order_under_the_new_requests_token() {
    let mut world = asking(&["alpha"], 1, &[FORM]);
    let call =
        Ask { meta: r#","progressToken":"one","io.modelcontextprotocol/logLevel":"info""#, ..Ask::call(1) };
    let answer = world.ask_modern(0, &call);
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#;
    world.say_on_call("alpha", &[
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"one","progress":1, "x":1}}"#,
        log,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"other","progress":1}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
    ]);
    let responses = format!(r#"{{"{}":{ACCEPT}}}"#, key(&answer));
    let again = Ask {
        meta: r#","progressToken":2,"io.modelcontextprotocol/logLevel":"info""#,
        ..Ask::again(2, &answer.state(), &responses)
    };
    let client = world.begin_modern(0, &again);
    let events = |world: &World| -> Vec<String> {
        world.clients[client].answer().events().into_iter().map(|event| event.data).collect()
    };
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":2,"progress":1, "x":1}}"#;
    assert_eq!(events(&world), [progress, log]);
    world.say_on_call("alpha", &[
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"one","progress":2}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"demo://one"}}"#,
    ]);
    finish(&mut world, "{}");
    let messages = world.messages(client);
    assert_eq!(messages.len(), 4);
    assert_eq!(messages[2]["params"], json!({"progressToken": 2, "progress": 2}));
    assert_eq!(messages[3]["id"], 2);
    assert!(world.clients[client].answer().events().iter().all(|event| event.id.is_none()));
    assert_quiet(&world);
}

#[test]
fn log_messages_go_to_who_asked_for_them_only() {
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","logger":"l","data":1}}"#;
    let level = r#","io.modelcontextprotocol/logLevel":"info""#;
    for (meta, capabilities, expected) in
        [("", ASKABLE, 0), ("", "{}", 0), (level, ASKABLE, 1), (level, "{}", 1)]
    {
        let mut world = Setup::new(&["alpha", "beta"]).build();
        world.server("alpha").on("tools/call", move |seen| {
            let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
            stream(&[event(log), event(progress), event(&seen.response("{}"))])
        });
        let answer = world.ask_modern(0, &Ask { name: "alpha_echo", meta, capabilities, ..Ask::call(1) });
        let messages = answer.messages();
        assert_eq!(messages.len(), 1 + expected, "{meta} {capabilities}");
        if expected == 1 {
            assert_eq!(messages[0]["params"], json!({"level": "info", "logger": "alpha/l", "data": 1}));
        }
    }
}

#[test]
fn further_questions_and_the_answer_are_kept_in_order() {
    let mut world = asking(&["alpha"], 1, &[FORM]);
    let answer = world.ask_modern(0, &Ask::call(1));
    world.say_on_call("alpha", &[ROOTS]);
    let responses = format!(r#"{{"{}":{ACCEPT}}}"#, key(&answer));
    let answer = world.ask_modern(0, &Ask::again(2, &answer.state(), &responses));
    assert_eq!(answer.json()["id"], 2);
    assert_eq!(answer.asked()[0].1, json!({"method": "roots/list"}));
    assert_eq!(bodies(&mut world).len(), 1);
    // It does not wait for the answer after all.
    finish(&mut world, r#"{"content":[]}"#);
    let responses = format!(r#"{{"{}":{{"roots":[]}}}}"#, key(&answer));
    let answer = world.ask_modern(0, &Ask::again(3, &answer.state(), &responses));
    assert!(answer.complete);
    assert_eq!(
        (answer.json()["id"].clone(), answer.json()["result"]["content"].clone()),
        (json!(3), json!([]))
    );
    assert_quiet(&world);
}

#[test]
fn a_withdrawn_question_is_not_asked() {
    const CANCEL: &str =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"e \"1\""}}"#;
    // Before the client is told, the call goes on as if nothing had been asked.
    let mut world = asking(&["alpha"], 1, &[FORM, CANCEL]);
    let client = world.begin_modern(0, &Ask::call(1));
    assert!(world.clients[client].answers().is_empty());
    assert_eq!(world.counters(0).parked.value(), 0);
    finish(&mut world, "{}");
    assert_eq!(world.clients[client].answer().json()["id"], 1);
    assert_quiet(&world);
    // After it is told, its answer is not wanted any more.
    let mut world = asking(&["alpha"], 1, &[FORM]);
    let answer = world.ask_modern(0, &Ask::call(1));
    world.say_on_call("alpha", &[ROOTS, CANCEL, r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":12345678901234567890}}"#]);
    let responses = format!(r#"{{"{}":{ACCEPT}}}"#, key(&answer));
    let client = world.begin_modern(0, &Ask::again(2, &answer.state(), &responses));
    assert_eq!(bodies(&mut world), Vec::<String>::new());
    finish(&mut world, "{}");
    assert_eq!(world.clients[client].answer().json()["id"], 2);
    assert_quiet(&world);
}

#[test]
fn a_target_that_answers_with_json_asks_on_its_own_stream() {
    for late in [false, true] {
        let mut world = Setup::new(&["alpha"]).build();
        world.server("alpha").on("tools/call", |_| Vec::new());
        let client = world.begin_modern(0, &Ask { meta: r#","progressToken":5"#, ..Ask::call(1) });
        let call = world.server("alpha").last("tools/call").clone();
        assert_eq!(world.server("alpha").count("GET"), 1);
        assert_eq!(world.server("alpha").last("GET").session(), call.session());
        // Half of the answer may be on its way already.
        let body = call.response(r#"{"content":[]}"#);
        let answer = format!(
            "HTTP/1.1 200 x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let (front, back) = answer.split_at(if late { answer.len() - 5 } else { 0 });
        world.say(call.key, vec![Step::Send(front.into())]);
        world.say_on_stream("alpha", r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":5,"progress":1}}"#);
        world.say_on_stream("alpha", FORM);
        let answer = world.clients[client].answer();
        assert!(answer.complete);
        assert_eq!(answer.messages().len(), 2);
        let responses = format!(r#"{{"{}":{ACCEPT}}}"#, key(&answer));
        // It has all the time its client takes.
        world.advance(9 * MINUTE);
        if !late {
            world.say(call.key, vec![Step::Send(back.into()), Step::Done]);
        }
        let client = world.begin_modern(0, &Ask::again(2, &answer.state(), &responses));
        assert_eq!(bodies(&mut world).len(), 1);
        if late {
            world.say(call.key, vec![Step::Send(back.into()), Step::Done]);
        }
        let answer = world.clients[client].answer();
        assert!(answer.complete);
        assert_eq!(
            (answer.json()["id"].clone(), answer.json()["result"]["content"].clone()),
            (json!(2), json!([]))
        );
        assert_quiet(&world);
    }
}

#[test]
fn an_answer_under_way_when_the_client_comes_again_is_for_its_new_request() {
    let mut world = asking(&["alpha"], 1, &[FORM]);
    let answer = world.ask_modern(0, &Ask::call(1));
    let seen = world.server("alpha").last("tools/call").clone();
    let text = event(&seen.response(r#"{"content":[]}"#));
    let (front, back) = text.split_at(40);
    world.say(seen.key, vec![Step::Send(front.into())]);
    let responses = format!(r#"{{"{}":{ACCEPT}}}"#, key(&answer));
    let client = world.begin_modern(0, &Ask::again(2, &answer.state(), &responses));
    world.say(seen.key, [vec![Step::Send(back.into())], stream_end()].concat());
    let answer = world.clients[client].answer();
    assert_eq!(
        (answer.json()["id"].clone(), answer.json()["result"]["resultType"].clone()),
        (json!(2), json!("complete"))
    );
    assert_quiet(&world);
}

#[test]
fn what_a_client_can_not_be_asked_is_refused_at_once() {
    let words = |missing: &str| format!("the client can't be asked: it does not have {missing}");
    for (capabilities, ask, missing) in [
        ("{}", ROOTS, words("roots")),
        (r#"{"roots":{}}"#, FORM, words("elicitation")),
        (r#"{"elicitation":{"url":{}}}"#, FORM, words("elicitation.form")),
        (
            r#"{"roots":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"x/y"}"#,
            words("a capability that is not known"),
        ),
    ] {
        let mut world = Setup::new(&["alpha"]).build();
        world.server("alpha").on("tools/call", move |_| open_stream(&[event(ask)]));
        let client = world.begin_modern(0, &Ask { capabilities, ..Ask::call(1) });
        let replies = bodies(&mut world);
        let reply: Value = serde_json::from_str(&replies[0]).unwrap();
        assert_eq!(reply["error"], json!({"code": -32601, "message": missing}));
        finish(&mut world, "{}");
        assert_eq!(world.clients[client].answer().json()["id"], 1);
        assert_quiet(&world);
    }
}

#[test]
fn questions_outside_a_call_and_pings_are_answered_here() {
    let mut world = Setup::new(&["alpha"]).build();
    world.ask_modern(0, &Ask::call(1));
    assert_eq!(world.server("alpha").count("GET"), 1);
    world.say_on_stream("alpha", ROOTS);
    world.say_on_stream("alpha", r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#);
    assert_eq!(
        bodies(&mut world),
        [
            r#"{"jsonrpc":"2.0","id":12345678901234567890,"error":{"code":-32601,"message":"no call is under way that this could belong to"}}"#,
            r#"{"jsonrpc":"2.0","id":"p","result":{}}"#,
        ]
    );
    // Nor is what may not be answered with a question.
    world.server("alpha").on("completion/complete", |_| open_stream(&[event(FORM)]));
    let params =
        r#","ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"a","value":"b"}"#.to_owned();
    world.begin_modern(0, &Ask { method: "completion/complete", params, ..Ask::default() });
    assert!(bodies(&mut world)[2].contains("-32601"));
    // The stream ends with the session.
    world.advance(31 * MINUTE);
    let streams = world.counters(0).streams.value();
    assert_eq!(streams, 1, "the session of the request under way");
}

#[test]
fn pages_that_must_be_visited_first_are_asked_for_and_the_call_is_made_anew() {
    let data = r#"{"elicitations":[{"mode":"url","elicitationId":"i","url":"https://x/1","message":"Sign in"},{"url":"https://x/2","message":"And here"}]}"#;
    for events in [false, true] {
        let mut world = Setup::new(&["alpha"]).build();
        let mut visited = false;
        world.server("alpha").on("tools/call", move |seen| {
            let id = seen.id.as_deref().unwrap();
            let error = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32042,"message":"m","data":{data}}}}}"#
            );
            let body = if std::mem::replace(&mut visited, true) { seen.response("{}") } else { error };
            if events { stream(&[event(&body)]) } else { json_reply(200, &body) }
        });
        let answer = world.ask_modern(0, &Ask::call(1));
        let asked = answer.asked();
        let requests: Vec<_> = asked.iter().map(|(_, request)| request.clone()).collect();
        assert_eq!(
            requests,
            [
                json!({"method": "elicitation/create", "params": {"mode": "url", "url": "https://x/1", "message": "Sign in"}}),
                json!({"method": "elicitation/create", "params": {"mode": "url", "url": "https://x/2", "message": "And here"}}),
            ]
        );
        assert_eq!(world.counters(0).parked.value(), 0);
        let both = |action: &str| {
            format!(r#"{{"{}":{{"action":"accept"}},"{}":{{"action":"{action}"}}}}"#, asked[0].0, asked[1].0)
        };
        let declined = world.ask_modern(0, &Ask::again(2, &answer.state(), &both("decline")));
        assert_eq!(declined.tool_text(), "the call needs a page to be visited, which was declined");
        assert_eq!(world.server("alpha").count("tools/call"), 1);
        let done = world.ask_modern(0, &Ask::again(3, &answer.state(), &both("accept")));
        assert_eq!(
            (done.json()["id"].clone(), done.json()["result"]["resultType"].clone()),
            (json!(3), json!("complete"))
        );
        let params = world.server("alpha").last("tools/call").json()["params"].clone();
        assert_eq!(params, json!({"name": "echo", "arguments": {"message": "hi", "deep": {"b": 1, "a": 2}}}));
        assert_quiet(&world);
    }
}

#[test]
fn a_client_that_can_not_visit_pages_is_told_of_them() {
    let mut world = Setup::new(&["alpha"]).build();
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m","data":{"elicitations":[{"mode":"url","elicitationId":"i","url":"https://x/1","message":"Sign in"}]}}}"#;
    world.server("alpha").on("tools/call", move |_| json_reply(200, error));
    world.server("alpha").on("prompts/get", move |_| json_reply(200, error));
    let words = "target \"alpha\" needs pages to be visited first: https://x/1 (Sign in)";
    let answer = world.ask_modern(0, &Ask { capabilities: r#"{"elicitation":{}}"#, ..Ask::call(1) });
    assert_eq!(answer.tool_text(), words);
    let ask = Ask { capabilities: "{}", method: "prompts/get", name: "greet", ..Ask::default() };
    let answer = world.ask_modern(0, &ask);
    assert_eq!((answer.code(), answer.json()["error"]["message"].as_str()), (Some(-32603), Some(words)));
    assert_quiet(&world);
}

#[test]
fn a_modern_target_gets_its_own_state_untouched() {
    let mut world = Setup::modern(&["alpha"]);
    world.server("alpha").on("tools/call", |seen| match seen.body.contains("requestState") {
        true => json_reply(200, &seen.response(r#"{"content":[],"resultType":"complete"}"#)),
        false => json_reply(
            200,
            &seen.input_required(r#""inputRequests":{"k":{"method":"roots/list"}},"requestState":"x\/y""#),
        ),
    });
    let answer = world.ask_modern(0, &Ask::call(1));
    assert!(answer.text().contains(r#""requestState":"x\/y""#));
    let again = Ask::again(2, r"x\/y", r#"{"k":{"roots":[]}}"#);
    let answer = world.ask_modern(0, &again);
    assert_eq!(answer.json()["result"]["resultType"], "complete");
    let text = String::from_utf8(again.text()).unwrap();
    assert_eq!(text.split("\r\n\r\n").nth(1).unwrap(), world.server("alpha").last("tools/call").body);
}

#[test]
fn targets_on_channels_ask_as_well() {
    for sse in [false, true] {
        for shard in [0, 1] {
            let setup = Setup::new(&["alpha", "beta"]).shards(2);
            let setup = if sse { setup.sse("alpha") } else { setup.process("alpha") };
            let mut world = setup.build();
            world.server("alpha").on("tools/call", |_| Vec::new());
            let say = |world: &mut World, text: &str| match sse {
                true => world.say_on_stream("alpha", text),
                false => world.print("alpha", &format!("{text}\n")),
            };
            let client = world
                .begin_modern(0, &Ask { name: "alpha_echo", meta: r#","progressToken":5"#, ..Ask::call(1) });
            let number = world.server("alpha").last("tools/call").id.clone().unwrap();
            say(
                &mut world,
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":5,"progress":1}}"#,
            );
            say(&mut world, FORM);
            let answer = world.clients[client].answer();
            assert!(answer.complete);
            assert_eq!(answer.messages()[0]["params"], json!({"progressToken": 5, "progress": 1}));
            say(
                &mut world,
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":5,"progress":2}}"#,
            );
            // Longer than a target may let a call wait.
            world.advance(9 * MINUTE);
            let responses = format!(r#"{{"{}":{ACCEPT}}}"#, key(&answer));
            let again = Ask {
                name: "alpha_echo",
                meta: r#","progressToken":6"#,
                ..Ask::again(2, &answer.state(), &responses)
            };
            let client = world.begin_modern(shard, &again);
            let reply = world.server("alpha").seen.last().unwrap().body.clone();
            assert_eq!(reply, format!(r#"{{"jsonrpc":"2.0","id":"e \"1\"","result":{ACCEPT}}}"#));
            say(&mut world, &format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{"content":[]}}}}"#));
            let answer = world.clients[client].answer();
            assert!(answer.complete);
            assert_eq!(answer.messages()[0]["params"], json!({"progressToken": 6, "progress": 2}));
            assert_eq!(
                (answer.json()["id"].clone(), answer.json()["result"]["content"].clone()),
                (json!(2), json!([]))
            );
            // One that nobody goes on with is cancelled, under the number it has there.
            let client = world.begin_modern(0, &Ask { name: "alpha_echo", ..Ask::call(3) });
            let number = world.server("alpha").last("tools/call").id.clone().unwrap();
            say(&mut world, FORM);
            assert_eq!(world.clients[client].answer().asked().len(), 1);
            world.advance(10 * MINUTE);
            assert_eq!(world.server("alpha").count("notifications/cancelled"), 1);
            let cancelled = world.server("alpha").last("notifications/cancelled").json();
            assert_eq!(cancelled["params"]["requestId"].to_string(), number);
            // So is one that its client leaves, and one that waited answers no more in vain.
            let client = world.begin_modern(shard, &Ask { name: "alpha_echo", ..Ask::call(4) });
            world.hang_up(client);
            assert_eq!(world.server("alpha").count("notifications/cancelled"), 2);
            world.advance(60 * MINUTE);
            assert_quiet(&world);
            world.assert_clean();
        }
    }
}

#[test]
fn a_question_while_the_answer_passes_is_refused() {
    let mut world = Setup::new(&["alpha"]).build();
    world.server("alpha").on("tools/call", |_| open_stream(&[]));
    let client = world.begin_modern(0, &Ask::call(1));
    let call = world.server("alpha").last("tools/call").clone();
    let text = event(&call.response(r#"{"resultType":"complete","content":[]}"#));
    let (front, back) = text.split_at(text.len() - 6);
    world.say(call.key, vec![Step::Send(front.into())]);
    assert!(
        world.clients[client].answer().text().ends_with(r#""content":[]"#),
        "half of it is with the client"
    );
    world.say_on_stream("alpha", FORM);
    assert!(bodies(&mut world)[0].contains("-32601"));
    world.say(call.key, [vec![Step::Send(back.into())], stream_end()].concat());
    assert_eq!(world.clients[client].answer().json()["id"], 1);
    assert_quiet(&world);
}

#[test]
fn places_in_a_targets_stream_are_nothing_for_a_client_without_a_session() {
    let mut world = Setup::new(&["alpha"]).build();
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#;
    world.server("alpha").on("tools/call", move |_| {
        let retry = "retry: 5\nid: e-0\ndata:\n\n";
        stream(&[chunk(retry), event_with("e-1", log)])
    });
    world.server("alpha").on("GET", |seen| match seen.field("last-event-id") {
        Some(_) => crate::support::server::reply(405, "", ""),
        None => vec![Step::Send(crate::support::server::stream_head().into())],
    });
    let meta = r#","io.modelcontextprotocol/logLevel":"info""#;
    let client = world.begin_modern(0, &Ask { meta, ..Ask::call(1) });
    world.advance(std::time::Duration::from_secs(2));
    let answer = world.clients[client].answer();
    assert!(answer.complete);
    let events = answer.events();
    assert!(events.iter().all(|event| event.id.is_none() && event.retry.is_none()), "{events:?}");
    // That nothing came is a failure, not a stream to come back to.
    assert_eq!(answer.tool_text(), "target \"alpha\" failed: it hung up without an answer");
    assert_quiet(&world);
}

/// A target that wants to be polled (2025-11-25) may hang up whoever has the word.
#[test]
fn a_parked_call_whose_target_hangs_up_is_asked_for_again() {
    for early in [false, true] {
        let mut world = Setup::new(&["alpha"]).build();
        world.server("alpha").on("tools/call", |_| {
            let token = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}"#;
            open_stream(&[chunk("retry: 500\n"), event_with("a-1", FORM), event_with("a-2", token)])
        });
        let meta = r#","progressToken":"t""#;
        let answer = world.ask_modern(0, &Ask { meta, ..Ask::call(1) });
        let called = world.server("alpha").last("tools/call").clone();
        let result = called.response("{}");
        world.server("alpha").on("GET", move |_| {
            let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":2}}"#;
            stream(&[event_with("a-3", progress), event_with("a-4", &result)])
        });
        let key = called.key;
        world.say(key, stream_end());
        early.then(|| world.advance(std::time::Duration::from_secs(1)));
        let (state, responses) = (answer.state(), format!(r#"{{"{}":{ACCEPT}}}"#, answer.asked()[0].0));
        let client = world.begin_modern(0, &Ask { meta, ..Ask::again(2, &state, &responses) });
        world.advance(std::time::Duration::from_secs(1));
        let polled = world.server("alpha").seen.iter().rfind(|seen| seen.field("last-event-id").is_some());
        let polled = polled.unwrap();
        assert_eq!((polled.field("last-event-id"), &*polled.body), (Some("a-2"), ""));
        let told: Vec<_> = world.messages(client).iter().map(|it| it["params"]["progress"].clone()).collect();
        assert_eq!(told, [json!(1), json!(2), json!(null)]);
        assert_eq!(bodies(&mut world).len(), 1);
        assert_quiet(&world);
    }
}
