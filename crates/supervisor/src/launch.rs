//! Builds the command of a worker process from its group's configuration.
//!
//! Runs in: the supervisor.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use os::rlimit::{Limit, Resource};
use os::spawn::{Command, Identity};
use wire::group::{ProcessGroup, ServerFacts};

use crate::python_check::PythonInterpreter;

/// The first code that a worker's Python runs: it loads the runtime and calls it.
///
/// `-c` puts the working directory in front of `sys.path`; this code removes it before any import.
/// It restores the variables that were for the interpreter only: the application and the programs that
/// it starts do not see them. Each is an argument, `NAME=value` as it was, or `NAME` if there was none.
const BOOTSTRAP: &str = "\
import sys
if sys.path and sys.path[0] == '':
    del sys.path[0]
import os
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import module_from_spec
runtime = sys.argv[1]
for variable in sys.argv[2:]:
    name, was_set, value = variable.partition('=')
    if was_set:
        os.environ[name] = value
    else:
        os.environ.pop(name, None)
loader = ExtensionFileLoader('wsgi_runtime', runtime)
module = module_from_spec(ModuleSpec('wsgi_runtime', loader, origin=runtime))
loader.exec_module(module)
sys.exit(module.main())
";

/// The program search path if the environment is not passed on.
const CLEAN_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Seed of Python's string hashes.
const HASH_SEED: &[u8] = b"PYTHONHASHSEED";
/// Where the dynamic linker looks for libraries.
const LIBRARY_PATH: &[u8] = b"LD_LIBRARY_PATH";

/// Variables of an environment.
pub type Environment = Vec<(Vec<u8>, Vec<u8>)>;

/// The environment this process was started with.
pub fn own_environment() -> Environment {
    use std::os::unix::ffi::OsStringExt;
    std::env::vars_os()
        .map(|(name, value)| (name.into_vec(), value.into_vec()))
        .collect()
}

/// The account of the group's workers; `None` if they keep the supervisor's account.
pub fn identity(group: &ProcessGroup) -> Option<Identity> {
    let wanted = &group.identity;
    wanted.switch.then(|| Identity {
        uid: wanted.uid,
        gid: wanted.gid,
        groups: wanted.groups.clone(),
    })
}

/// The process of one worker. `fds` from 0 on: an empty input, the log twice, the listener,
/// the control socket, the scoreboard, the log once more for writes that do not wait.
pub fn worker<'fd>(
    group: &ProcessGroup,
    server: &ServerFacts,
    interpreter: &PythonInterpreter,
    inherited: &Environment,
    fds: [BorrowedFd<'fd>; 7],
) -> Command<'fd> {
    let (env, restored) = environment(group, interpreter, inherited);
    let mut args = vec![interpreter.program.clone()];
    args.extend(options(group));
    args.extend([b"-c".to_vec(), BOOTSTRAP.into()]);
    args.push(server.runtime.0.clone());
    args.extend(restored);

    let mut command = Command::new(&interpreter.program, &[]);
    command.args = args;
    command.env = env;
    command.fds = fds.to_vec();
    command.detached = true;
    command.chroot = group.environment.chroot.as_ref().map(|path| path.0.clone());
    command.limits = limits(group);
    command.priority = match group.resources.cpu_priority {
        0 => None,
        priority => Some(priority.clamp(-20, 19)),
    };
    // Only a root process that changes its identity may drop the capability bounding set.
    command.drop_bounding_set = group.identity.switch && group.identity.no_new_privs;
    command.no_new_privs = group.identity.no_new_privs;
    command.identity = identity(group);
    command.umask = group.environment.umask;
    command.cwd = group.environment.working_directory().map(<[u8]>::to_vec);
    // The runtime exits in order on SIGTERM, and by itself when its control socket closes. This
    // signal works even if the runtime's control thread is gone.
    command.parent_death_signal = Some(os::signal::SIGTERM);
    command
}

/// Options of the interpreter.
fn options(group: &ProcessGroup) -> Vec<Vec<u8>> {
    let python = &group.python;
    let mut options = Vec::new();
    options.extend((0..python.optimize.min(2)).map(|_| b"-O".to_vec()));
    if python.dont_write_bytecode {
        options.push(b"-B".to_vec());
    }
    for filter in &python.warnings {
        options.extend([b"-W".to_vec(), filter.0.clone()]);
    }
    options
}

fn set(env: &mut Environment, name: &[u8], value: &[u8]) {
    env.retain(|(known, _)| known != name);
    env.push((name.to_vec(), value.to_vec()));
}

/// Sets a variable for the interpreter only. Returns what [`BOOTSTRAP`] is told about it.
fn lend(env: &mut Environment, name: &[u8], value: &[u8]) -> Vec<u8> {
    let restored = match env.iter().find(|(known, _)| known == name) {
        Some((_, old)) => [name, b"=", old].concat(),
        None => name.to_vec(),
    };
    set(env, name, value);
    restored
}

/// The environment, and the arguments of [`BOOTSTRAP`] that restore what was for the interpreter only.
fn environment(
    group: &ProcessGroup,
    interpreter: &PythonInterpreter,
    inherited: &Environment,
) -> (Environment, Vec<Vec<u8>>) {
    let (place, user) = (&group.environment, &group.identity);
    let mut env = if place.clear_env {
        let passed_on = inherited.iter().filter(|(name, _)| name == b"TZ");
        let mut env: Environment = passed_on.cloned().collect();
        set(&mut env, b"PATH", CLEAN_PATH);
        env
    } else {
        inherited.clone()
    };
    if !user.user_home.is_empty() {
        set(&mut env, b"HOME", &user.user_home);
    }
    if !user.user.is_empty() {
        set(&mut env, b"USER", &user.user);
        set(&mut env, b"LOGNAME", &user.user);
        if env.iter().any(|(name, _)| name == b"USERNAME") {
            set(&mut env, b"USERNAME", &user.user);
        }
    }
    for (name, value) in [(&b"LANG"[..], &place.lang), (b"LC_ALL", &place.locale)] {
        if let Some(value) = value {
            set(&mut env, name, value);
        }
    }
    if group.python.home.is_some() {
        // The variable may belong to another Python.
        env.retain(|(name, _)| name != b"PYTHONHOME");
    }
    if let Some(home) = &interpreter.python_home {
        set(&mut env, b"PYTHONHOME", home);
    }
    for (name, value) in &place.variables {
        if !name.is_empty() && !name.contains(&b'=') && !name.contains(&0) && !value.contains(&0) {
            set(&mut env, name, value);
        }
    }
    let mut restored = Vec::new();
    // What the group's own variables say, the application sees too.
    let is_own = |name: &[u8]| place.variables.iter().any(|(known, _)| **known == *name);
    if let Some(seed) = group
        .python
        .hash_seed
        .as_ref()
        .filter(|_| !is_own(HASH_SEED))
    {
        restored.push(lend(&mut env, HASH_SEED, seed));
    }
    if let Some(directory) = &interpreter.library_path {
        let known = env.iter().find(|(name, _)| name == LIBRARY_PATH);
        let value = match known {
            Some((_, old)) => [directory.as_slice(), b":", old].concat(),
            None => directory.clone(),
        };
        restored.push(lend(&mut env, LIBRARY_PATH, &value));
    }
    (env, restored)
}

fn limits(group: &ProcessGroup) -> Vec<Limit> {
    let wanted = &group.resources;
    let mut limits = Vec::new();
    if let Some(cpu_time) = wanted.cpu_time {
        // At the soft limit SIGXCPU tells the worker to exit; the hard limit kills it.
        let soft = whole_seconds(cpu_time);
        let shutdown = group.timeouts.shutdown.unwrap_or_default();
        limits.push(Limit {
            resource: Resource::Cpu,
            soft,
            hard: soft + 1 + whole_seconds(shutdown),
        });
    }
    for (resource, bytes) in [
        (Resource::Data, wanted.memory),
        (Resource::AddressSpace, wanted.virtual_memory),
    ] {
        if let Some(bytes) = bytes {
            limits.push(Limit {
                resource,
                soft: bytes,
                hard: bytes,
            });
        }
    }
    limits
}

/// Rounded up.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn interpreter() -> PythonInterpreter {
        PythonInterpreter {
            program: b"/venv/bin/python".to_vec(),
            python_home: None,
            library_path: None,
        }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Environment {
        let bytes = |text: &str| text.as_bytes().to_vec();
        pairs.iter().map(|(n, v)| (bytes(n), bytes(v))).collect()
    }

    fn value<'e>(env: &'e Environment, name: &str) -> Option<&'e str> {
        let mut found = env.iter().filter(|(known, _)| known == name.as_bytes());
        let value = found.next().map(|(_, v)| std::str::from_utf8(v).unwrap());
        assert!(found.next().is_none(), "{name} stands twice");
        value
    }

    #[test]
    fn the_environment_is_the_parents_with_the_users_own_names() {
        let mut group = testing::group("shop");
        group.identity.user = "user1".into();
        group.identity.user_home = "/home/user1".into();
        group.environment.lang = Some("C.UTF-8".into());
        group.environment.variables = vec![("A".into(), "2".into()), ("B=".into(), "x".into())];
        let inherited = pairs(&[
            ("USER", "root"),
            ("HOME", "/root"),
            ("A", "1"),
            ("TZ", "UTC"),
        ]);
        let (env, restored) = environment(&group, &interpreter(), &inherited);
        for (name, expected) in [
            ("USER", Some("user1")),
            ("LOGNAME", Some("user1")),
            ("USERNAME", None),
            ("HOME", Some("/home/user1")),
            ("LANG", Some("C.UTF-8")),
            ("LC_ALL", None),
            ("A", Some("2")),
            ("TZ", Some("UTC")),
            ("B=", None),
        ] {
            assert_eq!(value(&env, name), expected, "{name}");
        }
        assert_eq!(restored, Vec::<Vec<u8>>::new());
        group.environment.clear_env = true;
        let (env, _) = environment(&group, &interpreter(), &pairs(&[("SECRET", "1")]));
        assert_eq!(value(&env, "SECRET"), None);
        assert!(value(&env, "PATH").is_some());
    }

    #[test]
    fn a_python_that_needs_its_library_path_has_it_and_its_programs_do_not() {
        let group = testing::group("shop");
        let moved = PythonInterpreter {
            library_path: Some(b"/opt/py/lib".to_vec()),
            ..interpreter()
        };
        let (env, restored) = environment(&group, &moved, &Vec::new());
        assert_eq!(value(&env, "LD_LIBRARY_PATH"), Some("/opt/py/lib"));
        assert_eq!(restored, [b"LD_LIBRARY_PATH"]);
        let (env, restored) = environment(&group, &moved, &pairs(&[("LD_LIBRARY_PATH", "/x")]));
        assert_eq!(value(&env, "LD_LIBRARY_PATH"), Some("/opt/py/lib:/x"));
        assert_eq!(restored, [b"LD_LIBRARY_PATH=/x"]);
    }

    #[test]
    fn the_hash_seed_is_for_the_interpreter_only_unless_the_group_sets_the_variable() {
        let mut group = testing::group("shop");
        group.python.hash_seed = Some("7".into());
        let (env, restored) = environment(&group, &interpreter(), &Vec::new());
        assert_eq!(value(&env, "PYTHONHASHSEED"), Some("7"));
        assert_eq!(restored, [b"PYTHONHASHSEED"]);
        let inherited = pairs(&[("PYTHONHASHSEED", "5")]);
        let (env, restored) = environment(&group, &interpreter(), &inherited);
        assert_eq!(value(&env, "PYTHONHASHSEED"), Some("7"));
        assert_eq!(restored, [b"PYTHONHASHSEED=5"]);
        group.environment.variables = vec![("PYTHONHASHSEED".into(), "9".into())];
        let (env, restored) = environment(&group, &interpreter(), &inherited);
        assert_eq!(value(&env, "PYTHONHASHSEED"), Some("9"));
        assert_eq!(restored, Vec::<Vec<u8>>::new());
    }

    #[test]
    fn options_and_limits_follow_the_group() {
        let mut group = testing::group("shop");
        group.python.optimize = 5;
        group.python.dont_write_bytecode = true;
        group.python.warnings = vec!["error".into()];
        assert_eq!(options(&group), [&b"-O"[..], b"-O", b"-B", b"-W", b"error"]);
        group.resources.cpu_time = Some(Duration::from_millis(1500));
        group.timeouts.shutdown = Some(Duration::from_secs(5));
        let cpu = limits(&group)[0];
        assert_eq!((cpu.soft, cpu.hard), (2, 8));
    }
}
