//! How far a thread is with the request it serves, and who else may still run or interrupt it.
//!
//! Written by: the thread that serves the request. The main thread of the worker, and threads that
//! interrupt a request, read it and take the request away. Nothing here is waited for.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicU8, Ordering};

use os::clock;

use crate::python::gil::Gil;
use crate::python::object::Object;
use crate::python::threads::Ident;

/// Taken up; the application has not been called.
const WAITING: u8 = 0;
/// The application runs.
const RUNNING: u8 = 1;
/// The application has come back.
const RETURNED: u8 = 2;
/// Another process may run it: the thread must not.
const HANDED_BACK: u8 = 3;

/// The stages of one request. Times are microseconds of the monotonic clock.
pub struct Progress {
    ident: Ident,
    stage: AtomicU8,
    /// When the application was called; 0 before that.
    called: AtomicU64,
    /// When `RequestTimeout` was first sought to be raised in it; 0 before that.
    interrupted: AtomicU64,
    /// The exception was raised, or is about to be.
    raised: AtomicBool,
    /// The main thread has answered for the thread, or handed the request back.
    given_up: AtomicBool,
    /// When the thread began to load the script; 0 where it does not.
    load_began: AtomicU64,
}

impl Progress {
    /// Of a request that the calling thread has taken up.
    pub fn of_calling_thread() -> Self {
        Self {
            ident: Ident::current(),
            stage: AtomicU8::new(WAITING),
            called: AtomicU64::new(0),
            interrupted: AtomicU64::new(0),
            raised: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            load_began: AtomicU64::new(0),
        }
    }

    /// Its thread is about to load the script.
    pub fn note_load(&self) {
        let now = clock::monotonic_us();
        self.load_began.store(now.max(1), Ordering::SeqCst);
    }

    /// When its thread began to load the script, if it is still at it.
    pub fn loading_since(&self) -> Option<u64> {
        Some(self.load_began.load(Ordering::SeqCst)).filter(|&at| at != 0 && self.is_waiting())
    }

    /// The application is about to be called. False where the request was handed back meanwhile: then
    /// nothing may run.
    pub fn begin(&self) -> bool {
        self.called.store(clock::monotonic_us(), Ordering::SeqCst);
        self.stage
            .compare_exchange(WAITING, RUNNING, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// The application has come back: nothing is raised in this thread from here on.
    pub fn returned(&self, gil: Gil<'_>) {
        self.stage.store(RETURNED, Ordering::SeqCst);
        if self.raised.load(Ordering::SeqCst) {
            self.ident.spare(gil);
        }
    }

    /// The application has not been called.
    pub fn is_waiting(&self) -> bool {
        self.stage.load(Ordering::SeqCst) == WAITING
    }

    /// When the application was called, unless it has not been.
    pub fn called(&self) -> Option<u64> {
        match self.stage.load(Ordering::SeqCst) {
            RUNNING | RETURNED => Some(self.called.load(Ordering::SeqCst)),
            _ => None,
        }
    }

    /// Makes sure that the thread does not run it. False where the application has been called.
    pub fn hand_back(&self) -> bool {
        self.stage
            .compare_exchange(WAITING, HANDED_BACK, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// When it was first sought to interrupt the application.
    pub fn interrupted(&self) -> Option<u64> {
        Some(self.interrupted.load(Ordering::SeqCst)).filter(|&at| at != 0)
    }

    pub fn note_interruption(&self, now: u64) {
        self.interrupted.store(now.max(1), Ordering::SeqCst);
    }

    /// Raises `class` in the application if that still runs. To be called in its interpreter, on
    /// another thread; that `gil` is held for the whole call keeps [`Progress::returned`] from coming
    /// in between.
    pub fn interrupt(&self, gil: Gil<'_>, class: &Object<'_>) -> bool {
        if self.stage.load(Ordering::SeqCst) != RUNNING {
            return false;
        }
        self.raised.store(true, Ordering::SeqCst);
        self.ident.raise(gil, class)
    }

    pub fn ident(&self) -> Ident {
        self.ident
    }

    /// Its thread is not waited for any more.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::SeqCst);
    }

    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::SeqCst)
    }
}
