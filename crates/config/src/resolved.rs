//! The resolved configuration: the settings of a request, a server or an interpreter, with defaults
//! filled in.
//!
//! Runs in: Apache children, for every request ([`Settings`]); the Apache parent ([`Globals`],
//! [`interpreter`]).
//!
//! A setting of a request comes from its alias (or handler script), else from its directory, else
//! from its server, else it is the default.

use std::borrow::Cow;
use std::time::Duration;

use super::alias::AliasOptions;
use super::expand::{resource, resource_is_from_client, RequestFacts, Template, DEFAULT_CALLABLE};
use super::module_config::{
    DirectoryConfig, GlobalConfig, HandlerScript, HashSeed, InterpreterBlock, InterpreterConfig,
    MapHead, ScriptConfig, ServerConfig,
};
use super::proxies::{ProxyHeader, Subnet};

/// The options of the alias or handler script that a request matched.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides<'a> {
    process_group: Option<&'a Template>,
    application_group: Option<&'a Template>,
    callable_object: Option<&'a [u8]>,
    pass_authorization: Option<bool>,
}

impl<'a> From<&'a AliasOptions> for Overrides<'a> {
    fn from(options: &'a AliasOptions) -> Overrides<'a> {
        Overrides {
            process_group: options.process_group.as_ref(),
            application_group: options.application_group.as_ref(),
            callable_object: options.callable_object.as_deref(),
            pass_authorization: options.pass_authorization,
        }
    }
}

impl<'a> From<&'a HandlerScript> for Overrides<'a> {
    fn from(script: &'a HandlerScript) -> Overrides<'a> {
        Overrides {
            process_group: script.process_group.as_ref(),
            application_group: script.application_group.as_ref(),
            callable_object: Some(b"handle_request"),
            pass_authorization: script.pass_authorization,
        }
    }
}

/// The settings of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings<'a> {
    /// Process group; empty is embedded mode.
    pub process_group: Cow<'a, [u8]>,
    /// Application group; empty is the main interpreter.
    pub application_group: Cow<'a, [u8]>,
    /// Whether a client can choose that name: see [`Template::is_from_client`].
    pub application_group_is_from_client: bool,
    /// Name of the callable in the script.
    pub callable_object: Cow<'a, [u8]>,
    pub pass_authorization: bool,
    pub script_reloading: bool,
    pub chunked_request: bool,
    pub map_head_to_get: MapHead,
    pub error_override: bool,
    pub local_redirect: bool,
    pub enable_sendfile: Option<bool>,
    pub eventlet_compat: bool,
    pub ignore_activity: bool,
    pub pass_apache_request: bool,
    /// Process groups the request may go to, besides [`Settings::process_group_allowed`]; `None`
    /// allows all.
    pub restrict_process: Option<&'a [Vec<u8>]>,
    /// Headers that trusted proxies may set; empty leaves all headers as they are.
    pub trusted_proxy_headers: &'a [ProxyHeader],
    /// Addresses of trusted proxies; `None` trusts every address.
    pub trusted_proxies: Option<&'a [Subnet]>,
    /// Script that may choose other groups.
    pub dispatch_script: Option<&'a ScriptConfig>,
}

impl<'a> Settings<'a> {
    /// Resolves the settings of a request. `dir` is the merged per-directory configuration,
    /// `server` the merged per-server configuration.
    pub fn resolve(
        dir: &'a DirectoryConfig,
        server: &'a ServerConfig,
        overrides: Overrides<'a>,
        facts: &'a dyn RequestFacts,
    ) -> Settings<'a> {
        let outer = &server.directory;
        let process = overrides
            .process_group
            .or(either(dir, outer, |given| &given.process_group));
        let application = overrides
            .application_group
            .or(either(dir, outer, |given| &given.application_group));
        let callable = either(dir, outer, |given| &given.callable_object);
        let flag = |of: fn(&DirectoryConfig) -> Option<bool>, default| {
            of(dir).or(of(outer)).unwrap_or(default)
        };
        Settings {
            process_group: process.map_or(Cow::Borrowed(b""), |group| group.expand(facts)),
            application_group: match application {
                Some(group) => group.expand(facts),
                None => Cow::Owned(resource(facts)),
            },
            application_group_is_from_client: match application {
                Some(group) => group.is_from_client(facts),
                None => resource_is_from_client(facts),
            },
            callable_object: match (overrides.callable_object, callable) {
                (Some(name), _) => Cow::Borrowed(name),
                (None, Some(name)) => name.expand_callable(facts),
                (None, None) => Cow::Borrowed(DEFAULT_CALLABLE),
            },
            pass_authorization: overrides
                .pass_authorization
                .unwrap_or_else(|| flag(|given| given.pass_authorization, false)),
            script_reloading: flag(|given| given.script_reloading, true),
            // mod_wsgi's default is Off; ours gives the application a true end of input.
            chunked_request: flag(|given| given.chunked_request, true),
            map_head_to_get: dir
                .map_head_to_get
                .or(outer.map_head_to_get)
                .unwrap_or(MapHead::Auto),
            error_override: flag(|given| given.error_override, false),
            local_redirect: flag(|given| given.local_redirect, true),
            enable_sendfile: dir.enable_sendfile.or(outer.enable_sendfile),
            eventlet_compat: flag(|given| given.eventlet_compat, false),
            ignore_activity: flag(|given| given.ignore_activity, false),
            pass_apache_request: flag(|given| given.pass_apache_request, false),
            restrict_process: either(dir, outer, |given| &given.restrict_process)
                .map(|list| &list[..]),
            trusted_proxy_headers: either(dir, outer, |given| &given.trusted_proxy_headers)
                .map_or(&[], |list| &list[..]),
            trusted_proxies: either(dir, outer, |given| &given.trusted_proxies)
                .map(|list| &list[..]),
            dispatch_script: either(dir, outer, |given| &given.dispatch_script)
                .map(|script| &**script),
        }
    }

    /// Whether `WSGIRestrictProcess` lets the request go to its process group. Check it
    /// last, after a dispatch script has chosen the group.
    pub fn process_group_allowed(&self) -> bool {
        self.restrict_process.is_none_or(|allowed| {
            allowed
                .iter()
                .any(|name| name.eq_ignore_ascii_case(&self.process_group))
        })
    }
}

fn either<'a, T>(
    dir: &'a DirectoryConfig,
    outer: &'a DirectoryConfig,
    field: fn(&'a DirectoryConfig) -> &'a Option<T>,
) -> Option<&'a T> {
    field(dir).as_ref().or(field(outer).as_ref())
}

/// The script that handles requests for the handler `name`, if one is defined for this place.
pub fn handler_script<'a>(
    dir: &'a DirectoryConfig,
    server: &'a ServerConfig,
    name: &[u8],
) -> Option<&'a HandlerScript> {
    let of = |given: &'a DirectoryConfig| given.handler_scripts.as_ref()?.get(name);
    of(dir).or_else(|| of(&server.directory))
}

/// The settings of the whole server.
#[derive(Clone, Debug, PartialEq)]
pub struct Globals {
    pub restrict_embedded: bool,
    /// Beginning of the sockets' names; `None` is `wsgi` in httpd's runtime directory.
    pub socket_prefix: Option<Vec<u8>>,
    pub destroy_interpreter: bool,
    /// `None` is the Python named at installation.
    pub python_home: Option<Vec<u8>>,
    pub python_eggs: Option<Vec<u8>>,
    pub python_optimize: u32,
    /// `None` takes it from Apache's environment.
    pub python_hash_seed: Option<HashSeed>,
    pub python_warnings: Vec<Vec<u8>>,
    pub dont_write_bytecode: bool,
    pub case_sensitive: bool,
    pub server_metrics: bool,
    /// Time after which a request is slow; `None` reports none.
    pub slow_requests: Option<Duration>,
    pub capture_user_agent: bool,
}

impl Globals {
    /// Resolves the settings of the main server.
    pub fn of(given: &GlobalConfig) -> Globals {
        Globals {
            restrict_embedded: given.restrict_embedded.unwrap_or(false),
            socket_prefix: given.socket_prefix.as_deref().map(<[u8]>::to_vec),
            destroy_interpreter: given.destroy_interpreter.unwrap_or(true),
            python_home: given.python_home.as_deref().map(<[u8]>::to_vec),
            python_eggs: given.python_eggs.as_deref().map(<[u8]>::to_vec),
            python_optimize: given.python_optimize.unwrap_or(0),
            python_hash_seed: given.python_hash_seed,
            python_warnings: given.python_warnings.clone(),
            dont_write_bytecode: given.dont_write_bytecode.unwrap_or(false),
            case_sensitive: given.case_sensitivity.unwrap_or(true),
            server_metrics: given.server_metrics.unwrap_or(false),
            slow_requests: given.slow_requests.filter(|limit| !limit.is_zero()),
            capture_user_agent: given.capture_user_agent.unwrap_or(false),
        }
    }
}

/// The settings of one interpreter.
#[derive(Clone, Debug, PartialEq)]
pub struct Interpreter {
    /// Directories to put in front of `sys.path`, in order.
    pub python_path: Vec<Vec<u8>>,
    /// What is said for the process; `None` is Python's own.
    pub switch_interval: Option<Duration>,
    /// What is said for the application group, if that counts more.
    pub own_switch_interval: Option<Duration>,
    pub own_gil: bool,
    pub free_threading: bool,
    pub restrict_stdin: bool,
    pub restrict_stdout: bool,
    pub restrict_signal: bool,
}

/// Resolves the settings of an interpreter: the top level, then the `<WSGIInterpreterOptions>`
/// sections that select it, the more specific over the less specific, the later over the earlier.
///
/// `process_group` is empty for embedded mode. `application_group` is empty for the main
/// interpreter, and `None` gives the settings that apply to the whole process. `base` is
/// the search path that the process group has of its own; the server's own group, whose name is
/// empty, has the top-level `WSGIPythonPath` where it is empty.
pub fn interpreter(
    given: &GlobalConfig,
    process_group: &[u8],
    application_group: Option<&[u8]>,
    base: Vec<Vec<u8>>,
) -> Interpreter {
    let selects = |block: &&InterpreterBlock| {
        let process = block.process_group.as_deref();
        let application = block.application_group.as_deref();
        process.is_none_or(|name| name == process_group)
            && application.is_none_or(|name| Some(name) == application_group)
    };
    let specificity = |block: &&InterpreterBlock| {
        usize::from(block.process_group.is_some()) + usize::from(block.application_group.is_some())
    };
    let mut blocks: Vec<&InterpreterBlock> = given.blocks.iter().filter(selects).collect();
    blocks.sort_by_key(specificity);

    let embedded = process_group.is_empty();
    // At top level the search path is for embedded mode alone.
    let top = InterpreterConfig {
        python_path: None,
        ..given.interpreter.clone()
    };
    let mut python_path = match &given.interpreter.python_path {
        Some(path) if embedded && base.is_empty() => path.to_vec(),
        _ => base,
    };
    let mut options = top;
    let mut free_threading = options.free_threading;
    let (mut switch_interval, mut own_switch_interval) = (options.switch_interval, None);
    for block in blocks {
        if let Some(path) = &block.options.python_path {
            let known = std::mem::take(&mut python_path);
            python_path = path.to_vec();
            python_path.extend(known);
        }
        if block.application_group.is_none() {
            free_threading = block.options.free_threading.or(free_threading);
        }
        if let Some(interval) = block.options.switch_interval {
            match block.application_group {
                Some(_) => own_switch_interval = Some(interval),
                None => (switch_interval, own_switch_interval) = (Some(interval), None),
            }
        }
        options = block.options.merged_over(&options);
    }
    Interpreter {
        python_path,
        switch_interval,
        own_switch_interval,
        own_gil: options.own_gil.unwrap_or(false),
        free_threading: free_threading.unwrap_or(false),
        restrict_stdin: options.restrict_stdin.unwrap_or(false),
        restrict_stdout: options.restrict_stdout.unwrap_or(false),
        restrict_signal: options.restrict_signal.unwrap_or(true),
    }
}

#[cfg(test)]
mod tests {
    use super::super::expand::tests::Facts;
    use super::super::testing::TestConfiguration;
    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_request_nobody_says_anything_about_gets_the_defaults() {
        let (dir, server, facts) = Default::default();
        let facts: Facts = facts;
        let settings = Settings::resolve(&dir, &server, Overrides::default(), &facts);
        assert_eq!(text(&settings.process_group), "");
        assert_eq!(
            text(&settings.application_group),
            "shop.example.com:8080|/App/x"
        );
        assert_eq!(text(&settings.callable_object), "application");
        assert!(settings.script_reloading && settings.chunked_request);
        assert!(!settings.pass_authorization && !settings.error_override);
        assert_eq!(settings.map_head_to_get, MapHead::Auto);
        assert!(settings.trusted_proxy_headers.is_empty() && settings.trusted_proxies.is_none());
        assert!(settings.process_group_allowed());
    }

    #[test]
    fn alias_directory_and_server_win_in_that_order() {
        let configuration = TestConfiguration::of(
            "WSGIProcessGroup server
            WSGIApplicationGroup server
            WSGICallableObject server
            WSGIPassAuthorization On
            WSGIScriptReloading Off
            WSGIMapHEADToGET On
            WSGIScriptAlias / /a process-group=%{SERVER} callable-object=%{ENV:X}
            WSGIScriptAlias /b /b pass-authorization=Off
            <Directory /srv>
            WSGIProcessGroup directory
            WSGIApplicationGroup %{ENV:APP}
            WSGIScriptReloading On
            </Directory>",
        );
        let facts = Facts {
            env: vec![(b"APP", b"blue")],
            ..Facts::default()
        };
        let (server, dir) = (&configuration.main, &configuration.directories[0].1);
        let none = Overrides::default();
        let outside = DirectoryConfig::default();

        let settings = Settings::resolve(&outside, server, none, &facts);
        assert_eq!(text(&settings.process_group), "server");
        assert_eq!(text(&settings.application_group), "server");
        assert_eq!(text(&settings.callable_object), "server");
        assert!(settings.pass_authorization && !settings.script_reloading);
        assert_eq!(settings.map_head_to_get, MapHead::On);

        let settings = Settings::resolve(dir, server, none, &facts);
        assert_eq!(text(&settings.process_group), "directory");
        assert_eq!(text(&settings.application_group), "blue");
        assert_eq!(text(&settings.callable_object), "server");
        assert!(settings.pass_authorization && settings.script_reloading);

        let alias = &server.aliases[0].options;
        let settings = Settings::resolve(dir, server, alias.into(), &facts);
        assert_eq!(text(&settings.process_group), "shop.example.com:8080");
        assert_eq!(text(&settings.application_group), "blue");
        // The option of an alias is taken literally.
        assert_eq!(text(&settings.callable_object), "%{ENV:X}");

        let alias = &server.aliases[1].options;
        assert!(!Settings::resolve(dir, server, alias.into(), &facts).pass_authorization);
    }

    #[test]
    fn requests_are_kept_to_the_groups_that_are_allowed() {
        let configuration = TestConfiguration::of(
            "<Directory /a>
            WSGIRestrictProcess Shop %{GLOBAL}
            </Directory>
            <Directory /b>
            WSGIRestrictProcess x
            WSGIRestrictProcess blog
            </Directory>",
        );
        let (server, facts) = (ServerConfig::default(), Facts::default());
        for (directory, group, allowed) in [
            (0, "shop", true),
            (0, "", true),
            (0, "blog", false),
            (1, "blog", true),
            (1, "x", false),
            (1, "", false),
        ] {
            let dir = &configuration.directories[directory].1;
            let mut settings = Settings::resolve(dir, &server, Overrides::default(), &facts);
            settings.process_group = Cow::Borrowed(group.as_bytes());
            assert_eq!(
                settings.process_group_allowed(),
                allowed,
                "{directory} {group}"
            );
        }
    }

    #[test]
    fn handler_scripts_are_found_in_the_directory_and_then_the_server() {
        let configuration = TestConfiguration::of(
            "WSGIHandlerScript bobo /srv/outer.py process-group=shop
            WSGIHandlerScript other /srv/other.py
            <Directory /srv>
            WSGIHandlerScript bobo /srv/inner.py pass-authorization=On
            </Directory>",
        );
        let (server, dir) = (&configuration.main, &configuration.directories[0].1);
        let path = |name: &str| text(&handler_script(dir, server, name.as_bytes()).unwrap().path);
        assert_eq!(
            (path("bobo"), path("other")),
            ("/srv/inner.py", "/srv/other.py")
        );
        assert!(handler_script(dir, server, b"none").is_none());

        let facts = Facts::default();
        let script = handler_script(dir, server, b"bobo").unwrap();
        let settings = Settings::resolve(dir, server, script.into(), &facts);
        assert_eq!(text(&settings.callable_object), "handle_request");
        assert!(settings.pass_authorization);
    }

    #[test]
    fn the_more_specific_section_wins_and_of_equals_the_later() {
        let configuration = TestConfiguration::of(
            "WSGIRestrictSignal Off
            WSGIPythonPath /top
            <WSGIInterpreterOptions process-group=shop application-group=%{GLOBAL}>
            WSGIRestrictStdout On
            WSGIPythonPath /both
            WSGIFreeThreading On
            </WSGIInterpreterOptions>
            <WSGIInterpreterOptions process-group=shop>
            WSGIRestrictStdout Off
            WSGIRestrictStdin On
            WSGIPythonPath /group:/group2
            </WSGIInterpreterOptions>
            <WSGIInterpreterOptions process-group=shop>
            WSGIRestrictStdin Off
            </WSGIInterpreterOptions>
            <WSGIInterpreterOptions>
            WSGIPerInterpreterGIL On
            WSGISwitchInterval 0.5
            </WSGIInterpreterOptions>
            <WSGIInterpreterOptions PROCESS-GROUP=%{GLOBAL}>
            WSGIRestrictStdin On
            </WSGIInterpreterOptions>",
        );
        let global = &configuration.main.global;
        let base = || vec![b"/base".to_vec()];
        let paths = |of: &Interpreter| of.python_path.iter().map(|p| text(p).to_owned()).collect();
        let (main, all): (Vec<String>, Vec<String>);

        let both = interpreter(global, b"shop", Some(b""), base());
        main = paths(&both);
        assert_eq!(main, ["/both", "/group", "/group2", "/base"]);
        assert!(both.restrict_stdout && !both.restrict_stdin && !both.restrict_signal);
        assert!(both.own_gil && !both.free_threading);
        assert_eq!(both.switch_interval, Some(Duration::from_millis(500)));

        let process = interpreter(global, b"shop", None, base());
        all = paths(&process);
        assert_eq!(all, ["/group", "/group2", "/base"]);
        assert!(!process.restrict_stdout);

        let embedded = interpreter(global, b"", Some(b""), Vec::new());
        assert_eq!(embedded.python_path, [b"/top".to_vec()]);
        let embedded = interpreter(global, b"", Some(b""), base());
        assert_eq!(embedded.python_path, [b"/base".to_vec()]);
        assert!(embedded.restrict_stdin);
    }

    #[test]
    fn what_the_server_does_not_say_has_a_default() {
        let globals = Globals::of(&GlobalConfig::default());
        assert!(!globals.restrict_embedded && globals.destroy_interpreter);
        assert!(globals.case_sensitive && globals.python_hash_seed.is_none());
        let configuration = TestConfiguration::of(
            "WSGIRestrictEmbedded On
            WSGISlowRequests 0
            WSGIPythonHashSeed random
            WSGISocketPrefix run/wsgi
            WSGIPythonWarnings ignore
            WSGIPythonWarnings error::DeprecationWarning",
        );
        let globals = Globals::of(&configuration.main.global);
        assert!(globals.restrict_embedded && globals.slow_requests.is_none());
        assert_eq!(globals.python_hash_seed, Some(HashSeed::Random));
        assert_eq!(globals.socket_prefix.unwrap(), b"/etc/apache2/run/wsgi");
        assert_eq!(globals.python_warnings.len(), 2);
    }
}
