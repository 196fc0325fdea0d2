//! What can go wrong between child and worker, as values that know status, number and sentence.
//!
//! Runs in: an Apache child.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wire::log_id::{
    CLIENT_STALLED, CONNECTION_FAILED, CONNECT_FAILED, CONNECT_TIMED_OUT, DESCRIPTOR_NOT_A_FILE,
    FILE_DESCRIPTORS_USED_UP, HEADER_FIELD_TOO_LONG, QUEUE_TIMED_OUT, REQUEST_SPOOL_UNREADABLE,
    RESPONSE_BROKEN_OFF, RESPONSE_HEAD_INVALID, RESPONSE_MALFORMED, RESPONSE_SHORT,
    RESPONSE_STALLED, RESPONSE_TIMED_OUT, RETRIES_EXHAUSTED, SPOOL_UNAVAILABLE, SPOOL_UNREADABLE,
    UPLOAD_FAILED, WORKER_DIED_BEFORE_RESPONSE, WORKER_DIED_DURING_RESPONSE,
};
use wire::response::{BodyFailure, Level, Retry};
use wire::Malformed;

use super::response_head::InvalidHead;

/// How often a child says the same about its temporary files.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// One line of the error log and the status it leads to where nothing has been sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayFailure {
    /// What httpd answers with.
    pub status: u16,
    /// How bad it is.
    pub level: Level,
    /// Number and sentence.
    pub text: String,
}

/// What is known about a request when a worker falls silent or dies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether the request is still in the socket, unread: a worker takes it out when the application
    /// is about to run.
    pub unread: Option<bool>,
    /// Something has come from the worker.
    pub answered: bool,
    /// The application has asked for the request body.
    pub reading: bool,
    /// The head of the response has come.
    pub head: bool,
    /// Bytes of the response body that have come.
    pub body: u64,
}

impl Progress {
    fn in_words(&self) -> String {
        if self.head {
            format!(
                "its response had begun, {} bytes of the body had come",
                self.body
            )
        } else if self.reading {
            "the application had begun to read the request body".into()
        } else if self.answered {
            "a worker had taken the request up".into()
        } else {
            match self.unread {
                Some(true) => {
                    "the application had not begun with it: all threads of the group are \
                               busy or stuck, or the script was still being loaded"
                        .into()
                }
                Some(false) => "the application was running".into(),
                None => "nothing had come from a worker".into(),
            }
        }
    }
}

fn name(group: &[u8]) -> String {
    String::from_utf8_lossy(group).into_owned()
}

/// Whether a line is to be said again that was last said at `said`, in seconds: by one thread, and
/// once in a while.
fn is_due(said: &AtomicU64) -> bool {
    let now = os::clock::monotonic().as_secs().max(1);
    let last = said.load(Ordering::Relaxed);
    (last == 0 || now >= last + SAID_AGAIN_AFTER.as_secs())
        && said
            .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
}

fn seconds(limit: Duration) -> String {
    format!("{} s", limit.as_secs_f64())
}

impl RelayFailure {
    fn new(status: u16, text: String) -> RelayFailure {
        RelayFailure {
            status,
            level: Level::Error,
            text,
        }
    }

    /// `connect-timeout=` has passed: queue full, or nobody listening.
    pub fn no_listener(group: &[u8], limit: Duration, error: &io::Error) -> RelayFailure {
        let group = name(group);
        let why = if error.kind() == io::ErrorKind::WouldBlock {
            "its listen queue stayed full: more requests come than its threads finish (processes=, \
             threads=, listen-backlog=)"
        } else {
            "nobody listens on its socket: the supervisor is not running (lines above may say why), or \
             its application has shut the socket down, which a graceful restart opens anew"
        };
        RelayFailure::new(
            503,
            format!(
                "{CONNECT_TIMED_OUT}: Unable to connect to process group '{group}' within {} \
                 (connect-timeout=): {why}. ({error})",
                seconds(limit)
            ),
        )
    }

    /// The socket cannot be used at all.
    pub fn unreachable(group: &[u8], place: &str, error: &io::Error) -> RelayFailure {
        let group = name(group);
        let mend = match error.kind() {
            io::ErrorKind::NotFound => {
                "The group has not been started, or its socket was removed, which a graceful restart mends."
            }
            io::ErrorKind::PermissionDenied => {
                "The user Apache's children run as must be able to enter every directory on the way \
                 (see WSGISocketPrefix) and own the socket (see socket-user=)."
            }
            _ => "See WSGISocketPrefix.",
        };
        RelayFailure::new(
            503,
            format!("{CONNECT_FAILED}: Unable to connect to process group '{group}' on '{place}': {error}. {mend}"),
        )
    }

    /// Every worker hands the request back.
    pub fn handed_back(group: &[u8], times: u32, why: RetryReason) -> RelayFailure {
        let group = name(group);
        let why = match why {
            RetryReason::HandedBack(Retry::Stale) => {
                "the script has changed and no worker with the new code \
                                            came up in time"
            }
            RetryReason::HandedBack(Retry::Draining) => {
                "its workers are leaving and no successor came up in time"
            }
            RetryReason::HandedBack(Retry::Withdrawn) => "its workers took it up too late",
            RetryReason::LeftUnread => "its workers leave or die before they take the request up",
        };
        RelayFailure::new(
            503,
            format!(
                "{RETRIES_EXHAUSTED}: Process group '{group}' has handed this request back {times} times: {why}. \
                 The request has not been run."
            ),
        )
    }

    /// The worker stays silent.
    pub fn silent(group: &[u8], limit: Duration, progress: Progress) -> RelayFailure {
        let group = name(group);
        let (number, status) = if progress.head {
            (RESPONSE_STALLED, 504)
        } else {
            (RESPONSE_TIMED_OUT, 504)
        };
        RelayFailure::new(
            status,
            format!(
                "{number}: Process group '{group}' sent nothing for {} (socket-timeout= or Timeout); {}.",
                seconds(limit),
                progress.in_words()
            ),
        )
    }

    /// The connection ended without an end of the response.
    pub fn cut(group: &[u8], progress: Progress, error: Option<&io::Error>) -> RelayFailure {
        let group = name(group);
        let error = error.map(|error| format!(" ({error})")).unwrap_or_default();
        RelayFailure::new(
            502,
            if progress.head {
                format!(
                    "{WORKER_DIED_DURING_RESPONSE}: The response of process group '{group}' broke off after {} bytes: the \
                     worker died or was killed; the client is made to see it.{error}",
                    progress.body
                )
            } else {
                format!(
                    "{WORKER_DIED_BEFORE_RESPONSE}: A worker of process group '{group}' closed the connection without a \
                     response: it died or was killed while the request ran. The request is not \
                     sent again.{error}"
                )
            },
        )
    }

    /// A frame that makes no sense.
    pub fn malformed(group: &[u8], why: ProtocolViolation) -> RelayFailure {
        let group = name(group);
        let why = match why {
            ProtocolViolation::Frame(malformed) => malformed.to_string(),
            ProtocolViolation::OutOfOrder(what) => what.to_owned(),
        };
        RelayFailure::new(
            502,
            format!(
                "{RESPONSE_MALFORMED}: A worker of process group '{group}' sent what is no response: {why}. The \
                 connection to it was dropped."
            ),
        )
    }

    /// A head that may not reach a client.
    pub fn unfit(group: &[u8], why: &InvalidHead) -> RelayFailure {
        let group = name(group);
        RelayFailure::new(
            502,
            format!(
                "{RESPONSE_HEAD_INVALID}: A worker of process group '{group}' sent a malformed response head: {why}."
            ),
        )
    }

    /// A header field longer than `header-buffer-size=`.
    pub fn long_field(group: &[u8], field: &[u8], len: usize, limit: usize) -> RelayFailure {
        let group = name(group);
        let field = field[..field.len().min(100)].escape_ascii();
        RelayFailure::new(
            500,
            format!(
                "{HEADER_FIELD_TOO_LONG}: Response header line too long from process group '{group}': {field} has \
                 {len} bytes, header-buffer-size= allows {limit}."
            ),
        )
    }

    /// The application raised after its head had gone, or sent less than it declared.
    pub fn ended_broken(group: &[u8], body: u64) -> RelayFailure {
        let group = name(group);
        RelayFailure {
            status: 500,
            // The worker has logged what happened, as a record of the application.
            level: Level::Info,
            text: format!(
                "{RESPONSE_BROKEN_OFF}: The application in process group '{group}' failed after {body} bytes of its \
                 response body; the client is made to see that the response is not complete."
            ),
        }
    }

    /// The part of the response in a temporary file is lost.
    pub fn spool_lost(group: &[u8], error: &io::Error) -> RelayFailure {
        let group = name(group);
        RelayFailure::new(
            500,
            format!(
                "{SPOOL_UNREADABLE}: A part of the response of process group '{group}' cannot be read back from \
                 its temporary file: {error}; the client is made to see that the response is not \
                 complete."
            ),
        )
    }

    /// The part of the request body in a temporary file is lost.
    pub fn upload_spool_lost(group: &[u8], error: &io::Error) -> RelayFailure {
        let group = name(group);
        RelayFailure::new(
            500,
            format!(
                "{REQUEST_SPOOL_UNREADABLE}: A part of the request body for process group '{group}' cannot be \
                 read back from its temporary file: {error}; the application has got only the part \
                 before it."
            ),
        )
    }

    /// Nothing can be written to a temporary file. Said once in a while by each child.
    pub fn not_spooled(group: &[u8], directory: &Path, error: &io::Error) -> Option<RelayFailure> {
        static SAID: AtomicU64 = AtomicU64::new(0);
        let group = name(group);
        is_due(&SAID).then(|| RelayFailure {
            status: 200,
            level: Level::Warning,
            text: format!(
                "{SPOOL_UNAVAILABLE}: What does not fit into memory cannot be written to a temporary file in \
                 '{}': {error}. Meanwhile slow clients of process group '{group}' hold its threads. Make room \
                 there, let Apache's user write there, or name another directory with \
                 spool-directory=.",
                directory.display()
            ),
        })
    }

    /// All descriptors that may wait for clients do. Said once in a while by each child.
    pub fn file_copied(group: &[u8], descriptors: usize) -> Option<RelayFailure> {
        static SAID: AtomicU64 = AtomicU64::new(0);
        let group = name(group);
        is_due(&SAID).then(|| RelayFailure {
            status: 200,
            level: Level::Warning,
            text: format!(
                "{FILE_DESCRIPTORS_USED_UP}: The files that clients wait for hold {descriptors} descriptors of this \
                 Apache child, which is as many as they may (a quarter of its limit of open files). \
                 Meanwhile slow clients of files hold threads of process group '{group}'. Raise the \
                 limit of open files of Apache's service (LimitNOFILE= in systemd)."
            ),
        })
    }

    /// The client does not take its response.
    pub fn client_stalled(limit: Duration, given: u64) -> RelayFailure {
        RelayFailure {
            status: 408,
            level: Level::Info,
            text: format!(
                "{CLIENT_STALLED}: The client took nothing of its response for {} (response-socket-timeout=, socket-timeout= or Timeout), after \
                 {given} bytes; its connection is closed.",
                seconds(limit)
            ),
        }
    }

    /// The body was shorter than its length.
    pub fn short(group: &[u8], declared: u64, sent: u64) -> RelayFailure {
        let group = name(group);
        RelayFailure::new(
            502,
            format!(
                "{RESPONSE_SHORT}: The application in process group '{group}' declared a Content-Length of \
                 {declared} and sent {sent} bytes; the client is made to see that the response is not \
                 complete."
            ),
        )
    }

    /// The body was longer than its length.
    pub fn long(group: &[u8], declared: u64, dropped: u64) -> RelayFailure {
        let group = name(group);
        RelayFailure {
            status: 200,
            level: Level::Debug,
            text: format!(
                "The application in process group '{group}' declared a Content-Length of {declared} and \
                 sent {dropped} bytes more; they were dropped."
            ),
        }
    }

    /// A descriptor that is not a file one can send.
    pub fn not_a_file(group: &[u8], why: &str) -> RelayFailure {
        let group = name(group);
        RelayFailure::new(
            502,
            format!(
                "{DESCRIPTOR_NOT_A_FILE}: A worker of process group '{group}' passed a descriptor that cannot be sent: \
                 {why}."
            ),
        )
    }

    /// Whether the worker went away with the request.
    pub fn is_of_death(&self) -> bool {
        [WORKER_DIED_BEFORE_RESPONSE, WORKER_DIED_DURING_RESPONSE]
            .iter()
            .any(|id| self.text.starts_with(&id.to_string()))
    }

    /// Whether the worker did not run the request because it had waited too long: the client may
    /// try again a little later.
    pub fn is_of_queue(&self) -> bool {
        self.text.starts_with(&QUEUE_TIMED_OUT.to_string())
    }

    /// The worker says that there is no response.
    pub fn failed(status: u16, text: &[u8]) -> RelayFailure {
        RelayFailure::new(status, String::from_utf8_lossy(text).into_owned())
    }

    /// The request body did not come to its end.
    pub fn upload(cause: BodyFailure) -> RelayFailure {
        let (status, level, text) = match cause {
            BodyFailure::ClientGone => (400, Level::Info, "the client closed the connection"),
            BodyFailure::Timeout => (
                408,
                Level::Error,
                "the client sent nothing for as long as Timeout allows, or less than RequestReadTimeout \
                 asks for",
            ),
            BodyFailure::TooLarge => (
                413,
                Level::Error,
                "it is larger than LimitRequestBody allows",
            ),
            BodyFailure::Malformed => (400, Level::Error, "its framing is broken"),
        };
        RelayFailure {
            status,
            level,
            text: format!(
                "{UPLOAD_FAILED}: The request body could not be read to its end: {text}."
            ),
        }
    }

    /// The system refused something about the connection.
    pub fn connection(group: &[u8], error: &io::Error) -> RelayFailure {
        let group = name(group);
        RelayFailure::new(
            502,
            format!(
                "{CONNECTION_FAILED}: The connection to process group '{group}' failed: {error}."
            ),
        )
    }
}

/// Why a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryReason {
    /// The worker said so.
    HandedBack(Retry),
    /// The worker left the request in its socket unread.
    LeftUnread,
}

/// What made no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolViolation {
    /// A frame.
    Frame(Malformed),
    /// A good frame at the wrong moment.
    OutOfOrder(&'static str),
}

impl From<Malformed> for ProtocolViolation {
    fn from(malformed: Malformed) -> ProtocolViolation {
        ProtocolViolation::Frame(malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_once_in_a_while() {
        let said = AtomicU64::new(0);
        assert!(is_due(&said) && !is_due(&said));
        let now = os::clock::monotonic().as_secs();
        let Some(before) = now
            .checked_sub(SAID_AGAIN_AFTER.as_secs())
            .filter(|&at| at > 0)
        else {
            return;
        };
        said.store(before, Ordering::Relaxed);
        assert!(is_due(&said) && !is_due(&said));
    }
}
