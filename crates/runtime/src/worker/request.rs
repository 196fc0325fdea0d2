//! One request, from the socket to the end of its answer.
//!
//! Runs in: a request thread that has a thread state of the interpreter of the request's group, with the GIL
//! or without: what waits is run without it.

use std::os::unix::ffi::OsStrExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

use os::clock;
use wire::control::ReplacementReason;
use wire::frame::HEAD_LEN;
use wire::log_id::{KEY_UNKNOWN, REQUEST_MALFORMED, REQUEST_MET_DEFECT, TOO_MANY_INTERPRETERS};
use wire::request::{self, Flags, Prologue, Request};
use wire::response::{End, Fail, Level, Retry};

use super::connection::{self, Connection};
use super::interpreters::{Groups, Seating, Sub};
use super::running_requests::Watched;
use super::Worker;
use crate::exchange::frame_writer::{Frames, Stream};
use crate::exchange::request_body::Body;
use crate::exchange::response::Last;
use crate::exchange::{Exchange, Facts};
use crate::process::process_log;
use crate::process::scoreboard::Shown;
use crate::python::gil::Gil;
use crate::python::gil_wait;
use crate::python::interpreter::{describe, Access};
use crate::wsgi::application::{self, Task};
use crate::wsgi::scripts::{Resolution, Version, Wanted};
use crate::wsgi::send::log;
use crate::wsgi::state::Interpreter;

/// Memory of a thread that serves one request after the other.
pub struct Memory {
    /// The request; at least [`connection::PEEK`] bytes.
    pub message: Vec<u8>,
    out: Vec<u8>,
    input: Vec<u8>,
}

/// Age of a request, in microseconds, before which no child has withdrawn it.
const WITHDRAWN: u64 = wire::request::WITHDRAWN_AFTER.as_micros() as u64 / 2;

/// What a thread keeps of its memory between requests.
const KEEP: usize = 256 * 1024;

impl Memory {
    pub fn new() -> Self {
        Self {
            message: vec![0; connection::PEEK],
            out: Vec::new(),
            input: Vec::new(),
        }
    }

    /// Nothing yet, while the memory proper is elsewhere.
    pub fn spare() -> Self {
        Self {
            message: Vec::new(),
            out: Vec::new(),
            input: Vec::new(),
        }
    }

    /// Lets go what an unusual request needed.
    fn trim(&mut self) {
        if self.message.len() > KEEP {
            self.message = vec![0; connection::PEEK];
        }
        for spare in [&mut self.out, &mut self.input] {
            if spare.capacity() > KEEP {
                *spare = Vec::new();
            }
        }
    }
}

/// A request that lies in a thread's memory.
pub struct Accepted {
    pub connection: Arc<Connection>,
    /// Bytes of the message at the front of [`Memory::message`].
    pub len: usize,
    /// The message is still in the socket.
    pub peeked: bool,
    /// When it was taken up: microseconds since the epoch, and of the monotonic clock.
    pub taken_up: u64,
    pub taken_up_at: u64,
}

/// The interpreter a thread is attached to.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    pub interpreter: &'static Interpreter,
    /// `None` is the main one.
    pub sub: Option<&'a Sub>,
    /// From 1.
    pub thread: u32,
    /// As [`Worker::place`] has it.
    pub place: &'a str,
}

/// What became of a request.
pub enum Handled {
    /// It is answered or dropped.
    Done,
    /// It belongs into another interpreter.
    Elsewhere(Arc<Sub>),
}

/// How a request ended inside the interpreter.
enum Served {
    /// The application ran; what is still to be sent.
    Answered(Option<Last>),
    /// The script has changed; nothing ran.
    Stale,
    /// The child closed the connection, or the request was handed back already; nothing ran.
    Gone,
    /// The child withdrew the request while it was taken out of the socket; nothing ran.
    Withdrawn,
}

/// Tells the main interpreter which group it serves.
pub fn assign(gil: Gil<'_>, groups: &Groups, name: &[u8]) {
    let Some(state) = groups.main().state() else {
        return;
    };
    let told = gil
        .latin1(name)
        .and_then(|name| state.python.assign.bind(gil).call(&[&name]));
    if let Err(raised) = told {
        process_log::say(&describe(gil, raised));
    }
    groups.told();
}

/// Serves one request.
pub fn handle(
    worker: &Worker,
    access: &mut Access<'_, '_>,
    desk: Desk<'_>,
    memory: &mut Memory,
    accepted: &Accepted,
) -> Handled {
    let Memory {
        message,
        out,
        input,
    } = memory;
    let request = match request::decode(&message[HEAD_LEN..accepted.len]) {
        Ok(request) => request,
        Err(why) => {
            let text = format!("{REQUEST_MALFORMED}: the request can't be understood: {why}");
            access.without_gil(|| refuse(accepted, 500, &text));
            return Handled::Done;
        }
    };
    let prologue = &request.prologue;
    if desk.sub.is_none() {
        if !worker.secrets.know(&prologue.key) {
            access.without_gil(|| {
                process_log::occasionally(&format!(
                    "{KEY_UNKNOWN}: a request without this group's key was dropped"
                ));
            });
            return Handled::Done;
        }
        match worker.groups.find(prologue.application_group) {
            Seating::Main => {}
            Seating::MainFrom(name) => access.with_gil(|gil| assign(gil, &worker.groups, &name)),
            Seating::Sub(sub) => return Handled::Elsewhere(sub),
            Seating::Full => {
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
        let text = worker.waited_too_long(&request, queue_time);
        access.without_gil(|| refuse(accepted, 504, &text));
        return Handled::Done;
    }
    let mut shown = Shown::begin(desk.thread, &request, accepted.taken_up_at);
    let version = prologue
        .flags
        .has(Flags::RELOAD)
        .then(|| version(prologue.script));
    let stream: Arc<dyn Stream> = Arc::clone(&accepted.connection) as _;
    let outlet = Box::new(Frames::new(Arc::clone(&stream), std::mem::take(out)));
    let exchange = Arc::new(Exchange::new(outlet, &stream, facts(prologue)));
    let mut first = std::mem::take(input);
    first.clear();
    first.extend_from_slice(request.body);
    let came = 0..first.len();
    exchange.set_body(Body::new(
        stream,
        first,
        came,
        prologue.flags.has(Flags::BODY_WHOLE),
    ));
    let watched = Arc::new(Watched::new(
        &request,
        desk.interpreter,
        &exchange,
        &accepted.connection,
        accepted.taken_up_at,
    ));
    let _manned = worker.posts.man(desk.thread, &watched);
    let active = !prologue.flags.has(Flags::IGNORE_ACTIVITY);
    if active {
        worker.note_activity();
    }
    let part = Part {
        worker,
        desk,
        exchange: &exchange,
        request: &request,
        accepted,
        version,
        watched: &watched,
    };
    gil_wait::begin();
    let served = catch_unwind(AssertUnwindSafe(|| access.with_gil(|gil| part.serve(gil))));
    let mut last = match served {
        Ok(Served::Answered(last)) => last,
        Ok(Served::Stale) => {
            let mut frame = Vec::new();
            Retry::Stale.append(&mut frame);
            access.without_gil(|| accepted.connection.say(&frame));
            worker.stale();
            shown.withdraw();
            None
        }
        Ok(Served::Gone) => {
            shown.withdraw();
            None
        }
        Ok(Served::Withdrawn) => {
            // The child may have looked after the request had left the socket: then it waits for
            // an answer. It reads on although it has closed its own side.
            let mut frame = Vec::new();
            Retry::Withdrawn.append(&mut frame);
            access.without_gil(|| accepted.connection.say(&frame));
            shown.withdraw();
            None
        }
        Err(_panic) => Some(access.without_gil(|| part.after_panic())),
    };
    if let Some(Last::End(end)) = &mut last {
        end.kept = prologue.flags.has(Flags::KEEP) && worker.keeps_connections();
    }
    (*out, *input) = match exchange.finish_at_once(&mut last) {
        Some(memories) => memories,
        None => access.without_gil(|| exchange.finish(last)),
    };
    if active {
        worker.note_activity();
    }
    memory.trim();
    Handled::Done
}

/// One request on its way through the interpreter.
struct Part<'a> {
    worker: &'a Worker,
    desk: Desk<'a>,
    exchange: &'a Arc<Exchange>,
    request: &'a Request<'a>,
    accepted: &'a Accepted,
    /// As [`Wanted::version`].
    version: Option<Option<Version>>,
    watched: &'a Watched,
}

impl Part<'_> {
    /// Finds the application and runs it. Takes the request out of the socket just before.
    fn serve(&self, gil: Gil<'_>) -> Served {
        let prologue = &self.request.prologue;
        let Some(state) = self.desk.interpreter.state() else {
            return self.fail(gil, 500, "the interpreter is not set up");
        };
        let wanted = Wanted {
            path: prologue.script,
            callable: prologue.callable,
            version: self.version,
            sent: prologue.sent,
            loads: &|| {
                self.watched.progress.note_load();
                self.worker.control.wake();
            },
            place: self.desk.place,
        };
        self.worker.note_load();
        let application = match state.loader().resolve(gil, &wanted) {
            Ok(Resolution::Ready(application, first)) => {
                self.worker.note_loaded();
                if first {
                    self.worker.tell_loaded(prologue);
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
                    self.worker.ask(ReplacementReason::LoadFailed);
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
            place: self.desk.place,
            daemon_start: queued,
            queue_time: self.watched.queue_time,
            thread: self.desk.thread,
            pid: self.worker.pid,
            progress: &self.watched.progress,
            attended: self.worker.reception.attended(),
            overdue: &|| self.worker.overdue(self.watched),
        };
        let made = match application::prepare(gil, &task) {
            Ok(made) => made,
            Err(raised) => return self.fail(gil, 500, &describe(gil, raised)),
        };
        if let Err(not_ours) = self.begin() {
            return not_ours;
        }
        Served::Answered(application::run(gil, &task, application, made))
    }

    /// Takes the request out of the socket. An error where it is not to be run: it is another
    /// worker's by now, or nobody's.
    ///
    /// A child withdraws a request that has stayed in the socket for long: it closes its side, and
    /// where the request is still there afterwards sends it to another worker. So it is taken out
    /// first and looked for that afterwards; a child does not do it before [`WITHDRAWN`].
    fn begin(&self) -> Result<(), Served> {
        let Accepted {
            connection, len, ..
        } = self.accepted;
        if !self.watched.progress.begin() || (self.accepted.peeked && !connection.consume(*len)) {
            return Err(Served::Gone);
        }
        let age = clock::monotonic_us().saturating_sub(self.request.prologue.sent);
        match age >= WITHDRAWN && connection.is_kept() && connection.is_ending() {
            true => Err(Served::Withdrawn),
            false => Ok(()),
        }
    }

    /// Answers with a status and a record for the log.
    fn fail(&self, gil: Gil<'_>, status: u16, report: &str) -> Served {
        if let Err(not_ours) = self.begin() {
            process_log::say(report);
            return not_ours;
        }
        log(gil, self.exchange, Level::Error, report);
        Served::Answered(Some(Last::Fail(status, None)))
    }

    /// The hook for panics has put the reason into the process's log.
    fn after_panic(&self) -> Last {
        if self.exchange.wait_output().head_sent() {
            return Last::End(End {
                broken: true,
                pid: self.worker.pid,
                thread: self.desk.thread,
                ..End::default()
            });
        }
        let text = "internal error in mod_wsgi, see the log of its process group";
        Last::Fail(500, Some((REQUEST_MET_DEFECT, text)))
    }
}

fn facts(prologue: &Prologue<'_>) -> Facts {
    Facts {
        head: prologue.flags.has(Flags::HEAD),
        expects_continue: prologue.flags.has(Flags::EXPECTS_CONTINUE),
        interim: !prologue.flags.has(Flags::HTTP_1_0),
    }
}

/// Answers what is not to be run.
fn refuse(accepted: &Accepted, status: u16, text: &str) {
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

/// What the script is now; `None` where there is no such file.
fn version(path: &[u8]) -> Option<Version> {
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
    Version::of(&std::fs::metadata(path).ok()?)
}
