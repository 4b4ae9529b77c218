//! Sessions and their endpoints: they stay where they were opened, and are opened anew when that is gone.

use crate::support::client::{call, request};
use crate::support::replicas::{plain, replicas};
use crate::support::server::event;
use crate::support::setup::target;
use crate::support::{Setup, Step, World};
use mcp_proto::Fault;
use routing::{Endpoint, Protocol, Target};
use serde_json::json;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const NAMES: [&str; 3] = ["one", "two", "three"];

/// All of them, in any order.
fn all(world: &World, names: &[&str]) -> Vec<Endpoint> {
    names.iter().map(|name| world.endpoint(name)).collect()
}

/// What a server saw that belongs to a session it does not know.
fn strangers(world: &World) -> usize {
    let foreign = |server: &crate::support::Server| {
        let own = format!("{}-", server.name);
        server.seen.iter().filter(|seen| seen.session().is_some_and(|id| !id.starts_with(&own))).count()
    };
    world.servers.iter().map(foreign).sum()
}

#[test]
fn a_session_stays_where_it_is_from_any_shard_and_through_any_snapshot() {
    let mut world = replicas(Setup::new(&["alpha"]).shards(3), &NAMES);
    let (client, session) = world.begin();
    let home = world.opened_at();
    world.add_replica("four");
    for turn in 0..6 {
        let answer = world.ask_on(turn % 3, &session, &call("echo"));
        assert_eq!(answer.tool_text(), format!("{home}:echo"));
        let mut endpoints =
            all(&world, [&["three", "four", "one", "two"], &["one", "two", "three", "four"]][turn % 2]);
        for endpoint in endpoints.iter_mut().filter(|it| **it == world.endpoint(&home)) {
            endpoint.serves = [routing::Serves::Draining, routing::Serves::Ready][turn % 2];
        }
        endpoints.iter_mut().for_each(|endpoint| endpoint.near = endpoint.occupant == turn as u64);
        world.lead_to(endpoints);
    }
    let stream = world.listen(1, &session);
    world.say_on_stream(&home, r#"{"jsonrpc":"2.0","id":7,"method":"roots/list"}"#);
    let asked = world.messages(stream).pop().unwrap();
    world.ask_on(
        2,
        &session,
        &json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}}).to_string(),
    );
    let answered = world.server(&home).seen.iter().filter(|seen| seen.id.as_deref() == Some("7")).count();
    assert_eq!(answered, 1, "the answer to its question");
    assert_eq!(world.ask(client, &session, &request("tools/list", "{}")).status, 200);
    assert_eq!(world.delete(2, &session).status, 200);
    assert!(world.server(&home).sessions.is_empty());
    assert_eq!(world.counts("DELETE").iter().sum::<usize>(), 1);
    assert_eq!(world.opened_at(), home);
    assert_eq!(strangers(&world), 0);
}

#[test]
fn a_session_whose_endpoint_is_gone_is_opened_anew_with_what_it_had() {
    for shard in [0, 1] {
        let mut world = replicas(Setup::new(&["alpha"]).shards(2), &["one"]);
        let (client, session) = world.begin();
        world.ask(client, &session, &request("logging/setLevel", r#"{"level":"error"}"#));
        world.ask(client, &session, &request("resources/subscribe", r#"{"uri":"demo://a"}"#));
        world.add_replica("two");
        world.lead_to(all(&world, &["two"]));
        assert_eq!(world.ask_on(shard, &session, &call("echo")).tool_text(), "two:echo");
        let two = world.server("two");
        let mut told = two.methods();
        told[2..].sort_unstable();
        let restored = ["logging/setLevel", "resources/subscribe", "tools/call"];
        assert_eq!(told, [&["initialize", "notifications/initialized"][..], &restored].concat(), "{shard}");
        assert_eq!(two.last("logging/setLevel").json()["params"], json!({"level": "error"}));
        // From now on it lives there, whoever asks.
        for shard in [0, 1] {
            assert_eq!(world.ask_on(shard, &session, &call("echo")).tool_text(), "two:echo");
        }
        assert_eq!((world.counts("initialize"), strangers(&world)), (vec![1, 1], 0));
    }
}

#[test]
fn who_has_the_address_afterwards_never_sees_the_session() {
    let mut world = plain(&["one"]);
    let (client, session) = world.begin();
    world.take_over("one", "heir");
    world.lead_to(all(&world, &["heir"]));
    assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), "heir:echo");
    assert_eq!(
        world.server("heir").methods(),
        ["initialize", "notifications/initialized", "tools/call"],
        "it was not even asked"
    );
    assert_eq!(strangers(&world), 0);
}

#[test]
fn a_connection_that_was_begun_to_another_occupant_is_not_used() {
    let mut world = plain(&["one"]);
    let (client, session) = world.begin();
    world.kill("one");
    world.server("one").refuses = Some(None);
    world.ask_later(client, &session, &call("echo"));
    world.take_over("one", "heir");
    world.lead_to(all(&world, &["heir"]));
    world.server("heir").refuses = None;
    world.run();
    assert_eq!(world.clients[client].answer().tool_text(), "heir:echo");
    assert_eq!(world.server("heir").count("tools/call"), 1);
    assert_eq!(strangers(&world), 0);
}

#[test]
fn a_session_whose_endpoint_cannot_be_reached_moves_where_that_is_possible() {
    let mut world = replicas(Setup::new(&["alpha"]).shards(2), &NAMES);
    let (client, session) = world.begin();
    let home = world.opened_at();
    world.kill(&home);
    world.server(&home).refuses = Some(Some(Fault::Refused));
    for shard in [1, 0] {
        let text = world.ask_on(shard, &session, &call("echo")).tool_text();
        assert!(text.ends_with(":echo") && text != format!("{home}:echo"), "{text}");
    }
    assert_eq!(world.counts("initialize").iter().sum::<usize>(), 2);
    assert_eq!(world.counts("tools/call").iter().sum::<usize>(), 2);
    // Where it is not, the session is kept for when it is back.
    let last = NAMES.into_iter().find(|name| world.server(name).count("tools/call") > 0).unwrap();
    world.lead_to(all(&world, &[last]));
    world.kill(last);
    world.server(last).refuses = Some(Some(Fault::Refused));
    let words = "target \"alpha\" failed: it can't be reached (connection refused)";
    assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), words);
    world.server(last).refuses = None;
    world.advance(SECOND);
    assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), format!("{last}:echo"));
    assert_eq!(world.counts("initialize").iter().sum::<usize>(), 2);
}

#[test]
fn a_notice_for_a_lost_session_opens_none() {
    let mut world = plain(&["one", "two"]);
    let (client, session) = world.begin();
    let home = world.opened_at();
    let other = if home == "one" { "two" } else { "one" };
    world.lead_to(all(&world, &[other]));
    let roots = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
    assert_eq!(world.ask(client, &session, roots).status, 202);
    assert_eq!(world.server(other).methods(), [""; 0]);
    assert_eq!(world.delete(0, &session).status, 200, "and so does its end");
    assert_eq!(world.server(other).methods(), [""; 0]);
    world.advance(60 * SECOND);
    world.assert_clean();
}

#[test]
fn a_stream_whose_endpoint_is_gone_is_opened_elsewhere_at_once() {
    for shard in [0, 1] {
        let mut world = replicas(Setup::new(&["alpha"]).shards(2), &["one"]);
        let (client, session) = world.begin();
        world.ask(client, &session, &request("resources/subscribe", r#"{"uri":"demo://a"}"#));
        let stream = world.listen(shard, &session);
        let key = world.server("one").stream().unwrap();
        let with_id = format!("id: 5\r\n{}", event(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#));
        world.say(key, vec![Step::Send(event(&with_id).into())]);
        let before = world.messages(stream).len();
        world.add_replica("two");
        world.lead_to(all(&world, &["two"]));
        let two = world.server("two");
        assert_eq!(two.count("GET"), 1, "shard {shard}: {:?}", two.methods());
        assert_eq!(two.last("GET").field("last-event-id"), None, "its events are others");
        assert!(world.server("one").stream().is_none());
        let told = world.methods(stream).split_off(before);
        let lists =
            ["tools", "prompts", "resources"].map(|list| format!("notifications/{list}/list_changed"));
        let updated = "notifications/resources/updated".to_owned();
        assert!(
            lists.iter().chain([&updated]).all(|notice| told.contains(notice)),
            "shard {shard}: {told:?}"
        );
        assert_eq!(told.len(), 4, "shard {shard}: each once: {told:?}");
        world.say_on_stream("two", r#"{"jsonrpc":"2.0","method":"notifications/y"}"#);
        assert_eq!(world.methods(stream).pop().unwrap(), "notifications/y");
    }
}

#[test]
fn what_is_under_way_at_an_endpoint_that_is_gone_may_finish() {
    let mut world = plain(&["one"]);
    let (client, session) = world.begin();
    world.server("one").delay = SECOND;
    world.ask_later(client, &session, &call("echo"));
    world.add_replica("two");
    world.lead_to(all(&world, &["two"]));
    world.advance(SECOND);
    assert_eq!(world.clients[client].answer().tool_text(), "one:echo");
    assert_eq!(world.connections("one"), [], "and then nothing is kept of it");
    assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), "two:echo");
}

#[test]
fn an_id_says_where_its_session_lives_only_if_that_may_be_in_doubt() {
    let length = |endpoints: &[Endpoint]| {
        let mut world = plain(&["alpha"]);
        let own = world.servers[0].address;
        let endpoints =
            endpoints.iter().map(|it| Endpoint { address: if it.near { own } else { it.address }, ..*it });
        let endpoints: Vec<_> = endpoints.collect();
        world.lead_to(endpoints);
        world.begin().1.len()
    };
    let nobody = Endpoint { near: true, ..std::net::SocketAddr::from(([10, 0, 1, 0], 80)).into() };
    let elsewhere = Endpoint::from(std::net::SocketAddr::from(([10, 0, 9, 9], 80)));
    let (alone, one_of_two) = (length(&[nobody]), length(&[nobody, elsewhere]));
    let known = length(&[Endpoint { occupant: 7, ..nobody }]);
    let bytes = |text: usize| text * 3 / 4;
    assert_eq!(bytes(one_of_two) - bytes(alone), 6);
    assert_eq!(bytes(known) - bytes(alone), 14);
    assert_eq!(alone, World::new(&["alpha"]).begin().1.len());
}

#[test]
fn addresses_that_nobody_can_tell_apart_may_lead_to_the_same_server() {
    let mut world = plain(&["one", "two"]);
    let nobody = |world: &World, name: &str| Endpoint { occupant: 0, ..world.endpoint(name) };
    let both = vec![nobody(&world, "one"), nobody(&world, "two")];
    world.lead_to(both);
    let (client, session) = world.begin();
    let home = world.opened_at();
    let other = if home == "one" { "two" } else { "one" };
    world.ask(client, &session, &call("echo"));
    // The other door of the same house knows the session.
    world.server(other).sessions.insert(format!("{home}-1"));
    world.lead_to(vec![nobody(&world, other)]);
    assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), format!("{other}:echo"));
    assert_eq!(world.server(other).methods(), ["tools/call"]);
    // That of another does not, and says so.
    world.server(other).sessions.clear();
    assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), format!("{other}:echo"));
    assert_eq!(world.server(other).count("initialize"), 1);
    assert_eq!(world.server(other).ran.len(), 2);
}

#[test]
fn all_of_a_session_over_http_and_sse_goes_where_its_stream_is() {
    let mut world = replicas(Setup::new(&["alpha"]).sse("alpha"), &NAMES);
    let mut texts = Vec::new();
    for _ in 0..6 {
        let (client, session) = world.begin();
        let first = world.ask(client, &session, &call("echo")).tool_text();
        assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), first);
        texts.push(first);
    }
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 3, "they are at several");
    let posts = |world: &World| {
        world
            .servers
            .iter()
            .map(|server| server.seen.iter().filter(|seen| seen.http == "POST").count())
            .sum::<usize>()
    };
    assert_eq!(posts(&world), 6 * 4);
}

#[test]
fn a_session_over_http_and_sse_whose_endpoint_is_gone_is_opened_anew() {
    let sse = || Target { protocol: Protocol::Sse, path: "/sse".to_owned(), ..target("alpha", 0) };
    let mut world = replicas(Setup::new(&["alpha"]).sse("alpha"), &["one"]);
    let (client, session) = world.begin();
    world.server("one").delay = SECOND;
    world.ask_later(client, &session, &call("echo"));
    world.add_replica("two");
    world.server("two").talks = world.servers[0].talks;
    let two = all(&world, &["two"]);
    world.lead(sse(), two);
    assert_eq!(world.ask_on(0, &session, &call("echo")).tool_text(), "two:echo");
    world.advance(SECOND);
    assert_eq!(world.clients[client].answer().tool_text(), "one:echo", "it was under way");
    assert!(world.server("one").stream().is_none(), "and was the last");
}

#[test]
fn a_subscription_goes_on_elsewhere() {
    for protocol in [Protocol::Modern, Protocol::Legacy] {
        let modern = protocol == Protocol::Modern;
        let alpha = || Target { protocol, ..target("alpha", 0) };
        let mut world =
            replicas(Setup::new(&["alpha"]).targets(|target| target.protocol = protocol), &["one"]);
        world.add_replica("two");
        if modern {
            world = world.modern(&["one", "two"]);
        }
        let filter = r#"{"toolsListChanged":true,"resourceSubscriptions":["demo://one"]}"#;
        let client = world.subscribe(0, "1", filter);
        world.advance(SECOND);
        let before = world.heard(client).len();
        let two = all(&world, &["two"]);
        world.lead(alpha(), two);
        assert_eq!(world.server("one").stream(), None, "{protocol:?}");
        assert_eq!(world.connections("one"), [], "{protocol:?}");
        let asked = world.server("two").methods().join(" ");
        let legacy = "initialize notifications/initialized GET resources/subscribe";
        assert_eq!(asked, if modern { "subscriptions/listen" } else { legacy });
        world.advance(SECOND);
        let heard = world.heard(client).split_off(before).concat();
        for missed in ["notifications/tools/list_changed", "notifications/resources/updated"] {
            assert!(heard.contains(missed), "{protocol:?}: {heard}");
        }
        assert_eq!(strangers(&world), 0);
    }
}
