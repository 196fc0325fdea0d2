//! The head of a response, checked once more, and where each of its fields belongs.
//!
//! Runs in: an Apache child. A worker checks what its application says; a worker that was taken
//! over checks nothing. So whatever decides where this response ends and the next one begins is
//! decided here: framing and connection fields of the worker never reach the wire, one length is
//! agreed on, and no field can carry a line break.

use std::borrow::Cow;
use std::fmt;

use wire::response::{valid_name, valid_reason, valid_value, Head};

/// Statuses a final response may have.
const FINAL: std::ops::RangeInclusive<u16> = 200..=999;
/// Statuses an interim response may have. 101 would end HTTP on the connection.
const INTERIM: [u16; 3] = [100, 102, 103];

/// A final head that may go to a client.
#[derive(Debug, Clone)]
pub struct ResponseHead<'a> {
    head: Head<'a>,
    /// What every `Content-Length` agrees on.
    pub content_length: Option<u64>,
}

/// Where a field belongs.
#[derive(Debug, PartialEq, Eq)]
pub enum PlacedField<'a> {
    /// The media type, its type and subtype in lower case: filters are chosen by it.
    ContentType(Cow<'a, [u8]>),
    /// The date of the content.
    LastModified(&'a [u8]),
    /// Sent beside others of its name, and also when httpd makes the body.
    WithErrors(&'a [u8], &'a [u8]),
    /// Sent beside others of its name.
    Beside(&'a [u8], &'a [u8]),
    /// The last of its name is sent.
    Instead(&'a [u8], &'a [u8]),
    /// Joined with others of its name.
    Joined(&'a [u8], &'a [u8]),
    /// The application wants the connection closed. The field itself is httpd's to write.
    CloseConnection,
}

/// Why a head was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidHead {
    /// A status outside its range.
    Status(u16),
    /// A control character in the reason.
    Reason,
    /// A field name that is no token.
    Name(Vec<u8>),
    /// A control character in the value of this field.
    Value(Vec<u8>),
    /// A `Content-Length` that is no number.
    Length(Vec<u8>),
    /// Two lengths.
    Lengths(u64, u64),
}

impl fmt::Display for InvalidHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidHead::Status(status) => write!(f, "status {status} is not one it may send"),
            InvalidHead::Reason => f.write_str("the status line holds a control character"),
            InvalidHead::Name(name) => write!(f, "\"{}\" is no header name", name.escape_ascii()),
            InvalidHead::Value(name) => {
                write!(
                    f,
                    "header {} holds a control character",
                    name.escape_ascii()
                )
            }
            InvalidHead::Length(value) => {
                write!(
                    f,
                    "Content-Length \"{}\" is no length",
                    value.escape_ascii()
                )
            }
            InvalidHead::Lengths(one, other) => {
                write!(f, "Content-Length says {one} and also {other}")
            }
        }
    }
}

/// Checks a final head.
pub fn check(head: Head<'_>) -> Result<ResponseHead<'_>, InvalidHead> {
    if !FINAL.contains(&head.status) {
        return Err(InvalidHead::Status(head.status));
    }
    let mut content_length = None;
    check_text(&head, |name, value| {
        if !name.eq_ignore_ascii_case(b"Content-Length") {
            return Ok(());
        }
        let len = length(value).ok_or_else(|| InvalidHead::Length(value.to_vec()))?;
        match content_length.replace(len) {
            Some(other) if other != len => Err(InvalidHead::Lengths(other, len)),
            _ => Ok(()),
        }
    })?;
    Ok(ResponseHead {
        head,
        content_length,
    })
}

/// Checks an interim head.
pub fn check_interim(head: &Head<'_>) -> Result<(), InvalidHead> {
    if !INTERIM.contains(&head.status) {
        return Err(InvalidHead::Status(head.status));
    }
    check_text(head, |_, _| Ok(()))
}

fn check_text(
    head: &Head<'_>,
    mut also: impl FnMut(&[u8], &[u8]) -> Result<(), InvalidHead>,
) -> Result<(), InvalidHead> {
    if !valid_reason(head.reason) {
        return Err(InvalidHead::Reason);
    }
    for (name, value) in head.fields() {
        if !valid_name(name) {
            return Err(InvalidHead::Name(name[..name.len().min(100)].to_vec()));
        }
        if !valid_value(value) {
            return Err(InvalidHead::Value(name[..name.len().min(100)].to_vec()));
        }
        also(name, value)?;
    }
    Ok(())
}

/// A decimal number and nothing else: no sign, no list. Blanks around it are not part of a value.
fn length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // httpd counts bytes in a signed type.
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (number <= i64::MAX as u64).then_some(number)
}

impl<'a> ResponseHead<'a> {
    /// The status.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The text behind the status; may be empty.
    pub fn reason(&self) -> &'a [u8] {
        self.head.reason
    }

    /// The last field of this name.
    pub fn last(&self, name: &str) -> Option<&'a [u8]> {
        self.head
            .fields()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
            .last()
    }

    /// The local URL this answer is to be taken from, where it names one (`200` with a `Location`
    /// that begins with a slash).
    pub fn local_redirect(&self) -> Option<&'a [u8]> {
        if self.status() != 200 {
            return None;
        }
        self.last("Location")
            .filter(|location| location.starts_with(b"/"))
    }

    /// Whether a response with this status has no body whatever its length says.
    pub fn is_bodiless(&self) -> bool {
        matches!(self.status(), 204 | 304)
    }

    /// The fields to be sent, each with its place. `Content-Length` is not among them: it is
    /// [`Self::content_length`].
    pub fn fields(&self) -> impl Iterator<Item = PlacedField<'a>> {
        self.head
            .fields()
            .filter_map(|(name, value)| place(name, value))
    }
}

/// An interim response's fields that may go to the client.
pub fn interim_fields<'a>(head: &Head<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    head.fields()
        .filter(|(name, _)| !is_hop_by_hop(name) && !name.eq_ignore_ascii_case(b"Content-Length"))
}

fn place<'a>(name: &'a [u8], value: &'a [u8]) -> Option<PlacedField<'a>> {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    if is("Connection") {
        let closes = value
            .split(|&byte| byte == b',')
            .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"));
        return closes.then_some(PlacedField::CloseConnection);
    }
    if is_hop_by_hop(name) || is("Content-Length") {
        return None;
    }
    Some(if is("Content-Type") {
        PlacedField::ContentType(media_type(value))
    } else if is("Last-Modified") {
        PlacedField::LastModified(value)
    } else if is("WWW-Authenticate") {
        PlacedField::WithErrors(name, value)
    } else if is("Set-Cookie") {
        PlacedField::Beside(name, value)
    } else if is("Location") || is("Content-Range") {
        PlacedField::Instead(name, value)
    } else {
        PlacedField::Joined(name, value)
    })
}

/// Fields that speak about one connection: the worker has none with the client.
fn is_hop_by_hop(name: &[u8]) -> bool {
    const NAMES: [&str; 7] = [
        "Connection",
        "Keep-Alive",
        "Transfer-Encoding",
        "TE",
        "Trailer",
        "Upgrade",
        "HTTP2-Settings",
    ];
    NAMES
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        || name
            .get(..6)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"Proxy-"))
}

/// Type and subtype in lower case, parameters as they are.
fn media_type(value: &[u8]) -> Cow<'_, [u8]> {
    let end = value
        .iter()
        .position(|&byte| byte == b';')
        .unwrap_or(value.len());
    if !value[..end].iter().any(u8::is_ascii_uppercase) {
        return Cow::Borrowed(value);
    }
    let mut lower = value.to_vec();
    lower[..end].make_ascii_lowercase();
    Cow::Owned(lower)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::frame::{self, Kind};
    use wire::response::{append_head, decode_head};

    fn checked<R>(
        status: u16,
        fields: &[(&str, &str)],
        look: impl FnOnce(Result<ResponseHead<'_>, InvalidHead>) -> R,
    ) -> R {
        let mut out = Vec::new();
        let fields: Vec<_> = fields
            .iter()
            .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
            .collect();
        append_head(&mut out, Kind::Head, status, b"", fields.into_iter()).unwrap();
        let (_, payload, _) = frame::split(&out).unwrap().unwrap();
        look(check(decode_head(payload).unwrap()))
    }

    fn length_of(values: &[&str]) -> Result<Option<u64>, InvalidHead> {
        let fields: Vec<_> = values
            .iter()
            .map(|value| ("content-length", *value))
            .collect();
        checked(200, &fields, |head| head.map(|head| head.content_length))
    }

    #[test]
    fn a_length_is_digits_and_duplicates_agree() {
        assert_eq!(length_of(&[]), Ok(None));
        assert_eq!(length_of(&["0"]), Ok(Some(0)));
        assert_eq!(length_of(&[" 12 ", "12"]), Ok(Some(12)));
        assert_eq!(
            length_of(&["9223372036854775807"]),
            Ok(Some(i64::MAX as u64))
        );
        for bad in [
            "",
            "-5",
            "+3",
            "1,1",
            "0x1",
            "1 2",
            "9223372036854775808",
            "1e3",
        ] {
            assert!(
                matches!(length_of(&[bad]), Err(InvalidHead::Length(_))),
                "{bad}"
            );
        }
        assert_eq!(length_of(&["1", "2"]), Err(InvalidHead::Lengths(1, 2)));
    }

    #[test]
    fn a_final_status_is_no_interim_one() {
        for bad in [0, 99, 100, 101, 199, 1000, 65535] {
            assert!(checked(bad, &[], |head| head.is_err()), "{bad}");
        }
        for good in [200, 204, 304, 404, 599, 999] {
            assert!(checked(good, &[], |head| head.is_ok()), "{good}");
        }
    }

    #[test]
    fn nothing_that_could_break_a_line_passes() {
        for (name, value) in [
            ("X-A", "a\r\nSet-Cookie: x"),
            ("X-A", "a\0b"),
            ("X-A", "a\x7f"),
            ("X A", "1"),
            ("X-A:", "1"),
            ("", "1"),
            ("X\r\n", "1"),
        ] {
            assert!(
                checked(200, &[(name, value)], |head| head.is_err()),
                "{name:?} {value:?}"
            );
        }
    }

    #[test]
    fn what_belongs_to_the_connection_does_not_pass() {
        let fields = [
            ("Transfer-Encoding", "chunked"),
            ("connection", "keep-alive, X-Own"),
            ("Keep-Alive", "timeout=5"),
            ("TE", "trailers"),
            ("Trailer", "X"),
            ("Upgrade", "websocket"),
            ("Proxy-Connection", "x"),
            ("PROXY-Authenticate", "Basic"),
            ("Content-Length", "3"),
        ];
        checked(200, &fields, |head| {
            assert_eq!(head.unwrap().fields().count(), 0)
        });
        checked(200, &[("Connection", "foo , Close")], |head| {
            let fields: Vec<_> = head.unwrap().fields().collect();
            assert_eq!(fields, [PlacedField::CloseConnection]);
        });
    }

    #[test]
    fn each_field_has_its_place() {
        let fields = [
            ("content-type", "Text/HTML; Charset=UTF-8"),
            ("Set-Cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("WWW-Authenticate", "Basic"),
            ("Location", "/x"),
            ("Last-Modified", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("Vary", "Cookie"),
        ];
        checked(200, &fields, |head| {
            let head = head.unwrap();
            let placed: Vec<_> = head.fields().collect();
            assert_eq!(
                placed,
                [
                    PlacedField::ContentType(Cow::Borrowed(b"text/html; Charset=UTF-8")),
                    PlacedField::Beside(b"Set-Cookie", b"a=1"),
                    PlacedField::Beside(b"set-cookie", b"b=2"),
                    PlacedField::WithErrors(b"WWW-Authenticate", b"Basic"),
                    PlacedField::Instead(b"Location", b"/x"),
                    PlacedField::LastModified(b"Thu, 01 Jan 1970 00:00:00 GMT"),
                    PlacedField::Joined(b"Vary", b"Cookie"),
                ]
            );
            assert_eq!(head.local_redirect(), Some(&b"/x"[..]));
        });
        checked(302, &[("Location", "/x")], |head| {
            assert_eq!(head.unwrap().local_redirect(), None);
        });
        checked(200, &[("Location", "http://x/")], |head| {
            assert_eq!(head.unwrap().local_redirect(), None);
        });
    }
}
