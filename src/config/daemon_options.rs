//! The options of `WSGIDaemonProcess`: one row each, with its setter and its documentation.
//!
//! Runs in: the Apache parent while the configuration is read. The order is that of the
//! documentation.

use std::time::Duration;

use super::daemon_process::{DaemonOption, OptionValue};
use super::directive::Effect::{Never, Now};
use super::error::Invalid;

/// Bytes of a request body that are waited for before a worker is asked.
pub const DEFAULT_REQUEST_BUFFER: u64 = 64 * 1024;
/// Most of them: with an environ of the largest size they still are one message.
const MOST_REQUEST_BUFFER: u64 = 8 * 1024 * 1024;
/// Bytes of a response that wait in a child for a client that does not take them.
pub const DEFAULT_RESPONSE_BUFFER: u64 = 1024 * 1024;
/// Longest line of a response head.
pub const DEFAULT_HEADER_BUFFER: u64 = 32768;

/// Every option.
pub const DAEMON_OPTIONS: &[DaemonOption] = &[
    // Whom the processes run as.
    DaemonOption {
        name: "user",
        value: "name or #uid",
        default: "Apache's User",
        effect: Now,
        doc: "User the processes run as. Works when Apache is started by root, and is ignored \
              otherwise. Root is refused, and so is a `#uid` that the user database does not know.",
        set: |options, value| {
            options.user = Some(value.common_account()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "group",
        value: "name or #gid",
        default: "Apache's Group",
        effect: Now,
        doc: "Primary group of the processes. The same rules as for `user=`. Note that it stays \
              Apache's group when only `user=` is given.",
        set: |options, value| {
            options.group = Some(value.common_account_group()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "supplementary-groups",
        value: "names or #gids, separated by commas",
        default: "the groups that the user database gives the user",
        effect: Now,
        doc: "Further groups of the processes. When given, they replace those of the user \
              database. More than the system allows are refused.",
        set: |options, value| {
            options.supplementary_groups = Some(value.account_groups()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "umask",
        value: "octal number",
        default: "that of Apache",
        effect: Now,
        doc: "File mode creation mask of the processes, such as `0027`.",
        set: |options, value| {
            let octal = |byte: &u8| (b'0'..=b'7').contains(byte);
            let text = value.text.iter().all(octal).then_some(value.text);
            let text = text.and_then(|text| std::str::from_utf8(text).ok());
            let mask = text.and_then(|text| u32::from_str_radix(text, 8).ok());
            let mask = mask.filter(|&mask| mask <= 0o777);
            let expected = "an octal number from 0 to 0777";
            options.umask = Some(mask.ok_or_else(|| value.invalid(expected))?);
            Ok(())
        },
    },
    DaemonOption {
        name: "no-new-privs",
        value: "On or Off",
        default: "Off",
        effect: Now,
        doc: "`On` takes from the processes, for good, every way to more privileges: set-user-id \
              programs such as sudo or sendmail run without theirs, and all capabilities are \
              dropped. Not in mod_wsgi.",
        set: |options, value| {
            options.no_new_privs = Some(value.on_off()?);
            Ok(())
        },
    },
    // How many.
    DaemonOption {
        name: "processes",
        value: "number",
        default: "1",
        effect: Now,
        doc: "Number of processes in the group. When the option is given at all, even as 1, \
              `wsgi.multiprocess` is True in environ.",
        set: |options, value| {
            options.processes = Some(value.number(1..=i32::MAX as u32)?);
            Ok(())
        },
    },
    DaemonOption {
        name: "threads",
        value: "number",
        default: "15",
        effect: Now,
        doc: "Threads that serve requests in each process, and so how many requests one process \
              serves at once. With 1, `wsgi.multithread` is False. With 0 the process serves \
              none: it runs the scripts that `WSGIImportScript` names for it, on its main thread.",
        set: |options, value| {
            options.threads = Some(value.number(0..=65533)?);
            Ok(())
        },
    },
    // Where they stand, and what surrounds them.
    DaemonOption {
        name: "home",
        value: "absolute path",
        default: "the user's home directory when the user is not Apache's",
        effect: Now,
        doc: "Working directory of the processes. When given, it is also the first entry of \
              `sys.path`. A process that cannot enter it does not start.",
        set: |options, value| {
            options.home = Some(value.absolute_path()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "chroot",
        value: "absolute path",
        default: "none",
        effect: Now,
        doc: "Directory that becomes the root of the processes' file system; scripts must lie \
              inside. Refused when Apache was not started by root.",
        set: |options, value| {
            let root = value.absolute_path()?;
            if !value.line.system.is_root() {
                return Err(value.invalid("Apache to be started by root, or no chroot="));
            }
            options.chroot = Some(root);
            Ok(())
        },
    },
    DaemonOption {
        name: "lang",
        value: "locale",
        default: "that of Apache",
        effect: Now,
        doc: "Environment variable LANG of the processes.",
        set: |options, value| {
            options.lang = value.text();
            Ok(())
        },
    },
    DaemonOption {
        name: "locale",
        value: "locale",
        default: "that of Apache",
        effect: Now,
        doc: "Locale of the processes: LC_ALL is set to it. One that the system does not have is \
              said in the error log, and the processes start without it.",
        set: |options, value| {
            options.locale = value.text();
            Ok(())
        },
    },
    DaemonOption {
        name: "env",
        value: "NAME=value",
        default: "none",
        effect: Now,
        doc: "Environment variable of the processes, in `os.environ` before the application is \
              loaded; the option may be repeated. (`SetEnv` sets variables of single requests, \
              which are in environ and never in `os.environ`.) Not in mod_wsgi.",
        set: |options, value| {
            let cut = value
                .text
                .iter()
                .position(|&byte| byte == b'=')
                .filter(|&cut| cut > 0);
            let cut = cut.ok_or_else(|| value.invalid("NAME=value"))?;
            let (name, text) = (value.text[..cut].to_vec(), value.text[cut + 1..].to_vec());
            // The last value wins, as it would in a shell.
            options.env.retain(|(known, _)| *known != name);
            options.env.push((name, text));
            Ok(())
        },
    },
    DaemonOption {
        name: "env-file",
        value: "absolute path",
        default: "none",
        effect: Now,
        doc: "File with further environment variables, one `NAME=value` on each line. It is read \
              before the processes change to their user, so it may be readable for root alone. \
              `env=` wins over it. Not in mod_wsgi.",
        set: |options, value| {
            options.env_file = Some(value.absolute_path()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "clear-env",
        value: "On or Off",
        default: "Off",
        effect: Now,
        doc: "`On` starts the processes with an empty environment, apart from what `env=`, \
              `env-file=`, `lang=` and `locale=` say and PATH, HOME, USER and LOGNAME. `Off` \
              starts them with Apache's, as mod_wsgi does. Not in mod_wsgi.",
        set: |options, value| {
            options.clear_env = Some(value.on_off()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "display-name",
        value: "text",
        default: "`(wsgi:NAME)`",
        effect: Now,
        doc: "Name of the processes in the list of ps. `%{GROUP}` gives `(wsgi:NAME)` with the \
              name of the group, and so does leaving the option out; mod_wsgi shows Apache's own \
              command line then.",
        set: |options, value| {
            options.display_name = value.text();
            Ok(())
        },
    },
    // Python.
    DaemonOption {
        name: "python-home",
        value: "absolute path",
        default: "WSGIPythonHome",
        effect: Now,
        doc: "Virtual environment, or installation prefix, of the Python that serves this group: \
              CPython 3.10 or later. Groups of one Apache may have different Pythons.",
        set: |options, value| {
            options.python_home = match value.text() {
                Some(_) => Some(value.absolute_path()?),
                None => None,
            };
            Ok(())
        },
    },
    DaemonOption {
        name: "python-path",
        value: "directories, separated by colons",
        default: "none",
        effect: Now,
        doc: "Directories put in front of `sys.path`; `.pth` files in them are honoured.",
        set: |options, value| {
            options.python_path = value.text().map(|text| directories(&text));
            Ok(())
        },
    },
    DaemonOption {
        name: "python-eggs",
        value: "path",
        default: "none",
        effect: Now,
        doc: "Environment variable PYTHON_EGG_CACHE: where zipped eggs are unpacked.",
        set: |options, value| {
            options.python_eggs = value.text();
            Ok(())
        },
    },
    DaemonOption {
        name: "switch-interval",
        value: "seconds, with decimals",
        default: "Python's, 0.005",
        effect: Now,
        doc: "How long a thread may hold Python's global lock while others wait for it.",
        set: |options, value| {
            let interval = interval(value.text);
            let expected = "seconds above 0, such as 0.005";
            options.switch_interval = Some(interval.ok_or_else(|| value.invalid(expected))?);
            Ok(())
        },
    },
    DaemonOption {
        name: "stack-size",
        value: "bytes",
        default: "the system's",
        effect: Now,
        doc: "Stack of each thread that serves requests.",
        set: |options, value| {
            let size = value.bytes(1)?;
            let expected = "bytes as a whole number above 0";
            options.stack_size = Some(size).filter(|&size| size > 0);
            options
                .stack_size
                .map(|_| ())
                .ok_or_else(|| value.invalid(expected))
        },
    },
    // When a process is replaced.
    DaemonOption {
        name: "maximum-requests",
        value: "number",
        default: "0: no limit",
        effect: Now,
        doc: "Number of requests after which a process is replaced.",
        set: |options, value| {
            options.maximum_requests = Some(value.number(0..=i64::MAX as u64)?);
            Ok(())
        },
    },
    DaemonOption {
        name: "maximum-requests-jitter",
        value: "number",
        default: "0",
        effect: Now,
        doc: "Each process adds a random number up to this one to its `maximum-requests=`, so \
              that the processes of a group are not replaced all at once. Not in mod_wsgi.",
        set: |options, value| {
            options.maximum_requests_jitter = Some(value.number(0..=i64::MAX as u64)?);
            Ok(())
        },
    },
    DaemonOption {
        name: "max-rss",
        value: "bytes",
        default: "0: no limit",
        effect: Now,
        doc: "Resident memory above which a process is replaced, once it has finished its \
              requests. Not in mod_wsgi; unlike `memory-limit=` it never makes an allocation fail.",
        set: |options, value| {
            options.max_rss = Some(value.bytes(0)?);
            Ok(())
        },
    },
    DaemonOption {
        name: "restart-interval",
        value: "seconds",
        default: "0: never",
        effect: Now,
        doc: "Time after which a process is replaced.",
        set: |options, value| {
            options.restart_interval = Some(value.seconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "startup-timeout",
        value: "seconds",
        default: "0: no limit",
        effect: Now,
        doc: "Time from the first attempt to load the application until one succeeds. When it \
              passes, the request that waits for it gets 504, the log says where the load is, and \
              the process is replaced. The time counts for scripts that are loaded as the process \
              starts, too.",
        set: |options, value| {
            options.startup_timeout = Some(value.seconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "deadlock-timeout",
        value: "seconds",
        default: "300",
        effect: Now,
        doc: "Time for which Python's global lock may be held without a break. Then requests that \
              run get 504, those that wait go to other processes, the log shows what all threads \
              are at, and the process is replaced. 0 takes the watch away.",
        set: |options, value| {
            options.deadlock_timeout = Some(value.seconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "inactivity-timeout",
        value: "seconds",
        default: "0: no limit",
        effect: Now,
        doc: "Time without a request after which a process that has served any is replaced, to \
              give its memory back.",
        set: |options, value| {
            options.inactivity_timeout = Some(value.seconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "request-timeout",
        value: "seconds",
        default: "0: no limit",
        effect: Now,
        doc: "Time a request may take in the application, whatever else its process does. Then \
              the client gets 504, or sees a response that had begun broken off; the log shows \
              where the thread is, and the process is replaced: its other requests end, and it \
              goes on until its successor is ready. The time of loading the application does not \
              count, see `startup-timeout=`.",
        set: |options, value| {
            options.request_timeout = Some(value.seconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "interrupt-timeout",
        value: "seconds",
        default: "0: at once",
        effect: Now,
        doc: "When `request-timeout=` has passed, `mod_wsgi.RequestTimeout` is first raised in \
              the thread that serves the request, where it takes effect as soon as that runs \
              Python code; the client gets 504 unless the application answers otherwise. Only \
              after this further time is the request given up and the process replaced.",
        set: |options, value| {
            options.interrupt_timeout = Some(value.seconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "graceful-timeout",
        value: "seconds",
        default: "15",
        effect: Now,
        doc: "Time for which a process that is to be replaced may finish its requests.",
        set: |options, value| {
            options.graceful_timeout = Some(value.seconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "eviction-timeout",
        value: "seconds",
        default: "0: as graceful-timeout",
        effect: Now,
        doc: "The same, for a process that is asked to leave by the signal USR1.",
        set: |options, value| {
            options.eviction_timeout = Some(value.seconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "shutdown-timeout",
        value: "seconds",
        default: "5",
        effect: Now,
        doc: "Time a process has for its own end (hooks, exit handlers) before it is killed. 0 is \
              taken for 5: mod_wsgi sets no limit then, and Apache kills after 3 seconds.",
        set: |options, value| {
            options.shutdown_timeout = Some(value.seconds()?);
            Ok(())
        },
    },
    // How a request gets there and back.
    DaemonOption {
        name: "connect-timeout",
        value: "seconds",
        default: "15",
        effect: Now,
        doc: "Time Apache tries to reach the group; then the client gets 503.",
        set: |options, value| {
            options.connect_timeout = Some(value.seconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "socket-timeout",
        value: "seconds",
        default: "0: Apache's Timeout",
        effect: Now,
        doc: "Time a single read or write between Apache and the process may take; the client \
              gets 504 when it passes before the response has begun.",
        set: |options, value| {
            options.socket_timeout = Some(value.seconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "queue-timeout",
        value: "seconds",
        default: "0: no limit",
        effect: Now,
        doc: "Time a request may wait for a thread. One that waited longer is answered with 504 \
              when a thread takes it up, and not run.",
        set: |options, value| {
            options.queue_timeout = Some(value.seconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "response-socket-timeout",
        value: "seconds",
        default: "0: as socket-timeout",
        effect: Now,
        doc: "Time a client may take nothing of its response while the process is still sending it: \
              then its connection is closed and the process is free. What is left when the \
              process is done, Apache sends by itself, within its own Timeout.",
        set: |options, value| {
            options.response_socket_timeout = Some(value.seconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "request-buffer-size",
        value: "bytes, up to 8388608",
        default: "65536",
        effect: Now,
        doc: "How much of a request body Apache waits for before it asks a process, so that a \
              client that sends slowly takes no thread. Of a body that is longer the first part is \
              waited for, and the rest is read when the application reads. Never waited for are \
              bodies of unknown length (chunked), since their clients may wait for the response \
              before they send more, and those whose clients wait for `100 Continue`: a client of \
              these kinds that is slow takes a thread while the application reads, for as long as \
              Timeout and RequestReadTimeout (mod_reqtimeout) let it. With 0 nothing is waited \
              for. The memory is taken for each request that has a body, for as long as it is \
              read. Not in mod_wsgi.",
        set: |options, value| {
            let size = value.bytes(0)?;
            let fits = size <= MOST_REQUEST_BUFFER;
            let expected = "0 to 8388608 bytes";
            options.request_buffer_size = Some(size);
            fits.then_some(()).ok_or_else(|| value.invalid(expected))
        },
    },
    DaemonOption {
        name: "response-buffer-size",
        value: "bytes, 0 or 65536 and more",
        default: "0: 1048576 (mod_wsgi: 8388608)",
        effect: Now,
        doc: "How much of a response Apache takes from a process for a client that does not take \
              it as quickly. A response that fits frees its thread at once, however slow the \
              client; of a longer one the thread waits for the client once so much is held. The \
              memory is taken only while the client is behind; it is at most this much for each \
              request, so `MaxRequestWorkers` times this much in all, beside what the kernel holds \
              for the connection. Over HTTP/2 it is taken as long as the application delivers \
              without a pause of `response-flush-delay=`. In mod_wsgi this many bytes make a \
              flush, and the thread waits for the client.",
        set: |options, value| {
            options.response_buffer_size = Some(value.bytes(65536)?);
            Ok(())
        },
    },
    DaemonOption {
        name: "response-flush-delay",
        value: "milliseconds",
        default: "5",
        effect: Now,
        doc: "How long Apache waits for more of the response before it flushes what it has.",
        set: |options, value| {
            options.response_flush_delay = Some(value.milliseconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "header-buffer-size",
        value: "bytes, 0 or 8192 and more",
        default: "0: 32768",
        effect: Now,
        doc: "Longest single response header; a longer one is answered with 500.",
        set: |options, value| {
            options.header_buffer_size = Some(value.bytes(8192)?);
            Ok(())
        },
    },
    DaemonOption {
        name: "send-buffer-size",
        value: "bytes, 0 or 512 and more",
        default: "0: the system's",
        effect: Now,
        doc: "Send buffer of the sockets between Apache and the processes.",
        set: |options, value| {
            options.send_buffer_size = Some(socket_buffer(value)?);
            Ok(())
        },
    },
    DaemonOption {
        name: "receive-buffer-size",
        value: "bytes, 0 or 512 and more",
        default: "0: the system's",
        effect: Now,
        doc: "Receive buffer of the same sockets.",
        set: |options, value| {
            options.receive_buffer_size = Some(socket_buffer(value)?);
            Ok(())
        },
    },
    DaemonOption {
        name: "socket-user",
        value: "name or #uid",
        default: "Apache's User",
        effect: Now,
        doc: "Owner of the group's socket, for servers whose children run as other users (ITK).",
        set: |options, value| {
            options.socket_user = Some(value.account()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "listen-backlog",
        value: "number",
        default: "100",
        effect: Now,
        doc: "Number of requests that may wait for the group in the kernel.",
        set: |options, value| {
            options.listen_backlog = Some(value.number(0..=i32::MAX as u32)?);
            Ok(())
        },
    },
    // Limits of the kernel.
    DaemonOption {
        name: "cpu-time-limit",
        value: "seconds",
        default: "0: no limit",
        effect: Now,
        doc: "Processor time after which a process is replaced.",
        set: |options, value| {
            options.cpu_time_limit = Some(value.seconds()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "cpu-priority",
        value: "number from -20 to 20",
        default: "0",
        effect: Now,
        doc: "Nice value of the processes; lower is favoured.",
        set: |options, value| {
            options.cpu_priority = Some(value.number(-20..=20)?);
            Ok(())
        },
    },
    DaemonOption {
        name: "memory-limit",
        value: "bytes",
        default: "0: no limit",
        effect: Now,
        doc: "Data segment (RLIMIT_DATA) of each process. An allocation beyond it fails.",
        set: |options, value| {
            options.memory_limit = Some(value.bytes(0)?);
            Ok(())
        },
    },
    DaemonOption {
        name: "virtual-memory-limit",
        value: "bytes",
        default: "0: no limit",
        effect: Now,
        doc: "Address space (RLIMIT_AS) of each process.",
        set: |options, value| {
            options.virtual_memory_limit = Some(value.bytes(0)?);
            Ok(())
        },
    },
    // Checks and figures.
    DaemonOption {
        name: "script-user",
        value: "name or #uid",
        default: "anybody",
        effect: Now,
        doc: "Required owner of a script and of its directory; others get 403, and so does what \
              group or world may write. Judged by the process that loads it, on the file it has \
              open. Excludes `script-group=`.",
        set: |options, value| {
            options.script_user = Some(value.account()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "script-group",
        value: "name or #gid",
        default: "any",
        effect: Now,
        doc: "Required group of a script and of its directory; others get 403, and so does what \
              the world may write. Excludes `script-user=`.",
        set: |options, value| {
            options.script_group = Some(value.account_group()?);
            Ok(())
        },
    },
    DaemonOption {
        name: "server-metrics",
        value: "On or Off",
        default: "Off",
        effect: Never("a process shares no memory with Apache"),
        doc: "Whether `mod_wsgi.server_metrics()` tells applications of this group what Apache's own \
              processes do. A process shares no memory with Apache, so it always gives None; the \
              handlers `server-status` and `wsgi-status` show administrators what is going on.",
        set: |_, value| value.on_off().map(drop),
    },
];

/// A list of directories as in PATH, without empty entries.
pub fn directories(text: &[u8]) -> Vec<Vec<u8>> {
    let entries = text.split(|&byte| byte == b':');
    entries
        .filter(|entry| !entry.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// Seconds with decimals, above zero, short enough for a `Duration`.
pub fn interval(text: &[u8]) -> Option<Duration> {
    let seconds: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let interval = Duration::try_from_secs_f64(seconds).ok()?;
    (!interval.is_zero()).then_some(interval)
}

fn socket_buffer(value: &OptionValue<'_>) -> Result<u32, Invalid> {
    let bytes = value.bytes(512)?;
    u32::try_from(bytes)
        .ok()
        .filter(|&bytes| bytes <= i32::MAX as u32)
        .ok_or_else(|| value.invalid("0 for the system's, or 512 to 2147483647 bytes"))
}
