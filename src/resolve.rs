//! Host names to socket addresses: shards never look anything up.
//!
//! Each host is looked up on its own, again and again; one that can't be looked up keeps its last addresses, and holds
//! up nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// How long a look-up may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How often names are looked up again: getaddrinfo doesn't tell how long an answer holds.
const AGAIN: Duration = Duration::from_secs(30);
/// The same while a name has no address yet.
const AGAIN_MISSING: Duration = Duration::from_secs(5);

/// A host name, or an address, and a port.
pub(crate) type Host = (String, u16);
/// What is known of hosts.
pub(crate) type Hosts = BTreeMap<Host, Vec<SocketAddr>>;

type Answer = Result<Vec<SocketAddr>, String>;

/// What is known about all hosts that are of interest.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    known: BTreeMap<Host, Known>,
    asked: JoinSet<(Host, Answer)>,
}

/// The last good answer for one host.
#[derive(Debug, Default)]
struct Known {
    addresses: Vec<SocketAddr>,
    failing: bool,
    /// There was an answer, good or bad.
    answered: bool,
    /// When to ask again; none while the answer is being waited for.
    again: Option<Instant>,
}

impl Resolver {
    /// Follows these hosts from now on, and no others. New ones are looked up at once.
    pub(crate) fn follow(&mut self, hosts: &BTreeSet<Host>) {
        self.known.retain(|host, _| hosts.contains(host));
        for host in hosts {
            if !self.known.contains_key(host) {
                self.known.insert(host.clone(), Known::default());
                self.ask(host.clone());
            }
        }
    }

    /// Whether there are hosts about which nothing is known yet, good or bad.
    pub(crate) fn is_behind(&self) -> bool {
        self.known.values().any(|known| !known.answered)
    }

    /// Waits for the first answer about each host, but not longer than `patience`.
    pub(crate) async fn settle(&mut self, patience: Duration) {
        let end = Instant::now() + patience;
        while self.is_behind() {
            let Ok(Some(answer)) = timeout_at(end, self.asked.join_next()).await else { return };
            self.take(answer.ok());
        }
    }

    /// Looks all hosts up again.
    pub(crate) fn refresh(&mut self) {
        let now = Instant::now();
        for again in self.known.values_mut().filter_map(|known| known.again.as_mut()) {
            *again = now;
        }
    }

    /// Waits until an address has changed, looking up meanwhile what is due. Nothing is lost when it is dropped.
    pub(crate) async fn changed(&mut self) {
        loop {
            let due = self.known.values().filter_map(|known| known.again).min();
            tokio::select! {
                Some(answer) = self.asked.join_next() => {
                    if self.take(answer.ok()) {
                        return;
                    }
                }
                () = until(due) => {
                    let now = Instant::now();
                    let due = |(host, known): (&Host, &Known)| (known.again? <= now).then(|| host.clone());
                    for host in self.known.iter().filter_map(due).collect::<Vec<_>>() {
                        self.ask(host);
                    }
                }
            }
        }
    }

    /// The addresses of all hosts that have some.
    pub(crate) fn hosts(&self) -> Hosts {
        let known = self.known.iter().filter(|(_, known)| !known.addresses.is_empty());
        known.map(|(host, known)| (host.clone(), known.addresses.clone())).collect()
    }

    fn ask(&mut self, host: Host) {
        if let Some(known) = self.known.get_mut(&host) {
            known.again = None;
        }
        self.asked.spawn(async move {
            let answer = addresses(&host.0, host.1).await;
            (host, answer)
        });
    }

    /// Whether the addresses of the answered host are others than before.
    fn take(&mut self, answer: Option<(Host, Answer)>) -> bool {
        let Some((host, answer)) = answer else { return false };
        // Asked for, and no longer of interest.
        let Some(known) = self.known.get_mut(&host) else { return false };
        let changed = known.learn(answer, &host.0);
        known.answered = true;
        let pause = if known.addresses.is_empty() { AGAIN_MISSING } else { AGAIN };
        known.again = Some(Instant::now() + pause);
        changed
    }
}

impl Known {
    /// Whether the addresses are others than before.
    fn learn(&mut self, answer: Answer, host: &str) -> bool {
        match answer {
            Ok(addresses) => {
                if self.failing {
                    tracing::info!(host, "host name resolves again");
                }
                self.failing = false;
                // Name servers rotate their answers: another order is no change.
                let is_new = addresses.len() != self.addresses.len()
                    || addresses.iter().any(|address| !self.addresses.contains(address));
                if is_new {
                    self.addresses = addresses;
                }
                is_new
            }
            Err(reason) => {
                if !self.failing {
                    let kept = self.addresses.len();
                    tracing::warn!(host, reason, kept, "host name does not resolve, keeping what was known");
                }
                self.failing = true;
                false
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

async fn addresses(host: &str, port: u16) -> Answer {
    let mut addresses: Vec<SocketAddr> = match timeout(PATIENCE, tokio::net::lookup_host((host, port))).await
    {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no answer within {} s", PATIENCE.as_secs())),
    };
    addresses.dedup();
    if addresses.is_empty() { Err("no address".to_owned()) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn host(name: &str, port: u16) -> Host {
        (name.to_owned(), port)
    }

    #[test]
    fn a_failed_look_up_keeps_the_last_good_answer() {
        let mut known = Known::default();
        assert!(!known.learn(Err("none".to_owned()), "a"));
        assert_eq!((known.addresses.len(), known.failing), (0, true));
        assert!(known.learn(Ok(addresses(&["10.0.0.1:1", "10.0.0.2:1"])), "a"));
        assert!(!known.failing);
        assert!(!known.learn(Err("none".to_owned()), "a"));
        assert_eq!((known.addresses, known.failing), (addresses(&["10.0.0.1:1", "10.0.0.2:1"]), true));
    }

    #[test]
    fn a_rotated_answer_is_no_change() {
        let mut known = Known::default();
        assert!(known.learn(Ok(addresses(&["10.0.0.1:1", "10.0.0.2:1"])), "a"));
        assert!(!known.learn(Ok(addresses(&["10.0.0.2:1", "10.0.0.1:1"])), "a"));
        assert_eq!(known.addresses, addresses(&["10.0.0.1:1", "10.0.0.2:1"]));
        assert!(known.learn(Ok(addresses(&["10.0.0.2:1", "10.0.0.3:1"])), "a"));
        assert_eq!(known.addresses, addresses(&["10.0.0.2:1", "10.0.0.3:1"]));
    }

    #[tokio::test]
    async fn literal_addresses_need_no_name_server() {
        let mut resolver = Resolver::default();
        let (four, six) = (host("127.0.0.1", 3001), host("::1", 3002));
        resolver.follow(&[four.clone(), six.clone()].into());
        assert!(resolver.is_behind());
        resolver.settle(PATIENCE).await;
        assert!(!resolver.is_behind());
        let expected = [(four.clone(), addresses(&["127.0.0.1:3001"])), (six, addresses(&["[::1]:3002"]))];
        assert_eq!(resolver.hosts(), expected.into());
        resolver.follow(&[four.clone()].into());
        assert_eq!(resolver.hosts(), [(four, addresses(&["127.0.0.1:3001"]))].into());
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_are_looked_up_again_and_only_changes_are_told() {
        let mut resolver = Resolver::default();
        let four = host("127.0.0.1", 3001);
        resolver.follow(&[four.clone()].into());
        resolver.changed().await;
        assert_eq!(resolver.hosts().len(), 1);
        assert!(timeout(Duration::from_secs(100), resolver.changed()).await.is_err());
        // It moved, as far as the resolver knows, and is found again by itself.
        resolver.known.get_mut(&four).unwrap().addresses.clear();
        resolver.changed().await;
        assert_eq!(resolver.hosts().len(), 1);
    }
}
