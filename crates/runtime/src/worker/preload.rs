//! Loads scripts before the worker is ready.
//!
//! Runs in: the main thread; for sub-interpreters on threads that are started for it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use wire::control::FromWorker;

use crate::python::gil::Gil;
use crate::python::interpreter::ThreadState;
use crate::wsgi::state::Interpreter;

use super::interpreters::{NamedBy, Placement};
use super::{request, Worker};

/// Maximum length of a report to the supervisor, in bytes.
const MAX_REPORT: usize = 32 * 1024;

/// Loads the scripts of the group's `preload` list, then those that predecessors received requests
/// for.
///
/// # Errors
/// The reports of what could not be loaded. Requests for those scripts would get 500.
pub fn run(worker: &Worker, thread_state: &mut ThreadState) -> Result<(), String> {
    let mut reports = Vec::new();
    let setup = &worker.setup;
    let remembered = setup
        .loaded_scripts
        .iter()
        .filter(|(script, _)| is_there(script));
    let listed = setup.group.preload.iter();
    let listed = listed.filter(|(script, _)| !is_below_a_file(script));
    for (script, group) in listed.chain(remembered) {
        let main = worker.interpreters.main();
        worker.control.send(&FromWorker::Loading(script.clone()));
        worker.preloading.begin(script);
        let done = match worker.interpreters.find(group, NamedBy::Configuration) {
            Placement::Main => thread_state.attach(|gil| load(gil, worker, main, None, script)),
            Placement::MainFrom(name) => thread_state.attach(|gil| {
                request::assign(gil, &worker.interpreters, &name);
                load(gil, worker, main, None, script)
            }),
            Placement::Sub(sub) => std::thread::scope(|scope| {
                let loaded = scope.spawn(|| {
                    worker.preloading.begin(script);
                    let interpreter = sub.interpreter(main, &worker.setup)?;
                    let mut thread_state =
                        ThreadState::new(interpreter).ok_or("Python can't make a thread state")?;
                    thread_state
                        .attach(|gil| load(gil, worker, interpreter, Some(&sub.name), script))
                });
                loaded
                    .join()
                    .unwrap_or_else(|_| Err("internal error".to_owned()))
            }),
            Placement::Full(_) => Err("too many application groups in one process".to_owned()),
        };
        if let Err(report) = done {
            reports.push(report);
            if setup.has_peers {
                break;
            }
        }
    }
    match reports.is_empty() {
        true => Ok(()),
        false => Err(reports.join("\n")),
    }
}

/// Scripts of predecessors may have been deleted since.
fn is_there(script: &[u8]) -> bool {
    Path::new(OsStr::from_bytes(script)).exists()
}

/// The target of an alias may have path info behind its script: the request finds the script.
fn is_below_a_file(script: &[u8]) -> bool {
    Path::new(OsStr::from_bytes(script))
        .metadata()
        .is_err_and(|error| error.kind() == std::io::ErrorKind::NotADirectory)
}

/// The beginning and the end of a report, which tells what happened.
pub fn shortened(report: String) -> String {
    if report.len() <= MAX_REPORT {
        return report;
    }
    let end = |at: usize| (at..).find(|&at| report.is_char_boundary(at)).unwrap_or(at);
    let (head, tail) = (end(MAX_REPORT / 4), end(report.len() - MAX_REPORT / 2));
    format!("{}\n[...]\n{}", &report[..head], &report[tail..])
}

fn load(
    gil: Gil<'_>,
    worker: &Worker,
    interpreter: &'static Interpreter,
    sub: Option<&[u8]>,
    script: &[u8],
) -> Result<(), String> {
    let state = interpreter.state().ok_or("the interpreter is not set up")?;
    state.loader().preload(gil, script, &worker.place(sub))
}
