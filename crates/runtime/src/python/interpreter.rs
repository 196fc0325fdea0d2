//! Interpreters of this process, and the seats of threads in them.
//!
//! Runs in: the worker. A thread has at most one thread state at any time, for one interpreter,
//! for all its life: two at once deadlock extensions that use PyGILState up to Python 3.11, and a
//! state that is deleted between requests loses `threading.local`. Interpreters are never ended:
//! the process leaves by `_exit` after its shutdown hooks.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::OnceLock;

use pyo3::ffi;

use super::gil_wait;
use super::object::{Gil, Object, Raised};
use crate::wsgi::state::{Settings, State};

/// One interpreter.
pub struct Interpreter {
    raw: NonNull<ffi::PyInterpreterState>,
    state: OnceLock<State>,
}

// SAFETY: the interpreter state is only passed to PyThreadState_New, which locks for itself, and
// lives until the process ends.
unsafe impl Send for Interpreter {}
// SAFETY: as above.
unsafe impl Sync for Interpreter {}

impl Interpreter {
    /// The interpreter the calling thread is in.
    pub fn current(_gil: Gil<'_>) -> Self {
        // SAFETY: the GIL is held, so there is a current interpreter.
        let raw = unsafe { ffi::PyInterpreterState_Get() };
        Self {
            // With the GIL held it is never null (the function aborts instead).
            raw: NonNull::new(raw).unwrap_or_else(|| std::process::abort()),
            state: OnceLock::new(),
        }
    }

    /// Makes a sub-interpreter that shares the GIL. To be called on a thread that holds no seat.
    ///
    /// # Errors
    /// A sentence for the log.
    pub fn create(main: &Interpreter) -> Result<Self, String> {
        // SAFETY: this thread has no thread state. It gets one of the main interpreter, with which
        // it holds the GIL; Py_NewInterpreter makes another current. That one stays, unused: up to
        // Python 3.12 an interpreter that has lost its last thread state can't get another. The
        // first is cleared while current, and deleted when it no longer is.
        unsafe {
            let first = ffi::PyThreadState_New(main.raw.as_ptr());
            if first.is_null() {
                return Err("Python can't make a thread state".to_owned());
            }
            ffi::PyEval_RestoreThread(first);
            let made = ffi::Py_NewInterpreter();
            let created = if made.is_null() {
                ffi::PyErr_Clear();
                Err("Python can't make a sub-interpreter".to_owned())
            } else {
                let raw = ffi::PyThreadState_GetInterpreter(made);
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

    /// Prepares it for applications. Once.
    ///
    /// # Errors
    /// The Python exception.
    pub fn set_up(&self, gil: Gil<'_>, settings: &Settings<'_>) -> Result<(), Raised> {
        let state = State::build(gil, settings)?;
        // Only the thread that made the interpreter comes here.
        let _ = self.state.set(state);
        Ok(())
    }

    /// What stands in it; `None` before it is set up.
    pub fn state(&self) -> Option<&State> {
        self.state.get()
    }
}

/// This thread's place in one interpreter.
pub struct Seat {
    state: NonNull<ffi::PyThreadState>,
    _not_send: PhantomData<*mut ()>,
}

/// Gives the GIL back, also when unwinding.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        // SAFETY: `Seat::enter` made the state current.
        unsafe { ffi::PyEval_SaveThread() };
    }
}

impl Seat {
    /// A seat for a thread that has none in any interpreter.
    pub fn new(interpreter: &Interpreter) -> Option<Self> {
        // SAFETY: the interpreter lives; the function needs no GIL.
        let state = unsafe { ffi::PyThreadState_New(interpreter.raw.as_ptr()) };
        Some(Self {
            state: NonNull::new(state)?,
            _not_send: PhantomData,
        })
    }

    /// The seat of a thread that Python itself has put into an interpreter and that holds the GIL
    /// now; it does not when this returns.
    ///
    /// # Safety
    /// The seat must outlive every use of Python on this thread by whoever called into here.
    pub unsafe fn leave(_gil: Gil<'_>) -> Self {
        // SAFETY: the GIL is held; the state saved is this thread's own and never null.
        let state = unsafe { ffi::PyEval_SaveThread() };
        Self {
            state: NonNull::new(state).unwrap_or_else(|| std::process::abort()),
            _not_send: PhantomData,
        }
    }

    /// Takes the GIL for good, as the thread had it before [`Seat::leave`].
    pub fn give_back(self) {
        // SAFETY: the state belongs to this thread and is not current.
        unsafe { ffi::PyEval_RestoreThread(self.state.as_ptr()) };
        // Python's own, which it takes down itself.
        std::mem::forget(self);
    }

    /// Takes the GIL, runs `body` inside, and gives it back. `&mut` forbids nesting.
    pub fn enter<R>(&mut self, body: impl FnOnce(Gil<'_>) -> R) -> R {
        // SAFETY: the state belongs to this thread (a seat is not Send) and is not current.
        unsafe { gil_wait::take(self.state.as_ptr()) };
        let _leave = Leave;
        // SAFETY: the GIL is held until `_leave` drops, which is after `body` and all it borrowed.
        body(unsafe { Gil::assume() })
    }
}

/// How a thread comes to use Python.
pub enum Access<'a, 'g> {
    /// It has the GIL.
    Held(Gil<'g>),
    /// It takes the GIL when it needs it.
    From(&'a mut Seat),
}

impl Access<'_, '_> {
    /// Runs `body` with the GIL.
    pub fn with_gil<R>(&mut self, body: impl FnOnce(Gil<'_>) -> R) -> R {
        match self {
            Self::Held(gil) => body(*gil),
            Self::From(seat) => seat.enter(body),
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

impl Drop for Seat {
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
    let error: Object = gil.take_exception(raised);
    let kind = error.type_name(gil);
    match error.to_text(gil) {
        Ok(text) => format!("{kind}: {text}"),
        Err(raised) => {
            gil.clear(raised);
            kind
        }
    }
}
