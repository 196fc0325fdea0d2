//! The supervisor's side of examining a group's Python: asks, and waits no longer than it should.
//!
//! See [`crate::python_probe`] for what is looked at and why in a process of its own.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use os::process::Child;
use os::signal::SIGKILL;
use os::spawn::{Command, Identity};
use wire::group::{ProcessGroup, ServerFacts};

/// First argument of the process that examines.
pub const ARGUMENT: &[u8] = b"--examine";
/// Longest that an examination may take: a file system may hang.
const LIMIT: Duration = Duration::from_secs(15);
/// Most bytes of an answer.
const MAX_ANSWER: usize = 16 * 1024;

/// How a group's Python is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonInterpreter {
    pub program: Vec<u8>,
    /// For `PYTHONHOME`, where the Python would not find its library by itself.
    pub python_home: Option<Vec<u8>>,
    /// For `LD_LIBRARY_PATH`, where it would not find its libpython by itself.
    pub library_path: Option<Vec<u8>>,
}

/// What is to be examined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonCheckRequest {
    /// Whom sentences speak of.
    pub user: String,
    pub python_home: Option<Vec<u8>>,
    pub default_python: Vec<u8>,
    pub runtime: Vec<u8>,
    pub working_directory: Option<Vec<u8>>,
}

impl PythonCheckRequest {
    pub fn about(group: &ProcessGroup, server: &ServerFacts) -> Self {
        let identity = &group.identity;
        Self {
            user: if !identity.user.is_empty() {
                identity.user.text().into_owned()
            } else if identity.switch {
                format!("uid {}", identity.uid)
            } else {
                format!("uid {}", os::accounts::effective_uid())
            },
            python_home: group.python.home.as_ref().map(|home| home.0.clone()),
            default_python: server.default_python.0.clone(),
            runtime: server.runtime.0.clone(),
            working_directory: group.environment.working_directory().map(<[u8]>::to_vec),
        }
    }

    fn to_arguments(&self) -> Vec<Vec<u8>> {
        // An empty argument is what was not given: no path is empty.
        vec![
            crate::TITLE.to_vec(),
            ARGUMENT.to_vec(),
            self.user.clone().into_bytes(),
            self.python_home.clone().unwrap_or_default(),
            self.default_python.clone(),
            self.runtime.clone(),
            self.working_directory.clone().unwrap_or_default(),
        ]
    }

    /// Of the arguments behind [`ARGUMENT`].
    pub fn from_arguments(arguments: &[Vec<u8>]) -> Option<Self> {
        let [user, home, default, runtime, directory] = arguments else {
            return None;
        };
        let given = |path: &Vec<u8>| (!path.is_empty()).then(|| path.clone());
        Some(Self {
            user: String::from_utf8_lossy(user).into_owned(),
            python_home: given(home),
            default_python: default.clone(),
            runtime: runtime.clone(),
            working_directory: given(directory),
        })
    }
}

/// An answer as it travels: fields ended by NUL, the first one `usable` or `faulty`.
pub fn encode(answer: &Result<PythonInterpreter, String>) -> Vec<u8> {
    let empty = Vec::new();
    let fields: Vec<&[u8]> = match answer {
        Ok(found) => vec![
            b"usable",
            &found.program,
            found.python_home.as_ref().unwrap_or(&empty),
            found.library_path.as_ref().unwrap_or(&empty),
        ],
        Err(sentence) => vec![b"faulty", sentence.as_bytes()],
    };
    let mut out = Vec::new();
    for field in fields {
        out.extend(field.iter().copied().filter(|&b| b != 0));
        out.push(0);
    }
    out
}

fn decode(answer: &[u8]) -> Option<Result<PythonInterpreter, String>> {
    let fields: Vec<&[u8]> = answer.strip_suffix(b"\0")?.split(|&b| b == 0).collect();
    match fields.as_slice() {
        [b"usable", program, python_home, library_path] if !program.is_empty() => {
            let given = |field: &[u8]| (!field.is_empty()).then(|| field.to_vec());
            Some(Ok(PythonInterpreter {
                program: program.to_vec(),
                python_home: given(python_home),
                library_path: given(library_path),
            }))
        }
        [b"faulty", sentence] => Some(Err(String::from_utf8_lossy(sentence).into_owned())),
        _ => None,
    }
}

/// An examination under way.
#[derive(Debug)]
pub struct PythonCheck {
    child: Child,
    output: File,
    answer: Vec<u8>,
    until: Duration,
    /// What to start if nothing can be found out.
    guess: PythonInterpreter,
}

impl PythonCheck {
    /// Begins one, as `identity`.
    pub fn begin(question: &PythonCheckRequest, identity: Option<Identity>) -> io::Result<Self> {
        let (reader, writer) = os::descriptor::pipe()?;
        os::descriptor::set_nonblocking(reader.as_fd())?;
        let null = os::descriptor::null()?;
        let mut command = Command::new(b"/proc/self/exe", &[]);
        command.args = question.to_arguments();
        command.fds = vec![null.as_fd(), writer.as_fd(), null.as_fd()];
        command.detached = true;
        command.identity = identity;
        command.parent_death_signal = Some(SIGKILL);
        Ok(Self {
            child: command.spawn()?,
            output: reader.into(),
            answer: Vec::new(),
            until: os::clock::monotonic() + LIMIT,
            guess: guess(question),
        })
    }

    /// When patience ends.
    pub fn until(&self) -> Duration {
        self.until
    }

    /// Reads on. `None` while there is no answer yet.
    pub fn proceed(&mut self, now: Duration) -> Option<Result<PythonInterpreter, String>> {
        if now >= self.until {
            self.end();
            return Some(Err(format!(
                "its Python could not be examined within {} s: does a file system hang?",
                LIMIT.as_secs()
            )));
        }
        let mut buffer = [0; 4096];
        loop {
            match self.output.read(&mut buffer) {
                Ok(count @ 1..) if self.answer.len() + count <= MAX_ANSWER => {
                    self.answer.extend_from_slice(&buffer[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Ok(_) | Err(_) => break,
            }
        }
        let started = self.child.wait_started(Duration::from_millis(100));
        self.end();
        if let Some(Err(failure)) = started {
            if failure.step == os::spawn::Step::Exec {
                // This very program can't be run as that user. Then the worker has to find out.
                return Some(Ok(self.guess.clone()));
            }
            return Some(Err(format!("a process of its own {failure}")));
        }
        Some(decode(&self.answer).unwrap_or_else(|| Ok(self.guess.clone())))
    }

    /// The process is of no further use.
    fn end(&mut self) {
        // It has been told to die by a signal it cannot refuse; what the wait is short of is a
        // zombie until the supervisor ends.
        let _ = self.child.signal(SIGKILL);
        let _ = self.child.wait(Duration::from_millis(100));
    }
}

impl Drop for PythonCheck {
    fn drop(&mut self) {
        self.end();
    }
}

impl AsFd for PythonCheck {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }
}

/// The interpreter by its usual place, unexamined.
pub fn guess(question: &PythonCheckRequest) -> PythonInterpreter {
    PythonInterpreter {
        program: match &question.python_home {
            Some(home) => [home, &b"/bin/python"[..]].concat(),
            None => question.default_python.clone(),
        },
        python_home: None,
        library_path: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_survives_its_way_through_arguments() {
        let question = PythonCheckRequest {
            user: "user1".into(),
            python_home: Some(b"/srv/venv".to_vec()),
            default_python: b"/usr/bin/python3".to_vec(),
            runtime: b"/lib/runtime.so".to_vec(),
            working_directory: None,
        };
        let arguments = question.to_arguments();
        assert_eq!(arguments[1], ARGUMENT);
        assert_eq!(
            PythonCheckRequest::from_arguments(&arguments[2..]),
            Some(question)
        );
        assert_eq!(PythonCheckRequest::from_arguments(&arguments[..4]), None);
    }

    #[test]
    fn an_answer_is_whole_or_none() {
        for answer in [
            Ok(PythonInterpreter {
                program: b"/p".to_vec(),
                python_home: None,
                library_path: Some(b"/l".to_vec()),
            }),
            Err("it is not there".to_owned()),
        ] {
            let encoded = encode(&answer);
            for cut in 0..encoded.len() {
                assert_eq!(decode(&encoded[..cut]), None);
            }
            assert_eq!(decode(&encoded), Some(answer));
        }
    }
}
