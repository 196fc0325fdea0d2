//! The headers of proxies, as a client may write them: any bytes give addresses that are some and
//! ports that are numbers, and nothing reaches into what a trusted proxy has added behind them.
//!
//! The module's own files are taken in by their paths: the module itself needs httpd's headers.
#![no_main]
#![allow(dead_code)]

#[path = "../../../src/child/environ/forwarded/mod.rs"]
mod forwarded;

use std::net::IpAddr;

use forwarded::{read, Forwarded, Trust};
use libfuzzer_sys::fuzz_target;
use config::proxies::{ProxyHeader, Subnet, KNOWN_HEADERS};

fn read_from(names: &[String], pairs: &[(&[u8], &[u8])], proxies: Option<&[Subnet]>) -> Forwarded {
    let listed = names.iter().map(|name| ProxyHeader::parse(name.as_bytes()));
    let listed: Vec<ProxyHeader> = listed.map(|header| header.expect("a known one")).collect();
    let trust = Trust {
        headers: &listed,
        proxies,
        peer: Some(b"10.0.0.1"),
    };
    read(&trust, pairs.iter().copied(), std::iter::empty())
}

// The first byte says who is trusted, the second which header is listed first; then one line per
// value, for each known header in turn.
fuzz_target!(|input: &[u8]| {
    let [trusted, first, text @ ..] = input else {
        return;
    };
    let mut names: Vec<String> = KNOWN_HEADERS
        .iter()
        .map(|(key, _)| key["HTTP_".len()..].replace('_', "-"))
        .collect();
    let lines = text.split(|&byte| byte == b'\n');
    let values: Vec<(String, &[u8])> = names.iter().cycle().cloned().zip(lines).collect();
    let pairs: Vec<(&[u8], &[u8])> = values
        .iter()
        .map(|(name, value)| (name.as_bytes(), *value))
        .collect();
    names.rotate_left(usize::from(*first) % KNOWN_HEADERS.len());
    let subnets = [Subnet::parse(b"10.0.0.0/8").expect("a network")];
    let told = read_from(&names, &pairs, (trusted % 2 == 0).then_some(&subnets[..]));
    if let Some(address) = &told.remote_addr {
        let parsed: IpAddr = address.parse().expect("an address");
        assert_eq!(parsed.to_string(), *address);
    }
    assert_ne!(told.server_port, Some(0));
    if let Some(path) = &told.script_name {
        assert!(!path.starts_with(b"//") && (path.is_empty() || path[0] == b'/'));
    }
    let shown: usize = told.shown.iter().map(|(_, value)| value.len()).sum();
    assert!(shown <= 2 * text.len());

    for (name, added) in [
        ("X-Forwarded-For", "203.0.113.9"),
        (
            "Forwarded",
            "for=203.0.113.9;proto=https;host=\"a.example\";x=\"\\\\\"",
        ),
    ] {
        let listed = [name.to_owned()];
        let value = [text, b", ", added.as_bytes()].concat();
        let alone = read_from(
            &listed,
            &[(name.as_bytes(), added.as_bytes())],
            Some(&subnets),
        );
        let behind = read_from(&listed, &[(name.as_bytes(), &value)], Some(&subnets));
        assert_eq!(behind, alone);
        assert_eq!(alone.remote_addr.as_deref(), Some("203.0.113.9"));
    }
});
