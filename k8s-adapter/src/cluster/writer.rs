//! Writes statuses: what is wanted and not yet stored, one object after the other.
//!
//! Nothing is remembered of what would have to be done. Each round compares what is wanted with what is stored, so a write
//! that failed, or that somebody has undone, is found again. GatewayClasses, Gateways and Backends are applied; the parents
//! of an HTTPRoute, which it shares with other controllers, are read, changed and replaced.

use super::Timing;
use super::api::{Api, Failure};
use super::backoff::Backoff;
use super::item::Item;
use super::kind::Kind;
use super::status;
use super::store::Store;
use super::vitals::Vitals;
use crate::build::{StatusKind, WantedStatus};
use crate::objects::{Key, Objects};
use k8s_openapi::jiff::Timestamp;
use kube::core::Request;
use kube::core::params::{GetParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// Who we are in the fields we own.
const FIELD_MANAGER: &str = "mcp-gateway";
/// Writes each second, in the long run and at once.
const RATE: f64 = 5.0;
const BURST: f64 = 20.0;
/// How often a route is read again because somebody has written it in the meantime.
const ATTEMPTS: usize = 5;

/// Writes statuses as long as this replica leads.
pub(super) struct Writer {
    api: Api,
    store: Arc<Store>,
    vitals: Arc<Vitals>,
    controller_name: String,
    timing: Arc<Timing>,
    bucket: Bucket,
    records: BTreeMap<(Kind, Key), Record>,
}

/// What is remembered of an object.
#[derive(Debug, Default)]
struct Record {
    /// The status after our last write, until a watch tells of a later one.
    written: Option<Written>,
    /// What was wanted then, and the status that came of it although it is another: writing it once more changes nothing.
    settled: Option<(Value, Value)>,
    /// A write that was refused.
    refused: Option<Refused>,
    /// Since when something it refers to is missing.
    missing: Option<Instant>,
    /// Somebody has undone our write, and we have repeated it: not before this time again.
    repeated: Option<(Instant, Backoff)>,
}

#[derive(Debug)]
struct Written {
    version: String,
    status: Value,
}

#[derive(Debug)]
struct Refused {
    wanted: Value,
    until: Instant,
    backoff: Backoff,
    why: String,
}

/// What is to be done about a status.
#[derive(Debug, PartialEq)]
enum Due {
    /// Nothing.
    Never,
    /// A write, not before this time.
    At(Instant),
    /// A write.
    Now,
}

impl Writer {
    pub(super) fn new(
        api: Api,
        store: Arc<Store>,
        vitals: Arc<Vitals>,
        controller_name: String,
        timing: Arc<Timing>,
    ) -> Self {
        let bucket = Bucket { tokens: BURST, filled: Instant::now() };
        Self { api, store, vitals, controller_name, timing, bucket, records: BTreeMap::new() }
    }

    /// Writes until nobody wants anything any more.
    pub(super) async fn run(
        mut self,
        mut wishes: watch::Receiver<Option<Arc<Vec<WantedStatus>>>>,
        mut objects: watch::Receiver<Option<Arc<Objects>>>,
        mut leads: watch::Receiver<bool>,
    ) {
        loop {
            let next = self.round(&mut wishes, &leads).await;
            let changed = tokio::select! {
                changed = wishes.changed() => changed,
                changed = objects.changed() => changed,
                changed = leads.changed() => changed,
                () = sleep_until(next) => Ok(()),
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Writes all that is due. When the next round is, if nothing happens before.
    async fn round(
        &mut self,
        wishes: &mut watch::Receiver<Option<Arc<Vec<WantedStatus>>>>,
        leads: &watch::Receiver<bool>,
    ) -> Instant {
        let mut next = Instant::now() + self.timing.sweep;
        let Some(wanted) = wishes.borrow_and_update().clone() else { return next };
        for wish in wanted.iter() {
            if !*leads.borrow() {
                // Another replica writes now; what is remembered here grows old.
                self.records.clear();
                return next;
            }
            match self.due(wish, Instant::now()) {
                Due::Never => {}
                Due::At(time) => next = next.min(time),
                Due::Now => {
                    sleep(self.bucket.take(Instant::now())).await;
                    // While we waited, something else may have become right, or somebody else the leader.
                    let latest = wishes.borrow().clone().unwrap_or_default();
                    let same = |other: &&WantedStatus| other.kind == wish.kind && other.key == wish.key;
                    if *leads.borrow()
                        && let Some(wish) = latest.iter().find(same)
                        && let Some(again) = self.write(wish).await
                    {
                        next = next.min(again);
                    }
                }
            }
        }
        let named: BTreeSet<_> = wanted.iter().map(|wish| (of(wish.kind), &wish.key)).collect();
        self.records.retain(|(kind, key), _| named.contains(&(*kind, key)));
        next
    }

    /// Whether the status of an object is to be written.
    fn due(&mut self, wish: &WantedStatus, now: Instant) -> Due {
        let kind = of(wish.kind);
        let Some(item) = self.store.look(|objects| Item::find(kind, &wish.key, objects)) else {
            return Due::Never;
        };
        let record = self.records.entry((kind, wish.key.clone())).or_default();
        let stored = record.stored(&item);
        let merged;
        let right = if kind == Kind::Route {
            merged = status::merged(stored, &wish.status, &self.controller_name, "");
            merged.is_none()
        } else {
            status::says(stored, &wish.status)
        };
        if right {
            record.missing = None;
            record.refused = None;
            return Due::Never;
        }
        if record.settled.as_ref().is_some_and(|(wanted, result)| *wanted == wish.status && result == stored)
        {
            return Due::Never;
        }
        let missing =
            status::reports_missing_backend(&wish.status) && !status::reports_missing_backend(stored);
        if !missing {
            record.missing = None;
        }
        let held = missing.then(|| *record.missing.get_or_insert(now) + self.timing.hold);
        let refused = record.refused.as_ref().filter(|refused| refused.wanted == wish.status);
        let again = record.settled.as_ref().is_some_and(|(wanted, _)| *wanted == wish.status);
        let repeated = record.repeated.as_ref().filter(|_| again).map(|(until, _)| *until);
        match held.max(refused.map(|refused| refused.until)).max(repeated) {
            Some(time) if time > now => Due::At(time),
            _ => Due::Now,
        }
    }

    /// Writes the status of an object. If that is refused: when to try again.
    async fn write(&mut self, wish: &WantedStatus) -> Option<Instant> {
        let kind = of(wish.kind);
        let result = match kind {
            Kind::Route => self.replace(wish).await,
            _ => self.apply(kind, wish).await,
        };
        let record = self.records.entry((kind, wish.key.clone())).or_default();
        match result {
            Ok(object) => {
                let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
                let status = object.get("status").cloned().unwrap_or_default();
                let again = record.settled.as_ref().is_some_and(|(wanted, _)| *wanted == wish.status);
                record.repeated = again.then(|| record.repeat(&self.timing));
                record.settled = Some((wish.status.clone(), status.clone()));
                record.written = Some(Written { version: version.unwrap_or_default().to_owned(), status });
                record.refused = None;
                None
            }
            Err(failure) => {
                self.vitals.count(|statuses| statuses.failures += 1);
                Some(record.refuse(kind, wish, &failure, &self.timing))
            }
        }
    }

    /// Writes a status that is ours altogether.
    async fn apply(&self, kind: Kind, wish: &WantedStatus) -> Result<Value, Failure> {
        let item = self.store.look(|objects| Item::find(kind, &wish.key, objects));
        let record = self.records.get(&(kind, wish.key.clone()));
        let stored = match (&item, record) {
            (Some(item), Some(record)) => record.stored(item),
            _ => &Value::Null,
        };
        let version = kind.versions().first().copied().unwrap_or("v1");
        let api_version = format!("{}/{version}", kind.group());
        let body = json!({
            "apiVersion": api_version,
            "kind": kind.name(),
            "metadata": metadata(&wish.key),
            "status": status::timed(&wish.status, stored, &now()),
        });
        // A class, and a Gateway of it, is given to one controller. A Backend is nobody's: what somebody else says of it stays.
        let mut params = PatchParams::apply(FIELD_MANAGER);
        params.force = kind != Kind::Backend;
        let request = request(kind, &wish.key).patch_subresource(
            "status",
            &wish.key.name,
            &params,
            &Patch::Apply(body),
        );
        let object = self.ask(request).await?;
        self.vitals.count(|statuses| statuses.writes += 1);
        Ok(object)
    }

    /// Replaces our entries in a status that others write as well.
    async fn replace(&self, wish: &WantedStatus) -> Result<Value, Failure> {
        let name = &wish.key.name;
        for _ in 0..ATTEMPTS {
            let mut object =
                self.ask(request(Kind::Route, &wish.key).get(name, &GetParams::default())).await?;
            let stored = object.get("status").unwrap_or(&Value::Null);
            let Some(status) = status::merged(stored, &wish.status, &self.controller_name, &now()) else {
                return Ok(object);
            };
            let Some(parts) = object.as_object_mut() else {
                return Err(Failure::Broken("a route that is no object".to_owned()));
            };
            parts.insert("status".to_owned(), status);
            let params =
                PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
            let body = object.to_string().into_bytes();
            match self
                .ask(request(Kind::Route, &wish.key).replace_subresource("status", name, &params, body))
                .await
            {
                Err(failure) if failure.code() == Some(409) => {
                    self.vitals.count(|statuses| statuses.conflicts += 1);
                }
                written => {
                    let object = written?;
                    self.vitals.count(|statuses| statuses.writes += 1);
                    return Ok(object);
                }
            }
        }
        Err(Failure::Broken(format!("somebody else wrote it each of {ATTEMPTS} times in between")))
    }

    async fn ask(&self, request: super::api::Asked) -> Result<Value, Failure> {
        let answer = self.api.call(request).await?;
        serde_json::from_slice(&answer).map_err(|error| Failure::Broken(error.to_string()))
    }
}

impl Record {
    /// The status as far as we know: a watch may still have to tell of our own write.
    fn stored<'a>(&'a self, item: &'a Item) -> &'a Value {
        let seen = item.metadata().resource_version.as_deref().unwrap_or_default();
        match &self.written {
            Some(written) if is_before(seen, &written.version) => &written.status,
            _ => item.status(),
        }
    }

    /// Two controllers that undo each other's work do so less and less often.
    fn repeat(&mut self, timing: &Timing) -> (Instant, Backoff) {
        let backoff = self.repeated.take().map(|(_, backoff)| backoff);
        let mut backoff = backoff.unwrap_or_else(|| Backoff::new(timing.retry, timing.refused));
        (Instant::now() + backoff.wait(), backoff)
    }

    fn refuse(&mut self, kind: Kind, wish: &WantedStatus, failure: &Failure, timing: &Timing) -> Instant {
        let why = failure.to_string();
        let (mut backoff, before) = match self.refused.take() {
            Some(refused) => (refused.backoff, refused.why),
            None => (Backoff::new(timing.retry_most.min(timing.refused), timing.refused), String::new()),
        };
        if why != before {
            tracing::warn!(%kind, object = %wish.key, %why, "a status was not written; trying again");
        }
        let until = Instant::now() + backoff.wait().max(failure.retry_after().unwrap_or_default());
        self.refused = Some(Refused { wanted: wish.status.clone(), until, backoff, why });
        until
    }
}

/// Whether a version is an earlier one. Versions of one type are numbers that grow (KEP-5504).
fn is_before(version: &str, other: &str) -> bool {
    match (version.parse::<u128>(), other.parse::<u128>()) {
        (Ok(version), Ok(other)) => version < other,
        _ => false,
    }
}

fn of(kind: StatusKind) -> Kind {
    match kind {
        StatusKind::GatewayClass => Kind::Class,
        StatusKind::Gateway => Kind::Gateway,
        StatusKind::HttpRoute => Kind::Route,
        StatusKind::Backend => Kind::Backend,
    }
}

fn metadata(key: &Key) -> Value {
    let Key { namespace, name } = key;
    if namespace.is_empty() { json!({ "name": name }) } else { json!({"name": name, "namespace": namespace}) }
}

fn request(kind: Kind, key: &Key) -> Request {
    let version = kind.versions().first().copied().unwrap_or("v1");
    Request::new(kind.path(version, Some(&key.namespace)))
}

fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Writes that may be made, which grow with time up to a burst.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// Takes one: how long to wait for it.
    fn take(&mut self, now: Instant) -> Duration {
        let grown = now.saturating_duration_since(self.filled).as_secs_f64() * RATE;
        self.tokens = (self.tokens + grown).min(BURST) - 1.0;
        self.filled = now;
        Duration::from_secs_f64((-self.tokens).max(0.0) / RATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_come_in_a_burst_and_then_five_a_second() {
        let start = Instant::now();
        let mut bucket = Bucket { tokens: BURST, filled: start };
        for _ in 0..20 {
            assert_eq!(bucket.take(start), Duration::ZERO);
        }
        assert_eq!(bucket.take(start), Duration::from_millis(200));
        assert_eq!(bucket.take(start + Duration::from_millis(200)), Duration::from_millis(200));
        let later = start + Duration::from_secs(3600);
        for _ in 0..20 {
            assert_eq!(bucket.take(later), Duration::ZERO);
        }
        assert!(bucket.take(later) > Duration::ZERO);
    }

    #[test]
    fn versions_are_numbers() {
        assert!(is_before("9", "10"));
        assert!(!is_before("10", "10"));
        assert!(!is_before("x", "y"), "then what a watch says is taken");
    }
}
