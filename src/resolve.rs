//! Host names to socket addresses: shards never look anything up.

use crate::config::{Server, Settings};
use futures_util::future::join_all;
use routing::{DuplicateTarget, Routes, TargetName};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a look-up may take; the snapshot waits for the slowest one.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known about the hosts of all servers.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    known: BTreeMap<(String, u16), Known>,
}

/// The last good answer for one host.
#[derive(Debug, Default)]
struct Known {
    addresses: Vec<SocketAddr>,
    failing: bool,
}

impl Resolver {
    /// Looks up all hosts of `settings` side by side and makes the snapshot they give. A host that can't be looked
    /// up keeps its last addresses.
    ///
    /// # Errors
    /// When two servers have the same name.
    pub(crate) async fn routes(&mut self, settings: &Settings) -> Result<Routes, DuplicateTarget> {
        let answers = join_all(settings.servers.iter().map(look_up)).await;
        for (server, answer) in settings.servers.iter().zip(answers) {
            if let (Some(host), Some(answer)) = (&server.host, answer) {
                let known = self.known.entry(host.clone()).or_default();
                known.learn(answer, server.target.name(), &host.0);
            }
        }
        self.known.retain(|host, _| settings.servers.iter().any(|server| server.host.as_ref() == Some(host)));
        Routes::new(settings.servers.iter().map(|server| self.target(server)).collect())
    }

    /// How many hosts have no address at all.
    pub(crate) fn is_complete(&self) -> bool {
        self.known.values().all(|known| !known.addresses.is_empty())
    }

    fn target(&self, server: &Server) -> routing::Target {
        let known = server.host.as_ref().and_then(|host| self.known.get(host));
        let addresses = known.map_or(&[][..], |known| &known.addresses);
        let endpoints = addresses.iter().map(|address| (*address).into()).collect();
        routing::Target { endpoints, ..server.target.clone() }
    }
}

impl Known {
    fn learn(&mut self, answer: Result<Vec<SocketAddr>, String>, target: &TargetName, host: &str) {
        let target = target.as_str();
        match answer {
            Ok(addresses) => {
                if self.failing {
                    tracing::info!(target, host, "host name resolves again");
                }
                self.failing = false;
                // Name servers rotate their answers: another order is no change.
                let is_new = addresses.len() != self.addresses.len()
                    || addresses.iter().any(|address| !self.addresses.contains(address));
                if is_new {
                    self.addresses = addresses;
                }
            }
            Err(reason) => {
                if !self.failing {
                    let kept = self.addresses.len();
                    tracing::warn!(
                        target,
                        host,
                        reason,
                        kept,
                        "host name does not resolve, keeping what was known"
                    );
                }
                self.failing = true;
            }
        }
    }
}

/// None for a server that has no host.
async fn look_up(server: &Server) -> Option<Result<Vec<SocketAddr>, String>> {
    let (host, port) = server.host.as_ref()?;
    Some(addresses(host, *port).await)
}

async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port)));
    let mut addresses: Vec<SocketAddr> = match found.await {
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

    fn server(name: &str, url: &str) -> Server {
        Server::new(name, url, routing::Timeouts::default()).unwrap()
    }

    fn name() -> TargetName {
        TargetName::parse("a").unwrap()
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_failed_look_up_keeps_the_last_good_answer() {
        let mut known = Known::default();
        known.learn(Err("none".to_owned()), &name(), "a");
        assert_eq!((known.addresses.len(), known.failing), (0, true));
        known.learn(Ok(addresses(&["10.0.0.1:1", "10.0.0.2:1"])), &name(), "a");
        assert!(!known.failing);
        known.learn(Err("none".to_owned()), &name(), "a");
        assert_eq!((known.addresses, known.failing), (addresses(&["10.0.0.1:1", "10.0.0.2:1"]), true));
    }

    #[test]
    fn a_rotated_answer_is_no_change() {
        let mut known = Known::default();
        known.learn(Ok(addresses(&["10.0.0.1:1", "10.0.0.2:1"])), &name(), "a");
        known.learn(Ok(addresses(&["10.0.0.2:1", "10.0.0.1:1"])), &name(), "a");
        assert_eq!(known.addresses, addresses(&["10.0.0.1:1", "10.0.0.2:1"]));
        known.learn(Ok(addresses(&["10.0.0.2:1", "10.0.0.3:1"])), &name(), "a");
        assert_eq!(known.addresses, addresses(&["10.0.0.2:1", "10.0.0.3:1"]));
    }

    #[test]
    fn literal_addresses_need_no_name_server() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let servers =
            vec![server("four", "http://127.0.0.1:3001/mcp"), server("six", "http://[::1]:3002/mcp")];
        let settings = Settings { servers, ..Settings::default() };
        let mut resolver = Resolver::default();
        let routes = runtime.block_on(resolver.routes(&settings)).unwrap();
        let found: Vec<_> =
            routes.all_targets().flat_map(|target| &target.endpoints).map(|it| it.address).collect();
        assert_eq!(found, addresses(&["127.0.0.1:3001", "[::1]:3002"]));
        assert!(resolver.is_complete());
    }
}
