//! The request threads.
//!
//! Runs in: request threads. They wait at the [`Reception`] of the process, and where all requests
//! are for the main interpreter take Python's global lock before they take one up: see [`Roster`].
//! A thread has its thread state in the main interpreter for life; for each other interpreter it makes a
//! twin, a thread with a thread state there, passes the request on and waits. So there are as many threads
//! at work as configured, and each sees the same `threading.local` as the one before it.
//!
//! [`Reception`]: super::accept::Reception
//! [`Roster`]: super::idle_threads::Roster

use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use os::{clock, socket};
use wire::control::ReplacementReason;
use wire::log_id::{CONNECTION_DROPPED, NOT_ACCEPTED, NO_INTERPRETER, NO_THREAD, STRANGER};
use wire::response::{Fail, Retry};

use super::accept::{Next, Visitor};
use super::connection::{Connection, Look, Taken};
use super::interpreters::Sub;
use super::request::{handle, Accepted, Desk, Handled, Memory};
use super::{limit, Worker};
use crate::process::{fork, process_log};
use crate::python::interpreter::{Access, ThreadState};

/// What Python needs at most for its recursion limit, and threads have by default elsewhere.
const STACK: usize = 8 << 20;
/// Longest wait for one read or write where `socket-timeout` is 0.
const SOCKET_LIMIT: Duration = Duration::from_secs(300);
/// Pause after accept failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// All request threads.
pub struct Threads {
    /// Where all of them wait at first, and the main thread comes last.
    gate: Arc<Barrier>,
}

impl Threads {
    /// Lets them take requests. To be called once, when the supervisor has been told that the worker
    /// is ready: a request that ends the process would else make it look like one that never came up.
    pub fn open(self) {
        self.gate.wait();
    }
}

fn spawn(
    worker: &Worker,
    name: String,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<std::thread::JoinHandle<()>> {
    let stack = match worker.setup.group.limits.stack_size {
        0 => STACK,
        some => usize::try_from(some).unwrap_or(STACK).max(64 << 10),
    };
    std::thread::Builder::new()
        .name(name)
        .stack_size(stack)
        .spawn(body)
}

/// Starts as many threads as the group has.
pub fn start(worker: &Arc<Worker>) -> io::Result<Threads> {
    let gate = Arc::new(Barrier::new(worker.setup.group.threads as usize + 1));
    for number in 1..=worker.setup.group.threads {
        let (own, entrance) = (Arc::clone(worker), Arc::clone(&gate));
        spawn(worker, format!("wsgi-{number}"), move || {
            let _whole = Whole(&own);
            entrance.wait();
            Server::new(&own, number).serve();
        })?;
    }
    Ok(Threads { gate })
}

/// Has the process replaced when a thread unwinds. Requests have a wall of their own; what comes here
/// is ours, and the process is not to be trusted.
struct Whole<'a>(&'a Worker);

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.ask(ReplacementReason::TimeLimit);
            self.0.draining.store(true, Ordering::SeqCst);
            self.0.control.wake();
        }
    }
}

/// Counts a request out, also when unwinding.
struct Running<'a>(&'a Worker);

impl<'a> Running<'a> {
    fn begin(worker: &'a Worker) -> Self {
        worker.running.fetch_add(1, Ordering::SeqCst);
        Self(worker)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let worker = self.0;
        let finished = worker.finished.fetch_add(1, Ordering::Relaxed) + 1;
        worker.running.fetch_sub(1, Ordering::SeqCst);
        if worker.draining.load(Ordering::SeqCst) {
            // The main thread waits for the last one.
            worker.control.wake();
        }
        if finished == worker.maximum_requests {
            worker.ask(ReplacementReason::MaximumRequests);
        }
    }
}

/// One request thread.
struct Server {
    worker: Arc<Worker>,
    number: u32,
    limit: Duration,
    place: String,
    memory: Memory,
    twins: HashMap<Vec<u8>, Twin>,
}

impl Server {
    fn new(worker: &Arc<Worker>, number: u32) -> Self {
        Self {
            worker: Arc::clone(worker),
            number,
            limit: limit(worker.setup.group.timeouts.socket, SOCKET_LIMIT),
            place: worker.place(None),
            memory: Memory::new(),
            twins: HashMap::new(),
        }
    }

    fn serve(mut self) {
        let worker = Arc::clone(&self.worker);
        let Some(mut thread_state) = ThreadState::new(worker.groups.main()) else {
            process_log::say(&format!("{NO_THREAD}: Python can't make a thread state"));
            return;
        };
        let roster = &worker.reception.roster;
        while !worker.draining.load(Ordering::SeqCst) {
            roster.stand_by();
            loop {
                let served = match worker.reception.wait() {
                    Ok(true) if worker.groups.are_several() => {
                        self.serve_one(&worker, &mut thread_state)
                    }
                    Ok(true) => self.serve_some(&worker, &mut thread_state),
                    Ok(false) => false,
                    Err(error) => {
                        has_failed(&error);
                        false
                    }
                };
                // Whoever has found nothing is ready still.
                if served || worker.draining.load(Ordering::SeqCst) {
                    break;
                }
            }
        }
        // The process leaves now. To delete the thread state would mean waiting for the GIL, which a
        // request that hangs may hold.
        std::mem::forget(thread_state);
    }

    /// Serves whoever is here, and takes Python's lock only when the request is known to need it.
    /// False where nobody was.
    fn serve_one(&mut self, worker: &Worker, thread_state: &mut ThreadState) -> bool {
        let mut access = Access::From(thread_state);
        let Some(visitor) = self.pick(&mut access) else {
            return false;
        };
        worker.reception.roster.step_forward();
        self.receive(worker, &mut access, visitor);
        true
    }

    /// Serves whoever is here once the thread has Python's lock, and then others as long as it is to
    /// go on.
    fn serve_some(&mut self, worker: &Worker, thread_state: &mut ThreadState) -> bool {
        let reception = &worker.reception;
        let (mut contending, wake) = reception.contend();
        if wake {
            worker.control.wake();
        }
        contending.come_to_the_front();
        thread_state.attach(|gil| {
            drop(contending);
            let since = clock::monotonic_us();
            let mut access = Access::Held(gil);
            let mut served = false;
            while !worker.draining.load(Ordering::SeqCst) {
                let Some(visitor) = self.pick(&mut access) else {
                    break;
                };
                if !served {
                    served = true;
                    reception.roster.step_forward();
                }
                self.receive(worker, &mut access, visitor);
                if !reception.roster.goes_on(since, clock::monotonic_us)
                    || worker.groups.are_several()
                {
                    break;
                }
            }
            served
        })
    }

    /// Somebody to serve, if there is anybody.
    fn pick(&self, access: &mut Access<'_, '_>) -> Option<Visitor> {
        match self.worker.reception.pick() {
            Next::Known(visitor) => Some(visitor),
            Next::New(visitor) => match self.is_welcome(&visitor) {
                Ok(()) => Some(visitor),
                Err(why) => {
                    access.without_gil(|| process_log::occasionally(&why));
                    None
                }
            },
            Next::Nothing => None,
            Next::Failed(error) => {
                access.without_gil(|| has_failed(&error));
                None
            }
        }
    }

    fn receive(&mut self, worker: &Worker, access: &mut Access<'_, '_>, visitor: Visitor) {
        let (busy, wake) = worker.reception.serve(self.number, clock::monotonic_us());
        if wake {
            worker.control.wake();
        }
        self.take_up(worker, access, visitor);
        if fork::happened() {
            // The application returned in a process it had forked.
            os::process::exit_now(0);
        }
        drop(busy);
    }

    /// Whether it comes from the Apache that this group belongs to; a sentence for the log otherwise.
    fn is_welcome(&self, visitor: &Visitor) -> Result<(), String> {
        let group = &self.worker.setup.group;
        let peer = socket::peer_credentials(visitor.as_fd()).map_err(|error| {
            format!("{STRANGER}: a connection of an unknown user was dropped: {error}")
        })?;
        let welcome = peer.uid == group.socket_uid
            || peer.uid == 0
            || (!group.identity.switch && peer.uid == self.worker.own_uid);
        match welcome {
            true => Ok(()),
            false => Err(format!(
                "{STRANGER}: a connection of user {} was dropped: only Apache's, {}, may connect",
                peer.uid, group.socket_uid
            )),
        }
    }

    fn take_up(&mut self, worker: &Worker, access: &mut Access<'_, '_>, visitor: Visitor) {
        let connection = Connection::new(visitor, self.limit);
        let message = &mut self.memory.message;
        let taken = match connection.look(message) {
            Look::Whole(len) => Taken::Peeked(len),
            Look::Begun(_) => access.without_gil(|| connection.take_request(message)),
            Look::NotYet => {
                let wake = !connection.is_kept();
                worker.reception.put_back(connection.into_visitor());
                if wake {
                    worker.control.wake();
                }
                return;
            }
            Look::Nothing(why) => Taken::Nothing(why),
        };
        let (len, peeked) = match taken {
            Taken::Peeked(len) => (len, true),
            Taken::Received(len) => (len, false),
            Taken::Nothing(None) => return,
            Taken::Nothing(Some(why)) => {
                access.without_gil(|| {
                    process_log::occasionally(&format!(
                        "{CONNECTION_DROPPED}: a connection to the process group was dropped: {why}"
                    ));
                });
                return;
            }
        };
        let running = Running::begin(worker);
        if worker.draining.load(Ordering::SeqCst) {
            // Unread, it is reset by closing, and goes elsewhere.
            if !peeked {
                let mut frame = Vec::new();
                Retry::Draining.append(&mut frame);
                access.without_gil(|| connection.say(&frame));
            }
            return;
        }
        let connection = Arc::new(connection);
        let accepted = Accepted {
            connection: Arc::clone(&connection),
            len,
            peeked,
            taken_up: clock::epoch_us(),
            taken_up_at: clock::monotonic_us(),
        };
        let desk = Desk {
            interpreter: worker.groups.main(),
            sub: None,
            thread: self.number,
            place: &self.place,
        };
        match handle(worker, access, desk, &mut self.memory, &accepted) {
            Handled::Elsewhere(sub) => access.without_gil(|| self.pass_on(sub, accepted)),
            Handled::Done => drop(accepted),
        }
        drop(running);
        // Whoever else still looks at it, as the watch may, keeps it from being used again.
        if let Some(visitor) = Arc::into_inner(connection).and_then(Connection::into_kept) {
            worker.reception.keep(visitor);
        }
    }

    /// Has the twin of this thread serve the request, and waits for it.
    fn pass_on(&mut self, sub: Arc<Sub>, accepted: Accepted) {
        let connection = Arc::clone(&accepted.connection);
        let twin = match self.twins.get(&sub.name) {
            Some(twin) => twin,
            None => match Twin::start(&self.worker, Arc::clone(&sub), self.number) {
                Ok(twin) => self.twins.entry(sub.name.clone()).or_insert(twin),
                Err(error) => {
                    let why = format!("{NO_THREAD}: a thread can't be started: {error}");
                    return fail(&connection, &why);
                }
            },
        };
        let memory = std::mem::replace(&mut self.memory, Memory::spare());
        let done = match twin.jobs.send((memory, accepted)) {
            Ok(()) => twin.done.recv().ok(),
            Err(_) => None,
        };
        match done {
            Some(memory) => self.memory = memory,
            None => {
                // It ended: the interpreter can't be made, which it has told.
                self.memory = Memory::new();
                self.twins.remove(&sub.name);
                let why = format!(
                    "{NO_INTERPRETER}: the interpreter of the application group can't be made, see \
                     the log of the process group"
                );
                fail(&connection, &why);
            }
        }
    }
}

/// Tells that no connection can be taken, and lets a moment pass.
fn has_failed(error: &io::Error) {
    process_log::occasionally(&format!(
        "{NOT_ACCEPTED}: a request thread can't take a connection, and tries again: {error}"
    ));
    std::thread::sleep(PAUSE);
}

fn fail(connection: &Connection, text: &str) {
    let mut frame = Vec::new();
    Fail {
        status: 500,
        text: text.as_bytes(),
    }
    .append(&mut frame);
    connection.say(&frame);
}

/// A request thread's thread in another interpreter.
struct Twin {
    jobs: SyncSender<(Memory, Accepted)>,
    done: Receiver<Memory>,
}

impl Twin {
    fn start(worker: &Arc<Worker>, sub: Arc<Sub>, number: u32) -> io::Result<Self> {
        let (jobs, inbox) = sync_channel::<(Memory, Accepted)>(1);
        let (outbox, done) = sync_channel(1);
        let own = Arc::clone(worker);
        spawn(worker, format!("wsgi-{number}-sub"), move || {
            let interpreter = match sub.interpreter(own.groups.main(), &own.setup) {
                Ok(interpreter) => interpreter,
                Err(why) => {
                    let place = own.place(Some(&sub.name));
                    process_log::say(&format!(
                        "{NO_INTERPRETER}: no requests are served {place}: {why}"
                    ));
                    return;
                }
            };
            let Some(mut thread_state) = ThreadState::new(interpreter) else {
                process_log::say(&format!("{NO_THREAD}: Python can't make a thread state"));
                return;
            };
            let place = own.place(Some(&sub.name));
            let desk = Desk {
                interpreter,
                sub: Some(&sub),
                thread: number,
                place: &place,
            };
            while let Ok((mut memory, accepted)) = inbox.recv() {
                handle(
                    &own,
                    &mut Access::From(&mut thread_state),
                    desk,
                    &mut memory,
                    &accepted,
                );
                if fork::happened() {
                    os::process::exit_now(0);
                }
                drop(accepted);
                if outbox.send(memory).is_err() {
                    break;
                }
            }
            // The process leaves; see `Server::serve`.
            std::mem::forget(thread_state);
        })?;
        Ok(Self { jobs, done })
    }
}
