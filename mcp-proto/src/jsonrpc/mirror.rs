//! Temporary.
use std::borrow::Cow;
/// Temporary.
pub fn encode(text: &str) -> Cow<'_, str> {
    text.into()
}
/// Temporary.
pub fn decode(value: &[u8]) -> Option<Cow<'_, str>> {
    std::str::from_utf8(value).ok().map(Into::into)
}
