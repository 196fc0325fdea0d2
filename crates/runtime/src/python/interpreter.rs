//! Interpreters of this process, and the thread states by which threads attach to them.
//!
//! Runs in: the worker. A thread has at most one thread state at any time, for one interpreter,
//! for all its life: two at once deadlock extensions that use PyGILState up to Python 3.11, and a
//! thread state that is deleted between requests loses `threading.local`. Interpreters are never
//! ended: the process leaves by `_exit` after its shutdown hooks.

use std::ffi::{c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use pyo3::ffi;

use super::gil::{Gil, Raised};
use super::gil_wait;

/// One interpreter, and its state `S` once it is set up.
pub struct Interpreter<S> {
    raw: NonNull<ffi::PyInterpreterState>,
    state: OnceLock<S>,
}

// SAFETY: the interpreter state is only passed to PyThreadState_New, which locks for itself, and
// lives until the process ends.
unsafe impl<S: Send> Send for Interpreter<S> {}
// SAFETY: as above.
unsafe impl<S: Send + Sync> Sync for Interpreter<S> {}

impl<S> Interpreter<S> {
    /// The interpreter the calling thread is attached to.
    pub fn current(gil: Gil<'_>) -> Self {
        Self {
            raw: gil.interpreter(),
            state: OnceLock::new(),
        }
    }

    /// Makes a sub-interpreter. To be called on a thread that has no thread state.
    ///
    /// # Errors
    /// A sentence for the log.
    pub fn create(main: &Self, gil: SubInterpreterGil) -> Result<Self, String> {
        // SAFETY: this thread has no thread state. It gets one of the main interpreter, with which
        // it holds the GIL; `new_interpreter` makes another current. That one stays, unused: up to
        // Python 3.12 an interpreter that has lost its last thread state can't get another. The
        // first is cleared while current, and deleted when it no longer is. PyThreadState_Swap gives
        // back a GIL that the new interpreter has for itself, and takes that of the main one.
        unsafe {
            let first = ffi::PyThreadState_New(main.raw.as_ptr());
            if first.is_null() {
                return Err("Python can't make a thread state".to_owned());
            }
            ffi::PyEval_RestoreThread(first);
            let sub = new_interpreter(gil);
            let created = if sub.is_null() {
                ffi::PyErr_Clear();
                Err("Python can't make a sub-interpreter".to_owned())
            } else {
                let raw = ffi::PyThreadState_GetInterpreter(sub);
                ffi::PyThreadState_Swap(first);
                Ok(raw)
            };
            ffi::PyThreadState_Clear(first);
            ffi::PyEval_SaveThread();
            ffi::PyThreadState_Delete(first);
            Ok(Self {
                raw: NonNull::new(created?).ok_or("Python can't make a sub-interpreter")?,
                state: OnceLock::new(),
            })
        }
    }

    /// Keeps `state`, once: a second one is dropped.
    pub fn set_state(&self, state: S) {
        let _ = self.state.set(state);
    }

    /// Its state; `None` before it is set up.
    pub fn state(&self) -> Option<&S> {
        self.state.get()
    }
}

/// Which GIL a sub-interpreter has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubInterpreterGil {
    /// That of the main interpreter.
    Shared,
    /// One of its own. The value says that this Python can do it.
    Own(NewInterpreterFromConfig),
}

/// Python's `PyInterpreterConfig`, the same in all versions since 3.12.
#[repr(C)]
struct InterpreterConfig {
    use_main_obmalloc: c_int,
    allow_fork: c_int,
    allow_exec: c_int,
    allow_threads: c_int,
    allow_daemon_threads: c_int,
    check_multi_interp_extensions: c_int,
    gil: c_int,
}

/// What Python calls an isolated interpreter: `_PyInterpreterConfig_INIT`.
const ISOLATED: InterpreterConfig = InterpreterConfig {
    use_main_obmalloc: 0,
    allow_fork: 0,
    allow_exec: 0,
    allow_threads: 1,
    allow_daemon_threads: 0,
    check_multi_interp_extensions: 1,
    // PyInterpreterConfig_OWN_GIL
    gil: 2,
};

/// Python's `PyStatus`.
#[repr(C)]
struct Status {
    kind: c_int,
    function: *const c_char,
    message: *const c_char,
    exit_code: c_int,
}

/// `Py_NewInterpreterFromConfig`, which is not in the stable ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewInterpreterFromConfig(NonNull<c_void>);

impl NewInterpreterFromConfig {
    /// `None` where this Python has none: before 3.12.
    pub fn find() -> Option<Self> {
        os::symbol::find(c"Py_NewInterpreterFromConfig").map(Self)
    }
}

/// Makes an interpreter. The returned thread state is current; if it is null, the one of before is.
///
/// # Safety
/// The thread is attached to the main interpreter.
unsafe fn new_interpreter(gil: SubInterpreterGil) -> *mut ffi::PyThreadState {
    match gil {
        // SAFETY: as the caller says.
        SubInterpreterGil::Shared => unsafe { ffi::Py_NewInterpreter() },
        SubInterpreterGil::Own(NewInterpreterFromConfig(function)) => {
            let mut state = ptr::null_mut();
            // SAFETY: it is Python's function of that name, which has had this signature since it
            // is there; both structures are laid out as Python's. The pointers are valid during the
            // call. A status that is no success leaves `state` null.
            unsafe {
                type Function = unsafe extern "C" fn(
                    *mut *mut ffi::PyThreadState,
                    *const InterpreterConfig,
                ) -> Status;
                let function: Function = std::mem::transmute(function.as_ptr());
                let _ = function(&mut state, &ISOLATED);
            }
            state
        }
    }
}

/// This thread's state in one interpreter, with which it attaches.
pub struct ThreadState {
    state: NonNull<ffi::PyThreadState>,
    _not_send: PhantomData<*mut ()>,
}

/// Gives the GIL back, also when unwinding.
struct Detach;

impl Drop for Detach {
    fn drop(&mut self) {
        // SAFETY: `ThreadState::attach` made the state current.
        unsafe { ffi::PyEval_SaveThread() };
    }
}

impl ThreadState {
    /// A thread state for a thread that has none in any interpreter.
    pub fn new<S>(interpreter: &Interpreter<S>) -> Option<Self> {
        // SAFETY: the interpreter lives; the function needs no GIL.
        let state = unsafe { ffi::PyThreadState_New(interpreter.raw.as_ptr()) };
        Some(Self {
            state: NonNull::new(state)?,
            _not_send: PhantomData,
        })
    }

    /// The thread state of a thread that Python itself has attached; it is detached when this
    /// returns.
    ///
    /// # Safety
    /// [`ThreadState::give_back`] comes before anything on this thread uses Python again in another
    /// way, `gil` included.
    pub(super) unsafe fn detach(_gil: Gil<'_>) -> Self {
        // SAFETY: the GIL is held; the state saved is this thread's own and never null.
        let state = unsafe { ffi::PyEval_SaveThread() };
        Self {
            state: NonNull::new(state).unwrap_or_else(|| std::process::abort()),
            _not_send: PhantomData,
        }
    }

    /// Attaches the thread for good, as it was before [`ThreadState::detach`].
    pub(super) fn give_back(self) {
        // SAFETY: the state belongs to this thread and is not current.
        unsafe { ffi::PyEval_RestoreThread(self.state.as_ptr()) };
        // Python's own, which it takes down itself.
        std::mem::forget(self);
    }

    /// Takes the GIL, runs `body` inside, and gives it back. `&mut` forbids nesting.
    pub fn attach<R>(&mut self, body: impl for<'g> FnOnce(Gil<'g>) -> R) -> R {
        // SAFETY: the state belongs to this thread (it is not Send) and is not current.
        unsafe { gil_wait::take(self.state.as_ptr()) };
        let _detach = Detach;
        // SAFETY: the GIL is held until `_detach` drops, which is after `body` and all it borrowed.
        body(unsafe { Gil::assume() })
    }
}

/// How a thread comes to use Python.
pub enum Access<'a, 'g> {
    /// It has the GIL.
    Held(Gil<'g>),
    /// It takes the GIL when it needs it.
    From(&'a mut ThreadState),
}

impl Access<'_, '_> {
    /// Runs `body` with the GIL.
    pub fn with_gil<R>(&mut self, body: impl for<'g> FnOnce(Gil<'g>) -> R) -> R {
        match self {
            Self::Held(gil) => body(*gil),
            Self::From(thread_state) => thread_state.attach(body),
        }
    }

    /// Runs `body`, which may wait, without the GIL.
    pub fn without_gil<R>(&mut self, body: impl FnOnce() -> R + Send) -> R {
        match self {
            Self::Held(gil) => gil.released(body),
            Self::From(_) => body(),
        }
    }
}

impl Drop for ThreadState {
    fn drop(&mut self) {
        // SAFETY: the state is this thread's own and not current; clearing needs the GIL, deleting
        // must not have it current.
        unsafe {
            ffi::PyEval_RestoreThread(self.state.as_ptr());
            ffi::PyThreadState_Clear(self.state.as_ptr());
            ffi::PyEval_SaveThread();
            ffi::PyThreadState_Delete(self.state.as_ptr());
        }
    }
}

/// A text for the log of an exception that nobody handles, without a traceback.
pub fn describe(gil: Gil<'_>, raised: Raised) -> String {
    let error = gil.take_exception(raised);
    let kind = error.type_name();
    match error.to_text() {
        Ok(text) => format!("{kind}: {text}"),
        Err(raised) => {
            gil.clear(raised);
            kind
        }
    }
}
