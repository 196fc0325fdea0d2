//! Status and header fields as an application gives them, checked at the call.
//!
//! Runs in: request threads, inside `start_response`. What is invalid here becomes an exception in
//! the application. The Apache child checks the same again, because it cannot trust a worker.

use wire::frame::Kind;
use wire::response::{self, MAX_HEADERS, MAX_HEADER_BYTES, MAX_HEADER_LINE};
use wire::Malformed;

/// Why `start_response` raises `ValueError`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidHeader(pub String);

fn invalid<T>(why: impl Into<String>) -> Result<T, InvalidHeader> {
    Err(InvalidHeader(why.into()))
}

/// Fields that belong to one connection and not to the response (RFC 9110 §7.6.1). An application
/// can't know the connection, so they are dropped: passed on, they let one response take over the
/// framing of the next. `Connection: close` is the exception: the child understands it as a wish and
/// lets httpd write the field itself.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The status line and header fields of a response, ready to be sent.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    pub status: u16,
    /// Reason phrase at the front, then names and values of the fields.
    text: Vec<u8>,
    reason: usize,
    /// Ends of name and value of each field in `text`.
    ends: Vec<(usize, usize)>,
    /// The body's length as the application declared it.
    pub content_length: Option<u64>,
    /// A hop-by-hop field was dropped: its name.
    pub dropped: Option<&'static str>,
}

impl ResponseHead {
    /// Reads a status such as `200 OK`.
    pub fn new(status: &[u8]) -> Result<Self, InvalidHeader> {
        let (digits, rest) = status.split_at(status.len().min(3));
        if digits.len() != 3 || !digits.iter().all(u8::is_ascii_digit) {
            return invalid(format!(
                "the status must begin with three digits, as in '200 OK', and not be '{}'",
                shown(status)
            ));
        }
        let reason = match rest {
            [] => rest,
            [b' ', reason @ ..] => reason,
            _ => {
                return invalid(format!(
                    "the status code must be three digits followed by a blank, which '{}' is not",
                    shown(status)
                ))
            }
        };
        if !response::valid_reason(reason) {
            return invalid(format!(
                "the reason phrase of the status contains a control character: '{}'",
                shown(status)
            ));
        }
        if reason.len() > MAX_HEADER_LINE {
            return invalid("the reason phrase of the status is too long");
        }
        let code = digits
            .iter()
            .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
        if code < 200 {
            return invalid(format!(
                "{code} is an interim status and can't end a response; \
                 environ['wsgi.early_hints'] sends 103"
            ));
        }
        Ok(Self {
            status: code,
            text: reason.to_vec(),
            reason: reason.len(),
            ..Self::default()
        })
    }

    /// A head that carries header fields only: of an interim response.
    pub fn interim(status: u16, reason: &str) -> Self {
        Self {
            status,
            text: reason.as_bytes().to_vec(),
            reason: reason.len(),
            ..Self::default()
        }
    }

    /// Adds a field after checking it; drops one that is hop-by-hop.
    pub fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidHeader> {
        if name.is_empty() {
            return invalid("the name of a header is empty");
        }
        if !response::valid_name(name) {
            return invalid(format!("header name '{}' is not a token", shown(name)));
        }
        if !response::valid_value(value) {
            // The value itself may be a secret, and this goes to the log.
            let found = value
                .iter()
                .position(|byte| !response::valid_value(&[*byte]));
            let at = found.unwrap_or_default();
            return invalid(format!(
                "the value of header '{}' contains a control character: '{}' at position {at}",
                shown(name),
                value.get(at..=at).unwrap_or_default().escape_ascii()
            ));
        }
        if name.len() + value.len() > MAX_HEADER_LINE {
            return invalid(format!(
                "header '{}' is longer than {MAX_HEADER_LINE} bytes",
                shown(name)
            ));
        }
        if let Some(hop) = HOP_BY_HOP
            .iter()
            .find(|hop| name.eq_ignore_ascii_case(hop.as_bytes()))
        {
            if *hop == "connection" && closes(value) {
                return self.push(b"Connection", b"close");
            }
            self.dropped.get_or_insert(hop);
            return Ok(());
        }
        if name.eq_ignore_ascii_case(b"content-length") && self.status >= 200 {
            return self.declare_length(name, value);
        }
        self.push(name, value)
    }

    /// Writes each word of the field names with a capital letter and the rest small.
    pub fn capitalise(&mut self) {
        let mut start = self.reason;
        for &(name_end, end) in &self.ends {
            let mut inside = false;
            for byte in &mut self.text[start..name_end] {
                *byte = match inside {
                    true => byte.to_ascii_lowercase(),
                    false => byte.to_ascii_uppercase(),
                };
                inside = *byte != b'-';
            }
            start = end;
        }
    }

    fn declare_length(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidHeader> {
        let digits = value.trim_ascii();
        let length = match std::str::from_utf8(digits).ok().map(str::parse::<u64>) {
            // `parse` takes a sign; the grammar does not.
            Some(Ok(length)) if digits[0].is_ascii_digit() && length <= i64::MAX as u64 => length,
            _ => {
                return invalid(format!(
                    "Content-Length must be a number of bytes and not '{}'",
                    shown(value)
                ))
            }
        };
        match self.content_length {
            None => {
                self.content_length = Some(length);
                self.push(name, digits)
            }
            Some(earlier) if earlier == length => Ok(()),
            Some(earlier) => invalid(format!(
                "Content-Length is given twice, as {earlier} and as {length}"
            )),
        }
    }

    fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidHeader> {
        if self.ends.len() == usize::from(MAX_HEADERS) {
            return invalid(format!("more than {MAX_HEADERS} header fields"));
        }
        // Each field costs six bytes of lengths on the wire.
        let total = self.text.len() + name.len() + value.len() + 6 * (self.ends.len() + 2);
        if total > MAX_HEADER_BYTES {
            return invalid(format!(
                "header fields of more than {MAX_HEADER_BYTES} bytes"
            ));
        }
        self.text.extend_from_slice(name);
        let name_end = self.text.len();
        self.text.extend_from_slice(value);
        self.ends.push((name_end, self.text.len()));
        Ok(())
    }

    /// Declares the length of the body where the application did not.
    pub fn set_length(&mut self, length: u64) -> Result<(), InvalidHeader> {
        if self.content_length.is_some() {
            return Ok(());
        }
        self.declare_length(b"Content-Length", length.to_string().as_bytes())
    }

    /// Whether this response has a body at all, whatever the application yields.
    pub fn bodiless(&self) -> bool {
        matches!(self.status, 204 | 304)
    }

    pub fn reason(&self) -> &[u8] {
        &self.text[..self.reason]
    }

    /// Name and value of each field.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.ends.iter().enumerate().map(|(i, &(name_end, end))| {
            let start = if i == 0 {
                self.reason
            } else {
                self.ends[i - 1].1
            };
            (&self.text[start..name_end], &self.text[name_end..end])
        })
    }

    /// Appends the head as a frame.
    pub fn append(&self, out: &mut Vec<u8>, kind: Kind) -> Result<(), Malformed> {
        response::append_head(out, kind, self.status, self.reason(), self.fields())
    }
}

/// As much of a name or value as a message shows.
fn shown(bytes: &[u8]) -> impl std::fmt::Display + '_ {
    bytes[..bytes.len().min(80)].escape_ascii()
}

/// Whether a `Connection` field asks for the end of the connection.
fn closes(value: &[u8]) -> bool {
    value
        .split(|&byte| byte == b',')
        .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(result: Result<impl Sized, InvalidHeader>) -> String {
        result.err().expect("invalid").0
    }

    #[test]
    fn statuses_are_three_digits_and_a_reason() {
        assert_eq!(ResponseHead::new(b"200 OK").unwrap().reason(), b"OK");
        assert_eq!(ResponseHead::new(b"404").unwrap().status, 404);
        for bad in [
            &b""[..],
            b"20",
            b"2000 OK",
            b"200OK",
            b"abc x",
            b"200 a\r\nb",
        ] {
            assert!(ResponseHead::new(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert!(why(ResponseHead::new(b"101 Switching Protocols")).contains("interim"));
        assert!(why(ResponseHead::new(b"103 Early Hints")).contains("early_hints"));
    }

    #[test]
    fn fields_keep_their_order_and_duplicates() {
        let mut head = ResponseHead::new(b"200 OK").unwrap();
        head.field(b"Set-Cookie", b"a=1").unwrap();
        head.field(b"Set-Cookie", b"b=2").unwrap();
        head.field(b"X-Empty", b"").unwrap();
        let fields: Vec<_> = head.fields().collect();
        assert_eq!(
            fields,
            [
                (&b"Set-Cookie"[..], &b"a=1"[..]),
                (b"Set-Cookie", b"b=2"),
                (b"X-Empty", b"")
            ]
        );
    }

    #[test]
    fn hop_by_hop_fields_never_leave() {
        let mut head = ResponseHead::new(b"200 OK").unwrap();
        for name in ["Transfer-Encoding", "Connection", "TE", "Proxy-Connection"] {
            head.field(name.as_bytes(), b"x").unwrap();
        }
        assert_eq!(head.fields().len(), 0);
        assert_eq!(head.dropped, Some("transfer-encoding"));
        let mut head = ResponseHead::new(b"200 OK").unwrap();
        head.field(b"connection", b"foo, Close").unwrap();
        let fields: Vec<_> = head.fields().collect();
        assert_eq!(fields, [(&b"Connection"[..], &b"close"[..])]);
        assert_eq!(head.dropped, None);
    }

    #[test]
    fn a_content_length_is_digits_and_duplicates_agree() {
        for bad in ["-5", "+3", "1,1", "", "0x10", "9223372036854775808", "1 2"] {
            let mut head = ResponseHead::new(b"200 OK").unwrap();
            assert!(
                head.field(b"Content-Length", bad.as_bytes()).is_err(),
                "{bad}"
            );
        }
        let mut head = ResponseHead::new(b"200 OK").unwrap();
        head.field(b"Content-Length", b"5").unwrap();
        head.field(b"content-length", b"5").unwrap();
        assert_eq!((head.content_length, head.fields().len()), (Some(5), 1));
        assert!(why(head.field(b"Content-Length", b"6")).contains("twice"));
    }

    #[test]
    fn controls_and_too_many_or_too_long_fields_are_refused() {
        let mut head = ResponseHead::new(b"200 OK").unwrap();
        assert!(head.field(b"X", b"a\0b").is_err());
        assert!(head.field(b"X Y", b"").is_err());
        assert!(head.field(b"X", &vec![b'a'; MAX_HEADER_LINE]).is_err());
        for _ in 0..MAX_HEADERS {
            head.field(b"X", b"").unwrap();
        }
        assert!(head.field(b"X", b"").is_err());
        let mut head = ResponseHead::new(b"200 OK").unwrap();
        let long = vec![b'a'; 60_000];
        let taken = (0..100)
            .take_while(|_| head.field(b"X", &long).is_ok())
            .count();
        assert_eq!(taken, 17);
        let mut out = Vec::new();
        head.append(&mut out, Kind::Head)
            .expect("what was taken can be sent");
    }
}
