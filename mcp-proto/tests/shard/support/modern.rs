//! Clients and targets of 2026-07-28.

use super::client::post;
use super::server::{Seen, event};
use super::{Answer, Setup, Step, World};
use routing::Protocol;
use serde_json::Value;

/// What a client that can be asked anything claims.
pub(crate) const ASKABLE: &str = r#"{"sampling":{},"elicitation":{"form":{},"url":{}},"roots":{}}"#;

/// A request that stands for itself.
pub(crate) struct Ask<'a> {
    pub(crate) id: u32,
    pub(crate) method: &'a str,
    /// The tool, prompt or resource.
    pub(crate) name: &'a str,
    pub(crate) capabilities: &'a str,
    /// More members of `params`, each behind a comma.
    pub(crate) params: String,
    /// More members of `_meta`, each behind a comma.
    pub(crate) meta: &'a str,
    pub(crate) accept: &'a str,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self {
            id: 1,
            method: "tools/call",
            name: "echo",
            capabilities: ASKABLE,
            params: String::new(),
            meta: "",
            accept: "application/json, text/event-stream",
        }
    }
}

impl Ask<'_> {
    /// A call of a tool with these arguments.
    pub(crate) fn call(id: u32) -> Self {
        Self {
            id,
            params: r#","arguments":{"message":"hi","deep":{"b":1,"a":2}}"#.to_owned(),
            ..Self::default()
        }
    }

    /// The same again, with a state and answers.
    pub(crate) fn again(id: u32, state: &str, responses: &str) -> Self {
        let call = Self::call(id);
        let params = format!(r#"{},"inputResponses":{responses},"requestState":"{state}""#, call.params);
        Self { params, ..call }
    }

    pub(crate) fn text(&self) -> Vec<u8> {
        let Self { id, method, name, capabilities, params, meta, accept } = self;
        let key = if *method == "resources/read" { "uri" } else { "name" };
        let prefix = "io.modelcontextprotocol/";
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"{key}":"{name}"{params},"_meta":{{"{prefix}protocolVersion":"2026-07-28","{prefix}clientCapabilities":{capabilities}{meta}}}}}}}"#
        );
        let fields =
            format!("mcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\nmcp-name: {name}\r\n");
        let text = String::from_utf8(post(&fields, &body)).unwrap();
        text.replace("application/json, text/event-stream", accept).into_bytes()
    }
}

/// A modern request with any id and any `_meta`; `params` without braces, `meta` with a comma behind.
pub(crate) fn ask_as(
    world: &mut World,
    id: &str,
    method: &str,
    name: Option<&str>,
    params: &str,
    meta: &str,
) -> Answer {
    let prefix = "io.modelcontextprotocol/";
    let comma = if params.is_empty() { "" } else { "," };
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}{comma}"_meta":{{"{prefix}protocolVersion":"2026-07-28",{meta}"{prefix}clientCapabilities":{{}}}}}}}}"#
    );
    let name = name.map(|name| format!("mcp-name: {name}\r\n")).unwrap_or_default();
    let fields = format!("mcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\n{name}");
    let client = world.connect(0);
    world.send(client, &post(&fields, &body));
    world.clients[client].answer()
}

impl Setup {
    /// Targets that speak 2026-07-28 alone.
    pub(crate) fn modern(targets: &[&str]) -> World {
        Self::modern_on(targets, 1)
    }

    pub(crate) fn modern_on(targets: &[&str], shards: u16) -> World {
        let setup = Self::new(targets).shards(shards).targets(|target| target.protocol = Protocol::Modern);
        let mut world = setup.build();
        for server in &mut world.servers {
            server.keeps_sessions = false;
            server.on("server/discover", |seen| {
                seen.result(
                    r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"prompts":{},"resources":{}}}"#,
                )
            });
        }
        world
    }
}

impl World {
    /// A modern client's request on a connection of its own; its answer as far as it comes at once.
    pub(crate) fn ask_modern(&mut self, shard: usize, ask: &Ask<'_>) -> Answer {
        let client = self.connect(shard);
        self.send(client, &ask.text());
        self.clients[client].answer()
    }

    /// The same for an answer that takes its time: the client's number.
    pub(crate) fn begin_modern(&mut self, shard: usize, ask: &Ask<'_>) -> usize {
        let client = self.connect(shard);
        self.send(client, &ask.text());
        client
    }

    /// What a target says on the stream that answers the request it was last asked.
    pub(crate) fn say_on_call(&mut self, name: &str, messages: &[&str]) {
        let key = self.server(name).last("tools/call").key;
        let text: String = messages.iter().map(|message| event(message)).collect();
        self.say(key, vec![Step::Send(text.into())]);
    }
}

impl Answer {
    /// The state of an answer that asks back.
    pub(crate) fn state(&self) -> String {
        self.json()["result"]["requestState"]
            .as_str()
            .unwrap_or_else(|| panic!("no state: {self:?}"))
            .to_owned()
    }

    /// What it asks, by key.
    pub(crate) fn asked(&self) -> Vec<(String, Value)> {
        let json = self.json();
        assert_eq!(json["result"]["resultType"], "input_required", "{json}");
        let asked = json["result"]["inputRequests"].as_object().cloned().unwrap_or_default();
        asked.into_iter().collect()
    }
}

impl Seen {
    /// A result that asks back.
    pub(crate) fn input_required(&self, members: &str) -> String {
        self.response(&format!(r#"{{"resultType":"input_required",{members}}}"#))
    }
}
