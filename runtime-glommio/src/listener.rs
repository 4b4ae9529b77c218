//! Accepting clients.

use crate::net::Glommio;
use futures_io::AsyncRead;
use glommio::net::TcpStream;
use glommio::timer::sleep;
use runtime::Pump;
use socket2::Socket;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long accepting rests when the operating system has no socket to give.
const REST: Duration = Duration::from_millis(100);
/// Connections accepted before the others get their turn.
const TURN: usize = 64;

/// Accepts until dropped. glommio's own listener is not used: it hands out sockets that children inherit, and turns
/// the listener's non-blocking mode on and off around each of them. The standard library accepts with close-on-exec.
pub(crate) async fn accept(pump: Rc<Pump<Glommio>>, at: SocketAddr, listener: TcpListener) {
    loop {
        if let Err(error) = accept_waiting(&pump, at, &listener).await {
            tracing::warn!(shard = pump.id(), %at, %error, "can't accept connections, resting");
            sleep(REST).await;
        }
    }
}

async fn accept_waiting(pump: &Rc<Pump<Glommio>>, at: SocketAddr, listener: &TcpListener) -> io::Result<()> {
    ready(listener).await?;
    let now = Instant::now();
    for _ in 0..TURN {
        match listener.accept() {
            Ok((stream, client)) => pump.accepted(Socket::from(stream).into(), at, client, now),
            // The client was gone before we came: its loss alone.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits for a connection. glommio waits for streams only, so a second handle to the listener poses as one. It is
/// polled before it is read; and reading a listening socket fails (ENOTCONN, POSIX `recv`), which is the sign.
async fn ready(listener: &TcpListener) -> io::Result<()> {
    let mut handle = TcpStream::from(Socket::from(listener.try_clone()?));
    match poll_fn(|cx| Pin::new(&mut handle).poll_read(cx, &mut [0])).await {
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
        other => other.map(drop),
    }
}
