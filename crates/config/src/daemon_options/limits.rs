//! Limits of the kernel, checks and figures.
//!
//! Runs in: the Apache parent while the configuration is read.

use super::DaemonOption;
use crate::directive::Effect::{Never, Now};

pub const OPTIONS: &[DaemonOption] = &[
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
