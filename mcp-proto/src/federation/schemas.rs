//! Which arguments of a target's tools are repeated in header fields, where the gateway must know.
//!
//! A legacy client does not know of such fields, and one on a stream of lines has none, so towards a modern target the
//! gateway writes them; a modern client on HTTP writes them whatever its target is, so before a legacy target, which knows nothing of them, the gateway checks them
//! (basic/transports/streamable-http, Custom Headers from Tool Parameters). Both take the tool's schema: a target's tools
//! are listed once, before the first such call, and again when it says that they changed or that the fields are wrong.

use crate::era;
use crate::exchange::ExchangeId;
use crate::http::{Fields, Method, write};
use crate::jsonrpc::envelope::Envelope;
use crate::jsonrpc::list::{self, Kind, View};
use crate::jsonrpc::mirror;
use crate::leg::{Leg, LegId, Purpose, Trouble};
use crate::refusal::Refusal;
use crate::session::SessionId;
use crate::shard::{Deferred, Shard};
use routing::{Target, TargetId};
use std::sync::Arc;

/// A list that has more pages is taken to have no end.
const PAGES: usize = 1_000;

/// What a shard knows of a target's schemas.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    known: bool,
    /// How many pages have come of the list that is being asked for.
    pages: usize,
    /// They are being asked for, and these wait.
    asking: Option<Vec<LegId>>,
}

impl Schemas {
    /// How many requests wait for them.
    pub(crate) fn waiting(&self) -> usize {
        self.asking.as_ref().map_or(0, |waiting| waiting.len().max(1))
    }
}

impl Shard {
    /// Lets a call wait until the schemas of its target are known, if they matter for it and are not.
    pub(super) fn await_schemas(
        &mut self,
        id: LegId,
        target: &Arc<Target>,
        envelope: Option<&Envelope<'_>>,
    ) -> bool {
        let Some(leg) = self.legs.get(id).filter(|_| envelope.is_some_and(is_call)) else { return false };
        let Purpose::Part { exchange, slot: None, .. } = leg.purpose else { return false };
        let Some(pool) = self.pools.get_mut(&target.id) else { return false };
        if pool.schemas.known {
            return false;
        }
        let (session, fields) = (leg.session, leg.fields.clone());
        match &mut pool.schemas.asking {
            Some(waiting) => waiting.push(id),
            None => {
                pool.schemas.asking = Some(vec![id]);
                self.ask_schemas(exchange, session, target, fields, None);
            }
        }
        true
    }

    fn ask_schemas(
        &mut self,
        exchange: ExchangeId,
        session: Option<SessionId>,
        target: &Arc<Target>,
        fields: Option<Box<Fields>>,
        cursor: Option<&str>,
    ) {
        let body = super::gather::lookup(Kind::Tools, cursor);
        let purpose = Purpose::Schemas { exchange };
        let mut leg = Leg::new(Arc::clone(target), session, purpose, Method::Post, body);
        leg.repeatable = true;
        leg.fields = fields;
        let leg = self.legs.insert(leg);
        self.start(leg);
    }

    /// A page of tools came.
    pub(crate) fn schemas_answered(&mut self, id: LegId, body: &[u8]) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        let Purpose::Schemas { exchange } = leg.purpose else { return };
        let (target, session, fields) = (Arc::clone(&leg.target), leg.session, leg.fields.take());
        let first =
            Envelope::parse(&leg.body, usize::MAX).is_ok_and(|envelope| envelope.params.cursor.is_none());
        self.settle_leg(id);
        let mut items = Vec::new();
        let limits = self.config.limits;
        // A target without tools will say so to the call.
        let page = list::federate(body, Kind::Tools, &View::default(), limits.depth, &mut items).ok();
        let page = page.unwrap_or_default();
        self.catalogue.learn_mirrors(&target.id, &page.mirrors, first, &limits);
        let pages = self.pools.get_mut(&target.id).map_or(0, |pool| {
            pool.schemas.pages = if first { 1 } else { pool.schemas.pages + 1 };
            pool.schemas.pages
        });
        match page.next_cursor.filter(|_| pages < PAGES) {
            Some(cursor) => self.ask_schemas(exchange, session, &target, fields, Some(&cursor)),
            None => self.schemas_known(&target.id, true),
        }
    }

    /// They can't be had now: what waits goes on without, and is told by the target if they matter.
    pub(crate) fn schemas_failed(&mut self, target: &TargetId, trouble: &Trouble) {
        match trouble {
            Trouble::Malformed(_) | Trouble::TooLarge | Trouble::Status(_) => {
                self.schemas_known(target, true)
            }
            _ => {
                let Some(pool) = self.pools.get_mut(target) else { return };
                for leg in pool.schemas.asking.take().unwrap_or_default() {
                    self.deferred.push_back(Deferred::Fail(leg, trouble.clone()));
                }
            }
        }
    }

    fn schemas_known(&mut self, target: &TargetId, known: bool) {
        let Some(pool) = self.pools.get_mut(target) else { return };
        pool.schemas.known = known;
        let waiting = pool.schemas.asking.take().unwrap_or_default();
        self.deferred.extend(waiting.into_iter().map(Deferred::Start));
    }

    /// The tools of a target changed.
    pub(super) fn forget_schemas(&mut self, target: &TargetId) {
        if let Some(pool) = self.pools.get_mut(target) {
            pool.schemas.known = false;
        }
    }

    /// Whether a client's request does not come with such fields itself.
    pub(super) fn lacks_mirrors(&self, id: ExchangeId) -> bool {
        self.exchange(id).is_some_and(|exchange| exchange.modern.is_none() || !self.is_over_http(id))
    }

    /// Writes the fields that repeat the arguments of a call; none where the arguments can't be read.
    pub(super) fn write_mirrored(&self, leg: &Leg, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
        let Some(name) = envelope.params.name.as_ref() else { return };
        let Some(mirrors) = self.catalogue.mirrors(&leg.target.id, &name.value) else { return };
        let arguments = envelope.params.arguments.clone().and_then(|span| leg.body.get(span));
        for (header, text) in mirror::values(arguments, mirrors).unwrap_or_default() {
            if let Some(text) = text {
                let name = format!("{}{header}", mirror::PREFIX);
                write::field(out, &name, mirror::encode(&text).as_bytes());
            }
        }
    }

    /// Whether the fields of a modern client's request repeat the arguments of its call as the tool wants it.
    pub(super) fn check_mirrors(
        &self,
        id: LegId,
        exchange: ExchangeId,
        envelope: Option<&Envelope<'_>>,
    ) -> Result<(), Refusal> {
        let (Some(leg), Some(exchange)) = (self.legs.get(id), self.exchange(exchange)) else { return Ok(()) };
        let Some(envelope) = envelope.filter(|envelope| is_call(envelope)) else { return Ok(()) };
        let Some(name) = &envelope.params.name else { return Ok(()) };
        let Some(mirrors) = self.catalogue.mirrors(&leg.target.id, &name.value) else { return Ok(()) };
        let arguments = envelope.params.arguments.clone().and_then(|span| leg.body.get(span));
        let values = mirror::values(arguments, mirrors).map_err(era::mismatch)?;
        for (mirror, (header, argument)) in mirrors.iter().zip(values) {
            let field = format!("{}{header}", mirror::PREFIX);
            let given = exchange.head.fields.first(&field.to_ascii_lowercase());
            let same = match (given, &argument) {
                (None, None) => true,
                (Some(given), Some(argument)) => {
                    mirror::decode(given).is_some_and(|given| mirror::matches(mirror.kind, &given, argument))
                }
                _ => false,
            };
            if !same || exchange.head.fields.count(&field.to_ascii_lowercase()) > 1 {
                let words = format!("the {field} header field does not say what the arguments say");
                return Err(era::mismatch(words));
            }
        }
        Ok(())
    }
}

fn is_call(envelope: &Envelope<'_>) -> bool {
    envelope.method.as_ref().is_some_and(|method| method.value == "tools/call")
}
