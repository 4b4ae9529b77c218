//! However the bytes of clients and targets are cut, the same comes out.

use crate::support::answer::Event;
use crate::support::client::{call, request};
use crate::support::rand::Dice;
use crate::support::server::{Seen, chunked_reply, event, event_with, stream, tool_result};
use crate::support::{Answer, Setup, World};
use proptest::prelude::*;
use std::time::Duration;

/// Status, fields, events, and the text of what is no stream.
type Said = (u16, Vec<(String, String)>, Vec<Event>, String);

/// All there is of a conversation with two targets, as the client sees it.
fn conversation(chop: Option<u64>) -> Vec<Said> {
    let mut world = Setup::new(&["alpha", "beta"]).build();
    world.chop = chop.map(Dice::new);
    world.server("alpha").page = 1;
    let (client, session) = world.begin();
    let listener = world.listen(0, &session);
    let ask = |world: &mut World, body: &str| {
        world.ask(client, &session, body);
    };
    ask(&mut world, &request("tools/list", "{}"));
    ask(&mut world, &request("resources/templates/list", "{}"));
    ask(&mut world, &request("resources/read", r#"{"uri":"beta+demo://é/\"x\""}"#));
    for (target, name) in [("alpha", "alpha_echo"), ("beta", "beta_other")] {
        world.server(target).on("tools/call", answer_at_length);
        ask(&mut world, &call(name));
    }
    ask(&mut world, &call("nothing"));
    ask(&mut world, r#"{"jsonrpc":"2.0","id":1e2,"method":"tools/call"}"#);
    world.say_on_stream(
        "beta",
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b"}}"#,
    );
    world.advance(Duration::from_secs(20));
    let answers = [client, listener].into_iter().flat_map(|client| world.clients[client].answers());
    answers.map(seen).collect()
}

/// JSON in chunks or an event stream, long enough to be cut anywhere.
fn answer_at_length(seen: &Seen) -> Vec<crate::support::Step> {
    let link = r#"{"content":[{"type":"resource_link","uri":"demo://\u00e9"},{"type":"text","text":"é\\\"]}"}],"n":1e5}"#;
    if seen.body.contains("echo") {
        let response = seen.response(link);
        let (front, back) = response.split_at(70);
        return chunked_reply(&[front, back]);
    }
    let progress =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"é","progress":1}}"#;
    let ask = r#"{"jsonrpc":"2.0","id":9,"method":"roots/list"}"#;
    let last = seen.response(&tool_result(&"y".repeat(3_000)));
    stream(&[
        event(progress),
        event_with("7", ask),
        "5\r\n:\r\n\r\n\r\n".to_owned(),
        event(link),
        event_with("8", &last),
    ])
}

/// An answer without its framing on the wire.
fn seen(answer: Answer) -> Said {
    let events = if answer.is_stream() { answer.events() } else { Vec::new() };
    let text = if answer.is_stream() { String::new() } else { answer.text().to_owned() };
    (answer.status, answer.fields, events, text)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_conversation_is_the_same_however_it_is_cut(seed: u64) {
        prop_assert_eq!(conversation(Some(seed)), conversation(None));
    }
}

#[test]
fn the_conversation_says_what_it_should() {
    let said = conversation(None);
    assert_eq!(
        said.iter().map(|answer| answer.0).collect::<Vec<_>>(),
        [200, 202, 200, 200, 200, 200, 200, 200, 200, 200]
    );
    assert_eq!(said[6].2.len(), 3, "progress, a request and the answer: {:?}", said[6].2);
    assert!(said[5].3.contains(r#""uri":"alpha+demo://é""#), "{}", said[5].3);
}
