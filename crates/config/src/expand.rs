//! The `%{...}` values of group and callable names, expanded for a request.
//!
//! Runs in: the Apache parent (parsing, once), Apache children (expansion, for every request).
//!
//! A value is a template only as a whole: `%{SERVER}` is, `x%{SERVER}` is a plain name. Which
//! templates mean something depends on where the value stands; see the three `expand` functions.

use std::borrow::Cow;
use std::sync::Arc;

/// A group name, or the way to get one from a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Template {
    /// This name.
    Name(Arc<[u8]>),
    /// `%{GLOBAL}`: embedded mode for a process group, the main interpreter for an application
    /// group. Both are written as the empty name.
    Global,
    /// `%{SERVER}`: ServerName and, unless it is 80 or 443, the port.
    Server,
    /// `%{HOST}`: the same with the host the client asked for.
    Host,
    /// `%{RESOURCE}`: `%{SERVER}`, a bar, and the SCRIPT_NAME.
    Resource,
    /// `%{ENV:name}`: a request note, a request variable, or a variable of Apache's environment.
    Env(Arc<[u8]>),
}

/// What an expansion needs to know about a request. Only the methods that the template needs are
/// called.
pub trait RequestFacts {
    /// ServerName of the server that answers (httpd: `r->server->server_hostname`).
    fn server_hostname(&self) -> Cow<'_, [u8]>;
    /// The host the client asked for (httpd: `r->hostname`); `None` or empty when it named none.
    fn host(&self) -> Option<Cow<'_, [u8]>>;
    /// The canonical port (httpd: `ap_get_server_port`).
    fn port(&self) -> u16;
    /// The URI without its path info, decoded. Runs of `/` need not be collapsed.
    fn script_name(&self) -> Cow<'_, [u8]>;
    /// Whether [`RequestFacts::port`] is one that the server has, and not only one that the client
    /// wrote into `Host`, as httpd uses with `UseCanonicalName Off`.
    fn port_is_configured(&self) -> bool;
    /// Whether [`RequestFacts::host`] is a ServerName or a ServerAlias without wildcard.
    fn host_is_configured(&self) -> bool;
    /// Whether [`RequestFacts::script_name`] follows from the configuration and the script's file.
    /// With an alias by regular expression, for example, a client may choose it.
    fn script_name_is_configured(&self) -> bool;
    /// Whether [`RequestFacts::env`] takes `name` from the request: its notes and variables may
    /// hold what the client sent.
    fn env_is_of_request(&self, name: &[u8]) -> bool;
    /// `name` in the request's notes, else its variables, else Apache's environment.
    fn env(&self, name: &[u8]) -> Option<Cow<'_, [u8]>>;
    /// Whether script names that differ in case are different (`WSGICaseSensitivity`).
    fn case_sensitive(&self) -> bool {
        true
    }
}

impl Template {
    /// Reads a value as written in the configuration, or as found in a variable.
    pub fn parse(text: &[u8]) -> Template {
        match text {
            b"%{GLOBAL}" => Template::Global,
            b"%{SERVER}" => Template::Server,
            b"%{HOST}" => Template::Host,
            b"%{RESOURCE}" => Template::Resource,
            _ => match text
                .strip_prefix(b"%{ENV:")
                .and_then(|rest| rest.strip_suffix(b"}"))
            {
                Some(name) => Template::Env(name.into()),
                None => Template::Name(text.into()),
            },
        }
    }

    /// The value as it was written.
    pub fn text(&self) -> Cow<'_, [u8]> {
        match self {
            Template::Name(name) => Cow::Borrowed(name),
            Template::Global => Cow::Borrowed(b"%{GLOBAL}"),
            Template::Server => Cow::Borrowed(b"%{SERVER}"),
            Template::Host => Cow::Borrowed(b"%{HOST}"),
            Template::Resource => Cow::Borrowed(b"%{RESOURCE}"),
            Template::Env(name) => Cow::Owned([b"%{ENV:", &name[..], b"}"].concat()),
        }
    }

    /// The name, if it is the same for every request; empty for `%{GLOBAL}`. This is what the
    /// rule for preloading needs, so a name that merely contains `%{` does not count.
    pub fn fixed(&self) -> Option<&[u8]> {
        match self {
            Template::Global => Some(b""),
            Template::Name(name) if !name.windows(2).any(|pair| pair == b"%{") => Some(name),
            _ => None,
        }
    }

    /// The group's name for a request, in directives about requests. A variable that is not set
    /// leaves the value as it was written, which then names a group that does not exist.
    pub fn expand<'a>(&'a self, facts: &'a dyn RequestFacts) -> Cow<'a, [u8]> {
        match self {
            Template::Resource => Cow::Owned(resource(facts)),
            Template::Env(name) => match facts.env(name) {
                Some(value) if value.starts_with(b"%") => once_more(&value, facts),
                Some(value) => value,
                None => self.text(),
            },
            _ => self.expand_for_script(facts),
        }
    }

    /// Whether a client can choose the name that [`Template::expand`] gives for this request. Such
    /// a client could have a worker create an interpreter for each name it makes up.
    pub fn is_from_client(&self, facts: &dyn RequestFacts) -> bool {
        match self {
            Template::Name(_) | Template::Global => false,
            Template::Server => !facts.port_is_configured(),
            Template::Host => !(facts.host_is_configured() && facts.port_is_configured()),
            Template::Resource => resource_is_from_client(facts),
            Template::Env(name) => facts.env_is_of_request(name),
        }
    }

    /// The same as [`Template::expand`] for access, authentication and dispatch scripts. They run
    /// before the request has a resource: `%{RESOURCE}` and `%{ENV:...}` are plain names there.
    pub fn expand_for_script<'a>(&'a self, facts: &dyn RequestFacts) -> Cow<'a, [u8]> {
        match self {
            Template::Name(name) => Cow::Borrowed(name),
            Template::Global => Cow::Borrowed(b""),
            Template::Server => Cow::Owned(with_port(facts.server_hostname(), facts)),
            Template::Host => {
                let host = facts.host().filter(|host| !host.is_empty());
                Cow::Owned(with_port(
                    host.unwrap_or_else(|| facts.server_hostname()),
                    facts,
                ))
            }
            Template::Resource | Template::Env(_) => self.text(),
        }
    }

    /// The name of a callable. Only a plain name and a variable that is set mean something;
    /// everything else is the default.
    pub fn expand_callable<'a>(&'a self, facts: &'a dyn RequestFacts) -> Cow<'a, [u8]> {
        match self {
            Template::Name(name) if !name.starts_with(b"%") => Cow::Borrowed(name),
            Template::Env(name) => facts
                .env(name)
                .filter(|value| !value.is_empty())
                .unwrap_or(Cow::Borrowed(DEFAULT_CALLABLE)),
            _ => Cow::Borrowed(DEFAULT_CALLABLE),
        }
    }
}

/// The default name of the callable in a script.
pub const DEFAULT_CALLABLE: &[u8] = b"application";

/// The default application group: each mount point of each server has its own.
pub fn resource(facts: &dyn RequestFacts) -> Vec<u8> {
    let mut name = with_port(facts.server_hostname(), facts);
    name.push(b'|');
    let script = facts.script_name();
    let mut previous = 0;
    for &byte in script.iter() {
        if !(byte == b'/' && previous == b'/') {
            name.push(if facts.case_sensitive() {
                byte
            } else {
                byte.to_ascii_lowercase()
            });
        }
        previous = byte;
    }
    name
}

/// [`Template::is_from_client`] of [`resource`].
pub fn resource_is_from_client(facts: &dyn RequestFacts) -> bool {
    !(facts.port_is_configured() && facts.script_name_is_configured())
}

fn with_port(host: Cow<'_, [u8]>, facts: &dyn RequestFacts) -> Vec<u8> {
    let mut name = host.into_owned();
    let port = facts.port();
    if port != 80 && port != 443 {
        name.extend(format!(":{port}").bytes());
    }
    name
}

/// A variable may hold a template, but not another variable: that could go on for ever.
fn once_more(value: &[u8], facts: &dyn RequestFacts) -> Cow<'static, [u8]> {
    let name = match Template::parse(value) {
        again @ Template::Env(_) => again.text().into_owned(),
        Template::Resource => resource(facts),
        other => other.expand_for_script(facts).into_owned(),
    };
    Cow::Owned(name)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A request to http://shop.example.com:8080/app//x/info with Host www.example.com.
    pub(crate) struct Facts {
        pub host: Option<&'static [u8]>,
        pub port: u16,
        pub env: Vec<(&'static [u8], &'static [u8])>,
        pub case_sensitive: bool,
        /// Which of port, host and script name only the client chose.
        pub from_client: &'static str,
    }

    impl Default for Facts {
        fn default() -> Facts {
            Facts {
                host: Some(b"www.example.com"),
                port: 8080,
                env: Vec::new(),
                case_sensitive: true,
                from_client: "",
            }
        }
    }

    impl RequestFacts for Facts {
        fn server_hostname(&self) -> Cow<'_, [u8]> {
            Cow::Borrowed(b"shop.example.com")
        }
        fn host(&self) -> Option<Cow<'_, [u8]>> {
            self.host.map(Cow::Borrowed)
        }
        fn port(&self) -> u16 {
            self.port
        }
        fn script_name(&self) -> Cow<'_, [u8]> {
            Cow::Borrowed(b"/App//x")
        }
        fn port_is_configured(&self) -> bool {
            !self.from_client.contains("port")
        }
        fn host_is_configured(&self) -> bool {
            !self.from_client.contains("host")
        }
        fn script_name_is_configured(&self) -> bool {
            !self.from_client.contains("script")
        }
        fn env_is_of_request(&self, name: &[u8]) -> bool {
            self.env(name).is_some()
        }
        fn env(&self, name: &[u8]) -> Option<Cow<'_, [u8]>> {
            self.env
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| Cow::Borrowed(*value))
        }
        fn case_sensitive(&self) -> bool {
            self.case_sensitive
        }
    }

    fn expanded(text: &str, facts: &Facts) -> String {
        let template = Template::parse(text.as_bytes());
        assert_eq!(template.text(), text.as_bytes());
        let name = String::from_utf8_lossy(&template.expand(facts)).into_owned();
        name
    }

    #[test]
    fn each_template_has_its_value() {
        let facts = Facts {
            env: vec![(b"GROUP", b"blue")],
            ..Facts::default()
        };
        for (text, name) in [
            ("shop", "shop"),
            ("%{GLOBAL}", ""),
            ("%{SERVER}", "shop.example.com:8080"),
            ("%{HOST}", "www.example.com:8080"),
            ("%{RESOURCE}", "shop.example.com:8080|/App/x"),
            ("%{ENV:GROUP}", "blue"),
            ("%{ENV:MISSING}", "%{ENV:MISSING}"),
            ("%{global}", "%{global}"),
            ("%{OTHER}", "%{OTHER}"),
            ("%", "%"),
            ("x%{GLOBAL}", "x%{GLOBAL}"),
        ] {
            assert_eq!(expanded(text, &facts), name, "{text}");
        }
    }

    #[test]
    fn the_usual_ports_are_not_part_of_a_name() {
        for port in [80, 443] {
            let facts = Facts {
                port,
                ..Facts::default()
            };
            assert_eq!(expanded("%{SERVER}", &facts), "shop.example.com");
        }
    }

    #[test]
    fn host_falls_back_to_the_server_name() {
        for host in [None, Some(&b""[..])] {
            let facts = Facts {
                host,
                ..Facts::default()
            };
            assert_eq!(expanded("%{HOST}", &facts), "shop.example.com:8080");
        }
    }

    #[test]
    fn a_variable_is_expanded_once_more_but_not_twice() {
        let env: Vec<(&[u8], &[u8])> = vec![
            (b"A", b"%{SERVER}"),
            (b"B", b"%{ENV:A}"),
            (b"C", b"%{RESOURCE}"),
            (b"D", b"%{GLOBAL}"),
            (b"E", b"%odd"),
        ];
        let facts = Facts {
            env,
            ..Facts::default()
        };
        assert_eq!(expanded("%{ENV:A}", &facts), "shop.example.com:8080");
        assert_eq!(expanded("%{ENV:B}", &facts), "%{ENV:A}");
        assert_eq!(expanded("%{ENV:C}", &facts), "shop.example.com:8080|/App/x");
        assert_eq!(expanded("%{ENV:D}", &facts), "");
        assert_eq!(expanded("%{ENV:E}", &facts), "%odd");
    }

    #[test]
    fn scripts_of_access_control_know_no_resource_and_no_variables() {
        let facts = Facts {
            env: vec![(b"GROUP", b"blue")],
            ..Facts::default()
        };
        for (text, name) in [
            ("%{GLOBAL}", ""),
            ("%{SERVER}", "shop.example.com:8080"),
            ("%{HOST}", "www.example.com:8080"),
            ("%{RESOURCE}", "%{RESOURCE}"),
            ("%{ENV:GROUP}", "%{ENV:GROUP}"),
        ] {
            let template = Template::parse(text.as_bytes());
            assert_eq!(
                template.expand_for_script(&facts),
                name.as_bytes(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_callable_is_a_name_or_a_variable() {
        let env: Vec<(&[u8], &[u8])> = vec![(b"APP", b"create"), (b"EMPTY", b"")];
        let facts = Facts {
            env,
            ..Facts::default()
        };
        for (text, name) in [
            ("app", "app"),
            ("%{ENV:APP}", "create"),
            ("%{ENV:EMPTY}", "application"),
            ("%{ENV:MISSING}", "application"),
            ("%{GLOBAL}", "application"),
            ("%odd", "application"),
        ] {
            let template = Template::parse(text.as_bytes());
            assert_eq!(template.expand_callable(&facts), name.as_bytes(), "{text}");
        }
    }

    #[test]
    fn only_names_that_no_request_changes_are_fixed() {
        assert_eq!(Template::parse(b"shop").fixed(), Some(&b"shop"[..]));
        assert_eq!(Template::parse(b"%{GLOBAL}").fixed(), Some(&b""[..]));
        for text in [&b"%{SERVER}"[..], b"%{RESOURCE}", b"%{ENV:X}", b"a%{b"] {
            assert_eq!(Template::parse(text).fixed(), None);
        }
    }

    #[test]
    fn a_name_is_the_clients_where_a_part_of_it_is() {
        let is_from_client = |text: &str, from_client| {
            let facts = Facts {
                env: vec![(b"GROUP", b"blue")],
                from_client,
                ..Facts::default()
            };
            Template::parse(text.as_bytes()).is_from_client(&facts)
        };
        for (text, parts) in [
            ("shop", &[][..]),
            ("%{GLOBAL}", &[]),
            ("%{SERVER}", &["port"]),
            ("%{HOST}", &["port", "host"]),
            ("%{RESOURCE}", &["port", "script"]),
            ("%{ENV:MISSING}", &[]),
        ] {
            for part in ["", "port", "host", "script"] {
                let expected = parts.contains(&part);
                assert_eq!(is_from_client(text, part), expected, "{text} {part}");
            }
        }
        assert!(is_from_client("%{ENV:GROUP}", ""));
    }

    #[test]
    fn case_is_folded_where_the_file_system_folds_it() {
        let facts = Facts {
            case_sensitive: false,
            port: 80,
            ..Facts::default()
        };
        assert_eq!(expanded("%{RESOURCE}", &facts), "shop.example.com|/app/x");
    }
}
