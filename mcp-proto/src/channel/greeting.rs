//! The handshake on a shared channel: made once, by the gateway, for all who use it.
//!
//! A target with one client can't tell the clients behind it apart, so it is offered none of their capabilities: what
//! it would ask could not be asked of the right one.

use super::ChannelId;
use crate::jsonrpc::envelope::Envelope;
use crate::jsonrpc::splice::{quote, splice};
use crate::leg::Trouble;
use crate::session::Revision;
use crate::shard::{Closing, Shard};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Instant;

/// How far a shared channel's handshake is.
#[derive(Debug, Default)]
pub(super) enum Greeting {
    /// Not begun: maybe nobody needs it.
    #[default]
    None,
    /// `initialize` was sent, under this number.
    Asked(u64, Instant),
    /// It was answered, with this.
    Done(Bytes),
}

/// What is read of an answer to `initialize`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    protocol_version: &'a RawValue,
}

impl Greeting {
    /// When `initialize` was sent, while its answer is awaited.
    pub(super) fn asked(&self) -> Option<Instant> {
        match self {
            Self::Asked(_, since) => Some(*since),
            Self::None | Self::Done(_) => None,
        }
    }

    pub(super) fn is_answered_by(&self, number: u64) -> bool {
        matches!(self, Self::Asked(asked, _) if *asked == number)
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    /// The answer to a session's `initialize`: what was answered to ours, in words the session's client understands.
    pub(super) fn answer_to(&self, message: &[u8], asked: &Envelope<'_>) -> Option<Bytes> {
        let Self::Done(answer) = self else { return None };
        let envelope = Envelope::parse(answer, usize::MAX).ok()?;
        let mut edits = Vec::new();
        edits.push((envelope.id_span?, message.get(asked.id_span.clone()?)?));
        let mut version = Vec::new();
        let (result, offered) = (envelope.result?, asked.params.protocol_version.as_ref());
        let text = answer.get(result.clone())?;
        let said = serde_json::from_slice::<Answer<'_>>(text).ok()?.protocol_version;
        let agreed = serde_json::from_str::<String>(said.get()).ok().and_then(|said| Revision::parse(&said));
        // A client that is answered with a newer revision than it offered hangs up.
        if let Some(offered) = offered.and_then(|offered| Revision::parse(&*offered.value))
            && agreed.is_some_and(|agreed| offered < agreed)
        {
            quote(offered.as_str(), &mut version);
            let start = result.start + (said.get().as_ptr().addr() - text.as_ptr().addr());
            edits.push((start..start + said.get().len(), version.as_slice()));
        }
        edits.sort_by_key(|(span, _)| span.start);
        let mut out = Vec::with_capacity(answer.len() + 16);
        splice(answer, &edits, &mut out);
        Some(out.into())
    }
}

impl Shard {
    /// Sends `initialize`, unless that was done.
    pub(super) fn greet_channel(&mut self, id: ChannelId) {
        let now = self.now;
        let Some(channel) = self.channels.table.get_mut(id) else { return };
        if !matches!(channel.greeting, Greeting::None) {
            return;
        }
        channel.number += 1;
        channel.greeting = Greeting::Asked(channel.number, now);
        let message = format!(
            r#"{{"jsonrpc":"2.0","id":{},"method":"initialize","params":{{"protocolVersion":"{}","capabilities":{{}},"clientInfo":{{"name":"mcp-gateway","version":"{}"}}}}}}"#,
            channel.number,
            Revision::LATEST.as_str(),
            env!("CARGO_PKG_VERSION"),
        );
        self.write_on_channel(id, message.into());
        self.watch_channel(id);
    }

    /// `initialize` was answered.
    pub(super) fn channel_greeted(&mut self, id: ChannelId, answer: Bytes) {
        let refused = Envelope::parse(&answer, usize::MAX).is_ok_and(|envelope| envelope.error.is_some());
        if refused {
            // Those who wait would be refused the same: they are told, and the next one is a new beginning.
            let trouble = Trouble::Refused("it refused to begin".into());
            return self.end_channel(id, &trouble, Closing::Abort);
        }
        let Some(channel) = self.channels.table.get_mut(id) else { return };
        channel.greeting = Greeting::Done(answer);
        let target = channel.target.id.clone();
        let initialized = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        self.write_on_channel(id, Bytes::from_static(initialized));
        let starts = self.channels.starts.entry(target.clone()).or_default();
        if std::mem::replace(&mut starts.greeted, true) {
            // It has forgotten what sessions had told it.
            self.tell_all(super::Mail::Renewed { target });
        }
        self.channel_ready(id);
    }
}
