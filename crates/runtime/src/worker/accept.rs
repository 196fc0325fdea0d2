//! Where requests come in: the group's listener, and connections that are kept between requests.
//!
//! Runs in: request threads, which wait here for whatever comes first, and the main thread, which
//! looks after those that nobody serves. Idle threads wait on one set, as many of them as the
//! [`Roster`] lets, and the kernel gives each event to one of them, the one that waits since the
//! shortest time: under light load few threads stay warm. What a thread was woken for it leaves here
//! until it has Python's lock; meanwhile the thread that has it may take it up.
//!
//! An Apache child keeps a connection over which a request was answered and sends the next one over
//! it. That binds the request to this process before anybody knows whether a thread here is idle.
//! So a connection on which a request waits while all threads are busy or wait for Python's lock, and
//! none has taken anything up for a moment, is closed with the request unread: the child sees the
//! reset, and asks at the listener, where any process of the group takes the oldest first. The same
//! happens where threads do come free, but always find older ones at the listener. Closing a kept
//! connection is safe at any time for the same reason.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use os::epoll::Epoll;
use os::poll::{poll, Wanted};
use os::{clock, descriptor, socket};
use wire::log_id::CONNECTION_DROPPED;

use super::idle_threads::{Busy, Contending, Roster};
use crate::process::fork::Moment;
use crate::process::process_log;

/// How long a peer may take to begin its first request, in microseconds: a child sends in the
/// moment it has connected.
const PATIENCE: u64 = 1_000_000;
/// How often it is looked for requests that wait while all threads are busy. They are sent elsewhere
/// when none has taken anything up from one look to the next: on a machine with too much to do
/// nothing may run for some milliseconds, and then elsewhere is no better.
const GLANCE: Duration = Duration::from_millis(5);
/// For how long nothing may be taken up while threads wait for Python's lock, in microseconds. In
/// Python the lock is passed on every 5 ms, to one of those that wait for it.
const LOCKED_OUT: u64 = 20_000;
/// How long it is looked often after a moment in which all threads were busy or one waited for
/// Python's lock, in microseconds: to begin it takes waking the main thread.
const VIGIL: u64 = 100_000;
/// How often it is looked for connections whose event another process has got and does not attend
/// to, because it is stopped, has died, or something in it keeps Python's lock: where several share
/// the listener and there is something to do now and then, and otherwise.
const ROUND: Duration = Duration::from_millis(100);
const LONG_ROUND: Duration = Duration::from_secs(1);
/// How long it is looked often after something was taken up, in microseconds.
const NOW_AND_THEN: u64 = 10_000_000;
/// For how long requests on kept connections may be passed over for those at the listener, in
/// microseconds.
const PASSED_OVER: u64 = 50_000;
/// Most connections without a request. More children than that are not kept up with; a worker must
/// keep descriptors for its application.
const MOST_VISITORS: usize = 256;

/// Tokens of the set; those of visitors are their descriptors.
const LISTENER: u64 = u64::MAX;
const CLOSING: u64 = u64::MAX - 1;

/// A connection of an Apache child, whether or not it carries a request just now.
pub struct Visitor {
    fd: OwnedFd,
    /// For one that has not had a request served: when it came, in microseconds of the monotonic
    /// clock.
    new_since: Option<u64>,
    /// It is in the set, where it has to be asked for anew.
    in_set: bool,
    /// [`Reception::forks`] when it was handed out.
    forks: usize,
}

impl Visitor {
    pub fn new(fd: OwnedFd, forks: usize) -> Self {
        Self {
            fd,
            new_since: Some(clock::monotonic_us()),
            in_set: false,
            forks,
        }
    }

    /// No request of it has been served.
    pub fn is_new(&self) -> bool {
        self.new_since.is_some()
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Visitors without a request, by descriptor.
#[derive(Default)]
struct Room {
    visitors: Vec<Option<Visitor>>,
    count: usize,
    /// Those of them that are new.
    new: usize,
    /// Tokens of those whose event was told to a thread that then waits for Python's lock: oldest
    /// first. Some may have left.
    found: VecDeque<u64>,
    closed: bool,
}

impl Room {
    fn take(&mut self, token: u64) -> Option<Visitor> {
        let place = self.visitors.get_mut(usize::try_from(token).ok()?)?;
        let visitor = place.take()?;
        self.count -= 1;
        self.new -= usize::from(visitor.is_new());
        Some(visitor)
    }

    fn put(&mut self, visitor: Visitor) -> &Visitor {
        let at = visitor.fd.as_raw_fd() as usize;
        if self.visitors.len() <= at {
            self.visitors.resize_with(at + 1, || None);
        }
        self.count += 1;
        self.new += usize::from(visitor.is_new());
        self.visitors[at].insert(visitor)
    }
}

/// Who has been picked.
pub enum Next {
    /// One that was here before, and most likely brings a request.
    Known(Visitor),
    /// One that has just come.
    New(Visitor),
    /// Nobody is here.
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
    /// Which threads wait here.
    pub roster: Roster,
    /// Counts what was taken up, and of it what came over kept connections.
    taken: AtomicUsize,
    taken_kept: AtomicUsize,
    /// The main thread looks every [`GLANCE`], for requests that wait among others.
    attended: AtomicBool,
    /// Changes when the application forks: the new process has a copy of what was handed out by then,
    /// and nobody would see its end when this process closes it.
    forks: AtomicUsize,
}

/// What the main thread remembers from one look to the next. The first two only while no thread is
/// free.
#[derive(Default)]
pub struct Lookout {
    /// Of [`Reception::taken`].
    taken: Still,
    /// Of [`Reception::taken_kept`].
    kept: Still,
    /// Of [`Reception::taken`], also while threads are free.
    ever: Still,
    /// Something was taken up lately.
    lately: bool,
    /// Until when to go on looking often.
    until: u64,
    /// The last time it was said that this goes on.
    attended: bool,
}

/// A counter, and since when it has stood still.
#[derive(Default)]
struct Still(Option<(usize, u64)>);

impl Still {
    /// For how long it has been `count`, in microseconds, as far as that was seen.
    fn stands(&mut self, count: usize, now: u64) -> u64 {
        match self.0 {
            Some((before, since)) if before == count => now - since,
            _ => {
                self.0 = Some((count, now));
                0
            }
        }
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
            roster: Roster::new(threads as usize),
            taken: AtomicUsize::new(0),
            taken_kept: AtomicUsize::new(0),
            attended: AtomicBool::new(false),
            forks: AtomicUsize::new(0),
        })
    }

    /// Where connections wait that no process has taken.
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until somebody comes in, who is then to be had from [`Reception::pick`]: by the calling
    /// thread or by another. False where it is only to be looked whether to go on.
    ///
    /// # Errors
    /// The set can't be waited on.
    pub fn wait(&self) -> io::Result<bool> {
        if self.others_wait.load(Ordering::Relaxed) {
            if is_readable(self.listener.as_fd()) {
                return Ok(true);
            }
            self.others_wait.store(false, Ordering::Relaxed);
        }
        match self.set.wait(None) {
            Ok(Some(LISTENER)) => self.others_wait.store(true, Ordering::Relaxed),
            // It is to be closed: then it stays so.
            Ok(Some(CLOSING) | None) => return Ok(false),
            Ok(Some(token)) => self.room().found.push_back(token),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Takes somebody who has come in. Does not wait.
    ///
    /// Those found come first: so whoever has found one takes one, and none is left whose finder has
    /// gone to serve somebody else.
    pub fn pick(&self) -> Next {
        let mut room = self.room();
        while let Some(token) = room.found.pop_front() {
            if let Some(visitor) = room.take(token) {
                return self.known(visitor);
            }
        }
        drop(room);
        if self.others_wait.load(Ordering::Relaxed) {
            match self.accept() {
                Next::Nothing => {}
                next => return next,
            }
        }
        match self.set.wait(Some(Duration::ZERO)) {
            Ok(Some(LISTENER)) => self.accept(),
            Ok(Some(CLOSING) | None) => Next::Nothing,
            Ok(Some(token)) => match self.room().take(token) {
                Some(visitor) => self.known(visitor),
                None => Next::Nothing,
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Next::Nothing,
            Err(error) => Next::Failed(error),
        }
    }

    fn known(&self, mut visitor: Visitor) -> Next {
        self.taken_kept.fetch_add(1, Ordering::Relaxed);
        visitor.forks = self.forks();
        Next::Known(visitor)
    }

    fn accept(&self) -> Next {
        match socket::accept(self.listener.as_fd()) {
            Ok(fd) => {
                self.others_wait.store(true, Ordering::Relaxed);
                self.step_back();
                Next::New(Visitor::new(fd, self.forks()))
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
            self.listen_anew();
        }
    }

    /// Has the threads told of whoever waits at the listener, as if it had just come.
    fn listen_anew(&self) {
        // One at a time, and never after the reception was closed.
        let room = self.room();
        if !room.closed {
            let _ = self.set.remove(self.listener.as_fd());
            let _ = self.set.add_shared(self.listener.as_fd(), LISTENER);
        }
    }

    /// Thread `number` serves something since `now`, in microseconds of the monotonic clock. True
    /// where the main thread has to be woken, to look after those who come meanwhile.
    #[must_use]
    pub fn serve(&self, number: u32, now: u64) -> (Busy<'_>, bool) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let busy = self.roster.serve(number, now);
        let wake = self.roster.all_busy() && self.room().count > 0 && self.is_to_be_attended();
        (busy, wake)
    }

    /// The calling thread waits for Python's lock, to pick somebody. True likewise.
    #[must_use]
    pub fn contend(&self) -> (Contending<'_>, bool) {
        let contending = self.roster.contend();
        (
            contending,
            self.roster.is_busy() && self.is_to_be_attended(),
        )
    }

    /// True for as long as the main thread looks around every few milliseconds.
    pub fn attended(&self) -> &AtomicBool {
        &self.attended
    }

    fn is_to_be_attended(&self) -> bool {
        !self.attended.load(Ordering::SeqCst) && !self.attended.swap(true, Ordering::SeqCst)
    }

    /// Whether a connection would be kept now.
    pub fn has_room(&self) -> bool {
        let room = self.room();
        !room.closed && room.count < MOST_VISITORS
    }

    /// Keeps one whose request has been served, for the next one. Where it can't be kept it is closed.
    pub fn keep(&self, mut visitor: Visitor) {
        visitor.new_since = None;
        if visitor.forks == self.forks() {
            self.put_back(visitor);
        }
    }

    /// Keeps one over which nothing has come yet. Where it is new the main thread is to be woken.
    pub fn put_back(&self, visitor: Visitor) {
        let mut room = self.room();
        if room.closed || room.count >= MOST_VISITORS {
            return;
        }
        let token = visitor.fd.as_raw_fd() as u64;
        let was_in_set = visitor.in_set;
        // In the room before it is in the set: a thread may be told of it at once.
        let visitor = room.put(Visitor {
            in_set: true,
            ..visitor
        });
        let done = match was_in_set {
            true => self.set.once_more(visitor.as_fd(), token),
            false => self.set.add_once(visitor.as_fd(), token),
        };
        if done.is_err() {
            room.take(token);
        }
    }

    /// Nobody comes in any more: wakes all threads that wait here, now and later, and closes what was
    /// kept, so that what waits there goes elsewhere.
    pub fn close(&self) {
        let mut room = self.room();
        if std::mem::replace(&mut room.closed, true) {
            return;
        }
        let visitors = std::mem::take(&mut room.visitors);
        (room.count, room.new) = (0, 0);
        drop(room);
        drop(visitors);
        let mut closer = self.closer.lock().unwrap_or_else(PoisonError::into_inner);
        drop(closer.take());
        self.roster.dismiss();
        // A thread may have been told of a connection at the listener that it takes no more, and no
        // other process is told of it. One that is closed unread comes again, and that is told.
        let _ = self.set.remove(self.listener.as_fd());
        self.others_wait.store(false, Ordering::Relaxed);
        drop(socket::accept(self.listener.as_fd()));
    }

    fn forks(&self) -> usize {
        self.forks.load(Ordering::SeqCst)
    }

    /// The application forks. The new process gives up its copies of those in the room.
    pub fn note_fork(&self, moment: Moment) {
        self.forks.fetch_add(1, Ordering::SeqCst);
        if moment == Moment::Inside {
            // Another thread may have held the lock at that moment, and is not in this process.
            if let Ok(mut room) = self.room.try_lock() {
                room.closed = true;
                room.visitors.clear();
            }
        }
    }

    /// Looks after the visitors in the room. Called by the main thread between its waits.
    pub fn look(&self, lookout: &mut Lookout, now: u64) {
        self.drop_silent(now);
        let ever = lookout.ever.stands(self.taken.load(Ordering::Relaxed), now);
        lookout.lately = ever < NOW_AND_THEN;
        if now >= lookout.until {
            // Before the threads are counted: one that sees it set afterwards has been counted.
            self.attended.store(false, Ordering::SeqCst);
        }
        let all_busy = self.roster.all_busy();
        if !all_busy && !self.roster.is_contended() {
            (lookout.taken, lookout.kept) = Default::default();
            // The event of a connection may have gone to a process that does not attend to it.
            if is_readable(self.listener.as_fd()) {
                self.listen_anew();
            }
        } else if self.room().count > 0 {
            lookout.until = now + VIGIL;
            self.attended.store(true, Ordering::SeqCst);
            let taken = self.taken.load(Ordering::Relaxed);
            let kept = self.taken_kept.load(Ordering::Relaxed);
            let limit = match all_busy {
                true => GLANCE.as_micros() as u64,
                false => LOCKED_OUT,
            };
            // No thread has taken anything up for a moment, or those at the listener always go first.
            let stuck = lookout.taken.stands(taken, now) >= limit && (all_busy || self.is_shared);
            let passed_over = lookout.kept.stands(kept, now) >= PASSED_OVER
                && self.others_wait.load(Ordering::Relaxed);
            if stuck || passed_over {
                self.send_away();
            }
        }
    }

    /// Whether the main thread has to look after what else is attended to by it: as long as it says
    /// so, and once more afterwards.
    pub fn is_attending(&self, lookout: &mut Lookout) -> bool {
        let attended = self.attended.load(Ordering::SeqCst);
        std::mem::replace(&mut lookout.attended, attended) || attended
    }

    /// How soon to look again.
    pub fn next_look(&self, lookout: &Lookout, now: u64) -> Duration {
        if now < lookout.until {
            return GLANCE;
        }
        if self.room().new > 0 {
            return Duration::from_micros(PATIENCE / 10);
        }
        match self.is_shared && lookout.lately {
            true => ROUND,
            false => LONG_ROUND,
        }
    }

    /// Closes the connections on which requests wait. New ones stay where nobody else could take them:
    /// their children have asked at the listener already. A thread may have taken one there before its
    /// request came, and have found something else to do by then.
    fn send_away(&self) {
        let stays = |visitor: &Visitor| visitor.is_new() && !self.is_shared;
        let mut room = self.room();
        let found = std::mem::take(&mut room.found);
        let found: Vec<_> = found
            .into_iter()
            .filter_map(|token| room.take(token))
            .collect();
        drop(room);
        let mut staying: Vec<_> = found.into_iter().filter(stays).collect();
        // The listener is told of again and again, behind all others.
        let mut others = 0;
        for _ in 0..2 * MOST_VISITORS {
            match self.set.wait(Some(Duration::ZERO)) {
                Ok(Some(LISTENER | CLOSING)) if others < 2 => others += 1,
                Ok(Some(LISTENER | CLOSING) | None) | Err(_) => break,
                Ok(Some(token)) => {
                    others = 0;
                    staying.extend(self.room().take(token).filter(stays));
                }
            }
        }
        for visitor in staying {
            self.put_back(visitor);
        }
    }

    /// Closes new connections over which nothing has come for too long.
    fn drop_silent(&self, now: u64) {
        let mut room = self.room();
        if room.new == 0 {
            return;
        }
        let is_late = |visitor: &Visitor| {
            let late = visitor
                .new_since
                .is_some_and(|since| now >= since + PATIENCE);
            // A request that waits for a thread is nobody's silence.
            late && !is_readable(visitor.as_fd())
        };
        let late: Vec<u64> = (0..)
            .zip(&room.visitors)
            .filter(|(_, visitor)| visitor.as_ref().is_some_and(is_late))
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
mod tests;
