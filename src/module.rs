//! The module as httpd sees it: its directives, its hooks, and which role answers each of them.
//!
//! Runs in: the Apache parent (configuration, start) and its children (requests), on whatever
//! thread httpd calls. This only connects [`config`] and the roles to the hooks.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::ffi::CStr;

use crate::child;
use crate::child::active_configuration::{self, ActiveConfiguration, GroupEndpoint};
use crate::child::connect::connection_pool::ConnectionPool;
use crate::parent;
use crate::parent::system::Machine;
use config::alias::Location;
use config::words::Text;
use config::{self, DirectoryConfig, Globals, Place, ServerConfig, VirtualHost};
use httpd::authentication::{Authentication, Authorization, RealmHash};
use httpd::directives::{Position, Scope, Spec, Target};
use httpd::hooks::{ConfigurationRefused, Configured, HookStatus, Module, StatusPage};
use httpd::pool::Pool;
use httpd::regex::Regex;
use httpd::request::Request;
use httpd::server::Server;

/// The module.
pub struct Wsgi;

/// The result of one reading of the configuration.
#[derive(Default)]
pub struct Reading {
    /// Collected by the directives.
    directives: config::Reading,
    /// Computed by the check.
    resolved: config::ResolvedGroups,
}

const DIRECTIVES: [Spec; config::DIRECTIVES.len()] = {
    let mut specs = [Spec {
        name: "",
        help: "",
        scope: Scope::Global,
    }; config::DIRECTIVES.len()];
    let mut at = 0;
    while at < specs.len() {
        let row = &config::DIRECTIVES[at];
        let scope = match row.scope {
            config::Scope::Global => Scope::Global,
            config::Scope::Server => Scope::Server,
            config::Scope::Directory => Scope::Directory,
            config::Scope::FileInfo => Scope::FileInfo,
            config::Scope::AuthConfig => Scope::AuthConfig,
        };
        specs[at] = Spec {
            name: row.name,
            help: row.help,
            scope,
        };
        at += 1;
    }
    specs
};

impl Module for Wsgi {
    type Server = ServerConfig;
    type Dir = DirectoryConfig;
    type Reading = Reading;
    type ActiveConfiguration = ActiveConfiguration;

    const DIRECTIVES: &'static [Spec] = &DIRECTIVES;
    // `Alias` wins over `WSGIScriptAlias`, whatever their order in the file.
    const TRANSLATES_AFTER: &'static [&'static CStr] = &[c"mod_alias.c"];
    const TRANSLATES_BEFORE: &'static [&'static CStr] = &[c"mod_userdir.c", c"mod_vhost_alias.c"];

    const CHECKS_ACCESS_AFTER: &'static [&'static CStr] = &[c"mod_ssl.c"];
    const CHECKS_ACCESS_BEFORE: &'static [&'static CStr] = &[c"mod_authz_host.c"];

    fn read(
        index: usize,
        target: Target<'_, Self>,
        reading: &mut Reading,
        args: &[u8],
        at: &Position<'_>,
    ) -> Result<(), String> {
        let target = match target {
            Target::Server(server) => config::Target::Server(server),
            Target::Directory(dir) => config::Target::Directory(dir),
        };
        let directive = &config::DIRECTIVES[index];
        let machine = Machine::new(at.pool);
        config::apply(
            directive,
            target,
            args,
            &place(at),
            &machine,
            &mut reading.directives,
        )
        .map_err(|invalid| invalid.to_string())
    }

    fn close(
        _index: usize,
        target: Target<'_, Self>,
        _reading: &mut Reading,
        _args: &[u8],
        _at: &Position<'_>,
    ) -> Result<(), String> {
        // There is one kind of section.
        if let Target::Server(server) = target {
            server.global.close_block();
        }
        Ok(())
    }

    fn merge_servers(outer: &ServerConfig, inner: &ServerConfig) -> ServerConfig {
        inner.merged_over(outer)
    }

    fn merge_dirs(outer: &DirectoryConfig, inner: &DirectoryConfig) -> DirectoryConfig {
        inner.merged_over(outer)
    }

    fn check(
        configured: &Configured<'_>,
        reading: &mut Reading,
    ) -> Result<(), ConfigurationRefused> {
        let main = configured
            .main
            .given::<Self>()
            .ok_or(ConfigurationRefused)?;
        reading.resolved = parent::check(configured, &reading.directives, main)?;
        Ok(())
    }

    fn start(
        configured: &Configured<'_>,
        reading: &mut Reading,
    ) -> Result<(), ConfigurationRefused> {
        if !parent::is_to_serve() {
            return Ok(());
        }
        let main = configured
            .main
            .given::<Self>()
            .ok_or(ConfigurationRefused)?;
        parent::warn(configured, &reading.directives, &reading.resolved);
        let config::ResolvedGroups { groups, .. } = std::mem::take(&mut reading.resolved);
        let started = parent::start(configured, groups.all(), main)?;
        let share_of_descriptors = active_configuration::share_of_descriptors();
        let pool = ConnectionPool::new(share_of_descriptors);
        let endpoints = started
            .addresses
            .into_iter()
            .map(|(name, address)| {
                let processes = groups
                    .find(&name)
                    .map_or(1, |group| group.process_group.processes);
                let endpoint = GroupEndpoint {
                    path: address.socket_path,
                    key: address.key,
                    pool: pool.group(processes),
                };
                (name, endpoint)
            })
            .collect();
        let regexes = regexes(configured.main);
        let globals = Globals::of(&main.global);
        configured.activate::<Self>(ActiveConfiguration {
            groups,
            endpoints,
            regexes,
            globals,
            status: started.status,
            spool_directory: active_configuration::default_spool_directory(),
            share_of_descriptors,
        });
        Ok(())
    }

    fn begin_child(_main: Server<'_>, _pool: Pool<'_>) {
        parent::supervisor::leave_to_parent();
    }

    fn check_access(request: Request<'_>) -> HookStatus {
        // Asked of every request: most have no script for this.
        let Some(dir) = request.given::<Self>() else {
            return HookStatus::status(500);
        };
        if dir.access_script.is_none() {
            return HookStatus::DECLINED;
        }
        match settings(request) {
            Some((dir, server, active)) => {
                child::hooks::access::check(request, dir, server, active)
            }
            None => HookStatus::status(500),
        }
    }

    fn check_password(request: Request<'_>, user: &[u8], password: &[u8]) -> Authentication {
        match settings(request) {
            Some((dir, server, active)) => child::hooks::authentication::check_password(
                request,
                (user, password),
                dir,
                server,
                active,
            ),
            None => Authentication::Failed,
        }
    }

    fn realm_hash(
        request: Request<'_>,
        user: &[u8],
        realm: &[u8],
        found: impl FnOnce(RealmHash<'_>),
    ) {
        match settings(request) {
            Some((dir, server, active)) => child::hooks::authentication::realm_hash(
                request,
                (user, realm),
                dir,
                server,
                active,
                found,
            ),
            None => found(RealmHash::Failed),
        }
    }

    fn check_groups(request: Request<'_>, required: &[u8]) -> Authorization {
        match settings(request) {
            Some((dir, server, active)) => {
                child::hooks::groups::check(request, required, dir, server, active)
            }
            None => Authorization::Failed,
        }
    }

    fn translate_name(request: Request<'_>) -> HookStatus {
        let host = request.server();
        match (host.given::<Self>(), host.active_configuration::<Self>()) {
            (Some(server), Some(active)) => {
                child::route::mapping::translate_name(request, server, active)
            }
            _ => HookStatus::DECLINED,
        }
    }

    fn handle(request: Request<'_>) -> HookStatus {
        let host = request.server();
        if request.handler() == Some(child::status::HANDLER) {
            return host
                .active_configuration::<Self>()
                .map_or(HookStatus::DECLINED, |active| {
                    child::status::handle(request, active)
                });
        }
        match (
            request.given::<Self>(),
            host.given::<Self>(),
            host.active_configuration::<Self>(),
        ) {
            (Some(dir), Some(server), Some(active)) => {
                child::handler::handle(request, dir, server, active)
            }
            _ => HookStatus::DECLINED,
        }
    }

    fn write_status(request: Request<'_>, page: StatusPage) {
        if let Some(active) = request.server().active_configuration::<Self>() {
            child::status::section(request, page, active);
        }
    }
}

/// What is given for the request's place and server, and the configuration that is in force.
fn settings(
    request: Request<'_>,
) -> Option<(&DirectoryConfig, &ServerConfig, &ActiveConfiguration)> {
    let host = request.server();
    Some((
        request.given::<Wsgi>()?,
        host.given::<Wsgi>()?,
        host.active_configuration::<Wsgi>()?,
    ))
}

fn place(at: &Position<'_>) -> Place {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Place {
        file: text(at.file),
        line: at.line,
        directory: at.directory.map(text),
        virtual_host: at.server.is_virtual().then(|| VirtualHost {
            id: at.server.id(),
            address: at.virtual_host.map(text).unwrap_or_default(),
        }),
        in_htaccess: at.in_htaccess,
    }
}

/// Compiles the expressions of all aliases, each once. They have been compiled before, to check
/// them, so none fails here.
fn regexes(main: Server<'_>) -> HashMap<Text, Regex> {
    main.and_following()
        .filter_map(|server| server.given::<Wsgi>())
        .flat_map(|given| &given.aliases)
        .filter_map(|alias| match &alias.location {
            Location::Regex(pattern) => Some((pattern.clone(), Regex::new(pattern).ok()?)),
            Location::Prefix(_) => None,
        })
        .collect()
}
