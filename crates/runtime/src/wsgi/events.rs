//! The events of a request, for whoever subscribed with `mod_wsgi.subscribe_events`.
//!
//! Runs in: request threads. Costs one look at a list's length where nobody did. What an event tells
//! comes from the request and not from its environ, which the application may change. Names and
//! order of the keys are the C module's.

use std::time::Duration;

use os::process::Usage;
use wire::keys;
use wire::request::{Key, Request};

use super::current;
use super::python_functions::PythonFunctions;
use crate::python::gil::{Gil, PyResult, Raised};
use crate::python::gil_wait::{self, Waits};
use crate::python::object::Object;

const SERVER_PID: u8 = keys::code("mod_wsgi.server_pid");

/// Whether anybody has subscribed in this interpreter.
pub fn wanted(gil: Gil<'_>, python: &PythonFunctions) -> bool {
    let callbacks = python.event_callbacks.bind(gil).item(0);
    callbacks.is_some_and(|callbacks| callbacks.sequence_len() > 0)
}

/// The request an event belongs to.
pub struct Subject<'a, 'g> {
    pub request: &'a Request<'a>,
    pub environ: &'a Object<'g>,
    pub data: &'a Object<'g>,
    pub times: Times,
    /// From 1.
    pub thread: u32,
}

/// When the phases of a request began, in microseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub request_start: u64,
    pub queue_start: u64,
    pub daemon_start: u64,
    pub application_start: u64,
}

/// What an event tells.
struct Payload<'g> {
    gil: Gil<'g>,
    dict: Object<'g>,
}

impl<'g> Payload<'g> {
    /// One of the request that this thread serves.
    fn new(gil: Gil<'g>) -> Result<Self, Raised> {
        let dict = gil.dict()?;
        let payload = Self { gil, dict };
        let id = current::request_id(gil);
        if !id.is_none() {
            payload.put("request_id", &id)?;
        }
        Ok(payload)
    }

    fn put(&self, name: &str, value: &Object<'g>) -> Result<(), Raised> {
        self.dict.dict_set(&self.gil.text(name)?, value)
    }

    fn int(&self, name: &str, value: u64) -> Result<(), Raised> {
        let value = self.gil.int(i64::try_from(value).unwrap_or(i64::MAX))?;
        self.put(name, &value)
    }

    fn seconds(&self, name: &str, micros: u64) -> Result<(), Raised> {
        self.put(name, &self.gil.float(micros as f64 / 1e6)?)
    }

    fn duration(&self, name: &str, time: Duration) -> Result<(), Raised> {
        self.put(name, &self.gil.float(time.as_secs_f64())?)
    }

    /// Who accepted the request, and when it came to whom.
    fn origin(&self, subject: &Subject<'_, 'g>) -> Result<(), Raised> {
        self.int("server_pid", server_pid(subject.request))?;
        let times = &subject.times;
        self.seconds("request_start", times.request_start)?;
        self.seconds("queue_start", times.queue_start)?;
        self.seconds("daemon_start", times.daemon_start)
    }

    /// Calls the subscribers, which may put more into the payload.
    fn publish(&self, python: &PythonFunctions, name: &str) -> Result<(), Raised> {
        let publish = python.publish_event.bind(self.gil);
        publish.call(&[&self.gil.text(name)?, &self.dict])?;
        Ok(())
    }
}

/// Process id of the Apache child.
fn server_pid(request: &Request<'_>) -> u64 {
    let mut environ = request.environ.iter();
    let found = environ.find(|(key, _)| *key == Key::Known(SERVER_PID));
    let text = found.and_then(|(_, value)| std::str::from_utf8(value).ok());
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Returns the application to call, which a subscriber may have replaced.
pub fn started<'g>(
    gil: Gil<'g>,
    python: &PythonFunctions,
    subject: &Subject<'_, 'g>,
    application: Object<'g>,
) -> PyResult<'g> {
    if !wanted(gil, python) {
        return Ok(application);
    }
    gil_wait::want();
    let payload = Payload::new(gil)?;
    let key = gil.text("application_object")?;
    payload.int("thread_id", subject.thread.into())?;
    payload.int("daemon_connects", 1)?;
    payload.int("daemon_restarts", 0)?;
    payload.origin(subject)?;
    payload.dict.dict_set(&key, &application)?;
    let callable = gil.latin1(subject.request.prologue.callable)?;
    payload.put("callable_object", &callable)?;
    payload.put("request_environ", subject.environ)?;
    payload.seconds("application_start", subject.times.application_start)?;
    payload.put("request_data", subject.data)?;
    payload.publish(python, "request_started")?;
    Ok(payload.dict.dict_get(&key)?.unwrap_or(application))
}

pub fn response<'g>(
    gil: Gil<'g>,
    python: &PythonFunctions,
    status: &Object<'g>,
    headers: &Object<'g>,
    exc_info: Option<&Object<'g>>,
) -> Result<(), Raised> {
    if !wanted(gil, python) {
        return Ok(());
    }
    let none = gil.none();
    let payload = Payload::new(gil)?;
    payload.put("response_status", status)?;
    payload.put("response_headers", headers)?;
    payload.put("exception_info", exc_info.unwrap_or(&none))?;
    let data = current::request_data(gil);
    payload.put("request_data", data.as_ref().unwrap_or(&none))?;
    payload.publish(python, "response_started")
}

/// The application raised.
///
/// # Errors
/// For want of memory.
pub fn raised<'g>(
    gil: Gil<'g>,
    python: &PythonFunctions,
    subject: &Subject<'_, 'g>,
    error: &Object<'g>,
) -> Result<(), Raised> {
    if !wanted(gil, python) {
        return Ok(());
    }
    let payload = Payload::new(gil)?;
    let traceback = error.attr_named(c"__traceback__")?;
    let info = gil.tuple(&[&error.class(), error, &traceback])?;
    payload.put("exception_info", &info)?;
    payload.put("request_data", subject.data)?;
    payload.publish(python, "request_exception")
}

/// What is known at the end of a request. Times are microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Finished {
    pub status: u16,
    pub input_reads: u64,
    pub input_length: u64,
    pub input_time: u64,
    pub output_length: u64,
    pub output_writes: u64,
    pub output_time: u64,
    pub application_finish: u64,
    pub application_time: u64,
    /// What the thread has used; `None` where nobody wanted to know when it began.
    pub used: Option<Usage>,
    /// Its waits for the GIL.
    pub waits: Waits,
}

pub fn finished<'g>(
    gil: Gil<'g>,
    python: &PythonFunctions,
    subject: &Subject<'_, 'g>,
    facts: &Finished,
) -> Result<(), Raised> {
    if !wanted(gil, python) {
        return Ok(());
    }
    let payload = Payload::new(gil)?;
    payload.int("thread_id", subject.thread.into())?;
    payload.origin(subject)?;
    payload.int("input_reads", facts.input_reads)?;
    payload.int("input_length", facts.input_length)?;
    payload.seconds("input_time", facts.input_time)?;
    payload.int("output_length", facts.output_length)?;
    payload.int("output_writes", facts.output_writes)?;
    if let Some(used) = facts.used {
        payload.duration("cpu_user_time", used.user)?;
        payload.duration("cpu_system_time", used.system)?;
        payload.duration("cpu_time", used.user + used.system)?;
    }
    payload.seconds("output_time", facts.output_time)?;
    payload.seconds("application_finish", facts.application_finish)?;
    payload.seconds("application_time", facts.application_time)?;
    payload.int("status", facts.status.into())?;
    payload.duration("gil_wait_time", facts.waits.time)?;
    payload.int("gil_wait_count", facts.waits.count)?;
    payload.put("request_data", subject.data)?;
    payload.publish(python, "request_finished")
}
