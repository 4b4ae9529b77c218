//! Legacy targets that ask in the middle of modern clients' calls.

use super::server::{Reply, event, open_stream, stream_end};
use super::{Answer, Setup, Step, World};
use mcp_proto::Config;
use std::time::Duration;

/// Questions, with ids of the target's own making.
pub(crate) const FORM: &str = r#"{"jsonrpc":"2.0","id":"e \"1\"","method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object"}}}"#;
pub(crate) const ROOTS: &str = r#"{"id":12345678901234567890,"jsonrpc":"2.0","method":"roots/list"}"#;
/// An answer to a form.
pub(crate) const ACCEPT: &str = r#"{"action":"accept", "content":{"n":1.0}}"#;
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// A target whose calls are answered with a stream that says this and stays open.
pub(crate) fn asking(targets: &[&str], shards: u16, chunks: &'static [&'static str]) -> World {
    asking_with(targets, shards, chunks, |_| {})
}

/// The same with other settings.
pub(crate) fn asking_with(
    targets: &[&str],
    shards: u16,
    chunks: &'static [&'static str],
    config: impl FnOnce(&mut Config),
) -> World {
    let mut world = Setup::new(targets).shards(shards).config(config).build();
    world.server("alpha").on("tools/call", move |_| said(chunks));
    world
}

/// A stream that is left open behind these messages.
pub(crate) fn said(chunks: &[&str]) -> Reply {
    open_stream(&chunks.iter().map(|chunk| event(chunk)).collect::<Vec<_>>())
}

/// The target's answer to the call it was asked last, by which its stream ends.
pub(crate) fn finish(world: &mut World, result: &str) {
    let seen = world.server("alpha").last("tools/call").clone();
    let end = [vec![Step::Send(event(&seen.response(result)).into())], stream_end()].concat();
    world.say(seen.key, end);
}

/// What the target was answered to its questions.
pub(crate) fn bodies(world: &mut World) -> Vec<String> {
    let responses =
        world.server("alpha").seen.iter().filter(|seen| seen.http == "POST" && seen.method.is_empty());
    responses.map(|seen| seen.body.clone()).collect()
}

/// Under which key the first question is answered.
pub(crate) fn key(answer: &Answer) -> String {
    answer.asked()[0].0.clone()
}

/// Nothing waits and nothing is under way but the sessions' own streams.
pub(crate) fn assert_quiet(world: &World) {
    for shard in 0..world.shards.len() {
        assert_eq!(world.counters(shard).parked.value(), 0, "a call is parked on {shard}");
        let (calls, streams) = (world.counters(shard).calls.value(), world.counters(shard).streams.value());
        assert_eq!(calls, streams, "a request to a target is left on {shard}");
    }
}
