//! Which interpreter an application group has.
//!
//! Runs in: request threads and the main thread. Nothing here waits except
//! [`SubInterpreter::interpreter`], without the GIL. The first named group gets the main
//! interpreter, so that an application that is alone in its process, as most are, has the one in
//! which every extension module works; unless it is to be set up in another way than the main one, or
//! to have a GIL of its own. `%{GLOBAL}`, the empty name, is always the main interpreter; if the
//! configuration can send such requests to this process too, all named groups get sub-interpreters,
//! so that no two groups share one by accident.
//!
//! Where a name depends on what a client sends (the host or port of `Host`, a request variable), a
//! client can make up any number of names. Sub-interpreters with such names have a bound of their
//! own, so that they never take the place of one that the configuration names.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use wire::control::WorkerSetup;
use wire::group::{ProcessGroup, PythonOptions};

use crate::python::interpreter::{
    describe, NewInterpreterFromConfig, SubInterpreterGil, ThreadState,
};
use crate::wsgi::state::Interpreter;
use crate::wsgi::state::{set_up, Settings};

/// Maximum number of sub-interpreters of a process whose names the configuration gives.
const MAX_CONFIGURED: usize = 256;
/// Maximum number of sub-interpreters of a process whose names clients can choose.
pub const MAX_NAMED_BY_CLIENTS: usize = 64;

/// Who decides what an application group is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    Configuration,
    /// See [`wire::request::Flags::NAMED_BY_CLIENT`].
    Client,
}

/// The interpreters of the process.
pub struct Interpreters {
    main: &'static Interpreter,
    /// Named groups never get the main interpreter.
    reserved: bool,
    /// Says which groups may have it.
    options: PythonOptions,
    /// The named group that has the main interpreter.
    main_name: OnceLock<Vec<u8>>,
    /// The main interpreter has that name.
    main_is_named: AtomicBool,
    /// There are sub-interpreters, or one is about to be created.
    has_subs: AtomicBool,
    subs: Mutex<SubInterpreters>,
}

/// The sub-interpreters by their names.
#[derive(Default)]
struct SubInterpreters {
    all: HashMap<Vec<u8>, Arc<SubInterpreter>>,
    /// How many of them a client has named.
    named_by_clients: usize,
}

/// A sub-interpreter, created by the first thread that needs it.
pub struct SubInterpreter {
    pub name: Vec<u8>,
    interpreter: OnceLock<Result<&'static Interpreter, String>>,
}

/// Where a group's requests run.
pub enum Placement {
    Main,
    /// In the main interpreter, after it has been given the group's name. Giving it twice does no
    /// harm.
    MainFrom(Vec<u8>),
    Sub(Arc<SubInterpreter>),
    /// There are too many already.
    Full(NamedBy),
}

impl Interpreters {
    pub fn new(main: &'static Interpreter, group: &ProcessGroup) -> Self {
        Self {
            main,
            reserved: group.global_reachable,
            options: group.python.clone(),
            main_name: OnceLock::new(),
            main_is_named: AtomicBool::new(false),
            has_subs: AtomicBool::new(false),
            subs: Mutex::default(),
        }
    }

    pub fn main(&self) -> &'static Interpreter {
        self.main
    }

    /// Where requests of the group run.
    pub fn find(&self, name: &[u8], named_by: NamedBy) -> Placement {
        if name.is_empty() {
            return Placement::Main;
        }
        if !self.reserved {
            let owner = match self.main_name.get() {
                Some(owner) => Some(owner),
                None if self.options.fits_main_interpreter(name) => {
                    Some(self.main_name.get_or_init(|| name.to_vec()))
                }
                None => None,
            };
            if owner.is_some_and(|owner| owner == name) {
                return match self.main_is_named.load(Ordering::Acquire) {
                    true => Placement::Main,
                    false => Placement::MainFrom(name.to_vec()),
                };
            }
        }
        let mut subs = self.subs.lock().unwrap_or_else(PoisonError::into_inner);
        match subs.find(name, named_by) {
            Some(sub) => {
                self.has_subs.store(true, Ordering::Relaxed);
                Placement::Sub(sub)
            }
            None => Placement::Full(named_by),
        }
    }

    /// Notes that the main interpreter has been given its name.
    pub fn note_main_is_named(&self) {
        self.main_is_named.store(true, Ordering::Release);
    }

    /// Requests may belong to other interpreters than the main one.
    pub fn has_subs(&self) -> bool {
        self.has_subs.load(Ordering::Relaxed)
    }

    /// The sub-interpreters that exist.
    pub fn subs(&self) -> Vec<&'static Interpreter> {
        let subs = self.subs.lock().unwrap_or_else(PoisonError::into_inner);
        subs.all
            .values()
            .filter_map(|sub| sub.interpreter.get()?.as_ref().ok().copied())
            .collect()
    }
}

impl SubInterpreters {
    /// The one of this name, which is added if there is none; `None` if there are too many.
    fn find(&mut self, name: &[u8], named_by: NamedBy) -> Option<Arc<SubInterpreter>> {
        if let Some(sub) = self.all.get(name) {
            return Some(Arc::clone(sub));
        }
        let has_room = match named_by {
            NamedBy::Configuration => self.all.len() - self.named_by_clients < MAX_CONFIGURED,
            NamedBy::Client => self.named_by_clients < MAX_NAMED_BY_CLIENTS,
        };
        if !has_room {
            return None;
        }
        let sub = Arc::new(SubInterpreter {
            name: name.to_vec(),
            interpreter: OnceLock::new(),
        });
        self.all.insert(name.to_vec(), Arc::clone(&sub));
        self.named_by_clients += usize::from(named_by == NamedBy::Client);
        Some(sub)
    }
}

impl SubInterpreter {
    /// The interpreter, which is created and set up if there is none yet. To be called on a thread
    /// without a thread state.
    ///
    /// # Errors
    /// A sentence for the log, the same each time.
    pub fn interpreter(
        &self,
        main: &'static Interpreter,
        setup: &WorkerSetup,
    ) -> Result<&'static Interpreter, String> {
        self.interpreter
            .get_or_init(|| {
                // Interpreters live until the process ends.
                let options = setup.group.python.of_application_group(&self.name);
                let own_gil = options
                    .own_gil
                    .then(NewInterpreterFromConfig::find)
                    .flatten();
                let gil = own_gil.map_or(SubInterpreterGil::Shared, SubInterpreterGil::Own);
                let interpreter: &'static Interpreter =
                    Box::leak(Box::new(Interpreter::create(main, gil)?));
                let mut thread_state =
                    ThreadState::new(interpreter).ok_or("Python can't make a thread state")?;
                let settings = Settings {
                    setup,
                    main: false,
                    own_gil: own_gil.is_some(),
                    application_group: &self.name,
                };
                thread_state.attach(|gil| {
                    set_up(gil, interpreter, &settings).map_err(|raised| {
                        let why = describe(gil, raised);
                        format!("the interpreter can't be set up: {why}")
                    })
                })?;
                Ok(interpreter)
            })
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_and_configuration_take_no_place_from_each_other() {
        let mut subs = SubInterpreters::default();
        let mut fill = |by: NamedBy, limit: usize| {
            let names = (0..limit + 1).map(|number| format!("{by:?}{number}"));
            let found: Vec<bool> = names
                .map(|name| subs.find(name.as_bytes(), by).is_some())
                .collect();
            assert_eq!(found.iter().filter(|&&found| found).count(), limit);
            assert!(!found[limit]);
        };
        fill(NamedBy::Client, MAX_NAMED_BY_CLIENTS);
        fill(NamedBy::Configuration, MAX_CONFIGURED);
        // Whoever has a place keeps it.
        for by in [NamedBy::Client, NamedBy::Configuration] {
            assert!(subs.find(b"Client0", by).is_some());
            assert!(subs.find(b"Configuration0", by).is_some());
        }
    }
}
