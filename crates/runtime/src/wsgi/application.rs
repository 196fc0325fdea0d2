//! One call of the application, from the environ to `close()`.
//!
//! Runs in: request threads, attached to an interpreter. The GIL is released whenever bytes are
//! sent before the end; at the end the caller sends what is left: a small response costs one
//! message and one wait for the GIL.

use std::sync::atomic::{fence, AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use os::descriptor;
use os::process::{self, Usage};
use wire::log_id::CONTENT_LENGTH_NOT_REACHED;
use wire::request::Request;
use wire::response::{End, File, Level};

use super::current::Serving;
use super::environ::{self, Additions};
use super::errors::ErrorStream;
use super::events::{self, Finished, Subject, Times};
use super::input::Input;
use super::metrics;
use super::progress::Progress;
use super::send::{log, send_collected, send_data, with_response};
use super::start_response::{early_hints_of, start_response_of, Call};
use super::state::State;
use crate::exchange::response::{Conclusion, Response, SendError, COPY_LIMIT};
use crate::exchange::{Delivery, Exchange};
use crate::process::process_log;
use crate::python::class::Instance;
use crate::python::gil::{Exception, Gil, Raised};
use crate::python::gil_wait;
use crate::python::interpreter::describe;
use crate::python::object::Object;

/// Bytes of a list's items that are put together before they are sent.
const GATHER: usize = 64 * 1024;
/// How long post hooks wait for a client that takes its response slowly: a thread is worth more.
const DELIVERY: Duration = Duration::from_secs(5);

/// What a call is made of.
pub struct Task<'a> {
    pub state: &'static State,
    pub exchange: &'a Arc<Exchange>,
    pub request: &'a Request<'a>,
    /// For reports.
    pub place: &'a str,
    /// Microseconds since the epoch, when the request was taken up.
    pub daemon_start: u64,
    pub queue_time: u64,
    /// From 1.
    pub thread: u32,
    pub pid: u32,
    pub progress: &'a Progress,
    /// Every few milliseconds the main thread sends what is held back of answers.
    pub attended: &'a AtomicBool,
    /// Says that `RequestTimeout` has ended the request.
    pub overdue: &'a (dyn Fn() -> String + Sync),
}

/// How the response stands after the call.
enum Ending<'g> {
    Complete,
    /// Nobody listens any more.
    Gone,
    Failed(Object<'g>),
}

/// How the response is to be concluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Whole,
    Broken,
    Fail(u16),
}

/// What the application is called with.
pub struct Prepared<'g> {
    environ: Object<'g>,
    errors: ErrorStream<'g>,
    /// The list in `mod_wsgi.posthooks`.
    hooks: Object<'g>,
    data: Object<'g>,
    call: Instance<'g, Call>,
    request_id: Option<Object<'g>>,
    application_start: u64,
}

/// Builds what the application is called with.
///
/// # Errors
/// For want of memory.
pub fn prepare<'g>(gil: Gil<'g>, task: &Task<'_>) -> Result<Prepared<'g>, Raised> {
    let state = task.state;
    let exchange = || Arc::clone(task.exchange);
    let call = state.call.instance(
        gil,
        Call {
            exchange: exchange(),
            python: &state.python,
            dropped_field_logged: &state.dropped_field_logged,
        },
    )?;
    let input = Input {
        exchange: exchange(),
    };
    let errors = state.errors.lend(gil, &state.python, task.exchange)?;
    let hooks = gil.list()?;
    let application_start = os::clock::epoch_us();
    let (environ, request_id) = environ::build(
        gil,
        state,
        task.request,
        &Additions {
            input: state.input.instance(gil, input)?.as_object(),
            errors: errors.text(),
            early_hints: &early_hints_of(&call)?,
            hooks: &hooks,
            daemon_start: task.daemon_start,
            application_start,
            thread: task.thread,
        },
    )?;
    Ok(Prepared {
        environ,
        errors,
        hooks,
        data: gil.dict()?,
        call,
        request_id,
        application_start,
    })
}

/// Calls the application and takes its response. Returns the last word, which is to be sent; `None`
/// where it has been, because something was to run afterwards.
pub fn run<'g>(
    gil: Gil<'g>,
    task: &Task<'_>,
    application: Object<'g>,
    prepared: Prepared<'g>,
) -> Option<Conclusion> {
    let (state, exchange) = (task.state, task.exchange);
    let Prepared {
        environ,
        errors,
        hooks,
        data,
        call,
        request_id,
        application_start,
    } = prepared;
    let serving = Serving::begin(gil, exchange, &data, request_id.as_ref());
    let active = state.python.active_requests.bind(gil);
    if let Some(id) = &request_id {
        if let Err(raised) = active.dict_set(id, &data) {
            gil.clear(raised);
        }
    }
    let prologue = &task.request.prologue;
    let subject = Subject {
        request: task.request,
        environ: &environ,
        data: &data,
        times: Times {
            request_start: prologue.request_start,
            queue_start: prologue.queue_start,
            daemon_start: task.daemon_start,
            application_start,
        },
        thread: task.thread,
    };
    let used_before = metrics::usage_before(gil, &state.python);
    let began = os::clock::monotonic_us();
    let ending = respond(gil, task, &subject, application, &call);
    task.progress.returned(gil);
    let application_time = os::clock::monotonic_us().saturating_sub(began);
    let verdict = conclude(gil, task, &subject, ending);
    if metrics::is_wanted(gil, &state.python) {
        let used = used_before.map(used_since);
        let finish = application_start + application_time;
        let facts = finished(gil, exchange, finish, application_time, used);
        metrics::record(task.thread, &subject.times, &facts);
        if let Err(raised) = events::finished(gil, &state.python, &subject, &facts) {
            let why = describe(gil, raised);
            gil.released(|| process_log::error(&why));
        }
    }
    if let Some(id) = &request_id {
        active.dict_remove(id);
    }
    let awaited = hooks.sequence_len() > 0;
    let environ = awaited.then_some(environ);
    // Destructors of the application's objects may still print into this request's log.
    drop(call);
    if let Some(record) = with_response(gil, exchange, |response| response.flush_lines()) {
        gil.released(|| process_log::record(&record));
    }
    drop(serving);
    drop((data, request_id));
    let last = match verdict {
        Verdict::Fail(status) => Conclusion::Fail(status, None),
        verdict => Conclusion::End(End {
            broken: verdict == Verdict::Broken,
            awaited,
            keep_alive: false,
            queue_time: task.queue_time,
            application_time,
            pid: task.pid,
            thread: task.thread,
        }),
    };
    match environ {
        None => {
            state.errors.take_back(gil, errors);
            Some(last)
        }
        Some(environ) => {
            run_post_hooks(gil, task, &environ, &hooks, last);
            None
        }
    }
}

/// What is known at the end of a request.
fn finished(
    gil: Gil<'_>,
    exchange: &Exchange,
    application_finish: u64,
    application_time: u64,
    used: Option<Usage>,
) -> Finished {
    let (input_reads, input_length, input_time) = exchange
        .try_input()
        .and_then(|input| {
            let body = input.as_ref()?;
            Some((body.reads, body.length, body.time))
        })
        .unwrap_or_default();
    let response = |response: &mut Response| {
        let status = response.status();
        (status, response.length, response.writes, response.time)
    };
    let (status, output_length, output_writes, output_time) =
        with_response(gil, exchange, response);
    Finished {
        status: status.unwrap_or(500),
        input_reads,
        input_length,
        input_time,
        output_length,
        output_writes,
        output_time,
        application_finish,
        application_time,
        used,
        waits: gil_wait::waits(),
    }
}

/// What the calling thread has used since `before`.
fn used_since(before: Usage) -> Usage {
    let now = process::usage_of_thread();
    Usage {
        user: now.user.saturating_sub(before.user),
        system: now.system.saturating_sub(before.system),
        ..now
    }
}

/// Sends the last word, waits until the response is out, and runs what the application wants to be
/// run after it.
fn run_post_hooks<'g>(
    gil: Gil<'g>,
    task: &Task<'_>,
    environ: &Object<'g>,
    hooks: &Object<'g>,
    last: Conclusion,
) {
    let exchange = task.exchange;
    let delivery = gil.released(|| exchange.finish_and_wait(last, DELIVERY));
    let (aborted, bytes) = match delivery {
        Delivery::Told(sent) => (Some(sent.aborted), Some(sent.bytes)),
        Delivery::ClientClosed => (Some(true), None),
        Delivery::Unknown => (None, None),
    };
    let aborted = aborted.map_or_else(|| gil.none(), |aborted| gil.boolean(aborted));
    let done = bytes
        .map_or_else(|| Ok(gil.none()), |bytes| gil.int(bytes as i64))
        .and_then(|bytes| {
            let run = task.state.python.run_post_hooks.bind(gil);
            run.call(&[environ, hooks, &aborted, &bytes])
        });
    if let Err(raised) = done {
        let why = describe(gil, raised);
        gil.released(|| process_log::error(&why));
    }
}

/// Calls the application, sends its body and closes it.
fn respond<'g>(
    gil: Gil<'g>,
    task: &Task<'_>,
    subject: &Subject<'_, 'g>,
    application: Object<'g>,
    call: &Instance<'g, Call>,
) -> Ending<'g> {
    let failed = |raised| Ending::Failed(gil.take_exception(raised));
    let started =
        events::started(gil, &task.state.python, subject, application).and_then(|application| {
            let start_response = start_response_of(call)?;
            application.call(&[subject.environ, &start_response])
        });
    let result = match started {
        Ok(result) => result,
        Err(raised) => return failed(raised),
    };
    let ending = match body(gil, task, &result) {
        Ok(()) if with_response(gil, task.exchange, |response| response.gone()) => Ending::Gone,
        Ok(()) => Ending::Complete,
        Err(raised) => failed(raised),
    };
    if let Err(raised) = close(gil, task.state, &result) {
        let error = gil.take_exception(raised);
        // An answer that is whole stays whole.
        report(gil, task, subject, &error);
    }
    ending
}

/// Reports a failure and settles how the response ends: `Some(broken)` where an end is to be sent.
fn conclude<'g>(
    gil: Gil<'g>,
    task: &Task<'_>,
    subject: &Subject<'_, 'g>,
    ending: Ending<'g>,
) -> Verdict {
    let exchange = task.exchange;
    let error = match ending {
        Ending::Gone => return Verdict::Broken,
        Ending::Complete => {
            let owed = with_response(gil, exchange, |response| response.shortfall());
            let Some(owed) = owed else {
                return Verdict::Whole;
            };
            let text = format!(
                "{CONTENT_LENGTH_NOT_REACHED}: the application declared a Content-Length and sent {owed} bytes less; \
                 the client sees a broken response"
            );
            log(gil, exchange, Level::Error, &text);
            return Verdict::Broken;
        }
        Ending::Failed(error) => error,
    };
    let (gone, sent) = with_response(gil, exchange, |response| {
        (response.gone(), response.head_sent())
    });
    let timeout = error.is_instance(task.state.python.request_timeout.bind(gil));
    // That the client left is no fault of the application's, which only passes on what it got.
    // One that was given up fails because of that, which has been logged.
    let is_reported = task.progress.is_given_up() || gone && is_os_error(gil, &error);
    if timeout && !is_reported {
        tell_raised(gil, task, subject, &error);
        report_overdue(gil, task);
    } else if !is_reported {
        report(gil, task, subject, &error);
    }
    match (sent, timeout) {
        (true, _) => Verdict::Broken,
        (false, true) => Verdict::Fail(504),
        (false, false) => Verdict::Fail(500),
    }
}

fn is_os_error(gil: Gil<'_>, error: &Object<'_>) -> bool {
    // Setting it is the stable ABI's way to ask which class an exception is of.
    let raised = gil.raise_object(error);
    let is = Exception::Os.is_set(gil, &raised);
    gil.clear(raised);
    is
}

/// Puts the end of a request that took too long into its log. Where it was has been said when
/// `RequestTimeout` was raised.
fn report_overdue(gil: Gil<'_>, task: &Task<'_>) {
    let sentence = gil.released(|| (task.overdue)());
    log(gil, task.exchange, Level::Info, &sentence);
}

/// Tells subscribers of an exception.
fn tell_raised<'g>(gil: Gil<'g>, task: &Task<'_>, subject: &Subject<'_, 'g>, error: &Object<'g>) {
    if let Err(raised) = events::raised(gil, &task.state.python, subject, error) {
        gil.clear(raised);
    }
}

/// Puts an exception and its traceback into the request's log, and tells subscribers.
fn report<'g>(gil: Gil<'g>, task: &Task<'_>, subject: &Subject<'_, 'g>, error: &Object<'g>) {
    tell_raised(gil, task, subject, error);
    let text = gil
        .path(task.request.prologue.script)
        .and_then(|path| {
            let place = gil.text(task.place)?;
            let call = task.state.python.report.bind(gil);
            call.call(&[error, &path, &place])?.to_text()
        })
        .unwrap_or_else(|raised| {
            let second = describe(gil, raised);
            format!("{}, which can't be reported: {second}", error.type_name())
        });
    log(gil, task.exchange, Level::Error, &text);
}

fn close<'g>(gil: Gil<'g>, state: &State, result: &Object<'g>) -> Result<(), Raised> {
    if result.is_exact_list() || result.is_exact_tuple() {
        return Ok(());
    }
    match result.attr(state.names.close.bind(gil)) {
        Ok(close) => close.call(&[]).map(drop),
        Err(raised) if Exception::Attribute.is_set(gil, &raised) => {
            gil.clear(raised);
            Ok(())
        }
        Err(raised) => Err(raised),
    }
}

/// Takes the response's body. Ends quietly when nobody listens any more.
fn body<'g>(gil: Gil<'g>, task: &Task<'_>, result: &Object<'g>) -> Result<(), Raised> {
    let exchange = task.exchange;
    if result.is_exact_list() || result.is_exact_tuple() {
        return gathered(gil, exchange, result);
    }
    let wrapper = task.state.python.file_wrapper.bind(gil);
    if result.is_instance(wrapper) && handed_over(gil, task, result)? {
        return Ok(());
    }
    let iterator = result.iterator()?;
    while let Some(item) = iterator.next()? {
        let bytes = item_bytes(gil, &item)?;
        if !bytes.is_empty() && !deliver(gil, task, bytes)? {
            return Ok(());
        }
    }
    begin(gil, exchange)
}

/// Sends a chunk now or, where the main thread will should the application take its time with the
/// next, leaves it in line for that one or the end: each message costs its receiver a switch.
/// PEP 3333 has a server guarantee that a block is on its way while the application makes the next.
fn deliver(gil: Gil<'_>, task: &Task<'_>, bytes: &[u8]) -> Result<bool, Raised> {
    let exchange = task.exchange;
    if bytes.len() > COPY_LIMIT || !task.attended.load(Ordering::Relaxed) {
        return send(gil, exchange, bytes);
    }
    let head = exchange.facts.head;
    let held = with_response(gil, exchange, |response| {
        response.begin(head).map(|()| response.hold(bytes))
    });
    // The main thread says that it stops, and looks once more afterwards: `Worker::send_held`.
    fence(Ordering::SeqCst);
    match held {
        Ok(true) if task.attended.load(Ordering::SeqCst) => Ok(true),
        Ok(_) => listened(gil, send_collected(gil, exchange, |_| Ok(()))),
        Err(error) => listened(gil, Err(error)),
    }
}

fn item_bytes<'a>(gil: Gil<'_>, item: &'a Object<'_>) -> Result<&'a [u8], Raised> {
    item.as_bytes().ok_or_else(|| {
        let text = format!("the application must yield bytes, not {}", item.type_name());
        gil.raise(Exception::Type, &text)
    })
}

/// Sends a chunk now. False where nobody listens any more.
fn send(gil: Gil<'_>, exchange: &Exchange, bytes: &[u8]) -> Result<bool, Raised> {
    listened(gil, send_data(gil, exchange, bytes))
}

/// Whether somebody listens to what is sent.
fn listened(gil: Gil<'_>, sent: Result<(), SendError>) -> Result<bool, Raised> {
    match sent {
        Ok(()) => Ok(true),
        // Over: somebody else has ended the request.
        Err(SendError::Disconnected | SendError::TimedOut | SendError::RequestEnded) => Ok(false),
        Err(error) => Err(not_begun(gil, error)),
    }
}

/// Puts the head in line, if it has not left yet.
fn begin(gil: Gil<'_>, exchange: &Exchange) -> Result<(), Raised> {
    let head = exchange.facts.head;
    with_response(gil, exchange, |response| response.begin(head))
        .map_err(|error| not_begun(gil, error))
}

fn not_begun(gil: Gil<'_>, error: SendError) -> Raised {
    let text = match error {
        SendError::NoHead => "the application returned without having called start_response()",
        _ => "the response can't be sent",
    };
    gil.raise(Exception::Runtime, text)
}

/// All items are there already: no more messages than their bytes need.
fn gathered(gil: Gil<'_>, exchange: &Exchange, result: &Object<'_>) -> Result<(), Raised> {
    // Looked at before anything is sent, so that a wrong one makes an error page.
    let mut index = 0;
    while let Some(item) = result.item(index) {
        item_bytes(gil, &item)?;
        index += 1;
    }
    let mut waiting = 0;
    let mut index = 0;
    while let Some(item) = result.item(index) {
        index += 1;
        let bytes = item_bytes(gil, &item)?;
        if bytes.is_empty() {
            continue;
        }
        waiting += bytes.len();
        if waiting > GATHER {
            waiting = 0;
            if !send(gil, exchange, bytes)? {
                return Ok(());
            }
        } else {
            let head = exchange.facts.head;
            with_response(gil, exchange, |response| {
                response.begin(head).map(|()| response.data(bytes))
            })
            .map_err(|error| not_begun(gil, error))?;
        }
    }
    begin(gil, exchange)
}

/// Hands a regular file over as a descriptor; false where it has to be read.
fn handed_over<'g>(gil: Gil<'g>, task: &Task<'_>, wrapper: &Object<'g>) -> Result<bool, Raised> {
    let exchange = task.exchange;
    let (free, wanted) = with_response(gil, exchange, |response| {
        (
            response.has_head() && !response.head_sent(),
            response.wanted(),
        )
    });
    if !free {
        return Ok(false);
    }
    let wanted = match wanted {
        Some(length) => gil.int(length as i64)?,
        None => gil.none(),
    };
    let stretch = task.state.python.stretch.bind(gil);
    let found = stretch.call(&[wrapper, &wanted])?;
    if found.is_none() {
        return Ok(false);
    }
    let number = |index| match found.item(index) {
        Some(item) => item.to_int(),
        None => Ok(0),
    };
    let (number_of_file, offset, len) = (number(0)?, number(1)?, number(2)?);
    let declare = match found.item(3) {
        Some(flag) => flag.is_true()?,
        None => false,
    };
    // Of our own: the application may close its file at any time.
    let own = i32::try_from(number_of_file).map(descriptor::duplicate);
    let Ok(Ok(file)) = own else {
        return Ok(false);
    };
    let part = File {
        offset: offset.max(0).unsigned_abs(),
        len: len.max(0).unsigned_abs(),
    };
    let head = exchange.facts.head;
    with_response(gil, exchange, |response| {
        if declare {
            response.set_length(part.len);
        }
        response.begin(head)?;
        response.file(file, part);
        Ok(())
    })
    .map_err(|error| not_begun(gil, error))?;
    Ok(true)
}
