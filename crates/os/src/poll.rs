//! Waiting for several descriptors at once, with a limit.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// One descriptor and the events to wait for; afterwards, the events that happened.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct Wanted<'fd> {
    raw: libc::pollfd,
    _lent: std::marker::PhantomData<BorrowedFd<'fd>>,
}

impl<'fd> Wanted<'fd> {
    fn new(fd: BorrowedFd<'fd>, events: libc::c_short) -> Self {
        Self {
            raw: libc::pollfd {
                fd: fd.as_raw_fd(),
                events,
                revents: 0,
            },
            _lent: std::marker::PhantomData,
        }
    }

    /// Awaits something to read, a connection to accept, or the other end's going.
    pub fn readable(fd: BorrowedFd<'fd>) -> Self {
        Self::new(fd, libc::POLLIN)
    }

    /// Awaits room to write.
    pub fn writable(fd: BorrowedFd<'fd>) -> Self {
        Self::new(fd, libc::POLLOUT)
    }

    /// Awaits either.
    pub fn both(fd: BorrowedFd<'fd>) -> Self {
        Self::new(fd, libc::POLLIN | libc::POLLOUT)
    }

    /// Awaits only that the other end closes for good or fails.
    pub fn gone(fd: BorrowedFd<'fd>) -> Self {
        Self::new(fd, libc::POLLRDHUP)
    }

    /// Awaits nothing but a failure of the descriptor, which is told in any case.
    pub fn failed(fd: BorrowedFd<'fd>) -> Self {
        Self::new(fd, 0)
    }

    /// Awaits, besides, that the other end closes its side.
    pub fn or_gone(mut self) -> Self {
        self.raw.events |= libc::POLLRDHUP;
        self
    }

    /// The connection is closed in both directions, or has failed.
    pub fn has_failed(&self) -> bool {
        self.raw.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0
    }

    /// A read will not block: data, end of input, or an error.
    pub fn can_read(&self) -> bool {
        self.raw.revents & (libc::POLLIN | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0
    }

    /// A write will not block: room, or an error.
    pub fn can_write(&self) -> bool {
        self.raw.revents & (libc::POLLOUT | libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0
    }

    /// The other end has closed its side or the descriptor has failed; there may be data left.
    pub fn has_hung_up(&self) -> bool {
        let gone = libc::POLLHUP | libc::POLLRDHUP | libc::POLLERR | libc::POLLNVAL;
        self.raw.revents & gone != 0
    }

    /// Anything at all happened.
    pub fn is_ready(&self) -> bool {
        self.raw.revents != 0
    }
}

/// Waits until one of `wanted` is ready or `limit` has passed; `None` is no limit. Returns how
/// many are ready: 0 when the limit passed.
///
/// The limit is rounded up to milliseconds, so that a timer is never found unexpired after it.
///
/// # Errors
/// `Interrupted` too: the caller may have to look at what its signal handler left.
pub fn poll(wanted: &mut [Wanted<'_>], limit: Option<Duration>) -> io::Result<usize> {
    let count = wanted.len() as libc::nfds_t;
    // SAFETY: `Wanted` is a transparent `pollfd`; the slice is exclusive and of this length.
    let ready = unsafe { libc::poll(wanted.as_mut_ptr().cast(), count, milliseconds(limit)) };
    crate::checked(ready).map(|ready| ready as usize)
}

/// A limit for the kernel, rounded up.
pub(crate) fn milliseconds(limit: Option<Duration>) -> libc::c_int {
    limit.map_or(-1, |limit| {
        let up = limit.as_millis() + u128::from(limit.subsec_nanos() % 1_000_000 != 0);
        libc::c_int::try_from(up).unwrap_or(libc::c_int::MAX)
    })
}

/// [`poll`] that starts again when a signal interrupts it, with what is left of the limit.
pub fn poll_uninterrupted(wanted: &mut [Wanted<'_>], limit: Option<Duration>) -> io::Result<usize> {
    let end = limit.map(|limit| crate::clock::monotonic() + limit);
    crate::uninterrupted(|| {
        let left = end.map(|end| end.saturating_sub(crate::clock::monotonic()));
        poll(wanted, left)
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::socket;

    #[test]
    fn poll_tells_what_is_ready_and_keeps_its_limit() {
        let (a, b) = socket::seqpacket_pair().unwrap();
        let mut wanted = [Wanted::readable(a.as_fd()), Wanted::writable(b.as_fd())];
        assert_eq!(poll(&mut wanted, None).unwrap(), 1);
        assert!(!wanted[0].can_read() && wanted[1].can_write());
        let before = crate::clock::monotonic();
        let limit = Duration::from_micros(20_100);
        assert_eq!(poll(&mut wanted[..1], Some(limit)).unwrap(), 0);
        assert!(crate::clock::monotonic() - before >= limit);
        drop(b);
        let mut wanted = [Wanted::gone(a.as_fd())];
        assert_eq!(poll(&mut wanted, None).unwrap(), 1);
        assert!(wanted[0].has_hung_up() && wanted[0].can_read());
    }
}
