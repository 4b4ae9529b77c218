//! The admin endpoint: `/healthz`, `/readyz`, `/metrics` and `/targets`, on the control thread.

pub(crate) mod cluster;
mod metrics;

use crate::observed::Observations;
use crate::workers::Workers;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use k8s_adapter::cluster::Vitals;
use routing::Routes;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// What the endpoint tells. Written by the control loop.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) workers: Workers,
    pub(crate) runtime: &'static str,
    /// Of the cluster that is followed.
    vitals: Option<Arc<Vitals>>,
    /// What workers find out of targets.
    pub(crate) observed: Arc<Observations>,
    /// The gateway was told to stop.
    pub(crate) draining: AtomicBool,
    snapshot: Mutex<Snapshot>,
    /// Everything that must be there before clients come was there once.
    ready: AtomicBool,
    pub(crate) reloads: AtomicU64,
    pub(crate) reloads_failed: AtomicU64,
    /// Whether the configuration on disk is the one in force.
    pub(crate) config_is_current: AtomicBool,
    /// When it was loaded, in seconds since the Unix epoch.
    pub(crate) config_loaded: AtomicU64,
    /// When the process started, likewise.
    pub(crate) started: u64,
}

impl Status {
    pub(crate) fn new(
        workers: Workers,
        runtime: &'static str,
        vitals: Option<Arc<Vitals>>,
        observed: Arc<Observations>,
    ) -> Self {
        let now = unix_seconds();
        Self {
            workers,
            runtime,
            vitals,
            observed,
            draining: AtomicBool::new(false),
            snapshot: Mutex::default(),
            ready: AtomicBool::new(false),
            reloads: AtomicU64::new(0),
            reloads_failed: AtomicU64::new(0),
            config_is_current: AtomicBool::new(true),
            config_loaded: AtomicU64::new(now),
            started: now,
        }
    }

    /// What is in force now.
    pub(crate) fn show(&self, snapshot: Snapshot) {
        // Fail static: what goes missing later is no reason to send clients away.
        if snapshot.in_force && snapshot.unbound.is_empty() {
            self.ready.store(true, Relaxed);
        }
        self.observed.retain(&snapshot.routes);
        *self.snapshot() = snapshot;
    }

    /// Why it isn't ready.
    fn waits_for(&self) -> Vec<String> {
        let mut reasons = vec!["not ready".to_owned()];
        if !self.snapshot().in_force {
            reasons.extend(self.vitals.iter().flat_map(|vitals| vitals.board().waiting_for()));
        }
        reasons.extend(self.snapshot().unbound.iter().cloned());
        reasons
    }

    fn snapshot(&self) -> MutexGuard<'_, Snapshot> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Whether it is more than the emptiness of the beginning.
    pub(crate) in_force: bool,
    pub(crate) routes: Arc<Routes>,
    /// Rules of routes, once for each of their matches.
    pub(crate) rules: usize,
    pub(crate) backends: usize,
    pub(crate) targets: usize,
    /// Targets without an address.
    pub(crate) unresolved: usize,
    pub(crate) endpoints: usize,
    /// Addresses of listeners.
    pub(crate) bound: usize,
    /// Why others can't be listened on.
    pub(crate) unbound: Vec<String>,
    /// How long it took to make it of Kubernetes objects.
    pub(crate) took: Option<Duration>,
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO).as_secs()
}

/// The endpoint's routes.
pub(crate) fn router(status: Arc<Status>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/targets", get(targets))
        .with_state(status)
}

async fn healthz(State(status): State<Arc<Status>>) -> impl IntoResponse {
    if status.workers.are_alive() || status.draining.load(Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "a worker thread has ended\n")
    }
}

/// Whether a new client would be answered. Dead targets don't count: `initialize` is answered without them.
async fn readyz(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let reason = if status.draining.load(Relaxed) {
        "shutting down".to_owned()
    } else if !status.workers.are_alive() {
        "a worker thread has ended".to_owned()
    } else if !status.ready.load(Relaxed) {
        status.waits_for().join("\n")
    } else {
        return (StatusCode::OK, "ready\n".to_owned());
    };
    (StatusCode::SERVICE_UNAVAILABLE, reason + "\n")
}

async fn metrics(State(status): State<Arc<Status>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::render(&status))
}

async fn targets(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let routes = Arc::clone(&status.snapshot().routes);
    ([(header::CONTENT_TYPE, "application/json")], status.observed.page(&routes))
}
