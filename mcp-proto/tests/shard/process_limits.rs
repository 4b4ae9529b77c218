//! Targets that are child processes, at the limits.

use crate::support::client::call;
use crate::support::{Setup, Step};
use serde_json::json;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn line(text: &str) -> Vec<Step> {
    vec![Step::Send(format!("{text}\n").into())]
}

fn numbered(id: &str, name: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}"}}}}"#)
}

#[test]
fn processes_have_a_limit() {
    let mut world =
        Setup::new(&["alpha", "beta"]).process("alpha").config(|config| config.limits.channels = 2).build();
    let sessions = [(); 3].map(|()| world.begin().1);
    assert_eq!(world.server("alpha").running(), 2);
    world.advance(2 * SECOND);
    let words = world.ask_on(0, &sessions[2], &call("alpha_echo")).tool_text();
    assert_eq!(words, "target \"alpha\" failed: too many processes and event streams of targets are in use");
    world.delete(0, &sessions[0]);
    world.advance(2 * SECOND);
    assert_eq!(world.ask_on(0, &sessions[2], &call("alpha_echo")).tool_text(), "alpha:echo");
}

#[test]
fn a_process_that_reads_nothing_is_ended() {
    let mut world = Setup::new(&["alpha"])
        .process("alpha")
        .config(|config| {
            config.limits.request = 100_000;
            config.limits.target_waiting = 2;
        })
        .build();
    let (_, session) = world.begin();
    world.server("alpha").window = 0;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(world.call_later(0, &session, &call("echo")));
    }
    assert_eq!(
        world.clients[clients[2]].answer().tool_text(),
        "target \"alpha\" failed: too many requests wait for it"
    );
    world.advance(30 * SECOND);
    for client in &clients[..2] {
        assert_eq!(
            world.clients[*client].answer().tool_text(),
            "target \"alpha\" failed: it took too long to take a request"
        );
    }
    assert_eq!(world.server("alpha").running(), 0);
    // Nor may what is sent to it grow large.
    let mut world =
        Setup::new(&["alpha"]).process("alpha").config(|config| config.limits.request = 100_000).build();
    let (_, session) = world.begin();
    world.server("alpha").window = 0;
    let clients = [(); 3].map(|()| world.call_later(0, &session, &call(&"x".repeat(60_000))));
    assert_eq!(
        clients.map(|client| world.clients[client].answers().len()),
        [0, 0, 1],
        "it has 120000 bytes to read"
    );
}

#[test]
fn a_client_that_reads_slowly_slows_its_own_process() {
    let mut world =
        Setup::new(&["alpha"]).process("alpha").config(|config| config.limits.buffer = 4 << 10).build();
    let (_, session) = world.begin();
    world.server("alpha").on("tools/call", |_| Vec::new());
    let slow = world.connect(0);
    world.take(slow, 0);
    world.clients[slow].window = 0;
    world.ask_later(slow, &session, &call("echo"));
    let quick = world.call_later(0, &session, &numbered("\"q\"", "echo"));
    let key = world.connections("alpha")[0];
    let progress = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"roots/list","params":{{"x":"{}"}}}}"#,
        "x".repeat(1000)
    );
    // Asked as the latest, the quick one is asked; so its answer goes first.
    world.print("alpha", "{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{}}\n");
    assert!(world.clients[quick].answer().complete);
    world.print("alpha", &format!("{progress}\n").repeat(6));
    assert!(world.is_paused(key));
    let other = world.call_later(0, &session, &numbered("\"o\"", "echo"));
    world.print("alpha", "{\"jsonrpc\":\"2.0\",\"id\":4,\"result\":{}}\n");
    assert!(world.clients[other].answers().is_empty(), "it is one stream");
    world.take(slow, usize::MAX);
    assert!(!world.is_paused(key));
    assert!(world.clients[other].answer().complete);
    assert_eq!(world.messages(slow).len(), 6);
    // A call that ends while its client still reads lets the others go on.
    world.clients[slow].window = 0;
    world.print("alpha", &format!("{progress}\n").repeat(6));
    assert!(world.is_paused(key));
    world.hang_up(slow);
    assert!(!world.is_paused(key));
}

#[test]
fn a_process_waits_for_the_slowest_of_its_sessions_clients() {
    let mut world =
        Setup::new(&["alpha"]).process("alpha").config(|config| config.limits.buffer = 4 << 10).build();
    let (_, session) = world.begin();
    world.server("alpha").on("tools/call", |_| Vec::new());
    let clients = [1, 2].map(|token| {
        let client = world.connect(0);
        world.clients[client].window = 0;
        let asked = format!(r#"{{"jsonrpc":"2.0","id":{token},"method":"tools/call","params":{{"name":"x","_meta":{{"progressToken":{token}}}}}}}"#);
        world.ask_later(client, &session, &asked);
        client
    });
    let progress = [1, 2].map(|token| {
        let text = "x".repeat(6000);
        format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":{token},\"message\":\"{text}\"}}}}\n")
    });
    let key = world.connections("alpha")[0];
    world.print("alpha", &progress.concat());
    assert!(world.is_paused(key));
    world.take(clients[0], usize::MAX);
    assert!(world.is_paused(key), "the other has taken nothing");
    world.take(clients[1], usize::MAX);
    assert!(!world.is_paused(key));
}

#[test]
fn a_line_that_is_too_long_costs_its_call_only() {
    let mut world =
        Setup::new(&["alpha"]).process("alpha").config(|config| config.limits.message = 1000).build();
    let (client, session) = world.begin();
    let large = |size: usize| format!(r#"{{"x":"{}"}}"#, "x".repeat(size));
    let result = large(900);
    world.server("alpha").on("tools/call", move |seen| line(&seen.response(&result)));
    assert_eq!(world.ask(client, &session, &call("echo")).json()["result"]["x"].as_str().unwrap().len(), 900);
    for id_first in [true, false] {
        let result = large(200_000);
        world.server("alpha").on("tools/call", move |seen| {
            let id = seen.id.as_deref().unwrap();
            line(&match id_first {
                true => seen.response(&result),
                false => format!(r#"{{"result":{result},"jsonrpc":"2.0","id":{id}}}"#),
            })
        });
        let answer = world.ask(client, &session, &call("echo"));
        assert_eq!(answer.tool_text(), "target \"alpha\" failed: its answer is too large to be looked into");
    }
    world.print(
        "alpha",
        &format!(
            "{{\"method\":\"roots/list\",\"params\":{},\"jsonrpc\":\"2.0\",\"id\":\"r\"}}\n",
            large(2000)
        ),
    );
    let refused = world.server("alpha").seen.last().unwrap().json();
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!("r"), &json!(-32600)));
    world.server("alpha").script = None;
    assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), "alpha:echo");
}
