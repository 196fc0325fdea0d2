//! The frames of a worker's response, and the frames that carry the request body to the worker.

use crate::codec::{Malformed, Reader, Writer};
use crate::frame::{self, Kind};

/// Most header fields of a response.
pub const MAX_HEADERS: u16 = 1000;
/// Most bytes of one header field, name and value together.
pub const MAX_HEADER_LINE: usize = 64 * 1024;
/// Most bytes of all header fields of a response.
pub const MAX_HEADER_BYTES: usize = 1 << 20;
/// Most interim responses of one request: three a minute for five hours.
pub const MAX_INTERIM: u32 = 1000;
/// Most bytes of text in one log record; a longer one is sent in pieces.
pub const MAX_LOG_TEXT: usize = 64 * 1024;

/// Status and header fields of the response or of an interim response.
///
/// Decoding checks sizes only. Both sides check the contents with [`valid_name`], [`valid_value`]
/// and [`valid_reason`]: the worker to raise an exception in the application, the child because an
/// attacker may control the worker.
#[derive(Debug, Clone)]
pub struct Head<'a> {
    pub status: u16,
    pub reason: &'a [u8],
    count: u16,
    fields: &'a [u8],
}

impl<'a> Head<'a> {
    /// Name and value of each field, in the application's order.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut reader = Reader::new(self.fields);
        std::iter::from_fn(move || field(&mut reader).ok())
    }

    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

fn field<'a>(r: &mut Reader<'a>) -> Result<(&'a [u8], &'a [u8]), Malformed> {
    let name = r.short()?;
    let value = r.long(MAX_HEADER_LINE)?;
    if name.len() + value.len() > MAX_HEADER_LINE {
        return Err(Malformed::TooLong);
    }
    Ok((name, value))
}

/// Decodes the payload of a [`Kind::Head`] or [`Kind::Interim`] frame.
pub fn decode_head(payload: &[u8]) -> Result<Head<'_>, Malformed> {
    let mut r = Reader::new(payload);
    let status = r.u16()?;
    let reason = r.short()?;
    let count = r.u16()?;
    if count > MAX_HEADERS {
        return Err(Malformed::TooLong);
    }
    let fields = r.rest();
    for _ in 0..count {
        field(&mut r)?;
    }
    let fields = &fields[..fields.len() - r.rest().len()];
    r.finish()?;
    Ok(Head {
        status,
        reason,
        count,
        fields,
    })
}

/// Appends a [`Kind::Head`] or [`Kind::Interim`] frame.
///
/// # Errors
/// [`Malformed::TooLong`] past one of the bounds above; `out` is as before then.
pub fn append_head<'h>(
    out: &mut Vec<u8>,
    kind: Kind,
    status: u16,
    reason: &[u8],
    fields: impl ExactSizeIterator<Item = (&'h [u8], &'h [u8])>,
) -> Result<(), Malformed> {
    frame::append(out, kind, |out| {
        let count = u16::try_from(fields.len()).map_err(|_| Malformed::TooLong)?;
        if count > MAX_HEADERS {
            return Err(Malformed::TooLong);
        }
        let start = out.len();
        let mut w = Writer::new(out);
        w.u16(status);
        w.short(reason)?;
        w.u16(count);
        for (name, value) in fields {
            if name.len() + value.len() > MAX_HEADER_LINE {
                return Err(Malformed::TooLong);
            }
            w.short(name)?;
            w.long(value)?;
        }
        if out.len() - start > MAX_HEADER_BYTES {
            return Err(Malformed::TooLong);
        }
        Ok(())
    })
}

/// Whether `name` is a token of RFC 9110 §5.1.
pub fn valid_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// Whether `value` holds no control character but tab (RFC 9110 §5.5).
pub fn valid_value(value: &[u8]) -> bool {
    value
        .iter()
        .all(|&b| b == b'\t' || (b >= 0x20 && b != 0x7f))
}

/// Whether `reason` may stand on a status line (RFC 9112 §4).
pub fn valid_reason(reason: &[u8]) -> bool {
    valid_value(reason)
}

/// A part of a file; the file's descriptor travels with the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Bytes to send.
    pub len: u64,
}

impl File {
    pub fn append(self, out: &mut Vec<u8>) {
        let done: Result<(), Malformed> = frame::append(out, Kind::File, |out| {
            let mut w = Writer::new(out);
            w.u64(self.offset);
            w.u64(self.len);
            Ok(())
        });
        debug_assert!(done.is_ok());
    }

    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let file = Self {
            offset: r.u64()?,
            len: r.u64()?,
        };
        r.finish()?;
        // apr_off_t is signed, and offset + len is where the file bucket ends.
        match file.offset.checked_add(file.len) {
            Some(end) if end <= i64::MAX as u64 => Ok(file),
            _ => Err(Malformed::Invalid),
        }
    }
}

/// Severity of a log record: the numbers of httpd's `APLOG_*` and of syslog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    Critical = 2,
    Error = 3,
    Warning = 4,
    Notice = 5,
    Info = 6,
    Debug = 7,
}

impl Level {
    pub fn from_u8(level: u8) -> Result<Self, Malformed> {
        Ok(match level {
            2 => Self::Critical,
            3 => Self::Error,
            4 => Self::Warning,
            5 => Self::Notice,
            6 => Self::Info,
            7 => Self::Debug,
            other => return Err(Malformed::Unknown(other)),
        })
    }
}

/// A record for the error log of the virtual host that serves the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log<'a> {
    pub level: Level,
    /// One record; may hold newlines. Any bytes: the reader escapes them.
    pub text: &'a [u8],
}

impl<'a> Log<'a> {
    /// Appends the record; text past [`MAX_LOG_TEXT`] is cut off.
    pub fn append(self, out: &mut Vec<u8>) {
        let text = &self.text[..self.text.len().min(MAX_LOG_TEXT)];
        let done: Result<(), Malformed> = frame::append(out, Kind::Log, |out| {
            let mut w = Writer::new(out);
            w.u8(self.level as u8);
            w.raw(text);
            Ok(())
        });
        debug_assert!(done.is_ok());
    }

    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        Ok(Self {
            level: Level::from_u8(r.u8()?)?,
            text: r.rest(),
        })
    }
}

/// Why a worker returns a request that no application code has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Retry {
    /// The script has changed; a successor with the new code is on its way.
    Stale = 1,
    /// The worker is shutting down.
    Draining = 2,
    /// The child withdrew the request while the worker read it from the socket.
    Withdrawn = 3,
}

impl Retry {
    pub fn append(self, out: &mut Vec<u8>) {
        append_byte(out, Kind::Retry, self as u8);
    }

    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        match payload {
            [1] => Ok(Self::Stale),
            [2] => Ok(Self::Draining),
            [3] => Ok(Self::Withdrawn),
            [other] => Err(Malformed::Unknown(*other)),
            [] => Err(Malformed::Truncated),
            _ => Err(Malformed::Trailing),
        }
    }
}

/// The application gave no usable response. A worker sends it only instead of a head.
///
/// Tracebacks and other text for the log precede it as [`Log`] records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fail<'a> {
    /// 403 or 500 to 599; anything else is refused.
    pub status: u16,
    /// A sentence for the log; empty if the preceding records say everything.
    pub text: &'a [u8],
}

impl<'a> Fail<'a> {
    /// Appends the frame; text past 8 KiB is cut off.
    pub fn append(self, out: &mut Vec<u8>) {
        let text = &self.text[..self.text.len().min(8 << 10)];
        let done: Result<(), Malformed> = frame::append(out, Kind::Fail, |out| {
            let mut w = Writer::new(out);
            w.u16(self.status);
            w.raw(text);
            Ok(())
        });
        debug_assert!(done.is_ok());
    }

    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let status = r.u16()?;
        // 403: the script may not be run. That is no error of the application.
        if status != 403 && !(500..=599).contains(&status) {
            return Err(Malformed::Invalid);
        }
        Ok(Self {
            status,
            text: r.rest(),
        })
    }
}

/// How the response ended. The child sends it to a worker that requested it with [`End::awaited`],
/// or that is not finished when the client disconnects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// The client disconnected before it had the whole response.
    pub aborted: bool,
    /// Bytes of the response body that were sent to the network.
    pub bytes: u64,
}

impl Sent {
    pub fn append(self, out: &mut Vec<u8>) {
        let done: Result<(), Malformed> = frame::append(out, Kind::Sent, |out| {
            let mut w = Writer::new(out);
            w.u8(u8::from(self.aborted));
            w.u64(self.bytes);
            Ok(())
        });
        debug_assert!(done.is_ok());
    }

    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let sent = Self {
            aborted: match r.u8()? {
                0 => false,
                1 => true,
                _ => return Err(Malformed::Invalid),
            },
            bytes: r.u64()?,
        };
        r.finish()?;
        Ok(sent)
    }
}

/// The last frame of a complete response. Times are microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct End {
    /// The application raised, or sent fewer bytes than it declared: the client must see that the
    /// response is broken.
    pub broken: bool,
    /// The worker waits for [`Sent`] before it closes the connection.
    pub awaited: bool,
    /// The worker waits for another request on the connection, or closes it without reading one.
    pub keep_alive: bool,
    /// From the moment the child sent the request to the moment a thread began with it.
    pub queue_time: u64,
    /// From the call of the application to the end of its iteration.
    pub application_time: u64,
    /// The worker's process.
    pub pid: u32,
    /// The worker's thread, counted from 1 in its process.
    pub thread: u32,
}

impl End {
    pub fn append(self, out: &mut Vec<u8>) {
        let done: Result<(), Malformed> = frame::append(out, Kind::End, |out| {
            let mut w = Writer::new(out);
            let flags = [self.broken, self.awaited, self.keep_alive];
            w.u8((0..).zip(flags).map(|(bit, on)| u8::from(on) << bit).sum());
            w.u64(self.queue_time);
            w.u64(self.application_time);
            w.u32(self.pid);
            w.u32(self.thread);
            Ok(())
        });
        debug_assert!(done.is_ok());
    }

    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let flags = r.u8()?;
        if flags > 7 {
            return Err(Malformed::Invalid);
        }
        let end = Self {
            broken: flags & 1 != 0,
            awaited: flags & 2 != 0,
            keep_alive: flags & 4 != 0,
            queue_time: r.u64()?,
            application_time: r.u64()?,
            pid: r.u32()?,
            thread: r.u32()?,
        };
        r.finish()?;
        Ok(end)
    }
}

/// Why the request body ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum BodyFailure {
    /// The client closed its connection.
    ClientGone = 1,
    /// The client sent nothing for as long as httpd waits.
    Timeout = 2,
    /// `LimitRequestBody` was passed.
    TooLarge = 3,
    /// The client broke the framing of the body.
    Malformed = 4,
}

impl BodyFailure {
    pub fn append(self, out: &mut Vec<u8>) {
        append_byte(out, Kind::BodyFailed, self as u8);
    }

    pub fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        match payload {
            [1] => Ok(Self::ClientGone),
            [2] => Ok(Self::Timeout),
            [3] => Ok(Self::TooLarge),
            [4] => Ok(Self::Malformed),
            [other] => Err(Malformed::Unknown(*other)),
            [] => Err(Malformed::Truncated),
            _ => Err(Malformed::Trailing),
        }
    }
}

fn append_byte(out: &mut Vec<u8>, kind: Kind, byte: u8) {
    let done: Result<(), Malformed> = frame::append(out, kind, |out| {
        out.push(byte);
        Ok(())
    });
    debug_assert!(done.is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(message: &[u8]) -> &[u8] {
        let (_, payload, rest) = frame::split(message).unwrap().unwrap();
        assert!(rest.is_empty());
        payload
    }

    #[test]
    fn a_head_round_trips_and_every_prefix_is_truncated() {
        let mut out = Vec::new();
        let fields = [
            (&b"Content-Type"[..], &b"text/plain"[..]),
            (b"Set-Cookie", b"a=1"),
        ];
        append_head(&mut out, Kind::Head, 200, b"OK", fields.into_iter()).unwrap();
        let p = payload(&out);
        for cut in 0..p.len() {
            assert_eq!(decode_head(&p[..cut]).unwrap_err(), Malformed::Truncated);
        }
        let head = decode_head(p).unwrap();
        assert_eq!((head.status, head.reason, head.len()), (200, &b"OK"[..], 2));
        assert_eq!(head.fields().collect::<Vec<_>>(), fields);
    }

    #[test]
    fn a_head_over_a_bound_is_refused_and_leaves_the_buffer_alone() {
        let mut out = vec![1];
        let long = vec![b'x'; MAX_HEADER_LINE + 1];
        let one = [(&b"N"[..], &long[..])];
        let many = vec![(&b"N"[..], &b"v"[..]); usize::from(MAX_HEADERS) + 1];
        let total = vec![(&b"N"[..], &long[..MAX_HEADER_LINE - 1]); 17];
        for fields in [&one[..], &many, &total] {
            let refused = append_head(&mut out, Kind::Head, 200, b"", fields.iter().copied());
            assert_eq!((refused, &out[..]), (Err(Malformed::TooLong), &[1][..]));
        }
    }

    #[test]
    fn small_messages_round_trip_and_refuse_what_is_cut_or_longer() {
        let end = End {
            broken: true,
            awaited: true,
            keep_alive: true,
            queue_time: 1,
            application_time: 2,
            pid: 3,
            thread: 4,
        };
        let file = File { offset: 5, len: 6 };
        let mut out = Vec::new();
        end.append(&mut out);
        let p = payload(&out);
        assert_eq!(End::decode(p), Ok(end));
        for cut in 0..p.len() {
            assert_eq!(End::decode(&p[..cut]), Err(Malformed::Truncated));
        }
        assert_eq!(End::decode(&[p, &[0]].concat()), Err(Malformed::Trailing));
        assert_eq!(
            End::decode(&[&[8], &p[1..]].concat()),
            Err(Malformed::Invalid)
        );
        let sent = Sent {
            aborted: true,
            bytes: 7,
        };
        out.clear();
        sent.append(&mut out);
        let p = payload(&out);
        assert_eq!(Sent::decode(p), Ok(sent));
        for cut in 0..p.len() {
            assert_eq!(Sent::decode(&p[..cut]), Err(Malformed::Truncated));
        }
        assert_eq!(
            Sent::decode(&[&[2], &p[1..]].concat()),
            Err(Malformed::Invalid)
        );
        out.clear();
        file.append(&mut out);
        assert_eq!(File::decode(payload(&out)), Ok(file));
        let far = [u64::MAX.to_le_bytes(), 1u64.to_le_bytes()].concat();
        assert_eq!(File::decode(&far), Err(Malformed::Invalid));
    }

    #[test]
    fn a_failure_is_a_server_error() {
        let mut out = Vec::new();
        Fail {
            status: 500,
            text: b"no callable",
        }
        .append(&mut out);
        assert_eq!(
            Fail::decode(payload(&out)),
            Ok(Fail {
                status: 500,
                text: b"no callable"
            })
        );
        assert_eq!(Fail::decode(&[200, 0]), Err(Malformed::Invalid));
    }

    #[test]
    fn names_are_tokens_and_values_hold_no_controls() {
        assert!(valid_name(b"X-Own_2") && !valid_name(b"") && !valid_name(b"a b"));
        assert!(!valid_name(b"a:") && !valid_name("ä".as_bytes()));
        assert!(valid_value(b"a\tb \xe4") && !valid_value(b"a\r\nb") && !valid_value(b"a\0b"));
    }
}
