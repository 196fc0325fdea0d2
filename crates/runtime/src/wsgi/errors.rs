//! `wsgi.errors`: an `io.TextIOWrapper` whose text goes to the request that the object belongs to.
//!
//! Runs in: threads of the application, whichever holds the object. To make such a stream takes
//! Python longer than many a request, and few requests use theirs. So a stream of which the
//! application has kept nothing serves the next request; one it has kept stays with its own, and
//! raises from then on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::current::{flush, print};
use super::python_functions::PythonFunctions;
use super::send::with_response;
use crate::exchange::Exchange;
use crate::python::class::{Class, Description, Instance};
use crate::python::function::{method, Arguments, Method};
use crate::python::gil::{Exception, Gil, PyResult, Raised};
use crate::python::object::{Object, Stored};

/// Whose log a stream is. The lock is held for a look or a note only.
#[derive(Default)]
struct Recipient(Mutex<Lent>);

#[derive(Default)]
struct Lent {
    /// `None` between two requests.
    exchange: Option<Arc<Exchange>>,
    /// The application has changed the stream, so that it is to serve no other request.
    altered: bool,
}

impl Recipient {
    fn lock(&self) -> MutexGuard<'_, Lent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request, while it lasts.
    fn exchange(&self, gil: Gil<'_>) -> Result<Arc<Exchange>, Raised> {
        let exchange = self.lock().exchange.clone();
        exchange
            .filter(|exchange| !with_response(gil, exchange, |response| response.over()))
            .ok_or_else(|| {
                gil.raise(
                    Exception::Runtime,
                    "wsgi.errors was used after the request had ended",
                )
            })
    }
}

/// What a stream writes to: the `target` of streams.py.
struct Target(Arc<Recipient>);

/// The stream of one request, and what it is made of.
pub struct ErrorStream<'g> {
    recipient: Arc<Recipient>,
    /// The `RequestText`, its buffer, and the buffer's target.
    parts: [Object<'g>; 3],
    /// References to the three while the application has none.
    unshared: [u32; 3],
}

impl<'g> ErrorStream<'g> {
    /// The object for the environ.
    pub fn text(&self) -> &Object<'g> {
        &self.parts[0]
    }

    fn references(&self) -> [u32; 3] {
        self.parts.each_ref().map(Object::references)
    }
}

/// A stream between two requests.
struct Idle {
    recipient: Arc<Recipient>,
    parts: [Stored; 3],
    unshared: [u32; 3],
}

/// The streams of one interpreter that serve no request just now: as many as it ever served at a time.
pub struct ErrorStreams {
    class: Class<Target>,
    idle: Mutex<Vec<Idle>>,
}

impl ErrorStreams {
    /// # Errors
    /// For want of memory.
    pub fn new(gil: Gil<'_>) -> Result<Self, Raised> {
        Ok(Self {
            class: class(gil)?,
            idle: Mutex::default(),
        })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream for the request.
    ///
    /// # Errors
    /// For want of memory.
    pub fn lend<'g>(
        &self,
        gil: Gil<'g>,
        python: &PythonFunctions,
        exchange: &Arc<Exchange>,
    ) -> Result<ErrorStream<'g>, Raised> {
        let idle = self.idle().pop();
        let stream = match idle {
            Some(idle) => ErrorStream {
                recipient: idle.recipient,
                parts: idle.parts.map(|part| part.take(gil)),
                unshared: idle.unshared,
            },
            None => self.make(gil, python)?,
        };
        stream.recipient.lock().exchange = Some(Arc::clone(exchange));
        Ok(stream)
    }

    fn make<'g>(&self, gil: Gil<'g>, python: &PythonFunctions) -> Result<ErrorStream<'g>, Raised> {
        let recipient = Arc::new(Recipient::default());
        // Nothing here may hold a second reference to the target when the references are counted.
        let target = {
            let instance = self.class.instance(gil, Target(Arc::clone(&recipient)))?;
            instance.as_object().clone_ref()
        };
        let text = python.open_errors.bind(gil).call(&[&target])?;
        let buffer = text.attr_named(c"buffer")?;
        let mut stream = ErrorStream {
            recipient,
            parts: [text, buffer, target],
            unshared: [0; 3],
        };
        stream.unshared = stream.references();
        Ok(stream)
    }

    /// Takes a stream back at the end of its request, when the environ is gone.
    pub fn take_back<'g>(&self, gil: Gil<'g>, stream: ErrorStream<'g>) {
        let is_referenced = stream.references() != stream.unshared;
        let altered = stream.recipient.lock().altered;
        if is_referenced || altered {
            return;
        }
        stream.recipient.lock().exchange = None;
        self.idle().push(Idle {
            recipient: stream.recipient,
            parts: stream.parts.map(|part| Stored::new(gil, part)),
            unshared: stream.unshared,
        });
    }
}

fn write<'g>(
    gil: Gil<'g>,
    target: &Instance<'g, Target>,
    arguments: Arguments<'_, 'g>,
) -> PyResult<'g> {
    arguments.expect(gil, "write", 1..=1)?;
    let bytes = arguments.get(0).and_then(Object::as_bytes);
    let bytes = bytes.ok_or_else(|| gil.raise(Exception::Type, "bytes are expected"))?;
    print(gil, &*target.0.exchange(gil)?, bytes);
    Ok(gil.none())
}

fn flush_target<'g>(
    gil: Gil<'g>,
    target: &Instance<'g, Target>,
    arguments: Arguments<'_, 'g>,
) -> PyResult<'g> {
    arguments.expect(gil, "flush", 0..=0)?;
    flush(gil, &*target.0.exchange(gil)?);
    Ok(gil.none())
}

fn keep<'g>(
    gil: Gil<'g>,
    target: &Instance<'g, Target>,
    arguments: Arguments<'_, 'g>,
) -> PyResult<'g> {
    arguments.expect(gil, "keep", 0..=0)?;
    target.0.lock().altered = true;
    Ok(gil.none())
}

static METHODS: [Method<Target>; 3] = [
    method(c"write", write, c"Prints bytes into the request's log."),
    method(c"flush", flush_target, c"Makes a record of a partial line."),
    method(c"keep", keep, c"Leaves the stream to its request."),
];

fn class(gil: Gil<'_>) -> Result<Class<Target>, Raised> {
    Class::new(
        gil,
        &Description {
            name: c"mod_wsgi.RequestLog",
            doc: c"The error log of a request's virtual host.",
            methods: &METHODS,
            attributes: &[],
            iteration: None,
        },
    )
}
