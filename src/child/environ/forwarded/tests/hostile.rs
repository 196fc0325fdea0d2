//! What nobody honest sends.

use std::time::{Duration, Instant};

use super::*;

/// A client may write what it likes, and the proxy adds its element behind it.
#[test]
fn no_forgery_reaches_into_what_the_proxy_has_added() {
    let added = "for=\"[2001:db8::9]:80\";host=\"a.example\";proto=https;x=\"\\\\\"";
    for forged in [
        "",
        "\"",
        "for=\"",
        "for=\"10.0.0.2",
        "for=10.0.0.2;host=\"",
        "for=10.0.0.2;host=\"\\",
        "\\",
        "\\\"",
        "\"\\\"",
        "for=10.0.0.2;x=\"a, b",
        ",,,",
        "for=10.0.0.2, for=10.0.0.2",
        "=;=",
    ] {
        let value = format!("{forged}, {added}");
        let told = trusted("Forwarded", &[("Forwarded", &value)]);
        assert_eq!(address(&told), "2001:db8::9", "{value}");
        assert_eq!((host(&told), told.is_https), ("a.example", Some(true)));
        assert_eq!(shown(&told, "HTTP_FORWARDED"), Some(added), "{value}");
    }
    for forged in ["\"", "10.0.0.2\"", "[", "10.0.0.2, \"", "10.0.0.2\\"] {
        let value = format!("{forged}, 192.0.2.9");
        let told = trusted("X-Forwarded-For", &[("X-Forwarded-For", &value)]);
        assert_eq!(address(&told), "192.0.2.9", "{value}");
    }
}

#[test]
fn values_that_cannot_be_what_they_should_be_change_nothing() {
    for (name, values) in [
        (
            "X-Forwarded-Port",
            &["", "0", "65536", "-1", "+80", "80 ", "http", "80;"][..],
        ),
        (
            "X-Forwarded-Server",
            &["", "a b", "a/b", "a\"b", "<b>", "a:80", "[::1", "[x]"],
        ),
        (
            "X-Forwarded-Host",
            &[
                "",
                "a b",
                "a/b",
                "u@a",
                "a:",
                "a:0",
                "a:b",
                "a:1:2",
                "[::1]x",
                "k\u{f6}ln",
            ],
        ),
        (
            "X-Script-Name",
            &[
                "shop",
                "http://evil/",
                "/a\\b",
                "/\\evil",
                "/a?b",
                "/a#b",
                "/a\u{1}",
            ],
        ),
        (
            "X-Real-IP",
            &[
                "",
                "1.2.3",
                "01.2.3.4",
                "1.2.3.4.5",
                "1.2.3.4:x",
                "1.2.3.4:",
                "1.2.3.4:0",
                "[1.2.3.4]",
                "::1]",
                "[::1",
                "[::1]80",
                "fe80::1%eth0",
                "localhost",
                "1.2.3.4\u{0}",
            ],
        ),
    ] {
        for value in values {
            // A blank at the end of a line is not part of it.
            let told = trusted(name, &[(name, value)]);
            let changed = Forwarded {
                shown: Vec::new(),
                withheld: 0,
                ..told
            };
            if value.ends_with(' ') {
                assert_eq!(changed.server_port, Some(80));
            } else {
                assert_eq!(changed, Forwarded::default(), "{name}: {value:?}");
            }
        }
    }
}

#[test]
fn a_mount_point_cannot_lead_elsewhere() {
    for (value, path) in [
        ("", ""),
        ("/", "/"),
        ("/shop", "/shop"),
        ("/shop/eu,ch", "/shop/eu,ch"),
        ("//evil.example/x", "/evil.example/x"),
        ("/a///b", "/a/b"),
        ("/caf\u{e9}", "/caf\u{e9}"),
    ] {
        let told = trusted("X-Script-Name", &[("X-Script-Name", value)]);
        assert_eq!(
            told.script_name.as_deref(),
            Some(path.as_bytes()),
            "{value}"
        );
    }
}

#[test]
fn a_list_of_proxies_longer_than_any_is_not_followed() {
    let many = vec!["10.0.0.2"; 100_000].join(",");
    let told = trusted("X-Forwarded-For", &[("X-Forwarded-For", &many)]);
    assert_eq!(address(&told), "10.0.0.2");
    let rest = shown(&told, "HTTP_X_FORWARDED_FOR").unwrap();
    assert_eq!(rest.split(", ").count(), MOST_HOPS);
}

#[test]
fn the_time_is_linear_in_what_was_sent() {
    let size = 1 << 17;
    let begun = Instant::now();
    for value in [
        ",".repeat(size),
        "\"".repeat(size),
        "\\".repeat(size),
        "\\\"".repeat(size / 2),
        "\",".repeat(size / 2),
        "a=\"\\\\\",".repeat(size / 8),
        ";".repeat(size),
        "=".repeat(size),
        "for=10.0.0.2,".repeat(size / 13),
        "[".repeat(size),
        ":".repeat(size),
        "1".repeat(size),
    ] {
        for listed in [
            "Forwarded",
            "X-Forwarded-For",
            "X-Real-IP",
            "X-Forwarded-Host",
        ] {
            for told in [
                trusted(listed, &[(listed, &value)]),
                anybody(listed, &[(listed, &value)]),
            ] {
                assert!(told.shown.iter().all(|(_, shown)| shown.len() <= 2 * size));
            }
        }
    }
    // Quadratic would be minutes; the limit leaves room for slow machines.
    assert!(begun.elapsed() < Duration::from_secs(30));
}

/// Random strings over the characters that matter, from a fixed seed.
#[test]
fn noise_gives_addresses_or_nothing() {
    let alphabet = b"10.2,:;=\"\\[]forhstp _-\t\xff";
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let headers: Vec<ProxyHeader> = KNOWN_HEADERS
        .iter()
        .map(|(key, _)| key[5..].replace('_', "-"))
        .map(|name| ProxyHeader::parse(name.as_bytes()).unwrap())
        .collect();
    let proxies = [Subnet::parse(b"0.0.0.0/1").unwrap()];
    for round in 0..5_000 {
        let values: Vec<Vec<u8>> = headers
            .iter()
            .map(|_| {
                (0..random(40))
                    .map(|_| alphabet[random(alphabet.len())])
                    .collect()
            })
            .collect();
        let names = headers
            .iter()
            .map(|header| header.key()[5..].replace('_', "-"));
        let names: Vec<String> = names.collect();
        let pairs = names
            .iter()
            .map(String::as_bytes)
            .zip(values.iter().map(Vec::as_slice));
        let trust = Trust {
            headers: &headers,
            proxies: (round % 2 == 0).then_some(&proxies[..]),
            peer: Some(b"1.1.1.1"),
        };
        let told = read(&trust, pairs, std::iter::empty());
        if let Some(address) = &told.remote_addr {
            assert_eq!(address.parse::<IpAddr>().unwrap().to_string(), *address);
        }
        assert_ne!(told.server_port, Some(0));
        for (key, _) in KNOWN_HEADERS {
            assert!(told.withholds(key.as_bytes()));
        }
    }
}
