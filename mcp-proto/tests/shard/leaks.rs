//! What clients and targets leave behind that go without a word, for every pair of eras: nothing.
//!
//! Each world has a client with all that its era lets it have open, before a target that never answers one call and asks
//! in the middle of another. Nobody is drained: what is left has to end by itself.

use crate::support::client::{EVERYTHING, INITIALIZED, initialize, request};
use crate::support::modern::Ask;
use crate::support::server::{Reply, Seen, event, open_stream};
use crate::support::{Setup, Step, Talks, World};
use mcp_proto::Fault;
use routing::Protocol;
use std::time::Duration;

const FORM: &str = r#""method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}}}"#;

#[derive(Clone, Copy, Debug)]
enum Front {
    /// A session, its stream, two calls.
    Legacy,
    /// Two calls, of which one is parked or has asked.
    Modern,
    /// A subscription.
    Listen,
    /// A session on one stream, two calls.
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

/// `echo` is never answered, `add` asks.
fn answer(talks: Talks, is_modern: bool, seen: &Seen) -> Reply {
    if seen.body.contains(r#""name":"echo""#) {
        return Vec::new();
    }
    let question = format!(r#"{{"jsonrpc":"2.0","id":"q",{FORM}}}"#);
    match talks {
        Talks::Http if is_modern => {
            let asked =
                seen.input_required(&format!(r#""inputRequests":{{"q":{{{FORM}}}}},"requestState":"s""#));
            crate::support::server::json_reply(200, &asked)
        }
        Talks::Http => open_stream(&[event(&question)]),
        Talks::Lines => vec![Step::Send(format!("{question}\n").into())],
        Talks::Stream => vec![Step::Send(event(&question).into())],
    }
}

fn call(id: u32, name: &str) -> String {
    request("tools/call", &format!(r#"{{"name":"{name}"}}"#)).replace(r#""id":1"#, &format!(r#""id":{id}"#))
}

fn open(world: &mut World, front: Front) {
    match front {
        Front::Legacy => {
            let (_, session) = world.begin();
            world.listen(1, &session);
            world.call_later(1, &session, &call(2, "echo"));
            world.call_later(0, &session, &call(3, "add"));
        }
        Front::Modern => {
            for shard in [0, 1] {
                for name in ["echo", "add"] {
                    world.begin_modern(shard, &Ask { name, ..Ask::call(1) });
                }
            }
        }
        Front::Listen => {
            for shard in [0, 1] {
                let filter = r#"{"toolsListChanged":true,"resourceSubscriptions":["demo://one"]}"#;
                world.subscribe(shard, "1", filter);
            }
        }
        Front::Sse => {
            let (_, endpoint) = world.begin_sse(0);
            world.post_to(1, &endpoint, &call(2, "echo"));
            world.post_to(0, &endpoint, &call(3, "add"));
        }
        Front::Lines => {
            let client = world.attach(0);
            let text =
                [&initialize("2025-11-25", EVERYTHING), INITIALIZED, &call(2, "echo"), &call(3, "add")];
            world.send(client, format!("{}\n", text.join("\n")).as_bytes());
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
        End::HalfClosed => all(world, World::half_close),
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
            world.reroute(routing::Routes::new(Vec::new()).unwrap());
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
                let r = std::panic::catch_unwind(|| {
                    println!("a {front:?} client at a {back:?} target: {end:?}");
                    let mut world = world(back);
                    open(&mut world, front);
                    leave(&mut world, end);
                    world.advance(Duration::from_secs(3 * 60 * 60));
                    world.assert_empty();
                });
                if r.is_err() {
                    eprintln!("FAILED {front:?} {back:?} {end:?}");
                }
            }
        }
    }
}
