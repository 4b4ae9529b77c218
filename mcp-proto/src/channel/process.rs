//! A child process: its standard input and output are the two ways of a channel, one message a line.

use super::{Channel, ChannelId, Link};
use crate::conn::{Conn, Role};
use crate::edge::Fault;
use crate::leg::Trouble;
use crate::line::Lines;
use crate::shard::{Closing, Shard};
use crate::{Action, ConnId};
use bytes::BytesMut;
use routing::{Process, Target};
use std::sync::Arc;

/// The connection to a child.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) channel: ChannelId,
    lines: Lines,
}

impl Shard {
    pub(super) fn spawn_child(&mut self, id: ChannelId, target: &Target, process: &Arc<Process>) -> Link {
        let child = Child { channel: id, lines: Lines::new(self.config.limits.message) };
        let conn = self.conns.insert(Conn::new(Role::Child(Box::new(child)), self.now));
        self.counters.processes.add(1);
        self.counters.processes_total.add(1);
        let (target, process) = (target.name().clone(), Arc::clone(process));
        self.act(Action::Spawn { conn, target, process });
        Link::Process { conn, open: false }
    }

    /// The child runs.
    pub(crate) fn child_started(&mut self, conn: ConnId) {
        let Some(id) = self.channel_of_child(conn) else { return };
        if let Some(Channel { link: Link::Process { open, .. }, .. }) = self.channels.table.get_mut(id) {
            *open = true;
        }
        self.channel_ready(id);
    }

    /// Bytes of its standard output.
    pub(crate) fn read_child(&mut self, conn: ConnId, bytes: BytesMut) {
        if let Some(child) = self.conns.get_mut(conn).and_then(Conn::child) {
            child.lines.feed(bytes.freeze());
        }
        // Looked up for every line, since any may be the channel's last.
        while let Some(id) = self.channel_of_child(conn) {
            let Some(child) = self.conns.get_mut(conn).and_then(Conn::child) else { return };
            match child.lines.next() {
                Some(Ok(line)) => self.channel_message(id, &line),
                Some(Err(long)) => self.channel_overrun(id, long.id, long.has_method),
                None => return,
            }
        }
    }

    /// It closed its standard output: whatever it still does, it will answer nothing more.
    pub(crate) fn child_ended(&mut self, conn: ConnId) {
        let last = self.conns.get_mut(conn).and_then(Conn::child).and_then(|child| child.lines.end());
        if let (Some(Ok(line)), Some(id)) = (last, self.channel_of_child(conn)) {
            self.channel_message(id, &line);
        }
        self.child_lost(conn, None);
    }

    /// It is gone, or could not be started: then there is a `fault`.
    pub(crate) fn child_lost(&mut self, conn: ConnId, fault: Option<Fault>) {
        let id = self.channel_of_child(conn);
        let open = id.and_then(|id| self.channels.table.get(id)).is_some_and(Channel::is_open);
        let trouble = match fault {
            Some(fault) if !open => Trouble::Unstarted(fault),
            _ => Trouble::Exited,
        };
        if fault.is_some() {
            // The frontend knows that it is gone.
            self.forget_child(conn);
        }
        match id {
            Some(id) => self.channel_failed(id, &trouble),
            None => self.close(conn, Closing::Abort),
        }
    }

    /// Takes the connection out of the tables.
    pub(crate) fn forget_child(&mut self, conn: ConnId) {
        if self.conns.get_mut(conn).is_some_and(|slot| slot.child().is_some()) {
            self.conns.remove(conn);
            self.counters.processes.sub(1);
        }
    }

    /// Closes a connection that was not asked to close by its channel: the frontend, or the end of everything, did.
    pub(crate) fn child_closed(&mut self, conn: ConnId) {
        let id = self.channel_of_child(conn);
        self.forget_child(conn);
        if let Some(id) = id {
            self.end_channel(id, &Trouble::Exited, Closing::Abort);
        }
    }

    /// The child takes nothing on its standard input.
    pub(crate) fn child_stalled(&mut self, conn: ConnId) {
        match self.channel_of_child(conn) {
            Some(id) => self.channel_failed(id, &Trouble::Late("take a request")),
            None => self.close(conn, Closing::Abort),
        }
    }

    pub(super) fn end_child(&mut self, conn: ConnId, how: Closing) {
        match how {
            // What was said last may be worth hearing to it.
            Closing::Finish => self.close_after_flush(conn),
            Closing::Abort => self.close(conn, Closing::Abort),
        }
    }

    /// The channel of a child, as long as there is one.
    fn channel_of_child(&mut self, conn: ConnId) -> Option<ChannelId> {
        let id = self.conns.get_mut(conn)?.child()?.channel;
        self.channels.table.get(id).map(|_| id)
    }

    /// Writes a message to a child.
    pub(super) fn write_to_child(&mut self, conn: ConnId, message: &[u8]) {
        if let Some(slot) = self.conns.get_mut(conn) {
            slot.outbox.write(|out| crate::line::write(out, message));
            self.flush(conn);
        }
    }
}
