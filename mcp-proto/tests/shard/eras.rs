//! Requests and answers on their way from one era to the other, byte for byte.

use crate::support::client::{EVERYTHING, INITIALIZED, call, initialize, post, request};
use crate::support::modern::{Ask, ask_as};
use crate::support::server::{chunked_reply, event, json_reply, open_stream, stream, stream_end};
use crate::support::{End, Setup, Step, World};
use serde_json::{Value, json};

const PREFIX: &str = "io.modelcontextprotocol/";
const SERVER: &str = r#""_meta":{"io.modelcontextprotocol/serverInfo":{"name":"alpha","version":"1"}}"#;
const CLIENT: &str = r#"{"name":"test","version":"1"}"#;

/// A gateway with one legacy target.
fn legacy() -> World {
    World::new(&["alpha"])
}

/// A gateway with one modern target.
fn modern() -> World {
    Setup::modern(&["alpha"])
}

// --- a modern client, a legacy target ---

#[test]
fn a_request_loses_its_envelope_and_nothing_else_and_its_answer_gains_what_is_missing() {
    let mut world = legacy();
    for (id, meta, kept) in [
        ("7", String::new(), ""),
        (
            r#""7""#,
            r#""traceparent":"00-1-2-01","x.y/z":1.50,"#.to_owned(),
            r#","_meta":{"traceparent":"00-1-2-01","x.y/z":1.50}"#,
        ),
        (
            "123456789012345678901",
            format!(r#""progressToken":"p","{PREFIX}clientInfo":{{"name":"c","version":"2"}},"#),
            r#","_meta":{"progressToken":"p"}"#,
        ),
    ] {
        let answer = ask_as(
            &mut world,
            id,
            "tools/call",
            Some("echo"),
            r#""name":"echo","arguments":{"n":1.0e2,"b":"ä"}"#,
            &meta,
        );
        let seen = world.server("alpha").last("tools/call").clone();
        let number = seen.id.clone().unwrap();
        assert_eq!(
            seen.body,
            format!(
                r#"{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"name":"echo","arguments":{{"n":1.0e2,"b":"ä"}}{kept}}}}}"#
            )
        );
        assert!(number.bytes().all(|byte| byte.is_ascii_digit()));
        assert_eq!((seen.field("mcp-method"), seen.field("mcp-name")), (None, None));
        assert_eq!(seen.field("mcp-protocol-version"), Some("2025-11-25"));
        assert_eq!(
            answer.text(),
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":"alpha:echo"}}],"resultType":"complete",{SERVER}}}}}"#
            )
        );
        assert_eq!((answer.status, answer.field("mcp-session-id")), (200, None));
    }
    let greeted = world.server("alpha").last("initialize").json();
    assert_eq!(greeted["params"]["clientInfo"], json!({"name": "c", "version": "2"}));
    assert_eq!(world.server("alpha").count("initialize"), 2, "one for each kind of client");
}

#[test]
fn each_method_finds_its_way_to_a_legacy_target() {
    let mut world = legacy();
    let mut ask = |method: &str, name: Option<&str>, params: &str| {
        let answer = ask_as(&mut world, "1", method, name, params, "");
        assert_eq!(answer.status, 200, "{method}: {}", answer.text());
        answer.json()["result"].to_string()
    };
    let caching = r#""cacheScope":"private","#;
    let told = |text: String| text.contains(r#""resultType":"complete""#) && text.contains("serverInfo");
    for (method, name, params, cacheable) in [
        ("tools/list", None, "", true),
        ("prompts/list", None, "", true),
        ("resources/list", None, "", true),
        ("resources/templates/list", None, "", true),
        ("resources/read", Some("demo://one"), r#""uri":"demo://one""#, true),
        ("prompts/get", Some("greet"), r#""name":"greet""#, false),
        (
            "completion/complete",
            None,
            r#""ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"a","value":""}"#,
            false,
        ),
    ] {
        let result = ask(method, name, params);
        assert!(told(result.clone()), "{method}: {result}");
        assert_eq!(result.contains(caching), cacheable, "{method}: {result}");
        assert_eq!(result.contains(r#""ttlMs":0"#), cacheable, "{method}: {result}");
    }
    let result: Value = serde_json::from_str(&ask("server/discover", None, "")).unwrap();
    assert_eq!(result["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(result["_meta"][format!("{PREFIX}serverInfo")], json!({"name": "alpha", "version": "1"}));
    assert_eq!(result["capabilities"], world.server("alpha").capabilities);
}

#[test]
fn what_a_legacy_target_said_itself_of_the_new_members_is_kept() {
    let mut world = legacy();
    let own = r#"{"contents":[],"resultType":"complete","ttlMs":5,"cacheScope":"public","_meta":{"a":1}}"#;
    world.server("alpha").on("resources/read", move |seen| seen.result(own));
    let answer = ask_as(&mut world, "1", "resources/read", Some("demo://one"), r#""uri":"demo://one""#, "");
    assert_eq!(
        answer.text(),
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"contents":[],"resultType":"complete","ttlMs":5,"cacheScope":"public","_meta":{{"a":1,"{PREFIX}serverInfo":{{"name":"alpha","version":"1"}}}}}}}}"#
        )
    );
}

#[test]
fn codes_of_legacy_targets_are_those_of_the_modern_era() {
    for (code, status, expected) in [
        (-32002, 200, (400, -32602)),
        (-32002, 404, (400, -32602)),
        (-32602, 200, (400, -32602)),
        (-32601, 200, (404, -32601)),
        (-32603, 200, (200, -32603)),
        (-32000, 200, (200, -32603)),
        (-32001, 200, (200, -32603)),
        (-32020, 200, (200, -32603)),
        (-32021, 200, (200, -32603)),
        (-32022, 200, (200, -32603)),
        (-32042, 200, (200, -32603)),
        (-32099, 200, (200, -32603)),
        (-32100, 200, (200, -32100)),
        (-1, 200, (200, -1)),
        (42, 200, (200, 42)),
    ] {
        for events in [false, true] {
            if events && status != 200 {
                continue;
            }
            let mut world = legacy();
            world.server("alpha").on("resources/read", move |seen| {
                let error = seen.error(code, "why").replace("}}", r#","data":{"a":1}}}"#);
                if events { stream(&[event(&error)]) } else { json_reply(status, &error) }
            });
            let answer =
                ask_as(&mut world, "1", "resources/read", Some("demo://one"), r#""uri":"demo://one""#, "");
            assert_eq!(
                (answer.status, answer.code().unwrap()),
                expected,
                "{code} {events}: {}",
                answer.text()
            );
            assert_eq!(answer.json()["error"]["message"], "why");
            assert_eq!(answer.json()["error"]["data"], json!({"a": 1}), "{code}");
        }
    }
}

#[test]
fn a_large_answer_and_one_in_pieces_are_finished_as_well() {
    let text = "x".repeat(300_000);
    for pieces in [1, 7, 50_000] {
        let mut world = legacy();
        let result = format!(r#"{{"content":[{{"type":"text","text":"{text}"}}]}}"#);
        let whole = result.clone();
        world.server("alpha").on("tools/call", move |seen| {
            let response = seen.response(&whole);
            let cut: Vec<_> = response.as_bytes().chunks(response.len() / pieces + 1).collect();
            let cut: Vec<_> = cut.into_iter().map(|piece| std::str::from_utf8(piece).unwrap()).collect();
            chunked_reply(&cut)
        });
        let answer = world.ask_modern(0, &Ask::default());
        assert!(answer.complete);
        let expected = format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{},"resultType":"complete",{SERVER}}}}}"#,
            result.strip_suffix('}').unwrap()
        );
        assert!(answer.text() == expected, "{pieces}: {}", &answer.text()[..200]);
    }
}

#[test]
fn a_large_answer_crosses_eras_as_it_comes() {
    const KIND: &str = r#""resultType":"complete","#;
    let text = "x".repeat(300_000);
    for (modern_client, kind, first) in [(true, "", true), (false, KIND, true), (false, KIND, false)] {
        let mut world = if modern_client { legacy() } else { modern() };
        world.server("alpha").on("tools/call", |_| Vec::new());
        let client = match modern_client {
            true => world.begin_modern(0, &Ask { capabilities: "{}", ..Ask::default() }),
            false => {
                let (client, session) = world.begin();
                world.ask_later(client, &session, &call("echo"));
                client
            }
        };
        let content = format!(r#""content":[{{"type":"text","text":"{text}"}}]"#);
        let (front, back) = if first { (kind, "") } else { ("", KIND.trim_end_matches(',')) };
        let comma = if back.is_empty() { "" } else { "," };
        let seen = world.server("alpha").last("tools/call").clone();
        let body = seen.response(&format!("{{{front}{content}{comma}{back}}}"));
        let head = format!(
            "HTTP/1.1 200 x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let half = body.len() / 2;
        world.say(seen.key, vec![Step::Send([&head, &body[..half]].concat().into())]);
        let came = world.clients[client].received;
        assert!(came > half, "{came} of {half}");
        world.say(seen.key, vec![Step::Send(body[half..].into()), Step::Done]);
        let answer = world.clients[client].answers().pop().unwrap();
        assert!(answer.complete && answer.tool_text() == text);
        let result = answer.json()["result"].clone();
        assert_eq!(result.get("resultType").is_some(), modern_client);
    }
}

#[test]
fn a_large_answer_that_turns_out_to_be_none_is_cut_and_a_small_one_is_told() {
    for size in [1_000, 300_000] {
        let mut world = modern();
        let text = "x".repeat(size);
        world.server("alpha").on("tools/call", move |seen| {
            seen.result(&format!(r#"{{"content":[{{"type":"text","text":"{text}"}}],"resultType":"task"}}"#))
        });
        let (client, session) = world.begin();
        world.ask_later(client, &session, &call("echo"));
        let answer = world.clients[client].answers().pop().unwrap();
        let is_long = size > 64 << 10;
        assert_eq!(answer.complete, !is_long);
        assert_eq!(world.clients[client].end == Some(End::Aborted), is_long);
        assert!(is_long || answer.json()["result"]["isError"] == true, "{}", answer.text());
    }
}

#[test]
fn progress_of_a_modern_call_keeps_its_token_and_ends_with_its_answer() {
    let mut world = legacy();
    world.server("alpha").on("tools/call", |seen| {
        let token = &seen.json()["params"]["_meta"]["progressToken"];
        let progress = format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#);
        let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#;
        let change = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        [
            open_stream(&[event(&progress), event(log), event(change)]),
            vec![Step::Send(event(&seen.response(r#"{"content":[]}"#)).into())],
            stream_end(),
        ]
        .concat()
    });
    for token in ["1", r#""one""#] {
        let answer = ask_as(
            &mut world,
            "1",
            "tools/call",
            Some("echo"),
            r#""name":"echo""#,
            &format!(r#""progressToken":{token},"#),
        );
        let messages = answer.messages();
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert_eq!(messages[0]["params"]["progressToken"].to_string(), token);
        assert_eq!(messages[1]["result"]["resultType"], "complete");
    }
}

// --- a legacy client, a modern target ---

#[test]
fn a_request_gains_its_envelope_and_its_answer_loses_what_is_new() {
    let mut world = modern();
    world.server("alpha").on("tools/call", |seen| {
        seen.result(r#"{"resultType":"complete","ttlMs":3,"content":[],"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"},"a":1},"cacheScope":"public","x":[1.0]}"#)
    });
    let (client, session) = world.begin();
    for id in ["7", r#""7""#] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"n":1.0e2}},"_meta":{{"progressToken":3}}}}}}"#
        );
        let answer = world.ask(client, &session, &body);
        let seen = world.server("alpha").last("tools/call").clone();
        assert_eq!(
            seen.body,
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"n":1.0e2}},"_meta":{{"{PREFIX}protocolVersion":"2026-07-28","{PREFIX}clientInfo":{CLIENT},"{PREFIX}clientCapabilities":{EVERYTHING},"progressToken":3}}}}}}"#
            )
        );
        for (field, value) in [
            ("mcp-protocol-version", Some("2026-07-28")),
            ("mcp-method", Some("tools/call")),
            ("mcp-name", Some("echo")),
            ("mcp-session-id", None),
        ] {
            assert_eq!(seen.field(field), value, "{field}");
        }
        assert_eq!(
            answer.text(),
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[],"_meta":{{"a":1}},"x":[1.0]}}}}"#)
        );
    }
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"föhn"}}"#;
    world.ask(client, &session, body);
    assert_eq!(world.server("alpha").last("prompts/get").field("mcp-name"), Some("=?base64?ZsO2aG4=?="));
}

#[test]
fn initialize_is_answered_with_what_a_modern_target_says_of_itself() {
    let mut world = modern();
    world.server("alpha").on("server/discover", |seen| {
        seen.result(r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"tasks":{"list":{}},"extensions":{"io.modelcontextprotocol/tasks":{},"x/y":{"a":1}}},"instructions":"read","ttlMs":1,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"3"}}}"#)
    });
    let client = world.connect(0);
    world.send(client, &post("", &initialize("2025-06-18", EVERYTHING)));
    let answer = world.clients[client].answer();
    assert_eq!(
        answer.json()["result"],
        json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {"listChanged": true}, "extensions": {"x/y": {"a": 1}}},
            "serverInfo": {"name": "s", "version": "3"},
            "instructions": "read",
        })
    );
    assert_eq!(world.server("alpha").methods(), ["server/discover"]);
}

#[test]
fn what_only_sessions_have_is_settled_here() {
    let mut world = modern();
    let (client, session) = world.begin();
    let before = world.server("alpha").seen.len();
    for (method, params) in [
        ("ping", "{}"),
        ("logging/setLevel", r#"{"level":"info"}"#),
        ("resources/subscribe", r#"{"uri":"demo://one"}"#),
        ("resources/unsubscribe", r#"{"uri":"demo://one"}"#),
    ] {
        let answer = world.ask(client, &session, &request(method, params));
        assert_eq!(answer.text(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "{method}");
    }
    for notice in [
        INITIALIZED,
        r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/whatever"}"#,
    ] {
        assert_eq!(world.ask(client, &session, notice).status, 202, "{notice}");
    }
    assert_eq!(world.server("alpha").seen.len(), before, "{:?}", world.server("alpha").methods());
    world.ask(client, &session, &call("echo"));
    let meta = &world.server("alpha").last("tools/call").json()["params"]["_meta"];
    assert_eq!(meta[format!("{PREFIX}logLevel")], "info");
    assert_eq!(world.delete(0, &session).status, 200);
}

#[test]
fn codes_of_modern_targets_are_those_that_sessions_know() {
    for (method, code, expected) in [
        ("resources/read", -32602, -32002),
        ("tools/call", -32602, -32602),
        ("tools/call", -32601, -32601),
        ("tools/call", -32603, -32603),
        ("prompts/get", 17, 17),
    ] {
        for (status, events) in [(200, false), (400, false), (200, true)] {
            let mut world = modern();
            world.server("alpha").on(method, move |seen| {
                let error = seen.error(code, "why");
                if events { stream(&[event(&error)]) } else { json_reply(status, &error) }
            });
            let (client, session) = world.begin();
            let params =
                if method == "resources/read" { r#"{"uri":"demo://none"}"# } else { r#"{"name":"echo"}"# };
            let answer = world.ask(client, &session, &request(method, params));
            assert_eq!(
                (answer.status, answer.code()),
                (200, Some(expected)),
                "{method} {status} {events}: {}",
                answer.text()
            );
            assert_eq!(answer.json()["error"]["message"], "why");
        }
    }
}

#[test]
fn a_structured_result_that_is_no_object_becomes_one() {
    for (structured, expected) in [
        ("[1,2.0]", r#"{"result":[1,2.0]}"#),
        (r#""a\"b""#, r#"{"result":"a\"b"}"#),
        ("7.50", r#"{"result":7.50}"#),
        ("null", r#"{"result":null}"#),
        ("true", r#"{"result":true}"#),
        (r#"{"a":[1]}"#, r#"{"a":[1]}"#),
    ] {
        for piece in [1, 3, 10_000] {
            let mut world = modern();
            let result = format!(
                r#"{{"resultType":"complete","structuredContent": {structured} ,"content":[{{"type":"text","text":"t"}}],"structured":[1]}}"#
            );
            world.server("alpha").on("tools/call", move |seen| {
                let response = seen.response(&result);
                let pieces: Vec<_> = response
                    .as_bytes()
                    .chunks(piece)
                    .map(|piece| std::str::from_utf8(piece).unwrap())
                    .collect();
                chunked_reply(&pieces)
            });
            let (client, session) = world.begin();
            let answer = world.ask(client, &session, &call("echo")).text().replace(' ', "");
            assert_eq!(
                answer,
                format!(
                    r#"{{"jsonrpc":"2.0","id":1,"result":{{"structuredContent":{expected},"content":[{{"type":"text","text":"t"}}],"structured":[1]}}}}"#
                ),
                "{piece}"
            );
            assert_eq!(
                world.ask_modern(0, &Ask::default()).json()["result"]["structuredContent"].to_string(),
                serde_json::from_str::<Value>(structured).unwrap().to_string()
            );
        }
    }
    let mut world = modern();
    world.server("alpha").on("tools/call", |seen| seen.result(r#"{"structuredContent":["a"]}"#));
    let (client, session) = world.begin();
    assert_eq!(
        world.ask(client, &session, &call("echo")).text(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"result":["a"]},"content":[{"type":"text","text":"[\"a\"]"}]}}"#
    );
}

#[test]
fn schemas_of_such_results_say_so() {
    let tools = r#"{"resultType":"complete","ttlMs":0,"cacheScope":"public","tools":[{"name":"a","inputSchema":{"type":"object"},"outputSchema":{"type":"array"}},{"name":"b","inputSchema":{"type":"object"},"outputSchema":{"type":"object"}}]}"#;
    let mut world = modern();
    world.server("alpha").on("tools/list", move |seen| seen.result(tools));
    let (client, session) = world.begin();
    assert_eq!(
        world.ask(client, &session, &request("tools/list", "{}")).text(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","inputSchema":{"type":"object"},"outputSchema":{"type":"object","properties":{"result":{"type":"array"}},"required":["result"]}},{"name":"b","inputSchema":{"type":"object"},"outputSchema":{"type":"object"}}]}}"#
    );
    let answer = ask_as(&mut world, "1", "tools/list", None, "", "");
    assert!(answer.text().contains(r#""outputSchema":{"type":"array"}"#), "{}", answer.text());
}

#[test]
fn a_task_for_a_client_that_knows_none_is_told_as_a_failure() {
    let task = r#"{"resultType":"task","taskId":"t","status":"working"}"#;
    for events in [false, true] {
        let mut world = modern();
        world.server("alpha").on("tools/call", move |seen| match events {
            true => stream(&[event(&seen.response(task))]),
            false => seen.result(task),
        });
        let (client, session) = world.begin();
        let answer = world.ask(client, &session, &call("echo")).json();
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        assert!(answer["result"]["content"][0]["text"].as_str().unwrap().contains("task"), "{answer}");
        assert!(!answer.to_string().contains("taskId"), "{answer}");
        // A client of the same era gets it.
        let answer = world.ask_modern(0, &Ask::default()).json();
        assert_eq!(answer["result"], serde_json::from_str::<Value>(task).unwrap());
    }
}

#[test]
fn extensions_of_a_client_pass_but_not_its_tasks() {
    let mut world = modern();
    let capabilities =
        r#"{"extensions":{"a/b":{},"io.modelcontextprotocol/tasks":{},"c/d":{"e":1.0}},"roots":{}}"#;
    let (client, session) = world.begin_as("2025-11-25", capabilities);
    world.ask(client, &session, &call("echo"));
    assert!(
        world
            .server("alpha")
            .last("tools/call")
            .body
            .contains(r#"clientCapabilities":{"extensions":{"a/b":{},"c/d":{"e":1.0}},"roots":{}}"#),
        "{}",
        world.server("alpha").last("tools/call").body
    );
    let ask = Ask { capabilities, ..Ask::default() };
    world.ask_modern(0, &ask);
    assert!(world.server("alpha").last("tools/call").body.contains(capabilities));
}

#[test]
fn a_completion_loses_what_an_older_target_does_not_know() {
    let params = r#"{"context":{"arguments":{"b":"c"}},"ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"a","value":""}}"#;
    for (revision, kept) in [("2025-03-26", false), ("2025-06-18", true)] {
        let mut world = legacy();
        world.server("alpha").revision = Some(revision.to_owned());
        let (client, session) = world.begin();
        for _ in 0..2 {
            world.ask(client, &session, &request("completion/complete", params));
            let expected = if kept {
                params.to_owned()
            } else {
                params.replace(r#""context":{"arguments":{"b":"c"}},"#, "")
            };
            let seen = world.server("alpha").last("completion/complete").body.clone();
            assert_eq!(seen, request("completion/complete", &expected), "{revision}");
        }
        let members = params.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
        for _ in 0..2 {
            ask_as(&mut world, "1", "completion/complete", None, members, "");
            let seen = world.server("alpha").last("completion/complete");
            assert_eq!(seen.body.contains("context"), kept, "{revision}");
        }
    }
}
