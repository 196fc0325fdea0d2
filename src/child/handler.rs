//! The handler: one request from the checks to the end of its response.
//!
//! Runs in: an Apache child, on the thread that serves the request. A thread keeps for life what it has
//! once used of its stack, and a child has many: so what is needed to prepare a request is not on the
//! stack any more while its response goes through httpd's filters.

use wire::request::{Builder, Flags, Prologue};
use wire::response::{End, Level};

use config::given::{DirGiven, ServerGiven};
use config::jail;
use config::process_group::ProcessGroup;
use config::resolved::Overrides;
use config::Settings;
use httpd::hooks::HookStatus;
use httpd::keep_alive_wait;
use httpd::request::{FileKind, Request};
use httpd::request_body::{BodyRead, RequestBody, Wait};

use super::active_configuration::{limits, ActiveConfiguration, GroupEndpoint};
use super::connect::dialer::Dialer;
use super::environ;
use super::environ::facts::{self, Asked, Made};
use super::httpd_client::{body_failure, HttpdClient};
use super::relay::failure::RelayFailure;
use super::relay::upload::Upload;
use super::relay::{self, RelayRequest};
use super::request_log::write_log;
use super::route::checks::{self, BodyLength, Checked, Script};
use super::route::dispatch::{self, Host};
use super::route::mapping::{alias_of, is_aliased, HANDLER, OLD_HANDLER};
use super::route::rejection::Refusal;

/// The note of a request whose answer was taken from another URL.
const REDIRECTED: &std::ffi::CStr = c"mod_wsgi.redirected";

/// The handler hook. `dir` and `server` are what was given for the request's place.
pub fn handle(
    request: Request<'_>,
    dir: &DirGiven,
    server: &ServerGiven,
    active: &ActiveConfiguration,
) -> HookStatus {
    let name = request.handler().unwrap_or_default();
    if name != HANDLER.to_bytes() && name != OLD_HANDLER {
        return HookStatus::DECLINED;
    }
    match prepare(request, dir, server, active) {
        Ok(Ok(prepared)) => converse(request, active, prepared),
        Ok(Err(outcome)) => outcome,
        Err(refusal) => {
            write_log(request, Level::Error, refusal.to_string().as_bytes());
            HookStatus::status(refusal.status())
        }
    }
}

/// A request that is ready to be carried to a worker.
struct Prepared<'r> {
    group: &'r ProcessGroup,
    endpoint: &'r GroupEndpoint,
    message: Vec<u8>,
    taken: Taken<'r>,
    error_override: bool,
    may_redirect: bool,
    enable_sendfile: Option<bool>,
}

/// Finds out what the request is to be answered by, and writes the message for it. Httpd has its own
/// reasons to end a request: an outcome.
#[inline(never)]
fn prepare<'r>(
    request: Request<'r>,
    dir: &DirGiven,
    server: &ServerGiven,
    active: &'r ActiveConfiguration,
) -> Result<Result<Prepared<'r>, HookStatus>, Refusal> {
    let asked = Asked::of(request, active.globals.case_sensitive);
    let overrides = match alias_of(request, server) {
        Some(alias) => Overrides::from(&alias.options),
        None => Overrides::default(),
    };
    let settings = Settings::resolve(dir, server, overrides, &asked);
    let length = checks::check(&checked(request, &settings))?;
    let virtual_host = request.server();
    let host = Host {
        id: virtual_host.is_virtual().then(|| virtual_host.id()),
        name: virtual_host.name(),
    };
    let group = dispatch::process_group(&settings, &active.groups, host)?;
    let Some(endpoint) = active.endpoints.get(&group.name) else {
        let sentence = active.groups.undefined_sentence(&group.name);
        return Err(Refusal::GroupUnknown(sentence));
    };
    let taken = match take_body(request, length, group.transport.request_buffer) {
        Ok(taken) => taken,
        Err(outcome) => return Ok(Err(outcome)),
    };
    let chroot = group.surroundings.chroot.as_deref();
    let message = message(request, &settings, endpoint, chroot, length, &taken)?;
    if request.is_of_error() && request.left_body_unread() {
        // What the client may still send is no request.
        request.connection().close_after_this();
    }
    Ok(Ok(Prepared {
        group,
        endpoint,
        message,
        taken,
        error_override: settings.error_override,
        may_redirect: settings.local_redirect && !was_redirected(request),
        enable_sendfile: settings.enable_sendfile,
    }))
}

fn checked<'r>(request: Request<'r>, settings: &Settings<'_>) -> Checked<'r> {
    let headers = request.headers_in();
    // A body there was belonged to the request that failed.
    let has_body = !request.is_of_error();
    Checked {
        may_execute: request.may_execute(),
        is_aliased: is_aliased(request),
        filename: request.filename().unwrap_or_default(),
        script: match request.file_kind() {
            FileKind::Missing => Script::Missing,
            FileKind::Directory => Script::Directory,
            FileKind::Regular | FileKind::Other => Script::File,
        },
        refuses_path_info: request.refuses_path_info(),
        path_info: request.path_info().unwrap_or_default(),
        transfer_encoding: headers.get(c"Transfer-Encoding").filter(|_| has_body),
        chunked_allowed: settings.chunked_request,
        content_length: headers.get(c"Content-Length").filter(|_| has_body),
        body_limit: request.body_limit(),
    }
}

/// The part of the body that has been read, and what is left of it.
struct Taken<'r> {
    body: RequestBody<'r>,
    bytes: Vec<u8>,
    whole: bool,
    expects_continue: bool,
}

/// Reads of the body what shall travel with the request: the first `most` bytes, which are waited
/// for, so that a client that sends slowly takes no thread of a worker; of a body of unknown length
/// what is here already, since its client may wait for the response before it sends more. Nothing,
/// if the client waits to be asked.
fn take_body<'r>(
    request: Request<'r>,
    length: BodyLength,
    most: u64,
) -> Result<Taken<'r>, HookStatus> {
    let mut taken = Taken {
        body: RequestBody::of(request),
        bytes: Vec::new(),
        whole: length == BodyLength::None,
        expects_continue: request.expects_continue() && length != BodyLength::None,
    };
    let wait = match length {
        BodyLength::Known(_) => Wait::Yes,
        BodyLength::Chunked => Wait::No,
        BodyLength::None => return Ok(taken),
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if taken.expects_continue {
        return Ok(taken);
    }
    while !taken.body.has_ended() && taken.bytes.len() < most {
        let room = most - taken.bytes.len();
        match taken.body.read(wait, room, &mut taken.bytes) {
            Ok(BodyRead::Some(_)) => {}
            Ok(BodyRead::End | BodyRead::Nothing) => break,
            Err(broken) => {
                let failure = RelayFailure::upload(body_failure(request, &broken));
                write_log(request, failure.level, failure.text.as_bytes());
                return Err(HookStatus::from_httpd(broken.status));
            }
        }
    }
    // A body of known length is complete with its last byte, whether or not its end was seen too.
    taken.whole = taken.body.has_ended()
        || matches!(length, BodyLength::Known(all) if taken.bytes.len() as u64 == all);
    Ok(taken)
}

fn message(
    request: Request<'_>,
    settings: &Settings<'_>,
    endpoint: &GroupEndpoint,
    chroot: Option<&[u8]>,
    length: BodyLength,
    taken: &Taken<'_>,
) -> Result<Vec<u8>, Refusal> {
    let made = Made::of(request);
    let mut facts = facts::gather(request, &made, settings);
    if let Some(root) = chroot {
        let Some(inside) = jail::inside(root, facts.script_filename) else {
            let file = facts.script_filename.to_vec();
            return Err(Refusal::OutsideChroot(file, root.to_vec()));
        };
        facts.script_filename = inside;
        for directory in [&mut facts.document_root, &mut facts.context_document_root] {
            *directory = directory.and_then(|path| jail::inside(root, path));
        }
    }
    let mut flags = 0;
    for (flag, holds) in [
        (Flags::RELOAD, settings.script_reloading),
        (Flags::BODY_WHOLE, taken.whole),
        (Flags::EXPECTS_CONTINUE, taken.expects_continue),
        (Flags::HTTP_1_0, request.protocol_number() < 1001),
        (Flags::IGNORE_ACTIVITY, settings.ignore_activity),
        (Flags::EVENTLET, settings.eventlet_compat),
        (Flags::HEAD, facts.method == b"HEAD"),
        (Flags::KEEP, true),
    ] {
        if holds {
            flags |= flag;
        }
    }
    let prologue = Prologue {
        flags: Flags(flags),
        key: endpoint.key,
        request_start: u64::try_from(request.time_micros()).unwrap_or(0),
        queue_start: os::clock::epoch_us(),
        sent: os::clock::monotonic_us(),
        content_length: match length {
            BodyLength::None => None,
            BodyLength::Known(length) => Some(length),
            BodyLength::Chunked => None,
        },
        script: facts.script_filename,
        application_group: facts.application_group,
        callable: facts.callable,
    };
    let mut out = Vec::with_capacity(2048 + taken.bytes.len());
    let written = Builder::new(&mut out, &prologue).and_then(|mut builder| {
        let headers = request.headers_in().iter();
        let variables = request.subprocess_env().iter();
        environ::write(&mut builder, &facts, headers, variables)?;
        builder.finish(&taken.bytes)
    });
    match written {
        Ok(()) => Ok(out),
        Err(_) => Err(Refusal::EnvironTooLarge),
    }
}

#[inline(never)]
fn converse(
    request: Request<'_>,
    active: &ActiveConfiguration,
    prepared: Prepared<'_>,
) -> HookStatus {
    let Prepared {
        group,
        endpoint,
        message,
        taken,
        error_override,
        may_redirect,
        enable_sendfile,
    } = prepared;
    let relay_request = RelayRequest {
        group: &group.name,
        message: &message,
        upload: if taken.whole {
            Upload::whole()
        } else {
            Upload::open(taken.expects_continue)
        },
        head_only: request.is_header_only(),
        error_override,
        may_redirect,
        limits: limits(group, request.server().timeout()),
    };
    let mut dialer = Dialer {
        path: &endpoint.path,
        pool: &endpoint.pool,
    };
    let mut client = HttpdClient::new(request, taken.body, enable_sendfile)
        .with_death_inquiry(active.status.as_deref(), &group.name);
    match relay::relay_request(&mut dialer, &mut client, relay_request) {
        relay::RelayOutcome::Complete(end) => {
            note(request, &end);
            if request.main().is_none() {
                keep_alive_wait::expect(request.connection());
            }
            HookStatus::OK
        }
        relay::RelayOutcome::Broken | relay::RelayOutcome::Gone => HookStatus::OK,
        relay::RelayOutcome::Status(status) => {
            if let Some(outcome) = client.body_status() {
                return outcome;
            }
            if status == 503 {
                // A successor is started at least this often.
                let _ = request.err_headers_out().set(b"Retry-After", b"5");
            }
            HookStatus::status(status)
        }
        relay::RelayOutcome::Redirect(location) => redirect(request, &location),
    }
}

/// What the access log may say: `%{mod_wsgi.queue_time}n` and so on, times in microseconds.
fn note(request: Request<'_>, end: &End) {
    let notes = request.notes();
    for (name, value) in [
        (&b"mod_wsgi.queue_time"[..], end.queue_time),
        (b"mod_wsgi.application_time", end.application_time),
        (b"mod_wsgi.pid", u64::from(end.pid)),
        (b"mod_wsgi.thread", u64::from(end.thread)),
    ] {
        // Digits hold no NUL byte.
        let _ = notes.set(name, value.to_string().as_bytes());
    }
}

fn was_redirected(request: Request<'_>) -> bool {
    std::iter::successors(request.previous(), |before| before.previous())
        .any(|before| before.notes().get(REDIRECTED).is_some())
}

/// Answers from a local URL, as a GET without a body. Access control of that URL applies.
fn redirect(request: Request<'_>, location: &[u8]) -> HookStatus {
    if request.expects_continue() {
        // The body has not been sent and may yet come: nothing can follow it on the connection.
        request.connection().close_after_this();
    }
    // What is left of the body would be taken for the next request once its length is forgotten.
    if let Err(status) = request.discard_body() {
        return HookStatus::status(status);
    }
    let redirected = request
        .notes()
        .set(REDIRECTED.to_bytes(), b"1")
        .and_then(|()| {
            request.become_get();
            request.internal_redirect(location)
        });
    match redirected {
        Ok(()) => HookStatus::OK,
        Err(_) => HookStatus::status(500),
    }
}
