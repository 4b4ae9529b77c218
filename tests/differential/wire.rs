//! One end of a connection that says and hears bytes as a test tells it, and the places to get one from.

use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{Cursor, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Far beyond what anything here takes; ends a test that would hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Where the gateway connects to.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// As the configuration names it. A script knows what it is asked, so it is never asked what it speaks.
    pub(crate) protocol: &'static str,
    listener: Option<TcpListener>,
}

impl Target {
    pub(crate) fn new(protocol: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { address: listener.local_addr().unwrap(), protocol, listener: Some(listener) }
    }

    /// Nobody listens here any more.
    pub(crate) fn refuse(&mut self) {
        self.listener = None;
    }

    /// Says what `answer` makes of each message, on all connections, for as long as the test lasts.
    pub(crate) fn serve(&self, answer: fn(&str) -> String) {
        let listener = self.listener.as_ref().unwrap().try_clone().unwrap();
        listener.set_nonblocking(false).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut wire = Wire::new(stream);
                thread::spawn(move || {
                    while let Some(message) = wire.hear_message_or_end() {
                        wire.say(answer(&message));
                    }
                });
            }
        });
    }

    /// The next connection of the gateway.
    pub(crate) fn accept(&self) -> Wire {
        let listener = self.listener.as_ref().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match listener.accept() {
                Ok((stream, _)) => return Wire::new(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            assert!(Instant::now() < deadline, "the gateway doesn't connect");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Reset,
}

#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    /// Came, but wasn't asked for yet.
    ahead: Vec<u8>,
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        stream.set_nonblocking(false).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, ahead: Vec::new() }
    }

    /// A client's connection.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    /// A client's connection with little room in the kernel.
    pub(crate) fn connect_narrow(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // Before connecting: the window is negotiated then.
        socket.set_recv_buffer_size(64 << 10).unwrap();
        socket.connect(&SockAddr::from(address)).unwrap();
        Self::new(socket.into())
    }

    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Says no more, but listens.
    pub(crate) fn end(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// What comes, up to and with `mark`.
    pub(crate) fn hear(&mut self, mark: &str) -> String {
        let mut from = 0;
        loop {
            let ahead = self.ahead.get(from..).unwrap_or_default();
            if let Some(at) = find(ahead, mark.as_bytes()) {
                let heard: Vec<u8> = self.ahead.drain(..from + at + mark.len()).collect();
                return String::from_utf8(heard).unwrap();
            }
            from = self.ahead.len().saturating_sub(mark.len());
            let more = self.more();
            assert_eq!(more, None, "before {mark:?} came: {}", String::from_utf8_lossy(&self.ahead));
        }
    }

    /// A whole message with a content length, or without a body.
    pub(crate) fn hear_message(&mut self) -> String {
        let mut message = self.hear("\r\n\r\n");
        let length = field(&message, "content-length").map_or(0, |length| length.parse().unwrap());
        while self.ahead.len() < length {
            assert_eq!(self.more(), None, "in the body of {message}");
        }
        message += std::str::from_utf8(&self.ahead[..length]).unwrap();
        self.ahead.drain(..length);
        message
    }

    /// The next message, unless there is none.
    fn hear_message_or_end(&mut self) -> Option<String> {
        while self.ahead.is_empty() {
            if self.more().is_some() {
                return None;
            }
        }
        Some(self.hear_message())
    }

    /// All that still comes, and how it ends.
    pub(crate) fn hear_out(&mut self) -> (String, End) {
        let end = loop {
            if let Some(end) = self.more() {
                break end;
            }
        };
        (String::from_utf8(std::mem::take(&mut self.ahead)).unwrap(), end)
    }

    /// All that comes, for a reader of its own.
    pub(crate) fn into_read(self) -> Box<dyn Read> {
        Box::new(Cursor::new(self.ahead).chain(self.stream))
    }

    fn more(&mut self) -> Option<End> {
        let mut block = [0; 16 << 10];
        match self.stream.read(&mut block) {
            Ok(0) => Some(End::Closed),
            Ok(count) => {
                self.ahead.extend_from_slice(&block[..count]);
                None
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(End::Reset),
            Err(error) => panic!("{error}, after {:?}", String::from_utf8_lossy(&self.ahead)),
        }
    }
}

/// A field of a message's head. The gateway writes names in lower case.
pub(crate) fn field<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = message.split_once("\r\n\r\n")?;
    head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}
