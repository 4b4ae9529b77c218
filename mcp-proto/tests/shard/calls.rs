//! One request, one target: what reaches it, and what comes back.

use crate::support::client::{call, post, request, session_field};
use crate::support::server::{self, chunked_reply, json_reply, tool_result};
use crate::support::{End, Step, World};

#[test]
fn a_single_target_is_seen_as_it_is() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    let body = r#" {"id" : 12345678901234567890123, "zzz":[1e400], "method":"tools\/call","jsonrpc":"2.0", "params":{"x-unknown":"\u00e9","name":"echo","arguments":{"a":1.10}} } "#;
    world.server("alpha").on("tools/call", |_| {
        chunked_reply(&[
            r#"{"jsonrpc":"2.0", "#,
            r#""id":12345678901234567890123,"result":{"uri":"a://b","x":1.10}} "#,
        ])
    });
    let answer = world.ask(client, &session, body);
    assert_eq!(world.server("alpha").last("tools/call").body, body);
    assert_eq!(
        answer.text(),
        r#"{"jsonrpc":"2.0", "id":12345678901234567890123,"result":{"uri":"a://b","x":1.10}} "#
    );
}
