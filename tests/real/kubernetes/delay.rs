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
const PATIENCE: Duration = Duration::from_secs(60);

fn of_a_label(runtime: Runtime) {
    let Some(parts) = Parts::installed() else { return };
    let Some(cluster) = Cluster::start(runtime) else { return };
    let (steady, wavering) = (Pod::start(&parts), Pod::start(&parts));
    cluster.serve_two("steady", &steady, "wavering", &wavering);
    let client = Client::connect(&cluster.url(8080, "")).expect("the gateway is there");
    let changes = env::var("MCP_GATEWAY_MEASURE").ok().map_or(4, |text| text.parse().expect("a number"));

    let delays: Vec<(bool, Duration)> = (0..changes)
        .map(|change| {
            thread::sleep(REST);
            let selected = change % 2 == 1;
            let written = Instant::now();
            cluster.select("wavering", selected);
            while sees(&client, "wavering-3001_echo") != selected {
                assert!(written.elapsed() < PATIENCE, "change {change} is not seen");
                thread::sleep(LOOK);
            }
            (selected, written.elapsed())
        })
        .collect();
    for (what, selected) in [("gone", false), ("there", true)] {
        let of_kind = delays.iter().filter(|(kind, _)| *kind == selected);
        let summary = summary(of_kind.map(|(_, delay)| *delay).collect());
        println!("{}: from the API server to a client, a target is {what}: {summary}", runtime.name());
    }
}

fn summary(mut delays: Vec<Duration>) -> String {
    delays.sort();
    let part = |percent: usize| {
        let rank = (delays.len() * percent).div_ceil(100).saturating_sub(1);
        delays.get(rank).map_or(0, Duration::as_millis)
    };
    let [half, most, all] = [50, 99, 100].map(part);
    format!("{} changes, p50 {half} ms, p99 {most} ms, longest {all} ms", delays.len())
}

fn sees(client: &Client, tool: &str) -> bool {
    client.tools().expect("a list").iter().any(|name| name == tool)
}
