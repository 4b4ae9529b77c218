//! Lists that come again as they came before are not parsed again: clients must not be able to tell.

use crate::support::client::{EVERYTHING, call, post, session_field};
use crate::support::eras::Speaks;
use crate::support::rand::Dice;
use crate::support::server::{Reply, Seen, chunked_reply, event, json_reply, stream};
use crate::support::{Setup, World};
use proptest::prelude::*;
use routing::{Protocol, Target};
use serde_json::Value;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// `beta` is modern; within the legacy era a single target's lists are not looked into.
const TARGETS: [&[&str]; 3] = [&["beta"], &["alpha", "beta"], &["alpha", "beta", "gamma"]];
const KINDS: [(&str, &str); 2] = [("tools/list", "tools"), ("resources/list", "resources")];

/// How a target answers a list now.
#[derive(Clone, Debug)]
struct Said {
    /// Items; after a cursor there is one more page, which is empty.
    items: String,
    extra: String,
    cursor: bool,
    /// The envelope, with `ID` and `RESULT` in it.
    envelope: &'static str,
    /// Of what the answer consists: one piece, chunks, an event.
    form: usize,
    /// The code of an error in its place.
    refused: Option<i64>,
}

impl Said {
    fn random(dice: &mut Dice) -> Self {
        const ITEMS: [&str; 12] = [
            r#"{"name":"echo","uri":"x:1"}"#,
            r#"{"name":"echo","title":"Echo","inputSchema":{"type":"object"}}"#,
            r#" { "name" : "a.b" , "uri" : "ui:\/\/w" } "#,
            r#"{"name":"a.b","title":"T"}"#,
            r#"{"execution":{"taskSupport":"optional"},"name":"task","uri":"x:2"}"#,
            r#"{"name":"structured","outputSchema":{"type":"array"},"uri":"x:3"}"#,
            r#"{"name":"mirrored","inputSchema":{"type":"object","properties":{"message":{"type":"string","x-mcp-header":"Message"}}}}"#,
            r#"{"name":"mirrored","inputSchema":{"type":"object","properties":{"m":{"type":"string","x-mcp-header":""}}}}"#,
            r#"{"name":"app","_meta":{"ui":{"resourceUri":"ui://w"}},"uri":"x:4"}"#,
            r#"{"name":5,"uri":6}"#,
            r#"{"name":"twice","name":"twice"}"#,
            r#"{"name":"q\"\u00fcote","description":"{[\\"}"#,
        ];
        const EXTRA: [&str; 7] = [
            "",
            r#","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"},"more":1}"#,
            r#","ttlMs":0,"cacheScope":"public""#,
            r#","ttlMs":"x","unknown" : [1 , 2]"#,
            r#","resultType":"complete","ttlMs":0,"cacheScope":"private""#,
            r#","other":"ü""#,
            r#","ttlMs":5000,"cacheScope":"public""#,
        ];
        const ENVELOPES: [&str; 6] = [
            r#"{"jsonrpc":"2.0","id":ID,"result":RESULT}"#,
            r#"{"jsonrpc":"2.0","id":ID,"result":RESULT}"#,
            r#"{"result":RESULT,"id":ID,"jsonrpc":"2.0"}"#,
            r#" { "jsonrpc" : "2.0" , "id" : ID , "result" : RESULT } "#,
            r#"{"jsonrpc":"2.0","i\u0064":ID,"result":RESULT,"more":ID}"#,
            r#"{"id":ID,"result":RESULT}"#,
        ];
        let items: Vec<&str> = (0..dice.below(5)).map(|_| ITEMS[dice.below(ITEMS.len())]).collect();
        Self {
            items: items.join(","),
            extra: EXTRA[dice.below(EXTRA.len())].to_owned(),
            cursor: dice.once_in(4),
            envelope: ENVELOPES[dice.below(ENVELOPES.len())],
            form: dice.below(4),
            refused: [None, None, None, None, Some(-32601), Some(-32603)][dice.below(6)],
        }
    }

    fn answer(&self, seen: &Seen, key: &str, blanks: &str) -> Reply {
        if let Some(code) = self.refused {
            return json_reply(200, &seen.error(code, "no such list"));
        }
        let rest = seen.json()["params"]["cursor"].is_string();
        let items = if rest { "" } else { &self.items };
        let cursor = if self.cursor && !rest { r#","nextCursor":"more""# } else { "" };
        let result = format!(r#"{{"{key}":[{items}]{cursor}{}}}"#, self.extra);
        let id = seen.id.as_deref().unwrap_or("null");
        let body = self.envelope.replace("ID", id).replace("RESULT", &result) + blanks;
        match self.form {
            0 => chunked_reply(&[&body[..5], &body[5..]]),
            1 if !body.starts_with(' ') => stream(&[event(&body)]),
            _ => json_reply(200, &body),
        }
    }
}

/// What is said of each list of each target, by turns the same to two gateways.
type Script = Rc<RefCell<Vec<[Said; 2]>>>;

struct Gateway {
    world: World,
    client: usize,
    session: String,
}

impl Gateway {
    /// Targets of both eras, which answer the same in the same way or never quite the same.
    fn new(targets: &[&'static str], script: &Script, alike: bool) -> Self {
        let settings = |target: &mut Target| match target.id.name.as_str() {
            "beta" => target.protocol = Protocol::Modern,
            // It may know its clients, so its lists are for none but those who asked.
            "gamma" => target.forward.fields = vec!["authorization".to_owned()],
            _ => {}
        };
        let mut world = Setup::new(targets).targets(settings).build();
        for (number, target) in targets.iter().enumerate() {
            for (kind, (method, key)) in KINDS.into_iter().enumerate() {
                let script = Rc::clone(script);
                let mut blanks = String::new();
                world.server(target).on(method, move |seen| {
                    let said = script.borrow()[number][kind].clone();
                    if !alike {
                        blanks.push(' ');
                    }
                    said.answer(seen, key, &blanks)
                });
            }
            world.speaks(target, if *target == "beta" { Speaks::Modern } else { Speaks::Legacy });
        }
        let (client, session) = world.begin_as("2025-11-25", EVERYTHING);
        Self { world, client, session }
    }

    /// What a client gets for a list, by its era, and the cursor that is in it.
    fn list(
        &mut self,
        modern: bool,
        method: &str,
        id: &str,
        cursor: Option<&str>,
    ) -> (String, Option<String>) {
        let cursor = cursor.map(|cursor| format!(r#""cursor":"{cursor}""#)).unwrap_or_default();
        let answer = if modern {
            let prefix = "io.modelcontextprotocol/";
            let comma = if cursor.is_empty() { "" } else { "," };
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{cursor}{comma}"_meta":{{"{prefix}protocolVersion":"2026-07-28","{prefix}clientCapabilities":{{}}}}}}}}"#
            );
            let fields = format!("mcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\n");
            let client = self.world.connect(0);
            self.world.send(client, &post(&fields, &body));
            self.world.clients[client].answer()
        } else {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{cursor}}}}}"#);
            self.world.send(self.client, &post(&session_field(&self.session), &body));
            self.world.clients[self.client].answer()
        };
        assert!(answer.complete);
        let cursor = answer.json()["result"]["nextCursor"].as_str().map(str::to_owned);
        (answer.text().to_owned(), cursor)
    }

    fn call(&mut self, name: &str) -> String {
        self.world.ask(self.client, &self.session, &call(name)).text().to_owned()
    }
}

fn run(seed: u64, steps: usize) {
    const IDS: [&str; 6] = ["1", "123456", r#""an id""#, r#""\u00e9""#, "-4", r#""ü""#];
    let dice = &mut Dice::new(seed);
    let targets = TARGETS[dice.below(3)];
    let said = targets.iter().map(|_| [Said::random(dice), Said::random(dice)]).collect();
    let script: Script = Rc::new(RefCell::new(said));
    let mut gateways = [true, false].map(|alike| Gateway::new(targets, &script, alike));
    for step in 0..steps {
        if dice.once_in(4) {
            let (target, kind) = (dice.below(targets.len()), dice.below(2));
            script.borrow_mut()[target][kind] = Said::random(dice);
        }
        if dice.once_in(4) {
            gateways.iter_mut().for_each(|gateway| gateway.world.advance(Duration::from_secs(2)));
        }
        let (modern, method, id) = (dice.once_in(2), KINDS[dice.below(2)].0, IDS[dice.below(IDS.len())]);
        let mut cursor = None;
        let mut shown = Vec::new();
        loop {
            let [answer, other] =
                gateways.each_mut().map(|gateway| gateway.list(modern, method, id, cursor.as_deref()));
            assert_eq!(answer, other, "step {step}: {:#?}", script.borrow());
            let text: Value = serde_json::from_str(&answer.0).unwrap_or_default();
            let items = text["result"]["tools"].as_array().into_iter().flatten();
            shown.extend(items.filter_map(|item| Some(item["name"].as_str()?.to_owned())));
            cursor = answer.1;
            if cursor.is_none() {
                break;
            }
        }
        let name = shown.get(dice.below(shown.len().max(1)));
        if let Some(name) = name.filter(|_| method == "tools/list") {
            let [answer, other] = gateways.each_mut().map(|gateway| gateway.call(name));
            assert_eq!(answer, other);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn what_is_remembered_of_a_list_changes_no_answer(seed: u64) {
        run(seed, 40);
    }
}
