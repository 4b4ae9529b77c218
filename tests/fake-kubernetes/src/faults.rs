//! What can be made to go wrong.

use crate::definitions::{self, BackendShape};
use crate::refusal::Refusal;
use crate::server::FakeKubernetes;
use crate::watch::{Event, Streaming};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How the lines of watches are cut into chunks of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chunks {
    /// One event, one chunk.
    #[default]
    Whole,
    /// Events that happened together share a chunk.
    Joined,
    /// Chunks of so many bytes.
    Bytes(usize),
}

/// What happens to a running watch.
#[derive(Clone, Debug)]
pub(crate) enum Disturbance {
    /// Half of the next line, then the connection is closed.
    Cut,
    /// TCP reset.
    Reset,
    /// The stream ends as it should.
    End,
    /// An event out of turn; the stream stays open.
    Say(Event),
    /// A bookmark now.
    Bookmark,
}

/// A watch that is being served.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) resource: String,
    pub(crate) disturbances: Vec<Disturbance>,
}

/// The faults in force.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) streaming: Streaming,
    pub(crate) hanging: bool,
    pub(crate) closing: bool,
    pub(crate) gone: bool,
    pub(crate) chunks: Chunks,
    pub(crate) denied: BTreeSet<(String, String)>,
    /// Refused requests: resource (empty for all), how many more times, and how.
    pub(crate) refused: Vec<(String, u32, Refusal)>,
    pub(crate) running: BTreeMap<u64, Running>,
}

impl Plan {
    /// Whether a verb on a resource is forbidden.
    pub(crate) fn denies(&self, verb: &str, resource: &str) -> bool {
        ["*", verb].iter().any(|verb| self.denied.contains(&((*verb).to_owned(), resource.to_owned())))
    }

    /// Whether the next request for a resource is to be refused, and how.
    pub(crate) fn refuses(&mut self, resource: &str) -> Option<Refusal> {
        let (_, left, refusal) =
            self.refused.iter_mut().find(|(of, left, _)| *left > 0 && (of.is_empty() || of == resource))?;
        *left -= 1;
        Some(refusal.clone())
    }
}

/// Makes things go wrong. Resources are named by plural and group: `services`, `gateways.gateway.networking.k8s.io`.
#[derive(Debug)]
pub struct Faults<'s>(pub(crate) &'s FakeKubernetes);

impl Faults<'_> {
    /// How streaming lists are answered from now on.
    pub fn streaming(&self, streaming: Streaming) {
        self.0.change(|world| world.plan.streaming = streaming);
    }

    /// Forgets history: every resource version so far is too old to watch from.
    pub fn compact(&self) {
        self.0.change(|world| world.cluster.store.compact());
    }

    /// Counts revisions without writes.
    pub fn skip_revisions(&self, revisions: u64) {
        self.0.change(|world| world.cluster.store.skip(revisions));
    }

    /// Counts from an earlier revision again, as after a restore from a backup: clients know versions of the future.
    pub fn rewind(&self, revision: u64) {
        self.0.change(|world| world.cluster.store.rewind(revision));
    }

    /// No page can be continued with a token given so far.
    pub fn expire_tokens(&self) {
        self.0.change(|world| world.cluster.tokens += 1);
    }

    /// Whether opening a watch from a version that is too old fails with HTTP status 410 in place of an event.
    pub fn plain_gone(&self, on: bool) {
        self.0.change(|world| world.plan.gone = on);
    }

    /// Forbids a verb on a resource (`*` for all verbs; `httproutes.gateway.networking.k8s.io/status` for a status).
    pub fn deny(&self, verb: &str, resource: &str) {
        self.0.change(|world| world.plan.denied.insert((verb.to_owned(), resource.to_owned())));
    }

    /// Takes a `deny` back.
    pub fn permit(&self, verb: &str, resource: &str) {
        self.0.change(|world| world.plan.denied.remove(&(verb.to_owned(), resource.to_owned())));
    }

    /// Refuses the next `times` requests for a resource (empty: for any) with a status, and `Retry-After` in seconds.
    pub fn refuse(&self, resource: &str, times: u32, status: u16, retry_after: Option<u32>) {
        let mut refusal = Refusal::new(status, "refused on purpose");
        refusal.retry_after = retry_after;
        self.0.change(|world| world.plan.refused.push((resource.to_owned(), times, refusal)));
    }

    /// How the lines of watches are cut into chunks from now on.
    pub fn chunks(&self, chunks: Chunks) {
        self.0.change(|world| world.plan.chunks = chunks);
    }

    /// While on, nothing is answered and no watch says a word; connections stay.
    pub fn hang(&self, on: bool) {
        self.0.change(|world| world.plan.hanging = on);
    }

    /// While on, connections are accepted and closed at once.
    pub fn accept_then_close(&self, on: bool) {
        self.0.change(|world| world.plan.closing = on);
    }

    /// Running watches of a resource (empty: of any) break off in the middle of their next line.
    pub fn cut_watches(&self, resource: &str) {
        self.disturb(resource, &Disturbance::Cut);
    }

    /// Running watches of a resource end with a TCP reset.
    pub fn reset_watches(&self, resource: &str) {
        self.disturb(resource, &Disturbance::Reset);
    }

    /// Running watches of a resource end as at their time limit.
    pub fn end_watches(&self, resource: &str) {
        self.disturb(resource, &Disturbance::End);
    }

    /// Running watches of a resource get an error event with this code, and stay open.
    pub fn error_event(&self, resource: &str, code: u16) {
        let event = Event::error(&Refusal::new(code, "an error on purpose"));
        self.disturb(resource, &Disturbance::Say(event));
    }

    /// Running watches of a resource get a bookmark now, if they allow any.
    pub fn bookmark(&self, resource: &str) {
        self.disturb(resource, &Disturbance::Bookmark);
    }

    fn disturb(&self, resource: &str, disturbance: &Disturbance) {
        self.0.change(|world| {
            for running in world.plan.running.values_mut() {
                if resource.is_empty() || running.resource == resource {
                    running.disturbances.push(disturbance.clone());
                }
            }
        });
    }

    /// Replaces the definition of Backend; stored objects come back pruned by it.
    pub fn backend_shape(&self, shape: BackendShape) {
        let definition = definitions::backend(shape);
        self.0.replace(&definition);
    }

    /// Deletes the definition of a custom type and all its objects; returns it, to be applied again.
    pub fn undefine(&self, resource: &str) -> String {
        let definition = self.0.find(crate::kinds::DEFINITIONS, resource).unwrap_or_else(|| json!({}));
        self.0.delete(crate::kinds::DEFINITIONS, resource);
        let spec = definition.get("spec");
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": resource}, "spec": spec,
        })
        .to_string()
    }

    /// Stops the server: connections break, and new ones are refused until `start`. Data stay.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Starts the server again on its port, with what it knew but without history.
    pub fn start(&self) {
        self.0.change(|world| world.cluster.store.compact());
        self.0.listen();
    }

    /// `stop`, a pause, `start`.
    pub fn restart(&self, pause: Duration) {
        self.stop();
        std::thread::sleep(pause);
        self.start();
    }
}
