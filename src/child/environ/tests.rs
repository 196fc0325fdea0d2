//! The environ as the dict a worker would make of it.

use std::collections::BTreeMap;

use super::*;
use config::module_config::MapHead;
use config::proxies::ProxyHeader;
use forwarded::Trust;
use wire::frame;
use wire::hook::Role;
use wire::request::{decode, Flags, Key, Prologue};

fn facts() -> EnvironFacts<'static> {
    EnvironFacts {
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
        listener_host: b"192.0.2.1",
        listener_port: 8080,
        server_pid: 4711,
        request_id: Some(b"abc"),
        ..EnvironFacts::default()
    }
}

/// The dict a worker would make of it.
fn environ(
    facts: &EnvironFacts<'_>,
    headers: &[(&str, &str)],
    variables: &[(&str, &str)],
) -> BTreeMap<String, String> {
    let prologue = Prologue {
        flags: Flags::default(),
        role: Role::Application,
        key: [0; 16],
        request_start: 0,
        queue_start: 0,
        sent: 0,
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
        ("mod_wsgi.listener_host", "192.0.2.1"),
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
    let some = EnvironFacts {
        passes_authorization: true,
        ..facts()
    };
    let seen = environ(&some, &headers, &[]);
    assert_eq!(seen["HTTP_AUTHORIZATION"], "Basic x");
    assert!(!seen.contains_key("HTTP_PROXY_AUTHORIZATION"));
    let all = EnvironFacts {
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
        let facts = EnvironFacts {
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
    let facts = EnvironFacts {
        redirected: Some(redirected),
        ..facts()
    };
    let seen = environ(&facts, &[], &[]);
    assert_eq!(seen["REDIRECT_URL"], "/old");
    assert_eq!(seen["REDIRECT_QUERY_STRING"], "q");
    assert_eq!(seen["REDIRECT_REMOTE_USER"], "ann");
    let known = EnvironFacts {
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

#[test]
fn what_trusted_proxies_say_takes_the_place_of_what_httpd_knows() {
    let facts = EnvironFacts {
        forwarded: read_forwarded("X-Forwarded-For Forwarded X-Script-Name X-Forwarded-Port"),
        is_https: true,
        ..facts()
    };
    let headers = [
        ("Host", "internal"),
        ("X-Real-IP", "1.2.3.4"),
        ("X-Own", "a"),
    ];
    let variables = [("HTTP_X_CLIENT_IP", "1.2.3.4"), ("HTTPS", "on")];
    let seen = environ(&facts, &headers, &variables);
    for (key, value) in [
        ("REMOTE_ADDR", "203.0.113.9"),
        ("HTTP_HOST", "shop.example:8443"),
        ("SERVER_NAME", "shop.example.com"),
        ("SERVER_PORT", "8443"),
        ("SCRIPT_NAME", "/front"),
        ("mod_wsgi.mount_point", "/front"),
        ("mod_wsgi.script_name", "/shop"),
        ("wsgi.url_scheme", "http"),
        ("HTTP_FORWARDED", FORWARDED),
        ("HTTP_X_OWN", "a"),
    ] {
        assert_eq!(seen[key], value, "{key}");
    }
    for key in ["HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_X_CLIENT_IP"] {
        assert!(!seen.contains_key(key), "{key}");
    }
}

const FORWARDED: &str = "for=203.0.113.9;proto=http;host=\"shop.example:8443\"";

fn read_forwarded(listed: &str) -> Forwarded {
    let listed: Vec<_> = listed
        .split(' ')
        .map(|name| ProxyHeader::parse(name.as_bytes()).unwrap())
        .collect();
    let trust = Trust {
        headers: &listed,
        proxies: None,
        peer: None,
    };
    let headers = [
        ("X-Forwarded-For", "203.0.113.8"),
        ("Forwarded", FORWARDED),
        ("X-Script-Name", "/front"),
        ("X-Forwarded-Port", "8443"),
    ];
    let headers = headers.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()));
    forwarded::read(&trust, headers, std::iter::empty())
}
