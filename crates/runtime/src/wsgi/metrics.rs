//! `mod_wsgi.start_recording_metrics`, `request_metrics` and `process_metrics`, and what is measured
//! of each request for them and for subscribers of events.
//!
//! Runs in: any thread of the application that asks, and request threads. Names and order of the
//! keys are the C module's.

use os::clock;
use os::process::{self, Usage};
use wire::scoreboard::Counters;

use super::events::{self, Finished, Times};
use super::python_functions::PythonFunctions;
use crate::process::request_metrics::{self, Interval, Sample, PHASES};
use crate::process::scoreboard;
use crate::python::function::Arguments;
use crate::python::gil::{Gil, PyResult, Raised};
use crate::python::gil_wait;
use crate::python::object::Object;

/// What the calling thread has used, if anybody wants to know it of a request.
pub fn usage_before(gil: Gil<'_>, python: &PythonFunctions) -> Option<Usage> {
    is_wanted(gil, python).then(process::usage_of_thread)
}

/// Whether anybody wants to know of requests.
pub fn is_wanted(gil: Gil<'_>, python: &PythonFunctions) -> bool {
    request_metrics::is_recording() || events::wanted(gil, python)
}

/// Records a request that has ended.
pub fn record(thread: u32, times: &Times, finished: &Finished) {
    if !request_metrics::is_recording() {
        return;
    }
    let waits = finished.waits;
    let end = finished.application_finish;
    let cpu = finished.used.map(|used| used.user + used.system);
    request_metrics::record(&Sample {
        thread,
        status: finished.status,
        phases: [
            times.queue_start.saturating_sub(times.request_start),
            times.daemon_start.saturating_sub(times.queue_start),
            times.application_start.saturating_sub(times.daemon_start),
            finished.application_time,
            end.saturating_sub(times.request_start),
            waits.time.as_micros() as u64,
            finished.input_time,
            finished.output_time,
        ],
        duration: end.saturating_sub(times.daemon_start),
        cpu: cpu.unwrap_or_default(),
        gil_waits: waits.count,
        input_bytes: finished.input_length,
        input_reads: finished.input_reads,
        output_bytes: finished.output_length,
        output_writes: finished.output_writes,
    });
}

/// A dict that is being filled.
struct Facts<'g>(Gil<'g>, Object<'g>);

impl<'g> Facts<'g> {
    fn new(gil: Gil<'g>) -> Result<Self, Raised> {
        Ok(Self(gil, gil.dict()?))
    }

    fn put(&self, name: &str, value: &Object<'g>) -> Result<(), Raised> {
        self.1.dict_set(&self.0.text(name)?, value)
    }

    fn int(&self, name: &str, value: u64) -> Result<(), Raised> {
        self.put(name, &int(self.0, value)?)
    }

    fn float(&self, name: &str, value: f64) -> Result<(), Raised> {
        self.put(name, &self.0.float(value)?)
    }

    fn ints(&self, name: &str, values: impl Iterator<Item = u64>) -> Result<(), Raised> {
        let list = self.0.list()?;
        for value in values {
            list.append(&int(self.0, value)?)?;
        }
        self.put(name, &list)
    }

    /// Times as seconds.
    fn seconds(&self, name: &str, values: impl Iterator<Item = u64>) -> Result<(), Raised> {
        let list = self.0.list()?;
        for value in values {
            list.append(&self.0.float(seconds(value))?)?;
        }
        self.put(name, &list)
    }

    fn memory(&self, used: &Usage) -> Result<(), Raised> {
        self.int("memory_max_rss", used.peak_memory)?;
        let resident = process::resident_memory(process::id());
        self.int("memory_rss", resident.unwrap_or_default())
    }
}

fn int(gil: Gil<'_>, value: u64) -> PyResult<'_> {
    gil.int(i64::try_from(value).unwrap_or(i64::MAX))
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// `part` of `whole`; 0 of nothing.
fn rate(part: f64, whole: f64) -> f64 {
    match whole > 0.0 {
        true => part / whole,
        false => 0.0,
    }
}

/// Begins to record: the number of request threads.
pub fn start_recording<'g>(gil: Gil<'g>, arguments: Arguments<'_, 'g>) -> PyResult<'g> {
    arguments.expect(gil, "start_recording", 1..=1)?;
    let threads = arguments.get_or_none(gil, 0).to_int()?;
    gil_wait::want();
    request_metrics::start(u32::try_from(threads).unwrap_or_default());
    Ok(gil.none())
}

/// The interval since the last call; None before [`start_recording`].
pub fn request_metrics<'g>(gil: Gil<'g>, _arguments: Arguments<'_, 'g>) -> PyResult<'g> {
    match request_metrics::drain() {
        Some(interval) => describe_interval(gil, &interval),
        None => Ok(gil.none()),
    }
}

fn describe_interval<'g>(gil: Gil<'g>, interval: &Interval) -> PyResult<'g> {
    let facts = Facts::new(gil)?;
    let (totals, threads) = (&interval.totals, &interval.threads);
    let period = seconds(interval.length);
    facts.int("pid", process::id().into())?;
    facts.float("start_time", seconds(interval.start))?;
    facts.float("stop_time", seconds(interval.stop))?;
    facts.float("sample_period", period)?;
    let user = rate(interval.used.user.as_secs_f64(), period);
    let system = rate(interval.used.system.as_secs_f64(), period);
    for (name, old_name, value) in [
        ("cpu_user_utilization", "cpu_user_time", user),
        ("cpu_system_utilization", "cpu_system_time", system),
        ("cpu_utilization", "cpu_time", user + system),
    ] {
        facts.float(name, value)?;
        facts.float(old_name, value)?;
    }
    facts.memory(&interval.used)?;
    let active = threads.iter().filter(|thread| thread.is_active()).count();
    facts.int("request_threads_maximum", threads.len() as u64)?;
    facts.int("request_threads_started", threads.len() as u64)?;
    facts.int("request_threads_active", active as u64)?;
    let busy: u64 = threads.iter().map(|thread| thread.busy).sum();
    let capacity = period * threads.len() as f64;
    facts.float("capacity_utilization", rate(seconds(busy), capacity))?;
    facts.int("request_count", totals.requests)?;
    let throughput = rate(totals.requests as f64, period);
    facts.float("request_throughput", throughput)?;
    for (class, count) in totals.statuses.iter().enumerate() {
        facts.int(&format!("status_{}xx", class + 1), *count)?;
    }
    facts.int("input_bytes", totals.input_bytes)?;
    facts.int("input_reads", totals.input_reads)?;
    facts.int("output_bytes", totals.output_bytes)?;
    facts.int("output_writes", totals.output_writes)?;
    for (name, phase) in PHASES.iter().zip(&totals.phases) {
        facts.ints(&format!("{name}_buckets"), phase.buckets.iter().copied())?;
    }
    for name in ["request_threads_completed", "request_threads_buckets"] {
        facts.ints(name, threads.iter().map(|thread| thread.completed))?;
    }
    let each = || threads.iter();
    facts.seconds(
        "request_threads_busy_time",
        each().map(|thread| thread.busy),
    )?;
    facts.seconds("request_threads_cpu_time", each().map(|thread| thread.cpu))?;
    let elapsed = each().map(|thread| thread.elapsed);
    facts.seconds("request_threads_current_elapsed", elapsed)?;
    let longest = each().map(|thread| thread.longest);
    facts.seconds("request_threads_max_duration", longest)?;
    for (name, phase) in PHASES.iter().zip(&totals.phases) {
        let mean = rate(seconds(phase.sum), totals.requests as f64);
        facts.float(name, mean)?;
        if *name == "gil_wait_time" {
            facts.int("gil_wait_count", totals.gil_waits)?;
        }
    }
    for (name, phase) in PHASES.iter().zip(&totals.phases) {
        for (end, value) in [("min", phase.min), ("max", phase.max)] {
            let value = match totals.requests {
                0 => gil.none(),
                _ => int(gil, value)?,
            };
            facts.put(&format!("{name}_{end}_us"), &value)?;
        }
    }
    Ok(facts.1)
}

/// What the process has done since it came up; None before [`start_recording`].
pub fn process_metrics<'g>(gil: Gil<'g>, arguments: Arguments<'_, 'g>) -> PyResult<'g> {
    arguments.expect(gil, "process_metrics", 1..=1)?;
    let threads = arguments.get_or_none(gil, 0).to_int()?;
    if !request_metrics::is_recording() {
        return Ok(gil.none());
    }
    let threads = u32::try_from(threads).unwrap_or_default();
    let counters: Vec<_> = (1..=threads).map(scoreboard::counters).collect();
    let used = process::usage();
    let facts = Facts::new(gil)?;
    facts.int("pid", process::id().into())?;
    let sum = |of: fn(&Counters) -> u64| counters.iter().map(of).fold(0, u64::saturating_add);
    facts.float("request_busy_time", seconds(sum(|thread| thread.busy)))?;
    facts.int("request_count", sum(|thread| thread.requests))?;
    facts.memory(&used)?;
    facts.float("cpu_user_time", used.user.as_secs_f64())?;
    facts.float("cpu_system_time", used.system.as_secs_f64())?;
    facts.float("cpu_time", (used.user + used.system).as_secs_f64())?;
    let (started, now) = (scoreboard::started(), clock::epoch_us());
    facts.float("restart_time", seconds(started))?;
    facts.float("current_time", seconds(now))?;
    facts.int("running_time", now.saturating_sub(started) / 1_000_000)?;
    facts.int("request_threads", threads.into())?;
    let active = counters.iter().filter(|thread| thread.since != 0).count();
    facts.int("active_requests", active as u64)?;
    let list = gil.list()?;
    for (number, thread) in (1..).zip(&counters) {
        let one = Facts::new(gil)?;
        one.int("thread_id", number)?;
        one.int("request_count", thread.requests)?;
        list.append(&one.1)?;
    }
    facts.put("threads", &list)?;
    Ok(facts.1)
}
