//! tokio as a worker needs it.

use bytes::BytesMut;
use runtime::{Blocks, Net, Pump};
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, spawn_local};

/// How long accepting rests when the operating system has no socket to give.
const REST: Duration = Duration::from_millis(100);

pub(crate) enum Tokio {}

impl Net for Tokio {
    type Stream = TcpStream;
    type Task = Task;

    fn spawn(task: impl Future<Output = ()> + 'static) {
        // Dropping the handle lets the task go on.
        drop(spawn_local(task));
    }

    fn run(task: impl Future<Output = ()> + 'static) -> Task {
        Task(spawn_local(task))
    }

    fn yield_now() -> impl Future<Output = ()> {
        tokio::task::yield_now()
    }

    fn sleep_until(at: Instant) -> impl Future<Output = ()> {
        tokio::time::sleep_until(at.into())
    }

    fn accept(
        pump: Rc<Pump<Self>>,
        at: SocketAddr,
        listener: std::net::TcpListener,
    ) -> io::Result<impl Future<Output = ()> + 'static> {
        let listener = TcpListener::from_std(listener)?;
        Ok(accept(pump, at, listener))
    }

    fn connect(address: SocketAddr) -> impl Future<Output = io::Result<TcpStream>> {
        TcpStream::connect(address)
    }

    fn adopt(stream: UnixStream) -> io::Result<TcpStream> {
        stream.set_nonblocking(true)?;
        // To be read and written one stream socket is as good as another.
        TcpStream::from_std(OwnedFd::from(stream).into())
    }

    fn set_nodelay(stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)
    }

    fn poll_read(
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
        blocks: &mut Blocks,
    ) -> Poll<io::Result<BytesMut>> {
        let block = blocks.room();
        ready!(pin!(stream.read_buf(block)).poll(cx))?;
        Poll::Ready(Ok(block.split()))
    }

    fn poll_write(
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            // Tried first: it costs a task nothing of what tokio lets it do in a turn.
            let outcome = match slices {
                // What is one piece mostly, and the kernel is spared a list of one.
                [slice] => stream.try_write(slice),
                slices => stream.try_write_vectored(slices),
            };
            match outcome {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(stream.poll_write_ready(cx))?,
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    fn shutdown(stream: &mut TcpStream) -> io::Result<()> {
        match Pin::new(stream).poll_shutdown(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

/// Ends with this.
pub(crate) struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn accept(pump: Rc<Pump<Tokio>>, at: SocketAddr, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => pump.accepted(stream, at, client, Instant::now()),
            // The client was gone before we came: its loss alone.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(shard = pump.id(), %at, %error, "can't accept connections, resting");
                tokio::time::sleep(REST).await;
            }
        }
    }
}
