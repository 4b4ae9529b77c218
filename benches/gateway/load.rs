//! The load generator: one thread, non-blocking sockets, every answer checked.

use crate::http::{Incoming, Kind, broken};
use crate::payload;
use crate::timer::Timer;
use crate::work::{Lane, Work};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Silence after which an answer counts as lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
const TIMER: Token = Token(usize::MAX - 1);

/// Connections to one contender, and what they are busy with.
pub(crate) struct Load {
    poll: Poll,
    conns: Vec<Conn>,
    scratch: Vec<u8>,
    filler: Vec<u8>,
}

struct Conn {
    stream: TcpStream,
    lane: Lane,
    incoming: Incoming,
    out: Vec<u8>,
    /// When the unit of work in progress was due.
    since: Option<Instant>,
}

/// What a run did.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) done: u64,
    pub(crate) latencies: Vec<Duration>,
}

impl Load {
    /// Opens one connection for each session.
    pub(crate) fn open(address: SocketAddr, path: &str, sessions: &[String]) -> io::Result<Self> {
        let (poll, conns) = (Poll::new()?, Vec::with_capacity(sessions.len()));
        let mut load = Self { poll, conns, scratch: vec![0; 256 << 10], filler: payload::filler() };
        load.add(address, path, sessions)?;
        Ok(load)
    }

    /// Opens more of them.
    pub(crate) fn add(&mut self, address: SocketAddr, path: &str, sessions: &[String]) -> io::Result<()> {
        for session in sessions {
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            let number = self.conns.len();
            self.poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            self.conns.push(Conn {
                stream,
                lane: Lane::new(address, path, session.clone(), number + 1),
                incoming: Incoming::new(Kind::Response),
                out: Vec::new(),
                since: None,
            });
        }
        Ok(())
    }

    /// Every connection asks again as soon as it is answered. Ends at `until`, or at the first wrong answer.
    pub(crate) fn closed(&mut self, work: Work, until: Instant) -> io::Result<Tally> {
        let Self { poll, conns, scratch, filler } = self;
        let mut tally = Tally::default();
        for conn in conns.iter_mut() {
            // One that a former run left busy asks again when it is answered.
            if conn.since.is_none() {
                conn.since = Some(Instant::now());
                conn.ask(work)?;
            }
        }
        let mut events = Events::with_capacity(1024);
        while Instant::now() < until {
            wait(poll, &mut events)?;
            for event in &events {
                let Some(conn) = conns.get_mut(event.token().0) else { continue };
                let Some(unit_done) = conn.answer(work, scratch, filler)? else { continue };
                let now = Instant::now();
                if unit_done {
                    let since = conn.since.replace(now).unwrap_or(now);
                    tally.done += 1;
                    tally.latencies.push(now - since);
                }
                conn.ask(work)?;
            }
        }
        Ok(tally)
    }

    /// `rate` units of work a second, whether or not earlier ones are answered; latency counts from when each was due.
    pub(crate) fn open_loop(&mut self, work: Work, rate: u32, length: Duration) -> io::Result<Tally> {
        let Self { poll, conns, scratch, filler } = self;
        let mut idle: VecDeque<usize> = (0..conns.len()).collect();
        let mut waiting = VecDeque::new();
        let mut tally = Tally::default();
        let step = Duration::from_secs(1) / rate;
        let start = Instant::now();
        let timer = Timer::every(step)?;
        timer.register(poll.registry(), TIMER)?;
        let mut due = start;
        let mut events = Events::with_capacity(1024);
        while due < start + length || idle.len() < conns.len() {
            wait(poll, &mut events)?;
            for event in &events {
                if event.token() == TIMER {
                    for _ in 0..timer.expired()? {
                        due += step;
                        if due < start + length {
                            waiting.push_back(due);
                        }
                    }
                    continue;
                }
                let number = event.token().0;
                let Some(conn) = conns.get_mut(number) else { continue };
                if conn.answer(work, scratch, filler)? == Some(true) {
                    tally.done += 1;
                    tally.latencies.push(conn.since.take().map_or(Duration::ZERO, |since| since.elapsed()));
                    idle.push_back(number);
                }
            }
            while let Some(number) = idle.pop_front_if(|_| !waiting.is_empty()) {
                let Some(conn) = conns.get_mut(number) else { continue };
                conn.since = waiting.pop_front();
                conn.ask(work)?;
            }
        }
        Ok(tally)
    }
}

/// Waits for events, but not for ever.
pub(crate) fn wait(poll: &mut Poll, events: &mut Events) -> io::Result<()> {
    match poll.poll(events, Some(PATIENCE)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        Ok(()) if events.is_empty() => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer came")),
        other => other,
    }
}

impl Conn {
    fn ask(&mut self, work: Work) -> io::Result<()> {
        self.lane.ask(work, &mut self.out)?;
        self.send()
    }

    /// Requests are far smaller than a socket's buffer, so they always fit.
    fn send(&mut self) -> io::Result<()> {
        let count = self.stream.write(&self.out)?;
        if count < self.out.len() {
            return Err(broken("the contender takes no request"));
        }
        self.out.clear();
        Ok(())
    }

    /// Reads what came. True when an answer is complete.
    fn receive(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        loop {
            let count = match self.stream.read(scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            let done = self.incoming.feed(scratch.get(..count).unwrap_or_default())?;
            // A short read has emptied the socket (epoll(7), edge-triggered streams).
            if done || count < scratch.len() {
                return Ok(done);
            }
        }
    }

    /// Reads and judges. `Some` when an answer is complete; true when it ends a unit of work.
    fn answer(&mut self, work: Work, scratch: &mut [u8], filler: &[u8]) -> io::Result<Option<bool>> {
        if !self.receive(scratch)? {
            return Ok(None);
        }
        let Self { lane, incoming, .. } = self;
        let unit_done = lane.check(work, &incoming.head, &incoming.body, filler)?;
        incoming.next();
        Ok(Some(unit_done))
    }
}

/// A client that does one thing after another, for what is not measured.
pub(crate) struct Plain {
    stream: std::net::TcpStream,
    lane: Lane,
    incoming: Incoming,
}

impl Plain {
    pub(crate) fn connect(address: SocketAddr, path: &str) -> io::Result<Self> {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let lane = Lane::new(address, path, String::new(), 0);
        Ok(Self { stream, lane, incoming: Incoming::new(Kind::Response) })
    }

    /// Sends `out` and waits for the whole answer.
    pub(crate) fn exchange(&mut self, out: &[u8]) -> io::Result<&Incoming> {
        self.stream.write_all(out)?;
        self.incoming.next();
        let mut scratch = [0; 16 << 10];
        loop {
            let count = self.stream.read(&mut scratch)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if self.incoming.feed(scratch.get(..count).unwrap_or_default())? {
                return Ok(&self.incoming);
            }
        }
    }

    fn step(&mut self, work: Work) -> io::Result<()> {
        let mut out = Vec::new();
        self.lane.ask(work, &mut out)?;
        self.exchange(&out)?;
        self.lane.check(work, &self.incoming.head, &self.incoming.body, &[]).map(drop)
    }

    /// Opens a session.
    pub(crate) fn start_session(&mut self) -> io::Result<String> {
        self.lane.begin_life();
        self.step(Work::Life)?;
        self.step(Work::Life)?;
        Ok(self.lane.session.clone())
    }

    /// Ends `session`.
    pub(crate) fn end_session(&mut self, session: &str) -> io::Result<()> {
        self.lane.end_life(session);
        self.step(Work::Life)
    }

    /// `GET path`, answered by a number; asked of the fake target itself.
    pub(crate) fn figure(&mut self, path: &str) -> io::Result<u64> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n");
        let text = String::from_utf8_lossy(&self.exchange(request.as_bytes())?.body).into_owned();
        text.parse().map_err(|_| broken(&format!("{path}: {text}")))
    }

    /// One list, for a first look at the targets.
    pub(crate) fn list(&mut self) -> io::Result<()> {
        self.step(Work::List)
    }
}
