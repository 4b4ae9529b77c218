//! Clients come and go without a word.

use crate::client::{self, ERAS, Open};
use crate::gateway::{Gateway, Runtime, until_none};
use crate::process::Process;
use crate::target::{Kind, Target};
use crate::wire::Wire;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// Clients of each era that are there at the same time and go in the same way.
const CROWD: usize = 10;
/// Memory may grow by this from the first round to the second: what an allocator keeps, and 100 bytes or so for each
/// session that is remembered to have ended.
const SLACK: u64 = 2 << 20;

/// How clients go.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Their connections are reset.
    Reset,
    /// They say that they say no more, and are there for a moment.
    HalfClosed,
    /// Their connections are closed; no session is ended.
    Closed,
}

const WAYS: [Way; 3] = [Way::Reset, Way::HalfClosed, Way::Closed];

/// Has a gateway before a target of this kind serve clients of each era that go in each way, twice over, and compares.
pub(crate) fn all_come_and_go(runtime: Runtime, kind: Kind) {
    let began = Instant::now();
    let mut target = Target::start(kind);
    let Some(gateway) = Gateway::start(runtime, &target.entry()) else { return };
    // What is opened once, and stays.
    drop(ERAS.map(|era| client::open(era, gateway.address)));
    until_alone(&gateway, &target);
    let descriptors = gateway.descriptors();

    let waves = if kind == Kind::Process { PROCESS_WAVES } else { WAVES };
    let mut memory = Vec::new();
    for _ in 0..2 {
        let half: Vec<_> = (0..waves).map(|_| come_and_go(gateway.address)).collect();
        until_alone(&gateway, &target);
        drop(half);
        killed_target(&gateway, &mut target, waves);
        until_descriptors(&gateway, descriptors);
        memory.push(gateway.memory());
    }
    let sessions = 2 * (waves * (WAYS.len() + 1) * CROWD + waves * CROWD);
    let [first, second] = memory[..] else { panic!("two rounds") };
    // Past the harness, which swallows what passing tests print: this is the table of what was done.
    _ = writeln!(
        io::stderr(),
        "{runtime:?}, {kind:?}: {sessions} of each era in {:?}; {} and {} KiB",
        began.elapsed(),
        first >> 10,
        second >> 10,
    );
    assert!(second <= first + SLACK, "{first} bytes, then {second}");
    killed_gateway(gateway, &target);
}

const WAVES: usize = 3;
/// A child costs ten times what a session over HTTP costs.
const PROCESS_WAVES: usize = 2;

/// Each way at the same time, and clients that are killed. Returns connections on which a request has begun, and nothing
/// follows: the gateway has to end them by itself.
fn come_and_go(gateway: SocketAddr) -> Vec<Wire> {
    thread::scope(|scope| {
        let ways = WAYS.map(|way| scope.spawn(move || leave(way, crowd(gateway))));
        let (clients, _) = Process::start("client::as_clients", &format!("{gateway} {CROWD}"));
        clients.kill();
        ways.into_iter().for_each(|way| way.join().unwrap());
    });
    (0..CROWD).map(|_| Wire::say(gateway, "POST /mcp HTTP/1.1\r\nHost: loc").unwrap()).collect()
}

fn crowd(gateway: SocketAddr) -> Vec<Open> {
    (0..CROWD).flat_map(|_| ERAS).map(|era| client::open(era, gateway)).collect()
}

fn leave(way: Way, crowd: Vec<Open>) {
    match way {
        Way::Reset => crowd.into_iter().flatten().for_each(Wire::reset),
        Way::HalfClosed => {
            crowd.iter().flatten().for_each(Wire::end);
            // What the gateway makes of it has begun.
            thread::sleep(Duration::from_millis(100));
        }
        Way::Closed => drop(crowd),
    }
}

/// kill -9 for the target, while clients have everything open; they go while it is gone.
fn killed_target(gateway: &Gateway, target: &mut Target, waves: usize) {
    let crowds: Vec<_> = thread::scope(|scope| {
        let crowds: Vec<_> = (0..waves).map(|_| scope.spawn(|| crowd(gateway.address))).collect();
        crowds.into_iter().map(|crowd| crowd.join().unwrap()).collect()
    });
    let port = target.kill();
    drop(crowds);
    until_none("what the gateway holds before a target that was killed", || gateway.holds());
    target.start_again(port);
    until_alone(gateway, target);
}

/// kill -9 for the gateway, while clients have everything open.
fn killed_gateway(gateway: Gateway, target: &Target) {
    let open = crowd(gateway.address);
    assert!(!target.holds().is_empty());
    gateway.kill();
    target.until_disconnected();
    drop(open);
}

/// Waits until nothing is open.
fn until_alone(gateway: &Gateway, target: &Target) {
    until_none("what the gateway holds", || gateway.holds());
    target.until_alone();
}

fn until_descriptors(gateway: &Gateway, before: usize) {
    until_none("descriptors", || {
        let now = gateway.descriptors();
        (now > before).then(|| format!("{now}, {before} before")).into_iter().collect()
    });
}
