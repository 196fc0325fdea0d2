//! Whether a request, a script or a hook can reach the server's own group (`%{GLOBAL}`).
//!
//! Runs in: the Apache parent, once the configuration is read.
//!
//! The group needs no definition, and where nothing can reach it nothing is started for it. Which
//! sections apply to a request together is known only when it comes, so the answer is on the safe
//! side: "yes" unless the configuration rules it out. A group that is not reached after all costs a
//! socket on which nobody calls.

use super::expand::Template;
use super::reading::{Reading, Route};

/// The directive that loads a script for its own sake.
pub(super) const IMPORT: &str = "WSGIImportScript";

/// What directives of other modules let reach the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherDirectives {
    /// One gives requests to our handler: it names the handler, or computes one, or lets `.htaccess`
    /// files name it.
    pub give_to_handler: bool,
    /// One lets `.htaccess` files have a script answer a hook.
    pub let_htaccess_hook: bool,
}

impl OtherDirectives {
    /// Takes in one directive.
    pub fn note(&mut self, name: &[u8], args: &[u8]) {
        let has = |known: &[&str]| {
            args.split(u8::is_ascii_whitespace).any(|word| {
                known
                    .iter()
                    .any(|k| word.eq_ignore_ascii_case(k.as_bytes()))
            })
        };
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("AllowOverride") {
            self.give_to_handler |= has(&["All", "FileInfo"]);
            self.let_htaccess_hook |= has(&["All", "AuthConfig"]);
        } else if is("AllowOverrideList") {
            let lists = !has(&["None"]);
            self.give_to_handler |= lists;
            self.let_htaccess_hook |= lists;
        } else {
            let computed = is("SetHandler") && args.windows(2).any(|pair| pair == b"%{");
            let named = [&b"wsgi-script"[..], b"x-httpd-wsgi"]
                .iter()
                .any(|handler| {
                    args.windows(handler.len())
                        .any(|part| part.eq_ignore_ascii_case(handler))
                });
            self.give_to_handler |= computed || named;
        }
    }
}

/// Whether the configuration can reach the group. `servers` are as in [`super::Place::server`];
/// `is_restricted` is `WSGIRestrictEmbedded`, which keeps requests for applications out.
pub(super) fn can_be_reached(
    reading: &Reading,
    servers: &[Option<usize>],
    others: OtherDirectives,
    is_restricted: bool,
) -> bool {
    let imports = reading
        .preloads
        .iter()
        .any(|script| script.process_group.is_empty() && script.directive == IMPORT);
    let hooks = reading
        .hooks
        .iter()
        .any(|hook| hook.process_group.is_empty());
    if imports || hooks || others.let_htaccess_hook {
        return true;
    }
    if is_restricted {
        return false;
    }
    let routes = || reading.routes.iter().filter(|route| !route.is_import());
    if reading.groups_chosen_by_script || routes().any(|route| route.may_name_own_group()) {
        return true;
    }
    // What is left are requests for which nothing names a group. A directory section that names one
    // may leave others out; a server that does leaves nobody out.
    let names = |server: Option<usize>| {
        routes().any(|route| {
            route.directive == "WSGIProcessGroup"
                && route.place.directory.is_none()
                && route.place.server() == server
        })
    };
    let is_open = |server: Option<usize>| !names(server) && !names(None);
    let mut open = servers.iter().filter(|&&server| is_open(server)).peekable();
    if open.peek().is_none() {
        return false;
    }
    others.give_to_handler
        || routes().any(|route| {
            let leads = route.process_group.is_none() && route.leads_to_script();
            // Virtual hosts have the aliases of the main server too.
            leads && (route.place.server().is_none() || is_open(route.place.server()))
        })
}

impl Route {
    fn is_import(&self) -> bool {
        self.directive == IMPORT
    }

    /// Whether requests come to a script by it; others only say where they run.
    fn leads_to_script(&self) -> bool {
        !matches!(self.directive, "WSGIProcessGroup" | "WSGIApplicationGroup")
    }

    /// Whether the group it names is, or may turn out to be, the own group.
    fn may_name_own_group(&self) -> bool {
        self.process_group
            .as_ref()
            .is_some_and(|group| match group {
                Template::Global | Template::Env(_) => true,
                Template::Name(name) => name.is_empty(),
                // A server's name is never empty.
                Template::Server | Template::Host | Template::Resource => false,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::TestConfiguration;
    use super::*;

    /// Whether it is reached without a handler, and with one.
    fn reached(text: &str) -> (bool, bool) {
        let read = TestConfiguration::of(text);
        let servers: Vec<_> = read.servers().iter().map(|server| server.id).collect();
        let is_restricted = read.main.global.restrict_embedded == Some(true);
        let with = |give_to_handler| {
            let others = OtherDirectives {
                give_to_handler,
                ..OtherDirectives::default()
            };
            can_be_reached(&read.reading, &servers, others, is_restricted)
        };
        (with(false), with(true))
    }

    #[test]
    fn a_server_that_does_nothing_with_python_does_not_reach_it() {
        assert_eq!(reached(""), (false, true));
        assert_eq!(reached("WSGIDaemonProcess shop"), (false, true));
        assert_eq!(reached("WSGIPythonHome /srv/venv"), (false, true));
    }

    #[test]
    fn an_alias_reaches_it_unless_a_group_is_named_for_certain() {
        let alias = "WSGIScriptAlias / /srv/app.wsgi";
        for (text, expected) in [
            (alias.to_owned(), true),
            (format!("{alias} process-group=shop"), false),
            (format!("{alias} process-group=%{{GLOBAL}}"), true),
            (format!("{alias} process-group=%{{ENV:x}}"), true),
            (format!("{alias} process-group=%{{SERVER}}"), false),
            (format!("WSGIProcessGroup shop\n{alias}"), false),
            (format!("WSGIProcessGroup %{{SERVER}}\n{alias}"), false),
            (format!("WSGIProcessGroup %{{GLOBAL}}\n{alias}"), true),
            // The section may not hold for the script.
            (
                format!("<Directory /srv>\nWSGIProcessGroup shop\n</Directory>\n{alias}"),
                true,
            ),
            (
                format!(
                    "WSGIProcessGroup shop\n{alias}\n<Location /x>\nWSGIProcessGroup %{{GLOBAL}}\n</Location>"
                ),
                true,
            ),
            (format!("WSGIRestrictEmbedded On\n{alias}"), false),
            (format!("WSGIRestrictEmbedded Off\n{alias}"), true),
        ] {
            assert_eq!(reached(&text).0, expected, "{text}");
        }
    }

    #[test]
    fn each_virtual_host_is_judged_by_itself() {
        let host = |lines: &str| format!("<VirtualHost a *:80>\n{lines}\n</VirtualHost>\n");
        let alias = "WSGIScriptAlias / /srv/app.wsgi";
        let named = host(&format!("WSGIProcessGroup shop\n{alias}"));
        // The main server has no alias.
        assert_eq!(reached(&named), (false, true));
        assert_eq!(reached(&format!("{named}{}", host(alias))), (true, true));
        // It has one, and says nothing of a group.
        assert!(reached(&format!("{named}{alias}")).0);
        let all = format!("WSGIProcessGroup shop\n{named}{}{alias}", host(alias));
        assert_eq!(reached(&all), (false, false));
    }

    #[test]
    fn scripts_to_import_reach_it_also_where_requests_may_not() {
        let import = "WSGIImportScript /srv/a.py application-group=%{GLOBAL} process-group=";
        assert!(reached(&format!("{import}%{{GLOBAL}}")).0);
        assert!(reached(&format!("WSGIRestrictEmbedded On\n{import}%{{GLOBAL}}")).0);
        assert!(!reached(&format!("WSGIDaemonProcess shop\n{import}shop")).0);
    }

    #[test]
    fn hooks_of_htaccess_files_reach_it_whatever_requests_may_do() {
        let others = OtherDirectives {
            let_htaccess_hook: true,
            ..OtherDirectives::default()
        };
        for text in ["WSGIProcessGroup shop", "WSGIRestrictEmbedded On"] {
            let read = TestConfiguration::of(text);
            assert!(
                can_be_reached(&read.reading, &[None], others, true),
                "{text}"
            );
        }
    }

    #[test]
    fn handlers_come_from_httpd_and_from_files_it_lets_decide() {
        for (name, args, expected) in [
            ("SetHandler", "wsgi-script", (true, false)),
            ("AddHandler", "WSGI-Script .wsgi .py", (true, false)),
            ("AddType", "application/x-httpd-wsgi .wsgi", (true, false)),
            ("RewriteRule", "^/x /y.py [H=wsgi-script]", (true, false)),
            ("SetHandler", "server-status", (false, false)),
            ("SetHandler", "\"%{reqenv:handler}\"", (true, false)),
            ("AllowOverride", "None", (false, false)),
            ("AllowOverride", "Options Limit", (false, false)),
            ("AllowOverride", "AuthConfig Limit", (false, true)),
            ("allowoverride", "Limit fileinfo", (true, false)),
            ("AllowOverride", "all", (true, true)),
            ("AllowOverrideList", "None", (false, false)),
            ("AllowOverrideList", "Redirect", (true, true)),
            ("<Directory", "/srv", (false, false)),
            ("DocumentRoot", "", (false, false)),
        ] {
            let mut others = OtherDirectives::default();
            others.note(name.as_bytes(), args.as_bytes());
            let seen = (others.give_to_handler, others.let_htaccess_hook);
            assert_eq!(seen, expected, "{name} {args}");
        }
    }
}
