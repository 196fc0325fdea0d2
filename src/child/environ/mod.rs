//! What the application is told about a request: the environ, written straight into the message.
//!
//! Runs in: an Apache child. The worker makes a dict of the entries in their order, so a later one
//! wins; hence variables of the configuration come first and what the request itself says after
//! them. Values that only the worker knows (`wsgi.input`, times, thread) are added there.
//!
//! httpd's own function for this (`ap_add_common_vars`) also sets variables that applications must
//! not see, and may look names up in the network (`REMOTE_HOST`). So the pass that writes the
//! message also fills the table from which httpd and other modules read: see [`published`].

use std::borrow::Cow;

use wire::keys::code;
use wire::request::Builder;
use wire::Malformed;

pub mod facts;
pub mod forwarded;
pub mod hook;
pub mod published;

use forwarded::Forwarded;

#[cfg(test)]
mod tests;

/// A table of httpd's: names and values in order.
pub trait Pairs<'a>: Iterator<Item = (&'a [u8], &'a [u8])> {}
impl<'a, T: Iterator<Item = (&'a [u8], &'a [u8])>> Pairs<'a> for T {}

/// Receives the entries of an environ. A later entry replaces an earlier one of the same key.
pub trait Entries {
    /// Adds an entry whose key has a code in [`wire::keys`].
    fn known(&mut self, code: u8, value: &[u8]) -> Result<(), Malformed>;
    /// Adds an entry by its key.
    fn named(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed>;
}

impl Entries for Builder<'_> {
    fn known(&mut self, code: u8, value: &[u8]) -> Result<(), Malformed> {
        Builder::known(self, code, value)
    }

    fn named(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        Builder::named(self, name, value)
    }
}

/// The request an internal redirect came from.
#[derive(Debug, Clone, Default)]
pub struct Redirected<'a> {
    /// Its URL, as `QualifyRedirectURL` wants it.
    pub url: Option<Cow<'a, [u8]>>,
    /// Its query string.
    pub query: Option<&'a [u8]>,
    /// The user that it, or an earlier request in the chain, was authenticated as.
    pub user: Option<&'a [u8]>,
}

/// What the environ says besides headers and variables. `None` leaves a key out.
#[derive(Debug, Clone, Default)]
pub struct EnvironFacts<'a> {
    /// The method as the application is to see it; see [`shown_method`].
    pub method: &'a [u8],
    /// `REQUEST_URI`.
    pub request_uri: &'a [u8],
    /// `SCRIPT_NAME`, slashes collapsed.
    pub script_name: &'a [u8],
    /// `PATH_INFO`, slashes collapsed.
    pub path_info: &'a [u8],
    pub query: &'a [u8],
    pub protocol: &'a [u8],
    /// Escaped for HTML, as httpd tells it to programs.
    pub server_name: &'a [u8],
    pub server_port: u16,
    pub server_addr: Option<&'a [u8]>,
    pub server_software: &'a [u8],
    pub server_admin: Option<&'a [u8]>,
    pub remote_addr: Option<&'a [u8]>,
    pub remote_port: u16,
    pub remote_user: Option<&'a [u8]>,
    pub auth_type: Option<&'a [u8]>,
    pub document_root: Option<&'a [u8]>,
    pub context_prefix: Option<&'a [u8]>,
    pub context_document_root: Option<&'a [u8]>,
    pub script_filename: &'a [u8],
    pub scheme: &'a [u8],
    pub redirected: Option<Redirected<'a>>,
    /// The connection is encrypted.
    pub is_https: bool,
    /// The request has no body, although its headers and variables may say so: they are those of
    /// the request that failed.
    pub lacks_body: bool,
    /// Values that trusted proxies replace.
    pub forwarded: Forwarded,
    /// `CGIPassAuth On`: Authorization and Proxy-Authorization are passed on.
    pub passes_all_authorization: bool,
    /// `WSGIPassAuthorization On`: Authorization is passed on.
    pub passes_authorization: bool,
    pub process_group: &'a [u8],
    pub application_group: &'a [u8],
    pub callable: &'a [u8],
    pub handler: &'a [u8],
    /// The script of `WSGIHandlerScript`; empty where the request's file is the script.
    pub handler_script: &'a [u8],
    /// The host in the `Listen` that accepted the connection; empty if it names none.
    pub listener_host: &'a [u8],
    pub listener_port: u16,
    pub server_pid: u32,
    pub request_id: Option<&'a [u8]>,
    pub connection_id: Option<&'a [u8]>,
}

/// Writes the environ.
///
/// # Errors
/// [`Malformed::TooLong`] when there are more entries than a message holds.
pub fn write<'a>(
    out: &mut Builder<'_>,
    facts: &EnvironFacts<'_>,
    headers: impl Pairs<'a>,
    variables: impl Pairs<'a>,
) -> Result<(), Malformed> {
    let says_https = write_variables(out, facts, variables)?;
    write_headers(out, facts, headers)?;
    write_cgi(out, facts)?;
    let https = match facts.forwarded.is_https {
        Some(https) => https,
        None => facts.is_https || says_https,
    };
    let scheme: &[u8] = if https { b"https" } else { b"http" };
    out.known(const { code("wsgi.url_scheme") }, scheme)?;
    write_own(out, facts)
}

/// `SetEnv`, `RewriteRule [E=]`, `SSL_*` and so on. Returns whether one of them says that the
/// request came encrypted.
fn write_variables<'a>(
    out: &mut Builder<'_>,
    facts: &EnvironFacts<'_>,
    variables: impl Pairs<'a>,
) -> Result<bool, Malformed> {
    let mut says_https = false;
    for (name, value) in variables {
        match name {
            // The application reads it from `wsgi.url_scheme`.
            b"HTTPS" => says_https = value.eq_ignore_ascii_case(b"on") || value == b"1",
            // Apache's own search path is not for applications.
            b"PATH" => {}
            b"CONTENT_LENGTH" if facts.lacks_body => {}
            _ if name.starts_with(b"mod_wsgi.x-") || facts.forwarded.withholds(name) => {}
            _ => out.named(name, value)?,
        }
    }
    Ok(says_https)
}

fn write_headers<'a>(
    out: &mut impl Entries,
    facts: &EnvironFacts<'_>,
    headers: impl Pairs<'a>,
) -> Result<(), Malformed> {
    let mut key = Vec::with_capacity(64);
    for (name, value) in headers {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if facts.lacks_body && (is("Content-Length") || is("Transfer-Encoding")) {
            // They belong to the request that failed.
        } else if is("Content-Type") {
            out.known(const { code("CONTENT_TYPE") }, value)?;
        } else if is("Content-Length") {
            out.known(const { code("CONTENT_LENGTH") }, value)?;
        } else if is("Proxy") {
            // Many programs take HTTP_PROXY for the proxy to use, so a client must not set it.
        } else if is("Proxy-Authorization") && !facts.passes_all_authorization
            || is("Authorization")
                && !(facts.passes_all_authorization || facts.passes_authorization)
        {
            // Applications get passwords only where the configuration says so.
        } else if header_key(name, &mut key) && !facts.forwarded.withholds(&key) {
            out.named(&key, value)?;
        }
    }
    for (key, value) in &facts.forwarded.shown {
        out.named(key.as_bytes(), value)?;
    }
    if let Some(host) = &facts.forwarded.host {
        out.known(const { code("HTTP_HOST") }, host)?;
    }
    Ok(())
}

/// Writes the environ key of a header to `key`. `false` for a name with characters other than
/// letters, digits and `-`: the key of `X_Id` would be that of `X-Id`, which a proxy may have
/// checked.
fn header_key(name: &[u8], key: &mut Vec<u8>) -> bool {
    key.clear();
    key.extend_from_slice(b"HTTP_");
    for &byte in name {
        match byte {
            b'-' => key.push(b'_'),
            _ if byte.is_ascii_alphanumeric() => key.push(byte.to_ascii_uppercase()),
            _ => return false,
        }
    }
    !name.is_empty()
}

fn write_cgi(out: &mut impl Entries, facts: &EnvironFacts<'_>) -> Result<(), Malformed> {
    let said = &facts.forwarded;
    let script_name = said.script_name.as_deref().unwrap_or(facts.script_name);
    let server_name = said.server_name.as_deref().unwrap_or(facts.server_name);
    let remote_addr = said.remote_addr.as_deref().map(str::as_bytes);
    let mut number = itoa(said.server_port.unwrap_or(facts.server_port).into());
    out.known(const { code("REQUEST_METHOD") }, facts.method)?;
    out.known(const { code("REQUEST_URI") }, facts.request_uri)?;
    out.known(const { code("SCRIPT_NAME") }, script_name)?;
    out.known(const { code("PATH_INFO") }, facts.path_info)?;
    out.known(const { code("QUERY_STRING") }, facts.query)?;
    out.known(const { code("SERVER_PROTOCOL") }, facts.protocol)?;
    out.known(const { code("SERVER_NAME") }, server_name)?;
    out.known(const { code("SERVER_PORT") }, number.digits())?;
    out.known(const { code("SERVER_SOFTWARE") }, facts.server_software)?;
    out.known(const { code("SCRIPT_FILENAME") }, facts.script_filename)?;
    out.known(const { code("REQUEST_SCHEME") }, facts.scheme)?;
    number = itoa(facts.remote_port.into());
    out.known(const { code("REMOTE_PORT") }, number.digits())?;
    let optional = [
        (const { code("SERVER_ADDR") }, facts.server_addr),
        (const { code("SERVER_ADMIN") }, facts.server_admin),
        (
            const { code("REMOTE_ADDR") },
            remote_addr.or(facts.remote_addr),
        ),
        (const { code("REMOTE_USER") }, facts.remote_user),
        (const { code("AUTH_TYPE") }, facts.auth_type),
        (const { code("DOCUMENT_ROOT") }, facts.document_root),
        (const { code("CONTEXT_PREFIX") }, facts.context_prefix),
        (
            const { code("CONTEXT_DOCUMENT_ROOT") },
            facts.context_document_root,
        ),
    ];
    for (code, value) in optional {
        if let Some(value) = value {
            out.known(code, value)?;
        }
    }
    let Some(redirected) = &facts.redirected else {
        return Ok(());
    };
    let optional = [
        (const { code("REDIRECT_URL") }, redirected.url.as_deref()),
        (const { code("REDIRECT_QUERY_STRING") }, redirected.query),
        // Left out where this request has a REMOTE_USER itself.
        (
            const { code("REDIRECT_REMOTE_USER") },
            redirected.user.filter(|_| facts.remote_user.is_none()),
        ),
    ];
    for (code, value) in optional {
        if let Some(value) = value {
            out.known(code, value)?;
        }
    }
    Ok(())
}

fn write_own(out: &mut impl Entries, facts: &EnvironFacts<'_>) -> Result<(), Malformed> {
    out.known(
        const { code("mod_wsgi.process_group") },
        facts.process_group,
    )?;
    out.known(
        const { code("mod_wsgi.application_group") },
        facts.application_group,
    )?;
    out.known(const { code("mod_wsgi.callable_object") }, facts.callable)?;
    out.known(const { code("mod_wsgi.request_handler") }, facts.handler)?;
    out.known(
        const { code("mod_wsgi.handler_script") },
        facts.handler_script,
    )?;
    out.known(const { code("mod_wsgi.script_name") }, facts.script_name)?;
    out.known(const { code("mod_wsgi.path_info") }, facts.path_info)?;
    if let Some(mount) = &facts.forwarded.script_name {
        out.known(const { code("mod_wsgi.mount_point") }, mount)?;
    }
    out.known(
        const { code("mod_wsgi.listener_host") },
        facts.listener_host,
    )?;
    let mut number = itoa(facts.listener_port.into());
    out.known(const { code("mod_wsgi.listener_port") }, number.digits())?;
    number = itoa(facts.server_pid);
    out.known(const { code("mod_wsgi.server_pid") }, number.digits())?;
    if let Some(id) = facts.request_id {
        out.known(const { code("mod_wsgi.request_id") }, id)?;
    }
    if let Some(id) = facts.connection_id {
        out.known(const { code("mod_wsgi.connection_id") }, id)?;
    }
    Ok(())
}

/// Splits a decoded URI into `SCRIPT_NAME` and `PATH_INFO` and collapses runs of slashes in both.
pub fn split_uri<'a>(uri: &'a [u8], path_info: &'a [u8]) -> (Cow<'a, [u8]>, Cow<'a, [u8]>) {
    let script = if path_info.is_empty() {
        uri
    } else {
        &uri[..path_info_start(uri, path_info)]
    };
    (collapsed(script), collapsed(path_info))
}

/// Where `path_info` begins in `uri`. httpd collapses runs of slashes in the file name but not in
/// the URI, so `uri` may have longer ones. If another module has changed one of the two and they no
/// longer fit, the script's part ends before the next slash.
fn path_info_start(uri: &[u8], path_info: &[u8]) -> usize {
    let mut at = uri.len();
    let mut rest = path_info;
    while let [before @ .., byte] = rest {
        if at == 0 || uri[at - 1] != *byte {
            break;
        }
        at -= 1;
        rest = before;
        if *byte == b'/' {
            while at > 0 && uri[at - 1] == b'/' {
                at -= 1;
            }
        }
    }
    at += uri[at..].iter().take_while(|&&byte| byte != b'/').count();
    at
}

fn collapsed(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.windows(2).any(|pair| pair == b"//") {
        return Cow::Borrowed(path);
    }
    let mut single = path.to_vec();
    single.dedup_by(|next, previous| *next == b'/' && *previous == b'/');
    Cow::Owned(single)
}

/// The second word of the request line, as the client wrote it.
pub fn request_target(request_line: &[u8]) -> &[u8] {
    let mut words = request_line.splitn(2, |&byte| byte == b' ');
    let rest = words.nth(1).unwrap_or_default().trim_ascii_start();
    rest.split(|&byte| byte == b' ').next().unwrap_or_default()
}

/// The method shown to the application. A HEAD is shown as GET (`WSGIMapHEADToGET`) where a filter
/// makes its headers from the body, so that they are those of a GET.
pub fn shown_method(
    method: &[u8],
    map: config::module_config::MapHead,
    filter_wants_body: bool,
) -> &[u8] {
    use config::module_config::MapHead;
    let mapped = match map {
        MapHead::Off => false,
        MapHead::On => true,
        MapHead::Auto => filter_wants_body,
    };
    if mapped && method == b"HEAD" {
        b"GET"
    } else {
        method
    }
}

/// A number in decimal, without an allocation.
struct Number {
    text: [u8; 10],
    start: usize,
}

impl Number {
    fn digits(&self) -> &[u8] {
        &self.text[self.start..]
    }
}

fn itoa(mut number: u32) -> Number {
    let mut text = [b'0'; 10];
    let mut start = text.len();
    loop {
        start -= 1;
        text[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return Number { text, start };
        }
    }
}
