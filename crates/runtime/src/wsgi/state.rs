//! Everything one interpreter owns: types, names, the environ's template, the Python parts.
//!
//! Runs in: the worker. Built once by the thread that made the interpreter; from then on read by
//! all its threads, under its GIL. Lives until the process ends.

use std::ffi::CString;
use std::sync::atomic::AtomicBool;

use wire::control::WorkerSetup;
use wire::keys;

use super::errors::{self, Errors};
use super::input::{self, Input};
use super::native;
use super::scripts::Scripts;
use super::start_response::{self, Call};
use crate::python::object::{Exception, Gil, Object, Raised, Shared};
use crate::python::types::Class;

/// What an interpreter is set up with.
pub struct Settings<'a> {
    pub setup: &'a WorkerSetup,
    /// It is the main interpreter.
    pub main: bool,
    /// Name of the application group, as applications see it.
    pub application_group: &'a [u8],
}

/// Names of environ keys that are set here and don't come with the request.
pub struct Names {
    pub input: Shared,
    pub errors: Shared,
    pub early_hints: Shared,
    pub posthooks: Shared,
    pub eventlet_posthooks: Shared,
    pub request_start: Shared,
    pub queue_start: Shared,
    pub daemon_start: Shared,
    pub application_start: Shared,
    pub thread_id: Shared,
    pub request_id: Shared,
    pub close: Shared,
    pub mtime: Shared,
    pub reload_required: Shared,
    pub application: Shared,
}

/// Functions of the Python parts that are called from here.
pub struct Parts {
    pub load: Shared,
    pub serve: Shared,
    pub prepare_service: Shared,
    pub must_reload: Shared,
    pub report: Shared,
    pub overdue: Shared,
    pub stack: Shared,
    pub signalled: Shared,
    pub missing: Shared,
    pub stretch: Shared,
    pub stopping: Shared,
    pub assign: Shared,
    pub run_exit_functions: Shared,
    pub run_post_hooks: Shared,
    pub started: Shared,
    pub response: Shared,
    pub raised: Shared,
    pub finished: Shared,
    pub file_wrapper: Shared,
    pub request_timeout: Shared,
    pub event_callbacks: Shared,
    pub active_requests: Shared,
}

/// One interpreter's belongings.
pub struct State {
    /// Interned strings of [`keys::KNOWN`], in its order.
    known: Vec<Shared>,
    pub names: Names,
    /// Entries that are the same in every environ.
    pub template: Shared,
    pub input: Class<Input>,
    pub errors: Class<Errors>,
    pub call: Class<Call>,
    pub parts: Parts,
    pub scripts: Scripts,
    /// It was said that a header field was dropped.
    pub said_dropped: AtomicBool,
}

/// The Python sources, in the order they need each other.
const SOURCES: [(&std::ffi::CStr, &str, &str); 6] = [
    (
        c"_mod_wsgi.report",
        "<mod_wsgi report.py>",
        include_str!("../../python/report.py"),
    ),
    (
        c"_mod_wsgi.streams",
        "<mod_wsgi streams.py>",
        include_str!("../../python/streams.py"),
    ),
    (
        c"_mod_wsgi.module",
        "<mod_wsgi module.py>",
        include_str!("../../python/module.py"),
    ),
    (
        c"_mod_wsgi.events",
        "<mod_wsgi events.py>",
        include_str!("../../python/events.py"),
    ),
    (
        c"_mod_wsgi.scripts",
        "<mod_wsgi scripts.py>",
        include_str!("../../python/scripts.py"),
    ),
    (
        c"_mod_wsgi.interpreter",
        "<mod_wsgi interpreter.py>",
        include_str!("../../python/interpreter.py"),
    ),
];

fn name(gil: Gil<'_>, text: &str) -> Result<Shared, Raised> {
    // The names are ours and hold no NUL.
    let text = CString::new(text).unwrap_or_default();
    gil.interned(&text).map(Shared::new)
}

impl State {
    /// Builds it in the current interpreter, and runs the interpreter's set-up.
    ///
    /// # Errors
    /// The exception of whatever failed.
    pub fn build(gil: Gil<'_>, settings: &Settings<'_>) -> Result<Self, Raised> {
        let modules = load_parts(gil)?;
        let find = |module: &std::ffi::CStr, function: &std::ffi::CStr| {
            let module = gil.import(module)?;
            module.attr_named(gil, function).map(Shared::new)
        };
        let configured = settings_dict(gil, settings)?;
        modules.call_method(gil, c"configure", &[&configured])?;
        let parts = Parts {
            load: find(c"_mod_wsgi.scripts", c"load")?,
            serve: find(c"_mod_wsgi.scripts", c"serve")?,
            prepare_service: find(c"_mod_wsgi.interpreter", c"prepare_service")?,
            must_reload: find(c"_mod_wsgi.scripts", c"must_reload")?,
            report: find(c"_mod_wsgi.report", c"application")?,
            overdue: find(c"_mod_wsgi.report", c"overdue")?,
            stack: find(c"_mod_wsgi.report", c"stack")?,
            signalled: find(c"_mod_wsgi.module", c"signalled")?,
            missing: find(c"_mod_wsgi.report", c"missing")?,
            stretch: find(c"_mod_wsgi.module", c"stretch")?,
            stopping: find(c"_mod_wsgi.module", c"stopping")?,
            assign: find(c"_mod_wsgi.module", c"assign")?,
            run_exit_functions: find(c"_mod_wsgi.interpreter", c"run_exit_functions")?,
            run_post_hooks: find(c"_mod_wsgi.events", c"run_post_hooks")?,
            started: find(c"_mod_wsgi.events", c"started")?,
            response: find(c"_mod_wsgi.events", c"response")?,
            raised: find(c"_mod_wsgi.events", c"raised")?,
            finished: find(c"_mod_wsgi.events", c"finished")?,
            file_wrapper: find(c"_mod_wsgi.module", c"FileWrapper")?,
            request_timeout: find(c"_mod_wsgi.module", c"RequestTimeout")?,
            event_callbacks: find(c"_mod_wsgi.module", c"_event_callbacks")?,
            active_requests: find(c"_mod_wsgi.module", c"_active_requests")?,
        };
        Ok(Self {
            known: keys::KNOWN
                .iter()
                .map(|key| name(gil, key))
                .collect::<Result<_, _>>()?,
            names: Names {
                input: name(gil, "wsgi.input")?,
                errors: name(gil, "wsgi.errors")?,
                early_hints: name(gil, "wsgi.early_hints")?,
                posthooks: name(gil, "mod_wsgi.posthooks")?,
                eventlet_posthooks: name(gil, "eventlet.posthooks")?,
                request_start: name(gil, "mod_wsgi.request_start")?,
                queue_start: name(gil, "mod_wsgi.queue_start")?,
                daemon_start: name(gil, "mod_wsgi.daemon_start")?,
                application_start: name(gil, "mod_wsgi.application_start")?,
                thread_id: name(gil, "mod_wsgi.thread_id")?,
                request_id: name(gil, "mod_wsgi.request_id")?,
                close: name(gil, "close")?,
                mtime: name(gil, "__mtime__")?,
                reload_required: name(gil, "reload_required")?,
                application: name(gil, "application")?,
            },
            template: Shared::new(template(gil, settings.setup, &parts)?),
            input: input::class(gil)?,
            errors: errors::class(gil)?,
            call: start_response::class(gil)?,
            parts,
            scripts: Scripts::default(),
            said_dropped: AtomicBool::new(false),
        })
    }

    /// The string of a known key.
    pub fn known<'a>(&'a self, gil: Gil<'a>, code: u8) -> Option<&'a Object> {
        let index = usize::from(code).checked_sub(1)?;
        self.known.get(index).map(|key| key.get(gil))
    }
}

/// Puts the package `_mod_wsgi` into `sys.modules` and returns its module `interpreter`.
fn load_parts(gil: Gil<'_>) -> Result<Object, Raised> {
    let modules = gil.import(c"sys")?.attr_named(gil, c"modules")?;
    let module_type = gil.import(c"types")?.attr_named(gil, c"ModuleType")?;
    let builtins = gil.import(c"builtins")?;
    let compile = builtins.attr_named(gil, c"compile")?;
    let execute = builtins.attr_named(gil, c"exec")?;
    let dict = c"__dict__";

    let package_name = gil.text("_mod_wsgi")?;
    let package = module_type.call(gil, &[&package_name])?;
    package.set_attr(gil, c"__path__", &gil.list()?)?;
    modules.dict_set(gil, &package_name, &package)?;

    let native = native::module(gil)?;
    modules.dict_set(gil, &gil.text("_mod_wsgi.native")?, &native)?;
    package.set_attr(gil, c"native", &native)?;

    let mut last = package.clone_ref(gil);
    let numbers = wire::log_id::python_source();
    let numbers = (
        c"_mod_wsgi.log_id",
        "<mod_wsgi log_id.py>",
        numbers.as_str(),
    );
    for (name, file, source) in std::iter::once(numbers).chain(SOURCES) {
        let full = gil.text(&name.to_string_lossy())?;
        last = module_type.call(gil, &[&full])?;
        let arguments = [&gil.text(source)?, &gil.text(file)?, &gil.text("exec")?];
        let code = compile.call(gil, &arguments)?;
        modules.dict_set(gil, &full, &last)?;
        execute.call(gil, &[&code, &last.attr_named(gil, dict)?])?;
        let short = name.to_bytes().rsplit(|&b| b == b'.').next();
        let short = CString::new(short.unwrap_or_default()).unwrap_or_default();
        package.set_attr(gil, &short, &last)?;
    }
    Ok(last)
}

fn version(gil: Gil<'_>, (major, (minor, patch)): (u32, (u32, u32))) -> Result<Object, Raised> {
    gil.tuple(&[
        &gil.int(major.into())?,
        &gil.int(minor.into())?,
        &gil.int(patch.into())?,
    ])
}

/// What `interpreter.configure` reads.
fn settings_dict(gil: Gil<'_>, settings: &Settings<'_>) -> Result<Object, Raised> {
    let dict = gil.dict()?;
    let put = |key: &str, value: Object| dict.dict_set(gil, &gil.text(key)?, &value);
    let path_or_none = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => gil.path(bytes),
        None => Ok(gil.none()),
    };
    let WorkerSetup { group, server, .. } = settings.setup;
    put("main", gil.boolean(settings.main))?;
    put("one_process", gil.boolean(server.one_process))?;
    put("process_group", gil.latin1(&group.name)?)?;
    let number = |id: Option<u32>| id.map_or_else(|| Ok(gil.none()), |id| gil.int(id.into()));
    let limits = &group.limits;
    let owner = [&number(limits.script_user)?, &number(limits.script_group)?];
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
    let interval = python.switch_interval as f64 / 1e6;
    put("switch_interval", gil.float(interval)?)?;
    put("restrict_stdin", gil.boolean(python.restrict_stdin))?;
    put("restrict_stdout", gil.boolean(python.restrict_stdout))?;
    put("restrict_signal", gil.boolean(python.restrict_signal))?;
    put("python_eggs", path_or_none(python.eggs.as_deref())?)?;
    let directories = gil.list()?;
    for directory in &python.path {
        directories.append(gil, &gil.path(directory)?)?;
    }
    put("python_path", directories)?;
    put("home", path_or_none(group.place.home.as_deref())?)?;
    put("locale", path_or_none(group.place.locale.as_deref())?)?;
    put("user", gil.path(&group.identity.user)?)?;
    put("user_home", gil.path(&group.identity.user_home)?)?;
    Ok(dict)
}

/// Entries that are the same for every request of this interpreter.
fn template(gil: Gil<'_>, setup: &WorkerSetup, parts: &Parts) -> Result<Object, Raised> {
    let dict = gil.dict()?;
    let put = |key: &str, value: Object| dict.dict_set(gil, name(gil, key)?.get(gil), &value);
    let group = &setup.group;
    let once = group.threads == 1 && group.limits.maximum_requests == 1;
    put("wsgi.version", gil.tuple(&[&gil.int(1)?, &gil.int(0)?])?)?;
    put("wsgi.multithread", gil.boolean(group.threads != 1))?;
    put("wsgi.multiprocess", gil.boolean(group.processes_given))?;
    put("wsgi.run_once", gil.boolean(once))?;
    put("wsgi.input_terminated", gil.boolean(true))?;
    let wrapper = parts.file_wrapper.get(gil).clone_ref(gil);
    put("wsgi.file_wrapper", wrapper)?;
    put("apache.version", version(gil, setup.server.apache_version)?)?;
    put(
        "mod_wsgi.version",
        version(gil, setup.server.module_version)?,
    )?;
    Ok(dict)
}

/// The exception that says why a text is not latin-1, for callers that named the text.
pub fn not_text(gil: Gil<'_>, what: &str, got: &Object) -> Raised {
    let text = format!("{what} must be a str, not {}", got.type_name(gil));
    gil.raise(Exception::Type, &text)
}
