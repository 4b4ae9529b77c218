//! Makes a target's messages what their client expects while they stream through: its name in front of URIs, ids of
//! tasks sealed, a result's members as the client's era has them.
//!
//! ```text
//! pieces of one message ─► tokens ─► path followed through the few keys that lead to a URI ─► pieces
//!                             └─ everything off the path: brackets counted, strings skipped, bytes copied
//! ```
//!
//! Besides the path, the few own members of a message, of its result, the result's `_meta` and the error are marked by
//! the role of the object they stand in. A member that may be dropped is held back until its key is known.
//!
//! The memory in use is one string at most, however long the message is. The grammar is checked on the path only;
//! off the path it is the business of whoever wrote the message and whoever reads it, except for what would break the
//! event stream it travels in: line breaks go outside strings and are refused inside.

mod frames;
mod marks;
mod output;
mod paths;
mod plan;
mod tokens;

pub use output::Output;
pub use paths::Scope;
pub use plan::{Finish, Plan, ResultType, TaskSeal};

use super::envelope::decode;
use super::{splice, structured};
use frames::{Frame, Frames};
use marks::{Role, Seen, Sink};
use memchr::memchr2;
use output::Pen;
use paths::{Edit, NOTHING, Node, Step};
use std::fmt;
use tokens::{end_of_string, is_literal, is_start, plain, tells};

/// The longest string that is looked at before its end; of a longer one only the start is known when it is edited.
const LONGEST_STRING: usize = 64 * 1024;

/// The longest spelling of a key that is known, with every letter as an escape of six bytes, and quotes.
const LONGEST_KEY: usize = 6 * "io.modelcontextprotocol/related-task".len() + 2;

/// Room that is made for what becomes of a piece, at most: what passes by reference needs none.
const ROOM: usize = 4 * 1024;

/// What is said in place of a structured result that is too long to be repeated as text.
const TOO_LONG: &[u8] = b"(the result is structured, and long)";

/// The longest error code that is looked at.
const LONGEST_CODE: usize = "-9223372036854775808".len();

/// What a message is, told by its first telling key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// An answer.
    Result,
    /// An answer that is an error.
    Error,
    /// A request or notification.
    Method,
    /// Several messages (MCP 2025-03-26 only).
    Batch,
}

/// The message is no JSON object or array, or would break the stream it travels in. The target's fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message is no JSON, or is nested too deep")
    }
}

impl std::error::Error for Malformed {}

#[derive(Clone, Copy, Debug)]
enum State {
    /// A value must come; `first`: or the end of the array.
    Value { step: Step, role: Role, first: bool },
    /// A key must come; `first`: or the end of the object.
    Member { first: bool },
    /// In a key.
    Key,
    /// A colon must come.
    Colon { step: Step, role: Role },
    /// In a string that passes.
    Text,
    /// In a string that is edited at its end.
    Edited(Edit),
    /// In a number, `true`, `false` or `null`.
    Literal,
    /// In an error code.
    Code,
    /// A comma or closing bracket must come.
    Next,
    /// Off the path, so many brackets deep.
    Off { depth: usize },
    /// In a string there.
    OffText { depth: usize },
    /// Behind the message.
    Complete,
}

/// One message under way.
#[derive(Debug)]
pub struct Rewriter {
    plan: Plan,
    depth: usize,
    kind: Option<Kind>,
    state: State,
    path: Frames,
    /// The last byte of the string so far was a backslash that escapes the next one.
    escaped: bool,
    /// The raw inside of the current key or edited value.
    captured: Vec<u8>,
    sink: Sink,
    /// A comma and the key behind it, of a member that may be dropped.
    held: Vec<u8>,
    seen: Seen,
    result_type: Option<ResultType>,
    /// The current piece has line breaks.
    breaks: bool,
    /// In a structured result that is put into an object.
    wrapping: bool,
    /// That result, if it is short.
    wrapped: Vec<u8>,
}

impl Rewriter {
    /// For one message, nested at most `depth` deep.
    #[must_use]
    pub fn new(plan: Plan, depth: usize) -> Self {
        let node = Node::of(&plan);
        Self {
            plan,
            depth,
            kind: None,
            state: State::Value { step: Step::Into(node), role: Role::Message, first: false },
            path: Frames::default(),
            escaped: false,
            captured: Vec::new(),
            sink: Sink::Out,
            held: Vec::new(),
            seen: Seen::default(),
            result_type: None,
            breaks: false,
            wrapping: false,
            wrapped: Vec::new(),
        }
    }

    /// Takes the next piece and appends what it becomes to `out`.
    ///
    /// # Errors
    /// When the message can't be passed on; nothing that is pushed later makes it good.
    pub fn push(&mut self, piece: &[u8], out: &mut impl Output) -> Result<(), Malformed> {
        self.breaks = memchr2(b'\r', b'\n', piece).is_some();
        out.text().reserve(piece.len().min(ROOM));
        let mut pen = Pen::new(piece, out);
        while let Some(byte) = pen.peek() {
            let aside = if self.may_divert() { self.lay_aside(&mut pen) } else { None };
            match self.state {
                State::Off { depth } => self.off(depth, &mut pen)?,
                State::Key => self.key(&mut pen)?,
                State::Text | State::OffText { .. } => self.text(&mut pen)?,
                State::Edited(edit) => self.edited(edit, &mut pen)?,
                State::Literal => self.literal(&mut pen),
                State::Code => self.code(&mut pen),
                _ => self.structure(byte, &mut pen)?,
            }
            if let Some((sink, mark)) = aside {
                self.put_where_it_belongs(sink, mark, &mut pen);
            }
        }
        pen.flush();
        Ok(())
    }

    /// Whether the result has content, of whatever kind of request, if the plan watches it.
    pub(crate) fn is_content_seen(&self) -> bool {
        self.seen.answers
    }

    /// What is done to the message.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What the message is; `None` as long as nothing told.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// What the result is, as soon as that is known, if the plan watches it; `None` for other messages.
    #[must_use]
    pub fn result_type(&self) -> Option<ResultType> {
        self.result_type
    }

    /// Whether the whole message was seen.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    /// One byte between tokens, or a token from its first byte on.
    fn structure(&mut self, byte: u8, pen: &mut Pen<'_, impl Output>) -> Result<(), Malformed> {
        match (self.state, byte) {
            (State::Value { step, role, first }, _) => return self.value(step, role, first, byte, pen),
            (State::Member { .. }, b'"') => {
                self.captured.clear();
                self.state = State::Key;
                pen.pass(1);
                return self.key(pen);
            }
            (State::Member { first: true }, b'}') | (State::Next, b'}' | b']') => self.close(byte, pen)?,
            (State::Colon { step, role }, b':') => self.state = State::Value { step, role, first: false },
            (State::Next, b',') => {
                let frame = self.path.last().ok_or(Malformed)?;
                self.state = match *frame {
                    Frame { array: true, node, .. } => {
                        State::Value { step: Step::Into(node), role: Role::None, first: false }
                    }
                    Frame { array: false, .. } => State::Member { first: false },
                };
                if self.drops_from(frame.role) {
                    self.sink = Sink::Held;
                    self.held.push(byte);
                    pen.skip(1);
                    return Ok(());
                }
            }
            _ => return self.blank(byte, pen),
        }
        pen.pass(1);
        Ok(())
    }

    /// Where a value must come.
    fn value(
        &mut self,
        step: Step,
        role: Role,
        first: bool,
        byte: u8,
        pen: &mut Pen<'_, impl Output>,
    ) -> Result<(), Malformed> {
        if role == Role::Structured && byte != b'{' && !self.wrapping && is_start(byte) {
            pen.text().extend_from_slice(structured::OPENING);
            self.wrapping = true;
        }
        match byte {
            b'{' | b'[' => self.open(step, role, byte)?,
            b']' if first => self.close(byte, pen)?,
            b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                // A message is an object, or an array of them.
                if self.path.is_empty() {
                    return Err(Malformed);
                }
                if role == Role::Result {
                    self.result_type = Some(ResultType::Complete);
                }
                if !self.scalar(step, byte, pen) {
                    pen.skip(1);
                    return Ok(());
                }
                pen.pass(1);
                if byte == b'"' {
                    return self.text(pen);
                }
                self.literal(pen);
                return Ok(());
            }
            _ => return self.blank(byte, pen),
        }
        pen.pass(1);
        Ok(())
    }

    /// White space, if it is that.
    fn blank(&mut self, byte: u8, pen: &mut Pen<'_, impl Output>) -> Result<(), Malformed> {
        match byte {
            b'\r' | b'\n' => pen.skip(1),
            b' ' | b'\t' if self.sink == Sink::Held && self.held.len() > LONGEST_KEY => pen.skip(1),
            b' ' | b'\t' => pen.pass(1),
            _ => return Err(Malformed),
        }
        Ok(())
    }

    /// What was written behind `mark` belongs to a structured result that is put into an object.
    #[cold]
    fn wrap(&mut self, mark: usize, out: &mut Vec<u8>) {
        let written = out.get(mark..).unwrap_or_default();
        let written = written.strip_prefix(structured::OPENING).unwrap_or(written);
        if self.wrapped.len() + written.len() > LONGEST_STRING || self.wrapped == TOO_LONG {
            self.wrapped = TOO_LONG.to_vec();
        } else {
            self.wrapped.extend_from_slice(written);
        }
        if matches!(self.state, State::Next) {
            self.wrapping = false;
            out.push(structured::CLOSING);
        }
    }

    /// The first byte of a string, number or word. Whether that byte is to be written now.
    fn scalar(&mut self, step: Step, byte: u8, pen: &mut Pen<'_, impl Output>) -> bool {
        let text = byte == b'"';
        match step {
            Step::Id => {
                pen.text().extend_from_slice(self.plan.id.as_deref().unwrap_or_default());
                self.sink = Sink::Nowhere;
                self.state = if text { State::Text } else { State::Literal };
                return false;
            }
            Step::Edit(Edit::Code) if !text => {
                self.capture(byte, State::Code);
                return false;
            }
            Step::Edit(edit) if text && edit != Edit::Code => {
                self.capture(byte, State::Edited(edit));
                // The quote is written with the edited text.
                return false;
            }
            Step::Edit(Edit::ResultType) => self.result_type = Some(ResultType::Other),
            Step::Edit(_) | Step::Into(_) | Step::Off => {}
        }
        self.state = if text { State::Text } else { State::Literal };
        true
    }

    fn open(&mut self, step: Step, role: Role, bracket: u8) -> Result<(), Malformed> {
        if self.path.len() >= self.depth {
            return Err(Malformed);
        }
        let array = bracket == b'[';
        match (role, step) {
            (Role::Result, _) if array => self.result_type = Some(ResultType::Complete),
            (_, Step::Edit(Edit::ResultType)) => self.result_type = Some(ResultType::Other),
            _ => {}
        }
        let Step::Into(node) = step else {
            self.state = State::Off { depth: 1 };
            return Ok(());
        };
        if array && self.path.is_empty() {
            self.kind = Some(Kind::Batch);
        }
        let role = if array || !self.plan.marks() { Role::None } else { role };
        self.path.push(Frame { array, node, role, kept: false });
        self.state = match array {
            true => State::Value { step, role: Role::None, first: true },
            false => State::Member { first: true },
        };
        if self.drops_from(role) {
            self.sink = Sink::Held;
        }
        Ok(())
    }

    fn close(&mut self, bracket: u8, pen: &mut Pen<'_, impl Output>) -> Result<(), Malformed> {
        let frame = self.path.pop().ok_or(Malformed)?;
        if frame.array != (bracket == b']') {
            return Err(Malformed);
        }
        if frame.role != Role::None {
            self.finish(&frame, pen.text());
        }
        self.state = if self.path.is_empty() { State::Complete } else { State::Next };
        Ok(())
    }

    fn capture(&mut self, quote: u8, state: State) {
        self.captured.clear();
        self.captured.push(quote);
        self.state = state;
    }

    fn literal(&mut self, pen: &mut Pen<'_, impl Output>) {
        let rest = pen.rest();
        let end = rest.iter().position(|byte| !is_literal(*byte));
        if end.is_some() {
            self.state = State::Next;
        }
        pen.pass(end.unwrap_or(rest.len()));
    }

    /// The inside of a string that passes, up to its quote or the end of the piece.
    fn text(&mut self, pen: &mut Pen<'_, impl Output>) -> Result<(), Malformed> {
        let (part, ended) = self.string_part(pen.rest())?;
        if ended {
            self.state = match self.state {
                State::OffText { depth } => State::Off { depth },
                _ => State::Next,
            };
        }
        pen.pass(part.len());
        Ok(())
    }

    /// The inside of a key, and its colon if that comes next.
    fn key(&mut self, pen: &mut Pen<'_, impl Output>) -> Result<(), Malformed> {
        // Nearly every key comes in one piece and as it reads.
        let sound = |key: &&[u8]| !self.breaks || memchr2(b'\r', b'\n', key).is_none();
        match plain(pen.rest()).filter(sound) {
            Some(key) if self.captured.is_empty() => {
                pen.pass(key.len() + 1);
                self.end_key(key);
            }
            _ => {
                let (part, ended) = self.string_part(pen.rest())?;
                pen.pass(part.len());
                self.key_part(part, ended);
            }
        }
        if let State::Colon { step, role } = self.state
            && pen.peek() == Some(b':')
        {
            self.state = State::Value { step, role, first: false };
            pen.pass(1);
        }
        Ok(())
    }

    /// The inside of a string that is edited at its end.
    #[cold]
    fn edited(&mut self, edit: Edit, pen: &mut Pen<'_, impl Output>) -> Result<(), Malformed> {
        let (part, ended) = self.string_part(pen.rest())?;
        self.edit(edit, part, ended, pen.text())?;
        pen.skip(part.len());
        Ok(())
    }

    /// The rest of a string with its quote, or all of `rest` when the string goes on.
    fn string_part<'p>(&mut self, rest: &'p [u8]) -> Result<(&'p [u8], bool), Malformed> {
        let end = end_of_string(rest, &mut self.escaped);
        let part = end.and_then(|end| rest.get(..end)).unwrap_or(rest);
        if self.breaks && memchr2(b'\r', b'\n', part).is_some() {
            return Err(Malformed);
        }
        Ok((part, end.is_some()))
    }

    /// A part of a key that has to be put together.
    #[cold]
    fn key_part(&mut self, part: &[u8], ended: bool) {
        if self.captured.is_empty() {
            self.captured.push(b'"');
        }
        let room = (LONGEST_KEY + 1).saturating_sub(self.captured.len());
        self.captured.extend_from_slice(part.get(..room).unwrap_or(part));
        if ended {
            let captured = std::mem::take(&mut self.captured);
            let key = str::from_utf8(&captured).ok().filter(|raw| raw.len() <= LONGEST_KEY).and_then(decode);
            self.end_key(key.as_deref().unwrap_or_default().as_bytes());
            self.captured = captured;
        } else if self.captured.len() > LONGEST_KEY {
            // None that is dropped.
            self.keep();
        }
    }

    fn end_key(&mut self, key: &[u8]) {
        if self.path.len() == 1 && self.kind.is_none() {
            self.kind = match key {
                b"result" => Some(Kind::Result),
                b"error" => Some(Kind::Error),
                b"method" => Some(Kind::Method),
                _ => None,
            };
        }
        let (node, role) = self.path.last().map_or((&NOTHING, Role::None), |frame| (frame.node, frame.role));
        let step = node.step(key);
        self.state = match role {
            Role::None => State::Colon { step, role },
            _ => self.mark(role, key, step),
        };
    }

    fn edit(&mut self, edit: Edit, part: &[u8], ended: bool, out: &mut Vec<u8>) -> Result<(), Malformed> {
        if self.captured.len() + part.len() > LONGEST_STRING {
            self.unread(edit, out)?;
            out.extend_from_slice(part);
            self.state = if ended { State::Next } else { State::Text };
            return Ok(());
        }
        self.captured.extend_from_slice(part);
        if !ended {
            return Ok(());
        }
        self.state = State::Next;
        let text = str::from_utf8(&self.captured).ok().and_then(decode);
        let Some(text) = text else { return self.unread(edit, out) };
        if edit == Edit::ResultType {
            self.result_type = Some(ResultType::of(&text));
        }
        match edit.apply(&self.plan, &text) {
            Some(text) => splice::quote(&text, out),
            None => out.extend_from_slice(&self.captured),
        }
        Ok(())
    }

    /// Writes what was captured of a string that is too long to be held, or no text. Its reader may know better what to
    /// do with it, and a prefix needs no decoding; but a task nobody could ask for is none.
    #[cold]
    fn unread(&mut self, edit: Edit, out: &mut Vec<u8>) -> Result<(), Malformed> {
        if edit == Edit::ResultType {
            self.result_type = Some(ResultType::Other);
        }
        if edit == Edit::Task && self.plan.task.is_some() {
            return Err(Malformed);
        }
        out.push(b'"');
        out.extend_from_slice(edit.apply(&self.plan, "").unwrap_or_default().as_bytes());
        out.extend_from_slice(self.captured.get(1..).unwrap_or_default());
        Ok(())
    }

    /// An error code, up to its end or the end of the piece.
    #[cold]
    fn code(&mut self, pen: &mut Pen<'_, impl Output>) {
        let rest = pen.rest();
        let end = rest.iter().position(|byte| !is_literal(*byte));
        let part = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        if self.captured.len() + part.len() > LONGEST_CODE {
            pen.text().append(&mut self.captured);
            self.state = State::Literal;
            return;
        }
        self.captured.extend_from_slice(part);
        pen.skip(part.len());
        if end.is_some() {
            self.state = State::Next;
            let code = str::from_utf8(&self.captured).ok().and_then(|code| code.parse::<i64>().ok());
            match self.plan.codes.iter().find(|(from, _)| Some(*from) == code) {
                Some((_, to)) => pen.text().extend_from_slice(to.to_string().as_bytes()),
                None => pen.text().extend_from_slice(&self.captured),
            }
        }
    }

    /// Off the path, up to its end or the end of the piece.
    fn off(&mut self, mut depth: usize, pen: &mut Pen<'_, impl Output>) -> Result<(), Malformed> {
        loop {
            let rest = pen.rest();
            let Some(found) = rest.iter().position(|byte| tells(*byte)) else {
                pen.pass(rest.len());
                self.state = State::Off { depth };
                return Ok(());
            };
            let byte = rest.get(found);
            if let Some(b'\r' | b'\n') = byte {
                pen.pass(found);
                pen.skip(1);
                continue;
            }
            pen.pass(found + 1);
            match byte {
                Some(b'"') => {
                    let (part, ended) = self.string_part(pen.rest())?;
                    pen.pass(part.len());
                    if !ended {
                        self.state = State::OffText { depth };
                        return Ok(());
                    }
                }
                Some(b'{' | b'[') => {
                    depth += 1;
                    if self.path.len() + depth > self.depth {
                        return Err(Malformed);
                    }
                }
                _ => {
                    depth -= 1;
                    if depth == 0 {
                        self.state = State::Next;
                        return Ok(());
                    }
                }
            }
        }
    }
}
