//! Tasks of several targets: their ids are sealed wherever they occur, for one session or principal.

use crate::support::client::{EVERYTHING, initialize, post, request};
use crate::support::listening::{acknowledged, agree, notice};
use crate::support::server::{Seen, event, open_stream, reply, stream_end};
use crate::support::{Answer, Setup, Step, World};
use serde_json::{Value, json};
use std::time::Duration;

const PREFIX: &str = "io.modelcontextprotocol/";
const TASKS: &str = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;

/// What a target of 2025-11-25 with tasks says.
fn legacy_tasks(world: &mut World, name: &str) {
    let server = world.server(name);
    server.capabilities["tasks"] = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
    let task = |seen: &Seen| {
        let id = seen.json()["params"]["taskId"].as_str().unwrap_or("t-1").to_owned();
        format!(r#""taskId":"{id}","status":"working","createdAt":"2026-01-01T00:00:00Z","ttl":60000"#)
    };
    server.on("tools/call", move |seen| seen.result(&format!(r#"{{"task":{{{}}}}}"#, task(seen))));
    for method in ["tasks/get", "tasks/cancel"] {
        server.on(method, move |seen| seen.result(&format!("{{{}}}", task(seen))));
    }
    let from = name.to_owned();
    server.on("tasks/result", move |seen| {
        let id = seen.json()["params"]["taskId"].clone();
        seen.result(&format!(
            r#"{{"content":[{{"type":"text","text":"{from}"}},{{"type":"resource_link","uri":"demo://one","name":"n"}}],"_meta":{{"{PREFIX}related-task":{{"taskId":{id}}}}}}}"#
        ))
    });
}

fn task_call(name: &str) -> String {
    request("tools/call", &format!(r#"{{"name":"{name}","arguments":{{}},"task":{{"ttl":60000}}}}"#))
}

fn about(method: &str, task: &str) -> String {
    request(method, &format!(r#"{{"taskId":"{task}"}}"#))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

#[test]
fn a_sessions_task_is_found_again_through_any_shard_and_by_nobody_else() {
    let mut world = Setup::new(&["alpha", "beta"]).shards(2).build();
    for name in ["alpha", "beta"] {
        legacy_tasks(&mut world, name);
    }
    let client = world.connect(0);
    world.send(client, &post("", &initialize("2025-11-25", "{}")));
    let offered = world.clients[client].answer().json()["result"]["capabilities"]["tasks"].clone();
    assert_eq!(offered, json!({"cancel": {}, "requests": {"tools": {"call": {}}}}), "all but the list");
    let (_, session) = world.begin();
    let (_, other) = world.begin();
    let mut ids = Vec::new();
    for target in ["alpha", "beta"] {
        let answer = world.ask_on(0, &session, &task_call(&format!("{target}_echo"))).json();
        let id = text(&answer["result"]["task"]["taskId"]);
        assert_ne!(id, "t-1");
        assert_eq!(answer["result"]["task"]["ttl"], 60000);
        for shard in [0, 1] {
            for method in ["tasks/get", "tasks/cancel"] {
                let answer = world.ask_on(shard, &session, &about(method, &id)).json();
                assert_eq!(answer["result"]["taskId"], id.as_str(), "{method}: {answer}");
                assert_eq!(world.server(target).last(method).json()["params"]["taskId"], "t-1");
            }
            let answer = world.ask_on(shard, &session, &about("tasks/result", &id)).json();
            assert_eq!(answer["result"]["content"][0]["text"], target);
            assert_eq!(answer["result"]["content"][1]["uri"], format!("{target}+demo://one"));
            assert_eq!(answer["result"]["_meta"][format!("{PREFIX}related-task")]["taskId"], id.as_str());
            let before = world.server(target).seen.len();
            for foreign in [id.as_str(), "t-1", ""] {
                let session = if foreign == id { &other } else { &session };
                let answer = world.ask_on(shard, session, &about("tasks/get", foreign));
                assert_eq!(answer.code(), Some(-32602), "{}", answer.text());
            }
            assert_eq!(world.server(target).seen.len(), before, "nobody was asked");
        }
        ids.push(id);
    }
    assert_ne!(ids[0], ids[1]);
    let answer = world.ask_on(0, &session, &request("tasks/list", "{}"));
    assert_eq!(answer.code(), Some(-32601));
}

#[test]
fn what_a_target_says_of_a_task_names_it_as_the_client_does() {
    let mut world = World::new(&["alpha", "beta"]);
    legacy_tasks(&mut world, "alpha");
    let (client, session) = world.begin_as("2025-11-25", EVERYTHING);
    let id = text(&world.ask(client, &session, &task_call("alpha_echo")).json()["result"]["task"]["taskId"]);
    let listener = world.listen(0, &session);
    let related = r#""_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t-1"},"a":1}"#;
    for message in [
        r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"t-1","status":"working"}}"#.to_owned(),
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":"t-1",{related}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"t-1","progress":1,{related}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"demo://one",{related}}}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{{"message":"?",{related}}}}}"#),
    ] {
        world.say_on_stream("alpha", &message);
    }
    let heard = world.messages(listener);
    assert_eq!(heard.len(), 5);
    assert_eq!(heard[0]["params"]["taskId"], id.as_str());
    for message in &heard[1..] {
        assert_eq!(
            message["params"]["_meta"],
            json!({format!("{PREFIX}related-task"): {"taskId": id}, "a": 1}),
            "{message}"
        );
    }
    assert_eq!(
        (&heard[1]["params"]["data"], &heard[2]["params"]["progressToken"]),
        (&json!("t-1"), &json!("t-1"))
    );
    // The client's answer belongs to the same task.
    let answer = format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{"action":"accept","_meta":{{"{PREFIX}related-task":{{"taskId":"{id}"}}}}}}}}"#,
        heard[4]["id"]
    );
    world.ask(client, &session, &answer);
    let said = world.server("alpha").seen.last().unwrap().body.clone();
    assert_eq!(
        said,
        format!(
            r#"{{"jsonrpc":"2.0","id":"q","result":{{"action":"accept","_meta":{{"{PREFIX}related-task":{{"taskId":"t-1"}}}}}}}}"#
        )
    );
}

#[test]
fn with_one_target_ids_pass_as_they_are() {
    let mut world = World::new(&["alpha"]);
    legacy_tasks(&mut world, "alpha");
    let (client, session) = world.begin();
    let answer = world.ask(client, &session, &task_call("echo")).json();
    assert_eq!(answer["result"]["task"]["taskId"], "t-1");
    let answer = world.ask(client, &session, &about("tasks/get", "t-1")).json();
    assert_eq!(answer["result"]["taskId"], "t-1");
    world.server("alpha").on("tasks/list", |seen| seen.result(r#"{"tasks":[{"taskId":"t-1"}]}"#));
    let answer = world.ask(client, &session, &request("tasks/list", "{}")).json();
    assert_eq!(answer["result"]["tasks"][0]["taskId"], "t-1");
}

// --- the extension ---

/// What a target with the extension says.
fn modern_tasks(world: &mut World, name: &str) {
    let server = world.server(name);
    server.on("tools/call", |seen| {
        seen.result(
            r#"{"resultType":"task","taskId":"t-1","status":"working","ttlMs":60000,"pollIntervalMs":5}"#,
        )
    });
    server.on("tasks/get", |seen| {
        seen.result(r#"{"resultType":"complete","taskId":"t-1","status":"completed","result":{"content":[{"type":"resource_link","uri":"demo://one","name":"n"}]}}"#)
    });
    for method in ["tasks/update", "tasks/cancel"] {
        server.on(method, |seen| seen.result(r#"{"resultType":"complete"}"#));
    }
    server.on("subscriptions/listen", agree);
}

fn ask(world: &mut World, shard: usize, method: &str, name: &str, params: &str) -> Answer {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params},"_meta":{{"{PREFIX}protocolVersion":"2026-07-28","{PREFIX}clientCapabilities":{TASKS}}}}}}}"#
    );
    let client = world.connect(shard);
    let fields = format!("mcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\nmcp-name: {name}\r\n");
    world.send(client, &post(&fields, &body));
    world.clients[client].answer()
}

#[test]
fn a_task_of_the_extension_is_found_again_through_any_shard() {
    for count in [1, 2] {
        let mut world = Setup::modern_on(&["alpha", "beta"][..count], 2);
        modern_tasks(&mut world, "alpha");
        let name = if count == 1 { "echo" } else { "alpha_echo" };
        let answer = ask(&mut world, 0, "tools/call", name, &format!(r#""name":"{name}""#)).json();
        assert_eq!(answer["result"]["resultType"], "task");
        assert_eq!(answer["result"]["pollIntervalMs"], 5);
        let id = text(&answer["result"]["taskId"]);
        assert_eq!(id == "t-1", count == 1);
        for shard in [0, 1] {
            for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
                let answer = ask(&mut world, shard, method, &id, &format!(r#""taskId":"{id}""#));
                assert_eq!(answer.status, 200, "{method}: {}", answer.text());
                let seen = world.server("alpha").last(method);
                assert_eq!(
                    (seen.field("mcp-name"), &seen.json()["params"]["taskId"]),
                    (Some("t-1"), &json!("t-1"))
                );
                if method == "tasks/get" {
                    let result = &answer.json()["result"];
                    assert_eq!(result["taskId"], id.as_str());
                    let uri = if count == 1 { "demo://one" } else { "alpha+demo://one" };
                    assert_eq!(result["result"]["content"][0]["uri"], uri, "{result}");
                }
            }
        }
        let (client, session) = world.begin();
        let answer = world.ask(client, &session, &about("tasks/get", &id));
        assert_eq!(
            answer.code() == Some(-32602),
            count == 2,
            "a session's tasks are others: {}",
            answer.text()
        );
    }
}

#[test]
fn a_task_is_listened_to_at_the_target_that_has_it() {
    for count in [1, 2] {
        let mut world = Setup::modern_on(&["alpha", "beta"][..count], 1);
        for name in &["alpha", "beta"][..count] {
            modern_tasks(&mut world, name);
        }
        let name = if count == 1 { "echo" } else { "alpha_echo" };
        let answer = ask(&mut world, 0, "tools/call", name, &format!(r#""name":"{name}""#)).json();
        let id = text(&answer["result"]["taskId"]);
        let unknown = if count == 1 { "" } else { r#","nobody's""# };
        let client = world.subscribe(0, "9", &format!(r#"{{"taskIds":["{id}"{unknown}]}}"#));
        world.advance(Duration::from_millis(300));
        assert_eq!(world.server("alpha").filters(), [r#"{"taskIds":["t-1"]}"#]);
        if count == 2 {
            assert_eq!(world.server("beta").filters(), [] as [&str; 0]);
        }
        world.say_on_listen(
            "alpha",
            &notice("ID", "tasks", r#","taskId":"t-1","status":"completed","result":{"content":[]}"#),
        );
        assert_eq!(
            world.heard(client),
            [
                acknowledged("9", &format!(r#"{{"taskIds":["{id}"]}}"#)),
                notice(
                    "9",
                    "tasks",
                    &format!(r#","taskId":"{id}","status":"completed","result":{{"content":[]}}"#)
                ),
            ]
        );
    }
}

// --- calls whose targets hang up and want to be asked again ---

#[test]
fn a_target_is_asked_for_the_rest_of_an_answer_while_it_goes_on_and_ten_times_in_vain() {
    let hangs_up = |seen: &Seen, id: &str| {
        _ = seen;
        [
            open_stream(&[crate::support::server::chunk(&format!("id: {id}\nretry: 500\ndata:\n\n"))]),
            stream_end(),
        ]
        .concat()
    };
    // It has the answer at the third time.
    let mut world = World::new(&["alpha"]);
    world.server("alpha").on("tools/call", move |seen| hangs_up(seen, "a"));
    let mut asked = 0;
    world.server("alpha").on("GET", move |seen| {
        asked += 1;
        assert_eq!(seen.field("last-event-id"), Some("a"));
        match asked {
            1 | 2 => hangs_up(seen, "a"),
            _ => [open_stream(&[event(r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#)]), stream_end()]
                .concat(),
        }
    });
    let client =
        world.begin_modern(0, &crate::support::modern::Ask { capabilities: "{}", ..Default::default() });
    world.advance(Duration::from_millis(1_499));
    assert!(world.clients[client].answers().iter().all(|answer| !answer.complete));
    world.advance(Duration::from_millis(1));
    let answer = world.clients[client].answer();
    assert_eq!(
        (answer.complete, &answer.json()["result"]["resultType"]),
        (true, &json!("complete")),
        "{}",
        answer.text()
    );
    assert_eq!(world.counters(0).calls.value(), 0);
    // It never has one.
    let mut world = World::new(&["alpha"]);
    world.server("alpha").on("tools/call", move |seen| hangs_up(seen, "a"));
    world.server("alpha").on("GET", move |seen| hangs_up(seen, "a"));
    let client =
        world.begin_modern(0, &crate::support::modern::Ask { capabilities: "{}", ..Default::default() });
    world.advance(Duration::from_secs(60));
    assert!(world.clients[client].answer().json()["result"]["isError"] == true);
    assert_eq!(world.server("alpha").count("GET"), 10);
    assert_eq!(world.counters(0).calls.value(), 0);
    // It can't be asked.
    let mut world = World::new(&["alpha"]);
    world.server("alpha").on("tools/call", move |seen| hangs_up(seen, "a"));
    world.server("alpha").on("GET", |_| reply(405, "", ""));
    let client =
        world.begin_modern(0, &crate::support::modern::Ask { capabilities: "{}", ..Default::default() });
    world.advance(Duration::from_secs(1));
    assert!(world.clients[client].answer().tool_text().contains("hung up"));
    // Its client leaves meanwhile.
    let mut world = World::new(&["alpha"]);
    world.server("alpha").on("tools/call", move |seen| hangs_up(seen, "a"));
    world.server("alpha").on("GET", move |_| vec![Step::Wait(Duration::from_secs(5))]);
    let client =
        world.begin_modern(0, &crate::support::modern::Ask { capabilities: "{}", ..Default::default() });
    world.advance(Duration::from_millis(100));
    world.hang_up(client);
    world.advance(Duration::from_secs(10));
    assert_eq!((world.server("alpha").count("GET"), world.counters(0).calls.value()), (0, 0));
}
