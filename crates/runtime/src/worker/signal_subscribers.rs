//! Signals that are the application's: SIGHUP and SIGUSR2, passed on to its subscribers.
//!
//! Runs in: a thread that is started for the first signal, because callbacks are application code,
//! for which the main thread must not wait. It attaches to one interpreter after another.

use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::Arc;

use os::signal;

use super::Worker;
use crate::process::process_log;
use crate::python::interpreter::{describe, ThreadState};
use crate::wsgi::state::Interpreter;

/// Maximum number of signals that wait to be passed on; further ones are dropped.
const MOST: usize = 64;

/// Sends signals to the thread.
#[derive(Default)]
pub struct SignalSubscribers(Option<SyncSender<i32>>);

impl SignalSubscribers {
    /// Passes a signal on. Does not wait.
    pub fn tell(&mut self, worker: &Arc<Worker>, number: i32) {
        if self.0.is_none() {
            let (sender, receiver) = sync_channel(MOST);
            let worker = Arc::clone(worker);
            let spawned = std::thread::Builder::new()
                .name("wsgi-signals".to_owned())
                .spawn(move || attend(&worker, &receiver));
            self.0 = spawned.ok().map(|_| sender);
        }
        if let Some(sender) = &self.0 {
            // Full: as with signals themselves, so many at once are not distinguished.
            let _ = sender.try_send(number);
        }
    }
}

fn attend(worker: &Worker, numbers: &Receiver<i32>) {
    while let Ok(number) = numbers.recv() {
        publish(worker.interpreters.main(), number);
        for interpreter in worker.interpreters.subs() {
            publish(interpreter, number);
        }
    }
}

fn publish(interpreter: &'static Interpreter, number: i32) {
    let (Some(state), Some(mut thread_state)) =
        (interpreter.state(), ThreadState::new(interpreter))
    else {
        return;
    };
    thread_state.attach(|gil| {
        let published = gil.text(signal::name(number)).and_then(|name| {
            let signalled = state.python.signalled.bind(gil);
            signalled.call(&[&name, &gil.int(number.into())?])
        });
        if let Err(raised) = published {
            let why = describe(gil, raised);
            gil.released(|| process_log::error(&why));
        }
    });
}
