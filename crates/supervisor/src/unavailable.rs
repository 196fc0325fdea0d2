//! Answers the requests of a group that no worker can serve.
//!
//! Runs in: the supervisor. If no worker can accept a connection and none is expected soon,
//! requests would wait in the accept queue until a timeout ends them. The supervisor accepts them
//! instead and answers with the reason, without parsing the requests.
//!
//! A unix socket that is closed with unread bytes in it resets the connection. The child would
//! interpret that as "no worker has read the request, try another one". So the supervisor discards
//! the received bytes and gives the child time to read the answer and to close first. Both have
//! bounds.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use os::listener::Listener;
use os::socket::{self, Direction, Wait};
use wire::response::Fail;

/// Connections answered in one turn.
const MAX_TURN: usize = 32;
/// Connections that may linger; one more closes the oldest.
const MAX_CONNECTIONS: usize = 64;
/// Time limit for a child to read an answer and close.
const LINGER: Duration = Duration::from_secs(2);
/// Most bytes discarded of one connection in one turn.
const MAX_DISCARD: usize = 256 * 1024;

/// Pause after accept failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that was answered.
#[derive(Debug)]
struct AnsweredConnection {
    id: u64,
    socket: OwnedFd,
    until: Duration,
}

/// The connections of one group that were answered with 503.
#[derive(Debug, Default)]
pub struct UnavailableResponder {
    connections: Vec<AnsweredConnection>,
    next: u64,
    /// No connection is answered before then.
    paused_until: Duration,
}

impl UnavailableResponder {
    /// Whether connections may be answered.
    pub fn is_open(&self, now: Duration) -> bool {
        now >= self.paused_until
    }

    /// Answers the connections in the accept queue with 503 and the sentence.
    pub fn answer(&mut self, listener: &Listener, sentence: &str, now: Duration) {
        let mut answer = Vec::new();
        Fail {
            status: 503,
            text: sentence.as_bytes(),
        }
        .append(&mut answer);
        for _ in 0..MAX_TURN {
            let socket = match listener.accept_now() {
                Ok(Some(socket)) => socket,
                Ok(None) => return,
                // The connection stays queued, and the listener readable.
                Err(_) => {
                    self.paused_until = now + PAUSE;
                    return;
                }
            };
            // A new socket's buffer is large enough. If the peer has disconnected, it needs no
            // answer.
            let sent = socket::send(socket.as_fd(), &[IoSlice::new(&answer)], None, Wait::Never);
            if sent.is_err() || socket::shutdown(socket.as_fd(), Direction::Write).is_err() {
                continue;
            }
            if self.connections.len() >= MAX_CONNECTIONS {
                self.connections.remove(0);
            }
            self.next += 1;
            self.connections.push(AnsweredConnection {
                id: self.next,
                socket,
                until: now + LINGER,
            });
            self.progress(self.next);
        }
    }

    /// The connections to poll, with their keys.
    pub fn connections(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>)> {
        self.connections.iter().map(|v| (v.id, v.socket.as_fd()))
    }

    /// Discards the bytes a connection has sent, and drops the connection once the peer has closed
    /// it.
    pub fn progress(&mut self, id: u64) {
        self.connections
            .retain(|connection| connection.id != id || discard(connection.socket.as_fd()));
    }

    /// Drops the connections whose time limit has passed.
    pub fn expire(&mut self, now: Duration) {
        self.connections.retain(|connection| now < connection.until);
    }

    /// The earliest time limit of a connection, or the end of a pause.
    pub fn next_moment(&self, now: Duration) -> Option<Duration> {
        let paused = (!self.is_open(now)).then_some(self.paused_until);
        let expiries = self.connections.iter().map(|connection| connection.until);
        expiries.chain(paused).min()
    }
}

/// Whether more data may come.
fn discard(socket: BorrowedFd<'_>) -> bool {
    let mut buffer = [0; 16 * 1024];
    let mut discarded = 0;
    while discarded < MAX_DISCARD {
        match socket::recv(socket, &mut buffer, Wait::Never) {
            Ok(0) => return false,
            Ok(count) => discarded += count,
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::testing::Directory;

    #[test]
    fn a_request_larger_than_all_buffers_gets_its_answer_and_no_reset() {
        let directory = Directory::new("unavailable");
        let path = directory.path().join("s");
        let listener = Listener::bind(path.as_os_str().as_encoded_bytes(), None, 8).unwrap();
        let mut responder = UnavailableResponder::default();
        responder.answer(&listener, "nobody is there", Duration::ZERO);

        let client = std::thread::spawn(move || {
            let mut socket = UnixStream::connect(path).unwrap();
            let limit = Some(Duration::from_secs(20));
            socket.set_read_timeout(limit).unwrap();
            socket.set_write_timeout(limit).unwrap();
            socket.write_all(&vec![7; 4 << 20]).unwrap();
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).unwrap();
            answer
        });
        let now = os::clock::monotonic();
        while !client.is_finished() || responder.connections().count() > 0 {
            responder.answer(&listener, "nobody is there", now);
            let ids: Vec<u64> = responder.connections().map(|(id, _)| id).collect();
            ids.into_iter().for_each(|id| responder.progress(id));
        }
        let answer = client.join().unwrap();
        let (_, payload, rest) = wire::frame::split(&answer).unwrap().unwrap();
        let fail = Fail::decode(payload).unwrap();
        assert_eq!((fail.status, fail.text), (503, &b"nobody is there"[..]));
        assert!(rest.is_empty());
    }

    #[test]
    fn those_who_do_not_close_are_let_go() {
        let directory = Directory::new("linger");
        let path = directory.path().join("s");
        let listener = Listener::bind(path.as_os_str().as_encoded_bytes(), None, 200).unwrap();
        let clients: Vec<_> = (0..MAX_CONNECTIONS + 9)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect();
        let mut responder = UnavailableResponder::default();
        for _ in 0..clients.len() {
            responder.answer(&listener, "", Duration::ZERO);
        }
        assert_eq!(responder.connections().count(), MAX_CONNECTIONS);
        assert_eq!(responder.next_moment(Duration::ZERO), Some(LINGER));
        responder.expire(LINGER);
        assert_eq!(responder.connections().count(), 0);
    }
}
