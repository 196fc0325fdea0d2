//! The client, as the conversation with a worker sees it.
//!
//! Runs in: an Apache child. Implemented over httpd's filters in [`crate::child::httpd_client`], and by a fake in
//! the tests.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use wire::frame::Kind;
use wire::response::{BodyFailure, Head, Level};

use super::failure::{RelayFailure, RetryReason};
use super::response_body::PassedFile;
use super::response_head::ResponseHead;

/// What a look for request body has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyRead {
    /// Bytes have been appended, and more may follow.
    Some,
    /// Nothing is here yet.
    Nothing,
    /// Bytes may have been appended, and the body is complete.
    Last,
    /// The body will not be complete. Bytes may have been appended.
    Failed(BodyFailure),
}

/// The response cannot be written any further: the client left, or a filter refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// How sending a file went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSent {
    /// All of the stretch was sent, as far as can be seen.
    Whole,
    /// The file has become shorter meanwhile: bytes are missing.
    Shrunk,
}

/// A step of a request on its way to a worker and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A connection to a worker is there; `pid` is the worker's, where it is known.
    Attempt { is_pooled: bool, pid: Option<u32> },
    /// No application has seen the request, and it is sent again.
    Returned(RetryReason),
    /// The worker gets a frame with so many bytes of payload.
    Sent(Kind, usize),
    /// The worker has sent a frame, or some bytes of a `Data` frame.
    Received(Kind, usize),
}

/// Where a request body comes from.
pub trait BodySource {
    /// Appends to `into` what is here of the request body, about `at_most` bytes, without waiting.
    fn read_body(&mut self, at_most: usize, into: &mut Vec<u8>) -> BodyRead;

    /// Waits until the client has sent something, or for `limit`. Where there is no socket to tell,
    /// for no longer than `pause`.
    fn wait_for_body(&self, limit: Duration, pause: Duration);
}

/// The client side of one request. A client that waits for `100 Continue` gets it with the first
/// [`BodySource::read_body`].
pub trait Client: BodySource {
    /// The connection's socket, to wait on where a read found nothing. `None` where the request has
    /// no socket of its own (an HTTP/2 stream).
    fn socket(&self) -> Option<BorrowedFd<'_>>;

    /// Bytes of the response that go out now without a wait; `None` where there is no socket to tell.
    fn room(&self) -> Option<usize>;

    /// Whether the client is known to have left, where there is no socket to tell.
    fn is_gone(&self) -> bool;

    /// Bytes of the response body that have been given to the network.
    fn bytes_sent(&self) -> u64;

    /// Sends an interim response.
    fn interim(&mut self, head: &Head<'_>);

    /// Sets status and header fields of the response. Nothing is sent yet.
    fn head(&mut self, head: &ResponseHead<'_>);

    /// Sets the header fields that survive when httpd makes the response body itself
    /// (`WSGIErrorOverride`), nothing else.
    fn error_head(&mut self, head: &ResponseHead<'_>);

    /// Sends bytes of the response body, which are in several pieces; before the first ones the head.
    /// May wait for the client.
    fn data(&mut self, pieces: &[&[u8]], is_last: bool) -> Result<(), Gone>;

    /// Sends a stretch of a file. The file may stay open until the request is over.
    fn file(
        &mut self,
        file: PassedFile,
        offset: u64,
        len: u64,
        is_last: bool,
    ) -> Result<FileSent, Gone>;

    /// Makes everything so far reach the client.
    fn flush(&mut self) -> Result<(), Gone>;

    /// Ends the response so that the client sees it is not complete, and closes the connection.
    fn break_off(&mut self);

    /// Ends the connection at once and without a word: the client takes nothing.
    fn abandon(&mut self);

    /// Writes a record of the application to the request's error log.
    fn log(&mut self, level: Level, text: &[u8]);

    /// Whether this is a question of a hook: an answer is due, and nothing of a response.
    fn asks(&self) -> bool {
        false
    }

    /// Takes the payload of the answer. It counts only once the conversation is complete.
    fn answer(&mut self, _payload: &[u8]) {}

    /// Writes one line about this request to the error log.
    fn report(&mut self, failure: &RelayFailure);

    /// Hears of a step, for the log at `debug` and below.
    fn trace(&mut self, _step: Step) {}
}
