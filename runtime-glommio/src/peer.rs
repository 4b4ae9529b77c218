//! One connection: its socket, what holds it up, and the task that waits on it.

use crate::fault::fault;
use crate::pump::Pump;
use crate::wake::Waiting;
use futures_io::{AsyncRead, AsyncWrite};
use glommio::GlommioError;
use glommio::net::TcpStream;
use glommio::timer::timeout;
use mcp_proto::{ConnId, Fault};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Work of one connection before the others get their turn: reads, and bytes read.
const TURN_READS: usize = 16;
const TURN_BYTES: usize = 256 << 10;
/// How long and how much a finished connection is still read, so that a reset for unread bytes doesn't overtake our
/// last ones (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 << 10;

/// A connection, from `Open` or accept to its end. Whoever runs writes to it; only its own task reads and waits.
pub(crate) struct Peer {
    pub(crate) conn: ConnId,
    /// None while dialling, and in the end.
    stream: RefCell<Option<TcpStream>>,
    /// The id is dead.
    gone: Cell<bool>,
    /// The shard wants no bytes now.
    paused: Cell<bool>,
    /// The other side sent FIN.
    ended: Cell<bool>,
    /// The socket takes no bytes now: the task waits for it and goes on with the flush.
    blocked: Cell<bool>,
    /// Writing failed. What the other side said before is still read: it may be the answer that explains it.
    broken: Cell<Option<Fault>>,
    task: Waiting,
}

impl Peer {
    pub(crate) fn new(conn: ConnId, stream: Option<TcpStream>) -> Rc<Self> {
        Rc::new(Self {
            conn,
            stream: RefCell::new(stream),
            gone: Cell::default(),
            paused: Cell::default(),
            ended: Cell::default(),
            blocked: Cell::default(),
            broken: Cell::default(),
            task: Waiting::default(),
        })
    }

    /// Whether a write makes sense now.
    pub(crate) fn writes(&self) -> bool {
        !self.blocked.get() && self.broken.get().is_none()
    }

    /// Pending means that `cx` is woken when the socket takes more: whoever is not the connection's task passes a
    /// context that wakes nobody, then calls [`block`](Self::block). A socket remembers one waker only, the latest.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self.stream.borrow_mut() {
            Some(stream) => Pin::new(stream).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// The socket takes no bytes now. Somebody else than the task found out, or it did itself.
    pub(crate) fn block(&self, by_task: bool) {
        self.blocked.set(true);
        if !by_task {
            self.task.wake();
        }
    }

    /// The task reads what is left, then reports `fault`.
    pub(crate) fn break_off(&self, fault: Fault) {
        self.broken.set(Some(fault));
        self.task.wake();
    }

    pub(crate) fn pause(&self) {
        self.paused.set(true);
    }

    pub(crate) fn resume(&self) {
        self.paused.set(false);
        self.task.wake();
    }

    /// Closes the socket and ends the task.
    pub(crate) fn close(&self) {
        drop(self.take());
    }

    /// Sends FIN and ends the task. The socket is for [`linger`], unless the other side is done as well.
    pub(crate) fn finish(&self) -> Option<TcpStream> {
        let mut stream = self.take()?;
        // glommio's close sends FIN, a plain system call, and never pends.
        let shut = Pin::new(&mut stream).poll_close(&mut Context::from_waker(Waker::noop()));
        (matches!(shut, Poll::Ready(Ok(()))) && !self.ended.get()).then_some(stream)
    }

    fn take(&self) -> Option<TcpStream> {
        self.gone.set(true);
        self.task.wake();
        self.stream.take()
    }

    fn reads(&self) -> bool {
        !(self.gone.get() || self.paused.get() || self.ended.get())
    }

    fn poll_read(&self, scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut *self.stream.borrow_mut() {
            Some(stream) => Pin::new(stream).poll_read(cx, scratch),
            None => Poll::Pending,
        }
    }
}

/// The task of an accepted connection.
pub(crate) async fn serve(pump: Rc<Pump>, peer: Rc<Peer>) {
    poll_fn(|cx| poll(&pump, &peer, cx)).await;
}

/// The task of a connection that is to be opened.
pub(crate) async fn dial(pump: Rc<Pump>, peer: Rc<Peer>, address: SocketAddr) {
    let mut connecting = pin!(TcpStream::connect(address));
    let outcome = poll_fn(|cx| {
        peer.task.register(cx);
        if peer.gone.get() { Poll::Ready(None) } else { connecting.as_mut().poll(cx).map(Some) }
    })
    .await;
    let Some(outcome) = outcome else { return };
    let now = Instant::now();
    match outcome.and_then(|stream| stream.set_nodelay(true).map(|()| stream)).map_err(io::Error::from) {
        Ok(stream) => {
            peer.stream.replace(Some(stream));
            pump.connected(&peer, now);
            serve(pump, peer).await;
        }
        Err(error) => pump.lost(&peer, fault(&error), now),
    }
}

/// Reads and drops what still comes, for a while.
pub(crate) async fn linger(pump: Rc<Pump>, mut stream: TcpStream) {
    let rest = async {
        let mut scratch = vec![0; 4 << 10];
        let mut left = LINGER_BYTES;
        while let Ok(count @ 1..) = poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut scratch)).await {
            left = left.saturating_sub(count);
            if left == 0 {
                break;
            }
        }
        Ok(())
    };
    // Over time or not, the socket is closed now.
    let _: Result<(), GlommioError<()>> = timeout(LINGER, rest).await;
    pump.lingered();
}

/// One turn of a connection. Ready when it is gone.
fn poll(pump: &Rc<Pump>, peer: &Rc<Peer>, cx: &mut Context<'_>) -> Poll<()> {
    peer.task.register(cx);
    let now = Instant::now();
    if peer.blocked.take() {
        pump.writable(peer, cx, now);
    }
    let mut bytes = 0;
    for _ in 0..TURN_READS {
        if !peer.reads() || bytes >= TURN_BYTES {
            break;
        }
        match pump.poll_read(|scratch| peer.poll_read(scratch, cx)) {
            Poll::Pending => return rest(pump, peer, now),
            Poll::Ready(Ok(block)) if block.is_empty() => {
                peer.ended.set(true);
                pump.ended(peer, now);
            }
            Poll::Ready(Ok(block)) => {
                bytes += block.len();
                pump.received(peer, block, now);
            }
            Poll::Ready(Err(error)) => pump.lost(peer, fault(&error), now),
        }
    }
    if peer.reads() {
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    rest(pump, peer, now)
}

/// There is nothing to read now.
fn rest(pump: &Rc<Pump>, peer: &Rc<Peer>, now: Instant) -> Poll<()> {
    if let Some(fault) = peer.broken.take()
        && !peer.gone.get()
    {
        pump.lost(peer, fault, now);
    }
    if peer.gone.get() { Poll::Ready(()) } else { Poll::Pending }
}
