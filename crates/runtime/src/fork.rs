//! Whether this process was forked by the application.
//!
//! Such a process has one thread and copies of everything else: the connection of the request that
//! forked it, which only the worker may write to, and locks that other threads held at that
//! moment. What it prints goes to the process's log; it answers no request.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock;

static FORKED: AtomicBool = AtomicBool::new(false);
static AT_FORK: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// What is to be done in a new process, for the worker's sake. To be set once; must wait for nothing.
pub fn at_fork(first: impl Fn() + Send + Sync + 'static) {
    // A second one would be another worker in this process: there is none.
    let _ = AT_FORK.set(Box::new(first));
}

/// Called in the new process, before anything else of the application runs there.
pub fn note() {
    FORKED.store(true, Ordering::Relaxed);
    if let Some(first) = AT_FORK.get() {
        first();
    }
}

/// This is not the worker but a process that the application forked from it.
pub fn happened() -> bool {
    FORKED.load(Ordering::Relaxed)
}
