//! How many workers the server's own group has: as many as its requests need.
//!
//! Runs in: the supervisor. The group has no worker until a connection arrives, since many
//! configurations could use it and never do. The supervisor watches the listener meanwhile and
//! leaves the connection in the accept queue, where the worker finds it. Then there is one worker,
//! and one more whenever connections have waited for a while although every worker is at work; up to
//! `processes=`. So starts never come in a storm: the next one waits until the last has shown that
//! it serves.
//!
//! Requests that wait are seen at the listener alone: a worker without a free thread closes a pooled
//! connection unread, and the child calls again at the listener.

use std::os::fd::AsFd;
use std::time::Duration;

use os::poll::{poll_uninterrupted, Wanted};
use wire::own_group;
use wire::response::Level;

use super::{Group, PROVEN};
use crate::worker::Worker;

/// How often to look whether connections still wait.
const LOOK: Duration = Duration::from_millis(20);
/// Consecutive looks at which some wait, before a worker is added. A queue that moves is empty
/// now and then.
const LOOKS: u32 = 5;

/// The number of workers that requests need, and how it is found out.
#[derive(Debug, Default)]
pub(super) struct Demand {
    /// Workers that the group is to have.
    workers: usize,
    /// Consecutive looks at which connections waited. While this is not 0 the listener is not polled.
    looks: u32,
    next_look: Duration,
}

impl Group {
    /// Whether it has as many workers as its requests need, and not a fixed number.
    pub(super) fn is_on_demand(&self) -> bool {
        *self.config.name == *own_group::NAME
    }

    /// Most workers it may have.
    fn most_processes(&self) -> usize {
        usize::try_from(self.config.processes.max(1)).unwrap_or(usize::MAX)
    }

    /// Workers that it is to have now.
    pub(super) fn processes(&self) -> usize {
        match self.is_on_demand() {
            true => self.demand.workers,
            false => self.most_processes(),
        }
    }

    /// Keeps the number of workers within what is configured. Scripts that are to be imported need
    /// a worker at once.
    pub(super) fn bound_demand(&mut self) {
        let least = usize::from(!self.config.preload.is_empty());
        self.demand.workers = self.demand.workers.clamp(least, self.most_processes());
    }

    /// Whether a connection at the listener is news.
    pub(super) fn watches_listener(&self) -> bool {
        let may_grow = self.processes() < self.most_processes();
        self.is_on_demand() && self.ending.is_none() && may_grow && self.demand.looks == 0
    }

    /// A connection waits at the listener, perhaps only for the moment until a worker takes it.
    pub(super) fn notice_connection(&mut self, now: Duration) {
        if self.demand.workers == 0 {
            self.demand.workers = 1;
            return;
        }
        self.demand.looks = 1;
        self.demand.next_look = now + LOOK;
    }

    /// Looks whether connections still wait, and adds a worker if they have waited for long.
    pub(super) fn measure_demand(&mut self, now: Duration) {
        if self.demand.looks == 0 || now < self.demand.next_look {
            return;
        }
        let mut listener = [Wanted::readable(self.listener.as_fd())];
        // Where poll fails, the listener is polled again, and fails there.
        let waits = poll_uninterrupted(&mut listener, Some(Duration::ZERO)).is_ok_and(|n| n > 0);
        if !waits || !self.watches_demand() {
            self.demand.looks = 0;
            return;
        }
        self.demand.looks = self.demand.looks.saturating_add(1);
        self.demand.next_look = now + LOOK;
        if self.demand.looks > LOOKS && self.is_settled(now) {
            self.demand.looks = 0;
            self.demand.workers += 1;
            let text = format!(
                "requests wait for the {} that there are; one more is started",
                match self.demand.workers - 1 {
                    1 => "worker".to_owned(),
                    count => format!("{count} workers"),
                }
            );
            self.note(Level::Info, None, &text);
        }
    }

    /// Whether it may still grow.
    fn watches_demand(&self) -> bool {
        self.ending.is_none() && (1..self.most_processes()).contains(&self.demand.workers)
    }

    /// Whether each worker it is to have is there and has shown that it serves: only then do waiting
    /// requests say that there are too few.
    fn is_settled(&self, now: Duration) -> bool {
        let serves = |worker: &&Worker| {
            let has_lived = worker.ready_for(now).is_some_and(|time| time >= PROVEN);
            worker.is_ready()
                && !worker.is_to_go(self.generation)
                && (worker.has_loaded || has_lived)
        };
        let waits = [&self.starts, &self.lives, &self.loads];
        waits.iter().all(|wait| wait.may_try(now))
            && self.workers.iter().filter(serves).count() >= self.demand.workers
    }

    /// A worker leaves because it had no requests: where the number follows the requests, it has no
    /// successor.
    pub(super) fn drop_idle_worker(&mut self) {
        if self.is_on_demand() {
            self.demand.workers = self.demand.workers.saturating_sub(1);
            self.bound_demand();
        }
    }

    /// The time of the next look.
    pub(super) fn next_look(&self) -> Option<Duration> {
        (self.demand.looks > 0).then_some(self.demand.next_look)
    }
}
