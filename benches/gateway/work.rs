//! What is asked, and what must come back.

use crate::http::{Head, broken};
use crate::payload::NONCE;
use memchr::memmem;
use std::io::{self, Write};
use std::net::SocketAddr;

/// The protocol revision of the load generator.
const REVISION: &str = "2025-11-25";
/// The one whose requests stand for themselves.
const MODERN: &str = "2026-07-28";
/// Targets times tools each.
const TOOLS: usize = 30;

/// One kind of request, repeated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Work {
    /// `tools/call`, answered by JSON whose text has this many bytes.
    Call(usize),
    /// The same of 2026-07-28: a request that stands for itself.
    Modern(usize),
    /// `tools/call`, answered by an event stream: three progress notifications and the result.
    Progress,
    /// `tools/list`.
    List,
    /// The same of 2026-07-28.
    ModernList,
    /// `initialize`, `notifications/initialized`, DELETE.
    Life,
}

impl Work {
    /// Whether each connection has a session for it.
    pub(crate) fn in_session(self) -> bool {
        !matches!(self, Self::Modern(_) | Self::ModernList | Self::Life)
    }
}

/// What a client of 2026-07-28 says of itself in each request.
fn claim() -> String {
    format!(
        r#"{{"io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientCapabilities":{{}}}}"#
    )
}

/// One connection's place in its work.
#[derive(Debug)]
pub(crate) struct Lane {
    authority: SocketAddr,
    path: String,
    /// The session its requests belong to.
    pub(crate) session: String,
    id: u64,
    /// Exchange within a session's life.
    step: usize,
    body: Vec<u8>,
    /// Header lines that repeat the body.
    fields: Vec<u8>,
    nonce: String,
}

impl Lane {
    /// `number` keeps the ids of lanes apart.
    pub(crate) fn new(authority: SocketAddr, path: &str, session: String, number: usize) -> Self {
        Self {
            authority,
            path: path.to_owned(),
            session,
            id: number as u64 * 1_000_000_000,
            step: 0,
            body: Vec::new(),
            fields: Vec::new(),
            nonce: String::new(),
        }
    }

    /// Appends the next request to `out`.
    pub(crate) fn ask(&mut self, work: Work, out: &mut Vec<u8>) -> io::Result<()> {
        self.id += 1;
        self.body.clear();
        self.fields.clear();
        match work {
            Work::Call(size) => self.call("call", size, "")?,
            Work::Modern(size) => self.call("call", size, &format!(r#","_meta":{}"#, claim()))?,
            Work::Progress => {
                let meta = format!(r#","_meta":{{"progressToken":{}}}"#, self.id);
                self.call("progress", PROGRESS_TEXT, &meta)?;
            }
            Work::List => self.message("tools/list", "")?,
            Work::ModernList => {
                write!(self.fields, "mcp-protocol-version: {MODERN}\r\nmcp-method: tools/list\r\n")?;
                self.message("tools/list", &format!(r#"{{"_meta":{}}}"#, claim()))?;
            }
            Work::Life => match self.step {
                0 => {
                    self.session.clear();
                    let params = format!(
                        r#"{{"protocolVersion":"{REVISION}","capabilities":{{}},"clientInfo":{{"name":"bench","version":"1"}}}}"#
                    );
                    self.message("initialize", &params)?;
                }
                1 => {
                    self.body.extend_from_slice(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
                }
                _ => return self.head("DELETE", out),
            },
        }
        self.head("POST", out)?;
        out.extend_from_slice(&self.body);
        Ok(())
    }

    /// A call of the next target's tool; `meta` ends its params.
    fn call(&mut self, tool: &str, size: usize, meta: &str) -> io::Result<()> {
        let Self { id, fields, nonce, .. } = self;
        nonce.clear();
        nonce.push_str(&format!("{:0NONCE$x}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let target = ["a", "b", "c"].get(*id as usize % 3).unwrap_or(&"a");
        if meta.contains(MODERN) {
            write!(
                fields,
                "mcp-protocol-version: {MODERN}\r\nmcp-method: tools/call\r\nmcp-name: {target}_{tool}\r\n"
            )?;
        }
        let params =
            format!(r#"{{"name":"{target}_{tool}","arguments":{{"size":{size},"nonce":"{nonce}"}}{meta}}}"#);
        self.message("tools/call", &params)
    }

    /// A request with its params, if any.
    fn message(&mut self, method: &str, params: &str) -> io::Result<()> {
        let Self { id, body, .. } = self;
        write!(body, r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}""#)?;
        if !params.is_empty() {
            write!(body, r#","params":{params}"#)?;
        }
        body.push(b'}');
        Ok(())
    }

    /// Makes the next exchange the start of a session's life.
    pub(crate) fn begin_life(&mut self) {
        self.step = 0;
    }

    /// Makes the next exchange the end of `session`'s life.
    pub(crate) fn end_life(&mut self, session: &str) {
        session.clone_into(&mut self.session);
        self.step = 2;
    }

    /// Appends a GET for the session's stream to `out`.
    pub(crate) fn listen(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.head("GET", out)
    }

    fn head(&self, method: &str, out: &mut Vec<u8>) -> io::Result<()> {
        let Self { authority, path, session, body, fields, .. } = self;
        write!(out, "{method} {path} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: gateway-bench\r\n")?;
        match method {
            "GET" => write!(out, "accept: text/event-stream\r\n")?,
            "POST" => {
                let length = body.len();
                write!(
                    out,
                    "accept: application/json, text/event-stream\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n"
                )?;
            }
            _ => (),
        }
        if !session.is_empty() {
            write!(out, "mcp-session-id: {session}\r\nmcp-protocol-version: {REVISION}\r\n")?;
        }
        out.extend_from_slice(fields);
        write!(out, "\r\n")
    }

    /// Judges the answer to the last request. True when it ends a unit of work.
    pub(crate) fn check(&mut self, work: Work, head: &Head, body: &[u8], filler: &[u8]) -> io::Result<bool> {
        match work {
            Work::Call(size) | Work::Modern(size) => {
                expect(head.status == 200, "status 200", head, body)?;
                expect(self.has_result(size, body, filler), "the text asked for, under its id", head, body)?;
            }
            Work::Progress => {
                expect(head.status == 200 && head.event_stream, "an event stream", head, body)?;
                expect(self.has_result(PROGRESS_TEXT, body, filler), "the result", head, body)?;
                expect(self.has_progress(body), "three progress notifications, in order", head, body)?;
            }
            Work::List | Work::ModernList => {
                expect(head.status == 200 && self.has_id(body), "status 200, under its id", head, body)?;
                let tools = memmem::find_iter(body, br#""inputSchema""#).count();
                expect(tools == TOOLS, "thirty tools", head, body)?;
            }
            Work::Life => {
                match self.step {
                    0 => {
                        let good = head.status == 200 && !head.session.is_empty() && self.has_id(body);
                        expect(good, "a session", head, body)?;
                        self.session.clone_from(&head.session);
                    }
                    1 => expect(head.status == 202, "status 202", head, body)?,
                    _ => expect(matches!(head.status, 200 | 202 | 204), "the session's end", head, body)?,
                }
                self.step = (self.step + 1) % 3;
                return Ok(self.step == 0);
            }
        }
        Ok(true)
    }

    fn has_id(&self, body: &[u8]) -> bool {
        let id = format!(r#""id":{}"#, self.id);
        memmem::find(body, id.as_bytes())
            .is_some_and(|at| matches!(body.get(at + id.len()), Some(b',' | b'}')))
    }

    fn has_result(&self, size: usize, body: &[u8], filler: &[u8]) -> bool {
        let Some(at) = memmem::find(body, br#""text":""#) else { return false };
        let Some(text) = body.get(at + 8..at + 8 + size + 1) else { return false };
        let (nonce, rest) = text.split_at(NONCE);
        nonce == self.nonce.as_bytes()
            && rest.strip_suffix(b"\"").is_some_and(|rest| Some(rest) == filler.get(..size - NONCE))
            && self.has_id(body)
    }

    fn has_progress(&self, body: &[u8]) -> bool {
        let token = format!(r#""progressToken":{},"#, self.id);
        let mut rest = body;
        for step in 1..=3 {
            let Some(at) = memmem::find(rest, token.as_bytes()) else { return false };
            rest = rest.get(at + token.len()..).unwrap_or_default();
            if !rest.starts_with(format!(r#""progress":{step},"#).as_bytes()) {
                return false;
            }
        }
        memmem::find(rest, br#""result":"#).is_some() && memmem::find_iter(body, b"data: ").count() == 4
    }
}

/// Bytes of text in the result that follows progress.
const PROGRESS_TEXT: usize = 120;

fn expect(good: bool, what: &str, head: &Head, body: &[u8]) -> io::Result<()> {
    if good {
        return Ok(());
    }
    let start = String::from_utf8_lossy(body.get(..body.len().min(300)).unwrap_or_default());
    Err(broken(&format!("expected {what}, got status {} and {} bytes: {start}", head.status, body.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload;

    /// A lane that asked once, and the right answer.
    fn asked(work: Work) -> (Lane, Head, String) {
        let mut lane = Lane::new(SocketAddr::from(([127, 0, 0, 1], 1)), "/mcp", "s".to_owned(), 1);
        lane.ask(work, &mut Vec::new()).unwrap();
        let size = if work == Work::Progress { PROGRESS_TEXT } else { 104 };
        let text = String::from_utf8(payload::filler()[..size - NONCE].to_vec()).unwrap();
        let Lane { id, nonce, .. } = &lane;
        let mut body = String::new();
        if work == Work::Progress {
            for step in 1..=3 {
                body += &format!(
                    "data: {{\"params\":{{\"progressToken\":{id},\"progress\":{step},\"total\":3}}}}\n\n"
                );
            }
            body += "data: ";
        }
        body += &format!(r#"{{"id":{id},"result":{{"content":[{{"text":"{nonce}{text}"}}]}}}}"#);
        let head = Head { status: 200, event_stream: work == Work::Progress, ..Head::default() };
        (lane, head, body)
    }

    #[test]
    fn takes_right_answers_and_no_others() {
        let filler = payload::filler();
        for work in [Work::Call(104), Work::Modern(104), Work::Progress] {
            let (mut lane, mut head, body) = asked(work);
            assert!(lane.check(work, &head, body.as_bytes(), &filler).unwrap());
            let wrong = [
                body.replace(r#""id":1000000001"#, r#""id":10000000012"#),
                body.replace(&lane.nonce, "0123456789abcdef"),
                body.replace("abcdefg", "abcdef"),
                body.replace("abcdefg", "abcdefgg"),
                body.replace("\"}]", "x\"}]"),
            ];
            for (number, wrong) in wrong.iter().enumerate() {
                assert!(lane.check(work, &head, wrong.as_bytes(), &filler).is_err(), "{work:?} {number}");
            }
            head.status = 500;
            assert!(lane.check(work, &head, body.as_bytes(), &filler).is_err());
        }
    }

    #[test]
    fn misses_progress() {
        let filler = payload::filler();
        let (mut lane, head, body) = asked(Work::Progress);
        let wrong = [
            body.replace(r#""progress":2"#, r#""progress":1"#),
            body.replace(r#""progressToken":1000000001,"progress":3"#, r#""progressToken":1,"progress":3"#),
            body.split_once("\n\n").unwrap().1.to_owned(),
        ];
        for wrong in wrong {
            assert!(lane.check(Work::Progress, &head, wrong.as_bytes(), &filler).is_err(), "{wrong}");
        }
    }
}
