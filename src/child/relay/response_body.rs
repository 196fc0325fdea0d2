//! The response body: what of it counts, and which files may be part of it.
//!
//! Runs in: an Apache child. A worker says how long a body is and sends what it likes; the client
//! gets exactly the length it was told, or sees that the response is broken.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

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

/// A descriptor that can be sent as a file, with its size: a regular file, open for reading. A pipe
/// or a device could keep the child waiting for ever.
pub fn sendable(file: OwnedFd) -> Result<(OwnedFd, u64), String> {
    let file = File::from(file);
    let facts = file.metadata().map_err(|error| error.to_string())?;
    if !facts.is_file() {
        return Err("it is no regular file".into());
    }
    // An empty read fails on a descriptor that is not open for reading, and touches nothing else.
    file.read_at(&mut [], 0)
        .map_err(|error| error.to_string())?;
    Ok((file.into(), facts.len()))
}
