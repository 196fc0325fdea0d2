//! Whether this process was forked by the application, or has forked others.
//!
//! Such a process has one thread and copies of everything else: the connection of the request that
//! forked it, which only the worker may write to, and locks that other threads held at that
//! moment. What it prints goes to the process's log; it answers no request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock;

static FORKED: AtomicBool = AtomicBool::new(false);
static WATCHER: OnceLock<Box<dyn Fn(Moment) + Send + Sync>> = OnceLock::new();

/// When the watcher is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Just before the application forks, and once more just after, in the process that does.
    Around,
    /// In the new process, before anything else of the application runs there.
    Inside,
}

/// What is to be done for the worker's sake. To be set once; must wait for nothing.
pub fn watch(watcher: impl Fn(Moment) + Send + Sync + 'static) {
    // A second one would be another worker in this process: there is none.
    let _ = WATCHER.set(Box::new(watcher));
}

/// Called at these moments.
pub fn note(moment: Moment) {
    if moment == Moment::Inside {
        FORKED.store(true, Ordering::Relaxed);
    }
    if let Some(watcher) = WATCHER.get() {
        watcher(moment);
    }
}

/// This is not the worker but a process that the application forked from it.
pub fn happened() -> bool {
    FORKED.load(Ordering::Relaxed)
}
