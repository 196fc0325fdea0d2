//! The proof of holding the GIL, the objects that need it, and the exception that is set.
//!
//! Runs in: any thread that is attached to an interpreter. A [`Gil`] lives no longer than the
//! attachment, and every [`Object`] made with it carries its lifetime: so safe code can neither keep
//! an object longer nor take it to a thread or an interpreter it does not belong to.
//!
//! What is to live longer is stored, and an object is no part of that:
//!
//! ```no_run
//! # use wsgi_runtime::python::{gil::Gil, interpreter::ThreadState, object::{Object, Stored}};
//! fn keep(thread: &mut ThreadState) -> Stored {
//!     thread.attach(|gil| Stored::new(gil, gil.none()))
//! }
//! ```
//!
//! ```compile_fail
//! # use wsgi_runtime::python::{gil::Gil, interpreter::ThreadState, object::{Object, Stored}};
//! fn keep(thread: &mut ThreadState) -> Object<'_> {
//!     thread.attach(|gil| gil.none())
//! }
//! ```
//!
//! No object is used while the GIL is released, and none is sent to another thread:
//!
//! ```no_run
//! # use wsgi_runtime::python::{gil::Gil, object::Object};
//! fn wait(gil: Gil<'_>, object: &Object<'_>) -> bool {
//!     let is_none = object.is_none();
//!     gil.released(|| is_none)
//! }
//! ```
//!
//! ```compile_fail
//! # use wsgi_runtime::python::{gil::Gil, object::Object};
//! fn wait(gil: Gil<'_>, object: &Object<'_>) -> bool {
//!     gil.released(|| object.is_none())
//! }
//! ```
//!
//! ```compile_fail
//! # use wsgi_runtime::python::{gil::Gil, object::Object};
//! fn send(object: Object<'static>) {
//!     std::thread::spawn(move || drop(object));
//! }
//! ```

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use pyo3::ffi;

use super::gil_wait;
use super::object::Object;

/// The thread is attached to an interpreter and holds its GIL, for as long as `'g`.
#[derive(Clone, Copy)]
pub struct Gil<'g> {
    interpreter: NonNull<ffi::PyInterpreterState>,
    _attached: PhantomData<&'g ()>,
}

/// A Python exception is set in the current thread state; the caller passes it on to Python or
/// takes it with [`Gil::take_exception`].
#[derive(Debug)]
#[must_use]
pub struct Raised(());

/// What a call into Python returns.
pub type PyResult<'g> = Result<Object<'g>, Raised>;

/// Takes the GIL again, also when unwinding.
struct Retake(*mut ffi::PyThreadState);

impl Drop for Retake {
    fn drop(&mut self) {
        // SAFETY: the state is this thread's own, saved by `released`.
        unsafe { gil_wait::take(self.0) };
    }
}

impl Raised {
    /// # Safety
    /// An exception is set.
    pub(super) unsafe fn assume() -> Self {
        Self(())
    }

    /// An exception is set, although the call that may raise has no value to tell it by.
    ///
    /// # Safety
    /// The thread holds the GIL.
    pub(super) unsafe fn check() -> Option<Self> {
        // SAFETY: as the caller says.
        (!unsafe { ffi::PyErr_Occurred() }.is_null()).then_some(Self(()))
    }

    /// A status below 0 means that an exception is set.
    ///
    /// # Safety
    /// `returned` comes from a function of Python's that says so.
    pub(super) unsafe fn from_status(returned: i32) -> Result<(), Self> {
        match returned < 0 {
            true => Err(Self(())),
            false => Ok(()),
        }
    }
}

impl<'g> Gil<'g> {
    /// # Safety
    /// The thread holds the GIL, and does so for as long as `'g`.
    pub(super) unsafe fn assume() -> Self {
        // SAFETY: as the caller says; with the GIL held it is never null, the function aborts
        // instead.
        let interpreter = unsafe { ffi::PyInterpreterState_Get() };
        Self {
            interpreter: NonNull::new(interpreter).unwrap_or_else(|| std::process::abort()),
            _attached: PhantomData,
        }
    }

    /// The interpreter the thread is attached to.
    pub(super) fn interpreter(self) -> NonNull<ffi::PyInterpreterState> {
        self.interpreter
    }

    /// Runs `body` without the GIL. `Send` keeps Python objects out of it.
    pub fn released<R>(self, body: impl FnOnce() -> R + Send) -> R {
        // SAFETY: `self` proves that this thread holds the GIL.
        let _retake = Retake(unsafe { ffi::PyEval_SaveThread() });
        body()
    }

    /// Text from bytes, each a code point: never fails but for want of memory.
    pub fn latin1(self, bytes: &[u8]) -> PyResult<'g> {
        // SAFETY: the slice is readable for its length, which fits isize.
        unsafe {
            Object::own(ffi::PyUnicode_DecodeLatin1(
                bytes.as_ptr().cast(),
                bytes.len() as isize,
                ptr::null(),
            ))
        }
    }

    pub fn text(self, text: &str) -> PyResult<'g> {
        // SAFETY: the slice is UTF-8 and readable for its length.
        unsafe {
            Object::own(ffi::PyUnicode_FromStringAndSize(
                text.as_ptr().cast(),
                text.len() as isize,
            ))
        }
    }

    /// Text that is compared by identity where dict keys are.
    pub fn interned(self, text: &CStr) -> PyResult<'g> {
        // SAFETY: `text` is a C string.
        unsafe { Object::own(ffi::PyUnicode_InternFromString(text.as_ptr())) }
    }

    /// A name of the file system, decoded as `os.fsdecode` does; latin-1 where that fails.
    pub fn path(self, bytes: &[u8]) -> PyResult<'g> {
        // SAFETY: the slice is readable for its length.
        let decoded = unsafe {
            Object::own(ffi::PyUnicode_DecodeFSDefaultAndSize(
                bytes.as_ptr().cast(),
                bytes.len() as isize,
            ))
        };
        decoded.or_else(|raised| {
            self.clear(raised);
            self.latin1(bytes)
        })
    }

    pub fn bytes(self, bytes: &[u8]) -> PyResult<'g> {
        // SAFETY: the slice is readable for its length.
        unsafe {
            Object::own(ffi::PyBytes_FromStringAndSize(
                bytes.as_ptr().cast(),
                bytes.len() as isize,
            ))
        }
    }

    /// Bytes that `fill` writes where they stay, with the GIL released: it gets room for `len`, and
    /// says how many it has written.
    ///
    /// # Errors
    /// For want of memory, and what `failed` makes of an error of `fill`.
    pub fn bytes_filled<E: Send>(
        self,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E> + Send,
        failed: impl FnOnce(E) -> Raised,
    ) -> PyResult<'g> {
        // SAFETY: plain constructor; without a source the contents are for us to write.
        let object = unsafe {
            Object::own(ffi::PyBytes_FromStringAndSize(
                ptr::null(),
                isize::try_from(len).unwrap_or(isize::MAX),
            ))
        }?;
        // SAFETY: a bytes object of `len`, which nobody else has seen yet: no Python code can look
        // at it while it is written, and it is live as long as `object`. Zeroed, so that all of it is
        // initialised.
        let room = unsafe {
            let start = ffi::PyBytes_AsString(object.as_ptr()).cast::<u8>();
            ptr::write_bytes(start, 0, len);
            std::slice::from_raw_parts_mut(start, len)
        };
        let written = self.released(|| fill(&mut *room)).map_err(failed)?;
        match room.get(..written) {
            // Its length is for life.
            Some(part) if written < len => self.bytes(part),
            _ => Ok(object),
        }
    }

    pub fn int(self, value: i64) -> PyResult<'g> {
        // SAFETY: plain constructor.
        unsafe { Object::own(ffi::PyLong_FromLongLong(value)) }
    }

    pub fn float(self, value: f64) -> PyResult<'g> {
        // SAFETY: plain constructor.
        unsafe { Object::own(ffi::PyFloat_FromDouble(value)) }
    }

    pub fn boolean(self, value: bool) -> Object<'g> {
        // SAFETY: True and False always exist.
        unsafe {
            Object::share(if value {
                ffi::Py_True()
            } else {
                ffi::Py_False()
            })
        }
    }

    pub fn none(self) -> Object<'g> {
        // SAFETY: None always exists.
        unsafe { Object::share(ffi::Py_None()) }
    }

    pub fn dict(self) -> PyResult<'g> {
        // SAFETY: plain constructor.
        unsafe { Object::own(ffi::PyDict_New()) }
    }

    pub fn list(self) -> PyResult<'g> {
        // SAFETY: plain constructor.
        unsafe { Object::own(ffi::PyList_New(0)) }
    }

    pub fn tuple(self, items: &[&Object<'g>]) -> PyResult<'g> {
        Object::tuple(items)
    }

    pub fn import(self, name: &CStr) -> PyResult<'g> {
        // SAFETY: `name` is a C string.
        unsafe { Object::own(ffi::PyImport_ImportModule(name.as_ptr())) }
    }

    /// Raises a built-in exception with a text.
    pub fn raise(self, kind: Exception, text: &str) -> Raised {
        // SAFETY: the exception types are static objects; `message` is live for the call.
        unsafe {
            if let Ok(message) = self.text(text) {
                ffi::PyErr_SetObject(kind.class(), message.as_ptr());
            }
        }
        Raised(())
    }

    /// Raises `exception`, an instance or a class.
    pub fn raise_object(self, exception: &Object<'_>) -> Raised {
        // SAFETY: both are live; the type of an instance is its class.
        unsafe {
            let class = ffi::Py_TYPE(exception.as_ptr());
            ffi::PyErr_SetObject(class.cast(), exception.as_ptr());
        }
        Raised(())
    }

    /// Raises what `exc_info` names, as `raise` does: `value` where it is an exception, else `class`
    /// made with `value`. `None` where neither is an exception; then nothing is raised.
    pub fn raise_named(self, class: &Object<'_>, value: &Object<'_>) -> Option<Raised> {
        // SAFETY: both are live. What is set is an exception, or a class of exceptions with the
        // value that Python makes an instance with.
        unsafe {
            if ffi::PyExceptionInstance_Check(value.as_ptr()) != 0 {
                return Some(self.raise_object(value));
            }
            if ffi::PyExceptionClass_Check(class.as_ptr()) == 0 {
                return None;
            }
            ffi::PyErr_SetObject(class.as_ptr(), value.as_ptr());
        }
        Some(Raised(()))
    }

    /// Takes the exception that is set, with its traceback attached.
    #[allow(deprecated)] // the successors came with 3.12, the stable ABI here is 3.10's
    pub fn take_exception(self, _raised: Raised) -> Object<'g> {
        let (mut class, mut value, mut traceback) =
            (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        // SAFETY: the three places are filled with new references or null, and normalising makes
        // `value` an instance. A traceback is attached to it and then let go, like the class.
        unsafe {
            ffi::PyErr_Fetch(&mut class, &mut value, &mut traceback);
            ffi::PyErr_NormalizeException(&mut class, &mut value, &mut traceback);
            if !traceback.is_null() && !value.is_null() {
                ffi::PyException_SetTraceback(value, traceback);
            }
            ffi::Py_XDECREF(class);
            ffi::Py_XDECREF(traceback);
            Object::own(value).unwrap_or_else(|_| self.none())
        }
    }

    /// Forgets the exception that is set.
    pub fn clear(self, _raised: Raised) {
        // SAFETY: the GIL is held.
        unsafe { ffi::PyErr_Clear() };
    }

    /// An exception is set, although the call that may raise has no value to tell it by.
    pub fn raised(self) -> Option<Raised> {
        // SAFETY: the GIL is held.
        unsafe { Raised::check() }
    }
}

/// Built-in exceptions that are raised here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exception {
    Os,
    Runtime,
    System,
    Type,
    Value,
    Attribute,
}

impl Exception {
    fn class(self) -> *mut ffi::PyObject {
        // SAFETY: the statics are set before any interpreter runs and never change.
        unsafe {
            match self {
                Self::Os => ffi::PyExc_OSError,
                Self::Runtime => ffi::PyExc_RuntimeError,
                Self::System => ffi::PyExc_SystemError,
                Self::Type => ffi::PyExc_TypeError,
                Self::Value => ffi::PyExc_ValueError,
                Self::Attribute => ffi::PyExc_AttributeError,
            }
        }
    }

    /// Whether the exception that is set is of this class.
    pub fn is_set(self, _gil: Gil<'_>, _raised: &Raised) -> bool {
        // SAFETY: an exception is set, as `_raised` says.
        unsafe { ffi::PyErr_ExceptionMatches(self.class()) != 0 }
    }
}
