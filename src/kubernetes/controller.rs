//! `mcp-gateway controller`: a proxy for each Gateway of a cluster, and the status of everything. It serves no client.
//!
//! ```text
//! Cluster::objects ─► build ─► statuses ─► Controller::want ─► Deployments, Services, …
//!   hosts looked up ─►┘           ▼              ▼
//!                       Cluster::want ◄─ report ◄─ obstacles
//! ```

use super::Follow;
use crate::admin;
use crate::control::Stop;
use crate::resolve::{PATIENCE, Resolver};
use crate::{EXIT_USAGE, Failure, arguments, bind_admin, start_log, workers};
use k8s_adapter::build::{Built, Inputs, Options, Publish, build};
use k8s_adapter::cluster::Cluster;
use k8s_adapter::controller::{Controller, ControllerOptions, Template, report};
use k8s_adapter::objects::Objects;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How often everything is looked at without a reason: three lists, each from the API server's memory.
const SWEEP: Duration = Duration::from_secs(15);

/// Runs until it is told to stop.
pub(crate) fn run(flags: &arguments::Controller) -> Result<ExitCode, Failure> {
    start_log(flags.log_level, flags.log_format);
    let template = template(&flags.proxy).map_err(|problem| Failure::new(EXIT_USAGE, problem))?;
    let options = options(&flags.follow).map_err(|problem| Failure::new(EXIT_USAGE, problem))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new(1, format!("can't start the control thread: {error}")))?;
    let result = runtime.block_on(control(flags, options, template));
    // A name server that never answers must not hold up the end.
    runtime.shutdown_background();
    result
}

/// What each proxy is like.
fn template(path: &Path) -> Result<Template, String> {
    let refused = |problem: String| format!("--proxy {}: {problem}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| refused(format!("can't be read: {error}")))?;
    serde_json::from_str(&text).map_err(|error| refused(error.to_string()))
}

/// What is made of the cluster's objects: each Gateway has a Service of its own.
fn options(follow: &Follow) -> Result<Options, String> {
    let options = follow.options();
    if options.publish != Options::default().publish {
        return Err("--publish-service, --publish-address: each Gateway reports its own Service".to_owned());
    }
    Ok(Options { publish: Publish::OwnService, ..options })
}

/// 32 random bytes in hexadecimal.
fn key() -> String {
    workers::entropy().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn control(
    flags: &arguments::Controller,
    options: Options,
    template: Template,
) -> Result<ExitCode, Failure> {
    let mut stop =
        Stop::new().map_err(|error| Failure::new(1, format!("can't listen for signals: {error}")))?;
    let admin = bind_admin(flags.admin()).await?;
    let [one, two, three, four, ..] = workers::entropy();
    let cluster_options = flags.follow.cluster([one, two, three, four]);
    let made =
        ControllerOptions { controller_name: options.controller_name.clone(), template, key, sweep: SWEEP };
    let failed = |error| Failure::new(1, error);
    let cluster = Cluster::connect(cluster_options.clone()).await.map_err(failed)?;
    let controller = Controller::start(&cluster_options, cluster.vitals(), made).await.map_err(failed)?;
    if let Some(admin) = admin {
        let router = admin::cluster::router(cluster.vitals());
        tokio::spawn(async move { axum::serve(admin, router).await });
    }
    let mut builder = Builder { options, resolver: Resolver::default(), told: BTreeSet::new() };
    let (mut objects, mut obstacles) = (cluster.objects(), controller.obstacles());
    loop {
        tokio::select! {
            signal = stop.next() => {
                tracing::info!(signal, "stopping; the proxies go on without a controller");
                break;
            }
            Ok(()) = objects.changed() => {}
            Ok(()) = obstacles.changed() => {}
            () = builder.resolver.changed() => {}
        }
        let Some(objects) = objects.borrow_and_update().clone() else { continue };
        let mut statuses = builder.build(&objects).await.statuses;
        controller.want(&objects, &statuses);
        report(&obstacles.borrow_and_update(), &mut statuses);
        cluster.want(statuses);
    }
    drop(controller);
    cluster.leave().await;
    Ok(ExitCode::SUCCESS)
}

/// Makes statuses as a gateway makes them that serves all Gateways.
struct Builder {
    options: Options,
    resolver: Resolver,
    /// What the operator was told already.
    told: BTreeSet<String>,
}

impl Builder {
    /// Hosts that are new get some time to be looked up: a status should not say first that they have no address.
    async fn build(&mut self, objects: &Objects) -> Built {
        let mut built = self.build_once(objects);
        self.resolver.follow(&built.hosts);
        if self.resolver.is_behind() {
            self.resolver.settle(PATIENCE).await;
            built = self.build_once(objects);
        }
        let notes: BTreeSet<String> = built.notes.iter().cloned().collect();
        for note in notes.difference(&self.told) {
            tracing::warn!(note, "Kubernetes objects");
        }
        self.told = notes;
        built
    }

    fn build_once(&self, objects: &Objects) -> Built {
        // What the proxies see of targets they keep to themselves.
        let (hosts, observed, unbound) = (self.resolver.hosts(), BTreeMap::new(), BTreeMap::new());
        build(&Inputs {
            objects,
            options: &self.options,
            hosts: &hosts,
            observed: &observed,
            unbound: &unbound,
            before: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_32_bytes_and_each_is_another() {
        let (one, other) = (key(), key());
        assert_eq!(one.len(), 64);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, other);
    }
}
