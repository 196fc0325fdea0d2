//! Counts the descriptors that responses and request bodies hold while they wait for clients.
//!
//! Runs in: an Apache child. Files that workers pass and temporary files stay open as long as a slow
//! client needs. Without a bound over all of them, many slow clients would leave the child none for
//! new connections.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many descriptors wait for clients in this process.
#[derive(Debug, Default)]
pub struct DescriptorCount(AtomicUsize);

/// One descriptor is counted as long as this lives.
#[derive(Debug)]
pub struct CountedDescriptor(&'static DescriptorCount);

impl DescriptorCount {
    /// A count of none.
    pub const fn new() -> DescriptorCount {
        DescriptorCount(AtomicUsize::new(0))
    }

    /// Counts one more; `None` where there are `most` already.
    pub fn add(&'static self, most: usize) -> Option<CountedDescriptor> {
        let more = |count| (count < most).then_some(count + 1);
        let added = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        added.is_ok().then(|| CountedDescriptor(self))
    }

    /// How many there are.
    #[cfg(test)]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for CountedDescriptor {
    fn drop(&mut self) {
        self.0 .0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_counted_as_long_as_it_is_held() {
        static COUNT: DescriptorCount = DescriptorCount::new();
        let one = COUNT.add(2).unwrap();
        let two = COUNT.add(2).unwrap();
        assert!(COUNT.add(2).is_none());
        drop(one);
        assert!(COUNT.get() == 1 && COUNT.add(2).is_some());
        drop(two);
        assert_eq!(COUNT.get(), 0);
        assert!(COUNT.add(0).is_none());
    }
}
