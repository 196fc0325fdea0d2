//! Replaces workers that have run for long enough or have grown too large: `restart-interval=` and
//! `max-rss=`. The successor is ready before the worker is told to go, and there is never more than
//! one such replacement under way in a group.

use std::time::Duration;

use wire::response::Level;

use super::Group;
use crate::worker::Worker;

/// How often memory is looked at; and how long a worker is left alone that has just come up, so that
/// an application which starts out too large is not replaced without end.
const PERIOD: Duration = Duration::from_secs(2);

impl Group {
    /// Marks a worker whose time has come, if no replacement is under way.
    pub(super) fn retire_worn(&mut self, now: Duration) {
        let max_rss = self.config.replacement.max_rss;
        let max_rss = max_rss.filter(|_| now >= self.next_weighing);
        if max_rss.is_some() {
            self.next_weighing = now + PERIOD;
        }
        let is_under_way =
            |w: &Worker| w.is_starting() || (w.is_ready() && w.is_to_go(self.generation));
        if self.workers.iter().any(is_under_way) {
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
        ends.chain(weighing).min()
    }
}

/// When a worker has run for long enough. Those started together get ends that lie apart, by up to a
/// tenth of the interval.
fn lease(worker: &Worker, interval: Duration) -> Option<Duration> {
    let since = worker.ready_since()?;
    Some(since + interval + interval / 80 * (worker.id % 8) as u32)
}
