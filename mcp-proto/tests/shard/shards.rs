//! One session, several shards.

use crate::support::client::{call, initialize, post, request};
use crate::support::{Setup, World};
use mcp_proto::Fault;
use std::time::Duration;

fn world(targets: &[&str]) -> World {
    Setup::new(targets).shards(3).build()
}

#[test]
fn any_shard_serves_a_session_from_its_id() {
    let mut world = world(&["alpha", "beta"]);
    let (_, session) = world.begin();
    for shard in 0..3 {
        assert_eq!(world.ask_on(shard, &session, &call("beta_echo")).tool_text(), "beta:echo");
        assert_eq!(world.server("beta").last("tools/call").session(), Some("beta-1"));
    }
    assert_eq!(world.server("beta").count("initialize"), 1);
    assert_eq!([0, 1, 2].map(|shard| world.counters(shard).sessions.value()), [1, 0, 0]);
}

#[test]
fn a_late_target_is_opened_by_the_sessions_home_alone() {
    let mut world = world(&["alpha", "beta"]);
    world.server("beta").refuses = Some(Some(Fault::Refused));
    let (_, session) = world.begin();
    world.server("beta").refuses = None;
    world.advance(Duration::from_secs(2));
    let clients = [world.connect(2), world.connect(1), world.connect(2)];
    for client in clients {
        let fields = crate::support::client::session_field(&session);
        world.queue(client, &post(&fields, &call("beta_echo")));
    }
    world.run();
    for client in clients {
        assert_eq!(world.clients[client].answer().tool_text(), "beta:echo");
    }
    assert_eq!(world.server("beta").count("initialize"), 1);
    assert_eq!(world.counters(1).target_connections_total.value(), 1);
}

#[test]
fn a_target_that_stays_away_is_told_of_on_every_shard() {
    let mut world = world(&["alpha", "beta"]);
    world.server("beta").refuses = Some(Some(Fault::Refused));
    let (_, session) = world.begin();
    for shard in [1, 2, 0] {
        let text = world.ask_on(shard, &session, &call("beta_echo")).tool_text();
        assert_eq!(text, "target \"beta\" failed: it can't be reached (connection refused)", "{shard}");
    }
}

#[test]
fn level_and_subscriptions_set_elsewhere_are_restored_by_the_home() {
    let mut world = world(&["alpha", "beta"]);
    let (_, session) = world.begin();
    world.ask_on(1, &session, &request("logging/setLevel", r#"{"level":"error"}"#));
    world.ask_on(2, &session, &request("resources/subscribe", r#"{"uri":"beta+demo://a"}"#));
    world.server("beta").sessions.clear();
    assert_eq!(world.ask_on(2, &session, &call("beta_echo")).tool_text(), "beta:echo");
    for method in ["logging/setLevel", "resources/subscribe"] {
        assert_eq!(world.server("beta").last(method).session(), Some("beta-2"));
        assert_eq!(world.server("beta").count(method), 2);
    }
    for shard in 0..3 {
        world.ask_on(shard, &session, &call("beta_echo"));
        assert_eq!(world.server("beta").last("tools/call").session(), Some("beta-2"));
    }
}

#[test]
fn list_changes_are_told_on_the_shard_with_the_stream() {
    let mut world = world(&["alpha", "beta"]);
    world.server("beta").refuses = Some(Some(Fault::Refused));
    let (_, session) = world.begin();
    let stream = world.listen(2, &session);
    world.server("beta").refuses = None;
    world.advance(Duration::from_secs(2));
    world.ask_on(1, &session, &call("beta_echo"));
    assert_eq!(world.methods(stream).len(), 3);
    world.say_on_stream("beta", r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#);
    assert_eq!(world.methods(stream).len(), 4);
}

#[test]
fn an_id_that_would_be_too_long_leaves_its_targets_at_home() {
    let names: Vec<_> = (0..60).map(|number| format!("target-{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut world = world(&names);
    let (_, session) = world.begin();
    assert!(session.len() < 200, "{}", session.len());
    for shard in [0, 1, 2] {
        let answer = world.ask_on(shard, &session, &call("target-7_echo"));
        assert_eq!(answer.tool_text(), "target-7:echo", "{shard}");
        assert_eq!(world.server("target-7").last("tools/call").session(), Some("target-7-1"));
    }
    assert_eq!(world.server("target-7").count("initialize"), 1);
    world.delete(1, &session);
    for name in &names {
        assert_eq!(world.server(name).sessions.len(), 0, "{name}");
    }
    assert_eq!(world.ask_on(0, &session, &call("target-7_echo")).status, 404);
}

#[test]
fn a_gateway_with_the_same_key_serves_the_session() {
    let mut world = world(&["alpha", "beta"]);
    let (_, session) = world.begin();
    let mut other = Setup::new(&["alpha", "beta"]).seed(9).build();
    other.server("beta").sessions.insert("beta-1".to_owned());
    assert_eq!(other.ask_on(0, &session, &call("beta_echo")).tool_text(), "beta:echo");
    assert_eq!(other.server("beta").methods(), ["tools/call"]);
}

#[test]
fn two_sessions_of_one_moment_differ() {
    let mut world = world(&["alpha"]);
    let clients = [world.connect(0), world.connect(1), world.connect(0)];
    for client in clients {
        world.queue(client, &post("", &initialize("2025-11-25", "{}")));
    }
    world.run();
    let ids =
        clients.map(|client| world.clients[client].answer().field("mcp-session-id").unwrap().to_owned());
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
}

#[test]
fn what_a_shard_tells_the_others_goes_out_before_its_answer() {
    let mut world = Setup::modern_on(&["alpha"], 2);
    let (_, session) = world.begin();
    world.log.clear();
    world.ask_on(1, &session, &request("logging/setLevel", r#"{"level":"error"}"#));
    let first = |action: &str| world.log.iter().position(|entry| entry.starts_with(action));
    let (post, flush) = (first("1 Post"), first("1 Flush"));
    assert!(post.is_some() && post < flush, "{:?}", world.log);
}
