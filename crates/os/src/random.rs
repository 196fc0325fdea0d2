//! Creates and compares secrets.

use std::io;

/// 16 bytes from the kernel's generator.
///
/// # Errors
/// Those of getrandom(2), which on a kernel that has the call are none.
pub fn bytes16() -> io::Result<[u8; 16]> {
    let mut out = [0; 16];
    let mut have = 0;
    while have < out.len() {
        let rest = &mut out[have..];
        let got = crate::uninterrupted(|| {
            // SAFETY: `rest` is writable for its length.
            crate::checked(unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) })
        })?;
        have += got as usize;
    }
    Ok(out)
}

/// Whether two secrets are equal, in a time that does not tell where they differ.
pub fn equal(a: &[u8; 16], b: &[u8; 16]) -> bool {
    // Through black_box the compiler cannot see that the outcome is settled early.
    let mut difference = 0;
    for (x, y) in a.iter().zip(b) {
        difference = std::hint::black_box(difference | (x ^ y));
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_secrets_differ_and_a_secret_equals_itself() {
        let (a, b) = (bytes16().unwrap(), bytes16().unwrap());
        assert!(equal(&a, &a) && !equal(&a, &b));
        for i in 0..16 {
            let mut c = a;
            c[i] ^= 0x80;
            assert!(!equal(&a, &c));
        }
    }
}
