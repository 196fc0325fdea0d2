//! Resolves all process groups when the whole configuration is read, and checks every name that the
//! configuration uses for one.
//!
//! Runs in: the Apache parent, after each reading of the configuration, also for `apachectl -t`.
//!
//! A directive that is wrong by itself is refused when it is read. This file finds the faults that
//! need the whole configuration: groups defined twice, scripts to be loaded in a group that does
//! not exist, names of undefined groups. So the order of the directives does not matter.

use std::collections::BTreeMap;

use super::daemon_process::DaemonProcess;
use super::error::{show, show_group};
use super::jail;
use super::main_interpreter;
use super::module_config::{GlobalConfig, Preload};
use super::nearest::nearest;
use super::own_group::{self, OtherDirectives};
use super::place::Place;
use super::process_group::{ApacheIdentity, Reach, ResolvedGroup};
use super::reading::{Hook, Reading};
use super::system::System;

/// A server, after httpd has read the whole configuration.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    /// As in [`Place::server`]; `None` is the main server.
    pub id: Option<usize>,
    /// ServerName; `None` when httpd knows none.
    pub hostname: Option<&'a [u8]>,
}

/// All process groups.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Groups {
    list: Vec<ResolvedGroup>,
    by_name: BTreeMap<Vec<u8>, usize>,
}

impl ResolvedGroups {
    /// Leaves the server's own group out, where it is the only one, for this reason.
    pub fn leave_own_group_out(&mut self, reason: String) {
        self.groups = Groups::default();
        self.own_group_left_out = Some(reason);
    }
}

impl Groups {
    /// All groups, in the order of their definition; the server's own group last, unless defined.
    pub fn all(&self) -> &[ResolvedGroup] {
        &self.list
    }

    /// The group called `name`.
    pub fn find(&self, name: &[u8]) -> Option<&ResolvedGroup> {
        self.by_name.get(name).map(|&at| &self.list[at])
    }

    /// One sentence for a request whose process group is not defined.
    pub fn undefined_sentence(&self, name: &[u8]) -> String {
        let mut sentence = format!("process group \"{}\" is not defined.", show(name));
        sentence.push_str(&self.suggestion(name));
        sentence
    }

    /// " Defined groups: ... Did you mean ...?"
    fn suggestion(&self, name: &[u8]) -> String {
        // Nobody takes another name for the own group's.
        let groups = || self.list.iter().filter(|group| !group.is_own());
        let count = groups().count();
        if count == 0 {
            return " No WSGIDaemonProcess defines any group.".into();
        }
        // A server with many groups should not list all of them in each line of its log.
        let mut known: Vec<String> = groups().take(10).map(described).collect();
        if count > known.len() {
            known.push(format!("and {} more", count - known.len()));
        }
        let mut sentence = format!(" Defined groups: {}.", known.join(", "));
        let names = groups().map(|group| &group.process_group.name[..]);
        if let Some(meant) = nearest(name, names) {
            sentence.push_str(&format!(" Did you mean \"{}\"?", show(meant)));
        }
        sentence
    }
}

fn described(group: &ResolvedGroup) -> String {
    let name = show_group(&group.process_group.name);
    match group.place.is_known() {
        true => format!("\"{name}\" ({})", group.place),
        false => format!("\"{name}\""),
    }
}

/// The result of [`resolve_groups`].
#[derive(Clone, Debug, Default)]
pub struct ResolvedGroups {
    /// Its process groups.
    pub groups: Groups,
    /// Why the configuration cannot be used: sentences with file and line. Empty if it can.
    pub refusals: Vec<String>,
    /// What is probably a mistake: sentences with file and line.
    pub warnings: Vec<String>,
    /// Relative directories of `python-path=`, and which directory each means: sentences.
    pub relative_paths: Vec<String>,
    /// Whether the server's own group is the only one, and nothing but a handler that other modules
    /// may give leads there: most such servers never use it.
    pub is_own_group_only_possible: bool,
    /// Why the server's own group is left out, where it is.
    pub own_group_left_out: Option<String>,
}

/// Resolves the process groups of a configuration that is read completely.
///
/// `servers` are all servers, including the main one; `global` is the main server's record.
/// `others` is what directives of other modules let reach the server's own group.
pub fn resolve_groups(
    reading: &Reading,
    servers: &[Server<'_>],
    global: &GlobalConfig,
    apache: &ApacheIdentity,
    others: OtherDirectives,
    system: &dyn System,
) -> ResolvedGroups {
    let mut resolved = ResolvedGroups::default();
    let is_restricted = global.restrict_embedded.unwrap_or(false);
    let resolve =
        |given: &DaemonProcess, id| ResolvedGroup::resolve(given, id, global, apache, system);
    define(&mut resolved, reading, servers, resolve);
    let ids: Vec<_> = servers.iter().map(|server| server.id).collect();
    let reached = own_group::can_be_reached(reading, &ids, others, is_restricted);
    settle_own_group(&mut resolved, reached, is_restricted, resolve);
    preload(&mut resolved, reading, servers, is_restricted);
    let is_silent = reading.groups.is_empty() && reading.routes.is_empty();
    resolved.is_own_group_only_possible =
        is_silent && reading.hooks.is_empty() && !resolved.groups.list.is_empty();
    check_names(&mut resolved, reading, servers);
    check_hooks(&mut resolved, reading, servers);
    for group in &mut resolved.groups.list {
        let group = &mut group.process_group;
        let asked = |hook: &Hook| hook.asks_main && hook.process_group == *group.name;
        let is_listed = |listed: &Vec<u8>| listed.eq_ignore_ascii_case(&group.name);
        let asked_by_htaccess = others.let_htaccess_hook
            && (group.name.is_empty() || reading.listed_groups.iter().any(is_listed));
        group.global_reachable =
            main_interpreter::can_get_requests_for_global(&group.name, reading)
                || reading.hooks.iter().any(asked)
                || asked_by_htaccess;
    }
    resolved.relative_paths = resolved
        .groups
        .list
        .iter()
        .filter_map(relative_path)
        .collect();
    let remarks = reading
        .remarks
        .iter()
        .map(|(place, remark)| format!("{place} {remark}"));
    resolved.warnings.extend(remarks);
    resolved
}

/// A warning about a group's relative directories. They are relative to the directory in which the
/// workers start, as in mod_wsgi.
fn relative_path(group: &ResolvedGroup) -> Option<String> {
    let interpreters = group.process_group.python.interpreters();
    let given = interpreters.flat_map(|options| options.path.iter().map(|path| &**path));
    let mut relative: Vec<&[u8]> = Vec::new();
    for path in given.filter(|path| !path.starts_with(b"/")) {
        if !relative.contains(&path) {
            relative.push(path);
        }
    }
    let first = relative.first()?;
    let environment = &group.process_group.environment;
    let place = match environment.working_directory() {
        Some(directory) => format!("{}/{}", show(directory), show(first)),
        None => format!("{} in the directory Apache runs in", show(first)),
    };
    Some(format!(
        "process group {}: python-path={} is relative, so it is taken from the directory in which the \
         workers start: {place}. Write it with a slash in front.",
        described(group),
        show(&relative.join(&b':')),
    ))
}

fn define(
    resolved: &mut ResolvedGroups,
    reading: &Reading,
    servers: &[Server<'_>],
    resolve: impl Fn(&DaemonProcess, u32) -> Result<ResolvedGroup, String>,
) {
    let groups = &mut resolved.groups;
    let mut definitions: Vec<&DaemonProcess> = Vec::new();
    for given in &reading.groups {
        if let Some(&at) = groups.by_name.get(&given.name) {
            let again = redefine(&mut groups.list[at], definitions[at], given, servers);
            resolved.refusals.extend(again.err());
            continue;
        }
        let id = groups.list.len() as u32 + 1;
        match resolve(given, id) {
            Ok(mut group) => {
                group.reach = reach(&given.place, servers);
                groups.by_name.insert(given.name.clone(), groups.list.len());
                groups.list.push(group);
                definitions.push(given);
            }
            Err(sentence) => resolved.refusals.push(sentence),
        }
    }
}

/// Adds the server's own group where something can reach it, or takes its definition back where
/// nothing may.
fn settle_own_group(
    resolved: &mut ResolvedGroups,
    reached: bool,
    is_restricted: bool,
    resolve: impl Fn(&DaemonProcess, u32) -> Result<ResolvedGroup, String>,
) {
    let groups = &mut resolved.groups;
    match groups.by_name.get(wire::own_group::NAME).copied() {
        Some(at) if is_restricted && !reached => {
            // Others keep their numbers: these may have gaps.
            let place = groups.list.remove(at).place;
            groups.by_name.remove(wire::own_group::NAME);
            for later in groups.by_name.values_mut().filter(|later| **later > at) {
                *later -= 1;
            }
            resolved.warnings.push(format!(
                "{place} sets options of the server's own process group, to which \
                 WSGIRestrictEmbedded On lets no request go. The line has no effect."
            ));
        }
        Some(_) => {}
        None if !reached => {}
        None => match resolve(&DaemonProcess::own(), groups.list.len() as u32 + 1) {
            Ok(group) => {
                groups
                    .by_name
                    .insert(wire::own_group::NAME.to_vec(), groups.list.len());
                groups.list.push(group);
            }
            // A server that may never use it starts all the same.
            Err(sentence) => resolved
                .warnings
                .push(format!("{sentence} Requests that go there get 500.")),
        },
    }
}

fn reach(place: &Place, servers: &[Server<'_>]) -> Reach {
    match place.server() {
        None => Reach::Everywhere,
        Some(id) => Reach::VirtualHosts {
            ids: vec![id],
            hostname: hostname(place, servers).map(<[u8]>::to_vec),
        },
    }
}

fn hostname<'a>(place: &Place, servers: &[Server<'a>]) -> Option<&'a [u8]> {
    servers
        .iter()
        .find(|server| server.id == place.server())?
        .hostname
}

/// A second definition of a name. It is allowed if it has the same options and ServerName: certbot,
/// for example, copies a virtual host for port 443.
fn redefine(
    group: &mut ResolvedGroup,
    first: &DaemonProcess,
    second: &DaemonProcess,
    servers: &[Server<'_>],
) -> Result<(), String> {
    let name = show_group(&first.name);
    let (here, there) = (&second.place, &first.place);
    if first.options != second.options {
        return Err(format!(
            "Process group \"{name}\" is defined twice with different options: {there} ({}) and \
             {here} ({}). Keep one, outside of <VirtualHost>, or give one another name. (Identical \
             definitions are accepted.)",
            first.differences(second),
            second.differences(first),
        ));
    }
    match (&mut group.reach, reach(here, servers)) {
        (Reach::Everywhere, _) => {}
        (reach, Reach::Everywhere) => *reach = Reach::Everywhere,
        (
            Reach::VirtualHosts {
                ids,
                hostname: Some(one),
            },
            Reach::VirtualHosts {
                ids: further,
                hostname: Some(other),
            },
        ) if one.eq_ignore_ascii_case(&other) => ids.extend(further),
        (Reach::VirtualHosts { ids, .. }, Reach::VirtualHosts { ids: further, .. })
            if *ids == further => {}
        _ => {
            return Err(format!(
                "Process group \"{name}\" is defined twice, in virtual hosts with different \
                 ServerNames: {there} (in {}) and {here} (in {}). Define it once, outside of \
                 <VirtualHost>, or give one another name.",
                host(there, servers),
                host(here, servers),
            ));
        }
    }
    Ok(())
}

/// A server in words: `b.example.com (<VirtualHost *:443>)`.
fn host(place: &Place, servers: &[Server<'_>]) -> String {
    let name = hostname(place, servers).map(show);
    match (&place.virtual_host, name) {
        (Some(host), Some(name)) => format!("{name} (<VirtualHost {}>)", host.address),
        (Some(host), None) => format!("<VirtualHost {}>, which has no ServerName", host.address),
        (None, _) => "the main server".into(),
    }
}

fn preload(
    resolved: &mut ResolvedGroups,
    reading: &Reading,
    servers: &[Server<'_>],
    is_restricted: bool,
) {
    for script in &reading.preloads {
        let is_own = script.process_group.is_empty();
        // Where no request may go there, only what is imported for its own sake is loaded.
        if is_own && is_restricted && script.directive != own_group::IMPORT {
            continue;
        }
        match usable(&resolved.groups, script, servers) {
            Ok(at) => {
                let group = &mut resolved.groups.list[at].process_group;
                // Requests for a script that the workers cannot see are refused.
                let path = match &group.environment.chroot {
                    Some(root) => jail::inside(root, &script.path),
                    None => Some(&script.path[..]),
                };
                if let Some(path) = path {
                    let entry = (path.into(), script.application_group[..].into());
                    add_once(&mut group.preload, entry);
                }
            }
            // It was said already why there is none.
            Err(_) if is_own => {}
            Err(sentence) => resolved.refusals.push(sentence),
        }
    }
}

fn add_once<T: PartialEq>(list: &mut Vec<T>, entry: T) {
    if !list.contains(&entry) {
        list.push(entry);
    }
}

/// The index of the group in which a script is to be loaded.
fn usable(groups: &Groups, script: &Preload, servers: &[Server<'_>]) -> Result<usize, String> {
    let Preload {
        directive,
        process_group: name,
        place,
        ..
    } = script;
    let shown = show(name);
    let Some(&at) = groups.by_name.get(name) else {
        return Err(format!(
            "{place} {directive} loads a script in process group \"{shown}\", which is not \
             defined.{}",
            groups.suggestion(name),
        ));
    };
    let group = &groups.list[at];
    if group.usable_from(place.server(), hostname(place, servers)) {
        Ok(at)
    } else {
        Err(format!(
            "{place} {directive}: {}",
            out_of_reach(group, place, servers)
        ))
    }
}

fn out_of_reach(group: &ResolvedGroup, from: &Place, servers: &[Server<'_>]) -> String {
    format!(
        "process group \"{}\" is defined inside {} ({}) and cannot be used from {}. Define it \
         outside of <VirtualHost>.",
        show(&group.process_group.name),
        host(&group.place, servers),
        group.place,
        host(from, servers),
    )
}

/// Groups that hooks would ask in vain. Every request would be denied, so the server does not
/// start.
fn check_hooks(resolved: &mut ResolvedGroups, reading: &Reading, servers: &[Server<'_>]) {
    for hook in &reading.hooks {
        let Hook {
            directive,
            process_group: name,
            place,
            ..
        } = hook;
        let refusal = match resolved.groups.find(name) {
            None => {
                let suggestion = resolved.groups.suggestion(name);
                format!(
                    "process group \"{}\" is not defined.{suggestion}",
                    show(name)
                )
            }
            Some(group) if group.process_group.threads == 0 => format!(
                "process group {} has threads=0 and answers nothing. Name another.",
                described(group)
            ),
            // A directory section of the main server holds in every virtual host.
            Some(_) if place.server().is_none() => continue,
            Some(group) if group.usable_from(place.server(), hostname(place, servers)) => continue,
            Some(group) => out_of_reach(group, place, servers),
        };
        resolved
            .refusals
            .push(format!("{place} {directive}: {refusal}"));
    }
}

/// Warns about names of groups that requests would not find. The server starts nevertheless, as
/// with mod_wsgi.
fn check_names(resolved: &mut ResolvedGroups, reading: &Reading, servers: &[Server<'_>]) {
    // A script that is to be loaded in an unknown group has been refused already.
    let refused = |place: &Place| reading.preloads.iter().any(|script| script.place == *place);
    for route in &reading.routes {
        let name = route.process_group.as_ref().and_then(|group| group.fixed());
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            continue;
        };
        if refused(&route.place) {
            continue;
        }
        let place = &route.place;
        match resolved.groups.find(name) {
            None => resolved.warnings.push(format!(
                "{place} uses process group \"{}\", which is not defined.{} Requests that go \
                 there get 500.",
                show(name),
                resolved.groups.suggestion(name),
            )),
            // A directory section of the main server holds in every virtual host.
            Some(_) if place.server().is_none() => {}
            Some(group) if group.usable_from(place.server(), hostname(place, servers)) => {}
            Some(group) => resolved.warnings.push(format!(
                "{place}: {} Requests that go there get 500.",
                out_of_reach(group, place, servers),
            )),
        }
    }
}

#[cfg(test)]
mod tests;
