//! Requests whose application group has a name that a client can choose.
//!
//! Runs in: request threads; what logs and sends is called without the GIL. A worker that has
//! [`MAX_NAMED_BY_CLIENTS`] such interpreters refuses further names with 503. It tells the
//! supervisor once, which replaces it, but not at any pace that a client likes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use os::clock;
use wire::control::FromWorker;
use wire::log_id::CLIENT_NAMES_USED_UP;
use wire::request::{Flags, Prologue};

use super::interpreters::{NamedBy, Placement, MAX_NAMED_BY_CLIENTS};
use super::Worker;
use crate::process::process_log;

/// How often refusals are logged, in microseconds.
const LOG_PERIOD: u64 = 60_000_000;
/// Maximum number of characters of a name in the log.
const MAX_SHOWN: usize = 100;

/// What has been refused, and what has been said about it.
#[derive(Debug, Default)]
pub struct ClientNames {
    /// When refusals were last logged, in microseconds of the monotonic clock; 0 is never.
    logged: AtomicU64,
    /// Requests refused since then.
    unlogged: AtomicU64,
    is_reported: AtomicBool,
}

impl NamedBy {
    /// Who decides what the application group of a request is called.
    pub fn of(prologue: &Prologue<'_>) -> Self {
        match prologue.flags.has(Flags::NAMED_BY_CLIENT) {
            true => Self::Client,
            false => Self::Configuration,
        }
    }
}

impl ClientNames {
    /// Counts a refused request. How many there were since the last time, if it is time to log them.
    fn count(&self, now: u64) -> Option<u64> {
        self.unlogged.fetch_add(1, Ordering::Relaxed);
        let logged = self.logged.load(Ordering::Relaxed);
        if logged != 0 && now.saturating_sub(logged) < LOG_PERIOD {
            return None;
        }
        self.logged
            .compare_exchange(logged, now.max(1), Ordering::Relaxed, Ordering::Relaxed)
            .ok()?;
        Some(self.unlogged.swap(0, Ordering::Relaxed))
    }
}

impl Worker {
    /// Where the request runs.
    pub fn find_interpreter(&self, prologue: &Prologue<'_>) -> Placement {
        self.interpreters
            .find(prologue.application_group, NamedBy::of(prologue))
    }

    /// Notes that a request was refused because there are too many interpreters of its kind.
    pub fn refuse_client_name(&self, name: &[u8]) {
        if !self.client_names.is_reported.swap(true, Ordering::Relaxed) {
            self.control.send(&FromWorker::ClientNamesUsedUp(()));
        }
        let Some(count) = self.client_names.count(clock::monotonic_us()) else {
            return;
        };
        let shown: String = String::from_utf8_lossy(name)
            .chars()
            .take(MAX_SHOWN)
            .collect();
        process_log::error(&format!(
            "{CLIENT_NAMES_USED_UP}: a request for application group '{shown}' got 503, {count} of \
             this kind since the last such line: clients choose these names, and the process has \
             sub-interpreters for {MAX_NAMED_BY_CLIENTS} of them already. Set UseCanonicalName On, \
             give each host a ServerName or ServerAlias, or set WSGIApplicationGroup to a fixed name. \
             The process is replaced, at most one of its group in five minutes"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_logged_at_once_and_then_by_the_minute() {
        let names = ClientNames::default();
        assert_eq!(names.count(5), Some(1));
        assert_eq!(names.count(6), None);
        assert_eq!(names.count(4 + LOG_PERIOD), None);
        assert_eq!(names.count(5 + LOG_PERIOD), Some(3));
        assert_eq!(names.count(6 + LOG_PERIOD), None);
    }
}
