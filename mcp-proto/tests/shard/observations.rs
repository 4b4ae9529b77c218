//! What a shard says of its targets to whoever shows it to an operator.

use crate::support::client::{call, initialize, post, request};
use crate::support::eras::Speaks;
use crate::support::listening::before;
use crate::support::modern::Ask;
use crate::support::server::reply;
use crate::support::{Setup, World};
use mcp_proto::Fault;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// What was said since the last time, as era and error.
fn told(world: &mut World) -> Vec<(Option<&'static str>, Option<String>)> {
    let told = std::mem::take(&mut world.observations);
    told.into_iter().map(|(_, it)| (it.era, it.error.map(|error| error.to_string()))).collect()
}

#[test]
fn the_revision_a_target_speaks_is_told_once_it_is_known() {
    let mut world = World::new(&["alpha"]);
    world.server("alpha").revision = Some("2025-06-18".to_owned());
    let (client, session) = world.begin();
    assert_eq!(world.observations[0].1.target.to_string(), "alpha");
    assert_eq!(told(&mut world), [(Some("2025-06-18"), None)]);
    for _ in 0..10 {
        world.ask(client, &session, &call("echo"));
        world.advance(SECOND);
    }
    assert_eq!(told(&mut world), []);
    // An older client says nothing of what the target could do.
    world.server("alpha").revision = None;
    for (revision, news) in [("2025-03-26", None), ("2025-11-25", Some("2025-11-25"))] {
        let client = world.connect(0);
        world.send(client, &post("", &initialize(revision, "{}")));
        world.advance(SECOND);
        assert_eq!(told(&mut world), news.map(|era| (Some(era), None)).into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_target_that_changes_its_era_is_told_again() {
    let mut world = before(&["alpha"]).build();
    let era = world.speaks("alpha", Speaks::Modern);
    world.ask_modern(0, &Ask::call(1));
    assert_eq!(told(&mut world), [(Some("2026-07-28"), None)]);
    world.turn("alpha", &era, Speaks::Legacy);
    world.advance(60 * SECOND);
    world.ask_modern(0, &Ask::call(2));
    world.advance(SECOND);
    assert_eq!(told(&mut world), [(None, None), (Some("2025-11-25"), None)]);
}

#[test]
fn a_session_from_another_shard_tells_what_its_target_speaks() {
    let mut world = Setup::new(&["alpha"]).shards(2).build();
    let (_, session) = world.begin();
    assert_eq!(told(&mut world).len(), 1);
    world.ask_on(1, &session, &call("echo"));
    world.ask_on(1, &session, &call("echo"));
    assert_eq!(told(&mut world), [(Some("2025-11-25"), None)]);
}

#[test]
fn the_last_error_stands_until_the_next_good_answer() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.advance(SECOND);
    told(&mut world);
    world.kill("alpha");
    world.server("alpha").refuses = Some(Some(Fault::Refused));
    for _ in 0..5 {
        world.ask(client, &session, &call("echo"));
        world.advance(SECOND);
    }
    let era = Some("2025-11-25");
    assert_eq!(told(&mut world), [(era, Some("it can't be reached (connection refused)".to_owned()))]);
    world.server("alpha").refuses = None;
    world.ask(client, &session, &call("echo"));
    assert_eq!(told(&mut world), [(era, None)]);
}

#[test]
fn errors_that_alternate_are_told_once_a_second_and_the_last_word_always() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    let mut turn = 0;
    world.server("alpha").on("tools/call", move |_| {
        turn += 1;
        reply(if turn % 2 == 0 { 500 } else { 501 }, "", "")
    });
    world.advance(SECOND);
    told(&mut world);
    let start = world.now;
    for _ in 0..100 {
        world.ask(client, &session, &call("alpha_echo"));
        world.advance(SECOND / 20);
    }
    let times: Vec<_> = world.observations.iter().map(|(at, _)| *at - start).collect();
    assert!((5..=6).contains(&times.len()), "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= SECOND), "{times:?}");
    world.advance(SECOND);
    assert_eq!(told(&mut world).pop().unwrap().1.unwrap(), "it answered with HTTP status 500");
    // A good answer within the pause is not forgotten.
    world.server("alpha").script = None;
    world.ask(client, &session, &call("alpha_echo"));
    world.advance(SECOND);
    assert_eq!(told(&mut world), [(Some("2025-11-25"), None)]);
    assert!(world.shards[0].deadline().is_none_or(|(_, what)| what != "news of targets"));
}

#[test]
fn what_is_not_the_targets_doing_is_no_error_of_its() {
    let setup = Setup::new(&["alpha"]).config(|config| {
        config.limits.target_connections = 1;
        config.limits.target_waiting = 0;
    });
    let mut world = setup.build();
    let (client, session) = world.begin();
    world.advance(SECOND);
    told(&mut world);
    world.server("alpha").delay = SECOND;
    world.ask_later(client, &session, &call("echo"));
    let answer = world.ask_on(0, &session, &request("tools/call", r#"{"name":"echo"}"#));
    assert!(answer.tool_text().contains("too many requests"), "{answer:?}");
    world.advance(2 * SECOND);
    assert_eq!(told(&mut world), []);
}
