//! The admin endpoint: `/healthz`, `/readyz` and `/metrics`, on the control thread.

use crate::workers::Workers;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use mcp_proto::MetricKind;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

/// What the endpoint tells. Written by the control loop.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) workers: Workers,
    pub(crate) runtime: &'static str,
    /// The gateway was told to stop.
    pub(crate) draining: AtomicBool,
    pub(crate) targets: AtomicUsize,
    /// Those without an address.
    pub(crate) targets_unresolved: AtomicUsize,
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
            targets: AtomicUsize::new(0),
            targets_unresolved: AtomicUsize::new(0),
            reloads: AtomicU64::new(0),
            reloads_failed: AtomicU64::new(0),
            config_is_current: AtomicBool::new(true),
            config_loaded: AtomicU64::new(now),
            started: now,
        }
    }
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
    if status.draining.load(Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
    } else if !status.workers.are_alive() {
        (StatusCode::SERVICE_UNAVAILABLE, "a worker thread has ended\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
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
    let (all, unresolved) = (status.targets.load(Relaxed), status.targets_unresolved.load(Relaxed));
    let (good, failed) = (status.reloads.load(Relaxed), status.reloads_failed.load(Relaxed));
    use MetricKind::{Counter, Gauge};
    for (name, kind, help, values) in [
        ("mcp_gateway_build_info", Gauge, "Version and runtime of this process.", vec![(build.as_str(), 1)]),
        ("mcp_gateway_start_time_seconds", Gauge, "When the process started.", vec![("", status.started)]),
        ("mcp_gateway_workers", Gauge, "Worker threads.", vec![("", status.workers.count() as u64)]),
        ("mcp_gateway_targets", Gauge, "Targets in force.", vec![("", all as u64)]),
        (
            "mcp_gateway_targets_unresolved",
            Gauge,
            "Targets whose host name has no address.",
            vec![("", unresolved as u64)],
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
