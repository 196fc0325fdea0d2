//! What a group tells of itself: a history of a few numbers, and how things are now.

use std::cell::RefCell;
use std::os::fd::AsFd;
use std::time::Duration;

use os::backlog::Inquiry;
use wire::codec::Bytes;
use wire::control::ReplacementReason;
use wire::own_group;
use wire::response::Level;
use wire::scoreboard::ScoreboardCopy;
use wire::status::{self, RequestTotals, State};

use super::Group;
use crate::worker::{Phase, Worker};

/// Most bytes of a name, a reason or a line in a report.
const MAX_TEXT: usize = 512;

/// What has happened to the group since the supervisor was started.
#[derive(Debug, Default)]
pub struct History {
    pub starts: u64,
    pub replacements: u64,
    pub deaths: u64,
    /// Of workers that have ended.
    totals: RequestTotals,
    last_error: RefCell<Option<(Duration, Bytes)>>,
}

impl History {
    /// Keeps a line that goes to the log, if it is one to worry about.
    pub fn remember(&self, level: Level, id: &str, text: &str) {
        if level <= Level::Warning {
            let line = format!("{id}{text}");
            let now = os::clock::monotonic();
            *self.last_error.borrow_mut() = Some((now, short(line.as_bytes())));
        }
    }

    /// Keeps what a worker that has ended had done.
    pub fn past(&mut self, seen: ScoreboardCopy) {
        self.totals = sum(self.totals, totals(&seen));
    }
}

/// What the kernel says of processes it has killed for want of memory: how many, and when we last
/// looked. It does not say which.
#[derive(Debug, Default)]
pub struct Memory {
    killed: Option<u64>,
    looked: Duration,
}

impl Memory {
    pub fn look(&mut self, now: Duration) {
        self.killed = os::process::killed_for_memory();
        self.looked = now;
    }

    /// Part of a sentence on a worker that was killed: empty, or that want of memory may be the
    /// reason.
    pub fn suspicion(&mut self, now: Duration) -> String {
        let before = std::mem::take(self);
        self.look(now);
        self.suspicion_since(&before)
    }

    fn suspicion_since(&self, before: &Self) -> String {
        let within = self.looked.saturating_sub(before.looked);
        match (before.killed, self.killed) {
            (Some(before), Some(after)) if after > before => format!(
                ", probably for want of memory: the kernel has killed {} for it within the last {} s",
                match after - before {
                    1 => "a process".to_owned(),
                    count => format!("{count} processes"),
                },
                within.as_secs() + 1
            ),
            _ => String::new(),
        }
    }
}

/// Part of a sentence on a worker that has ended: empty, or what it had begun, the oldest by name.
/// The worker's own word, for people to read.
pub fn what_ran(seen: &ScoreboardCopy) -> String {
    let Some(oldest) = seen.running.iter().max_by_key(|request| request.age) else {
        return String::new();
    };
    let line = String::from_utf8_lossy(&oldest.line);
    let seconds = oldest.age as f64 / 1e6;
    let more = match seen.running.len() {
        1 => String::new(),
        2 => " and another request".to_owned(),
        all => format!(" and {} other requests", all - 1),
    };
    format!("; it was running {line} for {seconds:.1} s{more}")
}

/// What may still be told in one report.
#[derive(Debug)]
pub struct Budget {
    pub workers: usize,
    pub running: usize,
    /// Something had to be left out.
    pub is_spent: bool,
}

fn short(text: &[u8]) -> Bytes {
    text[..text.len().min(MAX_TEXT)].into()
}

fn totals(seen: &ScoreboardCopy) -> RequestTotals {
    RequestTotals {
        requests: seen.requests,
        busy: seen.busy,
        queued: seen.queued,
    }
}

/// Workers count themselves, and may count nonsense.
fn sum(one: RequestTotals, other: RequestTotals) -> RequestTotals {
    RequestTotals {
        requests: one.requests.saturating_add(other.requests),
        busy: one.busy.saturating_add(other.busy),
        queued: one.queued.saturating_add(other.queued),
    }
}

/// Milliseconds.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Group {
    /// Whether it belongs into a report. The server's own group does once a request has come to it:
    /// most configurations that could use it never do.
    pub fn is_shown(&self) -> bool {
        !self.is_on_demand() || self.processes() > 0 || self.history.starts > 0
    }

    /// How things are. Reads memory sizes and boards now; `inquiry` asks for the queue.
    pub fn status(
        &self,
        now: Duration,
        inquiry: Option<&Inquiry>,
        budget: &mut Budget,
    ) -> status::GroupStatus {
        let mut all = self.history.totals;
        let mut workers = Vec::new();
        for worker in &self.workers {
            let seen = worker.seen();
            all = sum(all, totals(&seen));
            if budget.workers == 0 {
                budget.is_spent = true;
                continue;
            }
            budget.workers -= 1;
            workers.push(of_worker(worker, seen, now, budget));
        }
        let (state, reason) = self.state(now);
        let waits = [&self.starts, &self.lives, &self.loads];
        let next = waits.iter().filter_map(|wait| wait.next(now)).max();
        let last_error = self.history.last_error.borrow();
        status::GroupStatus {
            name: short(own_group::shown(&self.config.name)),
            generation: self.generation,
            state,
            reason: short(reason.as_bytes()),
            next_start: next.map_or(0, |next| millis(next.saturating_sub(now))),
            processes: self.config.processes,
            threads: self.config.threads,
            uid: self.config.identity.uid,
            waiting: inquiry.and_then(|inquiry| inquiry.waiting(self.listener.as_fd())),
            starts: self.history.starts,
            replacements: self.history.replacements,
            deaths: self.history.deaths,
            totals: all,
            last_error: last_error
                .as_ref()
                .map(|(at, line)| (millis(now.saturating_sub(*at)), line.clone())),
            workers,
        }
    }

    fn state(&self, now: Duration) -> (State, String) {
        let trouble = match &self.trouble {
            Some((id, sentence)) => format!("{id}: {sentence}"),
            None => String::new(),
        };
        if let Some(why) = self.ending {
            return (State::Draining, format!("it {why}"));
        }
        if self.workers.iter().any(Worker::is_ready) || self.processes() == 0 {
            return (State::Ready, trouble);
        }
        let waits = [&self.starts, &self.lives, &self.loads];
        let waits = waits.iter().any(|wait| !wait.may_try(now));
        if waits && !self.workers.iter().any(Worker::is_starting) {
            (State::BackingOff, trouble)
        } else {
            (State::Starting, trouble)
        }
    }
}

fn of_worker(
    worker: &Worker,
    seen: ScoreboardCopy,
    now: Duration,
    budget: &mut Budget,
) -> status::WorkerStatus {
    let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    let busy = seen.running.len();
    budget.is_spent |= busy > budget.running;
    let shown = busy.min(budget.running);
    budget.running -= shown;
    let totals = totals(&seen);
    let running = seen.running.into_iter().take(shown);
    let (error, error_at) = seen.error;
    status::WorkerStatus {
        pid: worker.pid(),
        generation: worker.generation,
        state: match worker.phase {
            Phase::Starting { .. } => State::Starting,
            Phase::Ready { .. } => State::Ready,
            Phase::Draining { .. } => State::Draining,
            Phase::Stopping { .. } | Phase::Killed => State::Stopping,
        },
        reason: worker.leaving.map_or("", why).into(),
        age: millis(now.saturating_sub(worker.started)),
        resident: os::process::resident_memory(worker.pid()).unwrap_or(0),
        totals,
        last_error: (error != 0).then(|| (error, now_us.saturating_sub(error_at) / 1000)),
        busy: u32::try_from(busy).unwrap_or(u32::MAX),
        running: running
            .map(|request| status::RunningRequest {
                thread: request.thread,
                age: request.age,
                queue_time: request.queue_time,
                line: request.line.into(),
                application_group: request.application_group.into(),
            })
            .collect(),
    }
}

/// A line about the first request that a worker has for a script.
pub fn first_request(pid: u32, (script, application_group): &(Bytes, Bytes)) -> String {
    let place = match application_group.is_empty() {
        true => "the main interpreter".to_owned(),
        false => format!("application group '{}'", application_group.text()),
    };
    format!(
        "worker {pid} has its first request for {} in {place}",
        script.text()
    )
}

/// Why a worker is to be replaced, in words.
pub fn why(reason: ReplacementReason) -> &'static str {
    match reason {
        ReplacementReason::Stale => "its script has changed",
        ReplacementReason::MaximumRequests => "it has served maximum-requests",
        ReplacementReason::LoadFailed => "its script could not be loaded",
        ReplacementReason::Signal => "a signal asked for it",
        ReplacementReason::TimeLimit => "a time limit has passed",
        ReplacementReason::Inactive => "there was no request for inactivity-timeout",
        ReplacementReason::CannotAccept => "it can't accept connections",
    }
}

#[cfg(test)]
mod tests {
    use wire::scoreboard;

    use super::*;

    #[test]
    fn what_a_worker_was_running_is_told_by_its_oldest_request() {
        let request = |age, line: &str| scoreboard::RunningRequest {
            thread: 1,
            age,
            queue_time: 0,
            line: line.into(),
            application_group: Vec::new(),
        };
        let mut seen = ScoreboardCopy::default();
        assert_eq!(what_ran(&seen), "");
        seen.running = vec![request(120_000, "GET /a")];
        assert_eq!(what_ran(&seen), "; it was running GET /a for 0.1 s");
        seen.running.push(request(2_300_000, "POST /b"));
        let text = what_ran(&seen);
        assert_eq!(
            text,
            "; it was running POST /b for 2.3 s and another request"
        );
        seen.running.push(request(0, ""));
        assert!(what_ran(&seen).ends_with(" and 2 other requests"));
    }

    #[test]
    fn want_of_memory_is_suspected_when_the_kernel_has_killed_for_it() {
        let looks = [
            (100, None),
            (105, Some(6)),
            (109, Some(6)),
            (118, Some(7)),
            (119, Some(9)),
        ];
        let looks = looks.map(|(seconds, killed)| Memory {
            killed,
            looked: Duration::from_secs(seconds),
        });
        let text = [0, 1, 2, 3].map(|i| looks[i + 1].suspicion_since(&looks[i]));
        assert_eq!(text[..2], ["", ""]);
        assert!(
            text[2].ends_with("has killed a process for it within the last 10 s"),
            "{text:?}"
        );
        assert!(
            text[3].ends_with("has killed 2 processes for it within the last 2 s"),
            "{text:?}"
        );
    }
}
