//! Where requests come from: the group's listener, and connections that are kept between requests.
//!
//! Runs in: request threads, which wait here for the next request, and the main thread, which looks
//! after connections that no thread serves.
//!
//! Idle threads wait on one epoll set; [`IdleThreads`] limits how many. The kernel gives each event
//! to one of them, the one that has waited for the shortest time, so that under light load few
//! threads run. A woken thread leaves the connection here until it has the GIL; meanwhile the
//! thread that holds the GIL may serve it.
//!
//! An Apache child keeps a connection on which a request was answered, and sends the next request
//! on it. The request is then bound to this process before it is known whether a thread is idle. If
//! all threads are busy or wait for the GIL, and none has started a request for a moment, the
//! worker closes such a connection with the request unread: the child sees the reset and connects
//! to the listener, where any process of the group accepts the oldest connection first. The same
//! happens if threads do become free but always find older connections at the listener. For the
//! same reason a kept connection may be closed at any time.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use os::epoll::Epoll;
use os::poll::{poll, Wanted};
use os::{clock, descriptor, socket};
use wire::log_id::CONNECTION_DROPPED;

use super::idle_threads::{Busy, GilWaiter, IdleThreads};
use crate::process::fork::Moment;
use crate::process::process_log;

/// How long a peer may take to begin its first request, in microseconds. A child sends as soon as
/// it has connected.
const FIRST_REQUEST_LIMIT: u64 = 1_000_000;
/// How often the main thread checks for requests that wait while all threads are busy. Their
/// connections are closed if no thread has started a request between two checks: on a machine with
/// too much to do nothing may run for some milliseconds, and then another process is no better.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// How long no thread may start a request while threads wait for the GIL, in microseconds. Python
/// passes the GIL on every 5 ms, to one of the threads that wait for it.
const GIL_STALL: u64 = 20_000;
/// How long the main thread checks often after all threads were busy or one waited for the GIL, in
/// microseconds: starting to check costs a wake-up of the main thread.
const CHECK_OFTEN_FOR: u64 = 100_000;
/// How often the main thread checks for connections whose event went to another process that does
/// not handle it (because it is stopped, has died, or cannot get its GIL): if several processes
/// share the listener and there was a request lately, and otherwise.
const SHARED_CHECK_INTERVAL: Duration = Duration::from_millis(100);
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long ago a request counts as lately, in microseconds.
const RECENTLY: u64 = 10_000_000;
/// How long requests on kept connections may be passed over for connections at the listener, in
/// microseconds.
const PASSED_OVER_LIMIT: u64 = 50_000;
/// Most connections without a request. If there are more children than this, further connections
/// are closed after each request: a worker must leave descriptors to its application.
const MAX_IDLE_CONNECTIONS: usize = 256;

/// Tokens of the epoll set; those of connections are their descriptors.
const LISTENER: u64 = u64::MAX;
const CLOSING: u64 = u64::MAX - 1;

/// A connection of an Apache child, whether or not it carries a request just now.
pub struct ChildConnection {
    fd: OwnedFd,
    /// When it was accepted, in microseconds of the monotonic clock, if no request was served on
    /// it.
    new_since: Option<u64>,
    /// It is in the epoll set, and only has to be armed again.
    in_set: bool,
    /// [`RequestSource::forks`] when a thread took the connection.
    forks: usize,
}

impl ChildConnection {
    pub fn new(fd: OwnedFd, forks: usize) -> Self {
        Self {
            fd,
            new_since: Some(clock::monotonic_us()),
            in_set: false,
            forks,
        }
    }

    /// No request was served on it.
    pub fn is_new(&self) -> bool {
        self.new_since.is_some()
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Connections without a request, by descriptor.
#[derive(Default)]
struct IdleConnections {
    connections: Vec<Option<ChildConnection>>,
    count: usize,
    /// How many of them are new.
    new: usize,
    /// Tokens of connections whose event a thread got that now waits for the GIL, oldest first.
    /// Some may have been taken meanwhile.
    found: VecDeque<u64>,
    closed: bool,
}

impl IdleConnections {
    fn take(&mut self, token: u64) -> Option<ChildConnection> {
        let place = self.connections.get_mut(usize::try_from(token).ok()?)?;
        let connection = place.take()?;
        self.count -= 1;
        self.new -= usize::from(connection.is_new());
        Some(connection)
    }

    fn put(&mut self, connection: ChildConnection) -> &ChildConnection {
        let at = connection.fd.as_raw_fd() as usize;
        if self.connections.len() <= at {
            self.connections.resize_with(at + 1, || None);
        }
        self.count += 1;
        self.new += usize::from(connection.is_new());
        self.connections[at].insert(connection)
    }
}

/// What a thread is to serve next.
pub enum Picked {
    /// A kept connection, most likely with a request.
    Known(ChildConnection),
    /// A connection that was just accepted.
    New(ChildConnection),
    /// There is none.
    Nothing,
    /// No connection can be accepted now; the reason.
    Failed(io::Error),
}

/// Where the threads of one process get their requests.
pub struct RequestSource {
    set: Epoll,
    listener: OwnedFd,
    /// Readable once the source is closed; it must stay open to remain in the epoll set.
    _closing: OwnedFd,
    closer: Mutex<Option<OwnedFd>>,
    idle: Mutex<IdleConnections>,
    /// A connection may wait at the listener. It comes before requests on kept connections, which
    /// may have been sent later.
    more_at_listener: AtomicBool,
    /// Several processes share the listener.
    is_shared: bool,
    /// Which of the threads wait here.
    pub threads: IdleThreads,
    /// Requests that were started, and how many of them came on kept connections.
    served: AtomicUsize,
    served_keep_alive: AtomicUsize,
    /// Since when connections wait at the listener and none can be accepted, in microseconds of the
    /// monotonic clock; 0 if that is not so.
    refused_since: AtomicU64,
    /// The main thread checks every [`CHECK_INTERVAL`].
    attended: AtomicBool,
    /// Changes when the application forks: the new process has copies of the connections that
    /// threads served then, so their peer would not see it if this process closed one.
    forks: AtomicUsize,
}

/// What the main thread remembers between two checks. The first two only while no thread is free.
#[derive(Default)]
pub struct StallWatch {
    /// Of [`RequestSource::served`].
    served: Unchanged,
    /// Of [`RequestSource::served_keep_alive`].
    keep_alive: Unchanged,
    /// Of [`RequestSource::served`], also while threads are free.
    ever: Unchanged,
    /// A request was started lately.
    lately: bool,
    /// Until when to check often.
    until: u64,
    /// [`RequestSource::attended`] was true and no longer is, and [`RequestSource::is_attending`]
    /// was not called since.
    was_attended: bool,
}

/// The last value of a counter, and since when it has not changed.
#[derive(Default)]
struct Unchanged(Option<(usize, u64)>);

impl Unchanged {
    /// How long it has been `count`, in microseconds, as far as was seen.
    fn unchanged_for(&mut self, count: usize, now: u64) -> u64 {
        match self.0 {
            Some((before, since)) if before == count => now - since,
            _ => {
                self.0 = Some((count, now));
                0
            }
        }
    }
}

impl RequestSource {
    /// A source for `threads` threads at the group's listener, which one process holds or several.
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
            idle: Mutex::default(),
            more_at_listener: AtomicBool::new(false),
            is_shared,
            threads: IdleThreads::new(threads as usize),
            served: AtomicUsize::new(0),
            served_keep_alive: AtomicUsize::new(0),
            refused_since: AtomicU64::new(0),
            attended: AtomicBool::new(false),
            forks: AtomicUsize::new(0),
        })
    }

    /// The group's listener.
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    fn idle(&self) -> MutexGuard<'_, IdleConnections> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is a connection to serve; [`RequestSource::pick`] then returns it, to this
    /// thread or to another. False if the thread is only to check whether to go on.
    ///
    /// # Errors
    /// If the epoll set cannot be waited on.
    pub fn wait(&self) -> io::Result<bool> {
        if self.more_at_listener.load(Ordering::Relaxed) {
            if is_readable(self.listener.as_fd()) {
                return Ok(true);
            }
            self.more_at_listener.store(false, Ordering::Relaxed);
        }
        match self.set.wait(None) {
            Ok(Some(LISTENER)) => self.more_at_listener.store(true, Ordering::Relaxed),
            // The source is closed, and stays readable.
            Ok(Some(CLOSING) | None) => return Ok(false),
            Ok(Some(token)) => self.idle().found.push_back(token),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Takes a connection that is to be served. Does not wait.
    ///
    /// Connections that were found come first: so each thread that found one takes one, and none is
    /// left behind when the thread that found it serves another.
    pub fn pick(&self) -> Picked {
        let mut idle = self.idle();
        while let Some(token) = idle.found.pop_front() {
            if let Some(connection) = idle.take(token) {
                return self.known(connection);
            }
        }
        drop(idle);
        if self.more_at_listener.load(Ordering::Relaxed) {
            match self.accept() {
                Picked::Nothing => {}
                next => return next,
            }
        }
        match self.set.wait(Some(Duration::ZERO)) {
            Ok(Some(LISTENER)) => self.accept(),
            Ok(Some(CLOSING) | None) => Picked::Nothing,
            Ok(Some(token)) => match self.idle().take(token) {
                Some(connection) => self.known(connection),
                None => Picked::Nothing,
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Picked::Nothing,
            Err(error) => Picked::Failed(error),
        }
    }

    fn known(&self, mut connection: ChildConnection) -> Picked {
        self.served_keep_alive.fetch_add(1, Ordering::Relaxed);
        connection.forks = self.forks();
        Picked::Known(connection)
    }

    fn accept(&self) -> Picked {
        match self.next_at_listener() {
            Ok(fd) => {
                self.more_at_listener.store(true, Ordering::Relaxed);
                self.refused_since.store(0, Ordering::Relaxed);
                self.step_back();
                Picked::New(ChildConnection::new(fd, self.forks()))
            }
            Err(error) => {
                self.more_at_listener.store(false, Ordering::Relaxed);
                match error.kind() {
                    io::ErrorKind::WouldBlock
                    | io::ErrorKind::Interrupted
                    | io::ErrorKind::ConnectionAborted => Picked::Nothing,
                    _ => {
                        self.note_refused(clock::monotonic_us());
                        Picked::Failed(error)
                    }
                }
            }
        }
    }

    /// Does not wait, whatever flags an application has given the socket: all processes of the group
    /// share them, and a thread that waited here would have the GIL.
    fn next_at_listener(&self) -> io::Result<OwnedFd> {
        descriptor::set_nonblocking(self.listener.as_fd())?;
        socket::accept(self.listener.as_fd())
    }

    fn note_refused(&self, now: u64) {
        // Only the first failure in a row sets it.
        let _ = self.refused_since.compare_exchange(
            0,
            now.max(1),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// How long connections have waited at the listener while none could be accepted, in
    /// microseconds.
    pub fn refused_for(&self, now: u64) -> u64 {
        match self.refused_since.load(Ordering::Relaxed) {
            0 => 0,
            since => now.saturating_sub(since),
        }
    }

    /// Lets the other processes of the group go first next time: the kernel wakes waiters of a
    /// listener in the order in which they were added.
    fn step_back(&self) {
        if self.is_shared {
            self.listen_anew();
        }
    }

    /// Adds the listener to the epoll set again, so that connections that wait there are reported
    /// as if they had just arrived.
    fn listen_anew(&self) {
        // One thread at a time, and never after the source was closed.
        let idle = self.idle();
        if !idle.closed {
            let _ = self.set.remove(self.listener.as_fd());
            let _ = self.set.add_shared(self.listener.as_fd(), LISTENER);
        }
    }

    /// Thread `number` serves a request since `now`, in microseconds of the monotonic clock. True
    /// if the main thread must be woken, to look after connections that arrive meanwhile.
    #[must_use]
    pub fn serve(&self, number: u32, now: u64) -> (Busy<'_>, bool) {
        self.served.fetch_add(1, Ordering::Relaxed);
        let busy = self.threads.serve(number, now);
        let wake = self.threads.all_busy() && self.idle().count > 0 && self.is_to_be_attended();
        (busy, wake)
    }

    /// The calling thread waits for the GIL before it picks a connection. True as for
    /// [`RequestSource::serve`].
    #[must_use]
    pub fn wait_for_gil(&self) -> (GilWaiter<'_>, bool) {
        let waiting = self.threads.wait_for_gil();
        (waiting, self.threads.is_busy() && self.is_to_be_attended())
    }

    /// True while the main thread checks every few milliseconds.
    pub fn attended(&self) -> &AtomicBool {
        &self.attended
    }

    fn is_to_be_attended(&self) -> bool {
        !self.attended.load(Ordering::SeqCst) && !self.attended.swap(true, Ordering::SeqCst)
    }

    /// Whether a connection would be kept now.
    pub fn has_room(&self) -> bool {
        let idle = self.idle();
        !idle.closed && idle.count < MAX_IDLE_CONNECTIONS
    }

    /// Keeps a connection whose request has been served, for the next one; closes it if it cannot
    /// be kept.
    pub fn keep(&self, mut connection: ChildConnection) {
        connection.new_since = None;
        if connection.forks == self.forks() {
            self.put_back(connection);
        }
    }

    /// Keeps a connection on which nothing has come yet. If it is new, wake the main thread.
    pub fn put_back(&self, connection: ChildConnection) {
        let mut idle = self.idle();
        if idle.closed || idle.count >= MAX_IDLE_CONNECTIONS {
            return;
        }
        let token = connection.fd.as_raw_fd() as u64;
        let was_in_set = connection.in_set;
        // Stored before it is armed: a thread may get its event at once.
        let connection = idle.put(ChildConnection {
            in_set: true,
            ..connection
        });
        let done = match was_in_set {
            true => self.set.once_more(connection.as_fd(), token),
            false => self.set.add_once(connection.as_fd(), token),
        };
        if done.is_err() {
            idle.take(token);
        }
    }

    /// Takes no more requests: wakes all threads that wait here, now and later, and closes kept
    /// connections, so that requests on them go to another process.
    pub fn close(&self) {
        let mut idle = self.idle();
        if std::mem::replace(&mut idle.closed, true) {
            return;
        }
        let connections = std::mem::take(&mut idle.connections);
        (idle.count, idle.new) = (0, 0);
        drop(idle);
        drop(connections);
        let mut closer = self.closer.lock().unwrap_or_else(PoisonError::into_inner);
        drop(closer.take());
        self.threads.close();
        // A thread may have got the event of a connection at the listener that it no longer
        // accepts; other processes do not get that event. If the connection is closed unread, the
        // child connects again, and that is a new event.
        let _ = self.set.remove(self.listener.as_fd());
        self.more_at_listener.store(false, Ordering::Relaxed);
        drop(self.next_at_listener());
    }

    fn forks(&self) -> usize {
        self.forks.load(Ordering::SeqCst)
    }

    /// The application forks. The new process closes its copies of idle connections.
    pub fn note_fork(&self, moment: Moment) {
        self.forks.fetch_add(1, Ordering::SeqCst);
        if moment == Moment::Inside {
            // Another thread may have held the lock at the fork, and does not exist in this
            // process.
            if let Ok(mut idle) = self.idle.try_lock() {
                idle.closed = true;
                idle.connections.clear();
            }
        }
    }

    /// Looks after idle connections. Called by the main thread between its waits.
    pub fn look(&self, stalls: &mut StallWatch, now: u64) {
        self.drop_silent(now);
        let ever = stalls
            .ever
            .unchanged_for(self.served.load(Ordering::Relaxed), now);
        stalls.lately = ever < RECENTLY;
        if self.refused_for(now) > 0 && !is_readable(self.listener.as_fd()) {
            // Another process has taken what waited, or the kernel looked for a descriptor before it
            // found that nothing waits.
            self.refused_since.store(0, Ordering::Relaxed);
        }
        if now >= stalls.until {
            // Before the threads are counted: a thread that still sees it set has been counted. A
            // thread may have set it just now, and another have held back a piece since.
            stalls.was_attended |= self.attended.swap(false, Ordering::SeqCst);
        }
        let all_busy = self.threads.all_busy();
        if !all_busy && !self.threads.gil_is_waited_for() {
            (stalls.served, stalls.keep_alive) = Default::default();
            // The event of a connection may have gone to a process that does not handle it.
            if is_readable(self.listener.as_fd()) {
                self.listen_anew();
            }
        } else if self.idle().count > 0 {
            stalls.until = now + CHECK_OFTEN_FOR;
            self.attended.store(true, Ordering::SeqCst);
            let served = self.served.load(Ordering::Relaxed);
            let keep_alive = self.served_keep_alive.load(Ordering::Relaxed);
            let limit = match all_busy {
                true => CHECK_INTERVAL.as_micros() as u64,
                false => GIL_STALL,
            };
            // No thread has started a request for a moment, or connections at the listener always
            // go first.
            let stuck =
                stalls.served.unchanged_for(served, now) >= limit && (all_busy || self.is_shared);
            let passed_over = stalls.keep_alive.unchanged_for(keep_alive, now) >= PASSED_OVER_LIMIT
                && self.more_at_listener.load(Ordering::Relaxed);
            if stuck || passed_over {
                self.close_waiting();
            }
        }
    }

    /// Whether the main thread must send what request threads hold back: while it checks often, and
    /// once more afterwards.
    pub fn is_attending(&self, stalls: &mut StallWatch) -> bool {
        std::mem::take(&mut stalls.was_attended) || self.attended.load(Ordering::SeqCst)
    }

    /// How soon to check again.
    pub fn next_look(&self, stalls: &StallWatch, now: u64) -> Duration {
        if now < stalls.until {
            return CHECK_INTERVAL;
        }
        if self.idle().new > 0 {
            return Duration::from_micros(FIRST_REQUEST_LIMIT / 10);
        }
        match self.is_shared && stalls.lately {
            true => SHARED_CHECK_INTERVAL,
            false => IDLE_CHECK_INTERVAL,
        }
    }

    /// Closes the connections on which requests wait. New ones stay if no other process could take
    /// them: their children have connected to the listener already. A thread may have accepted one
    /// before its request came, and have found another request by then.
    fn close_waiting(&self) {
        let stays = |connection: &ChildConnection| connection.is_new() && !self.is_shared;
        let mut idle = self.idle();
        let found = std::mem::take(&mut idle.found);
        let found: Vec<_> = found
            .into_iter()
            .filter_map(|token| idle.take(token))
            .collect();
        drop(idle);
        let mut staying: Vec<_> = found.into_iter().filter(stays).collect();
        // The listener is reported again and again, after all others.
        let mut others = 0;
        for _ in 0..2 * MAX_IDLE_CONNECTIONS {
            match self.set.wait(Some(Duration::ZERO)) {
                Ok(Some(LISTENER | CLOSING)) if others < 2 => others += 1,
                Ok(Some(LISTENER | CLOSING) | None) | Err(_) => break,
                Ok(Some(token)) => {
                    others = 0;
                    staying.extend(self.idle().take(token).filter(stays));
                }
            }
        }
        for connection in staying {
            self.put_back(connection);
        }
    }

    /// Closes new connections over which nothing has come for too long.
    fn drop_silent(&self, now: u64) {
        let mut idle = self.idle();
        if idle.new == 0 {
            return;
        }
        let is_late = |connection: &ChildConnection| {
            let late = connection
                .new_since
                .is_some_and(|since| now >= since + FIRST_REQUEST_LIMIT);
            // A connection on which a request waits is not silent.
            late && !is_readable(connection.as_fd())
        };
        let late: Vec<u64> = (0..)
            .zip(&idle.connections)
            .filter(|(_, connection)| connection.as_ref().is_some_and(is_late))
            .map(|(token, _)| token)
            .collect();
        let dropped: Vec<_> = late.iter().filter_map(|&token| idle.take(token)).collect();
        drop(idle);
        if !dropped.is_empty() {
            process_log::error_at_times(&format!(
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
mod tests;
