//! The environ of a script that answers a hook: what the request says, and nothing that a
//! configuration adds to it (`SetEnv`), that a user has proven, or that is a secret.
//!
//! Runs in: an Apache child.

use wire::keys::code;
use wire::request::Builder;
use wire::Malformed;

use config::jail;
use httpd::request::Request;
use httpd::server;

use super::facts::ComputedNames;
use super::{itoa, request_target, write_headers, EnvironFacts};

/// What a worker knows by the environ besides the request.
pub struct HookFacts<'a> {
    pub process_group: &'a [u8],
    pub application_group: &'a [u8],
    /// What the worker sees in the place of `/`.
    pub chroot: Option<&'a [u8]>,
}

/// Bytes that the environ takes at most, by a wide estimate.
pub fn most_bytes(request: Request<'_>) -> usize {
    let headers = request.headers_in().iter();
    let headers: usize = headers
        .map(|(name, value)| name.len() + value.len() + 16)
        .sum();
    let line = request.the_request().map_or(0, <[u8]>::len);
    2048 + headers + 4 * line
}

/// Writes the environ.
///
/// # Errors
/// [`Malformed::TooLong`] when there are more entries than a message holds.
pub fn write(
    out: &mut Builder<'_>,
    request: Request<'_>,
    facts: &HookFacts<'_>,
) -> Result<(), Malformed> {
    let names = ComputedNames::of(request);
    let connection = request.connection();
    // Credentials are never among the headers, whatever CGIPassAuth says.
    write_headers(out, &EnvironFacts::default(), request.headers_in().iter())?;
    let target = match request.request_uri_is_current() {
        true => request.uri().unwrap_or_default(),
        false => request_target(request.the_request().unwrap_or_default()),
    };
    out.known(const { code("REQUEST_METHOD") }, request.method())?;
    out.known(const { code("REQUEST_URI") }, target)?;
    out.known(const { code("SCRIPT_NAME") }, &names.script_name)?;
    out.known(const { code("PATH_INFO") }, &names.path_info)?;
    let query = request.args().unwrap_or_default();
    out.known(const { code("QUERY_STRING") }, query)?;
    out.known(const { code("SERVER_PROTOCOL") }, request.protocol())?;
    out.known(const { code("SERVER_NAME") }, names.server_name)?;
    let mut number = itoa(request.server_port().into());
    out.known(const { code("SERVER_PORT") }, number.digits())?;
    out.known(const { code("SERVER_SOFTWARE") }, server::banner())?;
    out.named(b"SERVER_SIGNATURE", request.server_signature())?;
    number = itoa(request.useragent_port().into());
    out.known(const { code("REMOTE_PORT") }, number.digits())?;
    let document_root = request.document_root().and_then(|path| match facts.chroot {
        Some(root) => jail::inside(root, path),
        None => Some(path),
    });
    for (code, value) in [
        (const { code("SERVER_ADDR") }, connection.local_ip()),
        (const { code("SERVER_ADMIN") }, request.server().admin()),
        (const { code("REMOTE_ADDR") }, request.useragent_ip()),
        (const { code("DOCUMENT_ROOT") }, document_root),
    ] {
        if let Some(value) = value {
            out.known(code, value)?;
        }
    }
    if let Some(host) = request.remote_host() {
        out.named(b"REMOTE_HOST", host)?;
    }
    out.known(
        const { code("mod_wsgi.process_group") },
        facts.process_group,
    )?;
    out.known(
        const { code("mod_wsgi.application_group") },
        facts.application_group,
    )?;
    if connection.is_https() {
        // See `SSL` in the worker: what mod_ssl.is_https() says.
        out.named(b"mod_ssl.x-", b"")?;
    }
    Ok(())
}
