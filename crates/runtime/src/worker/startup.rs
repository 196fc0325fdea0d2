//! Handles the supervisor's messages and signals while scripts are loaded before the worker is
//! ready.
//!
//! Runs in: a thread of its own, without Python, since the main thread runs application code then,
//! which may never return. The supervisor ends a worker that takes too long; the log then says what
//! the script did.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use os::dump::{Dumps, Scope};
use os::poll::{poll, Wanted};
use os::signal::{Arrivals, Thread};
use os::{clock, descriptor, process, signal};
use wire::control::{ReplacementReason, ToWorker};
use wire::log_id::LOAD_TIMED_OUT;

use super::slow_load::{self, SlowLoadStage};
use super::stack_dump::Stack;
use super::Worker;
use crate::process::process_log;
use crate::wsgi::scripts::Version;

/// The supervisor's limit where `startup-timeout` is 0.
const LIMIT: Duration = Duration::from_secs(300);
/// How much earlier the supervisor began to count, at most.
const EARLIER: Duration = Duration::from_millis(500);
/// How often to check how long the load has taken.
const GLANCE: Duration = Duration::from_secs(5);

/// One script that is being loaded.
#[derive(Clone)]
struct Preload {
    script: Vec<u8>,
    /// What the script was when the load began.
    version: Option<Version>,
    thread: Thread,
    /// In microseconds of the monotonic clock.
    since: u64,
    stage: SlowLoadStage,
}

impl Preload {
    fn name(&self) -> String {
        String::from_utf8_lossy(&self.script).into_owned()
    }

    /// Whether another file has taken the script's place. One that is missing may be on its way.
    fn is_outdated(&self) -> bool {
        let now = Version::now(&self.script);
        self.version.is_some() && now.is_some() && now != self.version
    }
}

/// The script that is being loaded, and by which thread.
#[derive(Default)]
pub struct Preloading(Mutex<Option<Preload>>);

impl Preloading {
    /// To be called by the thread that loads.
    pub fn begin(&self, script: &[u8]) {
        *self.lock() = Some(Preload {
            script: script.to_vec(),
            version: Version::now(script),
            thread: Thread::current(),
            since: clock::monotonic_us(),
            stage: SlowLoadStage::Never,
        });
    }

    /// How long until the load is to be examined.
    fn next(&self, now: u64) -> Duration {
        let load = self.lock();
        let next = load.as_ref().map(|load| {
            let changed = (load.since + slow_load::SERVING).max(now + slow_load::GLANCE);
            let at = load
                .stage
                .next()
                .map_or(changed, |next| changed.min(load.since + next));
            Duration::from_micros(at.saturating_sub(now))
        });
        // A load that begins meanwhile is not late before then.
        next.unwrap_or(GLANCE).min(GLANCE)
    }

    /// Logs what the script does if it takes long.
    fn look(&self, now: u64, dumps: &mut Option<Dumps>) {
        let due = self.lock().clone().filter(|load| {
            let next = load.stage.next();
            next.is_some_and(|next| now >= load.since + next)
        });
        let Some(load) = due else {
            return;
        };
        let stack = Stack::of(dumps, load.thread, Scope::Own);
        let elapsed = now.saturating_sub(load.since);
        let stage = load
            .stage
            .look(&load.name(), elapsed, "as its worker starts", &stack);
        if let Some(same) = self.lock().as_mut().filter(|same| same.since == load.since) {
            same.stage = stage;
        }
    }

    /// The load that takes long and whose script has been changed meanwhile.
    fn outdated(&self, now: u64) -> Option<Preload> {
        let load = self.lock().clone();
        load.filter(|load| now >= load.since + slow_load::SERVING && load.is_outdated())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Preload>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `load`, and handles messages and signals meanwhile.
///
/// # Errors
/// For want of a descriptor or a thread.
pub fn attended<R>(
    worker: &Worker,
    signals: &mut Arrivals,
    dumps: &mut Option<Dumps>,
    load: impl FnOnce() -> R,
) -> io::Result<R> {
    let (over, ring) = descriptor::pipe()?;
    let over = File::from(over);
    let since = clock::monotonic();
    std::thread::scope(|scope| {
        let attending = std::thread::Builder::new()
            .name("wsgi-startup".to_owned())
            .spawn_scoped(scope, || attend(worker, signals, dumps, &over, since))?;
        let done = load();
        drop(ring);
        // A panic was reported by the hook for panics.
        let _ = attending.join();
        Ok(done)
    })
}

fn attend(
    worker: &Worker,
    signals: &mut Arrivals,
    dumps: &mut Option<Dumps>,
    over: &File,
    since: Duration,
) {
    loop {
        let mut wanted = [
            Wanted::readable(over.as_fd()),
            Wanted::readable(worker.control.as_fd()),
            Wanted::readable(signals.as_fd()),
        ];
        let next = worker.preloading.next(clock::monotonic_us());
        if poll(&mut wanted, Some(next)).is_err() {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let [ended, control, signalled] = wanted.map(|w| w.is_ready());
        if ended {
            return;
        }
        let now = clock::monotonic_us();
        worker.preloading.look(now, dumps);
        if let Some(load) = worker.preloading.outdated(now) {
            slow_load::log_given_up(&load.name(), now - load.since);
            // No request is here; those that wait in the accept queue stay there.
            worker.request_replacement(ReplacementReason::Stale);
            process::exit_now(0);
        }
        if signalled {
            for number in signals.drain() {
                match number {
                    signal::SIGUSR1 => {
                        worker.request_replacement(ReplacementReason::Signal);
                    }
                    // The last one is sent again.
                    signal::SIGHUP | signal::SIGUSR2 | signal::SIGXCPU => {}
                    _ => leave(worker, dumps, since),
                }
            }
        }
        if control {
            match worker.control.receive() {
                Ok(Some(ToWorker::Setup(newer))) => worker.group_keys.replace(&newer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // It is to end, or the supervisor is gone: nothing runs here yet that could be
                // finished.
                Ok(_) | Err(_) => leave(worker, dumps, since),
            }
        }
    }
}

/// Ends the process; logs what took so long if that was the reason.
fn leave(worker: &Worker, dumps: &mut Option<Dumps>, since: Duration) -> ! {
    let limit = worker.setup.group.timeouts.startup.unwrap_or(LIMIT);
    let elapsed = clock::monotonic().saturating_sub(since);
    let loading = worker.preloading.lock().clone();
    if let Some(load) = loading.filter(|_| elapsed + EARLIER >= limit) {
        let script = load.name();
        let stack = Stack::of(dumps, load.thread, Scope::Own);
        process_log::error(&format!(
            "{LOAD_TIMED_OUT}: {script} is still being loaded after {:.1} s (startup-timeout={}) as its \
             worker starts{}. The process is replaced. It was at\n{}",
            elapsed.as_secs_f64(),
            limit.as_secs(),
            stack.place(),
            stack.text
        ));
    }
    process::exit_now(0)
}
