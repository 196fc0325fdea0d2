//! Sets of descriptors that several threads wait on.
//!
//! The threads of a worker use them. Each event wakes one of the threads that wait on a set.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use crate::checked;
use crate::poll::milliseconds;

/// A set of descriptors. It closes on exec, and does not keep the descriptors open.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl Epoll {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        // SAFETY: touches no memory.
        let fd = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: epoll_create1 succeeded, so it is open and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Adds a descriptor that is reported as long as it is readable.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN, token)
    }

    /// The same for a descriptor that is also in sets of other processes: if several processes
    /// wait, not all of them are woken.
    pub fn add_shared(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let events = libc::EPOLLIN | libc::EPOLLEXCLUSIVE;
        self.control(libc::EPOLL_CTL_ADD, fd, events, token)
    }

    /// Adds a descriptor that is reported once, when it is readable or its peer is gone.
    pub fn add_once(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let events = libc::EPOLLIN | libc::EPOLLONESHOT;
        self.control(libc::EPOLL_CTL_ADD, fd, events, token)
    }

    /// Reports such a descriptor once more.
    pub fn once_more(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let events = libc::EPOLLIN | libc::EPOLLONESHOT;
        self.control(libc::EPOLL_CTL_MOD, fd, events, token)
    }

    /// Removes a descriptor.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    fn control(
        &self,
        operation: libc::c_int,
        fd: BorrowedFd<'_>,
        events: libc::c_int,
        token: u64,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: token,
        };
        // SAFETY: `event` is one epoll_event.
        checked(unsafe {
            libc::epoll_ctl(
                self.0.as_raw_fd(),
                operation,
                fd.as_raw_fd(),
                &raw mut event,
            )
        })
        .map(drop)
    }

    /// Waits for an event, for at most `limit`; `None` is no limit. Returns the token of the
    /// descriptor, or `None` if the limit passed.
    ///
    /// # Errors
    /// `Interrupted` when a signal came.
    pub fn wait(&self, limit: Option<Duration>) -> io::Result<Option<u64>> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: `event` is room for one.
        let count = checked(unsafe {
            libc::epoll_wait(self.0.as_raw_fd(), &raw mut event, 1, milliseconds(limit))
        })?;
        Ok((count > 0).then_some(event.u64))
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::os::fd::AsFd;

    use super::*;
    use crate::socket::{self, Wait};

    const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

    fn pair_with_something() -> (OwnedFd, OwnedFd) {
        let (a, b) = socket::stream_pair().unwrap();
        socket::send(a.as_fd(), &[IoSlice::new(b"x")], None, Wait::Never).unwrap();
        (a, b)
    }

    #[test]
    fn what_is_told_once_is_told_again_when_asked_for() {
        let epoll = Epoll::new().unwrap();
        let (_a, b) = pair_with_something();
        epoll.add_once(b.as_fd(), 7).unwrap();
        for _ in 0..2 {
            assert_eq!(epoll.wait(AT_ONCE).unwrap(), Some(7));
            assert_eq!(epoll.wait(AT_ONCE).unwrap(), None);
            epoll.once_more(b.as_fd(), 7).unwrap();
        }
        epoll.remove(b.as_fd()).unwrap();
        assert_eq!(epoll.wait(AT_ONCE).unwrap(), None);
    }

    #[test]
    fn what_is_told_for_as_long_as_it_lasts_is_told_to_each_who_asks() {
        let epoll = Epoll::new().unwrap();
        let (_a, b) = pair_with_something();
        epoll.add(b.as_fd(), 1).unwrap();
        let (_c, d) = pair_with_something();
        epoll.add_shared(d.as_fd(), 2).unwrap();
        for _ in 0..2 {
            let mut ready = [(); 2].map(|()| epoll.wait(AT_ONCE).unwrap());
            ready.sort();
            assert_eq!(ready, [Some(1), Some(2)]);
        }
    }

    #[test]
    fn the_end_of_the_other_side_is_reported() {
        let epoll = Epoll::new().unwrap();
        let (a, b) = socket::stream_pair().unwrap();
        epoll.add_once(b.as_fd(), 3).unwrap();
        assert_eq!(epoll.wait(AT_ONCE).unwrap(), None);
        drop(a);
        assert_eq!(epoll.wait(None).unwrap(), Some(3));
    }
}
