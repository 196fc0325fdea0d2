//! One process group: its socket, its generations of workers, and the steps to the configured
//! state.
//!
//! Runs in: the supervisor. `steer` handles a first start, a new configuration, a worker that died
//! and a worker that requests its replacement in the same way: a given number of workers of the
//! current generation must be ready. `steer` starts the missing ones, and drains predecessors one
//! by one as successors become ready. It uses the present state alone, so it may be called at any
//! time, and the next call repairs what an earlier one missed.

mod demand;
mod failed_loads;
mod loaded_scripts;
mod reconcile;
mod reconfigure;
mod recycling;
mod reporting;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use os::listener::Listener;
use os::process::Exit;
use os::signal::{SIGKILL, SIGTERM};
use wire::codec::Bytes;
use wire::control::{GroupSetup, ReplacementReason};
use wire::group::{ListenerOptions, ProcessGroup, ServerFacts};
use wire::log_id::{
    LogId, GROUP_AVAILABLE_AGAIN, GROUP_UNAVAILABLE, SOCKET_NOT_REMOVED, WORKER_DIED,
    WORKER_DIED_WHILE_STARTING, WORKER_MESSAGE_MALFORMED, WORKER_NOT_STARTED,
    WORKER_STARTUP_FAILED,
};
use wire::response::Level;
use wire::scoreboard::ScoreboardCopy;

use crate::backoff::Backoff;
use crate::error_log::ErrorLog;
use crate::launch::Environment;
use crate::python_check::{PythonCheck, PythonInterpreter};
use crate::unavailable::UnavailableResponder;
use crate::worker::{self, Event, Phase, Worker};
use crate::worker_output::{Pipe, WorkerOutput};

use demand::Demand;
use loaded_scripts::LoadedScripts;
pub use reporting::Budget;
use reporting::{History, Memory};

/// Keys of earlier generations that workers accept in addition to the current key.
const EARLIER_KEYS: usize = 8;
/// Consecutive deaths of workers soon after they became ready that count as accidents, in addition
/// to one for each process of the group.
const ACCIDENTS: usize = 4;
/// Back-off waits between further such deaths, until requests are answered with 503.
const HOPELESS: u32 = 4;
/// Consecutive workers that may request their replacement soon after they became ready before their
/// successors back off. Workers do so when a script is modified again and again.
const MAX_HASTY: u32 = 50;
/// A worker that was ready for this long has proved that its generation works.
const PROVEN: Duration = Duration::from_secs(1);
/// Time limit for a worker to become ready if `startup-timeout` is not set.
const STARTUP_LIMIT: Duration = Duration::from_secs(300);
/// Time limit for a worker to exit if `shutdown-timeout` is not set.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);
/// Maximum number of characters of the fault in the log line of each request answered with 503.
const MAX_FAULT: usize = 500;
/// Maximum number of remembered reports that workers have logged themselves.
const MAX_FAILED_LOADS: usize = 8;
/// Logs of ended workers that stay open for the processes these workers left behind.
const MAX_ORPHANS: usize = 16;

/// Identifies a descriptor of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupSource {
    Log,
    Listener,
    Unavailable(u64),
    PythonCheck,
    Orphan(u64),
    Worker(u64, worker::WorkerSource),
}

/// What the supervisor knows of the group's Python.
#[derive(Debug)]
enum Python {
    Unknown,
    Checking(Box<PythonCheck>),
    Usable(PythonInterpreter),
}

/// What every group needs from the supervisor in a turn.
pub struct Context<'s> {
    pub now: Duration,
    pub environment: &'s Environment,
    /// Scratch space for a message.
    pub buffer: &'s mut [u8],
}

#[derive(Debug)]
pub struct Group {
    config: ProcessGroup,
    socket_path: Bytes,
    /// Secret of this generation.
    key: [u8; 16],
    server: Rc<ServerFacts>,
    generation: u32,
    earlier_keys: VecDeque<[u8; 16]>,
    listener: Listener,
    log: ErrorLog,
    python: Python,
    workers: Vec<Worker>,
    next_worker: u64,
    orphans: Vec<(u64, WorkerOutput)>,
    unavailable: UnavailableResponder,
    demand: Demand,
    /// Back-off for starts that failed.
    starts: Backoff,
    /// Back-off for workers that died soon after they became ready.
    lives: Backoff,
    /// Back-off for scripts that failed to load: a worker makes one attempt.
    loads: Backoff,
    /// Consecutive workers that died soon after they became ready.
    short_lives: usize,
    /// Consecutive workers that requested their replacement soon after they became ready.
    hasty: u32,
    /// Why no worker serves requests, as last logged, under this id.
    trouble: Option<(LogId, String)>,
    /// What successors load before they are ready.
    loaded_scripts: LoadedScripts,
    /// Why successors can't be put into service, as last logged.
    unloadable: Option<Bytes>,
    /// Scripts that are not loaded before a worker is ready, since a worker ended or hung then.
    left_out: Vec<Bytes>,
    /// Reports of failed loads that workers have logged themselves, latest last.
    failed_loads: VecDeque<Bytes>,
    /// When to check memory next, if `max-rss=` is set.
    next_weighing: Duration,
    /// From when on a worker may be replaced because clients have used up its interpreters.
    next_client_names: Duration,
    history: History,
    memory: Memory,
    /// Why it accepts no more requests for good, as the end of a sentence.
    ending: Option<&'static str>,
}

impl Group {
    /// Creates a group that is new in the configuration.
    pub fn new(
        setup: GroupSetup,
        server: Rc<ServerFacts>,
        listener: Listener,
        log: ErrorLog,
    ) -> Self {
        let mut group = Self {
            config: setup.group,
            socket_path: setup.socket_path,
            key: setup.key,
            server,
            generation: 1,
            earlier_keys: VecDeque::new(),
            listener,
            log,
            python: Python::Unknown,
            workers: Vec::new(),
            next_worker: 0,
            orphans: Vec::new(),
            unavailable: UnavailableResponder::default(),
            demand: Demand::default(),
            starts: Backoff::default(),
            lives: Backoff::default(),
            loads: Backoff::default(),
            short_lives: 0,
            hasty: 0,
            trouble: None,
            loaded_scripts: LoadedScripts::default(),
            unloadable: None,
            left_out: Vec::new(),
            failed_loads: VecDeque::new(),
            next_weighing: Duration::ZERO,
            next_client_names: Duration::ZERO,
            history: History::default(),
            memory: Memory::default(),
            ending: None,
        };
        group.bound_demand();
        group
    }

    pub fn name(&self) -> &[u8] {
        &self.config.name
    }

    pub fn socket_path(&self) -> &[u8] {
        &self.socket_path
    }

    /// Whether its socket still takes connections: a worker could have shut it down, or somebody removed
    /// its file.
    pub fn is_reachable(&self) -> bool {
        self.listener.is_open()
    }

    /// Applies the socket options that can change while the socket stays open.
    pub fn adjust_socket(&self, options: &ListenerOptions) -> std::io::Result<()> {
        let owner = (options.uid != self.config.listener.uid).then_some(options.uid);
        self.listener.adjust(owner, options.backlog)?;
        os::socket::set_buffers(
            self.listener.as_fd(),
            options.send_buffer,
            options.receive_buffer,
        )
    }

    /// Logs `id: process group 'name': text`; lines without an id only report progress.
    fn note(&self, level: Level, id: impl Into<Option<LogId>>, text: &str) {
        let name = self.config.shown_name();
        let id = id.into().map_or_else(String::new, |id| format!("{id}: "));
        self.history.remember(level, &id, text);
        self.log
            .note(level, &format!("{id}process group '{name}': {text}"));
    }

    /// Logs why no worker serves requests, but never the same reason twice in a row.
    fn trouble(&mut self, id: LogId, sentence: String) {
        let known = self
            .trouble
            .as_ref()
            .is_some_and(|(_, logged)| *logged == sentence);
        if !known {
            self.note(Level::Error, id, &sentence);
            self.trouble = Some((id, sentence));
        }
    }

    /// Whether the configuration no longer contains it and its socket's file is removed.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Whether all its workers have ended.
    pub fn is_over(&self) -> bool {
        self.ending.is_some() && self.workers.is_empty()
    }

    /// Removes the socket's file; existing connections stay open.
    pub fn unlink(&self) {
        if let Err(error) = self.listener.unlink() {
            let path = self.socket_path.text();
            let text = format!("cannot remove its socket {path}: {error}");
            self.note(Level::Warning, SOCKET_NOT_REMOVED, &text);
        }
    }

    /// Drains the group: its workers finish their requests; `why` ends a sentence about it.
    pub fn retire(&mut self, why: &'static str, now: Duration) {
        self.ending = Some(why);
        self.python = Python::Unknown;
        let graceful = self.graceful_limit();
        self.note(Level::Info, None, why);
        for index in 0..self.workers.len() {
            self.drain(index, graceful, why, now);
        }
        self.unlink();
    }

    /// Ends the group with the server: every worker exits within `limit`, or its own limit if
    /// shorter.
    pub fn stop(&mut self, limit: Duration, now: Duration) {
        if self.ending.is_none() {
            self.unlink();
        }
        self.ending = Some("ends, because Apache stops or is restarted without grace");
        self.python = Python::Unknown;
        let limit = self.shutdown_limit().min(limit);
        for index in 0..self.workers.len() {
            self.stop_worker(
                index,
                limit,
                "Apache stops or is restarted without grace",
                now,
            );
        }
    }

    /// Has a worker finish its requests, within `limit`, and leave.
    fn drain(&mut self, index: usize, limit: Duration, why: &str, now: Duration) {
        let worker = &mut self.workers[index];
        if worker.drain(limit, now) {
            let (pid, generation) = (worker.pid(), worker.generation);
            let seconds = limit.as_secs_f64();
            let text = format!(
                "worker {pid} of generation {generation} drains, for {seconds} s at most: {why}"
            );
            self.note(Level::Debug, None, &text);
        }
    }

    /// Has a worker leave without waiting for its requests, within `limit`.
    fn stop_worker(&mut self, index: usize, limit: Duration, why: &str, now: Duration) {
        let worker = &mut self.workers[index];
        if worker.stop(limit, now) {
            let (pid, seconds) = (worker.pid(), limit.as_secs_f64());
            let text = format!("worker {pid} is told to exit within {seconds} s: {why}");
            self.note(Level::Debug, None, &text);
        }
    }

    /// The longest time its workers may take to drain.
    pub fn time_to_drain(&self) -> Duration {
        self.graceful_limit() + self.shutdown_limit()
    }

    fn graceful_limit(&self) -> Duration {
        self.config.timeouts.graceful.unwrap_or_default()
    }

    fn shutdown_limit(&self) -> Duration {
        self.config.timeouts.shutdown.unwrap_or(SHUTDOWN_LIMIT)
    }

    /// The descriptors to poll.
    pub fn sources<'s>(&'s self, now: Duration, add: &mut dyn FnMut(GroupSource, BorrowedFd<'s>)) {
        if let Some(log) = self.log.waits_for() {
            add(GroupSource::Log, log);
        }
        let answers = self.has_nobody() && self.unavailable.is_open(now);
        if answers || (!self.has_nobody() && self.watches_listener()) {
            add(GroupSource::Listener, self.listener.as_fd());
        }
        for (id, fd) in self.unavailable.connections() {
            add(GroupSource::Unavailable(id), fd);
        }
        if let Python::Checking(examination) = &self.python {
            add(GroupSource::PythonCheck, examination.as_fd());
        }
        for (id, relay) in &self.orphans {
            add(GroupSource::Orphan(*id), relay.as_fd());
        }
        for worker in &self.workers {
            for (source, fd) in worker.sources() {
                add(GroupSource::Worker(worker.id, source), fd);
            }
        }
    }

    /// Handles a source that is ready.
    pub fn attend(&mut self, source: GroupSource, context: &mut Context<'_>) {
        match source {
            GroupSource::Log => self.log.flush(),
            GroupSource::Listener => {
                if self.has_nobody() {
                    let text = self.regret();
                    self.unavailable.answer(&self.listener, &text, context.now);
                } else if self.watches_listener() {
                    self.notice_connection(context.now);
                }
            }
            GroupSource::Unavailable(id) => self.unavailable.progress(id),
            GroupSource::PythonCheck => self.proceed_python_check(context.now),
            GroupSource::Orphan(id) => {
                let log = &self.log;
                self.orphans.retain_mut(|(known, relay)| {
                    *known != id || relay.copy_to_log(log) == Pipe::Open
                });
            }
            GroupSource::Worker(id, source) => {
                let Some(worker) = self.workers.iter_mut().find(|w| w.id == id) else {
                    return;
                };
                let events = worker.attend(source, &self.log, context.buffer);
                self.heard(id, events, context.now);
            }
        }
    }

    /// Some child process has ended, and the kernel lacks pidfd to name it.
    pub fn look_for_ended(&mut self, context: &mut Context<'_>) {
        let ids: Vec<u64> = self.workers.iter().map(|worker| worker.id).collect();
        for id in ids {
            let Some(worker) = self.workers.iter_mut().find(|w| w.id == id) else {
                continue;
            };
            let events = worker.look(&self.log, context.buffer);
            self.heard(id, events, context.now);
        }
    }

    /// Whether to answer requests with 503: no worker accepts them, and the next start is not
    /// the first attempt.
    fn has_nobody(&self) -> bool {
        let served = self.workers.iter().any(Worker::is_ready);
        let hopeless = self.starts.failures() > 0 || self.lives.failures() >= HOPELESS;
        !served && (self.ending.is_some() || hopeless)
    }

    /// The log text for a request answered with 503: the fault itself, and the number under which
    /// the log has details.
    fn regret(&self) -> String {
        let name = self.config.shown_name();
        let what = match (self.ending, &self.trouble) {
            (Some(why), _) => why.to_owned(),
            (None, Some((id, fault))) => {
                let shown: String = fault.chars().take(MAX_FAULT).collect();
                format!("has no worker: {shown} ({id})")
            }
            (None, None) => {
                format!("has no worker: they end as soon as they are ready ({WORKER_DIED})")
            }
        };
        format!("{GROUP_UNAVAILABLE}: process group '{name}' {what}")
    }

    fn heard(&mut self, id: u64, events: Vec<Event>, now: Duration) {
        for event in events {
            let Some(index) = self.workers.iter().position(|w| w.id == id) else {
                return;
            };
            let pid = self.workers[index].pid();
            match event {
                Event::NotStarted(failure) => {
                    self.trouble(WORKER_NOT_STARTED, format!("a worker {failure}"));
                    self.failed(now);
                    // It exits by itself soon, so this event adds nothing.
                    self.workers[index].phase = Phase::Killed;
                }
                Event::Ready => {
                    self.workers[index].phase = Phase::Ready { since: now };
                    let took = now.saturating_sub(self.workers[index].started).as_millis();
                    let failed = self.workers[index].leaving == Some(ReplacementReason::LoadFailed);
                    self.workers[index].has_loaded &= !failed;
                    self.note(Level::Info, None, &format!("worker {pid} is ready"));
                    let text = format!("worker {pid} was ready {took} ms after its start");
                    self.note(Level::Debug, None, &text);
                    self.unloadable = None;
                    if !failed {
                        self.failed_loads.clear();
                    }
                    if self.trouble.take().is_some() {
                        self.note(Level::Notice, GROUP_AVAILABLE_AGAIN, "is served again");
                    }
                }
                Event::ReplacementReason(reason) => self.leaves(pid, reason, now),
                Event::Loaded(script) => {
                    self.workers[index].has_loaded = true;
                    let text = reporting::first_request(pid, &script);
                    self.note(Level::Debug, None, &text);
                    self.loaded_scripts.note(script, now);
                }
                Event::LoadedForClientName(script) => {
                    self.workers[index].has_loaded = true;
                    self.loaded_scripts.note_client_named(script, now);
                }
                Event::CannotLoad(report) => {
                    self.cannot_load(pid, report, now);
                    let limit = self.shutdown_limit();
                    self.stop_worker(index, limit, "it cannot load its scripts", now);
                }
                Event::FailedToLoad(report) => {
                    self.failed_loads.push_back(report);
                    if self.failed_loads.len() > MAX_FAILED_LOADS {
                        self.failed_loads.pop_front();
                    }
                }
                Event::Unusable(sentence) => {
                    self.trouble(WORKER_STARTUP_FAILED, sentence);
                    self.failed(now);
                    let limit = self.shutdown_limit();
                    self.stop_worker(index, limit, "it cannot serve", now);
                }
                Event::Violation(what) => {
                    let text =
                        format!("worker {pid} broke off its conversation with {what}; killed");
                    self.note(Level::Error, WORKER_MESSAGE_MALFORMED, &text);
                }
                Event::Ended(exit) => {
                    let worker = self.workers.remove(index);
                    let seen = worker.seen();
                    self.ended(&worker, exit, &seen, now);
                    self.history.past(seen);
                    if let Some(relay) = worker.into_log(&self.log) {
                        self.orphans.truncate(MAX_ORPHANS - 1);
                        self.orphans.insert(0, (id, relay));
                    }
                }
            }
        }
    }

    /// An attempt to start a worker failed: the Python is examined again before the next attempt.
    fn failed(&mut self, now: Duration) {
        self.starts.failed(now);
        self.python = Python::Unknown;
    }

    /// How requests reach the group.
    pub fn address(&self) -> wire::control::GroupAddress {
        wire::control::GroupAddress {
            group: self.config.name.clone(),
            socket_path: self.socket_path.clone(),
            key: self.key,
        }
    }

    /// Whether its workers may serve the requests of `config`: they run as the configured users, in
    /// the configured place and under the configured limits.
    pub fn runs_as(&self, config: &ProcessGroup) -> bool {
        self.ending.is_none()
            && self.config.name == config.name
            && reconfigure::changed(&self.config, config).is_empty()
    }

    fn leaves(&mut self, pid: u32, reason: ReplacementReason, now: Duration) {
        let why = reporting::why(reason);
        let text = format!("worker {pid} is to be replaced: {why}");
        self.note(Level::Info, None, &text);
        let at_once = |w: &Worker| w.pid() == pid && w.ready_for(now).is_none_or(|t| t < PROVEN);
        if self.workers.iter().any(at_once) {
            self.hasty += 1;
            if self.hasty > MAX_HASTY {
                self.loads.failed(now);
                return;
            }
        } else {
            self.hasty = 0;
        }
        match reason {
            ReplacementReason::LoadFailed => self.loads.failed(now),
            // The script may be corrected by now.
            ReplacementReason::Stale => self.loads.reset(),
            ReplacementReason::MaximumRequests
            | ReplacementReason::Signal
            | ReplacementReason::TimeLimit
            | ReplacementReason::CannotAccept => {}
            ReplacementReason::Inactive => self.drop_idle_worker(),
        }
    }

    fn ended(&mut self, worker: &Worker, exit: Exit, seen: &ScoreboardCopy, now: Duration) {
        let pid = worker.pid();
        // A worker that requested its replacement may exit when it has no requests left.
        let is_replaced = worker.leaving.is_some() && exit == Exit::Status(0);
        // A person, or the system for want of memory, killed it: its start is not to blame.
        let killed = matches!(exit, Exit::Signal { number, .. }
            if number == SIGKILL || number == SIGTERM);
        if worker.is_on_its_way_out() || is_replaced {
            self.history.replacements += 1;
            self.note(Level::Info, None, &format!("worker {pid} {exit}"));
        } else if (!killed || self.short_lives > 0)
            && self.leave_out(worker.early_load(), &exit.to_string())
        {
            self.history.deaths += 1;
        } else if worker.is_starting() && !killed {
            self.history.deaths += 1;
            if worker.generation == self.generation {
                let python = String::from_utf8_lossy(&worker.python);
                let text = format!(
                    "{python} {exit} before the worker was ready; what it wrote stands above"
                );
                self.trouble(WORKER_DIED_WHILE_STARTING, text);
                self.failed(now);
            }
        } else {
            let service = self.config.threads == 0 && exit == Exit::Status(0);
            if service {
                self.history.replacements += 1;
                let text = format!("worker {pid} {exit}; a successor is started");
                self.note(Level::Info, None, &text);
            } else {
                self.history.deaths += 1;
                let why = match exit {
                    Exit::Signal { number, .. } if number == SIGKILL => self.memory.suspicion(now),
                    _ => String::new(),
                };
                let ran = reporting::what_ran(seen);
                let text = format!("worker {pid} {exit}{why}{ran}; a successor is started");
                self.note(Level::Error, WORKER_DIED, &text);
            }
            if worker.ready_for(now).is_some_and(|lived| lived >= PROVEN) {
                self.lives.reset();
                self.short_lives = 0;
            } else {
                self.short_lives += 1;
                // A worker that died by accident is replaced at once.
                if self.short_lives > ACCIDENTS + self.processes() {
                    self.lives.failed(now);
                }
            }
        }
    }
}
