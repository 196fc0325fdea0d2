//! Heap types of this crate, whose instances hold a Rust value.
//!
//! Runs in: any thread that is attached to an interpreter. Each interpreter has types of its own; an
//! instance keeps its type and no other object of Python's, so it needs no cycle collector.

use std::ffi::{c_int, c_void, CStr};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;

use pyo3::ffi;

use super::function::{Attribute, Method, NO_ATTRIBUTE, NO_METHOD};
use super::gil::{Gil, Raised};
use super::object::{Object, Stored};
use super::trampoline::{assert_plain_function, enter, enter_object, plain_function};

/// Python's head and the value.
#[repr(C)]
struct Layout<T> {
    head: ffi::PyObject,
    value: ManuallyDrop<T>,
}

/// An object that is known to be an instance of a `Class<T>`.
#[repr(transparent)]
pub struct Instance<'g, T>(Object<'g>, PhantomData<fn() -> T>);

impl<'g, T> Instance<'g, T> {
    /// # Safety
    /// `object` is an instance of a `Class<T>`, and live for as long as the value is used; the
    /// thread is attached for `'g`.
    pub(super) unsafe fn borrow(object: *mut ffi::PyObject) -> ManuallyDrop<Self> {
        // SAFETY: as the caller says.
        let object = unsafe { Object::borrow(object) };
        ManuallyDrop::new(Self(ManuallyDrop::into_inner(object), PhantomData))
    }

    pub fn as_object(&self) -> &Object<'g> {
        &self.0
    }
}

impl<T> Deref for Instance<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: it is a live instance of a `Class<T>`, whose value was written when it was made;
        // values are only ever shared.
        unsafe { &(*self.0.as_ptr().cast::<Layout<T>>()).value }
    }
}

/// How instances are iterated over: they are iterators themselves.
pub struct Iteration<T>(ffi::iternextfunc, PhantomData<fn(&T)>);

impl<T: Send + Sync + 'static> Iteration<T> {
    /// Iterates by calling `next`, until it returns `None`.
    pub const fn by<F>(_next: F) -> Self
    where
        F: for<'a, 'g> Fn(Gil<'g>, &'a Instance<'g, T>) -> Result<Option<Object<'g>>, Raised>
            + Copy
            + Send
            + Sync
            + 'static,
    {
        unsafe extern "C" fn call<T, F>(owner: *mut ffi::PyObject) -> *mut ffi::PyObject
        where
            F: for<'a, 'g> Fn(Gil<'g>, &'a Instance<'g, T>) -> Result<Option<Object<'g>>, Raised>
                + Copy
                + Send
                + Sync
                + 'static,
        {
            // SAFETY: called by Python, with the GIL and an instance of the type. `by` got a value
            // of type `F`. Null without an exception is the end.
            unsafe {
                enter::<F, _>(ptr::null_mut(), |gil| {
                    let next = plain_function::<F>()(gil, &Instance::borrow(owner))?;
                    Ok(next.map_or(ptr::null_mut(), Object::into_ptr))
                })
            }
        }
        assert_plain_function::<F>();
        Self(call::<T, F>, PhantomData)
    }
}

unsafe extern "C" fn iterate_over_itself(owner: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: called by Python, with the GIL and a live object.
    unsafe { enter_object::<fn()>(|_gil| Ok(Object::share(owner))) }
}

/// What a type is made of.
pub struct Description<T: 'static> {
    pub name: &'static CStr,
    pub doc: &'static CStr,
    pub methods: &'static [Method<T>],
    pub attributes: &'static [Attribute],
    pub iteration: Option<Iteration<T>>,
}

/// A heap type of one interpreter whose instances hold a `T`.
pub struct Class<T> {
    class: Stored,
    _holds: PhantomData<fn() -> T>,
}

/// Makes a table that Python reads for as long as the process lives, as interpreters do too.
fn leak<T>(items: impl Iterator<Item = T>, end: T) -> *mut c_void {
    let table: Vec<T> = items.chain(std::iter::once(end)).collect();
    table.leak().as_mut_ptr().cast()
}

impl<T: Send + Sync + 'static> Class<T> {
    /// Makes the type in the current interpreter.
    ///
    /// # Errors
    /// For want of memory.
    pub fn new(gil: Gil<'_>, description: &Description<T>) -> Result<Self, Raised> {
        let methods = description.methods.iter().map(|m| *m.definition());
        let attributes = description.attributes.iter().map(|a| *a.definition());
        let slot = |slot, pfunc| ffi::PyType_Slot { slot, pfunc };
        let doc = description.doc.as_ptr().cast_mut().cast();
        let mut slots = vec![
            slot(
                ffi::Py_tp_dealloc,
                dealloc::<T> as ffi::destructor as *mut c_void,
            ),
            slot(ffi::Py_tp_methods, leak(methods, NO_METHOD)),
            slot(ffi::Py_tp_getset, leak(attributes, NO_ATTRIBUTE)),
            slot(ffi::Py_tp_doc, doc),
        ];
        if let Some(iteration) = &description.iteration {
            let iterate = iterate_over_itself as ffi::getiterfunc as *mut c_void;
            slots.push(slot(ffi::Py_tp_iter, iterate));
            slots.push(slot(ffi::Py_tp_iternext, iteration.0 as *mut c_void));
        }
        slots.push(slot(0, ptr::null_mut()));
        let flags = ffi::Py_TPFLAGS_DEFAULT
            | ffi::Py_TPFLAGS_IMMUTABLETYPE
            | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
        let mut spec = ffi::PyType_Spec {
            name: description.name.as_ptr(),
            basicsize: size_of::<Layout<T>>() as c_int,
            itemsize: 0,
            flags: flags as _,
            slots: slots.as_mut_ptr(),
        };
        // SAFETY: name, doc and tables live for ever; Python copies spec and slots. The functions
        // have the signatures of their places, and take instances of this type.
        let class = unsafe { Object::own(ffi::PyType_FromSpec(&mut spec))? };
        Ok(Self {
            class: Stored::new(gil, class),
            _holds: PhantomData,
        })
    }

    /// An instance that owns `value`.
    ///
    /// # Errors
    /// For want of memory.
    pub fn instance<'g>(&self, gil: Gil<'g>, value: T) -> Result<Instance<'g, T>, Raised> {
        const { assert!(align_of::<T>() <= 16, "Python aligns to 16 bytes") };
        let class = self.class.bind(gil).as_ptr().cast::<ffi::PyTypeObject>();
        // SAFETY: the type has room for a `Layout<T>`; its value is written before anybody sees the
        // object.
        unsafe {
            let object: Object<'g> = Object::own(ffi::PyType_GenericAlloc(class, 0))?;
            let place = object.as_ptr().cast::<Layout<T>>();
            ptr::write(&raw mut (*place).value, ManuallyDrop::new(value));
            Ok(Instance(object, PhantomData))
        }
    }
}

unsafe extern "C" fn dealloc<T>(object: *mut ffi::PyObject) {
    // SAFETY: Python calls this once, for an instance whose value was written; afterwards the
    // memory goes back to where PyType_GenericAlloc got it, and the type loses the reference its
    // instance held.
    unsafe {
        let class = ffi::Py_TYPE(object);
        let place = object.cast::<Layout<T>>();
        // A panic in a destructor is reported by the hook and goes no further.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            ManuallyDrop::drop(&mut (*place).value);
        }));
        ffi::PyObject_Free(object.cast());
        ffi::Py_DECREF(class.cast());
    }
}
