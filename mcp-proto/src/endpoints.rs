//! The endpoints of a target: which of them a request goes to, and which are left alone for a while.
//!
//! ```text
//! snapshot ──► follow ──► entries: who stands where, connections, health
//!                            │
//! no endpoint yet ─► choose ─┤ usable and ready and near, else ready, else draining: the less busy of two by chance
//! a session's     ─► keep ───┘ its own endpoint, or what is to become of the session
//!                            ▲
//! connections, answers ──────┘ opened, closed, reached, unreachable, broke, answered
//! ```
//!
//! **Health.** An endpoint that can't be reached, or broke five requests in a row, rests: one second, then two, up to
//! thirty, until it has given a good answer. A resting endpoint gets nothing that can go elsewhere. When all rest, one
//! that only broke requests is asked all the same, since its answer says more than the gateway could; one that can't be
//! reached is tried once a second at most, and in between its requests fail at once with the reason. So a target with one
//! endpoint is back within a second of its return, however long it was away.

mod sessions;

use crate::ConnId;
use crate::leg::Trouble;
use crate::wire::{Reader, Writer};
use rand_chacha::rand_core::Rng;
use routing::{Endpoint, Serves};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first rest; and how long a target is left alone of which no endpoint can be reached.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// So many requests broken in a row are a reason to rest.
const BREAKS: u32 = 5;

/// Who stands where: what a session remembers of its endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct EndpointId {
    pub(crate) address: SocketAddr,
    /// 0 when nobody can tell who it is.
    pub(crate) occupant: u64,
}

impl From<&Endpoint> for EndpointId {
    fn from(endpoint: &Endpoint) -> Self {
        Self { address: endpoint.address, occupant: endpoint.occupant }
    }
}

/// What of it is written: that it is, that its address is of IPv6, that its occupant is known.
const WRITTEN: u8 = 0x20;
const IS_V6: u8 = 0x10;
const HAS_OCCUPANT: u8 = 0x08;

impl EndpointId {
    /// The bits that tell how [`Self::write`] writes it.
    pub(crate) fn marks(&self) -> u8 {
        let v6 = if self.address.is_ipv6() { IS_V6 } else { 0 };
        WRITTEN | v6 | if self.occupant == 0 { 0 } else { HAS_OCCUPANT }
    }

    /// For sealed things, in as few bytes as it takes: 6 or 18, and 8 for an occupant.
    pub(crate) fn write(&self, writer: &mut Writer) {
        match self.address.ip() {
            IpAddr::V4(ip) => writer.u32(ip.to_bits()),
            IpAddr::V6(ip) => writer.u128(ip.to_bits()),
        }
        writer.u16(self.address.port());
        if self.occupant != 0 {
            writer.u64(self.occupant);
        }
    }

    /// What was written with these marks, if anything was; `None` when it breaks off.
    #[expect(clippy::option_option, reason = "nothing written is not the same as cut short")]
    pub(crate) fn read(marks: u8, reader: &mut Reader<'_>) -> Option<Option<Self>> {
        if marks & WRITTEN == 0 {
            return Some(None);
        }
        let ip = match marks & IS_V6 {
            0 => IpAddr::V4(Ipv4Addr::from_bits(reader.u32()?)),
            _ => IpAddr::V6(Ipv6Addr::from_bits(reader.u128()?)),
        };
        let address = SocketAddr::new(ip, reader.u16()?);
        let occupant = if marks & HAS_OCCUPANT == 0 { 0 } else { reader.u64()? };
        Some(Some(Self { address, occupant }))
    }
}

/// One target's endpoints, as a shard sees them.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    endpoint: Endpoint,
    /// It is in the snapshot. One that is not stays while it has connections.
    listed: bool,
    /// Connections, and those of them that have no request.
    open: usize,
    idle: Vec<ConnId>,
    health: Health,
}

#[derive(Debug, Default)]
struct Health {
    /// Requests it broke in a row.
    breaks: u32,
    /// Rests since its last good answer.
    rests: u32,
    /// Few rest, and all of a big cluster's endpoints are here, on each shard.
    rest: Option<Box<Rest>>,
}

#[derive(Debug)]
struct Rest {
    since: Instant,
    until: Instant,
    /// It could not be reached; or else it broke requests.
    unreachable: bool,
    reason: Arc<str>,
}

/// Why a session's request can't go where the session is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Astray {
    /// The session went with its endpoint.
    Lost,
    /// There is no way at the moment.
    Stuck(Trouble),
}

/// What a new snapshot means for a target's connections.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Followed {
    /// To be closed: idle, and to endpoints that are gone.
    pub(crate) stale: Vec<ConnId>,
    /// Somebody is there who was not before.
    pub(crate) joined: bool,
    /// Somebody is gone.
    pub(crate) left: bool,
}

impl Endpoints {
    /// Follows the snapshot.
    pub(crate) fn follow(&mut self, listed: &[Endpoint]) -> Followed {
        let mut followed = Followed::default();
        let of = |endpoint: &Endpoint| (endpoint.address, endpoint.occupant);
        // A target may have thousands. Of those that are the same the first counts.
        let mut new: BTreeMap<_, _> = listed.iter().rev().map(|endpoint| (of(endpoint), endpoint)).collect();
        for entry in &mut self.entries {
            let now = new.remove(&of(&entry.endpoint));
            followed.left |= entry.listed && now.is_none();
            followed.joined |= !entry.listed && now.is_some();
            entry.listed = now.is_some();
            match now {
                Some(now) => entry.endpoint = *now,
                None => followed.stale.append(&mut entry.idle),
            }
        }
        self.entries.reserve_exact(new.len());
        for endpoint in listed.iter().filter_map(|endpoint| new.remove(&of(endpoint))) {
            self.entries.push(Entry::new(*endpoint));
            followed.joined = true;
        }
        self.tidy();
        followed
    }

    /// An endpoint for what has none yet, by its index; not one of those `tried`.
    ///
    /// Of two drawn by chance the less busy one: nearly as even as asking all, and shards that see the same do not all
    /// run to the same endpoint.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn choose(
        &self,
        tried: &[EndpointId],
        now: Instant,
        rng: &mut impl Rng,
    ) -> Result<usize, Trouble> {
        let usable = |entry: &Entry| entry.listed && !entry.is_resting(now) && !entry.is_among(tried);
        for class in [Entry::is_near, Entry::is_ready, Entry::is_any] {
            let of_class =
                || self.entries.iter().enumerate().filter(|(_, entry)| class(entry) && usable(entry));
            let found = match of_class().count() {
                0 => None,
                // No choice, and so nothing to draw.
                1 => of_class().next(),
                many => {
                    let [first, second] = pair(rng, many);
                    let nth = |n| of_class().nth(n);
                    nth(first).into_iter().chain(nth(second)).min_by_key(|(_, entry)| entry.load())
                }
            };
            if let Some((index, _)) = found {
                return Ok(index);
            }
        }
        let last = |entry: &Entry| entry.listed && entry.may_be_tried(now) && !entry.is_among(tried);
        let resting = self.entries.iter().enumerate().filter(|(_, entry)| last(entry));
        let soonest = resting.min_by_key(|(_, entry)| entry.health.until());
        soonest.map(|(index, _)| index).ok_or_else(|| self.trouble())
    }

    /// The index of the endpoint at which a session lives, for a request in it. `None`: nobody can tell who is where, so
    /// it may try another address (of a load balancer, of the other IP version); the server says if it does not know it.
    ///
    /// # Errors
    /// When the request can't go there.
    pub(crate) fn keep(
        &self,
        id: EndpointId,
        tried: &[EndpointId],
        now: Instant,
    ) -> Result<Option<usize>, Astray> {
        if !self.is_any_listed() {
            // It may come back, and with it the session.
            return Err(Astray::Stuck(Trouble::Nowhere));
        }
        let elsewhere = if id.occupant == 0 { Ok(None) } else { Err(Astray::Lost) };
        let own = self.position(id).and_then(|index| Some((index, self.entries.get(index)?)));
        let Some((index, entry)) = own.filter(|(_, entry)| entry.listed) else { return elsewhere };
        let tried_here = entry.is_among(tried);
        if !tried_here && !entry.is_shut(now) {
            return Ok(Some(index));
        }
        let mut others = self.entries.iter().filter(|other| other.listed && other.id() != id);
        if others.any(|other| !other.is_resting(now) && !other.is_among(tried)) {
            return elsewhere;
        }
        match !tried_here && entry.may_be_tried(now) {
            true => Ok(Some(index)),
            false => Err(Astray::Stuck(entry.trouble())),
        }
    }

    /// What a session that is opened at `id` has to remember: nothing where there is no other and nobody can tell who
    /// it is.
    pub(crate) fn memory(&self, id: EndpointId) -> Option<EndpointId> {
        (id.occupant != 0 || self.listed().count() > 1).then_some(id)
    }

    /// A connection to an endpoint that has no request.
    pub(crate) fn take_idle(&mut self, index: usize) -> Option<ConnId> {
        self.entries.get_mut(index)?.idle.pop()
    }

    /// One that another endpoint can spare.
    pub(crate) fn spare(&mut self) -> Option<ConnId> {
        self.entries.iter_mut().max_by_key(|entry| entry.idle.len())?.idle.pop()
    }

    /// A connection has no request any more.
    pub(crate) fn add_idle(&mut self, id: EndpointId, conn: ConnId) {
        if let Some(entry) = self.entry(id) {
            entry.idle.push(conn);
        }
    }

    /// A connection was begun.
    pub(crate) fn opened(&mut self, id: EndpointId) {
        if let Some(entry) = self.entry(id) {
            entry.open += 1;
        }
    }

    /// A connection is gone.
    pub(crate) fn closed(&mut self, id: EndpointId, conn: ConnId) {
        let Some(entry) = self.entry(id) else { return };
        entry.open = entry.open.saturating_sub(1);
        entry.idle.retain(|idle| *idle != conn);
        if !entry.listed {
            self.tidy();
        }
    }

    /// A connection came to be.
    pub(crate) fn reached(&mut self, id: EndpointId) {
        if let Some(entry) = self.entry(id) {
            entry.health.rest.take_if(|rest| rest.unreachable);
        }
    }

    /// A connection did not come to be. Whether that is news.
    pub(crate) fn unreachable(&mut self, id: EndpointId, now: Instant, reason: &Trouble) -> bool {
        self.entry(id).is_some_and(|entry| entry.health.fail(now, true, reason))
    }

    /// A request was broken before it was answered. Whether the endpoint rests because of it.
    pub(crate) fn broke(&mut self, id: EndpointId, now: Instant, reason: &Trouble) -> bool {
        let Some(entry) = self.entry(id) else { return false };
        entry.health.breaks += 1;
        entry.health.breaks >= BREAKS && entry.health.fail(now, false, reason)
    }

    /// An answer has begun. Whether its endpoint rests because of it: these are what proxies say for one that is not
    /// there (RFC 9110, 15.6.3 to 15.6.5).
    pub(crate) fn heard(&mut self, id: EndpointId, status: u16, now: Instant) -> bool {
        if matches!(status, 502..=504) {
            return self.broke(id, now, &Trouble::Status(status));
        }
        if let Some(entry) = self.entry(id)
            && !entry.health.is_sound()
        {
            entry.health = Health::default();
        }
        false
    }

    /// Who stands at an index.
    pub(crate) fn id(&self, index: usize) -> Option<EndpointId> {
        self.entries.get(index).map(Entry::id)
    }

    /// Whether an endpoint is in the snapshot.
    pub(crate) fn lists(&self, id: EndpointId) -> bool {
        self.listed().any(|entry| entry.id() == id)
    }

    /// Whether there is any endpoint.
    pub(crate) fn is_any_listed(&self) -> bool {
        self.listed().next().is_some()
    }

    /// Connections that are kept.
    pub(crate) fn idle(&self) -> usize {
        self.entries.iter().map(|entry| entry.idle.len()).sum()
    }

    fn listed(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.listed)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.listed().count()
    }

    /// Whether what has no endpoint yet may go to this one when nothing else is asked.
    pub(crate) fn takes_new(&self, id: EndpointId) -> bool {
        let own = self.listed().find(|entry| entry.id() == id);
        own.is_some_and(|own| own.is_ready() || !self.listed().any(Entry::is_ready))
    }

    /// The index of an endpoint, in the snapshot or with connections left.
    pub(crate) fn position(&self, id: EndpointId) -> Option<usize> {
        self.entries.iter().position(|entry| entry.id() == id)
    }

    fn entry(&mut self, id: EndpointId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id() == id)
    }

    /// Why none can be used: what is wrong with the one that will be tried first.
    fn trouble(&self) -> Trouble {
        let soonest = self.listed().min_by_key(|entry| entry.health.until());
        soonest.map_or(Trouble::Nowhere, Entry::trouble)
    }

    fn tidy(&mut self) {
        self.entries.retain(|entry| entry.listed || entry.open > 0);
    }
}

impl Entry {
    fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, listed: true, open: 0, idle: Vec::new(), health: Health::default() }
    }

    fn id(&self) -> EndpointId {
        EndpointId::from(&self.endpoint)
    }

    fn is_among(&self, ids: &[EndpointId]) -> bool {
        ids.contains(&self.id())
    }

    fn is_near(&self) -> bool {
        self.endpoint.near && self.is_ready()
    }

    fn is_ready(&self) -> bool {
        self.endpoint.serves == Serves::Ready
    }

    fn is_any(&self) -> bool {
        true
    }

    /// Requests in flight there, streams included.
    fn load(&self) -> usize {
        self.open - self.idle.len().min(self.open)
    }

    fn is_resting(&self, now: Instant) -> bool {
        self.health.rest.as_ref().is_some_and(|rest| now < rest.until)
    }

    /// It rests because it can't be reached, and no connection tells otherwise.
    fn is_shut(&self, now: Instant) -> bool {
        let unreachable = self.health.rest.as_ref().is_some_and(|rest| rest.unreachable && now < rest.until);
        unreachable && self.open == 0
    }

    /// Whether it may be used although it rests, when there is nothing better.
    fn may_be_tried(&self, now: Instant) -> bool {
        !self.is_shut(now) || self.health.rest.as_ref().is_none_or(|rest| rest.since + REST <= now)
    }

    fn trouble(&self) -> Trouble {
        let reason = self.health.rest.as_ref().map(|rest| Arc::clone(&rest.reason));
        reason.map_or(Trouble::Nowhere, Trouble::Recently)
    }
}

impl Health {
    fn is_sound(&self) -> bool {
        self.breaks == 0 && self.rests == 0 && self.rest.is_none()
    }

    fn until(&self) -> Option<Instant> {
        self.rest.as_ref().map(|rest| rest.until)
    }

    /// Begins a rest, unless this is one more sign of what the last one is for. Whether it did.
    fn fail(&mut self, now: Instant, unreachable: bool, reason: &Trouble) -> bool {
        let known = self.rest.as_ref().is_some_and(|rest| {
            let again = if unreachable { now < rest.since + REST } else { now < rest.until };
            again && (rest.unreachable || !unreachable)
        });
        if known {
            return false;
        }
        let rest = REST.saturating_mul(1 << self.rests.min(8)).min(LONGEST_REST);
        self.rests += 1;
        let reason = reason.to_string().into();
        self.rest = Some(Box::new(Rest { since: now, until: now + rest, unreachable, reason }));
        true
    }
}

/// Two different numbers below `many`, which is at least two, of one draw.
fn pair(rng: &mut impl Rng, many: usize) -> [usize; 2] {
    let drawn = rng.next_u64();
    let scaled = |half: u64, many: usize| ((half * many as u64) >> 32) as usize;
    let first = scaled(drawn & 0xffff_ffff, many);
    let second = scaled(drawn >> 32, many - 1);
    [first, second + usize::from(second >= first)]
}

#[cfg(test)]
mod tests;
