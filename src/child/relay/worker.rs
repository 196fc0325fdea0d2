//! The worker's socket, as the conversation sees it.
//!
//! Runs in: an Apache child. [`crate::child::connect`] implements it over `crates/os`; tests play
//! workers that no kernel would deliver byte by byte.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// What a wait is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interest {
    /// The worker has sent something, or its end is closed.
    pub from_worker: bool,
    /// There is room towards the worker.
    pub to_worker: bool,
    /// The client has sent something.
    pub from_client: bool,
    /// There is room towards the client.
    pub to_client: bool,
    /// The client has closed its side: it sends nothing more, and may or may not still be reading.
    pub client_closed: bool,
    /// The client's connection has failed: nothing reaches it any more.
    pub client_lost: bool,
}

impl Interest {
    /// Whether nothing has happened: the wait has reached its limit.
    pub fn is_empty(self) -> bool {
        self == Interest::default()
    }
}

/// What one receive has brought.
#[derive(Debug)]
pub struct Received {
    /// Bytes put into the buffer; 0 at the end.
    pub len: usize,
    /// A descriptor that travelled with one of them.
    pub file: Option<OwnedFd>,
}

/// A connection to a worker. No operation waits but [`WorkerConnection::wait`].
pub trait WorkerConnection {
    /// Sends from the front of `bytes`; [`io::ErrorKind::WouldBlock`] where nothing fits.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Receives into `into`; [`io::ErrorKind::WouldBlock`] where nothing is here.
    fn receive(&mut self, into: &mut [u8]) -> io::Result<Received>;

    /// Waits until one of `interest` holds, or for `limit`. `client` is the client's socket, and
    /// without it the interests in the client are never met. A failed connection meets all of its
    /// interests.
    fn wait(
        &mut self,
        interest: Interest,
        client: Option<BorrowedFd<'_>>,
        limit: Duration,
    ) -> io::Result<Interest>;

    /// Tells the worker that nothing more will be sent to it.
    fn end_sending(&mut self) {}

    /// Whether it has carried a request before, so that it may have been closed meanwhile, and
    /// leads to a process that may have no thread to spare.
    fn is_pooled(&self) -> bool {
        false
    }

    /// The process at its other end, where that is known.
    fn pid(&self) -> Option<u32> {
        None
    }

    /// The process at its other end is not to be sent anything more over connections that are kept.
    fn forget(&self) {}

    /// Whether something that was sent is still in the socket, not taken by the worker; `None` where
    /// the system does not tell.
    fn unread(&self) -> Option<bool> {
        None
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub enum DialError {
    /// The listen queue is full or nobody listens: that may pass.
    Later(io::Error),
    /// The address is wrong or forbidden: that will not.
    Never(io::Error),
}

/// Which connection is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionChoice {
    /// One that was kept, if there is one.
    PooledOrNew,
    /// A new one, to whichever worker is free first.
    New,
}

/// Makes connections to the workers of one group.
pub trait Dial {
    /// The connections.
    type Connection: WorkerConnection;

    /// Connects. May wait for a place in the listen queue, for `limit` at most.
    fn dial(
        &mut self,
        limit: Duration,
        choice: ConnectionChoice,
    ) -> Result<Self::Connection, DialError>;

    /// Takes back a connection to the process `pid` whose request is over.
    fn keep(&mut self, worker: Self::Connection, pid: u32);

    /// Where the connections lead, for messages.
    fn place(&self) -> String;
}
