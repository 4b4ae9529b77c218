//! One serde_json pass that tells where the values of interest stand.
//!
//! serde_json checks the grammar and decodes keys; a raw value tells where it stands, but an object or array that is
//! looked into does not. Its start is therefore found from the end of the value before it: between the two are only
//! white space, a comma, a key and a colon.

use memchr::memchr2;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::ops::Range;

/// Which values are of interest.
pub(super) trait Shape {
    /// A place in the text, `Copy` and small.
    type Field: Copy;
    /// The place of a member of the object at `parent`.
    fn member(&mut self, parent: Self::Field, key: &[u8]) -> Self::Field;
    /// The place of an element of the array at `parent`.
    fn element(&mut self, parent: Self::Field) -> Self::Field;
    /// Whether to look into the object (`{`) or array (`[`) at `field`.
    fn opens(&self, field: Self::Field, bracket: u8) -> bool;
    /// The value at `field` stands at `span` of `text`; called when it ends.
    fn found(&mut self, field: Self::Field, text: &str, span: Range<usize>);
}

/// Walks `text`, whose first value is at `field`.
pub(super) fn walk<S: Shape>(text: &str, field: S::Field, shape: &mut S) -> Result<(), serde_json::Error> {
    let mut source = serde_json::Deserializer::from_str(text);
    let mut walk = Walk { text, at: 0, shape };
    walk.skip_space();
    Value { walk: &mut walk, field }.deserialize(&mut source)?;
    source.end()
}

struct Walk<'a, 's, S> {
    text: &'a str,
    /// Behind the last value or opening bracket.
    at: usize,
    shape: &'s mut S,
}

impl<S: Shape> Walk<'_, '_, S> {
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
    }

    /// Passes white space and, if it comes next, `byte`.
    fn skip_past(&mut self, byte: u8) {
        self.skip_space();
        self.at += usize::from(self.peek() == byte);
    }

    /// From before a key to its value.
    fn skip_key(&mut self) {
        self.skip_space();
        self.at += 1;
        while let Some(found) = memchr2(b'"', b'\\', self.text.as_bytes().get(self.at..).unwrap_or_default())
        {
            self.at += found;
            if self.peek() == b'"' {
                break;
            }
            self.at += 2;
        }
        self.at += 1;
        self.skip_past(b':');
        self.skip_space();
    }
}

/// The value that begins at `walk.at`.
struct Value<'w, 'a, 's, S: Shape> {
    walk: &'w mut Walk<'a, 's, S>,
    field: S::Field,
}

impl<'a, S: Shape> DeserializeSeed<'a> for Value<'_, 'a, '_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, source: D) -> Result<(), D::Error> {
        let Self { walk, field } = self;
        let start = walk.at;
        let bracket = walk.peek();
        if matches!(bracket, b'{' | b'[') && walk.shape.opens(field, bracket) {
            source.deserialize_any(Inside { walk: &mut *walk, field })?;
        } else {
            let raw: &'a RawValue = Deserialize::deserialize(source)?;
            walk.at = start + raw.get().len();
        }
        walk.shape.found(field, walk.text, start..walk.at);
        Ok(())
    }
}

/// The members or elements of the value whose bracket is at `walk.at`.
struct Inside<'w, 'a, 's, S: Shape> {
    walk: &'w mut Walk<'a, 's, S>,
    field: S::Field,
}

impl<'a, S: Shape> Visitor<'a> for Inside<'_, 'a, '_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or array")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { walk, field: parent } = self;
        walk.at += 1;
        while let Some(field) = map.next_key_seed(Key { shape: &mut *walk.shape, parent })? {
            walk.skip_past(b',');
            walk.skip_key();
            map.next_value_seed(Value { walk: &mut *walk, field })?;
        }
        walk.skip_past(b'}');
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self { walk, field: parent } = self;
        walk.at += 1;
        loop {
            walk.skip_past(b',');
            walk.skip_space();
            let field = walk.shape.element(parent);
            if elements.next_element_seed(Value { walk: &mut *walk, field })?.is_none() {
                break;
            }
        }
        walk.skip_past(b']');
        Ok(())
    }
}

/// A key, decoded. Taken as bytes: as text, a lone surrogate in a key of no interest would refuse the whole message.
struct Key<'w, S: Shape> {
    shape: &'w mut S,
    parent: S::Field,
}

impl<'a, S: Shape> DeserializeSeed<'a> for Key<'_, S> {
    type Value = S::Field;

    fn deserialize<D: Deserializer<'a>>(self, source: D) -> Result<S::Field, D::Error> {
        source.deserialize_bytes(self)
    }
}

impl<S: Shape> Visitor<'_> for Key<'_, S> {
    type Value = S::Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E: Error>(self, key: &[u8]) -> Result<S::Field, E> {
        Ok(self.shape.member(self.parent, key))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<S::Field, E> {
        self.visit_bytes(key.as_bytes())
    }
}
