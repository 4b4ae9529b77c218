//! Requests that are not answered, answers that break off, and who goes away before the end.

use super::{GET, POST, answers, ask, plain, script, world};
use crate::support::server::{Reply, chunk, reply, stream_head};
use crate::support::{End, Step, World};
use mcp_proto::Fault;
use std::time::Duration;

#[test]
fn an_answer_that_breaks_off_breaks_the_clients() {
    let send = |text: &str| Step::Send(text.into());
    for (name, head, body, end) in [
        ("length", "content-length: 9\r\n\r\n", "abc", Step::Fin),
        ("length", "content-length: 9\r\n\r\n", "abc", Step::Reset),
        ("chunks", "transfer-encoding: chunked\r\n\r\n", "3\r\nabc\r\n", Step::Fin),
        ("chunks", "transfer-encoding: chunked\r\n\r\n", "3\r\nabc\r\n", Step::Reset),
        ("no chunk", "transfer-encoding: chunked\r\n\r\n", "3\r\nabc\r\n", send("x\r\n")),
        ("close", "\r\n", "abc", Step::Reset),
        ("silence", "content-length: 9\r\n\r\n", "abc", Step::Wait(Duration::ZERO)),
    ] {
        for old in ["1.0", "1.1"] {
            let mut world = plain();
            let steps = vec![
                send(&format!("HTTP/1.1 200 OK\r\n{head}{body}")),
                Step::Wait(Duration::from_secs(1)),
                end.clone(),
            ];
            script(&mut world, move |_| steps.clone());
            let client = world.connect(0);
            world.send(client, format!("GET / HTTP/{old}\r\nhost: localhost\r\n\r\n").as_bytes());
            world.advance(Duration::from_secs(301));
            assert!(!world.clients[client].answers()[0].complete, "{name}");
            assert_eq!(world.clients[client].end, Some(End::Aborted), "{name}");
            let record = world.records.pop().unwrap();
            assert!(record.error.starts_with("\"service/shop/web:80/web\" failed: "), "{record:?}");
            assert_eq!((record.status, record.sent), (200, 3));
            world.advance(Duration::from_secs(400));
            world.assert_empty();
        }
    }
}

#[test]
fn a_service_that_does_not_answer_is_told_of_in_words() {
    let refused = || {
        let mut world = world(|_, _| ());
        world.server("web").refuses = Some(Some(Fault::Refused));
        world.server("spare").refuses = Some(Some(Fault::Refused));
        world
    };
    let timed_out = || {
        let mut world = plain();
        world.server("web").refuses = Some(None);
        world
    };
    let with = |steps: Reply| {
        let mut world = plain();
        script(&mut world, move |_| steps.clone());
        world
    };
    let full = || {
        let mut world = plain();
        world.server("web").window = 10;
        world
    };
    let rows: [(World, u16, &str); 8] = [
        (full(), 504, "the connection broke before the answer was complete (connection timed out)"),
        (
            world(|target, _| target.endpoints.clear()),
            503,
            "it has no reachable endpoint at the moment: try again later",
        ),
        (refused(), 502, "it can't be reached (connection refused)"),
        (timed_out(), 504, "it can't be reached (connection timed out)"),
        (with(vec![]), 504, "it took too long to answer"),
        (
            with(vec![Step::Fin]),
            502,
            "the connection broke before the answer was complete (connection closed)",
        ),
        (
            with(vec![Step::Reset]),
            502,
            "the connection broke before the answer was complete (connection reset)",
        ),
        (
            with(vec![Step::Send(b"SSH-2".to_vec())]),
            502,
            "its answer is malformed: no answer begins like this",
        ),
    ];
    for (mut world, status, words) in rows {
        let client = world.connect(0);
        world.send(client, POST);
        world.advance(Duration::from_secs(300));
        let answer = world.clients[client].answer();
        assert_eq!(answer.text(), format!("\"service/shop/web:80/web\" failed: {words}"));
        assert_eq!((answer.status, answer.field("content-type")), (status, Some("text/plain")));
        assert_eq!(answer.field("retry-after"), (status == 503).then_some("1"));
        assert_eq!(
            world.records.pop().map(|record| (record.status, record.error)),
            Some((status, answer.text().into()))
        );
        let client = world.connect(0);
        world.send(client, b"HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n");
        world.advance(Duration::from_secs(300));
        let answer = world.clients[client].answer();
        assert_eq!((answer.status, answer.body.len(), answer.complete), (status, 0, true));
        assert_eq!(answer.field("connection"), None);
    }
}

#[test]
fn the_next_endpoint_is_tried_where_nobody_listens() {
    let mut world = world(|_, _| ());
    world.server("web").refuses = Some(Some(Fault::Refused));
    world.server("spare").script = Some(Box::new(|_| Some(reply(200, "", "spare"))));
    for _ in 0..4 {
        world.kill("spare");
        assert_eq!(ask(&mut world, POST).text(), "spare");
    }
    assert_eq!(world.server("spare").seen.len(), 4);
}

#[test]
fn only_what_may_be_done_twice_is_repeated_and_only_on_a_stale_connection() {
    for (method, repeated) in [
        ("GET", true),
        ("HEAD", true),
        ("OPTIONS", true),
        ("PUT", true),
        ("DELETE", true),
        ("TRACE", true),
        ("POST", false),
        ("PATCH", false),
        ("BREW", false),
    ] {
        let text = format!("{method} / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\na");
        let mut world = plain();
        answers(&mut world, "HTTP/1.1 204 x\r\n\r\n");
        ask(&mut world, GET);
        let mut count = 0;
        script(&mut world, move |_| {
            count += 1;
            if count == 1 { vec![Step::Fin] } else { reply(204, "", "") }
        });
        assert_eq!(ask(&mut world, text.as_bytes()).status, if repeated { 204 } else { 502 }, "{method}");
        assert_eq!(world.server("web").seen.len(), 2 + usize::from(repeated));
        // Neither on a new connection, nor where something came, nor a second time.
        script(&mut world, |_| vec![Step::Fin]);
        world.kill("web");
        assert_eq!(ask(&mut world, text.as_bytes()).status, 502, "{method}");
        assert_eq!(world.server("web").seen.len(), 3 + usize::from(repeated));
        answers(&mut world, "HTTP/1.1 204 x\r\n\r\n");
        ask(&mut world, GET);
        script(&mut world, |_| vec![Step::Send(b"HTTP/1.1 2".to_vec()), Step::Reset]);
        assert_eq!(ask(&mut world, text.as_bytes()).status, 502, "{method}");
        assert_eq!(world.server("web").seen.len(), 5 + usize::from(repeated));
    }
}

#[test]
fn who_goes_away_takes_the_request_along() {
    for (steps, name) in [
        (vec![], "before the answer"),
        (vec![Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\na".to_vec())], "within it"),
    ] {
        let mut world = plain();
        script(&mut world, move |_| steps.clone());
        let client = world.connect(0);
        world.send(client, POST);
        assert_eq!(world.connections("web").len(), 1);
        world.hang_up(client);
        assert_eq!(world.connections("web").len(), 0, "{name}");
        assert_eq!(world.records.pop().unwrap().error, "the client went away");
        world.advance(Duration::from_secs(400));
        world.assert_empty();
    }
    // Who has only said everything is answered.
    let mut world = plain();
    script(&mut world, |_| [vec![Step::Wait(Duration::from_secs(1))], reply(200, "", "late")].concat());
    let client = world.connect(0);
    world.send(client, GET);
    world.half_close(client);
    world.advance(Duration::from_secs(1));
    assert_eq!(world.clients[client].answer().text(), "late");
    assert_eq!(world.clients[client].end, Some(End::Finished));
}

#[test]
fn an_event_stream_may_be_silent_as_long_as_somebody_reads_it() {
    let mut world = plain();
    script(&mut world, |_| {
        let events = format!("{}{}", stream_head(), chunk("data: 1\n\n"));
        let later = Step::Wait(Duration::from_secs(4000));
        vec![Step::Send(events.into()), later.clone(), Step::Send(chunk("data: 2\n\n").into()), later]
    });
    let client = world.connect(0);
    world.send(client, GET);
    world.advance(Duration::from_secs(4000));
    assert_eq!(world.clients[client].answer().text(), "data: 1\n\ndata: 2\n\n", "and nothing is put in");
    world.half_close(client);
    assert_eq!((world.clients[client].end, world.connections("web").len()), (Some(End::Aborted), 0));
    world.advance(Duration::from_secs(400));
    world.assert_empty();
    // Who had said everything before it began has its words, and then not for ever.
    script(&mut world, |_| {
        let events = format!("{}{}", stream_head(), chunk("data: 1\n\n"));
        vec![Step::Wait(Duration::from_secs(1)), Step::Send(events.into())]
    });
    let client = world.connect(0);
    world.send(client, GET);
    world.half_close(client);
    world.advance(Duration::from_secs(300));
    assert_eq!((world.clients[client].answer().text(), world.clients[client].end), ("data: 1\n\n", None));
    world.advance(Duration::from_secs(1));
    assert_eq!(world.clients[client].end, Some(End::Aborted));
}

#[test]
fn a_rule_says_how_long_an_answer_may_take() {
    let seconds = Duration::from_secs;
    for (request, backend, after) in [
        (Some(seconds(7)), None, 7),
        (None, Some(seconds(5)), 5),
        (Some(seconds(7)), Some(seconds(5)), 5),
        (Some(seconds(400)), Some(seconds(350)), 300),
    ] {
        for connects in [true, false] {
            let mut world = world(|target, rule| {
                target.endpoints.truncate(1);
                target.timeouts.connect = seconds(300);
                rule.request_timeout = request;
                rule.backend_timeout = backend;
            });
            script(&mut world, |_| vec![]);
            if !connects {
                world.server("web").refuses = Some(None);
            }
            let client = world.connect(0);
            world.send(client, GET);
            world.advance(seconds(after) - Duration::from_millis(1));
            assert_eq!(world.clients[client].answers().len(), 0, "{request:?} {backend:?} {connects}");
            world.advance(Duration::from_millis(1));
            let answer = world.clients[client].answer();
            assert_eq!((answer.status, answer.complete), (504, true));
            assert_eq!(world.connections("web").len(), 0);
            assert_eq!(world.counters(0).calls.value(), 0);
            // What has begun in time has all the time its target leaves it.
            world.server("web").refuses = None;
            script(&mut world, |_| {
                let head = Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na".to_vec());
                vec![head, Step::Wait(Duration::from_secs(200)), Step::Send(b"b".to_vec()), Step::Done]
            });
            world.advance(seconds(2));
            world.send(client, GET);
            world.advance(seconds(200));
            assert_eq!(world.clients[client].answer().text(), "ab");
        }
    }
}

#[test]
fn a_drained_gateway_finishes_what_it_passes() {
    let mut world = plain();
    script(&mut world, |_| {
        let wait = Step::Wait(Duration::from_secs(1));
        let send = |text: &str| Step::Send(text.into());
        vec![send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na"), wait, send("b"), Step::Done]
    });
    let (begun, idle) = (world.connect(0), world.connect(0));
    world.send(begun, GET);
    world.drain(Duration::from_secs(10));
    assert_eq!(world.clients[idle].end, Some(End::Finished));
    world.advance(Duration::from_secs(1));
    assert_eq!((world.clients[begun].answer().text(), world.clients[begun].end), ("ab", Some(End::Finished)));
}
