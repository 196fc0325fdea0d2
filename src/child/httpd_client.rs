//! The client side of a conversation with a worker, over httpd's filters.
//!
//! Runs in: an Apache child, on the thread that serves the request.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wire::log_id::EARLY_HINTS_OVER_HTTP2;
use wire::response::{Head, Level};

use httpd::hooks::HookStatus;
use httpd::request::Request;
use httpd::response_writer::{AfterWrite, ResponseWriter};

use super::httpd_body::HttpdBody;
use super::relay::client::{BodyRead, BodySource, Client, FileSent, Gone, Step};
use super::relay::failure::RelayFailure;
use super::relay::response_body::PassedFile;
use super::relay::response_head::{interim_fields, PlacedField, ResponseHead};
use super::relay::RelayOutcome;
use super::request_log::write_log;
use super::request_trace::RequestTrace;
use super::supervisor::worker_death;

/// The client of a request, reached through httpd's filters.
pub struct HttpdClient<'r> {
    request: Request<'r>,
    body: HttpdBody<'r>,
    output: ResponseWriter<'r>,
    /// `WSGIEnableSendfile`, where it is configured.
    sendfile: Option<bool>,
    /// Something of the response has been given to the filters.
    has_begun: bool,
    /// The end of the response has been given to the filters.
    has_ended: bool,
    /// The response is a status without a body (such as 304), so the body is not sent.
    is_muted: bool,
    /// How to ask the supervisor how a worker died.
    death_inquiry: Option<DeathInquiry<'r>>,
    /// At `LogLevel wsgi:debug`.
    trace: Option<Box<RequestTrace<'r>>>,
}

/// Where to ask how a worker of the group died, and since when a death can be the reason.
struct DeathInquiry<'r> {
    path: &'r [u8],
    group: &'r [u8],
    begun: Duration,
}

impl<'r> HttpdClient<'r> {
    /// The client of `request`, whose body has been read as far as `body` says. `sendfile` is
    /// `WSGIEnableSendfile`, where it is configured.
    pub fn new(
        request: Request<'r>,
        body: HttpdBody<'r>,
        sendfile: Option<bool>,
    ) -> HttpdClient<'r> {
        HttpdClient {
            request,
            body,
            output: ResponseWriter::of(request),
            sendfile,
            has_begun: false,
            has_ended: false,
            is_muted: false,
            death_inquiry: None,
            trace: RequestTrace::of(request),
        }
    }

    /// Logs how the request ended, at `LogLevel wsgi:debug`.
    pub fn trace_end(&self, outcome: &RelayOutcome) {
        if let Some(trace) = &self.trace {
            trace.end(outcome);
        }
    }

    /// Asks the supervisor at `path` how the worker died, for the log line of a request that failed
    /// because of that.
    pub fn with_death_inquiry(
        mut self,
        path: Option<&'r [u8]>,
        group: &'r [u8],
    ) -> HttpdClient<'r> {
        let begun = os::clock::monotonic();
        self.death_inquiry = path.map(|path| DeathInquiry { path, group, begun });
        self
    }

    /// What the handler returns if reading the request body failed.
    pub fn body_status(&self) -> Option<HookStatus> {
        self.body.status()
    }

    /// Treats a file as httpd treats its own static files: the client may have a copy already, or
    /// ask for a range. Returns whether ranges are offered.
    fn consider_conditions(&mut self) -> bool {
        let request = self.request;
        if self.has_begun || request.status() != 200 || request.method() != b"GET" {
            return false;
        }
        let given = request.headers_out().get(c"Accept-Ranges");
        let has_ranges = !given.is_some_and(|units| units.eq_ignore_ascii_case(b"none"));
        if has_ranges {
            request.offer_ranges();
        }
        if let Err(status) = request.meets_conditions() {
            request.set_status(status);
            request.unset_content_length();
            self.is_muted = true;
        }
        has_ranges
    }

    fn send(&mut self, pieces: &[&[u8]], after: AfterWrite) -> Result<(), Gone> {
        self.has_ended |= after == AfterWrite::End;
        let pieces = if self.is_muted { &[] } else { pieces };
        self.output.send(pieces, after).map_err(|_| Gone)
    }

    /// Where an input filter has answered already, nothing may follow. What the client asks for of
    /// ranges is for files alone: of what an application makes nobody knows whether it is the same
    /// again.
    fn begin(&mut self, has_ranges: bool) -> Result<(), Gone> {
        if !self.has_begun && !has_ranges {
            self.request.refuse_ranges();
        }
        self.has_begun = true;
        match self.body.error() {
            Some(error) if error.is_answered() => Err(Gone),
            _ => Ok(()),
        }
    }
}

impl BodySource for HttpdClient<'_> {
    fn read_body(&mut self, at_most: usize, into: &mut Vec<u8>) -> BodyRead {
        if self.request.expects_continue() {
            // httpd does not send `100 Continue` by itself for a read that does not wait. Once the
            // response has begun, it would be taken for a part of it.
            if self.has_begun {
                self.request.set_expects_continue(false);
            } else {
                let _ = self.request.send_interim(100, &[]);
            }
        }
        self.body.read_body(at_most, into)
    }

    fn wait_for_body(&self, limit: Duration, pause: Duration) {
        self.body.wait_for_body(limit, pause);
    }
}

impl Client for HttpdClient<'_> {
    fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.request.connection().socket()
    }

    fn room(&self) -> Option<usize> {
        os::socket::room_to_send(self.socket()?).ok()
    }

    fn is_gone(&self) -> bool {
        // mod_http2 gives up the connection of a stream that is over.
        self.request.connection().is_aborted() && !self.has_ended
    }

    fn bytes_sent(&self) -> u64 {
        self.request.bytes_sent()
    }

    fn interim(&mut self, head: &Head<'_>) {
        if head.status == 103 && self.request.connection().is_secondary() {
            explain_early_hints(self.request);
        }
        let fields: Vec<_> = interim_fields(head).collect();
        // Nothing in a checked head is a NUL byte.
        let _ = self.request.send_interim(head.status, &fields);
    }

    fn head(&mut self, head: &ResponseHead<'_>) {
        let request = self.request;
        if head.reason().is_empty() {
            request.set_status(head.status());
        } else {
            let line = [head.status().to_string().as_bytes(), b" ", head.reason()].concat();
            let _ = request.set_status_line(head.status(), &line);
        }
        let (normal, with_errors) = (request.headers_out(), request.err_headers_out());
        for field in head.fields() {
            // Nothing in a checked head is a NUL byte.
            let _ = match field {
                PlacedField::ContentType(value) => request.set_content_type(&value),
                PlacedField::LastModified(value) => request.set_last_modified(value),
                PlacedField::WithErrors(name, value) => with_errors.add(name, value),
                PlacedField::Beside(name, value) => normal.add(name, value),
                PlacedField::Instead(name, value) => normal.set(name, value),
                PlacedField::Joined(name, value) => normal.merge(name, value),
                PlacedField::CloseConnection => {
                    request.connection().close_after_this();
                    Ok(())
                }
            };
        }
        if let Some(length) = head.content_length {
            request.set_content_length(length);
        }
    }

    fn error_head(&mut self, head: &ResponseHead<'_>) {
        for field in head.fields() {
            if let PlacedField::WithErrors(name, value) = field {
                let _ = self.request.err_headers_out().add(name, value);
            }
        }
    }

    fn data(&mut self, pieces: &[&[u8]], is_last: bool) -> Result<(), Gone> {
        self.begin(false)?;
        self.send(pieces, after(is_last))
    }

    fn file(
        &mut self,
        file: PassedFile,
        offset: u64,
        len: u64,
        is_last: bool,
    ) -> Result<FileSent, Gone> {
        let has_ranges = self.consider_conditions();
        self.begin(has_ranges)?;
        if self.is_muted || len == 0 {
            self.send(&[], after(is_last))?;
            return Ok(FileSent::Whole);
        }
        // For ranges httpd wants to see the end together with the file. Otherwise the end waits
        // until the file is out and has turned out to be whole.
        let at_once = is_last && has_ranges && self.request.headers_in().get(c"Range").is_some();
        let (first, rest) = match (is_last, at_once) {
            (false, _) => (AfterWrite::More, None),
            (true, true) => (AfterWrite::End, None),
            (true, false) => (AfterWrite::Flush, Some(AfterWrite::End)),
        };
        self.has_ended |= at_once;
        let sendfile = self.sendfile.or_else(|| self.request.enable_sendfile());
        let sendfile = sendfile.unwrap_or_else(|| os::descriptor::is_on_own_disk(file.as_fd()));
        let (file, sent) = self.output.send_file(file, offset, len, sendfile, first);
        let facts = file.file.metadata();
        let is_whole = facts.is_ok_and(|facts| facts.len() >= offset.saturating_add(len));
        if !is_whole {
            // httpd's filters fail on such a file as they do when the client has left.
            return Ok(FileSent::Shrunk);
        }
        sent.map_err(|_| Gone)?;
        if let Some(rest) = rest {
            self.send(&[], rest)?;
        }
        Ok(FileSent::Whole)
    }

    fn flush(&mut self) -> Result<(), Gone> {
        self.begin(false)?;
        self.send(&[], AfterWrite::Flush)
    }

    fn break_off(&mut self) {
        if self.has_ended {
            // The response has ended for the client, so closing is all that can still be done.
            self.request.connection().close_after_this();
        } else if self.begin(false).is_ok() {
            // An error means only that the client has left.
            let _ = self.output.break_off();
        }
    }

    fn abandon(&mut self) {
        self.request.connection().abort();
    }

    fn log(&mut self, level: Level, text: &[u8]) {
        write_log(self.request, level, text);
    }

    fn trace(&mut self, step: Step) {
        if let Some(trace) = &mut self.trace {
            trace.step(step);
        }
    }

    fn report(&mut self, failure: &RelayFailure) {
        let witness = self
            .death_inquiry
            .as_ref()
            .filter(|_| failure.is_of_death());
        let how = witness.and_then(|at| {
            worker_death::how_a_worker_died(at.path, at.group, at.begun, self.has_begun)
        });
        let text = match how {
            Some(how) => format!("{} The supervisor says: {how}.", failure.text),
            None => failure.text.clone(),
        };
        write_log(self.request, failure.level, text.as_bytes());
        if failure.is_of_queue() {
            // By then a thread may be free.
            let _ = self.request.err_headers_out().set(b"Retry-After", b"5");
        }
    }
}

/// mod_http2 drops early hints unless `H2EarlyHints On` is set, and a module cannot find out which.
/// Each child logs this once.
fn explain_early_hints(request: Request<'_>) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        let text = format!(
            "{EARLY_HINTS_OVER_HTTP2}: 103 Early Hints are sent over HTTP/2, where mod_http2 passes them on \
             only with H2EarlyHints On"
        );
        write_log(request, Level::Info, text.as_bytes());
    }
}

fn after(is_last: bool) -> AfterWrite {
    match is_last {
        false => AfterWrite::More,
        true => AfterWrite::End,
    }
}
