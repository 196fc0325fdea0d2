//! The time limits.
//!
//! Runs in: the main thread, between its waits. It never takes the GIL and never waits for a
//! request thread: what it does for a thread that does not return, it does without that thread.
//! Times are microseconds of the monotonic clock, so that setting the clock does not make a limit
//! early or late.

use std::ptr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use os::backlog::Inquiry;
use os::clock;
use os::dump::{Dumps, Scope};
use os::signal::Thread;
use wire::control::ReplacementReason;
use wire::log_id::{
    DEADLOCK_TIMED_OUT, INACTIVITY_TIMED_OUT, LOAD_TIMED_OUT, QUEUE_TIMED_OUT, REQUEST_INTERRUPTED,
    REQUEST_TIMED_OUT,
};
use wire::request::Request;
use wire::response::{End, Fail, Level, Retry};

use super::running_requests::{self, RunningRequest};
use super::slow_load::{self, SlowLoadStage};
use super::stack_dump::Stack;
use super::Worker;
use crate::exchange::frame_writer::Stream;
use crate::exchange::Abandoned;
use crate::process::process_log;
use crate::python::interpreter::ThreadState;
use crate::wsgi::send::log;

/// A deadlock must be seen twice, so that a process that was stopped and continued is not taken for
/// one.
const SECOND_LOOK: u64 = 200_000;
/// Between two attempts to answer for a thread that is sending.
const AGAIN: u64 = 100_000;
/// How long a request may wait for something that a thread that was given up may hold.
const HELD_UP: u64 = 1_000_000;

/// The limits of one process.
pub struct TimeLimits<'a> {
    worker: &'a Worker,
    dumps: Option<Dumps>,
    request: Option<u64>,
    interrupt: Option<u64>,
    deadlock: Option<u64>,
    inactivity: Option<u64>,
    startup: Option<u64>,
    /// The attempt to get the GIL that takes too long, and when that was seen.
    suspected: Option<(u64, u64)>,
    /// Requests of threads that were given up while they were sending.
    unanswered: Vec<(Arc<RunningRequest>, String)>,
    load_timed_out: bool,
    /// Requests whose threads load a script, and what was logged of each. Weak: a strong reference
    /// would keep the connection of a request open until the next check.
    loads: Vec<(Weak<RunningRequest>, SlowLoadStage)>,
}

/// A limit, in microseconds.
fn limit(time: Option<Duration>) -> Option<u64> {
    time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// A time limit as its option gives it.
fn option_value(limit: Option<Duration>) -> u64 {
    limit.unwrap_or_default().as_secs()
}

pub fn seconds(microseconds: u64) -> String {
    format!("{:.1} s", microseconds as f64 / 1e6)
}

/// Whether a request is ended for the first time, or again because its thread was sending.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    First,
    Another,
}

impl<'a> TimeLimits<'a> {
    pub fn new(worker: &'a Worker, dumps: Option<Dumps>) -> Self {
        let timeouts = &worker.setup.group.timeouts;
        Self {
            worker,
            dumps,
            request: limit(timeouts.request),
            interrupt: limit(timeouts.interrupt),
            deadlock: limit(timeouts.deadlock),
            inactivity: limit(timeouts.inactivity),
            startup: limit(timeouts.startup),
            suspected: None,
            unanswered: Vec::new(),
            load_timed_out: false,
            loads: Vec::new(),
        }
    }

    /// When to check next, if nothing else happens. A request that begins meanwhile cannot be late
    /// before then.
    pub fn next(&self, now: u64) -> Option<u64> {
        let mut moments = Vec::new();
        if let Some(limit) = self.request {
            moments.push(now + limit);
            for running in self.worker.running_requests.all() {
                match (running.progress.called(), running.progress.is_given_up()) {
                    (_, true) | (None, false) => {}
                    (Some(called), false) => moments.push(match running.progress.interrupted() {
                        Some(at) => at + self.interrupt.unwrap_or(0),
                        None => called + limit,
                    }),
                }
            }
        }
        if let (Some(limit), Some(beat)) = (self.deadlock, &self.worker.heartbeat) {
            let since = beat.waiting_since().unwrap_or(now);
            moments.push(match self.suspected {
                Some((_, seen)) => seen + SECOND_LOOK,
                None => since + limit,
            });
        }
        if let Some(limit) = self.inactivity {
            let last = self.worker.activity.load(Ordering::SeqCst);
            let idle = self.worker.unfinished.load(Ordering::SeqCst) == 0;
            moments.push(
                if last != 0 && idle && !self.worker.has_requested_replacement() {
                    last + limit
                } else {
                    now + limit
                },
            );
        }
        if let Some(limit) = self.startup.filter(|_| !self.load_timed_out) {
            moments.push(self.worker.loading_since().unwrap_or(now) + limit);
        }
        for (running, stage) in &self.loads {
            let since = running
                .upgrade()
                .and_then(|running| running.progress.loading_since());
            if let (Some(since), Some(next)) = (since, stage.next()) {
                moments.push(since + next);
            }
            if let Some(since) = since {
                moments.push((since + slow_load::SERVING).max(now + slow_load::GLANCE));
            }
        }
        if !self.unanswered.is_empty() {
            moments.push(now + AGAIN);
        }
        if self.given_up() > 0 {
            moments.push(now + HELD_UP);
        }
        moments.into_iter().min()
    }

    /// Threads that are not waited for when the process leaves.
    pub fn given_up(&self) -> usize {
        let busy = self.worker.running_requests.all();
        busy.iter()
            .filter(|running| running.progress.is_given_up())
            .count()
    }

    /// Enforces the limits. True if nothing can run in this process any more.
    pub fn look(&mut self, now: u64) -> bool {
        if self.is_deadlocked(now) {
            self.end_deadlock(now);
            return true;
        }
        self.look_at_load(now);
        self.look_at_slow_loads(now);
        self.look_at_requests(now);
        self.look_at_inactivity(now);
        false
    }

    fn look_at_requests(&mut self, now: u64) {
        let unanswered = std::mem::take(&mut self.unanswered);
        for (running, sentence) in unanswered {
            self.answer(running, sentence, "", Attempt::Another);
        }
        let held_up = self.given_up() > 0;
        for running in self.worker.running_requests.all() {
            if running.progress.is_given_up() {
                continue;
            }
            let Some(called) = running.progress.called() else {
                if held_up && now >= running.since + HELD_UP {
                    self.hand_back(&running);
                }
                continue;
            };
            let Some(limit) = self.request.filter(|limit| now >= called + limit) else {
                continue;
            };
            match (self.interrupt, running.progress.interrupted()) {
                (Some(_), None) => self.interrupt(&running, now, limit),
                (Some(more), Some(at)) if now < at + more => {}
                _ => self.give_up(&running, now, limit),
            }
        }
    }

    /// Has `RequestTimeout` raised, by a thread that may wait for the GIL.
    fn interrupt(&self, running: &Arc<RunningRequest>, now: u64, limit: u64) {
        running.progress.note_interruption(now);
        let running = Arc::clone(running);
        let place = self.worker.place(None);
        let spawned = std::thread::Builder::new()
            .name("wsgi-interrupt".to_owned())
            .spawn(move || {
                let Some(mut thread_state) = ThreadState::new(running.interpreter) else {
                    return;
                };
                thread_state.attach(|gil| {
                    let Some(state) = running.interpreter.state() else {
                        return;
                    };
                    let stack = running.progress.ident().object(gil).and_then(|ident| {
                        let show = state.python.stack.bind(gil);
                        show.call(&[&ident])?.to_text()
                    });
                    let stack = stack.unwrap_or_else(|raised| {
                        gil.clear(raised);
                        String::new()
                    });
                    let class = state.python.request_timeout.bind(gil);
                    if running.progress.interrupt(gil, class) {
                        let text = format!(
                            "{REQUEST_INTERRUPTED}: {} has taken longer than request-timeout={}: \
                             RequestTimeout is raised in its thread, {place}, which is at\n{stack}",
                            running.line,
                            limit / 1_000_000
                        );
                        log(gil, &running.exchange, Level::Info, &text);
                    }
                });
            });
        // If there is no thread to be had, the request is given up when its further time is over.
        drop(spawned);
    }

    /// Answers for a thread that does not return, and has the process replaced.
    fn give_up(&mut self, running: &Arc<RunningRequest>, now: u64, limit: u64) {
        let stack = self.show(running.thread, Scope::Own);
        let (interrupted, more) = match self.interrupt {
            Some(more) => (" and interrupt-timeout=", (more / 1_000_000).to_string()),
            None => ("", String::new()),
        };
        let called = running.progress.called().unwrap_or(now);
        let sentence = format!(
            "{REQUEST_TIMED_OUT}: {} has taken longer than request-timeout={}{interrupted}{more}: {} \
             in the queue, {} in the application {}{}. {}. The process is replaced",
            running.line,
            limit / 1_000_000,
            seconds(running.queue_time),
            seconds(now.saturating_sub(called)),
            running.script,
            stack.place(),
            self.worker.circumstances(),
        );
        running.progress.give_up();
        self.worker
            .request_replacement_because(ReplacementReason::TimeLimit, "request_timeout");
        self.answer(Arc::clone(running), sentence, &stack.text, Attempt::First);
    }

    /// Ends a request that runs, with its stack in the same log; the stack may be empty, because a
    /// thread need not show it in time.
    fn answer(
        &mut self,
        running: Arc<RunningRequest>,
        sentence: String,
        stack: &str,
        attempt: Attempt,
    ) {
        let end = End {
            broken: true,
            queue_time: running.queue_time,
            application_time: clock::monotonic_us().saturating_sub(running.since),
            pid: self.worker.pid,
            ..End::default()
        };
        let record = match stack {
            "" => String::new(),
            stack => format!("{REQUEST_TIMED_OUT}: {} was at\n{stack}", running.line),
        };
        let whole = [&sentence, &record].map(String::as_str).join("\n");
        match running.exchange.abandon(504, &sentence, end, &record) {
            Abandoned::Answered => {}
            Abandoned::Over => process_log::error(whole.trim_end()),
            Abandoned::Sending => {
                if attempt == Attempt::First {
                    process_log::error(whole.trim_end());
                }
                self.unanswered.push((running, sentence));
            }
        }
    }

    /// Lets another worker have a request that has not begun.
    fn hand_back(&self, running: &RunningRequest) {
        if running.progress.hand_back() {
            running.progress.give_up();
            let mut frame = Vec::new();
            Retry::Draining.append(&mut frame);
            running.connection.hurry();
            running.connection.say(&frame);
        }
    }

    fn is_deadlocked(&mut self, now: u64) -> bool {
        let (Some(limit), Some(beat)) = (self.deadlock, &self.worker.heartbeat) else {
            return false;
        };
        let Some(since) = beat.waiting_since().filter(|since| now >= since + limit) else {
            self.suspected = None;
            return false;
        };
        match self.suspected {
            Some((same, seen)) if same == since => now >= seen + SECOND_LOOK,
            _ => {
                self.suspected = Some((since, now));
                false
            }
        }
    }

    /// Nothing runs here while the GIL is held: requests that have begun are answered, the others
    /// go to another worker, and the process ends.
    fn end_deadlock(&mut self, now: u64) {
        let limit = self.deadlock.unwrap_or(0) / 1_000_000;
        let busy = self.worker.running_requests.all();
        let circumstances = self.worker.circumstances();
        self.worker.draining.store(true, Ordering::SeqCst);
        self.worker
            .request_replacement_because(ReplacementReason::TimeLimit, "deadlock_timeout");
        for running in &busy {
            self.hand_back(running);
            if running.progress.is_given_up() {
                continue;
            }
            let called = running.progress.called().unwrap_or(now);
            let sentence = format!(
                "{DEADLOCK_TIMED_OUT}: {} was ended: Python's global lock was held for longer than \
                 deadlock-timeout={limit}: {} in the queue, {} in the application {}. The log of the \
                 process group shows where its threads were",
                running.line,
                seconds(running.queue_time),
                seconds(now.saturating_sub(called)),
                running.script,
            );
            running.progress.give_up();
            self.answer(Arc::clone(running), sentence, "", Attempt::First);
        }
        // All have their answers by now: to show where a thread hangs in C code takes time, and the
        // process may not survive it.
        let mut stacks = self.show(Thread::current(), Scope::All).text;
        for running in &busy {
            if !std::ptr::eq(running.interpreter, self.worker.interpreters.main()) {
                stacks.push_str(&self.show(running.thread, Scope::Own).text);
            }
        }
        process_log::error(&format!(
            "{DEADLOCK_TIMED_OUT}: Python's global lock was held for longer than deadlock-timeout={limit} in \
             process group '{}'. {circumstances}. The process is replaced. Its threads were at\n{stacks}",
            self.worker.setup.group.shown_name(),
        ));
    }

    fn look_at_load(&mut self, now: u64) {
        let (Some(limit), Some(since)) = (self.startup, self.worker.loading_since()) else {
            return;
        };
        if self.load_timed_out || now < since + limit {
            return;
        }
        self.load_timed_out = true;
        self.worker
            .request_replacement_because(ReplacementReason::TimeLimit, "startup_timeout");
        for running in self.worker.running_requests.all() {
            if !running.progress.is_waiting() {
                continue;
            }
            let stack = self.show(running.thread, Scope::Own);
            // One of them loads, the others wait for it and are in no Python code.
            if stack.is_empty() || !running.progress.hand_back() {
                self.hand_back(&running);
                continue;
            }
            running.progress.give_up();
            let sentence = format!(
                "{LOAD_TIMED_OUT}: {} is still being loaded after {} (startup-timeout={}) for {}{}. \
                 {}. The process is replaced",
                running.script,
                seconds(now - since),
                limit / 1_000_000,
                running.line,
                stack.place(),
                self.worker.circumstances(),
            );
            process_log::error(&format!("{sentence}. It was at\n{}", stack.text));
            let mut frame = Vec::new();
            Fail {
                status: 504,
                text: sentence.as_bytes(),
            }
            .append(&mut frame);
            running.connection.hurry();
            running.connection.say(&frame);
        }
    }

    /// Logs what scripts do that take long to load.
    fn look_at_slow_loads(&mut self, now: u64) {
        let before = std::mem::take(&mut self.loads);
        for running in self.worker.running_requests.all() {
            let Some(since) = running.progress.loading_since() else {
                continue;
            };
            let same =
                |other: &Weak<RunningRequest>| ptr::eq(other.as_ptr(), Arc::as_ptr(&running));
            let known = before.iter().find(|(other, _)| same(other));
            let mut stage = known.map_or(SlowLoadStage::Never, |&(_, stage)| stage);
            if stage.next().is_some_and(|next| now >= since + next) {
                let stack = self.show(running.thread, Scope::Own);
                let whom = format!("for {}", running.line);
                stage = stage.look(&running.script, now - since, &whom, &stack);
            }
            let is_slow = now >= since + slow_load::SERVING;
            if is_slow || self.worker.draining.load(Ordering::SeqCst) {
                self.give_up_outdated_load(&running, now - since);
            }
            self.loads.push((Arc::downgrade(&running), stage));
        }
    }

    /// Gives up the load that a thread is at if its script has been changed meanwhile, which is how
    /// a script that hangs is mended. Nothing has run for the requests of this interpreter that
    /// wait, so they go to the successor; the thread itself may never return.
    fn give_up_outdated_load(&self, loads: &RunningRequest, elapsed: u64) {
        let state = loads.interpreter.state();
        if !state.is_some_and(|state| state.loader().scripts.is_load_outdated()) {
            return;
        }
        slow_load::log_given_up(&loads.script, elapsed);
        self.worker.script_changed();
        for running in self.worker.running_requests.all() {
            if ptr::eq(running.interpreter, loads.interpreter) {
                self.hand_back(&running);
            }
        }
    }

    fn look_at_inactivity(&mut self, now: u64) {
        let last = self.worker.activity.load(Ordering::SeqCst);
        let Some(limit) = self
            .inactivity
            .filter(|limit| last != 0 && now >= last + limit)
        else {
            return;
        };
        let running = self.worker.unfinished.load(Ordering::SeqCst);
        if running > self.given_up() || self.worker.has_requested_replacement() {
            return;
        }
        let text = format!(
            "{INACTIVITY_TIMED_OUT}: there was no request for longer than inactivity-timeout={}: the process is \
             replaced",
            limit / 1_000_000
        );
        process_log::record_at(Level::Info, text.as_bytes());
        self.worker
            .request_replacement_because(ReplacementReason::Inactive, "inactivity_timeout");
    }

    fn show(&mut self, thread: Thread, scope: Scope) -> Stack {
        Stack::of(&mut self.dumps, thread, scope)
    }
}

impl Worker {
    /// Whether a request has waited longer than `queue-timeout=` allows.
    pub fn has_waited_too_long(&self, queue_time: u64) -> bool {
        limit(self.setup.group.timeouts.queue).is_some_and(|limit| queue_time > limit)
    }

    /// The sentence for that.
    pub fn waited_too_long(&self, request: &Request<'_>, queue_time: u64) -> String {
        format!(
            "{QUEUE_TIMED_OUT}: {} waited {} for a thread of process group '{}', longer than \
             queue-timeout={}, and was not run. {}",
            running_requests::line(request),
            seconds(queue_time),
            self.setup.group.shown_name(),
            option_value(self.setup.group.timeouts.queue),
            self.circumstances(),
        )
    }

    /// The sentence for a request that `RequestTimeout` has ended.
    pub fn overdue(&self, running: &RunningRequest) -> String {
        let now = clock::monotonic_us();
        format!(
            "{REQUEST_INTERRUPTED}: {} has taken longer than request-timeout={}, and RequestTimeout \
             has ended it: {} in the queue, {} in the application {}. {}",
            running.line,
            option_value(self.setup.group.timeouts.request),
            seconds(running.queue_time),
            seconds(now.saturating_sub(running.progress.called().unwrap_or(now))),
            running.script,
            self.circumstances(),
        )
    }

    /// How busy process and group are, for messages.
    pub fn circumstances(&self) -> String {
        let running = self.unfinished.load(Ordering::SeqCst);
        let threads = self.setup.group.threads;
        let waiting = Inquiry::begin()
            .ok()
            .and_then(|inquiry| inquiry.waiting(self.request_source.listener()));
        let waiting = match waiting {
            None => String::new(),
            Some(1) => ", 1 request waits for the group".to_owned(),
            Some(more) => format!(", {more} requests wait for the group"),
        };
        format!("{running} of {threads} threads of the process are busy{waiting}")
    }
}
