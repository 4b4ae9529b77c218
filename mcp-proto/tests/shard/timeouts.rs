//! What happens when nothing happens.

use crate::support::client::{call, post, request, session_field};
use crate::support::server::{chunk, open_stream, stream_head};
use crate::support::{End, Setup, Step, World};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Nothing until just before `time`; then the end.
fn ends_after(world: &mut World, client: usize, time: Duration) {
    world.advance(time - MS);
    assert_eq!(world.clients[client].end, None);
    world.advance(MS);
    assert_eq!(world.clients[client].end, Some(End::Finished));
}

#[test]
fn a_client_must_send_something_and_go_on_with_it() {
    let body = post("", &call("echo"));
    let at = body.len() - 10;
    for (name, text, time, status) in [
        ("nothing", &b""[..], 10, None),
        ("half a head", b"POST /mcp HTTP/1.1\r\n", 10, Some(408)),
        ("half a body", &body[..at], 30, Some(408)),
    ] {
        let mut world = World::new(&["alpha"]);
        let client = world.connect(0);
        world.send(client, text);
        ends_after(&mut world, client, seconds(time));
        let answer = world.clients[client].answers().pop();
        assert_eq!(answer.map(|answer| answer.status), status, "{name}");
    }
}

#[test]
fn a_body_that_comes_slowly_but_steadily_is_read() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    for byte in post(&session_field(&session), &call("echo")).chunks(60) {
        world.send(client, byte);
        world.advance(seconds(1));
    }
    assert_eq!(world.clients[client].answer().tool_text(), "alpha:echo");
}

#[test]
fn a_head_has_its_time_from_its_first_byte() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    let before = world.clients[client].answers().len();
    world.advance(seconds(60));
    for byte in post(&session_field(&session), &call("echo")).chunks(10).take(12) {
        world.send(client, byte);
        world.advance(seconds(1));
    }
    assert_eq!(world.clients[client].answers()[before].status, 408);
}

#[test]
fn an_idle_connection_is_closed() {
    let mut world = World::new(&["alpha"]);
    let (client, _) = world.begin();
    ends_after(&mut world, client, seconds(75));
    assert_eq!(world.counters(0).client_connections.value(), 0);
}

#[test]
fn a_client_that_takes_nothing_is_aborted() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.clients[client].window = 10;
    world.ask_later(client, &session, &call("echo"));
    world.advance(seconds(29));
    world.take(client, 10);
    world.advance(seconds(30) - MS);
    assert_eq!(world.clients[client].end, None);
    world.advance(MS);
    assert_eq!(world.clients[client].end, Some(End::Aborted));
    assert_eq!(world.counters(0).calls.value(), 0);
}

#[test]
fn a_target_that_takes_nothing_fails_the_call() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.server("alpha").window = 10;
    world.ask_later(client, &session, &call("echo"));
    world.advance(seconds(30));
    let text = world.clients[client].answer().tool_text();
    assert_eq!(
        text,
        "target \"alpha\" failed: the connection broke before the answer was complete (connection timed out)"
    );
    assert_eq!(world.connections("alpha"), []);
}

#[test]
fn each_phase_of_a_call_has_its_own_time() {
    for (name, steps, time, words) in [
        ("first byte", Vec::new(), 60, "it took too long to answer"),
        (
            "body",
            vec![Step::Send(b"HTTP/1.1 200 OK\r\n".to_vec())],
            20,
            "it took too long to go on with its answer",
        ),
    ] {
        let mut world = Setup::new(&["alpha"])
            .targets(|target| {
                target.timeouts.first_byte = seconds(60);
                target.timeouts.idle = seconds(20);
            })
            .build();
        let (client, session) = world.begin();
        world.server("alpha").on("tools/call", move |_| steps.clone());
        let asked = world.ask_later(client, &session, &call("echo"));
        world.advance(seconds(time) - MS);
        assert!(!world.is_answered(client, asked), "{name}");
        world.advance(MS);
        assert_eq!(world.clients[client].answer().tool_text(), format!("target \"alpha\" failed: {words}"));
        assert_eq!((world.connections("alpha").len(), world.counters(0).calls.value()), (0, 0));
    }
}

#[test]
fn an_answer_that_goes_on_is_waited_for() {
    let mut world = Setup::new(&["alpha"]).targets(|target| target.timeouts.idle = seconds(20)).build();
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |_| {
        let mut steps =
            vec![Step::Send(stream_head().replace("text/event-stream", "application/json").into())];
        for piece in [r#"{"jsonrpc":"2.0","#, r#""id":1,"#, r#""result":{}"#, "}"] {
            steps.extend([Step::Wait(seconds(19)), Step::Send(chunk(piece).into())]);
        }
        steps.extend([Step::Send(b"0\r\n\r\n".to_vec()), Step::Done]);
        steps
    });
    world.ask_later(client, &session, &call("echo"));
    world.advance(seconds(76));
    assert_eq!(world.clients[client].answer().text(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
}

#[test]
fn an_event_stream_may_be_silent_for_hours() {
    let mut world = Setup::new(&["alpha"]).targets(|target| target.timeouts.idle = seconds(20)).build();
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |_| open_stream(&[chunk(":\n\n")]));
    world.ask_later(client, &session, &call("echo"));
    world.advance(seconds(7200));
    let key = world.server("alpha").last("tools/call").key;
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    world.say(key, vec![Step::Send(crate::support::server::event(answer).into())]);
    assert_eq!(world.clients[client].answer().json()["result"], serde_json::json!({}));
}

#[test]
fn an_idle_connection_to_a_target_is_closed_before_the_target_does() {
    for (field, time) in
        [("", 55), ("keep-alive: timeout=5, max=100\r\n", 4), ("keep-alive: timeout=600\r\n", 55)]
    {
        let mut world = World::new(&["alpha"]);
        let (client, session) = world.begin();
        world.server("alpha").on("tools/call", move |seen| {
            crate::support::server::reply(
                200,
                &format!("content-type: application/json\r\n{field}"),
                &seen.response("{}"),
            )
        });
        world.ask(client, &session, &call("echo"));
        world.advance(seconds(time) - MS);
        assert_eq!(world.connections("alpha").len(), 1, "{field}");
        world.advance(MS);
        assert_eq!(world.connections("alpha").len(), 0, "{field}");
    }
}

#[test]
fn a_connection_its_target_will_close_is_not_kept() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    for field in ["connection: close\r\n", "keep-alive: timeout=1\r\n"] {
        world.server("alpha").on("tools/call", move |seen| {
            crate::support::server::reply(
                200,
                &format!("content-type: application/json\r\n{field}"),
                &seen.response("{}"),
            )
        });
        world.ask(client, &session, &call("echo"));
        assert_eq!(world.connections("alpha"), [], "{field}");
    }
}

#[test]
fn a_paused_target_is_not_blamed_for_its_silence() {
    let mut world = Setup::new(&["alpha"])
        .targets(|target| target.timeouts.idle = seconds(5))
        .config(|config| config.timeouts.write = seconds(600))
        .build();
    let (client, session) = world.begin();
    let text = "x".repeat(1 << 20);
    let result = format!(r#"{{"content":[{{"text":"{text}"}}]}}"#);
    world.server("alpha").on("tools/call", move |seen| seen.result(&result));
    world.clients[client].window = 1000;
    let asked = world.ask_later(client, &session, &call("echo"));
    world.advance(seconds(300));
    world.take(client, usize::MAX);
    assert!(world.is_answered(client, asked));
    assert_eq!(world.clients[client].answer().tool_text().len(), 1 << 20);
}

#[test]
fn a_lists_share_that_never_comes_is_given_up_in_the_end() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    world.server("beta").on("tools/list", |_| Vec::new());
    world.ask_later(client, &session, &request("tools/list", "{}"));
    world.advance(seconds(29));
    assert_eq!(world.counters(0).calls.value(), 1);
    world.advance(seconds(1));
    assert_eq!(world.counters(0).calls.value(), 0);
}
