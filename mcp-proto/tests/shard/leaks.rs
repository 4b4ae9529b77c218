//! What clients and targets leave behind that go without a word, for every pair of eras: nothing.
//!
//! Each world has a client with all that its era lets it have open, before a target that never answers one call and asks
//! in the middle of another, and leaves a third's stream open. Nobody is drained: what is left has to end by itself.

use crate::support::client::{EVERYTHING, INITIALIZED, initialize, post, request};
use crate::support::modern::Ask;
use crate::support::server::{Reply, Seen, event, json_reply, open_stream};
use crate::support::{Setup, Step, Talks, World};
use mcp_proto::Fault;
use routing::{Protocol, Routes};
use std::time::Duration;

const FORM: &str = r#""method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}}}"#;

const SUBSCRIBE: &str =
    r#"{"jsonrpc":"2.0","id":"s","method":"resources/subscribe","params":{"uri":"demo://one"}}"#;

#[derive(Clone, Copy, Debug)]
enum Front {
    /// A session, its stream, calls and subscriptions.
    Legacy,
    /// Two calls, of which one is parked or has asked.
    Modern,
    /// A subscription.
    Listen,
    /// A session on one stream, calls and a subscription.
    Sse,
    /// The same in lines.
    Lines,
}

const FRONTS: [Front; 5] = [Front::Legacy, Front::Modern, Front::Listen, Front::Sse, Front::Lines];

#[derive(Clone, Copy, Debug)]
enum Back {
    Legacy,
    Modern,
    Sse,
    Process,
    Shared,
    /// Of which it has to be found out.
    UnknownLegacy,
    UnknownModern,
    UnknownProcess,
}

const BACKS: [Back; 8] = [
    Back::Legacy,
    Back::Modern,
    Back::Sse,
    Back::Process,
    Back::Shared,
    Back::UnknownLegacy,
    Back::UnknownModern,
    Back::UnknownProcess,
];

/// How it ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The clients reset their connections.
    Reset,
    /// They say no more, and listen on.
    HalfClosed,
    /// They take nothing any more, while there is something to take; then they reset.
    Stuffed,
    /// The target's connections break and it can't be reached again; then the clients go.
    TargetKilled,
    /// The same, but attempts to reach it are never answered.
    TargetSilent,
    /// The target breaks off, and is there again at once.
    TargetBack,
    /// The clients go, then the target answers what it was asked.
    Late,
    /// One shard panics and another takes its place.
    Replaced,
    /// No route leads to the target any more.
    Unrouted,
}

const ENDS: [End; 9] = [
    End::Reset,
    End::HalfClosed,
    End::Stuffed,
    End::TargetKilled,
    End::TargetSilent,
    End::TargetBack,
    End::Late,
    End::Replaced,
    End::Unrouted,
];

fn world(back: Back) -> World {
    let setup = Setup::new(&["alpha"]).shards(2).config(|config| config.limits.buffer = 8 << 10);
    let mut world = match back {
        Back::Legacy => setup,
        Back::Modern => setup.targets(|target| target.protocol = Protocol::Modern),
        Back::Sse => setup.sse("alpha"),
        Back::Process => setup.process("alpha"),
        Back::Shared => setup.shared("alpha"),
        Back::UnknownLegacy | Back::UnknownModern => setup.targets(|target| target.protocol = Protocol::Auto),
        Back::UnknownProcess => setup.process("alpha").targets(|target| target.protocol = Protocol::Auto),
    }
    .build();
    let is_modern = matches!(back, Back::Modern | Back::UnknownModern);
    if is_modern {
        world.server("alpha").modern();
    }
    let talks = world.server("alpha").talks;
    world.server("alpha").on("tools/call", move |seen| answer(talks, is_modern, seen));
    world
}

/// What the target has: one that is never answered, one that asks, and one of which the answer's stream stays open.
const TOOLS: [&str; 3] = ["echo", "add", "stay"];

fn answer(talks: Talks, is_modern: bool, seen: &Seen) -> Reply {
    match seen.json()["params"]["name"].as_str() {
        Some("echo") => return Vec::new(),
        Some("stay") if talks == Talks::Http => return open_stream(&[event(&seen.response("{}"))]),
        Some("stay") => return vec![Step::Send(said(talks, &seen.response("{}")))],
        _ => {}
    }
    let question = format!(r#"{{"jsonrpc":"2.0","id":"q",{FORM}}}"#);
    match talks {
        Talks::Http if is_modern => {
            let asked =
                seen.input_required(&format!(r#""inputRequests":{{"q":{{{FORM}}}}},"requestState":"s""#));
            json_reply(200, &asked)
        }
        Talks::Http => open_stream(&[event(&question)]),
        _ => vec![Step::Send(said(talks, &question))],
    }
}

/// A message on the one stream of a target that has one.
fn said(talks: Talks, message: &str) -> Vec<u8> {
    if talks == Talks::Lines { format!("{message}\n").into() } else { event(message).into() }
}

/// A call of each tool, and the shard on which it is made.
fn calls() -> impl Iterator<Item = (usize, String)> {
    TOOLS.into_iter().enumerate().map(|(number, name)| {
        let call = request("tools/call", &format!(r#"{{"name":"{name}"}}"#));
        (number % 2, call.replace(r#""id":1"#, &format!(r#""id":{}"#, number + 2)))
    })
}

fn open(world: &mut World, front: Front) {
    match front {
        Front::Legacy => {
            let client = world.connect(0);
            world.send(client, &post("", &initialize("2025-11-25", EVERYTHING)));
            world.advance(Duration::from_secs(5));
            let answer = world.clients[client].answers().pop();
            let session = answer.and_then(|answer| answer.field("mcp-session-id").map(str::to_owned));
            let Some(session) = session else { return };
            world.call_later(0, &session, INITIALIZED);
            world.listen(1, &session);
            for (shard, call) in calls() {
                world.call_later(shard, &session, &call);
                world.call_later(shard, &session, SUBSCRIBE);
            }
        }
        Front::Modern => {
            for (shard, name) in [0, 1].into_iter().flat_map(|shard| TOOLS.map(|name| (shard, name))) {
                world.begin_modern(shard, &Ask { name, ..Ask::call(1) });
            }
        }
        Front::Listen => {
            for shard in [0, 1] {
                let filter = r#"{"toolsListChanged":true,"resourceSubscriptions":["demo://one"]}"#;
                world.subscribe(shard, "1", filter);
            }
        }
        Front::Sse => {
            let (_, endpoint) = world.open_sse(0);
            let greeting = [&initialize("2024-11-05", EVERYTHING), INITIALIZED].map(|it| (0, it.to_owned()));
            let subscribes = (1, SUBSCRIBE.to_owned());
            for (shard, body) in greeting.into_iter().chain(calls()).chain([subscribes]) {
                world.call_at(shard, &endpoint, &body);
            }
        }
        Front::Lines => {
            let client = world.attach(0);
            let greeting = [initialize("2025-11-25", EVERYTHING), INITIALIZED.to_owned()];
            let rest = calls().map(|(_, call)| call).chain([SUBSCRIBE.to_owned()]);
            for text in greeting.into_iter().chain(rest) {
                world.send(client, format!("{text}\n").as_bytes());
            }
        }
    }
}

fn leave(world: &mut World, end: End) {
    let all = |world: &mut World, each: fn(&mut World, usize)| {
        (0..world.clients.len()).for_each(|client| each(world, client));
    };
    let reset = |world: &mut World| all(world, World::hang_up);
    match end {
        End::Reset => reset(world),
        End::HalfClosed => {
            all(world, World::half_close);
            world.advance(Duration::from_secs(60 * 60));
            // Who waits for the answer to a question that it was asked may do so for as long as it is there.
            reset(world);
        }
        End::Stuffed => {
            all(world, |world, client| world.clients[client].window = 0);
            stuff(world);
            world.advance(Duration::from_secs(100));
            reset(world);
        }
        End::TargetKilled | End::TargetSilent => {
            let fault = matches!(end, End::TargetKilled).then_some(Fault::Refused);
            world.server("alpha").refuses = Some(fault);
            world.kill("alpha");
            world.advance(Duration::from_secs(20));
            reset(world);
        }
        End::TargetBack => {
            world.kill("alpha");
            world.advance(Duration::from_secs(20));
            reset(world);
        }
        End::Late => {
            let asked: Vec<_> = world
                .server("alpha")
                .seen
                .iter()
                .filter(|seen| seen.method == "tools/call")
                .cloned()
                .collect();
            reset(world);
            for seen in asked {
                if world.connections("alpha").contains(&seen.key) {
                    let said = world.server("alpha").said(&seen.response("{}"));
                    world.say(seen.key, vec![said]);
                }
            }
        }
        End::Replaced => {
            world.replace(0);
            world.advance(Duration::from_secs(20));
            reset(world);
        }
        End::Unrouted => {
            world.reroute(Routes::new(Vec::new()).unwrap());
            world.advance(Duration::from_secs(20));
            reset(world);
        }
    }
}

/// The target says more than a client takes, on whatever it has open.
fn stuff(world: &mut World) {
    let padding = "x".repeat(6 << 10);
    let log = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":"{padding}"}}}}"#
    );
    for _ in 0..8 {
        for key in world.connections("alpha") {
            let server = world.server("alpha");
            if server.talks == Talks::Lines || server.streams_on(key) {
                let said = server.said(&log);
                world.say(key, vec![said]);
            }
        }
    }
}

#[test]
fn whoever_goes_leaves_nothing_behind() {
    for back in BACKS {
        for front in FRONTS {
            for end in ENDS {
                let mut world = world(back);
                open(&mut world, front);
                leave(&mut world, end);
                world.advance(Duration::from_secs(3 * 60 * 60));
                assert_eq!(world.left(), [""; 0], "a {front:?} client at a {back:?} target: {end:?}");
            }
        }
    }
}

/// How a target fails to answer.
#[derive(Clone, Copy, Debug)]
enum Stall {
    Nothing,
    /// Half of an answer.
    Half,
    /// An event stream without an event.
    Stream,
}

#[test]
fn a_target_that_does_not_answer_leaves_nothing_behind() {
    for back in BACKS {
        for front in FRONTS {
            for method in STALLING {
                for stall in [Stall::Nothing, Stall::Half, Stall::Stream] {
                    let mut world = world(back);
                    let talks = world.server("alpha").talks;
                    world.server("alpha").on(method, move |_| stalled(talks, stall));
                    open(&mut world, front);
                    world.advance(Duration::from_secs(5));
                    (0..world.clients.len()).for_each(|client| world.hang_up(client));
                    world.advance(Duration::from_secs(3 * 60 * 60));
                    let pair = format!("a {front:?} client at a {back:?} target");
                    assert_eq!(world.left(), [""; 0], "{pair}, {stall:?} for {method}");
                }
            }
        }
    }
}

const STALLING: [&str; 8] = [
    "initialize",
    "notifications/initialized",
    "server/discover",
    "GET",
    "DELETE",
    "subscriptions/listen",
    "resources/subscribe",
    "notifications/cancelled",
];

fn stalled(talks: Talks, stall: Stall) -> Reply {
    let half = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{";
    match (talks, stall) {
        (_, Stall::Nothing) => Vec::new(),
        (Talks::Http, Stall::Half) => vec![Step::Send(half.into())],
        (Talks::Http, Stall::Stream) => open_stream(&[]),
        (Talks::Lines, _) => vec![Step::Send(b"{".to_vec())],
        (Talks::Stream, _) => vec![Step::Send(b"3\r\n{}\n\r\n".to_vec())],
    }
}
