//! How much a shard holds, table by table: what a test of leaks looks at.

use crate::conn::{Conn, Role};
use crate::shard::Shard;

/// Entries of a shard's tables, by what they are. What is remembered on purpose, each with a limit of its own (names,
/// kept lists, what targets speak, ended sessions), is not among them.
pub type Census = [(&'static str, usize); 14];

impl Shard {
    /// How many entries each of its tables has. All are 0 when all clients have gone and all deadlines have passed.
    #[must_use]
    pub fn census(&self) -> Census {
        let (sent, guests) = self.forwards.counts();
        let pools = || self.pools.values().map(crate::pool::Pool::counts);
        let waiters = |(_, conn): (_, &Conn)| match &conn.role {
            Role::Client(client) => {
                client.exchange.iter().flat_map(|it| &it.streams).map(|it| it.waiters.len()).sum()
            }
            Role::Target(_) | Role::Child(_) => 0,
        };
        [
            ("connections", self.conns.len()),
            ("clients", self.clients),
            ("requests to targets", self.legs.len()),
            ("sessions", self.sessions.len()),
            ("keys of sessions", self.by_key.len()),
            ("hidden sessions", self.hidden.values().map(|same| same.len().max(1)).sum()),
            ("parked calls", self.parked.len()),
            ("channels", self.channels.count()),
            ("exchanges served elsewhere", sent),
            ("exchanges of clients elsewhere", guests),
            ("connections of pools", pools().map(|(connections, _)| connections).sum()),
            ("requests that wait in pools", pools().map(|(_, waiting)| waiting).sum()),
            ("answers that wait for streams", self.conns.iter().map(waiters).sum()),
            ("work put off", self.deferred.len()),
        ]
    }
}
