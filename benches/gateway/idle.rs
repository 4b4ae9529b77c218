//! What sessions cost that do nothing but listen.

use crate::contender::{Contender, Recipe};
use crate::load::Plain;
use crate::race::await_streams;
use crate::streams::Streams;
use crate::upstream::Upstream;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Memory in kB, CPU in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Idle {
    /// Resident at the start, with the sessions, with their streams, and after their end.
    pub(crate) resident: [u64; 4],
    /// CPU to make a session and open its stream.
    pub(crate) create: f64,
    sessions: usize,
}

impl Idle {
    /// Memory of a session and its streams, in kB.
    pub(crate) fn each(&self) -> f64 {
        let [start, _, held, _] = self.resident;
        held.saturating_sub(start) as f64 / self.sessions as f64
    }

    /// Memory at the start, in MB.
    pub(crate) fn start(&self) -> f64 {
        let [start, ..] = self.resident;
        start as f64 / 1e3
    }

    /// The same before its stream is opened.
    pub(crate) fn alone(&self) -> f64 {
        let [start, alone, ..] = self.resident;
        alone.saturating_sub(start) as f64 / self.sessions as f64
    }
}

/// Holds `count` sessions, each with its stream and those at the targets, in a contender started for it.
pub(crate) fn hold(recipe: &Recipe, upstream: &Upstream, folder: &Path, count: usize) -> io::Result<Idle> {
    await_streams(upstream, 0..=0)?;
    let contender = Contender::start(recipe, &upstream.targets, folder)?;
    let settle = || std::thread::sleep(Duration::from_millis(500));
    settle();
    let (start, cpu) = (contender.resident(), contender.cpu());
    let mut client = Plain::connect(contender.address, &contender.path)?;
    let sessions = (0..count).map(|_| client.start_session()).collect::<io::Result<Vec<_>>>()?;
    let alone = contender.resident();
    let streams = Streams::open(contender.address, &contender.path, &sessions)?;
    await_streams(upstream, contender.streams(count))?;
    settle();
    let create = (contender.cpu() - cpu).as_secs_f64() * 1e6 / count as f64;
    let held = contender.resident();
    drop(streams);
    for session in &sessions {
        client.end_session(session)?;
    }
    settle();
    Ok(Idle { resident: [start, alone, held, contender.resident()], create, sessions: count })
}
