//! Directives that say which script answers a request.
//!
//! Runs in: the Apache parent while the configuration is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::own_group;

use super::{note_route, script_options, ScriptOptions};
use super::{
    APPLICATION_GROUP_OPTION, CALLABLE_OBJECT_OPTION, PASS_AUTHORIZATION_OPTION,
    PROCESS_GROUP_OPTION,
};
use crate::alias::{AliasOptions, Location, ScriptAlias};
use crate::directive::{Concern, Directive, Effect, Line, Scope, Setter};
use crate::error::{Invalid, Problem};
use crate::expand::Template;
use crate::module_config::{DirectoryConfig, HandlerScript, Preload, ScriptConfig, ServerConfig};
use crate::reading::Hook;
use crate::words::{next_word, Text};

pub const SCRIPT_ALIAS: Directive = Directive {
    name: "WSGIScriptAlias",
    scope: Scope::Server,
    usage: "WSGIScriptAlias url-path file-or-directory [process-group=name] \
            [application-group=name] [callable-object=name] [pass-authorization=On|Off]",
    default: "none",
    concern: Concern::Decides,
    effect: Effect::Now,
    help: "Map a URL path to a WSGI script or to a directory of scripts.",
    doc: "Requests whose path begins with *url-path* are answered by the script. The path is \
          compared component by component: `/app` covers `/app` and `/app/x`, not `/apple`. What \
          follows *url-path* becomes PATH_INFO. When *url-path* ends in a slash, so must the \
          target, which is then a directory: the next component of the URL names the script.\n\n\
          Aliases are tried in the order of the file, those of the virtual host before those of \
          the main server, and the first that matches wins: write `/app/admin` before `/app`. \
          `Alias` of mod_alias goes before all of them.\n\n\
          The options win over the settings of the script's directory. When `process-group=` and \
          `application-group=` are both given and the same for every request, the script is \
          loaded when the processes start, before the first request. The group must then be \
          defined, and usable from this virtual host; the order in the file does not matter.\n\n\
          The directory of the script must be accessible (`Require all granted`); `Options \
          ExecCGI` is not needed.",
    example: "WSGIScriptAlias /app /srv/app/app.wsgi process-group=app application-group=%{GLOBAL}",
    setter: Setter::Server(|server, line| alias(server, line, Location::Prefix)),
};

pub const SCRIPT_ALIAS_MATCH: Directive = Directive {
    name: "WSGIScriptAliasMatch",
    scope: Scope::Server,
    usage: "WSGIScriptAliasMatch regex file-or-directory [process-group=name] \
            [application-group=name] [callable-object=name] [pass-authorization=On|Off]",
    default: "none",
    concern: Concern::Decides,
    effect: Effect::Now,
    help: "Map URLs that match a regular expression to WSGI scripts.",
    doc: "As WSGIScriptAlias, with a regular expression (PCRE) that may match anywhere in the \
          path unless it begins with `^`. `$1` to `$9` in the target stand for what the groups of \
          the expression matched, and what follows the match in the path is appended to the \
          target. An expression that matches an empty text does not count.\n\n\
          A target with a `$` names a different script for each request, so it cannot be loaded \
          before the first one.",
    example: "WSGIScriptAliasMatch ^/site/([^/]+) /srv/sites/$1/site.wsgi",
    setter: Setter::Server(|server, line| alias(server, line, Location::Regex)),
};

pub const IMPORT_SCRIPT: Directive = Directive {
    name: "WSGIImportScript",
    scope: Scope::Server,
    usage: "WSGIImportScript file process-group=name application-group=name",
    default: "none",
    concern: Concern::Decides,
    effect: Effect::Now,
    help: "Load a script when the processes of a group start.",
    doc:
        "The script is loaded in each process of the group before it serves its first request, in \
          the order of the file. Both options are needed. `application-group=%{GLOBAL}` is the \
          main interpreter. An error is logged, and the process goes on.",
    example: "WSGIImportScript /srv/app/app.wsgi process-group=app application-group=%{GLOBAL}",
    setter: Setter::Server(import_script),
};

pub const HANDLER_SCRIPT: Directive = Directive {
    name: "WSGIHandlerScript",
    scope: Scope::Directory,
    usage: "WSGIHandlerScript handler-name file [process-group=name] [application-group=name] \
            [pass-authorization=On|Off]",
    default: "none",
    concern: Concern::Decides,
    effect: Effect::Now,
    help: "Name a script as a handler for SetHandler and AddHandler.",
    doc: "Files that Apache gives to the handler *handler-name* are answered by the callable \
          `handle_request` of the script. The options win over the settings of the directory. The \
          file need not be there, and needs no `Options ExecCGI`: SCRIPT_FILENAME names it, and \
          `mod_wsgi.handler_script` the script.",
    example: "WSGIHandlerScript bobo /srv/bobo/handler.wsgi process-group=app",
    setter: Setter::Directory(handler_script),
};

pub const DISPATCH_SCRIPT: Directive = Directive {
    name: "WSGIDispatchScript",
    scope: Scope::Directory,
    usage: "WSGIDispatchScript file [process-group=name] [application-group=name]",
    default: "none",
    concern: Concern::Decides,
    effect: Effect::Now,
    help: "Let a script choose the groups and the callable for each request.",
    doc: "The script may define `process_group(environ)`, `application_group(environ)` and \
          `callable_object(environ)`; what they return replaces what the configuration says, and \
          None leaves it. `WSGIRestrictProcess` holds for it. A script that cannot be loaded, an \
          exception and any other answer are 500: no other application runs in its place.\n\n\
          The script runs in a worker: of the process group that `process-group=` names, else of \
          the server's own group (`%{GLOBAL}`). Its `environ` is the application's, without \
          `wsgi.input`.",
    example: "WSGIDispatchScript /srv/dispatch.py process-group=app",
    setter: Setter::Directory(|dir, line| {
        let script = hook_script(line)?;
        line.reading.groups_chosen_by_script = true;
        dir.dispatch_script = Some(Arc::new(script));
        Ok(())
    }),
};

pub const CALLABLE_OBJECT: Directive = Directive {
    name: "WSGICallableObject",
    scope: Scope::FileInfo,
    usage: "WSGICallableObject name",
    default: "application",
    concern: Concern::Decides,
    effect: Effect::Now,
    help: "Name of the WSGI callable in a script.",
    doc:
        "A global name of the script; a dotted path is not followed. `%{ENV:name}` takes the name \
          from a request variable. A variable that is not set, and any other value that begins \
          with `%`, means `application`.",
    example: "WSGICallableObject app",
    setter: Setter::Directory(|dir, line| {
        dir.callable_object = Some(Template::parse(&line.word()?));
        Ok(())
    }),
};

fn alias(
    server: &mut ServerConfig,
    line: &mut Line<'_>,
    location: fn(Arc<[u8]>) -> Location,
) -> Result<(), Invalid> {
    let (from, rest) = line.first_word()?;
    let Some((target, rest)) = next_word(rest).filter(|(target, _)| !target.is_empty()) else {
        return Err(line.misused());
    };
    let allowed = [
        PROCESS_GROUP_OPTION,
        APPLICATION_GROUP_OPTION,
        CALLABLE_OBJECT_OPTION,
        PASS_AUTHORIZATION_OPTION,
    ];
    let options = script_options(line, rest, &allowed)?;

    let location = location(from[..].into());
    let is_regex = matches!(location, Location::Regex(_));
    if is_regex {
        if let Err(reason) = line.system.regex_compiles(&from) {
            return Err(line.invalid(&from, format!("a regular expression ({reason})")));
        }
    }
    if target[0] != b'/' && !(is_regex && target[0] == b'$') {
        let target = crate::error::show(&target);
        let remark = format!("the target \"{target}\" is no absolute path, so it leads nowhere.");
        line.reading.remarks.push((line.place.clone(), remark));
    }
    let varies = is_regex && target.contains(&b'$');
    note_preload(line, &target, varies, &options);
    server.aliases.push(Arc::new(ScriptAlias {
        location,
        target: target.into(),
        options: AliasOptions {
            process_group: options.process_group,
            application_group: options.application_group,
            callable_object: options.callable_object.map(Into::into),
            pass_authorization: options.pass_authorization,
        },
        place: line.place.clone(),
    }));
    Ok(())
}

/// The pre-load rule: a script whose file and groups no request can change is loaded at start.
fn note_preload(line: &mut Line<'_>, file: &[u8], varies: bool, options: &ScriptOptions) {
    let (process, application) = (&options.process_group, &options.application_group);
    note_route(line, process.as_ref(), application.as_ref());
    let fixed = |group: &Option<Template>| Some(group.as_ref()?.fixed()?.to_vec());
    let (Some(process_group), Some(application_group)) = (fixed(process), fixed(application))
    else {
        return;
    };
    if !varies {
        line.reading.preloads.push(Preload {
            directive: line.directive.name,
            path: file.to_vec(),
            process_group,
            application_group,
            place: line.place.clone(),
        });
    }
}

fn import_script(_: &mut ServerConfig, line: &mut Line<'_>) -> Result<(), Invalid> {
    let (file, rest) = line.first_word()?;
    let options = script_options(
        line,
        rest,
        &[PROCESS_GROUP_OPTION, APPLICATION_GROUP_OPTION],
    )?;
    for (option, group) in [
        (PROCESS_GROUP_OPTION, &options.process_group),
        (APPLICATION_GROUP_OPTION, &options.application_group),
    ] {
        let Some(group) = group else {
            return Err(line.misused());
        };
        if group.fixed().is_none() {
            let expected = "the name of a group, or %{GLOBAL}: there is no request yet".into();
            let value = group.text().into_owned();
            return Err(line.refuse(Problem::OptionValue {
                option,
                value,
                expected,
            }));
        }
    }
    note_preload(line, &file, false, &options);
    Ok(())
}

fn handler_script(dir: &mut DirectoryConfig, line: &mut Line<'_>) -> Result<(), Invalid> {
    let (name, rest) = line.first_word()?;
    let Some((path, rest)) = next_word(rest).filter(|(path, _)| !path.is_empty()) else {
        return Err(line.misused());
    };
    let allowed = [
        PROCESS_GROUP_OPTION,
        APPLICATION_GROUP_OPTION,
        PASS_AUTHORIZATION_OPTION,
    ];
    let options = script_options(line, rest, &allowed)?;
    note_route(
        line,
        options.process_group.as_ref(),
        options.application_group.as_ref(),
    );
    let script = HandlerScript {
        path: path.into(),
        process_group: options.process_group,
        application_group: options.application_group,
        pass_authorization: options.pass_authorization,
    };
    let scripts = dir
        .handler_scripts
        .get_or_insert_with(|| Arc::new(BTreeMap::new()));
    Arc::make_mut(scripts).insert(name, script);
    Ok(())
}

/// `file [process-group=name] [application-group=name]`, as scripts are given that answer hooks of
/// httpd.
pub(super) fn hook_script(line: &mut Line<'_>) -> Result<ScriptConfig, Invalid> {
    let (path, rest) = line.first_word()?;
    let options = script_options(
        line,
        rest,
        &[PROCESS_GROUP_OPTION, APPLICATION_GROUP_OPTION],
    )?;
    let process_group = match &options.process_group {
        None => Text::from(own_group::NAME),
        Some(group) => match group.fixed() {
            Some(name) => name.into(),
            None => {
                return Err(line.refuse(Problem::OptionValue {
                    option: PROCESS_GROUP_OPTION,
                    value: group.text().into_owned(),
                    expected: "the name of a group that WSGIDaemonProcess defines".into(),
                }))
            }
        },
    };
    let application_group = options.application_group;
    if !line.place.in_htaccess {
        line.reading.hooks.push(Hook {
            directive: line.directive.name,
            process_group: process_group.to_vec(),
            asks_main: application_group
                .as_ref()
                .is_none_or(|group| *group == Template::Global),
            place: line.place.clone(),
        });
    }
    Ok(ScriptConfig {
        path: path.into(),
        process_group,
        in_htaccess: line.place.in_htaccess,
        application_group,
    })
}
