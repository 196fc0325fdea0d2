//! Walks a path component by component, to name the component that blocks access.
//!
//! Runs in: the process that examines a Python, as the user whose access is checked.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Maximum number of symbolic links on one path, as in the kernel.
const MAX_LINKS: u32 = 40;

/// Why a walk ends early.
#[derive(Debug)]
pub enum Obstacle {
    /// It does not exist.
    Missing {
        at: PathBuf,
    },
    /// It is not a directory, but the path continues.
    NotADirectory {
        at: PathBuf,
    },
    /// The user may not search it.
    Closed {
        directory: PathBuf,
    },
    /// The user may not read or execute it.
    Refused {
        at: PathBuf,
    },
    /// The path is not absolute.
    Relative {
        path: PathBuf,
    },
    Other {
        at: PathBuf,
        error: io::Error,
    },
}

impl Obstacle {
    /// The result of using `at`.
    pub fn refused(at: PathBuf, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Refused { at },
            io::ErrorKind::NotFound => Self::Missing { at },
            _ => Self::Other { at, error },
        }
    }

    /// The clause that names the blocking component and the mend.
    pub fn sentence_for(&self, who: &str) -> String {
        match self {
            Self::Missing { at } => format!("{} does not exist", at.display()),
            Self::NotADirectory { at } => format!("{} is not a directory", at.display()),
            // Root's home is private for good reason: never advise to open it.
            Self::Closed { directory } if directory == Path::new("/root") => format!(
                "{who} may not enter {}. Move what is below to a place {who} may enter, such as /srv",
                Owned(directory)
            ),
            Self::Closed { directory } => format!(
                "{who} may not enter {}. Allow it (chmod o+x {}), or move what is below to a \
                 place {who} may enter, such as /srv",
                Owned(directory),
                directory.display()
            ),
            Self::Refused { at } => format!(
                "{who} may not read or execute {}. Allow it (chmod o+rX {})",
                Owned(at),
                at.display()
            ),
            Self::Relative { path } => format!("{} is not an absolute path", path.display()),
            Self::Other { at, error } => format!("{}: {error}", at.display()),
        }
    }
}

/// A path with its mode and owner: "/home/ann, which is mode 0750 owned by ann:ann".
struct Owned<'p>(&'p Path);

impl fmt::Display for Owned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.display())?;
        let Ok(found) = fs::metadata(self.0) else {
            return Ok(());
        };
        let user = os::accounts::user_by_id(found.uid()).ok().flatten();
        let group = os::accounts::group_by_id(found.gid()).ok().flatten();
        let named = |name: Option<Vec<u8>>, id: u32| match name {
            Some(name) => String::from_utf8_lossy(&name).into_owned(),
            None => id.to_string(),
        };
        write!(
            f,
            ", which is mode {:04o} owned by {}:{}",
            found.mode() & 0o7777,
            named(user.map(|u| u.name), found.uid()),
            named(group.map(|g| g.name), found.gid()),
        )
    }
}

/// Follows an absolute path to its end, links included, and returns its real location.
pub fn reach(path: &Path) -> Result<PathBuf, Obstacle> {
    if !path.is_absolute() {
        return Err(Obstacle::Relative {
            path: path.to_owned(),
        });
    }
    let mut ahead: VecDeque<OsString> = steps(path).collect();
    let mut here = PathBuf::from("/");
    let mut links = 0;
    while let Some(step) = ahead.pop_front() {
        if step == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&step);
        let found = match fs::symlink_metadata(&next) {
            Ok(found) => found,
            Err(error) => {
                return Err(match error.kind() {
                    io::ErrorKind::PermissionDenied => Obstacle::Closed { directory: here },
                    io::ErrorKind::NotFound => Obstacle::Missing { at: next },
                    io::ErrorKind::NotADirectory => Obstacle::NotADirectory { at: here },
                    _ => Obstacle::Other { at: next, error },
                })
            }
        };
        if !found.is_symlink() {
            here = next;
            continue;
        }
        links += 1;
        let target = fs::read_link(&next).and_then(|target| {
            if links > MAX_LINKS {
                Err(io::Error::other("too many symbolic links"))
            } else {
                Ok(target)
            }
        });
        let target = target.map_err(|error| Obstacle::Other { at: next, error })?;
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        for step in steps(&target).collect::<Vec<_>>().into_iter().rev() {
            ahead.push_front(step);
        }
    }
    Ok(here)
}

/// The components without empty ones and `.`.
fn steps(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::testing::Directory;

    #[test]
    fn a_way_over_links_ends_where_it_really_is() {
        let directory = Directory::new("reach");
        let root = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/f"), "").unwrap();
        symlink("a/b", root.join("relative")).unwrap();
        symlink(root.join("relative"), root.join("absolute")).unwrap();
        let way = root.join("absolute/../f");
        assert_eq!(reach(&way).unwrap(), root.join("a/f"));
        symlink("loop", root.join("loop")).unwrap();
        assert!(matches!(
            reach(&root.join("loop")),
            Err(Obstacle::Other { .. })
        ));
    }

    #[test]
    fn the_component_in_the_way_is_named() {
        let directory = Directory::new("obstacle");
        let root = fs::canonicalize(directory.path()).unwrap();
        fs::write(root.join("f"), "").unwrap();
        symlink("gone/x", root.join("dangling")).unwrap();
        let missing = reach(&root.join("dangling")).unwrap_err();
        assert!(matches!(&missing, Obstacle::Missing { at } if *at == root.join("gone")));
        let file = reach(&root.join("f/x")).unwrap_err();
        assert!(matches!(&file, Obstacle::NotADirectory { at } if *at == root.join("f")));
        assert!(matches!(
            reach(Path::new("x")),
            Err(Obstacle::Relative { .. })
        ));
    }

    #[test]
    fn a_refusal_names_mode_and_owner() {
        let sentence = Obstacle::Closed {
            directory: "/".into(),
        }
        .sentence_for("user1");
        assert!(sentence.contains("user1 may not enter /, which is mode 0755 owned by root:root"));
        assert!(sentence.contains("chmod o+x /)"), "{sentence}");
    }

    #[test]
    fn nobody_is_told_to_open_the_home_of_root() {
        let sentence = Obstacle::Closed {
            directory: "/root".into(),
        }
        .sentence_for("user1");
        assert!(!sentence.contains("chmod"), "{sentence}");
        assert!(sentence.contains("Move what is below to a place user1 may enter"));
    }
}
