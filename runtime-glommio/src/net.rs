//! glommio as a worker needs it.

use crate::listener;
use bytes::BytesMut;
use futures_io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use glommio::timer::Timer;
use runtime::{Blocks, Net, Pump};
use socket2::{SockRef, Socket};
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

/// `MSG_DONTWAIT` of Linux: glommio leaves sockets blocking.
const DONT_WAIT: i32 = 0x40;

pub(crate) enum Glommio {}

impl Net for Glommio {
    type Stream = TcpStream;
    type Task = glommio::Task<()>;

    fn spawn(task: impl Future<Output = ()> + 'static) {
        glommio::spawn_local(task).detach();
    }

    fn run(task: impl Future<Output = ()> + 'static) -> Self::Task {
        glommio::spawn_local(task)
    }

    async fn yield_now() {
        // Yielding the task alone would keep glommio from looking at its rings.
        glommio::executor().yield_task_queue_now().await;
    }

    async fn sleep_until(at: Instant) {
        Timer::new(at.saturating_duration_since(Instant::now())).await;
    }

    fn accept(
        pump: Rc<Pump<Self>>,
        at: SocketAddr,
        listener: TcpListener,
    ) -> io::Result<impl Future<Output = ()> + 'static> {
        Ok(listener::accept(pump, at, listener))
    }

    async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
        Ok(TcpStream::connect(address).await?)
    }

    fn adopt(stream: UnixStream) -> io::Result<TcpStream> {
        // To be read and written one stream socket is as good as another, and glommio makes no UNIX one from a
        // standard one without unsafe code.
        Ok(Socket::from(stream).into())
    }

    fn set_nodelay(stream: &TcpStream) -> io::Result<()> {
        Ok(stream.set_nodelay(true)?)
    }

    fn poll_read(
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
        blocks: &mut Blocks,
    ) -> Poll<io::Result<BytesMut>> {
        let block = blocks.room();
        // glommio reads into initialised memory only: zeroed once a block, not once a read.
        block.resize(block.capacity(), 0);
        let count = ready!(Pin::new(stream).poll_read(cx, block))?;
        Poll::Ready(Ok(block.split_to(count)))
    }

    fn poll_write(
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // glommio sends one slice at a time, so several go to the socket directly. It does so, too, when the socket takes
        // none now, and then waits for it.
        if let [_, _, ..] = slices {
            match SockRef::from(&*stream).send_vectored_with_flags(slices, DONT_WAIT) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
        Pin::new(stream).poll_write(cx, slices.first().map_or(&[], |slice| slice))
    }

    fn shutdown(stream: &mut TcpStream) -> io::Result<()> {
        // glommio's close sends FIN and never pends.
        match Pin::new(stream).poll_close(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }
}
