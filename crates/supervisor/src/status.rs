//! Answers those who ask how things are.
//!
//! Whoever connects to the status socket is sent one report and let go; nothing a visitor says is
//! ever read. Who may ask is up to the file's mode and, once more, to who the kernel says is there:
//! the user Apache's children run as, root, and ourselves. What it costs has bounds: few visitors at
//! a time, each for a short while, and one report for all who come within its life, which is the
//! longer the dearer the report was.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use os::listener::Listener;
use os::socket::{self, Wait};
use wire::control::StatusSocket;
use wire::status::{StatusReport, MAX_REPORT};

use crate::group::{Budget, Group};

/// Visitors at a time; others wait in the queue.
const MAX_CLIENTS: usize = 8;
/// Longest queue of them.
const BACKLOG: u32 = 16;
/// Longest that a visitor may take to read.
const PATIENCE: Duration = Duration::from_secs(2);
/// Shortest life of a report.
const LIFE: Duration = Duration::from_millis(100);
/// Its life as a multiple of what it took to make: so much of our time goes into reports at most.
const SHARE: u32 = 10;
/// Pause after a connection could not be taken, for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);
/// Most processes and requests of one report.
const MAX_WORKERS: usize = 4096;
const MAX_RUNNING: usize = 2048;

/// Which descriptor is meant.
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
    door: Option<(Listener, StatusSocket)>,
    clients: Vec<StatusClient>,
    next: u64,
    /// The last report, and until when it will do.
    report: Option<(Duration, Rc<[u8]>)>,
    /// Nobody is let in before then.
    paused_until: Duration,
    /// When the supervisor was started.
    started: Duration,
}

impl StatusListener {
    /// Closed. `now` is when the supervisor was started.
    pub fn new(now: Duration) -> Self {
        Self {
            door: None,
            clients: Vec::new(),
            next: 0,
            report: None,
            paused_until: Duration::ZERO,
            started: now,
        }
    }

    /// Opens where it is wanted, or closes.
    ///
    /// # Errors
    /// As [`Listener::bind`]; it is closed then.
    pub fn open(&mut self, wanted: Option<StatusSocket>) -> io::Result<()> {
        match (&self.door, wanted) {
            (Some((_, known)), Some(wanted)) if *known == wanted => Ok(()),
            (_, None) => {
                self.close();
                Ok(())
            }
            (_, Some(wanted)) => {
                self.close();
                let root = os::accounts::effective_uid() == 0;
                let listener = Listener::bind(&wanted.path, root.then_some(wanted.uid), BACKLOG)?;
                self.door = Some((listener, wanted));
                Ok(())
            }
        }
    }

    /// Removes the socket's file. Who is inside is served.
    pub fn close(&mut self) {
        if let Some((listener, _)) = self.door.take() {
            // A file that stays is replaced by whoever binds there next.
            let _ = listener.unlink();
        }
    }

    /// The descriptors to watch: the door for reading, visitors for writing.
    pub fn sources<'s>(&'s self, now: Duration, add: &mut dyn FnMut(StatusSource, BorrowedFd<'s>)) {
        if let Some((listener, _)) = &self.door {
            if self.clients.len() < MAX_CLIENTS && now >= self.paused_until {
                add(StatusSource::Listener, listener.as_fd());
            }
        }
        for client in &self.clients {
            add(StatusSource::Client(client.id), client.socket.as_fd());
        }
    }

    /// Looks at a source that is ready.
    pub fn attend(&mut self, source: StatusSource, groups: &[Group]) {
        match source {
            StatusSource::Client(id) => self.clients.retain_mut(|v| v.id != id || v.proceed()),
            StatusSource::Listener => {
                while self.clients.len() < MAX_CLIENTS && self.let_in(groups) {}
            }
        }
    }

    /// Whether there may be more.
    fn let_in(&mut self, groups: &[Group]) -> bool {
        let Some((listener, wanted)) = &self.door else {
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

    /// Lets those go whose time is up.
    pub fn expire(&mut self, now: Duration) {
        self.clients.retain(|client| now < client.until);
    }

    /// When something is to be done that no descriptor announces.
    pub fn next_moment(&self, now: Duration) -> Option<Duration> {
        let paused = (self.door.is_some() && now < self.paused_until).then_some(self.paused_until);
        let ends = self.clients.iter().map(|client| client.until);
        ends.chain(paused).min()
    }
}

impl StatusClient {
    /// Sends what the socket takes. Whether there is more.
    fn proceed(&mut self) -> bool {
        while self.sent < self.report.len() {
            let rest = IoSlice::new(&self.report[self.sent..]);
            match socket::send(self.socket.as_fd(), &[rest], None, Wait::Never) {
                Ok(sent @ 1..) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // It has gone.
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

/// Leaves groups out until the rest is no longer than a report may be.
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
        let mut desk = StatusListener::new(os::clock::monotonic());
        desk.open(Some(door(&path, uid))).unwrap();
        (directory, path, desk)
    }

    fn door(path: &Path, uid: u32) -> StatusSocket {
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
        let (_directory, path, mut desk) = open("told", 0);
        let client = UnixStream::connect(&path).unwrap();
        desk.attend(StatusSource::Listener, &[]);
        assert_eq!(read(client).pid, std::process::id());
        assert!(desk.clients.is_empty());
        desk.close();
        assert!(!path.exists());
    }

    #[test]
    fn few_are_let_in_at_a_time_and_not_for_long() {
        let (_directory, path, mut desk) = open("few", 0);
        // Larger than a socket's buffer.
        let long: Rc<[u8]> = vec![0; 3 << 20].into();
        desk.report = Some((Duration::MAX, long));
        let clients: Vec<_> = (0..MAX_CLIENTS + 3)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect();
        desk.attend(StatusSource::Listener, &[]);
        let now = os::clock::monotonic();
        let watched = |desk: &StatusListener| {
            let mut seen = Vec::new();
            desk.sources(now, &mut |source, _| seen.push(source));
            seen
        };
        assert_eq!(watched(&desk).len(), MAX_CLIENTS);
        assert!(!watched(&desk).contains(&StatusSource::Listener));
        assert!(desk.next_moment(now).unwrap() <= now + PATIENCE);
        desk.expire(now + PATIENCE);
        assert_eq!(watched(&desk), [StatusSource::Listener]);
        drop(clients);
    }

    #[test]
    fn a_report_serves_all_who_come_soon() {
        let mut desk = StatusListener::new(Duration::ZERO);
        let now = os::clock::monotonic();
        let first = desk.report(now, &[]);
        assert!(Rc::ptr_eq(&first, &desk.report(now + LIFE / 2, &[])));
        let later = desk.report(now + Duration::from_secs(60), &[]);
        assert!(!Rc::ptr_eq(&first, &later));
    }

    #[test]
    fn a_new_configuration_may_move_or_close_it() {
        let (directory, path, mut desk) = open("moves", 0);
        let other = directory.path().join("t");
        desk.open(Some(door(&other, 0))).unwrap();
        assert!(!path.exists() && other.exists());
        desk.open(Some(door(Path::new("/nonexistent/s"), 0)))
            .unwrap_err();
        assert!(desk.door.is_none());
        desk.open(None).unwrap();
    }
}
