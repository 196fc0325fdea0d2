//! When a process is replaced, and how long everything may take.
//!
//! Runs in: the Apache parent while the configuration is read.

use super::DaemonOption;
use crate::directive::Effect::Now;

pub const OPTIONS: &[DaemonOption] = &[
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
              give its memory back. In the server's own group (`%{GLOBAL}`) it ends; another starts \
              with the next request.",
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
];
