//! Writing to a descriptor that others use as well, without waiting and without changing its flags:
//! those belong to the open file description, hence to everybody who shares it.
//!
//! Used by: the supervisor, for logs that it cannot open again for itself; workers, for a standard
//! error that they cannot open again.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use crate::poll::{poll, Wanted};
use crate::{checked, uninterrupted};

/// Bytes that a pipe with room takes whole, without mixing them with those of other writers:
/// `PIPE_BUF`.
pub const ATOMIC: usize = 4096;

/// What decides how a descriptor is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Pipe,
    Socket,
    /// A file, a terminal and the like.
    Other,
}

/// What `fd` is.
pub fn kind(fd: BorrowedFd<'_>) -> Kind {
    match status(fd).map(|status| status.st_mode & libc::S_IFMT) {
        Ok(libc::S_IFIFO) => Kind::Pipe,
        Ok(libc::S_IFSOCK) => Kind::Socket,
        _ => Kind::Other,
    }
}

/// Whether both are the same pipe, file or socket, perhaps opened more than once.
pub fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    match (status(one), status(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}

fn status(fd: BorrowedFd<'_>) -> io::Result<libc::stat> {
    let mut status = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `status` is writable for what fstat fills in.
    checked(unsafe { libc::fstat(fd.as_raw_fd(), status.as_mut_ptr()) })?;
    // SAFETY: filled in, since the call succeeded.
    Ok(unsafe { status.assume_init() })
}

/// Writes as many of `bytes` as there is room for now.
///
/// A pipe is asked with `RWF_NOWAIT`, which Linux has for pipes since 6.4. On an older kernel, and
/// for a terminal, there is only poll before the write: if another process takes the room in
/// between, the write waits until the reader makes more.
///
/// # Errors
/// `WouldBlock` where there is no room, and those of write(2).
pub fn write_now(fd: BorrowedFd<'_>, kind: Kind, bytes: &[u8]) -> io::Result<usize> {
    match kind {
        Kind::Socket => uninterrupted(|| {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            let (start, length) = (bytes.as_ptr().cast(), bytes.len());
            // SAFETY: `bytes` is readable for its length.
            checked(unsafe { libc::send(fd.as_raw_fd(), start, length, flags) })
        })
        .map(|written| written as usize),
        Kind::Pipe => match write_without_waiting(fd, bytes) {
            Err(error) if is_unsupported(&error) => write_after_poll(fd, bytes),
            done => done,
        },
        Kind::Other => write_after_poll(fd, bytes),
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    let unsupported = [libc::EOPNOTSUPP, libc::ENOSYS, libc::EINVAL];
    error
        .raw_os_error()
        .is_some_and(|code| unsupported.contains(&code))
}

fn write_without_waiting(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let piece = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    uninterrupted(|| {
        // SAFETY: one element, which describes `bytes`; the kernel only reads it. The offset of -1
        // is the place where write(2) would write.
        checked(unsafe { libc::pwritev2(fd.as_raw_fd(), &piece, 1, -1, libc::RWF_NOWAIT) })
    })
    .map(|written| written as usize)
}

fn write_after_poll(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    uninterrupted(|| {
        if poll(&mut [Wanted::writable(fd)], Some(Duration::ZERO))? == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = bytes.len().min(ATOMIC);
        // SAFETY: `bytes` is readable for that length.
        checked(unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), length) })
    })
    .map(|written| written as usize)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;
    use crate::clock;

    #[test]
    fn a_full_pipe_or_socket_is_not_waited_for() {
        let (_reader, pipe) = crate::descriptor::pipe().unwrap();
        let (socket, _peer) = UnixStream::pair().unwrap();
        for (fd, expected) in [(pipe.as_fd(), Kind::Pipe), (socket.as_fd(), Kind::Socket)] {
            assert_eq!(kind(fd), expected);
            let full = loop {
                match write_now(fd, expected, &[b'x'; 3000]) {
                    Ok(written) => assert!(written > 0),
                    Err(error) => break error,
                }
            };
            assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        }
    }

    /// Where the kernel has no `RWF_NOWAIT` for pipes this cannot be had.
    #[test]
    fn writers_that_see_the_same_room_do_not_wait_for_each_other() {
        let (reader, pipe) = crate::descriptor::pipe().unwrap();
        let fd = pipe.as_fd();
        if write_without_waiting(fd, b"x").is_err_and(|error| is_unsupported(&error)) {
            return;
        }
        let mut reader = std::fs::File::from(reader);
        let (over, calls) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 2]);
        std::thread::scope(|scope| {
            for calls in &calls {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let _ = write_now(fd, Kind::Pipe, &[b'x'; ATOMIC]);
                        calls.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            // There is room for one of them, again and again: the other's call must end, too.
            let end = clock::monotonic() + Duration::from_secs(20);
            let mut is_well = true;
            for _ in 0..2000 {
                reader.read_exact(&mut [0; ATOMIC]).unwrap();
                for calls in &calls {
                    let before = calls.load(Ordering::Relaxed);
                    while is_well && calls.load(Ordering::Relaxed) < before + 2 {
                        std::thread::yield_now();
                        is_well = clock::monotonic() < end;
                    }
                }
            }
            over.store(true, Ordering::Relaxed);
            crate::descriptor::set_nonblocking(reader.as_fd()).unwrap();
            let _ = reader.read_to_end(&mut Vec::new());
            assert!(is_well, "a writer waits");
        });
    }

    #[test]
    fn one_pipe_is_the_same_however_it_was_opened() {
        let (reader, pipe) = crate::descriptor::pipe().unwrap();
        let again = crate::descriptor::reopen_for_appending(pipe.as_fd()).unwrap();
        assert!(is_same(pipe.as_fd(), again.as_fd()) && is_same(pipe.as_fd(), reader.as_fd()));
        assert!(!is_same(pipe.as_fd(), io::stderr().as_fd()));
    }
}
