//! From EndpointSlices to endpoints.

use crate::objects::{EndpointSlice, Objects, SliceEndpoint};
use routing::{Endpoint, Serves};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The label that says whose endpoints a slice has. Neither its name nor its owner do: slices may be made by hand.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// All slices, by namespace and Service.
pub(super) struct Slices<'a>(BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a EndpointSlice>>>);

/// The endpoints of a target.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Reached {
    /// Those that may be given something; sorted.
    pub(super) endpoints: Vec<Endpoint>,
    /// How many there are, whether they may be given something or not.
    pub(super) total: usize,
}

impl Reached {
    /// Endpoints of which nothing but the address is known.
    pub(super) fn at(addresses: Vec<SocketAddr>) -> Self {
        Self { total: addresses.len(), endpoints: addresses.into_iter().map(Endpoint::from).collect() }
    }

    pub(super) fn ready(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.serves == Serves::Ready).count()
    }
}

impl<'a> Slices<'a> {
    pub(super) fn of(objects: &'a Objects) -> Self {
        let mut slices: BTreeMap<&str, BTreeMap<&str, Vec<_>>> = BTreeMap::new();
        for (key, slice) in &objects.slices {
            if let Some(service) = slice.metadata.labels.get(SERVICE_NAME) {
                slices.entry(&key.namespace).or_default().entry(service).or_default().push(slice.as_ref());
            }
        }
        Self(slices)
    }

    /// Those of a Service; `None`: there is not one, not even an empty one.
    pub(super) fn of_service(&self, namespace: &str, service: &str) -> Option<&[&'a EndpointSlice]> {
        self.0.get(namespace)?.get(service).map(Vec::as_slice)
    }
}

/// The endpoints in `slices` behind the port called `port`. `families` are those of the Service, the preferred one
/// first: the slices of one family repeat the pods of the other, so the first that has something is taken alone.
pub(super) fn join(
    slices: &[&EndpointSlice],
    port: &str,
    families: &[String],
    zone: Option<&str>,
) -> Reached {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (slice, endpoint, address) in members(slices, port) {
        if endpoint_family(&address) == slice.address_type {
            let family = if address.is_ipv4() { &mut v4 } else { &mut v6 };
            family.push((address, Candidate::of(endpoint)));
        }
    }
    let (v4, v6) = (merged(v4), merged(v6));
    let prefers_v6 = families.iter().find_map(|family| match family.as_str() {
        "IPv4" => Some(false),
        "IPv6" => Some(true),
        _ => None,
    });
    let (first, second) = if prefers_v6 == Some(true) { (v6, v4) } else { (v4, v6) };
    let best = |family: &[(_, Candidate<'_>)]| family.iter().map(|(_, one)| one.rank()).max();
    let second_wins = best(&second) > best(&first);
    chosen(if second_wins { second } else { first }, zone)
}

/// Sorted, and each address once.
fn merged(mut family: Vec<(SocketAddr, Candidate<'_>)>) -> Vec<(SocketAddr, Candidate<'_>)> {
    family.sort_by_key(|(address, _)| *address);
    family.dedup_by(|(address, one), (kept_address, kept)| {
        let same = address == kept_address;
        if same {
            kept.merge(one);
        }
        same
    });
    family
}

/// Each endpoint with its address, for each number that the port has.
fn members<'s>(
    slices: &'s [&'s EndpointSlice],
    port: &'s str,
) -> impl Iterator<Item = (&'s EndpointSlice, &'s SliceEndpoint, SocketAddr)> {
    slices.iter().flat_map(move |slice| {
        let numbers = slice.ports.iter().filter(move |one| one.name == port);
        let number =
            numbers.filter_map(|one| u16::try_from(one.port?).ok().filter(|number| *number != 0)).next();
        slice.endpoints.iter().filter_map(move |endpoint| {
            // Only the first address has a meaning. One with a zone id does not parse.
            let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
            Some((*slice, endpoint, SocketAddr::new(address, number?)))
        })
    })
}

/// The `addressType` that belongs to an address; a slice of names (`FQDN`) has none that fits.
fn endpoint_family(address: &SocketAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// An address, as far as the slices looked at tell.
struct Candidate<'a> {
    serves: Option<Serves>,
    occupant: u64,
    endpoint: &'a SliceEndpoint,
}

impl<'a> Candidate<'a> {
    fn of(endpoint: &'a SliceEndpoint) -> Self {
        let conditions = &endpoint.conditions;
        let serves = match (conditions.ready.unwrap_or(true), conditions.terminating.unwrap_or(false)) {
            (true, _) => Some(Serves::Ready),
            // Whether it still passes its readiness check or not: its sessions are its own until it is gone.
            (false, true) => Some(Serves::Draining),
            (false, false) => None,
        };
        let uid = endpoint.target_ref.as_ref().map_or("", |target| target.uid.as_str());
        Self { serves, occupant: if uid.is_empty() { 0 } else { digest(uid) }, endpoint }
    }

    /// The same address in another slice: whichever says "ready" wins; the rest only makes it certain.
    fn merge(&mut self, other: &Self) {
        let key = |one: &Self| (one.rank(), one.occupant, zones(one.endpoint).collect::<Vec<_>>());
        if key(other) > key(self) {
            *self = Self { serves: other.serves, occupant: other.occupant, endpoint: other.endpoint };
        }
    }

    /// What can do more is more.
    fn rank(&self) -> u8 {
        match self.serves {
            Some(Serves::Ready) => 2,
            Some(Serves::Draining) => 1,
            None => 0,
        }
    }
}

fn zones(endpoint: &SliceEndpoint) -> impl Iterator<Item = &str> {
    endpoint.hints.iter().flat_map(|hints| &hints.for_zones).map(|zone| zone.name.as_str())
}

/// The endpoints of one family. Hints count only if all that are ready have some and one names our zone: otherwise
/// they are being changed, or there is nobody for us.
fn chosen(family: Vec<(SocketAddr, Candidate<'_>)>, zone: Option<&str>) -> Reached {
    let is_for = |one: &Candidate<'_>, zone: &str| zones(one.endpoint).any(|for_zone| for_zone == zone);
    let ready = || family.iter().map(|(_, one)| one).filter(|one| one.serves == Some(Serves::Ready));
    let counts = |zone: &&str| {
        ready().all(|one| zones(one.endpoint).next().is_some()) && ready().any(|one| is_for(one, zone))
    };
    let zone = zone.filter(counts);
    let endpoint = |(address, one): &(SocketAddr, Candidate<'_>)| {
        let near = zone.is_some_and(|zone| is_for(one, zone));
        Some(Endpoint { address: *address, occupant: one.occupant, serves: one.serves?, near })
    };
    Reached { endpoints: family.iter().filter_map(endpoint).collect(), total: family.len() }
}

/// FNV-1a, 64 bits: the same in every process.
pub(super) fn digest(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests;
