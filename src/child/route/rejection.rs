//! Why a request is refused before a worker sees it.
//!
//! Runs in: an Apache child.

use std::borrow::Cow;
use std::fmt;

use wire::log_id::{
    LogId, BODY_TOO_LARGE, CHUNKED_REFUSED, CONTENT_LENGTH_INVALID, ENVIRON_TOO_LARGE,
    EXECCGI_NOT_ALLOWED, GROUP_OF_OTHER_HOST, GROUP_RESTRICTED, GROUP_UNKNOWN,
    GROUP_WITHOUT_THREADS, OUTSIDE_CHROOT, OWN_GROUP_NOT_STARTED, OWN_GROUP_RESTRICTED,
    PATH_INFO_REFUSED, SCRIPT_IS_DIRECTORY, SCRIPT_MISSING, TRANSFER_CODING_UNSUPPORTED,
};

use config::error::{show, show_group};

/// Why a request is refused; has a status, a number and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// `Options ExecCGI` is off where the script lies, and no alias leads to it.
    NoExecution(Vec<u8>),
    /// There is no such file.
    ScriptMissing(Vec<u8>),
    /// The script is a directory.
    ScriptIsDirectory(Vec<u8>),
    /// `AcceptPathInfo Off`, and there is path info.
    PathInfo(Vec<u8>),
    /// A transfer coding other than `chunked`.
    TransferCoding(Vec<u8>),
    /// `WSGIChunkedRequest Off`.
    Chunked,
    /// A Content-Length that is not a number of bytes.
    ContentLength(Vec<u8>),
    /// Larger than `LimitRequestBody`.
    BodyTooLarge { length: u64, limit: u64 },
    /// `WSGIRestrictProcess` does not list the group.
    GroupRestricted(Vec<u8>),
    /// Nothing in the configuration showed that a request can come to the server's own group.
    NoOwnGroup,
    /// `WSGIRestrictEmbedded On` keeps requests out of the server's own group.
    OwnGroupRestricted,
    /// The group does not exist; the sentence says which do.
    GroupUnknown(String),
    /// The group belongs to another virtual host, defined at this place.
    GroupOfOtherHost(Vec<u8>, String),
    /// The group has no threads to serve requests.
    GroupServesNothing(Vec<u8>),
    /// The script does not lie below the `chroot=` of its group, given second.
    OutsideChroot(Vec<u8>, Vec<u8>),
    /// The headers and variables of the request exceed what one message can hold.
    EnvironTooLarge,
}

impl Rejection {
    /// The status of httpd's response.
    pub fn status(&self) -> u16 {
        match self {
            Rejection::NoExecution(_) | Rejection::ScriptIsDirectory(_) => 403,
            Rejection::ScriptMissing(_) | Rejection::PathInfo(_) => 404,
            Rejection::TransferCoding(_) => 501,
            Rejection::Chunked => 411,
            Rejection::ContentLength(_) => 400,
            Rejection::BodyTooLarge { .. } => 413,
            Rejection::GroupRestricted(_)
            | Rejection::NoOwnGroup
            | Rejection::OwnGroupRestricted
            | Rejection::GroupUnknown(_)
            | Rejection::GroupOfOtherHost(..)
            | Rejection::OutsideChroot(..)
            | Rejection::GroupServesNothing(_) => 500,
            Rejection::EnvironTooLarge => 400,
        }
    }

    /// The number an administrator can search for.
    pub fn id(&self) -> LogId {
        match self {
            Rejection::NoExecution(_) => EXECCGI_NOT_ALLOWED,
            Rejection::ScriptMissing(_) => SCRIPT_MISSING,
            Rejection::ScriptIsDirectory(_) => SCRIPT_IS_DIRECTORY,
            Rejection::PathInfo(_) => PATH_INFO_REFUSED,
            Rejection::TransferCoding(_) => TRANSFER_CODING_UNSUPPORTED,
            Rejection::Chunked => CHUNKED_REFUSED,
            Rejection::ContentLength(_) => CONTENT_LENGTH_INVALID,
            Rejection::BodyTooLarge { .. } => BODY_TOO_LARGE,
            Rejection::GroupRestricted(_) => GROUP_RESTRICTED,
            Rejection::NoOwnGroup => OWN_GROUP_NOT_STARTED,
            Rejection::OwnGroupRestricted => OWN_GROUP_RESTRICTED,
            Rejection::GroupUnknown(_) => GROUP_UNKNOWN,
            Rejection::GroupOfOtherHost(..) => GROUP_OF_OTHER_HOST,
            Rejection::GroupServesNothing(_) => GROUP_WITHOUT_THREADS,
            Rejection::OutsideChroot(..) => OUTSIDE_CHROOT,
            Rejection::EnvironTooLarge => ENVIRON_TOO_LARGE,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.id())?;
        let sentence: Cow<'static, str> = match self {
            Rejection::NoExecution(file) => format!(
                "Options ExecCGI is off in this directory: {}. Say Options +ExecCGI there, or lead \
                 to the script with WSGIScriptAlias.",
                show(file)
            )
            .into(),
            Rejection::ScriptMissing(file) => format!(
                "Target WSGI script not found or unable to stat: {}. The user Apache's children run \
                 as must be able to enter every directory on the way.",
                show(file)
            )
            .into(),
            Rejection::ScriptIsDirectory(file) => format!(
                "Attempt to invoke directory as WSGI application: {}. An alias that ends in a slash \
                 needs a target that ends in one too.",
                show(file)
            )
            .into(),
            Rejection::OutsideChroot(file, root) => format!(
                "{} does not lie below {}, the chroot= of its process group, whose processes see \
                 nothing else.",
                show(file),
                show(root)
            )
            .into(),
            Rejection::PathInfo(info) => {
                format!("AcceptPathInfo off disallows user's path: {}", show(info)).into()
            }
            Rejection::TransferCoding(coding) => format!(
                "Unexpected value for Transfer-Encoding of '{}' supplied; only chunked is known.",
                show(coding)
            )
            .into(),
            Rejection::Chunked => "Request requires chunked transfer encoding, but optional support \
                                 for chunked transfer encoding has not been enabled \
                                 (WSGIChunkedRequest Off)."
                .into(),
            Rejection::ContentLength(value) => {
                format!("Invalid Content-Length header value of '{}' was supplied.", show(value))
                    .into()
            }
            Rejection::BodyTooLarge { length, limit } => format!(
                "The request body of {length} bytes is larger than LimitRequestBody allows ({limit} \
                 bytes)."
            )
            .into(),
            Rejection::GroupRestricted(group) => format!(
                "Daemon process called '{}' cannot be accessed by this WSGI application: \
                 WSGIRestrictProcess does not list it.",
                show_group(group)
            )
            .into(),
            Rejection::NoOwnGroup => "No process group is named for this request, and the server's own \
                                    group has not been started, because nothing in the \
                                    configuration showed that a request comes to it. Say \
                                    WSGIDaemonProcess %{GLOBAL}, or name a group of yours with \
                                    WSGIProcessGroup."
                .into(),
            Rejection::OwnGroupRestricted => "Embedded mode of mod_wsgi disabled by runtime \
                                            configuration (WSGIRestrictEmbedded On), and no process \
                                            group is named for this request. Name one with \
                                            WSGIProcessGroup, in a <Directory> that holds the script, \
                                            or with process-group= of its WSGIScriptAlias."
                .into(),
            Rejection::GroupUnknown(sentence) => sentence.clone().into(),
            Rejection::GroupOfOtherHost(group, place) => format!(
                "Daemon process called '{}' cannot be accessed by this WSGI application: it is \
                 defined inside of a <VirtualHost> with another ServerName ({place}). Define it \
                 outside of <VirtualHost>.",
                show(group)
            )
            .into(),
            Rejection::GroupServesNothing(group) => format!(
                "Process group '{}' is defined with threads=0 and serves no requests.",
                show(group)
            )
            .into(),
            Rejection::EnvironTooLarge => "The headers and variables of the request do not fit into \
                                         16 MiB and 4096 entries."
                .into(),
        };
        f.write_str(&sentence)
    }
}
