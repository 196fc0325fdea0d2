//! One request, from the socket to the end of its response.
//!
//! Runs in: a request thread that has a thread state of the interpreter of the request's
//! application group, with the GIL or without: what waits runs without it.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

use os::clock;
use wire::frame::HEAD_LEN;
use wire::log_id::{
    REQUEST_FAILED_BY_DEFECT, REQUEST_KEY_WRONG, REQUEST_MALFORMED, TOO_MANY_INTERPRETERS,
};
use wire::request::{self, Flags, Prologue, Request};
use wire::response::{End, Fail, Level, Retry};

use super::connection::{self, Connection};
use super::interpreters::{Interpreters, NamedBy, Placement, SubInterpreter};
use super::running_requests::RunningRequest;
use super::Worker;
use crate::exchange::frame_writer::{FrameWriter, Stream};
use crate::exchange::request_body::RequestBody;
use crate::exchange::response::Conclusion;
use crate::exchange::{Exchange, Facts};
use crate::process::process_log;
use crate::process::scoreboard::ScoreboardEntry;
use crate::python::gil::Gil;
use crate::python::gil_wait;
use crate::python::interpreter::{describe, Access};
use crate::wsgi::application::{self, Task};
use crate::wsgi::hooks;
use crate::wsgi::scripts::{Resolution, Version, WantedScript};
use crate::wsgi::send::log;
use crate::wsgi::state::Interpreter;

/// Buffers of a thread, used for one request after another.
pub struct RequestBuffers {
    /// The request; at least [`connection::PEEK`] bytes.
    pub message: Vec<u8>,
    output: Vec<u8>,
    input: Vec<u8>,
}

/// Age of a request, in microseconds, before which no child has withdrawn it.
const WITHDRAWN: u64 = wire::request::WITHDRAWN_AFTER.as_micros() as u64 / 2;

/// Most capacity that a thread keeps of a buffer between requests.
const KEEP: usize = 256 * 1024;

impl RequestBuffers {
    pub fn new() -> Self {
        Self {
            message: vec![0; connection::PEEK],
            output: Vec::new(),
            input: Vec::new(),
        }
    }

    /// Empty ones, while another thread has the buffers proper.
    pub fn spare() -> Self {
        Self {
            message: Vec::new(),
            output: Vec::new(),
            input: Vec::new(),
        }
    }

    /// Overwrites what a question with a secret, `len` bytes long, has left.
    fn wipe(&mut self, len: usize) {
        os::memory::wipe_part(&mut self.message[..len]);
        os::memory::wipe(&mut self.output);
    }

    /// Frees what an unusual request needed.
    fn trim(&mut self) {
        if self.message.len() > KEEP {
            self.message = vec![0; connection::PEEK];
        }
        for spare in [&mut self.output, &mut self.input] {
            if spare.capacity() > KEEP {
                *spare = Vec::new();
            }
        }
    }
}

/// A request whose message is in a thread's buffers.
pub struct AcceptedRequest {
    pub connection: Arc<Connection>,
    /// Bytes of the message at the front of [`RequestBuffers::message`].
    pub len: usize,
    /// The message is still in the socket.
    pub peeked: bool,
    /// When the thread took it: microseconds since the epoch, and of the monotonic clock.
    pub taken_up: u64,
    pub taken_up_at: u64,
}

/// Where a thread runs a request.
#[derive(Clone, Copy)]
pub struct RequestContext<'a> {
    pub interpreter: &'static Interpreter,
    /// `None` is the main one.
    pub sub: Option<&'a SubInterpreter>,
    /// From 1.
    pub thread: u32,
    /// As [`Worker::place`] has it.
    pub place: &'a str,
}

/// What became of a request.
pub enum Handled {
    /// It is answered or dropped.
    Done,
    /// It belongs to another interpreter.
    Elsewhere(Arc<SubInterpreter>),
}

/// How a request ended inside the interpreter.
enum Served {
    /// The application ran; what is still to be sent.
    Answered(Option<Conclusion>),
    /// The script has changed; nothing ran.
    Stale,
    /// The child closed the connection, or the request was handed back already; nothing ran.
    Gone,
    /// The child withdrew the request while it was removed from the socket; nothing ran.
    Withdrawn,
}

/// Gives the main interpreter the name of the application group that it serves.
pub fn assign(gil: Gil<'_>, interpreters: &Interpreters, name: &[u8]) {
    let Some(state) = interpreters.main().state() else {
        return;
    };
    let named = gil
        .latin1(name)
        .and_then(|name| state.python.assign.bind(gil).call(&[&name]));
    if let Err(raised) = named {
        let why = describe(gil, raised);
        gil.released(|| process_log::error(&why));
    }
    interpreters.note_main_is_named();
}

/// Serves one request.
pub fn handle(
    worker: &Worker,
    access: &mut Access<'_, '_>,
    context: RequestContext<'_>,
    buffers: &mut RequestBuffers,
    accepted: &AcceptedRequest,
) -> Handled {
    let is_secret = match request::decode(&buffers.message[HEAD_LEN..accepted.len]) {
        Ok(request) => {
            let (output, input) = (&mut buffers.output, &mut buffers.input);
            match handle_decoded(worker, access, context, (output, input), accepted, &request) {
                Handled::Done => request.prologue.role.is_secret(),
                elsewhere => return elsewhere,
            }
        }
        Err(why) => {
            let text = format!("{REQUEST_MALFORMED}: the request can't be understood: {why}");
            access.without_gil(|| refuse(accepted, 500, &text));
            false
        }
    };
    if is_secret {
        buffers.wipe(accepted.len);
    }
    buffers.trim();
    Handled::Done
}

fn handle_decoded(
    worker: &Worker,
    access: &mut Access<'_, '_>,
    context: RequestContext<'_>,
    (output, input): (&mut Vec<u8>, &mut Vec<u8>),
    accepted: &AcceptedRequest,
    request: &Request<'_>,
) -> Handled {
    let prologue = &request.prologue;
    if context.sub.is_none() {
        if !worker.group_keys.contain(&prologue.key) {
            access.without_gil(|| {
                process_log::error_at_times(&format!(
                    "{REQUEST_KEY_WRONG}: a request without this group's key was dropped"
                ));
            });
            return Handled::Done;
        }
        match worker.find_interpreter(prologue) {
            Placement::Main => {}
            Placement::MainFrom(name) => {
                access.with_gil(|gil| assign(gil, &worker.interpreters, &name))
            }
            Placement::Sub(sub) => return Handled::Elsewhere(sub),
            Placement::Full(NamedBy::Client) => {
                // Nothing for the log of the request: a client could fill it.
                access.without_gil(|| {
                    refuse(accepted, 503, "");
                    worker.refuse_client_name(prologue.application_group);
                });
                return Handled::Done;
            }
            Placement::Full(NamedBy::Configuration) => {
                let text = format!(
                    "{TOO_MANY_INTERPRETERS}: too many application groups in one process: see what \
                     WSGIApplicationGroup expands to"
                );
                access.without_gil(|| refuse(accepted, 500, &text));
                return Handled::Done;
            }
        }
    }
    let queue_time = accepted.taken_up_at.saturating_sub(prologue.sent);
    if worker.has_waited_too_long(queue_time) {
        let text = worker.waited_too_long(request, queue_time);
        access.without_gil(|| refuse(accepted, 504, &text));
        return Handled::Done;
    }
    let mut entry = ScoreboardEntry::begin(context.thread, request, accepted.taken_up_at);
    let version = prologue
        .flags
        .has(Flags::RELOAD)
        .then(|| Version::now(prologue.script));
    let stream: Arc<dyn Stream> = Arc::clone(&accepted.connection) as _;
    let sink = Box::new(FrameWriter::new(
        Arc::clone(&stream),
        std::mem::take(output),
    ));
    let exchange = Arc::new(Exchange::new(sink, &stream, facts(prologue)));
    let mut first = std::mem::take(input);
    first.clear();
    // What a question has in the place of a body goes to nobody but the script.
    if !prologue.role.is_question() {
        first.extend_from_slice(request.body);
    }
    let came = 0..first.len();
    exchange.set_body(RequestBody::new(
        stream,
        first,
        came,
        prologue.flags.has(Flags::BODY_WHOLE),
    ));
    let running = Arc::new(RunningRequest::new(
        request,
        context.interpreter,
        &exchange,
        &accepted.connection,
        accepted.taken_up_at,
    ));
    let _registration = worker.running_requests.register(context.thread, &running);
    let active = !prologue.flags.has(Flags::IGNORE_ACTIVITY);
    if active {
        worker.note_activity();
    }
    let run = RequestRun {
        worker,
        context,
        exchange: &exchange,
        request,
        accepted,
        version,
        running: &running,
    };
    gil_wait::begin();
    let served = catch_unwind(AssertUnwindSafe(|| access.with_gil(|gil| run.serve(gil))));
    let mut last = match served {
        Ok(Served::Answered(last)) => last,
        Ok(Served::Stale) => {
            let mut frame = Vec::new();
            Retry::Stale.append(&mut frame);
            access.without_gil(|| accepted.connection.say(&frame));
            worker.script_changed();
            entry.withdraw();
            None
        }
        Ok(Served::Gone) => {
            entry.withdraw();
            None
        }
        Ok(Served::Withdrawn) => {
            // The child may have checked after the request had left the socket: then it waits for a
            // response. It still reads, although it has closed its own side.
            let mut frame = Vec::new();
            Retry::Withdrawn.append(&mut frame);
            access.without_gil(|| accepted.connection.say(&frame));
            entry.withdraw();
            None
        }
        Err(_panic) => Some(access.without_gil(|| run.after_panic())),
    };
    if let Some(Conclusion::End(end)) = &mut last {
        end.keep_alive = prologue.flags.has(Flags::KEEP) && worker.keeps_connections();
    }
    (*output, *input) = match exchange.finish_at_once(&mut last) {
        Some(buffers) => buffers,
        None => access.without_gil(|| exchange.finish(last)),
    };
    if active {
        worker.note_activity();
    }
    Handled::Done
}

/// One request, while the interpreter runs it.
struct RequestRun<'a> {
    worker: &'a Worker,
    context: RequestContext<'a>,
    exchange: &'a Arc<Exchange>,
    request: &'a Request<'a>,
    accepted: &'a AcceptedRequest,
    /// As [`WantedScript::version`].
    version: Option<Option<Version>>,
    running: &'a RunningRequest,
}

impl RequestRun<'_> {
    /// Finds the application and runs it. Removes the request from the socket just before.
    fn serve(&self, gil: Gil<'_>) -> Served {
        let prologue = &self.request.prologue;
        let Some(state) = self.context.interpreter.state() else {
            return self.fail(gil, 500, "the interpreter is not set up");
        };
        let wanted = WantedScript {
            path: prologue.script,
            callable: (!prologue.role.is_question()).then_some(prologue.callable),
            version: self.version,
            sent: prologue.sent,
            loads: &|| {
                self.running.progress.note_load();
                self.worker.control.wake();
            },
            place: self.context.place,
        };
        self.worker.note_load();
        let application = match state.loader().resolve(gil, &wanted) {
            Ok(Resolution::Ready(application, first)) => {
                self.worker.note_loaded();
                if first {
                    self.worker
                        .report_loaded(prologue, self.context.sub.is_none());
                }
                application
            }
            Ok(Resolution::Stale) => return Served::Stale,
            Ok(Resolution::Failed {
                now,
                status,
                report,
            }) => {
                if now {
                    self.worker.failed_to_load(report.clone());
                }
                return self.fail(gil, status, &report);
            }
            Ok(Resolution::Missing(report)) => return self.fail(gil, 500, &report),
            Err(raised) => return self.fail(gil, 500, &describe(gil, raised)),
        };
        let queued = self.accepted.taken_up;
        let task = Task {
            state,
            exchange: self.exchange,
            request: self.request,
            place: self.context.place,
            daemon_start: queued,
            queue_time: self.running.queue_time,
            thread: self.context.thread,
            pid: self.worker.pid,
            progress: &self.running.progress,
            attended: self.worker.request_source.attended(),
            overdue: &|| self.worker.overdue(self.running),
        };
        if prologue.role.is_question() {
            let asked = match hooks::prepare(gil, &task) {
                Ok(asked) => asked,
                Err(raised) => return self.fail(gil, 500, &describe(gil, raised)),
            };
            if let Err(not_ours) = self.begin() {
                return not_ours;
            }
            return Served::Answered(Some(hooks::ask(gil, &task, &application, asked)));
        }
        let prepared = match application::prepare(gil, &task) {
            Ok(prepared) => prepared,
            Err(raised) => return self.fail(gil, 500, &describe(gil, raised)),
        };
        if let Err(not_ours) = self.begin() {
            return not_ours;
        }
        Served::Answered(application::run(gil, &task, application, prepared))
    }

    /// Removes the request from the socket. An error if it is not to be run: another worker has it,
    /// or nobody wants it.
    ///
    /// A child withdraws a request that has stayed in the socket for long: it closes its side, and
    /// if the request is still there afterwards, sends it to another worker. So the request is
    /// removed first, and whether it was withdrawn is checked afterwards; a child does not withdraw
    /// it before [`WITHDRAWN`].
    fn begin(&self) -> Result<(), Served> {
        let AcceptedRequest {
            connection, len, ..
        } = self.accepted;
        if !self.running.progress.begin() || (self.accepted.peeked && !connection.consume(*len)) {
            return Err(Served::Gone);
        }
        let age = clock::monotonic_us().saturating_sub(self.request.prologue.sent);
        match age >= WITHDRAWN && connection.is_keep_alive() && connection.is_ending() {
            true => Err(Served::Withdrawn),
            false => Ok(()),
        }
    }

    /// Answers with a status and a record for the log.
    fn fail(&self, gil: Gil<'_>, status: u16, report: &str) -> Served {
        if let Err(not_ours) = self.begin() {
            gil.released(|| process_log::error(report));
            return not_ours;
        }
        log(gil, self.exchange, Level::Error, report);
        Served::Answered(Some(Conclusion::Fail(status, None)))
    }

    /// The panic hook has put the reason into the process's log.
    fn after_panic(&self) -> Conclusion {
        if self.exchange.wait_response().head_sent() {
            return Conclusion::End(End {
                broken: true,
                pid: self.worker.pid,
                thread: self.context.thread,
                ..End::default()
            });
        }
        let text = "internal error in mod_wsgi, see the log of its process group";
        Conclusion::Fail(500, Some((REQUEST_FAILED_BY_DEFECT, text)))
    }
}

fn facts(prologue: &Prologue<'_>) -> Facts {
    Facts {
        head: prologue.flags.has(Flags::HEAD),
        expects_continue: prologue.flags.has(Flags::EXPECTS_CONTINUE),
        interim: !prologue.flags.has(Flags::HTTP_1_0),
    }
}

/// Answers a request that is not to be run.
fn refuse(accepted: &AcceptedRequest, status: u16, text: &str) {
    if accepted.peeked {
        accepted.connection.consume(accepted.len);
    }
    let mut frame = Vec::new();
    Fail {
        status,
        text: text.as_bytes(),
    }
    .append(&mut frame);
    accepted.connection.say(&frame);
}
