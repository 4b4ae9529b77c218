//! Clients that listen, and targets that are listened to, by `subscriptions/listen`.

use super::client::post;
use super::server::{Reply, Seen, event, open_stream, reply};
use super::{Key, Server, Setup, Step, World};
use routing::Protocol;

/// What stands for a handshake in a request of a modern client.
pub(crate) const CLAIM: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"m","version":"1"},"io.modelcontextprotocol/clientCapabilities":{"sampling":{},"x":{},"roots":{}}"#;

pub(crate) const TOOLS: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
pub(crate) const UPDATED: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"demo://one"}}"#;

/// `subscriptions/listen` as a client writes it.
pub(crate) fn listen(id: &str, filter: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"subscriptions/listen","params":{{"_meta":{{{CLAIM}}},"notifications":{filter}}}}}"#
    )
}

/// The fields that go with it.
pub(crate) const LISTEN_FIELDS: &str =
    "mcp-protocol-version: 2026-07-28\r\nmcp-method: subscriptions/listen\r\n";

/// The first message on the stream.
pub(crate) fn acknowledged(id: &str, filter: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"notifications":{filter}}}}}"#
    )
}

/// A notice that belongs to a subscription; `more` follows in its params.
pub(crate) fn notice(id: &str, what: &str, more: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/{what}","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}{more}}}}}"#
    )
}

pub(crate) fn changed(id: &str, list: &str) -> String {
    notice(id, &format!("{list}/list_changed"), "")
}

pub(crate) fn updated(id: &str, uri: &str) -> String {
    notice(id, "resources/updated", &format!(r#","uri":"{uri}""#))
}

/// A notice with a `_meta` of ours put in front of its params.
pub(crate) fn notice_of(message: &str, id: &str) -> String {
    let tag = format!(r#""params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"#);
    message.replace(r#""params":{"#, &tag)
}

/// What a target that agrees to everything answers.
pub(crate) fn agree(seen: &Seen) -> Reply {
    agree_to(seen, &seen.json()["params"]["notifications"].to_string())
}

pub(crate) fn agree_to(seen: &Seen, filter: &str) -> Reply {
    open_stream(&[event(&acknowledged(seen.id.as_deref().unwrap(), filter))])
}

/// A gateway before targets whose era it has to find out.
pub(crate) fn before(targets: &[&str]) -> Setup {
    Setup::new(targets).targets(|target| target.protocol = Protocol::Auto)
}

impl Server {
    /// Makes it one of 2026-07-28 that agrees to everything.
    pub(crate) fn modern(&mut self) {
        let capabilities = self.capabilities.clone();
        self.keeps_sessions = false;
        self.on("server/discover", move |seen| {
            seen.result(&format!(
                r#"{{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{capabilities}}}"#
            ))
        });
        self.on("initialize", |seen| super::server::json_reply(400, &seen.error(-32022, "no")));
        self.on("GET", |_| reply(405, "", ""));
        self.on("subscriptions/listen", agree);
    }

    /// The requests to listen that it has seen.
    pub(crate) fn listens(&self) -> Vec<&Seen> {
        self.seen.iter().filter(|seen| seen.method == "subscriptions/listen").collect()
    }

    /// The filters of these.
    pub(crate) fn filters(&self) -> Vec<String> {
        self.listens().iter().map(|seen| seen.json()["params"]["notifications"].to_string()).collect()
    }
}

impl World {
    /// Makes these targets modern.
    pub(crate) fn modern(mut self, names: &[&str]) -> Self {
        for name in names {
            self.server(name).modern();
        }
        self
    }

    /// A modern client of its own listens.
    pub(crate) fn subscribe(&mut self, shard: usize, id: &str, filter: &str) -> usize {
        let client = self.connect(shard);
        self.send(client, &post(LISTEN_FIELDS, &listen(id, filter)));
        client
    }

    /// The messages on a client's stream, as they were written.
    pub(crate) fn heard(&self, client: usize) -> Vec<String> {
        self.clients[client].answer().events().into_iter().map(|event| event.data).collect()
    }

    /// The connection of the listen that a target got last, and its id.
    pub(crate) fn last_listen(&mut self, name: &str) -> (Key, String) {
        let seen = self.server(name).last("subscriptions/listen");
        (seen.key, seen.id.clone().unwrap())
    }

    /// A target says something on the listen that it got last; `ID` stands for the listen's id.
    pub(crate) fn say_on_listen(&mut self, name: &str, message: &str) {
        let (key, id) = self.last_listen(name);
        self.say(key, vec![Step::Send(event(&message.replace("ID", &id)).into())]);
    }

    /// Nothing is left of a subscription: no session, stream or request.
    pub(crate) fn assert_nothing_left(&mut self, targets: &[&str]) {
        for shard in 0..self.shards.len() {
            let counters = self.counters(shard);
            let left = [counters.sessions.value(), counters.streams.value(), counters.calls.value()];
            assert_eq!(left, [0, 0, 0], "shard {shard}: sessions, streams, calls");
        }
        for target in targets {
            let (busy, _): (Vec<_>, Vec<_>) =
                self.connections(target).into_iter().partition(|key| self.server(target).is_busy(*key));
            assert_eq!(busy, [], "{target}");
        }
    }
}
