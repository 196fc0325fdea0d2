//! The configuration as resolved: what holds for a request, a server, an interpreter. No code
//! below asks whether something was said.
//!
//! Runs in: Apache children, for every request ([`Settings`]); the Apache parent ([`Globals`],
//! [`interpreter`]).
//!
//! For a request: what its alias (or handler script) says, else its directory, else its server,
//! else the default.

use std::borrow::Cow;
use std::time::Duration;

use super::alias::AliasOptions;
use super::expand::{resource, RequestFacts, Template, DEFAULT_CALLABLE};
use super::given::{
    DirGiven, GivenScript, GlobalGiven, HandlerScript, HashSeed, InterpreterBlock,
    InterpreterGiven, MapHead, ServerGiven,
};
use super::proxies::{ProxyHeader, Subnet};

/// What the alias or the handler script that took a request says about it.
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

/// What holds for one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings<'a> {
    /// Process group; empty is embedded mode.
    pub process_group: Cow<'a, [u8]>,
    /// Application group; empty is the main interpreter.
    pub application_group: Cow<'a, [u8]>,
    /// Name of the callable in the script.
    pub callable_object: Cow<'a, [u8]>,
    pub pass_authorization: bool,
    pub script_reloading: bool,
    pub chunked_request: bool,
    pub map_head_to_get: MapHead,
    pub error_override: bool,
    pub enable_sendfile: bool,
    pub ignore_activity: bool,
    pub pass_apache_request: bool,
    /// Process groups the request may go to, besides [`Settings::process_group_allowed`]; `None`
    /// allows all.
    pub restrict_process: Option<&'a [Vec<u8>]>,
    /// Headers of proxies that are believed; empty leaves all headers as they are.
    pub trusted_proxy_headers: &'a [ProxyHeader],
    /// Who is a proxy; `None` believes everybody.
    pub trusted_proxies: Option<&'a [Subnet]>,
    /// Script that may choose the groups anew.
    pub dispatch_script: Option<&'a GivenScript>,
}

impl<'a> Settings<'a> {
    /// Resolves what holds for a request. `dir` is what httpd merged for its directory, `server`
    /// its (merged) server's record.
    pub fn resolve(
        dir: &'a DirGiven,
        server: &'a ServerGiven,
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
        let flag =
            |of: fn(&DirGiven) -> Option<bool>, default| of(dir).or(of(outer)).unwrap_or(default);
        Settings {
            process_group: process.map_or(Cow::Borrowed(b""), |group| group.expand(facts)),
            application_group: match application {
                Some(group) => group.expand(facts),
                None => Cow::Owned(resource(facts)),
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
            enable_sendfile: flag(|given| given.enable_sendfile, false),
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

    /// Whether `WSGIRestrictProcess` lets the request go to its process group. To be asked last,
    /// after a dispatch script has had its say.
    pub fn process_group_allowed(&self) -> bool {
        self.restrict_process.is_none_or(|allowed| {
            allowed
                .iter()
                .any(|name| name.eq_ignore_ascii_case(&self.process_group))
        })
    }
}

fn either<'a, T>(
    dir: &'a DirGiven,
    outer: &'a DirGiven,
    field: fn(&'a DirGiven) -> &'a Option<T>,
) -> Option<&'a T> {
    field(dir).as_ref().or(field(outer).as_ref())
}

/// The script that handles requests for the handler `name`, if one is defined for this place.
pub fn handler_script<'a>(
    dir: &'a DirGiven,
    server: &'a ServerGiven,
    name: &[u8],
) -> Option<&'a HandlerScript> {
    let of = |given: &'a DirGiven| given.handler_scripts.as_ref()?.get(name);
    of(dir).or_else(|| of(&server.directory))
}

/// What holds for the whole server.
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
    /// `None` is random.
    pub python_hash_seed: Option<u32>,
    pub python_warnings: Vec<Vec<u8>>,
    pub dont_write_bytecode: bool,
    pub case_sensitive: bool,
    pub server_metrics: bool,
    /// Time after which a request is slow; `None` reports none.
    pub slow_requests: Option<Duration>,
    pub capture_user_agent: bool,
}

impl Globals {
    /// Resolves what the main server said.
    pub fn of(given: &GlobalGiven) -> Globals {
        Globals {
            restrict_embedded: given.restrict_embedded.unwrap_or(false),
            socket_prefix: given.socket_prefix.as_deref().map(<[u8]>::to_vec),
            destroy_interpreter: given.destroy_interpreter.unwrap_or(true),
            python_home: given.python_home.as_deref().map(<[u8]>::to_vec),
            python_eggs: given.python_eggs.as_deref().map(<[u8]>::to_vec),
            python_optimize: given.python_optimize.unwrap_or(0),
            python_hash_seed: match given.python_hash_seed {
                Some(HashSeed::Fixed(seed)) => Some(seed),
                Some(HashSeed::Random) | None => None,
            },
            python_warnings: given.python_warnings.clone(),
            dont_write_bytecode: given.dont_write_bytecode.unwrap_or(false),
            case_sensitive: given.case_sensitivity.unwrap_or(true),
            server_metrics: given.server_metrics.unwrap_or(false),
            slow_requests: given.slow_requests.filter(|limit| !limit.is_zero()),
            capture_user_agent: given.capture_user_agent.unwrap_or(false),
        }
    }
}

/// What holds for one interpreter.
#[derive(Clone, Debug, PartialEq)]
pub struct Interpreter {
    /// Directories to put in front of `sys.path`, in order.
    pub python_path: Vec<Vec<u8>>,
    /// `None` is Python's own.
    pub switch_interval: Option<Duration>,
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
/// interpreter, and `None` asks for what holds in the process whatever the interpreter. `base` is
/// the search path that the process group has of its own; for embedded mode, whose base is the
/// top-level `WSGIPythonPath`, it is not looked at.
pub fn interpreter(
    given: &GlobalGiven,
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
    // At top level the search path and the switch interval are for embedded mode alone.
    let top = InterpreterGiven {
        python_path: None,
        switch_interval: given.interpreter.switch_interval.filter(|_| embedded),
        ..given.interpreter.clone()
    };
    let mut python_path = match (&given.interpreter.python_path, embedded) {
        (Some(path), true) => path.to_vec(),
        (None, true) => Vec::new(),
        (_, false) => base,
    };
    let mut said = top;
    let mut free_threading = said.free_threading;
    for block in blocks {
        if let Some(path) = &block.options.python_path {
            let known = std::mem::take(&mut python_path);
            python_path = path.to_vec();
            python_path.extend(known);
        }
        if block.application_group.is_none() {
            free_threading = block.options.free_threading.or(free_threading);
        }
        said = block.options.merged_over(&said);
    }
    Interpreter {
        python_path,
        switch_interval: said.switch_interval,
        own_gil: said.own_gil.unwrap_or(false),
        free_threading: free_threading.unwrap_or(false),
        restrict_stdin: said.restrict_stdin.unwrap_or(false),
        restrict_stdout: said.restrict_stdout.unwrap_or(false),
        restrict_signal: said.restrict_signal.unwrap_or(true),
    }
}
