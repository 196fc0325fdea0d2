//! Names of environ keys that nearly every request has.
//!
//! A known key travels as one byte, and the worker finds its interned Python string by that byte.
//! The order is the protocol: append only, and raise [`crate::frame::VERSION`] when changing it.

/// Known keys; the code of `KNOWN[i]` is `i + 1`. Code 0 means that the name is written out.
pub const KNOWN: &[&str] = &[
    "REQUEST_METHOD",
    "REQUEST_URI",
    "SCRIPT_NAME",
    "PATH_INFO",
    "QUERY_STRING",
    "SERVER_PROTOCOL",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_ADDR",
    "SERVER_SOFTWARE",
    "SERVER_ADMIN",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "REMOTE_USER",
    "AUTH_TYPE",
    "DOCUMENT_ROOT",
    "CONTEXT_PREFIX",
    "CONTEXT_DOCUMENT_ROOT",
    "SCRIPT_FILENAME",
    "REQUEST_SCHEME",
    "CONTENT_TYPE",
    "CONTENT_LENGTH",
    "REDIRECT_URL",
    "REDIRECT_QUERY_STRING",
    "REDIRECT_REMOTE_USER",
    "REDIRECT_STATUS",
    "UNIQUE_ID",
    "wsgi.url_scheme",
    "mod_wsgi.process_group",
    "mod_wsgi.application_group",
    "mod_wsgi.callable_object",
    "mod_wsgi.request_handler",
    "mod_wsgi.handler_script",
    "mod_wsgi.script_name",
    "mod_wsgi.path_info",
    "mod_wsgi.mount_point",
    "mod_wsgi.listener_host",
    "mod_wsgi.listener_port",
    "mod_wsgi.server_pid",
    "mod_wsgi.request_id",
    "mod_wsgi.connection_id",
    "HTTP_HOST",
    "HTTP_USER_AGENT",
    "HTTP_ACCEPT",
    "HTTP_ACCEPT_ENCODING",
    "HTTP_ACCEPT_LANGUAGE",
    "HTTP_ACCEPT_CHARSET",
    "HTTP_AUTHORIZATION",
    "HTTP_CACHE_CONTROL",
    "HTTP_CONNECTION",
    "HTTP_COOKIE",
    "HTTP_DNT",
    "HTTP_EXPECT",
    "HTTP_FORWARDED",
    "HTTP_FROM",
    "HTTP_IF_MATCH",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_IF_NONE_MATCH",
    "HTTP_IF_RANGE",
    "HTTP_IF_UNMODIFIED_SINCE",
    "HTTP_KEEP_ALIVE",
    "HTTP_ORIGIN",
    "HTTP_PRAGMA",
    "HTTP_PRIORITY",
    "HTTP_RANGE",
    "HTTP_REFERER",
    "HTTP_SEC_CH_UA",
    "HTTP_SEC_CH_UA_MOBILE",
    "HTTP_SEC_CH_UA_PLATFORM",
    "HTTP_SEC_FETCH_DEST",
    "HTTP_SEC_FETCH_MODE",
    "HTTP_SEC_FETCH_SITE",
    "HTTP_SEC_FETCH_USER",
    "HTTP_TE",
    "HTTP_TRANSFER_ENCODING",
    "HTTP_UPGRADE_INSECURE_REQUESTS",
    "HTTP_VIA",
    "HTTP_X_CSRFTOKEN",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REAL_IP",
    "HTTP_X_REQUESTED_WITH",
    "HTTP_X_REQUEST_ID",
];

/// The code of a known key. Call it in a `const`: then a name that is not in [`KNOWN`] is a compile
/// error.
pub const fn code(name: &str) -> u8 {
    let mut i = 0;
    while i < KNOWN.len() {
        if same(KNOWN[i].as_bytes(), name.as_bytes()) {
            return i as u8 + 1;
        }
        i += 1;
    }
    panic!("not a known environ key")
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// The name of a code other than 0.
pub fn name(code: u8) -> Option<&'static str> {
    KNOWN.get(usize::from(code).checked_sub(1)?).copied()
}

/// The code of a key, or `None` if the key is not in [`KNOWN`].
pub fn find(name: &[u8]) -> Option<u8> {
    // Few candidates share a length and first byte; a scan of the table beats hashing here.
    KNOWN
        .iter()
        .position(|known| known.len() == name.len() && known.as_bytes() == name)
        .map(|i| i as u8 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_agree_and_no_name_stands_twice() {
        assert!(KNOWN.len() < 255);
        for (i, known) in KNOWN.iter().enumerate() {
            let c = i as u8 + 1;
            assert_eq!(
                (code(known), name(c), find(known.as_bytes())),
                (c, Some(*known), Some(c))
            );
        }
        assert_eq!(
            (name(0), name(255), find(b"HTTP_X_NOT_KNOWN")),
            (None, None, None)
        );
    }
}
