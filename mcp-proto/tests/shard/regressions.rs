//! One test for each bug there was, named after what was seen of it.

use crate::support::World;
use crate::support::client::call;
use crate::support::server::reply;

#[test]
fn an_answer_that_is_a_web_page_left_the_client_waiting() {
    let mut world = World::new(&["alpha"]);
    let (client, session) = world.begin();
    world.server("alpha").on("tools/call", |_| reply(200, "content-type: text/html\r\n", "<html>"));
    let answer = world.ask(client, &session, &call("echo"));
    let words =
        "target \"alpha\" failed: its answer is malformed: an answer is neither JSON nor an event stream";
    assert_eq!(answer.tool_text(), words);
    assert_eq!(world.counters(0).calls.value(), 0);
}
