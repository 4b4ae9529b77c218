//! Chance: whatever breaks, whoever listens hears of every change, and in the end nothing is left.
//!
//! A resource changes at its target, which tells all who listen at that moment. Streams end, connections break, targets
//! rest, routes come and go, and the filter of one client changes. After each change that a client could rely on being
//! told, which it can from the answer to its subscription on, something must come that makes it read again.

use crate::support::client::{request, session_field};
use crate::support::listening::{UPDATED, before};
use crate::support::rand::Dice;
use crate::support::server::{event, stream_end};
use crate::support::{Key, Step, World};
use mcp_proto::Fault;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const NAMES: [&str; 2] = ["alpha", "beta"];
const SECOND: Duration = Duration::from_secs(1);
/// So long the answer to a subscription waits at most.
const SETTLE: Duration = Duration::from_millis(250);

/// A change that `client` must hear of: what it had heard before, and what the resource is called.
struct Owed {
    client: usize,
    before: usize,
    uri: String,
}

struct Run {
    world: World,
    dice: Dice,
    modern: usize,
    legacy: usize,
    session: String,
    owed: Vec<Owed>,
    /// Connections on which the legacy client subscribes to one more resource of alpha, each to its own, and when.
    subscribers: Vec<(usize, Instant)>,
    /// The resources of which it was told that it is, before that had taken too long.
    subscribed: BTreeSet<usize>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut world = before(&NAMES).shards(2).build().modern(&["alpha"]);
        world.chop = Dice::new(seed).once_in(2).then(|| Dice::new(seed ^ 1));
        let (client, session) = world.begin();
        let subscribe = request("resources/subscribe", r#"{"uri":"alpha+demo://one"}"#);
        world.ask(client, &session, &subscribe);
        let legacy = world.listen(1, &session);
        let filter =
            r#"{"toolsListChanged":true,"resourceSubscriptions":["alpha+demo://one","beta+demo://one"]}"#;
        let modern = world.subscribe(0, "1", filter);
        assert_eq!(world.heard(modern).len(), 1);
        Self {
            world,
            dice: Dice::new(seed ^ 2),
            modern,
            legacy,
            session,
            owed: Vec::new(),
            subscribers: Vec::new(),
            subscribed: BTreeSet::new(),
        }
    }

    /// The connections on which a target is listened to now, and the ids of the listens.
    fn listeners(&mut self, name: &str) -> Vec<(Key, Option<String>)> {
        let server = self.world.server(name);
        let mut open: Vec<(Key, Option<String>)> = Vec::new();
        for seen in &server.seen {
            open.retain(|(key, _)| *key != seen.key);
            if seen.http == "GET" || seen.method == "subscriptions/listen" {
                open.push((seen.key, seen.id.clone()));
            }
        }
        open.retain(|(key, _)| server.is_busy(*key));
        open
    }

    fn change(&mut self, name: &str) {
        for client in [self.modern, self.legacy] {
            if client == self.modern || name == "alpha" {
                let before = self.world.heard(client).len();
                self.owed.push(Owed { client, before, uri: format!("{name}+demo://one") });
            }
        }
        for (key, id) in self.listeners(name) {
            let message = match id {
                Some(id) => crate::support::listening::updated(&id, "demo://one"),
                None => UPDATED.to_owned(),
            };
            self.world.say(key, vec![Step::Send(event(&message).into())]);
        }
    }

    /// Looks which subscriptions have been answered.
    fn note_answers(&mut self) {
        for (number, (client, since)) in self.subscribers.iter().enumerate() {
            let in_time = self.world.now < *since + SETTLE && self.world.is_answered(*client, 0);
            if in_time && self.world.clients[*client].answer().json()["result"].is_object() {
                self.subscribed.insert(number);
            }
        }
    }

    /// One of these changes.
    fn change_another(&mut self) {
        let subscribed: Vec<_> = self.subscribed.iter().collect();
        if subscribed.is_empty() {
            return;
        }
        let uri = format!("demo://own-{}", subscribed[self.dice.below(subscribed.len())]);
        let before = self.world.heard(self.legacy).len();
        self.owed.push(Owed { client: self.legacy, before, uri: format!("alpha+{uri}\"") });
        for (key, id) in self.listeners("alpha") {
            let Some(id) = id else { continue };
            let seen = self.world.server("alpha").seen.iter().rfind(|seen| seen.key == key).unwrap();
            let heard = seen.json()["params"]["notifications"]["resourceSubscriptions"].clone();
            if heard.as_array().is_some_and(|heard| heard.contains(&uri.clone().into())) {
                let message = crate::support::listening::updated(&id, &uri);
                self.world.say(key, vec![Step::Send(event(&message).into())]);
            }
        }
    }

    fn act(&mut self) {
        let name = NAMES[self.dice.below(2)];
        match self.dice.below(18) {
            12..15 => self.change_another(),
            15..18 => {
                let uri = format!(r#"{{"uri":"alpha+demo://own-{}"}}"#, self.subscribers.len());
                let shard = self.dice.below(2);
                let client =
                    self.world.call_later(shard, &self.session, &request("resources/subscribe", &uri));
                self.subscribers.push((client, self.world.now));
            }
            0..4 => self.change(name),
            4 => self.world.kill(name),
            5 => {
                let listeners = self.listeners(name);
                if !listeners.is_empty() {
                    let (key, _) = listeners[self.dice.below(listeners.len())];
                    self.world.say(key, stream_end());
                }
            }
            6 => {
                let refuses = self.dice.once_in(3).then_some(Some(Fault::Refused));
                self.world.server(name).refuses = refuses;
            }
            7 => {
                let more = format!(r#"{{"uri":"alpha+demo://{}"}}"#, self.dice.below(3));
                let method = ["resources/subscribe", "resources/unsubscribe"][self.dice.below(2)];
                let shard = self.dice.below(2);
                self.world.call_later(shard, &self.session, &request(method, &more));
            }
            8 => self.world.server(name).delay = Duration::from_millis(self.dice.next() % 2_000),
            9 => self.world.server(name).sessions.clear(),
            10 => self.world.advance(Duration::from_millis(self.dice.next() % 100)),
            _ => self.world.advance(Duration::from_millis(self.dice.next() % 40_000)),
        }
    }

    fn end(mut self) {
        for name in NAMES {
            let server = self.world.server(name);
            (server.refuses, server.delay) = (None, Duration::ZERO);
        }
        self.world.advance(90 * SECOND);
        let heard = |client: usize| self.world.heard(client);
        let (modern, legacy) = (heard(self.modern), heard(self.legacy));
        for Owed { client, before, uri } in &self.owed {
            let heard = if *client == self.modern { &modern } else { &legacy };
            let tells = |message: &&String| message.contains("resources/updated") && message.contains(uri);
            assert!(
                heard[*before..].iter().any(|message| tells(&message)),
                "client {client} missed {uri} after {before} messages: {heard:#?}"
            );
        }
        let tag = r#""io.modelcontextprotocol/subscriptionId":1}"#;
        assert!(modern[0].contains("subscriptions/acknowledged"));
        assert!(modern.iter().all(|message| message.contains(tag)), "{modern:#?}");
        assert!(legacy.iter().all(|message| !message.contains("subscriptionId")), "{legacy:#?}");
        self.world.hang_up(self.modern);
        self.world.hang_up(self.legacy);
        let end = format!("DELETE /mcp HTTP/1.1\r\nhost: localhost\r\n{}\r\n", session_field(&self.session));
        let last = self.world.connect(0);
        self.world.send(last, end.as_bytes());
        self.world.advance(SECOND);
        self.world.assert_nothing_left(&NAMES);
    }
}

proptest! {
    // A few seconds: each case is minutes of virtual time, byte by byte.
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn no_change_is_missed(seed in any::<u64>()) {
        let mut run = Run::new(seed);
        for _ in 0..60 {
            run.act();
            run.note_answers();
        }
        run.end();
    }
}
