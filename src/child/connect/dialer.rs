//! How a request gets its connection to a worker: from the pool, or a new one to the group's socket.
//!
//! Runs in: an Apache child. A connection carries one request at a time. A new connection waits in
//! the kernel's accept queue, and the first free worker of any process takes it, so no request waits
//! behind a busy worker. A pooled connection belongs to a process that had a free thread when it was
//! last used. If that process has none now, it closes the connection, and the request goes to a new
//! one.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use os::poll::{poll_uninterrupted, Wanted};
use os::socket::{self, Direction, Wait};

use super::connection_pool::{Claim, GroupPool};
use crate::child::relay::worker::{
    ConnectionChoice, Dial, DialError, Interest, Received, WorkerConnection,
};

/// Gets connections to the workers of one group: from the pool, or new ones.
#[derive(Debug)]
pub struct Dialer<'a> {
    /// Path of the listening socket.
    pub path: &'a [u8],
    /// Idle connections of requests before.
    pub pool: &'a GroupPool,
}

impl<'a> Dial for Dialer<'a> {
    type Connection = WorkerSocket<'a>;

    fn dial(
        &mut self,
        _limit: Duration,
        choice: ConnectionChoice,
    ) -> Result<WorkerSocket<'a>, DialError> {
        if choice == ConnectionChoice::PooledOrNew {
            if let Some((socket, claim)) = self.pool.take() {
                let claim = Some(claim);
                return Ok(WorkerSocket { socket, claim });
            }
        }
        match socket::connect_unix(self.path, false) {
            Ok(socket) => Ok(WorkerSocket {
                socket,
                claim: None,
            }),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused => {
                    DialError::Later(error)
                }
                _ => DialError::Never(error),
            }),
        }
    }

    fn keep(&mut self, worker: WorkerSocket<'a>, pid: u32) {
        let WorkerSocket { socket, claim } = worker;
        // The claim counts a request that is over.
        drop(claim);
        self.pool.keep(pid, socket);
    }

    fn place(&self) -> String {
        String::from_utf8_lossy(self.path).into_owned()
    }
}

/// A connection to one worker. Its socket does not block; it is closed when this is dropped.
#[derive(Debug)]
pub struct WorkerSocket<'a> {
    socket: OwnedFd,
    /// For a pooled one.
    claim: Option<Claim<'a>>,
}

impl WorkerConnection for WorkerSocket<'_> {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        socket::send(
            self.socket.as_fd(),
            &[IoSlice::new(bytes)],
            None,
            Wait::AsSet,
        )
    }

    fn receive(&mut self, into: &mut [u8]) -> io::Result<Received> {
        let got = socket::recv_with_fd(self.socket.as_fd(), into, Wait::AsSet)?;
        Ok(Received {
            len: got.len,
            file: got.fd,
        })
    }

    fn wait(
        &mut self,
        interest: Interest,
        client: Option<BorrowedFd<'_>>,
        limit: Duration,
    ) -> io::Result<Interest> {
        // A socket is polled only for what is awaited of it: a failed one would end every wait at once.
        let worker = wanted(
            self.socket.as_fd(),
            interest.from_worker,
            interest.to_worker,
        );
        let client = client.and_then(|client| client_wanted(client, interest));
        let (worker, client) = match (worker, client) {
            (Some(worker), Some(client)) => {
                let mut both = [worker, client];
                poll_uninterrupted(&mut both, Some(limit))?;
                (Some(both[0]), Some(both[1]))
            }
            (worker, client) => {
                let mut one = worker.or(client);
                poll_uninterrupted(one.as_mut_slice(), Some(limit))?;
                (
                    one.filter(|_| worker.is_some()),
                    one.filter(|_| client.is_some()),
                )
            }
        };
        Ok(Interest {
            from_worker: interest.from_worker && worker.is_some_and(|fd| fd.can_read()),
            to_worker: interest.to_worker && worker.is_some_and(|fd| fd.can_write()),
            from_client: interest.from_client && client.is_some_and(|fd| fd.can_read()),
            to_client: interest.to_client && client.is_some_and(|fd| fd.can_write()),
            client_closed: interest.client_closed && client.is_some_and(|fd| fd.has_hung_up()),
            client_lost: interest.client_lost && client.is_some_and(|fd| fd.has_failed()),
        })
    }

    fn end_sending(&mut self) {
        // Fails only where the worker is gone already, which the next receive tells.
        let _ = socket::shutdown(self.socket.as_fd(), Direction::Write);
    }

    fn is_pooled(&self) -> bool {
        self.claim.is_some()
    }

    fn pid(&self) -> Option<u32> {
        self.claim.as_ref().map(Claim::pid)
    }

    fn forget(&self) {
        if let Some(claim) = &self.claim {
            claim.forget();
        }
    }

    fn unread(&self) -> Option<bool> {
        socket::has_unreceived(self.socket.as_fd()).ok()
    }
}

fn wanted(fd: BorrowedFd<'_>, read: bool, write: bool) -> Option<Wanted<'_>> {
    match (read, write) {
        (true, true) => Some(Wanted::both(fd)),
        (false, true) => Some(Wanted::writable(fd)),
        (true, false) => Some(Wanted::readable(fd)),
        (false, false) => None,
    }
}

fn client_wanted(client: BorrowedFd<'_>, interest: Interest) -> Option<Wanted<'_>> {
    let wanted = wanted(client, interest.from_client, interest.to_client);
    if interest.client_closed {
        return Some(wanted.unwrap_or(Wanted::failed(client)).or_gone());
    }
    wanted.or_else(|| interest.client_lost.then(|| Wanted::failed(client)))
}
