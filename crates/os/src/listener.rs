//! A listening unix socket that nobody but its maker can have put there.
//!
//! The supervisor makes one per group, as root, in a directory an administrator chose. Others may
//! be able to write there: hence the directory is opened once and judged, all later steps are
//! relative to that descriptor, links are not followed, the file is given away by a descriptor of
//! its own, and the socket takes connections only when its owner and mode are final.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::directory::{self, open_at, refused, stat_at};
use crate::poll::{poll_uninterrupted, Wanted};
use crate::{accounts, c_string, checked, descriptor, socket};

/// A socket that listens at a path.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    directory: OwnedFd,
    name: std::ffi::CString,
    /// Device and inode of the file, so that only this very file is ever given away or removed. The
    /// socket holds the inode, so no other file gets its number.
    file: (libc::dev_t, libc::ino_t),
}

fn is_socket(stat: &libc::stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFSOCK
}

fn split(path: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let slash = path
        .iter()
        .rposition(|&b| b == b'/')
        .filter(|_| path[0] == b'/')
        .ok_or(io::ErrorKind::InvalidInput)?;
    Ok((&path[..slash.max(1)], &path[slash + 1..]))
}

/// Whether a socket can be made at a path that begins with `prefix`: the directory is there, may be
/// written to, and nobody else could replace what is in it.
///
/// # Errors
/// As [`Listener::bind`] would give.
pub fn check_directory(prefix: &[u8]) -> io::Result<()> {
    let (path, _) = split(prefix)?;
    directory::open(path)?;
    descriptor::may(descriptor::Access::Write, path)
}

/// Most bytes in the name of a socket's file: it is bound by way of a descriptor of its directory,
/// under a name with one byte more.
const MAX_NAME: usize = socket::MAX_PATH - "/proc/self/fd/99999/~".len();

/// Whether the kernel can take the path of a socket.
///
/// # Errors
/// What of it is too long, how long that is, and how long it may be.
pub fn check_path(path: &[u8]) -> Result<(), (&'static str, usize, usize)> {
    let name = split(path).map_or(path, |(_, name)| name);
    if path.len() > socket::MAX_PATH {
        return Err(("which", path.len(), socket::MAX_PATH));
    }
    if name.len() > MAX_NAME {
        return Err(("whose last part", name.len(), MAX_NAME));
    }
    Ok(())
}

/// Removes sockets named `prefix.PID.NAME.sock` of processes that are gone, and at which nobody
/// listens. Those of process `own` stay.
///
/// # Errors
/// Where the directory can't be read, or others could write to it.
pub fn remove_leftovers(prefix: &[u8], own: u32) -> io::Result<()> {
    let (path, beginning) = split(prefix)?;
    let directory = directory::open(path)?;
    let here = format!("/proc/self/fd/{}", directory.as_raw_fd());
    for entry in std::fs::read_dir(&here)?.flatten() {
        let name = std::os::unix::ffi::OsStringExt::into_vec(entry.file_name());
        let Some(pid) = maker(&name, beginning) else {
            continue;
        };
        let full = [here.as_bytes(), b"/", &name].concat();
        let name = c_string(&name)?;
        let is_leftover = pid != own
            && !crate::process::exists(pid)
            && stat_at(directory.as_fd(), &name).is_ok_and(|stat| is_socket(&stat))
            // A process of another container may have had the same number.
            && socket::connect_unix(&full, false)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if is_leftover {
            unlink(directory.as_fd(), &name)?;
        }
    }
    Ok(())
}

/// The process that made the socket of this name, if it begins as ours do.
fn maker(name: &[u8], beginning: &[u8]) -> Option<u32> {
    let rest = name.strip_prefix(beginning)?.strip_prefix(b".")?;
    let rest = rest.strip_suffix(b".sock")?;
    let end = rest.iter().position(|&b| b == b'.')?;
    let pid = std::str::from_utf8(&rest[..end]).ok()?;
    pid.parse().ok().filter(|&pid: &u32| pid > 0)
}

impl Listener {
    /// Listens at `path`, an absolute path of at most [`socket::MAX_PATH`] bytes. The file has
    /// mode 0700 and belongs to `owner` where given (which only root can do). A socket that stands
    /// there already is taken to be a leftover and replaced.
    ///
    /// # Errors
    /// `InvalidInput` for a path that can't be one; `PermissionDenied` with a sentence for a
    /// directory in which others could interfere; `AlreadyExists` where the path is no socket.
    pub fn bind(path: &[u8], owner: Option<u32>, backlog: u32) -> io::Result<Self> {
        socket::address(path)?;
        let (directory, name) = split(path)?;
        if matches!(name, b"" | b"." | b"..") {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let directory = directory::open(directory)?;
        // Made beside its place and moved there when it takes connections: whoever connects while
        // one listener follows another meets the old one or the new one, never a missing file.
        let beside = c_string(&[name, b"~"].concat())?;
        let name = c_string(name)?;
        leftover(directory.as_fd(), &name, path)?;
        if leftover(directory.as_fd(), &beside, &[path, b"~"].concat())? {
            unlink(directory.as_fd(), &beside)?;
        }
        // Several processes take connections from it, and one may be quicker than another.
        let socket = socket::unix_stream(libc::SOCK_NONBLOCK)?;
        // A socket hands its own mode to the file that bind makes, so there is no moment at which
        // the file is open to others, and the process's umask is left alone.
        // SAFETY: touches no memory.
        checked(unsafe { libc::fchmod(socket.as_raw_fd(), 0o700) })?;
        bind_in(&socket, directory.as_fd(), &beside)?;
        let file = open_at(directory.as_fd(), &beside)?;
        let stat = stat_at(file.as_fd(), c"")?;
        let mut listener = Self {
            socket,
            directory,
            name: beside,
            file: (stat.st_dev, stat.st_ino),
        };
        listener
            .open_to(owner, &stat, backlog)
            .and_then(|()| listener.rename(&name))
            .inspect_err(|_| {
                let _ = listener.unlink();
            })?;
        listener.name = name;
        Ok(listener)
    }

    /// Moves the file, in place of a leftover where there is one.
    fn rename(&self, to: &std::ffi::CStr) -> io::Result<()> {
        let directory = self.directory.as_raw_fd();
        // SAFETY: both names are C strings.
        checked(unsafe { libc::renameat(directory, self.name.as_ptr(), directory, to.as_ptr()) })?;
        Ok(())
    }

    /// Gives the file its owner, and only then lets connections in.
    fn open_to(&self, owner: Option<u32>, stat: &libc::stat, backlog: u32) -> io::Result<()> {
        let ours = stat.st_uid == accounts::effective_uid() && stat.st_mode & 0o077 == 0;
        if !is_socket(stat) || !ours {
            return Err(refused("the socket was replaced while it was made".into()));
        }
        self.adjust(owner.filter(|&owner| owner != stat.st_uid), backlog)
    }

    /// Gives the file to another owner and the queue another length; what waits in it stays.
    pub fn adjust(&self, owner: Option<u32>, backlog: u32) -> io::Result<()> {
        if let Some(owner) = owner {
            let file = open_at(self.directory.as_fd(), &self.name)?;
            let stat = stat_at(file.as_fd(), c"")?;
            if (stat.st_dev, stat.st_ino) != self.file {
                return Err(refused("the socket was replaced by another file".into()));
            }
            // SAFETY: the empty name is a C string; a gid of -1 leaves the group alone.
            checked(unsafe {
                libc::fchownat(
                    file.as_raw_fd(),
                    c"".as_ptr(),
                    owner,
                    libc::gid_t::MAX,
                    libc::AT_EMPTY_PATH,
                )
            })?;
        }
        let backlog = libc::c_int::try_from(backlog).unwrap_or(libc::c_int::MAX);
        // SAFETY: touches no memory.
        checked(unsafe { libc::listen(self.socket.as_raw_fd(), backlog) })?;
        Ok(())
    }

    /// Takes a connection that waits; `None` when there is none. The connection does not block.
    ///
    /// Whoever has inherited the socket shares its flags and may have cleared the one by which accept
    /// does not wait, so it is set again each time.
    pub fn accept_now(&self) -> io::Result<Option<OwnedFd>> {
        descriptor::set_nonblocking(self.socket.as_fd())?;
        match socket::accept(self.socket.as_fd()) {
            Ok(connection) => {
                descriptor::set_nonblocking(connection.as_fd())?;
                Ok(Some(connection))
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted
                | io::ErrorKind::WouldBlock
                | io::ErrorKind::ConnectionAborted => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Whether connections can still be made: whoever has inherited the socket can shut it down, and
    /// nothing opens it again; and its file may have been removed.
    pub fn is_open(&self) -> bool {
        let mut socket = [Wanted::failed(self.socket.as_fd())];
        let polled = poll_uninterrupted(&mut socket, Some(Duration::ZERO));
        let file = stat_at(self.directory.as_fd(), &self.name);
        polled.is_ok()
            && !socket[0].has_failed()
            && file.is_ok_and(|stat| (stat.st_dev, stat.st_ino) == self.file)
    }

    /// Removes the file, if it is still the one that was made here. Those connected, and those in
    /// the queue, are not touched.
    pub fn unlink(&self) -> io::Result<()> {
        match stat_at(self.directory.as_fd(), &self.name) {
            Ok(stat) if (stat.st_dev, stat.st_ino) == self.file => {
                unlink(self.directory.as_fd(), &self.name)
            }
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Whether a socket stands at `name`; messages show `path`.
///
/// # Errors
/// `AlreadyExists` where something else does.
fn leftover(directory: BorrowedFd<'_>, name: &std::ffi::CStr, path: &[u8]) -> io::Result<bool> {
    match stat_at(directory, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
        Ok(stat) if is_socket(&stat) => Ok(true),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!(
                "{} exists and is not a socket",
                String::from_utf8_lossy(path)
            ),
        )),
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn unlink(directory: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: `name` is a C string.
    checked(unsafe { libc::unlinkat(directory.as_raw_fd(), name.as_ptr(), 0) })?;
    Ok(())
}

/// bind(2) knows no directory descriptors, but /proc gives ours a path of its own.
fn bind_in(socket: &OwnedFd, directory: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<()> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    let (address, len) = socket::address(&path)?;
    // SAFETY: `address` is a sockaddr_un of which `len` bytes count.
    checked(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
    use std::path::{Path, PathBuf};

    use super::*;

    /// A directory that goes with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str, mode: u32) -> Self {
            let path = std::env::temp_dir().join(format!("os-{}-{name}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn bind(path: &Path) -> io::Result<Listener> {
        Listener::bind(path.as_os_str().as_encoded_bytes(), None, 1)
    }

    #[test]
    fn a_listener_takes_connections_and_leaves_no_file() {
        let directory = Directory::new("takes", 0o755);
        let path = directory.0.join("s");
        let listener = bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
        assert!(listener.accept_now().unwrap().is_none());
        let bytes = path.as_os_str().as_encoded_bytes();
        let _client = socket::connect_unix(bytes, true).unwrap();
        assert!(listener.accept_now().unwrap().is_some());
        listener.unlink().unwrap();
        assert!(!path.exists());
        listener.unlink().unwrap();
    }

    #[test]
    fn a_listener_that_was_shut_down_or_removed_is_not_open() {
        let directory = Directory::new("shut", 0o755);
        let path = directory.0.join("s");
        let listener = bind(&path).unwrap();
        assert!(listener.is_open());
        let client = socket::connect_unix(path.as_os_str().as_encoded_bytes(), true).unwrap();
        assert!(listener.is_open());
        drop((listener.accept_now().unwrap(), client));
        assert!(listener.is_open());
        // As a worker has it.
        let copy = std::os::unix::net::UnixStream::from(listener.socket.try_clone().unwrap());
        copy.shutdown(std::net::Shutdown::Both).unwrap();
        assert!(!listener.is_open());
        listener.unlink().unwrap();
        let listener = bind(&path).unwrap();
        assert!(listener.is_open());
        std::fs::remove_file(&path).unwrap();
        assert!(!listener.is_open());
    }

    #[test]
    fn a_full_backlog_is_told_at_once() {
        let directory = Directory::new("backlog", 0o755);
        let path = directory.0.join("s");
        let _listener = bind(&path).unwrap();
        let bytes = path.as_os_str().as_encoded_bytes();
        let mut clients = Vec::new();
        let full = loop {
            match socket::connect_unix(bytes, true) {
                Ok(client) => clients.push(client),
                Err(error) => break error.kind(),
            }
        };
        assert_eq!(full, io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_leftover_socket_is_replaced_and_a_successors_file_is_left_alone() {
        let directory = Directory::new("leftover", 0o755);
        let path = directory.0.join("s");
        let first = bind(&path).unwrap();
        let second = bind(&path).unwrap();
        first.unlink().unwrap();
        assert!(path.exists());
        second.unlink().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn who_connects_while_a_listener_is_replaced_meets_one_of_the_two() {
        let directory = Directory::new("replaced", 0o755);
        let path = directory.0.join("s");
        let many =
            |path: &Path| Listener::bind(path.as_os_str().as_encoded_bytes(), None, 4096).unwrap();
        let mut listener = many(&path);
        let done = std::sync::atomic::AtomicBool::new(false);
        /// Ends the other thread also when this one panics, as a scope waits for its threads.
        struct Done<'a>(&'a std::sync::atomic::AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }
        std::thread::scope(|scope| {
            let over = Done(&done);
            let visitor = scope.spawn(|| {
                let bytes = path.as_os_str().as_encoded_bytes();
                let mut faults = Vec::new();
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let met = socket::connect_unix(bytes, false);
                    faults.extend(met.err().map(|error| error.kind()));
                }
                faults
            });
            for _ in 0..300 {
                listener = many(&path);
            }
            drop(over);
            let faults = visitor.join().unwrap();
            // A full queue, or a listener that went between the look-up and the connection, is
            // tried again; a file that is not there is not.
            assert!(!faults.contains(&io::ErrorKind::NotFound), "{faults:?}");
        });
        let names = std::fs::read_dir(&directory.0).unwrap().count();
        assert_eq!(names, 1);
        listener.unlink().unwrap();
    }

    #[test]
    fn what_is_no_socket_is_not_removed() {
        let directory = Directory::new("file", 0o755);
        let (path, link) = (directory.0.join("f"), directory.0.join("l"));
        std::fs::write(&path, "precious").unwrap();
        symlink(&path, &link).unwrap();
        for path in [&path, &link] {
            assert_eq!(bind(path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read(path).unwrap(), b"precious");
        }
    }

    #[test]
    fn a_directory_others_can_write_is_refused_unless_sticky() {
        for (name, mode, fine) in [
            ("w", 0o777, false),
            ("g", 0o770, false),
            ("t", 0o1777, true),
        ] {
            let directory = Directory::new(name, mode);
            let bound = bind(&directory.0.join("s"));
            assert_eq!(bound.is_ok(), fine, "{bound:?}");
        }
    }

    #[test]
    fn the_file_goes_to_its_owner() {
        if accounts::effective_uid() != 0 {
            return;
        }
        let directory = Directory::new("owner", 0o755);
        let path = directory.0.join("s");
        let bytes = path.as_os_str().as_encoded_bytes();
        let _listener = Listener::bind(bytes, Some(65534), 1).unwrap();
        let file = std::fs::metadata(&path).unwrap();
        assert_eq!((file.uid(), file.mode() & 0o777), (65534, 0o700));
    }

    #[test]
    fn a_file_in_the_place_of_the_socket_is_not_given_away() {
        if accounts::effective_uid() != 0 {
            return;
        }
        let directory = Directory::new("swapped", 0o755);
        let path = directory.0.join("s");
        let listener = bind(&path).unwrap();
        listener.adjust(Some(65534), 1).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().uid(), 65534);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        let refused = listener.adjust(Some(65534), 1).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(std::fs::metadata(&path).unwrap().uid(), 0);
    }

    #[test]
    fn a_path_that_is_found_short_enough_is() {
        let directory = Directory::new("long", 0o755);
        let mut path = directory.0.join("s").into_os_string().into_encoded_bytes();
        while check_path(&path).is_ok() {
            path.push(b's');
        }
        let (_, length, limit) = check_path(&path).unwrap_err();
        assert_eq!(length, limit + 1);
        path.pop();
        let listener = Listener::bind(&path, None, 1).unwrap();
        listener.unlink().unwrap();
        assert!(check_path(&[b"/", &[b's'; MAX_NAME + 1][..]].concat()).is_err());
    }

    #[test]
    fn paths_that_cannot_be_are_refused() {
        for path in [&b""[..], b"relative", b"/tmp/", b"/tmp/..", &[b'/'; 200]] {
            let refused = Listener::bind(path, None, 1).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
