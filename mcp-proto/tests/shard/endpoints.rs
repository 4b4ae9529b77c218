//! Several endpoints of one target: which one is asked, and what happens when one can't be reached.

use crate::support::client::{EVERYTHING, call, initialize, post, request, session_field};
use crate::support::modern::{Ask, ask_as};
use crate::support::replicas::{plain, replicas};
use crate::support::server::reply;
use crate::support::{Setup, Step, World};
use mcp_proto::Fault;
use routing::Protocol;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const NAMES: [&str; 3] = ["one", "two", "three"];

/// Sessions that are opened one after the other, each with a stream open.
fn sessions(world: &mut World, count: usize) -> Vec<String> {
    let begin = |world: &mut World| {
        let (_, session) = world.begin();
        world.listen(0, &session);
        session
    };
    (0..count).map(|_| begin(world)).collect()
}

#[test]
fn sessions_are_spread_by_load() {
    let mut world = plain(&NAMES);
    sessions(&mut world, 30);
    assert_eq!(world.counts("initialize"), [10, 10, 10]);
    // One that is new gets the next ones, but not all: of two drawn it is the less busy one.
    world.add_replica("four");
    let all = ["one", "two", "three", "four"].map(|name| world.endpoint(name));
    world.lead_to(all.to_vec());
    sessions(&mut world, 10);
    assert_eq!(world.counts("initialize"), [13, 12, 12, 3]);
}

#[test]
fn requests_without_a_session_are_spread_one_by_one() {
    let mut world =
        replicas(Setup::new(&["alpha"]).targets(|target| target.protocol = Protocol::Modern), &NAMES);
    for server in &mut world.servers {
        server.on("tools/call", |_| Vec::new());
    }
    for _ in 0..30 {
        world.begin_modern(0, &Ask::call(1));
    }
    assert_eq!(world.counts("tools/call"), [11, 9, 10]);
}

#[test]
fn near_ones_are_preferred_and_draining_ones_are_the_last_resort() {
    let mut world = plain(&NAMES);
    world.lead_to(vec![world.endpoint("one"), world.near("two"), world.draining("three")]);
    sessions(&mut world, 4);
    assert_eq!(world.counts("initialize"), [0, 4, 0]);
    world.lead_to(vec![world.endpoint("one"), world.draining("two"), world.draining("three")]);
    sessions(&mut world, 4);
    assert_eq!(world.counts("initialize"), [4, 4, 0]);
    world.lead_to(vec![world.draining("three")]);
    sessions(&mut world, 4);
    // And those that were at the others, whose streams are open here now.
    assert_eq!(world.counts("initialize"), [4, 4, 4 + 8]);
}

#[test]
fn the_next_endpoint_is_asked_when_one_cannot_be_reached() {
    let mut world = plain(&NAMES);
    world.server("one").refuses = Some(Some(Fault::Refused));
    world.server("two").refuses = Some(Some(Fault::Unreachable));
    sessions(&mut world, 12);
    assert_eq!(world.counts("initialize"), [0, 0, 12]);
    assert_eq!(world.counters(0).endpoint_rests.value(), 2, "each was tried once, then left alone");
    assert_eq!(world.counters(0).target_failures.value(), 0);
    // It rests no more than a second when it is back, and gets its share.
    world.server("one").refuses = None;
    world.advance(SECOND);
    sessions(&mut world, 12);
    assert_eq!(world.counts("initialize"), [12, 0, 12]);
}

#[test]
fn a_connection_that_takes_too_long_goes_to_the_next() {
    let mut world = plain(&["one", "two"]);
    world.server("one").refuses = Some(None);
    let clients: Vec<_> = (0..4).map(|_| world.connect(0)).collect();
    for client in &clients {
        world.send(*client, &post("", &initialize("2025-11-25", "{}")));
    }
    world.advance(2 * SECOND);
    for client in clients {
        assert_eq!(world.clients[client].answer().status, 200);
    }
    assert_eq!(world.counts("initialize"), [0, 4]);
}

#[test]
fn when_none_can_be_reached_calls_fail_at_once_and_one_is_tried_a_second() {
    let mut world = plain(&NAMES);
    let (client, session) = world.begin();
    for name in NAMES {
        world.server(name).refuses = Some(Some(Fault::Refused));
        world.kill(name);
    }
    let opens = |world: &World| world.log.iter().filter(|line| line.starts_with("0 Open")).count();
    let words = "target \"alpha\" failed: it can't be reached (connection refused)";
    let before = opens(&world);
    assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), words);
    assert_eq!(opens(&world), before + 3, "once round");
    for _ in 0..5 {
        assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), words);
    }
    assert_eq!(opens(&world), before + 3, "then none for a second");
    for name in NAMES {
        world.server(name).refuses = None;
    }
    world.advance(SECOND);
    assert!(world.ask(client, &session, &call("echo")).tool_text().ends_with(":echo"));
}

#[test]
fn five_requests_broken_in_a_row_are_enough() {
    let mut world = plain(&["one", "two"]);
    for name in ["one", "two"] {
        world.server(name).keeps_sessions = false;
    }
    let (client, session) = world.begin();
    world.server("one").on("tools/call", |_| reply(503, "", ""));
    for _ in 0..40 {
        world.ask(client, &session, &call("echo"));
    }
    assert_eq!((world.server("one").count("tools/call"), world.server("two").ran.len()), (5, 35));
    assert_eq!(world.counters(0).endpoint_rests.value(), 1);
    world.advance(SECOND);
    for _ in 0..40 {
        world.ask(client, &session, &call("echo"));
    }
    assert_eq!(world.server("one").count("tools/call"), 6, "one more is enough from now on");
}

#[test]
fn what_was_sent_is_not_sent_elsewhere() {
    for sent in [vec![Step::Reset], vec![Step::Send(b"HTTP/1.1 2".to_vec()), Step::Reset], vec![Step::Fin]] {
        let mut world = plain(&NAMES);
        for name in NAMES {
            world.server(name).keeps_sessions = false;
            let sent = sent.clone();
            world.server(name).on("tools/call", move |_| sent.clone());
        }
        let (client, session) = world.begin();
        for done in 1..10 {
            let answer = world.ask(client, &session, &call("echo"));
            assert!(answer.tool_text().contains("the connection broke"), "{answer:?}");
            assert_eq!(world.counts("tools/call").iter().sum::<usize>(), done);
        }
    }
}

#[test]
fn a_list_on_a_stale_connection_is_asked_for_once_more() {
    let mut world = plain(&NAMES);
    let (client, session) = world.begin();
    let name = world.opened_at();
    let mut broken = false;
    world.server(&name).on("tools/list", move |seen| match std::mem::replace(&mut broken, true) {
        false => vec![Step::Reset],
        true => seen.result(r#"{"tools":[]}"#),
    });
    assert_eq!(world.ask(client, &session, &request("tools/list", "{}")).status, 200);
    assert_eq!(world.server(&name).count("tools/list"), 2, "where its session is");
    assert_eq!(world.counts("tools/list").iter().sum::<usize>(), 2);
}

#[test]
fn a_connection_elsewhere_that_nobody_uses_makes_room() {
    let setup = Setup::new(&["alpha"]).config(|config| config.limits.target_connections = 1);
    let mut world = replicas(setup, &["one", "two"]);
    let mut begun = Vec::new();
    while world.counts("initialize").contains(&0) {
        begun.push(world.begin());
    }
    for _ in 0..3 {
        for (client, session) in &begun {
            assert!(world.ask(*client, session, &call("echo")).tool_text().ends_with(":echo"));
        }
    }
    assert_eq!(world.counts("initialize").iter().sum::<usize>(), begun.len());
    // And one that is in use is waited for, whoever wants it.
    for server in &mut world.servers {
        server.delay = SECOND;
    }
    for (client, session) in &begun {
        world.queue(*client, &post(&session_field(session), &call("echo")));
    }
    world.advance(SECOND * (begun.len() as u32));
    for (client, _) in &begun {
        assert!(world.clients[*client].answer().tool_text().ends_with(":echo"));
    }
    assert_eq!(world.counters(0).target_failures.value(), 0);
}

#[test]
fn without_an_endpoint_nothing_is_waited_for() {
    let mut world = plain(&["one"]);
    let (client, session) = world.begin();
    let stream = world.listen(0, &session);
    world.lead_to(Vec::new());
    let words = "target \"alpha\" failed: it has no reachable endpoint at the moment: try again later";
    assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), words);
    let listed = world.ask(client, &session, &request("tools/list", "{}"));
    assert_eq!(listed.status, 200, "{}", listed.text());
    let another = world.connect(0);
    world.send(another, &post("", &initialize("2025-11-25", EVERYTHING)));
    assert!(world.clients[another].answer().complete, "initialize is answered at once");
    assert!(ask_as(&mut world, "1", "server/discover", None, "", "").complete, "and so is discover");
    let before = world.messages(stream).len();
    // It is back with the session it had, and the client is told to look again.
    world.lead_to(vec![world.endpoint("one")]);
    assert_eq!(world.ask(client, &session, &call("echo")).tool_text(), "one:echo");
    assert_eq!(world.server("one").count("initialize"), 1);
    let told = world.methods(stream).split_off(before);
    assert!(told.contains(&"notifications/tools/list_changed".to_owned()), "{told:?}");
}

#[test]
fn a_stream_that_could_not_be_opened_is_opened_with_the_first_endpoint() {
    let mut world = plain(&["one"]);
    let (_, session) = world.begin();
    world.lead_to(Vec::new());
    world.kill("one");
    let stream = world.listen(0, &session);
    world.advance(40 * SECOND);
    assert_eq!(world.server("one").count("GET"), 0);
    world.lead_to(vec![world.endpoint("one")]);
    assert_eq!(world.server("one").count("GET"), 1, "at once, not after its pause");
    world.say_on_stream("one", r#"{"jsonrpc":"2.0","method":"notifications/x"}"#);
    assert!(world.methods(stream).contains(&"notifications/x".to_owned()));
}
