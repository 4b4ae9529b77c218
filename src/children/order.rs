//! What the gateway and its keeper tell each other, over one UNIX socket.
//!
//! ```text
//! gateway ─► 4 bytes of length, with the child's four descriptors attached; an `Order` as JSON ─► keeper
//! gateway ◄─────────────────────────── a `Report` as JSON, one a line ◄────────────────────────── keeper
//! ```

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// A child to start.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Order {
    /// What reports call it.
    pub(super) id: u64,
    pub(super) command: String,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) cwd: Option<String>,
}

/// What goes with an order.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// Readable at its end: nobody needs the child any more.
    pub(super) released: OwnedFd,
}

/// What became of an order.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// It runs. `pid` is its process group as well.
    Started { id: u64, pid: i32 },
    /// It can't be started.
    Failed { id: u64, reason: String },
    /// Nothing of its process group is left.
    Ended { id: u64, status: String, unasked: bool },
}

/// Sends `order` and its ends.
pub(super) async fn send(to: &mut OwnedWriteHalf, order: &Order, ends: &Ends) -> io::Result<()> {
    let body = serde_json::to_vec(order)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes();
    let descriptors = [ends.stdin.as_fd(), ends.stdout.as_fd(), ends.stderr.as_fd(), ends.released.as_fd()];
    let socket = to.as_ref();
    let sent = socket.async_io(Interest::WRITABLE, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut attached = SendAncillaryBuffer::new(&mut space);
        attached.push(SendAncillaryMessage::ScmRights(&descriptors));
        let sent = sendmsg(socket, &[IoSlice::new(&length)], &mut attached, SendFlags::NOSIGNAL);
        sent.map_err(Into::into)
    });
    if sent.await? < length.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    to.write_all(&body).await
}

/// The next order; none when the gateway has no more.
pub(super) async fn receive(from: &mut OwnedReadHalf) -> io::Result<Option<(Order, Ends)>> {
    let socket = from.as_ref();
    let mut length = [0; 4];
    let received = socket.async_io(Interest::READABLE, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut attached = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut length)];
        let count = recvmsg(socket, into, &mut attached, RecvFlags::CMSG_CLOEXEC)?.bytes;
        let mut descriptors = Vec::new();
        for message in attached.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                descriptors.extend(more);
            }
        }
        Ok((count, descriptors))
    });
    let (count, descriptors) = received.await?;
    if count == 0 {
        return Ok(None);
    }
    let whole = <[OwnedFd; 4]>::try_from(descriptors).ok().filter(|_| count == 4);
    let [stdin, stdout, stderr, released] = whole.ok_or(io::ErrorKind::InvalidData)?;
    let mut body = Vec::new();
    let length = u32::from_be_bytes(length).into();
    from.take(length).read_to_end(&mut body).await?;
    Ok(Some((serde_json::from_slice(&body)?, Ends { stdin, stdout, stderr, released })))
}
