//! Heap types with a Rust value inside, functions bound to them, and the wall against panics.
//!
//! Runs in: any thread inside an interpreter. Each interpreter has types of its own; an instance
//! keeps its type, and a pointer to nothing else of Python's, so it needs no cycle collector.

use std::any::Any;
use std::ffi::{c_int, c_void, CStr};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;

use pyo3::ffi;

use super::object::{Exception, Gil, Object, Raised};

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

/// The only way from Python into this crate. A panic becomes a `SystemError`.
///
/// # Safety
/// The thread holds the GIL.
pub unsafe fn enter<R>(
    name: &str,
    on_error: R,
    body: impl FnOnce(Gil<'_>) -> Result<R, Raised>,
) -> R {
    // SAFETY: the caller holds the GIL, until this function returns.
    let gil = unsafe { Gil::assume() };
    match catch_unwind(AssertUnwindSafe(|| body(gil))) {
        Ok(Ok(value)) => value,
        Ok(Err(_raised)) => on_error,
        Err(panic) => {
            let text = format!(
                "mod_wsgi: internal error in {name}: {}",
                panic_text(&*panic)
            );
            let _raised = gil.raise(Exception::System, &text);
            on_error
        }
    }
}

/// [`enter`] for functions that return an object.
///
/// # Safety
/// The thread holds the GIL.
pub unsafe fn enter_object(
    name: &str,
    body: impl FnOnce(Gil<'_>) -> Result<Object, Raised>,
) -> *mut ffi::PyObject {
    // SAFETY: as the caller's.
    unsafe { enter(name, ptr::null_mut(), |gil| body(gil).map(Object::into_ptr)) }
}

/// A table that Python wants to find at one address for ever, and does not change.
#[repr(transparent)]
pub struct Table<T>(T);

// SAFETY: the tables are constants; Python reads them under the GIL and never writes.
unsafe impl<T> Sync for Table<T> {}

impl<T> Table<T> {
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    pub const fn as_ptr(&self) -> *mut T {
        ptr::from_ref(&self.0).cast_mut()
    }
}

/// A function or method that takes positional arguments.
pub const fn method(
    name: &'static CStr,
    function: ffi::PyCFunctionFast,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFast: function,
        },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: doc.as_ptr(),
    }
}

/// A function or method that takes arguments by position and by name: a tuple, and a dict or null.
pub const fn method_with_names(
    name: &'static CStr,
    function: ffi::PyCFunctionWithKeywords,
    doc: &'static CStr,
) -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionWithKeywords: function,
        },
        ml_flags: ffi::METH_VARARGS | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    }
}

/// The end of a table of methods.
pub const NO_METHOD: ffi::PyMethodDef = ffi::PyMethodDef::zeroed();

/// A function bound to `owner`, which it keeps alive.
///
/// # Safety
/// `method` has a signature that fits its flags, and knows what its first argument is.
pub unsafe fn bound(
    gil: Gil<'_>,
    method: &'static Table<ffi::PyMethodDef>,
    owner: &Object,
) -> Result<Object, Raised> {
    // SAFETY: the table is static; the function takes a reference to `owner` of its own.
    unsafe {
        gil.own(ffi::PyCFunction_NewEx(
            method.as_ptr(),
            owner.as_ptr(),
            ptr::null_mut(),
        ))
    }
}

/// The positional arguments of a call.
pub struct Arguments<'a> {
    items: &'a [*mut ffi::PyObject],
}

impl<'a> Arguments<'a> {
    /// # Safety
    /// As METH_FASTCALL gives them; they outlive 'a.
    pub unsafe fn new(items: *mut *mut ffi::PyObject, count: ffi::Py_ssize_t) -> Self {
        let items = if count <= 0 {
            &[]
        } else {
            // SAFETY: Python says so.
            unsafe { std::slice::from_raw_parts(items, count as usize) }
        };
        Self { items }
    }

    /// Refuses a wrong number of arguments.
    pub fn expect(
        &self,
        gil: Gil<'_>,
        name: &str,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<(), Raised> {
        if range.contains(&self.items.len()) {
            return Ok(());
        }
        let (least, most) = (range.start(), range.end());
        let wanted = if least == most {
            format!("{least}")
        } else {
            format!("from {least} to {most}")
        };
        let got = self.items.len();
        Err(gil.raise(
            Exception::Type,
            &format!("{name}() takes {wanted} arguments, {got} were given"),
        ))
    }

    pub fn get(&self, gil: Gil<'_>, index: usize) -> Option<Object> {
        // SAFETY: arguments are live for the call.
        self.items
            .get(index)
            .map(|&item| unsafe { gil.share(item) })
    }

    /// An argument that is a size: missing, None and negative are no limit.
    pub fn size(&self, gil: Gil<'_>, index: usize) -> Result<Option<usize>, Raised> {
        match self.get(gil, index) {
            Some(item) if !item.is_none() => {
                // SAFETY: it is live; what is no index makes the function raise.
                let size =
                    unsafe { ffi::PyNumber_AsSsize_t(item.as_ptr(), ffi::PyExc_OverflowError) };
                match gil.raised() {
                    Some(raised) if size == -1 => Err(raised),
                    _ => Ok(usize::try_from(size).ok()),
                }
            }
            _ => Ok(None),
        }
    }
}

/// An instance of a heap type: Python's head and the value.
#[repr(C)]
struct Instance<T> {
    head: ffi::PyObject,
    value: ManuallyDrop<T>,
}

/// A heap type of one interpreter whose instances hold a `T`.
pub struct Class<T> {
    class: super::object::Shared,
    _holds: PhantomData<fn() -> T>,
}

impl<T: Send + Sync> Class<T> {
    /// Makes the type.
    ///
    /// # Safety
    /// The functions in `methods` and `slots` take instances of this type as their first argument,
    /// with signatures as Python expects them there.
    pub unsafe fn new(
        gil: Gil<'_>,
        name: &'static CStr,
        doc: &'static CStr,
        methods: *mut ffi::PyMethodDef,
        members: &[(c_int, *mut c_void)],
    ) -> Result<Self, Raised> {
        let dealloc = dealloc::<T> as ffi::destructor as *mut c_void;
        let mut slots = vec![
            ffi::PyType_Slot {
                slot: ffi::Py_tp_dealloc,
                pfunc: dealloc,
            },
            ffi::PyType_Slot {
                slot: ffi::Py_tp_methods,
                pfunc: methods.cast(),
            },
            ffi::PyType_Slot {
                slot: ffi::Py_tp_doc,
                pfunc: doc.as_ptr().cast_mut().cast(),
            },
        ];
        for &(slot, pfunc) in members {
            slots.push(ffi::PyType_Slot { slot, pfunc });
        }
        slots.push(ffi::PyType_Slot {
            slot: 0,
            pfunc: ptr::null_mut(),
        });
        let flags = ffi::Py_TPFLAGS_DEFAULT
            | ffi::Py_TPFLAGS_IMMUTABLETYPE
            | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
        let mut spec = ffi::PyType_Spec {
            name: name.as_ptr(),
            basicsize: size_of::<Instance<T>>() as c_int,
            itemsize: 0,
            flags: flags as _,
            slots: slots.as_mut_ptr(),
        };
        // SAFETY: name, doc and methods are static; Python copies spec and slots.
        let class = unsafe { gil.own(ffi::PyType_FromSpec(&mut spec))? };
        Ok(Self {
            class: super::object::Shared::new(class),
            _holds: PhantomData,
        })
    }

    /// An instance that owns `value`.
    pub fn instance(&self, gil: Gil<'_>, value: T) -> Result<Object, Raised> {
        const { assert!(align_of::<T>() <= 16, "Python aligns to 16 bytes") };
        let class = self.class.get(gil).as_ptr().cast::<ffi::PyTypeObject>();
        // SAFETY: the type has room for an `Instance<T>`; its value is written before anybody sees
        // the object.
        unsafe {
            let object = gil.own(ffi::PyType_GenericAlloc(class, 0))?;
            let place = object.as_ptr().cast::<Instance<T>>();
            ptr::write(&raw mut (*place).value, ManuallyDrop::new(value));
            Ok(object)
        }
    }
}

/// The value inside an instance.
///
/// # Safety
/// `object` is a live instance of a `Class<T>`, for as long as 'a.
pub unsafe fn value<'a, T>(object: *mut ffi::PyObject) -> &'a T {
    // SAFETY: the caller says so; values are only ever shared.
    unsafe { &(*object.cast::<Instance<T>>()).value }
}

unsafe extern "C" fn dealloc<T>(object: *mut ffi::PyObject) {
    // SAFETY: Python calls this once, for an instance whose value was written; afterwards the
    // memory goes back to where PyType_GenericAlloc got it, and the type loses the reference its
    // instance held.
    unsafe {
        let class = ffi::Py_TYPE(object);
        let place = object.cast::<Instance<T>>();
        // A panic in a destructor is reported by the hook and goes no further.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            ManuallyDrop::drop(&mut (*place).value);
        }));
        ffi::PyObject_Free(object.cast());
        ffi::Py_DECREF(class.cast());
    }
}
