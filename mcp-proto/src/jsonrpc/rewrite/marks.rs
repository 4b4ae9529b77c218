//! The few members that the eras know differently: added, dropped, or looked at.
//!
//! They are known by the role of the object they stand in. A member of an object from which some are dropped is held
//! back from its comma until the end of its key.

use super::frames::Frame;
use super::output::{Output, Pen};
use super::paths::{Edit, NOTHING, Step};
use super::plan::{Finish, ResultType};
use super::{Rewriter, State};
use crate::jsonrpc::splice;

/// Who answered (2026-07-28, basic, `_meta`).
const SERVER_INFO: &[u8] = b"io.modelcontextprotocol/serverInfo";

/// An object that has members of its own to be marked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    None,
    Message,
    Result,
    /// `_meta` of the result.
    Meta,
    /// `structuredContent` of the result.
    Structured,
    Error,
}

/// Where the output of the current token goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sink {
    Out,
    /// Back, until the key is known.
    Held,
    /// Nowhere, until the value ends.
    Nowhere,
}

/// Which members the result has.
#[derive(Debug, Default)]
pub(super) struct Seen {
    result_type: bool,
    ttl: bool,
    cache_scope: bool,
    meta: bool,
    server_info: bool,
    content: bool,
    /// The content of a tool, a prompt or a resource.
    pub(super) answers: bool,
}

impl Seen {
    /// Whether a member was seen that only one era knows.
    fn slot(&mut self, parent: Role, key: &[u8]) -> Option<&mut bool> {
        match (parent, key) {
            (Role::Result, b"resultType") => Some(&mut self.result_type),
            (Role::Result, b"ttlMs") => Some(&mut self.ttl),
            (Role::Result, b"cacheScope") => Some(&mut self.cache_scope),
            (Role::Meta, SERVER_INFO) => Some(&mut self.server_info),
            _ => None,
        }
    }
}

impl Rewriter {
    /// Whether what a token becomes may belong elsewhere than in the output.
    pub(super) fn may_divert(&self) -> bool {
        self.plan.id.is_some() || matches!(self.plan.finish, Finish::Legacy)
    }

    /// Before a token of which that is so: where it was meant to go, and where what it becomes begins in the output.
    pub(super) fn lay_aside(&self, pen: &mut Pen<'_, impl Output>) -> Option<(Sink, usize)> {
        let structured = matches!(self.state, State::Value { role: Role::Structured, .. });
        if self.sink == Sink::Out && !self.wrapping && !structured {
            return None;
        }
        let mark = pen.text().len();
        pen.by_value = true;
        Some((self.sink, mark))
    }

    /// Behind it.
    pub(super) fn put_where_it_belongs(&mut self, sink: Sink, mark: usize, pen: &mut Pen<'_, impl Output>) {
        let out = pen.text();
        if sink != Sink::Out {
            self.divert(sink, mark, out);
        }
        if self.wrapping {
            self.wrap(mark, out);
        }
        pen.by_value = false;
    }

    /// Puts what the last token wrote behind `mark` where it belongs: `sink` is where it was meant to go.
    #[cold]
    pub(super) fn divert(&mut self, sink: Sink, mark: usize, out: &mut Vec<u8>) {
        match sink {
            Sink::Out => {}
            Sink::Held => {
                self.held.extend_from_slice(out.get(mark..).unwrap_or_default());
                out.truncate(mark);
            }
            Sink::Nowhere => out.truncate(mark),
        }
        match self.sink {
            Sink::Out => out.append(&mut self.held),
            Sink::Held => {}
            Sink::Nowhere => {
                self.held.clear();
                if matches!(self.state, State::Next) {
                    self.sink = Sink::Out;
                }
            }
        }
    }

    /// A member of an object with the role `parent`: what its value is, and whether it stays.
    #[cold]
    pub(super) fn mark(&mut self, parent: Role, key: &[u8], step: Step) -> State {
        let of_one_era = self.seen.slot(parent, key).map(|slot| *slot = true).is_some();
        match of_one_era && self.drops_from(parent) {
            true => self.sink = Sink::Nowhere,
            false => self.keep(),
        }
        // What has a role is looked into even if no URI is in it.
        let inside = if matches!(step, Step::Off) { Step::Into(&NOTHING) } else { step };
        let (step, role) = match (parent, key) {
            (Role::Message, b"id") if self.plan.id.is_some() => (Step::Id, Role::None),
            (Role::Message, b"result") if self.plan.watches() => (inside, Role::Result),
            (Role::Message, b"error") if !self.plan.codes.is_empty() => (inside, Role::Error),
            (Role::Error, b"code") => (Step::Edit(Edit::Code), Role::None),
            (Role::Result, b"resultType") => (Step::Edit(Edit::ResultType), Role::None),
            (Role::Result, b"_meta") => {
                self.seen.meta = true;
                (inside, Role::Meta)
            }
            (Role::Result, b"content" | b"contents" | b"messages") => {
                self.seen.content |= key == b"content";
                self.seen.answers = true;
                (step, Role::None)
            }
            (Role::Result, b"structuredContent") if matches!(self.plan.finish, Finish::Legacy) => {
                (step, Role::Structured)
            }
            _ => (step, Role::None),
        };
        State::Colon { step, role }
    }

    /// The current member stays. Its comma does not when there is nothing before it any more.
    pub(super) fn keep(&mut self) {
        let Some(frame) = self.path.last_mut() else { return };
        let kept = std::mem::replace(&mut frame.kept, true);
        if self.sink == Sink::Held {
            self.sink = Sink::Out;
            if !kept && self.held.first() == Some(&b',') {
                self.held.remove(0);
            }
        }
    }

    /// Before the end of a marked object.
    #[cold]
    pub(super) fn finish(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        self.sink = Sink::Out;
        if frame.role == Role::Result && self.result_type.is_none() {
            self.result_type = Some(ResultType::Complete);
        }
        if frame.role == Role::Result && !self.seen.content && !self.wrapped.is_empty() {
            // Who knows of no other results than objects reads the text (server/tools, Structured Content).
            out.extend_from_slice(b",\"content\":[{\"type\":\"text\",\"text\":");
            splice::quote(&String::from_utf8_lossy(&self.wrapped), out);
            out.extend_from_slice(b"}]");
        }
        let Finish::Modern { server_info, cacheable } = &self.plan.finish else { return };
        let cacheable = *cacheable && self.result_type == Some(ResultType::Complete);
        let mut separator: &[u8] = if frame.kept { b"," } else { b"" };
        let mut add = |missing: bool, parts: &[&[u8]]| {
            if missing {
                out.extend_from_slice(std::mem::replace(&mut separator, b","));
                parts.iter().for_each(|part| out.extend_from_slice(part));
            }
        };
        let info = [b"\"".as_slice(), SERVER_INFO, b"\":", server_info];
        match frame.role {
            Role::Result => {
                let [quote, name, colon, info] = info;
                add(!self.seen.result_type, &[b"\"resultType\":\"complete\""]);
                add(cacheable && !self.seen.ttl, &[b"\"ttlMs\":0"]);
                add(cacheable && !self.seen.cache_scope, &[b"\"cacheScope\":\"private\""]);
                add(!self.seen.meta, &[b"\"_meta\":{", quote, name, colon, info, b"}"]);
            }
            Role::Meta => add(!self.seen.server_info, &info),
            Role::None | Role::Message | Role::Error | Role::Structured => {}
        }
    }

    /// Whether members of an object with this role may be dropped.
    pub(super) fn drops_from(&self, role: Role) -> bool {
        matches!(role, Role::Result | Role::Meta) && matches!(self.plan.finish, Finish::Legacy)
    }
}
