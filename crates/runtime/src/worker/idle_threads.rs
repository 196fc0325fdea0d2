//! Which of the idle threads wait for requests, and when a thread that has served a request serves
//! the next without releasing the GIL.
//!
//! Runs in: request threads. Only one of them runs Python at a time. If every request woke a thread
//! of its own, that thread would then wait for the GIL until it is handed over: two more context
//! switches than the request needs. So at most [`MAX_READY`] idle threads wait for requests; the
//! others are parked until all of those are at work. A woken thread waits for the GIL before it
//! takes a request, and while it waits, the thread that holds the GIL serves one request after
//! another. When that thread waits for anything, or its [`GIL_TURN`] is over, the waiting thread
//! gets the GIL and serves next.

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

/// Most idle threads that wait for requests. With two of them the thread that served last usually
/// serves next, and no thread has to be unparked while it is at work.
const MAX_READY: usize = 2;
/// How long a thread serves one request after another while others wait for the GIL, in
/// microseconds. Python would take the GIL away after its switch interval, 5 ms, and then in the
/// middle of a request, or just when one was started.
const GIL_TURN: u64 = 4_000;
/// Age of a request, in microseconds, up to which the holder of the GIL makes way for it: its
/// thread may be waiting for the GIL. The thread of an older one gets the GIL at Python's switch
/// interval.
const YOUNG_REQUEST: u64 = 100_000;

/// The request threads of one process.
pub struct IdleThreads {
    idle: Mutex<Idle>,
    called: Condvar,
    /// Threads that serve a request.
    busy: AtomicUsize,
    /// Since when each thread serves one, in microseconds of the monotonic clock; 0 if it serves
    /// none.
    since: Vec<AtomicU64>,
    /// Threads that wait for the GIL and have taken no request yet, or wait to do so.
    waiting: AtomicUsize,
    /// Only one thread at a time waits for the GIL itself. So a thread whose turn is over does not
    /// take the GIL again before the thread that it was released for has woken.
    turnstile: Mutex<()>,
}

/// Threads that serve no request.
#[derive(Default)]
struct Idle {
    /// Waiting for a request, or for the GIL to take one.
    ready: usize,
    parked: usize,
    /// Parked threads that were unparked and have not woken yet.
    called: usize,
    closed: bool,
}

/// A thread that serves a request, as long as this lives.
pub struct Busy<'a> {
    threads: &'a IdleThreads,
    since: Option<&'a AtomicU64>,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if let Some(since) = self.since {
            since.store(0, Ordering::Relaxed);
        }
        self.threads.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A thread that waits for the GIL, as long as this lives.
pub struct GilWaiter<'a> {
    threads: &'a IdleThreads,
    turnstile: Option<MutexGuard<'a, ()>>,
}

impl GilWaiter<'_> {
    /// Returns when the calling thread may wait for the GIL: one after another does.
    pub fn enter_turnstile(&mut self) {
        let turnstile = self.threads.turnstile.lock();
        self.turnstile = Some(turnstile.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for GilWaiter<'_> {
    fn drop(&mut self) {
        self.threads.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl IdleThreads {
    pub fn new(threads: usize) -> Self {
        Self {
            idle: Mutex::default(),
            called: Condvar::new(),
            busy: AtomicUsize::new(0),
            since: (0..threads).map(|_| AtomicU64::new(0)).collect(),
            waiting: AtomicUsize::new(0),
            turnstile: Mutex::default(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calling thread serves no request. Returns when it is to wait for one.
    pub fn become_ready(&self) {
        let mut idle = self.idle();
        if idle.ready < MAX_READY || idle.closed {
            idle.ready += 1;
            return;
        }
        idle.parked += 1;
        while idle.called == 0 && !idle.closed {
            idle = self
                .called
                .wait(idle)
                .unwrap_or_else(PoisonError::into_inner);
        }
        idle.parked -= 1;
        // The thread that unparked this one has counted it as ready.
        match idle.called {
            0 => idle.ready += 1,
            _ => idle.called -= 1,
        }
    }

    /// A thread that was ready has taken a request. Another is to be ready in its place.
    pub fn leave_ready(&self) {
        let mut idle = self.idle();
        idle.ready -= 1;
        if idle.ready == 0 && idle.parked > idle.called {
            idle.ready += 1;
            idle.called += 1;
            self.called.notify_one();
        }
    }

    /// No thread is parked from here on.
    pub fn close(&self) {
        self.idle().closed = true;
        self.called.notify_all();
    }

    /// Thread `number`, counted from 1, serves a request since `now`.
    #[must_use]
    pub fn serve(&self, number: u32, now: u64) -> Busy<'_> {
        let since = self.since.get((number as usize).wrapping_sub(1));
        if let Some(since) = since {
            since.store(now.max(1), Ordering::Relaxed);
        }
        self.busy.fetch_add(1, Ordering::SeqCst);
        Busy {
            threads: self,
            since,
        }
    }

    /// Some thread serves a request.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst) > 0
    }

    /// All threads serve requests.
    pub fn all_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst) >= self.since.len()
    }

    /// The calling thread is to wait for the GIL, to take a request.
    #[must_use]
    pub fn wait_for_gil(&self) -> GilWaiter<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        GilWaiter {
            threads: self,
            turnstile: None,
        }
    }

    /// A thread waits for the GIL, to take a request.
    pub fn gil_is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Whether a thread that has held the GIL since `since`, and has served a request, is to serve
    /// the next. `now` is called only if it matters.
    pub fn keeps_gil(&self, since: u64, now: impl FnOnce() -> u64) -> bool {
        if !self.gil_is_waited_for() {
            return false;
        }
        let now = now();
        if now.saturating_sub(since) >= GIL_TURN {
            return false;
        }
        if !self.is_busy() {
            return true;
        }
        let young = now.saturating_sub(YOUNG_REQUEST);
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

    /// Unparks all threads when a test panics: a scope waits for its threads.
    struct Dismissal<'a>(&'a IdleThreads);

    impl Drop for Dismissal<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.close();
            }
        }
    }

    /// Threads that are ready, that are parked, and that were unparked.
    fn counts(threads: &IdleThreads) -> (usize, usize, usize) {
        let idle = threads.idle();
        (idle.ready, idle.parked, idle.called)
    }

    #[test]
    fn a_third_thread_sits_by_until_the_others_are_at_work() {
        let threads = IdleThreads::new(4);
        threads.become_ready();
        threads.become_ready();
        let (stood_up, seen) = channel();
        std::thread::scope(|scope| {
            let _dismissal = Dismissal(&threads);
            for _ in 0..2 {
                let (threads, stood_up) = (&threads, stood_up.clone());
                scope.spawn(move || {
                    threads.become_ready();
                    stood_up.send(()).unwrap();
                });
            }
            while counts(&threads).1 < 2 {
                std::thread::yield_now();
            }
            threads.leave_ready();
            assert_eq!(counts(&threads), (1, 2, 0));
            threads.leave_ready();
            seen.recv_timeout(LONG).unwrap();
            assert_eq!(counts(&threads), (1, 1, 0));
            threads.close();
            seen.recv_timeout(LONG).unwrap();
        });
        assert_eq!(counts(&threads).1, 0);
        // No thread has to wait after that.
        for _ in 0..9 {
            threads.become_ready();
        }
    }

    #[test]
    fn those_called_at_once_are_as_many_as_were_called() {
        let threads = IdleThreads::new(8);
        threads.become_ready();
        threads.become_ready();
        std::thread::scope(|scope| {
            let _dismissal = Dismissal(&threads);
            for _ in 0..6 {
                scope.spawn(|| {
                    threads.become_ready();
                    threads.leave_ready();
                });
            }
            while counts(&threads).1 < 6 {
                std::thread::yield_now();
            }
            threads.leave_ready();
            threads.leave_ready();
        });
        assert_eq!(counts(&threads), (0, 0, 0));
    }

    #[test]
    fn who_has_the_lock_goes_on_only_where_another_waits_for_it_and_makes_way_for_young_requests() {
        let threads = IdleThreads::new(3);
        assert!(!threads.keeps_gil(1, || unreachable!()), "nobody waits");
        let waiting = threads.wait_for_gil();
        assert!(threads.keeps_gil(1, || 2));
        let busy = threads.serve(2, 1_000);
        let then = 1_000 + YOUNG_REQUEST;
        assert!(!threads.keeps_gil(then, || then));
        assert!(threads.keeps_gil(then, || then + 1));
        drop(busy);
        assert!(threads.keeps_gil(then, || then));
        drop(waiting);
        assert!(!threads.keeps_gil(then, || unreachable!()));
    }

    #[test]
    fn its_turn_is_over_before_python_would_end_it() {
        let threads = IdleThreads::new(3);
        let _contending = threads.wait_for_gil();
        assert!(threads.keeps_gil(1_000, || 1_000 + GIL_TURN - 1));
        assert!(!threads.keeps_gil(1_000, || 1_000 + GIL_TURN));
    }

    #[test]
    fn one_at_a_time_waits_for_the_lock_itself() {
        let threads = IdleThreads::new(3);
        let mut first = threads.wait_for_gil();
        first.enter_turnstile();
        let (came, seen) = channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut second = threads.wait_for_gil();
                came.send("waits").unwrap();
                second.enter_turnstile();
                came.send("is next").unwrap();
            });
            assert_eq!(seen.recv_timeout(LONG), Ok("waits"));
            assert!(seen.recv_timeout(Duration::from_millis(20)).is_err());
            drop(first);
            // The other one still waits, so the holder of the GIL goes on.
            assert_eq!(seen.recv_timeout(LONG), Ok("is next"));
        });
        assert!(!threads.gil_is_waited_for());
    }

    #[test]
    fn all_are_busy_when_each_is() {
        let threads = IdleThreads::new(2);
        let first = threads.serve(1, 5);
        assert!(!threads.all_busy());
        let second = threads.serve(2, 5);
        assert!(threads.all_busy());
        drop((first, second));
        assert!(!threads.all_busy());
    }
}
