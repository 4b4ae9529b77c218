//! The race: every workload over all contenders back to back, round after round.

use crate::contender::{Contender, Era};
use crate::http::broken;
use crate::load::{Load, PATIENCE, Plain, Tally};
use crate::process;
use crate::streams::Streams;
use crate::upstream::Upstream;
use crate::work::Work;
use std::io;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// How work arrives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pace {
    /// As soon as the last answer is there.
    Closed,
    /// So many a second.
    Rate(u32),
}

/// What is done over and over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    /// The client asks.
    Ask(Work),
    /// The target sends a notification on a stream.
    Notify,
}

impl Unit {
    fn in_session(self) -> bool {
        match self {
            Self::Ask(work) => work.in_session(),
            Self::Notify => true,
        }
    }
}

/// What a turn is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    /// Of the targets behind contenders that tell eras apart.
    pub(crate) targets: Era,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    /// Whether lists are kept, so that targets must not be asked for any.
    pub(crate) cached: bool,
}

const fn closed(name: &'static str, work: Work, targets: Era, connections: usize) -> Workload {
    Workload { name, unit: Unit::Ask(work), targets, connections, pace: Pace::Closed, cached: false }
}

const fn rate(name: &'static str, unit: Unit, connections: usize, rate: u32) -> Workload {
    Workload { name, unit, targets: Era::Legacy, connections, pace: Pace::Rate(rate), cached: false }
}

/// All of them. Texts of 104 bytes make JSON answers of 200 bytes.
pub(crate) const WORKLOADS: [Workload; 16] = {
    use Era::{Legacy, Modern};
    use Work::Call;
    [
        closed("call-200B", Call(104), Legacy, 16),
        closed("call-4KB", Call(4 << 10), Legacy, 16),
        closed("call-modern", Work::Modern(104), Modern, 16),
        closed("call-sse", Work::Progress, Legacy, 16),
        closed("call-64KB", Call(64 << 10), Legacy, 16),
        closed("call-64KB-modern", Work::Modern(64 << 10), Modern, 16),
        closed("call-1MB", Call(1 << 20), Legacy, 4),
        closed("call-1MB-modern", Work::Modern(1 << 20), Modern, 4),
        closed("legacy-to-modern", Call(104), Modern, 16),
        closed("modern-to-legacy", Work::Modern(104), Legacy, 16),
        closed("list", Work::List, Legacy, 16),
        Workload { cached: true, ..closed("list-cached", Work::ModernList, Modern, 16) },
        closed("session", Work::Life, Legacy, 8),
        rate("rate-1000", Unit::Ask(Call(104)), 16, 1000),
        rate("rate-4000", Unit::Ask(Call(104)), 16, 4000),
        rate("notify", Unit::Notify, 100, 4000),
    ]
};

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
    upstream: &Upstream,
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
    upstream: &Upstream,
    length: Duration,
) -> io::Result<Turn> {
    let mut client = Plain::connect(contender.address, &contender.path)?;
    let mut sessions = vec![String::new(); workload.connections];
    if workload.unit.in_session() {
        for session in &mut sessions {
            *session = client.start_session()?;
        }
    }
    let warm_up = length.min(Duration::from_secs(2)) / 4;
    let turn = match workload.unit {
        Unit::Ask(work) => asking(workload, work, contender, upstream, &sessions, [warm_up, length]),
        Unit::Notify => hearing(workload, contender, upstream, &sessions, [warm_up, length]),
    };
    // Even after a turn that failed: nothing of it shall be left to the next.
    let mut ends = sessions.iter().filter(|session| !session.is_empty());
    let ended = ends.try_for_each(|session| client.end_session(session));
    turn.and_then(|turn| ended.map(|()| turn))
}

/// A turn in which clients ask.
fn asking(
    workload: &Workload,
    work: Work,
    contender: &Contender,
    upstream: &Upstream,
    sessions: &[String],
    [warm_up, length]: [Duration; 2],
) -> io::Result<Turn> {
    let mut load = Load::open(contender.address, &contender.path, sessions)?;
    let run = |load: &mut Load, length| match workload.pace {
        Pace::Closed => load.closed(work, Instant::now() + length),
        Pace::Rate(rate) => load.open_loop(work, rate, length),
    };
    run(&mut load, warm_up)?;
    let lists = || control(upstream)?.figure("/lists");
    let listed = lists()?;
    let meter = Meter::start(contender, upstream);
    let tally = run(&mut load, length)?;
    let turn = meter.stop(tally);
    if workload.cached && contender.is_gateway && lists()? != listed {
        return Err(broken("a target was asked for a list that was still valid"));
    }
    Ok(turn)
}

/// A turn in which the target sends notifications.
fn hearing(
    workload: &Workload,
    contender: &Contender,
    upstream: &Upstream,
    sessions: &[String],
    lengths: [Duration; 2],
) -> io::Result<Turn> {
    let Pace::Rate(rate) = workload.pace else { return Err(broken("notifications need a pace")) };
    let every = Duration::from_secs(1) / rate;
    await_streams(upstream, 0..=0)?;
    let mut streams = Streams::open(contender.address, &contender.path, sessions)?;
    await_streams(upstream, contender.streams(sessions.len()))?;
    let [warm_up, length] = lengths.map(|length| (length.as_secs_f64() * f64::from(rate)) as usize);
    let mut run = |count: usize| {
        let path = format!("/notify?n={count}&every={}", every.as_nanos());
        match control(upstream)?.figure(&path)? as usize {
            asked if asked == sessions.len() => streams.hear(count),
            asked => Err(broken(&format!("{asked} streams at the target"))),
        }
    };
    run(warm_up)?;
    let meter = Meter::start(contender, upstream);
    run(length)?;
    Ok(meter.stop(Tally { done: length as u64, latencies: Vec::new() }))
}

/// A connection to the fake target itself.
fn control(upstream: &Upstream) -> io::Result<Plain> {
    let [first, ..] = upstream.targets;
    Plain::connect(first, "")
}

/// Waits until the fake target has so many event streams of live sessions.
pub(crate) fn await_streams(upstream: &Upstream, wanted: RangeInclusive<usize>) -> io::Result<()> {
    let mut control = control(upstream)?;
    let end = Instant::now() + PATIENCE;
    loop {
        match control.figure("/streams")? as usize {
            open if wanted.contains(&open) => return Ok(()),
            open if Instant::now() > end => {
                return Err(broken(&format!("{open} streams at the targets, not {wanted:?}")));
            }
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// What is read before and after.
struct Meter<'a> {
    contender: &'a Contender,
    upstream: i32,
    started: Instant,
    /// CPU of the contender, of the harness and its fake target, and of the machine.
    before: [Duration; 3],
}

impl<'a> Meter<'a> {
    fn start(contender: &'a Contender, upstream: &Upstream) -> Self {
        let mut meter = Self {
            contender,
            upstream: upstream.pid(),
            started: Instant::now(),
            before: <[Duration; 3]>::default(),
        };
        meter.before = meter.read();
        meter.started = Instant::now();
        meter
    }

    fn read(&self) -> [Duration; 3] {
        let own = process::cpu(std::process::id().cast_signed()) + process::cpu(self.upstream);
        [self.contender.cpu(), own, process::machine()]
    }

    fn stop(self, tally: Tally) -> Turn {
        let elapsed = self.started.elapsed().as_secs_f64();
        let [contender, own, machine] = self.read();
        let [contender_before, own_before, machine_before] = self.before;
        let used = contender - contender_before;
        let Tally { done, mut latencies } = tally;
        latencies.sort_unstable();
        Turn {
            cpu: used.as_secs_f64() * 1e6 / done as f64,
            rate: done as f64 / elapsed,
            p50: percentile(&latencies, 50),
            p99: percentile(&latencies, 99),
            resident: self.contender.resident() as f64 / 1e3,
            others: (machine - machine_before).saturating_sub(used + own - own_before).as_secs_f64()
                / elapsed,
        }
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted.get(sorted.len() * percent / 100).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
}
