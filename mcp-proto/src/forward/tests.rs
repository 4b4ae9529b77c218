//! Two shards: a client of the first, whose requests the second serves.

use super::*;
use crate::exchange::Accepts;
use crate::exchange::Exchange;
use crate::http::RequestEvent;
use crate::session::{Opened, Revision, Session, TargetState};
use crate::{AccessLog, Action, Config, Fault, Limits, Record, Start};
use bytes::BytesMut;
use routing::{BackendName, TargetId};
use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ORIGIN: usize = 0;
const OWNER: usize = 1;
const BUFFER: usize = 4 << 10;

/// What the shards asked of their frontends, in order, without what `Pair` does itself.
#[derive(Debug, Default)]
struct Asked {
    opened: Vec<(usize, ConnId)>,
    closed: Vec<(usize, ConnId, Closing)>,
    paused: Vec<(usize, ConnId, bool)>,
    records: Vec<Record>,
    parcels: usize,
}

struct Pair {
    start: Start,
    shards: [Shard; 2],
    now: Instant,
    client: ConnId,
    /// What the client has taken, and how much it takes yet.
    taken: Vec<u8>,
    window: usize,
    /// What the target of the owner has got.
    requests: Vec<u8>,
    session: String,
    asked: Asked,
}

impl Pair {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits { buffer: BUFFER, ..Limits::default() };
        change(&mut limits);
        let (start, now) = Start::before_alpha(2, limits, AccessLog::All);
        let name = TargetId::parse(&BackendName::default(), "alpha").unwrap();
        let mut session = Session::new(
            1,
            ShardId(1),
            BackendName::default(),
            Revision::LATEST,
            Duration::from_secs(1000),
            now,
        );
        *session.target_mut(&name) =
            TargetState::Ready(Opened { id: None, revision: Revision::LATEST, sse: false, at: None });
        let sealed = session.seal(&start.config.keys, [0; 12], 4096);
        let shard = |id| Shard::new(numbered(&start, id, id as u8), now);
        let mut shards = [shard(0), shard(1)];
        let client = shards[ORIGIN]
            .accepted(([127, 0, 0, 1], 8080).into(), ([127, 0, 0, 1], 5000).into(), now)
            .unwrap();
        Self {
            shards,
            start,
            now,
            client,
            taken: Vec::new(),
            window: usize::MAX,
            requests: Vec::new(),
            session: String::from_utf8(sealed.to_vec()).unwrap(),
            asked: Asked::default(),
        }
    }

    /// Lets the client's request be served by the owner; whether it could be forwarded.
    fn request(&mut self, body: &str) -> Result<(), Refusal> {
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             mcp-session-id: {}\r\ncontent-length: {}\r\n\r\n{body}",
            self.session,
            body.len()
        );
        let id = self.read(head.as_bytes());
        let forwarded = self.shards[ORIGIN].forward(id, ShardId(1));
        self.run();
        forwarded
    }

    /// The exchange of a request, of which nothing has been done.
    fn read(&mut self, text: &[u8]) -> ExchangeId {
        let client = self.shards[ORIGIN].conns.get_mut(self.client).and_then(Conn::client).unwrap();
        client.codec.feed(BytesMut::from(text));
        let Ok(Some(RequestEvent::Head(head))) = client.codec.next() else { panic!() };
        let mut body = Bytes::new();
        while let Ok(Some(RequestEvent::Body(piece))) = client.codec.next() {
            body = piece;
        }
        client.serial += 1;
        let accepts = Accepts::parse(&head.fields);
        client.exchange = Some(Exchange::new(client.serial, head, accepts, body, self.now));
        ExchangeId { conn: self.client, serial: client.serial }
    }

    fn call(&mut self) {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}"#;
        self.request(body).unwrap();
    }

    /// The owner's target answers.
    fn answer(&mut self, text: &[u8]) {
        let (_, conn) = self.upstream();
        self.shards[OWNER].received(conn, BytesMut::from(text), self.now);
        self.run();
    }

    fn upstream(&self) -> (usize, ConnId) {
        *self.asked.opened.last().unwrap()
    }

    fn run(&mut self) {
        loop {
            let mut moved = false;
            for shard in [ORIGIN, OWNER] {
                while let Some(action) = self.shards[shard].poll() {
                    moved = true;
                    self.perform(shard, action);
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn perform(&mut self, shard: usize, action: Action) {
        match action {
            Action::Open { conn, .. } => {
                self.asked.opened.push((shard, conn));
                self.shards[shard].connected(conn, self.now);
            }
            Action::Flush { conn } => self.write(shard, conn),
            Action::Pause { conn } => self.asked.paused.push((shard, conn, true)),
            Action::Resume { conn } => self.asked.paused.push((shard, conn, false)),
            Action::Finish { conn } => self.asked.closed.push((shard, conn, Closing::Finish)),
            Action::Abort { conn } => self.asked.closed.push((shard, conn, Closing::Abort)),
            Action::Post { shard, parcel } => {
                self.asked.parcels += 1;
                assert!(parcel.must_arrive() || matches!(*parcel.0, Note::Touch { .. }), "{parcel:?}");
                self.shards[usize::from(shard.0)].deliver(parcel, self.now);
            }
            Action::Log(record) => self.asked.records.push(*record),
            Action::Observed(_) => {}
            Action::Spawn { .. } => panic!("{action:?}"),
        }
    }

    fn write(&mut self, shard: usize, conn: ConnId) {
        loop {
            let mut slices = [IoSlice::new(&[]); 4];
            let count = self.shards[shard].unsent(conn, &mut slices);
            let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            let mut take = bytes.len();
            if shard == ORIGIN {
                take = take.min(self.window);
                self.window = self.window.saturating_sub(take);
                self.taken.extend_from_slice(&bytes[..take]);
            } else {
                self.requests.extend_from_slice(&bytes);
            }
            if take == 0 {
                return;
            }
            self.shards[shard].sent(conn, take, self.now);
        }
    }

    /// The client takes more.
    fn take(&mut self, count: usize) {
        self.window = self.window.saturating_add(count);
        self.write(ORIGIN, self.client);
        self.run();
    }

    fn replace(&mut self, shard: usize) {
        let start = numbered(&self.start, shard as u16, 9);
        self.shards[shard] = Shard::successor(start, self.now);
        self.run();
    }

    fn waiting(&self, shard: usize) -> usize {
        self.shards[shard].conns.iter().map(|(_, conn)| conn.outbox.waiting()).max().unwrap_or(0)
    }

    /// Nothing of any exchange is left.
    fn assert_clean(&self) {
        for shard in &self.shards {
            assert!(shard.forwards.out.is_empty() && shard.forwards.guests.is_empty());
            assert!(!shard.conns.iter().any(|(_, conn)| !conn.has_socket()), "a virtual client is left");
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.taken.clone()).unwrap()
    }
}

fn numbered(start: &Start, id: u16, seed: u8) -> Start {
    Start { id: ShardId(id), seed: [seed; 32], counters: Arc::default(), ..start.clone() }
}

const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;

fn json(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into()
}

/// The head of an answer of so many bytes.
fn long(length: usize) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n").into()
}

#[test]
fn an_answer_takes_one_parcel_each_way_and_is_logged_once() {
    let mut pair = Pair::new();
    pair.call();
    pair.answer(&json(RESULT));
    assert_eq!(pair.taken, json(RESULT));
    assert_eq!(pair.asked.parcels, 2, "the request, the answer");
    let [record] = &pair.asked.records[..] else { panic!("{:?}", pair.asked.records) };
    assert_eq!((record.status, record.method.as_str(), record.target.as_str()), (200, "tools/call", "alpha"));
    assert_eq!(record.client, Some(([127, 0, 0, 1], 5000).into()));
    assert_eq!((record.received, record.sent), (71, RESULT.len() as u64));
    pair.assert_clean();
    // The connection goes on.
    pair.call();
    pair.answer(&json(RESULT));
    assert_eq!(pair.taken, [json(RESULT), json(RESULT)].concat());
    assert!(pair.asked.closed.is_empty());
}

#[test]
fn what_the_owner_refuses_is_refused() {
    let mut pair = Pair::new();
    pair.session = "x".to_owned();
    pair.call();
    assert!(pair.text().starts_with("HTTP/1.1 404 Not Found\r\n"), "{}", pair.text());
    let counted = pair.shards.each_ref().map(|shard| shard.counters.requests_failed.value());
    assert_eq!(counted, [0, 1]);
    assert_eq!(pair.asked.records.len(), 1);
    pair.assert_clean();
}

#[test]
fn a_client_that_does_not_read_stops_the_target_and_loses_nothing() {
    let body = format!("\"{}\"", "x".repeat(300_000));
    let whole = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{body}}}"#);
    let mut pair = Pair::new();
    pair.window = 0;
    pair.call();
    let mut rest = [long(whole.len()), whole.into_bytes()].concat();
    let expected = rest.clone();
    let upstream = pair.upstream();
    let mut paused = false;
    let mut most = 0;
    for turn in 0.. {
        assert!(turn < 2000, "the answer stands still");
        if rest.is_empty() {
            break;
        }
        for (shard, conn, now) in std::mem::take(&mut pair.asked.paused) {
            assert_eq!((shard, conn), upstream);
            paused = now;
        }
        if paused {
            most = most.max(pair.waiting(ORIGIN)).max(pair.waiting(OWNER));
            pair.take(1000);
            continue;
        }
        let piece: Vec<u8> = rest.drain(..rest.len().min(2000)).collect();
        pair.answer(&piece);
    }
    pair.take(usize::MAX);
    assert!(pair.taken == expected, "{} of {} bytes", pair.taken.len(), expected.len());
    assert!(most <= BUFFER + 2000, "{most} bytes waited");
    assert!(most >= BUFFER);
    pair.assert_clean();
}

#[test]
fn a_client_that_goes_away_is_gone_for_the_owner_too() {
    // Before the answer, within it, and behind it while bytes wait.
    for answered in [0, 2000, 8000] {
        let mut pair = Pair::new();
        pair.window = 1000;
        pair.call();
        if answered > 0 {
            pair.answer(&[long(8000), vec![b'1'; answered]].concat());
        }
        pair.shards[ORIGIN].lost(pair.client, Fault::Reset, pair.now);
        pair.run();
        pair.assert_clean();
        let errors: Vec<_> = pair.asked.records.iter().map(|record| record.error.as_str()).collect();
        let expected = if answered < 8000 { "the client went away" } else { "" };
        assert_eq!(errors, [expected], "after {answered} bytes");
    }
}

#[test]
fn an_answer_that_breaks_off_breaks_off_for_the_client() {
    let mut pair = Pair::new();
    pair.call();
    pair.answer(&[long(8000), vec![b'1'; 2000]].concat());
    let (_, conn) = pair.upstream();
    pair.shards[OWNER].lost(conn, Fault::Reset, pair.now);
    pair.run();
    assert_eq!(pair.asked.closed, [(ORIGIN, pair.client, Closing::Abort)]);
    assert!(pair.taken == [long(8000), vec![b'1'; 2000]].concat());
    pair.assert_clean();
}

#[test]
fn an_owner_that_is_replaced_fails_what_it_served() {
    let mut pair = Pair::new();
    pair.call();
    pair.replace(OWNER);
    assert!(pair.text().starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{}", pair.text());
    assert_eq!(pair.asked.records.len(), 1);
    pair.assert_clean();

    let mut pair = Pair::new();
    pair.call();
    pair.answer(&[long(8000), vec![b'1'; 2000]].concat());
    pair.replace(OWNER);
    assert_eq!(pair.asked.closed, [(ORIGIN, pair.client, Closing::Abort)]);
    pair.assert_clean();
}

#[test]
fn a_request_found_in_the_mail_of_a_lost_owner_is_not_served_for_nobody() {
    let mut pair = Pair::new();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}"#;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nmcp-session-id: {}\r\n\
         content-length: {}\r\n\r\n{body}",
        pair.session,
        body.len()
    );
    let id = pair.read(head.as_bytes());
    pair.shards[ORIGIN].forward(id, ShardId(1)).unwrap();
    // Posted while the owner was being replaced.
    pair.replace(OWNER);
    assert!(pair.text().starts_with("HTTP/1.1 503 "), "{}", pair.text());
    pair.assert_clean();
}

#[test]
fn an_owner_that_has_ended_fails_what_is_forwarded_to_it() {
    let mut pair = Pair::new();
    pair.call();
    pair.shards[ORIGIN].unreachable(ShardId(1), pair.now);
    pair.run();
    assert!(pair.text().starts_with("HTTP/1.1 503 "), "{}", pair.text());
    pair.assert_clean();
}

#[test]
fn the_guests_of_an_origin_that_is_replaced_are_gone() {
    let mut pair = Pair::new();
    pair.call();
    assert_eq!(pair.shards[OWNER].forwards.guests.len(), 1);
    pair.replace(ORIGIN);
    pair.assert_clean();
}

#[test]
fn at_the_limit_either_shard_says_so() {
    let mut pair = Pair::with(|limits| limits.forwarded = 0);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(pair.request(body).unwrap_err(), Refusal::busy());

    let mut pair = Pair::new();
    let limits = Limits { forwarded: 0, ..pair.start.config.limits };
    let config = Config { limits, ..(*pair.start.config).clone() };
    let start = Start { config: Arc::new(config), ..numbered(&pair.start, 1, 2) };
    pair.shards[OWNER] = Shard::new(start, pair.now);
    pair.request(body).unwrap();
    assert!(pair.text().starts_with("HTTP/1.1 503 "), "{}", pair.text());
    pair.assert_clean();
}

#[test]
fn what_was_forwarded_is_not_forwarded_again() {
    let mut pair = Pair::new();
    pair.call();
    let guest = pair.shards[OWNER].forwards.guests.values().next().unwrap().conn;
    let id = ExchangeId { conn: guest, serial: 1 };
    assert_eq!(pair.shards[OWNER].forward(id, ShardId(0)).unwrap_err(), Refusal::misplaced());
}

#[test]
fn an_owner_is_not_drained_while_it_has_guests() {
    let mut pair = Pair::new();
    pair.call();
    for shard in [OWNER, ORIGIN] {
        pair.shards[shard].drain(Duration::from_secs(5), pair.now);
    }
    pair.run();
    assert!(!pair.shards[OWNER].is_drained());
    pair.answer(&json(RESULT));
    let said =
        String::from_utf8(json(RESULT)).unwrap().replace("\r\n\r\n{", "\r\nconnection: close\r\n\r\n{");
    assert_eq!(pair.text(), said);
    assert!(pair.shards.iter().all(Shard::is_drained));
}
