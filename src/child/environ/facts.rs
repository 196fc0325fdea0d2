//! Reads from httpd's request what the configuration and the environ need.
//!
//! Runs in: an Apache child. Only reads. This is the one place that translates httpd's request into
//! the types of [`config::expand`] and [`super`].

use std::borrow::Cow;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU32, Ordering};

use config::alias::{Location, ScriptAlias};
use config::expand::RequestFacts;
use config::Settings;
use httpd::request::Request;
use httpd::server;

use super::forwarded::{self, Trust};
use super::{EnvironFacts, Redirected};
use crate::child::environ;

/// The values of templates such as `%{SERVER}`.
#[derive(Clone, Copy)]
pub struct HttpdRequestFacts<'r> {
    request: Request<'r>,
    alias: Option<&'r ScriptAlias>,
    case_sensitive: bool,
}

impl<'r> HttpdRequestFacts<'r> {
    /// `alias` took the request; `case_sensitive` is `WSGICaseSensitivity`.
    pub fn of(
        request: Request<'r>,
        alias: Option<&'r ScriptAlias>,
        case_sensitive: bool,
    ) -> HttpdRequestFacts<'r> {
        HttpdRequestFacts {
            request,
            alias,
            case_sensitive,
        }
    }

    fn env_of_request(&self, name: &[u8]) -> Option<&'r [u8]> {
        let key = CString::new(name).ok()?;
        let note = self.request.notes().get(&key);
        note.or_else(|| self.request.subprocess_env().get(&key))
    }
}

/// Whether `filename` is the file below the directory `root` that the URL `path` names below the
/// URL `prefix`.
fn names_file(path: &[u8], prefix: &[u8], root: &[u8], filename: &[u8]) -> bool {
    fn rest<'p>(whole: &'p [u8], front: &[u8]) -> Option<&'p [u8]> {
        let front = front.strip_suffix(b"/").unwrap_or(front);
        whole.strip_prefix(front)?.strip_prefix(b"/")
    }
    match (rest(path, prefix), rest(filename, root)) {
        (Some(url), Some(file)) => url == file,
        _ => false,
    }
}

impl RequestFacts for HttpdRequestFacts<'_> {
    fn server_hostname(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.request.server().name().unwrap_or_default())
    }

    fn host(&self) -> Option<Cow<'_, [u8]>> {
        self.request.hostname().map(Cow::Borrowed)
    }

    fn port(&self) -> u16 {
        self.request.server_port()
    }

    fn script_name(&self) -> Cow<'_, [u8]> {
        let uri = self.request.uri().unwrap_or_default();
        environ::split_uri(uri, self.request.path_info().unwrap_or_default()).0
    }

    fn env(&self, name: &[u8]) -> Option<Cow<'_, [u8]>> {
        self.env_of_request(name).map(Cow::Borrowed).or_else(|| {
            let value = std::env::var_os(std::ffi::OsStr::from_bytes(name))?;
            Some(Cow::Owned(value.as_bytes().to_vec()))
        })
    }

    fn port_is_configured(&self) -> bool {
        let port = self.request.server_port();
        // Names leave out 80 and 443.
        port == 80
            || port == 443
            || port == self.request.server().port()
            || port == self.request.connection().local_port()
    }

    fn host_is_configured(&self) -> bool {
        let host = self.request.hostname().filter(|host| !host.is_empty());
        host.is_none_or(|host| self.request.server().is_called(host))
    }

    fn script_name_is_configured(&self) -> bool {
        match self.alias.map(|alias| &alias.location) {
            Some(Location::Prefix(_)) => true,
            Some(Location::Regex(_)) | None => {
                let name = self.script_name();
                name.is_empty()
                    || (self.alias.is_none()
                        && names_file(
                            &name,
                            self.request.context_prefix().unwrap_or_default(),
                            self.request.context_document_root().unwrap_or_default(),
                            self.request.filename().unwrap_or_default(),
                        ))
            }
        }
    }

    fn env_is_of_request(&self, name: &[u8]) -> bool {
        self.env_of_request(name).is_some()
    }

    fn case_sensitive(&self) -> bool {
        self.case_sensitive
    }
}

/// Computed texts, which [`EnvironFacts`] borrows.
pub struct ComputedNames<'r> {
    pub(super) script_name: Cow<'r, [u8]>,
    pub(super) path_info: Cow<'r, [u8]>,
    pub(super) server_name: &'r [u8],
}

impl<'r> ComputedNames<'r> {
    /// Computes them.
    pub fn of(request: Request<'r>) -> ComputedNames<'r> {
        let uri = request.uri().unwrap_or_default();
        let (script_name, path_info) =
            environ::split_uri(uri, request.path_info().unwrap_or_default());
        let plain = request.server_name();
        let special = plain.iter().any(|byte| b"<>&\"".contains(byte));
        let server_name = if special {
            request.escape_html(plain).unwrap_or_default()
        } else {
            plain
        };
        ComputedNames {
            script_name,
            path_info,
            server_name,
        }
    }
}

/// Everything the environ says about `request` besides headers and variables.
pub fn gather<'a>(
    request: Request<'a>,
    names: &'a ComputedNames<'a>,
    settings: &'a Settings<'_>,
) -> EnvironFacts<'a> {
    let connection = request.connection();
    EnvironFacts {
        method: environ::shown_method(
            request.method(),
            settings.map_head_to_get,
            request.has_content_filter(),
        ),
        request_uri: if request.request_uri_is_current() {
            request.uri().unwrap_or_default()
        } else {
            environ::request_target(request.the_request().unwrap_or_default())
        },
        script_name: &names.script_name,
        path_info: &names.path_info,
        query: request.args().unwrap_or_default(),
        protocol: request.protocol(),
        server_name: names.server_name,
        server_port: request.server_port(),
        server_addr: connection.local_ip(),
        server_software: server::banner(),
        server_admin: request.server().admin(),
        remote_addr: request.useragent_ip(),
        remote_port: request.useragent_port(),
        remote_user: request.user(),
        auth_type: request.auth_type(),
        document_root: request.document_root(),
        context_prefix: request.context_prefix(),
        context_document_root: request.context_document_root(),
        script_filename: request.filename().unwrap_or_default(),
        scheme: request.scheme(),
        redirected: request.previous().map(|before| redirected(request, before)),
        is_https: connection.is_https(),
        lacks_body: request.is_of_error() || request.main().is_some(),
        forwarded: forwarded::read(
            &Trust {
                headers: settings.trusted_proxy_headers,
                proxies: settings.trusted_proxies,
                peer: request.useragent_ip(),
            },
            request.headers_in().iter(),
            request.subprocess_env().iter(),
        ),
        passes_all_authorization: request.passes_authorization(),
        passes_authorization: settings.pass_authorization,
        process_group: &settings.process_group,
        application_group: &settings.application_group,
        callable: &settings.callable_object,
        handler: request.handler().unwrap_or_default(),
        handler_script: b"",
        listener_host: connection.listener_host().unwrap_or_default(),
        listener_port: connection.local_port(),
        server_pid: pid(),
        request_id: request.log_id(),
        connection_id: connection.log_id(),
    }
}

fn redirected<'a>(request: Request<'a>, before: Request<'a>) -> Redirected<'a> {
    let url = before.uri().map(|uri| {
        if request.qualifies_redirect_url() {
            Cow::Owned(qualified(before, uri))
        } else {
            Cow::Borrowed(uri)
        }
    });
    let user = std::iter::successors(Some(before), |before| before.previous())
        .find_map(|before| before.user());
    Redirected {
        url,
        query: before.args(),
        user,
    }
}

/// The URL with scheme and host, and the port unless the scheme implies it.
fn qualified(request: Request<'_>, uri: &[u8]) -> Vec<u8> {
    let (scheme, port) = (request.scheme(), request.server_port());
    let usual = if scheme == b"https" { 443 } else { 80 };
    let port = if port == usual {
        String::new()
    } else {
        format!(":{port}")
    };
    [scheme, b"://", request.server_name(), port.as_bytes(), uri].concat()
}

/// This process's id, read once because every request carries it.
fn pid() -> u32 {
    // Children inherit 0 from the parent, which serves no requests.
    static PID: AtomicU32 = AtomicU32::new(0);
    match PID.load(Ordering::Relaxed) {
        0 => {
            let pid = std::process::id();
            PID.store(pid, Ordering::Relaxed);
            pid
        }
        pid => pid,
    }
}
