//! The machine of one thread.

use crate::{Action, Config, ConnId, Counters, Fault, Parcel, Refused, ShardId, Start};
use bytes::BytesMut;
use routing::Routes;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Everything one thread serves: clients, targets, sessions, calls in flight, timers.
///
/// Tell it what happened (the inputs never fail), then [`poll`](Self::poll) until `None`, then sleep until
/// [`deadline`](Self::deadline) or the next event.
#[derive(Debug)]
pub struct Shard {}

impl Shard {
    /// An empty shard.
    #[must_use]
    pub fn new(_start: Start, _now: Instant) -> Self {
        Self {}
    }
    /// A client's connection was accepted. The frontend reads it from now on.
    ///
    /// # Errors
    /// At the limit of connections: close it.
    pub fn accepted(&mut self, _peer: std::net::SocketAddr, _now: Instant) -> Result<ConnId, Refused> {
        Err(Refused)
    }
    /// A connection asked for with [`Action::Open`] is open. The frontend reads it from now on.
    pub fn connected(&mut self, _conn: ConnId, _now: Instant) {}
    /// Bytes arrived.
    pub fn received(&mut self, _conn: ConnId, _bytes: BytesMut, _now: Instant) {}
    /// The peer will send no more (FIN). Writing may go on.
    pub fn ended(&mut self, _conn: ConnId, _now: Instant) {}
    /// The kernel took `count` bytes of what [`unsent`](Self::unsent) showed.
    pub fn sent(&mut self, _conn: ConnId, _count: usize, _now: Instant) {}
    /// The connection is gone, or could not be opened. Its id is dead from now on.
    pub fn lost(&mut self, _conn: ConnId, _fault: Fault, _now: Instant) {}
    /// Time passed.
    pub fn tick(&mut self, _now: Instant) {}
    /// A new snapshot is in force. Sessions and streams survive.
    pub fn reroute(&mut self, _routes: Arc<Routes>, _now: Instant) {}
    /// Mail from another shard.
    pub fn deliver(&mut self, _parcel: Parcel, _now: Instant) {}
    /// Take no new work; what is under way may finish within `grace`.
    pub fn drain(&mut self, _grace: Duration, _now: Instant) {}
    /// The next thing to do. Poll to `None` after every input.
    pub fn poll(&mut self) -> Option<Action> {
        None
    }
    /// Fills `into` with bytes waiting for `conn`, in order, and returns how many slices it filled. Nothing is removed
    /// until [`sent`](Self::sent).
    pub fn unsent<'a>(&'a self, _conn: ConnId, _into: &mut [IoSlice<'a>]) -> usize {
        0
    }
    /// When to [`tick`](Self::tick) at the latest, and why.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, &'static str)> {
        None
    }
    /// Whether [`drain`](Self::drain) has come to its end: no connection is left.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        true
    }
    /// Its numbers.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::default()
    }
    /// Its number.
    #[must_use]
    pub fn id(&self) -> ShardId {
        ShardId(0)
    }
}
