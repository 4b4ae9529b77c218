//! Follows one type of object: lists it, watches it, and begins anew where that ends.
//!
//! ```text
//! list ─► position ─► watch ─► position' ─► watch ─► …
//!  ▲                    │
//!  └──── 410, silence ──┘       (the store is replaced when the new list is complete, and not before)
//! ```
//!
//! A list comes as a stream of events, if the server can do that, else in pages. Behaviours of servers that are
//! handled here: a stream that never ends its list, or fails at once, since etcd is old; 410 as an event and as a status; a
//! connection that is cut, or silent; a server whose counter is behind ours; a type that is not known, or not known yet.

use super::Timing;
use super::api::{Api, Asked, Failure};
use super::backoff::Backoff;
use super::item::{self, Item};
use super::kind::Kind;
use super::store::Store;
use super::vitals::{Place, Vitals};
use super::wire::{Event, Identity, Lines, Page};
use crate::objects::Objects;
use kube::core::Request;
use kube::core::params::{ListParams, WatchParams};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Objects of a page: with more the peak of memory grows, with fewer the number of requests.
const PAGE: u32 = 50;
/// A watch that ends sooner than this, and well, is one that something in between does not let live.
const BRIEF: Duration = Duration::from_millis(500);
/// The longest that a server may tell us to stay away.
const LONGEST_WISH: Duration = Duration::from_secs(30);

/// Follows a type, in one namespace or in all.
pub(super) struct Reflector {
    kind: Kind,
    namespace: Option<String>,
    place: Place,
    api: Api,
    store: Arc<Store>,
    vitals: Arc<Vitals>,
    timing: Arc<Timing>,
    /// Which of the kind's versions is asked for.
    version: usize,
    /// Answers in a row that did not know the type.
    unknown: usize,
    /// Whether lists are asked for as streams.
    streaming: bool,
    /// Whether other lists are asked for in pages.
    paged: bool,
    /// Up to where everything is known. None: nothing is, or no longer.
    position: Option<String>,
    /// When the server last said something about the type.
    heard: Instant,
    /// Whether the position was lost before, and nothing was heard since.
    expired: bool,
    backoff: Backoff,
}

impl Reflector {
    pub(super) fn new(
        (kind, namespace): (Kind, Option<String>),
        api: &Api,
        store: &Arc<Store>,
        vitals: &Arc<Vitals>,
        timing: &Arc<Timing>,
    ) -> Self {
        Self {
            kind,
            place: vitals.add(kind, namespace.clone()),
            namespace,
            api: api.clone(),
            store: Arc::clone(store),
            vitals: Arc::clone(vitals),
            timing: Arc::clone(timing),
            version: 0,
            unknown: 0,
            streaming: true,
            paged: true,
            position: None,
            heard: Instant::now(),
            expired: false,
            backoff: Backoff::new(timing.retry, timing.retry_most),
        }
    }

    /// Follows the type for ever.
    pub(super) async fn run(mut self) {
        loop {
            let began = Instant::now();
            let wait = match self.attempt().await {
                Ok(()) if began.elapsed() >= BRIEF => {
                    self.backoff.reset();
                    Duration::ZERO
                }
                Ok(()) => self.backoff.wait(),
                Err(failure) => self.failed(&failure),
            };
            sleep(wait).await;
        }
    }

    /// Lists if need be, then watches; ends when the server ends the watch.
    async fn attempt(&mut self) -> Result<(), Failure> {
        if self.position.is_some() && self.heard.elapsed() >= self.timing.silence {
            tracing::warn!(kind = %self.kind, "nothing was heard for {:?}: listing anew", self.timing.silence);
            self.position = None;
        }
        match self.position.clone() {
            Some(position) => self.watch(&position).await,
            None if self.streaming => self.stream().await,
            None => {
                self.list().await?;
                let position = self.position.clone().unwrap_or_default();
                self.watch(&position).await
            }
        }
    }

    /// Lists and watches in one request (Kubernetes 1.32 and later, with etcd 3.4.25 or 3.5.8 and later).
    async fn stream(&mut self) -> Result<(), Failure> {
        let (params, end) = self.watch_params();
        let limit = self.timing.listing;
        let listing = async {
            let mut lines = self.open(&params.initial_events(), "").await?;
            self.listed(&mut lines).await?;
            Ok(lines)
        };
        let lines = timeout(limit, listing).await.unwrap_or(Err(Failure::Silent(limit)))?;
        self.follow(lines, end).await
    }

    async fn listed(&mut self, lines: &mut Lines) -> Result<(), Failure> {
        let mut listing = Objects::default();
        while let Some(line) = lines.next().await? {
            match Event::read(&line)? {
                Event::Put(object) => self.take(object, &mut listing),
                Event::Gone(object) => {
                    if let Some(identity) = Identity::read(object) {
                        item::remove(self.kind, &identity.key, &mut listing);
                    }
                }
                Event::Bookmark { version, listed: true } => {
                    self.replace(listing, version);
                    return Ok(());
                }
                Event::Bookmark { .. } => {}
                Event::Failed(refusal) => return Err(Failure::Refused(refusal)),
            }
        }
        Err(Failure::Cut("the list has no end".to_owned()))
    }

    /// Lists in pages.
    async fn list(&mut self) -> Result<(), Failure> {
        let mut listing = Objects::default();
        let mut params = self.list_params();
        loop {
            let request = self.request();
            let request = match self.kind {
                Kind::Namespace => request.list_metadata(&params),
                _ => request.list(&params),
            };
            let answer = self.api.call(request).await?;
            self.connected();
            let page = Page::read(&answer)?;
            for object in page.items {
                self.take(object, &mut listing);
            }
            if page.token.is_empty() {
                self.replace(listing, page.version);
                return Ok(());
            }
            params.continue_token = Some(page.token);
        }
    }

    /// Watches from where everything is known.
    async fn watch(&mut self, position: &str) -> Result<(), Failure> {
        let (params, end) = self.watch_params();
        let opening = self.open(&params, position);
        let lines = timeout_at(end, opening).await.unwrap_or(Err(Failure::Silent(self.timing.watch)))?;
        self.follow(lines, end).await
    }

    async fn follow(&mut self, mut lines: Lines, end: Instant) -> Result<(), Failure> {
        loop {
            let doubt = self.heard + self.timing.silence;
            match timeout_at(end.min(doubt), lines.next()).await {
                Ok(line) => match line? {
                    Some(line) => self.event(&line)?,
                    None => return Ok(()),
                },
                Err(_) if doubt <= end => return Ok(()),
                // The server promised to end the watch before.
                Err(_) => return Err(Failure::Silent(self.timing.watch)),
            }
        }
    }

    fn event(&mut self, line: &[u8]) -> Result<(), Failure> {
        let version = match Event::read(line)? {
            Event::Put(object) => match Item::read(self.kind, object) {
                Ok(item) => {
                    let version = item.metadata().resource_version.clone();
                    self.store.put(item);
                    version.unwrap_or_default()
                }
                Err(error) => self.undecodable(object, &error).version,
            },
            Event::Gone(object) => {
                let identity = Identity::read(object)
                    .ok_or_else(|| Failure::Broken("something without a name is deleted".to_owned()))?;
                self.store.change(|objects| item::remove(self.kind, &identity.key, objects));
                identity.version
            }
            Event::Bookmark { version, .. } => version,
            Event::Failed(refusal) => return Err(Failure::Refused(refusal)),
        };
        if !version.is_empty() {
            self.position = Some(version);
        }
        self.heard = Instant::now();
        self.expired = false;
        self.backoff.reset();
        self.vitals.heard(self.place);
        Ok(())
    }

    /// Puts an object into a list. One that can't be read stays what it was before.
    fn take(&self, object: &str, listing: &mut Objects) {
        match Item::read(self.kind, object) {
            Ok(item) => item.put(listing),
            Err(error) => {
                let identity = self.undecodable(object, &error);
                if let Some(before) = self.store.look(|objects| Item::find(self.kind, &identity.key, objects))
                {
                    before.put(listing);
                }
            }
        }
    }

    fn undecodable(&self, object: &str, error: &str) -> Identity {
        self.vitals.undecodable(self.place);
        let identity = Identity::read(object).unwrap_or_default();
        tracing::warn!(
            kind = %self.kind, object = %identity.key, %error,
            "an object can't be read; it stays what it was, or is left out"
        );
        identity
    }

    /// The list is complete: it takes the place of what was there.
    fn replace(&mut self, listing: Objects, version: String) {
        self.position = Some(version);
        self.heard = Instant::now();
        self.unknown = 0;
        self.paged = true;
        // Before the store changes: who waits for that asks then whether all is there.
        self.vitals.synced(self.place);
        self.store.change(|objects| item::replace(self.kind, self.namespace.as_deref(), objects, listing));
    }

    /// What to do after a failure, and how long to wait before.
    fn failed(&mut self, failure: &Failure) -> Duration {
        match failure.code() {
            Some(410) => self.lost_position(),
            Some(404) => self.not_known(),
            Some(403) if self.kind == Kind::Namespace && self.namespace.is_some() => self.nameless(),
            _ => {
                let again = self.streaming && self.position.is_none() && speaks_against_streams(failure);
                if again {
                    tracing::info!(kind = %self.kind, %failure, "no list as a stream: asking for pages from now on");
                    self.streaming = false;
                    return Duration::ZERO;
                }
                self.report(failure.to_string());
                let wish = failure.retry_after().unwrap_or_default().min(LONGEST_WISH);
                self.backoff.wait().max(wish)
            }
        }
    }

    /// The server has forgotten what was at our position: not worth a wait, if it does not happen again at once.
    fn lost_position(&mut self) -> Duration {
        // In the middle of a list it was the token of the next page that is too old: all at once then.
        self.paged = self.position.is_some();
        self.position = None;
        if std::mem::replace(&mut self.expired, true) { self.backoff.wait() } else { Duration::ZERO }
    }

    /// The server does not know the type in this version: another one, if there is, or later.
    fn not_known(&mut self) -> Duration {
        let versions = self.kind.versions().len();
        self.version = (self.version + 1) % versions;
        self.unknown += 1;
        self.position = None;
        if !self.unknown.is_multiple_of(versions) {
            return Duration::ZERO;
        }
        if !self.kind.optional() {
            self.report(format!("the cluster does not know the type {}: is it installed?", self.kind));
            return self.backoff.wait();
        }
        // A definition that is deleted takes its objects with it, which was heard. So a 404 for what was there is not
        // believed at once: a server that has just started may not know its definitions yet.
        let held = self.store.look(|objects| item::count(self.kind, objects));
        if (held == 0 || self.unknown > versions * 4) && self.vitals.absent(self.place) {
            tracing::info!(kind = %self.kind, "the cluster does not know this type; it may come later");
            self.store.change(|objects| {
                item::replace(self.kind, self.namespace.as_deref(), objects, Objects::default());
            });
        }
        self.timing.retry_most
    }

    /// The namespace that we are confined to may not be looked at: all that is known then is its name.
    fn nameless(&mut self) -> Duration {
        let name = self.namespace.clone().unwrap_or_default();
        let object =
            serde_json::json!({"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}});
        let mut listing = Objects::default();
        self.take(&object.to_string(), &mut listing);
        if self.vitals.absent(self.place) {
            tracing::info!(namespace = %name, "the labels of the namespace may not be read");
        }
        self.store.change(|objects| item::replace(self.kind, Some(&name), objects, listing));
        self.timing.silence
    }

    fn report(&self, problem: String) {
        let (kind, namespace) = (self.kind, self.namespace.as_deref().unwrap_or("all"));
        if self.vitals.disconnected(self.place, &problem) {
            tracing::warn!(%kind, %namespace, %problem, "not followed; trying again");
        } else {
            tracing::debug!(%kind, %namespace, %problem, "still not followed");
        }
    }

    async fn open(&self, params: &WatchParams, position: &str) -> Result<Lines, Failure> {
        let request: Asked = match self.kind {
            Kind::Namespace => self.request().watch_metadata(params, position),
            _ => self.request().watch(params, position),
        };
        let lines = self.api.open(request).await?;
        self.connected();
        Ok(lines)
    }

    fn connected(&self) {
        if self.vitals.connected(self.place).is_some() {
            tracing::info!(kind = %self.kind, namespace = %self.namespace.as_deref().unwrap_or("all"), "followed again");
        }
    }

    fn request(&self) -> Request {
        let version = self.kind.versions().get(self.version).copied().unwrap_or("v1");
        Request::new(self.kind.path(version, self.namespace.as_deref()))
    }

    /// Parameters of a watch, and when it must be over.
    fn watch_params(&mut self) -> (WatchParams, Instant) {
        let spread = self.timing.watch.mul_f64((2.0 + 2.0 * self.backoff.random()) / 3.0);
        let seconds = u32::try_from(spread.as_secs()).unwrap_or(u32::MAX).max(1);
        let mut params = WatchParams::default().timeout(seconds);
        params.field_selector = self.field_selector();
        (params, Instant::now() + Duration::from_secs(seconds.into()) + self.timing.grace)
    }

    fn list_params(&self) -> ListParams {
        ListParams {
            limit: self.paged.then_some(PAGE),
            field_selector: self.field_selector(),
            ..ListParams::default()
        }
    }

    fn field_selector(&self) -> Option<String> {
        let name = self.namespace.as_ref().filter(|_| self.kind == Kind::Namespace)?;
        Some(format!("metadata.name={name}"))
    }
}

/// Whether a failure says that this server does not list as a stream. Being away, refusing us, or being busy does not.
fn speaks_against_streams(failure: &Failure) -> bool {
    match failure {
        Failure::Refused(refusal) => !matches!(refusal.code, 401 | 403 | 429 | 503),
        Failure::Silent(_) | Failure::Cut(_) | Failure::Broken(_) => true,
        Failure::Unreachable(_) => false,
    }
}
