//! The head that stands before every message: kind, version, length.
//!
//! Eight bytes, little-endian: `kind: u8, version: u8, reserved: u16 = 0, length: u32`, followed by
//! `length` bytes of payload. Connections are reused, so a frame says where it ends.

use crate::codec::{Malformed, Reader};

/// Version of all messages. Workers of two generations may run side by side, but each is started
/// from files of one installation, so a difference means a half-done upgrade and is refused.
pub const VERSION: u8 = 2;
/// Bytes of a frame head.
pub const HEAD_LEN: usize = 8;

/// What the payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    // child to worker
    /// [`crate::request::Request`]; first and once.
    Request = 1,
    /// Bytes of the request body.
    Body = 2,
    /// The body is complete; no payload.
    BodyEnd = 3,
    /// The body will not be complete: [`crate::response::BodyFailure`] as one byte.
    BodyFailed = 4,
    /// [`crate::response::Sent`]: how the response went. Nothing follows.
    Sent = 5,

    // worker to child
    /// The application reads its input: send the body; no payload. At most once.
    Pull = 16,
    /// [`crate::response::Head`] with a status of 100, 102 or 103.
    Interim = 17,
    /// [`crate::response::Head`]; once.
    Head = 18,
    /// Bytes of the response body.
    Data = 19,
    /// [`crate::response::File`]; one descriptor travels with its first byte, or with that of the
    /// `Head` directly before it.
    File = 20,
    /// [`crate::response::Log`].
    Log = 21,
    /// [`crate::response::Retry`]: nothing has run, connect again. Last.
    Retry = 22,
    /// [`crate::response::Fail`]: the application gave no usable response. Last.
    Fail = 23,
    /// [`crate::response::End`]: the response is complete. Last.
    End = 24,
    /// [`crate::hook::Answer`]: what a script says to the question of a hook; once.
    Answer = 25,

    // control
    /// [`crate::control::ToSupervisor`].
    ToSupervisor = 32,
    /// [`crate::control::FromSupervisor`].
    FromSupervisor = 33,
    /// [`crate::control::ToWorker`].
    ToWorker = 34,
    /// [`crate::control::FromWorker`].
    FromWorker = 35,
}

impl Kind {
    fn from_u8(kind: u8) -> Option<Self> {
        Some(match kind {
            1 => Self::Request,
            2 => Self::Body,
            3 => Self::BodyEnd,
            4 => Self::BodyFailed,
            5 => Self::Sent,
            16 => Self::Pull,
            17 => Self::Interim,
            18 => Self::Head,
            19 => Self::Data,
            20 => Self::File,
            21 => Self::Log,
            22 => Self::Retry,
            23 => Self::Fail,
            24 => Self::End,
            25 => Self::Answer,
            32 => Self::ToSupervisor,
            33 => Self::FromSupervisor,
            34 => Self::ToWorker,
            35 => Self::FromWorker,
            _ => return None,
        })
    }

    /// The longest payload a frame of this kind may announce, in bytes.
    ///
    /// The receivers of `Data` and `Body` stream them through a smaller buffer, so these bounds do
    /// not say how much memory a frame takes.
    pub const fn max_len(self) -> usize {
        match self {
            Self::Request => 16 << 20,
            Self::Body => 1 << 20,
            Self::Data => 1 << 30,
            Self::Head | Self::Interim => (1 << 20) + (64 << 10),
            Self::Log | Self::Answer => (64 << 10) + 64,
            Self::Fail => (8 << 10) + 64,
            Self::ToSupervisor | Self::FromSupervisor | Self::ToWorker | Self::FromWorker => {
                crate::control::MAX_MESSAGE - HEAD_LEN
            }
            Self::BodyEnd | Self::Pull => 0,
            Self::BodyFailed | Self::Retry => 1,
            Self::Sent => 9,
            Self::File => 16,
            Self::End => 256,
        }
    }
}

/// A decoded frame head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    /// Payload bytes that follow; at most [`Kind::max_len`].
    pub len: usize,
}

/// Reads a frame head.
pub fn parse(head: &[u8; HEAD_LEN]) -> Result<Frame, Malformed> {
    let [kind, version, r0, r1, l0, l1, l2, l3] = *head;
    if version != VERSION {
        return Err(Malformed::Unknown(version));
    }
    let kind = Kind::from_u8(kind).ok_or(Malformed::Unknown(kind))?;
    if [r0, r1] != [0, 0] {
        return Err(Malformed::Invalid);
    }
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if len > kind.max_len() {
        return Err(Malformed::TooLong);
    }
    Ok(Frame { kind, len })
}

/// The head of a frame with `len` payload bytes.
///
/// # Errors
/// [`Malformed::TooLong`] past [`Kind::max_len`].
pub fn head(kind: Kind, len: usize) -> Result<[u8; HEAD_LEN], Malformed> {
    if len > kind.max_len() {
        return Err(Malformed::TooLong);
    }
    let [l0, l1, l2, l3] = (len as u32).to_le_bytes();
    Ok([kind as u8, VERSION, 0, 0, l0, l1, l2, l3])
}

/// Appends a frame whose payload `body` writes.
///
/// # Errors
/// Those of `body`, and [`Malformed::TooLong`]. In both cases `out` is unchanged.
pub fn append<E: From<Malformed>>(
    out: &mut Vec<u8>,
    kind: Kind,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_LEN]);
    let result = body(out).and_then(|()| {
        let head = head(kind, out.len() - start - HEAD_LEN)?;
        out[start..start + HEAD_LEN].copy_from_slice(&head);
        Ok(())
    });
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// A frame's head, its payload, and what follows it.
pub type Split<'a> = (Frame, &'a [u8], &'a [u8]);

/// Splits one whole frame off the front of `input`; `None` if it is not complete yet.
pub fn split(input: &[u8]) -> Result<Option<Split<'_>>, Malformed> {
    let Some((head, rest)) = input.split_first_chunk::<HEAD_LEN>() else {
        return Ok(None);
    };
    let frame = parse(head)?;
    Ok(rest
        .split_at_checked(frame.len)
        .map(|(payload, rest)| (frame, payload, rest)))
}

/// Reads the one frame that a packet holds.
pub fn only(packet: &[u8], kind: Kind) -> Result<Reader<'_>, Malformed> {
    match split(packet)? {
        None => Err(Malformed::Truncated),
        Some((frame, payload, [])) if frame.kind == kind => Ok(Reader::new(payload)),
        Some((_, _, [])) => Err(Malformed::Unknown(packet[0])),
        Some(_) => Err(Malformed::Trailing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_round_trip_for_every_kind_byte_or_are_refused() {
        for byte in 0..=255u8 {
            let raw = [byte, VERSION, 0, 0, 0, 0, 0, 0];
            match parse(&raw) {
                Ok(frame) => assert_eq!(head(frame.kind, 0), Ok(raw)),
                Err(why) => assert_eq!(why, Malformed::Unknown(byte)),
            }
        }
    }

    #[test]
    fn a_length_over_the_bound_of_its_kind_is_refused_both_ways() {
        let max = Kind::Log.max_len();
        assert!(head(Kind::Log, max).is_ok());
        assert_eq!(head(Kind::Log, max + 1), Err(Malformed::TooLong));
        let [a, b, c, d] = (max as u32 + 1).to_le_bytes();
        assert_eq!(
            parse(&[Kind::Log as u8, VERSION, 0, 0, a, b, c, d]),
            Err(Malformed::TooLong)
        );
    }

    #[test]
    fn another_version_is_refused() {
        assert_eq!(parse(&[1, 9, 0, 0, 0, 0, 0, 0]), Err(Malformed::Unknown(9)));
    }

    #[test]
    fn a_frame_is_split_off_only_when_whole() {
        let mut out = Vec::new();
        append::<Malformed>(&mut out, Kind::Data, |o| {
            o.extend_from_slice(b"hello");
            Ok(())
        })
        .unwrap();
        out.push(9);
        for cut in 0..HEAD_LEN + 5 {
            assert_eq!(split(&out[..cut]), Ok(None));
        }
        let (frame, payload, rest) = split(&out).unwrap().unwrap();
        assert_eq!(
            (frame.kind, payload, rest),
            (Kind::Data, &b"hello"[..], &[9][..])
        );
    }

    #[test]
    fn a_failed_append_leaves_the_buffer_as_it_was() {
        let mut out = vec![1, 2];
        let failed = append(&mut out, Kind::Data, |o| {
            o.push(3);
            Err(Malformed::Invalid)
        });
        assert_eq!((failed, out), (Err(Malformed::Invalid), vec![1, 2]));
    }
}
