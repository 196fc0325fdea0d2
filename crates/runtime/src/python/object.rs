//! References to Python's objects.
//!
//! Runs in: any thread that is attached to an interpreter. An [`Object`] lives no longer than the
//! attachment; what is to live longer is [`Stored`], which has to be bound with a [`Gil`] to be used.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use pyo3::ffi;

use super::gil::{Gil, PyResult, Raised};

/// A strong reference, for as long as the thread is attached.
#[repr(transparent)]
pub struct Object<'g>(NonNull<ffi::PyObject>, PhantomData<Gil<'g>>);

/// A strong reference that outlives the attachment: what an interpreter keeps, for all its threads.
///
/// Dropping it leaks the reference, since the thread may then be attached to another interpreter or
/// to none; [`Stored::release`] gives it up.
#[must_use]
pub struct Stored {
    object: ManuallyDrop<Object<'static>>,
    interpreter: NonNull<ffi::PyInterpreterState>,
}

// SAFETY: the object is lent only against a `Gil` of its interpreter, and never released without.
unsafe impl Send for Stored {}
// SAFETY: as above.
unsafe impl Sync for Stored {}

impl Stored {
    pub fn new(gil: Gil<'_>, object: Object<'_>) -> Self {
        let Object(raw, _) = *ManuallyDrop::new(object);
        Self {
            object: ManuallyDrop::new(Object(raw, PhantomData)),
            interpreter: gil.interpreter(),
        }
    }

    /// The object, for a thread that is attached to its interpreter.
    ///
    /// # Panics
    /// Where the thread is attached to another interpreter.
    pub fn bind<'s, 'g>(&'s self, gil: Gil<'g>) -> &'s Object<'g> {
        assert!(
            gil.interpreter() == self.interpreter,
            "an object of another interpreter"
        );
        &self.object
    }

    /// The object, which is no longer stored.
    ///
    /// # Panics
    /// Where the thread is attached to another interpreter.
    pub fn take<'g>(self, gil: Gil<'g>) -> Object<'g> {
        self.bind(gil);
        ManuallyDrop::into_inner(self.object)
    }

    /// Gives the reference up.
    ///
    /// # Panics
    /// Where the thread is attached to another interpreter.
    pub fn release(self, gil: Gil<'_>) {
        drop(self.take(gil));
    }
}

/// What Python's `iter()` returns.
pub struct PyIterator<'g>(Object<'g>);

impl<'g> PyIterator<'g> {
    /// The next item; `None` at the end.
    pub fn next(&self) -> Result<Option<Object<'g>>, Raised> {
        // SAFETY: it is live and an iterator. Null without an exception is the end.
        unsafe {
            match ffi::PyIter_Next(self.0.as_ptr()) {
                item if item.is_null() => Raised::check().map_or(Ok(None), Err),
                item => Object::own(item).map(Some),
            }
        }
    }
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        // SAFETY: its lifetime is the attachment's, it is not `Send`, and no call that releases the
        // GIL takes one along; so the GIL of its interpreter is held here.
        unsafe { ffi::Py_DECREF(self.0.as_ptr()) };
    }
}

impl<'g> Object<'g> {
    /// Owns what a C function returned as a new reference; null means that it raised.
    ///
    /// # Safety
    /// The thread is attached for `'g`; `new` is a new reference, or null with an exception set.
    pub(super) unsafe fn own(new: *mut ffi::PyObject) -> PyResult<'g> {
        match NonNull::new(new) {
            Some(new) => Ok(Self(new, PhantomData)),
            // SAFETY: the caller says so.
            None => Err(unsafe { Raised::assume() }),
        }
    }

    /// Makes a borrowed reference an owned one.
    ///
    /// # Safety
    /// The thread is attached for `'g`; `borrowed` is a live object.
    pub(super) unsafe fn share(borrowed: *mut ffi::PyObject) -> Self {
        // SAFETY: the caller says that it is live, hence not null.
        unsafe {
            ffi::Py_INCREF(borrowed);
            Self(NonNull::new_unchecked(borrowed), PhantomData)
        }
    }

    /// Takes a borrowed reference for an owned one, which the caller must not drop.
    ///
    /// # Safety
    /// The thread is attached for `'g`; `borrowed` is live for as long as the value is used.
    pub(super) unsafe fn borrow(borrowed: *mut ffi::PyObject) -> ManuallyDrop<Self> {
        // SAFETY: the caller says that it is live, hence not null.
        let borrowed = unsafe { NonNull::new_unchecked(borrowed) };
        ManuallyDrop::new(Self(borrowed, PhantomData))
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }

    pub(super) fn into_ptr(self) -> *mut ffi::PyObject {
        ManuallyDrop::new(self).as_ptr()
    }

    pub(super) fn tuple(items: &[&Self]) -> PyResult<'g> {
        // SAFETY: a new tuple of this size; each place is filled once with a reference of its own.
        unsafe {
            let tuple = Self::own(ffi::PyTuple_New(items.len() as isize))?;
            for (i, item) in items.iter().enumerate() {
                let item = item.clone_ref().into_ptr();
                ffi::PyTuple_SetItem(tuple.as_ptr(), i as isize, item);
            }
            Ok(tuple)
        }
    }

    pub fn clone_ref(&self) -> Self {
        // SAFETY: it is live.
        unsafe { Self::share(self.as_ptr()) }
    }

    pub fn is(&self, other: &Object<'g>) -> bool {
        self.0 == other.0
    }

    pub fn is_none(&self) -> bool {
        // SAFETY: compares addresses.
        unsafe { self.as_ptr() == ffi::Py_None() }
    }

    pub fn attr(&self, name: &Object<'g>) -> PyResult<'g> {
        // SAFETY: both are live.
        unsafe { Self::own(ffi::PyObject_GetAttr(self.as_ptr(), name.as_ptr())) }
    }

    pub fn attr_named(&self, name: &CStr) -> PyResult<'g> {
        // SAFETY: it is live; `name` is a C string.
        unsafe { Self::own(ffi::PyObject_GetAttrString(self.as_ptr(), name.as_ptr())) }
    }

    pub fn set_attr(&self, name: &CStr, value: &Object<'g>) -> Result<(), Raised> {
        // SAFETY: both are live; `name` is a C string.
        unsafe {
            Raised::from_status(ffi::PyObject_SetAttrString(
                self.as_ptr(),
                name.as_ptr(),
                value.as_ptr(),
            ))
        }
    }

    pub fn call(&self, arguments: &[&Object<'g>]) -> PyResult<'g> {
        let null = ptr::null_mut::<ffi::PyObject>();
        let f = self.as_ptr();
        // SAFETY: callable and arguments are live; the variable arguments end with null.
        unsafe {
            Self::own(match arguments {
                [] => ffi::PyObject_CallNoArgs(f),
                [a] => ffi::PyObject_CallFunctionObjArgs(f, a.as_ptr(), null),
                [a, b] => ffi::PyObject_CallFunctionObjArgs(f, a.as_ptr(), b.as_ptr(), null),
                many => {
                    let tuple = Self::tuple(many)?;
                    ffi::PyObject_CallObject(f, tuple.as_ptr())
                }
            })
        }
    }

    pub fn call_method(&self, name: &CStr, arguments: &[&Object<'g>]) -> PyResult<'g> {
        self.attr_named(name)?.call(arguments)
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

    /// How often the object is referred to, to compare with what it was: the count's low 32 bits,
    /// where every version has it.
    pub fn references(&self) -> u32 {
        // SAFETY: it is live; the count is its first field.
        unsafe { ffi::Py_REFCNT(self.as_ptr()) as u32 }
    }

    pub fn is_text(&self) -> bool {
        // SAFETY: it is live.
        unsafe { ffi::PyUnicode_Check(self.as_ptr()) != 0 }
    }

    /// A `str` as bytes, a code point each. Raises `UnicodeEncodeError`.
    pub fn to_latin1(&self) -> PyResult<'g> {
        // SAFETY: it is live; for what is no str the function raises.
        unsafe { Self::own(ffi::PyUnicode_AsLatin1String(self.as_ptr())) }
    }

    /// A `str` as UTF-8; what can't be encoded is replaced.
    pub fn to_utf8(&self) -> PyResult<'g> {
        // SAFETY: it is live; for what is no str the function raises.
        unsafe {
            Self::own(ffi::PyUnicode_AsEncodedString(
                self.as_ptr(),
                c"utf-8".as_ptr(),
                c"replace".as_ptr(),
            ))
        }
    }

    /// A copy as text, for messages; `str()` is called first where it is none.
    pub fn to_text(&self) -> Result<String, Raised> {
        // SAFETY: it is live.
        let text = unsafe { Self::own(ffi::PyObject_Str(self.as_ptr()))? };
        let utf8 = text.to_utf8()?;
        Ok(String::from_utf8_lossy(utf8.as_bytes().unwrap_or_default()).into_owned())
    }

    /// The object's type.
    pub fn class(&self) -> Self {
        // SAFETY: it is live, and so is its type.
        unsafe { Self::share(ffi::Py_TYPE(self.as_ptr()).cast()) }
    }

    /// Name of the object's type.
    pub fn type_name(&self) -> String {
        match self
            .class()
            .attr_named(c"__name__")
            .and_then(|n| n.to_text())
        {
            Ok(name) => name,
            Err(_raised) => {
                // SAFETY: the object proves that the GIL is held.
                unsafe { ffi::PyErr_Clear() };
                "object".to_owned()
            }
        }
    }

    pub fn to_int(&self) -> Result<i64, Raised> {
        // SAFETY: it is live, and proves that the GIL is held.
        unsafe {
            match ffi::PyLong_AsLongLong(self.as_ptr()) {
                -1 => Raised::check().map_or(Ok(-1), Err),
                value => Ok(value),
            }
        }
    }

    /// As a size; `None` where it is negative.
    ///
    /// # Errors
    /// For what is no integer.
    pub fn to_size(&self) -> Result<Option<usize>, Raised> {
        // SAFETY: it is live; what is no integer makes the function raise.
        unsafe {
            match ffi::PyNumber_AsSsize_t(self.as_ptr(), ffi::PyExc_OverflowError) {
                -1 => Raised::check().map_or(Ok(None), Err),
                size => Ok(usize::try_from(size).ok()),
            }
        }
    }

    pub fn is_int(&self) -> bool {
        // SAFETY: it is live.
        unsafe { ffi::PyLong_Check(self.as_ptr()) != 0 }
    }

    pub fn is_true(&self) -> Result<bool, Raised> {
        // SAFETY: it is live.
        unsafe {
            let truth = ffi::PyObject_IsTrue(self.as_ptr());
            Raised::from_status(truth).map(|()| truth != 0)
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

    /// Length of a `str`, in code points.
    pub fn text_len(&self) -> Result<i64, Raised> {
        // SAFETY: it is live; for what is no str the function raises.
        unsafe {
            match ffi::PyUnicode_GetLength(self.as_ptr()) {
                -1 => Err(Raised::assume()),
                len => Ok(len as i64),
            }
        }
    }

    /// Whether it is an instance of `class`; never of what is no type.
    pub fn is_instance(&self, class: &Object<'g>) -> bool {
        // SAFETY: both are live, and `class` is a type where it is looked into.
        unsafe {
            let own = ffi::Py_TYPE(self.as_ptr());
            own == class.as_ptr().cast()
                || ffi::PyType_Check(class.as_ptr()) != 0
                    && ffi::PyType_IsSubtype(own, class.as_ptr().cast()) != 0
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
    pub fn item(&self, index: usize) -> Option<Self> {
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
            (!item.is_null()).then(|| Self::share(item))
        }
    }

    pub fn append(&self, item: &Object<'g>) -> Result<(), Raised> {
        // SAFETY: both are live; for what is no list the function raises.
        unsafe { Raised::from_status(ffi::PyList_Append(self.as_ptr(), item.as_ptr())) }
    }

    pub fn iterator(&self) -> Result<PyIterator<'g>, Raised> {
        // SAFETY: it is live.
        unsafe { Self::own(ffi::PyObject_GetIter(self.as_ptr())).map(PyIterator) }
    }

    pub fn dict_copy(&self) -> PyResult<'g> {
        // SAFETY: it is live; for what is no dict the function raises.
        unsafe { Self::own(ffi::PyDict_Copy(self.as_ptr())) }
    }

    pub fn dict_set(&self, key: &Object<'g>, value: &Object<'g>) -> Result<(), Raised> {
        // SAFETY: all are live; for what is no dict the function raises.
        unsafe {
            Raised::from_status(ffi::PyDict_SetItem(
                self.as_ptr(),
                key.as_ptr(),
                value.as_ptr(),
            ))
        }
    }

    pub fn dict_get(&self, key: &Object<'g>) -> Result<Option<Self>, Raised> {
        // SAFETY: both are live; the borrowed value is shared at once.
        unsafe {
            let value = ffi::PyDict_GetItemWithError(self.as_ptr(), key.as_ptr());
            if value.is_null() {
                Raised::check().map_or(Ok(None), Err)
            } else {
                Ok(Some(Self::share(value)))
            }
        }
    }

    /// Removes a key that may be missing.
    pub fn dict_remove(&self, key: &Object<'g>) {
        // SAFETY: both are live.
        unsafe {
            if ffi::PyDict_DelItem(self.as_ptr(), key.as_ptr()) != 0 {
                ffi::PyErr_Clear();
            }
        }
    }
}
