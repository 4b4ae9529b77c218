//! Several targets, of every era.

use crate::support::client::{call, initialize, post, request};
use crate::support::listening::before;
use crate::support::modern::{Ask, ask_as};
use crate::support::{Step, World};
use mcp_proto::Fault;
use serde_json::{Value, json};
use std::time::Duration;

const PREFIX: &str = "io.modelcontextprotocol/";

/// Two legacy targets over HTTP, a modern one, one on an event stream, and two processes.
fn mixed(shards: u16) -> World {
    let mut world = before(&["lega", "legb", "mod", "old", "proc", "procm"])
        .shards(shards)
        .sse("old")
        .process("proc")
        .process("procm")
        .build()
        .modern(&["mod", "procm"]);
    world
        .server("proc")
        .on("server/discover", |seen| vec![Step::Send(format!("{}\n", seen.error(-32601, "no")).into())]);
    world
        .server("procm")
        .on("server/discover", |seen| {
            let result = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"prompts":{},"resources":{}}}"#;
            vec![Step::Send(format!("{}\n", seen.response(result)).into())]
        });
    world
}

const MIXED: [&str; 6] = ["lega", "legb", "mod", "old", "proc", "procm"];

#[test]
fn both_kinds_of_clients_reach_every_kind_of_target() {
    for shards in [1, 2] {
        let mut world = mixed(shards);
        let (_, session) = world.begin();
        for shard in 0..usize::from(shards) {
            for target in MIXED {
                let tool = format!("{target}_echo");
                let answer = world.ask_on(shard, &session, &call(&tool));
                assert_eq!(
                    answer.tool_text(),
                    format!("{target}:echo"),
                    "legacy on {shard}: {}",
                    answer.text()
                );
                assert!(!answer.text().contains("resultType"));
                let ask = Ask { name: &tool, capabilities: "{}", ..Ask::default() };
                let client = world.begin_modern(shard, &ask);
                world.advance(Duration::from_millis(100));
                let answer = world.clients[client].answer();
                assert_eq!(
                    answer.tool_text(),
                    format!("{target}:echo"),
                    "modern on {shard}: {}",
                    answer.text()
                );
                let uri = format!("{target}+demo://one");
                let read = request("resources/read", &format!(r#"{{"uri":"{uri}"}}"#));
                let answer = world.ask_on(shard, &session, &read).json();
                assert_eq!(answer["result"]["contents"], json!([{"uri": uri, "text": target}]), "{answer}");
                let ask = Ask { method: "resources/read", name: &uri, capabilities: "{}", ..Ask::default() };
                let answer = world.ask_modern(shard, &ask).json();
                assert_eq!(answer["result"]["contents"], json!([{"uri": uri, "text": target}]), "{answer}");
            }
        }
        for target in MIXED {
            assert_eq!(world.effects(target), 2 * usize::from(shards), "{target}");
        }
    }
}

fn names(result: &Value) -> Vec<String> {
    let tools = result["result"]["tools"].as_array().unwrap_or_else(|| panic!("{result}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn lists_are_the_same_for_everyone_and_go_on_page_by_page() {
    let mut world = mixed(2);
    for target in MIXED {
        world.server(target).page = 1;
    }
    let (_, session) = world.begin();
    let expected = |tool: &str| MIXED.map(|target| format!("{target}_{tool}")).to_vec();
    for shard in [0, 1] {
        let first = world.ask_on(shard, &session, &request("tools/list", "{}")).json();
        assert_eq!(names(&first), expected("echo"), "{first}");
        let params = format!(r#"{{"cursor":{}}}"#, first["result"]["nextCursor"]);
        let second = world.ask_on(1 - shard, &session, &request("tools/list", &params)).json();
        assert_eq!(names(&second), expected("add"));
        assert!(second["result"]["nextCursor"].is_null());
        let mut list = |shard: usize, params: &str| {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{params}"_meta":{{"{PREFIX}protocolVersion":"2026-07-28","{PREFIX}clientCapabilities":{{}}}}}}}}"#
            );
            let client = world.connect(shard);
            world
                .send(client, &post("mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/list\r\n", &body));
            world.advance(Duration::from_millis(100));
            world.clients[client].answer().json()
        };
        let first = list(shard, "");
        assert_eq!(names(&first), expected("echo"));
        assert_eq!(first["result"]["cacheScope"], "private");
        let again = list(1 - shard, "");
        assert_eq!(first["result"]["tools"], again["result"]["tools"], "whatever connection or shard");
        let second = list(1 - shard, &format!(r#""cursor":{},"#, first["result"]["nextCursor"]));
        assert_eq!(names(&second), expected("add"));
        // A session's cursor is nobody else's.
        let foreign = list(
            shard,
            &format!(
                r#""cursor":{params},"#,
                params = params.strip_prefix(r#"{"cursor":"#).unwrap().strip_suffix('}').unwrap()
            ),
        );
        assert_eq!(foreign["error"]["code"], -32602);
    }
}

#[test]
fn a_target_that_is_down_is_left_out_whatever_its_era() {
    for down in ["lega", "mod"] {
        let mut world = mixed(1);
        world.server(down).refuses = Some(Some(Fault::Refused));
        let (client, session) = world.begin();
        let answer = world.ask(client, &session, &request("tools/list", "{}")).json();
        assert_eq!(names(&answer).len(), 10);
        assert_eq!(answer["result"]["_meta"]["mcp-gateway/partial"][0]["target"], down);
        let answer = ask_as(&mut world, "1", "tools/list", None, "", "").json();
        assert_eq!(names(&answer).len(), 10, "{answer}");
        assert_eq!(
            (&answer["result"]["ttlMs"], &answer["result"]["cacheScope"]),
            (&json!(0), &json!("private"))
        );
        let tool = format!("{down}_echo");
        let answer = world.ask_modern(0, &Ask { name: &tool, ..Ask::default() });
        assert!(answer.tool_text().contains("can't be reached"), "{}", answer.text());
        assert_eq!(answer.json()["result"]["isError"], true);
    }
}

#[test]
fn discover_says_what_all_can_do_together() {
    let mut world = mixed(1);
    world.server("lega").instructions = Some("be kind".to_owned());
    world.server("legb").capabilities =
        json!({"tools": {}, "tasks": {"list": {}, "requests": {"tools": {"call": {}}}}});
    world.server("mod").on("server/discover", |seen| {
        seen.result(r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}},"instructions":"be quick","ttlMs":1000,"cacheScope":"public"}"#)
    });
    let answer = ask_as(&mut world, "1", "server/discover", None, "", "").json();
    let result = &answer["result"];
    assert_eq!(result["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(result["cacheScope"], "private");
    assert_eq!(result["instructions"], "# lega\n\nbe kind\n\n# mod\n\nbe quick");
    assert_eq!(result["capabilities"]["extensions"], json!({"io.modelcontextprotocol/tasks": {}}));
    assert!(result["capabilities"]["tasks"].is_null(), "{result}");
    assert_eq!(result["_meta"][format!("{PREFIX}serverInfo")]["name"], "mcp-gateway");
    // A session is told of what sessions can have.
    let client = world.connect(0);
    world.send(client, &post("", &initialize("2025-11-25", "{}")));
    let result = world.clients[client].answer().json()["result"].clone();
    assert_eq!(result["capabilities"]["tasks"], json!({"requests": {"tools": {"call": {}}}}), "{result}");
    assert_eq!(result["capabilities"]["extensions"], json!({}), "{result}");
}
