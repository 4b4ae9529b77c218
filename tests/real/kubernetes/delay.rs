//! How long a change takes from the API server to a client. Nothing is asserted of it: `MCP_GATEWAY_MEASURE` says how many
//! changes are measured, and without it there are a few, which shows that it still can be measured.

use super::client::Client;
use super::{Cluster, Pod};
use crate::gateway::Runtime;
use crate::on_both_runtimes;
use crate::parts::Parts;
use std::env;
use std::thread;
use std::time::{Duration, Instant};

on_both_runtimes![of_a_label];

/// How often the client looks.
const LOOK: Duration = Duration::from_millis(2);
/// Between changes, so that none is seen together with the one before.
const REST: Duration = Duration::from_millis(200);
/// Far beyond what a change takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn of_a_label(runtime: Runtime) {
    let Some(parts) = Parts::installed() else { return };
    let Some(cluster) = Cluster::start(runtime) else { return };
    let (steady, wavering) = (Pod::start(&parts), Pod::start(&parts));
    cluster.serve_two("steady", &steady, "wavering", &wavering);
    let client = Client::connect(&cluster.url(8080, "")).expect("the gateway is there");
    let changes = env::var("MCP_GATEWAY_MEASURE").ok().map_or(4, |text| text.parse().expect("a number"));

    let mut delays: Vec<Duration> = (0..changes)
        .map(|change| {
            thread::sleep(REST);
            let selected = change % 2 == 1;
            let written = Instant::now();
            cluster.select("wavering", selected);
            while sees(&client, "wavering-3001_echo") != selected {
                assert!(written.elapsed() < PATIENCE, "change {change} is not seen");
                thread::sleep(LOOK);
            }
            written.elapsed()
        })
        .collect();
    delays.sort();
    let part = |percent: usize| delays.get((delays.len() * percent / 100).min(delays.len() - 1));
    let milliseconds = |delay: Option<&Duration>| delay.map_or(0, Duration::as_millis);
    println!(
        "{}: {changes} changes, from the API server to a client: p50 {} ms, p99 {} ms, longest {} ms",
        runtime.name(),
        milliseconds(part(50)),
        milliseconds(part(99)),
        milliseconds(delays.last()),
    );
}

fn sees(client: &Client, tool: &str) -> bool {
    client.tools().expect("a list").iter().any(|name| name == tool)
}
