//! Answers far larger than the gateway's memory, to a client that reads in spurts or not at all.
//!
//! 256 MiB each; 1 GiB with `BULK_GIB=1` in the environment, which without optimisation takes minutes.

use crate::gateway::Runtime;
use crate::on_both_runtimes;
use crate::talk::{CALL, Talk, post};
use crate::wire::{PATIENCE, Wire, field};
use std::io::{BufRead, BufReader, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

on_both_runtimes![
    json_as_it_is,
    json_rewritten,
    many_events_as_they_are,
    many_events_rewritten,
    one_event_as_it_is,
    one_event_rewritten,
    a_client_that_stops_reading_stops_the_target,
];

/// What the gateway may take for an answer of any length: what waits for the client (64 KiB by default), blocks that
/// are being read, and what the allocator keeps.
const MEMORY: u64 = 2 << 20;
/// What the gateway may have taken from a target for a client that takes nothing: 64 KiB that wait, and a turn of reads.
const HELD: i64 = 384 << 10;
/// The client reads so much at once, then rests.
const SPURT: usize = 2 << 20;
const REST: Duration = Duration::from_millis(2);
/// Long enough to see whether something moves.
const WHILE: Duration = Duration::from_millis(300);

fn json_as_it_is(runtime: Runtime) {
    let body = Rope::result("", "");
    passes(runtime, 1, "application/json", &body, &body);
}

fn json_rewritten(runtime: Runtime) {
    let body = Rope::result("", "");
    passes(runtime, 2, "application/json", &body, &body);
}

fn many_events_as_they_are(runtime: Runtime) {
    passes(runtime, 1, "text/event-stream", &Rope::events(""), &Rope::events("event: message\n"));
}

fn many_events_rewritten(runtime: Runtime) {
    passes(runtime, 2, "text/event-stream", &Rope::events(""), &Rope::events("event: message\n"));
}

fn one_event_as_it_is(runtime: Runtime) {
    passes(runtime, 1, "text/event-stream", &Rope::event(""), &Rope::event("event: message\n"));
}

fn one_event_rewritten(runtime: Runtime) {
    passes(runtime, 2, "text/event-stream", &Rope::event(""), &Rope::event("event: message\n"));
}

/// A target answers a call with `sent`, the client gets `expected`, the gateway doesn't grow.
fn passes(runtime: Runtime, targets: usize, media: &str, sent: &Rope, expected: &Rope) {
    let Some((talk, client, mut target)) = called(runtime, targets) else { return };
    let before = talk.gateway.peak_memory();
    thread::scope(|scope| {
        scope.spawn(|| {
            target.say(head(media, sent));
            sent.pieces().for_each(|piece| target.say(piece));
        });
        Body::after_head(client).is(expected);
    });
    let grown = talk.gateway.peak_memory() - before;
    assert!(grown <= MEMORY, "the gateway grew by {} KiB", grown >> 10);
}

fn a_client_that_stops_reading_stops_the_target(runtime: Runtime) {
    let Some((talk, mut client, mut target)) = called(runtime, 1) else { return };
    let between = [ports(&client), ports(&target)];
    let body = Rope::result("", "");
    let sent = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            target.say(head("application/json", &body));
            for piece in body.pieces() {
                target.say(&piece);
                sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        });
        client.hear("\r\n\r\n");
        standstill(&talk, &sent);
        let queued: i64 = between.map(queued).iter().sum();
        let total = sent.load(Ordering::Relaxed) as i64;
        let held = total - queued;
        assert!(held <= HELD, "the gateway holds {held} bytes of {total}, the kernel {queued}");
        Body::of_length(client, body.length()).is(&body);
    });
}

/// Waits for a while in which the target gets nothing sent and the gateway has nothing to do.
fn standstill(talk: &Talk, sent: &AtomicU64) {
    let look = || (sent.load(Ordering::Relaxed), talk.gateway.cpu_ticks());
    let deadline = Instant::now() + PATIENCE;
    let (mut before, mut ticks) = look();
    loop {
        thread::sleep(WHILE);
        let (now, later) = look();
        if now == before && later - ticks <= 2 {
            return;
        }
        assert!(Instant::now() < deadline, "{} ticks of work on {} bytes", later - ticks, now - before);
        (before, ticks) = (now, later);
    }
}

/// The ports at both ends.
fn ports(wire: &Wire) -> [u16; 2] {
    [wire.stream.local_addr().unwrap().port(), wire.stream.peer_addr().unwrap().port()]
}

/// What the kernel holds between two ports, in the queues of both ends (proc_net_tcp of the kernel's documentation).
fn queued([one, other]: [u16; 2]) -> i64 {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |address: &str| u16::from_str_radix(address.split_once(':').unwrap().1, 16).unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let ours = rows.filter(|row| {
        let pair = (port(row[1]), port(row[2]));
        pair == (one, other) || pair == (other, one)
    });
    let bytes = |queue: &str| i64::from_str_radix(queue, 16).unwrap();
    ours.map(|row| row[4].split(':').map(bytes).sum::<i64>()).sum()
}

/// A client with little room in the kernel waits for the answer that the target is to give.
fn called(runtime: Runtime, targets: usize) -> Option<(Talk, Wire, Wire)> {
    let mut talk = Talk::start(runtime, targets, "")?;
    let (_, parties, session) = talk.session();
    let mut client = Wire::connect_narrow(talk.gateway.address);
    let name = if targets == 1 { "add" } else { "a_add" };
    client.say(post(&session, &CALL.replace("add", name)));
    assert!(talk.hear_message(parties[0]).ends_with(CALL));
    let target = talk.take(parties[0]);
    Some((talk, client, target))
}

fn head(media: &str, body: &Rope) -> String {
    let length = body.length();
    format!("HTTP/1.1 200 OK\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n\r\n")
}

/// A long text that is never in memory: every piece of its middle has a number.
struct Rope {
    start: String,
    before: String,
    after: String,
    count: usize,
    end: String,
}

impl Rope {
    /// One large answer.
    fn result(start: &str, end: &str) -> Self {
        let after = "The quick brown fox jumps over the lazy dog. ".repeat(1456);
        Self {
            start: format!(
                r#"{start}{{"jsonrpc":"2.0","id":2,"result":{{"content":[{{"type":"text","text":""#
            ),
            before: String::new(),
            count: size() / after.len(),
            after,
            end: format!(r#""}}]}}}}{end}"#),
        }
    }

    /// The same as an event.
    fn event(start: &str) -> Self {
        Self::result(&format!("{start}data: "), "\n\n")
    }

    /// Many notifications, then a small answer.
    fn events(start: &str) -> Self {
        let after = format!("{}\"}}}}\n\n", "x".repeat(16 << 10));
        Self {
            start: String::new(),
            before: format!(
                r#"{start}data: {{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":""#
            ),
            count: size() / after.len(),
            after,
            end: format!(r#"{start}data: {{"jsonrpc":"2.0","id":2,"result":{{"content":[]}}}}{}"#, "\n\n"),
        }
    }

    fn length(&self) -> u64 {
        let piece = self.before.len() + 8 + self.after.len();
        (self.start.len() + self.count * piece + self.end.len()) as u64
    }

    fn pieces(&self) -> impl Iterator<Item = Vec<u8>> {
        let middle = (0..self.count).map(|number| format!("{}{number:08}{}", self.before, self.after));
        [self.start.clone()].into_iter().chain(middle).chain([self.end.clone()]).map(String::into_bytes)
    }
}

fn size() -> usize {
    let gib = std::env::var("BULK_GIB").is_ok_and(|value| value == "1");
    if gib { 1 << 30 } else { 256 << 20 }
}

/// A body as the client reads it: in spurts, and without its chunks.
struct Body {
    from: BufReader<Box<dyn Read>>,
    /// Of the chunk at hand, or of all.
    left: u64,
    chunked: bool,
    read: usize,
}

impl Body {
    fn after_head(mut client: Wire) -> Self {
        let head = client.hear("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        match field(&head, "content-length") {
            Some(length) => Self::of_length(client, length.parse().unwrap()),
            None => Self { chunked: true, ..Self::of_length(client, 0) },
        }
    }

    fn of_length(client: Wire, length: u64) -> Self {
        let from = BufReader::with_capacity(128 << 10, client.into_read());
        Self { from, left: length, chunked: false, read: 0 }
    }

    /// Reads to the end and compares.
    fn is(mut self, expected: &Rope) {
        let mut block = Vec::new();
        for (number, piece) in expected.pieces().enumerate() {
            block.resize(piece.len(), 0);
            self.read_exact(&mut block).unwrap();
            assert!(block == piece, "piece {number} differs: {}", String::from_utf8_lossy(&block));
        }
        assert_eq!(self.read(&mut [0]).unwrap(), 0, "more than expected");
    }

    fn next_chunk(&mut self) -> std::io::Result<()> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        if line == "\r\n" {
            line.clear();
            self.from.read_line(&mut line)?;
        }
        self.left = u64::from_str_radix(line.trim_end(), 16).expect("a chunk size");
        self.chunked = self.left > 0;
        Ok(())
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 && self.chunked {
            self.next_chunk()?;
        }
        let count = (&mut self.from).take(self.left).read(into)?;
        self.left -= count as u64;
        self.read += count;
        if self.read > SPURT {
            self.read = 0;
            thread::sleep(REST);
        }
        Ok(count)
    }
}
