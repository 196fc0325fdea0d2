//! How long threads wait for the GIL, for whoever subscribed to events.
//!
//! Runs in: request threads. Counted are the waits at the places where this crate takes the lock;
//! those between, where Python passes it on by itself, nobody sees, and what a request waits before
//! a thread takes it up is time in the queue. Until somebody has subscribed in the process a wait
//! costs one look at a flag.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use os::clock;
use pyo3::ffi;

static WANTED: AtomicBool = AtomicBool::new(false);

/// Waits of one thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waits {
    pub time: Duration,
    pub count: u64,
}

thread_local! {
    static WAITS: Cell<Waits> = const { Cell::new(Waits { time: Duration::ZERO, count: 0 }) };
}

/// Somebody wants to know, from here on.
pub fn want() {
    if !WANTED.load(Ordering::Relaxed) {
        WANTED.store(true, Ordering::Relaxed);
    }
}

/// Counts anew: a request begins in this thread.
pub fn begin() {
    if WANTED.load(Ordering::Relaxed) {
        WAITS.set(Waits::default());
    }
}

/// What this thread has waited since [`begin`].
pub fn waits() -> Waits {
    WAITS.get()
}

/// Takes the lock.
///
/// # Safety
/// The state belongs to this thread and is not current.
pub unsafe fn take(state: *mut ffi::PyThreadState) {
    let since = WANTED.load(Ordering::Relaxed).then(clock::monotonic);
    // SAFETY: as the caller says.
    unsafe { ffi::PyEval_RestoreThread(state) };
    if let Some(since) = since {
        let waits = WAITS.get();
        WAITS.set(Waits {
            time: waits.time + clock::monotonic().saturating_sub(since),
            count: waits.count + 1,
        });
    }
}
