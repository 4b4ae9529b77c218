//! Chance: several clients, shards and targets, broken reads and writes, faults and time, in any order.
//!
//! Whatever happens: nothing panics, every request gets one answer that is its own or its connection is gone, what is
//! held for a client is bounded, and in the end nothing is left. The same seed does the same, byte for byte.

use crate::support::client::{EVERYTHING, INITIALIZED, initialize, post, session_field};
use crate::support::rand::Dice;
use crate::support::server::{
    Reply, Seen, chunk, chunked_reply, event, event_with, open_stream, reply, stream_end,
};
use crate::support::setup::target;
use crate::support::{Answer, Setup, Step, World};
use mcp_proto::Fault;
use proptest::prelude::*;
use routing::Routes;
use serde_json::Value;
use std::time::Duration;

const TARGETS: [&str; 3] = ["alpha", "beta", "gamma"];
const SHARDS: usize = 2;

/// A user of the gateway: one session, and connections that come and go.
#[derive(Default)]
struct User {
    session: Option<String>,
    lines: Vec<Line>,
}

/// A connection and what was asked on it.
struct Line {
    client: usize,
    /// The ids of the requests, in order; `None` where no JSON-RPC answer is due.
    asked: Vec<Option<u64>>,
    listens: bool,
}

struct Run {
    world: World,
    dice: Dice,
    users: Vec<User>,
    serial: u64,
    several: bool,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let several = !dice.once_in(4);
        let mut world = Setup::new(if several { &TARGETS } else { &TARGETS[..1] })
            .shards(SHARDS as u16)
            .seed(seed as u8 & 0x3f)
            .config(|config| {
                config.limits.buffer = 4 << 10;
                config.limits.target_connections = 4;
                config.limits.target_waiting = 4;
                config.timeouts.session = Duration::from_secs(300);
            })
            .build();
        world.chop = dice.once_in(2).then(|| Dice::new(seed ^ 1));
        for (number, server) in world.servers.iter_mut().enumerate() {
            let mut chance = Dice::new(seed ^ (number as u64 + 2) << 32);
            server.keeps_sessions = !chance.once_in(3);
            server.streams = !chance.once_in(3);
            server.page = 1 + chance.below(3);
            let sessions = server.keeps_sessions;
            let name = server.name.clone();
            server.script = Some(Box::new(move |seen| erratic(&name, &mut chance, seen, sessions)));
        }
        let users = (0..3).map(|_| User::default()).collect();
        Self { world, dice, users, serial: 0, several }
    }

    /// One thing a user, a target or the world does.
    fn act(&mut self) {
        let user = self.dice.below(self.users.len());
        match self.dice.below(40) {
            0..4 => self.connect(user),
            4..14 => self.ask(user),
            14 => self.listen(user),
            15 => self.leave(user),
            16 => self.slow_down(user),
            17..20 => self.world.advance(Duration::from_millis(self.dice.next() % 3_000)),
            20 if self.dice.once_in(6) => self.world.advance(Duration::from_secs(self.dice.next() % 200)),
            21 => self.break_target(),
            22 => self.end_session(user),
            23 => self.reroute(),
            24..27 => self.reply(user),
            27 => self.resume(user),
            _ => {
                for _ in 0..20 {
                    self.world.step(&mut self.dice);
                }
            }
        }
        self.check();
    }

    fn connect(&mut self, user: usize) {
        let shard = self.dice.below(SHARDS);
        let client = self.world.connect(shard);
        let mut line = Line { client, asked: Vec::new(), listens: false };
        if self.users[user].session.is_none() {
            self.serial += 1;
            let body = initialize("2025-11-25", EVERYTHING)
                .replace(r#""id":0"#, &format!(r#""id":{}"#, self.serial));
            self.world.queue(client, &post("", &body));
            line.asked.push(Some(self.serial));
        }
        self.users[user].lines.push(line);
    }

    fn ask(&mut self, user: usize) {
        self.learn_session(user);
        let User { session: Some(session), lines } = &mut self.users[user] else { return };
        let Some(line) = lines.iter_mut().filter(|line| !line.listens).last() else { return };
        self.serial += 1;
        let id = self.serial;
        let target = TARGETS[self.dice.below(TARGETS.len())];
        let (name, uri) = match self.several {
            true => (format!("{target}_echo"), format!("{target}+demo://one")),
            false => ("echo".to_owned(), "demo://one".to_owned()),
        };
        let (method, params) = match self.dice.below(12) {
            0 => ("tools/list", "{}".to_owned()),
            1 => ("resources/list", "{}".to_owned()),
            2 => ("resources/read", format!(r#"{{"uri":"{uri}","nonce":{id}}}"#)),
            3 => ("resources/subscribe", format!(r#"{{"uri":"{uri}"}}"#)),
            4 => ("logging/setLevel", r#"{"level":"debug"}"#.to_owned()),
            5 => ("ping", "{}".to_owned()),
            6 => ("tools/call", format!(r#"{{"name":"unheard","arguments":{{"nonce":{id}}}}}"#)),
            _ => ("tools/call", format!(r#"{{"name":"{name}","arguments":{{"nonce":{id}}}}}"#)),
        };
        let body = match self.dice.below(10) {
            0 => INITIALIZED.to_owned(),
            1 => format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{}}}}}"#,
                id - 1
            ),
            _ => format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#),
        };
        line.asked.push(body.contains(r#""id""#).then_some(id));
        let text = String::from_utf8(post(&session_field(session), &body)).unwrap();
        let accept = ["application/json, text/event-stream", "application/json", "text/event-stream"]
            [self.dice.below(3)];
        self.world.queue(line.client, text.replace("application/json, text/event-stream", accept).as_bytes());
    }

    /// Answers what targets asked, on a connection of its own, sometimes more than once.
    fn reply(&mut self, user: usize) {
        let User { session: Some(session), lines } = &self.users[user] else { return };
        let session = session.clone();
        let answers = lines.iter().flat_map(|line| self.world.clients[line.client].answers());
        let messages = answers.filter(Answer::is_stream).flat_map(|answer| answer.messages());
        let asked: Vec<_> = messages.filter(|message| message["method"] == "roots/list").collect();
        if asked.is_empty() {
            return;
        }
        let message = &asked[self.dice.below(asked.len())];
        let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"roots":[]}}}}"#, message["id"]);
        let client = self.world.connect(self.dice.below(SHARDS));
        self.world.queue(client, &post(&session_field(&session), &body));
    }

    /// Goes on with a stream that ended or broke off.
    fn resume(&mut self, user: usize) {
        let User { session: Some(session), lines } = &self.users[user] else { return };
        let answers = lines.iter().flat_map(|line| self.world.clients[line.client].answers());
        let ids: Vec<_> = answers
            .filter(Answer::is_stream)
            .flat_map(|answer| answer.events())
            .filter_map(|event| event.id)
            .collect();
        if ids.is_empty() {
            return;
        }
        let id = &ids[self.dice.below(ids.len())];
        let fields = format!("mcp-session-id: {session}\r\nlast-event-id: {id}\r\n");
        let client = self.world.connect(self.dice.below(SHARDS));
        let text =
            format!("GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n{fields}\r\n");
        self.world.queue(client, text.as_bytes());
        self.users[user].lines.push(Line { client, asked: Vec::new(), listens: true });
    }

    /// One target leaves, or is back.
    fn reroute(&mut self) {
        if self.several {
            let shown = if self.dice.once_in(2) { &TARGETS[..2] } else { &TARGETS };
            let targets = shown.iter().enumerate().map(|(number, name)| target(name, number)).collect();
            self.world.reroute(Routes::new(targets).unwrap());
        }
    }

    fn learn_session(&mut self, user: usize) {
        let user = &mut self.users[user];
        if user.session.is_none() {
            let answers = user.lines.iter().flat_map(|line| self.world.clients[line.client].answers());
            user.session =
                answers.filter_map(|answer| answer.field("mcp-session-id").map(str::to_owned)).next();
        }
    }

    fn listen(&mut self, user: usize) {
        self.learn_session(user);
        let Some(session) = self.users[user].session.clone() else { return };
        let client = self.world.connect(self.dice.below(SHARDS));
        let text = format!(
            "GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nmcp-session-id: {session}\r\n\r\n"
        );
        self.world.queue(client, text.as_bytes());
        self.users[user].lines.push(Line { client, asked: Vec::new(), listens: true });
    }

    fn leave(&mut self, user: usize) {
        let lines = &self.users[user].lines;
        if !lines.is_empty() {
            let client = lines[self.dice.below(lines.len())].client;
            match self.dice.once_in(2) {
                true => self.world.half_close(client),
                false => self.world.hang_up(client),
            }
        }
    }

    fn slow_down(&mut self, user: usize) {
        let Some(line) = self.users[user].lines.last() else { return };
        let window = if self.dice.once_in(2) { self.dice.below(2_000) } else { usize::MAX };
        self.world.clients[line.client].window = window;
    }

    fn break_target(&mut self) {
        let number = self.dice.below(self.world.servers.len());
        let name = self.world.servers[number].name.clone();
        let server = &mut self.world.servers[number];
        match self.dice.below(6) {
            0 => self.world.kill(&name),
            1 => server.refuses = Some(Some(Fault::Refused)),
            2 => server.refuses = Some(None),
            3 => server.sessions.clear(),
            _ => server.refuses = None,
        }
    }

    fn end_session(&mut self, user: usize) {
        self.learn_session(user);
        if !self.dice.once_in(3) {
            return;
        }
        let Some(session) = self.users[user].session.take() else { return };
        let client = self.world.connect(self.dice.below(SHARDS));
        let text = format!("DELETE /mcp HTTP/1.1\r\nhost: localhost\r\nmcp-session-id: {session}\r\n\r\n");
        self.world.queue(client, text.as_bytes());
    }

    /// Answers are in the order of the requests, one each, each with its own id and what it asked for.
    fn check(&self) {
        for line in self.users.iter().flat_map(|user| &user.lines).filter(|line| !line.listens) {
            let answers = self.world.clients[line.client].answers();
            // The gateway may say why it closes a connection.
            let last_word = answers.last().is_some_and(|answer| answer.status == 408);
            assert!(answers.len() <= line.asked.len() + usize::from(last_word), "more answers than requests");
            for (answer, asked) in answers.iter().zip(&line.asked).filter(|(answer, _)| answer.complete) {
                if answer.status != 200 {
                    assert!(matches!(answer.status, 202 | 400 | 404 | 408 | 503), "{answer:?}");
                    assert!(answer.status != 202 || asked.is_none(), "a request was only accepted");
                    continue;
                }
                let messages = if answer.is_stream() { answer.messages() } else { vec![answer.json()] };
                let own = |message: &&Value| message.get("method").is_none();
                let responses: Vec<_> = messages.iter().filter(own).collect();
                // A stream with event ids may end before its answer: the client polls for it.
                if responses.is_empty()
                    && answer.is_stream()
                    && answer.events().iter().any(|it| it.id.is_some())
                {
                    continue;
                }
                assert!(responses.len() == 1, "{} answers to {asked:?}: {}", responses.len(), answer.text());
                assert_eq!(responses[0]["id"].as_u64(), *asked, "{}", answer.text());
                let nonce = responses[0]["result"]["nonce"].as_u64();
                assert!(nonce.is_none() || nonce == *asked, "an answer for another: {}", answer.text());
            }
        }
    }

    /// Targets get the answers to their own questions only.
    fn check_replies(&self) -> usize {
        let mut replies = 0;
        for server in &self.world.servers {
            for seen in server.seen.iter().filter(|seen| seen.http == "POST" && seen.method.is_empty()) {
                let own = |id: &String| id.starts_with(&format!("\"{}-", server.name));
                assert!(seen.id.as_ref().is_some_and(own), "{} got {}", server.name, seen.body);
                replies += 1;
            }
        }
        replies
    }

    /// Everyone behaves again, and everything comes to an end.
    fn settle(&mut self) {
        for server in &mut self.world.servers {
            server.refuses = None;
            server.script = None;
        }
        for client in &mut self.world.clients {
            client.window = usize::MAX;
        }
        self.world.advance(Duration::from_secs(700));
        self.check();
        self.check_replies();
        let lines = self.users.iter().flat_map(|user| &user.lines);
        let streams =
            lines.filter(|line| line.listens && self.world.clients[line.client].key.is_some()).count();
        let calls: u64 = (0..SHARDS).map(|shard| self.world.counters(shard).calls.value()).sum();
        assert!(
            calls as usize <= streams * self.world.servers.len(),
            "{calls} calls left, {streams} streams"
        );
        for line in self.users.iter().flat_map(|user| &user.lines).filter(|line| !line.listens) {
            let client = &self.world.clients[line.client];
            let answered = client.answers().iter().filter(|answer| answer.complete).count();
            let open = client.key.is_some();
            assert!(!open || answered >= line.asked.len(), "{answered} of {:?} answered", line.asked);
        }
        self.world.drain(Duration::from_secs(10));
        self.world.advance(Duration::from_secs(400));
        assert!(self.world.shards.iter().all(|shard| shard.is_drained()));
        self.world.assert_empty();
    }
}

/// What a server does that is not always well.
pub(crate) fn erratic(name: &str, chance: &mut Dice, seen: &Seen, sessions: bool) -> Option<Reply> {
    if seen.method != "tools/call" && !chance.once_in(8) {
        return None;
    }
    if sessions && seen.session().is_none() && seen.method != "initialize" {
        return None;
    }
    let nonce = seen.json_if_any()["params"]["arguments"]["nonce"].clone();
    let padding = "x".repeat(if chance.once_in(6) { 30_000 } else { 10 });
    let result = format!(r#"{{"nonce":{nonce},"content":[{{"type":"text","text":"{padding}"}}]}}"#);
    let wait = Step::Wait(Duration::from_millis(chance.next() % 4_000));
    let progress =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    let is_call = seen.method == "tools/call";
    let ask = format!(r#"{{"jsonrpc":"2.0","id":"{name}-{}","method":"roots/list"}}"#, chance.next());
    Some(match chance.below(16) {
        0 => Vec::new(),
        1 => vec![Step::Reset],
        2 => vec![wait, Step::Fin],
        3 => reply(404, "", ""),
        4 => reply(503, "content-type: text/html\r\n", "<html>"),
        5 => vec![
            Step::Send(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{".to_vec(),
            ),
            wait,
            Step::Reset,
        ],
        _ if !is_call => return None,
        6 => [open_stream(&[event_with("1", progress)]), vec![Step::Fin]].concat(),
        7 => [
            open_stream(&[event(progress), event("{}")]),
            vec![wait, Step::Send(event(&seen.response(&result)).into())],
            stream_end(),
        ]
        .concat(),
        8 => [
            open_stream(&[event(&ask.replace("roots/list", "ping"))]),
            vec![wait, Step::Send(event(&seen.response(&result)).into())],
            stream_end(),
        ]
        .concat(),
        9 => {
            let (front, back) = (
                seen.response(&result).split_at(20).0.to_owned(),
                seen.response(&result).split_at(20).1.to_owned(),
            );
            let mut steps = chunked_reply(&[&front]);
            steps[0] = Step::Send(
                String::from_utf8(match &steps[0] {
                    Step::Send(bytes) => bytes.clone(),
                    _ => Vec::new(),
                })
                .unwrap()
                .replace("0\r\n\r\n", "")
                .into(),
            );
            steps.splice(1..1, [wait, Step::Send(chunk(&back).into()), Step::Send(b"0\r\n\r\n".to_vec())]);
            steps
        }
        10 | 11 => [
            open_stream(&[event_with("1", progress), event(&ask)]),
            vec![wait, Step::Send(event(&seen.response(&result)).into())],
            stream_end(),
        ]
        .concat(),
        12 => [vec![wait], seen.result(&result)].concat(),
        _ => seen.result(&result),
    })
}

/// A run to its end: what the shards did and what the clients got.
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
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_request_gets_its_own_answer_or_none(seed: u64) {
        run(seed, 120);
    }
}

#[test]
fn a_drain_that_cuts_the_end_of_a_session_leaves_no_request_behind() {
    run(11_778_376_298_922_994_467, 120);
}

#[test]
fn the_same_seed_does_the_same() {
    for seed in 0..4 {
        let (first, second) = (run(seed, 150), run(seed, 150));
        assert_eq!(first.0, second.0);
        assert!(first.1 == second.1, "bytes differ");
        assert!(first.0.len() > 100);
    }
}
