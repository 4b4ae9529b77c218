//! Listening sockets: one per worker on one address, so that the kernel spreads connections over them.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Connections the kernel holds for a worker that is busy.
const BACKLOG: i32 = 4096;

/// `count` listeners on `address`, and the address they got: a port of 0 is chosen by the kernel.
///
/// # Errors
/// When the address can't be had, in words for who chose it.
pub(crate) fn bind(address: SocketAddr, count: u16) -> io::Result<(Vec<TcpListener>, SocketAddr)> {
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
