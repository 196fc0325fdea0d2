//! The secrets by which requests show that they are meant for this group.
//!
//! Read by request threads, replaced by the main thread: a configuration that comes while the
//! worker runs brings a new secret, and until successors are ready this worker serves requests
//! that carry it.

use std::sync::{PoisonError, RwLock};

use wire::control::WorkerSetup;

/// The current secret and those that Apache children of before a restart still use.
pub struct Secrets(RwLock<Vec<[u8; 16]>>);

impl Secrets {
    pub fn of(setup: &WorkerSetup) -> Self {
        Self(RwLock::new(all(setup)))
    }

    /// Takes over those of a newer configuration.
    pub fn replace(&self, setup: &WorkerSetup) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = all(setup);
    }

    /// Whether it is one of them. All are compared, however early one fits.
    pub fn know(&self, secret: &[u8; 16]) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known
            .iter()
            .fold(false, |found, one| found | os::random::equal(one, secret))
    }
}

fn all(setup: &WorkerSetup) -> Vec<[u8; 16]> {
    let mut all = vec![setup.group.key];
    all.extend(&setup.earlier_keys);
    all
}
