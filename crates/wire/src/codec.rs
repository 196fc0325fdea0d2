//! The primitives of every message: little-endian integers and length-prefixed byte strings.
//!
//! [`Reader`] and [`Writer`] serve the messages of the request path by hand; [`Field`] and
//! [`message!`](crate::message) make encoder and decoder of the control messages out of one list
//! of fields, so that the two cannot drift apart.

use std::fmt;
use std::time::Duration;

/// Why a message was refused. The connection to the peer is then useless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The message ends before the value that was announced.
    Truncated,
    /// Bytes follow the last value.
    Trailing,
    /// A length or count exceeds its bound.
    TooLong,
    /// A kind, version or variant this build does not know.
    Unknown(u8),
    /// A value outside its range.
    Invalid,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("message is cut short"),
            Self::Trailing => f.write_str("message has bytes after its end"),
            Self::TooLong => f.write_str("message exceeds its size limit"),
            Self::Unknown(tag) => write!(f, "message has unknown tag {tag}"),
            Self::Invalid => f.write_str("message has a value out of range"),
        }
    }
}

impl std::error::Error for Malformed {}

/// Takes values off the front of a slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[b]| b)
    }

    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_le_bytes)
    }

    pub fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_le_bytes)
    }

    pub fn bytes16(&mut self) -> Result<[u8; 16], Malformed> {
        self.array()
    }

    /// A byte string with a 16-bit length.
    pub fn short(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A byte string with a 32-bit length of at most `max` bytes.
    pub fn long(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        let len = self.u32()? as usize;
        if len > max {
            return Err(Malformed::TooLong);
        }
        self.take(len)
    }

    /// The bytes that are not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Refuses a message with bytes after its last value.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed::Trailing)
        }
    }
}

/// Appends values to a buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub fn u8(&mut self, v: u8) {
        self.out.push(v);
    }

    pub fn u16(&mut self, v: u16) {
        self.raw(&v.to_le_bytes());
    }

    pub fn u32(&mut self, v: u32) {
        self.raw(&v.to_le_bytes());
    }

    pub fn u64(&mut self, v: u64) {
        self.raw(&v.to_le_bytes());
    }

    pub fn i64(&mut self, v: i64) {
        self.raw(&v.to_le_bytes());
    }

    /// A byte string with a 16-bit length.
    ///
    /// # Errors
    /// [`Malformed::TooLong`] past 65,535 bytes; nothing is written then.
    pub fn short(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let len = u16::try_from(bytes.len()).map_err(|_| Malformed::TooLong)?;
        self.u16(len);
        self.raw(bytes);
        Ok(())
    }

    /// A byte string with a 32-bit length.
    ///
    /// # Errors
    /// [`Malformed::TooLong`] past 4 GiB; nothing is written then.
    pub fn long(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let len = u32::try_from(bytes.len()).map_err(|_| Malformed::TooLong)?;
        self.u32(len);
        self.raw(bytes);
        Ok(())
    }
}

/// A value that is part of a control message.
pub trait Field: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn get(input: &mut Reader<'_>) -> Result<Self, Malformed>;
}

macro_rules! integer_fields {
    ($($t:ident),*) => {$(
        impl Field for $t {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn get(input: &mut Reader<'_>) -> Result<Self, Malformed> {
                input.$t()
            }
        }
    )*};
}
integer_fields!(u8, u16, u32, u64, i32, i64);

/// Seconds and nanoseconds.
impl Field for Duration {
    fn put(&self, out: &mut Vec<u8>) {
        self.as_secs().put(out);
        self.subsec_nanos().put(out);
    }
    fn get(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (seconds, nanoseconds) = (input.u64()?, input.u32()?);
        match nanoseconds {
            0..1_000_000_000 => Ok(Self::new(seconds, nanoseconds)),
            _ => Err(Malformed::Invalid),
        }
    }
}

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn get(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        match input.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Invalid),
        }
    }
}

impl Field for [u8; 16] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn get(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        input.bytes16()
    }
}

/// A byte string of a control message: at most [`MAX_BYTES`] long.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub struct Bytes(pub Vec<u8>);

/// Bound of one [`Bytes`].
pub const MAX_BYTES: usize = 64 * 1024;
/// Bound of one list in a control message.
pub const MAX_ITEMS: usize = 4096;

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Bytes {
    /// For messages to people; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl Field for Bytes {
    /// Writes longer strings than [`MAX_BYTES`] too; the receiver refuses the message.
    fn put(&self, out: &mut Vec<u8>) {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&self.0);
    }
    fn get(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self(input.long(MAX_BYTES)?.to_vec()))
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn get(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(if bool::get(input)? {
            Some(T::get(input)?)
        } else {
            None
        })
    }
}

/// Lists. `u8` strings are [`Bytes`], never `Vec<u8>`.
impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        let len = u32::try_from(self.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&len.to_le_bytes());
        for item in self {
            item.put(out);
        }
    }
    fn get(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = input.u32()? as usize;
        if count > MAX_ITEMS {
            return Err(Malformed::TooLong);
        }
        // Do not trust the count: the list grows only as items arrive.
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(T::get(input)?);
        }
        Ok(items)
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn get(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((A::get(input)?, B::get(input)?))
    }
}

/// Defines a struct whose [`Field`] code is made from its list of fields, in their order.
#[macro_export]
macro_rules! message {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident : $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty,)* }

        impl $crate::codec::Field for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::codec::Field::put(&self.$field, out);)*
            }
            fn get(input: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::Malformed> {
                Ok(Self { $($field: $crate::codec::Field::get(input)?,)* })
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    message! {
        /// Something of each kind.
        pub struct Sample {
            pub number: u32,
            pub name: Bytes,
            pub maybe: Option<u64>,
            pub list: Vec<(Bytes, Bytes)>,
            pub on: bool,
        }
    }

    fn sample() -> Sample {
        Sample {
            number: 7,
            name: "shop".into(),
            maybe: Some(3),
            list: vec![("a".into(), "b".into())],
            on: true,
        }
    }

    #[test]
    fn a_message_round_trips_and_every_prefix_is_truncated() {
        let mut out = Vec::new();
        sample().put(&mut out);
        for cut in 0..out.len() {
            assert_eq!(
                Sample::get(&mut Reader::new(&out[..cut])),
                Err(Malformed::Truncated)
            );
        }
        let mut reader = Reader::new(&out);
        assert_eq!(Sample::get(&mut reader), Ok(sample()));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn an_announced_length_beyond_the_bound_is_refused_before_anything_is_allocated() {
        let mut out = Vec::new();
        u32::MAX.put(&mut out);
        assert_eq!(Bytes::get(&mut Reader::new(&out)), Err(Malformed::TooLong));
        assert_eq!(
            Vec::<Bytes>::get(&mut Reader::new(&out)),
            Err(Malformed::TooLong)
        );
    }

    #[test]
    fn a_duration_has_less_than_a_second_of_nanoseconds() {
        for duration in [
            Duration::ZERO,
            Duration::from_micros(1_500_001),
            Duration::MAX,
        ] {
            let mut out = Vec::new();
            duration.put(&mut out);
            assert_eq!(Duration::get(&mut Reader::new(&out)), Ok(duration));
        }
        let mut out = Vec::new();
        (u64::MAX, 1_000_000_000_u32).put(&mut out);
        assert_eq!(
            Duration::get(&mut Reader::new(&out)),
            Err(Malformed::Invalid)
        );
    }

    #[test]
    fn a_flag_is_zero_or_one() {
        assert_eq!(bool::get(&mut Reader::new(&[2])), Err(Malformed::Invalid));
    }
}
