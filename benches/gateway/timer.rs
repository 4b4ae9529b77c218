//! A timer among the sockets of a poll.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::fd::OwnedFd;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Expires over and over; closing it ends its registration.
#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

impl Timer {
    /// Starts at once.
    pub(crate) fn every(step: Duration) -> io::Result<Self> {
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        let spec = Timespec { tv_sec: step.as_secs().cast_signed(), tv_nsec: i64::from(step.subsec_nanos()) };
        let spec = Itimerspec { it_interval: spec, it_value: spec };
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec)?;
        Ok(Self(timer))
    }

    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.0.as_raw_fd()), token, Interest::READABLE)
    }

    /// How often it has expired since the last time.
    pub(crate) fn expired(&self) -> io::Result<u64> {
        let mut count = [0; 8];
        match rustix::io::read(&self.0, &mut count) {
            Ok(_) => Ok(u64::from_ne_bytes(count)),
            Err(rustix::io::Errno::AGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}
