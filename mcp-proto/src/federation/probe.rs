//! Which era a target speaks: asked once with `server/discover`, remembered with a date, asked again when in doubt.
//!
//! A request for a target of unknown era waits while one probe is under way. The verdict is the shard's; it comes from
//! the configuration where that says. A legacy verdict grows old, since a target that has learnt the new revision still
//! serves the old one; a modern one fails loudly when it is no longer true, and then is asked again
//! (basic/versioning, Backward Compatibility).

use super::initialize::InitializeResult;
use crate::era::MODERN;
use crate::http::Method;
use crate::jsonrpc::envelope::Envelope;
use crate::leg::{Leg, LegId, Purpose, Refused, Trouble};
use crate::refusal;
use crate::session::{Opened, Revision};
use crate::shard::{Deferred, Shard};
use bytes::Bytes;
use routing::{Protocol, Target, TargetId};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A legacy verdict is doubted after this.
const LEGACY_AGE: Duration = Duration::from_secs(5 * 60);
/// A verdict is not doubted again before this.
const REST: Duration = Duration::from_secs(10);

/// What a target speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Era {
    /// 2026-07-28: no session.
    Modern,
    /// A handshake, and maybe a session.
    Legacy,
    /// 2024-11-05 over HTTP+SSE: a handshake, and one stream for all answers.
    Sse,
}

/// What is held of a target's era.
#[derive(Clone, Copy, Debug)]
struct Known {
    era: Era,
    since: Instant,
    /// The target did not say so: it did not answer the question.
    guessed: bool,
}

/// What a shard knows of a target's era.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    known: Option<Known>,
    /// A probe is under way, and these wait for it.
    asking: Option<Vec<LegId>>,
    /// What the target said of itself, when it is modern.
    pub(crate) discovered: Option<Discovered>,
}

impl Verdict {
    /// How many requests wait for it.
    pub(crate) fn waiting(&self) -> usize {
        self.asking.as_ref().map_or(0, |waiting| waiting.len().max(1))
    }

    /// It may hold no longer: looked into with the next request.
    pub(crate) fn grow_old(&mut self) {
        if let Some(known) = &mut self.known {
            known.since = known.since.checked_sub(LEGACY_AGE).unwrap_or(known.since);
        }
    }
}

/// The answer to `server/discover`, or as much of `initialize`'s.
#[derive(Clone, Debug)]
pub(crate) struct Discovered {
    /// The answer, whole.
    pub(crate) body: Bytes,
    /// What is read of it.
    pub(super) result: Option<Arc<InitializeResult>>,
    /// The revision that it agrees to, where it answers `initialize`.
    pub(crate) revision: Option<Revision>,
    /// `serverInfo` in it, raw.
    pub(crate) info: Option<Bytes>,
    pub(crate) at: Instant,
}

/// What is read of an answer to `server/discover`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DiscoverResult<'a> {
    supported_versions: Vec<String>,
    #[serde(borrow, default, rename = "capabilities")]
    _capabilities: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct UnsupportedVersion {
    data: Option<Supported>,
}

#[derive(Deserialize)]
struct Supported {
    #[serde(default)]
    supported: Vec<String>,
}

/// What an answer to the probe says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Said {
    Era(Era),
    /// Nothing about the era: it may be overloaded, or want credentials.
    Nothing,
}

impl Shard {
    /// What a target speaks, as far as is known.
    pub(crate) fn era(&self, target: &Target) -> Option<Era> {
        match target.protocol {
            Protocol::Modern => Some(Era::Modern),
            Protocol::Legacy => Some(Era::Legacy),
            Protocol::Sse => Some(Era::Sse),
            Protocol::Auto => self.pools.get(&target.id)?.verdict.known.map(|known| known.era),
        }
    }

    /// The same for a request that is about to be sent; a verdict that has grown old is looked into meanwhile.
    pub(crate) fn current_era(&mut self, id: LegId, target: &Arc<Target>) -> Option<Era> {
        if target.protocol != Protocol::Auto {
            return self.era(target);
        }
        let known = self.pools.get(&target.id)?.verdict.known?;
        // A process learns nothing new while it runs, and asking means starting another.
        let grows_old = target.process.is_none() && known.era != Era::Modern;
        if grows_old && known.since + LEGACY_AGE <= self.now {
            self.probe(id, target);
        }
        Some(known.era)
    }

    /// Lets a request wait until it is known what its target speaks.
    pub(crate) fn await_era(&mut self, id: LegId, target: &Arc<Target>) {
        self.probe(id, target);
        let waiting = self.pools.get_mut(&target.id).and_then(|pool| pool.verdict.asking.as_mut());
        match waiting {
            Some(waiting) => waiting.push(id),
            None => self.deferred.push_back(Deferred::Fail(id, Trouble::Nowhere)),
        }
    }

    /// Asks a target what it speaks, unless it is being asked, with the credentials that `asker` has for it.
    fn probe(&mut self, asker: LegId, target: &Arc<Target>) {
        let fields = self.legs.get(asker).and_then(|leg| leg.fields.clone());
        let Some(pool) = self.pools.get_mut(&target.id) else { return };
        if pool.verdict.asking.is_some() {
            return;
        }
        pool.verdict.asking = Some(Vec::new());
        let body = Bytes::from_static(DISCOVER);
        let mut leg = Leg::new(Arc::clone(target), None, Purpose::Probe, Method::Post, body);
        leg.repeatable = true;
        leg.fields = fields;
        let leg = self.legs.insert(leg);
        self.counters.calls.add(1);
        self.dress(leg, None);
        self.dispatch_leg(leg);
    }

    /// Whether the answer to a request may come of having been asked in the wrong era. Then the request waits for what
    /// the target says it speaks, or is made anew if that is known to be another by now; else the answer stands.
    pub(crate) fn doubt(&mut self, id: LegId, target: &Arc<Target>, status: u16, body: &[u8]) -> bool {
        let now = self.now;
        let Some(known) = self.pools.get(&target.id).map(|pool| pool.verdict.known) else { return false };
        let Some(leg) = self.legs.get_mut(id) else { return false };
        let modern = leg.is_modern();
        let other = known.is_some_and(|known| (known.era == Era::Modern) != modern);
        let sure = known.is_some_and(|known| !known.guessed && known.since + REST > now);
        if target.protocol != Protocol::Auto || leg.doubted || (sure && !other) {
            return false;
        }
        leg.doubted = true;
        leg.refused_with = Some(Box::new(Refused { modern, status, body: Bytes::copy_from_slice(body) }));
        match other {
            true => self.deferred.push_back(Deferred::Start(id)),
            false => self.await_era(id, target),
        }
        true
    }

    /// A target that refuses both questions may be older than both: then its first word comes on a GET
    /// (basic/transports/streamable-http, HTTP+SSE Transport).
    pub(crate) fn try_sse(&mut self, id: LegId, target: &Arc<Target>) -> bool {
        if target.protocol != Protocol::Auto {
            return false;
        }
        match self.era(target) {
            Some(Era::Legacy) => self.judge(&target.id, Era::Sse, false),
            // Another that was refused at the same time has found it out.
            Some(Era::Sse) => {}
            Some(Era::Modern) | None => return false,
        }
        self.deferred.push_back(Deferred::Start(id));
        true
    }

    /// A session that another shard opened tells of its target what only opening one does: that it is older than it
    /// says on being asked.
    pub(super) fn learn_era(&mut self, name: &TargetId, opened: &Opened) {
        let auto = self.routes.find(name).is_some_and(|it| it.protocol == Protocol::Auto);
        let known = self.pools.get(name).and_then(|pool| pool.verdict.known);
        if opened.sse && auto && known.is_none_or(|known| known.era == Era::Legacy) {
            self.judge(name, Era::Sse, false);
        }
    }

    /// A target opened a session: that it speaks so is a guess no more.
    pub(super) fn confirm(&mut self, name: &TargetId) {
        if let Some(known) = self.pools.get_mut(name).and_then(|pool| pool.verdict.known.as_mut()) {
            known.guessed &= known.era == Era::Modern;
        }
    }

    /// Another shard, which had to open a session, was told that there are none any more.
    pub(super) fn learn_modern(&mut self, name: &TargetId) {
        if self.routes.find(name).is_some_and(|it| it.protocol == Protocol::Auto) {
            self.judge(name, Era::Modern, false);
        }
    }

    /// A verdict turned out to be wrong, and what is right is not known.
    pub(crate) fn unsure(&mut self, target: &TargetId) {
        if let Some(pool) = self.pools.get_mut(target) {
            // Where the configuration says it, this is never asked.
            pool.verdict.known = None;
        }
    }

    /// A target answered the probe.
    pub(crate) fn probe_answered(&mut self, id: LegId, status: u16, body: &[u8]) {
        let Some(target) = self.legs.get(id).map(|leg| Arc::clone(&leg.target)) else { return };
        self.settle_leg(id);
        match said(status, body, self.config.limits.depth) {
            Said::Era(era) => {
                let now = self.now;
                if let Some(pool) = self.pools.get_mut(&target.id) {
                    let is_answer = era == Era::Modern && (200..300).contains(&status);
                    pool.verdict.discovered = is_answer.then(|| Discovered::new(body, now));
                }
                self.judge(&target.id, era, false);
            }
            Said::Nothing => self.unjudged(&target.id, &Trouble::Status(status)),
        }
    }

    /// The probe was not answered. Silence is how some legacy servers treat what they don't know, so such a target is
    /// tried as one; if it is none, what waits will be told so.
    pub(crate) fn probe_failed(&mut self, target: &Arc<Target>, trouble: &Trouble) {
        match trouble {
            Trouble::Late(_)
            | Trouble::Silent
            | Trouble::Malformed(_)
            | Trouble::Lost(_)
            | Trouble::Exited => {
                self.judge(&target.id, Era::Legacy, true);
            }
            _ => self.unjudged(&target.id, trouble),
        }
    }

    /// It is known what a target speaks, or guessed.
    pub(crate) fn judge(&mut self, target: &TargetId, era: Era, guessed: bool) {
        let now = self.now;
        let Some(pool) = self.pools.get_mut(target) else { return };
        // One that is known to be older than its siblings answers the question no other way than they do.
        let era = match pool.verdict.known {
            Some(Known { era: Era::Sse, .. }) if era == Era::Legacy => Era::Sse,
            _ => era,
        };
        let before = pool.verdict.known.replace(Known { era, since: now, guessed });
        let waiting = pool.verdict.asking.take().unwrap_or_default();
        self.deferred.extend(waiting.into_iter().map(Deferred::Start));
        self.channel_judged(target, era);
        self.saw_era(target, era);
        if before.is_some_and(|before| before.era != era) {
            self.streams_by_era(target);
        }
    }

    /// It can't be known now. What was known before still holds.
    fn unjudged(&mut self, target: &TargetId, trouble: &Trouble) {
        let Some(pool) = self.pools.get_mut(target) else { return };
        let waiting = pool.verdict.asking.take().unwrap_or_default();
        let known = pool.verdict.known.is_some();
        // It was asked with the first one's credentials: the others have a right to use their own.
        let refused = matches!(trouble, Trouble::Status(401 | 403));
        for (number, leg) in waiting.into_iter().enumerate() {
            let own = refused && number > 0 && self.legs.get(leg).is_some_and(|leg| leg.fields.is_some());
            self.deferred.push_back(match known || own {
                true => Deferred::Start(leg),
                false => Deferred::Fail(leg, trouble.clone()),
            });
        }
    }
}

/// What a probe asks; the envelope is added like to any other request.
pub(crate) const DISCOVER: &[u8] =
    br#"{"jsonrpc":"2.0","id":"mcp-gateway-discover","method":"server/discover"}"#;

fn said(status: u16, body: &[u8], depth: usize) -> Said {
    let legacy = Said::Era(Era::Legacy);
    if matches!(status, 401 | 403 | 407 | 408 | 425 | 429 | 500..) {
        return Said::Nothing;
    }
    let Ok(envelope) = Envelope::parse(body, depth) else { return legacy };
    if let Some(error) = &envelope.error {
        return match error.code {
            Some(refusal::HEADER_MISMATCH | refusal::MISSING_CAPABILITY) => Said::Era(Era::Modern),
            Some(refusal::UNSUPPORTED_VERSION) => {
                let told = body.get(error.span.clone());
                let told = told.and_then(|error| serde_json::from_slice::<UnsupportedVersion>(error).ok());
                let supported = told.and_then(|error| error.data).map(|data| data.supported);
                match supported {
                    Some(versions) if !versions.iter().any(|version| version == MODERN) => legacy,
                    _ => Said::Era(Era::Modern),
                }
            }
            _ => legacy,
        };
    }
    let result = envelope.result.and_then(|span| body.get(span)).unwrap_or_default();
    match serde_json::from_slice::<DiscoverResult<'_>>(result) {
        Ok(result) if result.supported_versions.iter().any(|version| version == MODERN) => {
            Said::Era(Era::Modern)
        }
        _ => legacy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_answer_tells_its_era() {
        let modern = Said::Era(Era::Modern);
        let legacy = Said::Era(Era::Legacy);
        let result =
            r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2026-07-28"],"capabilities":{}}}"#;
        let only_legacy =
            r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2025-11-25"],"capabilities":{}}}"#;
        let error =
            |code: i64| format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":""}}}}"#);
        let unsupported = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"","data":{"supported":["2025-11-25"]}}}"#;
        for (status, body, expected) in [
            (200, result, modern),
            (200, only_legacy, legacy),
            (400, &error(-32020), modern),
            (400, &error(-32021), modern),
            (400, &error(-32022), modern),
            (400, unsupported, legacy),
            (404, &error(-32601), legacy),
            (200, &error(-32601), legacy),
            (400, &error(-32000), legacy),
            (400, "no JSON", legacy),
            (404, "", legacy),
            (406, "", legacy),
            (401, "", Said::Nothing),
            (403, "", Said::Nothing),
            (429, "", Said::Nothing),
            (503, result, Said::Nothing),
        ] {
            assert_eq!(said(status, body.as_bytes(), 64), expected, "{status} {body}");
        }
    }
}
