//! What a turn does in which order, on sockets that are never waited for.

use super::*;
use crate::spawn::Child;
use mcp_proto::{AccessLog, Config, Keys, Limits, Timeouts};
use routing::Routes;
use std::io::{Read, Write};
use std::sync::mpsc::sync_channel;

/// A runtime without tasks: what is read, the test hands over.
enum Still {}

impl Net for Still {
    type Stream = UnixStream;
    type Task = ();

    fn spawn(_: impl Future<Output = ()> + 'static) {}

    fn run(_: impl Future<Output = ()> + 'static) {}

    async fn yield_now() {}

    async fn sleep_until(_: Instant) {}

    fn accept(
        _: Rc<Pump<Self>>,
        _: SocketAddr,
        _: TcpListener,
    ) -> io::Result<impl Future<Output = ()> + 'static> {
        Ok(std::future::pending())
    }

    async fn connect(_: SocketAddr) -> io::Result<UnixStream> {
        Err(ErrorKind::ConnectionRefused.into())
    }

    fn adopt(stream: UnixStream) -> io::Result<UnixStream> {
        Ok(stream)
    }

    fn set_nodelay(_: &UnixStream) -> io::Result<()> {
        Ok(())
    }

    fn poll_read(_: &mut UnixStream, _: &mut Context<'_>, _: &mut Blocks) -> Poll<io::Result<BytesMut>> {
        Poll::Pending
    }

    fn poll_write(
        stream: &mut UnixStream,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(stream.write_vectored(slices))
    }

    fn shutdown(stream: &mut UnixStream) -> io::Result<()> {
        stream.shutdown(std::net::Shutdown::Write)
    }
}

#[derive(Debug)]
struct Childless;

impl Spawn for Childless {
    fn spawn(&self, _: Child) {}
}

fn worker(mail: async_channel::Receiver<Letter>) -> Worker {
    let config = Config {
        shards: 1,
        limits: Limits::default(),
        timeouts: Timeouts::default(),
        access_log: AccessLog::Off,
        allowed_hosts: Vec::new(),
        allowed_origins: Vec::new(),
        keys: Keys::new([7; 32], &[]),
    };
    let start = Start {
        id: ShardId(0),
        config: Arc::new(config),
        routes: Arc::new(Routes::new(Vec::new()).unwrap()),
        seed: [7; 32],
        unix: Duration::ZERO,
        counters: Arc::default(),
    };
    Worker {
        start,
        entropy: || [7; 32],
        console: None,
        mail,
        peers: Arc::new([]),
        children: Arc::new(Childless),
        records: sync_channel(1).0,
        observations: async_channel::unbounded().0,
    }
}

#[test]
fn mail_goes_before_bytes_that_came_after_it() {
    let (post, mail) = async_channel::unbounded();
    let pump = Pump::<Still>::new(worker(mail));
    let (socket, mut client) = UnixStream::pair().unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let (at, now) = (([127, 0, 0, 1], 8080).into(), Instant::now());
    pump.accepted(socket, at, ([127, 0, 0, 1], 50_000).into(), now);
    let peer = pump.peers.borrow().iter().flatten().next().cloned().unwrap();
    let mut ask = || {
        pump.received(&peer, b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"[..].into(), now);
        let mut answer = [0; 4096];
        let count = client.read(&mut answer).unwrap();
        String::from_utf8_lossy(answer.get(..count).unwrap_or_default()).into_owned()
    };
    assert!(ask().starts_with("HTTP/1.1 4"));
    // A shard that drains closes what is idle: a request that it sees before that is still answered.
    post.try_send(Letter::Shard(Mail::Drain(Duration::from_secs(1)))).unwrap();
    assert_eq!(ask(), "");
}
