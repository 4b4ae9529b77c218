//! What a second worker brings, where the cores are as many as the workers and the load takes its part of all of them.
//!
//! Three arrangements in turn: one worker on core 0; as many processes as cores, of one worker each, that share nothing; and
//! one process with as many workers. The last two do the same work on the same cores beside the same load: the
//! quotient is what sharing a process costs, and times the number of workers it is what free cores would give.

use crate::contender::{Contender, Gateway, Recipe};
use crate::http::broken;
use crate::load::{Load, Plain};
use crate::process::{self, LOAD_CORE};
use crate::upstream::Upstream;
use crate::work::Work;
use rustix::process::Pid;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Connections for each worker.
const CONNECTIONS: usize = 16;

/// One arrangement's turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pull {
    /// Calls a second.
    pub(crate) rate: f64,
    /// CPU of the gateway per call, in microseconds.
    pub(crate) cpu: f64,
    /// Cores that other processes used meanwhile.
    pub(crate) others: f64,
}

/// One round: one worker, processes that share nothing, workers of one process.
pub(crate) type Round = [Pull; 3];

/// What so many workers of one process do, as a multiple of what one does on a free core.
pub(crate) fn gain([_, apart, together]: &Round, workers: usize) -> f64 {
    together.rate / apart.rate * workers as f64
}

/// Compares `gateway` with so many workers to itself with one.
pub(crate) fn compare(
    gateway: &Gateway,
    upstream: &Upstream,
    folder: &Path,
    rounds: usize,
    length: Duration,
) -> io::Result<Vec<Round>> {
    let cores: Vec<usize> = (0..gateway.workers).collect();
    let load = [None, Pid::from_raw(upstream.pid())];
    for thread in load {
        process::pin_thread(thread, &cores)?;
    }
    let rounds = arranged(gateway, upstream, folder, rounds, length);
    for thread in load {
        process::pin_thread(thread, &[LOAD_CORE])?;
    }
    rounds
}

fn arranged(
    gateway: &Gateway,
    upstream: &Upstream,
    folder: &Path,
    rounds: usize,
    length: Duration,
) -> io::Result<Vec<Round>> {
    let start = |workers, cores: &[usize]| {
        let recipe = Recipe::Gateway(Gateway { workers, ..gateway.clone() });
        let contender = Contender::start(&recipe, &upstream.targets, folder)?;
        spread(&contender, gateway.runtime, cores)?;
        Ok::<_, io::Error>(contender)
    };
    let cores: Vec<usize> = (0..gateway.workers).collect();
    let apart: Vec<Contender> = cores.iter().map(|core| start(1, &[*core])).collect::<io::Result<_>>()?;
    let together = [start(gateway.workers, &cores)?];
    let one = apart.get(..1).unwrap_or_default();
    for contender in apart.iter().chain(&together) {
        contender.freeze();
    }
    let turn = |contenders: &[Contender]| {
        contenders.iter().for_each(Contender::thaw);
        let pull = pull(contenders, gateway.workers, upstream, length);
        contenders.iter().for_each(Contender::freeze);
        pull
    };
    (0..rounds).map(|_| Ok([turn(one)?, turn(&apart)?, turn(&together)?])).collect()
}

/// Pins each worker of a process to a core of its own.
fn spread(contender: &Contender, runtime: &str, cores: &[usize]) -> io::Result<()> {
    let process = contender.process.as_ref().ok_or_else(|| broken("no process"))?;
    for thread in process.threads(|_| true) {
        process::pin_thread(Some(thread), cores)?;
    }
    for (number, core) in cores.iter().enumerate() {
        // Helpers of a worker bear its name, but are younger.
        let threads = process.threads(|name| name == format!("shard-{number}"));
        let worker = threads.first().ok_or_else(|| broken(&format!("no worker {number} on {runtime}")))?;
        process::pin_thread(Some(*worker), &[*core])?;
    }
    Ok(())
}

/// `tools/call` of 200 bytes as fast as it goes, in sessions spread over `contenders`.
fn pull(contenders: &[Contender], workers: usize, upstream: &Upstream, length: Duration) -> io::Result<Pull> {
    let mut load = None;
    let mut ends = Vec::new();
    for contender in contenders {
        let count = CONNECTIONS * workers / contenders.len();
        // Each on a connection of its own, so that they are at home at all workers.
        let start = |_| Plain::connect(contender.address, &contender.path)?.start_session();
        let sessions = (0..count).map(start).collect::<io::Result<Vec<_>>>()?;
        match &mut load {
            None => load = Some(Load::open(contender.address, &contender.path, &sessions)?),
            Some(load) => load.add(contender.address, &contender.path, &sessions)?,
        }
        ends.push((contender, sessions));
    }
    let mut load = load.ok_or_else(|| broken("nobody to ask"))?;
    let work = Work::Call(104);
    load.closed(work, Instant::now() + length / 4)?;
    let gateways = || contenders.iter().map(Contender::cpu).sum::<Duration>();
    let own = || process::cpu(std::process::id().cast_signed()) + process::cpu(upstream.pid());
    let (started, cpu, load_cpu, machine) = (Instant::now(), gateways(), own(), process::machine());
    let done = load.closed(work, started + length)?.done as f64;
    let elapsed = started.elapsed().as_secs_f64();
    let (cpu, load_cpu, machine) = (gateways() - cpu, own() - load_cpu, process::machine() - machine);
    drop(load);
    for (contender, sessions) in ends {
        let mut client = Plain::connect(contender.address, &contender.path)?;
        sessions.iter().try_for_each(|session| client.end_session(session))?;
    }
    Ok(Pull {
        rate: done / elapsed,
        cpu: cpu.as_secs_f64() * 1e6 / done,
        others: machine.saturating_sub(cpu + load_cpu).as_secs_f64() / elapsed,
    })
}
