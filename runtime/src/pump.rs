//! What the tasks of a worker share: the shard, its connections, its timer. Tasks tell the pump what happened; each
//! such turn enters the shard, then does everything the shard asks for, at once and without waiting.

use crate::blocks::Blocks;
use crate::link::Link;
use crate::net::Net;
use crate::peer::{self, Peer};
use crate::spawn::Spawn;
use crate::wake::Waiting;
use crate::worker::{Letter, Worker};
use bytes::BytesMut;
use mcp_proto::{Action, ConnId, Fault, Mail, Observation, Parcel, Record, Shard, ShardId, Start};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

/// Letters a worker may be behind before it gets no more of those that can be missed.
const MAILBOX: usize = 4096;
/// Parts of one write.
const SLICES: usize = 16;
/// The shard is not woken more often by its timer.
const TIMER_GRAIN: Duration = Duration::from_millis(1);
/// Losses are told no more often.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(1);

/// The shard of a thread and all that moves its bytes. No borrow in here outlives a call.
pub struct Pump<N: Net> {
    shard: RefCell<Shard>,
    /// What the shard was made from, with the latest routes, in case it must be made again.
    start: RefCell<Start>,
    entropy: fn() -> [u8; 32],
    /// By `ConnId::index`.
    peers: RefCell<Vec<Option<Rc<Peer<N>>>>>,
    blocks: RefCell<Blocks>,
    /// What the timer is set to; never later than the shard's deadline.
    armed: Cell<Option<Instant>>,
    timer: Waiting,
    draining: Cell<bool>,
    /// Finished connections that are still read.
    lingering: Cell<usize>,
    /// The main task, which waits for the end.
    end: Waiting,
    /// The tasks that accept, by address; with each goes its socket. None once the shard drains.
    doors: RefCell<Option<BTreeMap<SocketAddr, N::Task>>>,
    pub(crate) mail: async_channel::Receiver<Letter>,
    mailboxes: Arc<[async_channel::Sender<Letter>]>,
    pub(crate) children: Arc<dyn Spawn>,
    records: SyncSender<Box<Record>>,
    lost_records: Losses,
    observations: async_channel::Sender<(ShardId, Box<Observation>)>,
    lost_observations: Losses,
    lost_parcels: Losses,
}

impl<N: Net> Pump<N> {
    /// The pump of a worker, whose console is not its business.
    pub(crate) fn new(worker: Worker) -> Rc<Self> {
        let Worker { start, entropy, console: _, mail, peers, children, records, observations } = worker;
        Rc::new(Self {
            shard: RefCell::new(Shard::new(start.clone(), Instant::now())),
            start: RefCell::new(start),
            entropy,
            peers: RefCell::default(),
            blocks: RefCell::default(),
            armed: Cell::default(),
            timer: Waiting::default(),
            draining: Cell::default(),
            lingering: Cell::default(),
            end: Waiting::default(),
            doors: RefCell::new(Some(BTreeMap::new())),
            mail,
            mailboxes: peers,
            children,
            records,
            lost_records: Losses::default(),
            observations,
            lost_observations: Losses::default(),
            lost_parcels: Losses::default(),
        })
    }

    /// The number of its shard.
    pub fn id(&self) -> u16 {
        self.start.borrow().id.0
    }

    // What happened outside.

    /// A client has connected to the socket that listens at `at`.
    pub fn accepted(self: &Rc<Self>, stream: N::Stream, at: SocketAddr, client: SocketAddr, now: Instant) {
        if let Err(error) = N::set_nodelay(&stream) {
            // The client is gone already.
            return tracing::debug!(shard = self.id(), %error, "accepted connection is unusable");
        }
        // A socket for both families shows clients of the older one by addresses of the newer (RFC 4291, 2.5.5.2).
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        self.turn(now, || {
            // Bound first: the borrow must end before the socket is known, and a refused one is closed right here.
            let accepted = self.shard.borrow_mut().accepted(at, client, now);
            if let Ok(conn) = accepted {
                let peer = self.insert(conn, Some(Link::new(stream)));
                N::spawn(peer::serve(Rc::clone(self), peer));
            }
        });
    }

    /// The client of the process itself is there.
    ///
    /// # Errors
    /// When the runtime can't wait for its socket.
    pub fn attached(self: &Rc<Self>, console: UnixStream, now: Instant) -> io::Result<()> {
        let stream = N::adopt(console)?;
        self.turn(now, || {
            let conn = self.shard.borrow_mut().attached(now);
            let peer = self.insert(conn, Some(Link::new(stream)));
            N::spawn(peer::serve(Rc::clone(self), peer));
        });
        Ok(())
    }

    pub(crate) fn connected(self: &Rc<Self>, peer: &Peer<N>, now: Instant) {
        self.turn(now, || self.shard.borrow_mut().connected(peer.conn, now));
    }

    pub(crate) fn received(self: &Rc<Self>, peer: &Peer<N>, block: BytesMut, now: Instant) {
        self.read_mail(now);
        self.turn(now, || self.shard.borrow_mut().received(peer.conn, block, now));
    }

    pub(crate) fn ended(self: &Rc<Self>, peer: &Peer<N>, now: Instant) {
        self.read_mail(now);
        self.turn(now, || self.shard.borrow_mut().ended(peer.conn, now));
    }

    /// To be called by the connection's task, with its own context.
    pub(crate) fn writable(self: &Rc<Self>, peer: &Peer<N>, cx: &mut Context<'_>, now: Instant) {
        self.turn(now, || self.flush(peer, Some(cx), now));
    }

    pub(crate) fn lost(self: &Rc<Self>, peer: &Peer<N>, fault: Fault, now: Instant) {
        self.turn(now, || {
            self.remove(peer.conn);
            peer.close();
            self.shard.borrow_mut().lost(peer.conn, fault, now);
        });
    }

    /// What the outside sends.
    pub(crate) fn open(self: &Rc<Self>, letter: Letter, now: Instant) {
        match letter {
            Letter::Shard(Mail::Parcel(parcel)) => {
                self.turn(now, || self.shard.borrow_mut().deliver(parcel, now));
            }
            Letter::Shard(Mail::Reroute(routes)) => self.turn(now, || {
                self.start.borrow_mut().routes = Arc::clone(&routes);
                self.shard.borrow_mut().reroute(routes, now);
            }),
            Letter::Shard(Mail::Drain(grace)) => {
                drop(self.doors.take());
                self.turn(now, || {
                    self.draining.set(true);
                    self.shard.borrow_mut().drain(grace, now);
                });
            }
            Letter::Listen { at, listener } => self.listen(at, listener),
            Letter::Unlisten { at } => {
                let door = self.doors.borrow_mut().as_mut().and_then(|doors| doors.remove(&at));
                if door.is_some() {
                    self.turn(now, || self.shard.borrow_mut().unlistened(at, now));
                }
            }
        }
        // The shard may have been empty all along.
        self.end.wake();
    }

    fn listen(self: &Rc<Self>, at: SocketAddr, listener: TcpListener) {
        let Some(doors) = &mut *self.doors.borrow_mut() else { return };
        match N::accept(Rc::clone(self), at, listener) {
            Ok(task) => drop(doors.insert(at, N::run(task))),
            Err(error) => tracing::error!(shard = self.id(), %at, %error, "can't accept connections"),
        }
    }

    /// Takes the mail there is now. To be done once bytes were read and before the shard is given them: whoever sent
    /// them may know what the mail says, from the answer of another shard.
    fn read_mail(self: &Rc<Self>, now: Instant) {
        for _ in 0..self.mail.len() {
            let Ok(letter) = self.mail.try_recv() else { break };
            self.open(letter, now);
        }
    }

    pub(crate) fn time_passed(self: &Rc<Self>, now: Instant) {
        self.armed.set(None);
        self.turn(now, || {
            let mut shard = self.shard.borrow_mut();
            if shard.deadline().is_some_and(|(at, _)| at <= now) {
                shard.tick(now);
            }
        });
    }

    pub(crate) fn lingered(&self) {
        self.lingering.set(self.lingering.get() - 1);
        self.end.wake();
    }

    /// Closes every socket that leads to a client or a target.
    pub(crate) fn close_all(&self) {
        for peer in self.peers.take().into_iter().flatten() {
            peer.close();
        }
    }

    /// The end: not every runtime drops its tasks, and with them their sockets.
    pub(crate) fn shut(&self) {
        drop(self.doors.take());
        self.close_all();
    }

    // What tasks wait for.

    /// When the timer must fire next.
    pub(crate) fn poll_armed(&self, cx: &Context<'_>) -> Poll<Instant> {
        self.timer.register(cx);
        self.armed.get().map_or(Poll::Pending, Poll::Ready)
    }

    /// Whether everything was served.
    pub(crate) fn poll_done(&self, cx: &Context<'_>) -> Poll<()> {
        self.end.register(cx);
        let done = self.draining.get() && self.lingering.get() == 0 && self.shard.borrow().is_drained();
        if done { Poll::Ready(()) } else { Poll::Pending }
    }

    /// What has come on `link`, read into a shared block.
    pub(crate) fn poll_read(&self, link: &mut Link<N>, cx: &mut Context<'_>) -> Poll<io::Result<BytesMut>> {
        link.poll_read(cx, &mut self.blocks.borrow_mut())
    }

    // A turn.

    fn turn(self: &Rc<Self>, now: Instant, input: impl FnOnce()) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            input();
            self.settle(now);
        }));
        if outcome.is_err() {
            self.rebuild(now);
        }
        self.arm(now);
        if self.draining.get() {
            self.end.wake();
        }
    }

    fn settle(self: &Rc<Self>, now: Instant) {
        loop {
            // Bound first: the borrow must end before the action is taken.
            let action = self.shard.borrow_mut().poll();
            match action {
                Some(action) => self.perform(action, now),
                None => break,
            }
        }
    }

    fn perform(self: &Rc<Self>, action: Action, now: Instant) {
        match action {
            Action::Open { conn, address } => {
                let peer = self.insert(conn, None);
                N::spawn(peer::dial(Rc::clone(self), peer, address));
            }
            Action::Spawn { conn, target, process } => {
                let peer = self.insert(conn, None);
                N::spawn(peer::start(Rc::clone(self), peer, target, process));
            }
            Action::Flush { conn } => self.with(conn, |peer| self.flush(peer, None, now)),
            Action::Pause { conn } => self.with(conn, Peer::pause),
            Action::Resume { conn } => self.with(conn, Peer::resume),
            Action::Finish { conn } => {
                if let Some(link) = self.remove(conn).and_then(|peer| peer.finish()) {
                    self.lingering.set(self.lingering.get() + 1);
                    N::spawn(peer::linger(Rc::clone(self), link));
                }
            }
            Action::Abort { conn } => {
                if let Some(peer) = self.remove(conn) {
                    peer.close();
                }
            }
            Action::Post { shard, parcel } => self.post(shard, parcel, now),
            Action::Log(record) => {
                if self.records.try_send(record).is_err() {
                    self.lost_records.count("access-log records", self.id(), now);
                }
            }
            Action::Observed(observation) => {
                let shard = ShardId(self.id());
                if self.observations.try_send((shard, observation)).is_err() {
                    self.lost_observations.count("observations of targets", shard.0, now);
                }
            }
        }
    }

    /// Hands a parcel to another worker. One that is far behind gets only what must arrive, which the shard bounds.
    fn post(&self, shard: ShardId, parcel: Parcel, now: Instant) {
        let mailbox = self.mailboxes.get(usize::from(shard.0)).filter(|mailbox| !mailbox.is_closed());
        let Some(mailbox) = mailbox else { return self.shard.borrow_mut().unreachable(shard, now) };
        let full = mailbox.len() >= MAILBOX && !parcel.must_arrive();
        if full || mailbox.try_send(Letter::Shard(Mail::Parcel(parcel))).is_err() {
            self.lost_parcels.count("parcels for other shards", self.id(), now);
        }
    }

    /// Writes what waits for `peer`, as far as its socket takes it. `task` is the context of the connection's own task
    /// if that is who runs.
    fn flush(&self, peer: &Peer<N>, task: Option<&mut Context<'_>>, now: Instant) {
        let by_task = task.is_some();
        let mut nobody = Context::from_waker(Waker::noop());
        let cx = task.unwrap_or(&mut nobody);
        while peer.writes() {
            let written = {
                let shard = self.shard.borrow();
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = shard.unsent(peer.conn, &mut slices);
                match slices.get(..count) {
                    Some(slices @ [_, ..]) => peer.poll_write(cx, slices),
                    _ => return,
                }
            };
            match written {
                Poll::Ready(Ok(0)) => peer.break_off(Fault::Other),
                Poll::Ready(Ok(count)) => self.shard.borrow_mut().sent(peer.conn, count, now),
                Poll::Pending => peer.block(by_task),
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => peer.break_off(error.kind().into()),
            }
        }
    }

    /// Sets the timer when the shard wants to be woken earlier than it is set for. Later deadlines cost nothing: it
    /// fires early and is set again then.
    fn arm(&self, now: Instant) {
        let Some((at, _)) = self.shard.borrow().deadline() else { return };
        let at = at.max(now + TIMER_GRAIN);
        if self.armed.get().is_none_or(|armed| at < armed) {
            self.armed.set(Some(at));
            self.timer.wake();
        }
    }

    /// After a panic nothing of the shard can be trusted: its connections go, and a new one serves from now on. The
    /// panic itself was logged where it happened.
    fn rebuild(self: &Rc<Self>, now: Instant) {
        self.close_all();
        let mut start = self.start.borrow().clone();
        start.seed = (self.entropy)();
        start.unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        start.counters.count_panic();
        tracing::error!(
            shard = start.id.0,
            "the shard panicked: its connections are closed, a new one takes over"
        );
        let mut shard = Shard::successor(start, now);
        if self.draining.get() {
            shard.drain(Duration::ZERO, now);
        }
        self.shard.replace(shard);
        self.settle(now);
    }

    // The table of connections.

    fn insert(&self, conn: ConnId, link: Option<Link<N>>) -> Rc<Peer<N>> {
        let peer = Peer::new(conn, link);
        let mut peers = self.peers.borrow_mut();
        if peers.len() <= conn.index() {
            peers.resize(conn.index() + 1, None);
        }
        if let Some(slot) = peers.get_mut(conn.index()) {
            *slot = Some(Rc::clone(&peer));
        }
        peer
    }

    fn remove(&self, conn: ConnId) -> Option<Rc<Peer<N>>> {
        self.peers.borrow_mut().get_mut(conn.index())?.take_if(|peer| peer.conn == conn)
    }

    fn with(&self, conn: ConnId, act: impl FnOnce(&Peer<N>)) {
        // Cloned: the table must be free while acting.
        let peer = self.peers.borrow().get(conn.index()).cloned().flatten();
        if let Some(peer) = peer.filter(|peer| peer.conn == conn) {
            act(&peer);
        }
    }
}

/// Things dropped because somebody else was too slow to take them.
#[derive(Default)]
struct Losses {
    untold: Cell<u64>,
    told: Cell<Option<Instant>>,
}

impl Losses {
    fn count(&self, what: &str, shard: u16, now: Instant) {
        self.untold.set(self.untold.get() + 1);
        if self.told.get().is_none_or(|told| now.saturating_duration_since(told) >= COMPLAINT_PAUSE) {
            self.told.set(Some(now));
            tracing::warn!(shard, count = self.untold.take(), "dropped {what}: the receiver is too slow");
        }
    }
}

#[cfg(test)]
mod tests;
