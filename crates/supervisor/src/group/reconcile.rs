//! The steps from a group's present state to its configured state: [`Group::steer`].
//!
//! Runs in: the supervisor, after every event.

use std::os::fd::AsFd;
use std::time::Duration;

use wire::control::{ReplacementReason, ToWorker, WorkerSetup};
use wire::log_id::{
    DESCRIPTORS_CLOSED, PROCESS_NOT_CREATED, PYTHON_UNUSABLE, STARTUP_TIMED_OUT, WORKER_KILLED,
};
use wire::own_group;
use wire::response::Level;

use super::{Context, Group, Python, PROVEN, STARTUP_LIMIT};
use crate::launch;
use crate::python_check::{PythonCheck, PythonCheckRequest, PythonInterpreter};
use crate::worker::{Phase, Worker};

impl Group {
    /// Moves the group closer to its configured state.
    pub fn steer(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        self.unavailable.expire(now);
        self.enforce_limits(now);
        if let Python::Checking(_) = self.python {
            self.proceed_python_check(now);
        }
        if self.ending.is_some() {
            return;
        }
        let generation = self.generation;
        let proven = |w: &Worker| {
            w.generation == generation && w.ready_for(now).is_some_and(|lived| lived >= PROVEN)
        };
        if self.workers.iter().any(proven) {
            self.starts.reset();
            self.lives.reset();
            self.short_lives = 0;
            self.hasty = 0;
        }
        self.measure_demand(now);
        self.release_unneeded_worker(now);
        self.retire_worn(now);
        let serving = self.count(|w| w.is_ready() && !w.is_to_go(generation));
        self.let_predecessors_go(serving, now);
        self.start_successors(serving, context);
    }

    fn count(&self, which: impl Fn(&Worker) -> bool) -> usize {
        self.workers.iter().filter(|worker| which(worker)).count()
    }

    /// Drains as many predecessors as there are ready successors.
    fn let_predecessors_go(&mut self, serving: usize, now: Duration) {
        let generation = self.generation;
        let graceful = self.graceful_limit();
        let evicted = self.config.timeouts.eviction.unwrap_or_default();
        let missing = self.processes().saturating_sub(serving);
        // A predecessor that is still starting has no requests to finish.
        for index in 0..self.workers.len() {
            let worker = &self.workers[index];
            if worker.is_starting() && worker.generation != generation {
                self.drain(
                    index,
                    graceful,
                    "a new configuration came before it was ready",
                    now,
                );
            }
        }
        let to_go = self.count(|w| w.is_ready() && w.is_to_go(generation));
        let mut surplus = to_go.saturating_sub(missing);
        // First the workers that accept no requests anyway; then the oldest.
        for stale in [true, false] {
            for index in 0..self.workers.len() {
                let worker = &self.workers[index];
                let chosen = worker.is_ready()
                    && worker.is_to_go(generation)
                    && (worker.leaving == Some(ReplacementReason::Stale)) == stale;
                if surplus > 0 && chosen {
                    let limit = match worker.leaving {
                        Some(ReplacementReason::Signal) => evicted,
                        _ => graceful,
                    };
                    let why = match (worker.leaving, worker.worn) {
                        (Some(reason), _) => super::reporting::why(reason),
                        (None, true) => "it has run for long enough or has grown too large",
                        (None, false) => "its successor is ready",
                    };
                    self.drain(index, limit, why, now);
                    surplus -= 1;
                }
            }
        }
    }

    fn start_successors(&mut self, serving: usize, context: &mut Context<'_>) {
        let now = context.now;
        let generation = self.generation;
        let starting = self.count(|w| w.is_starting() && w.generation == generation);
        let mut short = self.processes().saturating_sub(serving + starting);
        if self.starts.failures() + self.lives.failures() > 0 && serving == 0 {
            // After a failure only one worker is started, as a trial.
            short = short.min(1usize.saturating_sub(starting));
        }
        // Workers that leave at once but exit slowly must not accumulate.
        let leaving = self.count(Worker::is_on_its_way_out);
        let room = (2 * self.processes() + 4).saturating_sub(leaving);
        if serving > 0 {
            short = short.min(room);
        }
        let waits = [&self.starts, &self.lives, &self.loads];
        if short == 0 || !waits.iter().all(|wait| wait.may_try(now)) {
            return;
        }
        if let Python::Unknown = self.python {
            self.begin_examination(now);
        }
        // Not every Python can be examined.
        if let Python::Usable(interpreter) = &self.python {
            let interpreter = interpreter.clone();
            for _ in 0..short {
                if !self.start_worker(&interpreter, context) {
                    break;
                }
            }
        }
    }

    fn begin_examination(&mut self, now: Duration) {
        let question = PythonCheckRequest::about(&self.config, &self.server);
        if self.config.environment.chroot.is_some() {
            // This program is not in the Python's directory. The worker will detect the fault.
            self.python = Python::Usable(crate::python_check::guess(&question));
            return;
        }
        match PythonCheck::begin(&question, launch::identity(&self.config)) {
            Ok(examination) => self.python = Python::Checking(Box::new(examination)),
            Err(error) => {
                self.trouble(
                    PROCESS_NOT_CREATED,
                    format!("no process could be made: {error}"),
                );
                self.failed(now);
            }
        }
    }

    pub(super) fn proceed_python_check(&mut self, now: Duration) {
        let Python::Checking(examination) = &mut self.python else {
            return;
        };
        match examination.proceed(now) {
            None => {}
            Some(Ok(interpreter)) => self.python = Python::Usable(interpreter),
            Some(Err(sentence)) => {
                self.trouble(PYTHON_UNUSABLE, sentence);
                self.failed(now);
            }
        }
    }

    /// Returns whether a process could be created.
    fn start_worker(&mut self, interpreter: &PythonInterpreter, context: &mut Context<'_>) -> bool {
        let has_peers = self.serves();
        // A worker without requests is replaced to free memory.
        let is_idle = self
            .workers
            .iter()
            .any(|w| w.leaving == Some(ReplacementReason::Inactive));
        let mut setup = WorkerSetup {
            group: self.config.clone(),
            key: self.key,
            server: (*self.server).clone(),
            generation: self.generation,
            earlier_keys: self.earlier_keys.iter().copied().collect(),
            // While no worker serves, the first request waits for the import in either case, and
            // the request's own log is the better place for a report.
            loaded_scripts: match has_peers && !is_idle {
                true => self.loaded_scripts.scripts(),
                false => Vec::new(),
            },
            has_peers,
        };
        setup
            .group
            .preload
            .retain(|(script, _)| !self.left_out.contains(script));
        let mut message = ToWorker::Setup(Box::new(setup.clone())).encode();
        if message.is_err() {
            // The largest groups leave space in the message for only one of the two.
            setup.loaded_scripts.clear();
            message = ToWorker::Setup(Box::new(setup.clone())).encode();
        }
        let preloads = !(setup.group.preload.is_empty() && setup.loaded_scripts.is_empty());
        let started = message.map_err(std::io::Error::other).and_then(|setup| {
            Worker::start(
                self.next_worker,
                self.generation,
                |fds| {
                    let (config, server) = (&self.config, &self.server);
                    launch::worker(config, server, interpreter, context.environment, fds)
                },
                self.listener.as_fd(),
                self.config.threads,
                &setup,
                context.now,
            )
        });
        match started {
            Ok(worker) => {
                let mut worker = worker.of_group(own_group::shown(&self.config.name));
                worker.has_loaded = preloads;
                self.next_worker += 1;
                self.history.starts += 1;
                self.memory.look(context.now);
                let text = format!(
                    "worker {} of generation {} started with {}",
                    worker.pid(),
                    self.generation,
                    String::from_utf8_lossy(&interpreter.program)
                );
                let preloaded = setup.group.preload.iter().chain(&setup.loaded_scripts);
                let preloaded = preloaded.map(|(path, _)| path.text());
                let preloaded: Vec<_> = preloaded.collect();
                let early = match preloaded.is_empty() {
                    true => String::new(),
                    false => format!(
                        "worker {} loads before it is ready: {}",
                        worker.pid(),
                        preloaded.join(", ")
                    ),
                };
                self.workers.push(worker);
                self.note(Level::Info, None, &text);
                if !early.is_empty() {
                    self.note(Level::Debug, None, &early);
                }
                true
            }
            Err(error) => {
                self.trouble(
                    PROCESS_NOT_CREATED,
                    format!("no process could be made: {error}"),
                );
                self.failed(context.now);
                false
            }
        }
    }

    fn startup_limit(&self) -> Duration {
        self.config.timeouts.startup.unwrap_or(STARTUP_LIMIT)
    }

    fn enforce_limits(&mut self, now: Duration) {
        let (startup, shutdown) = (self.startup_limit(), self.shutdown_limit());
        let (mut late, mut killed, mut silent) = (0, Vec::new(), Vec::new());
        for index in 0..self.workers.len() {
            let worker = &mut self.workers[index];
            if worker.has_fallen_silent(now) {
                if !worker.is_on_its_way_out() {
                    silent.push(worker.pid());
                }
                let load = worker.early_load();
                self.leave_out(load, "closed the descriptors it was given");
                self.stop_worker(index, shutdown, "it has closed its descriptors", now);
            }
            let worker = &mut self.workers[index];
            match worker.phase {
                Phase::Starting { since } if now >= since + startup => {
                    let load = worker.early_load();
                    let how = format!("was not ready within {} s", startup.as_secs());
                    late += u32::from(!self.leave_out(load, &how));
                    self.stop_worker(index, shutdown, "it was not ready in time", now);
                }
                Phase::Draining { until } if now >= until => {
                    self.stop_worker(index, shutdown, "it has requests left after its drain", now);
                }
                Phase::Stopping { until } if now >= until => {
                    killed.push(worker.pid());
                    worker.kill();
                }
                _ => {}
            }
        }
        for _ in 0..late {
            let seconds = startup.as_secs();
            let text = format!("a worker was not ready within {seconds} s and is ended");
            self.trouble(STARTUP_TIMED_OUT, text);
            self.failed(now);
        }
        for pid in silent {
            let text = format!(
                "worker {pid} has closed the descriptors it was given and is replaced. \
                 Applications must not close descriptors they have not opened"
            );
            self.note(Level::Warning, DESCRIPTORS_CLOSED, &text);
        }
        for pid in killed {
            let text = format!("worker {pid} did not leave in time and is killed");
            self.note(Level::Warning, WORKER_KILLED, &text);
        }
    }

    /// Whether a back-off is reset once a worker has been ready for a while.
    fn is_on_trial(&self) -> bool {
        self.starts.failures() > 0
            || self.lives.failures() > 0
            || self.short_lives > 0
            || self.hasty > 0
    }

    /// The time of the next [`Group::steer`] that no descriptor announces.
    pub fn next_moment(&self, now: Duration) -> Option<Duration> {
        let (startup, mut moments) = (self.startup_limit(), Vec::new());
        for worker in &self.workers {
            moments.extend(worker.silent_until());
            match worker.phase {
                Phase::Starting { since } => moments.push(since + startup),
                Phase::Draining { until } | Phase::Stopping { until } => moments.push(until),
                Phase::Ready { since } if self.is_on_trial() && now < since + PROVEN => {
                    moments.push(since + PROVEN);
                }
                Phase::Ready { .. } | Phase::Killed => {}
            }
        }
        if let Python::Checking(examination) = &self.python {
            moments.push(examination.until());
        }
        moments.extend(self.unavailable.next_moment(now));
        if self.ending.is_none() {
            moments.extend(self.next_wear());
            moments.extend(self.next_look());
            let waits = [&self.starts, &self.lives, &self.loads];
            moments.extend(waits.iter().filter_map(|wait| wait.next(now)));
        }
        moments.into_iter().min()
    }
}

impl Worker {
    /// Whether it must be replaced.
    pub(super) fn is_to_go(&self, generation: u32) -> bool {
        self.generation != generation || self.leaving.is_some() || self.worn
    }
}
