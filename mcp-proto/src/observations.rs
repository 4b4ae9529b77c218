//! What the shard has found out about targets, for whoever shows it to an operator: what each one speaks, and what went
//! wrong with it last. Only what is new is told, and of each target no more than once a second: the last word then.

use crate::Action;
use crate::edge::Observation;
use crate::era::MODERN;
use crate::federation::Era;
use crate::leg::{LegId, Trouble};
use crate::pool::Pool;
use crate::session::Revision;
use crate::shard::Shard;
use crate::timers::Timed;
use routing::TargetId;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two observations of one target.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known of a target, and what of it was told.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    known: Known,
    told: Known,
    /// Nothing is told before.
    pause: Option<Instant>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Known {
    era: Option<&'static str>,
    error: Option<Arc<str>>,
}

impl Seen {
    /// Whether a good answer is no news.
    fn is_settled(&self) -> bool {
        self.known.era.is_some() && self.known.error.is_none()
    }
}

impl Pool {
    /// Whether one more good answer tells nothing.
    pub(crate) fn is_settled(&self) -> bool {
        self.seen.is_settled()
    }
}

impl Shard {
    /// A target gave a good answer.
    pub(crate) fn saw_answer(&mut self, id: LegId) {
        let Some(leg) = self.legs.get(id) else { return };
        let revision = self.opened_for(id).map(|opened| opened.revision.as_str());
        let era = if leg.is_modern() { Some(MODERN) } else { revision };
        let failed = self.pools.get(&leg.target.id).is_some_and(|pool| pool.seen.known.error.is_some());
        // What is no MCP has no era ever.
        if era.is_none() && !failed {
            return;
        }
        let target = leg.target.id.clone();
        self.saw(&target, |known| {
            known.error = None;
            known.era = known.era.or(era);
        });
    }

    /// A target said something on its channel.
    pub(crate) fn saw_word(&mut self, target: &TargetId) {
        self.saw(target, |known| known.error = None);
    }

    /// A request to a target failed.
    pub(crate) fn saw_trouble(&mut self, target: &TargetId, trouble: &Trouble) {
        let error = match trouble {
            // The snapshot says so itself, or it was said before, or it is the gateway's own doing.
            Trouble::Nowhere | Trouble::Gone | Trouble::Recently(_) => return,
            Trouble::Busy | Trouble::Crowded | Trouble::Chatty | Trouble::TooLarge => return,
            trouble => trouble.to_string(),
        };
        self.saw(target, |known| {
            if known.error.as_deref() != Some(&*error) {
                known.error = Some(error.into());
            }
        });
    }

    /// It was found out what a target speaks. Which of the older revisions that is, its sessions will tell.
    pub(crate) fn saw_era(&mut self, target: &TargetId, era: Era) {
        self.saw(target, |known| match era {
            Era::Modern => known.era = Some(MODERN),
            Era::Legacy | Era::Sse => known.era = known.era.filter(|era| *era != MODERN),
        });
    }

    /// A target agreed to a revision. Clients may ask for older ones than it has.
    pub(crate) fn saw_revision(&mut self, target: &TargetId, revision: Revision) {
        self.saw(target, |known| {
            let newest = known.era.and_then(Revision::parse).map_or(revision, |era| era.max(revision));
            known.era = Some(newest.as_str());
        });
    }

    fn saw(&mut self, target: &TargetId, change: impl FnOnce(&mut Known)) {
        let Some(pool) = self.pools.get_mut(target) else { return };
        change(&mut pool.seen.known);
        self.tell_seen(target);
    }

    /// Tells what is new, now or when the pause is over.
    fn tell_seen(&mut self, target: &TargetId) {
        let now = self.now;
        let Some(seen) = self.pools.get_mut(target).map(|pool| &mut pool.seen) else { return };
        if seen.known == seen.told {
            return;
        }
        if let Some(until) = seen.pause.filter(|until| now < *until) {
            if self.observing.is_none_or(|due| until < due) {
                self.observing = Some(until);
                self.timers.set(Timed::Observations, until);
            }
            return;
        }
        seen.pause = Some(now + PAUSE);
        seen.told = seen.known.clone();
        let Known { era, error } = seen.known.clone();
        self.act(Action::Observed(Box::new(Observation { target: target.clone(), era, error })));
    }

    /// Pauses are over.
    pub(crate) fn observations_due(&mut self) {
        self.observing = None;
        let untold = self.pools.iter().filter(|(_, pool)| pool.seen.known != pool.seen.told);
        for target in untold.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.tell_seen(&target);
        }
    }
}
