//! What proxies say about the client: `WSGITrustedProxyHeaders` and `WSGITrustedProxies`.
//!
//! Runs in: an Apache child, before the environ is written. Pure: headers go in, and out comes what
//! the environ is to say otherwise ([`Forwarded`]).
//!
//! A header is a synonym of every other that tells the same thing. Once one of them is listed, the
//! application gets at most the one that was believed, whoever asks: a client could add those that
//! its proxy does not know, and some library would read them. Of a list the application gets the
//! part that trusted proxies have written. Values that cannot be what they should be (an address
//! that is none, a port that is no number) change nothing.

pub mod syntax;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::IpAddr;

use config::proxies::{Category, ProxyHeader, Subnet, KNOWN_HEADERS};

use syntax::{Element, FromRight};

/// Proxies one request may have come through. A longer list is somebody's forgery, and its length
/// is not to cost us time.
const MOST_HOPS: usize = 64;

/// Whom to believe.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// Headers that are believed, later ones more than earlier ones.
    pub headers: &'a [ProxyHeader],
    /// Who is a proxy; `None` believes everybody.
    pub proxies: Option<&'a [Subnet]>,
    /// Who asks: `REMOTE_ADDR` as httpd has it, after mod_remoteip.
    pub peer: Option<&'a [u8]>,
}

impl Trust<'_> {
    fn believes_peer(&self) -> bool {
        let Some(proxies) = self.proxies else {
            return true;
        };
        let address = self.peer.and_then(syntax::address);
        address.is_some_and(|address| is_in(proxies, address))
    }
}

fn is_in(proxies: &[Subnet], address: IpAddr) -> bool {
    proxies.iter().any(|subnet| subnet.contains(address))
}

/// What the environ is to say otherwise than httpd would have it. The default changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// `REMOTE_ADDR`
    pub remote_addr: Option<String>,
    /// `HTTP_HOST`, with the port if one was given.
    pub host: Option<Vec<u8>>,
    /// `SERVER_NAME`
    pub server_name: Option<Vec<u8>>,
    /// `SERVER_PORT`
    pub server_port: Option<u16>,
    /// `SCRIPT_NAME`, and `mod_wsgi.mount_point`, which is set only then.
    pub script_name: Option<Vec<u8>>,
    /// `wsgi.url_scheme`: true for https. It overrules variables and the connection.
    pub is_https: Option<bool>,
    /// Headers that were believed, by their keys, as the application is to see them.
    pub shown: Vec<(&'static str, Vec<u8>)>,
    /// What headers that are not to be seen tell about: bits of [`Subject`]s.
    withheld: u8,
}

impl Forwarded {
    /// Whether the header or variable with this key in environ is not to be passed on as it came.
    /// Those in [`Forwarded::shown`] take their place.
    pub fn withholds(&self, key: &[u8]) -> bool {
        self.withheld != 0
            && KNOWN_HEADERS.iter().any(|(known, category)| {
                self.withheld & own_bit(*category) != 0 && known.as_bytes() == key
            })
    }
}

/// What headers tell about; each is decided on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Client,
    Host,
    Server,
    Port,
    Script,
    Scheme,
}

const SUBJECTS: usize = Subject::Scheme as usize + 1;

/// The bit of `Forwarded`, which tells about several subjects and is a synonym only once listed.
const STANDARD: u8 = 1 << SUBJECTS;

/// `None` for the header that tells about several.
fn subject(category: Category) -> Option<Subject> {
    match category {
        Category::Standard => None,
        Category::Chain | Category::Client => Some(Subject::Client),
        Category::Host => Some(Subject::Host),
        Category::Server => Some(Subject::Server),
        Category::Port => Some(Subject::Port),
        Category::Script => Some(Subject::Script),
        Category::Scheme | Category::Encrypted => Some(Subject::Scheme),
    }
}

/// The bit by which a header is withheld.
fn own_bit(category: Category) -> u8 {
    subject(category).map_or(STANDARD, |subject| 1 << subject as u8)
}

/// The bits that are withheld once a header is listed.
fn withheld_by(category: Category) -> u8 {
    match subject(category) {
        Some(subject) => 1 << subject as u8,
        None => [Subject::Client, Subject::Host, Subject::Scheme]
            .into_iter()
            .fold(STANDARD, |bits, subject| bits | 1 << subject as u8),
    }
}

/// Reads what the headers of a request say. `variables` are looked at for headers under their
/// names in environ that the request does not have (`SetEnvIf ... HTTP_X_REAL_IP=...`).
///
/// Without `WSGITrustedProxyHeaders` nothing is looked at.
pub fn read<'a>(
    trust: &Trust<'_>,
    headers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    variables: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Forwarded {
    let mut forwarded = Forwarded::default();
    for category in trust.headers.iter().filter_map(ProxyHeader::category) {
        forwarded.withheld |= withheld_by(category);
    }
    if forwarded.withheld != 0 && trust.believes_peer() {
        let values = collect(headers, variables);
        believe(trust, &values, &mut forwarded);
    }
    forwarded
}

/// The values of the known headers, in the order of [`KNOWN_HEADERS`].
type HeaderValues<'a> = [Option<Cow<'a, [u8]>>; KNOWN_HEADERS.len()];

fn collect<'a>(
    headers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    variables: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> HeaderValues<'a> {
    let mut values: HeaderValues<'a> = [const { None }; KNOWN_HEADERS.len()];
    for (name, value) in headers {
        let mut known = KNOWN_HEADERS.iter();
        let Some(index) = known.position(|(key, _)| is_key_of(name, key.as_bytes())) else {
            continue;
        };
        match &mut values[index] {
            // Two lines are one list (RFC 9110, 5.3); httpd joins those it reads, but not those a
            // module adds.
            Some(list) => {
                let list = list.to_mut();
                list.extend_from_slice(b", ");
                list.extend_from_slice(value);
            }
            empty => *empty = Some(Cow::Borrowed(value)),
        }
    }
    for (name, value) in variables {
        let mut known = KNOWN_HEADERS.iter();
        if let Some(index) = known.position(|(key, _)| name == key.as_bytes()) {
            values[index].get_or_insert(Cow::Borrowed(value));
        }
    }
    values
}

/// Whether the header `name` has `key` in environ: `X-Host` has `HTTP_X_HOST`, and `X_Host` is not
/// let in.
fn is_key_of(name: &[u8], key: &[u8]) -> bool {
    let key = key.strip_prefix(b"HTTP_").unwrap_or(key);
    let same = |(&byte, &expected): (&u8, &u8)| match byte {
        b'-' => expected == b'_',
        b'_' => false,
        _ => byte.to_ascii_uppercase() == expected,
    };
    name.len() == key.len() && name.iter().zip(key).all(same)
}

/// Which item of a list is about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListPosition {
    /// The first: everybody is believed.
    First,
    /// The one which the last so many proxies vouch for, each for the next to its left; the first
    /// of a list that has fewer.
    FromRight(usize),
}

impl ListPosition {
    /// The place of what only the peer has said.
    fn nearest(trust: &Trust<'_>) -> ListPosition {
        match trust.proxies {
            None => ListPosition::First,
            Some(_) => ListPosition::FromRight(1),
        }
    }

    fn pick(self, list: FromRight<'_>) -> Option<&[u8]> {
        match self {
            ListPosition::First => list.last(),
            ListPosition::FromRight(count) => list.take(count).last(),
        }
    }

    /// The list as the application is to see it.
    fn cut(self, value: &[u8], list: FromRight<'_>) -> Vec<u8> {
        match self {
            ListPosition::First => value.to_vec(),
            ListPosition::FromRight(count) => {
                let mut items: Vec<&[u8]> = list.take(count).collect();
                items.reverse();
                items.join(&b", "[..])
            }
        }
    }
}

/// The way a request took.
#[derive(Debug, Clone, Copy)]
struct ProxyPath {
    /// The farthest address that is vouched for; `None` if there is none but the peer's.
    client: Option<IpAddr>,
    position: ListPosition,
}

impl ProxyPath {
    /// Goes back from proxy to proxy as long as they are trusted: whom a trusted one names is who
    /// asked it. `None` for an empty list.
    fn follow<'l>(
        trust: &Trust<'_>,
        list: FromRight<'l>,
        address: impl Fn(&'l [u8]) -> Option<IpAddr>,
    ) -> Option<ProxyPath> {
        let Some(proxies) = trust.proxies else {
            return list.last().map(|first| ProxyPath {
                client: address(first),
                position: ListPosition::First,
            });
        };
        let mut path = None;
        let mut client = None;
        for (index, item) in list.take(MOST_HOPS).enumerate() {
            let next = address(item);
            client = next.or(client);
            path = Some(ProxyPath {
                client,
                position: ListPosition::FromRight(index + 1),
            });
            if !next.is_some_and(|next| is_in(proxies, next)) {
                break;
            }
        }
        path
    }
}

/// A header that is listed and was sent.
struct TrustedHeader<'a> {
    index: usize,
    category: Category,
    value: &'a [u8],
    /// For those that tell of the way.
    path: Option<ProxyPath>,
}

impl<'a> TrustedHeader<'a> {
    fn of(trust: &Trust<'_>, index: usize, value: &'a [u8]) -> Option<TrustedHeader<'a>> {
        let category = KNOWN_HEADERS[index].1;
        let path = match category {
            Category::Chain => Some(ProxyPath::follow(
                trust,
                FromRight::of(value),
                syntax::address,
            )?),
            Category::Standard => Some(ProxyPath::follow(
                trust,
                FromRight::of_quoted(value),
                |element| syntax::address(&Element::parse(element)?.client?),
            )?),
            _ => None,
        };
        Some(TrustedHeader {
            index,
            category,
            value,
            path,
        })
    }

    fn shown(&self) -> Vec<u8> {
        match self.path {
            Some(path) if self.category == Category::Standard => {
                let list = FromRight::of_quoted(self.value);
                path.position.cut(self.value, list)
            }
            Some(path) => path.position.cut(self.value, FromRight::of(self.value)),
            None => self.value.to_vec(),
        }
    }
}

/// The header that decided each subject, and whether its value was of any use.
#[derive(Default)]
struct Winners([Option<(usize, bool)>; SUBJECTS]);

impl Winners {
    /// Puts a useful `value` into `slot`. One of no use wins only over others of no use.
    fn settle<T>(
        &mut self,
        subject: Subject,
        heard: &TrustedHeader<'_>,
        slot: &mut Option<T>,
        value: Option<T>,
    ) {
        let winner = &mut self.0[subject as usize];
        if value.is_some() || !matches!(winner, Some((_, true))) {
            *winner = Some((heard.index, value.is_some()));
        }
        *slot = value.or_else(|| slot.take());
    }
}

fn believe(trust: &Trust<'_>, values: &HeaderValues<'_>, forwarded: &mut Forwarded) {
    let listed = trust.headers.iter().filter_map(ProxyHeader::known);
    let heard: Vec<TrustedHeader<'_>> = listed
        .filter_map(|index| TrustedHeader::of(trust, index, values[index].as_deref()?))
        .collect();
    let nearest = ListPosition::nearest(trust);
    // Proxies that add to X-Forwarded-For add to the other lists too.
    let position = heard
        .iter()
        .rev()
        .find_map(|heard| Some(heard.path?.position))
        .unwrap_or(nearest);
    let mut winners = Winners::default();
    for heard in &heard {
        let item = || position.pick(FromRight::of(heard.value));
        match heard.category {
            Category::Chain => {
                let client = heard.path.and_then(|path| path.client);
                let text = client.map(|address| address.to_string());
                winners.settle(Subject::Client, heard, &mut forwarded.remote_addr, text);
            }
            Category::Client => {
                let client = nearest.pick(FromRight::of(heard.value));
                let text = client.and_then(syntax::address).map(|it| it.to_string());
                winners.settle(Subject::Client, heard, &mut forwarded.remote_addr, text);
            }
            Category::Standard => believe_standard(heard, &mut winners, forwarded),
            Category::Host => {
                let host = item().and_then(syntax::authority).map(<[u8]>::to_vec);
                winners.settle(Subject::Host, heard, &mut forwarded.host, host);
            }
            Category::Server => {
                let name = item().and_then(syntax::host).map(<[u8]>::to_vec);
                winners.settle(Subject::Server, heard, &mut forwarded.server_name, name);
            }
            Category::Port => {
                let port = item().and_then(syntax::port);
                winners.settle(Subject::Port, heard, &mut forwarded.server_port, port);
            }
            Category::Script => {
                // A path may hold commas, and no proxy makes a list of it.
                let path = syntax::path(heard.value);
                winners.settle(Subject::Script, heard, &mut forwarded.script_name, path);
            }
            Category::Scheme => {
                let is_https = item().and_then(syntax::scheme);
                winners.settle(Subject::Scheme, heard, &mut forwarded.is_https, is_https);
            }
            Category::Encrypted => {
                let is_https = item().and_then(syntax::flag);
                winners.settle(Subject::Scheme, heard, &mut forwarded.is_https, is_https);
            }
        }
    }
    for heard in heard {
        let has_won = |(index, _)| index == heard.index;
        let key = KNOWN_HEADERS[heard.index].0;
        let is_new = forwarded.shown.iter().all(|(shown, _)| *shown != key);
        if is_new && winners.0.into_iter().flatten().any(has_won) {
            forwarded.shown.push((key, heard.shown()));
        }
    }
}

/// `Forwarded` tells of the client in any case, and of host and scheme where it names them.
fn believe_standard(heard: &TrustedHeader<'_>, winners: &mut Winners, forwarded: &mut Forwarded) {
    let Some(path) = heard.path else {
        return;
    };
    let text = path.client.map(|address| address.to_string());
    winners.settle(Subject::Client, heard, &mut forwarded.remote_addr, text);
    let element = path.position.pick(FromRight::of_quoted(heard.value));
    let Some(element) = element.and_then(Element::parse) else {
        return;
    };
    if let Some(host) = element.host {
        let host = syntax::authority(&host).map(<[u8]>::to_vec);
        winners.settle(Subject::Host, heard, &mut forwarded.host, host);
    }
    if let Some(proto) = element.proto {
        let is_https = syntax::scheme(&proto);
        winners.settle(Subject::Scheme, heard, &mut forwarded.is_https, is_https);
    }
}
