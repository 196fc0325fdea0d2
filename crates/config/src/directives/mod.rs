//! Every directive of the module: the one table that httpd's command records, the pages in
//! `docs/directives` and the checks share. Each row is written beside its setter, in the file of
//! its subject.
//!
//! Runs in: the Apache parent while the configuration is read; a child for `.htaccess`.

pub mod access;
pub mod daemon;
pub mod dropped;
pub mod mapping;
pub mod python;
pub mod requests;
pub mod telemetry;
#[cfg(test)]
mod tests;

use super::directive::{on_off, Directive, Line};
use super::error::{Invalid, Problem};
use super::expand::Template;
use super::reading::Route;
use super::words::next_pair;

/// Every directive, in the order of the documentation.
pub const DIRECTIVES: &[Directive] = &[
    // Which script answers.
    mapping::SCRIPT_ALIAS,
    mapping::SCRIPT_ALIAS_MATCH,
    mapping::IMPORT_SCRIPT,
    mapping::HANDLER_SCRIPT,
    mapping::DISPATCH_SCRIPT,
    mapping::CALLABLE_OBJECT,
    // Where it runs.
    daemon::DAEMON_PROCESS,
    daemon::PROCESS_GROUP,
    daemon::APPLICATION_GROUP,
    daemon::RESTRICT_PROCESS,
    daemon::RESTRICT_EMBEDDED,
    daemon::SOCKET_PREFIX,
    daemon::SOCKET_ROTATION,
    daemon::ACCEPT_MUTEX,
    daemon::SCRIPT_RELOADING,
    // How a request and its response are carried.
    requests::PASS_AUTHORIZATION,
    requests::CHUNKED_REQUEST,
    requests::MAP_HEAD_TO_GET,
    requests::ERROR_OVERRIDE,
    requests::LOCAL_REDIRECT,
    requests::ENABLE_SENDFILE,
    requests::EVENTLET_COMPAT,
    requests::IGNORE_ACTIVITY,
    requests::PASS_APACHE_REQUEST,
    requests::TRUSTED_PROXY_HEADERS,
    requests::TRUSTED_PROXIES,
    requests::CASE_SENSITIVITY,
    // Python.
    python::PYTHON_HOME,
    python::PYTHON_PATH,
    python::PYTHON_EGGS,
    python::PYTHON_OPTIMIZE,
    python::PYTHON_HASH_SEED,
    python::PYTHON_WARNINGS,
    python::DONT_WRITE_BYTECODE,
    python::DESTROY_INTERPRETER,
    python::INTERPRETER_OPTIONS,
    python::SWITCH_INTERVAL,
    python::PER_INTERPRETER_GIL,
    python::FREE_THREADING,
    python::RESTRICT_STDIN,
    python::RESTRICT_STDOUT,
    python::RESTRICT_SIGNAL,
    // Access control.
    access::ACCESS_SCRIPT,
    access::AUTH_USER_SCRIPT,
    access::AUTH_GROUP_SCRIPT,
    access::GROUP_AUTHORITATIVE,
    // Figures.
    telemetry::SERVER_METRICS,
    telemetry::TELEMETRY_SERVICE,
    telemetry::TELEMETRY_OPTIONS,
    telemetry::SLOW_REQUESTS,
    telemetry::VERBOSE_DEBUGGING,
    // Of earlier versions.
    dropped::LAZY_INITIALIZATION,
    dropped::NEW_RELIC_CONFIG_FILE,
    dropped::NEW_RELIC_ENVIRONMENT,
];

/// The row called `name`, in any case, as httpd compares names.
pub fn find(name: &str) -> Option<&'static Directive> {
    DIRECTIVES
        .iter()
        .find(|row| row.name.eq_ignore_ascii_case(name))
}

/// Options that follow the main arguments of a directive about a script. Which of them a
/// directive takes is its own business: see [`script_options`].
#[derive(Default)]
struct ScriptOptions {
    process_group: Option<Template>,
    application_group: Option<Template>,
    callable_object: Option<Vec<u8>>,
    pass_authorization: Option<bool>,
}

const PROCESS_GROUP_OPTION: &str = "process-group";
const APPLICATION_GROUP_OPTION: &str = "application-group";
const CALLABLE_OBJECT_OPTION: &str = "callable-object";
const PASS_AUTHORIZATION_OPTION: &str = "pass-authorization";

/// Reads the `option=value` pairs in `rest`; only the options in `allowed` are known.
fn script_options(
    line: &Line<'_>,
    mut rest: &[u8],
    allowed: &[&'static str],
) -> Result<ScriptOptions, Invalid> {
    let mut options = ScriptOptions::default();
    let unknown = |word| line.unknown_option(word, allowed.iter().copied());
    while let Some((pair, after)) = next_pair(rest).map_err(unknown)? {
        rest = after;
        let Some(&option) = allowed.iter().find(|name| name.as_bytes() == pair.option) else {
            return Err(unknown([pair.option, pair.value].join(&b'=')));
        };
        let refuse = |expected: &'static str| {
            let value = pair.value.clone();
            line.refuse(Problem::OptionValue {
                option,
                value,
                expected: expected.into(),
            })
        };
        if pair.value.is_empty() {
            return Err(refuse(
                "a value; %{GLOBAL} stands for the empty name of a group",
            ));
        }
        match option {
            PROCESS_GROUP_OPTION => options.process_group = Some(Template::parse(&pair.value)),
            APPLICATION_GROUP_OPTION => {
                options.application_group = Some(Template::parse(&pair.value))
            }
            CALLABLE_OBJECT_OPTION => options.callable_object = Some(pair.value),
            _ => {
                let flag = on_off(&pair.value).ok_or_else(|| refuse("On or Off"))?;
                options.pass_authorization = Some(flag);
            }
        }
    }
    Ok(options)
}

/// Notes for the checks after the whole configuration that this directive sends requests to
/// these groups; `None` leaves the choice to other directives.
fn note_route(line: &mut Line<'_>, process: Option<&Template>, application: Option<&Template>) {
    line.reading.routes.push(Route {
        directive: line.directive.name,
        process_group: process.cloned(),
        application_group: application.cloned(),
        place: line.place.clone(),
    });
}
