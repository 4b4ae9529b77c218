//! `subscriptions/listen`: by modern clients, at modern targets, and across the eras.

use crate::support::client::post;
use crate::support::listening::{
    LISTEN_FIELDS, TOOLS, UPDATED, acknowledged, agree_to, before, changed, listen, notice_of, updated,
};
use crate::support::server::{event, event_with, json_reply, open_stream, reply, stream_end};
use crate::support::{End, Step, World};
use mcp_proto::Fault;
use routing::Routes;
use serde_json::json;
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// After which a burst of list changes is told.
const BURST: Duration = Duration::from_millis(50);

const LISTS: &str = r#"{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}"#;

fn routes(names: &[(&str, usize)]) -> Routes {
    let target = |(name, number): &(&str, usize)| {
        let mut target = crate::support::setup::target(name, *number);
        target.protocol = routing::Protocol::Auto;
        target
    };
    Routes::new(names.iter().map(target).collect()).unwrap()
}

// --- modern client, modern targets ---

#[test]
fn a_modern_target_is_asked_with_the_clients_own_message_and_heard_under_the_clients_id() {
    for id in ["7", r#""7""#, r#""listen:1""#, "12345678901234567890"] {
        let mut world = before(&["alpha"]).build().modern(&["alpha"]);
        let filter = r#"{"toolsListChanged":true,"resourceSubscriptions":["demo://one"]}"#;
        let client = world.subscribe(0, id, filter);
        let answer = world.clients[client].answer();
        assert_eq!((answer.status, answer.field("content-type")), (200, Some("text/event-stream")));
        assert_eq!(answer.field("x-accel-buffering"), Some("no"));
        let seen = world.server("alpha").last("subscriptions/listen").clone();
        assert_eq!(seen.body, listen(seen.id.as_deref().unwrap(), filter));
        assert_eq!(seen.field("mcp-method"), Some("subscriptions/listen"));
        assert_eq!(seen.field("mcp-protocol-version"), Some("2026-07-28"));
        assert_eq!((seen.session(), seen.field("mcp-name")), (None, None));
        let more = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":ID,"a":1.0},"b":2}}"#;
        world.say_on_listen("alpha", more);
        world.say_on_listen("alpha", &updated("ID", "demo://one"));
        world.advance(BURST);
        assert_eq!(
            world.heard(client),
            [acknowledged(id, filter), updated(id, "demo://one"), more.replace("ID", id)]
        );
        world.hang_up(client);
        world.assert_nothing_left(&["alpha"]);
        assert_eq!(world.server("alpha").count("DELETE"), 0);
        let record = world.records.pop().unwrap();
        let said = (record.method.as_str(), record.target.as_str(), record.error.as_str());
        assert_eq!(said, ("subscriptions/listen", "alpha", ""), "its end is no failure");
    }
}

#[test]
fn each_target_is_asked_for_its_share_and_nothing_else_is_passed() {
    let names = ["alpha", "beta", "gamma"];
    let mut world = before(&names).build().modern(&names);
    let filter = r#"{"resourceSubscriptions":["beta+demo://b","alpha+demo://a","alpha+demo://a","nowhere://x","alpha+demo://d/"]}"#;
    let client = world.subscribe(0, "1", filter);
    assert_eq!(world.server("alpha").filters(), [r#"{"resourceSubscriptions":["demo://a","demo://d/"]}"#]);
    assert_eq!(world.server("beta").filters(), [r#"{"resourceSubscriptions":["demo://b"]}"#]);
    assert_eq!(world.server("gamma").methods(), [] as [&str; 0]);
    world.say_on_listen("alpha", TOOLS);
    for uri in ["demo://b", "demo://ax", "demo://a/sub", "demo://d/e"] {
        world.say_on_listen("alpha", &updated("ID", uri));
    }
    world.say_on_listen("alpha", r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":1}}"#);
    world.say_on_listen("alpha", r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    world.say_on_listen("beta", &updated("ID", "demo://b"));
    world.advance(BURST);
    let expected = [
        acknowledged(
            "1",
            r#"{"resourceSubscriptions":["beta+demo://b","alpha+demo://a","alpha+demo://d/"]}"#,
        ),
        updated("1", "alpha+demo://a/sub"),
        updated("1", "alpha+demo://d/e"),
        updated("1", "beta+demo://b"),
    ];
    assert_eq!(world.heard(client), expected);
}

#[test]
fn what_no_target_has_is_not_acknowledged() {
    let mut world = before(&["alpha", "beta"]).build();
    world.server("alpha").capabilities = json!({"tools": {}});
    world.server("beta").capabilities = json!({"resources": {}});
    let mut world = world.modern(&["alpha", "beta"]);
    world.server("beta").on("subscriptions/listen", |seen| agree_to(seen, "{}"));
    let asked = LISTS.replace("}", r#","resourceSubscriptions":["beta+demo://one"]}"#);
    let client = world.subscribe(0, "1", &asked);
    assert_eq!(
        world.heard(client),
        [acknowledged("1", r#"{"toolsListChanged":true,"resourcesListChanged":true}"#)]
    );
    world.say_on_listen("alpha", &TOOLS.replace("tools", "prompts"));
    world.say_on_listen("beta", UPDATED);
    world.advance(BURST);
    assert_eq!(world.heard(client).len(), 1);
}

#[test]
fn what_is_asked_of_extensions_passes_to_a_single_target() {
    let filter = r#"{"taskIds":["t-1"],"x":{"y":[1]}}"#;
    let task = r#"{"jsonrpc":"2.0","method":"notifications/tasks","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":ID},"taskId":"t-1"}}"#;
    let mut world = before(&["alpha"]).build().modern(&["alpha"]);
    let client = world.subscribe(0, "1", filter);
    world.say_on_listen("alpha", task);
    assert_eq!(world.server("alpha").filters(), [filter]);
    assert_eq!(world.heard(client), [acknowledged("1", filter), task.replace("ID", "1")]);
    let mut world = before(&["alpha", "beta"]).build().modern(&["alpha", "beta"]);
    let client = world.subscribe(0, "1", filter);
    assert_eq!(world.heard(client), [acknowledged("1", "{}")]);
    assert_eq!(world.server("alpha").listens().len(), 0);
}

#[test]
fn several_changes_of_a_list_within_a_moment_are_one() {
    let mut world = before(&["alpha", "beta"]).build().modern(&["alpha", "beta"]);
    let client = world.subscribe(0, "1", LISTS);
    world.say_on_listen("alpha", TOOLS);
    world.advance(49 * MILLISECOND);
    for list in ["tools", "tools", "prompts"] {
        world.say_on_listen("beta", &changed("ID", list));
    }
    assert_eq!(world.heard(client).len(), 1);
    world.advance(MILLISECOND);
    let mut expected = vec![acknowledged("1", LISTS), changed("1", "tools"), changed("1", "prompts")];
    assert_eq!(world.heard(client), expected);
    world.advance(SECOND);
    assert_eq!(world.heard(client), expected);
    world.say_on_listen("beta", TOOLS);
    world.advance(BURST);
    expected.push(changed("1", "tools"));
    assert_eq!(world.heard(client), expected);
}

#[test]
fn a_listen_that_ends_is_opened_again_and_what_may_have_been_missed_is_told() {
    let filter =
        r#"{"toolsListChanged":true,"resourceSubscriptions":["alpha+demo://one","beta+demo://one"]}"#;
    let result = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete"}}}}"#);
    let gone = |id: &str| {
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#)
    };
    let send = |text: String| Step::Send(text.into());
    for way in 0..5 {
        let mut world = before(&["alpha", "beta"]).build().modern(&["alpha", "beta"]);
        let client = world.subscribe(0, "1", filter);
        let (key, id) = world.last_listen("alpha");
        match way {
            0 => world.say(key, [vec![send(event(&result(&id)))], stream_end()].concat()),
            1 => world.say(key, vec![send(event(&result(&id)))]),
            2 => world.say(key, vec![send(event(&gone(&id)))]),
            3 => world.say(key, stream_end()),
            _ => world.say(key, vec![Step::Reset]),
        }
        world.advance(SECOND - MILLISECOND);
        assert_eq!(world.server("alpha").listens().len(), 1, "{way}");
        world.advance(MILLISECOND);
        assert_eq!(world.server("alpha").listens().len(), 2, "{way}");
        assert_ne!(world.last_listen("alpha").1, id);
        world.advance(BURST);
        let expected = [acknowledged("1", filter), changed("1", "tools"), updated("1", "alpha+demo://one")];
        assert_eq!(world.heard(client), expected, "{way}");
        assert_eq!(world.server("beta").listens().len(), 1);
        world.hang_up(client);
        world.assert_nothing_left(&["alpha", "beta"]);
    }
}

#[test]
fn a_target_that_refuses_to_be_listened_to_is_left_alone_and_a_busy_one_is_asked_again() {
    type Answer = fn(&crate::support::server::Seen) -> crate::support::server::Reply;
    let answers: [(Answer, usize); 6] = [
        (|seen| json_reply(404, &seen.error(-32601, "no")), 0),
        (|seen| json_reply(200, &seen.error(-32601, "no")), 0),
        (|seen| crate::support::server::stream(&[event(&seen.error(-32602, "no"))]), 0),
        (|seen| json_reply(200, &seen.error(-32603, "later")), 3),
        (|seen| json_reply(200, &seen.response("{}")), 3),
        (|_| reply(503, "", ""), 3),
    ];
    for (number, (answer, again)) in answers.into_iter().enumerate() {
        let mut world = before(&["alpha"]).build().modern(&["alpha"]);
        world.server("alpha").on("subscriptions/listen", answer);
        let client =
            world.subscribe(0, "1", r#"{"toolsListChanged":true,"resourceSubscriptions":["demo://one"]}"#);
        // New routes change the list, whatever the target says; a resource is the target's alone.
        let refused = r#"{"toolsListChanged":true}"#;
        let hoped = r#"{"toolsListChanged":true,"resourceSubscriptions":["demo://one"]}"#;
        let expected = acknowledged("1", if again == 0 { refused } else { hoped });
        assert_eq!(world.heard(client), [expected], "{number}");
        // After one, two and four seconds.
        world.advance(7 * SECOND);
        assert_eq!(world.server("alpha").listens().len(), 1 + again, "{number}");
    }
}

// --- when it is acknowledged ---

#[test]
fn a_target_that_is_known_delays_the_acknowledgement_for_a_quarter_of_a_second() {
    let mut world = before(&["alpha", "beta"]).build().modern(&["alpha", "beta"]);
    let first = world.subscribe(0, "1", LISTS);
    world.hang_up(first);
    world.server("beta").delay = SECOND;
    let filter = r#"{"toolsListChanged":true,"resourceSubscriptions":["beta+demo://one"]}"#;
    let client = world.subscribe(0, "1", filter);
    world.say_on_listen("alpha", TOOLS);
    world.advance(249 * MILLISECOND);
    assert_eq!(world.heard(client), [] as [String; 0], "nothing comes before the acknowledgement");
    world.advance(MILLISECOND);
    let mut expected = vec![acknowledged("1", filter)];
    assert_eq!(world.heard(client), expected);
    world.advance(BURST);
    expected.push(TOOLS.replace('}', r#","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#));
    assert_eq!(world.heard(client), expected);
    // What was promised without knowing is made good.
    world.advance(SECOND);
    expected.extend([changed("1", "tools"), updated("1", "beta+demo://one")]);
    assert_eq!(world.heard(client), expected);
}

#[test]
fn a_target_that_was_never_met_is_waited_for_as_initialize_waits_and_only_once() {
    let mut world = before(&["alpha", "beta"]).build().modern(&["alpha"]);
    world.server("beta").delay = 60 * SECOND;
    let client =
        world.subscribe(0, "1", r#"{"resourceSubscriptions":["alpha+demo://one","beta+demo://one"]}"#);
    world.say_on_listen("alpha", UPDATED);
    world.say_on_listen("alpha", UPDATED);
    world.advance(3 * SECOND - MILLISECOND);
    assert_eq!(world.heard(client), [] as [String; 0]);
    world.advance(MILLISECOND);
    let ack = acknowledged("1", r#"{"resourceSubscriptions":["alpha+demo://one","beta+demo://one"]}"#);
    assert_eq!(world.heard(client), std::slice::from_ref(&ack));
    world.advance(BURST);
    assert_eq!(world.heard(client), [ack, updated("1", "alpha+demo://one")]);
    let again = world.subscribe(0, "2", r#"{"resourceSubscriptions":["beta+demo://one"]}"#);
    world.advance(250 * MILLISECOND);
    assert_eq!(world.heard(again).len(), 1);
    // One that can't be reached is not waited for at all.
    world.server("beta").delay = Duration::ZERO;
    world.server("beta").refuses = Some(Some(Fault::Refused));
    world.kill("beta");
    world.advance(30 * SECOND);
    let now = world.subscribe(0, "3", r#"{"resourceSubscriptions":["beta+demo://one"]}"#);
    assert_eq!(world.heard(now).len(), 1);
}

#[test]
fn a_listen_of_nothing_is_acknowledged_and_stays_open() {
    let mut world = before(&["alpha"]).build();
    let client = world.subscribe(0, "1", "{}");
    assert_eq!(world.heard(client), [acknowledged("1", "{}")]);
    world.advance(46 * SECOND);
    assert!(world.clients[client].answer().text().ends_with(":\n\n:\n\n:\n\n"));
    assert_eq!(world.server("alpha").methods(), [] as [&str; 0]);
    world.half_close(client);
    assert_eq!(world.clients[client].end, Some(End::Aborted));
    world.assert_nothing_left(&["alpha"]);
}

#[test]
fn a_request_that_can_not_be_served_is_refused() {
    let ask = |world: &mut World, accept: &str, body: &str| {
        let client = world.connect(0);
        let text = String::from_utf8(post(LISTEN_FIELDS, body)).unwrap();
        world.send(client, text.replace("application/json, text/event-stream", accept).as_bytes());
        let answer = world.clients[client].answer();
        (answer.status, answer.code())
    };
    let mut world = before(&["alpha"]).config(|config| config.limits.sessions = 1).build();
    let both = "application/json, text/event-stream";
    assert_eq!(ask(&mut world, "application/json", &listen("1", "{}")), (406, Some(-32600)));
    for filter in ["[]", "null", r#"{"toolsListChanged":1}"#, r#"{"resourceSubscriptions":"x"}"#] {
        assert_eq!(ask(&mut world, both, &listen("1", filter)), (400, Some(-32602)), "{filter}");
    }
    let absent = listen("1", "{}").replace(r#","notifications":{}"#, "");
    assert_eq!(ask(&mut world, both, &absent), (400, Some(-32602)));
    let client = world.subscribe(0, "1", "{}");
    assert_eq!(ask(&mut world, both, &listen("1", "{}")), (503, Some(-32603)));
    world.hang_up(client);
    world.assert_nothing_left(&["alpha"]);
}

#[test]
fn resources_beyond_the_limit_are_not_acknowledged() {
    let filter = |uris: &[&str]| json!({ "resourceSubscriptions": uris }).to_string();
    let asked = filter(&["demo://1", "demo://2", "demo://3"]);
    let by_number = |config: &mut mcp_proto::Config| config.limits.names = 2;
    let by_size = |config: &mut mcp_proto::Config| config.limits.session = 17;
    for change in [by_number as fn(&mut mcp_proto::Config), by_size] {
        let mut world = before(&["alpha"]).config(change).build().modern(&["alpha"]);
        let client = world.subscribe(0, "1", &asked);
        assert_eq!(world.heard(client), [acknowledged("1", &filter(&["demo://1", "demo://2"]))]);
    }
}

// --- modern client, legacy targets ---

#[test]
fn a_legacy_target_is_heard_on_its_stream_and_told_of_each_resource() {
    let mut world = before(&["alpha"]).build();
    world.server("alpha").on("resources/subscribe", |seen| match seen.json()["params"]["uri"].as_str() {
        Some("demo://none") => json_reply(200, &seen.error(-32002, "no such resource")),
        _ => seen.result("{}"),
    });
    let filter =
        r#"{"toolsListChanged":true,"resourceSubscriptions":["demo://one","demo://none","demo://two"]}"#;
    let client = world.subscribe(0, r#""a""#, filter);
    let expected = ["server/discover", "initialize", "notifications/initialized", "GET"];
    assert_eq!(world.server("alpha").methods(), [&expected[..], &["resources/subscribe"; 3]].concat());
    let opened = world.server("alpha").last("initialize").json();
    assert_eq!(opened["params"]["capabilities"], json!({"x": {}}), "nobody is there to be asked");
    assert_eq!(opened["params"]["clientInfo"], json!({"name": "m", "version": "1"}));
    let told = world.server("alpha").last("resources/subscribe").clone();
    assert_eq!(told.session(), Some("alpha-1"));
    assert_eq!(told.json()["params"], json!({"uri": "demo://two"}));
    world.say_on_stream("alpha", r#"{"jsonrpc":"2.0","id":5,"method":"roots/list"}"#);
    assert_eq!(world.server("alpha").seen.last().unwrap().json()["error"]["code"], -32601);
    world.say_on_stream("alpha", r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":1}}"#);
    world.say_on_stream("alpha", &UPDATED.replace("one", "other"));
    world.say_on_stream("alpha", UPDATED);
    world.say_on_stream("alpha", TOOLS);
    world.say_on_stream("alpha", &TOOLS.replace("tools", "prompts"));
    world.advance(BURST);
    let id = r#""a""#;
    let honoured = filter.replace(r#""demo://none","#, "");
    let first = [acknowledged(id, &honoured), notice_of(UPDATED, id), changed(id, "tools")];
    assert_eq!(world.heard(client), first);
    world.hang_up(client);
    assert_eq!(world.server("alpha").last("DELETE").session(), Some("alpha-1"));
    world.assert_nothing_left(&["alpha"]);
}

#[test]
fn resources_of_a_legacy_target_that_can_not_tell_are_not_acknowledged() {
    let filter = r#"{"resourceSubscriptions":["demo://one"]}"#;
    for way in 0..2 {
        let mut world = before(&["alpha"]).build();
        match way {
            0 => world.server("alpha").streams = false,
            _ => world.server("alpha").capabilities = json!({"resources": {"subscribe": false}}),
        }
        let client = world.subscribe(0, "1", filter);
        assert_eq!(world.heard(client), [acknowledged("1", "{}")], "{way}");
        assert_eq!(world.server("alpha").count("resources/subscribe"), 0);
    }
}

#[test]
fn a_legacy_target_that_lost_its_session_is_told_again_and_one_that_resumes_is_not() {
    let filter = r#"{"toolsListChanged":true,"resourceSubscriptions":["demo://one"]}"#;
    let ack = acknowledged("1", filter);
    let mut world = before(&["alpha"]).build();
    let client = world.subscribe(0, "1", filter);
    let key = world.server("alpha").stream().unwrap();
    world.say(key, [vec![Step::Send(event_with("e-1", UPDATED).into())], stream_end()].concat());
    world.advance(SECOND + BURST);
    assert_eq!(world.server("alpha").last("GET").field("last-event-id"), Some("e-1"));
    assert_eq!(world.server("alpha").count("resources/subscribe"), 1);
    let mut expected = vec![ack, notice_of(UPDATED, "1")];
    assert_eq!(world.heard(client), expected, "nothing was missed, and there are no event ids");
    assert!(world.clients[client].answer().events().iter().all(|event| event.id.is_none()));
    world.server("alpha").sessions.clear();
    let key = world.server("alpha").stream().unwrap();
    world.say(key, stream_end());
    world.advance(SECOND + BURST);
    assert_eq!(world.server("alpha").count("resources/subscribe"), 2);
    assert_eq!(world.server("alpha").last("resources/subscribe").session(), Some("alpha-2"));
    expected.extend([changed("1", "tools"), updated("1", "demo://one")]);
    assert_eq!(world.heard(client), expected);
    world.hang_up(client);
    world.assert_nothing_left(&["alpha"]);
}

#[test]
fn a_session_that_is_lost_again_while_its_stream_is_opened_is_no_refusal() {
    let mut world = before(&["alpha"]).build();
    let client = world.subscribe(0, "1", r#"{"resourceSubscriptions":["demo://one"]}"#);
    world.advance(20 * SECOND);
    let mut asked = 0;
    world.server("alpha").on("GET", move |_| {
        asked += 1;
        if asked <= 3 { reply(404, "", "") } else { open_stream(&[]) }
    });
    world.kill("alpha");
    // With a new session, again when it is known to be legacy still, and after another pause.
    world.advance(SECOND);
    assert_eq!(world.server("alpha").count("GET"), 4);
    world.advance(2 * SECOND + BURST);
    assert_eq!(world.server("alpha").count("GET"), 5);
    assert_eq!(world.heard(client)[1..], [updated("1", "demo://one")]);
}

#[test]
fn a_subscribe_that_breaks_off_is_repeated_with_the_stream() {
    let mut world = before(&["alpha"]).build();
    let mut asked = 0;
    world.server("alpha").on("resources/subscribe", move |seen| {
        asked += 1;
        match asked {
            1 => vec![Step::Reset],
            2 => reply(503, "", ""),
            _ => seen.result("{}"),
        }
    });
    let filter = r#"{"resourceSubscriptions":["demo://one"]}"#;
    let client = world.subscribe(0, "1", filter);
    assert_eq!(world.heard(client), [acknowledged("1", filter)]);
    // After one and two seconds.
    world.advance(3 * SECOND + BURST);
    assert_eq!(world.heard(client), [acknowledged("1", filter), updated("1", "demo://one")]);
    assert_eq!(
        (world.server("alpha").count("GET"), world.server("alpha").count("resources/subscribe")),
        (3, 3)
    );
}

// --- the gateway's own part ---

#[test]
fn both_eras_are_heard_at_once_and_new_routes_are_told_and_followed() {
    let mut world = before(&["alpha", "beta"]).build().modern(&["alpha"]);
    let filter =
        r#"{"toolsListChanged":true,"resourceSubscriptions":["alpha+demo://one","beta+demo://one"]}"#;
    let client = world.subscribe(0, "1", filter);
    world.say_on_stream("beta", UPDATED);
    world.say_on_listen("alpha", &updated("ID", "demo://one"));
    let mut expected = vec![
        acknowledged("1", filter),
        notice_of(UPDATED, "1").replace("demo:", "beta+demo:"),
        updated("1", "alpha+demo://one"),
    ];
    assert_eq!(world.heard(client), expected);
    // A target more: its lists are news.
    world.add_server("gamma", 2);
    world.server("gamma").modern();
    world.reroute(routes(&[("alpha", 0), ("beta", 1), ("gamma", 2)]));
    assert_eq!(world.server("gamma").filters(), [r#"{"toolsListChanged":true}"#]);
    world.advance(BURST);
    expected.push(changed("1", "tools"));
    assert_eq!(world.heard(client), expected);
    // Targets less: they are heard no more, and the other is called as the client called it.
    world.reroute(routes(&[("alpha", 0)]));
    assert!(world.connections("gamma").into_iter().all(|key| !world.server("gamma").is_busy(key)));
    assert_eq!(world.server("beta").stream(), None);
    world.say_on_listen("alpha", &updated("ID", "demo://one"));
    world.advance(BURST);
    expected.extend([updated("1", "alpha+demo://one"), changed("1", "tools")]);
    assert_eq!(world.heard(client), expected);
    // The same again is no news.
    world.reroute(routes(&[("alpha", 0)]));
    world.advance(SECOND);
    assert_eq!(world.heard(client), expected);
    assert_eq!(world.server("alpha").listens().len(), 1);
    world.hang_up(client);
    world.assert_nothing_left(&["alpha", "beta", "gamma"]);
}

#[test]
fn draining_answers_the_request_that_a_listen_is() {
    let mut world = before(&["alpha", "beta"]).build().modern(&["alpha"]);
    let client = world.subscribe(0, r#""x""#, r#"{"toolsListChanged":true}"#);
    world.say_on_listen("alpha", TOOLS);
    world.server("beta").delay = 10 * SECOND;
    let late = world.subscribe(0, "2", r#"{"promptsListChanged":true}"#);
    world.drain(60 * SECOND);
    let result = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
        )
    };
    let heard = world.heard(client);
    assert_eq!(heard[0], acknowledged(r#""x""#, r#"{"toolsListChanged":true}"#));
    assert!(heard[1].contains("tools/list_changed"), "what was gathered is told before");
    assert_eq!((heard.len(), &heard[2]), (3, &result(r#""x""#)));
    assert_eq!(world.heard(late), [acknowledged("2", r#"{"promptsListChanged":true}"#), result("2")]);
    for client in [client, late] {
        assert!(world.clients[client].answer().complete);
        assert_eq!(world.clients[client].end, Some(End::Finished));
    }
    assert!(world.shards[0].is_drained());
    world.advance(30 * SECOND);
    world.assert_nothing_left(&["alpha", "beta"]);
}

#[test]
fn a_client_that_does_not_read_is_told_later() {
    let mut world = before(&["alpha", "beta"]).build().modern(&["alpha", "beta"]);
    let filter = r#"{"toolsListChanged":true,"resourceSubscriptions":["alpha+demo://one"]}"#;
    let client = world.subscribe(0, "1", filter);
    world.take(client, 0);
    world.clients[client].window = 0;
    let long = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"demo://one","x":"{}"}}}}"#,
        "y".repeat(40 << 10)
    );
    for _ in 0..2 {
        world.say_on_listen("alpha", &long);
    }
    let (key, _) = world.last_listen("alpha");
    assert!(world.is_paused(key), "who feeds it waits");
    for _ in 0..100 {
        world.say_on_listen("alpha", &long);
    }
    world.say_on_listen("beta", TOOLS);
    world.reroute(routes(&[("alpha", 0), ("beta", 1)]));
    world.advance(10 * SECOND);
    world.take(client, usize::MAX);
    world.advance(SECOND);
    let heard = world.heard(client);
    assert_eq!(heard.iter().filter(|message| message.contains("yyy")).count(), 102);
    assert_eq!(heard.iter().filter(|message| message.contains("tools/list_changed")).count(), 1);
    assert!(!world.is_paused(key));
}

#[test]
fn a_stream_follows_its_target_from_one_era_to_the_other_and_back() {
    let mut world = before(&["alpha"]).build().modern(&["alpha"]);
    let filter = r#"{"toolsListChanged":true,"resourceSubscriptions":["demo://one"]}"#;
    let client = world.subscribe(0, "1", filter);
    // It comes back with the software of last year.
    world.advance(20 * SECOND);
    world.server("alpha").script = None;
    world.server("alpha").keeps_sessions = true;
    world.kill("alpha");
    world.advance(SECOND + BURST);
    assert_eq!(world.server("alpha").last("GET").session(), Some("alpha-1"));
    let mut expected = vec![acknowledged("1", filter), changed("1", "tools"), updated("1", "demo://one")];
    assert_eq!(world.heard(client), expected);
    world.say_on_stream("alpha", UPDATED);
    expected.push(notice_of(UPDATED, "1"));
    // And then with that of this year.
    world.advance(20 * SECOND);
    world.server("alpha").sessions.clear();
    world.server("alpha").modern();
    world.kill("alpha");
    world.advance(20 * SECOND);
    assert_eq!(world.server("alpha").listens().len(), 3, "{:?}", world.server("alpha").methods());
    let last = world.server("alpha").last("subscriptions/listen").clone();
    assert_eq!(last.session(), None);
    expected.extend([changed("1", "tools"), updated("1", "demo://one")]);
    assert_eq!(world.heard(client), expected);
    world.say_on_listen("alpha", &updated("ID", "demo://one"));
    expected.push(updated("1", "demo://one"));
    assert_eq!(world.heard(client), expected);
    world.hang_up(client);
    world.assert_nothing_left(&["alpha"]);
}

#[test]
fn a_target_that_offered_no_stream_is_heard_as_soon_as_it_is_known_to_be_modern() {
    let mut world = before(&["alpha"]).build();
    world.server("alpha").streams = false;
    let filter = r#"{"toolsListChanged":true}"#;
    let client = world.subscribe(0, "1", filter);
    world.server("alpha").modern();
    // Its verdict is looked into with the next request when it has grown old.
    world.advance(300 * SECOND);
    assert_eq!(world.server("alpha").listens().len(), 0);
    let other = world.subscribe(0, "2", filter);
    world.advance(SECOND + BURST);
    assert_eq!(world.server("alpha").listens().len(), 2);
    assert_eq!(world.heard(client), [acknowledged("1", filter), changed("1", "tools")]);
    assert_eq!(world.heard(other)[0], acknowledged("2", filter));
}

#[test]
fn each_client_hears_under_its_own_id_and_a_connection_serves_again_after_a_refusal() {
    let mut world = before(&["alpha"]).shards(2).build().modern(&["alpha"]);
    let one = world.subscribe(0, "1", r#"{"toolsListChanged":true}"#);
    let two = world.subscribe(1, r#""1""#, r#"{"toolsListChanged":true}"#);
    for key in world.server("alpha").listens().iter().map(|seen| seen.key).collect::<Vec<_>>() {
        world.say(key, vec![Step::Send(event(TOOLS).into())]);
    }
    world.advance(BURST);
    assert_eq!(world.messages(one)[1]["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 1);
    assert_eq!(world.messages(two)[1]["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "1");
    assert_eq!((world.heard(one).len(), world.heard(two).len()), (2, 2));
    world.hang_up(one);
    world.hang_up(two);
    world.assert_nothing_left(&["alpha"]);
}
