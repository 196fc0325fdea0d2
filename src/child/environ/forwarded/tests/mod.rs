//! Tables of headers and what is believed of them.

mod hostile;
mod standard;

use super::*;

type Pairs<'a> = &'a [(&'a str, &'a str)];

const PEER: &str = "10.0.0.1";
const TRUSTED: &str = "10.0.0.0/8 2001:db8:aa::/48";

fn read_from(listed: &str, proxies: Option<&str>, peer: &str, headers: Pairs<'_>) -> Forwarded {
    let listed: Vec<_> = listed
        .split_whitespace()
        .map(|name| ProxyHeader::parse(name.as_bytes()).unwrap())
        .collect();
    let proxies: Option<Vec<_>> = proxies.map(|list| {
        let subnets = list.split_whitespace();
        subnets
            .map(|text| Subnet::parse(text.as_bytes()).unwrap())
            .collect()
    });
    let trust = Trust {
        headers: &listed,
        proxies: proxies.as_deref(),
        peer: Some(peer.as_bytes()),
    };
    let pairs = headers.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()));
    read(&trust, pairs, std::iter::empty())
}

/// From a trusted proxy, with `WSGITrustedProxies`.
fn trusted(listed: &str, headers: Pairs<'_>) -> Forwarded {
    read_from(listed, Some(TRUSTED), PEER, headers)
}

/// Without `WSGITrustedProxies`.
fn anybody(listed: &str, headers: Pairs<'_>) -> Forwarded {
    read_from(listed, None, "203.0.113.7", headers)
}

fn address(told: &Forwarded) -> &str {
    told.remote_addr.as_deref().unwrap_or("the peer's")
}

fn host(told: &Forwarded) -> &str {
    let host = told.host.as_deref().unwrap_or(b"its own");
    std::str::from_utf8(host).unwrap()
}

fn shown<'a>(told: &'a Forwarded, key: &str) -> Option<&'a str> {
    let (_, value) = told.shown.iter().find(|(shown, _)| *shown == key)?;
    Some(std::str::from_utf8(value).unwrap())
}

const CLIENT_KEYS: [&str; 3] = ["HTTP_X_FORWARDED_FOR", "HTTP_X_CLIENT_IP", "HTTP_X_REAL_IP"];

#[test]
fn nothing_is_changed_or_withheld_unless_a_known_header_is_listed() {
    let headers = [("X-Forwarded-For", "192.0.2.9"), ("X-Real-IP", "192.0.2.8")];
    for listed in ["", "X-Other"] {
        for proxies in [None, Some(TRUSTED)] {
            let told = read_from(listed, proxies, PEER, &headers);
            assert_eq!(told, Forwarded::default());
            assert!(!told.withholds(b"HTTP_X_FORWARDED_FOR"));
        }
    }
}

#[test]
fn a_header_of_each_kind_says_what_it_says() {
    let told = |name, value| trusted(name, &[(name, value)]);
    assert_eq!(address(&told("X-Forwarded-For", "192.0.2.9")), "192.0.2.9");
    assert_eq!(address(&told("X-Client-IP", "192.0.2.9")), "192.0.2.9");
    assert_eq!(address(&told("X-Real-IP", "2001:DB8::9")), "2001:db8::9");
    let standard = told("Forwarded", "for=192.0.2.9;host=shop.example;proto=https");
    assert_eq!(address(&standard), "192.0.2.9");
    assert_eq!(host(&standard), "shop.example");
    assert_eq!(standard.is_https, Some(true));
    for name in ["X-Forwarded-Host", "X-Host"] {
        assert_eq!(host(&told(name, "shop.example:8443")), "shop.example:8443");
    }
    let server = told("X-Forwarded-Server", "front.example").server_name;
    assert_eq!(server.as_deref(), Some(&b"front.example"[..]));
    assert_eq!(told("X-Forwarded-Port", "8443").server_port, Some(8443));
    for name in ["X-Script-Name", "X-Forwarded-Script-Name"] {
        let script = told(name, "/shop").script_name;
        assert_eq!(script.as_deref(), Some(&b"/shop"[..]));
    }
    for name in ["X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Scheme"] {
        for (value, expected) in [
            ("https", Some(true)),
            ("HTTPS", Some(true)),
            ("http", Some(false)),
            ("on", None),
            ("", None),
        ] {
            assert_eq!(told(name, value).is_https, expected, "{name}: {value}");
        }
    }
    for name in ["X-Forwarded-HTTPS", "X-Forwarded-SSL", "X-HTTPS"] {
        for (value, expected) in [
            ("On", Some(true)),
            ("true", Some(true)),
            ("1", Some(true)),
            ("Off", Some(false)),
            ("FALSE", Some(false)),
            ("0", Some(false)),
            ("https", None),
        ] {
            assert_eq!(told(name, value).is_https, expected, "{name}: {value}");
        }
    }
}

#[test]
fn a_header_is_found_in_any_case_but_not_by_underscores() {
    for (name, found) in [
        ("x-real-ip", true),
        ("X-REAL-IP", true),
        ("X_Real_IP", false),
        ("X-Real_IP", false),
        ("X-Real-IP2", false),
    ] {
        let told = trusted("X-Real-IP", &[(name, "192.0.2.9")]);
        assert_eq!(told.remote_addr.is_some(), found, "{name}");
    }
}

#[test]
fn the_client_is_whom_the_last_trusted_proxy_names() {
    for (list, client, rest) in [
        ("192.0.2.9", "192.0.2.9", "192.0.2.9"),
        ("192.0.2.9, 10.0.0.2", "192.0.2.9", "192.0.2.9, 10.0.0.2"),
        (
            "192.0.2.9,10.0.0.2 ,10.0.0.3",
            "192.0.2.9",
            "192.0.2.9, 10.0.0.2, 10.0.0.3",
        ),
        // What stands before is the client's own invention.
        ("1.2.3.4, 192.0.2.9", "192.0.2.9", "192.0.2.9"),
        (
            "10.0.0.9, 192.0.2.9, 10.0.0.2",
            "192.0.2.9",
            "192.0.2.9, 10.0.0.2",
        ),
        ("127.0.0.1, 10.0.0.1, 192.0.2.9", "192.0.2.9", "192.0.2.9"),
        // Nobody but proxies.
        ("10.0.0.9", "10.0.0.9", "10.0.0.9"),
        ("10.0.0.8, 10.0.0.9", "10.0.0.8", "10.0.0.8, 10.0.0.9"),
        // Empty items.
        ("192.0.2.9,,10.0.0.2", "192.0.2.9", "192.0.2.9, 10.0.0.2"),
        (" , 192.0.2.9 ,\t, ", "192.0.2.9", "192.0.2.9"),
        // Ports and brackets.
        ("192.0.2.9:567", "192.0.2.9", "192.0.2.9:567"),
        (
            "192.0.2.9, 10.0.0.2:80",
            "192.0.2.9",
            "192.0.2.9, 10.0.0.2:80",
        ),
        ("[2001:db8::9]:567", "2001:db8::9", "[2001:db8::9]:567"),
        ("[2001:db8::9]", "2001:db8::9", "[2001:db8::9]"),
        (
            "2001:db8::9, 2001:db8:aa::1",
            "2001:db8::9",
            "2001:db8::9, 2001:db8:aa::1",
        ),
        // IPv4 inside IPv6 is IPv4, as httpd itself writes it.
        (
            "192.0.2.9, ::ffff:10.0.0.2",
            "192.0.2.9",
            "192.0.2.9, ::ffff:10.0.0.2",
        ),
        ("::ffff:192.0.2.9", "192.0.2.9", "::ffff:192.0.2.9"),
        // A proxy that does not say whom it was asked by: it is the farthest that is known.
        (
            "192.0.2.9, unknown, 10.0.0.2",
            "10.0.0.2",
            "unknown, 10.0.0.2",
        ),
        (
            "192.0.2.9, _hidden, 10.0.0.2",
            "10.0.0.2",
            "_hidden, 10.0.0.2",
        ),
        ("192.0.2.9, unknown", "the peer's", "unknown"),
        ("192.0.2.9, 192.0.2.999", "the peer's", "192.0.2.999"),
    ] {
        let told = trusted("X-Forwarded-For", &[("X-Forwarded-For", list)]);
        assert_eq!(address(&told), client, "{list}");
        assert_eq!(shown(&told, "HTTP_X_FORWARDED_FOR"), Some(rest), "{list}");
        assert!(told.withholds(b"HTTP_X_FORWARDED_FOR"));
    }
    for list in ["", " ", ",", ", ,\t,"] {
        let told = trusted("X-Forwarded-For", &[("X-Forwarded-For", list)]);
        assert_eq!(address(&told), "the peer's", "{list}");
        assert_eq!(told.shown, [], "{list}");
    }
}

#[test]
fn without_known_proxies_the_first_item_is_believed_and_lists_stay() {
    for (list, client) in [
        ("192.0.2.9", "192.0.2.9"),
        ("192.0.2.9, 10.0.0.2", "192.0.2.9"),
        (" ,, 192.0.2.9:567 ,10.0.0.2", "192.0.2.9"),
        ("unknown, 10.0.0.2", "the peer's"),
        ("<script>", "the peer's"),
    ] {
        let told = anybody("X-Forwarded-For", &[("X-Forwarded-For", list)]);
        assert_eq!(address(&told), client, "{list}");
        assert_eq!(shown(&told, "HTTP_X_FORWARDED_FOR"), Some(list));
    }
    let told = anybody(
        "Forwarded X-Forwarded-Host",
        &[
            (
                "Forwarded",
                "for=192.0.2.9;proto=https, for=10.0.0.2;proto=http",
            ),
            ("X-Forwarded-Host", "shop.example, front.example"),
        ],
    );
    assert_eq!((address(&told), host(&told)), ("192.0.2.9", "shop.example"));
    assert_eq!(told.is_https, Some(true));
}

#[test]
fn an_untrusted_peer_is_not_believed_and_loses_every_synonym() {
    let headers = [
        ("X-Forwarded-For", "10.0.0.2"),
        ("X-Client-IP", "10.0.0.2"),
        ("X-Real-IP", "10.0.0.2"),
        ("Forwarded", "for=10.0.0.2;host=evil.example;proto=https"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "https"),
        ("X-Script-Name", "/admin"),
    ];
    for peer in [
        "203.0.113.7",
        "2001:db8::7",
        "",
        "unix",
        "10.0.0.1, 203.0.113.7",
    ] {
        for listed in CLIENT_KEYS.map(|key| key[5..].replace('_', "-")) {
            let told = read_from(&listed, Some(TRUSTED), peer, &headers);
            assert_eq!((address(&told), &told.shown[..]), ("the peer's", &[][..]));
            for key in CLIENT_KEYS {
                assert!(
                    told.withholds(key.as_bytes()),
                    "{listed} from {peer}: {key}"
                );
            }
            // Of what is not listed, nothing is known.
            for key in ["HTTP_FORWARDED", "HTTP_X_FORWARDED_HOST", "HTTP_X_OTHER"] {
                assert!(
                    !told.withholds(key.as_bytes()),
                    "{listed} from {peer}: {key}"
                );
            }
        }
        let told = read_from("Forwarded", Some(TRUSTED), peer, &headers);
        for (key, category) in KNOWN_HEADERS {
            let spared = matches!(
                category,
                Category::Server | Category::Port | Category::Script
            );
            assert_eq!(told.withholds(key.as_bytes()), !spared, "{key}");
        }
        assert_eq!(told.host, None);
        assert_eq!((told.is_https, told.script_name), (None, None));
    }
    let nobody = Trust {
        headers: &[ProxyHeader::parse(b"X-Real-IP").unwrap()],
        proxies: Some(&[Subnet::parse(b"0.0.0.0/0").unwrap()]),
        peer: None,
    };
    let header = [(&b"X-Real-IP"[..], &b"192.0.2.9"[..])];
    let told = read(&nobody, header.into_iter(), std::iter::empty());
    assert_eq!((address(&told), &told.shown[..]), ("the peer's", &[][..]));
}

#[test]
fn an_empty_list_of_proxies_trusts_nobody() {
    let told = read_from("X-Real-IP", Some(""), PEER, &[("X-Real-IP", "192.0.2.9")]);
    assert_eq!((address(&told), &told.shown[..]), ("the peer's", &[][..]));
}

#[test]
fn only_the_header_that_was_believed_is_seen() {
    let headers = [
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Real-IP", "192.0.2.2"),
        ("X-Client-IP", "192.0.2.3"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-SSL", "off"),
    ];
    // The last one listed wins, wherever it stands in the request.
    for (listed, client, kept) in [
        ("X-Real-IP", "192.0.2.2", "HTTP_X_REAL_IP"),
        ("X-Forwarded-For X-Real-IP", "192.0.2.2", "HTTP_X_REAL_IP"),
        (
            "X-Real-IP X-Forwarded-For",
            "192.0.2.1",
            "HTTP_X_FORWARDED_FOR",
        ),
        (
            "X-Real-IP X-Forwarded-For X-Real-IP",
            "192.0.2.2",
            "HTTP_X_REAL_IP",
        ),
    ] {
        let told = trusted(listed, &headers);
        assert_eq!(address(&told), client, "{listed}");
        for key in CLIENT_KEYS {
            assert!(told.withholds(key.as_bytes()));
            assert_eq!(shown(&told, key).is_some(), key == kept, "{listed}: {key}");
        }
        assert_eq!(told.is_https, None);
        assert!(!told.withholds(b"HTTP_X_FORWARDED_PROTO"));
    }
    let told = trusted("X-Forwarded-Proto", &headers);
    assert_eq!(told.is_https, Some(true));
    assert_eq!(shown(&told, "HTTP_X_FORWARDED_PROTO"), Some("https"));
    assert_eq!(shown(&told, "HTTP_X_FORWARDED_SSL"), None);
    assert!(told.withholds(b"HTTP_X_FORWARDED_SSL"));
    // One that was not sent takes nothing from another.
    let told = trusted("X-Real-IP X-Forwarded-For", &[("X-Real-IP", "192.0.2.2")]);
    assert_eq!(address(&told), "192.0.2.2");
}

#[test]
fn a_value_of_no_use_changes_nothing_and_is_seen_only_if_no_other_is_of_use() {
    let told = trusted("X-Real-IP", &[("X-Real-IP", "unknown")]);
    assert_eq!(address(&told), "the peer's");
    assert_eq!(shown(&told, "HTTP_X_REAL_IP"), Some("unknown"));
    let headers = [("X-Real-IP", "unknown"), ("X-Client-IP", "192.0.2.3")];
    for listed in ["X-Real-IP X-Client-IP", "X-Client-IP X-Real-IP"] {
        let told = trusted(listed, &headers);
        assert_eq!(address(&told), "192.0.2.3", "{listed}");
        assert_eq!(shown(&told, "HTTP_X_REAL_IP"), None, "{listed}");
        assert_eq!(shown(&told, "HTTP_X_CLIENT_IP"), Some("192.0.2.3"));
    }
}

#[test]
fn two_lines_of_a_header_are_one_list() {
    let told = trusted(
        "X-Forwarded-For X-Real-IP X-Forwarded-Host",
        &[
            ("X-Forwarded-For", "1.2.3.4"),
            ("X-Forwarded-For", "192.0.2.9"),
            ("X-Forwarded-Host", "evil.example"),
            ("X-Forwarded-Host", "shop.example"),
        ],
    );
    assert_eq!((address(&told), host(&told)), ("192.0.2.9", "shop.example"));
    // A proxy that adds its line to the client's.
    let told = trusted("X-Real-IP", &[("X-Real-IP", "1.2.3.4, 192.0.2.9")]);
    assert_eq!(address(&told), "192.0.2.9");
}

#[test]
fn lists_of_other_kinds_are_read_at_the_hop_of_the_client() {
    let listed = "X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port";
    for (path, hosts, protos, ports, expected) in [
        (
            "192.0.2.9",
            "a.example",
            "https",
            "1",
            ("a.example", true, 1),
        ),
        (
            "192.0.2.9",
            "evil, a.example",
            "http,https",
            "6,1",
            ("a.example", true, 1),
        ),
        (
            "192.0.2.9, 10.0.0.2",
            "a.example, b.example",
            "https, http",
            "1, 2",
            ("a.example", true, 1),
        ),
        (
            "192.0.2.9, 10.0.0.2",
            "evil, a.example, b.example",
            "https, http",
            "1, 2",
            ("a.example", true, 1),
        ),
        // Only the outer proxy has written.
        (
            "192.0.2.9, 10.0.0.2",
            "a.example",
            "https",
            "1",
            ("a.example", true, 1),
        ),
        (
            "1.2.3.4, 192.0.2.9",
            "evil, a.example",
            "http, https",
            "6, 1",
            ("a.example", true, 1),
        ),
    ] {
        let told = trusted(
            listed,
            &[
                ("X-Forwarded-For", path),
                ("X-Forwarded-Host", hosts),
                ("X-Forwarded-Proto", protos),
                ("X-Forwarded-Port", ports),
            ],
        );
        let found = (
            host(&told),
            told.is_https.unwrap(),
            told.server_port.unwrap(),
        );
        assert_eq!(found, expected, "{path} {hosts}");
    }
    // Where nothing tells of the way, only the peer's own word counts.
    let told = trusted(
        "X-Forwarded-Host",
        &[("X-Forwarded-Host", "evil, a.example")],
    );
    assert_eq!(host(&told), "a.example");
}

#[test]
fn variables_stand_in_for_headers_that_were_not_sent() {
    let listed =
        ["X-Real-IP", "X-Forwarded-Proto"].map(|name| ProxyHeader::parse(name.as_bytes()).unwrap());
    let trust = Trust {
        headers: &listed,
        proxies: None,
        peer: None,
    };
    let headers = [(&b"X-Real-IP"[..], &b"192.0.2.9"[..])];
    let variables = [
        (&b"HTTP_X_REAL_IP"[..], &b"192.0.2.8"[..]),
        (b"HTTP_X_FORWARDED_PROTO", b"https"),
    ];
    let told = read(&trust, headers.into_iter(), variables.into_iter());
    assert_eq!(address(&told), "192.0.2.9");
    assert_eq!(told.is_https, Some(true));
}
