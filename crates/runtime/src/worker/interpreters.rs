//! Which interpreter an application group has.
//!
//! Runs in: request threads and the main thread. Nothing here waits except
//! [`SubInterpreter::interpreter`], without the GIL. The first named group gets the main
//! interpreter, so that an application that is alone in its process, as most are, has the one in
//! which every extension module works. `%{GLOBAL}`, the empty name, is always the main interpreter;
//! if the configuration can send such requests to this process too, all named groups get
//! sub-interpreters, so that no two groups share one by accident.

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
pub struct Interpreters {
    main: &'static Interpreter,
    /// Named groups never get the main interpreter.
    reserved: bool,
    /// The named group that has the main interpreter.
    main_name: OnceLock<Vec<u8>>,
    /// The main interpreter was told that name.
    told: AtomicBool,
    /// There are sub-interpreters, or one is about to be made.
    has_subs: AtomicBool,
    subs: Mutex<HashMap<Vec<u8>, Arc<SubInterpreter>>>,
}

/// A sub-interpreter, made by the first thread that needs it.
pub struct SubInterpreter {
    pub name: Vec<u8>,
    interpreter: OnceLock<Result<&'static Interpreter, String>>,
}

/// Where a group's requests run.
pub enum Placement {
    Main,
    /// In the main interpreter, which must be told the group's name first; telling it twice does no
    /// harm.
    MainFrom(Vec<u8>),
    Sub(Arc<SubInterpreter>),
    /// There are too many already.
    Full,
}

impl Interpreters {
    pub fn new(main: &'static Interpreter, reserved: bool) -> Self {
        Self {
            main,
            reserved,
            main_name: OnceLock::new(),
            told: AtomicBool::new(false),
            has_subs: AtomicBool::new(false),
            subs: Mutex::new(HashMap::new()),
        }
    }

    pub fn main(&self) -> &'static Interpreter {
        self.main
    }

    /// Where requests of the group run.
    pub fn find(&self, name: &[u8]) -> Placement {
        if name.is_empty() {
            return Placement::Main;
        }
        if !self.reserved {
            let owner = self.main_name.get_or_init(|| name.to_vec());
            if owner == name {
                return match self.told.load(Ordering::Acquire) {
                    true => Placement::Main,
                    false => Placement::MainFrom(name.to_vec()),
                };
            }
        }
        let mut subs = self.subs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sub) = subs.get(name) {
            return Placement::Sub(Arc::clone(sub));
        }
        if subs.len() == MOST {
            return Placement::Full;
        }
        let sub = Arc::new(SubInterpreter {
            name: name.to_vec(),
            interpreter: OnceLock::new(),
        });
        subs.insert(name.to_vec(), Arc::clone(&sub));
        self.has_subs.store(true, Ordering::Relaxed);
        Placement::Sub(sub)
    }

    /// The main interpreter has been told its name.
    pub fn told(&self) {
        self.told.store(true, Ordering::Release);
    }

    /// Requests may belong to other interpreters than the main one.
    pub fn has_subs(&self) -> bool {
        self.has_subs.load(Ordering::Relaxed)
    }

    /// The sub-interpreters that were made.
    pub fn subs(&self) -> Vec<&'static Interpreter> {
        let subs = self.subs.lock().unwrap_or_else(PoisonError::into_inner);
        subs.values()
            .filter_map(|sub| sub.interpreter.get()?.as_ref().ok().copied())
            .collect()
    }
}

impl SubInterpreter {
    /// The interpreter; it is made and set up if need be. To be called on a thread without a thread
    /// state.
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
                let interpreter: &'static Interpreter =
                    Box::leak(Box::new(Interpreter::create(main)?));
                let mut thread_state =
                    ThreadState::new(interpreter).ok_or("Python can't make a thread state")?;
                let settings = Settings {
                    setup,
                    main: false,
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
