//! Arguments of tools that are repeated in fields of the HTTP head, for whoever routes by them (2026-07-28, server/tools
//! "x-mcp-header" and basic/transports/streamable-http "Custom Headers from Tool Parameters").
//!
//! ```text
//! a tool's inputSchema ─► mirrors ─► what to repeat ─► values, of one call's arguments ─► encode ─► field value
//!                                                                    matches ◄─ decode ◄─ field value
//! ```

use super::envelope;
use super::members::{self, Doubled, members};
use super::walk::{self, Shape};
use crate::base64::STANDARD;
use memchr::memmem;
use std::borrow::Cow;
use std::ops::Range;

/// What the names of the fields begin with.
pub const PREFIX: &str = "Mcp-Param-";

/// The annotation in a schema.
const ANNOTATION: &[u8] = b"x-mcp-header";

/// Around a value that can't stand in a field as it is.
const SENTINEL: (&str, &str) = ("=?base64?", "?=");

/// The largest integer that every reader of JSON holds exactly.
const LARGEST_INTEGER: f64 = ((1_u64 << 53) - 1) as f64;

/// An argument that is repeated in the head.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mirror {
    /// The name of the field, behind [`PREFIX`].
    pub header: String,
    /// The keys that lead to the argument, at least one.
    pub path: Vec<String>,
    /// Its type.
    pub kind: Kind,
}

/// The type of an argument that is repeated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `integer`
    Integer,
    /// `string`
    String,
    /// `boolean`
    Boolean,
}

/// What a tool with this schema wants repeated.
///
/// # Errors
/// The first rule that an annotation breaks; the tool is then not to be shown.
pub fn mirrors(input_schema: &[u8]) -> Result<Vec<Mirror>, &'static str> {
    if !may_annotate(input_schema) {
        return Ok(Vec::new());
    }
    let text = str::from_utf8(input_schema).map_err(|_| "the schema is no JSON")?;
    let mut schema = Schema::default();
    // The walk itself ends at a depth of 128.
    walk::walk(text, Place::Root, &mut schema).map_err(|_| "the schema is no JSON or too deep")?;
    match schema.broken {
        Some(rule) => Err(rule),
        None => Ok(schema.mirrors),
    }
}

/// Whether there can be an annotation in `text`, which is so for few. With an escape in it, the key may hide.
pub(super) fn may_annotate(text: &[u8]) -> bool {
    memmem::find(text, ANNOTATION).is_some() || memmem::find(text, b"\\u").is_some()
}

/// A place in a schema. What is data (`default`, `enum`) or unknown is not looked into.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// The whole schema: of the arguments, which can't be repeated themselves.
    Root,
    /// A schema that only `properties` lead to.
    Argument,
    /// `properties` on the way.
    Arguments,
    /// `type` there.
    Type,
    /// The annotation there.
    Annotation,
    /// A schema, or an array of them, that something else leads to: no annotation may be in it.
    Elsewhere,
    /// An object of such schemas.
    AllElsewhere,
    Unread,
}

#[derive(Default)]
struct Schema {
    mirrors: Vec<Mirror>,
    broken: Option<&'static str>,
    /// The arguments on the way, the innermost last.
    way: Vec<Argument>,
}

#[derive(Default)]
struct Argument {
    key: Option<String>,
    types: Vec<Option<Kind>>,
    headers: Vec<Option<String>>,
}

impl Shape for Schema {
    type Field = Place;

    fn member(&mut self, parent: Place, key: &[u8]) -> Place {
        match (parent, key) {
            (Place::Arguments, key) => {
                let key = String::from_utf8(key.to_vec()).ok();
                self.way.push(Argument { key, ..Argument::default() });
                Place::Argument
            }
            (Place::AllElsewhere, _) => Place::Elsewhere,
            (Place::Argument, ANNOTATION) => Place::Annotation,
            (_, ANNOTATION) => {
                self.breaks("x-mcp-header where not only properties lead to");
                Place::Unread
            }
            (Place::Argument, b"type") => Place::Type,
            (Place::Root | Place::Argument, b"properties") => Place::Arguments,
            (_, key) => applied(key),
        }
    }

    fn element(&mut self, _: Place) -> Place {
        Place::Elsewhere
    }

    fn opens(&self, place: Place, bracket: u8) -> bool {
        match place {
            Place::Elsewhere => true,
            Place::Root | Place::Argument | Place::Arguments | Place::AllElsewhere => bracket == b'{',
            Place::Type | Place::Annotation | Place::Unread => false,
        }
    }

    fn found(&mut self, place: Place, text: &str, span: Range<usize>) {
        let value = || envelope::decode(text.get(span.clone()).unwrap_or_default());
        match place {
            Place::Type => {
                let kind = value().and_then(|name| Kind::of(&name));
                self.way.last_mut().into_iter().for_each(|argument| argument.types.push(kind));
            }
            Place::Annotation => {
                let header = value().map(Cow::into_owned);
                self.way.last_mut().into_iter().for_each(|argument| argument.headers.push(header.clone()));
            }
            Place::Argument => self.end_argument(),
            _ => {}
        }
    }
}

/// Where a keyword of JSON Schema leads that applies other schemas.
fn applied(keyword: &[u8]) -> Place {
    match keyword {
        b"items" | b"prefixItems" | b"additionalItems" | b"contains" | b"unevaluatedItems" => {
            Place::Elsewhere
        }
        b"additionalProperties" | b"unevaluatedProperties" | b"propertyNames" => Place::Elsewhere,
        b"allOf" | b"anyOf" | b"oneOf" | b"not" | b"if" | b"then" | b"else" => Place::Elsewhere,
        b"contentSchema" => Place::Elsewhere,
        b"properties" | b"patternProperties" | b"dependentSchemas" | b"dependencies" => Place::AllElsewhere,
        b"$defs" | b"definitions" => Place::AllElsewhere,
        _ => Place::Unread,
    }
}

impl Schema {
    fn end_argument(&mut self) {
        let path = || self.way.iter().map(|argument| argument.key.clone()).collect::<Option<Vec<_>>>();
        let path = self.way.last().filter(|argument| !argument.headers.is_empty()).map(|_| path());
        let (Some(argument), Some(path)) = (self.way.pop(), path) else { return };
        match self.mirror(argument, path) {
            Ok(mirror) => self.mirrors.push(mirror),
            Err(rule) => self.breaks(rule),
        }
    }

    fn mirror(&self, mut argument: Argument, path: Option<Vec<String>>) -> Result<Mirror, &'static str> {
        let header = match (argument.headers.pop(), argument.headers.is_empty()) {
            (Some(header), true) => header.ok_or("x-mcp-header is a string")?,
            _ => return Err("x-mcp-header occurs twice"),
        };
        if header.is_empty() {
            return Err("x-mcp-header is empty");
        }
        if !header.bytes().all(is_token) {
            return Err("x-mcp-header is no field name");
        }
        if self.mirrors.iter().any(|other| other.header.eq_ignore_ascii_case(&header)) {
            return Err("two arguments with the same x-mcp-header");
        }
        let [Some(kind)] = argument.types[..] else {
            return Err("x-mcp-header on something else than a string, an integer or a boolean");
        };
        Ok(Mirror { header, path: path.ok_or("x-mcp-header on an argument whose name is no text")?, kind })
    }

    fn breaks(&mut self, rule: &'static str) {
        self.broken.get_or_insert(rule);
    }
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        match name {
            "integer" => Some(Self::Integer),
            "string" => Some(Self::String),
            "boolean" => Some(Self::Boolean),
            _ => None,
        }
    }
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What the arguments of a call say for each mirror, as text: `None` where the field is to be left out, because the
/// argument is absent, `null`, an object or an array.
///
/// # Errors
/// When there are two ways to read a value that is repeated, or none.
pub fn values<'m>(
    arguments: Option<&[u8]>,
    mirrors: &'m [Mirror],
) -> Result<Vec<(&'m str, Option<String>)>, &'static str> {
    let mut raw: Vec<Option<&[u8]>> = vec![None; mirrors.len()];
    let paths: Vec<(usize, &[String])> =
        mirrors.iter().map(|mirror| mirror.path.as_slice()).enumerate().collect();
    if let Some(arguments) = arguments.filter(|_| !mirrors.is_empty()) {
        find(arguments, &paths, &mut raw)?;
    }
    let text = |(mirror, raw): (&'m Mirror, Option<&[u8]>)| {
        let text = raw.map_or(Ok(None), |raw| mirror.kind.text(raw))?;
        Ok((mirror.header.as_str(), text))
    };
    mirrors.iter().zip(raw).map(text).collect()
}

/// Finds the values behind `paths` in `object`, every object read once.
fn find<'a, 'p>(
    object: &'a [u8],
    paths: &[(usize, &'p [String])],
    found: &mut [Option<&'a [u8]>],
) -> Result<(), &'static str> {
    let Some(members) = members(object) else { return Ok(()) };
    for member in &members {
        let mut behind: Vec<(usize, &'p [String])> = (paths.iter())
            .filter_map(|(index, path)| Some((*index, path.split_first()?)))
            .filter(|(_, (first, _))| first.as_bytes() == member.key)
            .map(|(index, (_, rest))| (index, rest))
            .collect();
        if behind.is_empty() {
            continue;
        }
        members::sole(&members, &member.key).map_err(|Doubled| "an argument occurs twice")?;
        let value = object.get(member.span.clone()).unwrap_or_default();
        behind.retain(|(index, rest)| {
            if let (true, Some(found)) = (rest.is_empty(), found.get_mut(*index)) {
                *found = Some(value);
            }
            !rest.is_empty()
        });
        if !behind.is_empty() {
            find(value, &behind, found)?;
        }
    }
    Ok(())
}

impl Kind {
    /// The text of a JSON value.
    fn text(self, raw: &[u8]) -> Result<Option<String>, &'static str> {
        let raw = str::from_utf8(raw).map_err(|_| "an argument is no text")?;
        match (self, raw.as_bytes().first()) {
            (_, Some(b'"')) => envelope::decode(raw)
                .map(|text| Some(text.into_owned()))
                .ok_or("an argument with a lone surrogate"),
            (Self::Integer, Some(b'-' | b'0'..=b'9')) => Ok(Some(match integer(raw) {
                Some(integer) => format!("{integer:.0}"),
                None => raw.to_owned(),
            })),
            (_, Some(b'-' | b'0'..=b'9' | b't' | b'f')) => Ok(Some(raw.to_owned())),
            _ => Ok(None),
        }
    }
}

/// The integer that a JSON number says, in any of its spellings, if everyone holds it exactly.
fn integer(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || !digits.ends_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let number: f64 = serde_json::from_str(text).ok()?;
    // Adding zero takes the sign from a zero.
    (number.fract() == 0.0 && number.abs() <= LARGEST_INTEGER).then_some(number + 0.0)
}

/// Whether a field's text says what the argument says, both as [`decode`] and [`values`] give them.
#[must_use]
pub fn matches(kind: Kind, header: &str, argument: &str) -> bool {
    header == argument
        || kind == Kind::Integer && integer(header).is_some_and(|header| Some(header) == integer(argument))
}

/// `text` as the value of a field.
#[must_use]
pub fn encode(text: &str) -> Cow<'_, str> {
    let (start, end) = SENTINEL;
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let blanks = text.starts_with(' ') || text.ends_with(' ');
    if plain && !blanks && !(text.starts_with(start) && text.ends_with(end)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{start}{}{end}", STANDARD.encode(text.as_bytes())))
}

/// The text that the value of a field stands for; `None` when it is malformed.
#[must_use]
pub fn decode(value: &[u8]) -> Option<Cow<'_, str>> {
    let (start, end) = SENTINEL;
    if !value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return None;
    }
    let text = str::from_utf8(value).ok()?;
    if !(text.starts_with(start) && text.ends_with(end)) {
        return Some(Cow::Borrowed(text));
    }
    let inside = text.strip_prefix(start)?.strip_suffix(end)?;
    String::from_utf8(STANDARD.decode(inside.as_bytes())?).ok().map(Cow::Owned)
}
