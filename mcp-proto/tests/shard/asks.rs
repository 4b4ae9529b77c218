//! A modern target asks a legacy client: rounds.

use crate::support::client::{call, initialize, post, request, session_field};
use crate::support::server::{Reply, Seen, event, json_reply, open_stream, stream, stream_end};
use crate::support::{Setup, Step, World};
use serde_json::{Value, json};
use std::time::Duration;

const FORM: &str =
    r#"{"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object"}}}"#;
const ROOTS: &str = r#"{"method":"roots/list"}"#;
const SAMPLING: &str = r#"{"method":"sampling/createMessage","params":{"messages":[{"content":{"type":"resource","resource":{"uri":"demo://one"}}}],"maxTokens":1}}"#;
const DONE: &str = r#"{"content":[{"type":"text","text":"done"}],"resultType":"complete"}"#;

/// A world whose target asks `members` until it is given answers, in whatever way it answers.
fn asking(targets: &[&str], shards: u16, events: bool, members: &'static str) -> World {
    let mut world = Setup::modern_on(targets, shards);
    world.server("alpha").on("tools/call", move |seen| {
        let answered = seen.body.contains("inputResponses") || seen.body.contains("requestState");
        answer(events, &if answered { seen.response(DONE) } else { seen.input_required(members) })
    });
    world
}

fn answer(events: bool, body: &str) -> Reply {
    if events { stream(&[event(body)]) } else { json_reply(200, body) }
}

fn given(question: &Value, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, question["id"])
}

fn params_of(seen: &Seen) -> Value {
    let mut params = seen.json()["params"].clone();
    params.as_object_mut().unwrap().remove("_meta");
    params
}

#[test]
fn a_round_goes_to_the_client_and_back_through_any_shard() {
    for events in [false, true] {
        for targets in [vec!["alpha"], vec!["alpha", "beta"]] {
            for shard in [0, 1] {
                let asked = r#""inputRequests":{"a key":{"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object"}}}},"requestState":"st\u0061te""#;
                let mut world = asking(&targets, 2, events, asked);
                let (client, session) = world.begin();
                let name = if targets.len() == 1 { "echo" } else { "alpha_echo" };
                world.ask_later(client, &session, &call(name));
                let answer = world.clients[client].answer();
                assert!(answer.is_stream() && !answer.complete);
                let [question] = &answer.messages()[..] else { panic!("{answer:?}") };
                let id = question["id"].as_str().unwrap().to_owned();
                assert_eq!(
                    question,
                    &json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": {
                        "_meta": {"progressToken": id},
                        "message": "who?", "requestedSchema": {"type": "object"}}})
                );
                let result = r#"{"action":"accept", "content":{"n":1.0}}"#;
                assert_eq!(world.ask_on(shard, &session, &given(question, result)).status, 202);
                let number = world.server("alpha").last("tools/call").id.clone().unwrap();
                let body = world.server("alpha").last("tools/call").body.clone();
                let expected = format!(
                    r#"{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{{"name":"test","version":"1"}},"io.modelcontextprotocol/clientCapabilities":{{"roots":{{"listChanged":true}},"sampling":{{}},"elicitation":{{"form":{{}},"url":{{}}}}}}}},"inputResponses":{{"a key":{result}}},"requestState":"st\u0061te","name":"echo","arguments":{{"message":"hi"}}}}}}"#
                );
                assert_eq!(body, expected);
                let answer = world.clients[client].answer();
                assert!(answer.complete);
                assert_eq!(
                    answer.messages()[1],
                    json!({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "done"}]}})
                );
                assert_eq!(world.server("alpha").count("tools/call"), 2);
                assert_quiet(&world);
                // A second answer finds nothing.
                assert_eq!(world.ask_on(shard, &session, &given(question, result)).status, 202);
                assert_eq!(world.server("alpha").count("tools/call"), 2);
            }
        }
    }
}

/// Nothing is under way.
fn assert_quiet(world: &World) {
    for shard in 0..world.shards.len() {
        assert_eq!(world.counters(shard).calls.value(), 0, "a request to a target is left on {shard}");
    }
}

#[test]
fn the_questions_of_one_round_are_asked_at_once_and_all_are_waited_for() {
    let asked = r#""inputRequests":{"r":{"method":"roots/list"},"s":{"method":"sampling/createMessage","params":{"messages":[{"content":{"type":"resource","resource":{"uri":"demo://one"}}}],"maxTokens":1}}}"#;
    let mut world = asking(&["alpha", "beta"], 1, false, asked);
    let (client, session) = world.begin();
    world.ask_later(client, &session, &call("alpha_echo"));
    let questions = world.messages(client);
    assert_eq!(questions.len(), 2);
    let token = |at: usize| json!({"progressToken": questions[at]["id"]});
    assert_eq!(questions[0]["params"], json!({"_meta": token(0)}));
    assert_eq!(questions[1]["params"]["_meta"], token(1));
    let content = &questions[1]["params"]["messages"][0]["content"];
    assert_eq!(content["resource"]["uri"], "alpha+demo://one");
    world.ask_on(0, &session, &given(&questions[1], r#"{"role":"assistant"}"#));
    assert_eq!(world.server("alpha").count("tools/call"), 1);
    world.ask_on(0, &session, &given(&questions[0], r#"{"roots":[]}"#));
    let params = params_of(world.server("alpha").last("tools/call"));
    assert_eq!(
        params,
        json!({"inputResponses": {"r": {"roots": []}, "s": {"role": "assistant"}},
               "name": "echo", "arguments": {"message": "hi"}})
    );
    assert!(world.clients[client].answer().complete);
    assert_quiet(&world);
}

#[test]
fn each_round_has_its_own_answers_and_state_only() {
    let mut world = Setup::modern(&["alpha"]);
    let mut rounds = 0;
    world.server("alpha").on("tools/call", move |seen| {
        rounds += 1;
        json_reply(
            200,
            &match rounds {
                1 => seen
                    .input_required(&format!(r#""inputRequests":{{"one":{FORM}}},"requestState":"first""#)),
                2 => seen.input_required(&format!(r#""inputRequests":{{"two":{ROOTS}}}"#)),
                _ => seen.response(DONE),
            },
        )
    });
    let (client, session) = world.begin();
    world.ask_later(client, &session, &call("echo"));
    let first = world.messages(client)[0].clone();
    world.ask_on(0, &session, &given(&first, r#"{"action":"decline"}"#));
    let params = params_of(world.server("alpha").last("tools/call"));
    assert_eq!(params["inputResponses"], json!({"one": {"action": "decline"}}));
    assert_eq!(params["requestState"], "first");
    let second = world.messages(client)[1].clone();
    // An answer to the first round is none to the second.
    world.ask_on(0, &session, &given(&first, r#"{"action":"accept"}"#));
    assert_eq!(world.server("alpha").count("tools/call"), 2);
    world.ask_on(0, &session, &given(&second, r#"{"roots":[]}"#));
    let params = params_of(world.server("alpha").last("tools/call"));
    assert_eq!(params["inputResponses"], json!({"two": {"roots": []}}));
    assert_eq!(params.get("requestState"), None);
    assert!(world.clients[client].answer().complete);
    assert_eq!(world.messages(client)[2]["id"], 1);
    let ids: Vec<_> = world.server("alpha").seen.iter().filter_map(|seen| seen.id.clone()).collect();
    assert_eq!(ids[ids.len() - 3], "1");
    // None may be one before, nor one that the client could have chosen for another request.
    assert_eq!(ids[ids.len() - 2..], ["\"mcp-gateway-1\"", "\"mcp-gateway-2\""]);
    assert_quiet(&world);
}

#[test]
fn a_state_alone_is_brought_back_after_a_pause() {
    let mut world = asking(&["alpha"], 1, false, r#""requestState":"wait""#);
    let (client, session) = world.begin();
    let number = world.ask_later(client, &session, &call("echo"));
    world.advance(Duration::from_millis(249));
    assert_eq!(world.server("alpha").count("tools/call"), 1);
    world.advance(Duration::from_millis(1));
    let params = params_of(world.server("alpha").last("tools/call"));
    assert_eq!(params, json!({"requestState": "wait", "name": "echo", "arguments": {"message": "hi"}}));
    assert!(world.is_answered(client, number));
    // Nobody was asked, so it is plain JSON.
    assert_eq!(
        world.clients[client].answer().text(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"done"}]}}"#
    );
}

#[test]
fn a_target_that_never_ends_to_ask_is_stopped() {
    let mut world = Setup::modern(&["alpha"]);
    world
        .server("alpha")
        .on("tools/call", |seen| json_reply(200, &seen.input_required(r#""requestState":"again""#)));
    let (client, session) = world.begin();
    let number = world.ask_later(client, &session, &call("echo"));
    world.advance(Duration::from_secs(10));
    assert!(world.is_answered(client, number));
    assert_eq!(world.server("alpha").count("tools/call"), 9);
    let answer = world.clients[client].answer();
    assert_eq!(
        answer.text(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"target \"alpha\" asked for more after 8 rounds of questions"}],"isError":true}}"#
    );
    assert_quiet(&world);
}

#[test]
fn a_round_has_ten_minutes_from_the_last_sign_of_progress() {
    let mut world = asking(
        &["alpha"],
        2,
        false,
        r#""inputRequests":{"a":{"method":"roots/list"},"b":{"method":"roots/list"}}"#,
    );
    let (client, session) = world.begin();
    let number = world.ask_later(client, &session, &call("echo"));
    let [first, second] = &world.messages(client)[..] else { panic!() };
    let minute = Duration::from_secs(60);
    world.advance(9 * minute);
    let progress = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{},"progress":1}}}}"#,
        first["params"]["_meta"]["progressToken"]
    );
    assert_eq!(world.ask_on(1, &session, &progress).status, 202);
    assert_eq!(world.server("alpha").count("notifications/progress"), 0);
    world.ask_on(0, &session, &given(first, r#"{"roots":[]}"#));
    world.advance(10 * minute - Duration::from_millis(1));
    assert!(!world.is_answered(client, number));
    world.advance(Duration::from_millis(1));
    let messages = world.messages(client);
    assert_eq!(messages[2]["method"], "notifications/cancelled");
    assert_eq!(messages[2]["params"], json!({"requestId": second["id"]}));
    let words = "target \"alpha\" asked for roots/list, and the client did not answer in time";
    assert_eq!(messages[3]["result"], json!({"content": [{"type": "text", "text": words}], "isError": true}));
    assert_eq!(messages.len(), 4);
    assert!(world.is_answered(client, number));
    assert_quiet(&world);
}

#[test]
fn a_client_that_refuses_fails_its_call_and_is_asked_no_more() {
    let mut world = asking(
        &["alpha"],
        1,
        true,
        r#""inputRequests":{"a":{"method":"roots/list"},"b":{"method":"roots/list"}}"#,
    );
    let (client, session) = world.begin();
    world.ask_later(client, &session, &call("echo"));
    let questions = world.messages(client);
    let error = format!(
        r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-1,"message":"user is out"}}}}"#,
        questions[0]["id"]
    );
    world.ask_on(0, &session, &error);
    let messages = world.messages(client);
    assert_eq!(messages[2]["params"], json!({"requestId": questions[1]["id"]}));
    let words = "target \"alpha\" asked for roots/list, which the client refused: user is out (-1)";
    assert_eq!(messages[3]["result"]["content"][0]["text"], words);
    assert!(world.clients[client].answer().complete);
    assert_eq!(world.server("alpha").count("tools/call"), 1);
    assert_quiet(&world);
}

#[test]
fn what_a_client_can_not_be_asked_fails_the_call_in_words() {
    let url = r#"{"method":"elicitation/create","params":{"mode":"url","url":"https://x/","message":"m"}}"#;
    for (capabilities, asked, words) in [
        (
            "{}",
            FORM,
            "target \"alpha\" asks for elicitation/create, but the client does not have: elicitation",
        ),
        (
            r#"{"elicitation":{}}"#,
            url,
            "target \"alpha\" asks for elicitation/create, but the client does not have: elicitation.url",
        ),
        (
            r#"{"elicitation":{}}"#,
            SAMPLING,
            "target \"alpha\" asks for sampling/createMessage, but the client does not have: sampling",
        ),
        (
            r#"{"elicitation":{}}"#,
            ROOTS,
            "target \"alpha\" asks for roots/list, but the client does not have: roots",
        ),
    ] {
        for (method, params) in [("tools/call", r#"{"name":"echo"}"#), ("prompts/get", r#"{"name":"greet"}"#)]
        {
            let mut world = Setup::modern(&["alpha"]);
            let members = format!(r#""inputRequests":{{"k":{asked}}}"#);
            world.server("alpha").on(method, move |seen| json_reply(200, &seen.input_required(&members)));
            let (client, session) = world.begin_as("2025-06-18", capabilities);
            let answer = world.ask(client, &session, &request(method, params));
            let json = answer.json();
            match method {
                "tools/call" => {
                    let content = json!([{"type": "text", "text": words}]);
                    assert_eq!(json["result"], json!({"content": content, "isError": true}));
                }
                _ => {
                    let error = json!({"code": -32603, "message": words, "data": {"target": "alpha"}});
                    assert_eq!(json["error"], error);
                }
            }
            assert_quiet(&world);
        }
    }
}

#[test]
fn a_bare_elicitation_means_forms() {
    let asked = r#""inputRequests":{"k":{"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object"}}}}"#;
    let mut world = asking(&["alpha"], 1, false, asked);
    let (client, session) = world.begin_as("2025-06-18", r#"{"elicitation":{}}"#);
    world.ask_later(client, &session, &call("echo"));
    assert_eq!(world.methods(client), ["elicitation/create"]);
}

#[test]
fn a_visit_gets_the_id_that_earlier_revisions_want() {
    let asked = r#""inputRequests":{"k":{"method":"elicitation/create","params":{"mode":"url","url":"https://x/","message":"m"}},"own":{"method":"elicitation/create","params":{"mode":"url","url":"https://x/","message":"m","elicitationId":"mine"}}}"#;
    let mut world = asking(&["alpha"], 1, false, asked);
    let (client, session) = world.begin();
    world.ask_later(client, &session, &call("echo"));
    let questions = world.messages(client);
    let made = questions[0]["params"]["elicitationId"].as_str().unwrap();
    assert!(made.len() > 16);
    assert_eq!(questions[0]["params"]["url"], "https://x/");
    assert_eq!(questions[1]["params"]["elicitationId"], "mine");
    assert_eq!(world.clients[client].answer().text().matches("elicitationId").count(), 2);
}

#[test]
fn a_client_without_event_streams_is_told_that_it_can_not_be_asked() {
    let mut world = asking(&["alpha"], 1, false, r#""inputRequests":{"k":{"method":"roots/list"}}"#);
    let (client, session) = world.begin();
    let text = String::from_utf8(post(&session_field(&session), &call("echo"))).unwrap();
    world.send(client, text.replace(", text/event-stream", "").as_bytes());
    assert_eq!(
        world.clients[client].answer().tool_text(),
        "target \"alpha\" asks something, but the client takes no event stream to be asked on"
    );
}

#[test]
fn questions_in_answer_to_anything_else_and_too_many_are_refused() {
    let mut world = Setup::modern(&["alpha"]);
    world.server("alpha").on("completion/complete", |seen| {
        json_reply(200, &seen.input_required(r#""inputRequests":{"k":{"method":"roots/list"}}"#))
    });
    world.server("alpha").on("tools/call", |seen| {
        let many: Vec<_> = (0..101).map(|at| format!(r#""{at}":{ROOTS}"#)).collect();
        json_reply(200, &seen.input_required(&format!(r#""inputRequests":{{{}}}"#, many.join(","))))
    });
    world
        .server("alpha")
        .on("prompts/get", |seen| json_reply(200, &seen.input_required(r#""inputRequests":[]"#)));
    let (client, session) = world.begin();
    let complete =
        request("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"greet"},"argument":{}}"#);
    let answer = world.ask(client, &session, &complete);
    assert_eq!(answer.code(), Some(-32603));
    assert_eq!(
        world.ask(client, &session, &call("echo")).tool_text(),
        "target \"alpha\" asks 101 things at once; 100 are allowed"
    );
    let answer = world.ask(client, &session, &request("prompts/get", r#"{"name":"greet"}"#));
    assert_eq!(
        answer.json()["error"]["message"],
        "target \"alpha\" failed: its answer is malformed: inputRequests is an object"
    );
    assert_quiet(&world);
}

#[test]
fn a_missing_capability_is_told_in_words() {
    let refused = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32021,"message":"m","data":{"requiredCapabilities":{"sampling":{},"elicitation":{"url":{}}}}}}"#;
    for (status, events) in [(400, false), (200, false), (200, true)] {
        let mut world = Setup::modern(&["alpha"]);
        let reply =
            move |_: &Seen| if events { stream(&[event(refused)]) } else { json_reply(status, refused) };
        world.server("alpha").on("tools/call", reply);
        world.server("alpha").on("prompts/get", reply);
        let (client, session) = world.begin_as("2025-11-25", "{}");
        let words = "target \"alpha\" needs of the client, which does not have it: sampling, elicitation";
        let answer = world.ask(client, &session, &call("echo"));
        assert_eq!((answer.status, answer.tool_text().as_str()), (200, words));
        let answer = world.ask(client, &session, &request("prompts/get", r#"{"name":"greet"}"#));
        assert_eq!((answer.status, answer.code()), (200, Some(-32603)));
        assert_eq!(answer.json()["error"]["message"], words);
    }
}

#[test]
fn a_cancelled_call_closes_the_stream_of_its_target_and_gets_no_answer() {
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    for targets in [vec!["alpha"], vec!["alpha", "beta"]] {
        for shard in [0, 1] {
            for begun in [false, true] {
                let mut world = Setup::modern_on(&targets, 2);
                let notice = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#;
                let chunks: &[&str] = if begun { &[notice] } else { &[] };
                let chunks: Vec<_> = chunks.iter().map(|text| event(text)).collect();
                world.server("alpha").on("tools/call", move |_| open_stream(&chunks));
                let (client, session) = world.begin();
                let name = if targets.len() == 1 { "echo" } else { "alpha_echo" };
                let number = world.ask_later(client, &session, &call(name));
                let key = world.server("alpha").last("tools/call").key;
                assert!(world.connections("alpha").contains(&key));
                assert_eq!(world.ask_on(shard, &session, cancel).status, 202);
                assert!(!world.connections("alpha").contains(&key), "its stream is closed");
                assert_eq!(world.server("alpha").count("notifications/cancelled"), 0);
                assert!(world.is_answered(client, number));
                let answer = world.clients[client].answer();
                let (status, said) = if begun { (200, 1) } else { (202, 0) };
                assert_eq!((answer.status, answer.messages().len()), (status, said));
                assert_quiet(&world);
            }
        }
    }
}

#[test]
fn a_round_ends_with_its_client() {
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    for leaves in [false, true] {
        let mut world = asking(&["alpha"], 2, false, r#""inputRequests":{"k":{"method":"roots/list"}}"#);
        let (client, session) = world.begin();
        let number = world.ask_later(client, &session, &call("echo"));
        let question = world.messages(client)[0].clone();
        if leaves {
            world.hang_up(client);
        } else {
            world.ask_on(1, &session, cancel);
            assert!(world.is_answered(client, number));
            assert_eq!(world.messages(client).len(), 1, "it gave up itself");
        }
        assert_quiet(&world);
        world.ask_on(1, &session, &given(&question, r#"{"roots":[]}"#));
        assert_eq!(world.server("alpha").count("tools/call"), 1);
    }
}

#[test]
fn a_question_of_another_session_can_not_be_answered() {
    let mut world = asking(&["alpha"], 1, false, r#""inputRequests":{"k":{"method":"roots/list"}}"#);
    let (client, session) = world.begin();
    let (other, foreign) = world.begin();
    world.ask_later(client, &session, &call("echo"));
    let question = world.messages(client)[0].clone();
    assert_eq!(world.ask(other, &foreign, &given(&question, r#"{"roots":[]}"#)).status, 202);
    assert_eq!(world.server("alpha").count("tools/call"), 1);
    assert_eq!(world.counters(0).dropped.value(), 1);
}

#[test]
fn a_new_call_that_fails_is_told() {
    let mut world = asking(&["alpha"], 1, false, r#""inputRequests":{"k":{"method":"roots/list"}}"#);
    let (client, session) = world.begin();
    world.ask_later(client, &session, &call("echo"));
    let question = world.messages(client)[0].clone();
    world.kill("alpha");
    world.server("alpha").refuses = Some(Some(mcp_proto::Fault::Refused));
    world.ask_on(0, &session, &given(&question, r#"{"roots":[]}"#));
    assert_eq!(
        world.messages(client)[1]["result"]["content"][0]["text"],
        "target \"alpha\" failed: it can't be reached (connection refused)"
    );
    assert_quiet(&world);
}

#[test]
fn answers_too_large_to_keep_end_the_round() {
    let setup = Setup::new(&["alpha"]).config(|config| config.limits.gather = 100);
    let setup = setup.targets(|target| target.protocol = routing::Protocol::Modern);
    let mut world = setup.build();
    world.server("alpha").keeps_sessions = false;
    world.server("alpha").on("server/discover", |seen| {
        seen.result(r#"{"supportedVersions":["2026-07-28"],"capabilities":{}}"#)
    });
    world.server("alpha").on("tools/call", |seen| {
        json_reply(200, &seen.input_required(r#""inputRequests":{"k":{"method":"roots/list"}}"#))
    });
    let client = world.connect(0);
    world.send(client, &post("", &initialize("2025-11-25", r#"{"roots":{}}"#)));
    let session = world.clients[client].answer().field("mcp-session-id").unwrap().to_owned();
    world.ask_later(client, &session, &call("echo"));
    let question = world.messages(client)[0].clone();
    world.ask_on(0, &session, &given(&question, &format!(r#"{{"roots":["{}"]}}"#, "x".repeat(100))));
    let said = world.messages(client)[1]["result"]["content"][0]["text"].clone();
    assert_eq!(
        said,
        "target \"alpha\" asked for more than can be kept: the client's answers are too large together"
    );
}

#[test]
fn what_a_target_says_behind_its_question_is_not_waited_for() {
    let mut world = Setup::modern(&["alpha"]);
    world.server("alpha").on("tools/call", |seen| match seen.body.contains("inputResponses") {
        true => json_reply(200, &seen.response(DONE)),
        false => {
            open_stream(&[event(&seen.input_required(r#""inputRequests":{"k":{"method":"roots/list"}}"#))])
        }
    });
    let (client, session) = world.begin();
    world.ask_later(client, &session, &call("echo"));
    let key = world.server("alpha").last("tools/call").key;
    let question = world.messages(client)[0].clone();
    world.ask_on(0, &session, &given(&question, r#"{"roots":[]}"#));
    assert!(world.clients[client].answer().complete);
    world.say(key, [vec![Step::Send(event("{}").into())], stream_end()].concat());
    assert_quiet(&world);
}

#[test]
fn a_process_asks_in_rounds_as_well() {
    let setup = Setup::new(&["alpha"]).shards(2).process("alpha");
    let mut world = setup.targets(|target| target.protocol = routing::Protocol::Modern).build();
    world.server("alpha").on("server/discover", |seen| {
        let result = r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}"#;
        vec![Step::Send(format!("{}\n", seen.response(result)).into())]
    });
    world.server("alpha").on("tools/call", |seen| {
        let body = match seen.body.contains("inputResponses") {
            true => seen.response(DONE),
            false => {
                seen.input_required(r#""inputRequests":{"k":{"method":"roots/list"}},"requestState":"s""#)
            }
        };
        vec![Step::Send(format!("{body}\n").into())]
    });
    let (_, session) = world.begin();
    for shard in [0, 1] {
        let client = world.connect(shard);
        world.ask_later(client, &session, &call("echo"));
        let question = world.messages(client)[0].clone();
        world.ask_on(0, &session, &given(&question, r#"{"roots":[]}"#));
        let messages = world.messages(client);
        assert_eq!(
            (&messages[1]["id"], &messages[1]["result"]["content"][0]["text"]),
            (&json!(1), &json!("done"))
        );
        assert!(world.clients[client].answer().complete);
        assert_quiet(&world);
    }
}

#[test]
fn answers_in_a_batch_find_their_round_on_another_shard() {
    let mut world = asking(
        &["alpha"],
        2,
        false,
        r#""inputRequests":{"a":{"method":"roots/list"},"b":{"method":"roots/list"}}"#,
    );
    let (client, session) = world.begin_as("2025-03-26", r#"{"roots":{}}"#);
    world.ask_later(client, &session, &call("echo"));
    let [first, second] = &world.messages(client)[..] else { panic!() };
    let both = format!("[{},{}]", given(first, r#"{"roots":[]}"#), given(second, r#"{"roots":[1]}"#));
    assert_eq!(world.ask_on(1, &session, &both).status, 202);
    let params = params_of(world.server("alpha").last("tools/call"));
    assert_eq!(params["inputResponses"], json!({"a": {"roots": []}, "b": {"roots": [1]}}));
    assert!(world.clients[client].answer().complete);
}
