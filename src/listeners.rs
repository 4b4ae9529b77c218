//! Listening sockets: one per worker on one address, so that the kernel spreads connections over them.
//!
//! ```text
//! Routes::addresses ─► Listeners ─► sockets, mailed to the workers
//!                          └──────► addresses that can't be had, and why
//! ```

use crate::workers::Workers;
use routing::Routes;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Connections the kernel holds for a worker that is busy.
const BACKLOG: i32 = 4096;

/// How often an address that could not be had is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// The same while workers close sockets that may have been in its way.
const RETRY_SOON: Duration = Duration::from_millis(250);

/// The sockets that follow the snapshot.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// What to change when an address can't be had.
    flag: &'static str,
    wanted: BTreeSet<SocketAddr>,
    bound: BTreeSet<SocketAddr>,
    /// Addresses that could not be had, and why.
    unbound: BTreeMap<SocketAddr, String>,
    retry: Option<Instant>,
}

impl Listeners {
    /// None yet. `flag` is what chooses their addresses.
    pub(crate) fn new(flag: &'static str) -> Self {
        let (wanted, bound, unbound) = Default::default();
        Self { flag, wanted, bound, unbound, retry: None }
    }

    /// Puts `routes` in force and listens where they say: what is gone closes before, what is new opens after, so that
    /// no connection finds nothing served.
    pub(crate) async fn reroute(&mut self, routes: &Arc<Routes>, workers: &Workers) {
        self.wanted = routes.addresses().collect();
        let gone: Vec<SocketAddr> = self.bound.difference(&self.wanted).copied().collect();
        for address in &gone {
            tracing::info!(%address, "no longer listening");
            self.bound.remove(address);
            workers.unlisten(*address).await;
        }
        workers.reroute(routes).await;
        self.open(workers, if gone.is_empty() { RETRY } else { RETRY_SOON }).await;
    }

    /// Waits until it is time to try again what could not be had.
    pub(crate) async fn due(&self) {
        match self.retry {
            Some(at) => sleep_until(at).await,
            None => pending().await,
        }
    }

    /// Tries it again.
    pub(crate) async fn retry(&mut self, workers: &Workers) {
        self.open(workers, RETRY).await;
    }

    /// Addresses that are listened on.
    pub(crate) fn bound(&self) -> &BTreeSet<SocketAddr> {
        &self.bound
    }

    /// Addresses that could not be had, and why.
    pub(crate) fn unbound(&self) -> &BTreeMap<SocketAddr, String> {
        &self.unbound
    }

    async fn open(&mut self, workers: &Workers, pause: Duration) {
        let before = std::mem::take(&mut self.unbound);
        for address in &self.wanted {
            if self.bound.contains(address) {
                continue;
            }
            match bind(*address, workers.count()) {
                Ok((listeners, _)) => {
                    tracing::info!(%address, "listening");
                    workers.listen(*address, listeners).await;
                    self.bound.insert(*address);
                }
                Err(error) => {
                    let reason = explain(&error, *address, self.flag);
                    if before.get(address) != Some(&reason) {
                        tracing::error!(%address, reason, "can't listen, trying again");
                    }
                    self.unbound.insert(*address, reason);
                }
            }
        }
        self.retry = (!self.unbound.is_empty()).then(|| Instant::now() + pause);
    }
}

/// `count` listeners on `address`, and the address they got: a port of 0 is chosen by the kernel.
///
/// # Errors
/// When the address can't be had, in words for who chose it.
pub(crate) fn bind(address: SocketAddr, count: usize) -> io::Result<(Vec<TcpListener>, SocketAddr)> {
    // A second gateway with SO_REUSEPORT would silently take half of the first one's clients. Without it the kernel
    // tells when somebody is there.
    let probe = socket(address, false)?;
    let address = probe.local_addr()?.as_socket().unwrap_or(address);
    drop(probe);
    let listeners = (0..count).map(|_| {
        let socket = socket(address, true)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    });
    Ok((listeners.collect::<io::Result<_>>()?, address))
}

fn socket(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Why `address`, set by `flag`, can't be listened on, and what to do about it.
pub(crate) fn explain(error: &io::Error, address: SocketAddr, flag: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{address} is in use by another program, perhaps another gateway; stop that one, or choose an address \
             with {flag}"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("{address} is no address of this machine; choose one with {flag}")
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "not allowed to listen on {address}; ports below 1024 need a privilege, choose another with {flag}"
            )
        }
        _ => format!("can't listen on {address}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_a_port_and_strangers_do_not() {
        let (listeners, address) = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert_ne!(address.port(), 0);
        for listener in &listeners {
            assert_eq!(listener.local_addr().unwrap(), address);
        }
        let error = bind(address, 1).unwrap_err();
        assert_eq!(
            explain(&error, "127.0.0.1:8080".parse().unwrap(), "--listen"),
            "127.0.0.1:8080 is in use by another program, perhaps another gateway; stop that one, or choose an \
             address with --listen"
        );
        drop(listeners);
        assert!(bind(address, 2).is_ok());
    }
}
