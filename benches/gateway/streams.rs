//! Open event streams of sessions, and what is delivered on them.

use crate::http::{Incoming, Kind, broken};
use crate::load::wait;
use crate::payload;
use crate::work::Lane;
use memchr::memmem;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read, Write};
use std::net::SocketAddr;

/// One connection for each session, on which its GET was answered by an event stream.
pub(crate) struct Streams {
    poll: Poll,
    streams: Vec<Stream>,
    scratch: Vec<u8>,
}

struct Stream {
    socket: TcpStream,
    incoming: Incoming,
}

impl Streams {
    pub(crate) fn open(address: SocketAddr, path: &str, sessions: &[String]) -> io::Result<Self> {
        let mut streams = Self {
            poll: Poll::new()?,
            streams: Vec::with_capacity(sessions.len()),
            scratch: vec![0; 64 << 10],
        };
        let mut request = Vec::new();
        for (number, session) in sessions.iter().enumerate() {
            request.clear();
            Lane::new(address, path, session.clone(), number).listen(&mut request)?;
            streams.open_one(address, &request)?;
        }
        Ok(streams)
    }

    fn open_one(&mut self, address: SocketAddr, request: &[u8]) -> io::Result<()> {
        let mut socket = std::net::TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(crate::load::PATIENCE))?;
        socket.write_all(request)?;
        let mut incoming = Incoming::new(Kind::Response);
        while !incoming.has_head() {
            let count = socket.read(&mut self.scratch)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            incoming.feed(self.scratch.get(..count).unwrap_or_default())?;
        }
        if incoming.head.status != 200 || !incoming.head.event_stream {
            return Err(broken(&format!("GET answered by status {}", incoming.head.status)));
        }
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        self.poll.registry().register(&mut socket, Token(self.streams.len()), Interest::READABLE)?;
        self.streams.push(Stream { socket, incoming });
        Ok(())
    }

    /// Waits until `count` notifications have come: each of them once, on whichever stream, and nothing else.
    pub(crate) fn hear(&mut self, count: usize) -> io::Result<()> {
        let Self { poll, streams, scratch } = self;
        let mut events = Events::with_capacity(1024);
        let mut heard = vec![false; count];
        let mut left = count;
        while left > 0 {
            wait(poll, &mut events)?;
            for event in &events {
                let Some(stream) = streams.get_mut(event.token().0) else { continue };
                stream.receive(scratch)?;
                while let Some(number) = stream.notification()? {
                    match heard.get_mut(number) {
                        Some(heard) if !*heard => *heard = true,
                        _ => return Err(broken(&format!("notification {number} came once too often"))),
                    }
                    left -= 1;
                }
            }
        }
        Ok(())
    }
}

impl Stream {
    fn receive(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        loop {
            let count = match self.socket.read(scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            if self.incoming.feed(scratch.get(..count).unwrap_or_default())? {
                return Err(broken("the stream ended"));
            }
            // A short read has emptied the socket (epoll(7), edge-triggered streams).
            if count < scratch.len() {
                return Ok(());
            }
        }
    }

    /// The number of the next notification that is complete. Events without data are the contender's own business.
    fn notification(&mut self) -> io::Result<Option<usize>> {
        let body = &mut self.incoming.body;
        while let Some(end) = memmem::find(body, b"\n\n") {
            let event = String::from_utf8(body.drain(..end + 2).collect()).unwrap_or_default();
            let Some(data) = event.lines().find_map(|line| line.strip_prefix("data:")).map(str::trim_start)
            else {
                continue;
            };
            let number = data.rsplit_once("notification ").map_or("", |(_, rest)| rest);
            let number = number.trim_end_matches(['"', '}']).parse().ok();
            // Who federates says which target's logger it is.
            let is_right =
                |number| ["bench", "a/bench"].iter().any(|of| payload::notification(of, number) == data);
            return match number.filter(|number| is_right(*number)) {
                None if data.is_empty() => continue,
                None => Err(broken(&format!("no notification of the target's: {event}"))),
                number => Ok(number),
            };
        }
        Ok(None)
    }
}
