//! A legacy client's stream in front of modern targets.

use crate::support::client::{EVERYTHING, request};
use crate::support::listening::{TOOLS, UPDATED, acknowledged, agree, before, changed, updated};
use crate::support::server::{event, json_reply, stream_end, stream_head};
use crate::support::{Key, Step, World};
use serde_json::json;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
/// So long the answer to a subscription waits at most.
const SETTLE: Duration = Duration::from_millis(250);

const ALL: &str = r#"{"promptsListChanged":true,"resourcesListChanged":true,"toolsListChanged":true}"#;

fn all_and(uris: &[&str]) -> String {
    ALL.replace('}', &format!(r#","resourceSubscriptions":{}}}"#, json!(uris)))
}

fn sorted(filter: &str) -> serde_json::Value {
    serde_json::from_str(filter).unwrap()
}

fn filters(world: &mut World, name: &str) -> Vec<serde_json::Value> {
    world.server(name).filters().iter().map(|filter| sorted(filter)).collect()
}

/// A target agrees to a listen.
fn agree_on(world: &mut World, (key, id): &(Key, String)) {
    let agreed = event(&acknowledged(id, "{}"));
    world.say(*key, vec![Step::Send(format!("{}{agreed}", stream_head()).into())]);
}

/// A target of 2026-07-28 that agrees to nothing any more, before a legacy client with its stream on a shard.
fn listening_on(shards: u16, shard: usize) -> (World, String, usize) {
    let mut world = before(&["alpha"]).shards(shards).build().modern(&["alpha"]);
    let (_, session) = world.begin();
    let stream = world.listen(shard, &session);
    world.server("alpha").on("subscriptions/listen", |_| Vec::new());
    (world, session, stream)
}

fn subscribe(uri: &str) -> String {
    request("resources/subscribe", &format!(r#"{{"uri":"{uri}"}}"#))
}

#[test]
fn a_legacy_clients_stream_listens_at_a_modern_target() {
    let mut world = before(&["alpha", "beta"]).build().modern(&["alpha"]);
    let (client, session) = world.begin();
    world.ask(client, &session, &subscribe("alpha+demo://one"));
    let stream = world.listen(0, &session);
    let seen = world.server("alpha").last("subscriptions/listen").clone();
    assert_eq!(filters(&mut world, "alpha"), [sorted(&all_and(&["demo://one"]))]);
    assert_eq!(seen.field("mcp-method"), Some("subscriptions/listen"));
    let meta = seen.json()["params"]["_meta"].clone();
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"], json!({"name": "test", "version": "1"}));
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], sorted(EVERYTHING));
    world.say_on_listen("alpha", &updated("ID", "demo://one"));
    world.say_on_listen("alpha", &changed("ID", "tools"));
    let more = r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed","params":{"_meta":{"a":1.0,"io.modelcontextprotocol/subscriptionId":ID}}}"#;
    world.say_on_listen("alpha", more);
    world.say_on_stream("beta", UPDATED);
    let expected = [
        UPDATED.replace("demo:", "alpha+demo:"),
        TOOLS.replace('}', r#","params":{}}"#),
        r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed","params":{"_meta":{"a":1.0}}}"#
            .to_owned(),
        UPDATED.replace("demo:", "beta+demo:"),
    ];
    assert_eq!(world.heard(stream), expected);
    world.hang_up(stream);
    assert_eq!(world.counters(0).calls.value(), 0);
    assert!(!world.connections("alpha").contains(&seen.key));
}

#[test]
fn a_new_subscription_takes_over_without_a_gap_or_a_duplicate() {
    let mut world = before(&["alpha"]).build().modern(&["alpha"]);
    let (client, session) = world.begin();
    let stream = world.listen(0, &session);
    let (old, old_id) = world.last_listen("alpha");
    world.server("alpha").on("subscriptions/listen", |_| Vec::new());
    world.call_later(0, &session, &subscribe("demo://one"));
    let (new, new_id) = world.last_listen("alpha");
    assert_eq!(filters(&mut world, "alpha"), [sorted(ALL), sorted(&all_and(&["demo://one"]))]);
    assert_ne!((old, &old_id), (new, &new_id));
    // Until the target has agreed, the first is in force. Meanwhile the filter changes twice: asked for together.
    world.say(old, vec![Step::Send(event(&changed(&old_id, "tools")).into())]);
    world.call_later(0, &session, &subscribe("demo://two"));
    world.call_later(0, &session, &subscribe("demo://three"));
    world.call_later(0, &session, &subscribe("demo://three"));
    assert_eq!(world.methods(stream), ["notifications/tools/list_changed"]);
    assert_eq!(world.server("alpha").listens().len(), 2);
    let agreed = |world: &mut World, key: Key, id: &str| {
        let head = stream_head();
        world.say(key, vec![Step::Send(format!("{head}{}", event(&acknowledged(id, "{}"))).into())]);
    };
    agreed(&mut world, new, &new_id);
    assert!(!world.connections("alpha").contains(&old), "the first is closed");
    assert_eq!(
        filters(&mut world, "alpha")[2],
        sorted(&all_and(&["demo://one", "demo://three", "demo://two"]))
    );
    world.say(new, vec![Step::Send(event(&updated(&new_id, "demo://one")).into())]);
    let (last, last_id) = world.last_listen("alpha");
    agreed(&mut world, last, &last_id);
    world.say(last, vec![Step::Send(event(&updated(&last_id, "demo://two")).into())]);
    let off = request("resources/unsubscribe", r#"{"uri":"demo://one"}"#);
    world.ask(client, &session, &off);
    assert_eq!(filters(&mut world, "alpha")[3], sorted(&all_and(&["demo://three", "demo://two"])));
    let uris: Vec<_> = world.messages(stream).iter().map(|it| it["params"]["uri"].clone()).collect();
    assert_eq!(uris, [json!(null), json!("demo://one"), json!("demo://two")]);
    world.hang_up(stream);
    assert_eq!(world.counters(0).calls.value(), 0);
}

#[test]
fn a_target_that_takes_no_second_listen_is_asked_anew_when_the_first_is_closed() {
    let mut world = before(&["alpha"]).build().modern(&["alpha"]);
    let (client, session) = world.begin();
    let stream = world.listen(0, &session);
    let (old, _) = world.last_listen("alpha");
    world
        .server("alpha")
        .on("subscriptions/listen", |seen| json_reply(200, &seen.error(-32600, "one is enough")));
    world.ask(client, &session, &subscribe("demo://one"));
    assert!(!world.connections("alpha").contains(&old));
    world.server("alpha").on("subscriptions/listen", agree);
    world.advance(SECOND);
    assert_eq!(world.server("alpha").listens().len(), 3);
    let expected = ["tools", "prompts", "resources"].map(|list| format!("notifications/{list}/list_changed"));
    assert_eq!(
        world.methods(stream),
        [&expected[..], &["notifications/resources/updated".to_owned()]].concat()
    );
}

#[test]
fn a_replacement_that_breaks_off_leaves_the_first_in_force() {
    let mut world = before(&["alpha"]).build().modern(&["alpha"]);
    let (client, session) = world.begin();
    let stream = world.listen(0, &session);
    let (old, old_id) = world.last_listen("alpha");
    world.server("alpha").on("subscriptions/listen", |_| vec![Step::Reset]);
    world.ask(client, &session, &subscribe("demo://one"));
    world.say(old, vec![Step::Send(event(&changed(&old_id, "tools")).into())]);
    world.server("alpha").on("subscriptions/listen", agree);
    world.advance(SECOND);
    assert!(!world.connections("alpha").contains(&old));
    assert_eq!(filters(&mut world, "alpha")[2], sorted(&all_and(&["demo://one"])));
    assert_eq!(world.methods(stream), ["notifications/tools/list_changed"]);
    // And when the first ends while the second is asked for, the second counts, with what was missed in between.
    world.server("alpha").on("subscriptions/listen", |_| Vec::new());
    let (old, _) = world.last_listen("alpha");
    world.ask(client, &session, &subscribe("demo://two"));
    world.say(old, stream_end());
    let (new, new_id) = world.last_listen("alpha");
    let head = stream_head();
    world.say(new, vec![Step::Send(format!("{head}{}", event(&acknowledged(&new_id, "{}"))).into())]);
    assert_eq!(world.messages(stream).len(), 1 + 3 + 2);
    assert_eq!(world.server("alpha").listens().len(), 4);
    world.advance(60 * SECOND);
    assert_eq!(world.server("alpha").listens().len(), 4);
}

#[test]
fn subscriptions_made_on_other_shards_reach_the_shard_that_listens() {
    let mut world = before(&["alpha"]).shards(3).build().modern(&["alpha"]);
    let (_, session) = world.begin();
    // The session's home is the first shard; it was told there, its stream is on the second.
    world.ask_on(0, &session, &subscribe("demo://one"));
    world.ask_on(2, &session, &subscribe("demo://two"));
    let stream = world.listen(1, &session);
    assert_eq!(filters(&mut world, "alpha").pop(), Some(sorted(&all_and(&["demo://one", "demo://two"]))));
    world.ask_on(2, &session, &subscribe("demo://three"));
    let three = all_and(&["demo://one", "demo://three", "demo://two"]);
    assert_eq!(filters(&mut world, "alpha").pop(), Some(sorted(&three)));
    world.ask_on(0, &session, &request("resources/unsubscribe", r#"{"uri":"demo://two"}"#));
    assert_eq!(filters(&mut world, "alpha").pop(), Some(sorted(&all_and(&["demo://one", "demo://three"]))));
    world.ask_on(1, &session, &subscribe("demo://four"));
    let four = all_and(&["demo://four", "demo://one", "demo://three"]);
    assert_eq!(filters(&mut world, "alpha").pop(), Some(sorted(&four)));
    world.say_on_listen("alpha", &updated("ID", "demo://three"));
    assert_eq!(world.methods(stream), ["notifications/resources/updated"]);
    assert_eq!(world.counters(1).calls.value(), 1, "one listen is left");
    world.hang_up(stream);
    assert_eq!((0..3).map(|shard| world.counters(shard).calls.value()).sum::<u64>(), 0);
}

#[test]
fn a_legacy_clients_stream_follows_its_target_from_one_era_to_the_other_and_back() {
    let mut world = before(&["alpha"]).build();
    let (client, session) = world.begin();
    world.ask(client, &session, &subscribe("demo://one"));
    let stream = world.listen(0, &session);
    world.say_on_stream("alpha", UPDATED);
    let mut expected = vec!["resources/updated"];
    let methods = |world: &World, expected: &[&str]| {
        let expected: Vec<_> = expected.iter().map(|method| format!("notifications/{method}")).collect();
        assert_eq!(world.methods(stream), expected);
    };
    methods(&world, &expected);
    world.advance(20 * SECOND);
    world.server("alpha").sessions.clear();
    world.server("alpha").modern();
    world.kill("alpha");
    world.advance(20 * SECOND);
    assert_eq!(filters(&mut world, "alpha").pop(), Some(sorted(&all_and(&["demo://one"]))));
    expected.extend(["tools/list_changed", "prompts/list_changed", "resources/list_changed"]);
    expected.push("resources/updated");
    methods(&world, &expected);
    world.server("alpha").script = None;
    world.server("alpha").keeps_sessions = true;
    world.kill("alpha");
    world.advance(20 * SECOND);
    assert_eq!(world.server("alpha").last("GET").session(), Some("alpha-2"));
    let told = world.server("alpha").last("resources/subscribe");
    assert_eq!((told.session(), &told.json()["params"]["uri"]), (Some("alpha-2"), &json!("demo://one")));
    world.say_on_stream("alpha", UPDATED);
    expected.push("resources/updated");
    assert_eq!(world.methods(stream).last().unwrap(), "notifications/resources/updated");
}

#[test]
fn a_subscription_is_answered_when_its_clients_stream_hears_it() {
    // The session's home is the first shard.
    for (shards, asker, listener) in
        [(1, 0, 0), (3, 0, 0), (3, 0, 1), (3, 1, 0), (3, 1, 1), (3, 1, 2), (3, 2, 1)]
    {
        let (mut world, session, stream) = listening_on(shards, listener);
        let one = world.call_later(asker, &session, &subscribe("demo://one"));
        let listen = world.last_listen("alpha");
        assert_eq!(world.server("alpha").listens().len(), 2);
        // Asked for with the next listen, since this one is under way; so is what is subscribed to already.
        let later =
            ["demo://two", "demo://one"].map(|uri| world.call_later(asker, &session, &subscribe(uri)));
        let answered = |world: &World| [one, later[0], later[1]].map(|client| world.is_answered(client, 0));
        assert_eq!(answered(&world), [false; 3], "{asker} {listener}");
        agree_on(&mut world, &listen);
        assert_eq!(answered(&world), [false; 3], "{asker} {listener}");
        let listen = world.last_listen("alpha");
        agree_on(&mut world, &listen);
        assert_eq!(answered(&world), [true; 3], "{asker} {listener}");
        assert_eq!(world.clients[one].answer().text(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        world.say_on_listen("alpha", &updated("ID", "demo://one"));
        assert_eq!(world.heard(stream), [UPDATED]);
        // It is in force now.
        assert!(world.ask_on(asker, &session, &subscribe("demo://two")).complete);
        assert_eq!(world.server("alpha").listens().len(), 3);
    }
}

#[test]
fn a_subscription_is_answered_in_time_whatever_its_target_does() {
    for (asker, listener, breaks) in [(0, 0, false), (1, 0, true), (0, 1, false), (1, 2, true)] {
        let (mut world, session, stream) = listening_on(3, listener);
        if breaks {
            world.server("alpha").on("subscriptions/listen", |_| vec![Step::Reset]);
        }
        let client = world.call_later(asker, &session, &subscribe("demo://one"));
        world.advance(SETTLE - MILLISECOND);
        assert!(!world.is_answered(client, 0), "{asker} {listener}");
        world.advance(MILLISECOND);
        assert_eq!(world.clients[client].answer().text(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        world.server("alpha").on("subscriptions/listen", |_| Vec::new());
        world.advance(SECOND);
        // What is too late for the answer is nobody's.
        let listen = world.last_listen("alpha");
        agree_on(&mut world, &listen);
        assert_eq!(world.clients[client].answers().len(), 1);
        world.say_on_listen("alpha", &updated("ID", "demo://one"));
        assert_eq!(world.heard(stream), [UPDATED]);
    }
}

#[test]
fn a_subscription_that_no_stream_will_hear_is_answered_at_once() {
    let refuse = |world: &mut World| {
        world.server("alpha").on("subscriptions/listen", |seen| json_reply(200, &seen.error(-32600, "no")));
    };
    for shard in 0..3 {
        let mut world = before(&["alpha"]).shards(3).build().modern(&["alpha"]);
        let (_, session) = world.begin();
        assert!(world.ask_on(shard, &session, &subscribe("demo://one")).complete, "there is none");
        let stream = world.listen(1, &session);
        world.hang_up(stream);
        assert!(world.ask_on(shard, &session, &subscribe("demo://two")).complete, "it has gone");
        refuse(&mut world);
        world.listen(2, &session);
        assert!(world.ask_on(shard, &session, &subscribe("demo://three")).complete, "its target offers none");
        // And where that shows only later.
        let (mut world, session, stream) = listening_on(3, 2);
        let clients =
            ["demo://one", "demo://two"].map(|uri| world.call_later(shard, &session, &subscribe(uri)));
        let answered = |world: &World| clients.map(|client| world.is_answered(client, 0));
        assert_eq!(answered(&world), [false; 2]);
        let (key, _) = world.last_listen("alpha");
        let seen = world.server("alpha").last("subscriptions/listen").clone();
        match shard {
            0 => world.hang_up(stream),
            1 => world.say(key, json_reply(200, &seen.error(-32600, "one is enough"))),
            _ => world.reroute(routing::Routes::new(Vec::new()).unwrap()),
        }
        assert_eq!(answered(&world), [true; 2], "{shard}");
    }
    // So it is where the first listen is still on its way.
    for agrees in [true, false] {
        let mut world = before(&["alpha"]).shards(3).build().modern(&["alpha"]);
        world.server("alpha").on("subscriptions/listen", |_| Vec::new());
        let (_, session) = world.begin();
        world.ask_on(1, &session, &subscribe("demo://one"));
        world.listen(2, &session);
        let client = world.call_later(1, &session, &subscribe("demo://one"));
        assert!(!world.is_answered(client, 0));
        let listen = world.last_listen("alpha");
        let seen = world.server("alpha").last("subscriptions/listen").clone();
        // This one was asked before its shard knew what the client had subscribed to.
        world.server("alpha").on("subscriptions/listen", agree);
        match agrees {
            true => agree_on(&mut world, &listen),
            false => world.say(listen.0, json_reply(200, &seen.error(-32600, "no"))),
        }
        assert!(world.is_answered(client, 0), "{agrees}");
    }
}

#[test]
fn a_client_that_goes_while_it_waits_for_its_subscription_leaves_nothing() {
    for (asker, listener) in [(0, 0), (1, 0), (0, 1), (1, 2)] {
        let (mut world, session, stream) = listening_on(3, listener);
        let client = world.call_later(asker, &session, &subscribe("demo://one"));
        let calls = |world: &World| (0..3).map(|shard| world.counters(shard).calls.value()).sum::<u64>();
        assert_eq!(calls(&world), 3, "two listens, and a subscription");
        let cancelled = world.call_later(asker, &session, &subscribe("demo://two").replace(":1,", ":2,"));
        let notice = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#;
        assert_eq!(world.ask_on(asker, &session, notice).status, 202);
        assert_eq!(calls(&world), 3, "one more was cancelled");
        assert!(world.clients[cancelled].answer().complete);
        world.hang_up(client);
        assert_eq!(calls(&world), 2);
        let listen = world.last_listen("alpha");
        agree_on(&mut world, &listen);
        world.hang_up(stream);
        assert_eq!(world.delete(0, &session).status, 200);
        (0..world.clients.len()).for_each(|client| world.hang_up(client));
        world.advance(3600 * SECOND);
        world.assert_empty();
    }
}

#[test]
fn what_has_waited_in_vain_for_a_stream_is_forgotten() {
    let (mut world, session, _) = listening_on(2, 1);
    for _ in 0..9 {
        let clients = [0, 1].map(|shard| world.call_later(shard, &session, &subscribe("demo://one")));
        let waiting = |what: &&(&str, usize)| what.0 == "answers that wait for streams";
        assert_eq!(world.shards[1].census().iter().find(waiting).unwrap().1, 2);
        world.advance(SETTLE);
        assert!(clients.iter().all(|client| world.is_answered(*client, 0)));
    }
}
