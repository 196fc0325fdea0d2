//! The words of forwarding headers: lists, addresses, hosts, and the elements of RFC 7239.
//!
//! Runs in: an Apache child, on bytes that a proxy or anybody else wrote. Total functions: what is
//! no address (host, port, ...) is `None`, and the work is linear in what came.
//!
//! Lists are taken apart from the right, where the nearest proxy has written. What a client put
//! further left, an opening quote for example, then cannot change how the rest is read.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest text of an address with brackets and a port, and some room.
const LONGEST_NODE: usize = 64;

/// The longest name of a host in DNS.
const LONGEST_HOST: usize = 253;

/// The items of a list, the last one first, trimmed, empty ones left out.
#[derive(Debug, Clone)]
pub struct FromRight<'a> {
    rest: Option<&'a [u8]>,
    quotes: bool,
}

impl<'a> FromRight<'a> {
    /// A list whose items hold no commas.
    pub fn of(list: &'a [u8]) -> FromRight<'a> {
        FromRight {
            rest: Some(list),
            quotes: false,
        }
    }

    /// A list in which a comma between quotes is part of an item.
    pub fn of_quoted(list: &'a [u8]) -> FromRight<'a> {
        FromRight {
            rest: Some(list),
            quotes: true,
        }
    }

    fn last_comma(&self, list: &[u8]) -> Option<usize> {
        let mut inside = false;
        for (at, &byte) in list.iter().enumerate().rev() {
            match byte {
                // Only inside can a quote be an escaped one.
                b'"' if self.quotes && !(inside && escapes_next(&list[..at])) => inside = !inside,
                b',' if !inside => return Some(at),
                _ => {}
            }
        }
        None
    }
}

/// Whether `text` ends in a backslash that is not itself escaped.
fn escapes_next(text: &[u8]) -> bool {
    let backslashes = text.iter().rev().take_while(|&&byte| byte == b'\\');
    backslashes.count() % 2 == 1
}

impl<'a> Iterator for FromRight<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while let Some(rest) = self.rest {
            let item = match self.last_comma(rest) {
                Some(at) => {
                    self.rest = Some(&rest[..at]);
                    &rest[at + 1..]
                }
                None => {
                    self.rest = None;
                    rest
                }
            };
            let item = item.trim_ascii();
            if !item.is_empty() {
                return Some(item);
            }
        }
        None
    }
}

/// The address in `192.0.2.1`, `192.0.2.1:567`, `2001:db8::1`, `[2001:db8::1]` or
/// `[2001:db8::1]:567`. `None` for `unknown`, hidden names (`_a7f`) and everything else.
pub fn address(node: &[u8]) -> Option<IpAddr> {
    if node.len() > LONGEST_NODE {
        return None;
    }
    let node = std::str::from_utf8(node).ok()?;
    let (address, after) = if let Some(bracketed) = node.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']')?;
        (IpAddr::V6(address.parse::<Ipv6Addr>().ok()?), after)
    } else if let Ok(address) = node.parse() {
        (address, "")
    } else {
        let (address, after) = node.split_at(node.find(':')?);
        (IpAddr::V4(address.parse::<Ipv4Addr>().ok()?), after)
    };
    let is_whole = match after.strip_prefix(':') {
        Some(shown) => port(shown.as_bytes()).is_some() || is_hidden(shown),
        None => after.is_empty(),
    };
    is_whole.then(|| address.to_canonical())
}

/// A port that its owner keeps to himself (RFC 7239, 6.3).
fn is_hidden(port: &str) -> bool {
    port.strip_prefix('_').is_some_and(|name| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !name.is_empty() && name.bytes().all(allowed)
    })
}

/// A port other than 0.
pub fn port(text: &[u8]) -> Option<u16> {
    // `parse` would take a sign.
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number != 0).then_some(number)
}

/// The name or address of a host, an IPv6 address in brackets.
pub fn host(text: &[u8]) -> Option<&[u8]> {
    let is_host = match text {
        [b'[', address @ .., b']'] => {
            let address = std::str::from_utf8(address).ok();
            address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        }
        _ => {
            let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_".contains(byte);
            !text.is_empty() && text.len() <= LONGEST_HOST && text.iter().all(allowed)
        }
    };
    is_host.then_some(text)
}

/// A host with or without a port: what may stand in `Host`.
pub fn authority(text: &[u8]) -> Option<&[u8]> {
    let end = match text.first() {
        Some(b'[') => text.iter().position(|&byte| byte == b']')? + 1,
        _ => text
            .iter()
            .position(|&byte| byte == b':')
            .unwrap_or(text.len()),
    };
    let (name, after) = text.split_at(end);
    host(name)?;
    let is_whole = match after {
        [b':', digits @ ..] => port(digits).is_some(),
        _ => after.is_empty(),
    };
    is_whole.then_some(text)
}

/// Whether it was https, from `https` or `http`.
pub fn scheme(text: &[u8]) -> Option<bool> {
    one_of(text, &["https"], &["http"])
}

/// Whether it was https, from a flag.
pub fn flag(text: &[u8]) -> Option<bool> {
    one_of(text, &["on", "true", "1"], &["off", "false", "0"])
}

fn one_of(text: &[u8], yes: &[&str], no: &[&str]) -> Option<bool> {
    let is_in = |words: &[&str]| {
        let mut words = words.iter();
        words.any(|word| text.eq_ignore_ascii_case(word.as_bytes()))
    };
    if is_in(yes) {
        Some(true)
    } else {
        is_in(no).then_some(false)
    }
}

/// The path of a mount point, runs of slashes collapsed, as in `SCRIPT_NAME` otherwise. An
/// application puts it in front of its links: `//evil.example` and `/\evil.example` would lead to
/// another server.
pub fn path(text: &[u8]) -> Option<Vec<u8>> {
    let is_safe = |&byte: &u8| !byte.is_ascii_control() && !b"\\?#".contains(&byte);
    let is_path = text.is_empty() || text.starts_with(b"/");
    if !is_path || !text.iter().all(is_safe) {
        return None;
    }
    let mut path = text.to_vec();
    path.dedup_by(|next, previous| *next == b'/' && *previous == b'/');
    Some(path)
}

/// One element of `Forwarded`: what one proxy says of whom it was asked by, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element<'a> {
    /// `for=`: an address, `unknown` or a hidden name.
    pub client: Option<Cow<'a, [u8]>>,
    /// `host=`
    pub host: Option<Cow<'a, [u8]>>,
    /// `proto=`
    pub proto: Option<Cow<'a, [u8]>>,
}

impl<'a> Element<'a> {
    /// Reads an element. `None` where the syntax is broken or a parameter stands twice. Beyond the
    /// RFC, blanks around the semicolons are let pass, and values that should be quoted and are
    /// not (`for=192.0.2.1:567`): there are proxies that write so.
    pub fn parse(text: &'a [u8]) -> Option<Element<'a>> {
        let mut element = Element::default();
        let mut rest = text.trim_ascii();
        while !rest.is_empty() {
            if rest[0] == b';' {
                rest = rest[1..].trim_ascii_start();
                continue;
            }
            let equals = rest.iter().position(|&byte| byte == b'=')?;
            let name = &rest[..equals];
            if !name.iter().all(|&byte| is_token(byte)) {
                return None;
            }
            let (value, after) = value(&rest[equals + 1..])?;
            rest = after.trim_ascii_start();
            if rest.first().is_some_and(|&byte| byte != b';') {
                return None;
            }
            let slot = if name.eq_ignore_ascii_case(b"for") {
                &mut element.client
            } else if name.eq_ignore_ascii_case(b"host") {
                &mut element.host
            } else if name.eq_ignore_ascii_case(b"proto") {
                &mut element.proto
            } else {
                continue;
            };
            if slot.replace(value).is_some() {
                return None;
            }
        }
        Some(element)
    }
}

/// A value and what follows it.
fn value(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let ends = |byte: &u8| *byte == b';' || byte.is_ascii_whitespace();
        let end = text.iter().position(ends).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        let is_sound = !value.is_empty() && !value.contains(&b'"');
        return is_sound.then_some((Cow::Borrowed(value), after));
    };
    let mut end = 0;
    let mut has_escapes = false;
    loop {
        match quoted.get(end)? {
            b'"' => break,
            b'\\' => {
                has_escapes = true;
                end += 2;
            }
            _ => end += 1,
        }
    }
    let (inside, after) = (&quoted[..end], &quoted[end + 1..]);
    if !has_escapes {
        return Some((Cow::Borrowed(inside), after));
    }
    let mut plain = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => *bytes.next()?,
            _ => byte,
        });
    }
    Some((Cow::Owned(plain), after))
}

/// `tchar` of RFC 9110.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
