//! What the whole core costs: bytes of a client in, bytes to a target out, and back, with every allocation counted.
//!
//! A [`Wire`] plays frontend and targets for one `Shard`: it does what the shard's actions ask for, and answers what
//! targets are asked.

use bytes::BytesMut;
use criterion::{Criterion, criterion_group, criterion_main};
use mcp_proto::{AccessLog, Action, Config, ConnId, Keys, Limits, Shard, ShardId, Start, Timeouts};
use memchr::memmem;
use routing::{Routes, Target, TargetName};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

criterion_group!(core, calls);
criterion_main!(core);

fn calls(c: &mut Criterion) {
    let mut group = c.benchmark_group("tools/call");
    for (name, size) in [("200 B", 104), ("4 KB", 4 << 10), ("64 KB", 64 << 10)] {
        let mut wire = Wire::new(size);
        let session = wire.initialize();
        let body = br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"b_call","arguments":{"size":104,"nonce":"0123456789abcdef"}}}"#;
        let request = post(&session, body);
        let mut call = || {
            wire.ask(&request);
            assert!(wire.answer.starts_with(b"HTTP/1.1 200 OK\r\n") && wire.answer.len() > size);
            black_box(wire.answer.len())
        };
        // Pools fill and buffers grow first.
        for _ in 0..100 {
            call();
        }
        let region = Region::new(ALLOCATOR);
        for _ in 0..COUNTED {
            call();
        }
        let change = region.change();
        println!(
            "tools/call/{name}: {:.3} allocations and {:.3} reallocations a call, {} bytes",
            change.allocations as f64 / f64::from(COUNTED),
            change.reallocations as f64 / f64::from(COUNTED),
            change.bytes_allocated / COUNTED as usize,
        );
        group.bench_function(name, |b| b.iter(&mut call));
    }
    group.finish();
    let mut wire = Wire::new(0);
    c.bench_function("initialize", |b| b.iter(|| wire.initialize()));
}

/// Calls whose allocations are counted.
const COUNTED: u32 = 1000;

/// A shard, one client's connection to it, and three targets.
struct Wire {
    shard: Shard,
    client: ConnId,
    now: Instant,
    /// Where reads land.
    block: BytesMut,
    /// What targets have got of a request.
    targets: BTreeMap<usize, Vec<u8>>,
    /// What the client has got.
    answer: Vec<u8>,
    call_answer: Vec<u8>,
}

impl Wire {
    fn new(size: usize) -> Self {
        let now = Instant::now();
        let target = |(name, port)| {
            let name = TargetName::parse(name).expect("a good name");
            Target::new(name, SocketAddr::from(([127, 0, 0, 1], port)), "/mcp")
        };
        let routes = [("a", 1), ("b", 2), ("c", 3)].map(target).to_vec();
        let config = Config {
            shards: 1,
            path: "/mcp".to_owned(),
            sse_path: "/sse".to_owned(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            access_log: AccessLog::default(),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            keys: Keys::new([1; 32], &[]),
        };
        let start = Start {
            id: ShardId(0),
            config: Arc::new(config),
            routes: Arc::new(Routes::new(routes).expect("names differ")),
            seed: [2; 32],
            unix: Duration::from_secs(1_795_000_000),
            counters: Arc::default(),
        };
        let mut shard = Shard::new(start, now);
        let client = shard.accepted(SocketAddr::from(([127, 0, 0, 1], 9)), now).expect("there is room");
        let text = "x".repeat(size);
        let call_answer = answer(
            "",
            &format!(
                r#"{{"jsonrpc":"2.0","id":7,"result":{{"content":[{{"type":"text","text":"{text}"}}],"isError":false}}}}"#
            ),
        );
        let mut wire = Self {
            shard,
            client,
            now,
            block: BytesMut::new(),
            targets: BTreeMap::new(),
            answer: Vec::new(),
            call_answer,
        };
        wire.settle();
        wire
    }

    /// Opens a session; its id.
    fn initialize(&mut self) -> String {
        self.ask(&post("", br#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#));
        let head = String::from_utf8_lossy(&self.answer).to_lowercase();
        let text = String::from_utf8_lossy(&self.answer).into_owned();
        let at = head.find("mcp-session-id: ").expect("a session") + 16;
        let session = text.get(at..).and_then(|rest| rest.lines().next()).expect("an id").to_owned();
        self.ask(&post(&session, br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#));
        session
    }

    /// The client sends `request`; what comes back stands in `answer`.
    fn ask(&mut self, request: &[u8]) {
        self.answer.clear();
        self.read(self.client, request);
        self.settle();
    }

    fn read(&mut self, conn: ConnId, bytes: &[u8]) {
        if self.block.capacity() < bytes.len() {
            self.block.reserve(bytes.len().max(64 << 10));
        }
        self.block.extend_from_slice(bytes);
        let bytes = self.block.split();
        self.shard.received(conn, bytes, self.now);
    }

    /// Does what the shard asks for, until it asks for nothing.
    fn settle(&mut self) {
        while let Some(action) = self.shard.poll() {
            match action {
                Action::Open { conn, .. } => self.shard.connected(conn, self.now),
                Action::Flush { conn } => {
                    self.take(conn);
                    self.reply(conn);
                }
                _ => {}
            }
        }
    }

    /// Takes all that waits for `conn`.
    fn take(&mut self, conn: ConnId) {
        loop {
            let mut slices = [IoSlice::new(&[]); 16];
            let filled = self.shard.unsent(conn, &mut slices);
            let into = if conn == self.client {
                &mut self.answer
            } else {
                self.targets.entry(conn.index()).or_default()
            };
            let mut count = 0;
            for slice in slices.iter().take(filled) {
                into.extend_from_slice(slice);
                count += slice.len();
            }
            if count == 0 {
                return;
            }
            self.shard.sent(conn, count, self.now);
        }
    }

    /// Plays the target behind `conn`, once it has a whole request.
    fn reply(&mut self, conn: ConnId) {
        let Some(request) = self.targets.get_mut(&conn.index()) else { return };
        if !is_whole(request) {
            return;
        }
        let has = |text: &[u8]| memmem::find(request, text).is_some();
        let is_call = has(b"tools/call");
        let reply = if is_call {
            std::mem::take(&mut self.call_answer)
        } else if has(br#""initialize""#) {
            let id = "0a0b0c0d-0000-4000-8000-000000000000";
            let text = String::from_utf8_lossy(request);
            let number = text.split(r#""id":"#).nth(1).unwrap_or_default();
            let number = number.split([',', '}']).next().unwrap_or_default();
            answer(
                &format!("mcp-session-id: {id}\r\n"),
                &format!(
                    r#"{{"jsonrpc":"2.0","id":{number},"result":{{"protocolVersion":"2025-11-25","capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"bench","version":"1"}}}}}}"#
                ),
            )
        } else {
            b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_vec()
        };
        request.clear();
        self.read(conn, &reply);
        if is_call {
            self.call_answer = reply;
        }
    }
}

/// Whether the head and as much body as it promises are there.
fn is_whole(request: &[u8]) -> bool {
    let Some(end) = memmem::find(request, b"\r\n\r\n") else { return false };
    let head = request.get(..end).unwrap_or_default();
    let length = head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        let value = str::from_utf8(value).ok()?;
        name.eq_ignore_ascii_case(b"content-length:").then(|| value.trim().parse::<usize>().ok())?
    });
    request.len() >= end + 4 + length.unwrap_or(0)
}

fn post(session: &str, body: &[u8]) -> Vec<u8> {
    let session = if session.is_empty() {
        String::new()
    } else {
        format!("mcp-session-id: {session}\r\nmcp-protocol-version: 2025-11-25\r\n")
    };
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:8080\r\naccept: application/json, text/event-stream\r\ncontent-type: application/json\r\n{session}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// An answer; `fields` are more header lines.
fn answer(fields: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
