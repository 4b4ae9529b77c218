//! Chance: any requests and answers, in any pieces.

use super::{plain, script};
use crate::support::Step;
use crate::support::rand::Dice;
use crate::support::server::{Reply, chunk};
use proptest::prelude::*;
use std::time::Duration;

/// Fields of the gateway's own, and those that frame a body.
const OWN: [&str; 6] =
    ["host", "content-length", "transfer-encoding", "via", "x-forwarded-for", "x-forwarded-proto"];

fn kept(fields: &[(String, String)]) -> Vec<(String, String)> {
    let own = |name: &str| OWN.contains(&name.to_ascii_lowercase().as_str());
    fields.iter().filter(|(name, _)| !own(name)).cloned().collect()
}

fn lower(fields: &[(String, String)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
}

/// One exchange of the random ones: what is sent, what is answered.
#[derive(Clone, Debug)]
struct Turn {
    method: &'static str,
    fields: Vec<(String, String)>,
    body: String,
    chunked: bool,
    status: u16,
    answer: Vec<String>,
    framing: u8,
}

impl Turn {
    fn request(&self, number: usize) -> String {
        let mut text = format!("{} /{number} HTTP/1.1\r\nhost: localhost\r\n", self.method);
        self.fields.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
        match self.chunked {
            true => {
                let chunks: String =
                    self.body.as_bytes().chunks(7).map(|it| chunk(str::from_utf8(it).unwrap())).collect();
                text + &format!("transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
            }
            false => text + &format!("content-length: {}\r\n\r\n{}", self.body.len(), self.body),
        }
    }

    fn has_body(&self) -> bool {
        self.method != "HEAD" && !matches!(self.status, 204 | 304)
    }

    fn reply(&self) -> Reply {
        let mut head = format!("HTTP/1.1 {} x\r\n", self.status);
        self.fields.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        let body = self.answer.concat();
        let mut steps = Vec::new();
        match self.framing {
            _ if !self.has_body() => steps.push(head + "\r\n"),
            0 => steps.extend([format!("{head}content-length: {}\r\n\r\n", body.len()), body]),
            1 => {
                steps.push(format!("{head}transfer-encoding: chunked\r\n\r\n"));
                steps.extend(self.answer.iter().filter(|it| !it.is_empty()).map(|it| chunk(it)));
                steps.push("0\r\n\r\n".to_owned());
            }
            _ => steps.extend([format!("{head}\r\n"), body]),
        }
        let mut steps: Reply = steps.into_iter().map(|text| Step::Send(text.into())).collect();
        let closes = self.framing > 1 && self.has_body();
        steps.push(if closes { Step::Fin } else { Step::Done });
        steps
    }
}

fn turn() -> impl Strategy<Value = Turn> {
    let method = prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "OPTIONS", "BREW", "DELETE"]);
    let name = prop::sample::select(vec!["X-A", "x-a", "Cookie", "Accept", "Content-Type", "mcp-session-id"]);
    let field = (name.prop_map(str::to_owned), "[!-~]([ -~]{0,20}[!-~])?");
    let status = prop::sample::select(vec![200u16, 201, 204, 206, 304, 404, 500]);
    let piece = "[ -~\r\n]{0,300}";
    let answer = prop::collection::vec(piece, 0..6);
    (method, prop::collection::vec(field, 0..6), "[ -~\r\n]{0,500}", any::<bool>(), status, answer, 0u8..3)
        .prop_map(|(method, fields, body, chunked, status, answer, framing)| Turn {
            method,
            fields,
            body,
            chunked,
            status,
            answer,
            framing,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_is_sent_in_whatever_pieces_arrives_byte_for_byte(
        turns in prop::collection::vec(turn(), 1..12),
        ahead in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut world = plain();
        world.chop = Some(Dice::new(seed));
        let replies = turns.clone();
        script(&mut world, move |seen| {
            let number: usize = seen.path[1..].parse().unwrap();
            replies[number].reply()
        });
        let client = world.connect(0);
        let mut rest = Vec::new();
        for (number, turn) in turns.iter().enumerate() {
            let text = turn.request(number);
            if ahead { rest.extend_from_slice(text.as_bytes()) } else { world.send(client, text.as_bytes()) }
        }
        world.send(client, &rest);
        let to_head: Vec<_> = turns.iter().map(|turn| turn.method == "HEAD").collect();
        let answers = crate::support::read_answers(&world.clients[client].raw, &to_head, false);
        prop_assert_eq!(answers.len(), turns.len());
        prop_assert_eq!(world.server("web").seen.len(), turns.len(), "nothing is asked twice, or left out");
        for (number, (turn, answer)) in turns.iter().zip(&answers).enumerate() {
            let seen = &world.server("web").seen[number];
            let place = format!("/{number}");
            prop_assert_eq!((&*seen.http, &seen.path, &seen.body), (turn.method, &place, &turn.body));
            prop_assert_eq!(kept(&seen.fields), lower(&turn.fields));
            let body = if turn.has_body() { turn.answer.concat() } else { String::new() };
            prop_assert!(answer.complete);
            prop_assert_eq!((answer.status, answer.text()), (turn.status, &*body));
            prop_assert_eq!(kept(&answer.fields), turn.fields.clone());
        }
        world.hang_up(client);
        world.advance(Duration::from_secs(60));
        world.assert_empty();
    }
}
