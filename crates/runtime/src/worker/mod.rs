//! The worker process.
//!
//! Runs in: a process that the supervisor started, of which the main thread comes up, watches the
//! control socket and the signals, and leaves; it touches Python only at both ends of its life.
//! Request threads are in [`request_threads`].

#![forbid(unsafe_code)]

mod accept;
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
use std::time::Duration;

use os::dump::Dumps;
use os::{clock, descriptor, process, signal, title};
use wire::control::{FromWorker, ReplacementReason, WorkerSetup, MAX_LOADED_SCRIPTS};
use wire::log_id::{ENDED_BY_DEFECT, NOT_COME_UP, NOT_STARTED_BY_HAND};
use wire::request::Prologue;

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

/// Signals that are attended to.
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
    pub reception: accept::Reception,
    pub control: control::Control,
    pub groups: interpreters::Groups,
    pub secrets: group_keys::Secrets,
    /// No more requests are taken.
    pub draining: AtomicBool,
    /// Requests taken up and not yet finished.
    pub running: AtomicUsize,
    pub finished: AtomicU64,
    /// Requests after which the worker asks to be replaced; 0 is never.
    pub maximum_requests: u64,
    /// Scripts the supervisor has been told of.
    told: AtomicUsize,
    /// Why it has asked to be replaced, as a [`ReplacementReason`]; 0 before it has.
    asked: AtomicU32,
    /// The same, as events tell it.
    reason: OnceLock<&'static str>,
    pub posts: running_requests::Posts,
    /// What is being loaded before the worker is ready.
    pub preloading: startup::Loading,
    /// Where the global lock is watched.
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
    /// Asks the supervisor for a successor, once.
    pub fn ask(&self, why: ReplacementReason) {
        let reason = match why {
            ReplacementReason::Stale => "script_reload",
            ReplacementReason::MaximumRequests => "maximum_requests",
            ReplacementReason::Signal if self.setup.group.timeouts.eviction != 0 => {
                "eviction_signal"
            }
            ReplacementReason::LoadFailed
            | ReplacementReason::Signal
            | ReplacementReason::TimeLimit
            | ReplacementReason::Inactive => "graceful_signal",
        };
        self.ask_because(why, reason);
    }

    /// [`Worker::ask`] with the word for events.
    pub fn ask_because(&self, why: ReplacementReason, reason: &'static str) {
        let first =
            self.asked
                .compare_exchange(0, why as u32, Ordering::Relaxed, Ordering::Relaxed);
        if first.is_ok() {
            // Once only, as is said here.
            let _ = self.reason.set(reason);
            self.control.send(&FromWorker::AskReplacement(why));
        }
    }

    /// Whether a connection is kept when its request is over.
    pub fn keeps_connections(&self) -> bool {
        !self.draining.load(Ordering::SeqCst) && self.reception.has_room()
    }

    /// It has asked to be replaced.
    pub fn has_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) != 0
    }

    /// Why it leaves, as events tell it, where it has asked to.
    pub fn reason(&self) -> Option<&'static str> {
        self.reason.get().copied()
    }

    /// Sends what request threads have left in line, each for its next piece. To be called by the main
    /// thread after it has looked whether it goes on with that.
    pub fn send_held(&self) {
        fence(Ordering::SeqCst);
        for watched in self.posts.busy() {
            watched.exchange.send_held();
        }
    }

    /// There is a request.
    pub fn note_activity(&self) {
        self.activity
            .store(clock::monotonic_us().max(1), Ordering::Relaxed);
    }

    /// A script is about to be loaded, if none was before.
    pub fn note_load(&self) {
        if self.loading.load(Ordering::Relaxed) == 0 {
            let now = clock::monotonic_us().max(1);
            let _ = self
                .loading
                .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// A script is loaded.
    pub fn note_loaded(&self) {
        if self.loading.load(Ordering::Relaxed) != LOADED {
            self.loading.store(LOADED, Ordering::Relaxed);
        }
    }

    /// Since when the first script is being loaded, in microseconds of the monotonic clock.
    pub fn loading_since(&self) -> Option<u64> {
        Some(self.loading.load(Ordering::Relaxed)).filter(|&since| since != 0 && since != LOADED)
    }

    /// Tells the supervisor of a script that is in use, so that successors come up with it.
    pub fn tell_loaded(&self, prologue: &Prologue<'_>) {
        if self.told.fetch_add(1, Ordering::Relaxed) < MAX_LOADED_SCRIPTS {
            let (script, group) = (prologue.script.into(), prologue.application_group.into());
            self.control.send(&FromWorker::Loaded((script, group)));
        }
    }

    /// The script has changed: takes no more requests in this process, and asks for a successor
    /// even if another reason was given before, since now there is nobody to serve.
    pub fn stale(&self) {
        if !self.draining.swap(true, Ordering::SeqCst) {
            self.asked
                .store(ReplacementReason::Stale as u32, Ordering::Relaxed);
            let _ = self.reason.set("script_reload");
            self.control
                .send(&FromWorker::AskReplacement(ReplacementReason::Stale));
            self.control.wake();
        }
    }

    /// For reports: where a request of this interpreter runs.
    pub fn place(&self, sub: Option<&[u8]>) -> String {
        place(&self.setup, sub)
    }
}

/// [`Worker::place`], of any process of the group.
fn place(setup: &WorkerSetup, sub: Option<&[u8]>) -> String {
    let group = setup.group.name.text();
    match sub {
        None => format!("in the main interpreter of process group '{group}'"),
        Some(name) => format!(
            "in sub-interpreter '{}' of process group '{group}'",
            String::from_utf8_lossy(name)
        ),
    }
}

/// The life of the process, from its main thread. Called without the GIL; `thread_state` is the thread's.
/// Returns where Python is to end as it usually does: in a service process.
pub fn run(mut thread_state: ThreadState) -> ThreadState {
    process_log::report_panics();
    // Unwinding must not get into Python, which is not entered here.
    let ended = catch_unwind(AssertUnwindSafe(|| live(&mut thread_state)));
    if let Ok(true) = ended {
        return thread_state;
    }
    if let Err(panic) = ended {
        let words = panic_text(&*panic);
        process_log::say(&format!(
            "{ENDED_BY_DEFECT}: the worker ends after an internal error: {words}"
        ));
    }
    process::exit_now(1)
}

/// Why the worker can't come up; a sentence.
type Unusable = String;

/// True where it was a service process, whose scripts are through.
fn live(thread_state: &mut ThreadState) -> bool {
    let control = match descriptor::take_inherited(CONTROL) {
        Ok(fd) => control::Control::new(fd),
        Err(error) => {
            process_log::say(&format!(
                "{NOT_STARTED_BY_HAND}: this program is started by mod_wsgi and not by hand (descriptor \
                 {CONTROL}: {error})"
            ));
            return false;
        }
    };
    let control = match control {
        Ok(control) => control,
        Err(error) => {
            process_log::say(&format!("{NOT_COME_UP}: the worker can't come up: {error}"));
            return false;
        }
    };
    let Some(setup) = control.receive_setup() else {
        process_log::say(&format!(
            "{NOT_COME_UP}: the worker got no instructions from the supervisor"
        ));
        return false;
    };
    match come_up(thread_state, control, setup) {
        Ok(()) => true,
        Err(why) => {
            process_log::say(&format!("{NOT_COME_UP}: the worker can't come up: {why}"));
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
    let reception = accept::Reception::open(listener, group.threads, group.processes > 1)
        .map_err(|error| unusable(format!("requests can't be waited for: {error}")))?;
    let worker = Arc::new(Worker {
        reception,
        groups: interpreters::Groups::new(main, setup.group.global_reachable),
        secrets: group_keys::Secrets::of(&setup),
        draining: AtomicBool::new(false),
        running: AtomicUsize::new(0),
        finished: AtomicU64::new(0),
        maximum_requests: maximum_requests(&setup),
        told: AtomicUsize::new(0),
        asked: AtomicU32::new(0),
        reason: OnceLock::new(),
        posts: running_requests::Posts::new(setup.group.threads),
        preloading: startup::Loading::default(),
        heartbeat: heartbeat(main, &setup).map_err(unusable)?,
        activity: AtomicU64::new(0),
        loading: AtomicU64::new(0),
        pid: process::id(),
        own_uid: process::ids().effective_uid,
        setup,
        control,
    });
    let own = Arc::clone(&worker);
    fork::watch(move |moment| own.reception.note_fork(moment));
    match load(&worker, thread_state, &mut signals, &mut dumps).map_err(unusable_of(&worker))? {
        Ok(()) => {}
        Err(report) if worker.setup.has_peers => {
            let report = preload::shortened(report);
            worker
                .control
                .send(&FromWorker::CannotLoad(report.as_str().into()));
            // Nothing but scripts has run, and what they have begun is half done.
            process::exit_now(0);
        }
        Err(report) => {
            process_log::say(&report);
            worker.ask(ReplacementReason::LoadFailed);
        }
    }
    let threads = request_threads::start(&worker)
        .map_err(|error| format!("request threads can't be started: {error}"))
        .map_err(unusable_of(&worker))?;
    worker.control.send(&FromWorker::Ready(()));
    threads.open();
    let watch = time_limits::Watch::new(&worker, dumps);
    let leaving = control::watch(&worker, &mut signals, watch);
    shutdown::run(&worker, thread_state, leaving)
}

/// Tells the supervisor why the worker can't come up.
fn unusable_of(worker: &Worker) -> impl Fn(String) -> Unusable + '_ {
    |why| {
        let told = FromWorker::Unusable(why.as_str().into());
        worker.control.send(&told);
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

/// Where stacks of threads can be had from; `None` where this Python can't show them.
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

/// The watch on the global lock, where there is to be one.
fn heartbeat(
    main: &'static Interpreter,
    setup: &WorkerSetup,
) -> Result<Option<heartbeat::Heartbeat>, Unusable> {
    if setup.group.timeouts.deadlock == 0 {
        return Ok(None);
    }
    heartbeat::Heartbeat::start(main)
        .map(Some)
        .map_err(|error| format!("the watch on deadlocks can't be started: {error}"))
}

/// The worker's own limit: the group's, and a random part so that workers started together don't
/// leave together.
fn maximum_requests(setup: &WorkerSetup) -> u64 {
    let limits = &setup.group.limits;
    let random = os::random::bytes16().map_or(0, u128::from_le_bytes);
    let jitter = match limits.maximum_requests_jitter {
        0 => 0,
        most => (random % (u128::from(most) + 1)) as u64,
    };
    match limits.maximum_requests {
        0 => 0,
        limit => limit.saturating_add(jitter),
    }
}

/// A group's time limit; `default` where it has none.
fn limit(milliseconds: u64, default: Duration) -> Duration {
    match milliseconds {
        0 => default,
        some => Duration::from_millis(some),
    }
}
