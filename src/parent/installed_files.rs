//! Finds the two files that belong to the module: the supervisor's program and the Python runtime.
//!
//! Runs in: the Apache parent.
//!
//! Both are installed beside the module. Where `LoadModule` names a symbolic link, the link's own
//! directory comes first, then that of the file it leads to.

use std::fmt;
use std::path::{Path, PathBuf};

use wire::log_id::INSTALLED_FILE_MISSING;

/// Name of the supervisor's program.
const SUPERVISOR: &str = "mod_wsgi-supervisor";
/// Name of the Python runtime.
const RUNTIME: &str = "libwsgi_runtime.so";

/// The Python for groups that name none. Chosen when the module is built, for a distribution whose
/// Python is elsewhere; `PATH` is never searched.
pub const DEFAULT_PYTHON: &str = match option_env!("MOD_WSGI_DEFAULT_PYTHON") {
    Some(python) => python,
    None => "/usr/bin/python3",
};

/// The two files, as absolute paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The supervisor's program.
    pub supervisor: PathBuf,
    /// The Python runtime.
    pub runtime: PathBuf,
}

/// One of the two files is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    name: &'static str,
    /// Where it was looked for.
    directories: Vec<PathBuf>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directories: Vec<_> = self
            .directories
            .iter()
            .map(|at| at.display().to_string())
            .collect();
        write!(
            f,
            "{INSTALLED_FILE_MISSING}: {} is not beside the module (looked in {}). Install it there: process groups \
             cannot run without it.",
            self.name,
            directories.join(", ")
        )
    }
}

impl Files {
    /// The two files that belong to `module`, the file the module was loaded from.
    pub fn beside(module: &Path) -> Result<Files, Missing> {
        let mut directories: Vec<PathBuf> = Vec::new();
        let real = module.canonicalize().ok();
        for file in [Some(module), real.as_deref()].into_iter().flatten() {
            let directory = file.parent().unwrap_or(Path::new("/")).to_owned();
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
        let find = |name| {
            directories
                .iter()
                .map(|directory| directory.join(name))
                .find(|file| file.is_file())
                .ok_or_else(|| Missing {
                    name,
                    directories: directories.clone(),
                })
        };
        Ok(Files {
            supervisor: find(SUPERVISOR)?,
            runtime: find(RUNTIME)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A directory that is gone at the end of the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("mod_wsgi-{}-{name}", std::process::id()));
            fs::create_dir_all(path.join("lib")).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn companions_are_found_beside_the_module_and_behind_a_link_to_it() {
        let scratch = Scratch::new("files");
        let lib = scratch.0.join("lib");
        for name in ["mod_wsgi.so", SUPERVISOR, RUNTIME] {
            fs::write(lib.join(name), "").unwrap();
        }
        let link = scratch.0.join("mod_wsgi.so");
        symlink(lib.join("mod_wsgi.so"), &link).unwrap();
        let files = Files::beside(&link).unwrap();
        assert_eq!(files.supervisor, lib.join(SUPERVISOR));
        assert_eq!(Files::beside(&lib.join("mod_wsgi.so")), Ok(files));
    }

    #[test]
    fn a_missing_companion_is_named_with_the_places_it_was_looked_for_in() {
        let scratch = Scratch::new("missing");
        let sentence = Files::beside(&scratch.0.join("mod_wsgi.so"))
            .unwrap_err()
            .to_string();
        assert!(sentence.contains(SUPERVISOR) && sentence.contains(scratch.0.to_str().unwrap()));
    }
}
