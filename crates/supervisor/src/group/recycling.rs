//! Replaces workers that have run for long enough or have grown too large (`restart-interval=` and
//! `max-rss=`), and workers whose sub-interpreters clients have used up. The successor is ready
//! before the worker is told to go, and there is never more than one such replacement under way in a
//! group.
//!
//! Runs in: the supervisor.

use std::time::Duration;

use wire::response::Level;

use super::Group;
use crate::worker::Worker;

/// How often memory is looked at; and how long a worker is left alone that has just come up, so that
/// an application which starts out too large is not replaced without end.
const PERIOD: Duration = Duration::from_secs(2);

/// How often a worker of a group may be replaced because clients have used up its interpreters. A
/// client can do that in a moment and on purpose; it must not have the group restart all the time.
const CLIENT_NAMES_PERIOD: Duration = Duration::from_secs(300);

impl Group {
    /// Marks a worker whose time has come, if no replacement is under way.
    pub(super) fn retire_worn(&mut self, now: Duration) {
        let max_rss = self.config.replacement.max_rss;
        let max_rss = max_rss.filter(|_| now >= self.next_weighing);
        if max_rss.is_some() {
            self.next_weighing = now + PERIOD;
        }
        if self.is_replacing() {
            return;
        }
        if let Some(interval) = self.config.timeouts.restart_interval {
            let worn = self
                .workers
                .iter()
                .position(|w| lease(w, interval).is_some_and(|end| now >= end));
            if let Some(index) = worn {
                let why = format!("it has run for restart-interval={}", interval.as_secs());
                return self.retire_worker(index, &why);
            }
        }
        if now >= self.next_client_names {
            let used_up = |w: &Worker| w.is_ready() && w.has_client_names_used_up;
            if let Some(index) = self.workers.iter().position(used_up) {
                self.next_client_names = now + CLIENT_NAMES_PERIOD;
                return self.retire_worker(
                    index,
                    "clients have named as many application groups as it has interpreters for",
                );
            }
        }
        let Some(max_rss) = max_rss else {
            return;
        };
        let size = |w: &Worker| {
            let grown_up = w.ready_for(now).is_some_and(|time| time >= PERIOD);
            grown_up
                .then(|| os::process::resident_memory(w.pid()))
                .flatten()
        };
        let sizes = self.workers.iter().map(size).enumerate();
        let worst = sizes.filter_map(|(index, size)| Some((size?, index))).max();
        if let Some((size, index)) = worst.filter(|(size, _)| *size > max_rss) {
            self.retire_worker(
                index,
                &format!("its {size} bytes of memory exceed max-rss={max_rss}"),
            );
        }
    }

    /// Whether a replacement is under way. Its end is an event, after which the next can begin.
    fn is_replacing(&self) -> bool {
        let leaves = |w: &Worker| w.is_ready() && w.is_to_go(self.generation);
        self.workers.iter().any(|w| w.is_starting() || leaves(w))
    }

    fn retire_worker(&mut self, index: usize, why: &str) {
        self.workers[index].worn = true;
        let pid = self.workers[index].pid();
        self.note(
            Level::Info,
            None,
            &format!("worker {pid} is to be replaced: {why}"),
        );
    }

    /// When [`Group::retire_worn`] may have something to do.
    pub(super) fn next_wear(&self) -> Option<Duration> {
        if self.is_replacing() {
            return None;
        }
        let interval = self.config.timeouts.restart_interval;
        let marked = |w: &&Worker| w.is_ready() && !w.is_to_go(self.generation);
        let ends = self
            .workers
            .iter()
            .filter(marked)
            .filter_map(|w| lease(w, interval?));
        let serves = self.workers.iter().any(Worker::is_ready);
        let weighing =
            (self.config.replacement.max_rss.is_some() && serves).then_some(self.next_weighing);
        let used_up = |w: &Worker| w.is_ready() && w.has_client_names_used_up;
        let client_names = (self.workers.iter().any(used_up)).then_some(self.next_client_names);
        ends.chain(weighing).chain(client_names).min()
    }
}

/// When a worker has run for long enough. Those started together get ends that lie apart, by up to a
/// tenth of the interval.
fn lease(worker: &Worker, interval: Duration) -> Option<Duration> {
    let since = worker.ready_since()?;
    Some(since + interval + interval / 80 * (worker.id % 8) as u32)
}
