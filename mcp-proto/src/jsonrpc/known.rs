//! A message that was read need not be read again after one string in it was replaced: all else only moves.

use super::envelope::{Envelope, Text, decode};
use std::borrow::Cow;
use std::ops::Range;

/// What is known of a message that was read, even if a string in it was replaced since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'s> {
    pub(crate) envelope: &'s Envelope<'s>,
    /// Where that string ended, and where it ends now.
    pub(crate) replaced: Option<(usize, usize)>,
}

impl<'s> Known<'s> {
    /// The envelope of `body`, which is that message; it is read if nothing is known.
    pub(crate) fn or_read(known: Option<Self>, body: &'s [u8]) -> Option<Cow<'s, Envelope<'s>>> {
        match known {
            Some(Self { envelope, replaced: None }) => Some(Cow::Borrowed(envelope)),
            Some(Self { envelope, replaced: Some((end, now)) }) => {
                Some(Cow::Owned(envelope.moved(body, end, now)))
            }
            None => Envelope::parse(body, usize::MAX).ok().map(Cow::Owned),
        }
    }
}

impl<'a> Envelope<'a> {
    /// The same of a `body` where the string that ended at `end` was replaced by one that ends at `now`.
    fn moved(&self, body: &'a [u8], end: usize, now: usize) -> Self {
        let mut moved = self.clone();
        let shift = |span: &mut Range<usize>| {
            for place in [&mut span.start, &mut span.end] {
                if *place >= end {
                    *place = *place - end + now;
                }
            }
        };
        moved.texts().for_each(|text| {
            shift(&mut text.span);
            if text.span.end == now
                && let Some(value) = body.get(text.span.clone()).and_then(|raw| str::from_utf8(raw).ok())
            {
                text.value = decode(value).unwrap_or_default();
            }
        });
        moved.spans().for_each(shift);
        moved
    }

    /// All strings.
    fn texts(&mut self) -> impl Iterator<Item = &mut Text<'a>> {
        let Self { method, params, .. } = self;
        let (name, uri) =
            params.reference.as_mut().map_or((None, None), |it| (it.name.as_mut(), it.uri.as_mut()));
        let own = [
            method,
            &mut params.name,
            &mut params.uri,
            &mut params.cursor,
            &mut params.level,
            &mut params.protocol_version,
            &mut params.logger,
            &mut params.task_id,
            &mut params.modern.version_text,
            &mut params.related_task,
        ];
        own.into_iter().filter_map(Option::as_mut).chain(name).chain(uri)
    }

    /// The places of everything else.
    fn spans(&mut self) -> impl Iterator<Item = &mut Range<usize>> {
        let Self { id_span, params, result, error, .. } = self;
        let spans = [
            id_span,
            result,
            &mut params.span,
            &mut params.request_id,
            &mut params.progress_token,
            &mut params.meta_progress_token,
            &mut params.capabilities,
            &mut params.client_info,
            &mut params.arguments,
            &mut params.task,
            &mut params.request_state,
            &mut params.input_responses,
            &mut params.notifications,
            &mut params.meta,
            &mut params.modern.version,
            &mut params.modern.client_capabilities,
            &mut params.modern.client_info,
            &mut params.modern.log_level,
            &mut params.modern.subscription_id,
        ];
        spans.into_iter().filter_map(Option::as_mut).chain(error.as_mut().map(|error| &mut error.span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_moved_with_the_string_that_is_replaced() {
        let texts = [
            r#"{"jsonrpc":"2.0","id":"i","method":"tools/call","params":{"name":"OLD","arguments":{"a":1},"_meta":{"progressToken":2,"io.modelcontextprotocol/protocolVersion":"x","io.modelcontextprotocol/clientInfo":{},"io.modelcontextprotocol/related-task":{"taskId":"t"}},"task":{}}}"#,
            r#"{"params":{"_meta":{},"requestState":"s","inputResponses":{},"uri":"OLD","cursor":"c"},"method":"resources/read","id":1,"jsonrpc":"2.0"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"OLD"},"argument":{}}}"#,
        ];
        for text in texts {
            for (old, new) in [("a_tool", "tool"), ("x", "much longer"), ("é\\n", "è"), ("a", "\\\"")] {
                let (before, after) = (text.replace("OLD", old), text.replace("OLD", new));
                let end = text.find("OLD").expect("each has one") + old.len() + 1;
                let read = |text| Envelope::parse(text, usize::MAX).expect("it is good");
                let moved = read(before.as_bytes()).moved(after.as_bytes(), end, end - old.len() + new.len());
                assert_eq!(moved, read(after.as_bytes()));
            }
        }
    }
}
