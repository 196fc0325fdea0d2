//! Whether this process was forked by the application.
//!
//! Such a process has one thread and copies of everything else: the connection of the request that
//! forked it, which only the worker may write to, and locks that other threads held at that
//! moment. What it prints goes to the process's log; it answers no request.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

static FORKED: AtomicBool = AtomicBool::new(false);

/// Called in the new process, before anything else of the application runs there.
pub fn note() {
    FORKED.store(true, Ordering::Relaxed);
}

/// This is not the worker but a process that the application forked from it.
pub fn happened() -> bool {
    FORKED.load(Ordering::Relaxed)
}
