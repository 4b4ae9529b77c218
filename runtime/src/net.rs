//! What a worker asks of the runtime it stands on.

use crate::{Blocks, Pump};
use bytes::BytesMut;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

/// A runtime: its sockets, tasks and timers, all of one thread. It is never a value.
pub trait Net: Sized + 'static {
    /// A connected stream socket of any family. It is closed when dropped.
    type Stream: 'static;

    /// A running task, which ends when this is dropped.
    type Task: 'static;

    /// Runs `task` beside the others, to its end.
    fn spawn(task: impl Future<Output = ()> + 'static);

    /// Runs `task` beside the others, as long as the answer is kept.
    fn run(task: impl Future<Output = ()> + 'static) -> Self::Task;

    /// Lets the other tasks run, and the runtime look at its sockets.
    fn yield_now() -> impl Future<Output = ()>;

    /// Ready at `at`, or a little later.
    fn sleep_until(at: Instant) -> impl Future<Output = ()>;

    /// Tells `pump` of all who connect to `listener`, which is non-blocking and listens at `at`. It never ends.
    ///
    /// # Errors
    /// When the runtime can't wait for it.
    fn accept(
        pump: Rc<Pump<Self>>,
        at: SocketAddr,
        listener: TcpListener,
    ) -> io::Result<impl Future<Output = ()> + 'static>;

    /// Connects to `address`.
    fn connect(address: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>>;

    /// Takes over a connected UNIX socket.
    ///
    /// # Errors
    /// When the runtime can't wait for it.
    fn adopt(stream: UnixStream) -> io::Result<Self::Stream>;

    /// Has every write sent at once (TCP_NODELAY): for TCP alone.
    ///
    /// # Errors
    /// When the other side is gone already.
    fn set_nodelay(stream: &Self::Stream) -> io::Result<()>;

    /// What has come, as much as there is [room](Blocks::room) for, split off its block; nothing at the end.
    fn poll_read(
        stream: &mut Self::Stream,
        cx: &mut Context<'_>,
        blocks: &mut Blocks,
    ) -> Poll<io::Result<BytesMut>>;

    /// Writes some of `slices`, at once if the socket takes any. Pending means that `cx` is woken when it does; it
    /// remembers the latest one only.
    fn poll_write(
        stream: &mut Self::Stream,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    /// Sends FIN: a plain system call.
    ///
    /// # Errors
    /// When the connection is gone already.
    fn shutdown(stream: &mut Self::Stream) -> io::Result<()>;
}
