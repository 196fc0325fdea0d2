//! The response body: how much of it the client gets, and which files may be part of it.
//!
//! Runs in: an Apache child. A worker says how long a body is and sends what it likes; the client
//! gets exactly the length it was told, or sees that the response is broken.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use super::descriptors::CountedDescriptor;

/// The response body as it is relayed.
#[derive(Debug)]
pub struct ResponseBody {
    /// The `Content-Length`, where there is one.
    pub declared: Option<u64>,
    /// Bytes given to the client.
    pub sent: u64,
    /// Bytes past the declared length.
    pub dropped: u64,
    /// The length may stay unmet: HEAD, 204, 304.
    pub may_be_short: bool,
    /// The end has been sent with the last bytes.
    pub ended: bool,
}

impl ResponseBody {
    /// How many of `len` further bytes are within the declared length.
    pub fn admit(&mut self, len: u64) -> u64 {
        let left = self
            .declared
            .map_or(u64::MAX, |all| all - self.sent.min(all));
        let admitted = len.min(left);
        self.sent = self.sent.saturating_add(admitted);
        self.dropped = self.dropped.saturating_add(len - admitted);
        admitted
    }

    /// Whether something is missing.
    pub fn is_short(&self) -> bool {
        !self.may_be_short && self.declared.is_some_and(|all| self.sent < all)
    }
}

/// A file that a worker passed: regular, and open for reading.
#[derive(Debug)]
pub struct PassedFile {
    /// The file.
    pub file: File,
    /// It counts for as long as it is open.
    pub counted: CountedDescriptor,
}

impl AsFd for PassedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The file behind `descriptor`, with its size, where it can be sent: a regular file, open for
/// reading. A pipe or a device could keep the child waiting for ever.
pub fn sendable(descriptor: OwnedFd) -> Result<(File, u64), String> {
    let file = File::from(descriptor);
    let facts = file.metadata().map_err(|error| error.to_string())?;
    if !facts.is_file() {
        return Err("it is no regular file".into());
    }
    // An empty read fails on a descriptor that is not open for reading, and touches nothing else.
    file.read_at(&mut [], 0)
        .map_err(|error| error.to_string())?;
    Ok((file, facts.len()))
}

#[cfg(test)]
pub mod tests {
    use super::super::descriptors::DescriptorCount;
    use super::*;

    /// A file of that content.
    pub fn passed_file(content: &[u8]) -> PassedFile {
        static COUNT: DescriptorCount = DescriptorCount::new();
        PassedFile {
            file: super::super::tests::a_file(content).into(),
            counted: COUNT.add(usize::MAX).unwrap(),
        }
    }
}
