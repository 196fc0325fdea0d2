//! Modules that this crate defines: the extension itself, which the worker's first lines of Python
//! import and call, and those put into `sys.modules`.
//!
//! Runs in: the worker, on its main thread. `main()` returns in a service process only.

use std::ffi::CStr;
use std::ptr;

use pyo3::ffi;

use super::function::{function, Function, NO_METHOD};
use super::gil::{Gil, PyResult};
use super::interpreter::ThreadState;
use super::object::Object;
use super::trampoline::enter_object;

pub use ffi::PyObject as RawObject;

/// Exports the function by which Python imports this library as the extension `wsgi_runtime`, whose
/// `main()` calls the function that is given.
#[macro_export]
macro_rules! extension_module {
    ($main:path) => {
        /// Called by Python's import of this library.
        ///
        /// # Safety
        /// Python calls it, with the GIL.
        #[no_mangle]
        pub unsafe extern "C" fn PyInit_wsgi_runtime() -> *mut $crate::python::module::RawObject {
            // SAFETY: as the caller says.
            unsafe { $crate::python::module::create($main) }
        }
    };
}

/// A new extension module whose function `main()` calls `main` without the GIL, and takes the GIL
/// again before it returns to Python.
///
/// # Safety
/// The thread holds the GIL.
pub unsafe fn create<F>(_main: F) -> *mut RawObject
where
    F: Fn(ThreadState) -> ThreadState + Copy + Send + Sync + 'static,
{
    fn run<'g, F>(gil: Gil<'g>) -> PyResult<'g>
    where
        F: Fn(ThreadState) -> ThreadState + Copy + Send + Sync + 'static,
    {
        // SAFETY: `create` got a value of type `F`. `gil` is used again only after the GIL was taken
        // back.
        unsafe {
            let main = super::trampoline::plain_function::<F>();
            main(ThreadState::detach(gil)).give_back();
        }
        Ok(gil.none())
    }
    let main = function(
        c"main",
        |gil, _arguments| run::<F>(gil),
        c"Serves requests. Returns in a service process only.",
    );
    let methods = Vec::leak(vec![*main.definition(), NO_METHOD]);
    // Python keeps notes in the definition, and reads it for as long as the process lives.
    let definition = Box::leak(Box::new(ffi::PyModuleDef {
        m_base: ffi::PyModuleDef_HEAD_INIT,
        m_name: c"wsgi_runtime".as_ptr(),
        m_doc: c"The Python side of mod_wsgi.".as_ptr(),
        m_size: -1,
        m_methods: methods.as_mut_ptr(),
        m_slots: ptr::null_mut(),
        m_traverse: None,
        m_clear: None,
        m_free: None,
    }));
    // SAFETY: the caller holds the GIL; the definition lives for ever.
    unsafe { enter_object::<F>(|_gil| Object::own(ffi::PyModule_Create(definition))) }
}

/// A new module with these functions.
///
/// # Errors
/// For want of memory.
pub fn module<'g>(gil: Gil<'g>, name: &CStr, functions: &'static [Function]) -> PyResult<'g> {
    // SAFETY: the name is a C string.
    let module: Object<'g> = unsafe { Object::own(ffi::PyModule_New(name.as_ptr()))? };
    for function in functions {
        module.set_attr(function.name(), &function.object(gil)?)?;
    }
    Ok(module)
}
