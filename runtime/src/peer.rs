//! One connection: its socket, what holds it up, and the task that waits on it.

use crate::link::Link;
use crate::net::Net;
use crate::pump::Pump;
use crate::wake::Waiting;
use bytes::BytesMut;
use mcp_proto::{ConnId, Fault};
use routing::{Process, TargetName};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Work of one connection before the others get their turn: reads, and bytes read.
const TURN_READS: usize = 16;
const TURN_BYTES: usize = 256 << 10;
/// How long and how much a finished connection is still read, so that a reset for unread bytes doesn't overtake our
/// last ones (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 << 10;

/// A connection, from `Open` or accept to its end. Whoever runs writes to it; only its own task reads and waits.
pub(crate) struct Peer<N: Net> {
    pub(crate) conn: ConnId,
    /// None while dialling, and in the end.
    link: RefCell<Option<Link<N>>>,
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

impl<N: Net> Peer<N> {
    pub(crate) fn new(conn: ConnId, link: Option<Link<N>>) -> Rc<Self> {
        Rc::new(Self {
            conn,
            link: RefCell::new(link),
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
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut *self.link.borrow_mut() {
            Some(link) => link.poll_write(cx, slices),
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
    pub(crate) fn finish(&self) -> Option<Link<N>> {
        let mut link = self.take()?;
        (link.shutdown().is_ok() && !self.ended.get()).then_some(link)
    }

    fn take(&self) -> Option<Link<N>> {
        self.gone.set(true);
        self.task.wake();
        self.link.take()
    }

    fn reads(&self) -> bool {
        !(self.gone.get() || self.paused.get() || self.ended.get())
    }

    fn poll_read(&self, pump: &Pump<N>, cx: &mut Context<'_>) -> Poll<io::Result<BytesMut>> {
        match &mut *self.link.borrow_mut() {
            Some(link) => pump.poll_read(link, cx),
            None => Poll::Pending,
        }
    }
}

/// The task of an open connection. There are many, and most wait: it holds no more than it must.
pub(crate) fn serve<N: Net>(pump: Rc<Pump<N>>, peer: Rc<Peer<N>>) -> impl Future<Output = ()> + 'static {
    poll_fn(move |cx| poll(&pump, &peer, cx))
}

/// The task of a connection that is to be opened.
pub(crate) async fn dial<N: Net>(pump: Rc<Pump<N>>, peer: Rc<Peer<N>>, address: SocketAddr) {
    let mut connecting = pin!(N::connect(address));
    let outcome = poll_fn(|cx| {
        peer.task.register(cx);
        if peer.gone.get() { Poll::Ready(None) } else { connecting.as_mut().poll(cx).map(Some) }
    })
    .await;
    let Some(outcome) = outcome else { return };
    let now = Instant::now();
    let link = outcome.and_then(|stream| N::set_nodelay(&stream).map(|()| Link::new(stream)));
    open(pump, peer, link, now);
}

/// The task of a connection to a child process that is to be started.
pub(crate) async fn start<N: Net>(
    pump: Rc<Pump<N>>,
    peer: Rc<Peer<N>>,
    target: TargetName,
    process: Arc<Process>,
) {
    if peer.gone.get() {
        return;
    }
    let link = Link::to_child(&*pump.children, target, process);
    open(pump, peer, link, Instant::now());
}

/// Goes on in a task of its own: what opening took is not kept as long as the connection.
fn open<N: Net>(pump: Rc<Pump<N>>, peer: Rc<Peer<N>>, link: io::Result<Link<N>>, now: Instant) {
    match link {
        Ok(link) => {
            peer.link.replace(Some(link));
            pump.connected(&peer, now);
            N::spawn(serve(pump, peer));
        }
        Err(error) => pump.lost(&peer, error.kind().into(), now),
    }
}

/// Reads and drops what still comes, for a while.
pub(crate) async fn linger<N: Net>(pump: Rc<Pump<N>>, mut link: Link<N>) {
    let mut over = pin!(N::sleep_until(Instant::now() + LINGER));
    let mut left = LINGER_BYTES;
    poll_fn(|cx| {
        while left > 0 {
            match pump.poll_read(&mut link, cx) {
                Poll::Ready(Ok(block)) if !block.is_empty() => left = left.saturating_sub(block.len()),
                Poll::Ready(_) => break,
                Poll::Pending => return over.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    })
    .await;
    drop(link);
    pump.lingered();
}

/// One turn of a connection. Ready when it is gone.
fn poll<N: Net>(pump: &Rc<Pump<N>>, peer: &Peer<N>, cx: &mut Context<'_>) -> Poll<()> {
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
        match peer.poll_read(pump, cx) {
            Poll::Pending => return rest(pump, peer, now),
            Poll::Ready(Ok(block)) if block.is_empty() => {
                peer.ended.set(true);
                pump.ended(peer, now);
            }
            Poll::Ready(Ok(block)) => {
                bytes += block.len();
                pump.received(peer, block, now);
            }
            Poll::Ready(Err(error)) => pump.lost(peer, error.kind().into(), now),
        }
    }
    if peer.reads() {
        // Polled once, it wakes this task again when the others and the sockets had their turn.
        return pin!(N::yield_now()).poll(cx);
    }
    rest(pump, peer, now)
}

/// There is nothing to read now.
fn rest<N: Net>(pump: &Rc<Pump<N>>, peer: &Peer<N>, now: Instant) -> Poll<()> {
    if let Some(fault) = peer.broken.take()
        && !peer.gone.get()
    {
        pump.lost(peer, fault, now);
    }
    if peer.gone.get() { Poll::Ready(()) } else { Poll::Pending }
}
