//! What connections leave behind: no descriptors, no work, nothing that a child could inherit.

use crate::gateway::Runtime;
use crate::on_both_runtimes;
use crate::talk::{CALL, INITIALIZE, RESULT, Talk, post};
use crate::wire::Wire;
use socket2::SockRef;
use std::thread;
use std::time::{Duration, Instant};

on_both_runtimes![
    connections_leave_no_descriptor_behind,
    children_inherit_nothing,
    it_survives_without_descriptors,
];

/// `O_CLOEXEC` of open(2).
const CLOSE_ON_EXEC: u32 = 0o2_000_000;

const NOWHERE: &str = "GET /elsewhere HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn connections_leave_no_descriptor_behind(runtime: Runtime) {
    let Some(mut talk) = Talk::start(runtime, 1, "") else { return };
    let (client, targets, session) = talk.session();
    let before = talk.gateway.descriptors().len();
    for number in 0..2_000 {
        let mut wire = Wire::connect(talk.gateway.address);
        match number % 8 {
            0 => {}
            1 => wire.say("POST /mcp HTTP/1.1\r\nHost: loc"),
            2 => wire.say(post(&session, CALL).split_at(300).0),
            3 => {
                wire.say(NOWHERE);
                assert!(wire.hear_message().starts_with("HTTP/1.1 404 "));
            }
            4 => {
                wire.say("no words\r\n\r\n");
                assert!(wire.hear_out().0.starts_with("HTTP/1.1 400 "));
            }
            5 => {
                wire.say(NOWHERE);
                // Reset instead of closed.
                SockRef::from(&wire.stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
            6 => {
                wire.say(NOWHERE);
                wire.end();
                assert!(wire.hear_out().0.starts_with("HTTP/1.1 404 "));
            }
            _ => wire.say("GET /elsewhere HTTP/1.0\r\n\r\n"),
        }
    }
    // Connections to targets, too: each answer is the last one on its connection.
    let mut target = talk.take(targets[0]);
    for number in 0..100 {
        if number > 0 {
            talk.say(client, post(&session, CALL));
            target = talk.targets[0].accept();
        } else {
            talk.say(client, post(&session, CALL));
        }
        target.hear_message();
        let length = RESULT.len();
        target.say(format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{RESULT}"
        ));
        assert!(talk.wire(client).hear_message().ends_with(RESULT));
    }
    // The one to the target was there before.
    talk.gateway.wait_until(|all| all.len() == before - 1);
}

fn children_inherit_nothing(runtime: Runtime) {
    let Some(mut talk) = Talk::start(runtime, 1, "") else { return };
    // A client, a target, the listener, the admin endpoint.
    talk.session();
    let descriptors = talk.gateway.descriptors();
    assert!(descriptors.iter().filter(|(_, leads)| leads.starts_with("socket:")).count() >= 4);
    for (descriptor, leads) in descriptors {
        // What isn't the gateway's own (standard streams, and pipes of whoever started the test) is inherited already.
        if leads.starts_with("socket:") || leads.starts_with("anon_inode:") {
            assert_ne!(talk.gateway.flags(&descriptor) & CLOSE_ON_EXEC, 0, "{descriptor}, {leads}");
        }
    }
}

fn it_survives_without_descriptors(runtime: Runtime) {
    let Some(mut talk) = Talk::start_with_few(64, runtime) else { return };
    let (first, targets, session) = talk.session();
    let crowd: Vec<_> = (0..100).map(|_| Wire::connect(talk.gateway.address)).collect();
    let full = |all: &[(String, String)]| all.iter().any(|(descriptor, _)| descriptor == "63");
    talk.gateway.wait_until(full);
    let (ticks, began) = (talk.gateway.cpu_ticks(), Instant::now());
    // Who was there before is served all the time.
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(100));
        talk.say(first, post(&session, CALL));
        talk.hear_message(targets[0]);
        talk.say(targets[0], crate::talk::json("", RESULT));
        assert!(talk.hear_message(first).ends_with(RESULT));
    }
    let (worked, took) = (talk.gateway.cpu_ticks() - ticks, began.elapsed());
    // A fifth of one core; longer than the second that it takes where others are busy.
    let idle = took.as_millis() / 50;
    assert!(
        u128::from(worked) <= idle,
        "the gateway is busy with having no descriptors: {worked} ticks in {took:?}"
    );
    drop(crowd);
    let mut late = Wire::connect(talk.gateway.address);
    late.say(NOWHERE);
    assert!(late.hear_message().starts_with("HTTP/1.1 404 "));
    late.say(post("", INITIALIZE));
    talk.hear_message(targets[0]);
}
