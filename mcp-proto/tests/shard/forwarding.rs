//! Requests that another shard serves, here those of clients whose stream is there.

use crate::support::client::{EVERYTHING, INITIALIZED, call, initialize, post_at, request};
use crate::support::rand::Dice;
use crate::support::server::Reply;
use crate::support::{End, Setup, World};
use std::time::Duration;

fn world() -> World {
    Setup::new(&["alpha", "beta"]).shards(3).build()
}

#[test]
fn a_connection_goes_on_after_a_forwarded_request() {
    let mut world = world();
    let (client, endpoint) = world.begin_sse(1);
    let post = world.connect(0);
    let pings = (1..=3).map(|id| request("ping", "{}").replace(r#""id":1"#, &format!(r#""id":{id}"#)));
    let text: Vec<u8> = pings.flat_map(|ping| post_at(&endpoint, &ping)).collect();
    // All at once, in pieces.
    world.chop = Some(Dice::new(1));
    world.send(post, &text);
    let statuses: Vec<_> = world.clients[post].answers().iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [202, 202, 202]);
    let ids: Vec<_> = world.messages(client).iter().map(|message| message["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [0, 1, 2, 3], "in order, as one waits for the other");
    // The owner keeps the log, the origin the count.
    assert_eq!([0, 1].map(|shard| world.counters(shard).requests.value()), [3, 3]);
    assert_eq!(world.records.len(), 5);
}

#[test]
fn a_refusal_comes_back_and_is_counted_and_logged_once() {
    let mut world = world();
    let (_, endpoint) = world.begin_sse(1);
    world.records.clear();
    assert_eq!(world.post_to(0, &endpoint, "{").status, 400);
    assert_eq!([0, 1].map(|shard| world.counters(shard).requests_failed.value()), [0, 1]);
    assert_eq!(world.records.iter().map(|record| record.status).collect::<Vec<_>>(), [400]);
}

#[test]
fn at_the_limit_a_request_is_refused() {
    let mut world = Setup::new(&["alpha"]).shards(2).config(|config| config.limits.forwarded = 0).build();
    let (_, endpoint) = world.begin_sse(1);
    let answer = world.post_to(0, &endpoint, &call("echo"));
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("1")));
    assert_eq!(world.post_to(1, &endpoint, &call("echo")).status, 202);
}

#[test]
fn a_shard_that_is_replaced_knows_its_streams_no_more() {
    let mut world = world();
    let (client, endpoint) = world.begin_sse(1);
    // A POST that waits there.
    world.server("alpha").on("tools/call", |_| Reply::new());
    let (opening, other) = world.open_sse(1);
    world.server("alpha").on("initialize", |_| Reply::new());
    world.post_to(0, &other, &initialize("2024-11-05", EVERYTHING));
    let waiting = world.connect(0);
    world.send(waiting, &post_at(&other, INITIALIZED));
    assert!(world.clients[waiting].answers().is_empty());

    world.replace(1);
    assert_eq!([client, opening].map(|client| world.clients[client].end), [Some(End::Aborted); 2]);
    assert_eq!(world.clients[waiting].answer().status, 503);
    // Whoever comes now is served, in the very place of the stream that was there before.
    let old = endpoint;
    world.server("alpha").script = None;
    let (client, endpoint) = world.begin_sse(1);
    world.post_to(2, &endpoint, &call("alpha_echo"));
    assert_eq!(world.messages(client).len(), 2);
    for shard in 0..3 {
        assert_eq!(world.post_to(shard, &old, &call("alpha_echo")).status, 404);
    }
    assert_eq!(world.messages(client).len(), 2);
}

#[test]
fn a_shard_that_is_replaced_leaves_no_guests() {
    let mut world = world();
    let (_, endpoint) = world.open_sse(1);
    world.server("alpha").on("initialize", |_| Reply::new());
    world.post_to(1, &endpoint, &initialize("2024-11-05", EVERYTHING));
    let waiting = world.connect(0);
    world.send(waiting, &post_at(&endpoint, INITIALIZED));
    world.replace(0);
    assert_eq!(world.clients[waiting].end, Some(End::Aborted));
    world.advance(Duration::from_secs(4));
    // What waited for its turn was forgotten with its client.
    assert_eq!(world.server("beta").count("notifications/initialized"), 0);
    world.drain(Duration::from_secs(1));
    world.advance(Duration::from_secs(2));
    assert!(world.shards.iter().all(mcp_proto::Shard::is_drained));
}
