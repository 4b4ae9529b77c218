//! One scripted conversation, twice: what the client and the targets hear must not depend on the runtime.
//!
//! Each step waits for the effect of the one before, so that nothing is left to the timing of reads.

use crate::gateway::Runtime;
use crate::talk::{
    CALL, EVENTS, INITIALIZE, INITIALIZED_RESULT, LOGGED, RESULT, TOOLS, Talk, chunk, json, post,
};
use crate::wire::{End, field};

const LIST: &str = r#"{"jsonrpc":"2.0","id":"list","method":"tools/list"}"#;

/// Runs `script` before `targets` legacy targets on both runtimes and compares what was heard.
fn alike(targets: usize, more: &str, script: impl Fn(&mut Talk)) {
    alike_before(&vec!["legacy"; targets], more, script);
}

/// The same before targets of these protocols.
pub(crate) fn alike_before(protocols: &[&'static str], more: &str, script: impl Fn(&mut Talk)) {
    let held = |runtime| {
        let mut talk = Talk::start_before(runtime, protocols, more)?;
        script(&mut talk);
        Some(talk.ended().join("\n"))
    };
    let tokio = held(Runtime::Tokio).unwrap();
    let Some(glommio) = held(Runtime::Glommio) else { return };
    assert_eq!(tokio, glommio);
}

#[test]
fn a_session_with_one_target() {
    alike(1, "", |talk| {
        let (client, targets, session) = talk.session();
        talk.say(client, post(&session, LIST));
        assert!(talk.hear_message(targets[0]).ends_with(LIST));
        let list = format!(r#"{{"jsonrpc":"2.0","id":"list","result":{TOOLS}}}"#);
        talk.say(targets[0], json("", &list));
        assert!(talk.hear_message(client).ends_with(&list));
        talk.say(client, post(&session, CALL));
        assert!(talk.hear_message(targets[0]).ends_with(CALL));
        talk.say(targets[0], json("", RESULT));
        assert!(talk.hear_message(client).ends_with(RESULT));
    });
}

#[test]
fn a_session_with_two_targets() {
    alike(2, "", |talk| {
        let (client, targets, session) = talk.session();
        talk.say(client, post(&session, LIST));
        for target in &targets {
            let request = talk.hear_message(*target);
            let (_, id) = request.split_once(r#""id":"#).unwrap();
            let (id, _) = id.split_once(',').unwrap();
            let list = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{TOOLS}}}"#);
            talk.say(*target, json("", &list));
        }
        let list = talk.hear_message(client);
        assert!(list.contains(r#""name":"a_add""#) && list.contains(r#""name":"b_add""#), "{list}");
        talk.say(client, post(&session, &CALL.replace("add", "b_add")));
        assert!(talk.hear_message(targets[1]).ends_with(CALL));
        talk.say(targets[1], json("", RESULT));
        assert!(talk.hear_message(client).ends_with(RESULT));
    });
}

#[test]
fn an_event_stream_in_fragments() {
    for targets in [1, 2] {
        alike(targets, "", |talk| {
            let (client, all, session) = talk.session();
            let target = all[0];
            talk.say(client, post(&session, &CALL.replace("add", if targets > 1 { "a_add" } else { "add" })));
            assert!(talk.hear_message(target).ends_with(CALL));
            talk.say(target, EVENTS);
            let (first, second) = LOGGED.split_at(7);
            for piece in [": hello\r", "\nevent: mess", "age\nda", "ta:", first, second, "\r\n"] {
                talk.say(target, chunk(piece));
            }
            talk.say(target, "2\r");
            talk.say(target, "\n\r");
            talk.say(target, "\n\r\n");
            talk.hear(client, &format!("data: {LOGGED}\n\n\r\n"));
            let (start, rest) = RESULT.split_at(RESULT.find("content").unwrap());
            let (middle, last) = rest.split_at(30);
            talk.say(target, chunk(&format!("data: {start}")));
            talk.hear(client, "\"result\":{\"\r\n");
            talk.say(target, chunk(middle));
            talk.hear(client, &format!("{middle}\r\n"));
            talk.say(target, format!("{}0\r\n\r\n", chunk(&format!("{last}\n\n"))));
            talk.hear(client, "0\r\n\r\n");
        });
    }
}

#[test]
fn pipelined_requests() {
    alike(1, "", |talk| {
        let (client, targets, session) = talk.session();
        let next = CALL.replace("\"id\":2", "\"id\":3");
        let nowhere = "GET /elsewhere HTTP/1.1\r\nHost: localhost\r\n\r\n";
        talk.say(client, [&post(&session, CALL), nowhere, &post(&session, &next)].concat());
        assert!(talk.hear_message(targets[0]).ends_with(CALL));
        talk.say(targets[0], json("", RESULT));
        assert!(talk.hear_message(targets[0]).ends_with(&next));
        let result = RESULT.replace("\"id\":2", "\"id\":3");
        talk.say(targets[0], json("", &result));
        assert!(talk.hear_message(client).ends_with(RESULT));
        assert!(talk.hear_message(client).starts_with("HTTP/1.1 404 "));
        assert!(talk.hear_message(client).ends_with(&result));
    });
}

#[test]
fn a_client_that_says_no_more() {
    alike(1, "", |talk| {
        let (client, target) = talk.called();
        talk.wire(client).end();
        talk.say(target, json("", RESULT));
        assert!(talk.hear_out(client).ends_with(RESULT));
    });
}

#[test]
fn a_client_that_leaves() {
    alike(1, "", |talk| {
        let (client, target) = talk.called();
        talk.leave(client);
        talk.say(target, json("", RESULT));
        // The target's connection serves the next.
        let (client, _, session) = talk.again(target);
        talk.say(client, post(&session, CALL));
        assert!(talk.hear_message(target).ends_with(CALL));
        talk.say(target, json("", RESULT));
        assert!(talk.hear_message(client).ends_with(RESULT));
    });
}

#[test]
fn a_request_byte_by_byte() {
    alike(1, "", |talk| {
        let (client, targets, session) = talk.session();
        for byte in post(&session, CALL).bytes() {
            talk.say(client, [byte]);
        }
        assert!(talk.hear_message(targets[0]).ends_with(CALL));
        for byte in json("", RESULT).bytes() {
            talk.say(targets[0], [byte]);
        }
        assert!(talk.hear_message(client).ends_with(RESULT));
    });
}

#[test]
fn heads_that_are_refused() {
    alike(1, "", |talk| {
        let bare_line_feed = "POST /mcp HTTP/1.1\nHost: localhost\n\n".to_owned();
        let two_lengths =
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
        let length_and_chunks = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let endless = format!("GET /mcp HTTP/1.1\r\nHost: localhost\r\nX: {}", "y ".repeat(20 << 10));
        let table = [
            ("no words\r\n\r\n".to_owned(), "400"),
            (bare_line_feed, "400"),
            ("GET /mcp HTTP/1.1\r\n\r\n".to_owned(), "400"),
            (two_lengths.to_owned(), "400"),
            (length_and_chunks.to_owned(), "400"),
            ("GET /mcp HTTP/3.0\r\nHost: localhost\r\n\r\n".to_owned(), "505"),
            (endless, "431"),
        ];
        for (head, status) in table {
            let client = talk.client();
            talk.say(client, head);
            let answer = talk.hear_out(client);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
            assert_eq!(field(&answer, "connection"), Some("close"));
        }
    });
}

#[test]
fn a_body_that_is_too_large() {
    alike(1, "limits: {request: 1000}\n", |talk| {
        let chunked = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        let body = "[".repeat(1001);
        for request in [post("", &body), format!("{chunked}{}0\r\n\r\n", chunk(&body))] {
            let client = talk.client();
            talk.say(client, request);
            assert!(talk.hear_out(client).starts_with("HTTP/1.1 413 "));
        }
    });
}

#[test]
fn a_body_that_comes_though_it_was_refused() {
    alike(1, "limits: {request: 1000}\n", |talk| {
        let client = talk.client();
        let request = post("", &"[".repeat(50_000));
        let (head, body) = request.split_at(request.find("\r\n\r\n").unwrap() + 4);
        talk.say(client, head);
        talk.hear(client, "HTTP/1.1 413 ");
        // The client is still sending (RFC 9112, 9.6).
        talk.say(client, body);
        talk.wire(client).end();
        let (rest, end) = talk.wire(client).hear_out();
        assert!(rest.contains("connection: close\r\n"), "{rest}");
        assert_eq!(end, End::Closed);
    });
}

#[test]
fn a_target_that_breaks_off_its_answer() {
    for targets in [1, 2] {
        alike(targets, "", |talk| {
            let (client, all, session) = talk.session();
            let name = if targets > 1 { "a_add" } else { "add" };
            talk.say(client, post(&session, &CALL.replace("add", name)));
            assert!(talk.hear_message(all[0]).ends_with(CALL));
            // Too long to be rewritten whole.
            let part = r#"{"jsonrpc":"2.0","id":2,"result":{"text":""#;
            talk.say(
                all[0],
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{part}"
                ),
            );
            talk.hear(client, "\"text\":\"");
            talk.leave(all[0]);
            assert!(!talk.hear_out(client).contains("0\r\n\r\n"));
        });
    }
}

#[test]
fn a_target_that_breaks_off_before_its_answer() {
    alike(1, "", |talk| {
        let (client, target) = talk.called();
        talk.leave(target);
        assert!(talk.hear_message(client).contains("the connection broke before the answer was complete"));
    });
}

#[test]
fn a_target_that_speaks_no_http() {
    alike(1, "", |talk| {
        let (client, target) = talk.called();
        talk.say(target, "220 mail.example ESMTP\r\n\r\n");
        assert!(talk.hear_message(client).contains("its answer is malformed"));
    });
}

#[test]
fn a_target_that_refuses_connections() {
    alike(2, "", |talk| {
        talk.targets[1].refuse();
        let client = talk.client();
        talk.say(client, post("", INITIALIZE));
        let target = talk.target(0);
        talk.hear_message(target);
        talk.say(target, json("Mcp-Session-Id: its-own\r\n", INITIALIZED_RESULT));
        let answer = talk.hear_message(client);
        let session = format!("Mcp-Session-Id: {}\r\n", field(&answer, "mcp-session-id").unwrap());
        talk.say(client, post(&session, &CALL.replace("add", "b_add")));
        assert!(talk.hear_message(client).contains("connection refused"));
    });
}

#[test]
fn an_answer_in_chunks() {
    for (targets, name) in [(1, "add"), (2, "a_add")] {
        alike(targets, "", |talk| {
            let (client, all, session) = talk.session();
            talk.say(client, post(&session, &CALL.replace("add", name)));
            assert!(talk.hear_message(all[0]).ends_with(CALL));
            let (start, rest) = RESULT.split_at(RESULT.find("content").unwrap());
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
            talk.say(all[0], [head, &chunk(start)].concat());
            talk.hear(client, &format!("{start}\r\n"));
            talk.say(all[0], format!("{:X};x=\"y\"\r\n{rest}\r\n", rest.len()));
            talk.hear(client, &format!("{rest}\r\n"));
            talk.say(all[0], "0\r\nX-Trailer: 1\r\n\r\n");
            talk.hear(client, "0\r\n\r\n");
        });
    }
}

#[test]
fn an_answer_until_the_connection_closes() {
    alike(1, "", |talk| {
        let (client, target) = talk.called();
        talk.say(target, "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n");
        talk.say(target, RESULT);
        talk.hear(client, &format!("{RESULT}\r\n"));
        talk.leave(target);
        talk.hear(client, "0\r\n\r\n");
    });
}

#[test]
fn a_client_of_http_1_0() {
    alike(1, "", |talk| {
        let (_, targets, session) = talk.session();
        let old = post(&session, CALL).replace("HTTP/1.1", "HTTP/1.0");
        for kept in ["", "Connection: keep-alive\r\n"] {
            let client = talk.client();
            talk.say(client, old.replace("Host", &format!("{kept}Host")));
            assert!(talk.hear_message(targets[0]).ends_with(CALL));
            talk.say(targets[0], json("", RESULT));
            let answer = if kept.is_empty() { talk.hear_out(client) } else { talk.hear_message(client) };
            assert!(answer.ends_with(RESULT));
        }
        // It knows no chunks: what has no length ends with the connection.
        let client = talk.client();
        talk.say(client, &old);
        assert!(talk.hear_message(targets[0]).ends_with(CALL));
        talk.say(
            targets[0],
            format!("{EVENTS}{}0\r\n\r\n", chunk(&format!("data: {LOGGED}\n\ndata: {RESULT}\n\n"))),
        );
        assert!(talk.hear_out(client).ends_with(&format!(
            "\r\n\r\nevent: message\ndata: {LOGGED}\n\nevent: message\ndata: {RESULT}\n\n"
        )));
    });
}

#[test]
fn a_body_sent_when_asked_for() {
    alike(1, "", |talk| {
        let (client, targets, session) = talk.session();
        let request = post(&format!("{session}Expect: 100-continue\r\n"), CALL);
        let (head, body) = request.split_at(request.find("\r\n\r\n").unwrap() + 4);
        talk.say(client, head);
        assert_eq!(talk.hear(client, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
        talk.say(client, body);
        assert!(talk.hear_message(targets[0]).ends_with(CALL));
        talk.say(targets[0], ["HTTP/1.1 100 Continue\r\n\r\n", &json("", RESULT)].concat());
        assert!(talk.hear_message(client).ends_with(RESULT));
    });
}

#[test]
fn a_stream_with_a_notification_until_the_session_ends() {
    alike(1, "", |talk| {
        let (client, targets, session) = talk.session();
        let listener = talk.client();
        let get = format!("/mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{session}\r\n");
        talk.say(listener, format!("GET {get}"));
        talk.hear(listener, "\r\n\r\n");
        assert!(talk.hear_message(targets[0]).starts_with("GET /mcp "));
        talk.say(targets[0], [EVENTS, &chunk(&format!("id: 7\ndata: {LOGGED}\n\n"))].concat());
        assert!(talk.hear(listener, "\n\n\r\n").contains(&format!("data: {LOGGED}\n")));
        talk.say(client, format!("DELETE {get}"));
        let other = talk.target(0);
        assert!(talk.hear_message(other).starts_with("DELETE /mcp "));
        talk.say(other, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        talk.hear_message(client);
        talk.hear(listener, "0\r\n\r\n");
        talk.hear_out(targets[0]);
        talk.say(client, post(&session, CALL));
        assert!(talk.hear_message(client).starts_with("HTTP/1.1 404 "));
    });
}
