//! The last lists of targets, as they came and as clients are shown them.
//!
//! ```text
//! answer of a target ─► recognised ─► the kept one, which it equals ─┐
//!              └► (new) ─► kept ─────────────────────────────────────┴► shown ─► what it looks like, made once
//! ```
//!
//! A target nearly always answers what it answered before. Such an answer is known by its bytes, so that nothing of it
//! is parsed again; whatever differs, be it by a blank, goes the whole way.

use crate::Limits;
use crate::jsonrpc::envelope::Envelope;
use crate::jsonrpc::list::{Kind, Page, View};
use crate::jsonrpc::mirror::Mirror;
use bytes::Bytes;
use routing::{Routes, TargetId};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// However long a target says a list holds, it is asked again after this: it may have been replaced by another.
const LONGEST_TTL: Duration = Duration::from_secs(10 * 60);

/// How many ways a list is shown that are remembered: one for each era of clients.
const VIEWS: usize = 2;

/// A list from its beginning, as a target answered it.
pub(crate) struct List<'a> {
    pub(crate) answer: &'a Bytes,
    /// How long it holds.
    pub(crate) ttl: Duration,
    /// It came as an event.
    pub(crate) event: bool,
    /// It is whole, and may be shown to others than those for whom the target was asked.
    pub(crate) shared: bool,
}

/// A page of a list, as clients are shown it.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The items, a comma before each.
    pub(crate) items: Bytes,
    /// The target's cursor to the next page.
    pub(crate) next_cursor: Option<String>,
    /// Names whose federated form doesn't tell the original: federated, original.
    pub(crate) irregular: Vec<(String, String)>,
    /// Tools that want arguments repeated in the head.
    pub(crate) mirrors: Vec<(String, Vec<Mirror>)>,
    /// Other members of the result: key, raw value.
    pub(crate) extra: Vec<(String, Bytes)>,
}

impl Shown {
    /// `items` begin with a comma of their own.
    pub(crate) fn new(page: Page, mut items: Vec<u8>) -> Self {
        items.shrink_to_fit();
        Self {
            items: if page.items == 0 { Bytes::new() } else { items.into() },
            next_cursor: page.next_cursor,
            irregular: page.irregular,
            mirrors: page.mirrors,
            extra: page.extra.into_iter().map(|(key, value)| (key, value.into())).collect(),
        }
    }
}

/// What makes a view of a target's list differ from another.
type Look = [bool; 4];

/// A target's last good list.
#[derive(Debug)]
struct Kept {
    answer: Bytes,
    /// Where its id stands; the next answer has another.
    id: Range<usize>,
    result: Range<usize>,
    /// Since when it has been the same.
    since: Instant,
    /// As long as this the target need not be asked.
    until: Instant,
    /// It came as an event.
    event: bool,
    /// Others may be shown it, in place of an answer. If not, it is kept only to be recognised when the target says the
    /// same again.
    shared: bool,
    /// What clients were shown of it.
    shown: Vec<(Look, Arc<Shown>)>,
}

#[derive(Debug, Default)]
pub(crate) struct Lists(BTreeMap<TargetId, [Option<Kept>; Kind::ALL.len()]>);

impl Lists {
    fn at(&self, target: &TargetId, kind: Kind) -> Option<&Kept> {
        self.0.get(target)?.get(kind as usize)?.as_ref()
    }

    fn at_mut(&mut self, target: &TargetId, kind: Kind) -> Option<&mut Option<Kept>> {
        self.0.get_mut(target)?.get_mut(kind as usize)
    }

    /// The last good list if `answer` is the same again, but for its id.
    pub(crate) fn recognised(&self, target: &TargetId, kind: Kind, answer: &[u8]) -> Option<Bytes> {
        let kept = self.at(target, kind)?;
        kept.is_said_by(answer).then(|| kept.answer.clone())
    }

    /// Keeps a target's list: to be recognised, and if it is for all, as long as it holds and for when the target is late.
    pub(crate) fn keep(
        &mut self,
        target: &TargetId,
        kind: Kind,
        list: &List<'_>,
        limits: &Limits,
        now: Instant,
    ) {
        let List { answer, ttl, event, shared } = *list;
        let until = now + ttl.min(LONGEST_TTL);
        match self.at_mut(target, kind).and_then(Option::as_mut) {
            Some(kept) if kept.shared && !shared => return,
            Some(kept) if kept.is_of(answer) && kept.shared == shared => {
                kept.until = until;
                return;
            }
            _ => {}
        }
        let envelope = Envelope::parse(answer, usize::MAX).ok();
        let spans = envelope.and_then(|envelope| envelope.id_span.zip(envelope.result));
        let Some((id, result)) = spans.filter(|_| answer.len() <= limits.catalogue) else {
            return self.forget(target, kind);
        };
        let now_kept =
            Kept { answer: answer.clone(), id, result, since: now, until, event, shared, shown: Vec::new() };
        let place = self.0.entry(target.clone()).or_default();
        match place.get_mut(kind as usize) {
            Some(Some(kept)) if kept.shared && kept.says_the_same(&now_kept) => kept.until = until,
            Some(kept) => *kept = Some(now_kept),
            None => {}
        }
    }

    /// The same, if others may be shown it.
    fn shared(&self, target: &TargetId, kind: Kind) -> Option<&Kept> {
        self.at(target, kind).filter(|kept| kept.shared)
    }

    /// The last good list.
    pub(crate) fn last(&self, target: &TargetId, kind: Kind) -> Option<Bytes> {
        self.shared(target, kind).map(|kept| kept.answer.clone())
    }

    /// The same while it holds, and until when it does.
    pub(crate) fn fresh(&self, target: &TargetId, kind: Kind, now: Instant) -> Option<(Bytes, Instant)> {
        let kept = self.shared(target, kind)?;
        (kept.until > now).then(|| (kept.answer.clone(), kept.until))
    }

    /// Whether the last good list came as an event.
    pub(crate) fn came_as_event(&self, target: &TargetId, kind: Kind) -> bool {
        self.shared(target, kind).is_some_and(|kept| kept.event)
    }

    /// Whether the last good list has been the same since before `then`: who was given it then missed nothing.
    pub(crate) fn is_older(&self, target: &TargetId, kind: Kind, then: Instant) -> bool {
        self.shared(target, kind).is_some_and(|kept| kept.since < then)
    }

    /// What `view` shows of an answer, if that is the kept one and was shown so before.
    pub(crate) fn shown(
        &self,
        target: &TargetId,
        kind: Kind,
        answer: &Bytes,
        view: &View<'_>,
    ) -> Option<Arc<Shown>> {
        let kept = self.at(target, kind).filter(|kept| kept.is_of(answer))?;
        let (_, shown) = kept.shown.iter().find(|(of, _)| *of == look(view))?;
        Some(Arc::clone(shown))
    }

    /// Remembers what `view` shows of an answer, if that is the kept one.
    pub(crate) fn show(
        &mut self,
        target: &TargetId,
        kind: Kind,
        answer: &Bytes,
        view: &View<'_>,
        shown: &Arc<Shown>,
        limits: &Limits,
    ) {
        let kept = self.at_mut(target, kind).and_then(Option::as_mut);
        let Some(kept) = kept.filter(|kept| kept.is_of(answer)) else { return };
        if shown.items.len() > limits.catalogue || kept.shown.iter().any(|(of, _)| *of == look(view)) {
            return;
        }
        if kept.shown.len() >= VIEWS {
            kept.shown.remove(0);
        }
        kept.shown.push((look(view), Arc::clone(shown)));
    }

    /// A list changed: what is remembered of it is no longer good.
    pub(crate) fn forget(&mut self, target: &TargetId, kind: Kind) {
        if let Some(kept) = self.at_mut(target, kind) {
            *kept = None;
        }
    }

    /// Forgets targets that are served no more.
    pub(crate) fn retain(&mut self, routes: &Routes) {
        self.0.retain(|target, _| routes.find(target).is_some());
    }
}

impl Kept {
    /// Whether `answer` is this very copy.
    fn is_of(&self, answer: &Bytes) -> bool {
        answer.as_ptr() == self.answer.as_ptr() && answer.len() == self.answer.len()
    }

    /// Whether an answer is this one, byte for byte, but for an id that is as plain as ids are.
    fn is_said_by(&self, answer: &[u8]) -> bool {
        let head = self.answer.get(..self.id.start).unwrap_or_default();
        let tail = self.answer.get(self.id.end..).unwrap_or_default();
        answer.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail)).is_some_and(is_plain_id)
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.answer.get(self.result.clone()) == other.answer.get(other.result.clone())
    }
}

fn look(view: &View<'_>) -> Look {
    [view.target.is_some(), view.drop_invalid, view.strip_execution, view.wrap_output]
}

/// Whether `id` is certainly one JSON value: a natural number, or a string of plain characters.
fn is_plain_id(id: &[u8]) -> bool {
    match id {
        [b'0'] | [b'1'..=b'9', ..] => id.iter().all(u8::is_ascii_digit),
        [b'"', inside @ .., b'"'] => {
            inside.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing::BackendName;

    fn kept(answer: &str) -> (Lists, TargetId) {
        let target = TargetId::parse(&BackendName::default(), "a").unwrap();
        let mut lists = Lists::default();
        let answer = Bytes::copy_from_slice(answer.as_bytes());
        let list = List { answer: &answer, ttl: Duration::ZERO, event: false, shared: true };
        lists.keep(&target, Kind::Tools, &list, &Limits::default(), Instant::now());
        (lists, target)
    }

    #[test]
    fn an_answer_is_recognised_under_another_id_and_no_other_change() {
        for answer in [
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#,
            r#"{"result":{"tools":[]},"jsonrpc":"2.0","id":1}"#,
            r#" { "id" : 1 , "jsonrpc":"2.0", "result":{"tools":[]} } "#,
        ] {
            let (lists, target) = kept(answer);
            let is_known = |text: &str| lists.recognised(&target, Kind::Tools, text.as_bytes()).is_some();
            for id in ["1", "0", "90", r#""""#, r#""x y-7""#] {
                assert!(is_known(&answer.replacen('1', id, 1)), "{answer} {id}");
            }
            for id in [
                "", "01", "-1", "1.5", "1 ", "null", "{}", "x", "\"", "\"\\", r#""\""#, r#""a"b""#, "\"ü\"",
                "\"\n\"",
            ] {
                assert!(!is_known(&answer.replacen('1', id, 1)), "{answer} {id}");
            }
            for changed in ["", &answer[1..], &answer.replace("tools", "tolls"), &format!("{answer} ")] {
                assert!(!is_known(changed), "{answer} {changed}");
            }
        }
    }

    #[test]
    fn what_is_no_message_is_not_kept() {
        for answer in [r#"{"jsonrpc":"2.0","result":{"tools":[]}}"#, r#"{"id":1,"result":{"tools":[]}}"#] {
            let (lists, target) = kept(answer);
            assert_eq!(lists.last(&target, Kind::Tools), None);
            assert!(lists.recognised(&target, Kind::Tools, answer.as_bytes()).is_none());
        }
    }
}
