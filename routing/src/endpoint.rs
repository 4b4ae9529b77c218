//! One address at which a target can be reached.

use std::net::SocketAddr;

/// A socket address of a target, and who stands behind it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Tells who listens there apart from who had the address before (a digest of a pod's uid); 0 when nobody can tell.
    pub occupant: u64,
    /// What it may be given.
    pub serves: Serves,
    /// It is meant for this gateway's zone: preferred for what has no endpoint yet, if it is ready.
    pub near: bool,
}

/// What an endpoint may be given.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Serves {
    /// Everything.
    #[default]
    Ready,
    /// What it has begun: its sessions stay until it goes. New ones only when no endpoint of the target is ready.
    Draining,
}

impl Endpoint {
    /// Whether `other` is the same process at the same address, whatever it may be given now.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.address == other.address && self.occupant == other.occupant
    }
}

impl From<SocketAddr> for Endpoint {
    /// An endpoint of which nothing else is known.
    fn from(address: SocketAddr) -> Self {
        Self { address, occupant: 0, serves: Serves::Ready, near: false }
    }
}
