//! The state of one interpreter: types, names, the environ's template, functions in Python.
//!
//! Runs in: the worker. Built once by the thread that made the interpreter; from then on read by
//! all its threads, under its GIL. Lives until the process ends.

use std::sync::atomic::AtomicBool;

use wire::control::WorkerSetup;

use super::errors::ErrorStreams;
use super::input::{self, Input};
use super::names::{name, Names};
use super::native;
use super::python_functions::PythonFunctions;
use super::scripts::{Loader, Scripts};
use super::start_response::{self, Call};
use crate::python::class::Class;
use crate::python::gil::{Gil, PyResult, Raised};
use crate::python::interpreter;
use crate::python::object::{Object, Stored};

/// An interpreter that runs applications.
pub type Interpreter = interpreter::Interpreter<State>;

/// What an interpreter is set up with.
pub struct Settings<'a> {
    pub setup: &'a WorkerSetup,
    /// It is the main interpreter.
    pub main: bool,
    /// It has a GIL of its own.
    pub own_gil: bool,
    /// Name of the application group, as applications see it.
    pub application_group: &'a [u8],
}

/// The state of one interpreter.
pub struct State {
    pub names: Names,
    /// Entries that are the same in every environ.
    pub template: Stored,
    /// The same, of what scripts get that are asked by hooks of httpd.
    pub hook_template: Stored,
    pub input: Class<Input>,
    pub errors: ErrorStreams,
    pub call: Class<Call>,
    pub python: PythonFunctions,
    pub scripts: Scripts,
    /// As [`Call::dropped_field_logged`].
    pub dropped_field_logged: AtomicBool,
}

impl State {
    pub fn loader(&self) -> Loader<'_> {
        Loader {
            scripts: &self.scripts,
            names: &self.names,
            python: &self.python,
        }
    }
}

/// Prepares the current interpreter for applications. Once.
///
/// # Errors
/// The exception of whatever failed.
pub fn set_up(
    gil: Gil<'_>,
    interpreter: &Interpreter,
    settings: &Settings<'_>,
) -> Result<(), Raised> {
    let native = native::module(gil)?;
    let python = PythonFunctions::load(gil, &native, &settings_dict(gil, settings)?)?;
    interpreter.set_state(State {
        names: Names::new(gil)?,
        template: Stored::new(gil, template(gil, settings.setup, &python)?),
        hook_template: Stored::new(gil, versions(gil, settings.setup)?),
        input: input::class(gil)?,
        errors: ErrorStreams::new(gil)?,
        call: start_response::class(gil)?,
        python,
        scripts: Scripts::default(),
        dropped_field_logged: AtomicBool::new(false),
    });
    Ok(())
}

fn version(gil: Gil<'_>, (major, (minor, patch)): (u32, (u32, u32))) -> PyResult<'_> {
    gil.tuple(&[
        &gil.int(major.into())?,
        &gil.int(minor.into())?,
        &gil.int(patch.into())?,
    ])
}

/// What `interpreter.configure` reads.
fn settings_dict<'g>(gil: Gil<'g>, settings: &Settings<'_>) -> PyResult<'g> {
    let dict = gil.dict()?;
    let put = |key: &str, value: Object<'g>| dict.dict_set(&gil.text(key)?, &value);
    let path_or_none = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => gil.path(bytes),
        None => Ok(gil.none()),
    };
    let WorkerSetup { group, server, .. } = settings.setup;
    put("main", gil.boolean(settings.main))?;
    put("one_process", gil.boolean(server.one_process))?;
    put("process_group", gil.latin1(&group.name)?)?;
    let number = |id: Option<u32>| id.map_or_else(|| Ok(gil.none()), |id| gil.int(id.into()));
    let owner = &group.script_owner;
    let owner = [&number(owner.user)?, &number(owner.group)?];
    put("script_owner", gil.tuple(&owner)?)?;
    put("application_group", gil.latin1(settings.application_group)?)?;
    put("processes", gil.int(group.processes.into())?)?;
    put("threads", gil.int(group.threads.into())?)?;
    put("module_version", version(gil, server.module_version)?)?;
    put("apache_version", version(gil, server.apache_version)?)?;
    put(
        "server_description",
        gil.latin1(&server.server_description)?,
    )?;
    put("build_date", gil.latin1(&server.build_date)?)?;
    put("mpm_name", gil.latin1(&server.mpm_name)?)?;
    put("mpm_processes", gil.int(server.mpm_max_processes.into())?)?;
    put("mpm_threads", gil.int(server.mpm_max_threads.into())?)?;
    let python = &group.python;
    let main = &python.main_interpreter;
    let options = match settings.main {
        true => main,
        false => python.of_application_group(settings.application_group),
    };
    let interval = match options.switch_interval {
        Some(interval) => gil.float(interval.as_secs_f64())?,
        None => gil.none(),
    };
    put("switch_interval", interval)?;
    let is_shared = options.switch_interval == main.switch_interval;
    put("switch_interval_is_shared", gil.boolean(is_shared))?;
    put("own_gil", gil.boolean(settings.own_gil))?;
    // Said once, by the first of several processes.
    let says = settings.main && !settings.setup.has_peers;
    let wants_own_gil = python.interpreters().any(|options| options.own_gil);
    put("says_own_gil", gil.boolean(says && wants_own_gil))?;
    put(
        "says_free_threading",
        gil.boolean(says && python.free_threading),
    )?;
    put("restrict_stdin", gil.boolean(options.restrict_stdin))?;
    put("restrict_stdout", gil.boolean(options.restrict_stdout))?;
    put("restrict_signal", gil.boolean(options.restrict_signal))?;
    put("python_eggs", path_or_none(python.eggs.as_deref())?)?;
    let directories = gil.list()?;
    for directory in &options.path {
        directories.append(&gil.path(directory)?)?;
    }
    put("python_path", directories)?;
    put("home", path_or_none(group.environment.home.as_deref())?)?;
    put("locale", path_or_none(group.environment.locale.as_deref())?)?;
    put("user", gil.path(&group.identity.user)?)?;
    put("user_home", gil.path(&group.identity.user_home)?)?;
    Ok(dict)
}

/// Which Apache and which module this is: entries of every environ.
fn versions<'g>(gil: Gil<'g>, setup: &WorkerSetup) -> PyResult<'g> {
    let dict = gil.dict()?;
    let server = &setup.server;
    for (key, parts) in [
        ("apache.version", server.apache_version),
        ("mod_wsgi.version", server.module_version),
    ] {
        dict.dict_set(name(gil, key)?.bind(gil), &version(gil, parts)?)?;
    }
    Ok(dict)
}

/// Entries that are the same for every request of this interpreter.
fn template<'g>(gil: Gil<'g>, setup: &WorkerSetup, python: &PythonFunctions) -> PyResult<'g> {
    let dict = versions(gil, setup)?;
    let put = |key: &str, value: Object<'g>| dict.dict_set(name(gil, key)?.bind(gil), &value);
    let group = &setup.group;
    let once = group.threads == 1 && group.replacement.maximum_requests == Some(1);
    put("wsgi.version", gil.tuple(&[&gil.int(1)?, &gil.int(0)?])?)?;
    put("wsgi.multithread", gil.boolean(group.threads != 1))?;
    put("wsgi.multiprocess", gil.boolean(group.multiprocess))?;
    put("wsgi.run_once", gil.boolean(once))?;
    put("wsgi.input_terminated", gil.boolean(true))?;
    let wrapper = python.file_wrapper.bind(gil).clone_ref();
    put("wsgi.file_wrapper", wrapper)?;
    Ok(dict)
}
