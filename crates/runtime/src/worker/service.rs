//! A service process: `threads=0`.
//!
//! Runs in: a worker that serves no requests. Its scripts run one after another on the main thread,
//! as a Python program would, with signals of their own. When they have returned, Python ends in
//! its usual way, and the supervisor starts the process again. SIGTERM raises SystemExit in them.

use std::io;
use std::time::Duration;

use os::poll::{poll_uninterrupted, Wanted};
use os::signal::{Blocked, Thread};
use os::{clock, process};
use wire::control::{FromWorker, ToWorker, WorkerSetup};

use super::control::Control;
use super::interpreters::{Interpreters, NamedBy, Placement};
use super::{request, Unusable};
use crate::process::{process_log, termination};
use crate::python::gil::Gil;
use crate::python::interpreter::{describe, ThreadState};
use crate::wsgi::state::Interpreter;

/// Time to end in if the supervisor is gone.
const ORPHAN_LIMIT: Duration = Duration::from_millis(800);
/// How often SIGTERM is repeated.
const AGAIN: Duration = Duration::from_millis(50);
/// Time to end in if `shutdown-timeout` is 0.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Runs the scripts. Python is to end when this returns.
///
/// # Errors
/// A sentence, where the process can't come up.
pub fn run(
    thread_state: &mut ThreadState,
    main: &'static Interpreter,
    control: Control,
    setup: &WorkerSetup,
) -> Result<(), Unusable> {
    let unusable = |why: String| {
        control.send(&FromWorker::Unusable(why.as_str().into()));
        why
    };
    let prepared = thread_state.attach(|gil| {
        let Some(state) = main.state() else {
            return Err("the interpreter is not set up".to_owned());
        };
        let prepare = state.python.prepare_service.bind(gil);
        let done = prepare.call(&[]).map(drop);
        done.map_err(|raised| describe(gil, raised))
    });
    prepared.map_err(unusable)?;
    if setup.group.preload.is_empty() {
        return Err(unusable(
            "threads=0 makes it a service process, and no WSGIImportScript names a script for it"
                .to_owned(),
        ));
    }
    control.send(&FromWorker::Ready(()));
    let own = Thread::current();
    let shutdown = setup.group.timeouts.shutdown.unwrap_or(SHUTDOWN_LIMIT);
    // The thread must take no signal: otherwise Python's own thread would not wake.
    let blocked = Blocked::all();
    let attending = std::thread::Builder::new()
        .name("wsgi-control".to_owned())
        .spawn(move || attend(&control, own, shutdown));
    drop(blocked);
    if let Err(error) = attending {
        return Err(format!("a thread can't be started: {error}"));
    }
    let interpreters = Interpreters::new(main, &setup.group);
    for (script, group) in &setup.group.preload {
        let ended = match interpreters.find(group, NamedBy::Configuration) {
            Placement::Main => thread_state.attach(|gil| serve(gil, main, setup, None, script)),
            Placement::MainFrom(name) => thread_state.attach(|gil| {
                request::assign(gil, &interpreters, &name);
                serve(gil, main, setup, None, script)
            }),
            // Signals reach the main thread in the main interpreter only.
            Placement::Sub(sub) => std::thread::scope(|scope| {
                let served = scope.spawn(|| {
                    let interpreter = sub.interpreter(main, setup)?;
                    let mut thread_state =
                        ThreadState::new(interpreter).ok_or("Python can't make a thread state")?;
                    thread_state
                        .attach(|gil| serve(gil, interpreter, setup, Some(&sub.name), script))
                });
                served
                    .join()
                    .unwrap_or_else(|_| Err("internal error".to_owned()))
            }),
            Placement::Full(_) => Err("too many application groups in one process".to_owned()),
        };
        match ended {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(why) => process_log::error(&why),
        }
    }
    Ok(())
}

/// Runs one script; true where it ends the process.
fn serve(
    gil: Gil<'_>,
    interpreter: &'static Interpreter,
    setup: &WorkerSetup,
    sub: Option<&[u8]>,
    script: &[u8],
) -> Result<bool, String> {
    let state = interpreter.state().ok_or("the interpreter is not set up")?;
    let place = super::place(setup, sub);
    let ended = gil.path(script).and_then(|path| {
        let serve = state.python.serve.bind(gil);
        serve.call(&[&path, &gil.text(&place)?])?.is_true()
    });
    ended.map_err(|raised| describe(gil, raised))
}

/// Has SIGTERM raised when the process is to end, and ends it at the limit.
fn attend(control: &Control, main: Thread, shutdown: Duration) {
    let limit = loop {
        let mut wanted = [Wanted::readable(control.as_fd())];
        if poll_uninterrupted(&mut wanted, None).is_err() {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        match control.receive() {
            Ok(Some(ToWorker::Setup(_))) => {}
            Ok(Some(ToWorker::Drain(limit))) => break Duration::from_millis(limit) + shutdown,
            Ok(Some(ToWorker::Stop(limit))) => break Duration::from_millis(limit),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => break ORPHAN_LIMIT,
        }
    };
    let mut end = clock::monotonic() + limit;
    loop {
        let left = end.saturating_sub(clock::monotonic());
        if left.is_zero() {
            process::exit_now(0);
        }
        // Again and again, since a signal may come just before a system call begins.
        let reached = termination::reached();
        if !*reached {
            main.terminate();
        }
        drop(reached);
        let mut wanted = [Wanted::readable(control.as_fd())];
        let _ = poll_uninterrupted(&mut wanted, Some(left.min(AGAIN)));
        let sooner = match control.receive() {
            Ok(Some(ToWorker::Stop(limit))) => Duration::from_millis(limit),
            Ok(None) => ORPHAN_LIMIT,
            _ => continue,
        };
        end = end.min(clock::monotonic() + sooner);
    }
}
