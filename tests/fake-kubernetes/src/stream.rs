//! The body of a watch: events as lines in chunks, until its time is over or a fault strikes.

use crate::faults::{Chunks, Disturbance, Running};
use crate::front::Connection;
use crate::server::{Shared, World};
use crate::watch::{Cursor, Event};
use bytes::Bytes;
use hyper::body::Frame;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The last bookmark comes so long before the end.
const FAREWELL: Duration = Duration::from_millis(1500);

/// A watch that is being served.
pub(crate) struct Stream {
    cursor: Cursor,
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    pulse: watch::Receiver<u64>,
    id: u64,
    /// Ready to be sent.
    chunks: VecDeque<Bytes>,
    next_bookmark: Instant,
    farewell: Option<Instant>,
    end: Instant,
    fate: Fate,
}

/// What comes after the chunks that are ready.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    More,
    End,
    /// The next line is not sent whole.
    Cutting,
    Cut,
    Reset,
}

impl Stream {
    pub(crate) fn new(
        shared: Arc<Shared>,
        connection: Arc<Connection>,
        resource: String,
        cursor: Cursor,
        timeout: Option<u64>,
    ) -> Self {
        let now = Instant::now();
        let timings = shared.timings;
        let lifetime = timeout.map_or(timings.watch_lifetime, Duration::from_secs);
        let id = shared.lock().register(Running { resource, disturbances: Vec::new() });
        shared.wake();
        Self {
            cursor,
            pulse: shared.pulse.subscribe(),
            connection,
            id,
            chunks: VecDeque::new(),
            next_bookmark: now + timings.bookmark_every,
            farewell: Some(now + lifetime.saturating_sub(FAREWELL)),
            end: now + lifetime,
            fate: Fate::More,
            shared,
        }
    }

    /// The next frame of the body; `None` at its regular end, an error where the connection is to break.
    pub(crate) async fn next(&mut self) -> Option<io::Result<Frame<Bytes>>> {
        loop {
            if let Some(chunk) = self.chunks.pop_front() {
                return Some(Ok(Frame::data(chunk)));
            }
            match self.fate {
                Fate::More | Fate::Cutting => {}
                Fate::End => return None,
                Fate::Cut => {
                    // Give the half line time to leave before the connection goes.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    return Some(Err(io::Error::other("cut on purpose")));
                }
                Fate::Reset => {
                    self.connection.reset_when_closed();
                    return Some(Err(io::Error::other("reset on purpose")));
                }
            }
            self.pulse.borrow_and_update();
            let events = self.turn();
            self.pack(&events);
            if self.chunks.is_empty() && matches!(self.fate, Fate::More | Fate::Cutting) {
                self.wait().await;
            }
        }
    }

    /// What is to be said now.
    fn turn(&mut self) -> Vec<Event> {
        let shared = Arc::clone(&self.shared);
        let mut world = shared.lock();
        let World { cluster, plan, .. } = &mut *world;
        if plan.hanging {
            return Vec::new();
        }
        let mut events = self.cursor.advance(cluster);
        let disturbances =
            plan.running.get_mut(&self.id).map(|running| std::mem::take(&mut running.disturbances));
        for disturbance in disturbances.into_iter().flatten() {
            match disturbance {
                Disturbance::Cut => self.fate = Fate::Cutting,
                Disturbance::Reset => self.fate = Fate::Reset,
                Disturbance::End => self.fate = Fate::End,
                Disturbance::Say(event) => events.push(event),
                Disturbance::Bookmark => events.extend(self.cursor.bookmark()),
            }
        }
        let now = Instant::now();
        let farewell = self.farewell.take_if(|farewell| *farewell <= now).is_some();
        if farewell || self.next_bookmark <= now {
            self.next_bookmark = now + self.shared.timings.bookmark_every;
            events.extend(self.cursor.bookmark());
        }
        if self.fate == Fate::More && (self.cursor.ended || self.end <= now) {
            self.fate = Fate::End;
        }
        events
    }

    /// Makes chunks of events, as the faults in force say.
    fn pack(&mut self, events: &[Event]) {
        let mut lines: Vec<String> = events.iter().map(Event::line).collect();
        if self.fate == Fate::Cutting && !lines.is_empty() {
            lines.truncate(1);
            for line in &mut lines {
                let half = (0..=line.len() / 2).rev().find(|place| line.is_char_boundary(*place));
                line.truncate(half.unwrap_or_default());
            }
            self.fate = Fate::Cut;
        }
        let chunks = self.shared.lock().plan.chunks;
        match chunks {
            Chunks::Whole => self.chunks.extend(lines.into_iter().map(Bytes::from)),
            Chunks::Joined if lines.is_empty() => {}
            Chunks::Joined => self.chunks.push_back(lines.concat().into()),
            Chunks::Bytes(size) => {
                let all = Bytes::from(lines.concat());
                let starts = (0..all.len()).step_by(size.max(1));
                self.chunks.extend(starts.map(|start| all.slice(start..all.len().min(start + size.max(1)))));
            }
        }
    }

    async fn wait(&mut self) {
        let hanging = self.shared.lock().plan.hanging;
        let mut timer = self.next_bookmark.min(self.end);
        timer = self.farewell.map_or(timer, |farewell| timer.min(farewell));
        tokio::select! {
            _ = self.pulse.changed() => {}
            () = sleep_until(timer), if !hanging => {}
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.lock().plan.running.remove(&self.id);
        self.shared.wake();
    }
}
