//! The values of `WSGITrustedProxyHeaders` and `WSGITrustedProxies`.
//!
//! Runs in: the Apache parent (parsing), Apache children (which header, which address).

use std::net::IpAddr;

/// What a forwarding header describes, and in which format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// The addresses the request came from and through, the client's first.
    Chain,
    /// The client's address.
    Client,
    /// Client, host and scheme at once, for each proxy on the way: `Forwarded` (RFC 7239).
    Standard,
    /// The Host header.
    Host,
    /// The server's name.
    Server,
    /// The server's port.
    Port,
    /// Where the application is mounted.
    Script,
    /// `http` or `https`.
    Scheme,
    /// `on` (https) or `off`.
    Encrypted,
}

/// Every header that is supported, by its name in environ. Other headers may be listed and have no
/// effect, as in mod_wsgi.
pub const KNOWN_HEADERS: &[(&str, Category)] = &[
    ("HTTP_X_FORWARDED_FOR", Category::Chain),
    ("HTTP_X_CLIENT_IP", Category::Client),
    ("HTTP_X_REAL_IP", Category::Client),
    ("HTTP_FORWARDED", Category::Standard),
    ("HTTP_X_FORWARDED_HOST", Category::Host),
    ("HTTP_X_HOST", Category::Host),
    ("HTTP_X_FORWARDED_SERVER", Category::Server),
    ("HTTP_X_FORWARDED_PORT", Category::Port),
    ("HTTP_X_SCRIPT_NAME", Category::Script),
    ("HTTP_X_FORWARDED_SCRIPT_NAME", Category::Script),
    ("HTTP_X_FORWARDED_PROTO", Category::Scheme),
    ("HTTP_X_FORWARDED_SCHEME", Category::Scheme),
    ("HTTP_X_SCHEME", Category::Scheme),
    ("HTTP_X_FORWARDED_HTTPS", Category::Encrypted),
    ("HTTP_X_FORWARDED_SSL", Category::Encrypted),
    ("HTTP_X_HTTPS", Category::Encrypted),
];

/// A header listed in `WSGITrustedProxyHeaders`, under its name in environ (`HTTP_X_REAL_IP`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyHeader(String);

impl ProxyHeader {
    /// Reads a header's name as a client would send it. `None` when it has a character that never
    /// reaches environ, so that the header could not be found.
    pub fn parse(name: &[u8]) -> Option<ProxyHeader> {
        let sound = |&byte: &u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || !name.iter().all(sound) {
            return None;
        }
        let mut key = String::from("HTTP_");
        for &byte in name {
            key.push(if byte == b'-' {
                '_'
            } else {
                byte.to_ascii_uppercase().into()
            });
        }
        Some(ProxyHeader(key))
    }

    /// Its name in environ.
    pub fn key(&self) -> &str {
        &self.0
    }

    /// Its index in [`KNOWN_HEADERS`]; `None` when it is not one of them.
    pub fn known(&self) -> Option<usize> {
        KNOWN_HEADERS.iter().position(|(key, _)| *key == self.0)
    }

    /// What it describes; `None` if it is not a supported header.
    pub fn category(&self) -> Option<Category> {
        self.known().map(|index| KNOWN_HEADERS[index].1)
    }
}

/// An address, or a network, of a trusted proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subnet {
    /// IPv4 network and mask, both as numbers in host order.
    V4 { network: u32, mask: u32 },
    /// IPv6 network and mask.
    V6 { network: u128, mask: u128 },
}

impl Subnet {
    /// Reads `10.0.0.1`, `10.0.0.0/8`, `10.0.0.0/255.0.0.0`, `10.0` (which is `10.0.0.0/16`, as in
    /// httpd's own access control), `2001:db8::1` or `2001:db8::/32`. `None` when it is none of
    /// them. Bits beyond the mask are dropped.
    pub fn parse(text: &[u8]) -> Option<Subnet> {
        let text = std::str::from_utf8(text).ok()?;
        if let Some(network) = Subnet::leading_octets(text) {
            return Some(network);
        }
        let (address, mask) = match text.split_once('/') {
            Some((address, mask)) => (address, Some(mask)),
            None => (text, None),
        };
        match address.parse().ok()? {
            IpAddr::V4(address) => {
                let mask = match mask {
                    None => u32::MAX,
                    Some(mask) if mask.contains('.') => contiguous(mask.parse().ok()?)?,
                    Some(mask) => u32::MAX.checked_shl(32 - number(mask, 32)?).unwrap_or(0),
                };
                Some(Subnet::V4 {
                    network: u32::from(address) & mask,
                    mask,
                })
            }
            IpAddr::V6(address) => {
                let mask = match mask {
                    None => u128::MAX,
                    Some(mask) => u128::MAX.checked_shl(128 - number(mask, 128)?).unwrap_or(0),
                };
                Some(Subnet::V6 {
                    network: u128::from(address) & mask,
                    mask,
                })
            }
        }
    }

    /// One to three octets, with or without a dot at the end.
    fn leading_octets(text: &str) -> Option<Subnet> {
        let octets: Vec<&str> = text.strip_suffix('.').unwrap_or(text).split('.').collect();
        if octets.len() > 3 {
            return None;
        }
        let mut network = 0;
        for octet in &octets {
            let octet = number(octet, 255)?;
            network = network << 8 | octet;
        }
        let host_bits = 32 - 8 * octets.len() as u32;
        Some(Subnet::V4 {
            network: network << host_bits,
            mask: u32::MAX << host_bits,
        })
    }

    /// Whether `address` is one of the network's. An IPv4 address that came in over an IPv6
    /// socket counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self, address.to_canonical()) {
            (Subnet::V4 { network, mask }, IpAddr::V4(address)) => {
                u32::from(address) & mask == *network
            }
            (Subnet::V6 { network, mask }, IpAddr::V6(address)) => {
                u128::from(address) & mask == *network
            }
            _ => false,
        }
    }
}

/// A whole number up to `most`.
fn number(text: &str, most: u32) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&bits| digits && bits <= most)
}

fn contiguous(mask: std::net::Ipv4Addr) -> Option<u32> {
    let mask = u32::from(mask);
    (mask.leading_ones() + mask.trailing_zeros() == 32).then_some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_kept_under_its_name_in_environ() {
        let header = ProxyHeader::parse(b"X-Forwarded-For").unwrap();
        assert_eq!(header.key(), "HTTP_X_FORWARDED_FOR");
        assert_eq!(header.category(), Some(Category::Chain));
        assert_eq!(ProxyHeader::parse(b"X-Other").unwrap().category(), None);
        for name in [&b""[..], b"X_Real_IP", b"X Real", b"X-R\xe9al"] {
            assert_eq!(ProxyHeader::parse(name), None);
        }
    }

    #[test]
    fn networks_hold_their_addresses() {
        for (network, address, inside) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.1.2.3/8", "10.255.1.2", true),
            ("10.0.0.0/255.255.0.0", "10.0.7.7", true),
            ("10.0.0.0/255.255.0.0", "10.1.7.7", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("10", "10.9.9.9", true),
            ("10.1", "10.1.9.9", true),
            ("10.1.", "10.2.9.9", false),
            ("10.1.2", "10.1.2.255", true),
            ("::1", "::1", true),
            ("2001:db8::/32", "2001:db8:1::5", true),
            ("2001:DB8::/32", "2001:db8:1::5", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("::/0", "2001:db9::", true),
            ("::/0", "10.0.0.1", false),
        ] {
            let subnet = Subnet::parse(network.as_bytes()).unwrap();
            assert_eq!(
                subnet.contains(address.parse().unwrap()),
                inside,
                "{network} {address}"
            );
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "256",
            "10..1",
            "10.0/16",
            "10.0.0.0.",
            ".",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/255.0.255.0",
            "::/129",
            "2001:db8::g",
            "proxy.example.com",
            "10.0.0.1 ",
            "fe80::1%eth0",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(Subnet::parse(text.as_bytes()), None, "{text}");
        }
    }
}
