//! The extension module itself: what the worker's first lines of Python import and call.
//!
//! Runs in: the worker, on its main thread. `main()` returns in a service process only.

use std::cell::UnsafeCell;

use pyo3::ffi;

use super::interpreter::Seat;
use super::types::{self, Table};

/// A module definition: Python keeps notes in it.
struct Definition(UnsafeCell<ffi::PyModuleDef>);

// SAFETY: only Python touches it, under the GIL of the one interpreter that imports the module.
unsafe impl Sync for Definition {}

unsafe extern "C" fn main(
    _: *mut ffi::PyObject,
    _: *mut *mut ffi::PyObject,
    _: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    // SAFETY: called by Python, with the GIL, which is given up while the worker lives. Where that
    // returns at all the GIL is taken again before anything of Python is touched.
    unsafe {
        types::enter_object("main", |gil| {
            let seat = Seat::leave(gil);
            crate::worker::run(seat).give_back();
            Ok(gil.none())
        })
    }
}

static METHODS: Table<[ffi::PyMethodDef; 2]> = Table::new([
    types::method(
        c"main",
        main,
        c"Serves requests. Returns in a service process only.",
    ),
    types::NO_METHOD,
]);

static DEFINITION: Definition = Definition(UnsafeCell::new(ffi::PyModuleDef {
    m_base: ffi::PyModuleDef_HEAD_INIT,
    m_name: c"wsgi_runtime".as_ptr(),
    m_doc: c"The Python side of mod_wsgi.".as_ptr(),
    m_size: -1,
    m_methods: METHODS.as_ptr().cast(),
    m_slots: std::ptr::null_mut(),
    m_traverse: None,
    m_clear: None,
    m_free: None,
}));

/// Called by Python's import of this library.
///
/// # Safety
/// Python calls it, with the GIL.
#[no_mangle]
pub unsafe extern "C" fn PyInit_wsgi_runtime() -> *mut ffi::PyObject {
    // SAFETY: the definition is static and this module's own.
    unsafe {
        types::enter_object("PyInit_wsgi_runtime", |gil| {
            gil.own(ffi::PyModule_Create(DEFINITION.0.get()))
        })
    }
}
