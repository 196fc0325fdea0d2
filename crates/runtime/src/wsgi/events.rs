//! The events of a request, for whoever subscribed with `mod_wsgi.subscribe_events`.
//!
//! Runs in: request threads. Costs one look at a list's length where nobody did.

use std::time::Duration;

use os::process::Usage;

use super::current;
use super::python_functions::PythonFunctions;
use crate::python::gil::{Gil, PyResult, Raised};
use crate::python::gil_wait::{self, Waits};
use crate::python::object::Object;

/// Whether anybody has subscribed in this interpreter.
pub fn wanted(gil: Gil<'_>, python: &PythonFunctions) -> bool {
    python.event_callbacks.bind(gil).sequence_len() > 0
}

/// The request an event belongs to.
pub struct Subject<'a, 'g> {
    pub environ: &'a Object<'g>,
    pub data: &'a Object<'g>,
    pub thread: u32,
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
    let thread = gil.int(subject.thread.into())?;
    let arguments = [subject.environ, &application, subject.data, &thread];
    python.started.bind(gil).call(&arguments)
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
    let data = current::request_data(gil).unwrap_or_else(|| gil.none());
    let id = current::request_id(gil);
    let arguments = [&id, &data, status, headers, exc_info.unwrap_or(&none)];
    python.response.bind(gil).call(&arguments)?;
    Ok(())
}

/// The application raised.
pub fn raised<'g>(
    gil: Gil<'g>,
    python: &PythonFunctions,
    subject: &Subject<'_, 'g>,
    error: &Object<'g>,
) {
    if wanted(gil, python) {
        let call = python.raised.bind(gil);
        if let Err(raised) = call.call(&[subject.environ, subject.data, error]) {
            gil.clear(raised);
        }
    }
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
    let dict = gil.dict()?;
    // In the C module's order.
    let int = |name: &str, number: u64| dict.dict_set(&gil.text(name)?, &gil.int(number as i64)?);
    let time = |name: &str, time: Duration| {
        dict.dict_set(&gil.text(name)?, &gil.float(time.as_secs_f64())?)
    };
    let micros = |name: &str, micros| time(name, Duration::from_micros(micros));
    int("input_reads", facts.input_reads)?;
    int("input_length", facts.input_length)?;
    micros("input_time", facts.input_time)?;
    int("output_length", facts.output_length)?;
    int("output_writes", facts.output_writes)?;
    if let Some(used) = facts.used {
        time("cpu_user_time", used.user)?;
        time("cpu_system_time", used.system)?;
        time("cpu_time", used.user + used.system)?;
    }
    micros("output_time", facts.output_time)?;
    micros("application_finish", facts.application_finish)?;
    micros("application_time", facts.application_time)?;
    int("status", facts.status.into())?;
    time("gil_wait_time", facts.waits.time)?;
    int("gil_wait_count", facts.waits.count)?;
    let thread = gil.int(subject.thread.into())?;
    let arguments = [subject.environ, subject.data, &thread, &dict];
    python.finished.bind(gil).call(&arguments)?;
    Ok(())
}
