//! `Forwarded` of RFC 7239.

use super::*;

#[test]
fn forwarded_is_read_by_its_rfc() {
    for (value, client, named, is_https) in [
        ("for=192.0.2.9", "192.0.2.9", "its own", None),
        (
            "For=192.0.2.9;HOST=a.example;Proto=HTTPS",
            "192.0.2.9",
            "a.example",
            Some(true),
        ),
        ("for=\"192.0.2.9:47011\"", "192.0.2.9", "its own", None),
        ("for=\"192.0.2.9:_port\"", "192.0.2.9", "its own", None),
        ("for=\"[2001:db8::9]\"", "2001:db8::9", "its own", None),
        (
            "for=\"[2001:db8:cafe::17]:4711\"",
            "2001:db8:cafe::17",
            "its own",
            None,
        ),
        ("for=\"\\192.0.2\\.9\"", "192.0.2.9", "its own", None),
        (
            "for=192.0.2.9;host=\"a.example:8443\"",
            "192.0.2.9",
            "a.example:8443",
            None,
        ),
        (
            "by=10.0.0.1;for=192.0.2.9;ext=\"a;b,c\\\"d\"",
            "192.0.2.9",
            "its own",
            None,
        ),
        (
            "for=192.0.2.9 ; proto=http;",
            "192.0.2.9",
            "its own",
            Some(false),
        ),
        (";;for=192.0.2.9;;", "192.0.2.9", "its own", None),
        (
            "proto=https;host=a.example",
            "the peer's",
            "a.example",
            Some(true),
        ),
        // Let pass: values that should be quoted.
        (
            "for=192.0.2.9:80;host=a.example:80",
            "192.0.2.9",
            "a.example:80",
            None,
        ),
        ("for=[2001:db8::9]", "2001:db8::9", "its own", None),
        // Unknown and hidden clients; what else is said of them holds.
        (
            "for=unknown;proto=https",
            "the peer's",
            "its own",
            Some(true),
        ),
        (
            "for=_gazonk;proto=https",
            "the peer's",
            "its own",
            Some(true),
        ),
        (
            "for=unknown, for=10.0.0.2;proto=https",
            "10.0.0.2",
            "its own",
            None,
        ),
        // From proxy to proxy.
        (
            "for=192.0.2.9;proto=https, for=10.0.0.2;proto=http",
            "192.0.2.9",
            "its own",
            Some(true),
        ),
        (
            "for=192.0.2.9;host=a, For=\"[2001:db8:aa::1]\";host=b",
            "192.0.2.9",
            "a",
            None,
        ),
        (
            "for=10.0.0.9;proto=https",
            "10.0.0.9",
            "its own",
            Some(true),
        ),
        (
            "for=192.0.2.9;proto=https,,",
            "192.0.2.9",
            "its own",
            Some(true),
        ),
        // Forged by the client, and left of what the proxy wrote.
        (
            "for=10.0.0.2;host=evil;proto=https, for=192.0.2.9",
            "192.0.2.9",
            "its own",
            None,
        ),
        (
            "for=1.2.3.4, for=192.0.2.9;proto=http, for=10.0.0.2",
            "192.0.2.9",
            "its own",
            Some(false),
        ),
    ] {
        let told = trusted("Forwarded", &[("Forwarded", value)]);
        assert_eq!(address(&told), client, "{value}");
        assert_eq!(host(&told), named, "{value}");
        assert_eq!(told.is_https, is_https, "{value}");
        assert!(told.withholds(b"HTTP_FORWARDED"));
        assert!(told.withholds(b"HTTP_X_FORWARDED_FOR"));
        assert!(shown(&told, "HTTP_FORWARDED").is_some());
    }
}

#[test]
fn broken_elements_of_forwarded_say_nothing() {
    for value in [
        "192.0.2.9",
        "for",
        "for=",
        "for=\"192.0.2.9",
        "for=192.0.2.9\"",
        "for=\"192.0.2.9\"x;proto=https",
        "for=\"192.0.2.9\\",
        "for=192.0.2.9 proto=https",
        "for=192.0.2.9;for=192.0.2.8",
        "for=192.0.2.9;proto=https;PROTO=http",
        "f or=192.0.2.9",
        "for =192.0.2.9",
        "for=192.0.2.9;\"=x",
        "for=\"\"",
        "for=\"[2001:db8::9\"",
    ] {
        let told = trusted("Forwarded", &[("Forwarded", value)]);
        assert_eq!(address(&told), "the peer's", "{value}");
        assert_eq!((told.is_https, &told.host), (None, &None), "{value}");
    }
}

#[test]
fn forwarded_and_its_forerunners_are_decided_subject_by_subject() {
    let headers = [
        ("Forwarded", "for=192.0.2.1;proto=https"),
        ("X-Forwarded-For", "192.0.2.2"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "a.example"),
    ];
    let told = trusted("Forwarded X-Forwarded-For X-Forwarded-Host", &headers);
    assert_eq!((address(&told), host(&told)), ("192.0.2.2", "a.example"));
    assert_eq!(told.is_https, Some(true));
    assert!(shown(&told, "HTTP_FORWARDED").is_some());
    assert!(shown(&told, "HTTP_X_FORWARDED_FOR").is_some());
    assert_eq!(shown(&told, "HTTP_X_FORWARDED_PROTO"), None);
    let told = trusted("X-Forwarded-For X-Forwarded-Proto Forwarded", &headers);
    assert_eq!((address(&told), told.is_https), ("192.0.2.1", Some(true)));
    assert_eq!(shown(&told, "HTTP_X_FORWARDED_FOR"), None);
    // Nothing of it is believed any more, and so it is not to be seen.
    let told = trusted("Forwarded X-Forwarded-For X-Forwarded-Proto", &headers);
    assert_eq!((address(&told), told.is_https), ("192.0.2.2", Some(false)));
    assert_eq!(shown(&told, "HTTP_FORWARDED"), None);
}
