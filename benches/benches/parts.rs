//! What the parts of the core cost, one by one: heads, events, envelopes, lists, session ids.

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mcp_proto::Limits;
use mcp_proto::http::{ClientCodec, Method, RequestEvent, ResponseEvent, ServerCodec};
use mcp_proto::jsonrpc::envelope::Envelope;
use mcp_proto::jsonrpc::list::{self, Kind, View};
use mcp_proto::jsonrpc::splice::splice;
use mcp_proto::seal::{self, Keys};
use mcp_proto::sse::{self, Item, Parser};
use routing::TargetName;
use std::hint::black_box;

criterion_group!(parts, heads, events, envelopes, lists, seals);
criterion_main!(parts);

const REQUEST: &[u8] = b"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nuser-agent: node\r\naccept: application/json, text/event-stream\r\naccept-language: *\r\nsec-fetch-mode: cors\r\naccept-encoding: gzip, deflate\r\ncontent-type: application/json\r\nmcp-session-id: 00000000-0000-4000-8000-000000000000\r\nmcp-protocol-version: 2025-11-25\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nX-Powered-By: Express\r\nContent-Type: application/json\r\nmcp-session-id: 00000000-0000-4000-8000-000000000000\r\nDate: Sun, 22 Nov 2026 08:00:00 GMT\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\n{}";

/// A block that reads land in, as frontends have it.
#[derive(Default)]
struct Block(BytesMut);

impl Block {
    fn read(&mut self, bytes: &[u8]) -> BytesMut {
        if self.0.capacity() < bytes.len() {
            self.0.reserve(bytes.len().max(64 << 10));
        }
        self.0.extend_from_slice(bytes);
        self.0.split()
    }
}

/// One whole message through either codec.
fn heads(c: &mut Criterion) {
    let limits = Limits::default();
    let mut block = Block::default();
    let mut group = c.benchmark_group("http");
    let mut server = ServerCodec::new(&limits);
    group.bench_function("request", |b| {
        b.iter(|| {
            server.feed(block.read(REQUEST));
            let mut fields = None;
            while let Some(event) = server.next().expect("a good request") {
                match event {
                    RequestEvent::Head(head) => fields = Some(head.fields),
                    other => drop(black_box(other)),
                }
            }
            if let Some(fields) = fields {
                server.recycle(fields);
            }
            server.proceed();
        });
    });
    let mut client = ClientCodec::new(&limits);
    group.bench_function("answer", |b| {
        b.iter(|| {
            client.expect(Method::Post);
            client.feed(block.read(ANSWER));
            let mut fields = None;
            while let Some(event) = client.next().expect("a good answer") {
                match event {
                    ResponseEvent::Head(head) => fields = Some(head.fields),
                    other => drop(black_box(other)),
                }
            }
            if let Some(fields) = fields {
                client.recycle(fields);
            }
        });
    });
    group.finish();
}

/// A stream of a hundred events, read and written.
fn events(c: &mut Criterion) {
    let progress = br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1,"total":3}}"#;
    let mut group = c.benchmark_group("sse");
    for (name, data) in [("100 x 100 B", progress.to_vec()), ("100 x 4 KB", call(4 << 10))] {
        let mut stream = Vec::new();
        for _ in 0..100 {
            sse::write::event(&mut stream, None, &data);
        }
        let stream = Bytes::from(stream);
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(BenchmarkId::new("read", name), |b| {
            let mut parser = Parser::new();
            b.iter(|| {
                parser.feed(stream.clone());
                let mut ends = 0;
                while let Some(item) = parser.next() {
                    ends += usize::from(matches!(item, Item::End(_)));
                    black_box(item);
                }
                assert_eq!(ends, 100);
            });
        });
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("write", name), |b| {
            b.iter(|| {
                out.clear();
                for _ in 0..100 {
                    sse::write::event(&mut out, None, &data);
                }
                black_box(out.len())
            });
        });
    }
    group.finish();
}

/// A `tools/call` of `size` bytes.
fn call(size: usize) -> Vec<u8> {
    let head = r#"{"jsonrpc":"2.0","id":12345,"method":"tools/call","params":{"name":"files_write","arguments":{"path":"a/b","text":""#;
    let tail = r#""},"_meta":{"progressToken":12345}}}"#;
    let sentence = "Ordinary text, with \\\"escapes\\\" and \\n line ends. ";
    let room = size.saturating_sub(head.len() + tail.len());
    let text = sentence.repeat(room / sentence.len()) + &"x".repeat(room % sentence.len());
    format!("{head}{text}{tail}").into_bytes()
}

/// Finding the envelope of a call and replacing the tool's name.
fn envelopes(c: &mut Criterion) {
    let depth = Limits::default().depth;
    let mut group = c.benchmark_group("envelope");
    for (name, size) in [("300 B", 300), ("4 KB", 4 << 10), ("256 KB", 256 << 10)] {
        let body = call(size);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::new("scan", name), |b| {
            b.iter(|| black_box(Envelope::parse(black_box(&body), depth).expect("a good call").kind()));
        });
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("scan and splice", name), |b| {
            b.iter(|| {
                let envelope = Envelope::parse(black_box(&body), depth).expect("a good call");
                let name = envelope.params.name.expect("a name");
                out.clear();
                splice(&body, &[(name.span, br#""write""#)], &mut out);
                black_box(out.len())
            });
        });
    }
    group.finish();
}

/// Merging the pages of many targets, ten tools of 600 bytes each.
fn lists(c: &mut Criterion) {
    let description = "A tool that does one thing and says at some length what that is. ".repeat(6);
    let tools: Vec<String> = (0..10)
        .map(|number| format!(
            r#"{{"name":"tool_{number}","description":"{description}","inputSchema":{{"type":"object","properties":{{"size":{{"type":"integer","description":"Bytes of the answer"}}}},"required":["size"]}}}}"#
        ))
        .collect();
    let page = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{}]}}}}"#, tools.join(","));
    let depth = Limits::default().depth;
    let mut group = c.benchmark_group("tools/list");
    for count in [1, 10, 100] {
        let targets: Vec<TargetName> = (0..count)
            .map(|number| TargetName::parse(&format!("target-{number}")).expect("a good name"))
            .collect();
        group.throughput(Throughput::Bytes((page.len() * count) as u64));
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("merge", count), |b| {
            b.iter(|| {
                out.clear();
                for target in &targets {
                    let page =
                        list::federate(page.as_bytes(), Kind::Tools, &View::names(target), depth, &mut out);
                    assert_eq!(page.expect("a good page").items, 10);
                    out.push(b',');
                }
                black_box(out.len())
            });
        });
    }
    group.finish();
}

/// A session's id: about what a client with some capabilities has at three stateful targets.
fn seals(c: &mut Criterion) {
    let keys = Keys::new([1; 32], &[]);
    let content = [7; 320];
    let sealed = keys.seal(seal::Kind::Session, [2; 12], &content);
    let mut group = c.benchmark_group("session");
    group.bench_function("seal", |b| {
        b.iter(|| keys.seal(seal::Kind::Session, [2; 12], black_box(&content)));
    });
    group.bench_function("open", |b| {
        b.iter(|| keys.open(seal::Kind::Session, black_box(sealed.as_bytes())).expect("sealed just above"));
    });
}
