//! The handler: one request from the checks to the end of its response.
//!
//! Runs in: an Apache child, on the thread that serves the request. Stack pages stay resident once
//! touched, and a child has many threads. So [`prepare`] has a frame of its own, which is gone
//! before the response is sent through httpd's filters.

use wire::hook::Role;
use wire::own_group;
use wire::request::{Builder, Flags, Prologue};
use wire::response::{End, Level};

use config::jail;
use config::module_config::{DirectoryConfig, HandlerScript, ServerConfig};
use config::resolved::{handler_script, Overrides};
use config::ResolvedGroup;
use config::Settings;
use httpd::hooks::HookStatus;
use httpd::keep_alive_wait;
use httpd::log::{self, Log};
use httpd::request::{FileKind, Request};
use httpd::request_body::Wait;

use super::active_configuration::{limits, ActiveConfiguration, GroupEndpoint};
use super::connect::dialer::Dialer;
use super::environ;
use super::environ::facts::{self, ComputedNames, HttpdRequestFacts};
use super::environ::EnvironFacts;
use super::hooks;
use super::httpd_body::HttpdBody;
use super::httpd_client::HttpdClient;
use super::relay::client::BodyRead;
use super::relay::early_body::{self, ReadPlan};
use super::relay::failure::RelayFailure;
use super::relay::upload::Upload;
use super::relay::{self, RelayRequest};
use super::request_log::write_log;
use super::request_trace;
use super::route::checks::{self, BodyLength, RequestToCheck, Script};
use super::route::dispatch::{self, Host};
use super::route::mapping::{alias_of, is_aliased, HANDLER, OLD_HANDLER};
use super::route::rejection::Rejection;

/// Note on a request whose response httpd took from a local URL: one such hop is allowed.
const REDIRECTED: &std::ffi::CStr = c"mod_wsgi.redirected";

/// The handler hook. `dir` and `server` are the settings of the request's directory and virtual
/// host.
pub fn handle(
    request: Request<'_>,
    dir: &DirectoryConfig,
    server: &ServerConfig,
    active: &ActiveConfiguration,
) -> HookStatus {
    let name = request.handler().unwrap_or_default();
    let is_ours = name == HANDLER.to_bytes() || name == OLD_HANDLER;
    let handler = match is_ours {
        true => None,
        false => match handler_script(dir, server, name) {
            None => return HookStatus::DECLINED,
            handler => handler,
        },
    };
    match prepare(request, handler, dir, server, active) {
        Ok(Ok(prepared)) => relay_prepared(request, active, prepared),
        Ok(Err(outcome)) => outcome,
        Err(rejection) => {
            write_log(request, Level::Error, rejection.to_string().as_bytes());
            HookStatus::status(rejection.status())
        }
    }
}

/// A request that is ready to be sent to a worker.
struct PreparedRequest<'r> {
    group: &'r ResolvedGroup,
    endpoint: &'r GroupEndpoint,
    message: Vec<u8>,
    body: InitialBody<'r>,
    error_override: bool,
    may_redirect: bool,
    enable_sendfile: Option<bool>,
}

/// Checks the request, finds its process group, and writes the message for a worker. The inner
/// error is what the handler returns to httpd when reading the body failed.
#[inline(never)]
fn prepare<'r>(
    request: Request<'r>,
    handler: Option<&HandlerScript>,
    dir: &DirectoryConfig,
    server: &ServerConfig,
    active: &'r ActiveConfiguration,
) -> Result<Result<PreparedRequest<'r>, HookStatus>, Rejection> {
    let alias = alias_of(request, server);
    let request_facts = HttpdRequestFacts::of(request, alias, active.globals.case_sensitive);
    let overrides = match (handler, alias) {
        (Some(handler), _) => Overrides::from(handler),
        (None, Some(alias)) => Overrides::from(&alias.options),
        (None, None) => Overrides::default(),
    };
    let mut settings = Settings::resolve(dir, server, overrides, &request_facts);
    let mut to_check = request_to_check(request, &settings);
    if handler.is_some() {
        // The file is what the handler is for, and no program: whether it is there is the script's
        // business.
        (to_check.may_execute, to_check.script) = (true, Script::File);
    }
    let length = checks::check(&to_check)?;
    if let Some(script) = settings.dispatch_script {
        let place = (request, dir, server, active);
        if let Err(status) = hooks::dispatch::choose(place, script, &request_facts, &mut settings) {
            return Ok(Err(HookStatus::status(status)));
        }
    }
    let group = dispatch::process_group(
        &settings,
        &active.groups,
        Host::of(request),
        active.globals.restrict_embedded,
    )?;
    let Some(endpoint) = active.endpoints.get(&group.process_group.name[..]) else {
        let sentence = active.groups.undefined_sentence(&group.process_group.name);
        return Err(Rejection::GroupUnknown(sentence));
    };
    let body = match read_initial_body(request, length, active, group) {
        Ok(body) => body,
        Err(outcome) => {
            let names = ComputedNames::of(request);
            publish(request, &facts::gather(request, &names, &settings));
            return Ok(Err(outcome));
        }
    };
    let chroot = group.process_group.environment.chroot.as_deref();
    let message = message(request, handler, &settings, endpoint, chroot, length, &body)?;
    if request.logs(log::Level::Debug) {
        let (message, body) = (message.len(), body.bytes.len());
        request_trace::resolved(
            request,
            &settings,
            own_group::shown(&group.process_group.name),
            message,
            body,
        );
    }
    if request.is_of_error() && request.left_body_unread() {
        // What is left of the body must not be taken for the client's next request.
        request.connection().close_after_this();
    }
    Ok(Ok(PreparedRequest {
        group,
        endpoint,
        message,
        body,
        error_override: settings.error_override,
        may_redirect: settings.local_redirect && !was_redirected(request),
        enable_sendfile: settings.enable_sendfile,
    }))
}

fn request_to_check<'r>(request: Request<'r>, settings: &Settings<'_>) -> RequestToCheck<'r> {
    let headers = request.headers_in();
    // For an error page httpd reuses the headers of the failed request, to which any body belongs.
    let has_body = !request.is_of_error();
    RequestToCheck {
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

/// The first bytes of the request body, and the rest.
struct InitialBody<'r> {
    source: HttpdBody<'r>,
    bytes: Vec<u8>,
    /// The bytes are the whole body.
    whole: bool,
    expects_continue: bool,
    /// The rest.
    upload: Upload,
}

/// Reads of the body what is read before a worker is asked: the first bytes, which travel in the
/// message, and where the client is slow the rest ([`early_body`]).
///
/// Of a body of known length the first bytes are waited for. A client that waits for `100 Continue`
/// sends nothing yet: it gets that when the application reads.
fn read_initial_body<'r>(
    request: Request<'r>,
    length: BodyLength,
    active: &ActiveConfiguration,
    group: &ResolvedGroup,
) -> Result<InitialBody<'r>, HookStatus> {
    let mut body = InitialBody {
        source: HttpdBody::of(request),
        bytes: Vec::new(),
        whole: length == BodyLength::None,
        expects_continue: request.expects_continue() && length != BodyLength::None,
        upload: Upload::whole(),
    };
    let (wait, length) = match length {
        BodyLength::Known(length) => (Wait::Yes, Some(length)),
        BodyLength::Chunked => (Wait::No, None),
        BodyLength::None => return Ok(body),
    };
    if body.expects_continue {
        body.upload = Upload::open(true);
        return Ok(body);
    }
    let most = usize::try_from(group.transport.request_buffer).unwrap_or(usize::MAX);
    let mut failure = None;
    while !body.source.has_ended() && body.bytes.len() < most {
        let room = most - body.bytes.len();
        match body.source.read(wait, room, &mut body.bytes) {
            BodyRead::Some => {}
            BodyRead::Last | BodyRead::Nothing => break,
            BodyRead::Failed(cause) => {
                failure = Some(cause);
                break;
            }
        }
    }
    // A body of known length is complete with its last byte, whether or not its end was seen too.
    body.whole = body.source.has_ended() || length == Some(body.bytes.len() as u64);
    if failure.is_none() && !body.whole {
        let plan = ReadPlan {
            group: own_group::shown(&group.process_group.name),
            length,
            message: most,
            place: active.spool(group, group.transport.request_spool),
        };
        match early_body::read(&mut body.source, &plan, &mut body.bytes) {
            Ok(early) => {
                if let Some(warning) = early.warning {
                    write_log(request, warning.level, warning.text.as_bytes());
                }
                body.whole = early.upload.is_whole();
                body.upload = early.upload;
            }
            Err(cause) => failure = Some(cause),
        }
    }
    if let Some(cause) = failure {
        let failure = RelayFailure::upload(cause);
        write_log(request, failure.level, failure.text.as_bytes());
        let status = HookStatus::status(failure.status);
        return Err(body.source.status().unwrap_or(status));
    }
    Ok(body)
}

fn message(
    request: Request<'_>,
    handler: Option<&HandlerScript>,
    settings: &Settings<'_>,
    endpoint: &GroupEndpoint,
    chroot: Option<&[u8]>,
    length: BodyLength,
    body: &InitialBody<'_>,
) -> Result<Vec<u8>, Rejection> {
    let names = ComputedNames::of(request);
    let mut facts = facts::gather(request, &names, settings);
    let mut script = facts.script_filename;
    if let Some(handler) = handler {
        script = &handler.path;
        facts.handler_script = script;
    }
    let outside = chroot.map(|_| facts.clone());
    if let Some(root) = chroot {
        let Some(within) = jail::inside(root, script) else {
            return Err(Rejection::OutsideChroot(script.to_vec(), root.to_vec()));
        };
        script = within;
        let Some(inside) = jail::inside(root, facts.script_filename) else {
            let file = facts.script_filename.to_vec();
            return Err(Rejection::OutsideChroot(file, root.to_vec()));
        };
        facts.script_filename = inside;
        for directory in [&mut facts.document_root, &mut facts.context_document_root] {
            *directory = directory.and_then(|path| jail::inside(root, path));
        }
    }
    let mut flags = 0;
    for (flag, holds) in [
        (Flags::RELOAD, settings.script_reloading),
        (Flags::BODY_WHOLE, body.whole),
        (Flags::EXPECTS_CONTINUE, body.expects_continue),
        (Flags::HTTP_1_0, request.protocol_number() < 1001),
        (Flags::IGNORE_ACTIVITY, settings.ignore_activity),
        (Flags::EVENTLET, settings.eventlet_compat),
        (
            Flags::NAMED_BY_CLIENT,
            settings.application_group_is_from_client,
        ),
        (Flags::HEAD, facts.method == b"HEAD"),
        (Flags::KEEP, true),
    ] {
        if holds {
            flags |= flag;
        }
    }
    let prologue = Prologue {
        flags: Flags(flags),
        role: Role::Application,
        key: endpoint.key,
        request_start: u64::try_from(request.time_micros()).unwrap_or(0),
        queue_start: os::clock::epoch_us(),
        sent: os::clock::monotonic_us(),
        content_length: match length {
            BodyLength::None => None,
            BodyLength::Known(length) => Some(length),
            BodyLength::Chunked => None,
        },
        script,
        application_group: facts.application_group,
        callable: facts.callable,
    };
    let mut out = Vec::with_capacity(2048 + body.bytes.len());
    let written = Builder::new(&mut out, &prologue).and_then(|mut builder| {
        let headers = request.headers_in().iter();
        let variables = request.subprocess_env().iter();
        environ::write(&mut builder, &facts, headers, variables)?;
        builder.finish(&body.bytes)
    });
    publish(request, outside.as_ref().unwrap_or(&facts));
    match written {
        Ok(()) => Ok(out),
        Err(_) => Err(Rejection::EnvironTooLarge),
    }
}

fn publish(request: Request<'_>, facts: &EnvironFacts<'_>) {
    let headers = request.headers_in().iter();
    environ::published::publish(request.subprocess_env(), facts, headers);
}

#[inline(never)]
fn relay_prepared(
    request: Request<'_>,
    active: &ActiveConfiguration,
    prepared: PreparedRequest<'_>,
) -> HookStatus {
    let PreparedRequest {
        group,
        endpoint,
        message,
        body,
        error_override,
        may_redirect,
        enable_sendfile,
    } = prepared;
    let relay_request = RelayRequest {
        group: own_group::shown(&group.process_group.name),
        message: &message,
        upload: body.upload,
        head_only: request.is_header_only(),
        error_override,
        may_redirect,
        limits: limits(group, request.server().timeout()),
        spool: active.spool(group, group.transport.response_spool),
    };
    let mut dialer = Dialer {
        path: &endpoint.path,
        pool: &endpoint.pool,
    };
    let mut client = HttpdClient::new(request, body.source, enable_sendfile).with_death_inquiry(
        active.status.as_deref(),
        own_group::shown(&group.process_group.name),
    );
    let outcome = relay::relay_request(&mut dialer, &mut client, relay_request);
    client.trace_end(&outcome);
    match outcome {
        relay::RelayOutcome::Complete(end) => {
            note_times(request, &end);
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
                // The supervisor tries to start a worker at least this often.
                let _ = request.err_headers_out().set(b"Retry-After", b"5");
            }
            HookStatus::status(status)
        }
        relay::RelayOutcome::Redirect(location) => redirect(request, &location),
    }
}

/// Sets notes for the access log: `%{mod_wsgi.queue_time}n` and so on, times in microseconds.
fn note_times(request: Request<'_>, end: &End) {
    let notes = request.notes();
    for (name, value) in [
        (&b"mod_wsgi.queue_time"[..], end.queue_time),
        (b"mod_wsgi.application_time", end.application_time),
        (b"mod_wsgi.pid", u64::from(end.pid)),
        (b"mod_wsgi.thread", u64::from(end.thread)),
    ] {
        // Cannot fail: digits contain no NUL byte.
        let _ = notes.set(name, value.to_string().as_bytes());
    }
}

fn was_redirected(request: Request<'_>) -> bool {
    std::iter::successors(request.previous(), |before| before.previous())
        .any(|before| before.notes().get(REDIRECTED).is_some())
}

/// Has httpd answer from a local URL, as a GET without a body. Access control of that URL applies.
fn redirect(request: Request<'_>, location: &[u8]) -> HookStatus {
    if request.expects_continue() {
        // The client may still send the body, so no other request can follow on the connection.
        request.connection().close_after_this();
    }
    // `become_get` removes the length: httpd would take the rest of the body for the next request.
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
