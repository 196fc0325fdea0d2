//! Wraps safe Rust functions so that Python can call them.
//!
//! Runs in: any thread that is attached to an interpreter.

use std::ffi::{c_void, CStr};
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::{ptr, slice};

use pyo3::ffi;

use super::class::Instance;
use super::gil::{Exception, Gil, PyResult, Raised};
use super::object::Object;
use super::trampoline::{assert_plain_function, enter_object, plain_function};

/// A function without an owner, as Python's table of methods describes it.
#[repr(transparent)]
pub struct Function(ffi::PyMethodDef);

/// A method of instances of `Class<T>`.
#[repr(transparent)]
pub struct Method<T>(ffi::PyMethodDef, PhantomData<fn(&T)>);

/// An attribute that is the same for all instances.
#[repr(transparent)]
pub struct Attribute(ffi::PyGetSetDef);

// SAFETY: they are constants; Python reads them under the GIL and never writes.
unsafe impl Sync for Function {}
// SAFETY: as above.
unsafe impl<T> Sync for Method<T> {}
// SAFETY: as above.
unsafe impl Sync for Attribute {}

/// The end of a table of methods.
pub(super) const NO_METHOD: ffi::PyMethodDef = ffi::PyMethodDef::zeroed();
/// The end of a table of attributes.
pub(super) const NO_ATTRIBUTE: ffi::PyGetSetDef = ffi::PyGetSetDef {
    name: ptr::null(),
    get: None,
    set: None,
    doc: ptr::null(),
    closure: ptr::null_mut(),
};

const fn fastcall(
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

/// A function that takes positional arguments.
pub const fn function<F>(name: &'static CStr, _function: F, doc: &'static CStr) -> Function
where
    F: for<'a, 'g> Fn(Gil<'g>, Arguments<'a, 'g>) -> PyResult<'g> + Copy + Send + Sync + 'static,
{
    unsafe extern "C" fn call<F>(
        _: *mut ffi::PyObject,
        items: *mut *mut ffi::PyObject,
        count: ffi::Py_ssize_t,
    ) -> *mut ffi::PyObject
    where
        F: for<'a, 'g> Fn(Gil<'g>, Arguments<'a, 'g>) -> PyResult<'g>
            + Copy
            + Send
            + Sync
            + 'static,
    {
        // SAFETY: called by Python, with the GIL and the arguments of METH_FASTCALL. `function` got
        // a value of type `F`.
        unsafe { enter_object::<F>(|gil| plain_function::<F>()(gil, Arguments::new(items, count))) }
    }
    assert_plain_function::<F>();
    Function(fastcall(name, call::<F>, doc))
}

/// A method that takes positional arguments.
pub const fn method<T, F>(name: &'static CStr, _function: F, doc: &'static CStr) -> Method<T>
where
    T: Send + Sync + 'static,
    F: for<'a, 'g> Fn(Gil<'g>, &'a Instance<'g, T>, Arguments<'a, 'g>) -> PyResult<'g>
        + Copy
        + Send
        + Sync
        + 'static,
{
    unsafe extern "C" fn call<T, F>(
        owner: *mut ffi::PyObject,
        items: *mut *mut ffi::PyObject,
        count: ffi::Py_ssize_t,
    ) -> *mut ffi::PyObject
    where
        T: Send + Sync + 'static,
        F: for<'a, 'g> Fn(Gil<'g>, &'a Instance<'g, T>, Arguments<'a, 'g>) -> PyResult<'g>
            + Copy
            + Send
            + Sync
            + 'static,
    {
        // SAFETY: called by Python, with the GIL, the arguments of METH_FASTCALL and an instance of
        // the type the method belongs to. `method` got a value of type `F`.
        unsafe {
            enter_object::<F>(|gil| {
                let owner = Instance::borrow(owner);
                plain_function::<F>()(gil, &owner, Arguments::new(items, count))
            })
        }
    }
    assert_plain_function::<F>();
    Method(fastcall(name, call::<T, F>, doc), PhantomData)
}

/// A method that takes arguments by position, in a tuple, and by name, in a dict if there are any.
pub const fn method_with_names<T, F>(
    name: &'static CStr,
    _function: F,
    doc: &'static CStr,
) -> Method<T>
where
    T: Send + Sync + 'static,
    F: for<'a, 'g> Fn(
            Gil<'g>,
            &'a Instance<'g, T>,
            &'a Object<'g>,
            Option<&'a Object<'g>>,
        ) -> PyResult<'g>
        + Copy
        + Send
        + Sync
        + 'static,
{
    unsafe extern "C" fn call<T, F>(
        owner: *mut ffi::PyObject,
        positional: *mut ffi::PyObject,
        named: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject
    where
        T: Send + Sync + 'static,
        F: for<'a, 'g> Fn(
                Gil<'g>,
                &'a Instance<'g, T>,
                &'a Object<'g>,
                Option<&'a Object<'g>>,
            ) -> PyResult<'g>
            + Copy
            + Send
            + Sync
            + 'static,
    {
        // SAFETY: called by Python, with the GIL, an instance of the type the method belongs to, a
        // tuple, and a dict or null. `method_with_names` got a value of type `F`.
        unsafe {
            enter_object::<F>(|gil| {
                let owner = Instance::borrow(owner);
                let positional = Object::borrow(positional);
                let named = (!named.is_null()).then(|| Object::borrow(named));
                plain_function::<F>()(gil, &owner, &positional, named.as_deref())
            })
        }
    }
    assert_plain_function::<F>();
    let definition = ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionWithKeywords: call::<T, F>,
        },
        ml_flags: ffi::METH_VARARGS | ffi::METH_KEYWORDS,
        ml_doc: doc.as_ptr(),
    };
    Method(definition, PhantomData)
}

/// An attribute whose value `get` makes.
pub const fn attribute<F>(name: &'static CStr, _get: F) -> Attribute
where
    F: for<'g> Fn(Gil<'g>) -> PyResult<'g> + Copy + Send + Sync + 'static,
{
    unsafe extern "C" fn call<F>(_: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject
    where
        F: for<'g> Fn(Gil<'g>) -> PyResult<'g> + Copy + Send + Sync + 'static,
    {
        // SAFETY: called by Python, with the GIL. `attribute` got a value of type `F`.
        unsafe { enter_object::<F>(|gil| plain_function::<F>()(gil)) }
    }
    assert_plain_function::<F>();
    Attribute(ffi::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(call::<F>),
        ..NO_ATTRIBUTE
    })
}

impl Function {
    pub(super) const fn definition(&self) -> &ffi::PyMethodDef {
        &self.0
    }

    /// The function as an object.
    pub fn object<'g>(&'static self, _gil: Gil<'g>) -> PyResult<'g> {
        let definition = ptr::from_ref(&self.0).cast_mut();
        // SAFETY: the definition is static, and Python does not write to it.
        unsafe {
            Object::own(ffi::PyCFunction_NewEx(
                definition,
                ptr::null_mut(),
                ptr::null_mut(),
            ))
        }
    }

    pub fn name(&self) -> &'static CStr {
        // SAFETY: `function` got it as a static C string.
        unsafe { CStr::from_ptr(self.0.ml_name) }
    }
}

impl<T: Send + Sync + 'static> Method<T> {
    pub(super) const fn definition(&self) -> &ffi::PyMethodDef {
        &self.0
    }

    /// The method as a function that is bound to `owner` and keeps it alive.
    pub fn bound<'g>(&'static self, owner: &Instance<'g, T>) -> PyResult<'g> {
        let definition = ptr::from_ref(&self.0).cast_mut();
        // SAFETY: the definition is static, and Python does not write to it; the function takes a
        // reference to `owner` of its own.
        unsafe {
            Object::own(ffi::PyCFunction_NewEx(
                definition,
                owner.as_object().as_ptr(),
                ptr::null_mut(),
            ))
        }
    }
}

impl Attribute {
    pub(super) const fn definition(&self) -> &ffi::PyGetSetDef {
        &self.0
    }
}

/// The positional arguments of a call.
#[derive(Clone, Copy)]
pub struct Arguments<'a, 'g>(&'a [Object<'g>]);

impl<'a, 'g> Arguments<'a, 'g> {
    /// # Safety
    /// As METH_FASTCALL gives them; they outlive `'a`.
    unsafe fn new(items: *mut *mut ffi::PyObject, count: ffi::Py_ssize_t) -> Self {
        if count <= 0 {
            return Self(&[]);
        }
        // SAFETY: Python says so; an `Object` is a pointer that is not null.
        Self(unsafe { slice::from_raw_parts(items.cast(), count as usize) })
    }

    /// Refuses a wrong number of arguments to the function `name`.
    ///
    /// # Errors
    /// `TypeError`.
    pub fn expect(
        &self,
        gil: Gil<'_>,
        name: &str,
        range: RangeInclusive<usize>,
    ) -> Result<(), Raised> {
        let given = self.0.len();
        if range.contains(&given) {
            return Ok(());
        }
        let (least, most) = (range.start(), range.end());
        let wanted = match least == most {
            true => format!("{least}"),
            false => format!("from {least} to {most}"),
        };
        let noun = if *most == 1 { "argument" } else { "arguments" };
        let text = format!("{name}() takes {wanted} {noun} ({given} given)");
        Err(gil.raise(Exception::Type, &text))
    }

    pub fn get(&self, index: usize) -> Option<&'a Object<'g>> {
        self.0.get(index)
    }

    /// The argument, or None where it is missing.
    pub fn get_or_none(&self, gil: Gil<'g>, index: usize) -> Object<'g> {
        self.get(index)
            .map_or_else(|| gil.none(), Object::clone_ref)
    }

    /// An argument that is a size: missing, None and negative are no limit.
    ///
    /// # Errors
    /// For what is no integer.
    pub fn size(&self, index: usize) -> Result<Option<usize>, Raised> {
        match self.get(index) {
            Some(item) if !item.is_none() => item.to_size(),
            _ => Ok(None),
        }
    }
}
