//! The process's name in the process list.

use std::io;

/// Shows `title` in place of the process's command line, and its first 15 bytes as the name of
/// the calling thread, which for a process is that of its main thread.
///
/// The kernel shows the memory that argv occupies, so the title is written over it in place and
/// cut to its length. Whoever asks for the arguments afterwards gets the title: call this once
/// they have been read.
///
/// # Errors
/// Where `/proc` is not mounted, or its answer is not understood, or the process has other threads
/// already, which might be reading the arguments; the thread's name is set even so.
pub fn set(title: &[u8]) -> io::Result<()> {
    let mut name = [0u8; 16];
    let shown = title.len().min(15);
    name[..shown].copy_from_slice(&title[..shown]);
    // SAFETY: `name` is a NUL-terminated string of at most 16 bytes.
    crate::checked(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) })?;

    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("the process has other threads"));
    }
    let stat = std::fs::read("/proc/self/stat")?;
    let (start, end) = argument_area(&stat).ok_or(io::ErrorKind::InvalidData)?;
    let area = start as *mut u8;
    let len = end - start;
    let shown = title.len().min(len - 1);
    // SAFETY: the kernel says that [start, end) is where exec put the arguments: mapped and
    // writable for the life of the process. No reference of Rust's points there, since std copies
    // what it returns, and no other thread is there to copy it now. The rest becomes NUL, so C
    // code that looks at argv[0] finds a string.
    unsafe {
        std::ptr::write_bytes(area, 0, len);
        std::ptr::copy_nonoverlapping(title.as_ptr(), area, shown);
    }
    Ok(())
}

/// Where the arguments lie: fields 48 and 49 of `/proc/self/stat`.
fn argument_area(stat: &[u8]) -> Option<(usize, usize)> {
    // Field 2, the name, may hold blanks and parentheses: count from its end, where field 3 begins.
    let name_end = stat.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace().skip(48 - 3);
    let start: usize = fields.next()?.parse().ok()?;
    let end: usize = fields.next()?.parse().ok()?;
    (start != 0 && end > start).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_area_is_found_behind_a_name_with_parentheses() {
        let middle = "1 ".repeat(44);
        let stat = format!("7 (a) b) S {middle}4096 8192 9000 9100 0\n");
        assert_eq!(argument_area(stat.as_bytes()), Some((4096, 8192)));
        assert_eq!(argument_area(b"7 (a) S 1 2"), None);
    }

    #[test]
    fn the_own_argument_area_holds_the_own_command_line() {
        let stat = std::fs::read("/proc/self/stat").unwrap();
        let (start, end) = argument_area(&stat).unwrap();
        assert_eq!(
            end - start,
            std::fs::read("/proc/self/cmdline").unwrap().len()
        );
    }
}
