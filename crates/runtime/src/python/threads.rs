//! Other threads of the application: where they are, and an exception raised in one.
//!
//! Runs in: the main thread when the worker comes up, and threads that are started to interrupt a
//! request.

use std::os::fd::AsRawFd;

use os::dump::{Dumps, Scope};
use pyo3::ffi;

use super::gil::{Gil, PyResult, Raised};
use super::object::Object;

/// Python's number of a thread: the same for all interpreters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ident(std::ffi::c_ulong);

impl Ident {
    /// The calling thread's.
    pub fn current() -> Self {
        // SAFETY: needs neither GIL nor thread state.
        Self(unsafe { ffi::PyThread_get_thread_ident() })
    }

    /// As `threading.get_ident()` has it.
    pub fn object<'g>(self, _gil: Gil<'g>) -> PyResult<'g> {
        // SAFETY: plain constructor.
        unsafe { Object::own(ffi::PyLong_FromUnsignedLongLong(self.0 as _)) }
    }

    /// Has `class` raised in the thread, which must be of the current interpreter, when it next runs
    /// Python code. False where there is no such thread.
    pub fn raise(self, _gil: Gil<'_>, class: &Object<'_>) -> bool {
        // SAFETY: the GIL is held, and `class` is a live exception class, of which the function
        // takes a reference of its own. Older Pythons declare the number signed; its bits count.
        unsafe { ffi::PyThreadState_SetAsyncExc(self.0 as _, class.as_ptr()) == 1 }
    }

    /// Takes back what was to be raised and has not been.
    pub fn spare(self, _gil: Gil<'_>) {
        // SAFETY: the GIL is held; null clears.
        unsafe { ffi::PyThreadState_SetAsyncExc(self.0 as _, std::ptr::null_mut()) };
    }
}

/// Makes Python write the stacks of threads that are asked with [`Dumps::ask`], for which it needs
/// no GIL.
///
/// # Errors
/// Where this Python comes without faulthandler.
pub fn show_stacks(gil: Gil<'_>, dumps: &Dumps) -> Result<(), Raised> {
    let faulthandler = gil.import(c"faulthandler")?;
    let register = faulthandler.attr_named(c"register")?;
    for scope in [Scope::Own, Scope::All] {
        let signal = gil.int(scope.signal().into())?;
        let descriptor = gil.int(dumps.writer().as_raw_fd().into())?;
        let all = gil.boolean(scope == Scope::All);
        register.call(&[&signal, &descriptor, &all, &gil.boolean(true)])?;
    }
    Ok(())
}
