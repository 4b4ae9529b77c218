//! Chance once more: endpoints of one target come, go, drain, die, and leave their addresses to others, while clients
//! call and listen.
//!
//! Whatever happens: no server sees another's session, no call runs twice, a call that could be served all along is
//! served, every other one says why not, and in the end nothing is left.

use crate::support::client::{EVERYTHING, INITIALIZED, initialize, post, session_field};
use crate::support::modern::Ask;
use crate::support::rand::Dice;
use crate::support::replicas::replicas;
use crate::support::{Setup, World};
use mcp_proto::Fault;
use proptest::prelude::*;
use routing::{Endpoint, Serves};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SHARDS: usize = 2;
/// What failed a moment ago is left alone for a second.
const MEMORY: Duration = Duration::from_secs(2);

/// A server, as the cluster sees it.
struct Pod {
    name: String,
    serves: Serves,
    near: bool,
    /// In the snapshot; a dead one may still be.
    listed: bool,
    life: Life,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Life {
    Alive,
    Dead,
    /// Nobody says so: connections are not even refused.
    Silent,
}

/// A call that is not answered yet.
struct Call {
    client: usize,
    /// Which of the client's answers is its own.
    number: usize,
    sent: Instant,
}

struct Run {
    world: World,
    dice: Dice,
    pods: Vec<Pod>,
    sessions: Vec<String>,
    calls: Vec<Call>,
    serial: u32,
    /// There is a limit on connections that is felt.
    few: bool,
    /// When last something broke, or there was nobody who could serve.
    trouble: Instant,
    served: usize,
    excused: BTreeMap<String, usize>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let few = dice.once_in(3);
        let setup = Setup::new(&["alpha"]).shards(SHARDS as u16).seed(seed as u8 & 0x3f);
        let setup = setup.config(|config| {
            config.timeouts.session = Duration::from_secs(300);
            if few {
                config.limits.target_connections = 3;
            }
        });
        let mut world = replicas(setup, &["pod-0"]);
        world.chop = dice.once_in(3).then(|| Dice::new(seed ^ 1));
        let pod = Pod::new("pod-0".to_owned());
        let trouble = world.now;
        let mut run = Self {
            world,
            dice,
            pods: vec![pod],
            sessions: Vec::new(),
            calls: Vec::new(),
            serial: 0,
            few,
            trouble,
            served: 0,
            excused: BTreeMap::new(),
        };
        run.begin();
        run
    }

    fn act(&mut self) {
        self.look();
        match self.dice.below(30) {
            0..2 => self.begin(),
            2..12 => self.call(),
            12 => self.listen(),
            13..15 => self.start_pod(),
            15 => self.end_pod(),
            16..18 => self.change_pod(),
            18 => self.publish(),
            19..22 => self.world.advance(Duration::from_millis(self.dice.next() % 1_500)),
            22 => self.ask_modern(),
            23 if self.dice.once_in(3) => self.break_connection(),
            _ => {
                for _ in 0..20 {
                    self.world.step(&mut self.dice);
                }
            }
        }
        self.look();
        self.check();
    }

    /// Whether somebody is there who should get everything.
    fn look(&mut self) {
        let serves = |pod: &Pod| pod.listed && pod.life == Life::Alive && pod.serves == Serves::Ready;
        // A connection that takes two seconds to fail uses up the time that a request has.
        let silent = |pod: &Pod| pod.listed && pod.life == Life::Silent;
        if !self.pods.iter().any(serves) || self.pods.iter().any(silent) {
            self.trouble = self.world.now;
        }
    }

    fn begin(&mut self) {
        let client = self.world.connect(self.dice.below(SHARDS));
        self.world.send(client, &post("", &initialize("2025-11-25", EVERYTHING)));
        self.world.advance(Duration::from_millis(300));
        let answers = self.world.clients[client].answers();
        let session = answers.first().and_then(|answer| answer.field("mcp-session-id"));
        if let Some(session) = session {
            self.world.send(client, &post(&session_field(session), INITIALIZED));
            self.sessions.push(session.to_owned());
        }
    }

    fn call(&mut self) {
        if self.sessions.is_empty() {
            return;
        }
        let session = &self.sessions[self.dice.below(self.sessions.len())];
        self.serial += 1;
        let id = self.serial;
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"nonce":"call-{id}."}}}}}}"#
        );
        let text = post(&session_field(session), &body);
        self.send(&text);
    }

    /// A client without a session, which the gateway serves in one of its own.
    fn ask_modern(&mut self) {
        self.serial += 1;
        let params = format!(r#","arguments":{{"nonce":"call-{}."}}"#, self.serial);
        let text = Ask { capabilities: "{}", params, ..Ask::call(self.serial) }.text();
        self.send(&text);
    }

    fn send(&mut self, text: &[u8]) {
        let client = self.world.connect(self.dice.below(SHARDS));
        self.world.queue(client, text);
        self.calls.push(Call { client, number: 0, sent: self.world.now });
    }

    fn listen(&mut self) {
        // Streams would take all connections.
        if !self.sessions.is_empty() && !self.few {
            let session = self.sessions[self.dice.below(self.sessions.len())].clone();
            self.world.listen(self.dice.below(SHARDS), &session);
        }
    }

    /// A pod is there: at an address of its own, or at that of one that died.
    fn start_pod(&mut self) {
        if self.pods.iter().filter(|pod| pod.life == Life::Alive).count() > 4 {
            return;
        }
        let name = format!("pod-{}", self.world.servers.len());
        let mut dead =
            self.pods.iter().filter(|pod| pod.life == Life::Dead && !self.world.is_inherited(&pod.name));
        match dead.next_back().filter(|_| self.dice.once_in(2)).map(|pod| pod.name.clone()) {
            Some(dead) => self.world.take_over(&dead, &name),
            None => self.world.add_replica(&name),
        }
        let server = self.world.server(&name);
        server.refuses = None;
        server.delay = Duration::from_millis(self.dice.next() % 120);
        self.pods.push(Pod { near: self.dice.once_in(3), ..Pod::new(name) });
        self.publish();
    }

    /// A pod dies. The snapshot says so now or later.
    fn end_pod(&mut self) {
        let alive: Vec<_> = (0..self.pods.len()).filter(|pod| self.pods[*pod].life == Life::Alive).collect();
        let Some(pod) = alive.get(self.dice.below(alive.len().max(1))) else { return };
        let pod = &mut self.pods[*pod];
        pod.life = if self.dice.once_in(5) { Life::Silent } else { Life::Dead };
        self.trouble = self.world.now;
        let silent = pod.life == Life::Silent;
        let name = pod.name.clone();
        self.world.server(&name).refuses = Some((!silent).then_some(Fault::Refused));
        self.world.kill(&name);
        if self.dice.once_in(2) {
            self.publish();
        }
    }

    /// A connection breaks, and what may have been on its way on it.
    fn break_connection(&mut self) {
        self.trouble = self.world.now;
        self.world.kill_one(&mut self.dice);
    }

    fn change_pod(&mut self) {
        let pod = self.dice.below(self.pods.len());
        let pod = &mut self.pods[pod];
        match self.dice.below(3) {
            0 => pod.serves = Serves::Draining,
            1 => pod.serves = Serves::Ready,
            _ => pod.near = !pod.near,
        }
        self.publish();
    }

    /// The snapshot is what there is.
    fn publish(&mut self) {
        for pod in &mut self.pods {
            pod.listed = pod.life == Life::Alive;
        }
        let endpoint =
            |pod: &Pod| Endpoint { serves: pod.serves, near: pod.near, ..self.world.endpoint(&pod.name) };
        let mut endpoints: Vec<_> = self.pods.iter().filter(|pod| pod.listed).map(endpoint).collect();
        if self.dice.once_in(2) {
            endpoints.reverse();
        }
        self.world.lead_to(endpoints);
    }

    fn check(&mut self) {
        let now = self.world.now;
        let trouble = self.trouble;
        let mut open = Vec::new();
        for call in std::mem::take(&mut self.calls) {
            let answers = self.world.clients[call.client].answers();
            let Some(answer) = answers.get(call.number).filter(|answer| answer.complete) else {
                open.push(call);
                continue;
            };
            assert_eq!(answer.status, 200, "{answer:?}");
            let text = answer.tool_text();
            if text.ends_with(":echo") {
                self.served += 1;
                continue;
            }
            assert!(trouble + MEMORY >= call.sent, "{:?} after it was sent: {text}", now - call.sent);
            *self.excused.entry(text).or_default() += 1;
        }
        self.calls = open;
    }

    /// Sessions stay with their servers, and calls run once.
    fn check_servers(&self) {
        let mut runs = BTreeMap::<String, usize>::new();
        for server in &self.world.servers {
            let own = format!("{}-", server.name);
            for seen in &server.seen {
                assert!(seen.session().is_none_or(|id| id.starts_with(&own)), "{} got {seen:?}", server.name);
                if seen.method == "tools/call" {
                    let nonce = seen.json()["params"]["arguments"]["nonce"].to_string();
                    *runs.entry(nonce).or_default() += 1;
                }
            }
        }
        assert!(runs.values().all(|count| *count == 1), "{runs:?}");
    }

    /// Somebody serves, and everything comes to an end.
    fn settle(&mut self) {
        self.start_pod();
        for pod in &mut self.pods {
            pod.serves = Serves::Ready;
        }
        self.publish();
        self.world.advance(Duration::from_secs(60));
        self.check();
        assert!(self.calls.is_empty(), "{} calls are not answered", self.calls.len());
        // Whatever became of them, all sessions work now.
        for session in self.sessions.clone() {
            let client = self.world.connect(self.dice.below(SHARDS));
            let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"nonce":"last"}}}"#;
            let number = self.world.ask_later(client, &session, &call.replace("last", &session));
            self.world.advance(Duration::from_secs(1));
            let answer = &self.world.clients[client].answers()[number];
            assert!(answer.tool_text().ends_with(":echo"), "{answer:?}");
        }
        self.check_servers();
        for client in 0..self.world.clients.len() {
            self.world.hang_up(client);
        }
        self.world.advance(Duration::from_secs(400));
        self.world.drain(Duration::from_secs(10));
        self.world.advance(Duration::from_secs(400));
        self.world.assert_empty();
    }
}

impl Pod {
    fn new(name: String) -> Self {
        Self { name, serves: Serves::Ready, near: false, listed: true, life: Life::Alive }
    }
}

fn run(seed: u64, steps: usize) -> (usize, BTreeMap<String, usize>) {
    let mut run = Run::new(seed);
    for _ in 0..steps {
        run.act();
    }
    run.settle();
    (run.served, run.excused)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn whatever_endpoints_do_what_can_be_served_is_served(seed: u64) {
        run(seed, 150);
    }
}

#[test]
fn chance_has_everything_to_say() {
    let mut served = 0;
    let mut excused = BTreeMap::new();
    for seed in 0..6 {
        let (more, words) = run(seed, 150);
        served += more;
        excused.extend(words);
    }
    assert!(served > 150, "{served} served");
    let said = |part: &str| excused.keys().any(|words| words.contains(part));
    assert!(said("no reachable endpoint") && said("the connection broke"), "{excused:?}");
}
