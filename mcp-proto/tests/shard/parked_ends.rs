//! Parked calls that end otherwise than with their answer: limits, time, clients and targets that leave.

use crate::support::Setup;
use crate::support::modern::Ask;
use crate::support::parking::{
    ACCEPT, FORM, MINUTE, ROOTS, asking, asking_with, assert_quiet, bodies, finish, key,
};
use crate::support::server::{json_reply, open_stream, stream_end};
use serde_json::json;
use std::time::Duration;

#[test]
fn a_call_that_nobody_goes_on_with_is_given_up() {
    let mut world = asking(&["alpha"], 1, &[FORM]);
    let answer = world.ask_modern(0, &Ask::call(1));
    let call = world.server("alpha").last("tools/call").clone();
    world.advance(10 * MINUTE - Duration::from_millis(1));
    assert_eq!(world.server("alpha").count("notifications/cancelled"), 0);
    world.advance(Duration::from_millis(1));
    let cancelled = world.server("alpha").last("notifications/cancelled").clone();
    assert_eq!(
        cancelled.body,
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{},"reason":"the client gave it up"}}}}"#,
            call.id.clone().unwrap()
        )
    );
    assert_eq!(cancelled.session(), call.session());
    assert!(!world.connections("alpha").contains(&call.key));
    assert_quiet(&world);
    let answer = world.ask_modern(0, &Ask::again(2, &answer.state(), "{}"));
    assert_eq!(answer.code(), Some(-32602));
    world.begin_modern(0, &Ask::call(3));
    assert_eq!(world.server("alpha").last("tools/call").session(), call.session());
}

#[test]
fn asking_again_and_again_does_not_keep_a_call() {
    let mut world = asking(&["alpha"], 1, &[FORM]);
    let mut answer = world.ask_modern(0, &Ask::call(1));
    for _ in 0..5 {
        world.advance(2 * MINUTE - Duration::from_secs(1));
        answer = world.ask_modern(0, &Ask::again(2, &answer.state(), "{}"));
        assert_eq!(answer.asked().len(), 1);
    }
    world.advance(Duration::from_secs(5));
    assert_eq!(world.server("alpha").count("notifications/cancelled"), 1);
    assert_quiet(&world);
}

#[test]
fn a_target_that_dies_while_its_call_is_parked_fails_the_next_request() {
    for hangs_up in [false, true] {
        let mut world = asking(&["alpha"], 1, &[FORM]);
        let answer = world.ask_modern(0, &Ask::call(1));
        if hangs_up {
            let key = world.server("alpha").last("tools/call").key;
            world.say(key, stream_end());
        } else {
            world.kill("alpha");
        }
        assert_eq!(world.counters(0).parked.value(), 1);
        let responses = format!(r#"{{"{}":{ACCEPT}}}"#, key(&answer));
        let answer = world.ask_modern(0, &Ask::again(2, &answer.state(), &responses));
        let words = match hangs_up {
            true => "target \"alpha\" failed: it hung up without an answer",
            false => {
                "target \"alpha\" failed: the connection broke before the answer was complete (connection reset)"
            }
        };
        assert_eq!(answer.tool_text(), words);
        assert_eq!(
            (answer.json()["id"].clone(), answer.json()["result"]["isError"].clone()),
            (json!(2), json!(true))
        );
        world.advance(MINUTE);
        assert_quiet(&world);
    }
}

#[test]
fn failures_kept_as_http_answers_keep_their_meaning() {
    let mut world = Setup::new(&["alpha"]).build();
    world.server("alpha").on("tools/call", |_| Vec::new());
    let client = world.begin_modern(0, &Ask::call(1));
    let call = world.server("alpha").last("tools/call").clone();
    world.say_on_stream("alpha", FORM);
    let answer = world.clients[client].answer();
    world.say(call.key, json_reply(400, &call.error(-32602, "no")));
    let responses = format!(r#"{{"{}":{ACCEPT}}}"#, key(&answer));
    let answer = world.ask_modern(0, &Ask::again(2, &answer.state(), &responses));
    assert_eq!(
        (answer.status, answer.text()),
        (400, r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"no"}}"#)
    );
    assert_quiet(&world);
}

#[test]
fn closing_the_stream_cancels_a_call_but_not_a_parked_one() {
    for end in ["reset", "fin", "parked"] {
        for shard in [0, 1] {
            let chunks: &'static [&'static str] = if end == "parked" { &[FORM] } else { &[] };
            let mut world = asking(&["alpha"], 2, chunks);
            let client = world.begin_modern(shard, &Ask::call(1));
            let call = world.server("alpha").last("tools/call").clone();
            match end {
                "fin" => world.half_close(client),
                _ => world.hang_up(client),
            }
            if end == "parked" {
                assert_eq!(world.server("alpha").count("notifications/cancelled"), 0);
                assert_eq!(world.counters(shard).parked.value(), 1);
                continue;
            }
            let cancelled = world.server("alpha").last("notifications/cancelled").clone();
            assert_eq!(cancelled.json()["params"]["requestId"].to_string(), call.id.clone().unwrap());
            assert_eq!(cancelled.session(), call.session());
            assert!(!world.connections("alpha").contains(&call.key));
            assert_quiet(&world);
        }
    }
}

#[test]
fn a_client_that_leaves_its_new_request_cancels_the_call_wherever_it_is() {
    for shard in [0, 1] {
        let mut world = asking(&["alpha"], 2, &[FORM]);
        let answer = world.ask_modern(0, &Ask::call(1));
        let call = world.server("alpha").last("tools/call").clone();
        let responses = format!(r#"{{"{}":{ACCEPT}}}"#, key(&answer));
        let client = world.begin_modern(shard, &Ask::again(2, &answer.state(), &responses));
        world.hang_up(client);
        let cancelled = world.server("alpha").last("notifications/cancelled").clone();
        assert_eq!(cancelled.json()["params"]["requestId"].to_string(), call.id.unwrap());
        assert_quiet(&world);
    }
}

#[test]
fn a_client_that_leaves_closes_the_stream_of_a_modern_target() {
    let mut world = Setup::modern(&["alpha"]);
    world.server("alpha").on("tools/call", |_| open_stream(&[]));
    let client = world.begin_modern(0, &Ask::call(1));
    let call = world.server("alpha").last("tools/call").clone();
    world.hang_up(client);
    assert!(!world.connections("alpha").contains(&call.key));
    assert_eq!(world.server("alpha").count("notifications/cancelled"), 0);
    assert_quiet(&world);
}

#[test]
fn an_idle_session_ends_with_its_stream() {
    let mut world = Setup::new(&["alpha"]).build();
    world.ask_modern(0, &Ask::call(1));
    assert_eq!(world.counters(0).streams.value(), 1);
    world.advance(31 * MINUTE);
    assert_eq!(world.counters(0).streams.value(), 0);
    assert_eq!(world.counters(0).sessions.value(), 0);
    assert_eq!(world.server("alpha").count("DELETE"), world.server("alpha").count("initialize"));
    assert_quiet(&world);
}

#[test]
fn no_more_calls_are_parked_than_allowed() {
    let mut world = asking_with(&["alpha"], 1, &[FORM], |config| config.limits.parked = 1);
    let first = world.ask_modern(0, &Ask::call(1));
    assert_eq!(first.asked().len(), 1);
    let second = world.ask_modern(0, &Ask::call(2));
    assert!(second.complete);
    assert_eq!(
        second.tool_text(),
        "target \"alpha\" asks its client something, and too many calls wait for such answers"
    );
    let error = r#"{"jsonrpc":"2.0","id":"e \"1\"","error":{"code":-32603,"message":"too many calls wait for their clients"}}"#;
    assert_eq!(bodies(&mut world), [error]);
    let call = world.server("alpha").last("tools/call").id.clone().unwrap();
    let cancelled = world.server("alpha").last("notifications/cancelled").json();
    assert_eq!(cancelled["params"]["requestId"].to_string(), call);
    assert_eq!(world.counters(0).parked.value(), 1);
}

#[test]
fn a_target_that_says_too_much_while_its_call_is_parked_is_stopped() {
    let log = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":"{}"}}}}"#,
        "x".repeat(300)
    );
    let question = format!(
        r#"{{"jsonrpc":"2.0","id":9,"method":"elicitation/create","params":{{"message":"{}"}}}}"#,
        "x".repeat(500)
    );
    for (text, replies) in [(&log, 0), (&question, 1)] {
        let mut world = asking_with(&["alpha"], 1, &[FORM], |config| config.limits.parked_bytes = 600);
        let answer = world.ask_modern(0, &Ask::call(1));
        let call = world.server("alpha").last("tools/call").clone();
        world.say_on_call("alpha", &[text, text, text]);
        assert!(!world.connections("alpha").contains(&call.key));
        assert_eq!(world.server("alpha").count("notifications/cancelled"), 1);
        assert_eq!(bodies(&mut world).len(), replies);
        let responses = format!(r#"{{"{}":{ACCEPT}}}"#, key(&answer));
        let answer = world.ask_modern(0, &Ask::again(2, &answer.state(), &responses));
        assert_eq!(
            answer.tool_text(),
            "target \"alpha\" failed: it said too much while its client was being asked"
        );
        assert_quiet(&world);
    }
    // The first question alone is too much.
    let mut world = asking_with(&["alpha"], 1, &[FORM], |config| config.limits.parked_bytes = 10);
    let answer = world.ask_modern(0, &Ask::call(1));
    assert_eq!(
        answer.tool_text(),
        "target \"alpha\" failed: it said too much while its client was being asked"
    );
    assert_quiet(&world);
}

#[test]
fn a_resumed_call_on_a_channel_has_its_deadline_again() {
    let mut world = Setup::new(&["alpha"]).process("alpha").build();
    world.server("alpha").on("tools/call", |_| Vec::new());
    let client = world.begin_modern(0, &Ask::call(1));
    world.print("alpha", &format!("{FORM}\n"));
    let answer = world.clients[client].answer();
    world.advance(9 * MINUTE);
    let responses = format!(r#"{{"{}":{ACCEPT}}}"#, key(&answer));
    let client = world.begin_modern(0, &Ask::again(2, &answer.state(), &responses));
    world.advance(5 * MINUTE - Duration::from_millis(1));
    assert!(world.clients[client].answers().is_empty());
    world.advance(Duration::from_millis(1));
    assert_eq!(
        world.clients[client].answer().tool_text(),
        "target \"alpha\" failed: it took too long to answer"
    );
    assert_quiet(&world);
}

#[test]
fn a_call_that_has_its_answer_is_not_cancelled_when_nobody_comes_for_it() {
    let mut world = asking(&["alpha"], 1, &[FORM]);
    world.ask_modern(0, &Ask::call(1));
    finish(&mut world, "{}");
    assert_eq!(world.counters(0).parked.value(), 1);
    world.advance(10 * MINUTE);
    assert_eq!(world.server("alpha").count("notifications/cancelled"), 0);
    assert_quiet(&world);
}

#[test]
fn every_answer_gives_a_call_its_time_anew() {
    let mut world = asking(&["alpha"], 1, &[FORM, ROOTS]);
    let answer = world.ask_modern(0, &Ask::call(1));
    world.advance(6 * MINUTE);
    let some = format!(r#"{{"{}":{ACCEPT}}}"#, key(&answer));
    let answer = world.ask_modern(0, &Ask::again(2, &answer.state(), &some));
    assert_eq!(answer.asked().len(), 1);
    world.advance(9 * MINUTE);
    assert_eq!(world.counters(0).parked.value(), 1);
    let rest = format!(r#"{{"{}":{{"roots":[]}}}}"#, key(&answer));
    let client = world.begin_modern(0, &Ask::again(3, &answer.state(), &rest));
    finish(&mut world, "{}");
    assert_eq!(world.clients[client].answer().json()["id"], 3);
    assert_quiet(&world);
}
