//! The load generator: one thread, non-blocking sockets, every answer checked.

use crate::http::{Incoming, Kind, broken};
use crate::payload;
use crate::work::{Lane, Work};
use memchr::memmem;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Silence after which an answer counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);
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
        let poll = Poll::new()?;
        let mut conns = Vec::with_capacity(sessions.len());
        for (number, session) in sessions.iter().enumerate() {
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            conns.push(Conn {
                stream,
                lane: Lane::new(address, path, session.clone(), number + 1),
                incoming: Incoming::new(Kind::Response),
                out: Vec::new(),
                since: None,
            });
        }
        Ok(Self { poll, conns, scratch: vec![0; 256 << 10], filler: payload::filler() })
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
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        let step = Duration::from_secs(1) / rate;
        let spec = Timespec { tv_sec: 0, tv_nsec: i64::from(step.subsec_nanos()) };
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let start = Instant::now();
        rustix::time::timerfd_settime(
            &timer,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: spec, it_value: spec },
        )?;
        let mut due = start;
        let mut events = Events::with_capacity(1024);
        while due < start + length || idle.len() < conns.len() {
            wait(poll, &mut events)?;
            for event in &events {
                if event.token() == TIMER {
                    let mut count = [0; 8];
                    rustix::io::read(&timer, &mut count)?;
                    for _ in 0..u64::from_ne_bytes(count) {
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
        poll.registry().deregister(&mut SourceFd(&timer.as_raw_fd()))?;
        Ok(tally)
    }

    /// Has every connection open its session's stream.
    pub(crate) fn listen(&mut self) -> io::Result<()> {
        let Self { poll, conns, scratch, .. } = self;
        let mut events = Events::with_capacity(1024);
        for conn in conns.iter_mut() {
            conn.lane.listen(&mut conn.out)?;
            conn.send()?;
            while !conn.incoming.has_head() {
                wait(poll, &mut events)?;
                conn.receive(scratch)?;
            }
            if conn.incoming.head.status != 200 || !conn.incoming.head.event_stream {
                return Err(broken(&format!("GET answered by status {}", conn.incoming.head.status)));
            }
        }
        Ok(())
    }

    /// Waits until every open stream has brought `count` notifications.
    pub(crate) fn notified(&mut self, count: usize) -> io::Result<()> {
        let Self { poll, conns, scratch, .. } = self;
        let mut events = Events::with_capacity(1024);
        let last = format!("\"notification {}\"", count - 1);
        let all = |conn: &Conn| {
            let body = &conn.incoming.body;
            memmem::find(body, last.as_bytes()).is_some()
                && memmem::find_iter(body, br#""data":"notification "#).count() == count
        };
        let mut left = conns.iter().filter(|conn| !all(conn)).count();
        while left > 0 {
            wait(poll, &mut events)?;
            for event in &events {
                let Some(conn) = conns.get_mut(event.token().0) else { continue };
                let before = all(conn);
                conn.receive(scratch)?;
                if !before && all(conn) {
                    left -= 1;
                }
            }
        }
        Ok(())
    }
}

/// Waits for events, but not for ever.
fn wait(poll: &mut Poll, events: &mut Events) -> io::Result<()> {
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

    /// One list, for a first look at the targets.
    pub(crate) fn list(&mut self) -> io::Result<()> {
        self.step(Work::List)
    }
}
