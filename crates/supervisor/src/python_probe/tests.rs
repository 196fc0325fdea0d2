//! Every way in which a `python-home=` is known to be wrong, and what is said then.

use std::fs::{create_dir_all, write, Permissions};
use std::os::unix::fs::{symlink, PermissionsExt};

use super::*;
use crate::testing::Directory;

/// A place for virtual environments beside a Python that can be run but does nothing.
struct Place(Directory);

impl Place {
    fn new(name: &str) -> Self {
        let place = Self(Directory::new(name));
        create_dir_all(place.at("base/bin")).unwrap();
        place.program("base/bin/python3.11");
        write(place.at("runtime.so"), "").unwrap();
        place
    }

    fn at(&self, relative: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(relative)
    }

    fn program(&self, relative: &str) {
        write(self.at(relative), "#!/bin/sh\nexit 0\n").unwrap();
        std::fs::set_permissions(self.at(relative), Permissions::from_mode(0o755)).unwrap();
    }

    fn venv(&self, version: &str) -> PathBuf {
        let home = self.at("venv");
        create_dir_all(home.join("bin")).unwrap();
        symlink(self.at("base/bin/python3.11"), home.join("bin/python")).unwrap();
        let base = self.at("base/bin");
        let text = format!("home = {}\nversion = {version}\n", base.display());
        write(home.join("pyvenv.cfg"), text).unwrap();
        home
    }

    fn question(&self, home: &Path) -> PythonCheckRequest {
        PythonCheckRequest {
            user: "user1".into(),
            python_home: Some(home.as_os_str().as_bytes().to_vec()),
            default_python: b"/no/such/python3".to_vec(),
            runtime: self.at("runtime.so").into_os_string().into_encoded_bytes(),
            working_directory: None,
        }
    }

    fn fault(&self, home: &Path) -> String {
        examine(&self.question(home)).unwrap_err()
    }
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    assert!(!text.contains("  "), "{text}");
}

#[test]
fn a_virtual_environment_is_started_by_its_own_python() {
    let place = Place::new("venv");
    let home = place.venv("3.11.2");
    let found = examine(&place.question(&home)).unwrap();
    assert_eq!(
        found.program,
        home.join("bin/python").as_os_str().as_bytes()
    );
    assert_eq!((found.python_home, found.library_path), (None, None));
}

#[test]
fn a_prefix_is_started_by_its_python3_and_told_its_home_only_if_it_lies_elsewhere() {
    let place = Place::new("prefix");
    symlink("python3.11", place.at("base/bin/python3")).unwrap();
    let found = examine(&place.question(&place.at("base"))).unwrap();
    assert!(found.program.ends_with(b"/base/bin/python3") && found.python_home.is_none());
    create_dir_all(place.at("linked/bin")).unwrap();
    create_dir_all(place.at("linked/lib/python3.11")).unwrap();
    write(place.at("linked/lib/python3.11/os.py"), "").unwrap();
    symlink(
        place.at("base/bin/python3.11"),
        place.at("linked/bin/python"),
    )
    .unwrap();
    let linked = place.at("linked");
    let found = examine(&place.question(&linked)).unwrap();
    assert_eq!(found.python_home.unwrap(), linked.as_os_str().as_bytes());
}

#[test]
fn a_file_a_missing_directory_and_one_level_too_deep_are_mended_by_a_path() {
    let place = Place::new("wrong");
    let home = place.venv("3.11.2");
    let (shown, program) = (home.display().to_string(), home.join("bin/python"));
    contains(
        &place.fault(&program),
        &["is a file", &format!("python-home={shown}")],
    );
    contains(
        &place.fault(&place.at("gone")),
        &["does not exist", "python3 -m venv"],
    );
    contains(
        &place.fault(&place.at("gone/venv")),
        &["/gone does not exist"],
    );
    let deep = home.join("lib/python3.11/site-packages");
    create_dir_all(&deep).unwrap();
    contains(
        &place.fault(&deep),
        &["no bin/python", &format!("python-home={shown}")],
    );
    create_dir_all(place.at("empty")).unwrap();
    contains(&place.fault(&place.at("empty")), &["neither a virtual env"]);
    contains(&place.fault(Path::new("venv")), &["not an absolute path"]);
}

#[test]
fn a_virtual_environment_whose_python_changed_or_went_is_to_be_recreated() {
    let place = Place::new("changed");
    let home = place.venv("3.12.1");
    contains(
        &place.fault(&home),
        &["created with Python 3.12", "now Python 3.11", "--clear"],
    );
    std::fs::remove_file(place.at("base/bin/python3.11")).unwrap();
    contains(
        &place.fault(&home),
        &["python3.11 does not exist", "Recreate it"],
    );
    std::fs::remove_dir_all(place.at("base")).unwrap();
    contains(&place.fault(&home), &["is not there any more", "/base"]);
}

#[test]
fn an_old_python_is_refused_by_its_number() {
    let place = Place::new("old");
    let home = place.venv("3.9.2");
    contains(&place.fault(&home), &["Python 3.9,", "3.10 is the oldest"]);
}

#[test]
fn a_program_that_may_not_be_run_is_named_with_its_mode() {
    let place = Place::new("mode");
    let home = place.venv("3.11.2");
    let base = place.at("base/bin/python3.11");
    std::fs::set_permissions(&base, Permissions::from_mode(0o644)).unwrap();
    contains(
        &place.fault(&home),
        &["user1 may not read or execute", "mode 0644", "python3.11"],
    );
}

#[test]
fn a_configuration_that_is_no_file_does_not_hold_anybody_up() {
    let place = Place::new("fifo");
    let home = place.venv("3.11.2");
    std::fs::remove_file(home.join("pyvenv.cfg")).unwrap();
    create_dir_all(home.join("pyvenv.cfg")).unwrap();
    contains(&place.fault(&home), &["cannot read", "pyvenv.cfg"]);
}

#[test]
fn a_default_python_that_is_missing_is_named() {
    let place = Place::new("default");
    let mut question = place.question(Path::new("/"));
    question.python_home = None;
    let text = examine(&question).unwrap_err();
    contains(&text, &["/no/such/python3 cannot be used", "python-home="]);
}

#[test]
fn versions_are_read_wherever_they_stand() {
    let text = b"home = /usr/bin\nversion_info = 3.12.1.final.0\nother\n";
    let found = PyvenvCfg::parse(text);
    assert_eq!(found.version, Some((3, 12)));
    assert_eq!(found.home.as_deref(), Some(Path::new("/usr/bin")));
    assert_eq!(version("3.13t"), Some((3, 13)));
    assert_eq!(version_of_name(Path::new("/b/python3")), None);
    assert_eq!(PyvenvCfg::parse(b"\xff=\nversion=x"), PyvenvCfg::default());
}
