//! Overwriting what is to be forgotten.

/// Overwrites all that a buffer holds and has held, passwords for example, and leaves it empty. The
/// compiler does not leave that out, as it may with a plain store into memory that is freed next.
pub fn wipe(buffer: &mut Vec<u8>) {
    buffer.clear();
    let room = buffer.spare_capacity_mut();
    // SAFETY: all of the buffer's own memory, which may be written to.
    unsafe { libc::explicit_bzero(room.as_mut_ptr().cast(), room.len()) };
}

/// Overwrites bytes, as [`wipe`] does.
pub fn wipe_part(bytes: &mut [u8]) {
    // SAFETY: a slice that may be written to.
    unsafe { libc::explicit_bzero(bytes.as_mut_ptr().cast(), bytes.len()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stays_in_the_memory_of_a_buffer() {
        let mut buffer = b"secret".to_vec();
        buffer.truncate(3);
        let before = buffer.as_ptr();
        wipe(&mut buffer);
        assert!(buffer.is_empty());
        buffer.resize(buffer.capacity(), b'x');
        assert_eq!(buffer.as_ptr(), before);
        wipe(&mut buffer);
        // SAFETY: `wipe` has initialised all of the capacity.
        unsafe { buffer.set_len(buffer.capacity()) };
        assert!(buffer.iter().all(|&byte| byte == 0));
    }
}
