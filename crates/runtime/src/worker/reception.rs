//! Where requests come in: the group's listener, and connections that are kept between requests.
//!
//! Runs in: request threads, which wait here for whatever comes first, and the main thread, which
//! looks after those that nobody serves. All threads wait on one set, and the kernel gives each
//! event to one of them, the one that waits since the shortest time: under light load few threads
//! stay warm.
//!
//! An Apache child keeps a connection over which a request was answered and sends the next one over
//! it. That binds the request to this process before anybody knows whether a thread here is idle.
//! So a connection on which a request waits while all threads are busy, and none has taken anything
//! up for a moment, is closed with the request unread: the child sees the reset, and asks at the
//! listener, where any process of the group takes the oldest first. The same happens where threads do
//! come free, but always find older ones at the listener. Closing a kept connection is safe at any
//! time for the same reason.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use os::epoll::Epoll;
use os::poll::{poll, Wanted};
use os::{clock, descriptor, socket};
use wire::log_id::CONNECTION_DROPPED;

use crate::process_log;

/// How long a peer may take to begin its first request, in microseconds: a child sends in the
/// moment it has connected.
const PATIENCE: u64 = 1_000_000;
/// How often it is looked for requests that wait while all threads are busy. They are sent elsewhere
/// when none has taken anything up from one look to the next: on a machine with too much to do
/// nothing may run for some milliseconds, and then elsewhere is no better.
const GLANCE: Duration = Duration::from_millis(5);
/// How long that goes on after a moment in which all threads were busy, in microseconds: to begin
/// it takes waking the main thread.
const VIGIL: u64 = 100_000;
/// How often it is looked for connections whose event another process has got and not attended to.
const ROUND: Duration = Duration::from_secs(1);
/// For how long requests on kept connections may be passed over for those at the listener, in
/// microseconds.
const PASSED_OVER: u64 = 50_000;
/// Most connections without a request. More children than that are not kept up with; a worker must
/// keep descriptors for its application.
const MOST_GUESTS: usize = 256;

/// Tokens of the set; those of guests are their descriptors.
const LISTENER: u64 = u64::MAX;
const CLOSING: u64 = u64::MAX - 1;

/// A connection on which no request is served.
struct Guest {
    fd: OwnedFd,
    /// For one that has not sent anything yet: when it came, in microseconds of the monotonic clock.
    silent_since: Option<u64>,
}

impl Guest {
    fn is_new(&self) -> bool {
        self.silent_since.is_some()
    }
}

/// The guests, by descriptor.
#[derive(Default)]
struct Room {
    guests: Vec<Option<Guest>>,
    count: usize,
    silent: usize,
    closed: bool,
}

impl Room {
    fn take(&mut self, token: u64) -> Option<Guest> {
        let guest = self.guests.get_mut(usize::try_from(token).ok()?)?.take()?;
        self.count -= 1;
        self.silent -= usize::from(guest.is_new());
        Some(guest)
    }

    fn put(&mut self, guest: Guest) {
        let at = guest.fd.as_raw_fd() as usize;
        if self.guests.len() <= at {
            self.guests.resize_with(at + 1, || None);
        }
        self.count += 1;
        self.silent += usize::from(guest.is_new());
        self.guests[at] = Some(guest);
    }
}

/// What a thread is to do next.
pub enum Next {
    /// A connection that was kept, and most likely carries a request.
    Kept(OwnedFd),
    /// A new connection.
    New(OwnedFd),
    /// To look whether it is to go on, and to ask again.
    Nothing,
    /// No connection can be taken now; the reason.
    Failed(io::Error),
}

/// The reception of one process.
pub struct Reception {
    set: Epoll,
    listener: OwnedFd,
    /// Readable from the moment the reception is closed, and in the set as long as it is open here.
    _closing: OwnedFd,
    closer: Mutex<Option<OwnedFd>>,
    room: Mutex<Room>,
    /// Connections that wait at the listener come before requests on kept ones, which may have been
    /// sent later. Where none waits it is not asked.
    others_wait: AtomicBool,
    /// Several processes share the listener.
    is_shared: bool,
    threads: usize,
    /// Threads that serve a request.
    busy: AtomicUsize,
    /// Counts what was taken up, and of it what came over kept connections.
    taken: AtomicUsize,
    taken_kept: AtomicUsize,
    /// The main thread looks for requests that wait.
    watched: AtomicBool,
}

/// What the main thread remembers from one look to the next.
#[derive(Default)]
pub struct Lookout {
    /// [`Reception::taken`], and since when it is that with all threads busy.
    taken: Option<(usize, u64)>,
    /// [`Reception::taken_kept`], and since when it is that.
    kept: (usize, u64),
    /// Until when to go on looking often.
    until: u64,
}

/// A thread that serves something, as long as this lives.
pub struct Busy<'a>(&'a Reception);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Reception {
    /// Opens the reception for `threads` threads at the group's listener, which one process holds or
    /// several.
    pub fn open(listener: OwnedFd, threads: u32, is_shared: bool) -> io::Result<Self> {
        let set = Epoll::new()?;
        let (closing, closer) = descriptor::pipe()?;
        set.add_shared(listener.as_fd(), LISTENER)?;
        set.add(closing.as_fd(), CLOSING)?;
        Ok(Self {
            set,
            listener,
            _closing: closing,
            closer: Mutex::new(Some(closer)),
            room: Mutex::default(),
            others_wait: AtomicBool::new(false),
            is_shared,
            threads: threads as usize,
            busy: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            taken_kept: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
        })
    }

    /// Where connections wait that no process has taken.
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do.
    pub fn next(&self) -> Next {
        if self.others_wait.load(Ordering::Relaxed) {
            match self.accept() {
                Next::Nothing => {}
                next => return next,
            }
        }
        match self.set.wait(None) {
            Ok(Some(LISTENER)) => self.accept(),
            // Others took it, or it is to be closed: then it stays so.
            Ok(Some(CLOSING) | None) => Next::Nothing,
            Ok(Some(token)) => match self.room().take(token) {
                Some(guest) => {
                    self.taken_kept.fetch_add(1, Ordering::Relaxed);
                    Next::Kept(guest.fd)
                }
                None => Next::Nothing,
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Next::Nothing,
            Err(error) => Next::Failed(error),
        }
    }

    fn accept(&self) -> Next {
        match socket::accept(self.listener.as_fd()) {
            Ok(fd) => {
                self.others_wait.store(true, Ordering::Relaxed);
                self.step_back();
                Next::New(fd)
            }
            Err(error) => {
                self.others_wait.store(false, Ordering::Relaxed);
                match error.kind() {
                    io::ErrorKind::WouldBlock
                    | io::ErrorKind::Interrupted
                    | io::ErrorKind::ConnectionAborted => Next::Nothing,
                    _ => Next::Failed(error),
                }
            }
        }
    }

    /// Lets the other processes of the group go first next time: the kernel asks those that wait at
    /// a listener in the order in which they came to it.
    fn step_back(&self) {
        if self.is_shared {
            // Threads that do this at once meet what the other has done; the last one adds.
            let _ = self.set.remove(self.listener.as_fd());
            let _ = self.set.add_shared(self.listener.as_fd(), LISTENER);
        }
    }

    /// The calling thread serves something. True where the main thread has to be woken, to look after
    /// those who come meanwhile.
    #[must_use]
    pub fn serve(&self) -> (Busy<'_>, bool) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let busy = self.busy.fetch_add(1, Ordering::SeqCst) + 1;
        let all = busy >= self.threads && self.room().count > 0;
        (
            Busy(self),
            all && !self.watched.swap(true, Ordering::SeqCst),
        )
    }

    /// Whether a connection would be kept now.
    pub fn has_room(&self) -> bool {
        let room = self.room();
        !room.closed && room.count < MOST_GUESTS
    }

    /// Keeps a connection for its next request. `is_known` where it was here before. Where it can't
    /// be kept it is closed.
    pub fn keep(&self, fd: OwnedFd, is_known: bool) {
        self.admit(fd, is_known, None);
    }

    /// Keeps a new connection until it sends something. The main thread is to be woken.
    pub fn await_first(&self, fd: OwnedFd) {
        self.admit(fd, false, Some(clock::monotonic_us()));
    }

    fn admit(&self, fd: OwnedFd, is_known: bool, silent_since: Option<u64>) {
        let mut room = self.room();
        if room.closed || room.count >= MOST_GUESTS {
            return;
        }
        let token = fd.as_raw_fd() as u64;
        // In the room before it is in the set: a thread may be told of it at once.
        room.put(Guest { fd, silent_since });
        let Some(Some(guest)) = room.guests.get(token as usize) else {
            return;
        };
        let added = match is_known {
            true => self.set.once_more(guest.fd.as_fd(), token),
            false => self.set.add_once(guest.fd.as_fd(), token),
        };
        if added.is_err() {
            room.take(token);
        }
    }

    /// Nobody comes in any more: wakes all threads that wait here, now and later, and closes what was
    /// kept, so that what waits there goes elsewhere.
    pub fn close(&self) {
        drop(
            self.closer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let mut room = self.room();
        room.closed = true;
        let guests = std::mem::take(&mut room.guests);
        (room.count, room.silent) = (0, 0);
        drop(room);
        drop(guests);
    }

    /// In a process that the application forked: gives up the copies of what belongs to the worker,
    /// whose end would else not be seen by those at the other ends.
    pub fn leave_to_parent(&self) {
        // Another thread may have held the lock at that moment, and is not in this process.
        if let Ok(mut room) = self.room.try_lock() {
            room.closed = true;
            room.guests.clear();
        }
    }

    /// Looks after the guests. Called by the main thread between its waits.
    pub fn look(&self, lookout: &mut Lookout, now: u64) {
        self.drop_silent(now);
        if now >= lookout.until {
            // Before the threads are counted: one that sees it set afterwards has been counted.
            self.watched.store(false, Ordering::SeqCst);
        }
        let all_busy = self.busy.load(Ordering::SeqCst) >= self.threads;
        if !all_busy {
            lookout.taken = None;
            // The event of a connection may have gone to a process that was stopped.
            if self.is_shared && is_readable(self.listener.as_fd()) {
                self.step_back();
            }
        } else if self.room().count > 0 {
            lookout.until = now + VIGIL;
            self.watched.store(true, Ordering::SeqCst);
            if self.stands_still(lookout, now) || self.passes_over(lookout, now) {
                self.send_away();
            }
        }
    }

    /// Whether no thread has taken anything up for a moment.
    fn stands_still(&self, lookout: &mut Lookout, now: u64) -> bool {
        let taken = self.taken.load(Ordering::Relaxed);
        match lookout.taken {
            Some((before, since)) if before == taken => now >= since + GLANCE.as_micros() as u64,
            _ => {
                lookout.taken = Some((taken, now));
                false
            }
        }
    }

    /// Whether those at the listener have gone before for long.
    fn passes_over(&self, lookout: &mut Lookout, now: u64) -> bool {
        let kept = self.taken_kept.load(Ordering::Relaxed);
        if lookout.kept.0 != kept || !self.others_wait.load(Ordering::Relaxed) {
            lookout.kept = (kept, now);
        }
        now >= lookout.kept.1 + PASSED_OVER
    }

    /// How soon to look again; `None` where nothing is to be looked after.
    pub fn next_look(&self, lookout: &Lookout, now: u64) -> Option<Duration> {
        if now < lookout.until {
            return Some(GLANCE);
        }
        if self.room().silent > 0 {
            return Some(Duration::from_micros(PATIENCE / 10));
        }
        self.is_shared.then_some(ROUND)
    }

    /// Closes the connections on which requests wait. New ones stay: their children have done what is
    /// asked of them here.
    fn send_away(&self) {
        let mut new = Vec::new();
        // The listener is told of again and again, behind all others.
        let mut others = 0;
        for _ in 0..2 * MOST_GUESTS {
            match self.set.wait(Some(Duration::ZERO)) {
                Ok(Some(LISTENER | CLOSING)) if others < 2 => others += 1,
                Ok(Some(LISTENER | CLOSING) | None) | Err(_) => break,
                Ok(Some(token)) => {
                    others = 0;
                    new.extend(self.room().take(token).filter(Guest::is_new));
                }
            }
        }
        for guest in new {
            self.admit(guest.fd, true, guest.silent_since);
        }
    }

    /// Closes new connections over which nothing has come for too long.
    fn drop_silent(&self, now: u64) {
        let mut room = self.room();
        if room.silent == 0 {
            return;
        }
        let is_late = |guest: &Guest| {
            let late = guest
                .silent_since
                .is_some_and(|since| now >= since + PATIENCE);
            // A request that waits for a thread is nobody's silence.
            late && !is_readable(guest.fd.as_fd())
        };
        let late: Vec<u64> = (0..)
            .zip(&room.guests)
            .filter(|(_, guest)| guest.as_ref().is_some_and(is_late))
            .map(|(token, _)| token)
            .collect();
        let dropped: Vec<_> = late.iter().filter_map(|&token| room.take(token)).collect();
        drop(room);
        if !dropped.is_empty() {
            process_log::occasionally(&format!(
                "{CONNECTION_DROPPED}: a connection to the process group was dropped: it sent nothing \
                 for a second"
            ));
        }
    }
}

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut wanted = [Wanted::readable(fd)];
    poll(&mut wanted, Some(Duration::ZERO)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::atomic::AtomicU32;

    use super::*;

    const TICK: u64 = GLANCE.as_micros() as u64;

    /// A reception, and how to connect to it.
    fn open(threads: u32) -> (Reception, impl Fn() -> UnixStream) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "reception-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let reception = Reception::open(listener.into(), threads, false).unwrap();
        let connect = move || UnixStream::connect(&path).unwrap();
        (reception, connect)
    }

    fn new(reception: &Reception) -> OwnedFd {
        match reception.next() {
            Next::New(fd) => fd,
            _ => panic!("no new connection"),
        }
    }

    /// A connection that is kept, from both ends.
    fn kept(reception: &Reception, connect: &impl Fn() -> UnixStream) -> UnixStream {
        let child = connect();
        reception.keep(new(reception), false);
        child
    }

    /// How it ends for the child: with the kind of an error, or without.
    fn end(child: &mut UnixStream) -> Result<usize, io::ErrorKind> {
        child.read(&mut [0; 8]).map_err(|error| error.kind())
    }

    #[test]
    fn a_kept_connection_is_given_out_when_something_comes() {
        let (reception, connect) = open(1);
        let mut child = kept(&reception, &connect);
        for _ in 0..2 {
            child.write_all(b"x").unwrap();
            let fd = loop {
                match reception.next() {
                    Next::Kept(fd) => break fd,
                    Next::Nothing => {}
                    _ => panic!("nobody else is there"),
                }
            };
            socket::recv(fd.as_fd(), &mut [0; 8], socket::Wait::Never).unwrap();
            reception.keep(fd, true);
        }
    }

    #[test]
    fn those_at_the_listener_come_first() {
        let (reception, connect) = open(1);
        let mut first = kept(&reception, &connect);
        let _others = [connect(), connect()];
        first.write_all(b"x").unwrap();
        for _ in 0..2 {
            new(&reception);
        }
        assert!(matches!(reception.next(), Next::Kept(_)));
    }

    #[test]
    fn closing_wakes_all_who_wait_and_closes_what_was_kept() {
        let (reception, connect) = open(3);
        let mut child = kept(&reception, &connect);
        std::thread::scope(|scope| {
            let waiting =
                [(); 3].map(|()| scope.spawn(|| matches!(reception.next(), Next::Nothing)));
            reception.close();
            for thread in waiting {
                assert!(thread.join().unwrap());
            }
        });
        assert_eq!(end(&mut child), Ok(0));
        assert!(!reception.has_room());
    }

    #[test]
    fn a_request_is_sent_away_unread_where_all_are_busy_and_nothing_moves() {
        let (reception, connect) = open(1);
        let mut child = kept(&reception, &connect);
        let mut idle = kept(&reception, &connect);
        idle.set_nonblocking(true).unwrap();
        child.write_all(b"request").unwrap();
        let (busy, wake) = reception.serve();
        assert!(wake);
        let mut lookout = Lookout::default();
        reception.look(&mut lookout, 1000);
        assert_eq!(reception.next_look(&lookout, 1000), Some(GLANCE));
        reception.look(&mut lookout, 1000 + TICK);
        assert_eq!(end(&mut child), Err(io::ErrorKind::ConnectionReset));
        // One without a request stays.
        assert_eq!(end(&mut idle), Err(io::ErrorKind::WouldBlock));
        drop(busy);
    }

    #[test]
    fn a_request_stays_where_threads_come_free_but_not_where_others_always_go_first() {
        let (reception, connect) = open(1);
        let mut child = kept(&reception, &connect);
        child.write_all(b"request").unwrap();
        child.set_nonblocking(true).unwrap();
        let mut lookout = Lookout::default();
        for (looks, seen) in [
            (1..9, io::ErrorKind::WouldBlock),
            (9..20, io::ErrorKind::ConnectionReset),
        ] {
            for look in looks {
                let busy = reception.serve();
                reception.look(&mut lookout, look * TICK);
                drop(busy);
            }
            assert_eq!(end(&mut child), Err(seen));
        }
    }

    #[test]
    fn a_new_connection_has_a_second_to_begin_and_keeps_its_place_once_it_has() {
        let (reception, connect) = open(1);
        let (mut silent, mut speaks) = (connect(), connect());
        let now = clock::monotonic_us();
        for _ in 0..2 {
            reception.await_first(new(&reception));
        }
        speaks.write_all(b"request").unwrap();
        speaks.set_nonblocking(true).unwrap();
        let _busy = reception.serve();
        let mut lookout = Lookout::default();
        for look in 0..3 {
            reception.look(&mut lookout, now + look * 2 * TICK);
        }
        reception.look(&mut lookout, now + 10 * PATIENCE);
        assert_eq!(end(&mut silent), Ok(0));
        assert_eq!(end(&mut speaks), Err(io::ErrorKind::WouldBlock));
    }
}
