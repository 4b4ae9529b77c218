//! GET streams, and streams that are resumed.

use crate::support::client::{call, post, request, session_field};
use crate::support::server::{self, chunk, event, event_with, open_stream, reply, stream};
use crate::support::{AT, End, Setup, Step, World};
use serde_json::json;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const UPDATED: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"demo://one"}}"#;

#[test]
fn one_stream_carries_what_all_targets_say() {
    let mut world = World::new(&["alpha", "beta"]);
    let (_, session) = world.begin();
    let stream = world.listen(0, &session);
    let head = world.clients[stream].answer();
    assert_eq!((head.status, head.field("content-type")), (200, Some("text/event-stream")));
    assert_eq!(
        (head.field("x-accel-buffering"), head.field("cache-control")),
        (Some("no"), Some("no-cache, no-transform"))
    );
    let log =
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"logger":"l","data":"demo://one"}}"#;
    world.say_on_stream("alpha", UPDATED);
    world.say_on_stream("beta", UPDATED);
    world.say_on_stream("beta", log);
    let data: Vec<_> = world.clients[stream].answer().events().into_iter().map(|event| event.data).collect();
    assert_eq!(
        data,
        [
            UPDATED.replace("demo", "alpha+demo"),
            UPDATED.replace("demo", "beta+demo"),
            log.replace(r#""l""#, r#""beta/l""#)
        ]
    );
    let get = world.server("beta").last("GET").clone();
    assert_eq!((get.session(), get.field("accept")), (Some("beta-1"), Some("text/event-stream")));
}

#[test]
fn an_answer_out_of_place_or_no_json_costs_a_stream_one_event() {
    for (stray, malformed) in
        [(r#"{"jsonrpc":"2.0","id":1,"result":oops}"#, 1), (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, 0)]
    {
        let mut world = World::new(&["alpha", "beta"]);
        let (_, session) = world.begin();
        let stream = world.listen(0, &session);
        world.say_on_stream("alpha", stray);
        world.say_on_stream("alpha", UPDATED);
        let answer = world.clients[stream].answer();
        let data: Vec<_> = answer.events().into_iter().map(|event| event.data).collect();
        assert_eq!((data, answer.complete), (vec![UPDATED.replace("demo", "alpha+demo")], false));
        assert_eq!(world.counters(0).malformed.value(), malformed, "{stray}");
    }
}

#[test]
fn streams_that_take_turns_do_not_mix() {
    let mut world = World::new(&["alpha", "beta", "gamma"]);
    let (_, session) = world.begin();
    let stream = world.listen(0, &session);
    let (first, second) = UPDATED.split_at(30);
    let say = |world: &mut World, name: &str, text: String| {
        let key = world.server(name).stream().unwrap();
        world.say(key, vec![Step::Send(text.into())]);
    };
    say(&mut world, "alpha", chunk(&format!("data: {first}")));
    say(&mut world, "beta", event(UPDATED));
    // With the byte order mark that a stream may begin with.
    say(&mut world, "gamma", chunk(&format!("\u{feff}data: {UPDATED}\n\n")));
    say(&mut world, "alpha", chunk(&format!("{second}\n\n")));
    say(&mut world, "beta", event(UPDATED));
    let data: Vec<_> = world.clients[stream].answer().events().into_iter().map(|event| event.data).collect();
    let told = |name: &str| UPDATED.replace("demo", &format!("{name}+demo"));
    assert_eq!(data, ["beta", "gamma", "alpha", "beta"].map(told));
}

#[test]
fn a_single_targets_stream_is_unchanged() {
    let mut world = World::new(&["alpha"]);
    let (_, session) = world.begin();
    let stream = world.listen(0, &session);
    world.say_on_stream("alpha", UPDATED);
    assert_eq!(world.clients[stream].answer().events()[0].data, UPDATED);
}

#[test]
fn a_message_on_a_call_reaches_a_stream_of_another_shard() {
    let mut world = Setup::new(&["alpha", "beta"]).shards(2).build();
    let (client, session) = world.begin();
    let listener = world.listen(1, &session);
    world.server("alpha").on("tools/call", |seen| stream(&[event(UPDATED), event(&seen.response("{}"))]));
    // A client that takes no events gets what is not its answer on its stream.
    let asked = String::from_utf8(post(&session_field(&session), &call("alpha_echo"))).unwrap();
    world.send(client, asked.replace(", text/event-stream", "").as_bytes());
    assert_eq!(world.clients[client].answer().text(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(world.methods(listener), ["notifications/resources/updated"]);
}

#[test]
fn a_second_stream_takes_the_place_of_the_first() {
    let mut world = World::new(&["alpha"]);
    let (_, session) = world.begin();
    let first = world.listen(0, &session);
    let second = world.listen(0, &session);
    assert!(world.clients[first].answer().complete);
    assert_eq!(world.clients[first].end, None, "its connection can be used again");
    world.say_on_stream("alpha", UPDATED);
    assert_eq!((world.messages(first).len(), world.messages(second).len()), (0, 1));
    assert_eq!(world.counters(0).streams.value(), 1);
    world.hang_up(second);
    assert_eq!((world.counters(0).streams.value(), world.counters(0).calls.value()), (0, 0));
    assert_eq!(world.connections("alpha"), []);
}

#[test]
fn a_silent_stream_gets_comments() {
    let mut world = World::new(&["alpha"]);
    let (_, session) = world.begin();
    let stream = world.listen(0, &session);
    world.advance(46 * SECOND);
    assert_eq!(world.clients[stream].answer().text(), ":\n\n:\n\n:\n\n");
    world.say_on_stream("alpha", UPDATED);
    let before = world.clients[stream].raw.len();
    world.advance(14 * SECOND);
    assert_eq!(world.clients[stream].raw.len(), before);
    world.advance(SECOND);
    assert!(world.clients[stream].answer().text().ends_with("\n\n:\n\n"));
}

#[test]
fn a_target_without_a_stream_is_left_alone_and_a_busy_one_is_asked_again() {
    for (status, again) in [(405, 0), (404, 0), (400, 0), (409, 3), (503, 3), (501, 0)] {
        let mut world = World::new(&["alpha"]);
        world.server("alpha").keeps_sessions = false;
        let (_, session) = world.begin();
        world.server("alpha").on("GET", move |_| reply(status, "", ""));
        let stream = world.listen(0, &session);
        assert_eq!(world.clients[stream].answer().status, 200);
        // After one, two and four seconds.
        world.advance(7 * SECOND);
        assert_eq!(world.server("alpha").count("GET"), 1 + again, "{status}");
    }
}

#[test]
fn a_targets_stream_that_ends_is_opened_again_where_it_ended() {
    let mut world = World::new(&["alpha", "beta"]);
    let (_, session) = world.begin();
    let listener = world.listen(0, &session);
    let key = world.server("alpha").stream().unwrap();
    let told = Step::Send([chunk("retry: 700\n\n"), event_with("a-9", UPDATED)].concat().into());
    world.say(key, [vec![told], server::stream_end()].concat());
    world.advance(Duration::from_millis(699));
    assert_eq!(world.server("alpha").count("GET"), 1);
    world.advance(Duration::from_millis(1));
    assert_eq!(world.server("alpha").count("GET"), 2);
    assert_eq!(world.server("alpha").last("GET").field("last-event-id"), Some("a-9"));
    assert_eq!(world.server("beta").count("GET"), 1);
    assert_eq!(world.messages(listener).len(), 1);
}

#[test]
fn a_call_whose_stream_ended_early_is_asked_for_again_where_its_client_can_not() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |_| stream(&[chunk("retry: 700\nid: a-1\ndata: \n\n")]));
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
    world.server("alpha").on("GET", move |seen| match seen.field("last-event-id") {
        Some("a-1") => stream(&[event_with("a-2", answer)]),
        _ => reply(405, "", ""),
    });
    let text = String::from_utf8(post(&session_field(&session), &call("echo"))).unwrap();
    world.send(client, text.replace(", text/event-stream", "").as_bytes());
    world.advance(Duration::from_millis(699));
    assert_eq!(world.server("alpha").count("GET"), 0);
    world.advance(Duration::from_millis(1));
    assert_eq!(world.clients[client].answer().text(), answer);
}

#[test]
fn a_clients_stream_goes_on_where_it_broke_off_at_every_target() {
    let mut world = Setup::new(&["alpha", "beta", "gamma"]).shards(2).build();
    let (_, session) = world.begin();
    let listener = world.listen(0, &session);
    for (target, id) in [("alpha", "a-1"), ("beta", "b-1"), ("alpha", "a-2")] {
        let key = world.server(target).stream().unwrap();
        world.say(key, vec![Step::Send(event_with(id, UPDATED).into())]);
    }
    let ids: Vec<_> =
        world.clients[listener].answer().events().into_iter().filter_map(|event| event.id).collect();
    assert_eq!(ids.len(), 3);
    world.hang_up(listener);
    world.listen_with(1, &format!("{}last-event-id: {}\r\n", session_field(&session), ids[2]));
    let last = |world: &mut World, target| {
        world.server(target).last("GET").field("last-event-id").map(str::to_owned)
    };
    assert_eq!(last(&mut world, "alpha").as_deref(), Some("a-2"));
    assert_eq!(last(&mut world, "beta").as_deref(), Some("b-1"));
    assert_eq!(last(&mut world, "gamma"), None);
    // Another session's id says nothing here.
    let (_, other) = world.begin();
    world.listen_with(0, &format!("{}last-event-id: {}\r\n", session_field(&other), ids[2]));
    assert_eq!(last(&mut world, "alpha"), None);
}

#[test]
fn a_call_is_resumed_with_a_get() {
    let mut world = Setup::new(&["alpha", "beta"]).shards(2).build();
    let (client, session) = world.begin();
    world.server("beta").on("tools/call", |_| {
        open_stream(&[chunk("id: p-0\nretry: 500\ndata: \n\n"), event_with("p-1", UPDATED)])
    });
    let answer = world.ask(client, &session, &call("beta_echo"));
    let events = answer.events();
    assert_eq!(
        events.iter().map(|event| event.data.as_str()).collect::<Vec<_>>().concat(),
        UPDATED.replace("demo", "beta+demo")
    );
    assert!(events.iter().any(|event| event.retry == Some(500)));
    let id = events.last().unwrap().id.clone().unwrap();
    world.hang_up(client);
    assert_eq!(world.counters(0).calls.value(), 0, "a stream that can be resumed is let go");
    world.server("beta").on("GET", |seen| match seen.field("last-event-id") {
        Some("p-1") => stream(&[event_with(
            "p-2",
            r#"{"jsonrpc":"2.0","id":1,"result":{"contents":[{"uri":"demo://one"}]}}"#,
        )]),
        _ => reply(400, "", ""),
    });
    let resumed = world.listen_with(1, &format!("{}last-event-id: {id}\r\n", session_field(&session)));
    let answer = world.clients[resumed].answer();
    assert!(answer.complete);
    assert_eq!(answer.json()["result"], json!({"contents": [{"uri": "beta+demo://one"}]}));
    assert_eq!(world.server("alpha").count("GET"), 0);
    assert_eq!(world.counters(1).calls.value(), 0);
}

#[test]
fn a_target_that_hangs_up_to_be_polled_is_polled_by_the_client() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |_| stream(&[chunk("id: p-0\nretry: 500\ndata:\n\n")]));
    let answer = world.ask(client, &session, &call("echo"));
    assert!(answer.complete && answer.messages().is_empty());
    assert_eq!(answer.events().last().unwrap().data, "");
    assert!(answer.events().iter().any(|event| event.id.is_some()));
}

#[test]
fn a_stream_that_its_target_does_not_resume_is_refused() {
    for (status, told) in [(400, 400), (404, 404), (405, 405), (500, 404), (401, 404)] {
        let mut world = World::new(&["alpha"]);
        world.server("alpha").keeps_sessions = false;
        let (client, session) = world.begin();
        world.server("alpha").on("tools/call", |_| open_stream(&[event_with("p-1", UPDATED)]));
        let id = world.ask(client, &session, &call("echo")).events()[0].id.clone().unwrap();
        world.server("alpha").on("GET", move |_| reply(status, "", ""));
        let resumed = world.listen_with(0, &format!("{}last-event-id: {id}\r\n", session_field(&session)));
        assert_eq!(world.clients[resumed].answer().status, told);
        world.kill("alpha");
        world.server("alpha").refuses = Some(Some(mcp_proto::Fault::Refused));
        let resumed = world.listen_with(0, &format!("{}last-event-id: {id}\r\n", session_field(&session)));
        assert_eq!(world.clients[resumed].answer().status, 404);
    }
}

#[test]
fn targets_that_come_and_go_are_announced_and_served() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    let listener = world.listen(0, &session);
    let routes = |names: &[(&str, usize)]| {
        let targets =
            names.iter().map(|(name, number)| crate::support::setup::target(name, *number)).collect();
        routing::Routes::new(targets).unwrap()
    };
    let changed = ["tools", "prompts", "resources"].map(|list| format!("notifications/{list}/list_changed"));
    world.reroute(routes(&[("alpha", 0)]));
    assert_eq!(world.methods(listener), changed);
    assert_eq!(world.ask(client, &session, &call("alpha_echo")).tool_text(), "alpha:echo");
    assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), "alpha:echo");
    world.say_on_stream("alpha", UPDATED);
    world.add_server("gamma", 2);
    world.reroute(routes(&[("alpha", 0), ("gamma", 2)]));
    assert_eq!(world.methods(listener).len(), 7);
    assert_eq!(world.ask(client, &session, &call("gamma_echo")).tool_text(), "gamma:echo");
    assert_eq!(world.server("gamma").methods()[..2], ["initialize", "notifications/initialized"]);
    world.say_on_stream("gamma", UPDATED);
    let messages = world.messages(listener);
    assert_eq!(messages.last().unwrap()["params"]["uri"], "gamma+demo://one");
    let listed = world.ask(client, &session, &request("tools/list", "{}"));
    assert_eq!(listed.json()["result"]["tools"].as_array().unwrap().len(), 4);
    // The same targets again are no news.
    let before = world.messages(listener).len();
    world.reroute(routes(&[("alpha", 0), ("gamma", 2)]));
    assert_eq!(world.messages(listener).len(), before);
}

#[test]
fn a_change_while_no_stream_was_open_is_told_when_one_opens() {
    let mut world = World::new(&["alpha", "beta"]);
    let (_, session) = world.begin();
    world.reroute(routing::Routes::new(vec![crate::support::setup::target("alpha", 0)]).unwrap());
    let listener = world.listen(0, &session);
    assert_eq!(world.methods(listener).len(), 3);
    let again = world.listen(0, &session);
    assert_eq!(world.methods(again).len(), 0);
}

#[test]
fn a_client_that_closes_its_side_of_a_stream_has_left() {
    let mut world = World::new(&["alpha"]);
    let (_, session) = world.begin();
    let listener = world.listen(0, &session);
    world.half_close(listener);
    assert_eq!(world.clients[listener].end, Some(End::Aborted));
    assert_eq!((world.counters(0).streams.value(), world.counters(0).calls.value()), (0, 0));
}

#[test]
fn an_address_given_up_ends_its_own_connections_and_no_others() {
    let mut world = World::new(&["alpha"]);
    let elsewhere = world.connect_at(([127, 0, 0, 1], 9090).into(), 0);
    let (client, session) = world.begin();
    let listener = world.listen(0, &session);
    let idle = world.connect(0);
    world.server("alpha").delay = 2 * SECOND;
    let asked = world.ask_later(client, &session, &call("echo"));
    world.unlisten(AT);
    assert!(world.clients[listener].answer().complete);
    assert_eq!([listener, idle].map(|it| world.clients[it].end), [Some(End::Finished); 2]);
    world.advance(2 * SECOND);
    assert!(world.is_answered(client, asked));
    assert_eq!(world.clients[client].answer().field("connection"), Some("close"));
    assert_eq!([client, elsewhere].map(|it| world.clients[it].end), [Some(End::Finished), None]);
    // Who listens there again serves anew, and whoever was elsewhere stayed.
    let again = world.connect(0);
    for client in [again, elsewhere] {
        let asked = world.ask_later(client, &session, &call("echo"));
        world.advance(2 * SECOND);
        assert!(world.is_answered(client, asked));
        assert_eq!(world.clients[client].end, None);
    }
}

#[test]
fn draining_ends_streams_and_lets_calls_finish() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    let listener = world.listen(0, &session);
    let idle = world.connect(0);
    world.server("alpha").delay = 2 * SECOND;
    let asked = world.ask_later(client, &session, &call("echo"));
    world.drain(10 * SECOND);
    assert!(world.clients[listener].answer().complete);
    assert_eq!([listener, idle].map(|it| world.clients[it].end), [Some(End::Finished); 2]);
    assert!(world.shards[0].accepted(AT, ([127, 0, 0, 1], 1).into(), world.now).is_err());
    assert!(!world.shards[0].is_drained());
    world.advance(2 * SECOND);
    assert!(world.is_answered(client, asked));
    assert_eq!(world.clients[client].answer().field("connection"), Some("close"));
    assert_eq!(world.clients[client].end, Some(End::Finished));
    assert!(world.shards[0].is_drained());
}

#[test]
fn what_is_left_when_grace_is_over_is_aborted() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |_| Vec::new());
    world.ask_later(client, &session, &call("echo"));
    world.drain(10 * SECOND);
    world.advance(Duration::from_millis(9_999));
    assert_eq!(world.clients[client].end, None);
    world.advance(Duration::from_millis(1));
    assert_eq!(world.clients[client].end, Some(End::Aborted));
    assert!(world.shards[0].is_drained());
    assert_eq!(world.connections("alpha"), []);
}
