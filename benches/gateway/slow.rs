//! A very long answer to a reader that takes its time: what does the contender keep of it?

use crate::contender::{Contender, Recipe};
use crate::http::{Incoming, Kind, broken};
use crate::load::{PATIENCE, Plain};
use crate::payload::{self, NONCE};
use crate::upstream::Upstream;
use crate::work::{Lane, Work};
use memchr::memmem;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes a second that the reader takes.
pub(crate) const PACE: usize = 10_000_000;
/// Bytes of one read.
const SIP: usize = 100_000;

/// Memory in kB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slow {
    /// Resident when the answer begins, and the most while it lasts.
    pub(crate) start: u64,
    pub(crate) most: u64,
}

impl Slow {
    /// In MB.
    pub(crate) fn growth(self) -> f64 {
        self.most.saturating_sub(self.start) as f64 / 1e3
    }
}

/// Reads an answer of `size` bytes of text from each contender, from all of them at once: none of them is busy.
pub(crate) fn read_all(
    recipes: &[(String, Recipe)],
    upstream: &Upstream,
    folder: &Path,
    size: usize,
) -> Vec<(String, io::Result<Slow>)> {
    std::thread::scope(|scope| {
        let started: Vec<_> = recipes
            .iter()
            .map(|(name, recipe)| {
                let contender = Contender::start(recipe, &upstream.targets, folder);
                let reader = scope.spawn(move || read(&contender?, recipe, size));
                (name.clone(), reader)
            })
            .collect();
        let outcome = |reader: std::thread::ScopedJoinHandle<'_, io::Result<Slow>>| {
            reader.join().unwrap_or_else(|_| Err(broken("the reader gave up")))
        };
        started.into_iter().map(|(name, reader)| (name, outcome(reader))).collect()
    })
}

fn read(contender: &Contender, recipe: &Recipe, size: usize) -> io::Result<Slow> {
    let modern = recipe.era() == Some(crate::contender::Era::Modern);
    let work = if modern { Work::Modern } else { Work::Call };
    let mut client = Plain::connect(contender.address, &contender.path)?;
    let session = if modern { String::new() } else { client.start_session()? };
    let mut stream = TcpStream::connect(contender.address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lane = Lane::new(contender.address, &contender.path, session, 1);
    let mut incoming = Incoming::new(Kind::Response);
    let mut scratch = vec![0; SIP];
    // The first is short: what it takes is not counted.
    for size in [1 << 20, size] {
        let (mut request, mut text) = (Vec::new(), Text::new(size));
        lane.ask(work(size), &mut request)?;
        let start = contender.resident();
        let mut most = start;
        let begin = Instant::now();
        stream.write_all(&request)?;
        incoming.next();
        let mut total = 0;
        loop {
            let count = stream.read(&mut scratch)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let done = incoming.feed(scratch.get(..count).unwrap_or_default())?;
            text.take(&mut incoming.body)?;
            most = most.max(contender.resident());
            if done {
                break;
            }
            total += count;
            let due = begin + Duration::from_secs_f64(total as f64 / PACE as f64);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        text.ended(incoming.head.status)?;
        if size > payload::LONGEST {
            return Ok(Slow { start, most });
        }
    }
    Err(broken("the answer must be longer than 1 MiB"))
}

/// The text of an answer, checked while it arrives.
struct Text {
    /// Whether it has begun.
    begun: bool,
    at: usize,
    end: usize,
}

impl Text {
    fn new(size: usize) -> Self {
        Self { begun: false, at: 0, end: size - NONCE }
    }

    /// Checks what has come of it, and takes it away.
    fn take(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        if !self.begun {
            let Some(at) = memmem::find(body, br#""text":""#) else { return Ok(()) };
            if body.len() < at + 8 + NONCE {
                return Ok(());
            }
            body.drain(..at + 8 + NONCE);
            self.begun = true;
        }
        let count = body.len().min(self.end - self.at);
        if body.get(..count) != Some(payload::from(self.at, count).as_slice()) {
            return Err(broken(&format!("the text is wrong after {} bytes", self.at)));
        }
        self.at += count;
        body.drain(..count);
        Ok(())
    }

    fn ended(&self, status: u16) -> io::Result<()> {
        if self.at == self.end && status == 200 {
            return Ok(());
        }
        Err(broken(&format!("status {status} and {} bytes of {}", self.at, self.end)))
    }
}
