//! Directives that define process groups and send requests to them.
//!
//! Runs in: the Apache parent while the configuration is read.

use std::sync::Arc;

use super::note_route;
use crate::daemon_options;
use crate::directive::{Concern, Directive, Effect, Scope, Setter};
use crate::error::Problem;
use crate::expand::Template;

pub const DAEMON_PROCESS: Directive = Directive {
    name: "WSGIDaemonProcess",
    scope: Scope::Server,
    usage: "WSGIDaemonProcess name [option=value ...]",
    default: "none",
    concern: Concern::Decides,
    effect: Effect::Now,
    help: "Define a group of processes that run WSGI applications.",
    doc: "Defines the process group *name*: processes of their own that run as `user=`, each with \
          its threads and its Python. `WSGIProcessGroup`, or the option `process-group=` of an \
          alias, sends requests to it.\n\n\
          A group defined in the main server can be used everywhere. One defined in a virtual \
          host can be used in virtual hosts with the same ServerName, such as the pair for ports \
          80 and 443, and writes to that host's error log.\n\n\
          A name can be defined once in the whole server. A second definition that says exactly \
          the same (certbot copies virtual hosts like that) is taken for the same group when the \
          ServerName is the same too; any other is refused, and the message names both places.\n\n\
          The name `%{GLOBAL}` sets options of the server's own group, which serves what no other \
          group is named for and needs no definition. It runs as Apache's User and Group, so \
          `user=`, `group=`, `supplementary-groups=` and `chroot=` are refused for it. It starts \
          with its first request and has as many processes as its requests need, `processes=` at \
          most.\n\n\
          A value with spaces is quoted: `home=\"/srv/my shop\"`. The options have \
          [a page of their own](WSGIDaemonProcess-options.md).",
    example: "WSGIDaemonProcess shop user=www-data group=www-data processes=2 threads=5 \
              python-home=/srv/shop/venv display-name=%{GROUP}",
    setter: Setter::Server(|_, line| {
        let group = daemon_options::read_line(line)?;
        line.reading.groups.push(group);
        Ok(())
    }),
};

pub const PROCESS_GROUP: Directive = Directive {
    name: "WSGIProcessGroup",
    scope: Scope::Directory,
    usage: "WSGIProcessGroup name|%{GLOBAL}|%{SERVER}|%{HOST}|%{RESOURCE}|%{ENV:name}",
    default: "%{GLOBAL}",
    concern: Concern::Decides,
    effect: Effect::Now,
    help: "Process group that answers requests.",
    doc: "Name of the `WSGIDaemonProcess` whose processes answer. The value may depend on the \
          request: `%{SERVER}` is its ServerName, with the port unless that is 80 or 443; \
          `%{HOST}` the same with the host the client asked for; `%{RESOURCE}` is `%{SERVER}`, a \
          bar and SCRIPT_NAME; `%{ENV:name}` is a variable that SetEnvIf or mod_rewrite set. \
          `%{GLOBAL}` is the server's own group, which takes the place of embedded mode: processes \
          that run as Apache's User and Group, and need no definition.\n\n\
          A name that no WSGIDaemonProcess defines is answered with 500, and said when the \
          configuration is tested and when Apache starts.",
    example: "<Directory /srv/shop>\n    WSGIProcessGroup shop\n</Directory>",
    setter: Setter::Directory(|dir, line| {
        let group = Template::parse(&line.word()?);
        note_route(line, Some(&group), None);
        dir.process_group = Some(group);
        Ok(())
    }),
};

pub const APPLICATION_GROUP: Directive = Directive {
    name: "WSGIApplicationGroup",
    scope: Scope::Directory,
    usage: "WSGIApplicationGroup name|%{GLOBAL}|%{SERVER}|%{HOST}|%{RESOURCE}|%{ENV:name}",
    default: "%{RESOURCE}",
    concern: Concern::Decides,
    effect: Effect::Now,
    help: "Python interpreter, within a process, that answers requests.",
    doc:
        "Applications of the same application group share one Python interpreter in each process. \
          The values are those of WSGIProcessGroup; `%{GLOBAL}` is the main interpreter, which \
          some extension modules need.\n\n\
          Where clients can choose the name, a process has at most 64 sub-interpreters for such \
          names and answers further ones with 503. So do not use `%{HOST}` for hosts that \
          are neither a ServerName nor a ServerAlias, nor a variable that holds what the client \
          sent; set `UseCanonicalName On` where `%{SERVER}` or `%{RESOURCE}` must not take the port \
          from the client.",
    example: "WSGIApplicationGroup %{GLOBAL}",
    setter: Setter::Directory(|dir, line| {
        let group = Template::parse(&line.word()?);
        note_route(line, None, Some(&group));
        dir.application_group = Some(group);
        Ok(())
    }),
};

pub const RESTRICT_PROCESS: Directive = Directive {
    name: "WSGIRestrictProcess",
    scope: Scope::Directory,
    usage: "WSGIRestrictProcess name ...",
    default: "none: every group",
    concern: Concern::Restricts,
    effect: Effect::Now,
    help: "Process groups that requests may be sent to.",
    doc: "When given, a request that resolves to a process group not listed is answered with 500. \
          `%{GLOBAL}` is the server's own group. The case of letters does not matter. A further occurrence \
          replaces the list.",
    example: "WSGIRestrictProcess shop shop-admin",
    setter: Setter::Directory(|dir, line| {
        let name = |word: Vec<u8>| {
            if word == b"%{GLOBAL}" {
                Vec::new()
            } else {
                word
            }
        };
        let names: Vec<Vec<u8>> = line.words()?.into_iter().map(name).collect();
        line.reading.listed_groups.extend_from_slice(&names);
        dir.restrict_process = Some(Arc::new(names));
        Ok(())
    }),
};

pub const RESTRICT_EMBEDDED: Directive = Directive {
    name: "WSGIRestrictEmbedded",
    scope: Scope::Global,
    usage: "WSGIRestrictEmbedded On|Off",
    default: "Off",
    concern: Concern::Restricts,
    effect: Effect::Now,
    help: "Forbid applications in the server's own process group.",
    doc:
        "`On` answers requests for which no process group is named with 500. The server's own group \
          (`%{GLOBAL}`) is then not there at all, unless a script for access control or a \
          WSGIImportScript needs it.",
    example: "WSGIRestrictEmbedded On",
    setter: Setter::Global(|global, line| {
        global.restrict_embedded = Some(line.on_off()?);
        Ok(())
    }),
};

pub const SOCKET_PREFIX: Directive = Directive {
    name: "WSGISocketPrefix",
    scope: Scope::Global,
    usage: "WSGISocketPrefix path",
    default: "wsgi in Apache's runtime directory",
    concern: Concern::Decides,
    effect: Effect::Now,
    help: "Directory and beginning of the names of the sockets.",
    doc:
        "The sockets between Apache and the process groups are made under this path with a suffix. \
          A relative path begins at ServerRoot. The children of Apache must be able to enter the \
          directory.",
    example: "WSGISocketPrefix /run/apache2/wsgi",
    setter: Setter::Global(|global, line| {
        let path = line.word()?;
        let Some(absolute) = line.system.server_root_relative(&path) else {
            return Err(line.invalid(&path, "a path, absolute or relative to ServerRoot"));
        };
        global.socket_prefix = Some(absolute.into());
        Ok(())
    }),
};

pub const SOCKET_ROTATION: Directive = Directive {
    name: "WSGISocketRotation",
    scope: Scope::Global,
    usage: "WSGISocketRotation On|Off",
    default: "On",
    concern: Concern::Manner,
    effect: Effect::Never("a group keeps its socket for the life of the Apache parent"),
    help: "Accepted; sockets are never rotated.",
    doc: "In mod_wsgi, `On` gives each group a new socket at every graceful restart, and requests \
          of older Apache children fail. Here a group keeps its socket while Apache runs.",
    example: "WSGISocketRotation Off",
    setter: Setter::Global(|global, line| {
        global.socket_rotation = Some(line.on_off()?);
        Ok(())
    }),
};

pub const ACCEPT_MUTEX: Directive = Directive {
    name: "WSGIAcceptMutex",
    scope: Scope::Global,
    usage: "WSGIAcceptMutex Default|flock|fcntl|sysvsem|posixsem|pthread",
    default: "Default",
    concern: Concern::Manner,
    effect: Effect::Never("the threads of a group wait for requests in the kernel, without a lock"),
    help: "Accepted; there is no accept mutex.",
    doc: "In mod_wsgi, the kind of lock that the processes of a group take to accept a request. \
          Here the kernel hands each request to one waiting thread, and no lock is needed.",
    example: "WSGIAcceptMutex Default",
    setter: Setter::Global(|_, line| {
        const KINDS: [&str; 6] = [
            "default", "flock", "fcntl", "sysvsem", "posixsem", "pthread",
        ];
        let kind = line.word()?;
        if KINDS
            .iter()
            .any(|known| kind.eq_ignore_ascii_case(known.as_bytes()))
        {
            return Ok(());
        }
        let expected = "Default, flock, fcntl, sysvsem, posixsem or pthread".into();
        Err(line.refuse(Problem::Value {
            value: kind,
            expected,
        }))
    }),
};

pub const SCRIPT_RELOADING: Directive = Directive {
    name: "WSGIScriptReloading",
    scope: Scope::FileInfo,
    usage: "WSGIScriptReloading On|Off",
    default: "On",
    concern: Concern::Decides,
    effect: Effect::Now,
    help: "Serve new code when the script file has changed.",
    doc: "`On` compares the modification time of the script with every request; when it differs \
          (`touch` is enough), the processes are replaced and that request is served by the new \
          code. Other modules of the application are not watched.",
    example: "WSGIScriptReloading Off",
    setter: Setter::Directory(|dir, line| {
        dir.script_reloading = Some(line.on_off()?);
        Ok(())
    }),
};
