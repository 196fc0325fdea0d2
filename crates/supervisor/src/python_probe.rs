//! Finds a group's Python, and says in one sentence what is wrong with it.
//!
//! Runs in a short-lived process of its own: this binary, started by the supervisor with the
//! identity the group's workers will have. So the kernel itself says what that user may read, and
//! nothing a user has put into his directories (a pipe in place of a file, say) reaches the
//! supervisor, which limits how long this takes.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use os::descriptor::{may, Access};

use crate::path_walk::{reach, Obstacle};
use crate::python_check::{PythonCheckRequest, PythonInterpreter};

/// Oldest Python that the runtime works with: 3.10.
const OLDEST: u32 = 10;
/// Largest `pyvenv.cfg` that is read, in bytes.
const MAX_CONFIGURATION: u64 = 64 * 1024;
/// Longest that a trial run of an interpreter may take.
const TRIAL: Duration = Duration::from_secs(5);

/// The whole life of the process: the answer goes to standard output.
pub fn run(arguments: &[Vec<u8>]) -> io::Result<()> {
    let answer = match PythonCheckRequest::from_arguments(arguments) {
        Some(question) => examine(&question),
        None => Err("the examination was asked for in a way it does not understand".to_owned()),
    };
    io::stdout().write_all(&crate::python_check::encode(&answer))
}

/// The interpreter to start, or what is in its way.
pub fn examine(question: &PythonCheckRequest) -> Result<PythonInterpreter, String> {
    let who = &question.user;
    let mut interpreter = match &question.python_home {
        Some(home) => in_home(who, path(home))?,
        None => {
            let python = path(&question.default_python);
            let real = usable_program(who, python).map_err(|obstacle| {
                format!(
                    "its Python {} cannot be used: {obstacle}. Name another one with python-home=",
                    python.display()
                )
            })?;
            PythonInterpreter {
                program: question.default_python.clone(),
                python_home: None,
                library_path: library_path(&real),
            }
        }
    };
    if let Some(directory) = interpreter.library_path.take() {
        interpreter.library_path =
            needs_library_path(&interpreter.program, &directory).then_some(directory);
    }
    if let Some(directory) = &question.working_directory {
        let directory = path(directory);
        reach(directory)
            .and_then(|real| allowed(Access::Execute, &real))
            .map_err(|obstacle| {
                let directory = directory.display();
                let text = obstacle.sentence_for(who);
                format!("its working directory {directory} cannot be entered: {text}")
            })?;
    }
    let runtime = path(&question.runtime);
    reach(runtime)
        .and_then(|real| allowed(Access::Read, &real))
        .map_err(|obstacle| {
            let text = obstacle.sentence_for(who);
            format!("the runtime {} cannot be loaded: {text}", runtime.display())
        })?;
    Ok(interpreter)
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn allowed(access: Access, real: &Path) -> Result<(), Obstacle> {
    may(access, real.as_os_str().as_bytes())
        .map_err(|error| Obstacle::refused(real.to_owned(), error))
}

/// Where the program really lies, if it is one and may be run.
fn usable_program(who: &str, program: &Path) -> Result<PathBuf, String> {
    let sentence = |obstacle: Obstacle| obstacle.sentence_for(who);
    let real = reach(program).map_err(sentence)?;
    if !real.is_file() {
        return Err(format!("{} is not a file", real.display()));
    }
    allowed(Access::Execute, &real).map_err(sentence)?;
    Ok(real)
}

/// What `python-home=` leads to.
fn in_home(who: &str, home: &Path) -> Result<PythonInterpreter, String> {
    let shown = home.display();
    let real_home = reach(home).map_err(|obstacle| match obstacle {
        Obstacle::Missing { at } if at == *home => format!(
            "python-home={shown} does not exist. Make it (python3 -m venv {shown}), or correct the \
             path"
        ),
        obstacle => format!(
            "python-home={shown} cannot be used: {}",
            obstacle.sentence_for(who)
        ),
    })?;
    if !real_home.is_dir() {
        return Err(not_a_directory(home));
    }
    allowed(Access::Execute, &real_home).map_err(|obstacle| {
        let text = obstacle.sentence_for(who);
        format!("python-home={shown} cannot be used: {text}")
    })?;
    let configuration = home.join("pyvenv.cfg");
    match read_configuration(&configuration) {
        Ok(text) => in_virtual_environment(who, home, &PyvenvCfg::parse(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => in_prefix(who, home, &real_home),
        Err(error) => {
            let at = configuration.clone();
            let text = Obstacle::refused(at, error).sentence_for(who);
            Err(format!("cannot read {}: {text}", configuration.display()))
        }
    }
}

/// Somebody gave a file: most likely the interpreter.
fn not_a_directory(home: &Path) -> String {
    let shown = home.display();
    let better = home
        .parent()
        .filter(|parent| parent.file_name() == Some(OsStr::new("bin")))
        .and_then(Path::parent);
    match better {
        Some(better) => format!(
            "python-home={shown} is a file. Give the directory that contains bin/: python-home={}",
            better.display()
        ),
        None => format!(
            "python-home={shown} is a file. Give a virtual environment's directory, or the prefix \
             of a Python: the one that contains bin/"
        ),
    }
}

/// Opened without waiting for a writer, should it be a pipe, and read up to a bound.
fn read_configuration(file: &Path) -> io::Result<Vec<u8>> {
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(os::descriptor::NONBLOCK)
        .open(file)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = Vec::new();
    file.take(MAX_CONFIGURATION).read_to_end(&mut text)?;
    Ok(text)
}

/// The lines of a `pyvenv.cfg` that matter here.
#[derive(Debug, Default, PartialEq, Eq)]
struct PyvenvCfg {
    /// Directory of the Python it was made with.
    home: Option<PathBuf>,
    /// Major and minor version of that Python.
    version: Option<(u32, u32)>,
}

impl PyvenvCfg {
    fn parse(text: &[u8]) -> Self {
        let mut found = Self::default();
        for line in text.split(|&b| b == b'\n') {
            let Some(equals) = line.iter().position(|&b| b == b'=') else {
                continue;
            };
            let (name, value) = (line[..equals].trim_ascii(), line[equals + 1..].trim_ascii());
            match name.to_ascii_lowercase().as_slice() {
                b"home" => found.home = Some(path(value).to_owned()),
                b"version" | b"version_info" => {
                    found.version = version(&String::from_utf8_lossy(value)).or(found.version);
                }
                _ => {}
            }
        }
        found
    }
}

/// "3.11.2" and "3.11.2.final.0" are (3, 11).
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?;
    let digits = minor.find(|c: char| !c.is_ascii_digit());
    Some((major, minor[..digits.unwrap_or(minor.len())].parse().ok()?))
}

/// The version in a name such as `python3.11`.
fn version_of_name(program: &Path) -> Option<(u32, u32)> {
    version(program.file_name()?.to_str()?.strip_prefix("python")?)
}

fn too_old((major, minor): (u32, u32)) -> bool {
    major < 3 || (major == 3 && minor < OLDEST)
}

fn in_virtual_environment(
    who: &str,
    home: &Path,
    configuration: &PyvenvCfg,
) -> Result<PythonInterpreter, String> {
    let shown = home.display();
    if let Some((major, minor)) = configuration.version.filter(|&v| too_old(v)) {
        return Err(format!(
            "virtual environment {shown} was created with Python {major}.{minor}, and 3.{OLDEST} is \
             the oldest that is supported. Recreate it with a newer one (python3 -m venv --clear \
             {shown}) and install its packages again"
        ));
    }
    if let Some(base) = &configuration.home {
        reach(base)
            .and_then(|real| allowed(Access::Execute, &real))
            .map_err(|obstacle| match obstacle {
                Obstacle::Missing { at } => format!(
                    "virtual environment {shown} was created with the Python in {}, which is not \
                     there any more ({} is missing). Recreate it (python3 -m venv --clear {shown}) \
                     and install its packages again",
                    base.display(),
                    at.display()
                ),
                obstacle => format!(
                    "virtual environment {shown} needs the Python in {}: {}",
                    base.display(),
                    obstacle.sentence_for(who)
                ),
            })?;
    }
    let program = ["bin/python", "bin/python3"]
        .map(|name| home.join(name))
        .into_iter()
        .find(|program| program.symlink_metadata().is_ok())
        .unwrap_or_else(|| home.join("bin/python"));
    let real = match reach(&program) {
        Ok(_) => usable_program(who, &program).map_err(|text| {
            format!(
                "virtual environment {shown}: {} cannot be run: {text}",
                program.display()
            )
        })?,
        Err(Obstacle::Missing { at }) => {
            return Err(format!(
                "virtual environment {shown} has no working {}: {} does not exist. Recreate it \
                 (python3 -m venv --clear {shown}) and install its packages again",
                program.display(),
                at.display()
            ))
        }
        Err(obstacle) => {
            return Err(format!(
                "virtual environment {shown}: {} cannot be run: {}",
                program.display(),
                obstacle.sentence_for(who)
            ))
        }
    };
    let now = version_of_name(&real);
    if let (Some(then), Some(now)) = (configuration.version, now) {
        if then != now {
            return Err(format!(
                "virtual environment {shown} was created with Python {}.{}, but its {} is now \
                 Python {}.{} ({}), which does not see its packages. Recreate it ({} -m venv \
                 --clear {shown}) and install its packages again",
                then.0,
                then.1,
                program.display(),
                now.0,
                now.1,
                real.display(),
                real.display(),
            ));
        }
    }
    if let Some((3, minor)) = configuration.version {
        let packages = home.join(format!("lib/python3.{minor}/site-packages"));
        if let Err(obstacle) = reach(&packages).and_then(|real| allowed(Access::Read, &real)) {
            if !matches!(obstacle, Obstacle::Missing { .. }) {
                return Err(format!(
                    "the packages of virtual environment {shown} cannot be read: {}",
                    obstacle.sentence_for(who)
                ));
            }
        }
    }
    Ok(PythonInterpreter {
        program: program.into_os_string().into_encoded_bytes(),
        python_home: None,
        library_path: library_path(&real),
    })
}

fn in_prefix(who: &str, home: &Path, real_home: &Path) -> Result<PythonInterpreter, String> {
    let shown = home.display();
    let mut candidates = vec![home.join("bin/python3"), home.join("bin/python")];
    // A prefix may have numbered ones only; the newest that is not past all reason first.
    candidates.extend(
        (OLDEST..40)
            .rev()
            .map(|n| home.join(format!("bin/python3.{n}"))),
    );
    let Some(program) = candidates
        .into_iter()
        .find(|program| program.symlink_metadata().is_ok())
    else {
        // What can't be searched seems to be empty.
        if let Err(obstacle @ Obstacle::Closed { .. }) = reach(&home.join("bin/python3")) {
            let text = obstacle.sentence_for(who);
            return Err(format!("python-home={shown} cannot be used: {text}"));
        }
        return Err(no_python(home));
    };
    let real = usable_program(who, &program).map_err(|text| {
        let program = program.display();
        format!("python-home={shown}: {program} cannot be run: {text}")
    })?;
    if let Some((major, minor)) = version_of_name(&real).filter(|&v| too_old(v)) {
        return Err(format!(
            "python-home={shown} is Python {major}.{minor}, and 3.{OLDEST} is the oldest that is \
             supported. Name a newer one"
        ));
    }
    // A Python finds its library from where it really lies. One that is only linked into this
    // prefix must be told that the library is here.
    let elsewhere = !real.starts_with(real_home);
    let has_library = || {
        let library = |n: u32| home.join(format!("lib/python3.{n}/os.py")).exists();
        (OLDEST..40).any(library)
    };
    Ok(PythonInterpreter {
        program: program.into_os_string().into_encoded_bytes(),
        python_home: (elsewhere && has_library()).then(|| home.as_os_str().as_bytes().to_vec()),
        library_path: library_path(&real),
    })
}

fn no_python(home: &Path) -> String {
    let shown = home.display();
    let better = home.ancestors().skip(1).find(|above| {
        above.join("pyvenv.cfg").exists() || above.join("bin/python3").symlink_metadata().is_ok()
    });
    match better {
        Some(better) if better != Path::new("/") => format!(
            "python-home={shown} contains no bin/python. Give the directory above it that does: \
             python-home={}",
            better.display()
        ),
        _ => format!(
            "python-home={shown} is neither a virtual environment (no pyvenv.cfg) nor a Python's \
             prefix (no bin/python3). Make it one: python3 -m venv {shown}"
        ),
    }
}

/// Where a shared libpython lies beside the program in a place the dynamic linker may not know.
fn library_path(real_program: &Path) -> Option<Vec<u8>> {
    let prefix = real_program.parent()?.parent()?;
    if ["/", "/usr", "/usr/local"].map(Path::new).contains(&prefix) {
        return None;
    }
    let lib = prefix.join("lib");
    let shared = fs::read_dir(&lib).ok()?.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.as_bytes();
        name.starts_with(b"libpython3") && name.windows(3).any(|w| w == b".so")
    });
    shared.then(|| lib.into_os_string().into_encoded_bytes())
}

/// Whether the interpreter starts with that library path only. A Python that was moved or copied
/// from where it was installed does so; others, as conda's, would drag wrong libraries in.
fn needs_library_path(program: &[u8], directory: &[u8]) -> bool {
    let with = [(b"LD_LIBRARY_PATH".to_vec(), directory.to_vec())];
    !runs(program, &[]) && runs(program, &with)
}

fn runs(program: &[u8], env: &[(Vec<u8>, Vec<u8>)]) -> bool {
    let attempt = || -> io::Result<bool> {
        let null = os::descriptor::null()?;
        let args = [program, b"-I", b"-S", b"-c", b""];
        let mut command = os::spawn::Command::new(program, &args);
        command.env = env.to_vec();
        command.fds = vec![null.as_fd(); 3];
        command.parent_death_signal = Some(os::signal::SIGKILL);
        let mut child = command.spawn()?;
        let exit = child.wait(TRIAL)?;
        if exit.is_none() {
            child.signal(os::signal::SIGKILL)?;
        }
        Ok(exit == Some(os::process::Exit::Status(0)))
    };
    attempt().unwrap_or(false)
}

#[cfg(test)]
mod tests;
