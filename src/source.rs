//! What stands behind the gateway, and how it becomes a snapshot.

use crate::config::Server;
use crate::kubernetes::{Known, Kubernetes};
use crate::resolve::{Hosts, Resolver};
use k8s_adapter::build::Observed;
use routing::{DuplicateTarget, Routes, Target};
use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

/// Who says what is served.
#[derive(Debug)]
pub(crate) enum Source {
    /// A configuration, or flags.
    Servers(Vec<Server>),
    /// Kubernetes objects.
    Kubernetes(Box<Kubernetes>),
}

/// What it takes besides to know what is served.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// Looks hosts up.
    pub(crate) resolver: Resolver,
    /// What workers saw of targets.
    pub(crate) observed: Observed,
    /// Addresses that can't be listened on.
    pub(crate) unbound: BTreeMap<SocketAddr, String>,
}

impl Source {
    /// The snapshot as it should be now, in the place of `routes`. Hosts that are new in it get `patience` to be looked
    /// up.
    ///
    /// # Errors
    /// When two servers have the same name.
    pub(crate) async fn routes(
        &mut self,
        world: &mut World,
        routes: &Routes,
        patience: Duration,
    ) -> Result<Routes, DuplicateTarget> {
        let mut built = self.build(world, routes)?;
        if world.resolver.is_behind() {
            world.resolver.settle(patience).await;
            built = self.build(world, routes)?;
        }
        if let Self::Kubernetes(kubernetes) = self {
            kubernetes.publish();
        }
        Ok(built)
    }

    /// Waits until a cluster says something else. Nothing is lost when it is dropped.
    pub(crate) async fn changed(&mut self) {
        match self {
            Self::Servers(_) => pending().await,
            Self::Kubernetes(kubernetes) => kubernetes.changed().await,
        }
    }

    /// Finds out what must be known of a cluster besides its objects.
    pub(crate) async fn look_around(&mut self) {
        if let Self::Kubernetes(kubernetes) = self {
            kubernetes.look_around().await;
        }
    }

    /// Leaves a cluster to other replicas.
    pub(crate) async fn leave(&mut self) {
        if let Self::Kubernetes(kubernetes) = self {
            kubernetes.leave().await;
        }
    }

    fn build(&mut self, world: &mut World, routes: &Routes) -> Result<Routes, DuplicateTarget> {
        let hosts = world.resolver.hosts();
        match self {
            Self::Servers(servers) => {
                world.resolver.follow(&servers.iter().filter_map(|server| server.host.clone()).collect());
                Routes::new(servers.iter().map(|server| target(server, &hosts)).collect())
            }
            Self::Kubernetes(kubernetes) => {
                let known =
                    Known { hosts: &hosts, observed: &world.observed, unbound: &world.unbound, routes };
                let Some(built) = kubernetes.build(known) else { return Ok(routes.clone()) };
                world.resolver.follow(&built.hosts);
                Ok(built.routes.clone())
            }
        }
    }
}

/// The target that `server` is, with what is known of its host.
fn target(server: &Server, hosts: &Hosts) -> Target {
    let addresses = server.host.as_ref().and_then(|host| hosts.get(host));
    let endpoints = addresses.into_iter().flatten().map(|address| (*address).into()).collect();
    Target { endpoints, ..server.target.clone() }
}
