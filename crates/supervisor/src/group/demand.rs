//! How many workers the server's own group has: as many as its requests need.
//!
//! Runs in: the supervisor. The group has no worker until a connection arrives, since many
//! configurations could use it and never do. The supervisor watches the listener meanwhile and
//! leaves the connection in the accept queue, where the worker finds it. Then there is one worker,
//! and one more whenever connections have waited for a while although every worker is at work; up to
//! `processes=`. So starts never come in a storm: the next one waits until the last has shown that
//! it serves.
//!
//! Once a minute a worker leaves that was not needed in it, down to one: by what workers publish of
//! themselves, there were never more requests at once than other workers. A worker that publishes
//! nonsense keeps its group large or small, within what is configured.
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

/// How often requests are counted, and how often before a worker is given up.
const COUNT: Duration = Duration::from_secs(5);
const COUNTS: u32 = 12;

/// The number of workers that requests need, and how it is found out.
#[derive(Debug, Default)]
pub(super) struct Demand {
    /// Workers that the group is to have.
    workers: usize,
    /// Consecutive looks at which connections waited. While this is not 0 the listener is not polled.
    looks: u32,
    next_look: Duration,
    /// Times that requests were counted, the most of them at once, and when to count next.
    counts: u32,
    most_requests: usize,
    next_count: Duration,
}

impl Demand {
    /// Takes the number of requests that run now, and tells whether a worker may go.
    fn count(&mut self, requests: usize, now: Duration) -> bool {
        self.counts += 1;
        self.most_requests = self.most_requests.max(requests);
        self.next_count = now + COUNT;
        let is_over = self.counts >= COUNTS;
        let may_go = is_over && self.most_requests < self.workers;
        if is_over {
            self.begin_counting(now);
        }
        may_go
    }

    fn begin_counting(&mut self, now: Duration) {
        self.counts = 0;
        self.most_requests = 0;
        self.next_count = now + COUNT;
    }
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
            self.demand.begin_counting(now);
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

    /// Whether there are more workers than the one that an idle group keeps.
    fn may_shrink(&self) -> bool {
        self.is_on_demand() && self.ending.is_none() && self.demand.workers > 1
    }

    /// Counts the requests that run, and lets the worker with fewest of them go if it was not needed
    /// for long.
    pub(super) fn release_unneeded_worker(&mut self, now: Duration) {
        if !self.may_shrink() || now < self.demand.next_count {
            return;
        }
        let serves = |worker: &Worker| worker.is_ready() && !worker.is_to_go(self.generation);
        let running: Vec<(usize, usize)> = self
            .workers
            .iter()
            .enumerate()
            .filter(|(_, worker)| serves(worker))
            .map(|(index, worker)| (worker.seen().running.len(), index))
            .collect();
        let requests = running.iter().map(|(requests, _)| requests).sum();
        // While a worker is missing, what runs does not say how many are needed.
        let is_whole = running.len() >= self.demand.workers;
        if !self.demand.count(requests, now) || !is_whole {
            return;
        }
        if let Some(&(_, index)) = running.iter().min() {
            self.demand.workers -= 1;
            self.workers[index].worn = true;
            let pid = self.workers[index].pid();
            let text = format!("worker {pid} is not needed any more and ends");
            self.note(Level::Info, None, &text);
        }
    }

    /// A worker leaves because it had no requests: where the number follows the requests, it has no
    /// successor.
    pub(super) fn drop_idle_worker(&mut self) {
        if self.is_on_demand() {
            self.demand.workers = self.demand.workers.saturating_sub(1);
            self.bound_demand();
        }
    }

    /// The time of the next look or count.
    pub(super) fn next_look(&self) -> Option<Duration> {
        let look = (self.demand.looks > 0).then_some(self.demand.next_look);
        let count = self.may_shrink().then_some(self.demand.next_count);
        look.into_iter().chain(count).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a worker may go after each of these counts, of a group of so many workers.
    fn verdicts(workers: usize, requests: &[usize]) -> Vec<bool> {
        let mut demand = Demand {
            workers,
            ..Demand::default()
        };
        let count = |&requests| demand.count(requests, Duration::ZERO);
        requests.iter().map(count).collect()
    }

    #[test]
    fn a_worker_may_go_when_there_were_fewer_requests_than_workers_for_a_minute() {
        let quiet = [1; COUNTS as usize];
        let first = COUNTS as usize - 1;
        let verdict = verdicts(2, &quiet);
        assert!(verdict[first] && verdict[..first].iter().all(|may| !may));
        assert!(verdicts(4, &quiet)[first]);
        let mut busy_once = quiet;
        busy_once[3] = 2;
        assert!(!verdicts(2, &busy_once)[first]);
        // The next minute is counted anew.
        assert!(verdicts(2, &[busy_once, quiet].concat())[2 * first + 1]);
    }
}
