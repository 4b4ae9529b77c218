//! Subscriptions at targets that answer on one stream: child processes, and HTTP+SSE.

use crate::support::client::request;
use crate::support::listening::{TOOLS, UPDATED, acknowledged, changed, notice_of, updated};
use crate::support::{Setup, Step, World};
use routing::Protocol;
use serde_json::json;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const BURST: Duration = Duration::from_millis(50);
const FILTER: &str = r#"{"toolsListChanged":true,"resourceSubscriptions":["demo://one"]}"#;

/// What a target says on its one stream, or the last of them.
fn say(world: &mut World, message: &str) {
    let step = world.server("alpha").said(message);
    let key = match world.server("alpha").stream() {
        Some(stream) => stream,
        None => *world.connections("alpha").last().unwrap(),
    };
    world.say(key, vec![step]);
}

/// Makes a process one of 2026-07-28, of which each listens until it is told otherwise.
fn modern_process(world: &mut World) {
    let server = world.server("alpha");
    let line = |text: String| vec![Step::Send(format!("{text}\n").into())];
    server.on("server/discover", move |seen| {
        line(seen.response(r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"resources":{"subscribe":true}}}"#))
    });
    server.on("subscriptions/listen", move |seen| {
        let filter = seen.json()["params"]["notifications"].to_string();
        line(acknowledged(seen.id.as_deref().unwrap(), &filter))
    });
}

#[test]
fn a_channel_takes_the_place_of_a_legacy_targets_stream() {
    let process = || Setup::new(&["alpha"]).process("alpha").build();
    let sse = || Setup::new(&["alpha"]).sse("alpha").build();
    for make in [process as fn() -> World, sse] {
        let mut world = make();
        let client = world.subscribe(0, "1", FILTER);
        let told = ["initialize", "notifications/initialized", "resources/subscribe"];
        let methods = |world: &mut World| {
            let methods = world.server("alpha").methods().into_iter().filter(|method| *method != "GET");
            methods.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(methods(&mut world), told);
        say(&mut world, UPDATED);
        say(&mut world, TOOLS);
        say(&mut world, &UPDATED.replace("one", "two"));
        world.advance(BURST);
        let mut expected = vec![acknowledged("1", FILTER), notice_of(UPDATED, "1"), changed_as(TOOLS, "1")];
        assert_eq!(world.heard(client), expected);
        // It is opened again when it ends, and told again.
        world.kill("alpha");
        world.advance(SECOND + BURST);
        assert_eq!(methods(&mut world), [told, told].concat());
        expected.extend([changed("1", "tools"), updated("1", "demo://one")]);
        assert_eq!(world.heard(client), expected);
        say(&mut world, UPDATED);
        expected.push(notice_of(UPDATED, "1"));
        world.advance(600 * SECOND);
        assert_eq!(world.heard(client), expected);
        world.hang_up(client);
        world.assert_clean();
    }
}

/// A notice without params, as one of a subscription.
fn changed_as(message: &str, id: &str) -> String {
    let tag = format!(r#","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#);
    message.replace('}', &tag)
}

#[test]
fn sessions_that_share_a_legacy_process_hear_what_they_asked_for() {
    let mut world = Setup::new(&["alpha"]).shards(2).shared("alpha").build();
    let one = world.subscribe(0, "1", FILTER);
    let two = world.subscribe(1, "2", &FILTER.replace("one", "two"));
    let told = r#"{"jsonrpc":"2.0","id":2,"method":"resources/subscribe","params":{"uri":"demo://two"}}"#;
    let told: serde_json::Value = serde_json::from_str(told).unwrap();
    assert_eq!(world.server("alpha").last("resources/subscribe").json()["params"], told["params"]);
    say(&mut world, UPDATED);
    say(&mut world, &UPDATED.replace("one", "two"));
    let first = notice_of(UPDATED, "1");
    let second = notice_of(UPDATED, "2").replace("one", "two");
    assert_eq!(world.heard(one), [acknowledged("1", FILTER), first]);
    assert_eq!(world.heard(two), [acknowledged("2", &FILTER.replace("one", "two")), second]);
    // The process is for those who listen, too.
    let before = world.server("alpha").count("initialize");
    world.kill("alpha");
    world.advance(SECOND + BURST);
    assert_eq!(world.server("alpha").count("initialize"), before + 1);
    assert_eq!(world.heard(one)[2..], [changed("1", "tools"), updated("1", "demo://one")]);
    assert_eq!(world.heard(two)[2..], [changed("2", "tools"), updated("2", "demo://two")]);
    assert_eq!(world.server("alpha").count("resources/subscribe"), 4);
    world.hang_up(one);
    world.hang_up(two);
    world.advance(600 * SECOND);
    world.assert_clean();
}

#[test]
fn listens_at_a_modern_process_share_its_stream_and_are_cancelled_by_number() {
    let setup = Setup::new(&["alpha"]).shards(2).process("alpha");
    let mut world = setup.targets(|target| target.protocol = Protocol::Auto).build();
    modern_process(&mut world);
    let one = world.subscribe(1, r#""x""#, FILTER);
    let two = world.subscribe(0, "2", r#"{"toolsListChanged":true}"#);
    let ids: Vec<_> = world.server("alpha").listens().iter().map(|seen| seen.id.clone().unwrap()).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(world.server("alpha").running(), 1);
    // A listen is silent as long as nothing changes.
    world.advance(3600 * SECOND);
    for (id, list) in [(&ids[0], "tools"), (&ids[1], "tools")] {
        world.print("alpha", &format!("{}\n", changed(id, list)));
    }
    world.print("alpha", &format!("{}\n", updated(&ids[0], "demo://one")));
    world.advance(BURST);
    let x = r#""x""#;
    let mut first = vec![acknowledged(x, FILTER), updated(x, "demo://one"), changed(x, "tools")];
    assert_eq!(world.heard(one), first);
    assert_eq!(world.heard(two), [acknowledged("2", r#"{"toolsListChanged":true}"#), changed("2", "tools")]);
    assert_eq!(world.server("alpha").listens().len(), 2);
    world.hang_up(two);
    let cancelled = world.server("alpha").last("notifications/cancelled").json();
    assert_eq!(cancelled["params"]["requestId"].to_string(), ids[1]);
    world.kill("alpha");
    world.advance(2 * SECOND);
    first.extend([changed(x, "tools"), updated(x, "demo://one")]);
    assert_eq!(world.heard(one), first);
    assert_eq!(world.server("alpha").listens().len(), 3);
    world.hang_up(one);
    world.advance(600 * SECOND);
    world.assert_clean();
}

#[test]
fn a_legacy_clients_stream_listens_at_a_modern_process() {
    let setup = Setup::new(&["alpha"]).shards(2).process("alpha");
    let mut world = setup.targets(|target| target.protocol = Protocol::Auto).build();
    modern_process(&mut world);
    let (client, session) = world.begin();
    let stream = world.listen(1, &session);
    let subscribe = request("resources/subscribe", r#"{"uri":"demo://one"}"#);
    assert_eq!(world.ask(client, &session, &subscribe).text(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    let listens: Vec<_> = world.server("alpha").listens().into_iter().cloned().collect();
    assert_eq!(listens.len(), 2);
    assert_eq!(listens[1].json()["params"]["notifications"]["resourceSubscriptions"], json!(["demo://one"]));
    let cancelled = world.server("alpha").last("notifications/cancelled").json();
    assert_eq!(Some(cancelled["params"]["requestId"].to_string()), listens[0].id);
    world.print("alpha", &format!("{}\n", updated(listens[1].id.as_deref().unwrap(), "demo://one")));
    assert_eq!(world.heard(stream), [UPDATED]);
    world.hang_up(stream);
    world.delete(0, &session);
    world.advance(600 * SECOND);
    world.assert_clean();
}

#[test]
fn a_subscription_is_answered_when_a_modern_process_has_agreed_to_it() {
    for (asker, listener) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        let setup = Setup::new(&["alpha"]).shards(2).process("alpha");
        let mut world = setup.targets(|target| target.protocol = Protocol::Auto).build();
        modern_process(&mut world);
        let (_, session) = world.begin();
        let stream = world.listen(listener, &session);
        world.server("alpha").on("subscriptions/listen", |_| Vec::new());
        let subscribe = request("resources/subscribe", r#"{"uri":"demo://one"}"#);
        let client = world.call_later(asker, &session, &subscribe);
        assert!(!world.is_answered(client, 0), "{asker} {listener}");
        let id = world.server("alpha").last("subscriptions/listen").id.clone().unwrap();
        world.print("alpha", &format!("{}\n", acknowledged(&id, "{}")));
        assert!(world.is_answered(client, 0), "{asker} {listener}");
        world.print("alpha", &format!("{}\n", updated(&id, "demo://one")));
        assert_eq!(world.heard(stream), [UPDATED]);
    }
}
