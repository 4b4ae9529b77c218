//! Chance among targets that answer on channels: calls from all shards, answers in any order or never, questions,
//! progress, cancellations, processes that die, streams that end, clients that read slowly or vanish.
//!
//! Whatever happens: every answer is its own call's, a progress token is the one its client chose, and in the end
//! nothing is left.

use crate::support::client::{EVERYTHING, session_field};
use crate::support::rand::Dice;
use crate::support::server::Talks;
use crate::support::{Setup, Step, World};
use mcp_proto::Fault;
use proptest::prelude::*;
use std::time::Duration;

const TARGETS: [&str; 4] = ["alpha", "beta", "gamma", "delta"];
const SHARDS: usize = 2;

struct Run {
    world: World,
    dice: Dice,
    sessions: Vec<String>,
    /// Calls: the client, and what is asked, which no other call asks.
    calls: Vec<(usize, String)>,
    serial: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut world = Setup::new(&TARGETS)
            .shards(SHARDS as u16)
            .seed(seed as u8 & 0x3f)
            .process("alpha")
            .sse("beta")
            .shared("gamma")
            .config(|config| {
                config.limits.buffer = 4 << 10;
                config.limits.message = 8 << 10;
                config.limits.channels = 6;
                config.timeouts.session = Duration::from_secs(600);
            })
            .build();
        world.chop = dice.once_in(2).then(|| Dice::new(seed ^ 1));
        for (number, server) in world.servers.iter_mut().enumerate() {
            let mut chance = Dice::new(seed ^ (number as u64 + 2) << 32);
            let talks = server.talks;
            let name = server.name.clone();
            if talks != Talks::Http {
                server.script = Some(Box::new(move |seen| erratic(&name, talks, &mut chance, seen)));
            }
        }
        Self { world, dice, sessions: Vec::new(), calls: Vec::new(), serial: 0 }
    }

    fn act(&mut self) {
        match self.dice.below(24) {
            0 | 1 if self.sessions.len() < 4 => self.begin(),
            2 if self.sessions.len() > 1 => {
                let session = self.sessions.swap_remove(self.dice.below(self.sessions.len()));
                let shard = self.dice.below(SHARDS);
                let client = self.world.connect(shard);
                let head =
                    format!("DELETE /mcp HTTP/1.1\r\nhost: localhost\r\n{}\r\n", session_field(&session));
                self.world.send(client, head.as_bytes());
            }
            3 => {
                let target = TARGETS[self.dice.below(3)];
                if let Some(key) = self.world.connections(target).last().copied() {
                    let end = if self.dice.once_in(2) { Step::Fin } else { Step::Reset };
                    self.world.say(key, vec![end]);
                }
            }
            4 => {
                let target = TARGETS[self.dice.below(3)];
                let fails = self.dice.once_in(2);
                self.world.server(target).refuses = fails.then_some(Some(Fault::Refused));
            }
            5 => {
                let time = Duration::from_millis(self.dice.next() % 20_000);
                self.world.advance(time);
            }
            6 => {
                if let Some((client, _)) = self.pick_call() {
                    self.world.hang_up(client);
                }
            }
            7 => {
                if let Some((client, _)) = self.pick_call() {
                    let room = if self.dice.once_in(2) { usize::MAX } else { 3000 };
                    self.world.take(client, room);
                }
            }
            8 => self.cancel(),
            9 => {
                if let Some(session) = self.pick_session() {
                    let shard = self.dice.below(SHARDS);
                    self.world.listen(shard, &session);
                }
            }
            10 => {
                if let Some(session) = self.pick_session() {
                    let shard = self.dice.below(SHARDS);
                    let list = r#"{"jsonrpc":"2.0","id":"list","method":"tools/list"}"#;
                    self.world.call_later(shard, &session, list);
                }
            }
            _ => self.call(),
        }
    }

    fn begin(&mut self) {
        let shard = self.dice.below(SHARDS);
        let client = self.world.connect(shard);
        let body = crate::support::client::initialize("2025-11-25", EVERYTHING);
        self.world.send(client, &crate::support::client::post("", &body));
        self.world.advance(Duration::from_secs(3));
        if let Some(session) = self.world.clients[client].answer().field("mcp-session-id") {
            let session = session.to_owned();
            self.world.call_later(shard, &session, crate::support::client::INITIALIZED);
            self.sessions.push(session);
        }
    }

    fn pick_session(&mut self) -> Option<String> {
        (!self.sessions.is_empty()).then(|| self.sessions[self.dice.below(self.sessions.len())].clone())
    }

    fn pick_call(&mut self) -> Option<(usize, String)> {
        (!self.calls.is_empty()).then(|| self.calls[self.dice.below(self.calls.len())].clone())
    }

    fn call(&mut self) {
        let Some(session) = self.pick_session() else { return };
        self.serial += 1;
        let serial = self.serial;
        let target = TARGETS[self.dice.below(4)];
        // Ids of different sessions and calls are often equal on purpose; the name tells calls apart.
        let id = self.dice.below(3);
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"_meta":{{"progressToken":"t{serial}"}},"name":"{target}_n{serial}"}}}}"#
        );
        let client = self.world.connect(self.dice.below(SHARDS));
        if self.dice.once_in(6) {
            self.world.clients[client].window = 2000;
        }
        self.world.ask_later(client, &session, &body);
        self.calls.push((client, format!("{target}:n{serial}")));
    }

    fn cancel(&mut self) {
        let Some(session) = self.pick_session() else { return };
        let (shard, id) = (self.dice.below(SHARDS), self.dice.below(3));
        let body = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
        );
        self.world.call_later(shard, &session, &body);
    }

    fn check(&self) {
        for (client, text) in &self.calls {
            let Some(answer) = self.world.clients[*client].answers().pop().filter(|it| it.complete) else {
                continue;
            };
            let messages = if answer.is_stream() { answer.messages() } else { vec![answer.json()] };
            for message in messages {
                let own = text.split_once(":n").unwrap().1;
                let token = &message["params"]["progressToken"];
                assert!(token.is_null() || *token == format!("t{own}"), "{text} got {message}");
                let said = message["result"]["content"][0]["text"].as_str().unwrap_or_default();
                let failed = said.starts_with("target \"") || message.get("error").is_some();
                let is_answer = message.get("method").is_none();
                assert!(!is_answer || said == text || failed, "{text} got {message}");
            }
        }
    }

    fn settle(&mut self) {
        for server in &mut self.world.servers {
            server.refuses = None;
            server.script = None;
        }
        for client in 0..self.world.clients.len() {
            self.world.take(client, usize::MAX);
        }
        self.world.advance(Duration::from_secs(400));
        self.check();
        for (client, text) in &self.calls {
            let client = &self.world.clients[*client];
            let answered = client.answers().last().is_some_and(|answer| answer.complete);
            assert!(client.key.is_none() || answered, "{text} waits for ever");
        }
        for client in 0..self.world.clients.len() {
            self.world.hang_up(client);
        }
        self.world.advance(Duration::from_secs(3 * 3600));
        self.world.assert_clean();
        self.world.assert_empty();
    }
}

fn erratic(
    name: &str,
    talks: Talks,
    chance: &mut Dice,
    seen: &crate::support::server::Seen,
) -> Option<Vec<Step>> {
    let said = |message: String| {
        Step::Send(match talks {
            Talks::Lines => format!("{message}\n").into(),
            _ => crate::support::server::event(&message).into(),
        })
    };
    if seen.method != "tools/call" {
        return match chance.below(16) {
            0 if seen.http != "GET" => Some(Vec::new()),
            1 if talks == Talks::Lines => Some(vec![Step::Fin]),
            _ => None,
        };
    }
    let params = seen.json()["params"].clone();
    let text = format!("{name}:{}", params["name"].as_str().unwrap());
    let padding = "y".repeat([10, 3_000, 10_000][chance.below(3)]);
    let answer =
        seen.response(&format!(r#"{{"content":[{{"type":"text","text":"{text}"}}],"p":"{padding}"}}"#));
    let token = &params["_meta"]["progressToken"];
    let filler = "z".repeat(chance.below(3000));
    let progress = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1,"message":"{filler}"}}}}"#
    );
    let ask = format!(r#"{{"jsonrpc":"2.0","id":{},"method":"roots/list"}}"#, chance.below(100));
    let wait = Step::Wait(Duration::from_millis(chance.next() % 3_000));
    Some(match chance.below(12) {
        0 => Vec::new(),
        1 => vec![Step::Fin],
        2 => vec![wait, Step::Reset],
        3 => vec![said(progress.clone()), said(progress), wait, said(answer)],
        4 => vec![said(ask), wait, said(answer)],
        5 => vec![said("garbage".to_owned()), said(answer)],
        6 => vec![said(seen.error(-32000, "no"))],
        7 => vec![said(progress), said(answer.clone()), said(answer)],
        _ => vec![said(answer)],
    })
}

fn run(seed: u64, steps: usize) -> (Vec<String>, Vec<Vec<u8>>) {
    let mut run = Run::new(seed);
    run.begin();
    for _ in 0..steps {
        run.act();
    }
    run.settle();
    let Run { mut world, .. } = run;
    (std::mem::take(&mut world.log), world.clients.into_iter().map(|client| client.raw).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_on_channels_every_call_gets_its_own_answer(seed: u64) {
        run(seed, 100);
    }
}

#[test]
fn the_same_seed_does_the_same_on_channels() {
    for seed in 0..2 {
        let (first, second) = (run(seed, 120), run(seed, 120));
        assert_eq!(first.0, second.0);
        assert!(first.1 == second.1, "bytes differ");
    }
}
