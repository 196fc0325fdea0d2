//! What happens to one request, step by step, for `LogLevel wsgi:debug` and the trace levels.
//!
//! Runs in: an Apache child, on the thread that serves the request. A request whose LogLevel is
//! above `debug` has no [`RequestTrace`], and pays for none. No line holds what a client or an
//! application keeps secret: the query string, a header field, a cookie or a byte of a body.

use std::time::{Duration, Instant};

use config::error::show;
use config::Settings;
use httpd::log::{Level, Log};
use httpd::request::Request;
use wire::frame::Kind;

use super::relay::client::Step;
use super::relay::failure::RetryReason;
use super::relay::RelayOutcome;
use super::request_log::write_at;

/// Frames that carry the steps of a request.
const FRAMES: Level = Level::Trace1;
/// Frames that carry bodies: there may be many of them.
const BODIES: Level = Level::Trace2;

/// Logs where a request is about to go. `message` and `body` are the bytes of its message, and those
/// of the request body in it.
pub fn resolved(
    request: Request<'_>,
    settings: &Settings<'_>,
    group: &[u8],
    message: usize,
    body: usize,
) {
    let application_group = match &settings.application_group[..] {
        b"" => "the main interpreter".to_owned(),
        name => format!("application group '{}'", show(name)),
    };
    let text = format!(
        "{} {} goes to process group '{}', {application_group}, callable '{}', in a message of \
         {message} bytes with {body} bytes of the request body",
        show(request.method()),
        show(request.uri().unwrap_or_default()),
        show(group),
        show(&settings.callable_object),
    );
    write_at(request, Level::Debug, text.as_bytes());
}

/// The steps of a request from its first connection to a worker on.
pub struct RequestTrace<'r> {
    request: Request<'r>,
    since: Instant,
    attempts: u32,
    is_pooled: bool,
    /// The worker's process, where it is known before the response ends.
    pid: Option<u32>,
    /// When the head of the response came.
    head: Option<Duration>,
}

impl<'r> RequestTrace<'r> {
    /// The trace of `request`; `None` where its LogLevel wants none.
    pub fn of(request: Request<'r>) -> Option<Box<RequestTrace<'r>>> {
        request.logs(Level::Debug).then(|| {
            Box::new(RequestTrace {
                request,
                since: Instant::now(),
                attempts: 0,
                is_pooled: false,
                pid: None,
                head: None,
            })
        })
    }

    /// Notes a step, and logs it where the LogLevel wants it.
    pub fn step(&mut self, step: Step) {
        match step {
            Step::Attempt { is_pooled, pid } => {
                self.attempts += 1;
                (self.is_pooled, self.pid) = (is_pooled, pid);
                self.log(FRAMES, || {
                    format!("attempt {} {}", self.attempts, self.connection())
                });
            }
            Step::Returned(why) => {
                let why = match why {
                    RetryReason::HandedBack(why) => format!("the worker handed it back ({why:?})"),
                    RetryReason::LeftUnread => "the worker left it unread".to_owned(),
                };
                self.log(Level::Debug, || {
                    format!(
                        "attempt {} {} came back: {why}; the request is sent again",
                        self.attempts,
                        self.connection()
                    )
                });
            }
            Step::Sent(kind, length) => self.frame("sent to the worker", kind, length),
            Step::Received(kind, length) => {
                if kind == Kind::Head && self.head.is_none() {
                    self.head = Some(self.since.elapsed());
                }
                self.frame("received from the worker", kind, length);
            }
        }
    }

    fn frame(&self, what: &str, kind: Kind, length: usize) {
        let level = match kind {
            Kind::Body | Kind::Data => BODIES,
            _ => FRAMES,
        };
        self.log(level, || format!("{what}: {kind:?}, {length} bytes"));
    }

    /// Logs how the request ended.
    pub fn end(&self, outcome: &RelayOutcome) {
        self.log(Level::Debug, || self.summary(outcome));
    }

    fn summary(&self, outcome: &RelayOutcome) -> String {
        let mut text = match outcome {
            RelayOutcome::Complete(end) if end.broken => {
                "the application's response was incomplete".to_owned()
            }
            RelayOutcome::Complete(_) => format!("complete with status {}", self.request.status()),
            RelayOutcome::Broken => "the response was broken off".to_owned(),
            RelayOutcome::Gone => "the client left before the response was complete".to_owned(),
            RelayOutcome::Status(status) => format!("httpd answers with status {status}"),
            RelayOutcome::Redirect(_) => "httpd answers from the local URL in Location".to_owned(),
        };
        text.push_str(&format!(
            " after {}: attempt {} {}",
            milliseconds(self.since.elapsed()),
            self.attempts,
            self.connection()
        ));
        if let RelayOutcome::Complete(end) = outcome {
            text.push_str(&format!(
                "; worker {}, thread {}; {} in the queue, {} in the application",
                end.pid,
                end.thread,
                milliseconds(Duration::from_micros(end.queue_time)),
                milliseconds(Duration::from_micros(end.application_time)),
            ));
        }
        if let Some(head) = self.head {
            text.push_str(&format!(
                "; head of the response after {}",
                milliseconds(head)
            ));
        }
        let bytes = self.request.bytes_sent();
        text.push_str(&format!("; {bytes} bytes of the response body sent"));
        text
    }

    fn connection(&self) -> String {
        match (self.is_pooled, self.pid) {
            (true, Some(pid)) => format!("over a pooled connection to worker {pid}"),
            (true, None) => "over a pooled connection".to_owned(),
            (false, _) => "over a new connection".to_owned(),
        }
    }

    fn log(&self, level: Level, text: impl FnOnce() -> String) {
        if self.request.logs(level) {
            write_at(self.request, level, text().as_bytes());
        }
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
