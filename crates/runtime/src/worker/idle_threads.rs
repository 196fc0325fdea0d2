//! Which of the idle threads wait for requests, and when one that has served a request takes the
//! next without giving Python's global lock back.
//!
//! Runs in: request threads. Only one of them runs Python at a time. If every request that comes
//! woke a thread for itself, that thread would next wait for the lock, and have it handed over: two
//! switches more than the request needs. So the threads are leaders and followers. At most
//! [`READY`] idle ones wait at the reception; the others sit by until all of those are at work. A
//! thread that sees something come contends for the lock before it takes anything up, and for as
//! long as it has to wait for it, the thread that has the lock serves one request after the other.
//! As soon as that one waits for anything, or its [`TURN`] is over, the lock comes to the contender,
//! which then is the next to serve.

use std::sync::PoisonError;

// tests/model has loom try every order in which the threads below can run.
#[cfg(loom)]
use loom::sync::{
    atomic::{AtomicU64, AtomicUsize, Ordering},
    Condvar, Mutex, MutexGuard,
};
#[cfg(not(loom))]
use std::sync::{
    atomic::{AtomicU64, AtomicUsize, Ordering},
    Condvar, Mutex, MutexGuard,
};

/// Most idle threads that wait for something to come. With two of them the one that served last
/// usually serves next, and nobody has to be called while it is at work.
const READY: usize = 2;
/// For how long a thread takes up one request after the other while others wait for the lock, in
/// microseconds. Python would take the lock away from it after its switch interval, 5 ms, and then in
/// the middle of a request, or just when one has been taken up.
const TURN: u64 = 4_000;
/// Age of a request, in microseconds, up to which others make way for it: its thread may be waiting
/// for the lock. One that takes longer gets it at Python's switch interval.
const YOUNG: u64 = 100_000;

/// The threads of one process.
pub struct Roster {
    idle: Mutex<Idle>,
    called: Condvar,
    /// Threads that serve a request.
    busy: AtomicUsize,
    /// Since when each of them does, in microseconds of the monotonic clock; 0 for one that does not.
    since: Vec<AtomicU64>,
    /// Threads that wait for the lock and have not taken anything up, or wait to do so.
    contending: AtomicUsize,
    /// One of them at a time waits for the lock itself. So a thread whose turn is over does not take it
    /// again before the one that it was given up for has woken.
    turnstile: Mutex<()>,
}

/// Threads that serve nothing.
#[derive(Default)]
struct Idle {
    /// Waiting for something to come, or for the lock to take it up.
    ready: usize,
    sitting: usize,
    /// Those of the sitting that have been called and have not stood up yet.
    called: usize,
    dismissed: bool,
}

/// A thread that serves something, as long as this lives.
pub struct Busy<'a> {
    roster: &'a Roster,
    since: Option<&'a AtomicU64>,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if let Some(since) = self.since {
            since.store(0, Ordering::Relaxed);
        }
        self.roster.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A thread that contends for the lock, as long as this lives.
pub struct Contending<'a> {
    roster: &'a Roster,
    turnstile: Option<MutexGuard<'a, ()>>,
}

impl Contending<'_> {
    /// Returns when it is for the calling thread to wait for the lock: one after the other does.
    pub fn come_to_the_front(&mut self) {
        let turnstile = self.roster.turnstile.lock();
        self.turnstile = Some(turnstile.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Contending<'_> {
    fn drop(&mut self) {
        self.roster.contending.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Roster {
    pub fn new(threads: usize) -> Self {
        Self {
            idle: Mutex::default(),
            called: Condvar::new(),
            busy: AtomicUsize::new(0),
            since: (0..threads).map(|_| AtomicU64::new(0)).collect(),
            contending: AtomicUsize::new(0),
            turnstile: Mutex::default(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calling thread serves nothing and wants to be ready. Returns when it is.
    pub fn stand_by(&self) {
        let mut idle = self.idle();
        if idle.ready < READY || idle.dismissed {
            idle.ready += 1;
            return;
        }
        idle.sitting += 1;
        while idle.called == 0 && !idle.dismissed {
            idle = self
                .called
                .wait(idle)
                .unwrap_or_else(PoisonError::into_inner);
        }
        idle.sitting -= 1;
        // Whoever calls has counted it as ready.
        match idle.called {
            0 => idle.ready += 1,
            _ => idle.called -= 1,
        }
    }

    /// A thread that was ready has taken something up. Somebody is to be ready in its place.
    pub fn step_forward(&self) {
        let mut idle = self.idle();
        idle.ready -= 1;
        if idle.ready == 0 && idle.sitting > idle.called {
            idle.ready += 1;
            idle.called += 1;
            self.called.notify_one();
        }
    }

    /// Nobody sits by from here on.
    pub fn dismiss(&self) {
        self.idle().dismissed = true;
        self.called.notify_all();
    }

    /// Thread `number`, counted from 1, serves something since `now`.
    #[must_use]
    pub fn serve(&self, number: u32, now: u64) -> Busy<'_> {
        let since = self.since.get((number as usize).wrapping_sub(1));
        if let Some(since) = since {
            since.store(now.max(1), Ordering::Relaxed);
        }
        self.busy.fetch_add(1, Ordering::SeqCst);
        Busy {
            roster: self,
            since,
        }
    }

    /// Some thread serves something.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst) > 0
    }

    /// All threads serve something.
    pub fn all_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst) >= self.since.len()
    }

    /// The calling thread is to wait for the lock, to take something up.
    #[must_use]
    pub fn contend(&self) -> Contending<'_> {
        self.contending.fetch_add(1, Ordering::SeqCst);
        Contending {
            roster: self,
            turnstile: None,
        }
    }

    /// Somebody waits for the lock, to take something up.
    pub fn is_contended(&self) -> bool {
        self.contending.load(Ordering::SeqCst) > 0
    }

    /// Whether a thread that has the lock since `since`, and has served a request, is to take up the
    /// next. `now` is only asked for where it matters.
    pub fn goes_on(&self, since: u64, now: impl FnOnce() -> u64) -> bool {
        if !self.is_contended() {
            return false;
        }
        let now = now();
        if now.saturating_sub(since) >= TURN {
            return false;
        }
        if !self.is_busy() {
            return true;
        }
        let young = now.saturating_sub(YOUNG);
        let is_young = |since: &AtomicU64| {
            let since = since.load(Ordering::Relaxed);
            since != 0 && since >= young
        };
        !self.since.iter().any(is_young)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// Sends everybody home when a test panics: a scope waits for its threads.
    struct Dismissal<'a>(&'a Roster);

    impl Drop for Dismissal<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.dismiss();
            }
        }
    }

    /// Threads that are ready, that sit by, and that have been called.
    fn counts(roster: &Roster) -> (usize, usize, usize) {
        let idle = roster.idle();
        (idle.ready, idle.sitting, idle.called)
    }

    #[test]
    fn a_third_thread_sits_by_until_the_others_are_at_work() {
        let roster = Roster::new(4);
        roster.stand_by();
        roster.stand_by();
        let (stood_up, seen) = channel();
        std::thread::scope(|scope| {
            let _dismissal = Dismissal(&roster);
            for _ in 0..2 {
                let (roster, stood_up) = (&roster, stood_up.clone());
                scope.spawn(move || {
                    roster.stand_by();
                    stood_up.send(()).unwrap();
                });
            }
            while counts(&roster).1 < 2 {
                std::thread::yield_now();
            }
            roster.step_forward();
            assert_eq!(counts(&roster), (1, 2, 0));
            roster.step_forward();
            seen.recv_timeout(LONG).unwrap();
            assert_eq!(counts(&roster), (1, 1, 0));
            roster.dismiss();
            seen.recv_timeout(LONG).unwrap();
        });
        assert_eq!(counts(&roster).1, 0);
        // Nobody has to wait after that.
        for _ in 0..9 {
            roster.stand_by();
        }
    }

    #[test]
    fn those_called_at_once_are_as_many_as_were_called() {
        let roster = Roster::new(8);
        roster.stand_by();
        roster.stand_by();
        std::thread::scope(|scope| {
            let _dismissal = Dismissal(&roster);
            for _ in 0..6 {
                scope.spawn(|| {
                    roster.stand_by();
                    roster.step_forward();
                });
            }
            while counts(&roster).1 < 6 {
                std::thread::yield_now();
            }
            roster.step_forward();
            roster.step_forward();
        });
        assert_eq!(counts(&roster), (0, 0, 0));
    }

    #[test]
    fn who_has_the_lock_goes_on_only_where_another_waits_for_it_and_makes_way_for_young_requests() {
        let roster = Roster::new(3);
        assert!(!roster.goes_on(1, || unreachable!()), "nobody waits");
        let contending = roster.contend();
        assert!(roster.goes_on(1, || 2));
        let busy = roster.serve(2, 1_000);
        let then = 1_000 + YOUNG;
        assert!(!roster.goes_on(then, || then));
        assert!(roster.goes_on(then, || then + 1));
        drop(busy);
        assert!(roster.goes_on(then, || then));
        drop(contending);
        assert!(!roster.goes_on(then, || unreachable!()));
    }

    #[test]
    fn its_turn_is_over_before_python_would_end_it() {
        let roster = Roster::new(3);
        let _contending = roster.contend();
        assert!(roster.goes_on(1_000, || 1_000 + TURN - 1));
        assert!(!roster.goes_on(1_000, || 1_000 + TURN));
    }

    #[test]
    fn one_at_a_time_waits_for_the_lock_itself() {
        let roster = Roster::new(3);
        let mut first = roster.contend();
        first.come_to_the_front();
        let (came, seen) = channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut second = roster.contend();
                came.send("waits").unwrap();
                second.come_to_the_front();
                came.send("is next").unwrap();
            });
            assert_eq!(seen.recv_timeout(LONG), Ok("waits"));
            assert!(seen.recv_timeout(Duration::from_millis(20)).is_err());
            drop(first);
            // The other one waits still, and so whoever has the lock goes on.
            assert_eq!(seen.recv_timeout(LONG), Ok("is next"));
        });
        assert!(!roster.is_contended());
    }

    #[test]
    fn all_are_busy_when_each_is() {
        let roster = Roster::new(2);
        let first = roster.serve(1, 5);
        assert!(!roster.all_busy());
        let second = roster.serve(2, 5);
        assert!(roster.all_busy());
        drop((first, second));
        assert!(!roster.all_busy());
    }
}
