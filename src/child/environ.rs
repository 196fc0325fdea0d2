//! What the application is told about a request: the environ, written straight into the message.
//!
//! Runs in: an Apache child. The worker makes a dict of the entries in their order, so a later one
//! wins; hence variables of the configuration come first and what the request itself says after
//! them. Values that only the worker knows (`wsgi.input`, times, thread) are added there.
//!
//! httpd could fill a table for us (`ap_add_common_vars`), at the price of a copy of each name and
//! value and of variables nobody is to see. One pass over the tables into one buffer costs neither.

use std::borrow::Cow;

use wire::keys::code;
use wire::request::Builder;
use wire::Malformed;

/// A table of httpd's: names and values in order.
pub trait Pairs<'a>: Iterator<Item = (&'a [u8], &'a [u8])> {}
impl<'a, T: Iterator<Item = (&'a [u8], &'a [u8])>> Pairs<'a> for T {}

/// The request an internal redirect came from.
#[derive(Debug, Clone, Default)]
pub struct Redirected<'a> {
    /// Its URL, as `QualifyRedirectURL` wants it.
    pub url: Option<Cow<'a, [u8]>>,
    /// Its query.
    pub query: Option<&'a [u8]>,
    /// The user it or one before it was authenticated for.
    pub user: Option<&'a [u8]>,
}

/// What the environ says besides headers and variables. `None` leaves a key out.
#[derive(Debug, Clone, Default)]
pub struct Facts<'a> {
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
    /// `CGIPassAuth On`: Authorization and Proxy-Authorization are headers like others.
    pub passes_all_authorization: bool,
    /// `WSGIPassAuthorization On`: Authorization is.
    pub passes_authorization: bool,
    pub process_group: &'a [u8],
    pub application_group: &'a [u8],
    pub callable: &'a [u8],
    pub handler: &'a [u8],
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
    facts: &Facts<'_>,
    headers: impl Pairs<'a>,
    variables: impl Pairs<'a>,
) -> Result<(), Malformed> {
    let says_https = write_variables(out, variables)?;
    write_headers(out, facts, headers)?;
    write_cgi(out, facts)?;
    write_own(out, facts, says_https)
}

/// `SetEnv`, `RewriteRule [E=]`, `SSL_*` and so on. Returns whether one of them says that the
/// request came encrypted.
fn write_variables<'a>(
    out: &mut Builder<'_>,
    variables: impl Pairs<'a>,
) -> Result<bool, Malformed> {
    let mut says_https = false;
    for (name, value) in variables {
        match name {
            // Told by `wsgi.url_scheme` alone.
            b"HTTPS" => says_https = value.eq_ignore_ascii_case(b"on") || value == b"1",
            // Apache's own; no business of an application.
            b"PATH" => {}
            _ if name.starts_with(b"mod_wsgi.x-") => {}
            _ => out.named(name, value)?,
        }
    }
    Ok(says_https)
}

fn write_headers<'a>(
    out: &mut Builder<'_>,
    facts: &Facts<'_>,
    headers: impl Pairs<'a>,
) -> Result<(), Malformed> {
    let mut key = Vec::with_capacity(64);
    for (name, value) in headers {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("Content-Type") {
            out.known(const { code("CONTENT_TYPE") }, value)?;
        } else if is("Content-Length") {
            out.known(const { code("CONTENT_LENGTH") }, value)?;
        } else if is("Proxy") {
            // HTTP_PROXY tells many programs which proxy to use.
        } else if is("Proxy-Authorization") && !facts.passes_all_authorization
            || is("Authorization")
                && !(facts.passes_all_authorization || facts.passes_authorization)
        {
            // Passwords are httpd's business unless it is told otherwise.
        } else if header_key(name, &mut key) {
            out.named(&key, value)?;
        }
    }
    Ok(())
}

/// The environ key of a header. `false` for a name with a character that another could be turned
/// into as well: `X_Id` would pass for `X-Id`, which a proxy may have checked.
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

fn write_cgi(out: &mut Builder<'_>, facts: &Facts<'_>) -> Result<(), Malformed> {
    let mut number = itoa(facts.server_port.into());
    out.known(const { code("REQUEST_METHOD") }, facts.method)?;
    out.known(const { code("REQUEST_URI") }, facts.request_uri)?;
    out.known(const { code("SCRIPT_NAME") }, facts.script_name)?;
    out.known(const { code("PATH_INFO") }, facts.path_info)?;
    out.known(const { code("QUERY_STRING") }, facts.query)?;
    out.known(const { code("SERVER_PROTOCOL") }, facts.protocol)?;
    out.known(const { code("SERVER_NAME") }, facts.server_name)?;
    out.known(const { code("SERVER_PORT") }, number.digits())?;
    out.known(const { code("SERVER_SOFTWARE") }, facts.server_software)?;
    out.known(const { code("SCRIPT_FILENAME") }, facts.script_filename)?;
    out.known(const { code("REQUEST_SCHEME") }, facts.scheme)?;
    number = itoa(facts.remote_port.into());
    out.known(const { code("REMOTE_PORT") }, number.digits())?;
    let optional = [
        (const { code("SERVER_ADDR") }, facts.server_addr),
        (const { code("SERVER_ADMIN") }, facts.server_admin),
        (const { code("REMOTE_ADDR") }, facts.remote_addr),
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
        // Who is known to this request is not told a second time.
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

fn write_own(out: &mut Builder<'_>, facts: &Facts<'_>, says_https: bool) -> Result<(), Malformed> {
    let https = facts.is_https || says_https;
    let scheme: &[u8] = if https { b"https" } else { b"http" };
    out.known(const { code("wsgi.url_scheme") }, scheme)?;
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
    out.known(const { code("mod_wsgi.handler_script") }, b"")?;
    out.known(const { code("mod_wsgi.script_name") }, facts.script_name)?;
    out.known(const { code("mod_wsgi.path_info") }, facts.path_info)?;
    // httpd has no name for the address it listens on, only the address.
    out.known(const { code("mod_wsgi.listener_host") }, b"")?;
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

/// Where `path_info` begins in `uri`, whose runs of slashes may be longer than those of
/// `path_info`: httpd collapses them in the file name and not in the URI. Where the two do not fit,
/// some module having set one of them, the part of the script ends before the next slash.
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
    map: crate::config::given::MapHead,
    filter_wants_body: bool,
) -> &[u8] {
    use crate::config::given::MapHead;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::given::MapHead;
    use wire::frame;
    use wire::request::{decode, Flags, Key, Prologue};

    fn facts() -> Facts<'static> {
        Facts {
            method: b"GET",
            request_uri: b"/shop//cart%20x?a=1",
            script_name: b"/shop",
            path_info: b"/cart x",
            query: b"a=1",
            protocol: b"HTTP/1.1",
            server_name: b"shop.example.com",
            server_port: 8080,
            server_addr: Some(b"192.0.2.1"),
            server_software: b"Apache",
            remote_addr: Some(b"192.0.2.9"),
            remote_port: 40000,
            document_root: Some(b"/var/www"),
            context_prefix: Some(b""),
            context_document_root: Some(b"/var/www"),
            script_filename: b"/srv/shop.wsgi",
            scheme: b"http",
            process_group: b"shop",
            application_group: b"shop.example.com|/shop",
            callable: b"application",
            handler: b"wsgi-script",
            listener_port: 8080,
            server_pid: 4711,
            request_id: Some(b"abc"),
            ..Facts::default()
        }
    }

    /// The dict a worker would make of it.
    fn environ(
        facts: &Facts<'_>,
        headers: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> BTreeMap<String, String> {
        let prologue = Prologue {
            flags: Flags::default(),
            key: [0; 16],
            request_start: 0,
            queue_start: 0,
            content_length: None,
            script: b"",
            application_group: b"",
            callable: b"",
        };
        let mut out = Vec::new();
        let mut builder = Builder::new(&mut out, &prologue).unwrap();
        let pairs = |list: &[(&'static str, &'static str)]| {
            list.iter()
                .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
                .collect::<Vec<_>>()
        };
        let leak = |list: &[(&str, &str)]| {
            list.iter()
                .map(|(n, v)| -> (&'static str, &'static str) {
                    (n.to_string().leak(), v.to_string().leak())
                })
                .collect::<Vec<_>>()
        };
        let (headers, variables) = (pairs(&leak(headers)), pairs(&leak(variables)));
        write(
            &mut builder,
            facts,
            headers.into_iter(),
            variables.into_iter(),
        )
        .unwrap();
        builder.finish(b"").unwrap();
        let request = decode(&out[frame::HEAD_LEN..]).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        request
            .environ
            .iter()
            .map(|(key, value)| match key {
                Key::Known(code) => (wire::keys::name(code).unwrap().to_owned(), text(value)),
                Key::Named(name) => (text(name), text(value)),
            })
            .collect()
    }

    #[test]
    fn a_plain_request_has_exactly_these_keys() {
        let environ = environ(&facts(), &[("Host", "shop.example.com")], &[]);
        let expected = [
            ("CONTEXT_DOCUMENT_ROOT", "/var/www"),
            ("CONTEXT_PREFIX", ""),
            ("DOCUMENT_ROOT", "/var/www"),
            ("HTTP_HOST", "shop.example.com"),
            ("PATH_INFO", "/cart x"),
            ("QUERY_STRING", "a=1"),
            ("REMOTE_ADDR", "192.0.2.9"),
            ("REMOTE_PORT", "40000"),
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_SCHEME", "http"),
            ("REQUEST_URI", "/shop//cart%20x?a=1"),
            ("SCRIPT_FILENAME", "/srv/shop.wsgi"),
            ("SCRIPT_NAME", "/shop"),
            ("SERVER_ADDR", "192.0.2.1"),
            ("SERVER_NAME", "shop.example.com"),
            ("SERVER_PORT", "8080"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("SERVER_SOFTWARE", "Apache"),
            ("mod_wsgi.application_group", "shop.example.com|/shop"),
            ("mod_wsgi.callable_object", "application"),
            ("mod_wsgi.handler_script", ""),
            ("mod_wsgi.listener_host", ""),
            ("mod_wsgi.listener_port", "8080"),
            ("mod_wsgi.path_info", "/cart x"),
            ("mod_wsgi.process_group", "shop"),
            ("mod_wsgi.request_handler", "wsgi-script"),
            ("mod_wsgi.request_id", "abc"),
            ("mod_wsgi.script_name", "/shop"),
            ("mod_wsgi.server_pid", "4711"),
            ("wsgi.url_scheme", "http"),
        ];
        let expected: BTreeMap<_, _> = expected
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        assert_eq!(environ, expected);
    }

    #[test]
    fn headers_become_keys_unless_they_could_pass_for_others() {
        let headers = [
            ("X-Own-2", "a"),
            ("X_Own-2", "forged"),
            ("X.Own", "b"),
            ("Accept", "*/*"),
            ("content-type", "text/plain"),
            ("CONTENT-LENGTH", "3"),
            ("Proxy", "http://evil/"),
            ("Authorization", "Basic x"),
            ("Proxy-Authorization", "Basic y"),
            ("Transfer-Encoding", "chunked"),
            ("", "nothing"),
        ];
        let seen = environ(&facts(), &headers, &[]);
        assert_eq!(seen["HTTP_X_OWN_2"], "a");
        assert_eq!(seen["HTTP_ACCEPT"], "*/*");
        assert_eq!(seen["CONTENT_TYPE"], "text/plain");
        assert_eq!(seen["CONTENT_LENGTH"], "3");
        assert_eq!(seen["HTTP_TRANSFER_ENCODING"], "chunked");
        for key in [
            "HTTP_X.OWN",
            "HTTP_PROXY",
            "HTTP_AUTHORIZATION",
            "HTTP_PROXY_AUTHORIZATION",
            "HTTP_CONTENT_TYPE",
            "HTTP_",
        ] {
            assert!(!seen.contains_key(key), "{key}");
        }
        let some = Facts {
            passes_authorization: true,
            ..facts()
        };
        let seen = environ(&some, &headers, &[]);
        assert_eq!(seen["HTTP_AUTHORIZATION"], "Basic x");
        assert!(!seen.contains_key("HTTP_PROXY_AUTHORIZATION"));
        let all = Facts {
            passes_all_authorization: true,
            ..facts()
        };
        let seen = environ(&all, &headers, &[]);
        assert_eq!(seen["HTTP_AUTHORIZATION"], "Basic x");
        assert_eq!(seen["HTTP_PROXY_AUTHORIZATION"], "Basic y");
    }

    #[test]
    fn variables_are_copied_and_the_request_wins_over_them() {
        let variables = [
            ("DB.URL", "pg"),
            ("REQUEST_METHOD", "FORGED"),
            ("HTTP_X_OWN", "forged"),
            ("HTTP_X_KEPT", "kept"),
            ("PATH", "/usr/bin"),
            ("mod_wsgi.x-secret", "1"),
            ("SSL_CLIENT_S_DN", "CN=a"),
            ("REDIRECT_STATUS", "200"),
        ];
        let seen = environ(&facts(), &[("X-Own", "real")], &variables);
        assert_eq!(seen["DB.URL"], "pg");
        assert_eq!(seen["REQUEST_METHOD"], "GET");
        assert_eq!(seen["HTTP_X_OWN"], "real");
        assert_eq!(seen["HTTP_X_KEPT"], "kept");
        assert_eq!(seen["SSL_CLIENT_S_DN"], "CN=a");
        assert_eq!(seen["REDIRECT_STATUS"], "200");
        assert!(!seen.contains_key("PATH") && !seen.contains_key("mod_wsgi.x-secret"));
    }

    #[test]
    fn the_scheme_is_https_where_the_connection_or_a_variable_says_so() {
        let scheme = |is_https, variable: Option<&str>| {
            let facts = Facts {
                is_https,
                ..facts()
            };
            let variables: Vec<_> = variable.map(|value| ("HTTPS", value)).into_iter().collect();
            let seen = environ(&facts, &[], &variables);
            assert!(!seen.contains_key("HTTPS"));
            seen["wsgi.url_scheme"].clone()
        };
        assert_eq!(scheme(false, None), "http");
        assert_eq!(scheme(true, None), "https");
        for (value, expected) in [
            ("on", "https"),
            ("On", "https"),
            ("1", "https"),
            ("off", "http"),
            ("yes", "http"),
        ] {
            assert_eq!(scheme(false, Some(value)), expected, "{value}");
        }
        assert_eq!(scheme(true, Some("off")), "https");
    }

    #[test]
    fn a_redirect_is_told() {
        let redirected = Redirected {
            url: Some(Cow::Borrowed(b"/old")),
            query: Some(b"q"),
            user: Some(b"ann"),
        };
        let facts = Facts {
            redirected: Some(redirected),
            ..facts()
        };
        let seen = environ(&facts, &[], &[]);
        assert_eq!(seen["REDIRECT_URL"], "/old");
        assert_eq!(seen["REDIRECT_QUERY_STRING"], "q");
        assert_eq!(seen["REDIRECT_REMOTE_USER"], "ann");
        let known = Facts {
            remote_user: Some(b"bob"),
            auth_type: Some(b"Basic"),
            ..facts
        };
        let seen = environ(&known, &[], &[]);
        assert_eq!(
            (&seen["REMOTE_USER"][..], &seen["AUTH_TYPE"][..]),
            ("bob", "Basic")
        );
        assert!(!seen.contains_key("REDIRECT_REMOTE_USER"));
    }

    #[test]
    fn a_uri_is_split_where_the_script_ends() {
        for (uri, path_info, script, info) in [
            ("/shop", "", "/shop", ""),
            ("/shop/", "/", "/shop", "/"),
            ("/shop/cart/x", "/cart/x", "/shop", "/cart/x"),
            ("/", "/", "", "/"),
            ("/x", "/x", "", "/x"),
            ("//x", "/x", "", "/x"),
            ("/shop//cart///x", "/cart/x", "/shop", "/cart/x"),
            ("/shop//cart", "//cart", "/shop", "/cart"),
            ("//shop", "", "/shop", ""),
            ("/a/shop/shop", "/shop", "/a/shop", "/shop"),
            // Set by somebody else, and not the end of the URI.
            ("/shop/cart", "/other", "/shop/cart", "/other"),
            ("", "/x", "", "/x"),
            ("", "", "", ""),
        ] {
            let (found, rest) = split_uri(uri.as_bytes(), path_info.as_bytes());
            assert_eq!(
                (&found[..], &rest[..]),
                (script.as_bytes(), info.as_bytes()),
                "{uri}"
            );
        }
    }

    #[test]
    fn the_request_target_is_the_second_word() {
        for (line, target) in [
            ("GET /a?b HTTP/1.1", "/a?b"),
            ("GET /a", "/a"),
            ("GET  /a  HTTP/1.0", "/a"),
            ("GET", ""),
            ("", ""),
        ] {
            assert_eq!(request_target(line.as_bytes()), target.as_bytes(), "{line}");
        }
    }

    #[test]
    fn head_is_shown_as_get_where_a_filter_wants_the_body() {
        for (map, filter, shown) in [
            (MapHead::Off, true, "HEAD"),
            (MapHead::Auto, false, "HEAD"),
            (MapHead::Auto, true, "GET"),
            (MapHead::On, false, "GET"),
        ] {
            assert_eq!(shown_method(b"HEAD", map, filter), shown.as_bytes());
            assert_eq!(shown_method(b"POST", map, filter), b"POST");
        }
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 9, 10, 65535, u32::MAX] {
            assert_eq!(itoa(number).digits(), number.to_string().as_bytes());
        }
    }
}
