//! A target of revision 2024-11-05 over HTTP+SSE: one event stream brings everything it says, and messages for it are
//! POSTed to the endpoint that the stream's first event names (2024-11-05, Transports, HTTP with SSE).

use super::{Channel, ChannelId, Link, endpoint, patience};
use crate::http::{Fields, Method, Response};
use crate::jsonrpc::skim::Skim;
use crate::leg::{Inbound, Leg, LegId, Purpose, Trouble};
use crate::shard::Shard;
use crate::sse::{self, Item};
use bytes::Bytes;
use routing::Target;
use std::sync::Arc;

/// The stream, being read.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    parser: sse::Parser,
    /// What has come of the event at hand.
    held: Vec<u8>,
    /// The event at hand is too long to be kept.
    skimmed: Option<Box<Skim>>,
}

impl Shard {
    pub(super) fn open_feed(
        &mut self,
        id: ChannelId,
        target: &Arc<Target>,
        fields: Option<Box<Fields>>,
    ) -> Link {
        let purpose = Purpose::Feed { channel: id };
        let mut leg = Leg::new(Arc::clone(target), None, purpose, Method::Get, Bytes::new());
        leg.fields = fields;
        let stream = self.legs.insert(leg);
        self.counters.calls.add(1);
        self.counters.target_streams.add(1);
        self.dispatch_leg(stream);
        Link::Sse { stream, endpoint: None }
    }

    pub(super) fn end_feed(&mut self, stream: LegId) {
        self.counters.target_streams.sub(1);
        self.abandon(stream);
    }

    pub(crate) fn feed_head(&mut self, id: LegId, head: &Response) -> Inbound {
        use crate::federation::Media;
        if head.status == 200 && Media::of(head) == Media::Events {
            self.stream_answer(id);
            return Inbound::Feed(Box::default());
        }
        Inbound::whole(head.status)
    }

    /// It was not answered with a stream.
    pub(crate) fn feed_refused(&mut self, on: ChannelId, status: u16) {
        let trouble = match status {
            200..300 => Trouble::Malformed("it answers a GET with no event stream"),
            _ => Trouble::Status(status),
        };
        self.channel_failed(on, &trouble);
    }

    /// It broke off, or never began.
    pub(crate) fn feed_failed(&mut self, on: ChannelId, trouble: &Trouble) {
        let trouble = match trouble {
            Trouble::Lost(_) | Trouble::Silent => &Trouble::Hushed,
            other => other,
        };
        self.channel_failed(on, trouble);
    }

    pub(crate) fn read_feed(&mut self, id: LegId, on: ChannelId, feed: &mut Feed, bytes: Bytes) {
        feed.parser.feed(bytes);
        while let Some(item) = feed.parser.next() {
            match item {
                Item::Data(piece) => feed.push(&piece, self.config.limits.message),
                Item::End(end) => self.feed_event(on, feed, end.event.as_deref()),
            }
            if self.legs.get(id).is_none() {
                return;
            }
        }
    }

    fn feed_event(&mut self, on: ChannelId, feed: &mut Feed, event: Option<&str>) {
        let held = Bytes::from(std::mem::take(&mut feed.held));
        let skimmed = feed.skimmed.take();
        match (event, skimmed) {
            (None | Some("message"), Some(skimmed)) => {
                let id = skimmed.id().map(Bytes::copy_from_slice);
                self.channel_overrun(on, id, skimmed.has_method());
            }
            (None | Some("message"), None) if !held.is_empty() => self.channel_message(on, &held),
            (Some("endpoint"), None) => self.endpoint_named(on, &held),
            _ => {}
        }
    }

    fn endpoint_named(&mut self, on: ChannelId, text: &[u8]) {
        let Some(Channel { target, link: Link::Sse { endpoint, .. }, .. }) = self.channels.table.get_mut(on)
        else {
            return;
        };
        if endpoint.is_some() {
            return self.counters.dropped.add(1);
        }
        match endpoint::resolve(&target.authority, &target.path, text) {
            Ok(path) => {
                *endpoint = Some(path.into());
                self.channel_ready(on);
            }
            Err(why) => self.channel_failed(on, &Trouble::Endpoint(why)),
        }
    }

    /// A message's POST was answered: what it was for comes on the stream.
    pub(crate) fn carried(&mut self, id: LegId, on: ChannelId, status: u16) {
        let Some(leg) = self.legs.get(id) else { return };
        if (200..300).contains(&status) {
            let until = self.now + patience(leg);
            return self.limit_leg(id, until);
        }
        self.leg_failed(id, Trouble::Status(status));
        if matches!(status, 404 | 410) {
            // It knows the stream no more that it still holds open.
            self.channel_failed(on, &Trouble::Status(status));
        }
    }
}

impl Feed {
    fn push(&mut self, piece: &[u8], most: usize) {
        if let Some(skimmed) = &mut self.skimmed {
            return skimmed.push(piece);
        }
        if self.held.len() + piece.len() <= most {
            return self.held.extend_from_slice(piece);
        }
        let mut skimmed = Box::<Skim>::default();
        skimmed.push(&std::mem::take(&mut self.held));
        skimmed.push(piece);
        self.skimmed = Some(skimmed);
    }
}
