//! Unix sockets: connecting, sending and receiving with and without descriptors.
//!
//! All sockets made here close on exec, and no call here raises SIGPIPE. Calls that a signal
//! interrupts start again, [`accept`] excepted.

use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::{checked, uninterrupted};

/// Longest path a unix socket can have, in bytes.
pub const MAX_PATH: usize = 107;

/// Whether a call may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// As the socket is: blocking, up to the socket's timeouts, unless it was made non-blocking.
    AsSet,
    /// Never: `WouldBlock` instead.
    Never,
}

impl Wait {
    fn flag(self) -> libc::c_int {
        match self {
            Self::AsSet => 0,
            Self::Never => libc::MSG_DONTWAIT,
        }
    }
}

fn pair(kind: libc::c_int) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    let kind = kind | libc::SOCK_CLOEXEC;
    // SAFETY: `ends` has room for the two descriptors.
    checked(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
    // SAFETY: socketpair succeeded, so both are open and nobody else's.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Two connected sockets that keep the borders of messages: a control conversation.
pub fn seqpacket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    pair(libc::SOCK_SEQPACKET)
}

/// Two connected stream sockets.
pub fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    pair(libc::SOCK_STREAM)
}

/// The address of a path, and its length.
///
/// # Errors
/// `InvalidInput` for a path that is empty, too long or holds a NUL byte; none is ever cut.
pub(crate) fn address(path: &[u8]) -> io::Result<(libc::sockaddr_un, libc::socklen_t)> {
    if path.is_empty() || path.len() > MAX_PATH || path.contains(&0) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a socket's path has 1 to {MAX_PATH} bytes and no NUL"),
        ));
    }
    // SAFETY: all-zero is a valid sockaddr_un.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, &from) in address.sun_path.iter_mut().zip(path) {
        *to = from as libc::c_char;
    }
    let len = mem::offset_of!(libc::sockaddr_un, sun_path) + path.len() + 1;
    Ok((address, len as libc::socklen_t))
}

pub(crate) fn unix_stream(flags: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags;
    // SAFETY: touches no memory.
    let fd = checked(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    // SAFETY: socket succeeded, so it is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Connects to the stream socket at `path`. Never waits; the socket it returns blocks or not as
/// asked.
///
/// # Errors
/// `WouldBlock` when the listener's backlog is full, `NotFound` when there is no such path,
/// `ConnectionRefused` when nobody listens there.
pub fn connect_unix(path: &[u8], blocking: bool) -> io::Result<OwnedFd> {
    let (address, len) = address(path)?;
    let socket = unix_stream(libc::SOCK_NONBLOCK)?;
    uninterrupted(|| {
        // SAFETY: `address` is a sockaddr_un of which `len` bytes count.
        checked(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), len) })
    })?;
    if blocking {
        // SAFETY: sets flags of a socket we just made, whose only one is O_NONBLOCK.
        checked(unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, 0) })?;
    }
    Ok(socket)
}

/// Takes the next connection; blocks as the listener is set. The connection blocks.
///
/// # Errors
/// `Interrupted` when a signal came; `EMFILE` and its like when there is no room for one more:
/// pause then, the connection stays queued.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: no address is asked for.
    let fd = checked(unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_CLOEXEC,
        )
    })?;
    // SAFETY: accept4 succeeded, so it is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Most descriptors taken from one message; the surplus is closed.
const MAX_PASSED: usize = 8;

/// Room for a control message of [`MAX_PASSED`] descriptors, aligned as cmsghdr is.
type ControlBuffer = [u64; 8];
const _: () = assert!(mem::size_of::<ControlBuffer>() >= 16 + MAX_PASSED * 4 + 8);
const _: () = assert!(mem::align_of::<ControlBuffer>() >= mem::align_of::<libc::cmsghdr>());

/// Sends what `bufs` hold, and with it `pass` where given: the receiver gets a duplicate of that
/// descriptor. Returns how many bytes went; on a stream that may be fewer than all, and `pass`
/// has gone with the first of them.
pub fn send(
    socket: BorrowedFd<'_>,
    bufs: &[IoSlice<'_>],
    pass: Option<BorrowedFd<'_>>,
    wait: Wait,
) -> io::Result<usize> {
    let mut control: ControlBuffer = Default::default();
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    // IoSlice is documented to have the layout of iovec.
    message.msg_iov = bufs.as_ptr().cast_mut().cast();
    message.msg_iovlen = bufs.len() as _;
    if let Some(pass) = pass {
        let size = mem::size_of::<RawFd>() as u32;
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE and CMSG_LEN only compute; the buffer is aligned for a cmsghdr and
        // has room for one with a descriptor, so CMSG_FIRSTHDR and CMSG_DATA point into it.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(size) as _;
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size) as _;
            libc::CMSG_DATA(header)
                .cast::<RawFd>()
                .write_unaligned(pass.as_raw_fd());
        }
    }
    let flags = libc::MSG_NOSIGNAL | wait.flag();
    uninterrupted(|| {
        // SAFETY: `message` refers to `bufs` and `control`, which outlive the call and are only
        // read by it.
        checked(unsafe { libc::sendmsg(socket.as_raw_fd(), &message, flags) })
    })
    .map(|sent| sent as usize)
}

fn receive(socket: BorrowedFd<'_>, into: &mut [u8], flags: libc::c_int) -> io::Result<usize> {
    uninterrupted(|| {
        // SAFETY: `into` is writable for its length.
        checked(unsafe {
            libc::recv(
                socket.as_raw_fd(),
                into.as_mut_ptr().cast(),
                into.len(),
                flags,
            )
        })
    })
    .map(|received| received as usize)
}

/// Receives up to `into.len()` bytes; 0 is the end. Descriptors that came along are closed.
pub fn recv(socket: BorrowedFd<'_>, into: &mut [u8], wait: Wait) -> io::Result<usize> {
    receive(socket, into, wait.flag())
}

/// As [`recv`], leaving what it returns to be received again.
pub fn peek(socket: BorrowedFd<'_>, into: &mut [u8], wait: Wait) -> io::Result<usize> {
    receive(socket, into, wait.flag() | libc::MSG_PEEK)
}

/// What [`recv_with_fd`] got.
#[derive(Debug)]
pub struct Received {
    /// Bytes; 0 is the end.
    pub len: usize,
    /// The first descriptor that came along.
    pub fd: Option<OwnedFd>,
    /// The packet was longer than the buffer, and its rest is lost. Never so on a stream.
    pub truncated: bool,
}

/// Receives bytes and the descriptor that was sent with them. Surplus descriptors are closed;
/// the one taken closes on exec.
pub fn recv_with_fd(socket: BorrowedFd<'_>, into: &mut [u8], wait: Wait) -> io::Result<Received> {
    let mut control: ControlBuffer = Default::default();
    let mut buffer = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &mut buffer;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    let flags = libc::MSG_CMSG_CLOEXEC | wait.flag();
    let len = uninterrupted(|| {
        message.msg_controllen = mem::size_of::<ControlBuffer>() as _;
        // SAFETY: `message` refers to `into` and `control`, writable for the stated lengths.
        checked(unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, flags) })
    })? as usize;
    let mut fd = None;
    // SAFETY: the kernel has filled in msg_controllen bytes of `control`; the CMSG functions walk
    // no farther, and each payload holds as many descriptors as its length says. Those are open,
    // new, and nobody else's: dropping an OwnedFd closes it.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                for i in 0..bytes / mem::size_of::<RawFd>() {
                    let got = OwnedFd::from_raw_fd(data.add(i).read_unaligned());
                    fd.get_or_insert(got);
                }
            }
            header = libc::CMSG_NXTHDR(&message, header);
        }
    }
    Ok(Received {
        len,
        fd,
        truncated: message.msg_flags & libc::MSG_TRUNC != 0,
    })
}

fn set<T>(socket: BorrowedFd<'_>, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: `value` is readable for its size, which is what the option takes.
    checked(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (value as *const T).cast(),
            mem::size_of::<T>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

fn set_timeout(
    socket: BorrowedFd<'_>,
    option: libc::c_int,
    limit: Option<Duration>,
) -> io::Result<()> {
    // Zero means "no limit" to the kernel, so the shortest limit is a microsecond.
    let limit = limit.map_or(Duration::ZERO, |l| l.max(Duration::from_micros(1)));
    let value = libc::timeval {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_usec: limit.subsec_micros() as libc::suseconds_t,
    };
    set(socket, option, &value)
}

/// Limit of each blocking receive on the socket, and of accept on a listener; `WouldBlock` when
/// it passes. `None` is no limit.
pub fn set_receive_timeout(socket: BorrowedFd<'_>, limit: Option<Duration>) -> io::Result<()> {
    set_timeout(socket, libc::SO_RCVTIMEO, limit)
}

/// Limit of each blocking send on the socket; `WouldBlock` when it passes. `None` is no limit.
pub fn set_send_timeout(socket: BorrowedFd<'_>, limit: Option<Duration>) -> io::Result<()> {
    set_timeout(socket, libc::SO_SNDTIMEO, limit)
}

/// Asks for buffers of so many bytes; `None` leaves the system's size. The kernel grants what it
/// allows.
pub fn set_buffers(
    socket: BorrowedFd<'_>,
    send: Option<u32>,
    receive: Option<u32>,
) -> io::Result<()> {
    for (option, size) in [(libc::SO_SNDBUF, send), (libc::SO_RCVBUF, receive)] {
        if let Some(size) = size {
            let size = libc::c_int::try_from(size).unwrap_or(libc::c_int::MAX);
            set(socket, option, &size)?;
        }
    }
    Ok(())
}

/// Who connected, as the kernel noted it then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// 0 where the peer's process is not in sight of this one.
    pub pid: u32,
    pub uid: u32,
    pub gid: u32,
}

/// Whom the kernel saw connect (or make the pair, or listen, seen from the other side).
pub fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let mut peer = MaybeUninit::<libc::ucred>::uninit();
    let mut len = mem::size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `peer` is writable for `len` bytes.
    checked(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            peer.as_mut_ptr().cast(),
            &mut len,
        )
    })?;
    if (len as usize) < mem::size_of::<libc::ucred>() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: the kernel has filled in all of it.
    let peer = unsafe { peer.assume_init() };
    Ok(Peer {
        pid: peer.pid.unsigned_abs(),
        uid: peer.uid,
        gid: peer.gid,
    })
}

/// Whether the other end of a connected unix stream socket has yet to receive something that was
/// sent to it.
pub fn has_unreceived(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut outstanding: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (SIOCOUTQ) writes one integer through the pointer.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &mut outstanding) })?;
    Ok(outstanding > 0)
}

/// Bytes that can be sent now without a wait, at least; 0 where the other end is behind. The kernel
/// counts what it needs to hold them, up to twice as much.
pub fn room_to_send(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut outstanding: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (SIOCOUTQ) writes one integer through the pointer.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &mut outstanding) })?;
    let mut buffer: libc::c_int = 0;
    let mut size = std::mem::size_of_val(&buffer) as libc::socklen_t;
    // SAFETY: writes at most `size` bytes through the pointer, which is one integer.
    checked(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDBUF,
            std::ptr::from_mut(&mut buffer).cast(),
            &mut size,
        )
    })?;
    let half = usize::try_from(buffer / 2).unwrap_or(0);
    Ok(half.saturating_sub(usize::try_from(outstanding).unwrap_or(usize::MAX)))
}

/// Which directions to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Read,
    Write,
    Both,
}

/// Closes a direction of the connection for all who share the socket.
pub fn shutdown(socket: BorrowedFd<'_>, direction: Direction) -> io::Result<()> {
    let how = match direction {
        Direction::Read => libc::SHUT_RD,
        Direction::Write => libc::SHUT_WR,
        Direction::Both => libc::SHUT_RDWR,
    };
    // SAFETY: touches no memory.
    checked(unsafe { libc::shutdown(socket.as_raw_fd(), how) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;
    use crate::descriptor;

    #[test]
    fn packets_keep_their_borders_and_a_cut_one_is_told() {
        let (a, b) = seqpacket_pair().unwrap();
        for text in [&b"one"[..], b"three"] {
            let sent = send(a.as_fd(), &[IoSlice::new(text)], None, Wait::AsSet).unwrap();
            assert_eq!(sent, text.len());
        }
        let mut buffer = [0; 4];
        assert_eq!(recv(b.as_fd(), &mut buffer, Wait::AsSet).unwrap(), 3);
        let got = recv_with_fd(b.as_fd(), &mut buffer, Wait::AsSet).unwrap();
        assert!(got.truncated && got.len == 4 && got.fd.is_none());
        drop(a);
        let end = recv_with_fd(b.as_fd(), &mut buffer, Wait::AsSet).unwrap();
        assert_eq!((end.len, end.truncated), (0, false));
    }

    #[test]
    fn a_descriptor_travels_with_the_bytes_and_closes_on_exec() {
        let (a, b) = stream_pair().unwrap();
        let (reader, writer) = descriptor::pipe().unwrap();
        let text = [IoSlice::new(b"fi"), IoSlice::new(b"le")];
        send(a.as_fd(), &text, Some(writer.as_fd()), Wait::AsSet).unwrap();
        drop(writer);
        let mut buffer = [0; 16];
        let got = recv_with_fd(b.as_fd(), &mut buffer, Wait::AsSet).unwrap();
        assert_eq!((got.len, &buffer[..4]), (4, &b"file"[..]));
        let passed = got.fd.unwrap();
        // SAFETY: F_GETFD touches no memory.
        let flags = unsafe { libc::fcntl(passed.as_raw_fd(), libc::F_GETFD) };
        assert_eq!(flags, libc::FD_CLOEXEC);
        std::fs::File::from(passed).write_all(b"x").unwrap();
        let mut text = String::new();
        std::fs::File::from(reader)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn what_is_peeked_is_received_again() {
        let (a, b) = stream_pair().unwrap();
        let nothing = peek(b.as_fd(), &mut [0], Wait::Never).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        send(a.as_fd(), &[IoSlice::new(b"ab")], None, Wait::AsSet).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(peek(b.as_fd(), &mut buffer, Wait::AsSet).unwrap(), 2);
        assert_eq!(recv(b.as_fd(), &mut buffer, Wait::Never).unwrap(), 2);
    }

    #[test]
    fn what_the_other_end_has_not_received_is_outstanding() {
        let (a, b) = stream_pair().unwrap();
        assert!(!has_unreceived(a.as_fd()).unwrap());
        send(a.as_fd(), &[IoSlice::new(b"ab")], None, Wait::AsSet).unwrap();
        peek(b.as_fd(), &mut [0; 2], Wait::Never).unwrap();
        assert!(has_unreceived(a.as_fd()).unwrap());
        recv(b.as_fd(), &mut [0; 2], Wait::Never).unwrap();
        assert!(!has_unreceived(a.as_fd()).unwrap());
    }

    #[test]
    fn a_timeout_ends_a_wait() {
        let (a, _b) = stream_pair().unwrap();
        set_receive_timeout(a.as_fd(), Some(Duration::from_millis(5))).unwrap();
        let late = recv(a.as_fd(), &mut [0], Wait::AsSet).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::WouldBlock);
        set_send_timeout(a.as_fd(), Some(Duration::from_millis(5))).unwrap();
        let block = vec![0; 1 << 20];
        let full = loop {
            match send(a.as_fd(), &[IoSlice::new(&block)], None, Wait::AsSet) {
                Ok(_) => {}
                Err(error) => break error.kind(),
            }
        };
        assert_eq!(full, io::ErrorKind::WouldBlock);
    }

    #[test]
    fn the_peer_of_a_pair_is_this_process() {
        let (a, _b) = stream_pair().unwrap();
        let peer = peer_credentials(a.as_fd()).unwrap();
        assert_eq!(
            (peer.pid, peer.uid),
            (std::process::id(), crate::accounts::effective_uid())
        );
    }

    #[test]
    fn shutdown_of_writing_is_the_end_for_the_reader() {
        let (a, b) = stream_pair().unwrap();
        shutdown(a.as_fd(), Direction::Write).unwrap();
        assert_eq!(recv(b.as_fd(), &mut [0], Wait::AsSet).unwrap(), 0);
    }

    #[test]
    fn no_path_is_ever_cut() {
        assert!(address(&[b'x'; MAX_PATH]).is_ok());
        for path in [&b""[..], b"a\0b", &[b'x'; MAX_PATH + 1]] {
            assert!(connect_unix(path, true).is_err());
        }
    }
}
