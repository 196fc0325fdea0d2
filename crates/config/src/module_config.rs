//! The module's per-server and per-directory configuration, as httpd calls the two: what the
//! administrator wrote, and `None` where nothing was written.
//!
//! Runs in: the Apache parent, which reads and merges the configuration; Apache children, because
//! httpd merges per-directory configurations for every request. So text and lists are shared, not
//! copied: a merge costs only reference counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::alias::ScriptAlias;
use super::expand::Template;
use super::place::Place;
use super::proxies::{ProxyHeader, Subnet};
use super::words::Text;

/// When a HEAD request is shown to the application as GET (`WSGIMapHEADToGET`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapHead {
    /// Never.
    Off,
    /// Always.
    On,
    /// When an output filter wants to see the body.
    Auto,
}

/// A script with the group and the interpreter it runs in, for access control and dispatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptConfig {
    /// The file.
    pub path: Text,
    /// `process-group=`, else the server's own group: the empty name.
    pub process_group: Text,
    /// It was given in an `.htaccess`, by somebody who may not choose just any group.
    pub in_htaccess: bool,
    /// `application-group=`, expanded with [`Template::expand_for_script`].
    pub application_group: Option<Template>,
}

/// A `WSGIHandlerScript`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerScript {
    /// The file.
    pub path: Text,
    /// `process-group=`
    pub process_group: Option<Template>,
    /// `application-group=`
    pub application_group: Option<Template>,
    /// `pass-authorization=`
    pub pass_authorization: Option<bool>,
}

/// Per-directory configuration: of a directory section, a `.htaccess` file or a whole server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DirectoryConfig {
    /// `WSGIProcessGroup`
    pub process_group: Option<Template>,
    /// `WSGIApplicationGroup`
    pub application_group: Option<Template>,
    /// `WSGICallableObject`
    pub callable_object: Option<Template>,
    /// `WSGIDispatchScript`
    pub dispatch_script: Option<Arc<ScriptConfig>>,
    /// `WSGIHandlerScript`, by handler name.
    pub handler_scripts: Option<Arc<BTreeMap<Vec<u8>, HandlerScript>>>,
    /// `WSGIScriptReloading`
    pub script_reloading: Option<bool>,
    /// `WSGIPassAuthorization`
    pub pass_authorization: Option<bool>,
    /// `WSGIChunkedRequest`
    pub chunked_request: Option<bool>,
    /// `WSGIMapHEADToGET`
    pub map_head_to_get: Option<MapHead>,
    /// `WSGIErrorOverride`
    pub error_override: Option<bool>,
    /// `WSGILocalRedirect`
    pub local_redirect: Option<bool>,
    /// `WSGIEnableSendfile`
    pub enable_sendfile: Option<bool>,
    /// `WSGIEventletCompat`
    pub eventlet_compat: Option<bool>,
    /// `WSGIIgnoreActivity`
    pub ignore_activity: Option<bool>,
    /// `WSGIPassApacheRequest`
    pub pass_apache_request: Option<bool>,
    /// `WSGITrustedProxyHeaders`, in the order given.
    pub trusted_proxy_headers: Option<Arc<Vec<ProxyHeader>>>,
    /// `WSGITrustedProxies`
    pub trusted_proxies: Option<Arc<Vec<Subnet>>>,
    /// `WSGIRestrictProcess`; an empty name is embedded mode.
    pub restrict_process: Option<Arc<Vec<Vec<u8>>>>,
    /// `WSGIAccessScript`
    pub access_script: Option<Arc<ScriptConfig>>,
    /// `WSGIAuthUserScript`
    pub auth_user_script: Option<Arc<ScriptConfig>>,
    /// `WSGIAuthGroupScript`
    pub auth_group_script: Option<Arc<ScriptConfig>>,
    /// `WSGIGroupAuthoritative`
    pub group_authoritative: Option<bool>,
}

impl DirectoryConfig {
    /// This record laid over `outer`: the inner section wins wherever it said something. Lists
    /// replace lists; only handler scripts are overlaid name by name.
    pub fn merged_over(&self, outer: &DirectoryConfig) -> DirectoryConfig {
        DirectoryConfig {
            process_group: inner_or(&self.process_group, &outer.process_group),
            application_group: inner_or(&self.application_group, &outer.application_group),
            callable_object: inner_or(&self.callable_object, &outer.callable_object),
            dispatch_script: inner_or(&self.dispatch_script, &outer.dispatch_script),
            handler_scripts: overlaid(&self.handler_scripts, &outer.handler_scripts),
            script_reloading: self.script_reloading.or(outer.script_reloading),
            pass_authorization: self.pass_authorization.or(outer.pass_authorization),
            chunked_request: self.chunked_request.or(outer.chunked_request),
            map_head_to_get: self.map_head_to_get.or(outer.map_head_to_get),
            error_override: self.error_override.or(outer.error_override),
            local_redirect: self.local_redirect.or(outer.local_redirect),
            enable_sendfile: self.enable_sendfile.or(outer.enable_sendfile),
            eventlet_compat: self.eventlet_compat.or(outer.eventlet_compat),
            ignore_activity: self.ignore_activity.or(outer.ignore_activity),
            pass_apache_request: self.pass_apache_request.or(outer.pass_apache_request),
            trusted_proxy_headers: inner_or(
                &self.trusted_proxy_headers,
                &outer.trusted_proxy_headers,
            ),
            trusted_proxies: inner_or(&self.trusted_proxies, &outer.trusted_proxies),
            restrict_process: inner_or(&self.restrict_process, &outer.restrict_process),
            access_script: inner_or(&self.access_script, &outer.access_script),
            auth_user_script: inner_or(&self.auth_user_script, &outer.auth_user_script),
            auth_group_script: inner_or(&self.auth_group_script, &outer.auth_group_script),
            group_authoritative: self.group_authoritative.or(outer.group_authoritative),
        }
    }
}

fn inner_or<T: Clone>(inner: &Option<T>, outer: &Option<T>) -> Option<T> {
    inner.as_ref().or(outer.as_ref()).cloned()
}

fn overlaid<T: Clone>(
    inner: &Option<Arc<BTreeMap<Vec<u8>, T>>>,
    outer: &Option<Arc<BTreeMap<Vec<u8>, T>>>,
) -> Option<Arc<BTreeMap<Vec<u8>, T>>> {
    match (inner, outer) {
        (Some(inner), Some(outer)) => {
            let mut both = BTreeMap::clone(outer);
            both.extend(
                inner
                    .iter()
                    .map(|(name, script)| (name.clone(), script.clone())),
            );
            Some(Arc::new(both))
        }
        _ => inner_or(inner, outer),
    }
}

/// How Python's string hashes are seeded (`WSGIPythonHashSeed`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashSeed {
    /// A new seed for each process.
    Random,
    /// This seed.
    Fixed(u32),
}

/// `WSGITelemetryService`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryService {
    /// Path of the datagram socket.
    pub socket: Vec<u8>,
    /// Time between reports.
    pub interval: Duration,
}

/// Settings of an interpreter: given at top level, or in a `<WSGIInterpreterOptions>` section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InterpreterConfig {
    /// `WSGIPythonPath`, split at colons.
    pub python_path: Option<Arc<Vec<Vec<u8>>>>,
    /// `WSGISwitchInterval`
    pub switch_interval: Option<Duration>,
    /// `WSGIPerInterpreterGIL`
    pub own_gil: Option<bool>,
    /// `WSGIFreeThreading`
    pub free_threading: Option<bool>,
    /// `WSGIRestrictStdin`
    pub restrict_stdin: Option<bool>,
    /// `WSGIRestrictStdout`
    pub restrict_stdout: Option<bool>,
    /// `WSGIRestrictSignal`
    pub restrict_signal: Option<bool>,
}

impl InterpreterConfig {
    /// This record laid over `outer`.
    pub fn merged_over(&self, outer: &InterpreterConfig) -> InterpreterConfig {
        InterpreterConfig {
            python_path: inner_or(&self.python_path, &outer.python_path),
            switch_interval: self.switch_interval.or(outer.switch_interval),
            own_gil: self.own_gil.or(outer.own_gil),
            free_threading: self.free_threading.or(outer.free_threading),
            restrict_stdin: self.restrict_stdin.or(outer.restrict_stdin),
            restrict_stdout: self.restrict_stdout.or(outer.restrict_stdout),
            restrict_signal: self.restrict_signal.or(outer.restrict_signal),
        }
    }
}

/// One `<WSGIInterpreterOptions>` section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InterpreterBlock {
    /// Only in this process group; an empty name is embedded mode.
    pub process_group: Option<Vec<u8>>,
    /// Only in this application group; an empty name is the main interpreter.
    pub application_group: Option<Vec<u8>>,
    /// What the section says.
    pub options: InterpreterConfig,
}

/// Per-server configuration: of the main server or a `<VirtualHost>`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerConfig {
    /// Directory-level directives written outside of any directory section.
    pub directory: DirectoryConfig,
    /// `WSGIScriptAlias` and `WSGIScriptAliasMatch`, in order. Shared: httpd merges per server.
    pub aliases: Vec<Arc<ScriptAlias>>,
    /// Configuration of the main server alone.
    pub global: GlobalConfig,
}

/// Configuration of the main server alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GlobalConfig {
    /// `WSGIRestrictEmbedded`
    pub restrict_embedded: Option<bool>,
    /// `WSGISocketPrefix`, absolute.
    pub socket_prefix: Option<Text>,
    /// `WSGISocketRotation`
    pub socket_rotation: Option<bool>,
    /// `WSGIDestroyInterpreter`
    pub destroy_interpreter: Option<bool>,
    /// `WSGIPythonHome`
    pub python_home: Option<Text>,
    /// `WSGIPythonEggs`
    pub python_eggs: Option<Text>,
    /// `WSGIPythonOptimize`
    pub python_optimize: Option<u32>,
    /// `WSGIPythonHashSeed`
    pub python_hash_seed: Option<HashSeed>,
    /// `WSGIPythonWarnings`, in order.
    pub python_warnings: Vec<Vec<u8>>,
    /// `WSGIDontWriteBytecode`
    pub dont_write_bytecode: Option<bool>,
    /// `WSGICaseSensitivity`
    pub case_sensitivity: Option<bool>,
    /// `WSGIServerMetrics`
    pub server_metrics: Option<bool>,
    /// `WSGITelemetryService`
    pub telemetry_service: Option<Arc<TelemetryService>>,
    /// `WSGISlowRequests`; zero reports nothing.
    pub slow_requests: Option<Duration>,
    /// `WSGITelemetryOptions`: the flag `CaptureUserAgent`.
    pub capture_user_agent: Option<bool>,
    /// Interpreter settings at top level.
    pub interpreter: InterpreterConfig,
    /// `<WSGIInterpreterOptions>` sections, in order.
    pub blocks: Vec<InterpreterBlock>,
    /// Whether the last of `blocks` is still being read: its children belong to it. See
    /// [`GlobalConfig::close_block`].
    pub block_is_open: bool,
}

impl GlobalConfig {
    /// Where an interpreter setting belongs at this point of the file.
    pub fn interpreter_target(&mut self) -> &mut InterpreterConfig {
        match self.blocks.last_mut() {
            Some(block) if self.block_is_open => &mut block.options,
            _ => &mut self.interpreter,
        }
    }

    /// The section that is being read.
    pub fn open_block(&self) -> Option<&InterpreterBlock> {
        self.blocks.last().filter(|_| self.block_is_open)
    }

    /// Ends the section that the last `<WSGIInterpreterOptions>` opened. The caller calls it when
    /// it has walked the children, also when one of them failed.
    pub fn close_block(&mut self) {
        self.block_is_open = false;
    }

    fn merged_over(&self, outer: &GlobalConfig) -> GlobalConfig {
        // Only the main server can have said anything; a virtual host just reads it there.
        GlobalConfig {
            restrict_embedded: self.restrict_embedded.or(outer.restrict_embedded),
            socket_prefix: inner_or(&self.socket_prefix, &outer.socket_prefix),
            socket_rotation: self.socket_rotation.or(outer.socket_rotation),
            destroy_interpreter: self.destroy_interpreter.or(outer.destroy_interpreter),
            python_home: inner_or(&self.python_home, &outer.python_home),
            python_eggs: inner_or(&self.python_eggs, &outer.python_eggs),
            python_optimize: self.python_optimize.or(outer.python_optimize),
            python_hash_seed: self.python_hash_seed.or(outer.python_hash_seed),
            python_warnings: outer.python_warnings.clone(),
            dont_write_bytecode: self.dont_write_bytecode.or(outer.dont_write_bytecode),
            case_sensitivity: self.case_sensitivity.or(outer.case_sensitivity),
            server_metrics: self.server_metrics.or(outer.server_metrics),
            telemetry_service: inner_or(&self.telemetry_service, &outer.telemetry_service),
            slow_requests: self.slow_requests.or(outer.slow_requests),
            capture_user_agent: self.capture_user_agent.or(outer.capture_user_agent),
            interpreter: self.interpreter.merged_over(&outer.interpreter),
            blocks: outer.blocks.clone(),
            block_is_open: false,
        }
    }
}

impl ServerConfig {
    /// This virtual host laid over the main server `outer`. Its aliases are tried before the
    /// main server's.
    pub fn merged_over(&self, outer: &ServerConfig) -> ServerConfig {
        ServerConfig {
            directory: self.directory.merged_over(&outer.directory),
            aliases: self.aliases.iter().chain(&outer.aliases).cloned().collect(),
            global: self.global.merged_over(&outer.global),
        }
    }
}

/// A script that a process loads when it starts (`WSGIImportScript`, or an alias whose groups
/// are both fixed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preload {
    /// The directive it comes from.
    pub directive: &'static str,
    /// The file.
    pub path: Vec<u8>,
    /// The process group; empty for embedded mode.
    pub process_group: Vec<u8>,
    /// The application group; empty for the main interpreter.
    pub application_group: Vec<u8>,
    /// Where it was said.
    pub place: Place,
}

#[cfg(test)]
mod tests {
    use super::super::testing::TestConfiguration;
    use super::*;

    /// A section in which everything is said, with values that `which` tells apart.
    fn full(which: bool) -> DirectoryConfig {
        let flag = if which { "On" } else { "Off" };
        let name = if which { "one" } else { "two" };
        let text = format!(
            "<Directory /srv>
            WSGIProcessGroup {name}
            WSGIApplicationGroup {name}
            WSGICallableObject {name}
            WSGIDispatchScript /{name}
            WSGIHandlerScript {name} /{name}
            WSGIHandlerScript both /{name}
            WSGIScriptReloading {flag}
            WSGIPassAuthorization {flag}
            WSGIChunkedRequest {flag}
            WSGIMapHEADToGET {flag}
            WSGIErrorOverride {flag}
            WSGIEnableSendfile {flag}
            WSGIIgnoreActivity {flag}
            WSGIPassApacheRequest {flag}
            WSGITrustedProxyHeaders X-{name}
            WSGITrustedProxies 10.0.0.{}
            WSGIRestrictProcess {name}
            WSGIAccessScript /{name}
            WSGIAuthUserScript /{name}
            WSGIAuthGroupScript /{name}
            WSGIGroupAuthoritative {flag}
            </Directory>",
            name.len() + usize::from(which),
        );
        TestConfiguration::of(&text).directories.remove(0).1
    }

    #[test]
    fn an_inner_section_wins_in_everything_it_says() {
        let (inner, outer) = (full(true), full(false));
        let mut merged = inner.merged_over(&outer);
        let scripts = merged.handler_scripts.take().unwrap();
        // Handler scripts alone are overlaid by name.
        for (name, path) in [("one", "/one"), ("two", "/two"), ("both", "/one")] {
            assert_eq!(
                scripts[name.as_bytes()].path[..],
                *path.as_bytes(),
                "{name}"
            );
        }
        assert_eq!(scripts.len(), 3);
        assert_eq!(
            merged,
            DirectoryConfig {
                handler_scripts: None,
                ..inner
            }
        );
    }

    #[test]
    fn an_inner_section_that_says_nothing_changes_nothing() {
        let outer = full(true);
        assert_eq!(DirectoryConfig::default().merged_over(&outer), outer);
        assert_eq!(outer.merged_over(&DirectoryConfig::default()), outer);
    }

    #[test]
    fn lists_grow_within_a_section_and_replace_those_outside() {
        let configuration = TestConfiguration::of(
            "WSGITrustedProxies 10.0.0.0/8
            WSGITrustedProxies ::1
            WSGITrustedProxyHeaders X-Real-IP
            WSGITrustedProxyHeaders X-Forwarded-For X-Forwarded-Proto
            <Directory /srv>
            WSGITrustedProxies 192.0.2.1
            </Directory>",
        );
        let outer = &configuration.main.directory;
        assert_eq!(outer.trusted_proxies.as_ref().unwrap().len(), 2);
        assert_eq!(outer.trusted_proxy_headers.as_ref().unwrap().len(), 3);
        let merged = configuration.directories[0].1.merged_over(outer);
        assert_eq!(merged.trusted_proxies.unwrap().len(), 1);
        assert_eq!(merged.trusted_proxy_headers.unwrap().len(), 3);
    }

    #[test]
    fn a_virtual_host_inherits_from_the_main_server_and_its_aliases_come_first() {
        let configuration = TestConfiguration::of(
            "WSGIScriptAlias / /main.wsgi
            WSGIPassAuthorization On
            WSGIProcessGroup main
            WSGIPythonHome /srv/venv
            WSGIRestrictStdout On
            WSGIPythonWarnings ignore
            <WSGIInterpreterOptions>
            WSGIRestrictStdin On
            </WSGIInterpreterOptions>
            <VirtualHost shop.example.com *>
            WSGIScriptAlias /shop /shop.wsgi
            WSGIProcessGroup shop
            </VirtualHost>",
        );
        let merged = configuration.hosts[0]
            .config
            .merged_over(&configuration.main);
        let targets: Vec<_> = merged
            .aliases
            .iter()
            .map(|alias| &alias.target[..])
            .collect();
        assert_eq!(targets, [&b"/shop.wsgi"[..], b"/main.wsgi"]);
        assert_eq!(merged.directory.pass_authorization, Some(true));
        assert_eq!(merged.directory.process_group.unwrap().text(), &b"shop"[..]);
        // What only the main server can say is the same everywhere.
        assert_eq!(merged.global, configuration.main.global);
    }

    #[test]
    fn a_section_for_interpreters_ends_where_it_is_closed() {
        let configuration = TestConfiguration::of(
            "<WSGIInterpreterOptions process-group=shop>
            WSGIRestrictStdout On
            </WSGIInterpreterOptions>
            WSGIRestrictStdin On",
        );
        let global = configuration.main.global;
        assert_eq!(
            global.blocks[0].process_group.as_deref(),
            Some(&b"shop"[..])
        );
        assert_eq!(global.blocks[0].options.restrict_stdout, Some(true));
        assert_eq!(global.blocks[0].options.restrict_stdin, None);
        assert_eq!(global.interpreter.restrict_stdout, None);
        assert_eq!(global.interpreter.restrict_stdin, Some(true));
    }
}
