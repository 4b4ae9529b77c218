//! The members of one JSON object, in order, as they stand.

use super::walk::{self, Shape};
use std::ops::Range;

/// A member of an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// Its key, decoded; UTF-8 unless it was written with a lone surrogate.
    pub key: Vec<u8>,
    /// Where its value stands in the object's text.
    pub span: Range<usize>,
}

/// The members of the object `raw`, or `None` when that is no object. Doubled keys stay doubled.
#[must_use]
pub fn members(raw: &[u8]) -> Option<Vec<Member>> {
    let text = str::from_utf8(raw).ok()?;
    let mut list = List::default();
    walk::walk(text, Place::Whole, &mut list).ok()?;
    list.object.then_some(list.members)
}

/// Where the only value of a key stands; an error when there are several.
pub(super) fn sole<'m>(members: &'m [Member], key: &[u8]) -> Result<Option<&'m Range<usize>>, Doubled> {
    let mut found = members.iter().filter(|member| member.key == key);
    match (found.next(), found.next()) {
        (first, None) => Ok(first.map(|member| &member.span)),
        _ => Err(Doubled),
    }
}

/// A member occurs twice.
#[derive(Debug)]
pub(super) struct Doubled;

#[derive(Default)]
struct List {
    members: Vec<Member>,
    key: Vec<u8>,
    object: bool,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Place {
    Whole,
    Member,
}

impl Shape for List {
    type Field = Place;

    fn member(&mut self, _: Place, key: &[u8]) -> Place {
        self.key = key.to_vec();
        Place::Member
    }

    fn element(&mut self, _: Place) -> Place {
        Place::Member
    }

    fn opens(&self, place: Place, bracket: u8) -> bool {
        place == Place::Whole && bracket == b'{'
    }

    fn found(&mut self, place: Place, text: &str, span: Range<usize>) {
        match place {
            Place::Whole => self.object = text.get(span).is_some_and(|value| value.starts_with('{')),
            Place::Member => self.members.push(Member { key: std::mem::take(&mut self.key), span }),
        }
    }
}
