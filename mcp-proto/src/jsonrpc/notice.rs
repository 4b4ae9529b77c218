//! What changes in a target's notice for its client, as edits of the few places that were found when it was read.
//!
//! ```text
//! notice ─► Envelope (spans) ─► logger, uri, … ─► at most a handful of edits ─► splice::parts ─► the client's event
//! ```
//!
//! Nothing is put together here: most edits insert what is there already, and take no memory.

use super::envelope::{Params, Text};
use super::splice;
use routing::{TargetName, names, uris};
use std::borrow::Cow;
use std::ops::Range;

/// A place in a message and what comes there.
pub(crate) type Edit<'a> = (Range<usize>, Cow<'a, [u8]>);

/// Inserts nothing, at the start.
pub(crate) const NONE: Edit<'static> = (0..0, Cow::Borrowed(b""));

/// The logger of `target`, as its client sees it.
pub(crate) fn logger<'t>(target: &'t TargetName, params: &Params<'_>) -> [Edit<'t>; 2] {
    let Some(text) = &params.logger else { return [NONE, NONE] };
    prefixed(target, text, 0, names::BEHIND_LOGGER)
        .unwrap_or_else(|name| [NONE, spelled(text, &names::logger(target, name))])
}

/// The URI of `target`, as its client sees it.
pub(crate) fn uri<'t>(target: &'t TargetName, params: &Params<'_>) -> [Edit<'t>; 2] {
    let Some(text) = &params.uri else { return [NONE, NONE] };
    let skipped = uris::place(&text.value);
    prefixed(target, text, skipped, uris::BEHIND)
        .unwrap_or_else(|uri| [NONE, spelled(text, &uris::federated(target, uri))])
}

/// A string that says `text`, in place of another.
pub(crate) fn spelled(old: &Text<'_>, text: &str) -> Edit<'static> {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    splice::quote(text, &mut quoted);
    (old.span.clone(), Cow::Owned(quoted))
}

/// The name of `target` and a mark in `text`, behind the first `skipped` bytes of it.
///
/// # Errors
/// Text that is written with escapes, of which that place can't be told.
fn prefixed<'t, 'x>(
    target: &'t TargetName,
    text: &'x Text<'_>,
    skipped: usize,
    mark: &'static str,
) -> Result<[Edit<'t>; 2], &'x str> {
    let Cow::Borrowed(_) = text.value else { return Err(&text.value) };
    let at = text.span.start + 1 + skipped;
    let insert = |text: &'t str| (at..at, Cow::Borrowed(text.as_bytes()));
    Ok([insert(target.as_str()), insert(mark)])
}

#[cfg(test)]
mod tests {
    use super::super::envelope::Envelope;
    use super::*;

    fn edited(message: &str, edit: impl Fn(&TargetName, &Params<'_>) -> [Edit<'static>; 2]) -> String {
        let envelope = Envelope::parse(message.as_bytes(), 64).unwrap();
        let target = TargetName::parse("t").unwrap();
        let edits = edit(&target, &envelope.params);
        let parts: Vec<_> = splice::parts(message.as_bytes(), &edits).collect();
        String::from_utf8(parts.concat()).unwrap()
    }

    fn owned(edits: [Edit<'_>; 2]) -> [Edit<'static>; 2] {
        edits.map(|(span, text)| (span, Cow::Owned(text.into_owned())))
    }

    #[test]
    fn the_target_goes_in_front_of_what_it_names() {
        for (member, as_logger, as_uri) in [
            (r#""logger":"l","data":{"logger":"m"}"#, r#""logger":"t/l","data":{"logger":"m"}"#, None),
            (r#""logger":"""#, r#""logger":"t/""#, None),
            (r#""logger":"\u006c\"\/""#, r#""logger":"t/l\"/""#, None),
            (r#""logger":5"#, r#""logger":5"#, None),
            (
                r#""uri":"a:b","title":"x""#,
                r#""uri":"a:b","title":"x""#,
                Some(r#""uri":"t+a:b","title":"x""#),
            ),
            (r#""uri":"""#, r#""uri":"""#, Some(r#""uri":"t+""#)),
            (r#""uri":"ui://w""#, r#""uri":"ui://w""#, Some(r#""uri":"ui://t+w""#)),
            (
                r#""u\u0072i":"ui:\/\/w\u00e9""#,
                r#""u\u0072i":"ui:\/\/w\u00e9""#,
                Some(r#""u\u0072i":"ui://t+wé""#),
            ),
            (r#""uri":["a:b"]"#, r#""uri":["a:b"]"#, None),
        ] {
            let whole = |member| format!(r#"{{"jsonrpc":"2.0","method":"m","params":{{{member}}}}}"#);
            let message = whole(member);
            assert_eq!(edited(&message, |target, params| owned(logger(target, params))), whole(as_logger));
            let expected = whole(as_uri.unwrap_or(member));
            assert_eq!(edited(&message, |target, params| owned(uri(target, params))), expected);
        }
    }
}
