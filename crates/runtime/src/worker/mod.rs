//! The worker process.
//!
//! Runs in: a process that the supervisor started. The main thread starts the worker, watches the
//! control socket and the signals, and ends the process; it uses Python only at the beginning and
//! the end. Request threads are in [`request_threads`].

#![forbid(unsafe_code)]

mod accept;
mod client_names;
mod connection;
mod control;
mod group_keys;
mod heartbeat;
mod idle_threads;
mod interpreters;
mod preload;
mod request;
mod request_threads;
pub mod running_requests;
pub mod service;
mod shutdown;
mod signal_subscribers;
mod slow_load;
mod stack_dump;
mod startup;
mod time_limits;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{fence, AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use os::dump::Dumps;
use os::{clock, descriptor, process, signal, title};
use wire::control::{FromWorker, ReplacementReason, WorkerSetup, MAX_LOADED_SCRIPTS};
use wire::log_id::{RUNTIME_WITHOUT_SUPERVISOR, WORKER_ENDED_BY_DEFECT, WORKER_NOT_READY};
use wire::request::Prologue;

use self::client_names::ClientNames;
use self::interpreters::NamedBy;
use crate::process::fork;
use crate::process::process_log;
use crate::process::scoreboard;
use crate::python::interpreter::{describe, ThreadState};
use crate::python::threads as threads_of_python;
use crate::python::trampoline::panic_text;
use crate::wsgi::state::Interpreter;
use crate::wsgi::state::{set_up, Settings};

/// The group's listening socket.
const LISTENER: i32 = 3;
/// The conversation with the supervisor.
const CONTROL: i32 = 4;

/// Signals that the main thread handles.
const SIGNALS: [i32; 6] = [
    signal::SIGTERM,
    signal::SIGINT,
    signal::SIGUSR1,
    signal::SIGHUP,
    signal::SIGUSR2,
    signal::SIGXCPU,
];

/// What all threads of the process share.
pub struct Worker {
    pub setup: Box<WorkerSetup>,
    pub request_source: accept::RequestSource,
    pub control: control::Control,
    pub interpreters: interpreters::Interpreters,
    pub client_names: ClientNames,
    pub group_keys: group_keys::GroupKeys,
    /// The worker accepts no more requests.
    pub draining: AtomicBool,
    /// Number of requests that threads have accepted and not finished.
    pub unfinished: AtomicUsize,
    pub finished: AtomicU64,
    /// Requests after which the worker asks to be replaced; 0 is never.
    pub maximum_requests: Option<u64>,
    /// How many loaded scripts were reported to the supervisor.
    scripts_reported: AtomicUsize,
    /// Why it has asked to be replaced, as a [`Leaving`]; 0 if it has not.
    replacement_requested: AtomicU32,
    /// The same, as events tell it.
    reason: OnceLock<&'static str>,
    pub running_requests: running_requests::RunningRequests,
    /// What is being loaded before the worker is ready.
    pub preloading: startup::Preloading,
    /// Measures how long the GIL cannot be had.
    pub heartbeat: Option<heartbeat::Heartbeat>,
    /// When there last was a request, in microseconds of the monotonic clock; 0 before the first.
    pub activity: AtomicU64,
    /// When the first request needed a script, likewise; 0 before that, [`LOADED`] once one is
    /// loaded.
    loading: AtomicU64,
    pub pid: u32,
    pub own_uid: u32,
}

/// A script has been loaded.
const LOADED: u64 = u64::MAX;

impl Worker {
    /// Asks the supervisor for a successor, once. True if nothing had asked for one before.
    pub fn request_replacement(&self, why: ReplacementReason) -> bool {
        let reason = match why {
            ReplacementReason::Stale => "script_reload",
            ReplacementReason::MaximumRequests => "maximum_requests",
            ReplacementReason::Signal if self.has_eviction_timeout() => "eviction_signal",
            ReplacementReason::LoadFailed
            | ReplacementReason::Signal
            | ReplacementReason::TimeLimit
            | ReplacementReason::Inactive
            | ReplacementReason::CannotAccept => "graceful_signal",
        };
        self.request_replacement_because(why, reason)
    }

    /// `eviction-timeout=` is given: without it, requests have `graceful-timeout=`.
    fn has_eviction_timeout(&self) -> bool {
        let timeouts = &self.setup.group.timeouts;
        timeouts.eviction.is_some() && timeouts.eviction != timeouts.graceful
    }

    /// [`Worker::request_replacement`] with the reason that events give.
    pub fn request_replacement_because(
        &self,
        why: ReplacementReason,
        reason: &'static str,
    ) -> bool {
        let first = self.replacement_requested.compare_exchange(
            0,
            why as u32,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if first.is_ok() {
            // Only the first request sets it.
            let _ = self.reason.set(reason);
            self.control.send(&FromWorker::AskReplacement(why));
        }
        first.is_ok()
    }

    /// Whether a connection stays open for another request when its request is over.
    pub fn keeps_connections(&self) -> bool {
        !self.draining.load(Ordering::SeqCst) && self.request_source.has_room()
    }

    /// It has asked to be replaced.
    pub fn has_requested_replacement(&self) -> bool {
        self.replacement_requested.load(Ordering::Relaxed) != 0
    }

    /// Why it leaves, as events give it, if it has asked to be replaced.
    pub fn reason(&self) -> Option<&'static str> {
        self.reason.get().copied()
    }

    /// Sends what request threads hold back to send it together with their next piece. To be called
    /// by the main thread after it has decided whether it keeps checking.
    pub fn send_held(&self) {
        fence(Ordering::SeqCst);
        for running in self.running_requests.all() {
            running.exchange.send_held();
        }
    }

    /// Notes that there is a request.
    pub fn note_activity(&self) {
        self.activity
            .store(clock::monotonic_us().max(1), Ordering::Relaxed);
    }

    /// Notes that a script is about to be loaded, if none was before.
    pub fn note_load(&self) {
        if self.loading.load(Ordering::Relaxed) == 0 {
            let now = clock::monotonic_us().max(1);
            let _ = self
                .loading
                .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Notes that a script is loaded.
    pub fn note_loaded(&self) {
        if self.loading.load(Ordering::Relaxed) != LOADED {
            self.loading.store(LOADED, Ordering::Relaxed);
        }
    }

    /// Since when the first script is being loaded, in microseconds of the monotonic clock.
    pub fn loading_since(&self) -> Option<u64> {
        Some(self.loading.load(Ordering::Relaxed)).filter(|&since| since != 0 && since != LOADED)
    }

    /// A script could not be loaded, which has been logged: asks for a successor. The supervisor
    /// gets the report, so that it does not log it again when successors fail in the same way.
    pub fn failed_to_load(&self, report: String) {
        let report = preload::shortened(report);
        self.control
            .send(&FromWorker::FailedToLoad(report.as_str().into()));
        self.request_replacement(ReplacementReason::LoadFailed);
    }

    /// Reports a script that is in use to the supervisor, so that successors load it before they
    /// are ready.
    ///
    /// Scripts in sub-interpreters that clients can name are not reported: a successor would begin
    /// with as many of them as clients have made up.
    pub fn report_loaded(&self, prologue: &Prologue<'_>, in_main: bool) {
        let named_by = NamedBy::of(prologue);
        if named_by == NamedBy::Client && !in_main {
            return;
        }
        if self.scripts_reported.fetch_add(1, Ordering::Relaxed) < MAX_LOADED_SCRIPTS {
            let script = (prologue.script.into(), prologue.application_group.into());
            self.control.send(&match named_by {
                NamedBy::Configuration => FromWorker::Loaded(script),
                NamedBy::Client => FromWorker::LoadedForClientName(script),
            });
        }
    }

    /// The script has changed: takes no more requests in this process, and asks for a successor
    /// even if another reason was given before, since no process serves the group now.
    pub fn script_changed(&self) {
        if !self.draining.swap(true, Ordering::SeqCst) {
            self.replacement_requested
                .store(ReplacementReason::Stale as u32, Ordering::Relaxed);
            let _ = self.reason.set("script_reload");
            self.control
                .send(&FromWorker::AskReplacement(ReplacementReason::Stale));
            self.control.wake();
        }
    }

    /// Where a request of this interpreter runs, for reports.
    pub fn place(&self, sub: Option<&[u8]>) -> String {
        place(&self.setup, sub)
    }
}

/// [`Worker::place`], of any process of the group.
fn place(setup: &WorkerSetup, sub: Option<&[u8]>) -> String {
    let group = setup.group.shown_name();
    match sub {
        None => format!("in the main interpreter of process group '{group}'"),
        Some(name) => format!(
            "in sub-interpreter '{}' of process group '{group}'",
            String::from_utf8_lossy(name)
        ),
    }
}

/// Runs the process, on its main thread. Called without the GIL. Returns if Python is to end in its
/// usual way: in a service process.
pub fn run(mut thread_state: ThreadState) -> ThreadState {
    process_log::open();
    process_log::report_panics();
    // A panic must not unwind into Python's frames.
    let ended = catch_unwind(AssertUnwindSafe(|| live(&mut thread_state)));
    if let Ok(true) = ended {
        return thread_state;
    }
    if let Err(panic) = ended {
        let words = panic_text(&*panic);
        process_log::error(&format!(
            "{WORKER_ENDED_BY_DEFECT}: the worker ends after an internal error: {words}"
        ));
    }
    process::exit_now(1)
}

/// Why the worker cannot start; a sentence.
type Unusable = String;

/// True if it was a service process whose scripts have returned.
fn live(thread_state: &mut ThreadState) -> bool {
    let control = match descriptor::take_inherited(CONTROL) {
        Ok(fd) => control::Control::new(fd),
        Err(error) => {
            process_log::error(&format!(
                "{RUNTIME_WITHOUT_SUPERVISOR}: this program is started by mod_wsgi and not by hand (descriptor \
                 {CONTROL}: {error})"
            ));
            return false;
        }
    };
    let control = match control {
        Ok(control) => control,
        Err(error) => {
            process_log::error(&format!(
                "{WORKER_NOT_READY}: the worker can't come up: {error}"
            ));
            return false;
        }
    };
    let Some(setup) = control.receive_setup() else {
        process_log::error(&format!(
            "{WORKER_NOT_READY}: the worker got no instructions from the supervisor"
        ));
        return false;
    };
    match come_up(thread_state, control, setup) {
        Ok(()) => true,
        Err(why) => {
            process_log::error(&format!(
                "{WORKER_NOT_READY}: the worker can't come up: {why}"
            ));
            false
        }
    }
}

fn come_up(
    thread_state: &mut ThreadState,
    control: control::Control,
    setup: Box<WorkerSetup>,
) -> Result<(), Unusable> {
    let unusable = |why: String| {
        control.send(&FromWorker::Unusable(why.as_str().into()));
        why
    };
    scoreboard::open(setup.generation);
    let listener = descriptor::take_inherited(LISTENER)
        .map_err(|error| unusable(format!("descriptor {LISTENER} is no listener: {error}")))?;
    // Without /proc only the thread's name changes: no reason to stop.
    let _ = title::set(&setup.group.display_name);
    if setup.group.threads == 0 {
        let main = set_up_main(thread_state, &setup).map_err(unusable)?;
        return service::run(thread_state, main, control, &setup);
    }
    let mut signals = signal::Arrivals::install(&SIGNALS)
        .map_err(|error| unusable(format!("signals can't be set up: {error}")))?;

    let main = set_up_main(thread_state, &setup).map_err(unusable)?;
    let mut dumps = show_stacks(thread_state);
    let group = &setup.group;
    let request_source = accept::RequestSource::open(listener, group.threads, group.processes > 1)
        .map_err(|error| unusable(format!("requests can't be waited for: {error}")))?;
    let worker = Arc::new(Worker {
        request_source,
        interpreters: interpreters::Interpreters::new(main, &setup.group),
        client_names: ClientNames::default(),
        group_keys: group_keys::GroupKeys::of(&setup),
        draining: AtomicBool::new(false),
        unfinished: AtomicUsize::new(0),
        finished: AtomicU64::new(0),
        maximum_requests: maximum_requests(&setup),
        scripts_reported: AtomicUsize::new(0),
        replacement_requested: AtomicU32::new(0),
        reason: OnceLock::new(),
        running_requests: running_requests::RunningRequests::new(setup.group.threads),
        preloading: startup::Preloading::default(),
        heartbeat: heartbeat(main, &setup).map_err(unusable)?,
        activity: AtomicU64::new(0),
        loading: AtomicU64::new(0),
        pid: process::id(),
        own_uid: process::ids().effective_uid,
        setup,
        control,
    });
    let own = Arc::clone(&worker);
    fork::watch(move |moment| own.request_source.note_fork(moment));
    match load(&worker, thread_state, &mut signals, &mut dumps).map_err(unusable_of(&worker))? {
        Ok(()) => {}
        Err(report) if worker.setup.has_peers => {
            let report = preload::shortened(report);
            worker
                .control
                .send(&FromWorker::CannotLoad(report.as_str().into()));
            // Only scripts have run, and what they began is half done.
            process::exit_now(0);
        }
        Err(report) => {
            process_log::error(&report);
            worker.failed_to_load(report);
        }
    }
    let threads = request_threads::start(&worker)
        .map_err(|error| format!("request threads can't be started: {error}"))
        .map_err(unusable_of(&worker))?;
    worker.control.send(&FromWorker::Ready(()));
    threads.open();
    let limits = time_limits::TimeLimits::new(&worker, dumps);
    let plan = control::watch(&worker, &mut signals, limits);
    shutdown::run(&worker, thread_state, plan)
}

/// Tells the supervisor why the worker cannot start.
fn unusable_of(worker: &Worker) -> impl Fn(String) -> Unusable + '_ {
    |why| {
        worker
            .control
            .send(&FromWorker::Unusable(why.as_str().into()));
        why
    }
}

/// Loads scripts before the worker is ready; the report of what could not be loaded.
fn load(
    worker: &Worker,
    thread_state: &mut ThreadState,
    signals: &mut signal::Arrivals,
    dumps: &mut Option<Dumps>,
) -> Result<Result<(), String>, Unusable> {
    if worker.setup.group.preload.is_empty() && worker.setup.loaded_scripts.is_empty() {
        return Ok(Ok(()));
    }
    startup::attended(worker, signals, dumps, || {
        preload::run(worker, thread_state)
    })
    .map_err(|error| format!("no script can be loaded: {error}"))
}

fn set_up_main(
    thread_state: &mut ThreadState,
    setup: &WorkerSetup,
) -> Result<&'static Interpreter, Unusable> {
    thread_state.attach(|gil| {
        // Interpreters live until the process ends.
        let main: &'static Interpreter = Box::leak(Box::new(Interpreter::current(gil)));
        let settings = Settings {
            setup,
            main: true,
            own_gil: false,
            application_group: b"",
        };
        match set_up(gil, main, &settings) {
            Ok(()) => Ok(main),
            Err(raised) => Err(format!(
                "the interpreter can't be set up: {}",
                describe(gil, raised)
            )),
        }
    })
}

/// The means to have threads write their stacks; `None` if this Python has none.
fn show_stacks(thread_state: &mut ThreadState) -> Option<Dumps> {
    let dumps = Dumps::install().ok()?;
    thread_state.attach(|gil| match threads_of_python::show_stacks(gil, &dumps) {
        Ok(()) => Some(dumps),
        Err(raised) => {
            gil.clear(raised);
            None
        }
    })
}

/// Starts measuring whether the GIL can be had, if the group has a `deadlock-timeout`.
fn heartbeat(
    main: &'static Interpreter,
    setup: &WorkerSetup,
) -> Result<Option<heartbeat::Heartbeat>, Unusable> {
    if setup.group.timeouts.deadlock.is_none() {
        return Ok(None);
    }
    heartbeat::Heartbeat::start(main)
        .map(Some)
        .map_err(|error| format!("the watch on deadlocks can't be started: {error}"))
}

/// The worker's own limit: the group's, and a random part so that workers that started together do
/// not leave together.
fn maximum_requests(setup: &WorkerSetup) -> Option<u64> {
    let limits = &setup.group.replacement;
    let random = os::random::bytes16().map_or(0, u128::from_le_bytes);
    let jitter = random % (u128::from(limits.maximum_requests_jitter) + 1);
    Some(limits.maximum_requests?.saturating_add(jitter as u64))
}
