//! The connection that carries a request.
//!
//! Runs in: request threads, without the GIL except for what says that it never waits. The request
//! is read without removing it from the socket, where it stays until the application is about to
//! run: if this process ends before that, the Apache child sees the connection reset and knows that
//! the request may go to another worker.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use os::clock;
use os::poll::{poll_uninterrupted, Wanted};
use os::socket::{self, Direction, Wait};
use wire::frame::{self, Kind, HEAD_LEN};

use super::accept::ChildConnection;
use crate::exchange::frame_writer::Stream;
use crate::process::fork;

/// How much longer than the limit a part of the request body is waited for. Apache keeps the same
/// limit towards the client and reports how it ended; that report is to come first.
const BEHIND: Duration = Duration::from_secs(5);

/// Requests up to this long, frame head included, are left in the socket until they run.
pub const PEEK: usize = 128 * 1024;
/// How often to check for the rest of a request that is here in part, with ever longer pauses: 5 ms
/// in all.
const MOST_PAUSES: u32 = 10;
/// How long a peer may take for each further piece of a request that it has begun.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the whole of a request may take that comes in pieces.
const MOST_PATIENCE: Duration = Duration::from_secs(5);
/// Pieces in which a request may come that is too long to be left in the socket.
const MOST_PIECES: u32 = 1 << 12;

/// One connection, while it carries one request.
pub struct Connection {
    inner: ChildConnection,
    /// Longest wait for one read or write.
    limit: Duration,
    /// Writes don't wait.
    hurried: AtomicBool,
    /// Nothing of the request is left to come: another request may follow.
    over: AtomicBool,
}

/// What is in the socket.
pub enum Peek {
    /// A request of so many bytes.
    Whole(usize),
    /// Part of a request: how long it will be, if that is known.
    Begun(Option<usize>),
    /// Nothing has come yet.
    NotYet,
    /// Nothing will come, or what came is no request; a reason for the log, if it is worth one.
    Nothing(Option<&'static str>),
}

/// A request that has come completely.
pub enum Received {
    /// Still in the socket: so many bytes.
    Peeked(usize),
    /// Out of the socket.
    Whole(usize),
    /// As [`Peek::Nothing`].
    Nothing(Option<&'static str>),
}

impl Connection {
    pub fn new(inner: ChildConnection, limit: Duration) -> Self {
        Self {
            inner,
            limit,
            hurried: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    /// The connection, for its next request, if the response said that it is kept.
    pub fn into_keep_alive(self) -> Option<ChildConnection> {
        self.over.into_inner().then_some(self.inner)
    }

    /// The connection, on which nothing has come yet.
    pub fn into_idle(self) -> ChildConnection {
        self.inner
    }

    /// It has carried a request before.
    pub fn is_keep_alive(&self) -> bool {
        !self.inner.is_new()
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }

    fn readable_within(&self, limit: Duration) -> bool {
        let mut wanted = [Wanted::readable(self.inner.as_fd())];
        matches!(poll_uninterrupted(&mut wanted, Some(limit)), Ok(n) if n > 0)
    }

    /// Copies the request without removing it from the socket: into `memory`, of at least [`PEEK`]
    /// bytes. Never waits.
    pub fn peek(&self, memory: &mut [u8]) -> Peek {
        let peeked = match socket::peek(self.inner.as_fd(), &mut memory[..PEEK], Wait::Never) {
            Ok(0) => return Peek::Nothing(None),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Peek::NotYet,
            Err(_) => return Peek::Nothing(None),
        };
        let Some(head) = memory[..peeked].first_chunk::<HEAD_LEN>() else {
            return Peek::Begun(None);
        };
        let total = match frame::parse(head) {
            Ok(frame) if frame.kind == Kind::Request => HEAD_LEN + frame.len,
            // The client of the previous request left while its response was sent.
            Ok(frame) if frame.kind == Kind::Sent => return Peek::Nothing(None),
            _ => return Peek::Nothing(Some("it sent no request of this version")),
        };
        if total <= peeked {
            Peek::Whole(total)
        } else {
            Peek::Begun(Some(total))
        }
    }

    /// Waits for the rest of a request that has begun, and reads it into `memory`, which grows for
    /// one that is longer than [`PEEK`].
    pub fn take_request(&self, memory: &mut Vec<u8>) -> Received {
        let mut pauses = 0;
        loop {
            let is_last = pauses == MOST_PAUSES;
            match self.peek(memory) {
                Peek::Whole(total) => return Received::Peeked(total),
                Peek::Begun(Some(total)) if total > PEEK || is_last => {
                    return self.take_out(memory, total);
                }
                Peek::Begun(None) if is_last => {
                    return Received::Nothing(Some("it sent part of a request"));
                }
                Peek::Begun(_) => {}
                Peek::NotYet => return Received::Nothing(None),
                Peek::Nothing(why) => return Received::Nothing(why),
            }
            // The kernel cuts the sender's call into pieces; the rest comes in a moment. A socket
            // that holds something is readable, so poll cannot wait for the rest.
            pauses += 1;
            std::thread::sleep(Duration::from_micros(50 << (pauses / 2)));
        }
    }

    /// Takes a request of `total` bytes out of the socket as it comes.
    fn take_out(&self, memory: &mut Vec<u8>, total: usize) -> Received {
        if memory.len() < total {
            memory.resize(total, 0);
        }
        let mut at = 0;
        let end = clock::monotonic() + MOST_PATIENCE;
        for _ in 0..MOST_PIECES {
            match socket::recv(self.inner.as_fd(), &mut memory[at..total], Wait::Never) {
                Ok(0) => return Received::Nothing(None),
                Ok(n) => at += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let late = clock::monotonic() >= end;
                    if late || !self.readable_within(PATIENCE) {
                        return Received::Nothing(Some("it stopped within its request"));
                    }
                }
                Err(_) => return Received::Nothing(None),
            }
            if at == total {
                return Received::Whole(total);
            }
        }
        Received::Nothing(Some("it sent its request in too many pieces"))
    }

    /// Removes what was peeked from the socket: from here on the request has begun. Never waits.
    /// False if the connection is broken.
    pub fn consume(&self, mut len: usize) -> bool {
        // Twice as long as most requests, and so short that clearing it costs nothing.
        let mut scratch = [0; 4 * 1024];
        let most = len.min(scratch.len());
        while len > 0 {
            let part = len.min(scratch.len());
            match socket::recv(self.inner.as_fd(), &mut scratch[..part], Wait::Never) {
                Ok(n) if n > 0 => len -= n,
                _ => break,
            }
        }
        // It may have been a password.
        os::memory::wipe_part(&mut scratch[..most]);
        len == 0
    }

    /// Sends a whole message; it does not matter if it does not arrive.
    pub fn say(&self, message: &[u8]) {
        let mut at = 0;
        while at < message.len() {
            match self.send(&message[at..], b"", None) {
                Ok(n) if n > 0 => at += n,
                _ => return,
            }
        }
    }
}

impl Stream for Connection {
    fn send(&self, first: &[u8], second: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<usize> {
        if fork::happened() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let both = [IoSlice::new(first), IoSlice::new(second)];
        let bufs = if second.is_empty() { &both[..1] } else { &both };
        loop {
            match socket::send(self.inner.as_fd(), bufs, file, Wait::Never) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let limit = match self.hurried.load(Ordering::SeqCst) {
                        true => Duration::ZERO,
                        false => self.limit,
                    };
                    let mut wanted = [Wanted::writable(self.inner.as_fd())];
                    if poll_uninterrupted(&mut wanted, Some(limit))? == 0 {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                done => return done,
            }
        }
    }

    fn send_at_once(&self, bytes: &[u8]) -> io::Result<usize> {
        if fork::happened() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let bytes = [IoSlice::new(bytes)];
        socket::send(self.inner.as_fd(), &bytes, None, Wait::Never)
    }

    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        self.receive_within(into, self.limit + BEHIND)
    }

    fn receive_within(&self, into: &mut [u8], limit: Duration) -> io::Result<usize> {
        if fork::happened() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        loop {
            match socket::recv(self.inner.as_fd(), into, Wait::Never) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.readable_within(limit) {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                done => return done,
            }
        }
    }

    fn is_ending(&self) -> bool {
        let mut wanted = [Wanted::gone(self.inner.as_fd())];
        // A poll that fails has seen nothing.
        let _ = poll_uninterrupted(&mut wanted, Some(Duration::ZERO));
        wanted[0].has_hung_up()
    }

    fn is_closed_within(&self, limit: Duration) -> bool {
        let mut wanted = [Wanted::failed(self.inner.as_fd())];
        let _ = poll_uninterrupted(&mut wanted, Some(limit));
        wanted[0].has_failed()
    }

    fn hurry(&self) {
        self.hurried.store(true, Ordering::SeqCst);
    }

    fn keep(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    fn shutdown(&self) {
        // Fails only where the other end is gone already.
        let _ = socket::shutdown(self.inner.as_fd(), Direction::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::hook::Role;
    use wire::request::{Builder, Flags, Prologue};

    fn pair() -> (Connection, Connection) {
        let (a, b) = socket::stream_pair().unwrap();
        let limit = Duration::from_millis(200);
        [a, b]
            .map(|fd| Connection::new(ChildConnection::new(fd, 0), limit))
            .into()
    }

    fn request(body: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let prologue = Prologue {
            flags: Flags::default(),
            role: Role::Application,
            key: [0; 16],
            request_start: 0,
            queue_start: 0,
            sent: 0,
            content_length: None,
            script: b"/s",
            application_group: b"",
            callable: b"application",
        };
        let builder = Builder::new(&mut out, &prologue).unwrap();
        builder.finish(&vec![b'x'; body]).unwrap();
        out
    }

    #[test]
    fn a_request_stays_in_the_socket_until_it_is_consumed() {
        let (child, worker) = pair();
        let message = request(10);
        child.say(&message);
        child.say(b"more");
        let mut memory = vec![0; PEEK];
        for _ in 0..2 {
            assert!(matches!(worker.peek(&mut memory), Peek::Whole(n) if n == message.len()));
            assert_eq!(&memory[..message.len()], message);
        }
        assert!(worker.consume(message.len()));
        let mut rest = [0; 9];
        assert_eq!(worker.receive(&mut rest[..]).unwrap(), 4);
        assert!(!worker.consume(1));
    }

    #[test]
    fn an_unread_request_resets_the_connection_and_a_consumed_one_ends_it() {
        for (consume, seen) in [(false, Err(io::ErrorKind::ConnectionReset)), (true, Ok(0))] {
            let (child, worker) = pair();
            let message = request(10);
            child.say(&message);
            let mut memory = vec![0; PEEK];
            worker.peek(&mut memory);
            if consume {
                worker.consume(message.len());
            }
            drop(worker);
            let got = Stream::receive(&child, &mut [0; 8]).map_err(|error| error.kind());
            assert_eq!(got, seen);
        }
    }

    #[test]
    fn a_long_request_is_taken_out_as_it_comes() {
        let (child, worker) = pair();
        let message = request(1 << 20);
        std::thread::scope(|scope| {
            scope.spawn(|| child.say(&message));
            let mut memory = vec![0; PEEK];
            assert!(worker.readable_within(Duration::from_secs(10)));
            assert!(
                matches!(worker.take_request(&mut memory), Received::Whole(n) if n == message.len())
            );
            assert_eq!(memory, message);
        });
    }

    #[test]
    fn silence_garbage_and_pieces_are_told_apart() {
        let mut memory = vec![0; PEEK];
        let (child, worker) = pair();
        assert!(matches!(worker.peek(&mut memory), Peek::NotYet));
        child.say(&[0xff; 20]);
        assert!(matches!(worker.peek(&mut memory), Peek::Nothing(Some(_))));
        let (child, worker) = pair();
        let message = request(10);
        child.say(&message[..3]);
        assert!(matches!(worker.peek(&mut memory), Peek::Begun(None)));
        assert!(matches!(
            worker.take_request(&mut memory),
            Received::Nothing(Some(_))
        ));
        child.say(&message[3..12]);
        assert!(matches!(worker.peek(&mut memory), Peek::Begun(Some(n)) if n == message.len()));
        assert!(matches!(
            worker.take_request(&mut memory),
            Received::Nothing(Some(_))
        ));
        let (child, worker) = pair();
        drop(child);
        assert!(matches!(worker.peek(&mut memory), Peek::Nothing(None)));
    }

    #[test]
    fn a_connection_is_kept_only_where_the_answer_said_so() {
        for keep in [false, true] {
            let (_child, worker) = pair();
            if keep {
                Stream::keep(&worker);
            }
            assert_eq!(worker.into_keep_alive().is_some(), keep);
        }
    }

    #[test]
    fn a_peer_that_does_not_read_ends_a_write() {
        let (_child, worker) = pair();
        let block = vec![0; 4 << 20];
        let error = loop {
            match worker.send(&block, b"", None) {
                Ok(_) => {}
                Err(error) => break error.kind(),
            }
        };
        assert_eq!(error, io::ErrorKind::TimedOut);
    }
}
