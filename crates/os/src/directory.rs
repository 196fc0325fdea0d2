//! Opens a directory for sockets, and checks that no other user can replace a socket in it.
//!
//! The parent checks it when it reads a configuration, the supervisor whenever it creates a socket.
//! For root every directory of the path counts: a user who can replace a parent directory, or a
//! link on the path, can lead Apache's children to a socket of his own. So each component is opened
//! relative to the one before it, and the descriptor that was checked is the one that is used.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::{accounts, c_string, checked, descriptor, uninterrupted};

/// Most links on the way, as in the kernel.
const MAX_LINKS: usize = 40;

pub(crate) fn refused(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

/// What lies at `name`, links not followed; with an empty name the descriptor itself is meant.
pub(crate) fn stat_at(at: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<libc::stat> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `name` is a C string and `stat` is writable.
    checked(unsafe {
        libc::fstatat(
            at.as_raw_fd(),
            name.as_ptr(),
            stat.as_mut_ptr(),
            libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH,
        )
    })?;
    // SAFETY: the call succeeded and has filled it in.
    Ok(unsafe { stat.assume_init() })
}

/// An O_PATH descriptor of the file at `name`; a link is not followed.
pub(crate) fn open_at(at: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    uninterrupted(|| {
        // SAFETY: `name` is a C string; no mode is needed, since files are not created.
        let fd = checked(unsafe { libc::openat(at.as_raw_fd(), name.as_ptr(), flags) })?;
        // SAFETY: openat succeeded, so the descriptor is open and nobody else's.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    })
}

/// Opens the directory at an absolute path, and refuses it where somebody other than root and this
/// user could put a socket of his own in the place of ours.
///
/// # Errors
/// `PermissionDenied` with a sentence that names the directory at fault; what the system says.
pub(crate) fn open(path: &[u8]) -> io::Result<OwnedFd> {
    if accounts::effective_uid() == 0 {
        return walk(path);
    }
    let directory = descriptor::open(path, libc::O_PATH | libc::O_DIRECTORY)?;
    judge(&stat_at(directory.as_fd(), c"")?, path)?;
    Ok(directory)
}

fn walk(path: &[u8]) -> io::Result<OwnedFd> {
    let root = || {
        let root = descriptor::open(b"/", libc::O_PATH | libc::O_DIRECTORY)?;
        judge(&stat_at(root.as_fd(), c"")?, b"/")?;
        Ok::<_, io::Error>(root)
    };
    let mut here = root()?;
    let mut shown = Vec::new();
    let mut parts: VecDeque<Vec<u8>> = path.split(|&b| b == b'/').map(<[u8]>::to_vec).collect();
    let mut links = 0;
    while let Some(part) = parts.pop_front() {
        if matches!(&part[..], b"" | b".") {
            continue;
        }
        let next = open_at(here.as_fd(), &c_string(&part)?)?;
        let stat = stat_at(next.as_fd(), c"")?;
        let mut name = shown.clone();
        if part == b".." {
            name.truncate(name.iter().rposition(|&b| b == b'/').unwrap_or(0));
        } else {
            name.push(b'/');
            name.extend_from_slice(&part);
        }
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => {
                judge(&stat, if name.is_empty() { b"/" } else { &name })?;
                (here, shown) = (next, name);
            }
            libc::S_IFLNK => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::from_raw_os_error(libc::ELOOP));
                }
                judge_owner("link", &stat, &name)?;
                let target = read_link(next.as_fd())?;
                if target.starts_with(b"/") {
                    (here, shown) = (root()?, Vec::new());
                }
                for part in target.split(|&b| b == b'/').rev() {
                    parts.push_front(part.to_vec());
                }
            }
            _ => return Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
        }
    }
    Ok(here)
}

/// Where the link that `link` stands for leads.
fn read_link(link: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut target = vec![0; libc::PATH_MAX as usize];
    // SAFETY: the empty name is a C string, and `target` is writable for its length.
    let length = checked(unsafe {
        libc::readlinkat(
            link.as_raw_fd(),
            c"".as_ptr(),
            target.as_mut_ptr().cast(),
            target.len(),
        )
    })?;
    target.truncate(usize::try_from(length).unwrap_or(0));
    Ok(target)
}

fn judge_owner(what: &str, stat: &libc::stat, path: &[u8]) -> io::Result<()> {
    if [0, accounts::effective_uid()].contains(&stat.st_uid) {
        return Ok(());
    }
    Err(refused(format!(
        "{what} {} belongs to uid {}, who could replace the socket",
        String::from_utf8_lossy(path),
        stat.st_uid
    )))
}

/// In a sticky directory others can add names, but cannot replace those of root.
fn judge(stat: &libc::stat, path: &[u8]) -> io::Result<()> {
    judge_owner("directory", stat, path)?;
    if stat.st_mode & 0o022 != 0 && stat.st_mode & libc::S_ISVTX == 0 {
        let shown = String::from_utf8_lossy(path);
        return Err(refused(format!(
            "directory {shown} has mode {:04o}: others could replace the socket; chmod go-w {shown}",
            stat.st_mode & 0o7777
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, lchown, symlink, PermissionsExt};
    use std::path::{Path, PathBuf};

    use super::*;

    /// `outer/inner`, of root, which go with the test.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let outer = std::env::temp_dir().join(format!("os-{}-tree-{name}", std::process::id()));
            std::fs::create_dir_all(outer.join("inner")).unwrap();
            for path in [&outer, &outer.join("inner")] {
                set_mode(path, 0o755);
            }
            Self(outer)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn opened(path: &Path) -> Result<OwnedFd, String> {
        open(path.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_directory_on_the_way_of_root_counts() {
        if accounts::effective_uid() != 0 {
            return;
        }
        let tree = Tree::new("way");
        let (outer, inner) = (tree.0.clone(), tree.0.join("inner"));
        assert!(opened(&inner).is_ok());
        for place in [&outer, &inner] {
            for (mode, fine) in [(0o777, false), (0o775, false), (0o1777, true)] {
                set_mode(place, mode);
                let found = opened(&inner);
                assert_eq!(found.is_ok(), fine, "{found:?}");
                let at_fault = format!("chmod go-w {}", place.display());
                assert!(found.err().is_none_or(|error| error.ends_with(&at_fault)));
            }
            set_mode(place, 0o755);
            chown(place, Some(12345), None).unwrap();
            let error = opened(&inner).unwrap_err();
            let at_fault = format!("directory {} belongs to uid 12345,", place.display());
            assert!(error.starts_with(&at_fault), "{error}");
            chown(place, Some(0), None).unwrap();
        }
    }

    #[test]
    fn links_lead_on_and_must_be_roots_too() {
        if accounts::effective_uid() != 0 {
            return;
        }
        let tree = Tree::new("links");
        let (inner, link) = (tree.0.join("inner"), tree.0.join("link"));
        let same = |a: OwnedFd, b: OwnedFd| {
            let [a, b] = [a, b].map(|fd| stat_at(fd.as_fd(), c"").unwrap());
            (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
        };
        for target in [inner.as_path(), Path::new("inner/../inner/.")] {
            symlink(target, &link).unwrap();
            assert!(same(opened(&link).unwrap(), opened(&inner).unwrap()));
            lchown(&link, Some(12345), None).unwrap();
            let error = opened(&link).unwrap_err();
            assert!(error.starts_with(&format!("link {} belongs", link.display())));
            std::fs::remove_file(&link).unwrap();
        }
        symlink("link", &link).unwrap();
        let found = open(link.as_os_str().as_encoded_bytes()).unwrap_err();
        assert_eq!(found.raw_os_error(), Some(libc::ELOOP));
    }
}
