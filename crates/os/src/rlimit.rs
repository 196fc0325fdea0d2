//! Resource limits.

use std::io;

/// Which resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Seconds of processor time.
    Cpu,
    /// Bytes of data segment and private mappings.
    Data,
    /// Bytes of address space.
    AddressSpace,
    /// Bytes of a core dump.
    Core,
    /// Bytes of a file that is written.
    FileSize,
    /// One more than the highest descriptor.
    OpenFiles,
    /// Processes and threads of the user.
    Processes,
}

/// Soft and hard bound of a resource; `u64::MAX` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub resource: Resource,
    pub soft: u64,
    pub hard: u64,
}

impl Resource {
    // The type of the constants differs between C libraries.
    fn number(self) -> libc::__rlimit_resource_t {
        match self {
            Self::Cpu => libc::RLIMIT_CPU,
            Self::Data => libc::RLIMIT_DATA,
            Self::AddressSpace => libc::RLIMIT_AS,
            Self::Core => libc::RLIMIT_CORE,
            Self::FileSize => libc::RLIMIT_FSIZE,
            Self::OpenFiles => libc::RLIMIT_NOFILE,
            Self::Processes => libc::RLIMIT_NPROC,
        }
    }

    /// The limit in force.
    pub fn limit(self) -> io::Result<Limit> {
        let mut now = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: `now` is a valid rlimit to write to.
        crate::checked(unsafe { libc::getrlimit(self.number(), &mut now) })?;
        Ok(Limit {
            resource: self,
            soft: now.rlim_cur,
            hard: now.rlim_max,
        })
    }
}

impl Limit {
    /// Sets the limit for this process. Async-signal-safe.
    pub fn set(&self) -> io::Result<()> {
        let wanted = libc::rlimit {
            rlim_cur: self.soft,
            rlim_max: self.hard,
        };
        // SAFETY: `wanted` is a valid rlimit to read.
        crate::checked(unsafe { libc::setrlimit(self.resource.number(), &wanted) })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_reads_back_as_set() {
        let now = Resource::Core.limit().unwrap();
        let lower = Limit { soft: 0, ..now };
        lower.set().unwrap();
        assert_eq!(Resource::Core.limit().unwrap(), lower);
        now.set().unwrap();
    }
}
