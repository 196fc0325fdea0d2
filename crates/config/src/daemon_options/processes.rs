//! Whom the processes run as, how many they are, and what surrounds them.
//!
//! Runs in: the Apache parent while the configuration is read.

use super::DaemonOption;
use crate::directive::Effect::Now;

pub const OPTIONS: &[DaemonOption] = &[
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
              database. Root's group is refused, and so are more than the system allows.",
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
              `wsgi.multiprocess` is True in environ. For the server's own group (`%{GLOBAL}`) it is \
              the maximum, by default a process for each core and at least 2; under prefork 15 for \
              each core. `wsgi.multiprocess` is always True there.",
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
              none: it runs the scripts that `WSGIImportScript` names for it, on its main thread. \
              The default of the server's own group is 1 under prefork.",
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
];
