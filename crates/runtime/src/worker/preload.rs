//! Loads scripts before the worker is ready.
//!
//! Runs in: the main thread; for sub-interpreters on threads made for it.

use crate::process_log;
use crate::python::interpreter::{Interpreter, Seat};
use crate::python::object::Gil;
use crate::python::scripts;

use super::groups::Seating;
use super::{request, Worker};

/// Loads what the group's `preload` lists, in its order. False where something failed: reports
/// are in the log then, and requests for those scripts get 500.
pub fn run(worker: &Worker, seat: &mut Seat) -> bool {
    let mut all = true;
    for (script, group) in &worker.setup.group.preload {
        let main = worker.groups.main();
        let done = match worker.groups.find(group) {
            Seating::Main => seat.enter(|gil| load(gil, worker, main, None, script)),
            Seating::MainFrom(name) => seat.enter(|gil| {
                request::assign(gil, &worker.groups, &name);
                load(gil, worker, main, None, script)
            }),
            Seating::Sub(sub) => std::thread::scope(|scope| {
                let loaded = scope.spawn(|| {
                    let interpreter = sub.interpreter(main, &worker.setup)?;
                    let mut seat =
                        Seat::new(interpreter).ok_or("Python can't make a thread state")?;
                    seat.enter(|gil| load(gil, worker, interpreter, Some(&sub.name), script))
                });
                loaded
                    .join()
                    .unwrap_or_else(|_| Err("internal error".to_owned()))
            }),
            Seating::Full => Err("too many application groups in one process".to_owned()),
        };
        if let Err(report) = done {
            all = false;
            process_log::say(&report);
        }
    }
    all
}

fn load(
    gil: Gil<'_>,
    worker: &Worker,
    interpreter: &'static Interpreter,
    sub: Option<&[u8]>,
    script: &[u8],
) -> Result<(), String> {
    let state = interpreter.state().ok_or("the interpreter is not set up")?;
    scripts::preload(gil, state, script, &worker.place(sub))
}
