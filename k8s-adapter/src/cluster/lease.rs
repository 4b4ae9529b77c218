//! A Lease (coordination.k8s.io/v1), and what a replica makes of it.
//!
//! Clocks of replicas are not compared: a Lease has expired when nobody has changed it for its duration, as seen here.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// A Lease as it is stored. What others keep in it stays.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    object: Map<String, Value>,
    spec: Map<String, Value>,
}

impl Lease {
    /// A Lease that does not exist yet.
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        let parts = [
            ("apiVersion", json!("coordination.k8s.io/v1")),
            ("kind", json!("Lease")),
            ("metadata", json!({"namespace": namespace, "name": name})),
        ];
        Self {
            object: parts.map(|(name, part)| (name.to_owned(), part)).into_iter().collect(),
            spec: Map::new(),
        }
    }

    /// None if it is no object at all.
    pub(super) fn read(answer: &[u8]) -> Option<Self> {
        let mut object: Map<String, Value> = serde_json::from_slice(answer).ok()?;
        let spec = match object.remove("spec") {
            Some(Value::Object(spec)) => spec,
            _ => Map::new(),
        };
        Some(Self { object, spec })
    }

    /// As JSON. It carries the version it was read with, so that it is refused if somebody was faster.
    pub(super) fn body(&self) -> Vec<u8> {
        let mut object = self.object.clone();
        object.insert("spec".to_owned(), Value::Object(self.spec.clone()));
        Value::Object(object).to_string().into_bytes()
    }

    /// Who has it. Empty: nobody.
    pub(super) fn holder(&self) -> &str {
        self.spec.get("holderIdentity").and_then(Value::as_str).unwrap_or_default()
    }

    fn version(&self) -> &str {
        let metadata = self.object.get("metadata").and_then(|metadata| metadata.get("resourceVersion"));
        metadata.and_then(Value::as_str).unwrap_or_default()
    }

    fn duration(&self) -> Duration {
        let seconds = self.spec.get("leaseDurationSeconds").and_then(Value::as_u64);
        Duration::from_secs(seconds.unwrap_or_default())
    }

    /// The same Lease, held by somebody from now on, or still.
    pub(super) fn held_by(mut self, identity: &str, duration: Duration) -> Self {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        if self.holder() != identity {
            let transitions = self.spec.get("leaseTransitions").and_then(Value::as_i64).unwrap_or(-1);
            self.set("leaseTransitions", json!(transitions.saturating_add(1)));
            self.set("acquireTime", json!(now));
        }
        self.set("holderIdentity", json!(identity));
        // The API takes whole seconds, at least one.
        self.set("leaseDurationSeconds", json!(duration.as_secs().max(1)));
        self.set("renewTime", json!(now));
        self
    }

    /// The same Lease, given back.
    pub(super) fn released(mut self) -> Self {
        self.set("holderIdentity", json!(""));
        self.set("leaseDurationSeconds", json!(1));
        self
    }

    fn set(&mut self, name: &str, value: Value) {
        self.spec.insert(name.to_owned(), value);
    }
}

/// What to do about the Lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// It is ours, or may become ours: write it with our name.
    Hold,
    /// It is somebody else's, and valid for this long if it is not renewed.
    Wait(Duration),
}

/// What a replica knows of the Lease.
#[derive(Debug)]
pub(super) struct Standing {
    identity: String,
    duration: Duration,
    /// Somebody else's Lease: its version, and when that was seen first.
    seen: Option<(String, Instant)>,
    /// When the request left with which we renewed it last.
    renewed: Option<Instant>,
}

impl Standing {
    pub(super) fn new(identity: String, duration: Duration) -> Self {
        Self { identity, duration, seen: None, renewed: None }
    }

    /// What to do about a Lease that looks like this now.
    pub(super) fn step(&mut self, lease: &Lease, now: Instant) -> Step {
        if lease.holder().is_empty() || lease.holder() == self.identity {
            return Step::Hold;
        }
        self.step_down();
        let first = match &self.seen {
            Some((version, first)) if version == lease.version() => *first,
            _ => {
                self.seen = Some((lease.version().to_owned(), now));
                now
            }
        };
        let end = first + lease.duration();
        if now >= end { Step::Hold } else { Step::Wait(end - now) }
    }

    /// The server took our name, in a request that left then.
    pub(super) fn renewed(&mut self, asked: Instant) {
        self.renewed = Some(asked);
    }

    /// We lead no more, until the server takes our name again.
    pub(super) fn step_down(&mut self) {
        self.renewed = None;
    }

    /// Until when we lead if nothing else is heard: a good while before anybody else may think that we don't.
    pub(super) fn leads_until(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.duration * 2 / 3)
    }

    /// Whether we lead.
    pub(super) fn leads(&self, now: Instant) -> bool {
        self.leads_until().is_some_and(|end| now < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn lease(holder: &str, version: &str) -> Lease {
        let mut lease = Lease::new("n", "l").held_by(holder, DURATION);
        lease.object.insert("metadata".to_owned(), json!({ "resourceVersion": version }));
        lease
    }

    #[test]
    fn what_is_nobodys_or_ours_is_held() {
        let mut standing = Standing::new("me".to_owned(), DURATION);
        let now = Instant::now();
        assert_eq!(standing.step(&Lease::new("n", "l"), now), Step::Hold);
        assert_eq!(standing.step(&lease("me", "1"), now), Step::Hold);
        assert_eq!(standing.step(&lease("other", "1").released(), now), Step::Hold);
    }

    #[test]
    fn a_lease_of_another_expires_when_it_was_not_changed_for_its_duration_as_seen_here() {
        let mut standing = Standing::new("me".to_owned(), DURATION);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(standing.step(&lease("other", "1"), at(0)), Step::Wait(DURATION));
        assert_eq!(standing.step(&lease("other", "1"), at(10)), Step::Wait(Duration::from_secs(5)));
        assert_eq!(standing.step(&lease("other", "2"), at(14)), Step::Wait(DURATION));
        assert_eq!(standing.step(&lease("other", "2"), at(28)), Step::Wait(Duration::from_secs(1)));
        assert_eq!(standing.step(&lease("other", "2"), at(29)), Step::Hold);
    }

    #[test]
    fn a_leader_steps_down_before_others_may_take_over_and_when_another_has() {
        let mut standing = Standing::new("me".to_owned(), DURATION);
        let start = Instant::now();
        assert!(!standing.leads(start));
        standing.renewed(start);
        assert!(standing.leads(start + Duration::from_secs(9)));
        assert!(!standing.leads(start + Duration::from_secs(10)));
        standing.renewed(start);
        standing.step(&lease("other", "1"), start);
        assert!(!standing.leads(start));
    }

    #[test]
    fn a_lease_that_is_taken_keeps_what_others_put_into_it() {
        let stored = br#"{"metadata":{"name":"l","resourceVersion":"7","labels":{"a":"b"}},
            "spec":{"holderIdentity":"other","leaseDurationSeconds":5,"leaseTransitions":3,"strategy":"x"}}"#;
        let lease = Lease::read(stored).unwrap();
        assert_eq!(lease.duration(), Duration::from_secs(5));
        let taken = lease.held_by("me", Duration::from_millis(1));
        assert_eq!(
            taken.object["metadata"],
            json!({"name": "l", "resourceVersion": "7", "labels": {"a": "b"}})
        );
        assert_eq!(taken.spec["leaseTransitions"], 4);
        assert_eq!(taken.spec["strategy"], "x");
        assert_eq!(taken.spec["leaseDurationSeconds"], 1);
        let time = taken.spec["renewTime"].as_str().unwrap();
        assert_eq!((time.len(), &time[19..20], &time[26..]), (27, ".", "Z"), "{time}");
        let renewed = taken.clone().held_by("me", DURATION);
        assert_eq!(renewed.spec["leaseTransitions"], 4);
        assert_eq!(renewed.spec["acquireTime"], taken.spec["acquireTime"]);
    }

    #[test]
    fn the_first_holder_is_no_transition() {
        let lease = Lease::new("n", "l").held_by("me", DURATION);
        assert_eq!(lease.spec["leaseTransitions"], 0);
    }
}
