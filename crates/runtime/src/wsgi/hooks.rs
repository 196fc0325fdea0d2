//! One question of a hook of httpd: calls the script's function and judges what it returns.
//!
//! Runs in: request threads, attached to an interpreter. An Apache child asks whether a client may
//! enter, or where a request is to go. What is no proper answer is a record for the log and a failed
//! request: the child then lets nobody in. What arguments say, a password for one, is in no record.

use wire::hook::{decode_arguments, Answer, Role, MAX_NAMES};
use wire::log_id::{
    ACCESS_ANSWER_UNFIT, ACCESS_FUNCTION_MISSING, CHOICE_UNFIT, GROUPS_FUNCTION_MISSING,
    GROUPS_NOT_ITERABLE, GROUP_NOT_TEXT, GROUP_UNENCODABLE, HASH_EMPTY, HASH_FUNCTION_MISSING,
    HASH_UNFIT, HOOK_ANSWER_TOO_LONG, PASSWORD_ANSWER_UNFIT, PASSWORD_FUNCTION_MISSING,
    USER_NAME_EMPTY,
};
use wire::response::{End, Level};

use super::application::Task;
use super::current::Serving;
use super::environ;
use super::errors::ErrorStream;
use super::send::{log, with_response};
use crate::exchange::response::Conclusion;
use crate::process::process_log;
use crate::python::gil::{Exception, Gil, PyResult, Raised};
use crate::python::interpreter::describe;
use crate::python::object::Object;

/// Most bytes of what a function returns as one text.
const LONGEST: usize = 8 * 1024;

/// What the function is called with.
pub struct Asked<'g> {
    environ: Object<'g>,
    errors: ErrorStream<'g>,
    arguments: Vec<Object<'g>>,
}

/// Why there is no answer.
enum Refusal {
    Raised(Raised),
    /// A whole record for the log.
    Unfit(String),
}

impl From<Raised> for Refusal {
    fn from(raised: Raised) -> Self {
        Self::Raised(raised)
    }
}

/// An answer, as long as the objects it was found in need not live.
enum Found {
    Plain(Answer<'static>),
    Text(Vec<u8>),
    Names(Vec<Vec<u8>>),
    Choices([Option<Vec<u8>>; 3]),
}

impl Drop for Found {
    fn drop(&mut self) {
        if let Self::Text(text) = self {
            // It may be a hash that opens a realm.
            os::memory::wipe(text);
        }
    }
}

/// Builds what the function is called with. Afterwards the request's bytes are not needed.
///
/// # Errors
/// For want of memory, and where the child has sent what is no question.
pub fn prepare<'g>(gil: Gil<'g>, task: &Task<'_>) -> Result<Asked<'g>, Raised> {
    let request = task.request;
    let arguments = decode_arguments(request.prologue.role, request.body)
        .map_err(|why| gil.raise(Exception::Runtime, &why.to_string()))?;
    let state = task.state;
    let errors = state.errors.lend(gil, &state.python, task.exchange)?;
    Ok(Asked {
        environ: environ::build_for_hook(gil, state, request, errors.text())?,
        errors,
        arguments: arguments
            .into_iter()
            .map(|argument| gil.latin1(argument))
            .collect::<Result<_, _>>()?,
    })
}

/// Asks the script whose globals are `namespace`, and puts the answer in line. Returns the last word.
pub fn ask<'g>(
    gil: Gil<'g>,
    task: &Task<'_>,
    namespace: &Object<'g>,
    asked: Asked<'g>,
) -> Conclusion {
    let (state, exchange) = (task.state, task.exchange);
    let Asked {
        environ,
        errors,
        arguments,
    } = asked;
    let began = os::clock::monotonic_us();
    let found = gil.dict().map_err(Refusal::from).and_then(|data| {
        let _serving = Serving::begin(gil, exchange, &data, None);
        let found = question(gil, task, namespace, &environ, &arguments);
        task.progress.returned(gil);
        // Destructors of the script's objects may still print into this request's log.
        drop((environ, arguments));
        if let Some(record) = with_response(gil, exchange, |response| response.flush_lines()) {
            gil.released(|| process_log::record(&record));
        }
        found
    });
    let status = match found {
        Ok(found) => {
            match with_response(gil, exchange, |response| response.answer(&found.answer())) {
                Ok(()) => None,
                Err(_too_long) => {
                    log(gil, exchange, Level::Error, &too_long(task));
                    Some(500)
                }
            }
        }
        Err(Refusal::Unfit(record)) => {
            log(gil, exchange, Level::Error, &record);
            Some(500)
        }
        Err(Refusal::Raised(raised)) => Some(report(gil, task, raised)),
    };
    state.errors.take_back(gil, errors);
    match status {
        Some(status) => Conclusion::Fail(status, None),
        None => Conclusion::End(End {
            queue_time: task.queue_time,
            application_time: os::clock::monotonic_us().saturating_sub(began),
            pid: task.pid,
            thread: task.thread,
            ..End::default()
        }),
    }
}

impl Found {
    fn answer(&self) -> Answer<'_> {
        match self {
            Self::Plain(plain) => plain.clone(),
            Self::Text(text) => Answer::Text(text),
            Self::Names(names) => Answer::Names(names.iter().map(Vec::as_slice).collect()),
            Self::Choices([process, application, callable]) => Answer::Choices([
                process.as_deref(),
                application.as_deref(),
                callable.as_deref(),
            ]),
        }
    }
}

/// Calls what the role asks for, and judges what that returns.
fn question<'g>(
    gil: Gil<'g>,
    task: &Task<'_>,
    namespace: &Object<'g>,
    environ: &Object<'g>,
    arguments: &[Object<'g>],
) -> Result<Found, Refusal> {
    let role = task.request.prologue.role;
    if role == Role::Dispatch {
        return choices(gil, task, namespace, environ);
    }
    let name = role.function();
    let Some(function) = namespace.dict_get(&gil.text(name)?)? else {
        return Err(Refusal::Unfit(missing(task, role)));
    };
    let all: Vec<_> = std::iter::once(environ).chain(arguments).collect();
    let answer = function.call(&all)?;
    match role {
        Role::Access => access(gil, task, &answer),
        Role::Password => password(gil, task, &answer),
        Role::RealmHash => realm_hash(gil, task, &answer),
        _ => groups(gil, task, &answer),
    }
}

/// None, True or False and nothing that is only like them.
fn plain<'g>(gil: Gil<'g>, answer: &Object<'g>) -> Option<Found> {
    let plain = if answer.is_none() {
        Answer::None
    } else if answer.is(&gil.boolean(true)) {
        Answer::True
    } else if answer.is(&gil.boolean(false)) {
        Answer::False
    } else {
        return None;
    };
    Some(Found::Plain(plain))
}

fn access<'g>(gil: Gil<'g>, task: &Task<'_>, answer: &Object<'g>) -> Result<Found, Refusal> {
    plain(gil, answer).ok_or_else(|| {
        let what = "must return True, False or None";
        unfit(task, ACCESS_ANSWER_UNFIT, what, Some(answer))
    })
}

fn password<'g>(gil: Gil<'g>, task: &Task<'_>, answer: &Object<'g>) -> Result<Found, Refusal> {
    if let Some(found) = plain(gil, answer) {
        return Ok(found);
    }
    if !answer.is_text() {
        let what = "must return True, False, None or a user name as str";
        return Err(unfit(task, PASSWORD_ANSWER_UNFIT, what, Some(answer)));
    }
    // The user's name is UTF-8 to httpd; the rest of latin-1 text.
    let name = text(answer.call_method(c"encode", &[&gil.text("utf-8")?])?, task)?;
    match name.is_empty() {
        false => Ok(Found::Text(name)),
        true => Err(unfit(
            task,
            USER_NAME_EMPTY,
            "has returned an empty user name",
            None,
        )),
    }
}

fn realm_hash<'g>(_gil: Gil<'g>, task: &Task<'_>, answer: &Object<'g>) -> Result<Found, Refusal> {
    if answer.is_none() {
        return Ok(Found::Plain(Answer::None));
    }
    let hash = match (answer.as_bytes(), answer.is_text()) {
        (Some(_), _) => text(answer.clone_ref(), task)?,
        (None, true) => text(answer.to_latin1()?, task)?,
        (None, false) => {
            let what = "must return None or the hash as str or bytes";
            return Err(unfit(task, HASH_UNFIT, what, Some(answer)));
        }
    };
    match hash.is_empty() {
        false => Ok(Found::Text(hash)),
        true => Err(unfit(task, HASH_EMPTY, "has returned an empty hash", None)),
    }
}

fn groups<'g>(gil: Gil<'g>, task: &Task<'_>, answer: &Object<'g>) -> Result<Found, Refusal> {
    let iterator = answer.iterator().map_err(|raised| {
        if !Exception::Type.is_set(gil, &raised) {
            return Refusal::Raised(raised);
        }
        gil.clear(raised);
        let what = "must return an iterable of names";
        unfit(task, GROUPS_NOT_ITERABLE, what, Some(answer))
    })?;
    let mut names = Vec::new();
    let mut bytes = 0;
    while let Some(item) = iterator.next()? {
        let name = match item.is_text() {
            true => item.to_latin1().map_err(|raised| {
                gil.clear(raised);
                let what = "has returned a name that is not latin-1 text; return it as bytes";
                unfit(task, GROUP_UNENCODABLE, what, None)
            })?,
            false => item.clone_ref(),
        };
        let Some(name) = name.as_bytes() else {
            let what = "must return names of groups as str or bytes";
            return Err(unfit(task, GROUP_NOT_TEXT, what, Some(&item)));
        };
        bytes += name.len();
        if names.len() == MAX_NAMES || bytes > 4 * LONGEST {
            return Err(Refusal::Unfit(too_long(task)));
        }
        names.push(name.to_vec());
    }
    Ok(Found::Names(names))
}

/// What the three functions say, those there are, in the order they are needed.
fn choices<'g>(
    gil: Gil<'g>,
    task: &Task<'_>,
    namespace: &Object<'g>,
    environ: &Object<'g>,
) -> Result<Found, Refusal> {
    let mut choices = [None, None, None];
    let names = ["process_group", "application_group", "callable_object"];
    for (choice, name) in choices.iter_mut().zip(names) {
        let Some(function) = namespace.dict_get(&gil.text(name)?)? else {
            continue;
        };
        let answer = function.call(&[environ])?;
        if answer.is_none() {
            continue;
        }
        let answer = match answer.is_text() {
            true => answer.to_latin1()?,
            false => answer,
        };
        if answer.as_bytes().is_none() {
            let script = String::from_utf8_lossy(task.request.prologue.script);
            return Err(Refusal::Unfit(format!(
                "{CHOICE_UNFIT}: {name}() of {script} must return None or a name as str or bytes, and \
                 has returned {}",
                answer.type_name()
            )));
        }
        *choice = Some(text(answer, task)?);
    }
    Ok(Found::Choices(choices))
}

/// A copy of a bytes object that a text of httpd's can be made of.
fn text(object: Object<'_>, task: &Task<'_>) -> Result<Vec<u8>, Refusal> {
    match object.as_bytes() {
        Some(bytes) if bytes.len() <= LONGEST && !bytes.contains(&0) => Ok(bytes.to_vec()),
        _ => Err(Refusal::Unfit(too_long(task))),
    }
}

fn called(task: &Task<'_>) -> String {
    let prologue = &task.request.prologue;
    let script = String::from_utf8_lossy(prologue.script);
    format!("{}() of {script}", prologue.role.function())
}

fn unfit(
    task: &Task<'_>,
    id: wire::log_id::LogId,
    what: &str,
    returned: Option<&Object<'_>>,
) -> Refusal {
    let called = called(task);
    Refusal::Unfit(match returned {
        Some(object) => format!(
            "{id}: {called} {what}, and has returned {}",
            object.type_name()
        ),
        None => format!("{id}: {called} {what}"),
    })
}

fn too_long(task: &Task<'_>) -> String {
    format!(
        "{HOOK_ANSWER_TOO_LONG}: {} has returned text that is too long or holds a NUL character",
        called(task)
    )
}

fn missing(task: &Task<'_>, role: Role) -> String {
    let id = match role {
        Role::Access => ACCESS_FUNCTION_MISSING,
        Role::Password => PASSWORD_FUNCTION_MISSING,
        Role::RealmHash => HASH_FUNCTION_MISSING,
        _ => GROUPS_FUNCTION_MISSING,
    };
    format!(
        "{id}: {} does not define the function {}(), {}",
        String::from_utf8_lossy(task.request.prologue.script),
        role.function(),
        task.place
    )
}

/// Puts what was raised into the request's log. Returns the status of the failure.
fn report(gil: Gil<'_>, task: &Task<'_>, raised: Raised) -> u16 {
    let error = gil.take_exception(raised);
    // That somebody else has ended the request was told by them.
    if task.progress.is_given_up() {
        return 500;
    }
    if error.is_instance(task.state.python.request_timeout.bind(gil)) {
        let sentence = gil.released(|| (task.overdue)());
        log(gil, task.exchange, Level::Info, &sentence);
        return 504;
    }
    let record = described(gil, task, &error).unwrap_or_else(|raised| describe(gil, raised));
    log(gil, task.exchange, Level::Error, &record);
    500
}

fn described(gil: Gil<'_>, task: &Task<'_>, error: &Object<'_>) -> Result<String, Raised> {
    let path = gil.path(task.request.prologue.script)?;
    let place = gil.text(task.place)?;
    let report: PyResult<'_> = task
        .state
        .python
        .report
        .bind(gil)
        .call(&[error, &path, &place]);
    report?.to_text()
}
