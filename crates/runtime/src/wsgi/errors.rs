//! `wsgi.errors`.
//!
//! Runs in: threads of the application, whichever holds the object: what is written goes to the
//! request the object belongs to. Built here and not from io.TextIOWrapper, because every request
//! has one and few use it.

use std::ffi::c_void;
use std::sync::Arc;

use pyo3::ffi;

use super::native::{flush, print, with_output};
use crate::exchange::Exchange;
use crate::python::object::{Exception, Gil, Object, Raised};
use crate::python::types::{self, Arguments, Class, Table};

/// The error stream of one request.
pub struct Errors {
    pub exchange: Arc<Exchange>,
}

fn alive(gil: Gil<'_>, exchange: &Exchange) -> Result<(), Raised> {
    if with_output(gil, exchange, |output| output.over()) {
        return Err(gil.raise(
            Exception::Runtime,
            "wsgi.errors was used after the request had ended",
        ));
    }
    Ok(())
}

fn write(gil: Gil<'_>, exchange: &Exchange, text: &Object) -> Result<Object, Raised> {
    if !text.is_text() {
        let words = format!("write() takes a str, not {}", text.type_name(gil));
        return Err(gil.raise(Exception::Type, &words));
    }
    alive(gil, exchange)?;
    let utf8 = text.to_utf8(gil)?;
    print(gil, exchange, utf8.as_bytes().unwrap_or_default());
    // SAFETY: it is a live str.
    let len = unsafe { ffi::PyUnicode_GetLength(text.as_ptr()) };
    gil.int(len as i64)
}

macro_rules! errors_method {
    ($function:ident, $name:literal, $range:expr, |$gil:ident, $exchange:ident, $arguments:ident| $body:expr) => {
        unsafe extern "C" fn $function(
            owner: *mut ffi::PyObject,
            items: *mut *mut ffi::PyObject,
            count: ffi::Py_ssize_t,
        ) -> *mut ffi::PyObject {
            // SAFETY: called by Python, with the GIL, an `Errors` and METH_FASTCALL's arguments.
            unsafe {
                types::enter_object($name, |$gil| {
                    let $exchange = &*types::value::<Errors>(owner).exchange;
                    let $arguments = Arguments::new(items, count);
                    $arguments.expect($gil, $name, $range)?;
                    $body
                })
            }
        }
    };
}

errors_method!(write_method, "write", 1..=1, |gil, exchange, arguments| {
    let text = arguments.get(gil, 0).unwrap_or_else(|| gil.none());
    write(gil, exchange, &text)
});

errors_method!(
    writelines_method,
    "writelines",
    1..=1,
    |gil, exchange, arguments| {
        let lines = arguments.get(gil, 0).unwrap_or_else(|| gil.none());
        let iterator = lines.iterator(gil)?;
        while let Some(line) = iterator.next(gil)? {
            write(gil, exchange, &line)?;
        }
        Ok(gil.none())
    }
);

errors_method!(flush_method, "flush", 0..=0, |gil, exchange, _arguments| {
    alive(gil, exchange)?;
    flush(gil, exchange);
    Ok(gil.none())
});

errors_method!(close_method, "close", 0..=0, |gil, exchange, _arguments| {
    flush(gil, exchange);
    Ok(gil.none())
});

errors_method!(no_method, "isatty", 0..=0, |gil, _exchange, _arguments| Ok(
    gil.boolean(false)
));
errors_method!(
    yes_method,
    "writable",
    0..=0,
    |gil, _exchange, _arguments| Ok(gil.boolean(true))
);

errors_method!(
    fileno_method,
    "fileno",
    0..=0,
    |gil, _exchange, _arguments| Err(gil.raise(
        Exception::Os,
        "wsgi.errors goes to the Apache error log and has no descriptor"
    ))
);

macro_rules! constant {
    ($function:ident, |$gil:ident| $value:expr) => {
        unsafe extern "C" fn $function(
            _: *mut ffi::PyObject,
            _: *mut c_void,
        ) -> *mut ffi::PyObject {
            // SAFETY: called by Python, with the GIL.
            unsafe { types::enter_object("attribute", |$gil| $value) }
        }
    };
}
constant!(name, |gil| gil.text("<wsgi.errors>"));
constant!(encoding, |gil| gil.text("utf-8"));
constant!(error_handling, |gil| gil.text("replace"));
constant!(closed, |gil| Ok(gil.boolean(false)));

static METHODS: Table<[ffi::PyMethodDef; 10]> = Table::new([
    types::method(c"write", write_method, c"Writes text to the error log."),
    types::method(c"writelines", writelines_method, c"Writes several texts."),
    types::method(c"flush", flush_method, c"Logs a partial line."),
    types::method(
        c"close",
        close_method,
        c"Logs a partial line; the stream stays usable.",
    ),
    types::method(c"isatty", no_method, c"False."),
    types::method(c"readable", no_method, c"False."),
    types::method(c"seekable", no_method, c"False."),
    types::method(c"writable", yes_method, c"True."),
    types::method(c"fileno", fileno_method, c"Raises OSError."),
    types::NO_METHOD,
]);

const fn attribute(name: &'static std::ffi::CStr, get: ffi::getter) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(get),
        set: None,
        doc: std::ptr::null(),
        closure: std::ptr::null_mut(),
    }
}

static ATTRIBUTES: Table<[ffi::PyGetSetDef; 5]> = Table::new([
    attribute(c"name", name),
    attribute(c"encoding", encoding),
    attribute(c"errors", error_handling),
    attribute(c"closed", closed),
    ffi::PyGetSetDef {
        name: std::ptr::null(),
        get: None,
        set: None,
        doc: std::ptr::null(),
        closure: std::ptr::null_mut(),
    },
]);

/// The type of `wsgi.errors`.
pub fn class(gil: Gil<'_>) -> Result<Class<Errors>, Raised> {
    let slots = [(ffi::Py_tp_getset, ATTRIBUTES.as_ptr().cast())];
    // SAFETY: all methods take an `Errors` first; the attributes ignore their object.
    unsafe {
        Class::new(
            gil,
            c"mod_wsgi.Errors",
            c"The error log of a request's virtual host.",
            METHODS.as_ptr().cast(),
            &slots,
        )
    }
}
