//! The scripts of one interpreter: which are loaded, which have failed, which have changed.
//!
//! Runs in: request threads, and the main thread for preloading. One script is loaded at a time in
//! an interpreter; a script that failed is never run again there, because what it imported is half
//! done: its first report is kept, and the process is replaced.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use wire::log_id::NOT_LOADED_BEFORE;

use super::interpreter::describe;
use super::object::{Gil, Object, Raised, Shared};
use super::state::State;

/// What became of a script.
enum Entry {
    Loaded(Arc<Loaded>),
    /// Loading it failed.
    Failed(Failure),
}

/// A load that failed.
#[derive(Clone, Copy)]
struct Failure {
    /// The modification time the script had.
    modified: Option<i64>,
    /// What clients are answered.
    status: u16,
}

struct Loaded {
    namespace: Shared,
    path: Shared,
    /// When it was loaded, in microseconds of the monotonic clock.
    at: u64,
    /// A request has come for it.
    asked_for: AtomicBool,
}

#[derive(Default)]
struct Table {
    entries: HashMap<Vec<u8>, Entry>,
    loading: bool,
}

/// The scripts of one interpreter.
///
/// Its lock is held for a look or a note only, never over Python code and never while waiting for
/// the GIL, so that it may be waited for with the GIL held.
#[derive(Default)]
pub struct Scripts {
    table: Mutex<Table>,
    loaded: Condvar,
}

/// Where a script stands with a request.
pub enum Resolution {
    /// This is what to call; whether this is the first request for the script.
    Ready(Object, bool),
    /// The file has changed since it was loaded, or since loading it failed.
    Stale,
    /// Loading it failed, now or earlier. A report for the log.
    Failed {
        now: bool,
        status: u16,
        report: String,
    },
    /// It has no such callable. A report for the log.
    Missing(String),
}

/// Which script is wanted, and on what terms.
pub struct Wanted<'a> {
    pub path: &'a [u8],
    pub callable: &'a [u8],
    /// Outer: whether changes matter; inner: the modification time in microseconds, `None` where
    /// there is no such file.
    pub modified: Option<Option<i64>>,
    /// When the request was sent, in microseconds of the monotonic clock.
    pub sent: u64,
    /// Where it runs, for reports: "in the main interpreter of process group 'shop'".
    pub place: &'a str,
}

/// Ends the state of loading also when unwinding.
struct Loading<'a>(&'a Scripts);

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.0.lock().loading = false;
        self.0.loaded.notify_all();
    }
}

impl Scripts {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_other_load(&self) {
        let table = self.lock();
        let done = self.loaded.wait_while(table, |table| table.loading);
        drop(done);
    }
}

/// Finds the callable, loading the script if need be.
///
/// # Errors
/// An exception that is nobody's fault but ours or memory's.
pub fn resolve(gil: Gil<'_>, state: &State, wanted: &Wanted<'_>) -> Result<Resolution, Raised> {
    let scripts = &state.scripts;
    loop {
        let mut table = scripts.lock();
        match table.entries.get(wanted.path) {
            Some(Entry::Loaded(loaded)) => {
                let loaded = Arc::clone(loaded);
                drop(table);
                return ready(gil, state, wanted, &loaded);
            }
            Some(Entry::Failed(failure)) => {
                let Failure { modified, status } = *failure;
                drop(table);
                if wanted.modified.is_some_and(|now| now != modified) {
                    return Ok(Resolution::Stale);
                }
                let report = format!(
                    "{NOT_LOADED_BEFORE}: {} could not be loaded before: see the first report, {}",
                    String::from_utf8_lossy(wanted.path),
                    wanted.place
                );
                return Ok(Resolution::Failed {
                    now: false,
                    status,
                    report,
                });
            }
            None if table.loading => {
                drop(table);
                gil.released(|| scripts.wait_for_other_load());
            }
            None => {
                table.loading = true;
                drop(table);
                let _loading = Loading(scripts);
                if let Err((report, status)) = load(gil, state, wanted, true) {
                    return Ok(Resolution::Failed {
                        now: true,
                        status,
                        report,
                    });
                }
            }
        }
    }
}

/// Loads a script before there is a request for it.
///
/// # Errors
/// The report for the log.
pub fn preload(gil: Gil<'_>, state: &State, path: &[u8], place: &str) -> Result<(), String> {
    let wanted = Wanted {
        path,
        callable: b"",
        modified: None,
        sent: 0,
        place,
    };
    if state.scripts.lock().entries.contains_key(path) {
        return Ok(());
    }
    load(gil, state, &wanted, false).map_err(|(report, _)| report)
}

/// Runs the script and notes how that went.
fn load(
    gil: Gil<'_>,
    state: &State,
    wanted: &Wanted<'_>,
    in_request: bool,
) -> Result<(), (String, u16)> {
    let unexplained = Failure {
        modified: None,
        status: 500,
    };
    let outcome = run(gil, state, wanted, in_request)
        .unwrap_or_else(|raised| Err((describe(gil, raised), unexplained)));
    let (entry, result) = match outcome {
        Ok(loaded) => (Entry::Loaded(Arc::new(loaded)), Ok(())),
        Err((report, failure)) => (Entry::Failed(failure), Err((report, failure.status))),
    };
    let mut table = state.scripts.lock();
    table.entries.insert(wanted.path.to_vec(), entry);
    result
}

type Ran = Result<Loaded, (String, Failure)>;

fn run(gil: Gil<'_>, state: &State, wanted: &Wanted<'_>, in_request: bool) -> Result<Ran, Raised> {
    let path = gil.path(wanted.path)?;
    let place = gil.text(wanted.place)?;
    let in_request = gil.boolean(in_request);
    let arguments = [&path, &place, &in_request];
    let pair = state.parts.load.get(gil).call(gil, &arguments)?;
    let first = pair.item(gil, 0).unwrap_or_else(|| gil.none());
    let modified = match pair.item(gil, 1) {
        Some(time) if time.is_int() => Some(time.to_int(gil)?),
        _ => None,
    };
    if first.is_text() {
        let status = match pair.item(gil, 2) {
            Some(status) => u16::try_from(status.to_int(gil)?).unwrap_or(500),
            None => 500,
        };
        return Ok(Err((first.to_text(gil)?, Failure { modified, status })));
    }
    Ok(Ok(Loaded {
        namespace: Shared::new(first),
        path: Shared::new(path),
        at: os::clock::monotonic_us(),
        asked_for: AtomicBool::new(false),
    }))
}

/// The callable of a loaded script, unless the script has changed.
fn ready(
    gil: Gil<'_>,
    state: &State,
    wanted: &Wanted<'_>,
    loaded: &Loaded,
) -> Result<Resolution, Raised> {
    let namespace = loaded.namespace.get(gil);
    if let Some(now) = wanted.modified {
        // The script may set its `__mtime__` to 0 to have itself loaded anew.
        let then = match namespace.dict_get(gil, state.names.mtime.get(gil))? {
            Some(time) if time.is_int() => time.to_int(gil).map_or_else(
                |raised| {
                    gil.clear(raised);
                    None
                },
                Some,
            ),
            _ => None,
        };
        if then.is_none() || then != now {
            return Ok(Resolution::Stale);
        }
        let own = state.names.reload_required.get(gil);
        // Not by the request it was loaded for: that could go on for ever.
        if loaded.at < wanted.sent && namespace.dict_get(gil, own)?.is_some() {
            let ask = state.parts.must_reload.get(gil);
            let answer = ask.call(gil, &[namespace, loaded.path.get(gil)])?;
            if answer.is_true(gil)? {
                return Ok(Resolution::Stale);
            }
        }
    }
    let usual = state.names.application.get(gil);
    let found = if wanted.callable == b"application" {
        namespace.dict_get(gil, usual)?
    } else {
        namespace.dict_get(gil, &gil.latin1(wanted.callable)?)?
    };
    match found {
        Some(callable) => {
            let first = !loaded.asked_for.load(Ordering::Relaxed)
                && !loaded.asked_for.swap(true, Ordering::Relaxed);
            Ok(Resolution::Ready(callable, first))
        }
        None => {
            let name = gil.latin1(wanted.callable)?;
            let place = gil.text(wanted.place)?;
            let arguments = [namespace, &name, loaded.path.get(gil), &place];
            let report = state.parts.missing.get(gil).call(gil, &arguments)?;
            Ok(Resolution::Missing(report.to_text(gil)?))
        }
    }
}
