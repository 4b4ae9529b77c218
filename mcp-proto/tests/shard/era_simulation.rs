//! Chance among eras: clients with sessions, without, on one stream and on lines, before targets that have sessions, have
//! none, learn or forget a revision, answer on one stream, or are processes; with faults, in pieces, on two shards.
//!
//! The model has no gateway: a call runs its tool at most once, and is answered once, with what its tool said or with
//! words that say why not. In the end nothing is left, and everyone reaches everything again.

use crate::support::client::{EVERYTHING, INITIALIZED, call, initialize, post_at};
use crate::support::eras::Speaks;
use crate::support::modern::Ask;
use crate::support::rand::Dice;
use crate::support::server::{Reply, Seen, event, event_with, open_stream, stream_end};
use crate::support::{Setup, Step, Talks, World};
use mcp_proto::Fault;
use proptest::prelude::*;
use routing::{Protocol, Routes, Target};
use serde_json::Value;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const TARGETS: [&str; 4] = ["alpha", "beta", "gamma", "delta"];
const SHARDS: usize = 2;
const SECOND: Duration = Duration::from_secs(1);

/// How a client speaks to the gateway.
#[derive(Clone)]
enum User {
    /// In a session.
    Session(String),
    /// Every request for itself.
    Modern,
    /// On one stream: the client that reads, its shard, and where to POST.
    Stream(usize, usize, String),
    /// On lines.
    Lines(usize),
}

/// Where the answer to a call comes.
#[derive(Clone, Copy, Debug)]
enum Way {
    Own(usize),
    Stream(usize),
    Lines(usize),
}

#[derive(Debug)]
struct Call {
    way: Way,
    id: u64,
    target: &'static str,
}

impl Call {
    fn tool(&self) -> String {
        format!("n{}", self.id)
    }
}

struct Run {
    world: World,
    dice: Dice,
    users: Vec<User>,
    calls: Vec<Call>,
    targets: Vec<Target>,
    /// The targets that may change their era.
    eras: Vec<(&'static str, Rc<Cell<Speaks>>)>,
    serial: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let kinds = TARGETS.map(|_| dice.below(6));
        let mut setup = Setup::new(&TARGETS)
            .shards(SHARDS as u16)
            .seed(seed as u8 & 0x3f)
            .targets(|target| target.protocol = Protocol::Auto)
            .config(|config| {
                config.limits.buffer = 8 << 10;
                config.timeouts.session = Duration::from_secs(900);
            });
        for (name, kind) in TARGETS.iter().zip(kinds) {
            setup = match kind {
                4 => setup.process(name),
                5 => setup.sse(name),
                _ => setup,
            };
        }
        let targets = setup.targets.clone();
        let mut world = setup.build();
        world.chop = dice.once_in(2).then(|| Dice::new(seed ^ 1));
        let mut eras = Vec::new();
        for (number, (name, kind)) in TARGETS.iter().zip(kinds).enumerate() {
            let speaks = if dice.once_in(2) { Speaks::Modern } else { Speaks::Legacy };
            if kind != 5 {
                let era = world.speaks(name, speaks);
                if kind < 4 {
                    eras.push((*name, era));
                }
            }
            let server = world.server(name);
            let talks = server.talks;
            let mut chance = Dice::new(seed ^ (number as u64 + 2) << 32);
            server.twist = Some(Box::new(move |seen, steps| twist(&mut chance, talks, seen, steps)));
        }
        Self { world, dice, users: vec![User::Modern], calls: Vec::new(), targets, eras, serial: 0 }
    }

    fn act(&mut self) {
        match self.dice.below(24) {
            0 | 1 if self.users.len() < 6 => self.begin(),
            2 => {
                let milliseconds = self.dice.next() % 15_000;
                self.world.advance(Duration::from_millis(milliseconds));
            }
            3 => self.turn(),
            4 | 5 => self.break_target(),
            6 => self.leave(),
            12 if self.dice.once_in(4) => self.reroute(),
            7 => {
                let client = self.calls.last().map(|call| call.way);
                if let Some(Way::Own(client)) = client {
                    self.world.take(
                        client,
                        if self.world.clients[client].window == usize::MAX { 0 } else { usize::MAX },
                    );
                }
            }
            8..12 => {
                for _ in 0..20 {
                    self.world.step(&mut self.dice);
                }
            }
            _ => self.call(),
        }
        self.check();
    }

    fn begin(&mut self) {
        let shard = self.dice.below(SHARDS);
        match self.dice.below(4) {
            0 => {
                let (client, endpoint) = self.world.open_sse(shard);
                for body in [&initialize("2024-11-05", "{}"), INITIALIZED] {
                    self.world.post_to(shard, &endpoint, body);
                    self.world.advance(4 * SECOND);
                }
                self.users.push(User::Stream(client, shard, endpoint));
            }
            1 => {
                let client = self.world.attach(shard);
                for body in [&initialize("2025-06-18", "{}"), INITIALIZED] {
                    self.world.send(client, format!("{body}\n").as_bytes());
                    self.world.advance(4 * SECOND);
                }
                self.users.push(User::Lines(client));
            }
            _ => {
                let client = self.world.connect(shard);
                let body = initialize("2025-11-25", EVERYTHING);
                self.world.send(client, &crate::support::client::post("", &body));
                self.world.advance(4 * SECOND);
                if let Some(session) = self.world.clients[client].answer().field("mcp-session-id") {
                    let session = session.to_owned();
                    self.world.call_later(shard, &session, INITIALIZED);
                    self.users.push(User::Session(session));
                }
            }
        }
    }

    fn call(&mut self) {
        let user = self.users[self.dice.below(self.users.len())].clone();
        let target = TARGETS[self.dice.below(TARGETS.len())];
        self.ask(&user, target);
    }

    /// One call, which no other is like.
    fn ask(&mut self, user: &User, target: &'static str) {
        self.serial += 1;
        let id = self.serial;
        let shard = self.dice.below(SHARDS);
        let name = format!("{target}_n{id}");
        let body = call(&name).replace(r#""id":1,"#, &format!(r#""id":{id},"#));
        let way = match user {
            User::Session(session) => Way::Own(self.world.call_later(shard, session, &body)),
            User::Modern => {
                let capabilities = if self.dice.once_in(2) { "{}" } else { r#"{"roots":{}}"# };
                let accept = ["application/json, text/event-stream", "application/json", "text/event-stream"]
                    [self.dice.below(3)];
                let ask = Ask { id: id as u32, name: &name, capabilities, accept, ..Ask::default() };
                Way::Own(self.world.begin_modern(shard, &ask))
            }
            User::Stream(client, shard, endpoint) => {
                let poster = self.world.connect(*shard);
                self.world.send(poster, &post_at(endpoint, &body));
                Way::Stream(*client)
            }
            User::Lines(client) => {
                self.world.send(*client, format!("{body}\n").as_bytes());
                Way::Lines(*client)
            }
        };
        self.calls.push(Call { way, id, target });
    }

    /// A target learns or forgets a revision.
    fn turn(&mut self) {
        if self.eras.is_empty() {
            return;
        }
        let (name, era) = &self.eras[self.dice.below(self.eras.len())];
        let other = if era.get() == Speaks::Modern { Speaks::Legacy } else { Speaks::Modern };
        let (name, era) = (*name, Rc::clone(era));
        self.world.turn(name, &era, other);
    }

    fn break_target(&mut self) {
        let name = TARGETS[self.dice.below(TARGETS.len())];
        match self.dice.below(6) {
            0 => self.world.kill(name),
            1 => self.world.server(name).refuses = Some(Some(Fault::Refused)),
            2 => self.world.server(name).refuses = Some(None),
            3 => self.world.server(name).sessions.clear(),
            _ => self.world.server(name).refuses = None,
        }
    }

    /// A target goes, or all are back.
    fn reroute(&mut self) {
        let shown = if self.dice.once_in(2) { &self.targets[1..] } else { &self.targets[..] };
        self.world.reroute(Routes::new(shown.to_vec()).unwrap());
    }

    fn leave(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let number = self.dice.below(self.calls.len());
        if let Way::Own(client) = self.calls[number].way
            && self.dice.once_in(2)
        {
            self.world.hang_up(client);
        }
    }

    /// The answers to a call that have come.
    fn answers(&self, call: &Call) -> Vec<Value> {
        let messages = match call.way {
            Way::Own(client) => {
                let answer = self.world.clients[client].answers().pop().filter(|answer| answer.complete);
                match answer {
                    Some(answer) if answer.is_stream() => answer.messages(),
                    Some(answer) => vec![answer.json()],
                    None => Vec::new(),
                }
            }
            Way::Stream(client) => self.world.messages(client),
            Way::Lines(client) => {
                // The last line may not be complete.
                let raw = &self.world.clients[client].raw;
                let end = raw.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                let lines = std::str::from_utf8(&raw[..end]).unwrap().lines();
                lines.map(|line| serde_json::from_str(line).unwrap()).collect()
            }
        };
        let own = |message: &Value| message.get("method").is_none();
        let answers = messages.into_iter().filter(own);
        match call.way {
            Way::Own(_) => answers.collect(),
            _ => answers.filter(|message| message["id"] == call.id).collect(),
        }
    }

    fn runs(&self, call: &Call) -> usize {
        let server = self.world.servers.iter().find(|server| server.name == call.target).unwrap();
        server.ran.iter().filter(|ran| **ran == call.tool()).count()
    }

    fn check(&self) {
        for call in &self.calls {
            let runs = self.runs(call);
            assert!(runs <= 1, "{call:?} ran {runs} times");
            let answers = self.answers(call);
            assert!(answers.len() <= 1, "{call:?}: {answers:?}");
            for answer in answers {
                assert_eq!(answer["id"], call.id, "{call:?} got {answer}");
                let said = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
                let words = answer["error"]["message"].as_str().unwrap_or_default();
                if said == format!("{}:{}", call.target, call.tool()) {
                    assert_eq!(runs, 1, "{call:?} was answered by nobody");
                } else if answer.get("result").is_some() {
                    let fails = format!("target \"{}\" failed: ", call.target);
                    assert!(
                        said.starts_with(&fails) && answer["result"]["isError"] == true,
                        "{call:?} got {answer}"
                    );
                } else {
                    assert!(words.len() > 5, "{call:?} got {answer}");
                }
            }
        }
    }

    /// Everyone behaves again.
    fn settle(&mut self) {
        for server in &mut self.world.servers {
            server.refuses = None;
            server.twist = None;
        }
        self.world.reroute(Routes::new(self.targets.clone()).unwrap());
        for client in 0..self.world.clients.len() {
            self.world.take(client, usize::MAX);
        }
        self.world.advance(400 * SECOND);
        self.check();
        for call in &self.calls {
            let client = match call.way {
                Way::Own(client) | Way::Stream(client) | Way::Lines(client) => client,
            };
            let gone = self.world.clients[client].key.is_none();
            assert!(gone || !self.answers(call).is_empty(), "{call:?} waits for ever");
        }
        let before = self.calls.len();
        for user in self.users.clone() {
            for target in TARGETS {
                self.ask(&user, target);
                self.world.advance(15 * SECOND);
            }
        }
        self.check();
        for call in &self.calls[before..] {
            assert_eq!(self.runs(call), 1, "{call:?} got {:?}", self.answers(call));
            assert_eq!(self.answers(call).len(), 1, "{call:?}");
        }
        for client in 0..self.world.clients.len() {
            self.world.hang_up(client);
        }
        self.world.advance(Duration::from_secs(3 * 3600));
        self.world.assert_clean();
        self.world.assert_empty();
    }
}

/// What becomes of an answer after its tool has run.
fn twist(chance: &mut Dice, talks: Talks, seen: &Seen, steps: Reply) -> Reply {
    let wait = Step::Wait(Duration::from_millis(chance.next() % 3_000));
    if talks != Talks::Http {
        return match chance.below(8) {
            0 => Vec::new(),
            1 => vec![wait, Step::Reset],
            2 => [vec![wait], steps].concat(),
            _ => steps,
        };
    }
    let whole = match steps.first() {
        Some(Step::Send(bytes)) => String::from_utf8(bytes.clone()).unwrap(),
        _ => return steps,
    };
    let Some((head, body)) = whole.split_once("\r\n\r\n") else { return steps };
    if !head.starts_with("HTTP/1.1 200") {
        return steps;
    }
    let progress =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    _ = seen;
    match chance.below(14) {
        0 => Vec::new(),
        1 => vec![Step::Reset],
        2 => vec![wait, Step::Fin],
        3 => vec![Step::Send(whole.as_bytes()[..whole.len() / 2].to_vec()), wait, Step::Reset],
        4 => [open_stream(&[event(progress)]), vec![Step::Fin]].concat(),
        5 => [open_stream(&[]), stream_end()].concat(),
        6 | 7 => [open_stream(&[event(progress)]), vec![wait, Step::Send(event(body).into())], stream_end()]
            .concat(),
        8 => [open_stream(&[event(progress)]), vec![wait, Step::Send(event(body).into())]].concat(),
        9 => [open_stream(&[event_with("7", body)]), stream_end()].concat(),
        10 => [vec![wait], steps].concat(),
        _ => steps,
    }
}

fn run(seed: u64, steps: usize) -> (Vec<String>, Vec<Vec<u8>>) {
    let mut run = Run::new(seed);
    for _ in 0..steps {
        run.act();
    }
    run.settle();
    let Run { mut world, .. } = run;
    (std::mem::take(&mut world.log), world.clients.into_iter().map(|client| client.raw).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_eras_a_tool_runs_at_most_once_and_every_call_is_answered(seed: u64) {
        run(seed, 80);
    }
}

#[test]
fn the_same_seed_does_the_same_in_all_eras() {
    for seed in 0..2 {
        let (first, second) = (run(seed, 80), run(seed, 80));
        assert_eq!(first.0, second.0);
        assert!(first.1 == second.1, "bytes differ");
    }
}
