//! What a target speaks: found out, remembered, doubted.

use crate::support::client::{EVERYTHING, INITIALIZED, call, initialize, post, request};
use crate::support::eras::Speaks;
use crate::support::listening::before;
use crate::support::modern::Ask;
use crate::support::server::{json_reply, open_stream, reply};
use crate::support::{Answer, Setup, Step, World};
use mcp_proto::Fault;
use routing::{Protocol, Routes};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// Behind the age of a verdict that says legacy.
const OLD: Duration = Duration::from_secs(5 * 60 + 1);
/// Behind the time in which a verdict is not doubted.
const RESTED: Duration = Duration::from_secs(11);

fn one(speaks: Speaks) -> (World, std::rc::Rc<std::cell::Cell<Speaks>>) {
    let mut world = before(&["alpha"]).build();
    let era = world.speaks("alpha", speaks);
    (world, era)
}

fn is_done(answer: &Answer) -> bool {
    answer.status == 200 && answer.tool_text() == "alpha:echo"
}

#[test]
fn a_target_is_asked_once_and_spoken_to_as_it_wants() {
    for (speaks, expected) in [
        (Speaks::Modern, &["server/discover", "tools/call", "tools/call"][..]),
        (
            Speaks::Legacy,
            &[
                "server/discover",
                "initialize",
                "notifications/initialized",
                "tools/list",
                "tools/call",
                "tools/call",
            ],
        ),
    ] {
        let (mut world, _) = one(speaks);
        for _ in 0..2 {
            let answer = world.ask_modern(0, &Ask { capabilities: "{}", ..Ask::default() });
            assert!(is_done(&answer), "{speaks:?}: {}", answer.text());
        }
        assert_eq!(world.server("alpha").methods(), expected, "{speaks:?}");
    }
}

#[test]
fn what_the_configuration_says_is_not_asked() {
    for (protocol, speaks) in [(Protocol::Modern, Speaks::Modern), (Protocol::Legacy, Speaks::Legacy)] {
        let mut world = Setup::new(&["alpha"]).targets(|target| target.protocol = protocol).build();
        world.speaks("alpha", speaks);
        assert!(is_done(&world.ask_modern(0, &Ask::default())));
        world.advance(OLD);
        assert!(is_done(&world.ask_modern(0, &Ask::default())));
        assert_eq!(world.server("alpha").count("server/discover"), 0);
    }
}

#[test]
fn requests_wait_for_the_one_question() {
    let (mut world, _) = one(Speaks::Modern);
    world.server("alpha").delay = SECOND;
    let clients: Vec<_> = (1..=3).map(|id| world.begin_modern(0, &Ask::call(id))).collect();
    assert_eq!(world.server("alpha").methods(), ["server/discover"]);
    world.advance(3 * SECOND);
    for client in clients {
        assert!(is_done(&world.clients[client].answer()));
    }
    assert_eq!(world.server("alpha").count("server/discover"), 1);
    assert_eq!(world.effects("alpha"), 3);
}

#[test]
fn a_client_that_leaves_while_the_question_is_out_leaves_nothing() {
    let (mut world, _) = one(Speaks::Modern);
    world.server("alpha").delay = SECOND;
    let client = world.begin_modern(0, &Ask::call(1));
    world.hang_up(client);
    world.advance(3 * SECOND);
    assert_eq!(world.effects("alpha"), 0, "nobody wants it any more");
    assert_eq!(world.counters(0).calls.value(), 0);
}

#[test]
fn an_old_legacy_verdict_is_looked_into_without_delay() {
    let (mut world, era) = one(Speaks::Legacy);
    let (client, session) = world.begin();
    assert!(is_done(&world.ask(client, &session, &call("echo"))));
    assert_eq!(world.server("alpha").count("server/discover"), 1);
    world.advance(OLD);
    world.server("alpha").on("server/discover", |seen| {
        let mut late = vec![Step::Wait(2 * SECOND)];
        late.extend(json_reply(400, &seen.error(-32000, "no")));
        late
    });
    let client = world.connect(0);
    assert!(is_done(&world.ask(client, &session, &call("echo"))), "at once");
    assert_eq!(world.server("alpha").count("server/discover"), 2);
    world.advance(3 * SECOND);
    assert!(is_done(&world.ask(client, &session, &call("echo"))));
    assert_eq!(world.server("alpha").count("server/discover"), 2, "it is young again");
    // It learns the new revision, and is spoken to in it as soon as that is known.
    world.turn("alpha", &era, Speaks::Modern);
    world.server("alpha").script = None;
    let _ = world.speaks("alpha", Speaks::Modern);
    world.server("alpha").on("initialize", |seen| json_reply(500, &seen.error(-32603, "never")));
    world.advance(OLD);
    world.server("alpha").keeps_sessions = false;
    let client = world.connect(0);
    assert!(is_done(&world.ask(client, &session, &call("echo"))));
    assert!(is_done(&world.ask(client, &session, &call("echo"))));
    assert_eq!(world.server("alpha").last("tools/call").field("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(world.server("alpha").count("server/discover"), 3);
}

#[test]
fn what_says_nothing_of_the_era_is_told_and_not_remembered() {
    for status in [401, 403, 429, 500, 503] {
        let (mut world, _) = one(Speaks::Modern);
        world.server("alpha").on("server/discover", move |_| reply(status, "", ""));
        let answer = world.ask_modern(0, &Ask::default());
        let words = answer.tool_text();
        assert!(words.starts_with("target \"alpha\" failed: it "), "{status}: {}", answer.text());
        let script = world.server("alpha").script.take();
        drop(script);
        world.speaks("alpha", Speaks::Modern);
        assert!(is_done(&world.ask_modern(0, &Ask::default())), "{status}");
        assert_eq!(world.effects("alpha"), 1);
    }
    let (mut world, _) = one(Speaks::Modern);
    world.server("alpha").refuses = Some(Some(Fault::Refused));
    let answer = world.ask_modern(0, &Ask::default());
    assert_eq!(
        answer.tool_text(),
        "target \"alpha\" failed: it can't be reached (connection refused)",
        "{}",
        answer.text()
    );
    world.server("alpha").refuses = None;
    world.advance(2 * SECOND);
    assert!(is_done(&world.ask_modern(0, &Ask::default())));
}

#[test]
fn what_was_known_holds_while_the_target_can_not_say() {
    let (mut world, _) = one(Speaks::Legacy);
    let (client, session) = world.begin();
    assert!(is_done(&world.ask(client, &session, &call("echo"))));
    world.advance(OLD);
    world.server("alpha").on("server/discover", |_| reply(503, "", ""));
    let client = world.connect(0);
    for _ in 0..3 {
        assert!(is_done(&world.ask(client, &session, &call("echo"))));
    }
}

#[test]
fn a_target_that_does_not_answer_the_question_is_greeted() {
    // Silence, a closed connection, and a stream on which nothing comes.
    for reply in [vec![], vec![Step::Reset], open_stream(&[]), vec![Step::Fin]] {
        let (mut world, _) = one(Speaks::Legacy);
        let silent = reply.clone();
        world.server("alpha").on("server/discover", move |_| silent.clone());
        let client = world.begin_modern(0, &Ask { capabilities: "{}", ..Ask::default() });
        world.advance(Duration::from_secs(20));
        let answers = world.clients[client].answers();
        assert!(answers.len() == 1 && is_done(&answers[0]), "{reply:?}: {answers:?}");
        assert_eq!(world.effects("alpha"), 1);
    }
}

#[test]
fn a_target_that_has_opened_a_session_is_not_doubted_for_its_silence() {
    let (mut world, _) = one(Speaks::Legacy);
    world.server("alpha").on("server/discover", |_| vec![]);
    let client = world.begin_modern(0, &Ask { capabilities: "{}", ..Ask::default() });
    world.advance(Duration::from_secs(6));
    assert!(is_done(&world.clients[client].answer()));
    world.server("alpha").on("tools/call", |seen| json_reply(400, &seen.error(-32602, "no such tool")));
    let answer = world.ask_modern(0, &Ask { capabilities: "{}", ..Ask::default() });
    assert_eq!(answer.code(), Some(-32602), "at once");
    assert_eq!(world.server("alpha").count("server/discover"), 1);
}

#[test]
fn what_waits_for_a_target_that_is_taken_away_is_told() {
    let mut world = before(&["alpha", "beta"]).process("alpha").build();
    world.server("alpha").on("server/discover", |_| vec![]);
    world.server("alpha").on("initialize", |_| vec![]);
    let client = world.begin_modern(0, &Ask { name: "alpha_echo", ..Ask::default() });
    assert_eq!(world.server("alpha").methods(), ["server/discover"]);
    world.reroute(Routes::new(vec![crate::support::setup::target("beta", 1)]).unwrap());
    world.advance(Duration::from_secs(60));
    let answers = world.clients[client].answers();
    assert!(answers.len() == 1 && answers[0].complete, "{answers:?}");
    assert!(answers[0].tool_text().starts_with("target \"alpha\" failed: "), "{}", answers[0].text());
    world.hang_up(client);
    world.advance(Duration::from_secs(3 * 3600));
    assert_eq!(world.counters(0).calls.value(), 0);
}

#[test]
fn a_modern_target_that_was_slow_to_say_so_is_asked_again_when_it_refuses_the_greeting() {
    for reply in [vec![], vec![Step::Reset]] {
        let (mut world, _) = one(Speaks::Modern);
        let mut first = Some(reply.clone());
        world.server("alpha").on("server/discover", move |seen| {
            first.take().unwrap_or_else(|| {
                seen.result(
                    r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{}}"#,
                )
            })
        });
        let client = world.begin_modern(0, &Ask { capabilities: "{}", ..Ask::default() });
        world.advance(Duration::from_secs(20));
        let answer = world.clients[client].answer();
        assert!(is_done(&answer), "{reply:?}: {answer:?}");
        assert_eq!(world.effects("alpha"), 1);
    }
}

#[test]
fn a_target_that_refuses_everything_is_not_asked_for_ever() {
    let (mut world, _) = one(Speaks::Legacy);
    world.server("alpha").script = Some(Box::new(|seen| Some(json_reply(400, &seen.error(-32000, "no")))));
    let client = world.begin_modern(0, &Ask { capabilities: "{}", ..Ask::default() });
    world.advance(Duration::from_secs(60));
    assert_eq!(world.clients[client].answers().len(), 1);
    assert!(world.server("alpha").seen.len() < 10, "{:?}", world.server("alpha").methods());
}

#[test]
fn a_target_that_learns_or_forgets_a_revision_runs_each_tool_once() {
    for (from, to) in [(Speaks::Legacy, Speaks::Modern), (Speaks::Modern, Speaks::Legacy)] {
        for rest in [RESTED, Duration::ZERO] {
            let (mut world, era) = one(from);
            let (client, session) = world.begin();
            assert!(is_done(&world.ask(client, &session, &call("echo"))));
            assert!(is_done(&world.ask_modern(0, &Ask::default())));
            assert_eq!(world.effects("alpha"), 2);
            world.advance(rest);
            world.turn("alpha", &era, to);
            if rest.is_zero() {
                world.advance(RESTED);
            }
            let client = world.connect(0);
            let asked = world.ask_later(client, &session, &call("echo"));
            world.advance(SECOND);
            assert!(world.is_answered(client, asked));
            let answer = world.clients[client].answer();
            assert!(is_done(&answer), "legacy client, {from:?} to {to:?}: {}", answer.text());
            let answer = world.ask_modern(0, &Ask::default());
            assert!(is_done(&answer), "modern client, {from:?} to {to:?}: {}", answer.text());
            assert_eq!(world.effects("alpha"), 4, "{from:?} to {to:?}");
        }
    }
}

#[test]
fn a_client_that_comes_when_its_target_has_turned_to_sessions_gets_one() {
    for targets in [&["alpha"][..], &["alpha", "beta"]] {
        let mut world = before(targets).build();
        let eras: Vec<_> = targets.iter().map(|name| (*name, world.speaks(name, Speaks::Modern))).collect();
        world.begin();
        // What they said of themselves has to be asked for again.
        world.advance(Duration::from_secs(61));
        eras.iter().for_each(|(name, era)| world.turn(name, era, Speaks::Legacy));
        let client = world.connect(0);
        world.send(client, &post("", &initialize("2025-06-18", EVERYTHING)));
        let answer = world.clients[client].answer();
        assert_eq!(answer.json()["id"], 0, "{}", answer.text());
        assert_eq!(answer.json()["result"]["protocolVersion"], "2025-06-18", "{}", answer.text());
        let session = answer.field("mcp-session-id").expect("a session").to_owned();
        assert_eq!(
            world.server("alpha").last("initialize").json()["params"]["protocolVersion"],
            "2025-06-18"
        );
        assert_eq!(world.ask(client, &session, INITIALIZED).status, 202);
        let tool = if targets.len() == 1 { "echo" } else { "alpha_echo" };
        assert!(is_done(&world.ask(client, &session, &call(tool))));
        assert_eq!(world.server("alpha").count("initialize"), 1);
    }
}

#[test]
fn requests_under_way_when_the_verdict_changes_are_made_anew_when_refused_unread() {
    for (from, to) in [(Speaks::Legacy, Speaks::Modern), (Speaks::Modern, Speaks::Legacy)] {
        let (mut world, era) = one(from);
        let (client, session) = world.begin();
        assert!(is_done(&world.ask(client, &session, &call("echo"))));
        world.advance(RESTED);
        world.turn("alpha", &era, to);
        // The second request is refused when the first has made it known already what the target speaks.
        world.server("alpha").delay = SECOND;
        let first = world.ask_on_later(&session, &call("echo"));
        world.advance(SECOND / 2);
        let second = world.ask_on_later(&session, &call("echo"));
        let third = world.begin_modern(0, &Ask { capabilities: "{}", ..Ask::default() });
        world.advance(Duration::from_secs(20));
        for client in [first, second, third] {
            let answers = world.clients[client].answers();
            assert!(answers.len() == 1 && is_done(&answers[0]), "{from:?} to {to:?}: {answers:?}");
        }
        assert_eq!(world.effects("alpha"), 4, "{from:?} to {to:?}");
    }
}

#[test]
fn lists_and_streams_follow_the_era_as_well() {
    for (from, to) in [(Speaks::Legacy, Speaks::Modern), (Speaks::Modern, Speaks::Legacy)] {
        let mut world = before(&["alpha", "beta"]).build();
        let era = world.speaks("alpha", from);
        world.speaks("beta", from);
        let (client, session) = world.begin();
        let names =
            |answer: &Answer| answer.json()["result"]["tools"].as_array().map(Vec::len).unwrap_or_default();
        assert_eq!(names(&world.ask(client, &session, &request("tools/list", "{}"))), 4);
        world.advance(RESTED);
        world.turn("alpha", &era, to);
        let client = world.connect(0);
        let asked = world.ask_later(client, &session, &request("tools/list", "{}"));
        world.advance(SECOND);
        assert!(world.is_answered(client, asked));
        let answer = world.clients[client].answer();
        assert_eq!(names(&answer), 4, "{from:?} to {to:?}: {}", answer.text());
        assert!(!answer.text().contains("partial"), "{from:?} to {to:?}: {}", answer.text());
    }
}

#[test]
fn a_new_endpoint_is_asked_what_it_speaks() {
    for (from, to) in [(Speaks::Legacy, Speaks::Modern), (Speaks::Modern, Speaks::Legacy)] {
        let (mut world, _) = one(from);
        let (client, session) = world.begin();
        assert!(is_done(&world.ask(client, &session, &call("echo"))));
        world.add_server("other", 1);
        world.speaks("other", to);
        let mut target = crate::support::setup::target("alpha", 1);
        target.protocol = Protocol::Auto;
        world.reroute(Routes::new(vec![target]).unwrap());
        for _ in 0..2 {
            let client = world.connect(0);
            let answer = world.ask(client, &session, &call("echo"));
            assert_eq!(answer.tool_text(), "other:echo", "{from:?} to {to:?}: {}", answer.text());
            let answer = world.ask_modern(0, &Ask { capabilities: "{}", ..Ask::default() });
            assert_eq!(answer.tool_text(), "other:echo", "{from:?} to {to:?}: {}", answer.text());
        }
        assert_eq!((world.effects("alpha"), world.effects("other")), (1, 4), "{from:?} to {to:?}");
    }
}

#[test]
fn the_question_comes_with_the_credentials_of_who_waits_for_it() {
    let wants = |seen: &crate::support::server::Seen| seen.field("authorization") != Some("Bearer good");
    let mut world =
        before(&["alpha"]).targets(|target| target.forward.fields = vec!["authorization".to_owned()]).build();
    world.speaks("alpha", Speaks::Modern);
    let mut before = world.server("alpha").script.take();
    world.server("alpha").script = Some(Box::new(move |seen| match wants(seen) {
        true => Some(reply(401, "www-authenticate: Bearer\r\n", "")),
        false => before.as_mut().and_then(|before| before(seen)),
    }));
    let ask = |world: &mut World, token: &str| {
        let text = String::from_utf8(Ask::default().text()).unwrap();
        let client = world.connect(0);
        let field = format!("\r\nauthorization: Bearer {token}\r\naccept:");
        world.queue(client, text.replace("\r\naccept:", &field).as_bytes());
        client
    };
    world.server("alpha").delay = SECOND;
    let (bad, good) = (ask(&mut world, "bad"), ask(&mut world, "good"));
    world.run();
    let other = ask(&mut world, "good");
    world.advance(10 * SECOND);
    for client in [good, other] {
        assert!(is_done(&world.clients[client].answer()), "{}", world.clients[client].answer().text());
    }
    let refused = world.clients[bad].answer();
    assert!(refused.tool_text().contains("credentials"), "{}", refused.text());
    assert_eq!(world.effects("alpha"), 2);
}

#[test]
fn every_shard_finds_out_for_itself() {
    let mut world = before(&["alpha"]).shards(2).build();
    world.speaks("alpha", Speaks::Legacy);
    let (_, session) = world.begin();
    for shard in [0, 1, 1] {
        assert!(is_done(&world.ask_on(shard, &session, &call("echo"))));
    }
    assert_eq!(world.server("alpha").count("server/discover"), 2);
    assert_eq!(world.server("alpha").count("initialize"), 1);
}

#[test]
fn a_shard_that_finds_out_that_an_era_has_changed_is_believed_by_the_home_of_the_session() {
    for (from, to) in [(Speaks::Legacy, Speaks::Modern), (Speaks::Modern, Speaks::Legacy)] {
        let mut world = before(&["alpha"]).shards(2).build();
        let era = world.speaks("alpha", from);
        let (_, session) = world.begin();
        for shard in [0, 1] {
            assert!(is_done(&world.ask_on(shard, &session, &call("echo"))));
        }
        world.advance(RESTED);
        world.turn("alpha", &era, to);
        for shard in [1, 0, 1] {
            let answer = world.ask_on(shard, &session, &call("echo"));
            assert!(is_done(&answer), "{from:?} to {to:?} on {shard}: {}", answer.text());
        }
        assert_eq!(world.effects("alpha"), 5);
    }
}

#[test]
fn a_session_that_target_and_home_have_forgotten_is_opened_anew() {
    let mut world = Setup::new(&["alpha"]).shards(2).build();
    let (_, session) = world.begin();
    assert!(is_done(&world.ask_on(1, &session, &call("echo"))));
    world.server("alpha").sessions.clear();
    assert!(is_done(&world.ask_on(0, &session, &call("echo"))), "the home has another now");
    world.replace(1);
    assert!(is_done(&world.ask_on(1, &session, &call("echo"))), "and tells it");
    world.server("alpha").sessions.clear();
    assert!(is_done(&world.ask_on(1, &session, &call("echo"))), "by its own");
    world.server("alpha").sessions.clear();
    world.replace(1);
    let answer = world.ask_on(1, &session, &call("echo"));
    assert!(is_done(&answer), "by what its id says, and then by what its home has: {}", answer.text());
    assert_eq!(world.effects("alpha"), 5);
}

#[test]
fn a_page_is_followed_by_shards_that_know_the_era_and_by_those_that_do_not() {
    for first in [0, 1] {
        let mut world = before(&["alpha"]).shards(2).build();
        world.speaks("alpha", Speaks::Legacy);
        world.server("alpha").page = 1;
        let (_, session) = world.begin();
        let page = world.ask_on(first, &session, &request("tools/list", "{}")).json();
        let cursor = &page["result"]["nextCursor"];
        assert!(cursor.is_string(), "{page}");
        for second in [0, 1] {
            let params = format!(r#"{{"cursor":{cursor}}}"#);
            let page = world.ask_on(second, &session, &request("tools/list", &params)).json();
            assert_eq!(page["result"]["tools"][0]["name"], "add", "{first} then {second}: {page}");
        }
    }
}
