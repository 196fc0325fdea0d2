//! Answers requests of a group that has nobody to serve them.
//!
//! While no worker can take a connection and none is expected soon, requests would wait in the
//! listener's queue until somebody's patience ends. The supervisor takes them instead and says why
//! they can't be served, without reading what they say.
//!
//! A unix socket closed with unread bytes in it resets the connection, and the child would take
//! that for "nobody has seen the request, try another worker". So what has come is discarded and
//! the child left time to read the answer and close first; both within bounds.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use os::listener::Listener;
use os::socket::{self, Direction, Wait};
use wire::response::Fail;

/// Connections answered in one turn.
const MAX_TURN: usize = 32;
/// Connections that may linger; the oldest is closed for one more.
const MAX_CONNECTIONS: usize = 64;
/// Longest that a child may take to read an answer and close.
const LINGER: Duration = Duration::from_secs(2);
/// Most bytes discarded of one connection in one turn.
const MAX_DISCARD: usize = 256 * 1024;

/// Pause after a connection could not be taken, for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that has its answer.
#[derive(Debug)]
struct AnsweredConnection {
    id: u64,
    socket: OwnedFd,
    until: Duration,
}

/// The connections of one group that were turned away.
#[derive(Debug, Default)]
pub struct UnavailableResponder {
    connections: Vec<AnsweredConnection>,
    next: u64,
    /// Nobody is answered before then.
    paused_until: Duration,
}

impl UnavailableResponder {
    /// Whether connections may be answered.
    pub fn is_open(&self, now: Duration) -> bool {
        now >= self.paused_until
    }

    /// Answers the connections that wait at the listener with 503 and the sentence.
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
            // A fresh socket has room for it. A peer that has gone already needs none.
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

    /// What a visitor is known by, and where its bytes come from.
    pub fn connections(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>)> {
        self.connections.iter().map(|v| (v.id, v.socket.as_fd()))
    }

    /// Discards what a visitor has sent, and lets it go when it has closed.
    pub fn progress(&mut self, id: u64) {
        self.connections
            .retain(|connection| connection.id != id || discard(connection.socket.as_fd()));
    }

    /// Lets those go whose time is up.
    pub fn expire(&mut self, now: Duration) {
        self.connections.retain(|connection| now < connection.until);
    }

    /// When the next one's time is up, or a pause ends.
    pub fn next_moment(&self, now: Duration) -> Option<Duration> {
        let paused = (!self.is_open(now)).then_some(self.paused_until);
        let expiries = self.connections.iter().map(|connection| connection.until);
        expiries.chain(paused).min()
    }
}

/// Whether more may come.
fn discard(socket: BorrowedFd<'_>) -> bool {
    let mut buffer = [0; 16 * 1024];
    let mut taken = 0;
    while taken < MAX_DISCARD {
        match socket::recv(socket, &mut buffer, Wait::Never) {
            Ok(0) => return false,
            Ok(count) => taken += count,
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
        let directory = Directory::new("door");
        let path = directory.path().join("s");
        let listener = Listener::bind(path.as_os_str().as_encoded_bytes(), None, 8).unwrap();
        let mut door = UnavailableResponder::default();
        door.answer(&listener, "nobody is there", Duration::ZERO);

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
        while !client.is_finished() || door.connections().count() > 0 {
            door.answer(&listener, "nobody is there", now);
            let ids: Vec<u64> = door.connections().map(|(id, _)| id).collect();
            ids.into_iter().for_each(|id| door.progress(id));
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
        let mut door = UnavailableResponder::default();
        for _ in 0..clients.len() {
            door.answer(&listener, "", Duration::ZERO);
        }
        assert_eq!(door.connections().count(), MAX_CONNECTIONS);
        assert_eq!(door.next_moment(Duration::ZERO), Some(LINGER));
        door.expire(LINGER);
        assert_eq!(door.connections().count(), 0);
    }
}
