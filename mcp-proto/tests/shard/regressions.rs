//! One test for each bug there was, named after what was seen of it.

use crate::support::client::{call, post, session_field};
use crate::support::server::{event, reply, stream};
use crate::support::{Setup, Step, World};
use std::time::Duration;

#[test]
fn an_answer_that_is_a_web_page_left_the_client_waiting() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |_| reply(200, "content-type: text/html\r\n", "<html>"));
    let answer = world.ask(client, &session, &call("echo"));
    let words =
        "target \"alpha\" failed: its answer is malformed: an answer is neither JSON nor an event stream";
    assert_eq!(answer.tool_text(), words);
    assert_eq!(world.counters(0).calls.value(), 0);
}

#[test]
fn a_session_used_now_and_then_on_another_shard_expired() {
    let mut world = Setup::new(&["alpha"]).shards(2).build();
    let (_, session) = world.begin();
    for _ in 0..3 {
        world.advance(Duration::from_secs(25 * 60));
        assert_eq!(world.ask_on(1, &session, &call("echo")).tool_text(), "alpha:echo");
    }
}

#[test]
fn a_request_that_came_too_slowly_was_refused_without_end() {
    let mut world = World::new(&["alpha"]);
    let client = world.connect(0);
    world.clients[client].window = 0;
    world.send(client, b"POST /mcp HTTP/1.1\r\n");
    world.advance(Duration::from_secs(20));
    world.take(client, usize::MAX);
    let statuses: Vec<_> = world.clients[client].answers().iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [408]);
}

#[test]
fn a_head_in_two_pieces_was_too_late_on_a_connection_that_had_been_idle() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.advance(Duration::from_secs(30));
    let text = post(&session_field(&session), &call("echo"));
    world.send(client, &text[..20]);
    world.advance(Duration::from_secs(1));
    world.send(client, &text[20..]);
    assert_eq!(world.clients[client].answer().tool_text(), "alpha:echo");
}

#[test]
fn a_head_that_came_long_before_its_body_was_kept_back_and_the_client_aborted() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |_| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n";
        vec![
            Step::Send(head.into()),
            Step::Wait(Duration::from_secs(200)),
            Step::Send(b"{}".to_vec()),
            Step::Done,
        ]
    });
    assert_eq!(world.ask(client, &session, &call("echo")).status, 200);
    world.advance(Duration::from_secs(200));
    assert_eq!(world.clients[client].answer().text(), "{}");
}

#[test]
fn delete_of_a_session_the_target_had_lost_took_seconds_and_was_never_forgotten() {
    let mut world = World::new(&["alpha", "beta"]);
    let (_, session) = world.begin();
    world.server("alpha").sessions.clear();
    assert_eq!(world.delete(0, &session).status, 200);
    assert_eq!(world.counters(0).calls.value(), 0);
}

#[test]
fn one_event_that_was_no_json_cost_the_call_its_answer() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |seen| stream(&[event("hello"), event(&seen.response("{}"))]));
    assert_eq!(world.ask(client, &session, &call("echo")).json()["result"], serde_json::json!({}));
    assert_eq!(world.counters(0).malformed.value(), 1);
}
