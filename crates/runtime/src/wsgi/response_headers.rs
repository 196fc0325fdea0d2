//! Response headers that Python hands over, and the interim responses that carry them.
//!
//! Runs in: threads of the application.

use super::send::send_response;
use crate::exchange::response::SendError;
use crate::exchange::response_head::{InvalidHeader, ResponseHead};
use crate::exchange::Exchange;
use crate::python::gil::{Exception, Gil, PyResult, Raised};
use crate::python::object::Object;

/// `name` was called too late.
pub fn over(gil: Gil<'_>, name: &str) -> Raised {
    let text = format!("{name} was called after the request had ended");
    gil.raise(Exception::Runtime, &text)
}

/// What can't stand in a response is a `ValueError`.
pub fn value_error(gil: Gil<'_>, invalid: &InvalidHeader) -> Raised {
    gil.raise(Exception::Value, &invalid.0)
}

/// Adds a list of (name, value) pairs to a head, checking each.
pub fn add_fields(
    gil: Gil<'_>,
    head: &mut ResponseHead,
    headers: &Object<'_>,
) -> Result<(), Raised> {
    let mut index = 0;
    while let Some(pair) = headers.item(index) {
        index += 1;
        if !pair.is_tuple() {
            let text = format!(
                "each response header must be a tuple of name and value, not {}",
                pair.type_name()
            );
            return Err(gil.raise(Exception::Type, &text));
        }
        let (Some(name), Some(value), 2) = (pair.item(0), pair.item(1), pair.sequence_len()) else {
            let text = format!(
                "each response header must be a tuple of two, name and value, and not of {}",
                pair.sequence_len()
            );
            return Err(gil.raise(Exception::Value, &text));
        };
        if !name.is_text() {
            return Err(not_text(gil, "the name of a response header", &name));
        }
        if !value.is_text() {
            let name = name.to_text().unwrap_or_else(|raised| {
                gil.clear(raised);
                String::new()
            });
            let name: String = name.chars().take(80).collect();
            let what = format!("the value of the response header {name:?}");
            return Err(not_text(gil, &what, &value));
        }
        let (name, value) = (name.to_latin1()?, value.to_latin1()?);
        head.field(
            name.as_bytes().unwrap_or_default(),
            value.as_bytes().unwrap_or_default(),
        )
        .map_err(|invalid| value_error(gil, &invalid))?;
    }
    Ok(())
}

/// The exception for a part of the response that was not taken from `name`.
pub fn refuse(gil: Gil<'_>, name: &str, error: SendError) -> Raised {
    match error {
        SendError::RequestEnded => over(gil, name),
        SendError::NoHead => gil.raise(
            Exception::Runtime,
            &format!("{name} was called before start_response()"),
        ),
        SendError::HeadSent => gil.raise(
            Exception::Runtime,
            &format!("{name} was called after the response headers had been sent"),
        ),
        SendError::TimedOut => gil.raise(
            Exception::Os,
            "the client does not take the response, and the time limit has passed",
        ),
        SendError::Disconnected => gil.raise(
            Exception::Os,
            "the client closed its connection before it had got the whole response",
        ),
    }
}

/// `what` is no `str`.
pub fn not_text(gil: Gil<'_>, what: &str, got: &Object<'_>) -> Raised {
    let text = format!("{what} must be a str, not {}", got.type_name());
    gil.raise(Exception::Type, &text)
}

/// Sends an interim response where one can be sent; returns whether it was. One that comes too late,
/// or that the client would not understand, is of no use and no error.
pub fn interim<'g>(
    gil: Gil<'g>,
    exchange: &Exchange,
    name: &str,
    status: u16,
    headers: &Object<'g>,
) -> Result<bool, Raised> {
    let reason = match status {
        102 => "Processing",
        103 => "Early Hints",
        _ => {
            let text = format!("{name} sends 102 and 103, not {status}");
            return Err(gil.raise(Exception::Value, &text));
        }
    };
    let list = as_list(gil, headers)?;
    let mut head = ResponseHead::interim(status, reason);
    add_fields(gil, &mut head, &list)?;
    let error = send_response(gil, exchange, |response| {
        if !exchange.facts.interim {
            return Some(if response.over() {
                SendError::RequestEnded
            } else {
                SendError::HeadSent
            });
        }
        response.interim(&head).err()
    });
    match error {
        None => Ok(true),
        Some(SendError::HeadSent) => Ok(false),
        Some(error) => Err(refuse(gil, name, error)),
    }
}

/// A list of whatever can be iterated.
pub fn as_list<'g>(gil: Gil<'g>, items: &Object<'g>) -> PyResult<'g> {
    if items.is_list() {
        return Ok(items.clone_ref());
    }
    let list = gil.list()?;
    let iterator = items.iterator()?;
    while let Some(item) = iterator.next()? {
        list.append(&item)?;
    }
    Ok(list)
}
