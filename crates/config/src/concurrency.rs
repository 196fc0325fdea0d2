//! How much the server's own group does at once, where the configuration does not say.
//!
//! Runs in: the Apache parent, once the configuration is read.

/// How much the own group does at once, unless `WSGIDaemonProcess %{GLOBAL}` says otherwise: what
/// Apache's children would have done themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Most processes.
    pub processes: u32,
    /// Threads of each.
    pub threads: u32,
}

impl Concurrency {
    /// Requests at once, for each core.
    const PER_CORE: u32 = 15;

    /// The size on a machine with so many cores, under an MPM whose children have so many request
    /// threads (0 or 1: none beside the process) and are so many at most.
    ///
    /// With threads there is a process for each core. Without, a process does one request at a
    /// time, as embedded mode does under prefork, so there may be as many as would otherwise be
    /// threads; but no more than Apache has children to ask them.
    pub fn of(cores: u32, mpm_threads: u32, mpm_processes: u32) -> Concurrency {
        let cores = cores.max(2);
        match mpm_threads {
            0 | 1 => Concurrency {
                processes: cores
                    .saturating_mul(Self::PER_CORE)
                    .min(mpm_processes.max(2)),
                threads: 1,
            },
            _ => Concurrency {
                processes: cores,
                threads: Self::PER_CORE,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_does_at_once_what_the_children_would_have_done() {
        let size = |processes, threads| Concurrency { processes, threads };
        assert_eq!(Concurrency::of(1, 25, 16), size(2, 15));
        assert_eq!(Concurrency::of(8, 25, 16), size(8, 15));
        assert_eq!(Concurrency::of(4, 1, 150), size(60, 1));
        assert_eq!(Concurrency::of(4, 0, 20), size(20, 1));
        assert_eq!(Concurrency::of(1, 1, 0), size(2, 1));
    }
}
