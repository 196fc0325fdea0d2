//! The request threads.
//!
//! Runs in: request threads. Each blocks in accept on the group's listener, which all workers of
//! the group share: the kernel gives a connection to one thread, and there is no lock. A thread has
//! its seat in the main interpreter for life; for each other interpreter it makes a twin, a thread
//! with a seat there, passes the request on and waits. So there are as many threads at work as
//! configured, and each sees the same `threading.local` as the one before it.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::{Arc, Barrier, OnceLock};
use std::time::Duration;

use os::{clock, signal, socket};
use wire::control::Leaving;
use wire::log_id::{CONNECTION_DROPPED, NOT_ACCEPTED, NO_INTERPRETER, NO_THREAD, STRANGER};
use wire::response::{Fail, Retry};

use super::connection::{Connection, Taken};
use super::groups::Sub;
use super::request::{handle, Accepted, Desk, Handled, Memory};
use super::{limit, Worker};
use crate::python::interpreter::Seat;
use crate::{fork, process_log};

/// What Python needs at most for its recursion limit, and threads have by default elsewhere.
const STACK: usize = 8 << 20;
/// Longest wait for one read or write where `socket-timeout` is 0.
const SOCKET_LIMIT: Duration = Duration::from_secs(300);
/// Pause after accept failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Where one thread is.
#[derive(Default)]
struct Spot {
    /// It is about to block in accept, or does.
    accepting: AtomicBool,
    thread: OnceLock<signal::Thread>,
}

/// All request threads.
pub struct Threads {
    spots: Vec<Arc<Spot>>,
    /// Where all of them wait at first, and the main thread comes last.
    gate: Arc<Barrier>,
}

impl Threads {
    /// Lets them take requests. To be called once, when the supervisor has been told that the worker
    /// is ready: a request that ends the process would else make it look like one that never came up.
    pub fn open(&self) {
        self.gate.wait();
    }

    /// Interrupts those that block in accept, so that they look whether to go on. One may just be
    /// about to block: to be called until all have left.
    pub fn call_out(&self) {
        for spot in &self.spots {
            if spot.accepting.load(Ordering::SeqCst) {
                if let Some(thread) = spot.thread.get() {
                    // Fails only where the thread has ended.
                    let _ = thread.kick();
                }
            }
        }
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
    let mut spots = Vec::new();
    let gate = Arc::new(Barrier::new(worker.setup.group.threads as usize + 1));
    for number in 1..=worker.setup.group.threads {
        let spot = Arc::new(Spot::default());
        spots.push(Arc::clone(&spot));
        let (own, entrance) = (Arc::clone(worker), Arc::clone(&gate));
        worker.alive.fetch_add(1, Ordering::SeqCst);
        spawn(worker, format!("wsgi-{number}"), move || {
            let _ended = Alive(&own);
            entrance.wait();
            Acceptor::new(&own, number).serve(&spot);
        })
        .inspect_err(|_| {
            worker.alive.fetch_sub(1, Ordering::SeqCst);
        })?;
    }
    Ok(Threads { spots, gate })
}

/// Counts the thread out, also when it unwinds.
struct Alive<'a>(&'a Worker);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Requests have a wall of their own; this one is ours. The process is not to be trusted.
            self.0.ask(Leaving::TimeLimit);
            self.0.draining.store(true, Ordering::SeqCst);
        }
        self.0.alive.fetch_sub(1, Ordering::SeqCst);
        self.0.control.wake();
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
        if finished == worker.maximum_requests {
            worker.ask(Leaving::MaximumRequests);
        }
    }
}

struct Acceptor {
    worker: Arc<Worker>,
    number: u32,
    limit: Duration,
    memory: Memory,
    twins: HashMap<Vec<u8>, Twin>,
}

impl Acceptor {
    fn new(worker: &Arc<Worker>, number: u32) -> Self {
        Self {
            worker: Arc::clone(worker),
            number,
            limit: limit(worker.setup.group.timeouts.socket, SOCKET_LIMIT),
            memory: Memory::new(),
            twins: HashMap::new(),
        }
    }

    fn serve(mut self, spot: &Spot) {
        let worker = Arc::clone(&self.worker);
        let Some(mut seat) = Seat::new(worker.groups.main()) else {
            process_log::say(&format!("{NO_THREAD}: Python can't make a thread state"));
            return;
        };
        // Python's own thread number is this thread's from here on.
        let _ = spot.thread.set(signal::Thread::current());
        let place = worker.place(None);
        loop {
            spot.accepting.store(true, Ordering::SeqCst);
            if worker.draining.load(Ordering::SeqCst) {
                break;
            }
            let accepted = socket::accept(worker.listener.as_fd());
            spot.accepting.store(false, Ordering::SeqCst);
            match accepted {
                Ok(fd) => {
                    let connection = Arc::new(Connection::new(fd, self.limit));
                    self.take_up(&mut seat, &place, connection);
                    if fork::happened() {
                        // The application returned in a process it had forked.
                        os::process::exit_now(0);
                    }
                }
                Err(error) => self.after_failed_accept(&error),
            }
        }
        spot.accepting.store(false, Ordering::SeqCst);
        // The process leaves now. To give the seat back would mean waiting for the GIL, which a
        // request that hangs may hold.
        std::mem::forget(seat);
    }

    fn after_failed_accept(&self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
            io::ErrorKind::WouldBlock => {
                // Somebody made the listener non-blocking, which all its holders share.
                let listener = self.worker.listener.as_fd();
                let mut wanted = [os::poll::Wanted::readable(listener)];
                let _ = os::poll::poll(&mut wanted, Some(PAUSE));
            }
            _ => {
                process_log::occasionally(&format!(
                    "{NOT_ACCEPTED}: a request thread can't take a connection, and tries again: {error}"
                ));
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn is_welcome(&self, connection: &Connection) -> bool {
        let group = &self.worker.setup.group;
        let Ok(peer) = socket::peer_credentials(connection.as_fd()) else {
            return false;
        };
        let welcome = peer.uid == group.socket_uid
            || peer.uid == 0
            || (!group.identity.switch && peer.uid == self.worker.own_uid);
        if !welcome {
            process_log::occasionally(&format!(
                "{STRANGER}: a connection of user {} was dropped: only Apache's, {}, may connect",
                peer.uid, group.socket_uid
            ));
        }
        welcome
    }

    fn take_up(&mut self, seat: &mut Seat, place: &str, connection: Arc<Connection>) {
        if !self.is_welcome(&connection) {
            return;
        }
        let listener = self.worker.listener.as_fd();
        let others_wait = || {
            let mut wanted = [os::poll::Wanted::readable(listener)];
            os::poll::poll(&mut wanted, Some(Duration::ZERO)).is_ok_and(|ready| ready > 0)
        };
        let (len, peeked) = match connection.take_request(&mut self.memory.message, &others_wait) {
            Taken::Peeked(len) => (len, true),
            Taken::Received(len) => (len, false),
            Taken::Nothing(None) => return,
            Taken::Nothing(Some(why)) => {
                process_log::occasionally(&format!(
                    "{CONNECTION_DROPPED}: a connection to the process group was dropped: {why}"
                ));
                return;
            }
        };
        let worker = Arc::clone(&self.worker);
        let running = Running::begin(&worker);
        if worker.draining.load(Ordering::SeqCst) {
            // Unread, it is reset by closing, and goes elsewhere.
            if !peeked {
                let mut frame = Vec::new();
                Retry::Draining.append(&mut frame);
                connection.say(&frame);
            }
            return;
        }
        let accepted = Accepted {
            connection,
            len,
            peeked,
            taken_up: clock::epoch_us(),
            taken_up_at: clock::monotonic_us(),
        };
        let desk = Desk {
            interpreter: worker.groups.main(),
            sub: None,
            thread: self.number,
            place,
        };
        if let Handled::Elsewhere(sub) = handle(&worker, seat, desk, &mut self.memory, &accepted) {
            self.pass_on(sub, accepted);
        }
        drop(running);
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
            let Some(mut seat) = Seat::new(interpreter) else {
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
                handle(&own, &mut seat, desk, &mut memory, &accepted);
                if fork::happened() {
                    os::process::exit_now(0);
                }
                drop(accepted);
                if outbox.send(memory).is_err() {
                    break;
                }
            }
            // The process leaves; see `Acceptor::serve`.
            std::mem::forget(seat);
        })?;
        Ok(Self { jobs, done })
    }
}
