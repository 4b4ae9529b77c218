//! One test for each bug there was, named after what was seen of it.

use crate::support::client::{call, initialize, post, request, session_field};
use crate::support::server::{
    chunk, event, event_with, json_reply, open_stream, reply, stream, stream_end, stream_head,
};
use crate::support::setup::target;
use crate::support::{End, Setup, Step, World};
use mcp_proto::Fault;
use std::sync::Arc;
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

/// A target that stops in the middle of its answer, for a client that reads it as events.
fn half_an_event(as_events: bool, last: Step) -> World {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", move |seen| {
        let response = seen.response("{}");
        let (front, back) = response.split_at(34);
        let (head, open, close) = match as_events {
            true => (stream_head().to_owned(), "data: ", "\n\n"),
            false => (stream_head().replace("text/event-stream", "application/json"), "", ""),
        };
        let front = format!("{head}{}", chunk(&format!("{open}{front}")));
        let back = format!("{}0\r\n\r\n", chunk(&format!("{back}{close}")));
        let wait = Step::Wait(Duration::from_secs(40));
        vec![Step::Send(front.into()), wait, last.clone(), Step::Send(back.into()), Step::Done]
    });
    let text = String::from_utf8(post(&session_field(&session), &call("echo"))).unwrap();
    world.send(client, text.replace("application/json, text", "text").as_bytes());
    world.advance(Duration::from_secs(50));
    world
}

#[test]
fn a_comment_came_in_the_middle_of_a_slow_event() {
    for as_events in [false, true] {
        let world = half_an_event(as_events, Step::Wait(Duration::ZERO));
        let expected = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n";
        assert_eq!(world.clients[0].answer().text(), expected);
    }
}

#[test]
fn a_failure_in_the_middle_of_an_event_was_told_in_the_middle_of_the_event() {
    for as_events in [false, true] {
        let world = half_an_event(as_events, Step::Reset);
        assert_eq!(world.clients[0].end, Some(End::Aborted));
        assert!(world.clients[0].answer().messages().is_empty());
    }
}

#[test]
fn answers_to_a_batch_were_written_into_each_other() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin_as("2025-03-26", "{}");
    world.server("alpha").on("tools/call", |seen| {
        let event = format!("data: {}\n\n", seen.response("{}"));
        let (front, back) = event.split_at(40);
        let wait = Step::Wait(Duration::from_secs(1));
        vec![
            Step::Send(format!("{}{}", stream_head(), chunk(front)).into()),
            wait,
            Step::Send(chunk(back).into()),
        ]
    });
    let body = format!("[{},{}]", call("alpha_echo"), call("beta_echo").replace(r#""id":1"#, r#""id":2"#));
    world.ask_later(client, &session, &body);
    world.advance(Duration::from_secs(2));
    let ids: Vec<_> = world.messages(client).into_iter().map(|message| message["id"].clone()).collect();
    assert_eq!(ids, [2, 1]);
}

#[test]
fn a_stream_nobody_read_grew_with_what_calls_said() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    let listener = world.listen(0, &session);
    world.clients[listener].window = 0;
    let data = "x".repeat(10_000);
    let notice =
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"data":"{data}"}}}}"#);
    world.server("alpha").on("tools/call", move |seen| {
        let notices = std::iter::repeat_n(event(&notice), 100);
        stream(&notices.chain([event(&seen.response("{}"))]).collect::<Vec<_>>())
    });
    let text = String::from_utf8(post(&session_field(&session), &call("echo"))).unwrap();
    world.send(client, text.replace(", text/event-stream", "").as_bytes());
    assert_eq!(world.clients[client].answer().json()["result"], serde_json::json!({}));
    assert!(world.counters(0).dropped.value() > 90);
}

#[test]
fn a_request_waited_behind_one_that_had_been_given_up() {
    let mut world = Setup::new(&["alpha"]).config(|config| config.limits.target_connections = 1).build();
    let (_, session) = world.begin();
    world.server("alpha").on("tools/call", |_| vec![Step::Wait(Duration::from_secs(7)), Step::Reset]);
    let clients = [0, 4, 1].map(|wait| {
        let client = world.connect(0);
        let method = if wait == 0 { call("echo") } else { request("ping/pong", "{}") };
        world.ask_later(client, &session, &method);
        world.advance(Duration::from_secs(wait));
        client
    });
    world.advance(Duration::from_secs(3));
    // The first is cut off after seven seconds, the second was given up after five, the third is served.
    assert_eq!(
        clients.map(|client| world.clients[client].answer().code()),
        [None, Some(-32603), Some(-32601)]
    );
}

#[test]
fn a_stream_to_be_opened_again_at_a_target_that_was_gone_kept_the_shard_busy_for_ever() {
    let mut world = World::new(&["alpha", "beta"]);
    let (_, session) = world.begin();
    let listener = world.listen(0, &session);
    world.kill("beta");
    world.reroute(routing::Routes::new(vec![target("alpha", 0)]).unwrap());
    world.advance(Duration::from_secs(2));
    assert_eq!(world.server("beta").count("GET"), 1);
    world.say_on_stream("alpha", r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":1}}"#);
    assert_eq!(world.messages(listener).last().unwrap()["params"]["data"], 1);
}

#[test]
fn a_stream_that_outlived_its_long_answer_was_never_read_again() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |seen| {
        let long = seen.response(&format!(r#"{{"x":"{}"}}"#, "x".repeat(130_500)));
        [open_stream(&[event(&long)]), vec![Step::Wait(Duration::from_secs(1))], stream_end()].concat()
    });
    world.clients[client].window = 1_000;
    world.ask_later(client, &session, &call("echo"));
    world.take(client, 60_000);
    world.take(client, usize::MAX);
    assert!(world.clients[client].answer().complete);
    world.advance(Duration::from_secs(2));
    assert_eq!(world.counters(0).calls.value(), 0);
}

#[test]
fn a_target_that_left_and_came_back_was_not_heard_any_more() {
    let mut world = World::new(&["alpha", "beta"]);
    let (_, session) = world.begin();
    let listener = world.listen(0, &session);
    world.kill("beta");
    world.reroute(routing::Routes::new(vec![target("alpha", 0)]).unwrap());
    world.advance(Duration::from_secs(2));
    world.reroute(routing::Routes::new(vec![target("alpha", 0), target("beta", 1)]).unwrap());
    world.say_on_stream("beta", r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":2}}"#);
    assert_eq!(world.messages(listener).last().unwrap()["params"]["data"], 2);
}

#[test]
fn a_web_page_that_stopped_halfway_kept_the_shard_busy_for_ever() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |_| {
        vec![Step::Send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 9\r\n\r\n<ht".to_vec(),
        )]
    });
    assert_eq!(world.ask(client, &session, &call("echo")).status, 200);
    world.advance(Duration::from_secs(301));
    assert_eq!(world.connections("alpha"), []);
}

#[test]
fn a_target_that_said_not_to_wait_and_went_away_kept_the_shard_busy_for_ever() {
    let mut world = World::new(&["alpha"]);
    let (_, session) = world.begin();
    world.listen(0, &session);
    let stream = world.server("alpha").stream().unwrap();
    world.say(stream, vec![Step::Send(chunk("retry: 0\n\n").into())]);
    world.server("alpha").refuses = Some(Some(Fault::Refused));
    world.kill("alpha");
    world.advance(Duration::from_secs(10));
    world.server("alpha").refuses = None;
    world.advance(Duration::from_secs(30));
    assert_eq!(world.server("alpha").count("GET"), 2);
}

/// A call by a client that takes no events, of a target that sends one with an id and hangs up.
fn hangs_up_after(message: &'static str) -> World {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.listen(0, &session);
    world.server("alpha").on("tools/call", move |_| stream(&[event_with("7", message)]));
    world.server("alpha").on("GET", |_| reply(405, "", ""));
    let text = String::from_utf8(post(&session_field(&session), &call("echo"))).unwrap();
    world.send(client, text.replace(", text/event-stream", "").as_bytes());
    world
}

#[test]
fn a_client_was_left_waiting_when_only_the_gateway_had_seen_an_event_id() {
    let notice = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":1}}"#;
    for message in [notice, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#] {
        let mut world = hangs_up_after(message);
        world.advance(Duration::from_secs(2));
        let answer = world.clients[0].answer();
        assert_eq!(answer.tool_text(), "target \"alpha\" failed: it hung up without an answer");
    }
}

#[test]
fn the_id_of_a_call_s_event_was_given_to_the_reader_of_the_session_s_stream() {
    let world = hangs_up_after(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":1}}"#);
    assert_eq!(world.messages(1).last().unwrap()["params"]["data"], 1);
    assert!(!world.clients[1].answer().text().contains("id: "));
}

#[test]
fn initialize_in_a_batch_put_a_second_head_into_the_answer() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin_as("2025-03-26", "{}");
    let body = format!("[{},{}]", request("ping", "{}"), initialize("2025-03-26", "{}"));
    let answer = world.ask(client, &session, &body);
    let codes: Vec<_> = answer.messages().iter().map(|message| message["error"]["code"].as_i64()).collect();
    assert_eq!((answer.status, codes), (200, vec![None, Some(-32600)]));
}

#[test]
fn one_list_of_a_batch_that_was_there_let_another_wait_without_end() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin_as("2025-03-26", "{}");
    world.server("beta").on("prompts/list", |_| vec![Step::Wait(Duration::from_secs(20)), Step::Reset]);
    let prompts = request("prompts/list", "{}").replace(r#""id":1"#, r#""id":2"#);
    let number = world.ask_later(client, &session, &format!("[{},{prompts}]", request("tools/list", "{}")));
    world.advance(Duration::from_secs(6));
    assert!(world.is_answered(client, number));
}

#[test]
fn a_target_that_hung_up_in_a_batch_ended_the_answers_of_others() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin_as("2025-03-26", "{}");
    let notice = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":1}}"#;
    world.server("alpha").on("tools/call", move |_| stream(&[event_with("7", notice)]));
    world.server("alpha").on("GET", |_| reply(405, "", ""));
    world.server("beta").delay = Duration::from_secs(1);
    let body = format!("[{},{}]", call("alpha_echo"), call("beta_echo").replace(r#""id":1"#, r#""id":2"#));
    world.ask_later(client, &session, &body);
    world.advance(Duration::from_secs(2));
    assert_eq!(world.methods(client), ["notifications/message", "answer", "answer"]);
}

#[test]
fn what_a_client_sent_behind_its_last_request_was_kept() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.clients[client].window = 0;
    let fields = format!("connection: close\r\n{}", session_field(&session));
    world.send(client, &post(&fields, &call("echo")));
    let before = format!("{:?}", world.shards[0]).len();
    world.send(client, &[b'x'; 100_000]);
    assert!(format!("{:?}", world.shards[0]).len() < before + 1_000);
}

#[test]
fn a_target_new_to_the_home_of_a_session_last_was_never_reached_from_elsewhere() {
    let mut world = Setup::new(&["alpha"]).shards(2).build();
    let (_, session) = world.begin();
    world.add_server("beta", 1);
    let both = || Arc::new(routing::Routes::new(vec![target("alpha", 0), target("beta", 1)]).unwrap());
    let now = world.now;
    world.shards[1].reroute(both(), now);
    let client = world.connect(1);
    world.ask_later(client, &session, &call("beta_echo"));
    world.shards[0].reroute(both(), now);
    world.advance(Duration::from_secs(10));
    assert_eq!(world.ask_on(1, &session, &call("beta_echo")).tool_text(), "beta:echo");
}

#[test]
fn a_retry_was_sent_on_another_connection_as_stale_as_the_first() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    let other = world.connect(0);
    world.server("alpha").delay = Duration::from_secs(1);
    for client in [client, other] {
        world.ask_later(client, &session, &call("alpha_echo"));
    }
    world.advance(Duration::from_secs(2));
    let stale = world.connections("alpha");
    world.server("alpha").delay = Duration::ZERO;
    world.server("alpha").on("prompts/get", move |seen| match stale.contains(&seen.key) {
        true => vec![Step::Reset],
        false => seen.result(r#"{"messages":[]}"#),
    });
    let answer = world.ask(client, &session, &request("prompts/get", r#"{"name":"alpha_greet"}"#));
    assert_eq!(answer.json()["result"]["messages"], serde_json::json!([]));
}

#[test]
fn an_answer_over_several_lines_broke_the_event_it_was_put_into() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world
        .server("alpha")
        .on("tools/call", |seen| json_reply(404, &seen.error(-32000, "x").replace(',', ",\r\n")));
    let text = String::from_utf8(post(&session_field(&session), &call("echo"))).unwrap();
    world.server("alpha").keeps_sessions = false;
    world.send(client, text.replace("application/json, text", "text").as_bytes());
    assert_eq!(world.messages(client)[0]["error"]["code"], -32000);
}

#[test]
fn sessions_that_had_ended_left_their_timers_behind() {
    let mut world = World::new(&["alpha"]);
    for _ in 0..300 {
        let (client, session) = world.begin();
        world.delete(0, &session);
        world.hang_up(client);
        let all: Vec<_> = (0..world.clients.len()).filter(|it| world.clients[*it].key.is_some()).collect();
        all.into_iter().for_each(|client| world.hang_up(client));
        world.clients.clear();
    }
    world.advance(Duration::from_secs(100));
    let timers = format!("{:?}", world.shards[0]).matches("Session(SessionId").count();
    assert!(timers < 100, "{timers} timers");
}

#[test]
fn a_tool_whose_name_looks_shortened_was_looked_up_at_every_call() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    world.server("alpha").lists.insert("tools", vec!["log_20260101".to_owned()]);
    for _ in 0..3 {
        assert_eq!(
            world.ask(client, &session, &call("alpha_log_20260101")).tool_text(),
            "alpha:log_20260101"
        );
    }
    assert_eq!(world.server("beta").count("tools/list"), 1);
}

#[test]
fn what_a_target_had_listed_was_kept_when_it_was_gone() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    world.server("beta").lists.insert("tools", vec!["peculiar".to_owned()]);
    world.ask(client, &session, &request("tools/list", "{}"));
    world.reroute(routing::Routes::new(vec![target("alpha", 0)]).unwrap());
    world.kill("beta");
    assert!(!format!("{:?}", world.shards[0]).contains("peculiar"));
}

#[test]
fn a_session_that_was_being_ended_was_cut_off_by_a_drain() {
    let mut world = World::new(&["alpha"]);
    let (_, session) = world.begin();
    world.server("alpha").delay = Duration::from_secs(1);
    let client = world.connect(0);
    let head = format!("DELETE /mcp HTTP/1.1\r\nhost: localhost\r\nmcp-session-id: {session}\r\n\r\n");
    world.send(client, head.as_bytes());
    world.drain(Duration::from_secs(5));
    world.advance(Duration::from_secs(2));
    assert_eq!(world.clients[client].answer().status, 200);
}

#[test]
fn settings_that_two_targets_disagreed_on_were_those_of_a_third() {
    let mut world = World::new(&["alpha", "beta", "gamma"]);
    for (number, name) in ["alpha", "beta", "gamma"].into_iter().enumerate() {
        world.server(name).capabilities = serde_json::json!({"experimental": {"x": {"n": number}, "y": {}}});
    }
    world.begin();
    let answer = world.clients[0].answers().remove(0).json();
    assert_eq!(answer["result"]["capabilities"]["experimental"], serde_json::json!({"y": {}}));
}

#[test]
fn a_slow_target_was_announced_and_listed_again_without_end() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    let listener = world.listen(0, &session);
    world.server("beta").delay = Duration::from_secs(7);
    for _ in 0..4 {
        world.ask_later(client, &session, &request("tools/list", "{}"));
        world.advance(Duration::from_secs(10));
    }
    // Told once, when it was news; then the copy that stood in was as good.
    assert_eq!(world.methods(listener), ["notifications/tools/list_changed"]);
}

#[test]
fn the_last_page_of_a_list_that_came_late_stood_in_for_the_whole_list() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    world.server("beta").page = 1;
    let cursor =
        world.ask(client, &session, &request("tools/list", "{}")).json()["result"]["nextCursor"].clone();
    world.server("beta").delay = Duration::from_secs(7);
    for params in [format!(r#"{{"cursor":{cursor}}}"#), "{}".to_owned()] {
        world.ask_later(client, &session, &request("tools/list", &params));
        world.advance(Duration::from_secs(10));
    }
    let partial = &world.clients[client].answer().json()["result"]["_meta"]["mcp-gateway/partial"];
    assert_eq!((&partial[0]["target"], &partial[0]["stale"]), (&"beta".into(), &false.into()));
}

#[test]
fn a_plain_name_asked_all_targets_for_their_lists_at_every_call() {
    let mut world = World::new(&["alpha", "beta"]);
    world.server("beta").lists.get_mut("tools").unwrap().push("only".to_owned());
    let (client, session) = world.begin();
    for _ in 0..3 {
        assert_eq!(world.ask(client, &session, &call("only")).tool_text(), "beta:only");
    }
    assert_eq!(world.server("alpha").count("tools/list"), 1);
}

#[test]
fn an_answer_that_ended_in_the_middle_of_its_event_was_taken_for_whole() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |seen| {
        let whole = seen.response(r#"{"x":"yyyy"}"#);
        let (half, _) = whole.split_at(whole.len() - 4);
        vec![
            Step::Send(format!("{}{}", stream_head(), chunk(&format!("data: {half}"))).into()),
            Step::Wait(Duration::from_secs(1)),
            Step::Send(chunk("\n\n").into()),
        ]
    });
    world.ask_later(client, &session, &call("alpha_echo"));
    world.advance(Duration::from_secs(2));
    assert_eq!(world.clients[client].end, Some(End::Aborted));
}

#[test]
fn a_level_that_no_target_took_was_said_to_be_set() {
    let mut world = World::new(&["alpha", "beta"]);
    let (client, session) = world.begin();
    for target in ["alpha", "beta"] {
        world.server(target).on("logging/setLevel", |_| reply(500, "", ""));
    }
    let set = request("logging/setLevel", r#"{"level":"info"}"#);
    assert_eq!(world.ask(client, &session, &set).code(), Some(-32603));
}

#[test]
fn a_call_whose_client_had_gone_waited_for_ever_on_a_silent_stream() {
    for asks in [false, true] {
        let mut world = World::new(&["alpha"]);
        let question = event(r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#);
        let said = if asks { vec![question] } else { Vec::new() };
        world.server("alpha").on("tools/call", move |_| open_stream(&said));
        let (client, session) = world.begin();
        world.ask_later(client, &session, &call("echo"));
        world.advance(Duration::from_secs(3600));
        assert_eq!(world.counters(0).calls.value(), 1, "its client is there");
        world.hang_up(client);
        world.advance(Duration::from_secs(299));
        assert_eq!(world.counters(0).calls.value(), 1, "the target may finish");
        world.advance(Duration::from_secs(3600));
        world.assert_empty();
    }
}

#[test]
fn a_stream_that_was_left_open_behind_its_answer_was_kept_for_ever() {
    let mut world = World::new(&["alpha"]);
    world.server("alpha").on("tools/call", |seen| open_stream(&[event(&seen.response("{}"))]));
    let (client, session) = world.begin();
    for _ in 0..3 {
        assert!(world.ask(client, &session, &call("echo")).complete);
    }
    assert_eq!(world.counters(0).calls.value(), 3);
    world.advance(Duration::from_secs(301));
    assert_eq!((world.counters(0).calls.value(), world.counters(0).target_connections.value()), (0, 0));
}

#[test]
fn a_target_that_fell_silent_after_it_had_been_paused_was_waited_for_for_ever() {
    let mut world = Setup::new(&["alpha"]).config(|config| config.limits.buffer = 4 << 10).build();
    let piece = "x".repeat(6 << 10);
    world.server("alpha").on("tools/call", move |_| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n{\"";
        vec![
            Step::Send(head.into()),
            // The deadline that was set before these is looked at while the target is paused.
            Step::Wait(Duration::from_secs(290)),
            Step::Send(piece.clone().into()),
        ]
    });
    let (client, session) = world.begin();
    world.clients[client].window = 0;
    world.ask_later(client, &session, &call("echo"));
    world.advance(Duration::from_secs(1));
    world.take(client, 300);
    world.advance(Duration::from_secs(310));
    world.take(client, usize::MAX);
    world.advance(Duration::from_secs(301));
    assert_eq!(world.clients[client].end, Some(End::Aborted));
    assert_eq!(world.counters(0).calls.value(), 0);
}

#[test]
fn a_process_was_begun_for_a_session_that_had_ended_and_never_ended_itself() {
    let setup = Setup::new(&["alpha"]).process("alpha");
    let mut world = setup.targets(|target| target.protocol = routing::Protocol::Auto).build();
    world.server("alpha").on("server/discover", |_| Vec::new());
    let client = world.connect(0);
    world.send(client, &post("", &initialize("2025-11-25", "{}")));
    world.hang_up(client);
    world.advance(Duration::from_secs(3600));
    assert_eq!(world.server("alpha").count("initialize"), 0);
    world.assert_empty();
}
