//! The status socket: sends a report of all groups to each client that connects.
//!
//! Runs in: the supervisor. Each client receives one report and is disconnected; its bytes are
//! never read. The file's mode and the kernel's peer credentials decide who may connect: the user
//! of Apache's children, root, and the supervisor's own user. The cost has bounds: few clients at a
//! time, each for a short time, and one report for all clients within its lifetime. A report that
//! took longer to write lives longer.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use os::listener::Listener;
use os::socket::{self, Wait};
use wire::control::StatusSocket;
use wire::status::{StatusReport, MAX_REPORT};

use crate::group::{Budget, Group};

/// Clients at a time; others wait in the accept queue.
const MAX_CLIENTS: usize = 8;
/// Length of the accept queue.
const BACKLOG: u32 = 16;
/// Time limit for a client to read the report.
const PATIENCE: Duration = Duration::from_secs(2);
/// Shortest lifetime of a report.
const LIFE: Duration = Duration::from_millis(100);
/// Lifetime of a report as a multiple of the time to write it. It bounds the share of time spent on
/// reports.
const SHARE: u32 = 10;
/// Pause after accept failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);
/// Maximum number of processes and requests in one report.
const MAX_WORKERS: usize = 4096;
const MAX_RUNNING: usize = 2048;

/// Identifies a polled descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusSource {
    Listener,
    Client(u64),
}

#[derive(Debug)]
struct StatusClient {
    id: u64,
    socket: OwnedFd,
    report: Rc<[u8]>,
    sent: usize,
    until: Duration,
}

#[derive(Debug)]
pub struct StatusListener {
    listening: Option<(Listener, StatusSocket)>,
    clients: Vec<StatusClient>,
    next: u64,
    /// The last report, and the time until which it is valid.
    report: Option<(Duration, Rc<[u8]>)>,
    /// No client is accepted before then.
    paused_until: Duration,
    /// When the supervisor was started.
    started: Duration,
}

impl StatusListener {
    /// Closed. `now` is when the supervisor was started.
    pub fn new(now: Duration) -> Self {
        Self {
            listening: None,
            clients: Vec::new(),
            next: 0,
            report: None,
            paused_until: Duration::ZERO,
            started: now,
        }
    }

    /// Opens the socket at the configured path, or closes it.
    ///
    /// # Errors
    /// As [`Listener::bind`]; the socket is closed then.
    pub fn open(&mut self, wanted: Option<StatusSocket>) -> io::Result<()> {
        match (&self.listening, wanted) {
            (Some((_, known)), Some(wanted)) if *known == wanted => Ok(()),
            (_, None) => {
                self.close();
                Ok(())
            }
            (_, Some(wanted)) => {
                self.close();
                let root = os::accounts::effective_uid() == 0;
                let listener = Listener::bind(&wanted.path, root.then_some(wanted.uid), BACKLOG)?;
                self.listening = Some((listener, wanted));
                Ok(())
            }
        }
    }

    /// Removes the socket's file. Connected clients are still served.
    pub fn close(&mut self) {
        if let Some((listener, _)) = self.listening.take() {
            // If the file cannot be removed, the next process that binds there replaces it.
            let _ = listener.unlink();
        }
    }

    /// The descriptors to poll: the listener for reading, clients for writing.
    pub fn sources<'s>(&'s self, now: Duration, add: &mut dyn FnMut(StatusSource, BorrowedFd<'s>)) {
        if let Some((listener, _)) = &self.listening {
            if self.clients.len() < MAX_CLIENTS && now >= self.paused_until {
                add(StatusSource::Listener, listener.as_fd());
            }
        }
        for client in &self.clients {
            add(StatusSource::Client(client.id), client.socket.as_fd());
        }
    }

    /// Handles a source that is ready.
    pub fn attend(&mut self, source: StatusSource, groups: &[Group]) {
        match source {
            StatusSource::Client(id) => self.clients.retain_mut(|v| v.id != id || v.proceed()),
            StatusSource::Listener => {
                while self.clients.len() < MAX_CLIENTS && self.let_in(groups) {}
            }
        }
    }

    /// Whether more may follow.
    fn let_in(&mut self, groups: &[Group]) -> bool {
        let Some((listener, wanted)) = &self.listening else {
            return false;
        };
        let now = os::clock::monotonic();
        let socket = match socket::accept(listener.as_fd()) {
            Ok(socket) => socket,
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.paused_until = now + PAUSE;
                }
                return false;
            }
        };
        let welcome = [wanted.uid, 0, os::accounts::effective_uid()];
        let peer = socket::peer_credentials(socket.as_fd());
        if !peer.is_ok_and(|peer| welcome.contains(&peer.uid)) {
            return true;
        }
        self.next += 1;
        let mut client = StatusClient {
            id: self.next,
            socket,
            report: self.report(now, groups),
            sent: 0,
            until: now + PATIENCE,
        };
        if client.proceed() {
            self.clients.push(client);
        }
        true
    }

    fn report(&mut self, now: Duration, groups: &[Group]) -> Rc<[u8]> {
        if let Some((_, report)) = self.report.as_ref().filter(|(until, _)| now < *until) {
            return Rc::clone(report);
        }
        let report: Rc<[u8]> = encode(describe(now, self.started, groups)).into();
        let done = os::clock::monotonic();
        let life = LIFE.max(SHARE * done.saturating_sub(now));
        self.report = Some((done + life, Rc::clone(&report)));
        report
    }

    /// Drops the clients whose time limit has passed.
    pub fn expire(&mut self, now: Duration) {
        self.clients.retain(|client| now < client.until);
    }

    /// The time of the next action that no descriptor announces.
    pub fn next_moment(&self, now: Duration) -> Option<Duration> {
        let paused =
            (self.listening.is_some() && now < self.paused_until).then_some(self.paused_until);
        let ends = self.clients.iter().map(|client| client.until);
        ends.chain(paused).min()
    }
}

impl StatusClient {
    /// Sends as much as the socket accepts. Returns whether more remains.
    fn proceed(&mut self) -> bool {
        while self.sent < self.report.len() {
            let rest = IoSlice::new(&self.report[self.sent..]);
            match socket::send(self.socket.as_fd(), &[rest], None, Wait::Never) {
                Ok(sent @ 1..) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // The client has disconnected.
                Ok(_) | Err(_) => return false,
            }
        }
        false
    }
}

fn describe(now: Duration, started: Duration, groups: &[Group]) -> StatusReport {
    let mut budget = Budget {
        workers: MAX_WORKERS,
        running: MAX_RUNNING,
        is_spent: false,
    };
    let inquiry = os::backlog::Inquiry::begin().ok();
    let groups = groups
        .iter()
        .filter(|group| group.is_shown())
        .map(|group| group.status(now, inquiry.as_ref(), &mut budget))
        .collect();
    let pid = os::process::id();
    StatusReport {
        pid,
        age: u64::try_from(now.saturating_sub(started).as_millis()).unwrap_or(u64::MAX),
        resident: os::process::resident_memory(pid).unwrap_or(0),
        is_cut: budget.is_spent,
        groups,
    }
}

/// Omits groups until the rest fits into a report.
fn encode(mut report: StatusReport) -> Vec<u8> {
    loop {
        let bytes = report.encode();
        if bytes.len() <= MAX_REPORT || report.groups.is_empty() {
            return bytes;
        }
        report.groups.truncate(report.groups.len() / 2);
        report.is_cut = true;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::testing::Directory;

    fn open(name: &str, uid: u32) -> (Directory, PathBuf, StatusListener) {
        let directory = Directory::new(name);
        let path = directory.path().join("s");
        let mut listener = StatusListener::new(os::clock::monotonic());
        listener.open(Some(socket_at(&path, uid))).unwrap();
        (directory, path, listener)
    }

    fn socket_at(path: &Path, uid: u32) -> StatusSocket {
        StatusSocket {
            path: path.as_os_str().as_encoded_bytes().into(),
            uid,
        }
    }

    fn read(mut client: UnixStream) -> StatusReport {
        let limit = Duration::from_secs(20);
        client.set_read_timeout(Some(limit)).unwrap();
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).unwrap();
        StatusReport::decode(&bytes).unwrap()
    }

    #[test]
    fn who_connects_is_told_and_what_he_says_is_not_read() {
        let (_directory, path, mut listener) = open("told", 0);
        let client = UnixStream::connect(&path).unwrap();
        listener.attend(StatusSource::Listener, &[]);
        assert_eq!(read(client).pid, std::process::id());
        assert!(listener.clients.is_empty());
        listener.close();
        assert!(!path.exists());
    }

    #[test]
    fn few_are_let_in_at_a_time_and_not_for_long() {
        let (_directory, path, mut listener) = open("few", 0);
        // Larger than a socket's buffer.
        let long: Rc<[u8]> = vec![0; 3 << 20].into();
        listener.report = Some((Duration::MAX, long));
        let clients: Vec<_> = (0..MAX_CLIENTS + 3)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect();
        listener.attend(StatusSource::Listener, &[]);
        let now = os::clock::monotonic();
        let watched = |listener: &StatusListener| {
            let mut seen = Vec::new();
            listener.sources(now, &mut |source, _| seen.push(source));
            seen
        };
        assert_eq!(watched(&listener).len(), MAX_CLIENTS);
        assert!(!watched(&listener).contains(&StatusSource::Listener));
        assert!(listener.next_moment(now).unwrap() <= now + PATIENCE);
        listener.expire(now + PATIENCE);
        assert_eq!(watched(&listener), [StatusSource::Listener]);
        drop(clients);
    }

    #[test]
    fn a_report_serves_all_who_come_soon() {
        let mut listener = StatusListener::new(Duration::ZERO);
        let now = os::clock::monotonic();
        let first = listener.report(now, &[]);
        assert!(Rc::ptr_eq(&first, &listener.report(now + LIFE / 2, &[])));
        let later = listener.report(now + Duration::from_secs(60), &[]);
        assert!(!Rc::ptr_eq(&first, &later));
    }

    #[test]
    fn a_new_configuration_may_move_or_close_it() {
        let (directory, path, mut listener) = open("moves", 0);
        let other = directory.path().join("t");
        listener.open(Some(socket_at(&other, 0))).unwrap();
        assert!(!path.exists() && other.exists());
        listener
            .open(Some(socket_at(Path::new("/nonexistent/s"), 0)))
            .unwrap_err();
        assert!(listener.listening.is_none());
        listener.open(None).unwrap();
    }
}
