//! Directives about Python and its interpreters.
//!
//! Runs in: the Apache parent while the configuration is read.

use std::sync::Arc;

use wire::log_id::FREE_THREADING_OF_INTERPRETER;

use crate::daemon_options::digits;
use crate::daemon_options::python::{directories, interval};
use crate::directive::{Concern, Directive, Effect, Line, Scope, Setter};
use crate::error::{Invalid, Problem};
use crate::module_config::{GlobalConfig, HashSeed, InterpreterBlock};
use crate::words::next_pair;

pub const PYTHON_HOME: Directive = Directive {
    name: "WSGIPythonHome",
    scope: Scope::Global,
    usage: "WSGIPythonHome directory",
    default: "the Python named at installation, else the system's",
    concern: Concern::Decides,
    effect: Effect::Now,
    help: "Virtual environment or prefix of the default Python.",
    doc: "Virtual environment, or installation prefix, of the Python of every process group that \
          has no `python-home=` of its own.",
    example: "WSGIPythonHome /srv/venv",
    setter: Setter::Global(|global, line| {
        let path = line.word()?;
        if path[0] != b'/' {
            return Err(line.invalid(&path, "an absolute path"));
        }
        global.python_home = Some(path.into());
        Ok(())
    }),
};

pub const PYTHON_PATH: Directive = Directive {
    name: "WSGIPythonPath",
    scope: Scope::Global,
    usage: "WSGIPythonPath directory[:directory...]",
    default: "none",
    concern: Concern::Decides,
    effect: Effect::Now,
    help: "Directories in front of sys.path (server's own group).",
    doc: "Directories put in front of `sys.path`; `.pth` files in them are honoured. At top level \
          it is for the server's own group (`%{GLOBAL}`): any other has `python-path=` instead. In a \
          `<WSGIInterpreterOptions>` section it is for the interpreters the section selects.",
    example: "WSGIPythonPath /srv/lib:/srv/plugins",
    setter: Setter::Interpreter(|options, line| {
        options.python_path = Some(Arc::new(directories(&line.word()?)));
        Ok(())
    }),
};

pub const PYTHON_EGGS: Directive = Directive {
    name: "WSGIPythonEggs",
    scope: Scope::Global,
    usage: "WSGIPythonEggs directory",
    default: "none",
    concern: Concern::Manner,
    effect: Effect::Now,
    help: "Where zipped eggs are unpacked (server's own group).",
    doc:
        "Environment variable PYTHON_EGG_CACHE of the server's own group (`%{GLOBAL}`); any other \
          has `python-eggs=`.",
    example: "WSGIPythonEggs /var/cache/eggs",
    setter: Setter::Global(|global, line| {
        global.python_eggs = Some(line.word()?.into());
        Ok(())
    }),
};

pub const PYTHON_OPTIMIZE: Directive = Directive {
    name: "WSGIPythonOptimize",
    scope: Scope::Global,
    usage: "WSGIPythonOptimize level",
    default: "0",
    concern: Concern::Manner,
    effect: Effect::Now,
    help: "Optimisation level of Python, as -O.",
    doc: "1 leaves out assertions, 2 leaves out docstrings too; a larger number is as 2. It is for the \
          processes of all groups. A larger level that the variable PYTHONOPTIMIZE asks for wins.",
    example: "WSGIPythonOptimize 1",
    setter: Setter::Global(|global, line| {
        let word = line.word()?;
        let level = digits(&word).filter(|&level| level <= i32::MAX as u64);
        let level =
            level.ok_or_else(|| line.invalid(&word, "a level as a whole number: 0 to 2"))?;
        global.python_optimize = Some(level as u32);
        Ok(())
    }),
};

pub const PYTHON_HASH_SEED: Directive = Directive {
    name: "WSGIPythonHashSeed",
    scope: Scope::Global,
    usage: "WSGIPythonHashSeed random|number",
    default: "as Apache's environment says, else random",
    concern: Concern::Manner,
    effect: Effect::Now,
    help: "Seed of Python's string hashes, as PYTHONHASHSEED.",
    doc: "A fixed seed makes the order of sets the same in every process, and an attack on the \
          hash tables possible. It is for the processes of all groups; applications, and the programs \
          they start, do not see the variable PYTHONHASHSEED. Where the directive is not given, that \
          variable of Apache's own environment counts. A group whose `env=` or `env-file=` sets it \
          has what that says.",
    example: "WSGIPythonHashSeed random",
    setter: Setter::Global(|global, line| {
        let word = line.word()?;
        global.python_hash_seed = Some(match digits(&word).map(u32::try_from) {
            Some(Ok(seed)) => HashSeed::Fixed(seed),
            _ if word == b"random" => HashSeed::Random,
            _ => return Err(line.invalid(&word, "random, or a number from 0 to 4294967295")),
        });
        Ok(())
    }),
};

pub const PYTHON_WARNINGS: Directive = Directive {
    name: "WSGIPythonWarnings",
    scope: Scope::Global,
    usage: "WSGIPythonWarnings filter",
    default: "none",
    concern: Concern::Manner,
    effect: Effect::Now,
    help: "A filter for Python's warnings, as -W.",
    doc: "`action:message:category:module:lineno`, or the beginning of that. May be repeated; the \
          order counts as on Python's command line. It is for the processes of all groups, and \
          comes after what the variable PYTHONWARNINGS says.",
    example: "WSGIPythonWarnings ignore::DeprecationWarning",
    setter: Setter::Global(|global, line| {
        global.python_warnings.push(line.word()?);
        Ok(())
    }),
};

pub const DONT_WRITE_BYTECODE: Directive = Directive {
    name: "WSGIDontWriteBytecode",
    scope: Scope::Global,
    usage: "WSGIDontWriteBytecode On|Off",
    default: "Off",
    concern: Concern::Manner,
    effect: Effect::Now,
    help: "Write no .pyc files, as -B.",
    doc: "`On` keeps Python from writing compiled modules, in the processes of all groups. `Off` leaves \
          it to the variable PYTHONDONTWRITEBYTECODE.",
    example: "WSGIDontWriteBytecode On",
    setter: Setter::Global(|global, line| {
        global.dont_write_bytecode = Some(line.on_off()?);
        Ok(())
    }),
};

pub const DESTROY_INTERPRETER: Directive = Directive {
    name: "WSGIDestroyInterpreter",
    scope: Scope::Global,
    usage: "WSGIDestroyInterpreter On|Off",
    default: "On",
    concern: Concern::Manner,
    effect: Effect::Now,
    help: "Take interpreters down in order when a process ends.",
    doc: "`Off` ends processes without Python's own shutdown, which can hang when threads of the \
          application still run; `atexit` handlers are then not called. Subscribers to shutdown \
          are told in any case.",
    example: "WSGIDestroyInterpreter Off",
    setter: Setter::Global(|global, line| {
        global.destroy_interpreter = Some(line.on_off()?);
        Ok(())
    }),
};

pub const INTERPRETER_OPTIONS: Directive = Directive {
    name: "<WSGIInterpreterOptions",
    scope: Scope::Global,
    usage: "<WSGIInterpreterOptions [process-group=name] [application-group=name]>",
    default: "none",
    concern: Concern::Decides,
    effect: Effect::Now,
    help: "Settings for selected interpreters.",
    doc: "Encloses settings for the interpreters of a process group, of an application group, or \
          of both; `%{GLOBAL}` is the server's own group, and the main interpreter. For each setting the \
          section with more selectors wins, and of equal ones the later; what no section says is \
          taken from the top level. Paths of WSGIPythonPath add up, the most specific in front.\n\n\
          Meant for WSGIPythonPath, WSGISwitchInterval, WSGIPerInterpreterGIL, WSGIFreeThreading, \
          WSGIRestrictStdin, WSGIRestrictStdout and WSGIRestrictSignal; any \
          other directive holds as if it stood outside.\n\n\
          An application group for which something else is said than for the main interpreter gets \
          a sub-interpreter, even where it is alone in its process group.",
    example: "<WSGIInterpreterOptions process-group=shop>\n    WSGIRestrictStdout On\n\
              </WSGIInterpreterOptions>",
    setter: Setter::Global(interpreter_options),
};

pub const SWITCH_INTERVAL: Directive = Directive {
    name: "WSGISwitchInterval",
    scope: Scope::Global,
    usage: "WSGISwitchInterval seconds",
    default: "Python's, 0.005",
    concern: Concern::Manner,
    effect: Effect::Now,
    help: "How long a thread may keep others from running.",
    doc: "As `sys.setswitchinterval()`. The option `switch-interval=` of a process group wins over it.\n\n\
          In a section with `application-group=` it is for that interpreter, which must have a GIL of \
          its own (WSGIPerInterpreterGIL): otherwise all interpreters of the process would get it. It \
          is then left out, and the log says so.",
    example: "WSGISwitchInterval 0.005",
    setter: Setter::Interpreter(|options, line| {
        let word = line.word()?;
        let interval = interval(&word);
        let expected = "seconds above 0, such as 0.005";
        options.switch_interval = Some(interval.ok_or_else(|| line.invalid(&word, expected))?);
        Ok(())
    }),
};

pub const PER_INTERPRETER_GIL: Directive = Directive {
    name: "WSGIPerInterpreterGIL",
    scope: Scope::Global,
    usage: "WSGIPerInterpreterGIL On|Off",
    default: "Off",
    concern: Concern::Manner,
    effect: Effect::Now,
    help: "Give each sub-interpreter a lock of its own.",
    doc:
        "`On` lets applications in different sub-interpreters of one process run at the same time \
          (Python 3.12 and later; an earlier one shares its lock, and the log says so). Every named \
          application group then gets a sub-interpreter; `%{GLOBAL}`, the main interpreter, keeps the \
          lock of the process.\n\n\
          Extension modules that do not support it cannot be imported: the log names them. Most do \
          not; numpy, lxml, cryptography and the drivers of databases are among them. In such an \
          interpreter `os.fork()`, `os.exec*()` and daemon threads raise RuntimeError, as Python has \
          it; `subprocess` works. `deadlock-timeout=` watches the lock of the process alone.",
    example: "WSGIPerInterpreterGIL On",
    setter: Setter::Interpreter(|options, line| {
        options.own_gil = Some(line.on_off()?);
        Ok(())
    }),
};

pub const FREE_THREADING: Directive = Directive {
    name: "WSGIFreeThreading",
    scope: Scope::Global,
    usage: "WSGIFreeThreading On|Off",
    default: "Off",
    concern: Concern::Manner,
    effect: Effect::Never(
        "a free-threaded build of Python cannot be loaded, and another has nothing to switch",
    ),
    help: "Run a free-threaded Python without its global lock; not possible yet.",
    doc: "Accepted, so that configurations of mod_wsgi load. This version of the module cannot load a \
          free-threaded build of Python, and on any other the directive does nothing; with `On` the \
          log says so. It is for whole processes: in a section with `application-group=` it is \
          ignored, which the log says too.",
    example: "WSGIFreeThreading On",
    setter: Setter::Interpreter(|options, line| {
        let is_on = line.on_off()?;
        if line.for_application_group {
            let remark = "WSGIFreeThreading is ignored in a section with application-group=: it is for \
                          whole processes. Put it into one with process-group= alone.";
            let place = line.place.clone();
            let remarks = &mut line.reading.numbered_remarks;
            remarks.push((FREE_THREADING_OF_INTERPRETER, place, remark.to_owned()));
            return Ok(());
        }
        options.free_threading = Some(is_on);
        Ok(())
    }),
};

pub const RESTRICT_STDIN: Directive = Directive {
    name: "WSGIRestrictStdin",
    scope: Scope::Global,
    usage: "WSGIRestrictStdin On|Off",
    default: "Off",
    concern: Concern::Restricts,
    effect: Effect::Now,
    help: "Refuse applications the use of sys.stdin.",
    doc: "`On` makes every use of `sys.stdin` an OSError that says so. `Off` gives an empty input.",
    example: "WSGIRestrictStdin On",
    setter: Setter::Interpreter(|options, line| {
        options.restrict_stdin = Some(line.on_off()?);
        Ok(())
    }),
};

pub const RESTRICT_STDOUT: Directive = Directive {
    name: "WSGIRestrictStdout",
    scope: Scope::Global,
    usage: "WSGIRestrictStdout On|Off",
    default: "Off",
    concern: Concern::Restricts,
    effect: Effect::Now,
    help: "Refuse applications the use of sys.stdout.",
    doc: "`On` makes every use of `sys.stdout` (and so `print`) an OSError that says so. `Off` \
          sends it to the error log. It never reaches a response.",
    example: "WSGIRestrictStdout On",
    setter: Setter::Interpreter(|options, line| {
        options.restrict_stdout = Some(line.on_off()?);
        Ok(())
    }),
};

pub const RESTRICT_SIGNAL: Directive = Directive {
    name: "WSGIRestrictSignal",
    scope: Scope::Global,
    usage: "WSGIRestrictSignal On|Off",
    default: "On",
    concern: Concern::Restricts,
    effect: Effect::Now,
    help: "Keep applications from catching signals.",
    doc: "`On` makes `signal.signal()` register nothing and say so in the error log: the signals \
          belong to the server.",
    example: "WSGIRestrictSignal Off",
    setter: Setter::Interpreter(|options, line| {
        options.restrict_signal = Some(line.on_off()?);
        Ok(())
    }),
};

fn interpreter_options(global: &mut GlobalConfig, line: &mut Line<'_>) -> Result<(), Invalid> {
    let mut rest = line.args;
    let mut block = InterpreterBlock::default();
    let unknown = |word| line.unknown_option(word, ["process-group", "application-group"]);
    while let Some((pair, after)) = next_pair(rest).map_err(unknown)? {
        rest = after;
        let (option, selector) = match &pair.option[..] {
            other if other.eq_ignore_ascii_case(b"process-group") => {
                ("process-group", &mut block.process_group)
            }
            other if other.eq_ignore_ascii_case(b"application-group") => {
                ("application-group", &mut block.application_group)
            }
            _ => return Err(unknown([pair.option, pair.value].join(&b'='))),
        };
        if selector.is_some() {
            return Err(line.refuse(Problem::Repeated { option }));
        }
        *selector = Some(if pair.value == b"%{GLOBAL}" {
            Vec::new()
        } else {
            pair.value
        });
    }
    global.blocks.push(block);
    global.block_is_open = true;
    Ok(())
}
