//! The request that an Apache child sends to a worker: one message, without a handshake.

use std::time::Duration;

use crate::codec::{Malformed, Reader, Writer};
use crate::frame::{self, Kind};
use crate::hook::Role;
use crate::keys;

/// How long a request may stay unread on a pooled connection before the child withdraws it: the
/// child shuts down its side of the connection and sends the request to another worker.
pub const WITHDRAWN_AFTER: Duration = Duration::from_secs(1);

/// Most entries of an environ.
pub const MAX_ENTRIES: u32 = 4096;

/// What a worker needs to know besides the environ, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// `WSGIScriptReloading On`: compare the script's modification time before running it.
    pub const RELOAD: u32 = 1 << 0;
    /// The message holds the whole request body; no `Pull` is needed.
    pub const BODY_WHOLE: u32 = 1 << 1;
    /// The client waits for `100 Continue` before it sends the body.
    pub const EXPECTS_CONTINUE: u32 = 1 << 2;
    /// The client speaks HTTP/1.0 or older: no interim responses.
    pub const HTTP_1_0: u32 = 1 << 3;
    /// `WSGIIgnoreActivity On`.
    pub const IGNORE_ACTIVITY: u32 = 1 << 4;
    /// The method is HEAD, and the application sees it as HEAD: the worker need not send a body.
    pub const HEAD: u32 = 1 << 5;
    /// `WSGIEventletCompat On`.
    pub const EVENTLET: u32 = 1 << 6;
    /// The child is ready to reuse the connection for another request.
    pub const KEEP: u32 = 1 << 7;
    /// A client can choose the name of the application group: such interpreters have a bound of
    /// their own.
    pub const NAMED_BY_CLIENT: u32 = 1 << 8;
    const ALL: u32 = (1 << 9) - 1;

    pub fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }
}

/// The fields in front of the environ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prologue<'a> {
    pub flags: Flags,
    /// What is to be done with it.
    pub role: Role,
    /// The group's secret; the worker compares it in constant time.
    pub key: [u8; 16],
    /// When Apache began the request, microseconds since the epoch.
    pub request_start: u64,
    /// When the child sent this message, microseconds since the epoch.
    pub queue_start: u64,
    /// The same moment in microseconds of the monotonic clock, which all processes of the machine
    /// share and nobody sets.
    pub sent: u64,
    /// Content-Length of the request; `None` if the client declared none.
    pub content_length: Option<u64>,
    /// Absolute path of the `.wsgi` file.
    pub script: &'a [u8],
    /// Resolved application group; empty is the main interpreter.
    pub application_group: &'a [u8],
    /// Name of the callable in the script.
    pub callable: &'a [u8],
}

/// Writes a [`Kind::Request`] frame into a buffer that can be used again.
#[derive(Debug)]
pub struct Builder<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    count_at: usize,
    count: u32,
}

impl<'a> Builder<'a> {
    /// Begins a message at the end of `out`.
    ///
    /// # Errors
    /// [`Malformed::TooLong`] where script, application group or callable exceed 65,535 bytes.
    pub fn new(out: &'a mut Vec<u8>, prologue: &Prologue<'_>) -> Result<Self, Malformed> {
        let start = out.len();
        out.extend_from_slice(&[0; frame::HEAD_LEN]);
        let mut w = Writer::new(out);
        w.u32(prologue.flags.0);
        w.u8(prologue.role as u8);
        w.raw(&prologue.key);
        w.u64(prologue.request_start);
        w.u64(prologue.queue_start);
        w.u64(prologue.sent);
        w.u64(prologue.content_length.unwrap_or(u64::MAX));
        for text in [
            prologue.script,
            prologue.application_group,
            prologue.callable,
        ] {
            w.short(text)?;
        }
        let count_at = out.len();
        out.extend_from_slice(&[0; 4]);
        Ok(Self {
            out,
            start,
            count_at,
            count: 0,
        })
    }

    /// Adds a key by its code of [`keys`].
    pub fn known(&mut self, code: u8, value: &[u8]) -> Result<(), Malformed> {
        debug_assert!(keys::name(code).is_some());
        self.entry()?;
        let mut w = Writer::new(self.out);
        w.u8(code);
        w.long(value)
    }

    /// Adds a key by its name.
    pub fn named(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        if let Some(code) = keys::find(name) {
            return self.known(code, value);
        }
        self.entry()?;
        let mut w = Writer::new(self.out);
        w.u8(0);
        w.short(name)?;
        w.long(value)
    }

    fn entry(&mut self) -> Result<(), Malformed> {
        if self.count == MAX_ENTRIES {
            return Err(Malformed::TooLong);
        }
        self.count += 1;
        Ok(())
    }

    /// Ends the message with the part of the body that travels with it.
    ///
    /// # Errors
    /// [`Malformed::TooLong`] past the bound of [`Kind::Request`].
    pub fn finish(self, body: &[u8]) -> Result<(), Malformed> {
        Writer::new(self.out).long(body)?;
        self.out[self.count_at..self.count_at + 4].copy_from_slice(&self.count.to_le_bytes());
        let head = frame::head(Kind::Request, self.out.len() - self.start - frame::HEAD_LEN)?;
        self.out[self.start..self.start + frame::HEAD_LEN].copy_from_slice(&head);
        Ok(())
    }
}

/// A decoded request; borrows from the message.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    pub prologue: Prologue<'a>,
    pub environ: Environ<'a>,
    /// The first bytes of the body; all of it with [`Flags::BODY_WHOLE`].
    pub body: &'a [u8],
}

/// The environ of a request: a list of keys and values that [`decode`] has checked.
#[derive(Debug, Clone)]
pub struct Environ<'a> {
    count: u32,
    entries: &'a [u8],
}

/// Name of one environ entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// Code of [`keys`]; never 0 and always known.
    Known(u8),
    Named(&'a [u8]),
}

impl<'a> Environ<'a> {
    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = (Key<'a>, &'a [u8])> {
        let mut reader = Reader::new(self.entries);
        // `decode` walked the same bytes to their end, so the iterator stops only there.
        std::iter::from_fn(move || entry(&mut reader).ok())
    }
}

fn entry<'a>(reader: &mut Reader<'a>) -> Result<(Key<'a>, &'a [u8]), Malformed> {
    let key = match reader.u8()? {
        0 => Key::Named(reader.short()?),
        code if usize::from(code) <= keys::KNOWN.len() => Key::Known(code),
        code => return Err(Malformed::Unknown(code)),
    };
    Ok((key, reader.long(Kind::Request.max_len())?))
}

/// Decodes the payload of a [`Kind::Request`] frame.
pub fn decode(payload: &[u8]) -> Result<Request<'_>, Malformed> {
    let mut r = Reader::new(payload);
    let flags = Flags(r.u32()?);
    if flags.0 & !Flags::ALL != 0 {
        return Err(Malformed::Invalid);
    }
    let prologue = Prologue {
        flags,
        role: Role::from_u8(r.u8()?)?,
        key: r.bytes16()?,
        request_start: r.u64()?,
        queue_start: r.u64()?,
        sent: r.u64()?,
        content_length: Some(r.u64()?).filter(|&n| n != u64::MAX),
        script: r.short()?,
        application_group: r.short()?,
        callable: r.short()?,
    };
    let count = r.u32()?;
    if count > MAX_ENTRIES {
        return Err(Malformed::TooLong);
    }
    let entries = r.rest();
    for _ in 0..count {
        entry(&mut r)?;
    }
    let entries = &entries[..entries.len() - r.rest().len()];
    let body = r.long(Kind::Request.max_len())?;
    r.finish()?;
    Ok(Request {
        prologue,
        environ: Environ { count, entries },
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prologue() -> Prologue<'static> {
        Prologue {
            flags: Flags(Flags::RELOAD | Flags::BODY_WHOLE),
            role: Role::Groups,
            key: [7; 16],
            request_start: 1,
            queue_start: 2,
            sent: 3,
            content_length: Some(4),
            script: b"/srv/shop.wsgi",
            application_group: b"",
            callable: b"application",
        }
    }

    fn message() -> Vec<u8> {
        let mut out = Vec::new();
        let mut b = Builder::new(&mut out, &prologue()).unwrap();
        b.known(keys::code("PATH_INFO"), b"/x").unwrap();
        b.named(b"HTTP_X_OWN", b"1").unwrap();
        b.named(b"HTTP_HOST", b"shop").unwrap();
        b.finish(b"body").unwrap();
        out
    }

    #[test]
    fn a_request_round_trips_and_every_prefix_is_truncated() {
        let out = message();
        let (frame, payload, rest) = frame::split(&out).unwrap().unwrap();
        assert_eq!((frame.kind, rest.len()), (Kind::Request, 0));
        for cut in 0..payload.len() {
            assert_eq!(decode(&payload[..cut]).unwrap_err(), Malformed::Truncated);
        }
        let request = decode(payload).unwrap();
        assert_eq!(request.prologue, prologue());
        assert_eq!(request.body, b"body");
        let entries: Vec<_> = request.environ.iter().collect();
        assert_eq!(
            entries,
            [
                (Key::Known(keys::code("PATH_INFO")), &b"/x"[..]),
                (Key::Named(b"HTTP_X_OWN"), b"1"),
                (Key::Known(keys::code("HTTP_HOST")), b"shop"),
            ]
        );
    }

    #[test]
    fn an_unknown_flag_or_key_code_is_refused() {
        let mut out = message();
        out[frame::HEAD_LEN + 3] = 0x80;
        assert_eq!(
            decode(&out[frame::HEAD_LEN..]).unwrap_err(),
            Malformed::Invalid
        );
    }

    #[test]
    fn more_entries_than_the_bound_are_refused_by_the_builder() {
        let mut out = Vec::new();
        let mut b = Builder::new(&mut out, &prologue()).unwrap();
        for _ in 0..MAX_ENTRIES {
            b.known(1, b"").unwrap();
        }
        assert_eq!(b.known(1, b""), Err(Malformed::TooLong));
    }
}
