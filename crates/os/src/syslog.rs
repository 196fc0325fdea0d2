//! The system's log, where syslog(3) finds it, but without ever waiting for who reads it.

use std::cell::OnceCell;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::socket::{self, Wait};
use crate::{checked, uninterrupted};

/// Where the system's log listens.
pub const PATH: &[u8] = b"/dev/log";

/// A way to the system's log. It is made when the first record is sent, and again when the log's
/// own process was started anew.
#[derive(Debug)]
pub struct Syslog {
    path: Vec<u8>,
    socket: OnceCell<OwnedFd>,
}

impl Syslog {
    /// The log that listens at `path`.
    pub fn at(path: &[u8]) -> Self {
        Self {
            path: path.to_vec(),
            socket: OnceCell::new(),
        }
    }

    /// Sends one record.
    ///
    /// # Errors
    /// `WouldBlock` while the log takes no more: the descriptor tells when it does. Any other where
    /// there is nobody to take it.
    pub fn send(&self, record: &[u8]) -> io::Result<()> {
        let socket = match self.socket.get() {
            Some(socket) => socket.as_fd(),
            None => {
                let socket = unix_datagram()?;
                self.socket.get_or_init(|| socket).as_fd()
            }
        };
        let record = [IoSlice::new(record)];
        let sent = socket::send(socket, &record, None, Wait::Never);
        match sent {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                // Not connected yet, or to a process that has gone.
                self.connect(socket)?;
                socket::send(socket, &record, None, Wait::Never).map(drop)
            }
            sent => sent.map(drop),
        }
    }

    /// What becomes writable when the log takes records again.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.socket.get().map(AsFd::as_fd)
    }

    fn connect(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let (address, len) = socket::address(&self.path)?;
        uninterrupted(|| {
            // SAFETY: `address` is a sockaddr_un of which `len` bytes count.
            checked(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), len) })
        })?;
        Ok(())
    }
}

fn unix_datagram() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: touches no memory.
    let fd = checked(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    // SAFETY: socket succeeded, so it is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    /// No test waits longer for anything.
    const LIMIT: Duration = Duration::from_secs(20);

    fn reader(path: &Path) -> UnixDatagram {
        let reader = UnixDatagram::bind(path).unwrap();
        reader.set_read_timeout(Some(LIMIT)).unwrap();
        reader
    }

    /// Returns when the log's last reader has gone. A child that another test has forked holds the
    /// reader's descriptor until its exec, and what is sent before that is lost.
    fn wait_until_unread(log: &Syslog) {
        let start = crate::clock::monotonic();
        let gone = Err(io::ErrorKind::NotFound);
        while log.send(b"anybody?").map_err(|error| error.kind()) != gone {
            assert!(crate::clock::monotonic() - start < LIMIT);
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_log_may_be_missing_come_go_and_be_slow() {
        let path = std::env::temp_dir().join(format!("os-syslog-{}", std::process::id()));
        let log = Syslog::at(path.as_os_str().as_encoded_bytes());
        assert_eq!(
            log.send(b"early").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        let mut buffer = [0; 100];
        for record in [&b"first"[..], b"second"] {
            let reader = reader(&path);
            log.send(record).unwrap();
            let length = reader.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], record);
            std::fs::remove_file(&path).unwrap();
            drop(reader);
            wait_until_unread(&log);
        }
        let reader = reader(&path);
        let mut sent = 0;
        let full = loop {
            match log.send(b"flood") {
                Ok(()) => sent += 1,
                Err(error) => break error.kind(),
            }
        };
        assert_eq!(full, io::ErrorKind::WouldBlock);
        for _ in 0..sent {
            reader.recv(&mut buffer).unwrap();
        }
        log.send(b"again").unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
