//! The request threads.
//!
//! Runs in: request threads. They wait at the [`RequestSource`] of the process. While all requests
//! are for the main interpreter, a thread takes the GIL before it takes a request: see
//! [`IdleThreads`]. Each thread has a thread state of the main interpreter for life. For each other
//! interpreter it starts a second thread that has a thread state there, passes the request on and
//! waits. So as many threads work as are configured, and each thread keeps its `threading.local`
//! from one request to the next.
//!
//! [`RequestSource`]: super::accept::RequestSource
//! [`IdleThreads`]: super::idle_threads::IdleThreads

use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use os::rlimit::Resource;
use os::{clock, socket};
use wire::control::ReplacementReason;
use wire::log_id::{
    ACCEPT_FAILED, ACCEPT_KEEPS_FAILING, CONNECTION_DROPPED, INTERPRETER_NOT_CREATED,
    PEER_USER_REFUSED, THREAD_NOT_CREATED,
};
use wire::response::{Fail, Retry};

use super::accept::{ChildConnection, Picked};
use super::connection::{Connection, Peek, Received};
use super::interpreters::SubInterpreter;
use super::request::{handle, AcceptedRequest, Handled, RequestBuffers, RequestContext};
use super::time_limits::seconds;
use super::Worker;
use crate::process::{fork, process_log};
use crate::python::interpreter::{Access, ThreadState};

/// What Python needs at most for its recursion limit, and threads have by default elsewhere.
const STACK: usize = 8 << 20;
/// Longest wait for one read or write where `socket-timeout` is 0.
const SOCKET_LIMIT: Duration = Duration::from_secs(300);
/// Pause after accept failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);
/// How long accept may fail while connections wait, in microseconds. The worker is then replaced.
const REFUSAL_LIMIT: u64 = 2_000_000;

/// All request threads.
pub struct RequestThreads {
    /// Where all of them wait at first; the main thread comes last.
    gate: Arc<Barrier>,
}

impl RequestThreads {
    /// Lets them take requests. To be called once, after the supervisor was told that the worker is
    /// ready: otherwise a request that ends the process would make it look like one that failed to
    /// start.
    pub fn open(self) {
        self.gate.wait();
    }
}

fn spawn(
    worker: &Worker,
    name: String,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<std::thread::JoinHandle<()>> {
    let stack = worker.setup.group.resources.stack_size;
    let stack = stack.map_or(STACK, |bytes| {
        usize::try_from(bytes).unwrap_or(STACK).max(64 << 10)
    });
    std::thread::Builder::new()
        .name(name)
        .stack_size(stack)
        .spawn(body)
}

/// Starts as many threads as the group has.
pub fn start(worker: &Arc<Worker>) -> io::Result<RequestThreads> {
    let gate = Arc::new(Barrier::new(worker.setup.group.threads as usize + 1));
    for number in 1..=worker.setup.group.threads {
        let (own, entrance) = (Arc::clone(worker), Arc::clone(&gate));
        spawn(worker, format!("wsgi-{number}"), move || {
            let _replace_on_panic = ReplaceOnPanic(&own);
            entrance.wait();
            RequestThread::new(&own, number).serve();
        })?;
    }
    Ok(RequestThreads { gate })
}

/// Has the process replaced if a thread panics outside a request, for which there is a wall of its
/// own: the defect is ours, and the process cannot be trusted.
struct ReplaceOnPanic<'a>(&'a Worker);

impl Drop for ReplaceOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.request_replacement(ReplacementReason::TimeLimit);
            self.0.draining.store(true, Ordering::SeqCst);
            self.0.control.wake();
        }
    }
}

/// A request that counts as unfinished, as long as this lives.
struct UnfinishedRequest<'a>(&'a Worker);

impl<'a> UnfinishedRequest<'a> {
    fn begin(worker: &'a Worker) -> Self {
        worker.unfinished.fetch_add(1, Ordering::SeqCst);
        Self(worker)
    }
}

impl Drop for UnfinishedRequest<'_> {
    fn drop(&mut self) {
        let worker = self.0;
        let finished = worker.finished.fetch_add(1, Ordering::Relaxed) + 1;
        worker.unfinished.fetch_sub(1, Ordering::SeqCst);
        if worker.draining.load(Ordering::SeqCst) {
            // The main thread waits for the last one.
            worker.control.wake();
        }
        if Some(finished) == worker.maximum_requests {
            worker.request_replacement(ReplacementReason::MaximumRequests);
        }
    }
}

/// One request thread.
struct RequestThread {
    worker: Arc<Worker>,
    number: u32,
    limit: Duration,
    place: String,
    buffers: RequestBuffers,
    sub_threads: HashMap<Vec<u8>, SubInterpreterThread>,
}

impl RequestThread {
    fn new(worker: &Arc<Worker>, number: u32) -> Self {
        Self {
            worker: Arc::clone(worker),
            number,
            limit: worker.setup.group.timeouts.socket.unwrap_or(SOCKET_LIMIT),
            place: worker.place(None),
            buffers: RequestBuffers::new(),
            sub_threads: HashMap::new(),
        }
    }

    fn serve(mut self) {
        let worker = Arc::clone(&self.worker);
        let Some(mut thread_state) = ThreadState::new(worker.interpreters.main()) else {
            process_log::error(&format!(
                "{THREAD_NOT_CREATED}: Python can't make a thread state"
            ));
            return;
        };
        let idle_threads = &worker.request_source.threads;
        while !worker.draining.load(Ordering::SeqCst) {
            idle_threads.become_ready();
            loop {
                let served = match worker.request_source.wait() {
                    Ok(true) if worker.interpreters.has_subs() => {
                        self.serve_one(&worker, &mut thread_state)
                    }
                    Ok(true) => self.serve_some(&worker, &mut thread_state),
                    Ok(false) => false,
                    Err(error) => {
                        has_failed(&worker, &error);
                        false
                    }
                };
                // A thread that found nothing is still ready.
                if served || worker.draining.load(Ordering::SeqCst) {
                    break;
                }
            }
        }
        // The process ends now. Deleting the thread state would need the GIL, which a request that
        // hangs may hold.
        std::mem::forget(thread_state);
    }

    /// Serves one request, and takes the GIL only once the request is known to need it. False if
    /// there was none.
    fn serve_one(&mut self, worker: &Worker, thread_state: &mut ThreadState) -> bool {
        let mut access = Access::From(thread_state);
        let Some(arrived) = self.pick(&mut access) else {
            return false;
        };
        worker.request_source.threads.leave_ready();
        self.receive(worker, &mut access, arrived);
        true
    }

    /// Takes the GIL and serves a request, and then others as long as the thread is to keep the
    /// GIL. False if there was none.
    fn serve_some(&mut self, worker: &Worker, thread_state: &mut ThreadState) -> bool {
        let request_source = &worker.request_source;
        let (mut waiting, wake) = request_source.wait_for_gil();
        if wake {
            worker.control.wake();
        }
        waiting.enter_turnstile();
        thread_state.attach(|gil| {
            drop(waiting);
            let since = clock::monotonic_us();
            let mut access = Access::Held(gil);
            let mut served = false;
            while !worker.draining.load(Ordering::SeqCst) {
                let Some(arrived) = self.pick(&mut access) else {
                    break;
                };
                if !served {
                    served = true;
                    request_source.threads.leave_ready();
                }
                self.receive(worker, &mut access, arrived);
                if !request_source.threads.keeps_gil(since, clock::monotonic_us)
                    || worker.interpreters.has_subs()
                {
                    break;
                }
            }
            served
        })
    }

    /// The next connection to serve, if there is one.
    fn pick(&self, access: &mut Access<'_, '_>) -> Option<ChildConnection> {
        match self.worker.request_source.pick() {
            Picked::Known(arrived) => Some(arrived),
            Picked::New(arrived) => match self.is_welcome(&arrived) {
                Ok(()) => Some(arrived),
                Err(why) => {
                    access.without_gil(|| process_log::error_at_times(&why));
                    None
                }
            },
            Picked::Nothing => None,
            Picked::Failed(error) => {
                let worker = &*self.worker;
                access.without_gil(|| has_failed(worker, &error));
                None
            }
        }
    }

    fn receive(&mut self, worker: &Worker, access: &mut Access<'_, '_>, arrived: ChildConnection) {
        let (busy, wake) = worker
            .request_source
            .serve(self.number, clock::monotonic_us());
        if wake {
            worker.control.wake();
        }
        self.take_up(worker, access, arrived);
        if fork::happened() {
            // The application returned in a process it had forked.
            os::process::exit_now(0);
        }
        drop(busy);
    }

    /// Whether it comes from the Apache that this group belongs to; if not, a sentence for the log.
    fn is_welcome(&self, arrived: &ChildConnection) -> Result<(), String> {
        let group = &self.worker.setup.group;
        let peer = socket::peer_credentials(arrived.as_fd()).map_err(|error| {
            format!("{PEER_USER_REFUSED}: a connection of an unknown user was dropped: {error}")
        })?;
        let welcome = peer.uid == group.listener.uid
            || peer.uid == 0
            || (!group.identity.switch && peer.uid == self.worker.own_uid);
        match welcome {
            true => Ok(()),
            false => Err(format!(
                "{PEER_USER_REFUSED}: a connection of user {} was dropped: only Apache's, {}, may connect",
                peer.uid, group.listener.uid
            )),
        }
    }

    fn take_up(&mut self, worker: &Worker, access: &mut Access<'_, '_>, arrived: ChildConnection) {
        let connection = Connection::new(arrived, self.limit);
        let message = &mut self.buffers.message;
        let received = match connection.peek(message) {
            Peek::Whole(len) => Received::Peeked(len),
            Peek::Begun(_) => access.without_gil(|| connection.take_request(message)),
            Peek::NotYet => {
                let wake = !connection.is_keep_alive();
                worker.request_source.put_back(connection.into_idle());
                if wake {
                    worker.control.wake();
                }
                return;
            }
            Peek::Nothing(why) => Received::Nothing(why),
        };
        let (len, peeked) = match received {
            Received::Peeked(len) => (len, true),
            Received::Whole(len) => (len, false),
            Received::Nothing(None) => return,
            Received::Nothing(Some(why)) => {
                access.without_gil(|| {
                    process_log::error_at_times(&format!(
                        "{CONNECTION_DROPPED}: a connection to the process group was dropped: {why}"
                    ));
                });
                return;
            }
        };
        let unfinished = UnfinishedRequest::begin(worker);
        if worker.draining.load(Ordering::SeqCst) {
            // Closing it unread resets it, and the child sends the request to another worker.
            if !peeked {
                let mut frame = Vec::new();
                Retry::Draining.append(&mut frame);
                access.without_gil(|| connection.say(&frame));
            }
            return;
        }
        let connection = Arc::new(connection);
        let accepted = AcceptedRequest {
            connection: Arc::clone(&connection),
            len,
            peeked,
            taken_up: clock::epoch_us(),
            taken_up_at: clock::monotonic_us(),
        };
        let context = RequestContext {
            interpreter: worker.interpreters.main(),
            sub: None,
            thread: self.number,
            place: &self.place,
        };
        match handle(worker, access, context, &mut self.buffers, &accepted) {
            Handled::Elsewhere(sub) => access.without_gil(|| self.pass_on(sub, accepted)),
            Handled::Done => drop(accepted),
        }
        drop(unfinished);
        // If another thread still has it, as the main thread may, it is not used again.
        if let Some(arrived) = Arc::into_inner(connection).and_then(Connection::into_keep_alive) {
            worker.request_source.keep(arrived);
        }
    }

    /// Has this thread's thread in the sub-interpreter serve the request, and waits for it.
    fn pass_on(&mut self, sub: Arc<SubInterpreter>, accepted: AcceptedRequest) {
        let connection = Arc::clone(&accepted.connection);
        let sub_thread = match self.sub_threads.get(&sub.name) {
            Some(sub_thread) => sub_thread,
            None => {
                match SubInterpreterThread::start(&self.worker, Arc::clone(&sub), self.number) {
                    Ok(sub_thread) => self
                        .sub_threads
                        .entry(sub.name.clone())
                        .or_insert(sub_thread),
                    Err(error) => {
                        let why =
                            format!("{THREAD_NOT_CREATED}: a thread can't be started: {error}");
                        return fail(&connection, &why);
                    }
                }
            }
        };
        let buffers = std::mem::replace(&mut self.buffers, RequestBuffers::spare());
        let done = match sub_thread.jobs.send((buffers, accepted)) {
            Ok(()) => sub_thread.done.recv().ok(),
            Err(_) => None,
        };
        match done {
            Some(buffers) => self.buffers = buffers,
            None => {
                // It ended because the interpreter cannot be made, which it has logged.
                self.buffers = RequestBuffers::new();
                self.sub_threads.remove(&sub.name);
                let why = format!(
                    "{INTERPRETER_NOT_CREATED}: the interpreter of the application group can't be made, see \
                     the log of the process group"
                );
                fail(&connection, &why);
            }
        }
    }
}

/// Logs that no connection can be accepted, and waits a moment. Has the process replaced if that
/// lasts: what the application holds it may hold for ever.
fn has_failed(worker: &Worker, error: &io::Error) {
    let refused_for = worker.request_source.refused_for(clock::monotonic_us());
    if refused_for >= REFUSAL_LIMIT && worker.request_replacement(ReplacementReason::CannotAccept) {
        let limit = match Resource::OpenFiles.limit() {
            Ok(limit) => format!(". Its limit of open files is {}", limit.soft),
            Err(_) => String::new(),
        };
        process_log::error(&format!(
            "{ACCEPT_KEEPS_FAILING}: the process could not take the requests that wait for process group '{}' \
             for {}: {error}{limit}. {}. The process is replaced",
            worker.setup.group.shown_name(),
            seconds(refused_for),
            worker.circumstances(),
        ));
    }
    process_log::error_at_times(&format!(
        "{ACCEPT_FAILED}: a request thread can't take a connection, and tries again: {error}"
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

/// A request thread's thread in a sub-interpreter.
struct SubInterpreterThread {
    jobs: SyncSender<(RequestBuffers, AcceptedRequest)>,
    done: Receiver<RequestBuffers>,
}

impl SubInterpreterThread {
    fn start(worker: &Arc<Worker>, sub: Arc<SubInterpreter>, number: u32) -> io::Result<Self> {
        let (jobs, inbox) = sync_channel::<(RequestBuffers, AcceptedRequest)>(1);
        let (outbox, done) = sync_channel(1);
        let own = Arc::clone(worker);
        spawn(worker, format!("wsgi-{number}-sub"), move || {
            let interpreter = match sub.interpreter(own.interpreters.main(), &own.setup) {
                Ok(interpreter) => interpreter,
                Err(why) => {
                    let place = own.place(Some(&sub.name));
                    process_log::error(&format!(
                        "{INTERPRETER_NOT_CREATED}: no requests are served {place}: {why}"
                    ));
                    return;
                }
            };
            let Some(mut thread_state) = ThreadState::new(interpreter) else {
                process_log::error(&format!(
                    "{THREAD_NOT_CREATED}: Python can't make a thread state"
                ));
                return;
            };
            let place = own.place(Some(&sub.name));
            let context = RequestContext {
                interpreter,
                sub: Some(&sub),
                thread: number,
                place: &place,
            };
            while let Ok((mut buffers, accepted)) = inbox.recv() {
                handle(
                    &own,
                    &mut Access::From(&mut thread_state),
                    context,
                    &mut buffers,
                    &accepted,
                );
                if fork::happened() {
                    os::process::exit_now(0);
                }
                drop(accepted);
                if outbox.send(buffers).is_err() {
                    break;
                }
            }
            // The process ends; see `RequestThread::serve`.
            std::mem::forget(thread_state);
        })?;
        Ok(Self { jobs, done })
    }
}
