//! One message for several targets: all are asked at once, none is waited for too long, one answer is made.

use super::probe::Era;
use crate::edge::Note;
use crate::exchange::{ExchangeId, Gather, Slot, What, Work};
use crate::http::Method;
use crate::jsonrpc::envelope::Envelope;
use crate::jsonrpc::known::Known;
use crate::jsonrpc::list;
use crate::leg::{Leg, LegId, Purpose};
use crate::refusal;
use crate::session::{Opened, SessionId, TargetState};
use crate::shard::Shard;
use bytes::Bytes;
use routing::{Target, TargetId};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long others wait for a target that let them wait in vain the last time.
const BRIEF: Duration = Duration::from_millis(250);

/// How long is waited for the only target: there is nothing to answer without it, and a process may take its time to
/// start. The official clients wait for a minute.
const ALONE: Duration = Duration::from_secs(50);

/// Whose what is sealed for requests that stand for themselves is: without authentication all are of one principal.
pub(super) const NOBODY: u128 = 0;

/// What one target is asked.
pub(super) struct Question {
    pub(super) target: Arc<Target>,
    /// The request, or why it is not even made.
    pub(super) body: Result<Bytes, String>,
    /// An answer of before that holds until then, so that it need not be asked.
    pub(super) kept: Option<(Bytes, Instant)>,
}

impl Shard {
    /// The same message to every target.
    pub(super) fn gather_message(&mut self, id: ExchangeId, part: u16, what: What, message: &Bytes) {
        let questions = self.questions(id, message);
        self.gather(id, part, what, questions);
    }

    /// `message` for each target of the snapshot; one that is still starting is not waited for.
    pub(super) fn questions(&self, id: ExchangeId, message: &Bytes) -> Vec<Question> {
        let session = self.exchange(id).and_then(|exchange| exchange.session);
        let session = session.and_then(|session| self.sessions.get(session));
        let backend = self.backend_of(id);
        let targets = backend.targets().iter();
        targets
            .map(|target| Question {
                target: Arc::clone(target),
                kept: None,
                body: match session.and_then(|session| session.target(&target.id)) {
                    // Without others there is nothing to answer with but what comes of it.
                    Some(TargetState::Opening { late: true, .. }) if backend.single().is_none() => {
                        Err("it is still starting".to_owned())
                    }
                    _ => Ok(message.clone()),
                },
            })
            .collect()
    }

    /// A notification to every target whose session is open.
    pub(super) fn notify_all(&mut self, id: ExchangeId, part: u16, message: &Bytes) {
        let mut questions = self.questions(id, message);
        let session = self.exchange(id).and_then(|exchange| exchange.session);
        let session = session.and_then(|session| self.sessions.get(session));
        questions.retain(|it| session.is_some_and(|session| session.ready(&it.target).is_some()));
        self.gather(id, part, What::Notify, questions);
    }

    /// Ends target sessions on behalf of a client's DELETE.
    pub(super) fn gather_end(&mut self, id: ExchangeId, targets: Vec<(Arc<Target>, Opened)>) {
        let slots = targets.iter().map(|(target, _)| Slot::new(target.id.clone())).collect();
        let budget = targets.iter().map(|(target, _)| target.timeouts.gather).max();
        self.begin_gather(id, 0, What::End, slots, budget);
        for (slot, (target, opened)) in (0..).zip(targets) {
            let purpose = Purpose::Part { exchange: id, part: 0, slot: Some(slot) };
            let mut leg = Leg::new(target, None, purpose, Method::Delete, Bytes::new());
            leg.opened = Some(Box::new(opened));
            let leg = self.legs.insert(leg);
            self.start(leg);
        }
        self.gather_ready(id, 0);
    }

    pub(super) fn gather(&mut self, id: ExchangeId, part: u16, what: What, questions: Vec<Question>) {
        self.gather_known(id, part, what, questions, None);
    }

    /// The same with a message that is for all as it came, of which something is known.
    pub(super) fn gather_known(
        &mut self,
        id: ExchangeId,
        part: u16,
        what: What,
        questions: Vec<Question>,
        known: Option<Known<'_>>,
    ) {
        let slots = questions.iter().map(|it| Slot::new(it.target.id.clone())).collect();
        let asked = questions.iter().filter(|it| it.body.is_ok() && it.kept.is_none());
        let budget = asked.map(|it| self.budget(&it.target)).max();
        self.begin_gather(id, part, what, slots, budget);
        let list = match what {
            What::List { kind, .. } => Some(kind),
            _ => None,
        };
        for (slot, question) in (0..).zip(questions) {
            if let Some((body, until)) = question.kept {
                self.set_kept(id, part, slot, body, until);
                continue;
            }
            match question.body {
                Ok(body) => {
                    let purpose = Purpose::Part { exchange: id, part, slot: Some(slot) };
                    let Some(mut leg) = self.leg_for(id, question.target, purpose, body) else { return };
                    leg.list = list;
                    leg.repeatable = true;
                    let leg = self.legs.insert(leg);
                    self.counters.calls.add(1);
                    self.start_known(leg, known);
                }
                Err(reason) => self.set_outcome(id, part, slot, Err(reason)),
            }
        }
        self.gather_ready(id, part);
    }

    pub(super) fn begin_gather(
        &mut self,
        id: ExchangeId,
        part: u16,
        what: What,
        slots: Vec<Slot>,
        budget: Option<Duration>,
    ) {
        let now = self.now;
        let Some(exchange) = self.exchange_mut(id) else { return };
        if exchange.parts.is_empty() {
            exchange.parts.push(crate::exchange::Part::new(0..0));
            exchange.open = 1;
        }
        if let Some(part) = exchange.parts.get_mut(usize::from(part)) {
            part.work = Work::Gather(Gather { what, slots });
        }
        if let Some(budget) = budget {
            exchange.deadline = Some(exchange.deadline.map_or(now + budget, |other| other.min(now + budget)));
            self.watch(id.conn);
        }
    }

    pub(super) fn budget(&self, target: &Target) -> Duration {
        if self.is_alone(&target.id) {
            return target.timeouts.gather.max(ALONE).min(target.timeouts.first_byte);
        }
        if self.is_slow(target) { target.timeouts.gather.min(BRIEF) } else { target.timeouts.gather }
    }

    fn gather_at(&mut self, id: ExchangeId, part: u16) -> Option<&mut Gather> {
        match &mut self.exchange_mut(id)?.parts.get_mut(usize::from(part))?.work {
            Work::Gather(gather) => Some(gather),
            _ => None,
        }
    }

    fn set_outcome(&mut self, id: ExchangeId, part: u16, slot: u16, outcome: Result<Bytes, String>) {
        if let Some(gather) = self.gather_at(id, part)
            && let Some(slot) = gather.slots.get_mut(usize::from(slot))
        {
            slot.outcome = Some(outcome);
        }
    }

    fn set_kept(&mut self, id: ExchangeId, part: u16, slot: u16, body: Bytes, until: Instant) {
        if let Some(gather) = self.gather_at(id, part)
            && let Some(slot) = gather.slots.get_mut(usize::from(slot))
        {
            slot.outcome = Some(Ok(body));
            slot.until = Some(until);
        }
    }

    /// A target answered its share.
    pub(crate) fn slot_answered(
        &mut self,
        id: LegId,
        exchange: ExchangeId,
        part: u16,
        slot: u16,
        status: u16,
        body: &[u8],
    ) {
        let known = self.known_list(id, status, body);
        self.slot_said(
            id,
            exchange,
            part,
            slot,
            status,
            known.unwrap_or_else(|| Bytes::copy_from_slice(body)),
        );
    }

    /// The copy that is kept of a list, if that is what a target answered again.
    pub(crate) fn known_list(&self, id: LegId, status: u16, body: &[u8]) -> Option<Bytes> {
        let leg = self.legs.get(id).filter(|_| (200..300).contains(&status))?;
        self.catalogue.lists.recognised(&leg.target.id, leg.list?, body)
    }

    /// A target answered its share with this.
    pub(crate) fn slot_said(
        &mut self,
        id: LegId,
        exchange: ExchangeId,
        part: u16,
        slot: u16,
        status: u16,
        body: Bytes,
    ) {
        let limit = self.config.limits.gather;
        let Some(leg) = self.legs.get(id) else { return };
        let (session, target, list) = (leg.session, Arc::clone(&leg.target), leg.list);
        let (asked, question, keeps) = (leg.sent_at, leg.body.clone(), leg.fields.is_none());
        let leg_is_modern = leg.dress.as_ref().is_some_and(|dress| dress.era == Era::Modern);
        self.settle_leg(id);
        let readable =
            (200..300).contains(&status) || Envelope::parse(&body, self.config.limits.depth).is_ok();
        let Some(gather) = self.gather_at(exchange, part) else {
            if let (Some(session), Some(kind), true) = (session, list, readable) {
                let question = Envelope::parse(&question, usize::MAX);
                let first = question.is_ok_and(|question| question.params.cursor.is_none());
                self.list_arrived(session, asked, &target, kind, &body, first && keeps);
            }
            return;
        };
        let what = gather.what;
        let held: usize =
            gather.slots.iter().filter_map(|slot| Some(slot.outcome.as_ref()?.as_ref().ok()?.len())).sum();
        match what {
            What::Lookup(kind) if readable => {
                if !self.looked_at(exchange, part, slot, &target, kind, &body) {
                    return;
                }
                self.slot_done(exchange, part, slot, Ok(Bytes::new()));
            }
            _ if readable => {
                if matches!(what, What::Initialize | What::Discover) && leg_is_modern {
                    self.learn(&target.id, &body, None);
                }
                let outcome = match held + body.len() <= limit {
                    true => Ok(body),
                    false => Err("the answers of all targets together are too large".to_owned()),
                };
                self.slot_done(exchange, part, slot, outcome);
            }
            _ => {
                let words = crate::leg::Trouble::Status(status).to_string();
                self.slot_done(exchange, part, slot, Err(words));
            }
        }
    }

    /// A target's share is there, or never will be.
    pub(crate) fn slot_done(&mut self, id: ExchangeId, part: u16, slot: u16, outcome: Result<Bytes, String>) {
        self.set_outcome(id, part, slot, outcome);
        self.gather_ready(id, part);
    }

    /// Makes the answer if all shares are there.
    pub(super) fn gather_ready(&mut self, id: ExchangeId, part: u16) {
        let now = self.now;
        let parts = self.exchange(id).and_then(|exchange| exchange.parts.get(usize::from(part)));
        let Some(Work::Gather(gather)) = parts.map(|part| &part.work) else { return };
        let mut missing = gather.slots.iter().filter(|slot| slot.outcome.is_none()).peekable();
        if missing.peek().is_none() {
            return self.gathered(id, part);
        }
        // Those that are left let others wait in vain before: a brief wait is all they get.
        let slow = |slot: &Slot| self.pools.get(&slot.target).is_some_and(|pool| pool.slow);
        if missing.all(slow)
            && self.backend_of(id).single().is_none()
            && let Some(exchange) = self.exchange_mut(id)
        {
            let brief = (exchange.started + BRIEF).max(now);
            exchange.deadline = exchange.deadline.map(|deadline| deadline.min(brief));
            self.watch(id.conn);
        }
    }

    /// Time is up: what is missing is left out.
    pub(crate) fn gather_due(&mut self, id: ExchangeId) {
        let Some(exchange) = self.exchange_mut(id) else { return };
        let mut late = Vec::new();
        let mut waiting = Vec::new();
        for (number, part) in (0..).zip(exchange.parts.iter_mut()) {
            let Work::Gather(gather) = &mut part.work else { continue };
            for slot in gather.slots.iter_mut().filter(|slot| slot.outcome.is_none()) {
                slot.outcome = Some(Err("it took too long to answer".to_owned()));
                late.push(slot.target.clone());
            }
            waiting.push(number);
        }
        for target in late {
            if self.mark_slow(&target) {
                self.broadcast(&Note::Slow { target });
            }
        }
        for part in waiting {
            self.gathered(id, part);
        }
    }

    /// Whether it is news that a target is slow.
    pub(super) fn mark_slow(&mut self, target: &TargetId) -> bool {
        self.pools.get_mut(target).is_some_and(|pool| !std::mem::replace(&mut pool.slow, true))
    }

    /// Makes one answer of all shares.
    fn gathered(&mut self, id: ExchangeId, part: u16) {
        let Some(exchange) = self.exchange_mut(id) else { return };
        let Some(slot) = exchange.parts.get_mut(usize::from(part)) else { return };
        let Work::Gather(gather) = std::mem::replace(&mut slot.work, Work::Done) else { return };
        slot.work = Work::Asked(gather.slots.iter().map(|slot| slot.target.clone()).collect());
        if !exchange.parts.iter().any(|part| matches!(part.work, Work::Gather(_))) {
            exchange.deadline = None;
        }
        match gather.what {
            What::Initialize => self.initialized(id, part, gather.slots),
            What::List { kind, first } => self.listed(id, part, kind, gather.slots, first),
            What::Discover => self.all_discovered(id, part, &gather.slots),
            What::Level => self.level_set(id, part, &gather.slots),
            What::Notify => self.part_done(id, part),
            What::End => self.respond(id, 200, b"", &[]),
            What::Lookup(_) => self.looked(id, part),
        }
    }

    /// The level is set when one target has set it; targets without logging are no failure.
    fn level_set(&mut self, id: ExchangeId, part: u16, slots: &[Slot]) {
        let depth = self.config.limits.depth;
        let has_result = |body: &&Bytes| Envelope::parse(body, depth).is_ok_and(|it| it.result.is_some());
        let mut answers = slots.iter().filter_map(|slot| slot.outcome.as_ref()?.as_ref().ok());
        if let (None, Some(Slot { target, outcome: Some(Err(reason)), .. })) =
            (answers.clone().next(), slots.first())
        {
            let words = format!("target \"{}\" failed: {reason}", target.name);
            return self.fail_part(id, part, refusal::INTERNAL_ERROR, &words, None);
        }
        let refused = answers.clone().next().filter(|_| !answers.any(|body| has_result(&body))).cloned();
        let Some(exchange) = self.exchange(id) else { return };
        let body = match refused {
            Some(body) => body.to_vec(),
            None => refusal::result(exchange.id_text(part), b"{}"),
        };
        self.answer_part(id, part, &body);
    }

    /// Asks targets for their names because a message can't be routed without.
    pub(super) fn look_up(&mut self, id: ExchangeId, part: u16, kind: list::Kind) {
        if let Some(exchange) = self.exchange_mut(id)
            && let Some(part) = exchange.parts.get_mut(usize::from(part))
        {
            part.looked_up = true;
        }
        let questions = self.questions(id, &lookup(kind, None));
        self.gather(id, part, What::Lookup(kind), questions);
    }

    /// A page of names arrived: whether it was the last.
    fn looked_at(
        &mut self,
        id: ExchangeId,
        part: u16,
        slot: u16,
        target: &Arc<Target>,
        kind: list::Kind,
        body: &[u8],
    ) -> bool {
        let limits = self.config.limits;
        let mut items = Vec::new();
        let Ok(page) =
            list::federate(body, kind, &list::View::names(&target.id.name), limits.depth, &mut items)
        else {
            return true;
        };
        let first = self.gather_at(id, part).is_some_and(|gather| {
            gather
                .slots
                .get_mut(usize::from(slot))
                .is_some_and(|slot| !std::mem::replace(&mut slot.begun, true))
        });
        self.catalogue.learn_irregular(&target.id, kind, &page.irregular, &limits);
        self.catalogue.learn_names(&target.id, kind, page.names, first, &limits);
        let Some(cursor) = page.next_cursor else { return true };
        let purpose = Purpose::Part { exchange: id, part, slot: Some(slot) };
        let body = lookup(kind, Some(&cursor));
        let Some(leg) = self.leg_for(id, Arc::clone(target), purpose, body) else { return true };
        let leg = self.legs.insert(leg);
        self.start(leg);
        false
    }

    /// All names are known: the message is routed again.
    fn looked(&mut self, id: ExchangeId, part: u16) {
        if let Err(refusal) = self.route(id, part) {
            self.refuse(id, &refusal);
        }
    }

    /// Whose what is sealed for an exchange is: its session's. Requests that stand for themselves have their principal,
    /// and without authentication all have the same.
    pub(super) fn owner_key(&self, id: ExchangeId) -> Option<u128> {
        match self.session_of(id) {
            Some(session) => self.sessions.get(session).map(|session| session.key),
            None => self.exchange(id)?.modern.as_ref().map(|_| NOBODY),
        }
    }

    /// The session an exchange belongs to.
    pub(super) fn session_of(&self, id: ExchangeId) -> Option<SessionId> {
        self.exchange(id)?.session
    }
}

/// The gateway's own question for names.
pub(super) fn lookup(kind: list::Kind, cursor: Option<&str>) -> Bytes {
    let mut body = b"{\"jsonrpc\":\"2.0\",\"id\":\"mcp-gateway-names\",\"method\":\"".to_vec();
    body.extend_from_slice(kind.method().as_bytes());
    body.push(b'"');
    if let Some(cursor) = cursor {
        body.extend_from_slice(b",\"params\":{\"cursor\":");
        crate::jsonrpc::splice::quote(cursor, &mut body);
        body.push(b'}');
    }
    body.push(b'}');
    body.into()
}
