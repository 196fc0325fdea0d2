//! The part of the adapter that is written in Python (`crates/runtime/python`), and its functions
//! that are called from Rust.
//!
//! Runs in: the worker. Loaded once by the thread that made the interpreter.

use std::ffi::{CStr, CString};

use crate::python::gil::{Gil, PyResult, Raised};
use crate::python::object::{Object, Stored};

/// Functions written in Python that are called from here, of one interpreter.
pub struct PythonFunctions {
    pub load: Stored,
    pub open_errors: Stored,
    pub serve: Stored,
    pub prepare_service: Stored,
    pub must_reload: Stored,
    pub report: Stored,
    pub stack: Stored,
    pub signalled: Stored,
    pub missing: Stored,
    pub stretch: Stored,
    pub stopping: Stored,
    pub assign: Stored,
    pub run_exit_functions: Stored,
    pub run_post_hooks: Stored,
    pub publish_event: Stored,
    pub file_wrapper: Stored,
    pub ssl_functions: Stored,
    pub request_timeout: Stored,
    /// A list whose one item is what `mod_wsgi.event_callbacks` is.
    pub event_callbacks: Stored,
    pub active_requests: Stored,
}

/// The Python sources, in the order they need each other.
const SOURCES: [(&CStr, &str, &str); 7] = [
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
        c"_mod_wsgi.hooks",
        "<mod_wsgi hooks.py>",
        include_str!("../../python/hooks.py"),
    ),
    (
        c"_mod_wsgi.interpreter",
        "<mod_wsgi interpreter.py>",
        include_str!("../../python/interpreter.py"),
    ),
];

impl PythonFunctions {
    /// Loads the sources into the current interpreter, which gets the settings in `configured`.
    ///
    /// # Errors
    /// The exception of whatever failed.
    pub fn load<'g>(
        gil: Gil<'g>,
        native: &Object<'g>,
        configured: &Object<'g>,
    ) -> Result<Self, Raised> {
        let find = |module: &CStr, function: &CStr| {
            let function = gil.import(module)?.attr_named(function)?;
            Ok(Stored::new(gil, function))
        };
        load_sources(gil, native)?.call_method(c"configure", &[configured])?;
        Ok(Self {
            load: find(c"_mod_wsgi.scripts", c"load")?,
            open_errors: find(c"_mod_wsgi.streams", c"open_errors")?,
            serve: find(c"_mod_wsgi.scripts", c"serve")?,
            prepare_service: find(c"_mod_wsgi.interpreter", c"prepare_service")?,
            must_reload: find(c"_mod_wsgi.scripts", c"must_reload")?,
            report: find(c"_mod_wsgi.report", c"application")?,
            stack: find(c"_mod_wsgi.report", c"stack")?,
            signalled: find(c"_mod_wsgi.module", c"signalled")?,
            missing: find(c"_mod_wsgi.report", c"missing")?,
            stretch: find(c"_mod_wsgi.module", c"stretch")?,
            stopping: find(c"_mod_wsgi.module", c"stopping")?,
            assign: find(c"_mod_wsgi.module", c"assign")?,
            run_exit_functions: find(c"_mod_wsgi.interpreter", c"run_exit_functions")?,
            run_post_hooks: find(c"_mod_wsgi.events", c"run_post_hooks")?,
            publish_event: find(c"_mod_wsgi.module", c"publish_event")?,
            ssl_functions: find(c"_mod_wsgi.hooks", c"ssl_functions")?,
            file_wrapper: find(c"_mod_wsgi.module", c"FileWrapper")?,
            request_timeout: find(c"_mod_wsgi.module", c"RequestTimeout")?,
            event_callbacks: find(c"_mod_wsgi.module", c"_event_callbacks")?,
            active_requests: find(c"_mod_wsgi.module", c"_active_requests")?,
        })
    }
}

/// Puts the package `_mod_wsgi` into `sys.modules` and returns its module `interpreter`.
fn load_sources<'g>(gil: Gil<'g>, native: &Object<'g>) -> PyResult<'g> {
    let modules = gil.import(c"sys")?.attr_named(c"modules")?;
    let module_type = gil.import(c"types")?.attr_named(c"ModuleType")?;
    let builtins = gil.import(c"builtins")?;
    let compile = builtins.attr_named(c"compile")?;
    let execute = builtins.attr_named(c"exec")?;
    let dict = c"__dict__";

    let package_name = gil.text("_mod_wsgi")?;
    let package = module_type.call(&[&package_name])?;
    package.set_attr(c"__path__", &gil.list()?)?;
    modules.dict_set(&package_name, &package)?;

    modules.dict_set(&gil.text("_mod_wsgi.native")?, native)?;
    package.set_attr(c"native", native)?;

    let mut last = package.clone_ref();
    let numbers = wire::log_id::python_source();
    let numbers = (
        c"_mod_wsgi.log_id",
        "<mod_wsgi log_id.py>",
        numbers.as_str(),
    );
    for (name, file, source) in std::iter::once(numbers).chain(SOURCES) {
        let full = gil.text(&name.to_string_lossy())?;
        last = module_type.call(&[&full])?;
        let arguments = [&gil.text(source)?, &gil.text(file)?, &gil.text("exec")?];
        let code = compile.call(&arguments)?;
        modules.dict_set(&full, &last)?;
        execute.call(&[&code, &last.attr_named(dict)?])?;
        let short = name.to_bytes().rsplit(|&b| b == b'.').next();
        let short = CString::new(short.unwrap_or_default()).unwrap_or_default();
        package.set_attr(&short, &last)?;
    }
    Ok(last)
}
