//! What `mod_wsgi.request_metrics` tells: sums over the requests of one interval.
//!
//! Written by: request threads, at the end of a request, once the application has asked for it with
//! `start_recording_metrics()`. Before that a request costs one look at a flag. There is one
//! recorder for the process, whichever interpreter asks. Its size does not depend on how many
//! requests it has seen. Its lock is held for a few additions, never while anything is waited for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use os::clock;
use os::process::{self, Usage};
use wire::scoreboard::Counters;

use super::{fork, scoreboard};

/// The parts of a request's time.
pub const PHASES: [&str; 8] = [
    "server_time",
    "queue_time",
    "daemon_time",
    "application_time",
    "request_time",
    "gil_wait_time",
    "input_read_time",
    "output_write_time",
];
/// Entries of a histogram: four for each doubling from 1 ms, and one for 65.536 s and more.
pub const BUCKETS: usize = 4 * OCTAVES + 1;
const OCTAVES: usize = 16;

/// One request that has ended. Times are microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// From 1.
    pub thread: u32,
    pub status: u16,
    /// In the order of [`PHASES`].
    pub phases: [u64; PHASES.len()],
    /// From the moment the thread took it up.
    pub duration: u64,
    /// Processor time of the thread.
    pub cpu: Duration,
    pub gil_waits: u64,
    pub input_bytes: u64,
    pub input_reads: u64,
    pub output_bytes: u64,
    pub output_writes: u64,
}

/// How the times of one phase are distributed.
#[derive(Debug, Clone, Copy)]
pub struct Distribution {
    pub sum: u64,
    pub min: u64,
    pub max: u64,
    pub buckets: [u64; BUCKETS],
}

impl Default for Distribution {
    fn default() -> Self {
        Self {
            sum: 0,
            min: u64::MAX,
            max: 0,
            buckets: [0; BUCKETS],
        }
    }
}

impl Distribution {
    fn add(&mut self, time: u64) {
        self.sum = self.sum.saturating_add(time);
        self.min = self.min.min(time);
        self.max = self.max.max(time);
        self.buckets[bucket(time)] += 1;
    }
}

/// The entry of a histogram for a time in microseconds.
fn bucket(time: u64) -> usize {
    let Some(octave) = (time / 1000).checked_ilog2() else {
        return 0;
    };
    let octave = octave as usize;
    if octave >= OCTAVES {
        return BUCKETS - 1;
    }
    let begin = 1000 << octave;
    octave * 4 + ((time - begin) * 4 / begin) as usize
}

/// Sums over the requests of an interval.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    pub requests: u64,
    /// From 1xx on.
    pub statuses: [u64; 5],
    pub phases: [Distribution; PHASES.len()],
    pub gil_waits: u64,
    pub input_bytes: u64,
    pub input_reads: u64,
    pub output_bytes: u64,
    pub output_writes: u64,
}

/// What one thread has done in an interval. Times are microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ThreadTotals {
    pub completed: u64,
    /// Time spent on requests, with that of a request which still runs.
    pub busy: u64,
    /// Processor time of the requests that have ended.
    pub cpu: u64,
    /// Age of the request which still runs; 0 for none.
    pub elapsed: u64,
    /// The longest request that has ended.
    pub longest: u64,
}

impl ThreadTotals {
    /// It has ended a request or has one.
    pub fn is_active(&self) -> bool {
        self.completed > 0 || self.elapsed > 0
    }
}

/// One interval.
#[derive(Debug, Clone)]
pub struct Interval {
    /// Microseconds since the epoch.
    pub start: u64,
    pub stop: u64,
    /// Microseconds, of a clock that nobody sets.
    pub length: u64,
    /// What the process has used in it; the memory is the most of all times.
    pub used: Usage,
    pub totals: Totals,
    pub threads: Vec<ThreadTotals>,
}

/// How things are at one moment.
#[derive(Debug, Clone, Default)]
struct Moment {
    /// Microseconds of the monotonic clock, and since the epoch.
    monotonic: u64,
    epoch: u64,
    used: Usage,
    threads: Vec<Counters>,
}

impl Moment {
    fn now(threads: u32) -> Self {
        // The counters first: a request that is taken up meanwhile is not older than nothing.
        let threads = (1..=threads).map(scoreboard::counters).collect();
        Self {
            monotonic: clock::monotonic_us(),
            epoch: clock::epoch_us(),
            used: process::usage(),
            threads,
        }
    }

    /// Time a thread has spent on requests up to this moment.
    fn busy(&self, index: usize) -> u64 {
        let Some(counters) = self.threads.get(index) else {
            return 0;
        };
        counters.busy.saturating_add(self.elapsed(index))
    }

    fn elapsed(&self, index: usize) -> u64 {
        match self.threads.get(index) {
            Some(counters) if counters.since != 0 => {
                self.monotonic.saturating_sub(counters.since).max(1)
            }
            _ => 0,
        }
    }
}

/// What is recorded since the last interval ended.
struct Recorder {
    totals: Totals,
    threads: Vec<ThreadTotals>,
    since: Moment,
}

impl Recorder {
    fn new(since: Moment) -> Self {
        Self {
            totals: Totals::default(),
            threads: vec![ThreadTotals::default(); since.threads.len()],
            since,
        }
    }

    fn record(&mut self, sample: &Sample) {
        let totals = &mut self.totals;
        totals.requests += 1;
        let class = usize::from(sample.status / 100).clamp(1, 5);
        totals.statuses[class - 1] += 1;
        for (phase, time) in totals.phases.iter_mut().zip(sample.phases) {
            phase.add(time);
        }
        for (sum, part) in [
            (&mut totals.gil_waits, sample.gil_waits),
            (&mut totals.input_bytes, sample.input_bytes),
            (&mut totals.input_reads, sample.input_reads),
            (&mut totals.output_bytes, sample.output_bytes),
            (&mut totals.output_writes, sample.output_writes),
        ] {
            *sum = sum.saturating_add(part);
        }
        let index = (sample.thread as usize).wrapping_sub(1);
        if let Some(thread) = self.threads.get_mut(index) {
            thread.completed += 1;
            thread.cpu = thread.cpu.saturating_add(sample.cpu.as_micros() as u64);
            thread.longest = thread.longest.max(sample.duration);
        }
    }

    /// Ends the interval at `now`; the next one begins there.
    fn drain(&mut self, now: Moment) -> Interval {
        let length = now.monotonic.saturating_sub(self.since.monotonic);
        let mut threads = std::mem::take(&mut self.threads);
        for (index, thread) in threads.iter_mut().enumerate() {
            thread.elapsed = now.elapsed(index);
            // A request that ends at this moment may be missing once and be there twice later.
            let busy = now.busy(index).saturating_sub(self.since.busy(index));
            thread.busy = busy.min(length);
        }
        let interval = Interval {
            start: self.since.epoch,
            stop: now.epoch,
            length,
            used: Usage {
                user: now.used.user.saturating_sub(self.since.used.user),
                system: now.used.system.saturating_sub(self.since.used.system),
                peak_memory: now.used.peak_memory,
            },
            totals: self.totals,
            threads,
        };
        *self = Self::new(now);
        interval
    }
}

static RECORDING: AtomicBool = AtomicBool::new(false);
static RECORDER: Mutex<Option<Recorder>> = Mutex::new(None);

fn recorder() -> MutexGuard<'static, Option<Recorder>> {
    RECORDER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody has asked for metrics. Never in a process that the application forked: another thread
/// may have held the lock there.
pub fn is_recording() -> bool {
    RECORDING.load(Ordering::Relaxed) && !fork::happened()
}

/// Records from now on, for a worker with so many request threads.
pub fn start(threads: u32) {
    if fork::happened() {
        return;
    }
    recorder().get_or_insert_with(|| Recorder::new(Moment::now(threads)));
    RECORDING.store(true, Ordering::Relaxed);
}

/// Adds a request.
pub fn record(sample: &Sample) {
    if let Some(recorder) = recorder().as_mut().filter(|_| is_recording()) {
        recorder.record(sample);
    }
}

/// The interval since the last call; `None` where nothing is recorded.
pub fn drain() -> Option<Interval> {
    if !is_recording() {
        return None;
    }
    let mut recorder = recorder();
    let recorder = recorder.as_mut()?;
    let threads = u32::try_from(recorder.threads.len()).unwrap_or(u32::MAX);
    Some(recorder.drain(Moment::now(threads)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(monotonic: u64, threads: &[(u64, u64)]) -> Moment {
        let counters = |&(since, busy): &(u64, u64)| Counters {
            since,
            busy,
            requests: 0,
        };
        Moment {
            monotonic,
            epoch: 1_000_000 + monotonic,
            threads: threads.iter().map(counters).collect(),
            used: Usage {
                user: Duration::from_micros(monotonic / 2),
                ..Usage::default()
            },
        }
    }

    #[test]
    fn a_histogram_has_four_steps_for_each_doubling_from_a_millisecond() {
        for (time, entry) in [
            (0, 0),
            (999, 0),
            (1000, 0),
            (1249, 0),
            (1250, 1),
            (1999, 3),
            (2000, 4),
            (3999, 7),
            (200_500, 30),
            (300_300, 32),
            (65_535_999, 63),
            (65_536_000, 64),
            (u64::MAX, 64),
        ] {
            assert_eq!(bucket(time), entry, "{time}");
        }
    }

    #[test]
    fn an_interval_holds_what_was_recorded_since_the_last_one() {
        let mut recorder = Recorder::new(moment(1000, &[(0, 500), (900, 0)]));
        let sample = Sample {
            thread: 1,
            status: 404,
            phases: [1, 2, 3, 4000, 5, 0, 0, 9],
            duration: 700,
            cpu: Duration::from_micros(300),
            gil_waits: 2,
            input_bytes: 10,
            input_reads: 1,
            output_bytes: 20,
            output_writes: 3,
        };
        recorder.record(&sample);
        let longer = Sample {
            phases: [3; 8],
            duration: 800,
            status: 200,
            ..sample
        };
        recorder.record(&longer);
        let interval = recorder.drain(moment(5000, &[(0, 2000), (900, 0)]));
        assert_eq!(
            (interval.start, interval.stop, interval.length),
            (1_001_000, 1_005_000, 4000)
        );
        assert_eq!(interval.used.user, Duration::from_micros(2000));
        let totals = &interval.totals;
        assert_eq!((totals.requests, totals.statuses), (2, [0, 1, 0, 1, 0]));
        let application = &totals.phases[3];
        assert_eq!(
            (application.sum, application.min, application.max),
            (4003, 3, 4000)
        );
        assert_eq!((application.buckets[0], application.buckets[8]), (1, 1));
        assert_eq!((totals.output_bytes, totals.gil_waits), (40, 4));
        let first = ThreadTotals {
            completed: 2,
            busy: 1500,
            cpu: 600,
            elapsed: 0,
            longest: 800,
        };
        // It runs since before the interval: only what is within counts.
        let second = ThreadTotals {
            busy: 4000,
            elapsed: 4100,
            ..ThreadTotals::default()
        };
        assert_eq!(interval.threads, [first, second]);
        assert!(second.is_active());

        let interval = recorder.drain(moment(6000, &[(0, 2000), (0, 4500)]));
        assert_eq!((interval.start, interval.length), (1_005_000, 1000));
        assert_eq!(interval.totals.requests, 0);
        let ended = ThreadTotals {
            busy: 400,
            ..ThreadTotals::default()
        };
        assert_eq!(interval.threads, [ThreadTotals::default(), ended]);
    }

    #[test]
    fn odd_samples_and_clocks_harm_nothing() {
        let mut recorder = Recorder::new(moment(1000, &[(0, 0)]));
        for (thread, status) in [(0, 0), (2, 999), (u32::MAX, 65_535)] {
            recorder.record(&Sample {
                thread,
                status,
                phases: [u64::MAX; 8],
                duration: u64::MAX,
                ..Sample::default()
            });
        }
        let interval = recorder.drain(moment(10, &[(500, 7), (0, 0)]));
        assert_eq!(interval.length, 0);
        assert_eq!(interval.totals.statuses, [1, 0, 0, 0, 2]);
        assert_eq!(interval.totals.phases[0].sum, u64::MAX);
        assert_eq!(interval.threads[0].busy, 0);
    }
}
