//! What is measured of a gateway before a cluster.

use crate::cluster::Cluster;
use crate::gateway::{Began, Gateway};
use crate::load::{Load, Plain};
use crate::process;
use crate::work::Work;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Quiet before a change, longer than changes are held back to be seen together.
const QUIET: Duration = Duration::from_millis(150);
/// How long memory and CPU get to settle after the start.
const SETTLE: Duration = Duration::from_secs(2);
/// Steps of the rolling update a second.
pub(crate) const STEPS: u32 = 20;
/// Calls a second meanwhile.
pub(crate) const CALLS: u32 = 500;
const CONNECTIONS: usize = 16;
/// The text that makes an answer of 200 bytes.
const CALL: Work = Work::Call(104);

/// A start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) began: Began,
    /// Resident memory when it has settled, in kB.
    pub(crate) resident: u64,
    /// CPU until then.
    pub(crate) cpu: Duration,
    /// The first build.
    pub(crate) build: Duration,
}

/// Waits for the start of a gateway before `cluster`.
pub(crate) fn start(gateway: &Gateway, cluster: &Cluster) -> io::Result<Start> {
    let began = gateway.begin()?;
    gateway.has_endpoints(cluster.endpoints())?;
    let build = build(gateway)?;
    thread::sleep(SETTLE);
    Ok(Start { began, resident: gateway.process.resident(), cpu: gateway.process.cpu(), build })
}

/// Changes, one at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// From the write at the API server to the snapshot in force, sorted.
    pub(crate) latencies: Vec<Duration>,
    /// Of the builds they led to, sorted.
    pub(crate) builds: Vec<Duration>,
    /// CPU of the gateway for each, in microseconds.
    pub(crate) cpu: f64,
}

/// Makes `count` changes: a slice gets an endpoint, or loses one.
pub(crate) fn changes(gateway: &Gateway, cluster: &mut Cluster, count: usize) -> io::Result<Changes> {
    let mut changes = Changes::default();
    let before = gateway.process.cpu();
    for number in 0..count {
        thread::sleep(QUIET);
        cluster.change(number);
        changes.latencies.push(gateway.has_endpoints(cluster.endpoints())?);
        changes.builds.push(build(gateway)?);
    }
    changes.cpu = (gateway.process.cpu() - before).as_secs_f64() * 1e6 / count as f64;
    changes.latencies.sort_unstable();
    changes.builds.sort_unstable();
    Ok(changes)
}

fn build(gateway: &Gateway) -> io::Result<Duration> {
    gateway.metric("mcp_gateway_kubernetes_build_seconds").map(Duration::from_secs_f64)
}

/// A turn of calls, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) worst: f64,
    /// Cores the gateway kept busy.
    pub(crate) cores: f64,
    /// Cores that other processes used meanwhile.
    pub(crate) others: f64,
}

/// Calls at a fixed rate through `/live`, while pods are replaced elsewhere, or while as much else happens at the API
/// server.
pub(crate) fn turn(
    gateway: &Gateway,
    (at, upstream): (SocketAddr, i32),
    cluster: &mut Cluster,
    rolling: bool,
    length: Duration,
) -> io::Result<Turn> {
    let path = "/live/mcp";
    let mut client = Plain::connect(at, path)?;
    let sessions = (0..CONNECTIONS).map(|_| client.start_session()).collect::<io::Result<Vec<_>>>()?;
    let mut load = Load::open(at, path, &sessions)?;
    load.open_loop(CALL, CALLS, length / 8)?;
    let own = || process::cpu(std::process::id().cast_signed()) + process::cpu(upstream);
    let (over, since) = (AtomicBool::new(false), Instant::now());
    let (before, own_before, machine_before) = (gateway.process.cpu(), own(), process::machine());
    let (tally, own) = thread::scope(|scope| {
        scope.spawn(|| {
            let since = Instant::now();
            for step in 1_u32.. {
                if rolling {
                    cluster.replace_pod()
                } else {
                    cluster.change_elsewhere()
                }
                let next = Duration::from_secs(1) * step / STEPS;
                thread::sleep(next.saturating_sub(since.elapsed()));
                if over.load(Relaxed) {
                    return;
                }
            }
        });
        let tally = load.open_loop(CALL, CALLS, length);
        // A thread's time is gone with it.
        let own = own().saturating_sub(own_before);
        over.store(true, Relaxed);
        tally.map(|tally| (tally, own))
    })?;
    let elapsed = since.elapsed().as_secs_f64();
    let cpu = gateway.process.cpu() - before;
    let others = (process::machine() - machine_before).saturating_sub(cpu + own).as_secs_f64() / elapsed;
    let cores = cpu.as_secs_f64() / elapsed;
    for session in &sessions {
        client.end_session(session)?;
    }
    let mut latencies = tally.latencies;
    latencies.sort_unstable();
    let micros = |percent| percentile(&latencies, percent).as_secs_f64() * 1e6;
    Ok(Turn { p50: micros(50), p99: micros(99), worst: micros(100), cores, others })
}

/// The least that so many percent are not above, of what is sorted.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}
