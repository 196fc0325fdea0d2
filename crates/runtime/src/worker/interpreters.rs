//! Which interpreter an application group has.
//!
//! Runs in: request threads and the main thread. Nothing is waited for here but, without the GIL,
//! [`Sub::interpreter`]. The first group with a name takes the main interpreter, so that an
//! application alone in its process, as most are, has the one in which every extension module works.
//! `%{GLOBAL}`, the empty name, always is the main one; where the configuration can send such
//! requests here too, all groups with a name get sub-interpreters, so that nobody shares by accident.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use wire::control::WorkerSetup;

use crate::python::interpreter::{describe, ThreadState};
use crate::wsgi::state::Interpreter;
use crate::wsgi::state::{set_up, Settings};

/// Most sub-interpreters of a process: the names may come from requests (`%{HOST}`).
const MOST: usize = 256;

/// The interpreters of the process.
pub struct Groups {
    main: &'static Interpreter,
    /// Named groups never get the main interpreter.
    reserved: bool,
    /// The named group that has the main interpreter.
    main_name: OnceLock<Vec<u8>>,
    /// The main interpreter knows that name.
    told: AtomicBool,
    /// There are sub-interpreters, or one is about to be made.
    several: AtomicBool,
    subs: Mutex<HashMap<Vec<u8>, Arc<Sub>>>,
}

/// A sub-interpreter, made by the first thread that needs it.
pub struct Sub {
    pub name: Vec<u8>,
    made: OnceLock<Result<&'static Interpreter, String>>,
}

/// Where a group's requests run.
pub enum Seating {
    Main,
    /// In the main interpreter, which has to be told the name first; telling it twice does no harm.
    MainFrom(Vec<u8>),
    Sub(Arc<Sub>),
    /// There are too many already.
    Full,
}

impl Groups {
    pub fn new(main: &'static Interpreter, reserved: bool) -> Self {
        Self {
            main,
            reserved,
            main_name: OnceLock::new(),
            told: AtomicBool::new(false),
            several: AtomicBool::new(false),
            subs: Mutex::new(HashMap::new()),
        }
    }

    pub fn main(&self) -> &'static Interpreter {
        self.main
    }

    /// Where the group belongs.
    pub fn find(&self, name: &[u8]) -> Seating {
        if name.is_empty() {
            return Seating::Main;
        }
        if !self.reserved {
            let owner = self.main_name.get_or_init(|| name.to_vec());
            if owner == name {
                return match self.told.load(Ordering::Acquire) {
                    true => Seating::Main,
                    false => Seating::MainFrom(name.to_vec()),
                };
            }
        }
        let mut subs = self.subs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sub) = subs.get(name) {
            return Seating::Sub(Arc::clone(sub));
        }
        if subs.len() == MOST {
            return Seating::Full;
        }
        let sub = Arc::new(Sub {
            name: name.to_vec(),
            made: OnceLock::new(),
        });
        subs.insert(name.to_vec(), Arc::clone(&sub));
        self.several.store(true, Ordering::Relaxed);
        Seating::Sub(sub)
    }

    /// The main interpreter has been told its name.
    pub fn told(&self) {
        self.told.store(true, Ordering::Release);
    }

    /// Requests may belong into other interpreters than the main one.
    pub fn are_several(&self) -> bool {
        self.several.load(Ordering::Relaxed)
    }

    /// The sub-interpreters that were made.
    pub fn subs(&self) -> Vec<&'static Interpreter> {
        let subs = self.subs.lock().unwrap_or_else(PoisonError::into_inner);
        subs.values()
            .filter_map(|sub| sub.made.get()?.as_ref().ok().copied())
            .collect()
    }
}

impl Sub {
    /// The interpreter, made and set up if need be. To be called on a thread without a thread state.
    ///
    /// # Errors
    /// A sentence for the log, the same each time.
    pub fn interpreter(
        &self,
        main: &'static Interpreter,
        setup: &WorkerSetup,
    ) -> Result<&'static Interpreter, String> {
        self.made
            .get_or_init(|| {
                // Interpreters live until the process ends.
                let made: &'static Interpreter = Box::leak(Box::new(Interpreter::create(main)?));
                let mut thread_state =
                    ThreadState::new(made).ok_or("Python can't make a thread state")?;
                let settings = Settings {
                    setup,
                    main: false,
                    application_group: &self.name,
                };
                thread_state.attach(|gil| {
                    set_up(gil, made, &settings).map_err(|raised| {
                        let why = describe(gil, raised);
                        format!("the interpreter can't be set up: {why}")
                    })
                })?;
                Ok(made)
            })
            .clone()
    }
}
