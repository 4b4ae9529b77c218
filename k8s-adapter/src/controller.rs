//! A proxy for each Gateway of ours: a Deployment and what it takes, named like the Gateway.
//!
//! ```text
//! Objects, statuses ─► Wanted (pure: proxy) ─► keeper ─► API server
//!                                                │ ▲ every object that is different from what is wanted
//!                   statuses ◄─ report ◄─ Obstacles
//! ```
//!
//! The keeper looks at what is there, writes what differs, and looks again after a while: it has no memory that could be
//! wrong. It writes nothing over an object that was not made for that very Gateway. What belongs to a Gateway that is deleted
//! goes by owner reference, which is the cluster's work; what belongs to one that went over to another controller is
//! deleted.

mod difference;
mod keeper;
mod proxy;
mod template;

pub use proxy::{proxy, secret};
pub use template::Template;

use crate::build::{StatusKind, WantedStatus};
use crate::cluster::{self, ClusterOptions, ConnectError, Vitals};
use crate::objects::{Gateway, Key, Objects};
use keeper::Keeper;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a controller is told when it is started.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// Its name, as GatewayClasses say it.
    pub controller_name: String,
    /// What all proxies have in common.
    pub template: Template,
    /// Makes the keys of sessions: 32 random bytes as text.
    pub key: fn() -> String,
    /// How often everything is looked at without a reason. What somebody else changes is undone after this time at most;
    /// it costs three lists.
    pub sweep: Duration,
}

/// Why Gateways don't have their proxy, in words.
pub type Obstacles = BTreeMap<Key, String>;

/// Keeps the proxies of all our Gateways as they should be, until it is dropped.
#[derive(Debug)]
pub struct Controller {
    options: ControllerOptions,
    wanted: watch::Sender<Option<Wanted>>,
    obstacles: watch::Receiver<Obstacles>,
    /// Aborted with the set.
    _task: JoinSet<()>,
}

impl Controller {
    /// Begins to keep proxies in a cluster, whenever this replica is the one that writes there, as `vitals` tell.
    ///
    /// # Errors
    /// The configuration of the cluster can't be used.
    pub async fn start(
        cluster: &ClusterOptions,
        vitals: Arc<Vitals>,
        options: ControllerOptions,
    ) -> Result<Self, ConnectError> {
        let (wanted, wishes) = watch::channel(None);
        let (tell, obstacles) = watch::channel(Obstacles::new());
        let client = cluster::client(cluster).await?;
        let mut task = JoinSet::new();
        task.spawn(Keeper::new(client, vitals, cluster.namespaces.clone(), &options).run(wishes, tell));
        Ok(Self { options, wanted, obstacles, _task: task })
    }

    /// Says what there is, and what statuses it comes to: Gateways that are accepted get a proxy.
    pub fn want(&self, objects: &Objects, statuses: &[WantedStatus]) {
        let wanted = Some(Wanted::new(objects, statuses, &self.options));
        self.wanted.send_if_modified(|before| {
            let news = *before != wanted;
            *before = wanted;
            news
        });
    }

    /// What is in the way at present.
    #[must_use]
    pub fn obstacles(&self) -> watch::Receiver<Obstacles> {
        self.obstacles.clone()
    }
}

/// Says in the statuses of Gateways what is in the way of their proxies.
pub fn report(obstacles: &Obstacles, statuses: &mut [WantedStatus]) {
    for status in statuses.iter_mut().filter(|status| status.kind == StatusKind::Gateway) {
        let Some(obstacle) = obstacles.get(&status.key) else { continue };
        let conditions = status.status.get_mut("conditions").and_then(Value::as_array_mut);
        for condition in conditions.into_iter().flatten() {
            if let Some(fields) = condition.as_object_mut().filter(|fields| is(fields, "type", "Programmed"))
            {
                fields.extend([
                    ("status".to_owned(), "False".into()),
                    ("reason".to_owned(), "ProxyNotCreated".into()),
                    ("message".to_owned(), obstacle.as_str().into()),
                ]);
            }
        }
    }
}

/// What is to be there.
#[derive(Clone, Debug, Default, PartialEq)]
struct Wanted {
    /// The objects of each Gateway that is to have a proxy.
    proxies: BTreeMap<Key, Made>,
    /// ServiceAccounts that may read: those of all our Gateways.
    readers: BTreeSet<Key>,
    /// The uids of Gateways that are another controller's.
    released: BTreeSet<String>,
}

/// What is made for a Gateway.
#[derive(Clone, Debug, PartialEq)]
struct Made {
    /// The Gateway's.
    uid: String,
    /// Without its key.
    secret: Value,
    /// The others, in the order of creation.
    objects: Vec<Value>,
}

impl Wanted {
    /// A Gateway that is ours but not accepted keeps what it has: a slip of the pen must not cost anybody an address.
    fn new(objects: &Objects, statuses: &[WantedStatus], options: &ControllerOptions) -> Self {
        let name = &options.controller_name;
        let accepted: BTreeSet<&Key> =
            statuses.iter().filter(|status| is_accepted(status)).map(|s| &s.key).collect();
        let mut wanted = Self::default();
        for (key, gateway) in &objects.gateways {
            // Likewise if its class is gone.
            let Some(class) = objects.classes.get(&gateway.spec.gateway_class_name) else { continue };
            if class.spec.controller_name != *name {
                wanted.released.insert(gateway.metadata.uid.clone());
                continue;
            }
            wanted.readers.insert(key.clone());
            let made = Made::new(gateway, options);
            if accepted.contains(key) && !made.objects.is_empty() {
                wanted.proxies.insert(key.clone(), made);
            }
        }
        wanted
    }
}

impl Made {
    fn new(gateway: &Gateway, options: &ControllerOptions) -> Self {
        Self {
            uid: gateway.metadata.uid.clone(),
            secret: secret(gateway, &options.controller_name),
            objects: proxy(gateway, &options.controller_name, &options.template),
        }
    }
}

fn is_accepted(status: &WantedStatus) -> bool {
    let conditions = status.status.get("conditions").and_then(Value::as_array);
    status.kind == StatusKind::Gateway
        && conditions
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .any(|condition| is(condition, "type", "Accepted") && is(condition, "status", "True"))
}

fn is(fields: &serde_json::Map<String, Value>, name: &str, value: &str) -> bool {
    fields.get(name).and_then(Value::as_str) == Some(value)
}

#[cfg(test)]
mod tests;
