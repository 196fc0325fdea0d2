//! A request body, read through httpd's filters.
//!
//! Runs in: an Apache child, on the thread that serves the request: before a worker is asked, and
//! then as a part of [`super::httpd_client`].

use std::time::Duration;

use wire::response::BodyFailure;

use httpd::hooks::HookStatus;
use httpd::request::Request;
use httpd::request_body::{self, BodyError, RequestBody, Wait};
use os::poll::{poll_uninterrupted, Wanted};

use super::relay::client::{BodyRead, BodySource};

/// The body of one request.
pub struct HttpdBody<'r> {
    request: Request<'r>,
    body: RequestBody<'r>,
    /// What ended the body early.
    error: Option<BodyError>,
}

impl<'r> HttpdBody<'r> {
    /// The body of `request`, from its first byte.
    pub fn of(request: Request<'r>) -> HttpdBody<'r> {
        HttpdBody {
            request,
            body: RequestBody::of(request),
            error: None,
        }
    }

    /// Whether it was read to its end.
    pub fn has_ended(&self) -> bool {
        self.body.has_ended()
    }

    /// What ended the body early.
    pub fn error(&self) -> Option<BodyError> {
        self.error
    }

    /// What the handler returns where reading the body has failed.
    pub fn status(&self) -> Option<HookStatus> {
        self.error.map(|error| HookStatus::from_httpd(error.status))
    }

    /// As [`BodySource::read_body`]; waits for at least one byte where `wait` says so.
    pub fn read(&mut self, wait: Wait, at_most: usize, into: &mut Vec<u8>) -> BodyRead {
        match self.body.read(wait, at_most, into) {
            Ok(request_body::BodyRead::Some(_)) if self.body.has_ended() => BodyRead::Last,
            Ok(request_body::BodyRead::Some(_)) => BodyRead::Some,
            Ok(request_body::BodyRead::Nothing) => BodyRead::Nothing,
            Ok(request_body::BodyRead::End) => BodyRead::Last,
            Err(error) => {
                self.error = Some(error);
                BodyRead::Failed(self.failure(&error))
            }
        }
    }

    /// What a body that broke off means to the application.
    fn failure(&self, error: &BodyError) -> BodyFailure {
        // A filter that has answered has left its status in the request.
        let answered = error.is_answered().then(|| self.request.status());
        if error.timed_out() || answered == Some(408) {
            BodyFailure::Timeout
        } else if error.too_large() || answered == Some(413) {
            BodyFailure::TooLarge
        } else if error.client_gone() {
            BodyFailure::ClientGone
        } else {
            BodyFailure::Malformed
        }
    }
}

impl BodySource for HttpdBody<'_> {
    fn read_body(&mut self, at_most: usize, into: &mut Vec<u8>) -> BodyRead {
        self.read(Wait::No, at_most, into)
    }

    fn wait_for_body(&self, limit: Duration, pause: Duration) {
        match self.request.connection().socket() {
            Some(socket) => {
                // A wait that fails makes the read that follows fail.
                let _ = poll_uninterrupted(&mut [Wanted::readable(socket)], Some(limit));
            }
            None => std::thread::sleep(limit.min(pause)),
        }
    }
}
