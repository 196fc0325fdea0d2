//! How many connections wait at a listening unix socket.
//!
//! The supervisor needs the number for status reports. The kernel reports it over netlink, as for
//! `ss -xl`. If it does not (a missing kernel module, a container's filter), the number is unknown.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::checked;
use crate::socket::{self, Wait};

/// `SOCK_DIAG_BY_FAMILY`, `UDIAG_SHOW_RQLEN` and `UNIX_DIAG_RQLEN` of <linux/sock_diag.h> and
/// <linux/unix_diag.h>.
const BY_FAMILY: u16 = 20;
const SHOW_QUEUE: u32 = 0x10;
const QUEUE: u16 = 4;
/// Bytes of an nlmsghdr, a unix_diag_req, a unix_diag_msg and an rtattr.
const HEADER: usize = 16;
const REQUEST: usize = 24;
const ANSWER: usize = 16;
const ATTRIBUTE: usize = 4;

/// Asks the kernel about sockets.
#[derive(Debug)]
pub struct Inquiry(OwnedFd);

impl Inquiry {
    /// # Errors
    /// Where the kernel offers no such thing.
    pub fn begin() -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        // SAFETY: touches no memory.
        let fd = checked(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_SOCK_DIAG) })?;
        // SAFETY: socket succeeded, so it is open and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Connections that wait to be accepted at `listener`, a unix socket. `None` where the kernel
    /// does not say.
    pub fn waiting(&self, listener: BorrowedFd<'_>) -> Option<u32> {
        let inode = inode(listener).ok()?;
        let mut message = Vec::with_capacity(HEADER + REQUEST);
        message.extend(((HEADER + REQUEST) as u32).to_ne_bytes());
        message.extend(BY_FAMILY.to_ne_bytes());
        message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
        // Sequence and sender: one question, one answer.
        message.extend([0; 8]);
        message.extend([libc::AF_UNIX as u8, 0, 0, 0]);
        // Whatever its state; by inode, and no cookie.
        message.extend(u32::MAX.to_ne_bytes());
        message.extend(inode.to_ne_bytes());
        message.extend(SHOW_QUEUE.to_ne_bytes());
        message.extend([0xff; 8]);
        let own = std::os::fd::AsFd::as_fd(&self.0);
        socket::send(own, &[io::IoSlice::new(&message)], None, Wait::Never).ok()?;
        // The kernel has answered by the time send returns.
        let mut answer = [0; 1024];
        let length = socket::recv(own, &mut answer, Wait::Never).ok()?;
        queue(&answer[..length])
    }
}

fn inode(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `stat` is writable.
    checked(unsafe { libc::fstat(socket.as_raw_fd(), stat.as_mut_ptr()) })?;
    // SAFETY: the call succeeded and has filled it in.
    let inode = unsafe { stat.assume_init() }.st_ino;
    u32::try_from(inode).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Reads the length of the queue from an answer.
fn queue(answer: &[u8]) -> Option<u32> {
    let word = |at: usize| Some(u16::from_ne_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    if word(4)? != BY_FAMILY {
        return None;
    }
    let mut at = HEADER + ANSWER;
    loop {
        let (length, kind) = (usize::from(word(at)?), word(at + 2)?);
        if kind == QUEUE {
            let value = answer.get(at + ATTRIBUTE..at + ATTRIBUTE + 4)?;
            return Some(u32::from_ne_bytes(value.try_into().ok()?));
        }
        if length < ATTRIBUTE {
            return None;
        }
        at += length.next_multiple_of(4);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn those_that_wait_are_counted_where_the_kernel_counts_them() {
        let path = std::env::temp_dir().join(format!("os-{}-backlog", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let Some(none) = Inquiry::begin()
            .ok()
            .and_then(|i| i.waiting(listener.as_fd()))
        else {
            std::fs::remove_file(&path).unwrap();
            return;
        };
        assert_eq!(none, 0);
        let _clients = [(); 3].map(|()| UnixStream::connect(&path).unwrap());
        let waiting = |of: BorrowedFd<'_>| Inquiry::begin().unwrap().waiting(of);
        assert_eq!(waiting(listener.as_fd()), Some(3));
        let _one = listener.accept().unwrap();
        assert_eq!(waiting(listener.as_fd()), Some(2));
        std::fs::remove_file(&path).unwrap();
        let (reader, _writer) = crate::descriptor::pipe().unwrap();
        assert_eq!(waiting(reader.as_fd()), None);
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_none() {
        for length in 0..80 {
            for byte in [0, 4, 20, 0xff] {
                assert_eq!(queue(&vec![byte; length]), None);
            }
        }
    }
}
