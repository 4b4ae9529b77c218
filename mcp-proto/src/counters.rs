//! What a shard counts. One writer, the shard; read from anywhere at any time, summed over shards when scraped.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $kind:ident = $metric:literal, $help:literal;)*) => {
        /// The numbers of one shard.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* #[doc = $help] pub $name: Count,)* }

        impl Counters {
            /// A new shard has nothing open, whatever one before it had.
            pub(crate) fn reset_gauges(&self) {
                $(if MetricKind::$kind == MetricKind::Gauge { self.$name.0.store(0, Relaxed); })*
            }

            /// Every number with its metric name, whether it can fall, its help text and its present value.
            pub fn each(&self) -> impl Iterator<Item = Metric> + '_ {
                [$(Metric { name: $metric, kind: MetricKind::$kind, help: $help, value: self.$name.value() },)*]
                    .into_iter()
            }
        }
    };
}

/// One number as a scrape shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Metric {
    /// Name, in Prometheus' form.
    pub name: &'static str,
    /// Whether it can fall.
    pub kind: MetricKind,
    /// One line of help.
    pub help: &'static str,
    /// Its value now.
    pub value: u64,
}

/// Whether a number can fall.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// The value now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }

    // One writer, so a load and a store do what a locked addition would, cheaper.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.value().wrapping_add(n), Relaxed);
    }

    pub(crate) fn sub(&self, n: u64) {
        self.0.store(self.value().saturating_sub(n), Relaxed);
    }
}

counters! {
    client_connections: Gauge = "mcp_gateway_client_connections", "Open client connections.";
    client_connections_total: Counter = "mcp_gateway_client_connections_total", "Client connections accepted.";
    client_connections_refused: Counter = "mcp_gateway_client_connections_refused_total", "Client connections refused at the limit.";
    requests: Counter = "mcp_gateway_requests_total", "HTTP requests of clients.";
    requests_failed: Counter = "mcp_gateway_requests_failed_total", "HTTP requests of clients answered with a status from 400 on.";
    bytes_received: Counter = "mcp_gateway_client_received_bytes_total", "Bytes received from clients.";
    bytes_sent: Counter = "mcp_gateway_client_sent_bytes_total", "Bytes sent to clients.";
    target_connections: Gauge = "mcp_gateway_target_connections", "Open connections to targets.";
    target_connections_total: Counter = "mcp_gateway_target_connections_total", "Connections to targets opened.";
    target_requests: Counter = "mcp_gateway_target_requests_total", "HTTP requests sent to targets.";
    target_failures: Counter = "mcp_gateway_target_failures_total", "Requests to targets that failed: refused, reset, timed out, malformed.";
    target_retries: Counter = "mcp_gateway_target_retries_total", "Requests repeated because a kept-alive connection had gone stale.";
    endpoint_rests: Counter = "mcp_gateway_endpoint_rests_total", "Times an endpoint of a target was left alone: it could not be reached, or broke requests in a row.";
    processes: Gauge = "mcp_gateway_target_processes", "Running child processes of targets.";
    processes_total: Counter = "mcp_gateway_target_processes_total", "Child processes started.";
    target_streams: Gauge = "mcp_gateway_target_streams", "HTTP+SSE streams of targets.";
    channels_failed: Counter = "mcp_gateway_target_channels_failed_total", "Child processes and HTTP+SSE streams that ended of themselves or never began.";
    sessions: Gauge = "mcp_gateway_sessions", "Sessions at home on their shard.";
    sessions_total: Counter = "mcp_gateway_sessions_total", "Sessions opened.";
    sessions_expired: Counter = "mcp_gateway_sessions_expired_total", "Sessions ended because they were idle.";
    streams: Gauge = "mcp_gateway_streams", "Open streams of clients: GET streams and subscriptions.";
    calls: Gauge = "mcp_gateway_calls", "Requests to targets in flight.";
    parked: Gauge = "mcp_gateway_parked_calls", "Calls that wait for what their clients are asked.";
    partial_lists: Counter = "mcp_gateway_partial_lists_total", "Merged answers that lacked a target.";
    dropped: Counter = "mcp_gateway_dropped_messages_total", "Messages nobody could be found for: late answers, unknown reply ids, notices without a stream.";
    malformed: Counter = "mcp_gateway_malformed_messages_total", "Messages of targets that were no JSON-RPC.";
    parcels: Counter = "mcp_gateway_parcels_total", "Messages sent to other shards.";
    panics: Counter = "mcp_gateway_shard_panics_total", "Shards rebuilt after a panic.";
}

impl Counters {
    /// Counts a shard that was rebuilt after a panic. For frontends; everything else is counted by the shard itself.
    pub fn count_panic(&self) {
        self.panics.add(1);
    }
}
