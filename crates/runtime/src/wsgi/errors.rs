//! `wsgi.errors`.
//!
//! Runs in: threads of the application, whichever holds the object: what is written goes to the
//! request the object belongs to. Built here and not from io.TextIOWrapper, because every request
//! has one and few use it.

use std::sync::Arc;

use super::current::{flush, print};
use super::send::with_output;
use crate::exchange::Exchange;
use crate::python::class::{Class, Description, Instance};
use crate::python::function::{attribute, method, Arguments, Attribute, Method};
use crate::python::gil::{Exception, Gil, PyResult, Raised};
use crate::python::object::Object;

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

fn write<'g>(gil: Gil<'g>, exchange: &Exchange, text: &Object<'_>) -> PyResult<'g> {
    if !text.is_text() {
        let words = format!("write() takes a str, not {}", text.type_name());
        return Err(gil.raise(Exception::Type, &words));
    }
    alive(gil, exchange)?;
    let utf8 = text.to_utf8()?;
    print(gil, exchange, utf8.as_bytes().unwrap_or_default());
    gil.int(text.text_len()?)
}

fn write_method<'g>(
    gil: Gil<'g>,
    errors: &Instance<'g, Errors>,
    arguments: Arguments<'_, 'g>,
) -> PyResult<'g> {
    arguments.expect(gil, "write", 1..=1)?;
    write(gil, &errors.exchange, &arguments.get_or_none(gil, 0))
}

fn writelines_method<'g>(
    gil: Gil<'g>,
    errors: &Instance<'g, Errors>,
    arguments: Arguments<'_, 'g>,
) -> PyResult<'g> {
    arguments.expect(gil, "writelines", 1..=1)?;
    let lines = arguments.get_or_none(gil, 0).iterator()?;
    while let Some(line) = lines.next()? {
        write(gil, &errors.exchange, &line)?;
    }
    Ok(gil.none())
}

fn flush_method<'g>(
    gil: Gil<'g>,
    errors: &Instance<'g, Errors>,
    arguments: Arguments<'_, 'g>,
) -> PyResult<'g> {
    arguments.expect(gil, "flush", 0..=0)?;
    alive(gil, &errors.exchange)?;
    flush(gil, &errors.exchange);
    Ok(gil.none())
}

fn close_method<'g>(
    gil: Gil<'g>,
    errors: &Instance<'g, Errors>,
    arguments: Arguments<'_, 'g>,
) -> PyResult<'g> {
    arguments.expect(gil, "close", 0..=0)?;
    flush(gil, &errors.exchange);
    Ok(gil.none())
}

fn no_method<'g>(
    gil: Gil<'g>,
    _errors: &Instance<'g, Errors>,
    arguments: Arguments<'_, 'g>,
) -> PyResult<'g> {
    arguments.expect(gil, "isatty", 0..=0)?;
    Ok(gil.boolean(false))
}

fn yes_method<'g>(
    gil: Gil<'g>,
    _errors: &Instance<'g, Errors>,
    arguments: Arguments<'_, 'g>,
) -> PyResult<'g> {
    arguments.expect(gil, "writable", 0..=0)?;
    Ok(gil.boolean(true))
}

fn fileno_method<'g>(
    gil: Gil<'g>,
    _errors: &Instance<'g, Errors>,
    arguments: Arguments<'_, 'g>,
) -> PyResult<'g> {
    arguments.expect(gil, "fileno", 0..=0)?;
    let text = "wsgi.errors goes to the Apache error log and has no descriptor";
    Err(gil.raise(Exception::Os, text))
}

static METHODS: [Method<Errors>; 9] = [
    method(c"write", write_method, c"Writes text to the error log."),
    method(c"writelines", writelines_method, c"Writes several texts."),
    method(c"flush", flush_method, c"Logs a partial line."),
    method(
        c"close",
        close_method,
        c"Logs a partial line; the stream stays usable.",
    ),
    method(c"isatty", no_method, c"False."),
    method(c"readable", no_method, c"False."),
    method(c"seekable", no_method, c"False."),
    method(c"writable", yes_method, c"True."),
    method(c"fileno", fileno_method, c"Raises OSError."),
];

static ATTRIBUTES: [Attribute; 4] = [
    attribute(c"name", |gil| gil.text("<wsgi.errors>")),
    attribute(c"encoding", |gil| gil.text("utf-8")),
    attribute(c"errors", |gil| gil.text("replace")),
    attribute(c"closed", |gil| Ok(gil.boolean(false))),
];

/// The type of `wsgi.errors`.
pub fn class(gil: Gil<'_>) -> Result<Class<Errors>, Raised> {
    Class::new(
        gil,
        &Description {
            name: c"mod_wsgi.Errors",
            doc: c"The error log of a request's virtual host.",
            methods: &METHODS,
            attributes: &ATTRIBUTES,
            iteration: None,
        },
    )
}
