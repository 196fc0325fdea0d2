//! The scripts of one interpreter: which are loaded, which have failed, which have changed.
//!
//! Runs in: request threads, and the main thread for preloading. One script is loaded at a time in
//! an interpreter; a script that failed is never run again there, because what it imported is half
//! done: its first report is kept, and the process is replaced.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use wire::log_id::{SCRIPT_FAILED_EARLIER, SCRIPT_LOADED};
use wire::response::Level;

use super::names::Names;
use super::python_functions::PythonFunctions;
use crate::process::process_log;
use crate::python::gil::{Gil, Raised};
use crate::python::interpreter::describe;
use crate::python::object::{Object, Stored};

/// What became of a script.
enum ScriptEntry {
    Loaded(Arc<LoadedScript>),
    /// Loading it failed.
    Failed(LoadFailure),
}

/// Which file a script is, in which state. A deployment that turns a symbolic link may put another
/// file with the same time in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Microseconds since the epoch.
    modified: i64,
    /// Device and inode, without the bit that Python's numbers have no room for here.
    file: (i64, i64),
}

impl Version {
    /// What the script is now; `None` where there is no such file.
    pub fn now(path: &[u8]) -> Option<Self> {
        Self::of(&Path::new(OsStr::from_bytes(path)).metadata().ok()?)
    }

    pub fn of(facts: &Metadata) -> Option<Self> {
        let whole = facts.mtime().checked_mul(1_000_000)?;
        let number = |number: u64| (number & i64::MAX as u64) as i64;
        Some(Self {
            modified: whole + facts.mtime_nsec() / 1000,
            file: (number(facts.dev()), number(facts.ino())),
        })
    }
}

/// A load that failed.
#[derive(Clone, Copy)]
struct LoadFailure {
    /// What the script was.
    version: Option<Version>,
    /// What clients are answered.
    status: u16,
}

struct LoadedScript {
    namespace: Stored,
    /// Device and inode. The time stands in the namespace.
    file: (i64, i64),
    path: Stored,
    /// When it was loaded, in microseconds of the monotonic clock.
    at: u64,
    /// A request has come for it.
    asked_for: AtomicBool,
}

#[derive(Default)]
struct Table {
    entries: HashMap<Vec<u8>, ScriptEntry>,
    /// The script that is being loaded, and what it was before.
    loading: Option<(Vec<u8>, Option<Version>)>,
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
pub enum Resolution<'g> {
    /// This is what to call; whether this is the first request for the script.
    Ready(Object<'g>, bool),
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
pub struct WantedScript<'a> {
    pub path: &'a [u8],
    /// Its name; `None` wants the script's namespace in its place.
    pub callable: Option<&'a [u8]>,
    /// Outer: whether changes matter; inner: what the script is now, `None` where there is no such
    /// file.
    pub version: Option<Option<Version>>,
    /// When the request was sent, in microseconds of the monotonic clock.
    pub sent: u64,
    /// Told before the script is run, which may take long.
    pub loads: &'a (dyn Fn() + Sync),
    /// Where it runs, for reports: "in the main interpreter of process group 'shop'".
    pub place: &'a str,
}

/// Ends the state of loading also when unwinding.
struct Loading<'a>(&'a Scripts);

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.0.lock().loading = None;
        self.0.loaded.notify_all();
    }
}

impl Scripts {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another file has taken the place of the script that is being loaded here. One that is
    /// missing may be on its way.
    pub fn is_load_outdated(&self) -> bool {
        let loading = self.lock().loading.clone();
        loading.is_some_and(|(path, before)| {
            before.is_some_and(|before| Version::now(&path).is_some_and(|now| now != before))
        })
    }

    fn wait_for_other_load(&self) {
        let table = self.lock();
        let done = self
            .loaded
            .wait_while(table, |table| table.loading.is_some());
        drop(done);
    }
}

type LoadOutcome = Result<LoadedScript, (String, LoadFailure)>;

/// What finds and loads scripts in one interpreter.
#[derive(Clone, Copy)]
pub struct Loader<'a> {
    pub scripts: &'a Scripts,
    pub names: &'a Names,
    pub python: &'a PythonFunctions,
}

impl Loader<'_> {
    /// Finds the callable, loading the script if need be.
    ///
    /// # Errors
    /// An exception that is nobody's fault but ours or memory's.
    pub fn resolve<'g>(
        &self,
        gil: Gil<'g>,
        wanted: &WantedScript<'_>,
    ) -> Result<Resolution<'g>, Raised> {
        let scripts = self.scripts;
        loop {
            let mut table = scripts.lock();
            match table.entries.get(wanted.path) {
                Some(ScriptEntry::Loaded(loaded)) => {
                    let loaded = Arc::clone(loaded);
                    drop(table);
                    return self.ready(gil, wanted, &loaded);
                }
                Some(ScriptEntry::Failed(failure)) => {
                    let LoadFailure { version, status } = *failure;
                    drop(table);
                    if wanted.version.is_some_and(|now| now != version) {
                        return Ok(Resolution::Stale);
                    }
                    let report = format!(
                        "{SCRIPT_FAILED_EARLIER}: {} could not be loaded before: see the first report, {}",
                        String::from_utf8_lossy(wanted.path),
                        wanted.place
                    );
                    return Ok(Resolution::Failed {
                        now: false,
                        status,
                        report,
                    });
                }
                None if table.loading.is_some() => {
                    // One that hangs is mended by changing it.
                    let changed = table.loading.as_ref().is_some_and(|(path, before)| {
                        path == wanted.path
                            && before.is_some()
                            && wanted.version.is_some_and(|now| now != *before)
                    });
                    drop(table);
                    if changed {
                        return Ok(Resolution::Stale);
                    }
                    gil.released(|| scripts.wait_for_other_load());
                }
                None => {
                    table.loading = Some((wanted.path.to_vec(), wanted.version.flatten()));
                    drop(table);
                    let _loading = Loading(scripts);
                    (wanted.loads)();
                    if let Err((report, status)) = self.load(gil, wanted, true) {
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
    pub fn preload(&self, gil: Gil<'_>, path: &[u8], place: &str) -> Result<(), String> {
        let wanted = WantedScript {
            path,
            callable: None,
            version: None,
            sent: 0,
            loads: &|| {},
            place,
        };
        if self.scripts.lock().entries.contains_key(path) {
            return Ok(());
        }
        self.load(gil, &wanted, false).map_err(|(report, _)| report)
    }

    /// Runs the script and notes how that went.
    fn load(
        &self,
        gil: Gil<'_>,
        wanted: &WantedScript<'_>,
        in_request: bool,
    ) -> Result<(), (String, u16)> {
        let unexplained = LoadFailure {
            version: None,
            status: 500,
        };
        let outcome = self
            .run(gil, wanted, in_request)
            .unwrap_or_else(|raised| Err((describe(gil, raised), unexplained)));
        let (entry, result) = match outcome {
            Ok(loaded) => (ScriptEntry::Loaded(Arc::new(loaded)), Ok(())),
            Err((report, failure)) => (ScriptEntry::Failed(failure), Err((report, failure.status))),
        };
        let mut table = self.scripts.lock();
        table.entries.insert(wanted.path.to_vec(), entry);
        result
    }

    fn run(
        &self,
        gil: Gil<'_>,
        wanted: &WantedScript<'_>,
        in_request: bool,
    ) -> Result<LoadOutcome, Raised> {
        let path = gil.path(wanted.path)?;
        let place = gil.text(wanted.place)?;
        let in_request = gil.boolean(in_request);
        let arguments = [&path, &place, &in_request];
        let begun = os::clock::monotonic_us();
        let pair = self.python.load.bind(gil).call(&arguments)?;
        let first = pair.item(0).unwrap_or_else(|| gil.none());
        let version = match pair.item(1) {
            Some(facts) if facts.is_tuple() => {
                let number = |index| facts.item(index).map_or(Ok(0), |item| item.to_int());
                Some(Version {
                    modified: number(0)?,
                    file: (number(1)?, number(2)?),
                })
            }
            _ => None,
        };
        if first.is_text() {
            let status = match pair.item(2) {
                Some(status) => u16::try_from(status.to_int()?).unwrap_or(500),
                None => 500,
            };
            return Ok(Err((first.to_text()?, LoadFailure { version, status })));
        }
        let text = format!(
            "{SCRIPT_LOADED}: {} was loaded in {} ms, {}",
            String::from_utf8_lossy(wanted.path),
            (os::clock::monotonic_us() - begun) / 1000,
            wanted.place
        );
        gil.released(|| process_log::record_at(Level::Info, text.as_bytes()));
        Ok(Ok(LoadedScript {
            namespace: Stored::new(gil, first),
            file: version.map_or((0, 0), |version| version.file),
            path: Stored::new(gil, path),
            at: os::clock::monotonic_us(),
            asked_for: AtomicBool::new(false),
        }))
    }

    /// The callable of a loaded script, unless the script has changed.
    fn ready<'g>(
        &self,
        gil: Gil<'g>,
        wanted: &WantedScript<'_>,
        loaded: &LoadedScript,
    ) -> Result<Resolution<'g>, Raised> {
        let namespace = loaded.namespace.bind(gil);
        if let Some(now) = wanted.version {
            // The script may set its `__mtime__` to 0 to have itself loaded anew.
            let then = match namespace.dict_get(self.names.mtime.bind(gil))? {
                Some(time) if time.is_int() => time.to_int().map_or_else(
                    |raised| {
                        gil.clear(raised);
                        None
                    },
                    Some,
                ),
                _ => None,
            };
            let same = now.is_some_and(|now| then == Some(now.modified) && loaded.file == now.file);
            if !same {
                return Ok(Resolution::Stale);
            }
            let own = self.names.reload_required.bind(gil);
            // Not by the request it was loaded for: that could go on for ever.
            if loaded.at < wanted.sent && namespace.dict_get(own)?.is_some() {
                let ask = self.python.must_reload.bind(gil);
                let answer = ask.call(&[namespace, loaded.path.bind(gil)])?;
                if answer.is_true()? {
                    return Ok(Resolution::Stale);
                }
            }
        }
        let usual = self.names.application.bind(gil);
        let found = match wanted.callable {
            None => Some(namespace.clone_ref()),
            Some(b"application") => namespace.dict_get(usual)?,
            Some(name) => namespace.dict_get(&gil.latin1(name)?)?,
        };
        match found {
            Some(callable) => {
                let first = !loaded.asked_for.load(Ordering::Relaxed)
                    && !loaded.asked_for.swap(true, Ordering::Relaxed);
                Ok(Resolution::Ready(callable, first))
            }
            None => {
                let name = gil.latin1(wanted.callable.unwrap_or_default())?;
                let place = gil.text(wanted.place)?;
                let arguments = [namespace, &name, loaded.path.bind(gil), &place];
                let report = self.python.missing.bind(gil).call(&arguments)?;
                Ok(Resolution::Missing(report.to_text()?))
            }
        }
    }
}
