//! One process group: its socket, its generations of workers, and how it gets from what is to what
//! ought to be.
//!
//! A first start, a new configuration, a worker that died and one that wishes to leave are the
//! same to [`Group::steer`]: so many workers of the current generation ought to be ready; those
//! short are started, and predecessors are told to go one by one as successors become ready. It
//! looks at the state alone, so it may be called at any time, and whatever was missed or failed is
//! made up for the next time.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use os::listener::Listener;
use wire::control::{Leaving, ToWorker, WorkerSetup};
use wire::group::ServerFacts;
use wire::response::Level;

use crate::backoff::Backoff;
use crate::door::Door;
use crate::examination::{Examination, Interpreter, Question};
use crate::journal::Journal;
use crate::launch::{self, Environment};
use crate::relay::{Pipe, Relay};
use crate::worker::{self, Event, Phase, Worker};

/// Keys of earlier generations that workers accept beside the current one.
const EARLIER_KEYS: usize = 8;
/// A worker that was ready for so long has proved that its kind works.
const PROVEN: Duration = Duration::from_secs(1);
/// Longest that a worker may take until it is ready where `startup-timeout` does not say.
const STARTUP_LIMIT: Duration = Duration::from_secs(300);
/// Time to leave in where `shutdown-timeout` does not say.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);
/// Logs of ended workers that are kept open for processes these left behind.
const MAX_ORPHANS: usize = 16;

/// Which descriptor of a group is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Log,
    Door,
    Visitor(u64),
    Examination,
    Orphan(u64),
    Worker(u64, worker::Source),
}

/// What is known of the group's Python.
#[derive(Debug)]
enum Python {
    Unknown,
    Examining(Box<Examination>),
    Usable(Interpreter),
}

/// What all groups need from the supervisor in a turn.
pub struct Turn<'s> {
    pub now: Duration,
    pub environment: &'s Environment,
    /// Scratch space for a message.
    pub buffer: &'s mut [u8],
}

#[derive(Debug)]
pub struct Group {
    config: wire::group::Group,
    server: Rc<ServerFacts>,
    generation: u32,
    earlier_keys: VecDeque<[u8; 16]>,
    listener: Listener,
    log: Journal,
    python: Python,
    workers: Vec<Worker>,
    next_worker: u64,
    orphans: Vec<(u64, Relay)>,
    door: Door,
    /// Starts that failed.
    starts: Backoff,
    /// Scripts that failed to load: a worker is good for one attempt.
    loads: Backoff,
    /// The last worker that became ready ended at once.
    short_lived: bool,
    /// Why there is nobody to serve requests, as last logged.
    trouble: Option<String>,
    /// The configuration has it no more, or the server ends.
    ending: bool,
}

impl Group {
    /// A group that is new in the configuration.
    pub fn new(
        config: wire::group::Group,
        server: Rc<ServerFacts>,
        listener: Listener,
        log: Journal,
    ) -> Self {
        let group = Self {
            config,
            server,
            generation: 1,
            earlier_keys: VecDeque::new(),
            listener,
            log,
            python: Python::Unknown,
            workers: Vec::new(),
            next_worker: 0,
            orphans: Vec::new(),
            door: Door::default(),
            starts: Backoff::default(),
            loads: Backoff::default(),
            short_lived: false,
            trouble: None,
            ending: false,
        };
        group.tell_inert_options();
        group
    }

    pub fn name(&self) -> &[u8] {
        &self.config.name
    }

    pub fn socket_path(&self) -> &[u8] {
        &self.config.socket_path
    }

    /// A new configuration of the same group: a new generation. `listener` replaces the old one
    /// where it was bound anew.
    pub fn reconfigure(
        &mut self,
        config: wire::group::Group,
        server: Rc<ServerFacts>,
        listener: Option<Listener>,
        log: Journal,
    ) {
        if config.key != self.config.key {
            self.earlier_keys.push_front(self.config.key);
            self.earlier_keys.retain(|key| *key != config.key);
            self.earlier_keys.truncate(EARLIER_KEYS);
        }
        if let Some(listener) = listener {
            self.unlink();
            self.listener = listener;
        }
        let asked = config.inert_options != self.config.inert_options;
        self.config = config;
        self.server = server;
        self.log = log;
        self.generation += 1;
        self.python = Python::Unknown;
        self.starts.reset();
        self.loads.reset();
        self.short_lived = false;
        self.trouble = None;
        self.ending = false;
        if asked {
            self.tell_inert_options();
        }
    }

    /// Sets what can be set on a socket that stays.
    pub fn adjust_socket(&self, config: &wire::group::Group) -> std::io::Result<()> {
        let owner = (config.socket_uid != self.config.socket_uid).then_some(config.socket_uid);
        self.listener.adjust(owner, config.listen_backlog)?;
        let limits = &config.limits;
        os::socket::set_buffers(
            self.listener.as_fd(),
            limits.send_buffer,
            limits.receive_buffer,
        )
    }

    fn tell_inert_options(&self) {
        let options: Vec<_> = self.config.inert_options.iter().map(|o| o.text()).collect();
        if !options.is_empty() {
            let options = options.join(", ");
            self.note(
                Level::Warning,
                "WSGI0331",
                &format!("{options}: no effect yet"),
            );
        }
    }

    /// Writes `id: process group 'name': text`; lines without an id are mere progress.
    fn note(&self, level: Level, id: &str, text: &str) {
        let name = self.config.name.text();
        let id = if id.is_empty() {
            String::new()
        } else {
            format!("{id}: ")
        };
        self.log
            .note(level, &format!("{id}process group '{name}': {text}"));
    }

    /// Logs why there is nobody to serve requests; the same reason once in a row.
    fn trouble(&mut self, id: &str, sentence: String) {
        if self.trouble.as_ref() != Some(&sentence) {
            self.note(Level::Error, id, &sentence);
            self.trouble = Some(sentence);
        }
    }

    /// Whether the configuration has it no more, and its socket's file is gone.
    pub fn is_ending(&self) -> bool {
        self.ending
    }

    /// Whether nothing of it is left.
    pub fn is_over(&self) -> bool {
        self.ending && self.workers.is_empty()
    }

    /// Removes the socket's file; who is connected stays so.
    pub fn unlink(&self) {
        if let Err(error) = self.listener.unlink() {
            let path = self.config.socket_path.text();
            let text = format!("cannot remove its socket {path}: {error}");
            self.note(Level::Warning, "WSGI0332", &text);
        }
    }

    /// The configuration has this group no more.
    pub fn retire(&mut self, now: Duration) {
        self.ending = true;
        self.python = Python::Unknown;
        let graceful = Duration::from_millis(self.config.timeouts.graceful);
        for worker in &mut self.workers {
            worker.drain(graceful, now);
        }
        self.unlink();
        self.note(Level::Info, "", "is no longer configured and ends");
    }

    /// The server ends: every worker leaves within `limit`, or its own where that is shorter.
    pub fn stop(&mut self, limit: Duration, now: Duration) {
        if !self.ending {
            self.unlink();
        }
        self.ending = true;
        self.python = Python::Unknown;
        let limit = self.shutdown_limit().min(limit);
        for worker in &mut self.workers {
            worker.stop(limit, now);
        }
    }

    fn shutdown_limit(&self) -> Duration {
        match self.config.timeouts.shutdown {
            0 => SHUTDOWN_LIMIT,
            limit => Duration::from_millis(limit),
        }
    }

    /// The descriptors to watch.
    pub fn sources<'s>(&'s self, add: &mut dyn FnMut(Source, BorrowedFd<'s>)) {
        if self.log.is_waiting() {
            add(Source::Log, self.log.as_fd());
        }
        if self.has_nobody() {
            add(Source::Door, self.listener.as_fd());
        }
        for (id, fd) in self.door.visitors() {
            add(Source::Visitor(id), fd);
        }
        if let Python::Examining(examination) = &self.python {
            add(Source::Examination, examination.as_fd());
        }
        for (id, relay) in &self.orphans {
            add(Source::Orphan(*id), relay.as_fd());
        }
        for worker in &self.workers {
            for (source, fd) in worker.sources() {
                add(Source::Worker(worker.id, source), fd);
            }
        }
    }

    /// Looks at a source that is ready.
    pub fn attend(&mut self, source: Source, turn: &mut Turn<'_>) {
        match source {
            Source::Log => self.log.flush(),
            Source::Door => {
                if self.has_nobody() {
                    let text = self.regret();
                    self.door.answer(&self.listener, &text, turn.now);
                }
            }
            Source::Visitor(id) => self.door.carry(id),
            Source::Examination => self.proceed_examination(turn.now),
            Source::Orphan(id) => {
                let log = &self.log;
                self.orphans
                    .retain_mut(|(known, relay)| *known != id || relay.carry(log) == Pipe::Open);
            }
            Source::Worker(id, source) => {
                let Some(worker) = self.workers.iter_mut().find(|w| w.id == id) else {
                    return;
                };
                let events = worker.attend(source, &self.log, turn.buffer);
                self.heard(id, events, turn.now);
            }
        }
    }

    /// A child process has ended, nobody says which: for kernels without pidfd.
    pub fn look_for_ended(&mut self, turn: &mut Turn<'_>) {
        let ids: Vec<u64> = self.workers.iter().map(|worker| worker.id).collect();
        for id in ids {
            let Some(worker) = self.workers.iter_mut().find(|w| w.id == id) else {
                continue;
            };
            let events = worker.look(&self.log, turn.buffer);
            self.heard(id, events, turn.now);
        }
    }

    /// Whether requests are to be turned away: no worker takes them, and the next start is not
    /// the first attempt.
    fn has_nobody(&self) -> bool {
        let served = self.workers.iter().any(Worker::is_ready);
        !served && (self.ending || self.starts.failures() > 0)
    }

    /// What those are told who are turned away.
    fn regret(&self) -> String {
        let name = self.config.name.text();
        if self.ending {
            return format!("process group '{name}' is no longer configured");
        }
        match &self.trouble {
            Some(why) => format!("process group '{name}' has no worker: {why}"),
            None => format!("process group '{name}' has no worker at the moment"),
        }
    }

    fn heard(&mut self, id: u64, events: Vec<Event>, now: Duration) {
        for event in events {
            let Some(index) = self.workers.iter().position(|w| w.id == id) else {
                return;
            };
            let pid = self.workers[index].pid();
            match event {
                Event::NotStarted(failure) => {
                    self.trouble("WSGI0333", format!("a worker {failure}"));
                    self.failed(now);
                }
                Event::Ready => {
                    self.workers[index].phase = Phase::Ready { since: now };
                    self.note(Level::Info, "", &format!("worker {pid} is ready"));
                    if self.trouble.take().is_some() {
                        self.note(Level::Notice, "WSGI0334", "is served again");
                    }
                }
                Event::Leaving(reason) => self.leaves(pid, reason, now),
                Event::Unusable(sentence) => {
                    self.trouble("WSGI0335", sentence);
                    self.failed(now);
                    let limit = self.shutdown_limit();
                    self.workers[index].stop(limit, now);
                }
                Event::Violation(what) => {
                    let text =
                        format!("worker {pid} broke off its conversation with {what}; killed");
                    self.note(Level::Error, "WSGI0336", &text);
                }
                Event::Ended(exit) => {
                    let worker = self.workers.remove(index);
                    self.ended(&worker, exit, now);
                    if let Some(relay) = worker.into_log(&self.log) {
                        self.orphans.truncate(MAX_ORPHANS - 1);
                        self.orphans.insert(0, (id, relay));
                    }
                }
            }
        }
    }

    /// An attempt to have a worker failed: the Python is looked at anew before the next one.
    fn failed(&mut self, now: Duration) {
        self.starts.failed(now);
        self.python = Python::Unknown;
    }

    fn leaves(&mut self, pid: u32, reason: Leaving, now: Duration) {
        let why = match reason {
            Leaving::Stale => "its script has changed",
            Leaving::MaximumRequests => "it has served maximum-requests",
            Leaving::LoadFailed => "its script could not be loaded",
            Leaving::Signal => "a signal asked for it",
            Leaving::TimeLimit => "a time limit has passed",
        };
        let text = format!("worker {pid} is to be replaced: {why}");
        self.note(Level::Info, "", &text);
        match reason {
            Leaving::LoadFailed => self.loads.failed(now),
            // The script may be mended now.
            Leaving::Stale => self.loads.reset(),
            Leaving::MaximumRequests | Leaving::Signal | Leaving::TimeLimit => {}
        }
    }

    fn ended(&mut self, worker: &Worker, exit: os::process::Exit, now: Duration) {
        let pid = worker.pid();
        if worker.is_on_its_way_out() {
            self.note(Level::Info, "", &format!("worker {pid} {exit}"));
        } else if worker.is_starting() {
            if worker.generation == self.generation {
                // The number would make each of a row of failures look new.
                self.trouble("WSGI0338", format!("a worker {exit} before it was ready"));
                self.failed(now);
            }
        } else {
            let service = self.config.threads == 0 && exit == os::process::Exit::Status(0);
            let text = format!("worker {pid} {exit}; a successor is started");
            if service {
                self.note(Level::Info, "", &text);
            } else {
                self.note(Level::Error, "WSGI0339", &text);
            }
            let lived = worker.ready_for(now).unwrap_or_default();
            if lived >= PROVEN {
                self.short_lived = false;
            } else if std::mem::replace(&mut self.short_lived, true) {
                // Once may be an accident, and its successor starts at once.
                self.failed(now);
            }
        }
    }

    /// Brings the group nearer to what it ought to be.
    pub fn steer(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        self.door.expire(now);
        self.enforce_limits(now);
        if let Python::Examining(_) = self.python {
            self.proceed_examination(now);
        }
        if self.ending {
            return;
        }
        let generation = self.generation;
        let proven = |w: &Worker| {
            w.generation == generation && w.ready_for(now).is_some_and(|lived| lived >= PROVEN)
        };
        if self.workers.iter().any(proven) {
            self.starts.reset();
            self.short_lived = false;
        }
        let serving = self.count(|w| w.is_ready() && !w.is_to_go(generation));
        self.let_predecessors_go(serving, now);
        self.start_successors(serving, turn);
    }

    fn count(&self, which: impl Fn(&Worker) -> bool) -> usize {
        self.workers.iter().filter(|worker| which(worker)).count()
    }

    fn processes(&self) -> usize {
        usize::try_from(self.config.processes.max(1)).unwrap_or(usize::MAX)
    }

    /// Tells as many predecessors to drain as successors have become ready.
    fn let_predecessors_go(&mut self, serving: usize, now: Duration) {
        let generation = self.generation;
        let graceful = Duration::from_millis(self.config.timeouts.graceful);
        let missing = self.processes().saturating_sub(serving);
        // A predecessor that is still starting has nothing to finish.
        for worker in &mut self.workers {
            if worker.is_starting() && worker.generation != generation {
                worker.drain(graceful, now);
            }
        }
        let to_go = self.count(|w| w.is_ready() && w.is_to_go(generation));
        let mut surplus = to_go.saturating_sub(missing);
        // First those that take no requests anyway; then the oldest.
        for stale in [true, false] {
            for worker in &mut self.workers {
                let chosen = worker.is_ready()
                    && worker.is_to_go(generation)
                    && (worker.leaving == Some(Leaving::Stale)) == stale;
                if surplus > 0 && chosen {
                    worker.drain(graceful, now);
                    surplus -= 1;
                }
            }
        }
    }

    fn start_successors(&mut self, serving: usize, turn: &mut Turn<'_>) {
        let now = turn.now;
        let generation = self.generation;
        let starting = self.count(|w| w.is_starting() && w.generation == generation);
        let mut short = self.processes().saturating_sub(serving + starting);
        if self.starts.failures() > 0 && serving == 0 {
            // One tries the ground for all.
            short = short.min(1usize.saturating_sub(starting));
        }
        // Workers that leave at once and take their time about it must not pile up.
        let leaving = self.count(Worker::is_on_its_way_out);
        let room = (2 * self.processes() + 4).saturating_sub(leaving);
        if serving > 0 {
            short = short.min(room);
        }
        if short == 0 || !self.starts.may_try(now) || !self.loads.may_try(now) {
            return;
        }
        match &self.python {
            Python::Examining(_) => {}
            Python::Unknown => self.begin_examination(now),
            Python::Usable(interpreter) => {
                let interpreter = interpreter.clone();
                for _ in 0..short {
                    if !self.start_worker(&interpreter, turn) {
                        break;
                    }
                }
            }
        }
    }

    fn begin_examination(&mut self, now: Duration) {
        let question = Question::about(&self.config, &self.server);
        if self.config.place.chroot.is_some() {
            // This program is not in there. The worker will find out.
            self.python = Python::Usable(crate::examination::guess(&question));
            return;
        }
        match Examination::begin(&question, launch::identity(&self.config)) {
            Ok(examination) => self.python = Python::Examining(Box::new(examination)),
            Err(error) => {
                self.trouble("WSGI0340", format!("no process could be made: {error}"));
                self.failed(now);
            }
        }
    }

    fn proceed_examination(&mut self, now: Duration) {
        let Python::Examining(examination) = &mut self.python else {
            return;
        };
        match examination.proceed(now) {
            None => {}
            Some(Ok(interpreter)) => self.python = Python::Usable(interpreter),
            Some(Err(sentence)) => {
                self.trouble("WSGI0341", sentence);
                self.failed(now);
            }
        }
    }

    /// Whether a process could be made.
    fn start_worker(&mut self, interpreter: &Interpreter, turn: &mut Turn<'_>) -> bool {
        let setup = WorkerSetup {
            group: self.config.clone(),
            server: (*self.server).clone(),
            generation: self.generation,
            earlier_keys: self.earlier_keys.iter().copied().collect(),
        };
        let setup = ToWorker::Setup(Box::new(setup)).encode();
        let started = setup.map_err(std::io::Error::other).and_then(|setup| {
            Worker::start(
                self.next_worker,
                self.generation,
                |fds| {
                    let (config, server) = (&self.config, &self.server);
                    launch::worker(config, server, interpreter, turn.environment, fds)
                },
                self.listener.as_fd(),
                &setup,
                turn.now,
            )
        });
        match started {
            Ok(worker) => {
                self.next_worker += 1;
                let text = format!(
                    "worker {} of generation {} started with {}",
                    worker.pid(),
                    self.generation,
                    String::from_utf8_lossy(&interpreter.program)
                );
                self.workers.push(worker);
                self.note(Level::Info, "", &text);
                true
            }
            Err(error) => {
                self.trouble("WSGI0340", format!("no process could be made: {error}"));
                self.failed(turn.now);
                false
            }
        }
    }

    fn startup_limit(&self) -> Duration {
        match self.config.timeouts.startup {
            0 => STARTUP_LIMIT,
            limit => Duration::from_millis(limit),
        }
    }

    fn enforce_limits(&mut self, now: Duration) {
        let (startup, shutdown) = (self.startup_limit(), self.shutdown_limit());
        let (mut late, mut killed, mut silent) = (Vec::new(), Vec::new(), Vec::new());
        for worker in &mut self.workers {
            if worker.has_fallen_silent(now) {
                if !worker.is_on_its_way_out() {
                    silent.push(worker.pid());
                }
                worker.stop(shutdown, now);
            }
            match worker.phase {
                Phase::Starting { since } if now >= since + startup => {
                    late.push(worker.pid());
                    worker.stop(shutdown, now);
                }
                Phase::Draining { until } if now >= until => worker.stop(shutdown, now),
                Phase::Stopping { until } if now >= until => {
                    killed.push(worker.pid());
                    worker.kill();
                }
                _ => {}
            }
        }
        for pid in late {
            let seconds = startup.as_secs();
            let text = format!("worker {pid} was not ready within {seconds} s and is ended");
            self.note(Level::Error, "WSGI0342", &text);
            self.trouble
                .get_or_insert_with(|| format!("a worker was not ready within {seconds} s"));
            self.failed(now);
        }
        for pid in silent {
            let text = format!(
                "worker {pid} has closed the descriptors it was given and is replaced. \
                 Applications must not close descriptors they have not opened"
            );
            self.note(Level::Warning, "WSGI0337", &text);
        }
        for pid in killed {
            let text = format!("worker {pid} did not leave in time and is killed");
            self.note(Level::Warning, "WSGI0343", &text);
        }
    }

    /// When [`Group::steer`] has something to do that no descriptor announces.
    pub fn next_moment(&self, now: Duration) -> Option<Duration> {
        let (startup, mut moments) = (self.startup_limit(), Vec::new());
        for worker in &self.workers {
            moments.extend(worker.silent_until());
            match worker.phase {
                Phase::Starting { since } => moments.push(since + startup),
                Phase::Draining { until } | Phase::Stopping { until } => moments.push(until),
                Phase::Ready { since } if self.starts.failures() > 0 && now < since + PROVEN => {
                    moments.push(since + PROVEN);
                }
                Phase::Ready { .. } | Phase::Killed => {}
            }
        }
        if let Python::Examining(examination) = &self.python {
            moments.push(examination.until());
        }
        moments.extend(self.door.next_expiry());
        if !self.ending {
            moments.extend(self.starts.next(now));
            moments.extend(self.loads.next(now));
        }
        moments.into_iter().min()
    }
}

impl Worker {
    /// Whether it is to be replaced.
    fn is_to_go(&self, generation: u32) -> bool {
        self.generation != generation || self.leaving.is_some()
    }
}
