//! Owned references and the proof of holding the GIL.
//!
//! Runs in: any thread inside an interpreter. An [`Object`] never leaves the thread it was made on
//! (it is not `Send`), with one exception, [`Shared`], for what an interpreter's state holds.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use pyo3::ffi;

use super::gil_wait;

/// The thread is inside an interpreter and holds its GIL.
#[derive(Clone, Copy)]
pub struct Gil<'g>(PhantomData<(&'g (), *mut ())>);

/// A Python exception is set in the current thread state; the caller passes it on to Python or
/// takes it with [`Gil::take_exception`].
#[derive(Debug)]
#[must_use]
pub struct Raised(());

/// A strong reference.
pub struct Object(NonNull<ffi::PyObject>);

/// A strong reference that stands in an interpreter's state, for every thread of that interpreter.
pub struct Shared(Object);

// SAFETY: a `Shared` lends its object only against a `Gil`, and states are never dropped.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub fn new(object: Object) -> Self {
        Self(object)
    }

    pub fn get(&self, _gil: Gil<'_>) -> &Object {
        &self.0
    }
}

/// Takes the GIL again, also when unwinding.
struct Retake(*mut ffi::PyThreadState);

impl Drop for Retake {
    fn drop(&mut self) {
        // SAFETY: the state is this thread's own, saved by `released`.
        unsafe { gil_wait::take(self.0) };
    }
}

impl<'g> Gil<'g> {
    /// # Safety
    /// The thread holds the GIL, and does so for as long as the value and its copies are used.
    pub unsafe fn assume() -> Self {
        Self(PhantomData)
    }

    /// Runs `body` without the GIL. `Send` keeps Python objects out of it.
    pub fn released<R>(self, body: impl FnOnce() -> R + Send) -> R {
        // SAFETY: `self` proves that this thread holds the GIL.
        let _retake = Retake(unsafe { ffi::PyEval_SaveThread() });
        body()
    }

    /// Owns what a C function returned as a new reference; null means that it raised.
    ///
    /// # Safety
    /// `new` is a new reference, or null with an exception set.
    pub unsafe fn own(self, new: *mut ffi::PyObject) -> Result<Object, Raised> {
        NonNull::new(new).map(Object).ok_or(Raised(()))
    }

    /// Makes a borrowed reference an owned one.
    ///
    /// # Safety
    /// `borrowed` is a live object.
    pub unsafe fn share(self, borrowed: *mut ffi::PyObject) -> Object {
        // SAFETY: the caller says that it is live, hence not null.
        unsafe {
            ffi::Py_INCREF(borrowed);
            Object(NonNull::new_unchecked(borrowed))
        }
    }

    /// Text from bytes, each a code point: never fails but for want of memory.
    pub fn latin1(self, bytes: &[u8]) -> Result<Object, Raised> {
        // SAFETY: the slice is readable for its length, which fits isize.
        unsafe {
            self.own(ffi::PyUnicode_DecodeLatin1(
                bytes.as_ptr().cast(),
                bytes.len() as isize,
                ptr::null(),
            ))
        }
    }

    pub fn text(self, text: &str) -> Result<Object, Raised> {
        // SAFETY: the slice is UTF-8 and readable for its length.
        unsafe {
            self.own(ffi::PyUnicode_FromStringAndSize(
                text.as_ptr().cast(),
                text.len() as isize,
            ))
        }
    }

    /// Text that is compared by identity where dict keys are.
    pub fn interned(self, text: &CStr) -> Result<Object, Raised> {
        // SAFETY: `text` is a C string.
        unsafe { self.own(ffi::PyUnicode_InternFromString(text.as_ptr())) }
    }

    /// A name of the file system, decoded as `os.fsdecode` does; latin-1 where that fails.
    pub fn path(self, bytes: &[u8]) -> Result<Object, Raised> {
        // SAFETY: the slice is readable for its length.
        let decoded = unsafe {
            self.own(ffi::PyUnicode_DecodeFSDefaultAndSize(
                bytes.as_ptr().cast(),
                bytes.len() as isize,
            ))
        };
        decoded.or_else(|raised| {
            self.clear(raised);
            self.latin1(bytes)
        })
    }

    pub fn bytes(self, bytes: &[u8]) -> Result<Object, Raised> {
        // SAFETY: the slice is readable for its length.
        unsafe {
            self.own(ffi::PyBytes_FromStringAndSize(
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
    ) -> Result<Object, Raised> {
        // SAFETY: plain constructor; without a source the contents are for us to write.
        let made = unsafe {
            self.own(ffi::PyBytes_FromStringAndSize(
                ptr::null(),
                isize::try_from(len).unwrap_or(isize::MAX),
            ))
        }?;
        // SAFETY: a bytes object of `len`, which nobody else has seen yet: no Python code can look
        // at it while it is written, and it is live as long as `made`. Zeroed, so that all of it is
        // initialised.
        let room = unsafe {
            let start = ffi::PyBytes_AsString(made.as_ptr()).cast::<u8>();
            ptr::write_bytes(start, 0, len);
            std::slice::from_raw_parts_mut(start, len)
        };
        let written = self.released(|| fill(&mut *room)).map_err(failed)?;
        match room.get(..written) {
            // Its length is for life.
            Some(part) if written < len => self.bytes(part),
            _ => Ok(made),
        }
    }

    pub fn int(self, value: i64) -> Result<Object, Raised> {
        // SAFETY: plain constructor.
        unsafe { self.own(ffi::PyLong_FromLongLong(value)) }
    }

    pub fn float(self, value: f64) -> Result<Object, Raised> {
        // SAFETY: plain constructor.
        unsafe { self.own(ffi::PyFloat_FromDouble(value)) }
    }

    pub fn boolean(self, value: bool) -> Object {
        // SAFETY: True and False always exist.
        unsafe {
            self.share(if value {
                ffi::Py_True()
            } else {
                ffi::Py_False()
            })
        }
    }

    pub fn none(self) -> Object {
        // SAFETY: None always exists.
        unsafe { self.share(ffi::Py_None()) }
    }

    pub fn dict(self) -> Result<Object, Raised> {
        // SAFETY: plain constructor.
        unsafe { self.own(ffi::PyDict_New()) }
    }

    pub fn list(self) -> Result<Object, Raised> {
        // SAFETY: plain constructor.
        unsafe { self.own(ffi::PyList_New(0)) }
    }

    pub fn tuple(self, items: &[&Object]) -> Result<Object, Raised> {
        // SAFETY: a new tuple of this size; each place is filled once with a reference of its own.
        unsafe {
            let tuple = self.own(ffi::PyTuple_New(items.len() as isize))?;
            for (i, item) in items.iter().enumerate() {
                ffi::PyTuple_SetItem(
                    tuple.as_ptr(),
                    i as isize,
                    (*item).clone_ref(self).into_ptr(),
                );
            }
            Ok(tuple)
        }
    }

    pub fn import(self, name: &CStr) -> Result<Object, Raised> {
        // SAFETY: `name` is a C string.
        unsafe { self.own(ffi::PyImport_ImportModule(name.as_ptr())) }
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
    pub fn raise_object(self, exception: &Object) -> Raised {
        // SAFETY: both are live; the type of an instance is its class.
        unsafe {
            let class = ffi::Py_TYPE(exception.as_ptr());
            ffi::PyErr_SetObject(class.cast(), exception.as_ptr());
        }
        Raised(())
    }

    /// Takes the exception that is set, with its traceback attached.
    #[allow(deprecated)] // the successors came with 3.12, the stable ABI here is 3.10's
    pub fn take_exception(self, _raised: Raised) -> Object {
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
            NonNull::new(value).map_or_else(|| self.none(), Object)
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
        (!unsafe { ffi::PyErr_Occurred() }.is_null()).then_some(Raised(()))
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

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: an `Object` is made against a `Gil`, is not `Send`, and no call that releases the
        // GIL takes one along; so the GIL of its interpreter is held here.
        unsafe { ffi::Py_DECREF(self.0.as_ptr()) };
    }
}

impl Object {
    pub fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }

    pub fn into_ptr(self) -> *mut ffi::PyObject {
        let raw = self.as_ptr();
        std::mem::forget(self);
        raw
    }

    pub fn clone_ref(&self, gil: Gil<'_>) -> Self {
        // SAFETY: it is live.
        unsafe { gil.share(self.as_ptr()) }
    }

    pub fn is(&self, other: &Object) -> bool {
        self.0 == other.0
    }

    pub fn is_none(&self) -> bool {
        // SAFETY: compares addresses.
        unsafe { self.as_ptr() == ffi::Py_None() }
    }

    pub fn attr(&self, gil: Gil<'_>, name: &Object) -> Result<Object, Raised> {
        // SAFETY: both are live.
        unsafe { gil.own(ffi::PyObject_GetAttr(self.as_ptr(), name.as_ptr())) }
    }

    pub fn attr_named(&self, gil: Gil<'_>, name: &CStr) -> Result<Object, Raised> {
        // SAFETY: it is live; `name` is a C string.
        unsafe { gil.own(ffi::PyObject_GetAttrString(self.as_ptr(), name.as_ptr())) }
    }

    pub fn set_attr(&self, _gil: Gil<'_>, name: &CStr, value: &Object) -> Result<(), Raised> {
        // SAFETY: both are live; `name` is a C string.
        status(unsafe { ffi::PyObject_SetAttrString(self.as_ptr(), name.as_ptr(), value.as_ptr()) })
    }

    pub fn call(&self, gil: Gil<'_>, arguments: &[&Object]) -> Result<Object, Raised> {
        let null = ptr::null_mut::<ffi::PyObject>();
        let f = self.as_ptr();
        // SAFETY: callable and arguments are live; the variable arguments end with null.
        unsafe {
            gil.own(match arguments {
                [] => ffi::PyObject_CallNoArgs(f),
                [a] => ffi::PyObject_CallFunctionObjArgs(f, a.as_ptr(), null),
                [a, b] => ffi::PyObject_CallFunctionObjArgs(f, a.as_ptr(), b.as_ptr(), null),
                many => {
                    let tuple = gil.tuple(many)?;
                    ffi::PyObject_CallObject(f, tuple.as_ptr())
                }
            })
        }
    }

    pub fn call_method(
        &self,
        gil: Gil<'_>,
        name: &CStr,
        arguments: &[&Object],
    ) -> Result<Object, Raised> {
        self.attr_named(gil, name)?.call(gil, arguments)
    }

    /// Contents of a `bytes` object, or of an instance of a subclass.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        // SAFETY: it is live; a bytes object does not change, and its memory stays where it is as
        // long as the object lives, which the borrow of `self` covers.
        unsafe {
            if ffi::PyBytes_Check(self.as_ptr()) == 0 {
                return None;
            }
            let data = ffi::PyBytes_AsString(self.as_ptr()).cast::<u8>();
            let len = ffi::PyBytes_Size(self.as_ptr());
            Some(std::slice::from_raw_parts(data, len.max(0) as usize))
        }
    }

    pub fn is_text(&self) -> bool {
        // SAFETY: it is live.
        unsafe { ffi::PyUnicode_Check(self.as_ptr()) != 0 }
    }

    /// A `str` as bytes, a code point each. Raises `UnicodeEncodeError`.
    pub fn to_latin1(&self, gil: Gil<'_>) -> Result<Object, Raised> {
        // SAFETY: it is live; for what is no str the function raises.
        unsafe { gil.own(ffi::PyUnicode_AsLatin1String(self.as_ptr())) }
    }

    /// A `str` as UTF-8; what can't be encoded is replaced.
    pub fn to_utf8(&self, gil: Gil<'_>) -> Result<Object, Raised> {
        // SAFETY: it is live; for what is no str the function raises.
        unsafe {
            gil.own(ffi::PyUnicode_AsEncodedString(
                self.as_ptr(),
                c"utf-8".as_ptr(),
                c"replace".as_ptr(),
            ))
        }
    }

    /// A copy as text, for messages; `str()` is called first where it is none.
    pub fn to_text(&self, gil: Gil<'_>) -> Result<String, Raised> {
        // SAFETY: it is live.
        let text = unsafe { gil.own(ffi::PyObject_Str(self.as_ptr()))? };
        let utf8 = text.to_utf8(gil)?;
        Ok(String::from_utf8_lossy(utf8.as_bytes().unwrap_or_default()).into_owned())
    }

    /// Name of the object's type.
    pub fn type_name(&self, gil: Gil<'_>) -> String {
        // SAFETY: it is live, and so is its type.
        let class = unsafe { gil.share(ffi::Py_TYPE(self.as_ptr()).cast()) };
        match class
            .attr_named(gil, c"__name__")
            .and_then(|n| n.to_text(gil))
        {
            Ok(name) => name,
            Err(raised) => {
                gil.clear(raised);
                "object".to_owned()
            }
        }
    }

    pub fn to_int(&self, gil: Gil<'_>) -> Result<i64, Raised> {
        // SAFETY: it is live.
        let value = unsafe { ffi::PyLong_AsLongLong(self.as_ptr()) };
        match gil.raised() {
            Some(raised) if value == -1 => Err(raised),
            _ => Ok(value),
        }
    }

    pub fn is_int(&self) -> bool {
        // SAFETY: it is live.
        unsafe { ffi::PyLong_Check(self.as_ptr()) != 0 }
    }

    pub fn is_true(&self, _gil: Gil<'_>) -> Result<bool, Raised> {
        // SAFETY: it is live.
        match unsafe { ffi::PyObject_IsTrue(self.as_ptr()) } {
            -1 => Err(Raised(())),
            truth => Ok(truth != 0),
        }
    }

    /// Exactly a list or tuple, or an instance of a subclass of list.
    pub fn is_list(&self) -> bool {
        // SAFETY: it is live.
        unsafe { ffi::PyList_Check(self.as_ptr()) != 0 }
    }

    pub fn is_exact_list(&self) -> bool {
        // SAFETY: it is live.
        unsafe { ffi::PyList_CheckExact(self.as_ptr()) != 0 }
    }

    pub fn is_tuple(&self) -> bool {
        // SAFETY: it is live.
        unsafe { ffi::PyTuple_Check(self.as_ptr()) != 0 }
    }

    pub fn is_exact_tuple(&self) -> bool {
        // SAFETY: it is live.
        unsafe { ffi::PyTuple_CheckExact(self.as_ptr()) != 0 }
    }

    /// Whether it is an instance of `class`, a type.
    pub fn is_instance(&self, _gil: Gil<'_>, class: &Object) -> bool {
        // SAFETY: both are live, and `class` is a type.
        unsafe {
            let own = ffi::Py_TYPE(self.as_ptr());
            own == class.as_ptr().cast() || ffi::PyType_IsSubtype(own, class.as_ptr().cast()) != 0
        }
    }

    /// Length of a list or tuple.
    pub fn sequence_len(&self) -> usize {
        // SAFETY: it is live; for other objects the functions are not called.
        let len = unsafe {
            if self.is_list() {
                ffi::PyList_Size(self.as_ptr())
            } else if self.is_tuple() {
                ffi::PyTuple_Size(self.as_ptr())
            } else {
                0
            }
        };
        len.max(0) as usize
    }

    /// An item of a list or tuple; `None` past its end, as a list may shrink meanwhile.
    pub fn item(&self, gil: Gil<'_>, index: usize) -> Option<Object> {
        if index >= self.sequence_len() {
            return None;
        }
        // SAFETY: it is a list or tuple and the index is within; the borrowed item is shared at
        // once, before any code could remove it.
        unsafe {
            let item = if self.is_list() {
                ffi::PyList_GetItem(self.as_ptr(), index as isize)
            } else {
                ffi::PyTuple_GetItem(self.as_ptr(), index as isize)
            };
            (!item.is_null()).then(|| gil.share(item))
        }
    }

    pub fn append(&self, _gil: Gil<'_>, item: &Object) -> Result<(), Raised> {
        // SAFETY: both are live; for what is no list the function raises.
        status(unsafe { ffi::PyList_Append(self.as_ptr(), item.as_ptr()) })
    }

    pub fn iterator(&self, gil: Gil<'_>) -> Result<Object, Raised> {
        // SAFETY: it is live.
        unsafe { gil.own(ffi::PyObject_GetIter(self.as_ptr())) }
    }

    /// The next item of an iterator; `None` at its end.
    pub fn next(&self, gil: Gil<'_>) -> Result<Option<Object>, Raised> {
        // SAFETY: it is live and an iterator.
        let item = unsafe { ffi::PyIter_Next(self.as_ptr()) };
        match NonNull::new(item) {
            Some(item) => Ok(Some(Object(item))),
            None => gil.raised().map_or(Ok(None), Err),
        }
    }

    pub fn dict_copy(&self, gil: Gil<'_>) -> Result<Object, Raised> {
        // SAFETY: it is live; for what is no dict the function raises.
        unsafe { gil.own(ffi::PyDict_Copy(self.as_ptr())) }
    }

    pub fn dict_set(&self, _gil: Gil<'_>, key: &Object, value: &Object) -> Result<(), Raised> {
        // SAFETY: all are live; for what is no dict the function raises.
        status(unsafe { ffi::PyDict_SetItem(self.as_ptr(), key.as_ptr(), value.as_ptr()) })
    }

    pub fn dict_get(&self, gil: Gil<'_>, key: &Object) -> Result<Option<Object>, Raised> {
        // SAFETY: both are live; the borrowed value is shared at once.
        unsafe {
            let value = ffi::PyDict_GetItemWithError(self.as_ptr(), key.as_ptr());
            if value.is_null() {
                gil.raised().map_or(Ok(None), Err)
            } else {
                Ok(Some(gil.share(value)))
            }
        }
    }

    /// Removes a key that may be missing.
    pub fn dict_remove(&self, gil: Gil<'_>, key: &Object) {
        // SAFETY: both are live.
        if unsafe { ffi::PyDict_DelItem(self.as_ptr(), key.as_ptr()) } != 0 {
            gil.clear(Raised(()));
        }
    }
}

/// A status of -1 means that an exception is set.
fn status(returned: i32) -> Result<(), Raised> {
    if returned < 0 {
        Err(Raised(()))
    } else {
        Ok(())
    }
}
