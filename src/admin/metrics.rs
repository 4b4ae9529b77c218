//! `/metrics`: the text format of Prometheus, version 0.0.4.

use super::{Snapshot, Status};
use k8s_adapter::cluster::{Board, KindVitals};
use mcp_proto::MetricKind::{self, Counter, Gauge};
use std::fmt::{Display, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The format's name.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics as they are now.
pub(super) fn render(status: &Status) -> String {
    let mut page = Page::default();
    push_shards(&mut page, status);
    push_process(&mut page, status);
    push_snapshot(&mut page, &status.snapshot().clone());
    if let Some(vitals) = &status.vitals {
        push_cluster(&mut page, &vitals.board());
    }
    page.0
}

/// Those of a process that only follows a cluster.
pub(super) fn of_cluster(board: &Board) -> String {
    let mut page = Page::default();
    push_cluster(&mut page, board);
    page.0
}

/// What shards count, summed.
fn push_shards(page: &mut Page, status: &Status) {
    let counters = status.workers.counters();
    let Some(first) = counters.first() else { return };
    for (index, metric) in first.each().enumerate() {
        let of_shards = counters.iter().filter_map(|shard| shard.each().nth(index));
        let sum: u64 = of_shards.map(|metric| metric.value).sum();
        page.push(metric.name, metric.kind, metric.help, [("", sum)]);
    }
}

fn push_process(page: &mut Page, status: &Status) {
    let build = format!("{{version=\"{}\",runtime=\"{}\"}}", env!("CARGO_PKG_VERSION"), status.runtime);
    let (good, failed) = (status.reloads.load(Relaxed), status.reloads_failed.load(Relaxed));
    let is_current = u8::from(status.config_is_current.load(Relaxed));
    let loaded = status.config_loaded.load(Relaxed);
    page.push("mcp_gateway_build_info", Gauge, "Version and runtime of this process.", [(build, 1)]);
    page.push("mcp_gateway_start_time_seconds", Gauge, "When the process started.", [("", status.started)]);
    page.push("mcp_gateway_workers", Gauge, "Worker threads.", [("", status.workers.count())]);
    page.push(
        "mcp_gateway_config_reloads_total",
        Counter,
        "Configurations read while running, by outcome.",
        [("{outcome=\"ok\"}", good), ("{outcome=\"error\"}", failed)],
    );
    page.push(
        "mcp_gateway_config_current",
        Gauge,
        "1 when the configuration on disk is in force, 0 when it has errors.",
        [("", is_current)],
    );
    page.push(
        "mcp_gateway_config_loaded_time_seconds",
        Gauge,
        "When the configuration in force was loaded.",
        [("", loaded)],
    );
}

fn push_snapshot(page: &mut Page, snapshot: &Snapshot) {
    page.push("mcp_gateway_targets", Gauge, "Targets in force.", [("", snapshot.targets)]);
    page.push(
        "mcp_gateway_targets_unresolved",
        Gauge,
        "Targets whose host name has no address, or whose Service has no endpoint.",
        [("", snapshot.unresolved)],
    );
    page.push("mcp_gateway_endpoints", Gauge, "Addresses of targets in force.", [("", snapshot.endpoints)]);
    page.push("mcp_gateway_backends", Gauge, "Backends in force.", [("", snapshot.backends)]);
    page.push("mcp_gateway_rules", Gauge, "Matches of rules in force.", [("", snapshot.rules)]);
    page.push(
        "mcp_gateway_listeners",
        Gauge,
        "Addresses that Gateways name, by whether they are listened on.",
        [("{state=\"bound\"}", snapshot.bound), ("{state=\"unbound\"}", snapshot.unbound.len())],
    );
    if let Some(took) = snapshot.took {
        page.push(
            "mcp_gateway_kubernetes_build_seconds",
            Gauge,
            "How long it took to make the latest snapshot of Kubernetes objects.",
            [("", took.as_secs_f64())],
        );
    }
}

/// How things stand with the cluster that is followed.
fn push_cluster(page: &mut Page, board: &Board) {
    type Value = fn(&KindVitals) -> f64;
    let of_kinds: [(_, _, _, Value); 5] = [
        ("connected", Gauge, "1 while the API server answers about a type.", |kind| flag(kind.connected)),
        ("synced", Gauge, "1 once all objects of a type were read.", |kind| flag(kind.synced)),
        ("objects", Gauge, "Objects of a type.", |kind| kind.objects as f64),
        ("resyncs_total", Counter, "How often all objects of a type were read.", |kind| kind.resyncs as f64),
        ("decode_errors_total", Counter, "Objects of a type that could not be read.", |kind| {
            kind.decode_errors as f64
        }),
    ];
    for (name, kind, help, value) in of_kinds {
        let values = board.kinds.iter().map(|kind| (label(kind), value(kind)));
        page.push(&format!("mcp_gateway_kubernetes_{name}"), kind, help, values);
    }
    let silent = board.kinds.iter().filter_map(|kind| Some((label(kind), kind.silent?.as_secs_f64())));
    page.push(
        "mcp_gateway_kubernetes_silent_seconds",
        Gauge,
        "Since the API server last said something about a type.",
        silent,
    );
    page.push(
        "mcp_gateway_kubernetes_snapshot_age_seconds",
        Gauge,
        "Since objects last changed.",
        board.age.as_ref().map(|age| ("", Duration::as_secs_f64(age))),
    );
    page.push(
        "mcp_gateway_kubernetes_snapshots_total",
        Counter,
        "How often objects changed.",
        [("", board.publications)],
    );
    let statuses = &board.statuses;
    page.push(
        "mcp_gateway_kubernetes_status_writes_total",
        Counter,
        "Statuses written, by outcome.",
        [
            ("{outcome=\"ok\"}", statuses.writes),
            ("{outcome=\"conflict\"}", statuses.conflicts),
            ("{outcome=\"error\"}", statuses.failures),
        ],
    );
    page.push(
        "mcp_gateway_kubernetes_leader",
        Gauge,
        "1 while this replica writes statuses.",
        [("", u8::from(board.leader))],
    );
}

fn label(kind: &KindVitals) -> String {
    format!("{{kind=\"{}\"}}", kind.name)
}

fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

#[derive(Default)]
struct Page(String);

impl Page {
    /// Adds a metric with its values and their labels.
    fn push<L: Display, V: Display>(
        &mut self,
        name: &str,
        kind: MetricKind,
        help: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) {
        let kind = match kind {
            Counter => "counter",
            Gauge => "gauge",
        };
        // Writing to a string doesn't fail.
        _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in values {
            _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }
}
