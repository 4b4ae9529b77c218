//! What workers find out of targets, all workers' together: for `/targets`, and for the status of Kubernetes objects.
//!
//! ```text
//! Action::Observed ─► bounded channel ─► Observations::follow ─► the table ─► merged
//! ```

use async_channel::{Receiver, Sender};
use k8s_adapter::build::{Observed, Seen};
use mcp_proto::{Observation, ShardId};
use routing::{Routes, Serves, TargetId};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Observations on their way. Each shard says of each target one thing a second at most.
const WAITING: usize = 1024;

/// What a worker says, and which one.
pub(crate) type Said = (ShardId, Box<Observation>);

/// What each shard said last of each target.
#[derive(Debug, Default)]
pub(crate) struct Observations {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    last: BTreeMap<TargetId, BTreeMap<ShardId, Last>>,
    /// How much was said so far.
    count: u64,
}

#[derive(Debug)]
struct Last {
    seen: Seen,
    /// Which one it was of all that was said.
    number: u64,
}

impl Observations {
    /// A table, and where workers put what goes in.
    pub(crate) fn start() -> (Arc<Self>, Sender<Said>) {
        let (sender, said) = async_channel::bounded(WAITING);
        let table = Arc::<Self>::default();
        tokio::spawn(Arc::clone(&table).follow(said));
        (table, sender)
    }

    async fn follow(self: Arc<Self>, said: Receiver<Said>) {
        while let Ok((shard, observation)) = said.recv().await {
            self.record(shard, *observation);
        }
    }

    fn record(&self, shard: ShardId, observation: Observation) {
        let mut table = self.table();
        table.count += 1;
        let error = observation.error.map(|error| error.to_string());
        let seen = Seen { era: observation.era.map(str::to_owned), error };
        let last = Last { seen, number: table.count };
        table.last.entry(observation.target).or_default().insert(shard, last);
    }

    /// Forgets targets that `routes` don't have.
    pub(crate) fn retain(&self, routes: &Routes) {
        self.table().last.retain(|id, _| routes.find(id).is_some());
    }

    /// What is known of each target: the newest word on what it speaks, and the newest error of those shards for which
    /// nothing has gone well since theirs.
    pub(crate) fn merged(&self) -> Observed {
        let table = self.table();
        let merge = |of: &BTreeMap<ShardId, Last>| {
            let mut all: Vec<_> = of.values().collect();
            all.sort_by_key(|last| std::cmp::Reverse(last.number));
            let seen = || all.iter().map(|last| &last.seen);
            Seen {
                era: seen().find_map(|seen| seen.era.clone()),
                error: seen().find_map(|seen| seen.error.clone()),
            }
        };
        table.last.iter().map(|(id, of)| (id.clone(), merge(of))).collect()
    }

    /// The targets of `routes` and what is known of them, as JSON.
    pub(crate) fn page(&self, routes: &Routes) -> String {
        let observed = self.merged();
        let targets = routes.all_targets().map(|target| {
            let serves = |serves| target.endpoints.iter().filter(|it| it.serves == serves).count();
            let seen = observed.get(&target.id);
            Line {
                backend: target.id.backend.as_str(),
                name: target.id.name.as_str(),
                ready: serves(Serves::Ready),
                draining: serves(Serves::Draining),
                process: target.process.is_some(),
                era: seen.and_then(|seen| seen.era.as_deref()),
                error: seen.and_then(|seen| seen.error.as_deref()),
            }
        });
        let page = Page { targets: targets.collect() };
        // Strings and numbers: this doesn't fail.
        serde_json::to_string(&page).unwrap_or_default()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Serialize)]
struct Page<'a> {
    targets: Vec<Line<'a>>,
}

/// One target.
#[derive(Serialize)]
struct Line<'a> {
    /// Empty for the one of a configuration file.
    backend: &'a str,
    name: &'a str,
    /// Endpoints that get everything, and those that only keep what they have.
    ready: usize,
    draining: usize,
    /// It is a child process.
    process: bool,
    /// The newest revision it was seen to speak.
    era: Option<&'a str>,
    /// What went wrong last, if nothing has gone well since.
    error: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing::{Endpoint, Target, TargetName};

    fn id(name: &str) -> TargetId {
        routes(&[name]).all_targets().next().unwrap().id.clone()
    }

    fn routes(names: &[&str]) -> Routes {
        let target = |name: &&str| {
            let mut target =
                Target::new(TargetName::parse(name).unwrap(), ([10, 0, 0, 1], 80).into(), "/mcp");
            let draining = Endpoint { serves: Serves::Draining, ..target.endpoints[0] };
            target.endpoints.extend([draining, draining]);
            target
        };
        Routes::new(names.iter().map(target).collect()).unwrap()
    }

    fn say(table: &Observations, shard: u16, name: &str, era: Option<&'static str>, error: Option<&str>) {
        let observation = Observation { target: id(name), era, error: error.map(Into::into) };
        table.record(ShardId(shard), observation);
    }

    fn merged(table: &Observations, name: &str) -> (Option<String>, Option<String>) {
        let seen = table.merged().remove(&id(name)).unwrap();
        (seen.era, seen.error)
    }

    #[test]
    fn the_newest_word_of_any_shard_counts() {
        let table = Observations::default();
        let text = |text: &str| Some(text.to_owned());
        say(&table, 1, "a", Some("2025-06-18"), None);
        say(&table, 0, "a", None, Some("refused"));
        assert_eq!(merged(&table, "a"), (text("2025-06-18"), text("refused")));
        say(&table, 1, "a", Some("2025-11-25"), Some("reset"));
        assert_eq!(merged(&table, "a"), (text("2025-11-25"), text("reset")));
        say(&table, 1, "a", Some("2025-11-25"), None);
        assert_eq!(
            merged(&table, "a"),
            (text("2025-11-25"), text("refused")),
            "it still is for the other shard"
        );
        say(&table, 0, "a", Some("2025-06-18"), None);
        assert_eq!(merged(&table, "a"), (text("2025-06-18"), None));
        say(&table, 0, "b", None, Some("refused"));
        table.retain(&routes(&["a"]));
        assert_eq!(table.merged().len(), 1);
    }

    #[test]
    fn the_page_shows_what_is_routed() {
        let table = Observations::default();
        say(&table, 0, "a", Some("2026-07-28"), Some("it \"broke\""));
        say(&table, 0, "gone", None, None);
        let page = concat!(
            r#"{"targets":[{"backend":"","name":"a","ready":1,"draining":2,"process":false,"era":"2026-07-28","#,
            r#""error":"it \"broke\""},{"backend":"","name":"b","ready":1,"draining":2,"process":false,"#,
            r#""era":null,"error":null}]}"#
        );
        assert_eq!(table.page(&routes(&["a", "b"])), page);
    }

    #[tokio::test]
    async fn what_is_said_arrives() {
        let (table, sender) = Observations::start();
        let observation = Observation { target: id("a"), era: Some("2025-11-25"), error: None };
        sender.send((ShardId(3), Box::new(observation))).await.unwrap();
        let arrival = async {
            while table.merged().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), arrival).await.unwrap();
        assert_eq!(merged(&table, "a"), (Some("2025-11-25".to_owned()), None));
    }
}
