//! The end of the process.
//!
//! Runs in: the main thread. Shutdown hooks run in every interpreter; then the process ends by
//! `_exit`, without finalizing interpreters: that can hang, and frees nothing that the kernel does
//! not free. A thread without Python ends the process at the limit, whatever the hooks do.

use std::sync::atomic::Ordering;
use std::time::Duration;

use os::{clock, process};
use wire::log_id::SHUTDOWN_TIMED_OUT;

use super::control::ShutdownPlan;
use super::Worker;
use crate::process::process_log;
use crate::python::gil::{Gil, Raised};
use crate::python::interpreter::{describe, ThreadState};
use crate::wsgi::state::Interpreter;

/// Runs hooks, waits for requests that still run, and ends the process.
pub fn run(worker: &Worker, thread_state: &mut ThreadState, plan: ShutdownPlan) -> ! {
    worker.draining.store(true, Ordering::SeqCst);
    worker.request_source.close();
    if plan.limit.is_zero() {
        // Nothing can run any more.
        process::exit_now(0);
    }
    let end = clock::monotonic() + plan.limit;
    let guard = std::thread::Builder::new()
        .name("wsgi-end".to_owned())
        .spawn(move || {
            std::thread::sleep(plan.limit);
            process_log::error(&format!(
                "{SHUTDOWN_TIMED_OUT}: the worker leaves although shutdown hooks or requests still run after \
                 {:?}",
                plan.limit
            ));
            process::exit_now(0)
        });
    if guard.is_err() {
        // Nothing would end it at the limit: better no hooks than a process that stays.
        process::exit_now(0);
    }
    let atexit = worker.setup.group.python.destroy_interpreter;
    for interpreter in worker.interpreters.subs() {
        // A thread of its own, since this one has a thread state of the main interpreter.
        let ran = std::thread::Builder::new().spawn(move || {
            if let Some(mut thread_state) = ThreadState::new(interpreter) {
                thread_state.attach(|gil| hooks(gil, interpreter, plan.reason, atexit));
            }
        });
        if let Ok(thread) = ran {
            // The panic hook has logged a panic.
            let _ = thread.join();
        }
    }
    thread_state.attach(|gil| hooks(gil, worker.interpreters.main(), plan.reason, atexit));
    while plan.wait && worker.unfinished.load(Ordering::SeqCst) > 0 && clock::monotonic() < end {
        std::thread::sleep(Duration::from_millis(2));
    }
    process::exit_now(0)
}

fn hooks(gil: Gil<'_>, interpreter: &Interpreter, reason: &str, atexit: bool) {
    let Some(state) = interpreter.state() else {
        return;
    };
    let report = |done: Result<(), Raised>| {
        if let Err(raised) = done {
            let why = describe(gil, raised);
            gil.released(|| process_log::error(&why));
        }
    };
    report(gil.text(reason).and_then(|reason| {
        let stopping = state.python.stopping.bind(gil);
        stopping.call(&[&reason]).map(drop)
    }));
    if atexit {
        let run = state.python.run_exit_functions.bind(gil);
        report(run.call(&[]).map(drop));
    }
}
