//! Users and groups. These functions may load name-service libraries and block; the parent and
//! the command line call them, the supervisor and workers never do.

use std::ffi::{CStr, CString};
use std::io;

use crate::c_string;

/// An entry of the user database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: Vec<u8>,
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    pub home: Vec<u8>,
}

/// An entry of the group database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub name: Vec<u8>,
    pub gid: u32,
}

/// Maximum size of an entry, in bytes.
const MAX_ENTRY: usize = 1 << 20;

/// Runs one of the `get..._r` functions with a buffer that grows until the entry fits.
fn look_up<R, T>(
    mut ask: impl FnMut(*mut R, &mut [libc::c_char], *mut *mut R) -> libc::c_int,
    read: impl Fn(&R) -> T,
) -> io::Result<Option<T>> {
    let mut buffer: Vec<libc::c_char> = vec![0; 1024];
    loop {
        let mut entry = std::mem::MaybeUninit::<R>::uninit();
        let mut found: *mut R = std::ptr::null_mut();
        match ask(entry.as_mut_ptr(), &mut buffer, &mut found) {
            0 if found.is_null() => return Ok(None),
            // SAFETY: the call succeeded and found points to `entry`, which it has filled in; the
            // strings it refers to are in `buffer`, alive until after `read`.
            0 => return Ok(Some(read(unsafe { &*found }))),
            libc::ERANGE if buffer.len() < MAX_ENTRY => buffer.resize(buffer.len() * 4, 0),
            libc::EINTR => {}
            // Several name services answer so when there is no such entry.
            libc::ENOENT | libc::ESRCH | libc::EBADF | libc::EPERM => return Ok(None),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// Copies a string out of an entry.
///
/// # Safety
/// `text` is null or a C string.
unsafe fn copied(text: *const libc::c_char) -> Vec<u8> {
    if text.is_null() {
        return Vec::new();
    }
    // SAFETY: not null, so a C string as the caller promises.
    unsafe { CStr::from_ptr(text) }.to_bytes().to_vec()
}

fn user(entry: &libc::passwd) -> User {
    // SAFETY: the fields of an entry that was found are C strings.
    let (name, home) = unsafe { (copied(entry.pw_name), copied(entry.pw_dir)) };
    User {
        name,
        uid: entry.pw_uid,
        gid: entry.pw_gid,
        home,
    }
}

fn group(entry: &libc::group) -> Group {
    Group {
        // SAFETY: the name of an entry that was found is a C string.
        name: unsafe { copied(entry.gr_name) },
        gid: entry.gr_gid,
    }
}

/// The user of that login name.
pub fn user_by_name(name: &[u8]) -> io::Result<Option<User>> {
    let name = c_string(name)?;
    look_up(
        // SAFETY: the pointers are valid and the length is the buffer's.
        |entry, buffer, found| unsafe {
            libc::getpwnam_r(
                name.as_ptr(),
                entry,
                buffer.as_mut_ptr(),
                buffer.len(),
                found,
            )
        },
        user,
    )
}

/// The user of that number.
pub fn user_by_id(uid: u32) -> io::Result<Option<User>> {
    look_up(
        // SAFETY: the pointers are valid and the length is the buffer's.
        |entry, buffer, found| unsafe {
            libc::getpwuid_r(uid, entry, buffer.as_mut_ptr(), buffer.len(), found)
        },
        user,
    )
}

/// The group of that name.
pub fn group_by_name(name: &[u8]) -> io::Result<Option<Group>> {
    let name = c_string(name)?;
    look_up(
        // SAFETY: the pointers are valid and the length is the buffer's.
        |entry, buffer, found| unsafe {
            libc::getgrnam_r(
                name.as_ptr(),
                entry,
                buffer.as_mut_ptr(),
                buffer.len(),
                found,
            )
        },
        group,
    )
}

/// The group of that number.
pub fn group_by_id(gid: u32) -> io::Result<Option<Group>> {
    look_up(
        // SAFETY: the pointers are valid and the length is the buffer's.
        |entry, buffer, found| unsafe {
            libc::getgrgid_r(gid, entry, buffer.as_mut_ptr(), buffer.len(), found)
        },
        group,
    )
}

/// The groups of the user in the group database, `primary` among them.
pub fn groups_of(user: &[u8], primary: u32) -> io::Result<Vec<u32>> {
    let user: CString = c_string(user)?;
    let most = max_groups().saturating_add(1);
    let mut groups = vec![0; 64.min(most)];
    loop {
        let mut count = groups.len() as libc::c_int;
        // SAFETY: `groups` has room for `count` entries.
        let fits =
            unsafe { libc::getgrouplist(user.as_ptr(), primary, groups.as_mut_ptr(), &mut count) };
        if fits >= 0 {
            groups.truncate(usize::try_from(count).unwrap_or(0));
            return Ok(groups);
        }
        if groups.len() >= most {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let wanted = usize::try_from(count).unwrap_or(0).max(groups.len() * 2);
        groups.resize(wanted.min(most), 0);
    }
}

/// Most supplementary groups a process may have.
pub fn max_groups() -> usize {
    // SAFETY: sysconf touches no memory of ours.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_NGROUPS_MAX) }).unwrap_or(32)
}

/// The effective user of this process.
pub fn effective_uid() -> u32 {
    // SAFETY: cannot fail and touches no memory.
    unsafe { libc::geteuid() }
}

/// The effective group of this process.
pub fn effective_gid() -> u32 {
    // SAFETY: cannot fail and touches no memory.
    unsafe { libc::getegid() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_name_and_by_number() {
        let root = user_by_name(b"root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(user_by_id(0).unwrap(), Some(root));
        let wheel = group_by_id(0).unwrap().unwrap();
        assert_eq!(group_by_name(&wheel.name).unwrap(), Some(wheel));
    }

    #[test]
    fn who_is_not_there_is_not_an_error() {
        assert_eq!(user_by_name(b"no such user").unwrap(), None);
        assert_eq!(group_by_name(b"no such group").unwrap(), None);
        assert_eq!(user_by_id(3_999_999_999).unwrap(), None);
        assert!(user_by_name(b"ro\0ot").is_err());
    }

    #[test]
    fn the_primary_group_is_among_a_users_groups() {
        assert!(groups_of(b"root", 12345).unwrap().contains(&12345));
        assert!(max_groups() >= 16);
    }
}
