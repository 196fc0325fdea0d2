//! The wall between Python's calls and this crate's functions.
//!
//! Runs in: any thread that is attached to an interpreter. Python calls a C function for each of
//! ours; the functions here make one that holds panics back and hands out the [`Gil`].

use std::any::{type_name, Any};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::{self, NonNull};

use pyo3::ffi;

use super::gil::{Exception, Gil, PyResult, Raised};
use super::object::Object;

/// The words of a panic.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "no message"
    }
}

/// The only way from Python into this crate. A panic becomes a `SystemError` that names `F`.
///
/// # Safety
/// The thread holds the GIL.
pub(super) unsafe fn enter<F, R>(
    on_error: R,
    body: impl for<'g> FnOnce(Gil<'g>) -> Result<R, Raised>,
) -> R {
    // SAFETY: the caller holds the GIL, until this function returns.
    let gil = unsafe { Gil::assume() };
    match catch_unwind(AssertUnwindSafe(|| body(gil))) {
        Ok(Ok(value)) => value,
        Ok(Err(_raised)) => on_error,
        Err(panic) => {
            let words = panic_text(&*panic);
            let text = format!("mod_wsgi: internal error in {}: {words}", type_name::<F>());
            let _raised = gil.raise(Exception::System, &text);
            on_error
        }
    }
}

/// [`enter`] for functions that return an object.
///
/// # Safety
/// The thread holds the GIL.
pub(super) unsafe fn enter_object<F>(
    body: impl for<'g> FnOnce(Gil<'g>) -> PyResult<'g>,
) -> *mut ffi::PyObject {
    // SAFETY: as the caller's.
    unsafe { enter::<F, _>(ptr::null_mut(), |gil| body(gil).map(Object::into_ptr)) }
}

/// Fails to compile unless `F` is a function item, or a closure that captures nothing: one value of
/// such a type is as good as another, so that a C function can be made for the type alone.
pub(super) const fn assert_plain_function<F: Copy + Send + Sync + 'static>() {
    assert!(size_of::<F>() == 0, "a function that captures nothing");
}

/// The function that [`assert_plain_function`] was called for.
///
/// # Safety
/// There is a value of type `F`.
pub(super) unsafe fn plain_function<F: Copy + Send + Sync + 'static>() -> F {
    const { assert_plain_function::<F>() };
    // SAFETY: it has no size, so there is nothing to read; the caller says that values exist.
    unsafe { NonNull::<F>::dangling().read() }
}
