//! A scripted conversation: the gateway, who speaks with it, and what everybody heard.

use crate::gateway::{Gateway, Runtime};
use crate::wire::{Target, Wire, field};
use std::process::Command;

/// Everybody's bytes in the order of the script.
pub(crate) struct Talk {
    pub(crate) gateway: Gateway,
    pub(crate) targets: Vec<Target>,
    parties: Vec<(String, Wire)>,
    transcript: Vec<String>,
}

/// Somebody who takes part, by number.
pub(crate) type Party = usize;

impl Talk {
    /// With the gateway before so many legacy targets; `more` is configuration besides.
    pub(crate) fn start(runtime: Runtime, targets: usize, more: &str) -> Option<Self> {
        Self::start_before(runtime, &vec!["legacy"; targets], more)
    }

    /// The same before targets of these protocols.
    pub(crate) fn start_before(runtime: Runtime, protocols: &[&'static str], more: &str) -> Option<Self> {
        Self::start_by(Gateway::command(), runtime, protocols, more)
    }

    /// Before one legacy target, with at most `descriptors` open files.
    pub(crate) fn start_with_few(descriptors: u32, runtime: Runtime) -> Option<Self> {
        Self::start_by(Gateway::command_with_few(descriptors), runtime, &["legacy"], "")
    }

    /// By a command that becomes the gateway.
    pub(crate) fn start_by(
        command: Command,
        runtime: Runtime,
        protocols: &[&'static str],
        more: &str,
    ) -> Option<Self> {
        let targets: Vec<_> = protocols.iter().map(|protocol| Target::new(protocol)).collect();
        let gateway = Gateway::start(command, runtime, &targets, more)?;
        Some(Self { gateway, targets, parties: Vec::new(), transcript: Vec::new() })
    }

    /// Stops the gateway; what everybody hears of that belongs to the transcript.
    pub(crate) fn ended(mut self) -> Vec<String> {
        self.gateway.terminate();
        for (name, mut wire) in std::mem::take(&mut self.parties) {
            let (rest, end) = wire.hear_out();
            self.note(&name, &format!("{rest}\n({end:?})"));
        }
        self.gateway.wait();
        std::mem::take(&mut self.transcript)
    }

    fn note(&mut self, name: &str, heard: &str) {
        let mut heard = masked(heard);
        for (name, target) in ('a'..).zip(&self.targets) {
            heard = heard.replace(&target.address.to_string(), &format!("<{name}>"));
        }
        self.transcript.push(format!("--- {name} hears\n{heard}"));
    }

    pub(crate) fn client(&mut self) -> Party {
        self.parties.push((format!("client {}", self.parties.len()), Wire::connect(self.gateway.address)));
        self.parties.len() - 1
    }

    /// The gateway's next connection to a target.
    pub(crate) fn target(&mut self, number: usize) -> Party {
        let name = format!("target {number} as {}", self.parties.len());
        self.parties.push((name, self.targets[number].accept()));
        self.parties.len() - 1
    }

    pub(crate) fn wire(&mut self, party: Party) -> &mut Wire {
        &mut self.parties[party].1
    }

    pub(crate) fn say(&mut self, party: Party, bytes: impl AsRef<[u8]>) {
        self.wire(party).say(bytes);
    }

    /// A party that the rest of the test speaks for itself. The numbers of later ones change.
    pub(crate) fn take(&mut self, party: Party) -> Wire {
        self.parties.remove(party).1
    }

    /// Hangs up.
    pub(crate) fn leave(&mut self, party: Party) {
        self.wire(party).stream.shutdown(std::net::Shutdown::Both).unwrap();
    }

    pub(crate) fn hear(&mut self, party: Party, mark: &str) -> String {
        let (name, wire) = &mut self.parties[party];
        let (name, heard) = (name.clone(), wire.hear(mark));
        self.note(&name, &heard);
        heard
    }

    pub(crate) fn hear_message(&mut self, party: Party) -> String {
        let (name, wire) = &mut self.parties[party];
        let (name, heard) = (name.clone(), wire.hear_message());
        self.note(&name, &heard);
        heard
    }

    /// All that comes until the end, which is at hand.
    pub(crate) fn hear_out(&mut self, party: Party) -> String {
        let (name, wire) = &mut self.parties[party];
        let (name, (heard, end)) = (name.clone(), wire.hear_out());
        self.note(&name, &format!("{heard}\n({end:?})"));
        heard
    }

    /// A client with a session at all targets, and their connections.
    pub(crate) fn session(&mut self) -> (Party, Vec<Party>, String) {
        let client = self.client();
        self.say(client, post("", INITIALIZE));
        let targets: Vec<_> = (0..self.targets.len()).map(|number| self.target(number)).collect();
        for target in &targets {
            assert!(self.hear_message(*target).ends_with(INITIALIZE));
            self.say(*target, json("Mcp-Session-Id: its-own\r\n", INITIALIZED_RESULT));
        }
        let answer = self.hear_message(client);
        let session = format!("Mcp-Session-Id: {}\r\n", field(&answer, "mcp-session-id").unwrap());
        self.say(client, post(&session, INITIALIZED));
        for target in &targets {
            assert!(self.hear_message(*target).ends_with(INITIALIZED));
            self.say(*target, ACCEPTED);
        }
        assert!(self.hear_message(client).starts_with("HTTP/1.1 202 "));
        (client, targets, session)
    }

    /// Another session over the same connection to the only target.
    pub(crate) fn again(&mut self, target: Party) -> (Party, Party, String) {
        let client = self.client();
        self.say(client, post("", INITIALIZE));
        assert!(self.hear_message(target).ends_with(INITIALIZE));
        self.say(target, json("Mcp-Session-Id: another\r\n", INITIALIZED_RESULT));
        let answer = self.hear_message(client);
        (client, target, format!("Mcp-Session-Id: {}\r\n", field(&answer, "mcp-session-id").unwrap()))
    }

    /// A call on its way, as its target got it.
    pub(crate) fn called(&mut self) -> (Party, Party) {
        let (client, targets, session) = self.session();
        self.say(client, post(&session, CALL));
        assert!(self.hear_message(targets[0]).contains(r#""name":"add""#));
        (client, targets[0])
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.transcript.join("\n"));
        }
    }
}

pub(crate) const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"clientInfo":{"name":"script","version":"1"}}}"#;
pub(crate) const INITIALIZED_RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"logging":{}},"serverInfo":{"name":"script","version":"1"},"instructions":"Add."}}"#;
pub(crate) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
pub(crate) const TOOLS: &str = r#"{"tools":[{"name":"add","inputSchema":{"type":"object"}},{"name":"r\u00e4t","x":1e400,"inputSchema":{"type":"object"}}]}"#;
pub(crate) const CALL: &str = r#"{ "jsonrpc":"2.0", "id":2, "method":"tools/call", "params":{"name":"add","arguments":{"a":123456789012345678901234567890}} }"#;
pub(crate) const RESULT: &str = r#"{ "id":2, "jsonrpc":"2.0", "result":{"content":[{"type":"text","text":"3\ud83d\ude00"}],"_x":[null]} }"#;
pub(crate) const LOGGED: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"busy"}}"#;

pub(crate) fn post(fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: application/json, text/event-stream\r\n\
         Content-Type: application/json\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    )
}

pub(crate) fn json(fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    )
}

pub(crate) const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

pub(crate) const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

pub(crate) fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// Sealed ids hold random nonces; their length is that of what they hold.
fn masked(heard: &str) -> String {
    let sealed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut masked = String::new();
    let mut rest = heard;
    while let Some(start) = rest.find(sealed) {
        let (before, from) = rest.split_at(start);
        let (word, after) = from.split_at(from.find(|c| !sealed(c)).unwrap_or(from.len()));
        masked += before;
        masked += &if word.len() < 40 { word.to_owned() } else { format!("<sealed {}>", word.len()) };
        rest = after;
    }
    masked + rest
}
