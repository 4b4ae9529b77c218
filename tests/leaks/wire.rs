//! A connection of a client, as bytes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Far beyond what anything here takes; ends a test that would hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, heard: Vec::new() })
    }

    /// A connection on which this was said.
    pub(crate) fn say(address: SocketAddr, text: &str) -> io::Result<Self> {
        let mut wire = Self::connect(address)?;
        wire.write(text)?;
        Ok(wire)
    }

    pub(crate) fn write(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(text.as_bytes())
    }

    /// All that has come since the last time, up to and with `mark`.
    pub(crate) fn hear(&mut self, mark: &str) -> io::Result<String> {
        loop {
            let heard = String::from_utf8_lossy(&self.heard);
            if let Some(at) = heard.find(mark) {
                let heard = self.heard.drain(..at + mark.len()).collect();
                return String::from_utf8(heard).map_err(io::Error::other);
            }
            let mut block = [0; 4096];
            match self.stream.read(&mut block)? {
                0 => return Err(io::Error::new(ErrorKind::UnexpectedEof, heard.into_owned())),
                count => self.heard.extend_from_slice(&block[..count]),
            }
        }
    }

    /// An answer with a content length, or without a body.
    pub(crate) fn hear_answer(&mut self) -> io::Result<String> {
        let mut answer = self.hear("\r\n\r\n")?;
        let length = field(&answer, "content-length").map_or(0, |length| length.parse().unwrap());
        while self.heard.len() < length {
            let mut block = [0; 4096];
            match self.stream.read(&mut block)? {
                0 => return Err(io::Error::new(ErrorKind::UnexpectedEof, answer)),
                count => self.heard.extend_from_slice(&block[..count]),
            }
        }
        let body: Vec<u8> = self.heard.drain(..length).collect();
        answer += std::str::from_utf8(&body).map_err(io::Error::other)?;
        Ok(answer)
    }

    /// Says no more, and listens.
    pub(crate) fn end(&self) {
        // It may be closed already.
        _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Is reset, not closed, when it is dropped.
    pub(crate) fn reset(self) {
        _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

/// A field of a message's head. The gateway writes names in lower case.
pub(crate) fn field<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = message.split_once("\r\n\r\n")?;
    head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
