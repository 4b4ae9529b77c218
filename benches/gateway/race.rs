//! The race: every workload over all contenders back to back, round after round.

use crate::contender::{Contender, Recipe};
use crate::load::{Load, Plain, Tally};
use crate::process;
use crate::upstream::PORTS;
use crate::work::Work;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// How work arrives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pace {
    /// As soon as the last answer is there.
    Closed,
    /// So many a second.
    Rate(u32),
}

/// One column of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) work: Work,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
}

const fn closed(name: &'static str, work: Work, connections: usize) -> Workload {
    Workload { name, work, connections, pace: Pace::Closed }
}

/// All of them. Texts of 104 bytes make JSON answers of 200 bytes.
pub(crate) const WORKLOADS: [Workload; 10] = [
    closed("call-200B", Work::Call(104), 16),
    closed("call-4KB", Work::Call(4 << 10), 16),
    closed("call-64KB", Work::Call(64 << 10), 16),
    closed("call-1MB", Work::Call(1 << 20), 4),
    closed("call-sse", Work::Progress, 16),
    closed("call-modern", Work::Modern(104), 16),
    closed("list", Work::List, 16),
    closed("session", Work::Life, 8),
    Workload { name: "rate-1000", work: Work::Call(104), connections: 16, pace: Pace::Rate(1000) },
    Workload { name: "rate-4000", work: Work::Call(104), connections: 16, pace: Pace::Rate(4000) },
];

/// One contender's turn at one workload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn {
    /// CPU of the contender per unit of work, in microseconds.
    pub(crate) cpu: f64,
    /// Units a second.
    pub(crate) rate: f64,
    /// Latencies in microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Resident memory after it, in MB.
    pub(crate) resident: f64,
    /// Cores that other processes used meanwhile.
    pub(crate) others: f64,
}

/// Takes one turn of `length`, after some warming up.
pub(crate) fn turn(
    workload: &Workload,
    contender: &Contender,
    upstream: i32,
    length: Duration,
) -> io::Result<Turn> {
    contender.thaw();
    let turn = thawed_turn(workload, contender, upstream, length);
    contender.freeze();
    turn
}

fn thawed_turn(
    workload: &Workload,
    contender: &Contender,
    upstream: i32,
    length: Duration,
) -> io::Result<Turn> {
    let &Workload { work, connections, pace, .. } = workload;
    let mut client = Plain::connect(contender.address, &contender.path)?;
    let mut sessions = vec![String::new(); connections];
    if !matches!(work, Work::Life | Work::Modern(_)) {
        for session in &mut sessions {
            *session = client.start_session()?;
        }
    }
    let warm_up = length.min(Duration::from_secs(2)) / 4;
    let mut load = Load::open(contender.address, &contender.path, &sessions)?;
    let run = |load: &mut Load, length| match pace {
        Pace::Closed => load.closed(work, Instant::now() + length),
        Pace::Rate(rate) => load.open_loop(work, rate, length),
    };
    run(&mut load, warm_up)?;
    let own = || process::cpu(std::process::id().cast_signed()) + process::cpu(upstream);
    let (started, contender_before, own_before, machine_before) =
        (Instant::now(), contender.cpu(), own(), process::machine());
    let tally = run(&mut load, length)?;
    let (elapsed, contender_cpu, own_cpu, machine) = (
        started.elapsed().as_secs_f64(),
        contender.cpu() - contender_before,
        own() - own_before,
        process::machine() - machine_before,
    );
    let Tally { done, mut latencies } = tally;
    latencies.sort_unstable();
    let resident = contender.resident() as f64 / 1e3;
    drop(load);
    for session in sessions.iter().filter(|session| !session.is_empty()) {
        client.end_session(session)?;
    }
    Ok(Turn {
        cpu: contender_cpu.as_secs_f64() * 1e6 / done as f64,
        rate: done as f64 / elapsed,
        p50: percentile(&latencies, 50),
        p99: percentile(&latencies, 99),
        resident,
        others: machine.saturating_sub(contender_cpu + own_cpu).as_secs_f64() / elapsed,
    })
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
}

/// What idle sessions cost. Memory in kB, CPU in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Idle {
    /// Resident at the start, with the sessions, with their streams, and after their end.
    pub(crate) resident: [u64; 4],
    /// CPU to make a session and open its stream.
    pub(crate) create: f64,
    /// CPU for one notification on one stream.
    pub(crate) notify: f64,
}

/// Notifications sent down every stream.
const NOTIFICATIONS: usize = 5;

/// Holds `count` sessions, each with its stream, in a contender started for it.
pub(crate) fn idle(
    recipe: &Recipe,
    targets: &[SocketAddr; PORTS],
    folder: &Path,
    count: usize,
) -> io::Result<Idle> {
    let contender = Contender::start(recipe, targets, folder)?;
    contender.thaw();
    let settle = || std::thread::sleep(Duration::from_millis(500));
    settle();
    let (start, cpu) = (contender.resident(), contender.cpu());
    let mut client = Plain::connect(contender.address, &contender.path)?;
    let sessions = (0..count).map(|_| client.start_session()).collect::<io::Result<Vec<_>>>()?;
    let alone = contender.resident();
    let mut streams = Load::open(contender.address, &contender.path, &sessions)?;
    streams.listen()?;
    settle();
    let create = (contender.cpu() - cpu).as_secs_f64() * 1e6 / count as f64;
    let held = contender.resident();
    let cpu = contender.cpu();
    let request =
        format!("POST /notify?n={NOTIFICATIONS} HTTP/1.1\r\nhost: bench\r\ncontent-length: 0\r\n\r\n");
    // Whoever federates has a stream to the first part, and whoever passes bytes through has one to the whole.
    let [part, .., whole] = *targets;
    for target in [part, whole] {
        Plain::connect(target, "")?.exchange(request.as_bytes())?;
    }
    streams.notified(NOTIFICATIONS)?;
    settle();
    let notify = (contender.cpu() - cpu).as_secs_f64() * 1e6 / (count * NOTIFICATIONS) as f64;
    drop(streams);
    for session in &sessions {
        client.end_session(session)?;
    }
    settle();
    Ok(Idle { resident: [start, alone, held, contender.resident()], create, notify })
}
