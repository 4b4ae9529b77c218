//! Lists that are kept as long as their targets say they hold, and schemas that calls are checked by.

use crate::support::client::{call, post, request};
use crate::support::modern::Ask;
use crate::support::server::{event, json_reply, reply, stream};
use crate::support::{Answer, Setup, World};
use serde_json::{Value, json};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// What a target answers to `tools/list`, holding so long.
fn tools(world: &mut World, target: &str, tool: &str, ttl: u64, scope: &str) {
    let result = format!(
        r#"{{"resultType":"complete","tools":[{{"name":"{tool}","inputSchema":{{"type":"object"}}}}],"ttlMs":{ttl},"cacheScope":"{scope}"}}"#
    );
    world.server(target).on("tools/list", move |seen| seen.result(&result));
}

fn list_with(world: &mut World, shard: usize, fields: &str, params: &str) -> Answer {
    let prefix = "io.modelcontextprotocol/";
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{params}"_meta":{{"{prefix}protocolVersion":"2026-07-28","{prefix}clientCapabilities":{{}}}}}}}}"#
    );
    let client = world.connect(shard);
    let fields = format!("mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/list\r\n{fields}");
    world.send(client, &post(&fields, &body));
    world.clients[client].answer()
}

fn list(world: &mut World) -> Value {
    list_with(world, 0, "", "").json()["result"].clone()
}

fn told(result: &Value) -> (u64, &str) {
    (result["ttlMs"].as_u64().unwrap(), result["cacheScope"].as_str().unwrap())
}

#[test]
fn a_list_is_not_asked_for_while_it_holds() {
    let mut world = Setup::modern(&["alpha"]);
    tools(&mut world, "alpha", "a", 10_000, "public");
    assert_eq!(told(&list(&mut world)), (10_000, "public"));
    world.advance(4 * SECOND);
    assert_eq!(told(&list(&mut world)), (6_000, "public"));
    let (client, session) = world.begin();
    let answer = world.ask(client, &session, &request("tools/list", "{}"));
    assert_eq!(
        answer.text(),
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","inputSchema":{"type":"object"}}]}}"#
    );
    assert_eq!(world.server("alpha").count("tools/list"), 1);
    world.advance(6 * SECOND);
    assert_eq!(told(&list(&mut world)), (10_000, "public"));
    assert_eq!(world.server("alpha").count("tools/list"), 2);
}

#[test]
fn however_long_it_is_said_to_hold_it_is_asked_for_after_ten_minutes() {
    let mut world = Setup::modern(&["alpha"]);
    tools(&mut world, "alpha", "a", 3_600_000, "public");
    list(&mut world);
    world.advance(599 * SECOND);
    assert_eq!(told(&list(&mut world)).0, 1_000);
    world.advance(SECOND);
    list(&mut world);
    assert_eq!(world.server("alpha").count("tools/list"), 2);
}

#[test]
fn of_several_the_shortest_time_and_the_narrowest_scope_count() {
    for (beta, scope, expected) in [
        (5_000, "public", (5_000, "public")),
        (50_000, "private", (9_000, "private")),
        (0, "public", (0, "public")),
    ] {
        let mut world = Setup::modern(&["alpha", "beta"]);
        tools(&mut world, "alpha", "a", 9_000, "public");
        tools(&mut world, "beta", "b", beta, scope);
        assert_eq!(told(&list(&mut world)), expected);
        world.advance(SECOND);
        list(&mut world);
        assert_eq!(world.server("alpha").count("tools/list"), 1, "each is kept for its own time");
        assert_eq!(world.server("beta").count("tools/list"), if beta == 0 { 2 } else { 1 });
    }
    // One that says nothing of it changes at any moment, and for whom it likes.
    let mut world = Setup::modern(&["alpha", "beta"]);
    tools(&mut world, "alpha", "a", 9_000, "public");
    assert_eq!(told(&list(&mut world)), (0, "private"));
}

#[test]
fn what_depends_on_the_client_is_kept_for_nobody_and_shown_to_nobody_else() {
    let mut world = Setup::new(&["alpha"])
        .targets(|target| {
            target.protocol = routing::Protocol::Modern;
            target.forward.fields = vec!["authorization".to_owned()];
        })
        .build();
    world.server("alpha").keeps_sessions = false;
    world.server("alpha").on("tools/list", |seen| {
        let who = seen.field("authorization").unwrap_or("nobody").to_owned();
        seen.result(&format!(
            r#"{{"resultType":"complete","tools":[{{"name":"{who}"}}],"ttlMs":9000,"cacheScope":"public"}}"#
        ))
    });
    for who in ["ann", "bob", "ann"] {
        let answer = list_with(&mut world, 0, &format!("authorization: {who}\r\n"), "").json();
        assert_eq!(answer["result"]["tools"][0]["name"], who);
        assert_eq!(answer["result"]["cacheScope"], "private");
    }
    assert_eq!(world.server("alpha").count("tools/list"), 3);
}

#[test]
fn hidden_sessions_are_of_one_client_where_targets_know_clients() {
    let mut world = Setup::new(&["alpha"])
        .targets(|target| target.forward.fields = vec!["authorization".to_owned()])
        .build();
    let before = world.server("alpha").script.take();
    assert!(before.is_none());
    let mut owners = std::collections::BTreeMap::new();
    world.server("alpha").script = Some(Box::new(move |seen| {
        let who = seen.field("authorization").map(str::to_owned);
        if who.is_none() && seen.http != "DELETE" {
            return Some(reply(401, "", ""));
        }
        if let Some(session) = seen.session() {
            let owner = owners.entry(session.to_owned()).or_insert_with(|| who.clone());
            if *owner != who {
                return Some(reply(403, "", ""));
            }
        }
        None
    }));
    for (number, who) in ["ann", "bob", "ann"].into_iter().enumerate() {
        let text = String::from_utf8(Ask { capabilities: "{}", ..Ask::default() }.text()).unwrap();
        let client = world.connect(0);
        let field = format!("\r\nauthorization: {who}\r\naccept:");
        world.send(client, text.replace("\r\naccept:", &field).as_bytes());
        let answer = world.clients[client].answer();
        assert_eq!(answer.tool_text(), "alpha:echo", "{who} {number}: {}", answer.text());
    }
    assert_eq!(world.server("alpha").count("initialize"), 2);
}

#[test]
fn pages_are_not_kept() {
    let mut world = Setup::modern(&["alpha"]);
    world.server("alpha").on("tools/list", |seen| {
        let next = if seen.body.contains("cursor") { "" } else { r#","nextCursor":"2""# };
        seen.result(&format!(
            r#"{{"resultType":"complete","tools":[],"ttlMs":9000,"cacheScope":"public"{next}}}"#
        ))
    });
    for _ in 0..2 {
        let first = list(&mut world);
        assert_eq!(told(&first), (9_000, "public"));
        let cursor = format!(r#""cursor":{},"#, first["nextCursor"]);
        let second = list_with(&mut world, 0, "", &cursor).json();
        assert!(second["result"]["nextCursor"].is_null());
    }
    assert_eq!(world.server("alpha").count("tools/list"), 4);
}

#[test]
fn a_change_is_told_on_every_shard_before_its_reader_asks() {
    let mut world = Setup::modern_on(&["alpha"], 2);
    world.server("alpha").on("subscriptions/listen", crate::support::listening::agree);
    tools(&mut world, "alpha", "a", 60_000, "public");
    let client = world.subscribe(0, "1", r#"{"toolsListChanged":true}"#);
    for shard in [0, 1, 0, 1] {
        assert_eq!(list_with(&mut world, shard, "", "").json()["result"]["tools"][0]["name"], "a");
    }
    assert_eq!(world.server("alpha").count("tools/list"), 2);
    tools(&mut world, "alpha", "b", 60_000, "public");
    world.say_on_listen("alpha", &crate::support::listening::changed("ID", "tools"));
    world.advance(SECOND);
    assert_eq!(world.heard(client).len(), 2);
    for shard in [0, 1] {
        assert_eq!(list_with(&mut world, shard, "", "").json()["result"]["tools"][0]["name"], "b", "{shard}");
    }
}

#[test]
fn a_copy_stands_in_for_a_target_that_fails() {
    let mut world = Setup::modern(&["alpha", "beta"]);
    tools(&mut world, "alpha", "a", 1_000, "public");
    tools(&mut world, "beta", "b", 1_000, "private");
    list(&mut world);
    world.server("beta").on("tools/list", |seen| json_reply(500, &seen.error(-32603, "oops")));
    world.advance(2 * SECOND);
    let result = list(&mut world);
    assert_eq!(result["tools"].as_array().unwrap().len(), 2);
    assert_eq!(told(&result), (0, "private"));
    assert_eq!(
        result["_meta"]["mcp-gateway/partial"][0],
        json!({"target": "beta", "reason": "error -32603: oops", "stale": true})
    );
}

#[test]
fn an_answer_keeps_the_form_its_only_target_chose() {
    for events in [false, true] {
        let mut world = Setup::modern(&["alpha"]);
        world.server("alpha").on("tools/list", move |seen| {
            let result = r#"{"resultType":"complete","tools":[],"ttlMs":9000,"cacheScope":"public"}"#;
            if events { stream(&[event(&seen.response(result))]) } else { seen.result(result) }
        });
        for _ in 0..2 {
            assert_eq!(list_with(&mut world, 0, "", "").is_stream(), events);
        }
        assert_eq!(world.server("alpha").count("tools/list"), 1);
    }
}

// --- arguments that are repeated in header fields ---

/// A tool whose `region` is to be repeated under this name.
fn mirroring(header: &str) -> String {
    format!(
        r#"{{"name":"echo","inputSchema":{{"type":"object","properties":{{"region":{{"type":"string","x-mcp-header":"{header}"}},"n":{{"type":"integer","x-mcp-header":"N"}}}}}}}}"#
    )
}

fn call_with(arguments: &str) -> String {
    request("tools/call", &format!(r#"{{"name":"echo","arguments":{arguments}}}"#))
}

#[test]
fn arguments_are_repeated_for_a_modern_target_by_its_schemas() {
    let mut world = Setup::modern(&["alpha"]);
    // On the second page.
    let tool = mirroring("Region");
    world.server("alpha").on("tools/list", move |seen| match seen.body.contains("cursor") {
        false => seen.result(
            r#"{"resultType":"complete","tools":[{"name":"other","inputSchema":{}}],"nextCursor":"2"}"#,
        ),
        true => seen.result(&format!(r#"{{"resultType":"complete","tools":[{tool}]}}"#)),
    });
    let (client, session) = world.begin();
    for (arguments, region, n) in [
        (r#"{"region":"eu","n":3}"#, Some("eu"), Some("3")),
        (r#"{"region":"zü rich"}"#, Some("=?base64?esO8IHJpY2g=?="), None),
        (r#"{"region":null,"n":null}"#, None, None),
        ("{}", None, None),
    ] {
        let answer = world.ask(client, &session, &call_with(arguments));
        assert_eq!(answer.tool_text(), "alpha:echo", "{}", answer.text());
        let seen = world.server("alpha").last("tools/call");
        assert_eq!((seen.field("mcp-param-region"), seen.field("mcp-param-n")), (region, n), "{arguments}");
    }
    assert_eq!(world.server("alpha").count("tools/list"), 2, "looked up once, in pages");
    // A modern client's are its own business.
    let text = String::from_utf8(Ask::default().text()).unwrap();
    let client = world.connect(0);
    world.send(client, text.replace("\r\naccept:", "\r\nMcp-Param-Odd: 1\r\naccept:").as_bytes());
    assert_eq!(world.server("alpha").last("tools/call").field("mcp-param-odd"), Some("1"));
    assert_eq!(world.server("alpha").count("tools/list"), 2);
}

#[test]
fn a_schema_that_has_changed_is_looked_up_again_and_the_call_made_once_more() {
    let mut world = Setup::modern(&["alpha"]);
    let tool = mirroring("Region");
    world.server("alpha").on("tools/list", move |seen| {
        seen.result(&format!(r#"{{"resultType":"complete","tools":[{tool}]}}"#))
    });
    let (client, session) = world.begin();
    world.ask(client, &session, &call_with(r#"{"region":"eu"}"#));
    let tool = mirroring("Place");
    world.server("alpha").on("tools/list", move |seen| {
        seen.result(&format!(r#"{{"resultType":"complete","tools":[{tool}]}}"#))
    });
    let refuse = |seen: &crate::support::server::Seen| json_reply(400, &seen.error(-32020, "no Place"));
    let mut before = world.server("alpha").script.take();
    world.server("alpha").script = Some(Box::new(move |seen| {
        let lacks = seen.method == "tools/call" && seen.field("mcp-param-place").is_none();
        if lacks { Some(refuse(seen)) } else { before.as_mut().and_then(|before| before(seen)) }
    }));
    let answer = world.ask(client, &session, &call_with(r#"{"region":"eu"}"#));
    assert_eq!(answer.tool_text(), "alpha:echo", "{}", answer.text());
    assert_eq!(
        (world.server("alpha").count("tools/list"), world.server("alpha").count("tools/call")),
        (2, 3)
    );
    assert_eq!(world.effects("alpha"), 2);
    // A target that is never content gets it twice and no more, and the client a word it knows.
    world.server("alpha").on("tools/call", move |seen| json_reply(400, &seen.error(-32020, "never")));
    let before = world.server("alpha").count("tools/call");
    let answer = world.ask(client, &session, &call_with(r#"{"region":"eu"}"#));
    assert_eq!(world.server("alpha").count("tools/call"), before + 2);
    assert_eq!((answer.status, answer.code()), (200, Some(-32603)), "{}", answer.text());
}

#[test]
fn a_change_of_tools_makes_schemas_worthless() {
    let mut world = Setup::modern(&["alpha"]);
    world.server("alpha").on("subscriptions/listen", crate::support::listening::agree);
    let (client, session) = world.begin();
    world.ask(client, &session, &call("echo"));
    world.ask(client, &session, &call("echo"));
    assert_eq!(world.server("alpha").count("tools/list"), 1);
    world.listen(0, &session);
    world.say_on_listen("alpha", &crate::support::listening::changed("ID", "tools"));
    world.ask(client, &session, &call("echo"));
    assert_eq!(world.server("alpha").count("tools/list"), 2);
}

#[test]
fn a_modern_client_must_repeat_what_a_legacy_tool_is_shown_to_want() {
    for targets in [&["alpha"][..], &["alpha", "beta"]] {
        let mut world = World::new(targets);
        let tool = mirroring("Region");
        world.server("alpha").on("tools/list", move |seen| seen.result(&format!(r#"{{"tools":[{tool}]}}"#)));
        let name = if targets.len() > 1 { "alpha_echo" } else { "echo" };
        let mut ask = |arguments: &str, fields: &str| {
            let params = format!(r#","arguments":{arguments}"#);
            let ask = Ask { name, params, capabilities: "{}", ..Ask::default() };
            let text = String::from_utf8(ask.text()).unwrap();
            let client = world.connect(0);
            world.send(client, text.replace("\r\naccept:", &format!("\r\n{fields}accept:")).as_bytes());
            let answer = world.clients[client].answer();
            (answer.status, answer.code())
        };
        for (arguments, fields, good) in [
            (r#"{"region":"eu"}"#, "Mcp-Param-Region: eu\r\n", true),
            (r#"{"region":"eu"}"#, "mcp-param-region: =?base64?ZXU=?=\r\n", true),
            (r#"{"region":"eu","n":42}"#, "Mcp-Param-Region: eu\r\nMcp-Param-N: 42.0\r\n", true),
            ("{}", "Mcp-Param-Unknown: 1\r\n", true),
            (r#"{"region":"eu"}"#, "", false),
            (r#"{"region":"eu"}"#, "Mcp-Param-Region: us\r\n", false),
            (r#"{"region":"eu"}"#, "Mcp-Param-Region: eu\r\nMcp-Param-Region: eu\r\n", false),
            ("{}", "Mcp-Param-Region: eu\r\n", false),
        ] {
            let expected = if good { (200, None) } else { (400, Some(-32020)) };
            assert_eq!(ask(arguments, fields), expected, "{arguments} {fields}");
        }
        assert_eq!(world.effects("alpha"), 4);
        assert_eq!(world.server("alpha").count("tools/list"), 1);
    }
}

#[test]
fn who_lists_the_tools_again_is_checked_by_what_it_was_shown() {
    let mut world = World::new(&["alpha"]);
    let tool = mirroring("Region");
    world.server("alpha").on("tools/list", move |seen| seen.result(&format!(r#"{{"tools":[{tool}]}}"#)));
    let ask = |world: &mut World| {
        let ask = Ask {
            params: r#","arguments":{"region":"eu"}"#.to_owned(),
            capabilities: "{}",
            ..Ask::default()
        };
        let answer = world.ask_modern(0, &ask);
        (answer.status, answer.code())
    };
    assert_eq!(ask(&mut world), (400, Some(-32020)));
    // The target was replaced and said nothing: its tool wants nothing any more.
    world.server("alpha").on("tools/list", |seen| {
        seen.result(r#"{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}"#)
    });
    list(&mut world);
    assert_eq!(ask(&mut world), (200, None));
}

#[test]
fn schemas_that_can_not_be_had_hold_no_call_up() {
    for answer in [
        (|seen| json_reply(500, &seen.error(-32603, "no"))) as fn(&crate::support::server::Seen) -> _,
        |seen| json_reply(200, &seen.error(-32601, "no")),
        |seen| seen.result("7"),
        |_| reply(200, "content-type: application/json\r\n", "nonsense"),
        |_| reply(200, "content-type: text/plain\r\n", "nonsense"),
    ] {
        let mut world = Setup::modern(&["alpha"]);
        world.server("alpha").on("tools/list", answer);
        let (client, session) = world.begin();
        assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), "alpha:echo");
    }
    // Silence, and a list without end.
    let mut world = Setup::modern(&["alpha"]);
    world.server("alpha").on("tools/list", |_| crate::support::server::open_stream(&[]));
    let (client, session) = world.begin();
    let asked = world.ask_later(client, &session, &call("echo"));
    world.advance(60 * SECOND);
    assert!(world.is_answered(client, asked));
    let mut world = Setup::modern(&["alpha"]);
    world.server("alpha").on("tools/list", |seen| seen.result(r#"{"tools":[],"nextCursor":"on"}"#));
    let (client, session) = world.begin();
    assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), "alpha:echo");
}
