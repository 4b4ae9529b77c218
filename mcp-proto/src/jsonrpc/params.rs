//! The parts of a message that differ between the eras: put in, taken out, and read.
//!
//! ```text
//! legacy request ─► meta    ─┐
//!                            ├─► edits ─► edited ─► the same request for the other era
//! modern request ─► dropped ─┘
//! filter of a subscription ─► Filter::parse ─► Filter ─► Filter::write
//! result that asks back    ─► InputRequired::parse ─► the requests it holds
//! ```

use super::envelope::{self, Envelope};
use super::members::{self, Doubled, Member, members};
use super::splice;
use crate::room::Room;
use bytes::Bytes;
use memchr::memrchr;
use std::ops::Range;

/// A span of a message and what comes in its place.
pub type Edit = (Range<usize>, Vec<u8>);

/// The message with all edits made. They may come in any order but must not overlap.
#[must_use]
pub fn edited(message: &[u8], mut edits: Vec<Edit>) -> Vec<u8> {
    edits.sort_by_key(|(span, _)| span.start);
    let (grown, shrunk) =
        edits.iter().fold((0, 0), |(grown, shrunk), (span, text)| (grown + text.len(), shrunk + span.len()));
    let mut out = Vec::with_capacity((message.len() + grown).saturating_sub(shrunk));
    splice::splice_owned(message, &edits, &mut out);
    out
}

/// Where members go that are put at the start of `params._meta`, and what has to stand around them.
struct Place {
    /// What they take the place of.
    span: Range<usize>,
    before: &'static [u8],
    behind: &'static [u8],
}

impl Place {
    /// What is absent on the way is made; a `_meta` that is no object is replaced.
    fn in_meta(message: &[u8], envelope: &Envelope<'_>) -> Self {
        // In front of the members of an object that may have some.
        let first = |object: &Range<usize>, before, alone, followed| {
            let inside = message.get(object.start + 1..object.end.saturating_sub(1)).unwrap_or_default();
            let behind = if inside.trim_ascii().is_empty() { alone } else { followed };
            Self { span: object.start + 1..object.start + 1, before, behind }
        };
        match (&envelope.params.meta, &envelope.params.span) {
            (Some(meta), _) if message.get(meta.start) == Some(&b'{') => first(meta, b"", b"", b","),
            (Some(meta), _) => Self { span: meta.clone(), before: b"{", behind: b"}" },
            (None, Some(params)) => first(params, b"\"_meta\":{", b"}", b"},"),
            (None, None) => {
                // The message is an object and has a method, so its last bracket closes it and a comma is due.
                let end = memrchr(b'}', message).unwrap_or(message.len());
                Self { span: end..end, before: b",\"params\":{\"_meta\":{", behind: b"}}" }
            }
        }
    }
}

/// Puts `added` (`"key":value,"key":value`, at least one) at the start of `params._meta`. What is absent on the way
/// is made; a `_meta` that is no object is replaced.
#[must_use]
pub fn meta(message: &[u8], envelope: &Envelope<'_>, added: &[u8]) -> Edit {
    let place = Place::in_meta(message, envelope);
    (place.span, [place.before, added, place.behind].concat())
}

/// The message with `added` at the start of `params._meta`; see [`meta`].
#[must_use]
pub fn with_meta(message: &[u8], envelope: &Envelope<'_>, added: &[u8]) -> Vec<u8> {
    edited(message, vec![meta(message, envelope, added)])
}

/// The same for what stands in parts, made in `room`.
pub(crate) fn with_meta_in(
    room: &mut Room,
    message: &[u8],
    envelope: &Envelope<'_>,
    added: &[&[u8]],
) -> Bytes {
    let Place { span, before, behind } = Place::in_meta(message, envelope);
    let (front, rest) = (message.get(..span.start), message.get(span.end..));
    let frame = [front.unwrap_or_default(), before, behind, rest.unwrap_or_default()];
    let length = frame.iter().chain(added).map(|part| part.len()).sum();
    let [front, before, behind, rest] = frame;
    room.make(length, |out| {
        [front, before]
            .iter()
            .chain(added)
            .chain(&[behind, rest])
            .for_each(|part| out.extend_from_slice(part));
    })
}

/// A request of a modern client without what stands for a handshake, under another id; made in `room`.
pub(crate) fn without_handshake(
    room: &mut Room,
    message: &[u8],
    envelope: &Envelope<'_>,
    id: Option<&str>,
) -> Bytes {
    let (values, count) = claims(message, envelope);
    let mut edits: [(Range<usize>, &[u8]); CLAIMS + 1] = [const { (0..0, b"") }; CLAIMS + 1];
    let id = envelope.id_span.clone().zip(id).map(|(span, id)| (span, id.as_bytes()));
    let dropped = drops(message, values.get(..count).unwrap_or_default()).map(|span| (span, &b""[..]));
    edits.iter_mut().zip(dropped.chain(id)).for_each(|(slot, edit)| *slot = edit);
    // Those that are not needed insert nothing at the start.
    edits.sort_by_key(|(span, _)| span.start);
    room.make(message.len() + 20, |out| splice::splice_owned(message, &edits, out))
}

/// How many members of `_meta` stand for a handshake.
const CLAIMS: usize = 4;

/// The values that stand for a handshake in `params._meta`, in order: all of `_meta` when there is nothing else in it.
#[must_use]
pub fn handshake(message: &[u8], envelope: &Envelope<'_>) -> Vec<Range<usize>> {
    let (values, count) = claims(message, envelope);
    values.into_iter().take(count).collect()
}

/// The same, and how many they are.
fn claims(message: &[u8], envelope: &Envelope<'_>) -> ([Range<usize>; CLAIMS], usize) {
    let modern = &envelope.params.modern;
    let keys = [&modern.version, &modern.client_capabilities, &modern.client_info, &modern.log_level];
    let mut values = [const { 0..0 }; CLAIMS];
    let mut count = 0;
    for (slot, value) in values.iter_mut().zip(keys.into_iter().flatten()) {
        *slot = value.clone();
        count += 1;
    }
    let present = values.get_mut(..count).unwrap_or_default();
    present.sort_by_key(|value| value.start);
    let Some(meta) = envelope.params.meta.clone().filter(|_| count > 0) else { return (values, count) };
    let mut rest = meta.start + 1;
    let mut nothing_else = true;
    for span in drops(message, present) {
        nothing_else &= message.get(rest..span.start).unwrap_or_default().trim_ascii().is_empty();
        rest = span.end;
    }
    nothing_else &= message.get(rest..meta.end - 1).unwrap_or_default().trim_ascii().is_empty();
    match nothing_else {
        true => ([meta, 0..0, 0..0, 0..0], 1),
        false => (values, count),
    }
}

/// Drops the members of objects that have these values, with their keys and with the commas that they leave over.
#[must_use]
pub fn dropped(message: &[u8], mut values: Vec<Range<usize>>) -> Vec<Edit> {
    values.sort_by_key(|value| value.start);
    let mut edits = Vec::with_capacity(values.len() + 1);
    edits.extend(drops(message, &values).map(|span| (span, Vec::new())));
    edits
}

/// What goes with `values`, which are in order.
fn drops(message: &[u8], values: &[Range<usize>]) -> impl Iterator<Item = Range<usize>> {
    // Behind the comma of a member that was dropped from the front of its object.
    let mut front = None;
    values.iter().filter_map(move |value| {
        let key = key_of(message, value.start)?;
        let before = message.get(..key).unwrap_or_default().trim_ascii_end();
        if before.ends_with(b"{") || front == Some(before.len()) {
            let behind = message.get(value.end..).unwrap_or_default();
            let comma = behind.iter().position(|byte| !byte.is_ascii_whitespace());
            let comma = comma.filter(|at| behind.get(*at) == Some(&b','));
            let end = comma.map_or(value.end, |at| value.end + at + 1);
            front = Some(end);
            return Some(key..end);
        }
        // There is a member before it, which stays or goes with its own comma.
        Some(before.len() - 1..value.end)
    })
}

/// Where the key of the member begins whose value begins at `value`.
fn key_of(message: &[u8], value: usize) -> Option<usize> {
    let key = message.get(..value)?.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end();
    let mut end = key.len().checked_sub(1)?;
    loop {
        end = memrchr(b'"', key.get(..end)?)?;
        let slashes = key.get(..end)?.iter().rev().take_while(|byte| **byte == b'\\').count();
        // Nothing but white space, a comma or a bracket can stand before the quote that opens a key.
        if slashes % 2 == 0 {
            return Some(end);
        }
    }
}

/// The message without the members that have these values; see [`dropped`].
#[must_use]
pub fn without(message: &[u8], values: Vec<Range<usize>>) -> Vec<u8> {
    edited(message, dropped(message, values))
}

/// A notice without the subscription that it belongs to; `None` when it belongs to none.
#[must_use]
pub fn without_subscription(message: &[u8], envelope: &Envelope<'_>) -> Option<Vec<u8>> {
    Some(edited(message, vec![(subscription(message, envelope)?, Vec::new())]))
}

/// What of a notice says to which subscription it belongs.
pub(crate) fn subscription(message: &[u8], envelope: &Envelope<'_>) -> Option<Range<usize>> {
    let value = envelope.params.modern.subscription_id.clone()?;
    let meta = envelope.params.meta.clone()?;
    let alone = members(message.get(meta.clone())?).is_some_and(|members| members.len() == 1);
    drops(message, &[if alone { meta } else { value }]).next()
}

/// What a subscription is for: `notifications` of `subscriptions/listen` (2026-07-28, basic/patterns/subscriptions).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// `toolsListChanged`
    pub tools: bool,
    /// `promptsListChanged`
    pub prompts: bool,
    /// `resourcesListChanged`
    pub resources: bool,
    /// `resourceSubscriptions`
    pub uris: Vec<String>,
    /// `taskIds`, of the tasks extension.
    pub task_ids: Vec<String>,
    /// Other members: key, raw value.
    pub unknown: Vec<(String, Vec<u8>)>,
}

impl Filter {
    /// Reads one; `None` when a member that is known is of another type or doubled. `null` is as if absent.
    #[must_use]
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let members = members(raw)?;
        let mut filter = Self::default();
        for Member { key, span } in &members {
            members::sole(&members, key).ok()?;
            let value = raw.get(span.clone())?;
            match key.as_slice() {
                b"toolsListChanged" => filter.tools = flag(value)?,
                b"promptsListChanged" => filter.prompts = flag(value)?,
                b"resourcesListChanged" => filter.resources = flag(value)?,
                b"resourceSubscriptions" => filter.uris = texts(value)?,
                b"taskIds" => filter.task_ids = texts(value)?,
                _ => filter.unknown.push((String::from_utf8(key.clone()).ok()?, value.to_vec())),
            }
        }
        Some(filter)
    }

    /// Appends it as JSON to `out`: only what it asks for.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut separator = b'{';
        let mut key = |key: &str, out: &mut Vec<u8>| {
            out.push(std::mem::replace(&mut separator, b','));
            splice::quote(key, out);
            out.push(b':');
        };
        let flags = [
            ("toolsListChanged", self.tools),
            ("promptsListChanged", self.prompts),
            ("resourcesListChanged", self.resources),
        ];
        for (name, _) in flags.into_iter().filter(|(_, asked)| *asked) {
            key(name, out);
            out.extend_from_slice(b"true");
        }
        for (name, texts) in [("resourceSubscriptions", &self.uris), ("taskIds", &self.task_ids)] {
            if texts.is_empty() {
                continue;
            }
            key(name, out);
            for (index, text) in texts.iter().enumerate() {
                out.push(if index == 0 { b'[' } else { b',' });
                splice::quote(text, out);
            }
            out.push(b']');
        }
        for (name, value) in &self.unknown {
            key(name, out);
            out.extend_from_slice(value);
        }
        if separator == b'{' {
            out.push(b'{');
        }
        out.push(b'}');
    }
}

fn flag(value: &[u8]) -> Option<bool> {
    match value {
        b"true" => Some(true),
        b"false" | b"null" => Some(false),
        _ => None,
    }
}

fn texts(value: &[u8]) -> Option<Vec<String>> {
    serde_json::from_slice::<Option<Vec<String>>>(value).ok().map(Option::unwrap_or_default)
}

/// A result that asks the client back before there is an answer (2026-07-28, basic/patterns/mrtr). Spans are places in
/// the result.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct InputRequired {
    /// What it asks, in order.
    pub requests: Vec<InputRequest>,
    /// Where `requestState` stands, a string.
    pub state: Option<Range<usize>>,
}

/// One question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InputRequest {
    /// What the answer is to be called.
    pub key: String,
    /// Its method.
    pub method: String,
    /// Where its parameters stand, an object.
    pub params: Option<Range<usize>>,
}

impl InputRequired {
    /// Reads `result`; `None` when its `resultType` is another or absent.
    ///
    /// # Errors
    /// What is wrong with a result that claims to be one.
    pub fn parse(result: &[u8]) -> Result<Option<Self>, &'static str> {
        let Some(members) = members(result) else { return Ok(None) };
        let is =
            |member: &Member| member.key == b"resultType" && says(result, &member.span, "input_required");
        if !members.iter().any(is) {
            return Ok(None);
        }
        only(&members, b"resultType")?;
        let state = only(&members, b"requestState")?.cloned();
        if state.as_ref().is_some_and(|span| result.get(span.start) != Some(&b'"')) {
            return Err("requestState is a string");
        }
        let asked = only(&members, b"inputRequests")?;
        let requests = asked.map_or(Ok(Vec::new()), |span| requests(result, span))?;
        if asked.is_none() && state.is_none() {
            return Err("neither inputRequests nor requestState");
        }
        Ok(Some(Self { requests, state }))
    }
}

fn requests(result: &[u8], span: &Range<usize>) -> Result<Vec<InputRequest>, &'static str> {
    let asked = members(result.get(span.clone()).unwrap_or_default()).ok_or("inputRequests is an object")?;
    let mut requests = Vec::with_capacity(asked.len());
    for Member { key, span: inner } in &asked {
        only(&asked, key)?;
        let at = span.start + inner.start;
        let request = result.get(at..span.start + inner.end).unwrap_or_default();
        let members = members(request).ok_or("an input request is an object")?;
        let method = only(&members, b"method")?.and_then(|span| text(request, span));
        let params = only(&members, b"params")?;
        if params.is_some_and(|span| request.get(span.start) != Some(&b'{')) {
            return Err("params is an object");
        }
        requests.push(InputRequest {
            key: String::from_utf8(key.clone()).map_err(|_| "a key with a lone surrogate")?,
            method: method.ok_or("an input request has a method")?,
            params: params.map(|span| at + span.start..at + span.end),
        });
    }
    Ok(requests)
}

fn only<'m>(members: &'m [Member], key: &[u8]) -> Result<Option<&'m Range<usize>>, &'static str> {
    members::sole(members, key).map_err(|Doubled| "a member occurs twice")
}

fn says(text: &[u8], span: &Range<usize>, expected: &str) -> bool {
    self::text(text, span).is_some_and(|text| text == expected)
}

/// The string at `span`.
fn text(raw: &[u8], span: &Range<usize>) -> Option<String> {
    let literal = str::from_utf8(raw.get(span.clone())?).ok()?;
    envelope::decode(literal).map(std::borrow::Cow::into_owned)
}
