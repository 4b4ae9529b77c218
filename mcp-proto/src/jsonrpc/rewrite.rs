//! Puts a target's name in front of the URIs of its answers while they stream through.
//!
//! ```text
//! pieces of one message ─► tokens ─► path followed through the few keys that lead to a URI ─► pieces
//!                             └─ everything off the path: brackets counted, strings skipped, bytes copied
//! ```
//!
//! The memory in use is one string at most, however long the message is. The grammar is checked on the path only;
//! off the path it is the business of whoever wrote the message and whoever reads it, except for what would break the
//! event stream it travels in: line breaks go outside strings and are refused inside.

use super::envelope::decode;
use super::splice;
use memchr::memchr2;
use routing::{TargetName, names, uris};
use std::fmt;

/// The longest string that is looked at before its end; of a longer one only the start is known when it is edited.
const LONGEST_STRING: usize = 64 * 1024;

/// The longest spelling of a key on a path: `contents` with every letter as an escape of six bytes, and quotes.
const LONGEST_KEY: usize = 6 * "contents".len() + 2;

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

/// Where the URIs are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// In the result of a tool, a prompt, or of reading a resource.
    Result,
    /// In `notifications/resources/updated`.
    Updated,
    /// In `notifications/message`: not a URI but the logger's name.
    Log,
    /// In the messages of `sampling/createMessage`.
    Sampling,
    /// Nowhere.
    Nothing,
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

/// An object whose members lead to something. Arrays don't count as a step: their elements are where the array is.
#[derive(Debug)]
struct Node(&'static [(&'static str, Step)]);

#[derive(Clone, Copy, Debug)]
enum Step {
    Into(&'static Node),
    Edit(Edit),
    Off,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Edit {
    Uri,
    Logger,
}

static URI: Node = Node(&[("uri", Step::Edit(Edit::Uri))]);
static LOGGER: Node = Node(&[("logger", Step::Edit(Edit::Logger))]);
static CONTENT: Node = Node(&[("uri", Step::Edit(Edit::Uri)), ("resource", Step::Into(&URI))]);
static MESSAGE: Node = Node(&[("content", Step::Into(&CONTENT))]);
static MESSAGES: Node = Node(&[("messages", Step::Into(&MESSAGE))]);
static RESULT: Node = Node(&[
    ("content", Step::Into(&CONTENT)),
    ("contents", Step::Into(&URI)),
    ("messages", Step::Into(&MESSAGE)),
]);

static RESULT_SCOPE: Node = Node(&[("result", Step::Into(&RESULT))]);
static UPDATED_SCOPE: Node = Node(&[("params", Step::Into(&URI))]);
static LOG_SCOPE: Node = Node(&[("params", Step::Into(&LOGGER))]);
static SAMPLING_SCOPE: Node = Node(&[("params", Step::Into(&MESSAGES))]);
static NO_SCOPE: Node = Node(&[]);

impl Node {
    fn of(scope: Scope) -> &'static Self {
        match scope {
            Scope::Result => &RESULT_SCOPE,
            Scope::Updated => &UPDATED_SCOPE,
            Scope::Log => &LOG_SCOPE,
            Scope::Sampling => &SAMPLING_SCOPE,
            Scope::Nothing => &NO_SCOPE,
        }
    }

    fn step(&self, key: &str) -> Step {
        self.0.iter().find(|(name, _)| *name == key).map_or(Step::Off, |(_, step)| *step)
    }
}

/// An object or array on the path.
#[derive(Clone, Copy, Debug)]
struct Frame {
    array: bool,
    node: &'static Node,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// A value must come; `first`: or the end of the array.
    Value { step: Step, first: bool },
    /// A key must come; `first`: or the end of the object.
    Member { first: bool },
    /// In a key.
    Key,
    /// A colon must come.
    Colon { step: Step },
    /// In a string that passes.
    Text,
    /// In a string that is edited at its end.
    Edited(Edit),
    /// In a number, `true`, `false` or `null`.
    Literal,
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
    target: Option<TargetName>,
    depth: usize,
    kind: Option<Kind>,
    state: State,
    path: Vec<Frame>,
    /// The last byte of the string so far was a backslash that escapes the next one.
    escaped: bool,
    /// The raw inside of the current key or edited string.
    captured: Vec<u8>,
    /// The current piece has line breaks.
    breaks: bool,
}

impl Rewriter {
    /// For one message of `target`, nested at most `depth` deep. Without a target nothing is renamed.
    #[must_use]
    pub fn new(target: Option<TargetName>, scope: Scope, depth: usize) -> Self {
        let node = if target.is_some() { Node::of(scope) } else { &NO_SCOPE };
        Self {
            target,
            depth,
            kind: None,
            state: State::Value { step: Step::Into(node), first: false },
            path: Vec::new(),
            escaped: false,
            captured: Vec::new(),
            breaks: false,
        }
    }

    /// Takes the next piece and appends what it becomes to `out`.
    ///
    /// # Errors
    /// When the message can't be passed on; nothing that is pushed later makes it good.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        self.breaks = memchr2(b'\r', b'\n', piece).is_some();
        out.reserve(piece.len());
        let mut rest = piece;
        while let Some(&byte) = rest.first() {
            let taken = match self.state {
                State::Off { depth } => self.off(rest, depth, out)?,
                State::Key | State::Text | State::Edited(_) | State::OffText { .. } => {
                    self.string(rest, out)?
                }
                State::Literal => self.literal(rest, out),
                _ => {
                    self.structure(byte, out)?;
                    1
                }
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// What the message is; `None` as long as nothing told.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Whether the whole message was seen.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    /// One byte between tokens, or the first of one.
    fn structure(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), Malformed> {
        match (self.state, byte) {
            (_, b'\r' | b'\n') => return Ok(()),
            (_, b' ' | b'\t') => {}
            (State::Value { step, .. }, b'{' | b'[') => self.open(step, byte)?,
            (State::Value { first: true, .. }, b']') | (State::Member { first: true }, b'}') => {
                self.close(byte)?;
            }
            // A message is an object, or an array of them.
            (State::Value { .. }, _) if self.path.is_empty() => return Err(Malformed),
            (State::Value { step: Step::Edit(edit), .. }, b'"') => {
                self.capture(byte, State::Edited(edit));
                // The quote is written with the edited text.
                return Ok(());
            }
            (State::Value { .. }, b'"') => self.state = State::Text,
            (State::Value { .. }, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => self.state = State::Literal,
            (State::Member { .. }, b'"') => self.capture(byte, State::Key),
            (State::Colon { step }, b':') => self.state = State::Value { step, first: false },
            (State::Next, b',') => {
                self.state = match self.path.last().ok_or(Malformed)? {
                    Frame { array: true, node } => State::Value { step: Step::Into(node), first: false },
                    Frame { array: false, .. } => State::Member { first: false },
                };
            }
            (State::Next, b'}' | b']') => self.close(byte)?,
            _ => return Err(Malformed),
        }
        out.push(byte);
        Ok(())
    }

    fn open(&mut self, step: Step, bracket: u8) -> Result<(), Malformed> {
        if self.path.len() >= self.depth {
            return Err(Malformed);
        }
        let Step::Into(node) = step else {
            self.state = State::Off { depth: 1 };
            return Ok(());
        };
        let array = bracket == b'[';
        if array && self.path.is_empty() {
            self.kind = Some(Kind::Batch);
        }
        self.path.push(Frame { array, node });
        self.state = match array {
            true => State::Value { step, first: true },
            false => State::Member { first: true },
        };
        Ok(())
    }

    fn close(&mut self, bracket: u8) -> Result<(), Malformed> {
        let frame = self.path.pop().ok_or(Malformed)?;
        if frame.array != (bracket == b']') {
            return Err(Malformed);
        }
        self.state = if self.path.is_empty() { State::Complete } else { State::Next };
        Ok(())
    }

    fn capture(&mut self, quote: u8, state: State) {
        self.captured.clear();
        self.captured.push(quote);
        self.state = state;
    }

    fn literal(&mut self, rest: &[u8], out: &mut Vec<u8>) -> usize {
        let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let end = rest.iter().position(|byte| !part(byte));
        if end.is_some() {
            self.state = State::Next;
        }
        let end = end.unwrap_or(rest.len());
        out.extend_from_slice(rest.get(..end).unwrap_or_default());
        end
    }

    /// The inside of a string, up to its quote or the end of the piece.
    fn string(&mut self, rest: &[u8], out: &mut Vec<u8>) -> Result<usize, Malformed> {
        let (part, ended) = self.string_part(rest)?;
        match self.state {
            State::Edited(edit) => self.edit(edit, part, ended, out),
            State::Key => {
                out.extend_from_slice(part);
                let room = (LONGEST_KEY + 1).saturating_sub(self.captured.len());
                self.captured.extend(part.iter().take(room));
                if ended {
                    self.end_key();
                }
            }
            State::OffText { depth } => {
                out.extend_from_slice(part);
                if ended {
                    self.state = State::Off { depth };
                }
            }
            _ => {
                out.extend_from_slice(part);
                if ended {
                    self.state = State::Next;
                }
            }
        }
        Ok(part.len())
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

    fn end_key(&mut self) {
        let key = str::from_utf8(&self.captured).ok().filter(|raw| raw.len() <= LONGEST_KEY).and_then(decode);
        let key = key.as_deref().unwrap_or_default();
        if self.path.len() == 1 && self.kind.is_none() {
            self.kind = match key {
                "result" => Some(Kind::Result),
                "error" => Some(Kind::Error),
                "method" => Some(Kind::Method),
                _ => None,
            };
        }
        let step = self.path.last().map_or(Step::Off, |frame| frame.node.step(key));
        self.state = State::Colon { step };
    }

    fn edit(&mut self, edit: Edit, part: &[u8], ended: bool, out: &mut Vec<u8>) {
        if self.captured.len() + part.len() > LONGEST_STRING {
            self.prefix(edit, out);
            out.extend_from_slice(part);
            self.state = if ended { State::Next } else { State::Text };
            return;
        }
        self.captured.extend_from_slice(part);
        if !ended {
            return;
        }
        self.state = State::Next;
        let text = str::from_utf8(&self.captured).ok().and_then(decode);
        match (text, &self.target) {
            (Some(text), Some(target)) => splice::quote(&edit.apply(target, &text), out),
            // Not decodable, but its reader may know better: the prefix needs no decoding.
            _ => self.prefix(edit, out),
        }
    }

    /// What was captured, with the prefix in front and nothing looked at.
    fn prefix(&self, edit: Edit, out: &mut Vec<u8>) {
        let inside = self.captured.get(1..).unwrap_or_default();
        out.push(b'"');
        if let Some(target) = &self.target {
            out.extend_from_slice(edit.apply(target, "").as_bytes());
        }
        out.extend_from_slice(inside);
    }

    /// Off the path, up to its end or the end of the piece.
    fn off(&mut self, rest: &[u8], mut depth: usize, out: &mut Vec<u8>) -> Result<usize, Malformed> {
        let (mut at, mut copied) = (0, 0);
        loop {
            let tail = rest.get(at..).unwrap_or_default();
            let Some(found) = tail.iter().position(|byte| tells(*byte)) else {
                self.state = State::Off { depth };
                break;
            };
            at += found + 1;
            match tail.get(found) {
                Some(b'"') => {
                    let (part, ended) = self.string_part(rest.get(at..).unwrap_or_default())?;
                    at += part.len();
                    if !ended {
                        self.state = State::OffText { depth };
                        break;
                    }
                }
                Some(b'{' | b'[') => {
                    depth += 1;
                    if self.path.len() + depth > self.depth {
                        return Err(Malformed);
                    }
                }
                Some(b'}' | b']') => {
                    depth -= 1;
                    if depth == 0 {
                        self.state = State::Next;
                        out.extend_from_slice(rest.get(copied..at).unwrap_or_default());
                        return Ok(at);
                    }
                }
                _ => {
                    out.extend_from_slice(rest.get(copied..at - 1).unwrap_or_default());
                    copied = at;
                }
            }
        }
        out.extend_from_slice(rest.get(copied..).unwrap_or_default());
        Ok(rest.len())
    }
}

impl Edit {
    fn apply(self, target: &TargetName, text: &str) -> String {
        match self {
            Self::Uri => uris::federated(target, text),
            Self::Logger => names::logger(target, text),
        }
    }
}

/// Whether `byte` means something off the path: quotes, brackets, line breaks.
fn tells(byte: u8) -> bool {
    matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b'\r' | b'\n')
}

/// Where the string that goes on in `bytes` ends, behind its quote. `escaped` lives from piece to piece.
fn end_of_string(bytes: &[u8], escaped: &mut bool) -> Option<usize> {
    let mut at = usize::from(std::mem::take(escaped));
    while let Some(found) = memchr2(b'"', b'\\', bytes.get(at..)?) {
        at += found + 1;
        if bytes.get(at - 1) == Some(&b'"') {
            return Some(at);
        }
        if at == bytes.len() {
            *escaped = true;
            return None;
        }
        at += 1;
    }
    None
}
