//! The admin endpoint: `/healthz`, `/readyz` and `/metrics`, on the control thread.

use crate::workers::Workers;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use mcp_proto::MetricKind;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// What the endpoint tells. Written by the control loop.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) workers: Workers,
    pub(crate) runtime: &'static str,
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
    pub(crate) fn new(workers: Workers, runtime: &'static str) -> Self {
        let now = unix_seconds();
        Self {
            workers,
            runtime,
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
        if snapshot.unbound.is_empty() {
            self.ready.store(true, Relaxed);
        }
        *self.snapshot() = snapshot;
    }

    fn snapshot(&self) -> MutexGuard<'_, Snapshot> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) backends: usize,
    pub(crate) targets: usize,
    /// Targets without an address.
    pub(crate) unresolved: usize,
    pub(crate) endpoints: usize,
    /// Addresses of listeners.
    pub(crate) bound: usize,
    /// Why others can't be listened on.
    pub(crate) unbound: Vec<String>,
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
        status.snapshot().unbound.join("\n")
    } else {
        return (StatusCode::OK, "ready\n".to_owned());
    };
    (StatusCode::SERVICE_UNAVAILABLE, reason + "\n")
}

async fn metrics(State(status): State<Arc<Status>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render(&status))
}

/// The text format of Prometheus, version 0.0.4.
fn render(status: &Status) -> String {
    let mut text = String::new();
    for (index, metric) in
        status.workers.counters().first().into_iter().flat_map(|first| first.each().enumerate())
    {
        let value = status
            .workers
            .counters()
            .iter()
            .filter_map(|shard| shard.each().nth(index))
            .map(|m| m.value)
            .sum();
        push(&mut text, metric.name, metric.kind, metric.help, &[("", value)]);
    }
    let build = format!("{{version=\"{}\",runtime=\"{}\"}}", env!("CARGO_PKG_VERSION"), status.runtime);
    let snapshot = status.snapshot().clone();
    let (good, failed) = (status.reloads.load(Relaxed), status.reloads_failed.load(Relaxed));
    use MetricKind::{Counter, Gauge};
    for (name, kind, help, values) in [
        ("mcp_gateway_build_info", Gauge, "Version and runtime of this process.", vec![(build.as_str(), 1)]),
        ("mcp_gateway_start_time_seconds", Gauge, "When the process started.", vec![("", status.started)]),
        ("mcp_gateway_workers", Gauge, "Worker threads.", vec![("", status.workers.count() as u64)]),
        ("mcp_gateway_targets", Gauge, "Targets in force.", vec![("", snapshot.targets as u64)]),
        (
            "mcp_gateway_targets_unresolved",
            Gauge,
            "Targets whose host name has no address.",
            vec![("", snapshot.unresolved as u64)],
        ),
        ("mcp_gateway_backends", Gauge, "Backends in force.", vec![("", snapshot.backends as u64)]),
        (
            "mcp_gateway_endpoints",
            Gauge,
            "Addresses of targets in force.",
            vec![("", snapshot.endpoints as u64)],
        ),
        (
            "mcp_gateway_listeners",
            Gauge,
            "Addresses of Gateways, by whether they are listened on.",
            vec![
                ("{state=\"bound\"}", snapshot.bound as u64),
                ("{state=\"unbound\"}", snapshot.unbound.len() as u64),
            ],
        ),
        (
            "mcp_gateway_config_reloads_total",
            Counter,
            "Configurations read while running, by outcome.",
            vec![("{outcome=\"ok\"}", good), ("{outcome=\"error\"}", failed)],
        ),
        (
            "mcp_gateway_config_current",
            Gauge,
            "1 when the configuration on disk is in force, 0 when it has errors.",
            vec![("", status.config_is_current.load(Relaxed).into())],
        ),
        (
            "mcp_gateway_config_loaded_time_seconds",
            Gauge,
            "When the configuration in force was loaded.",
            vec![("", status.config_loaded.load(Relaxed))],
        ),
    ] {
        push(&mut text, name, kind, help, &values);
    }
    text
}

fn push(text: &mut String, name: &str, kind: MetricKind, help: &str, values: &[(&str, u64)]) {
    let kind = match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
    };
    // Writing to a string doesn't fail.
    _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in values {
        _ = writeln!(text, "{name}{labels} {value}");
    }
}
