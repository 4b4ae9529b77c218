//! Subscriptions on a stream that they share with all else of their client.

use super::*;
use crate::exchange::Accepts;
use crate::http::{Method, Request};
use crate::{AccessLog, Action, ConnId, Fault, Limits, Start};
use std::io::IoSlice;

const AT: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);
const PEER: ([u8; 4], u16) = ([127, 0, 0, 1], 5000);

fn shard() -> (Shard, Instant) {
    let limits = Limits { buffer: 500, ..Limits::default() };
    let (start, now) = Start::before_alpha(1, limits, AccessLog::Off);
    (Shard::new(start, now), now)
}

/// A client's one stream.
fn stream(shard: &mut Shard, now: Instant) -> ConnId {
    let conn = shard.accepted(AT.into(), PEER.into(), now).unwrap();
    let accepts = Accepts { json: false, events: true };
    let exchange = Exchange::new(1, Request::bare(Method::Get), accepts, Bytes::new(), now);
    shard.conns.get_mut(conn).unwrap().client().unwrap().exchange = Some(exchange);
    shard.begin(ExchangeId { conn, serial: 1 }, 200, Content::Events, &[]);
    _ = taken(shard, conn, now);
    conn
}

/// Opens a subscription whose target can't be reached.
fn subscribe(shard: &mut Shard, stream: ConnId, id: &str, now: Instant) -> ExchangeId {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"subscriptions/listen","params":{{"_meta":{{"{PREFIX}protocolVersion":"2026-07-28","{PREFIX}clientCapabilities":{{}}}},"notifications":{{"toolsListChanged":true}}}}}}"#
    );
    let conn = shard.virtual_client(Wire::Stream(stream), PEER.into());
    let exchange =
        shard.open_virtual(conn, Request::bare(Method::Post), body.into(), crate::way::Way::default(), None);
    shard.serve_message(exchange);
    while let Some(action) = shard.poll() {
        if let Action::Open { conn, .. } = action {
            shard.lost(conn, Fault::Refused, now);
        }
    }
    // Any input does what is deferred.
    shard.reroute(Arc::clone(&shard.routes), now);
    exchange
}

/// The data of what waits for a connection, which takes it.
fn taken(shard: &mut Shard, conn: ConnId, now: Instant) -> Vec<String> {
    let mut slices = [(); 64].map(|()| IoSlice::new(&[]));
    let filled = shard.unsent(conn, &mut slices);
    let bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
    shard.sent(conn, bytes.len(), now);
    let text = String::from_utf8(bytes).unwrap();
    text.lines().filter_map(|line| Some(line.strip_prefix("data: ")?.to_owned())).collect()
}

fn acknowledged(id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"{PREFIX}subscriptionId":{id}}},"notifications":{{"toolsListChanged":true}}}}}}"#
    )
}

fn changed(id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{"_meta":{{"{PREFIX}subscriptionId":{id}}}}}}}"#
    )
}

#[test]
fn several_subscriptions_share_a_stream_and_each_ends_by_itself() {
    let (mut shard, now) = shard();
    let stream = stream(&mut shard, now);
    let one = subscribe(&mut shard, stream, "1", now);
    let two = subscribe(&mut shard, stream, r#""1""#, now);
    assert_eq!(taken(&mut shard, stream, now), [acknowledged("1"), acknowledged(r#""1""#)]);
    for id in [one, two] {
        shard.topic_changed(id, Topic::Tools, None);
    }
    // Cancelled: nothing more is said, its session is gone.
    shard.close(one.conn, crate::shard::Closing::Abort);
    assert_eq!((shard.sessions.len(), shard.counters.streams.value()), (1, 1));
    let now = now + BURST;
    shard.tick(now);
    assert_eq!(taken(&mut shard, stream, now), [changed(r#""1""#)]);
    shard.end_subscription(two);
    let result = format!(
        r#"{{"jsonrpc":"2.0","id":"1","result":{{"resultType":"complete","_meta":{{"{PREFIX}subscriptionId":"1"}}}}}}"#
    );
    assert_eq!(taken(&mut shard, stream, now), [result]);
    assert_eq!((shard.conns.len(), shard.sessions.len(), shard.legs.len()), (1, 0, 0));
    assert_eq!(shard.counters.streams.value(), 0);
}

#[test]
fn what_a_stream_has_no_room_for_is_said_when_it_has() {
    let (mut shard, mut now) = shard();
    let stream = stream(&mut shard, now);
    let id = subscribe(&mut shard, stream, "1", now);
    let other = vec![b'1'; 600];
    shard.say(stream, &other);
    for _ in 0..3 {
        shard.topic_changed(id, Topic::Tools, None);
        now += BURST;
        shard.tick(now);
    }
    assert_eq!(taken(&mut shard, stream, now).len(), 2, "the acknowledgement and the other");
    now += STALLED;
    shard.tick(now);
    assert_eq!(taken(&mut shard, stream, now), [changed("1")]);
}
