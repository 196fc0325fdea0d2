//! Which script a URL leads to.
//!
//! Runs in: an Apache child, in `translate_name`, for every request of a server that has aliases.
//! It runs after mod_alias, so an `Alias` for static files beats `WSGIScriptAlias` whatever their
//! order.

use std::sync::Arc;

use config::alias::{Location, ScriptAlias};
use config::error::show;
use config::module_config::ServerConfig;
use httpd::hooks::HookStatus;
use httpd::log::{Level, Log};
use httpd::regex::Matches;
use httpd::request::Request;

use crate::child::active_configuration::ActiveConfiguration;

/// The handler of scripts.
pub const HANDLER: &std::ffi::CStr = c"wsgi-script";
/// The name of the handler in old configurations.
pub const OLD_HANDLER: &[u8] = b"application/x-httpd-wsgi";
/// Note that an alias has forced the handler on the request. mod_alias sets the same for
/// ScriptAlias.
const FORCED: &std::ffi::CStr = c"alias-forced-type";
/// Note with the index of the alias that matched.
const ALIAS: &std::ffi::CStr = c"mod_wsgi.alias";

/// The alias that matches a URI, and the file it leads to.
#[derive(Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Index of the alias in the list.
    pub alias: usize,
    /// The script with the path info behind it. httpd walks the directories to find where the file
    /// ends, and chooses the sections that apply on that walk. Setting the end of the file here, or
    /// what is there, would change that choice.
    pub filename: Vec<u8>,
}

/// Finds the first alias that matches `uri`. `matches` runs an alias's regular expression.
pub fn map(
    uri: &[u8],
    aliases: &[Arc<ScriptAlias>],
    matches: impl Fn(&[u8], &[u8]) -> Option<Matches>,
) -> Option<Mapped> {
    // `OPTIONS *` and requests to a forward proxy have no path.
    if !uri.is_empty() && !uri.starts_with(b"/") {
        return None;
    }
    aliases.iter().enumerate().find_map(|(at, alias)| {
        let filename = match &alias.location {
            Location::Prefix(_) => alias.translate(uri)?.concat(),
            Location::Regex(pattern) => alias.substitute(uri, &matches(pattern, uri)?)?,
        };
        Some(Mapped {
            alias: at,
            filename,
        })
    })
}

/// The `translate_name` hook. `server` holds the settings of the request's virtual host.
pub fn translate_name(
    request: Request<'_>,
    server: &ServerConfig,
    active: &ActiveConfiguration,
) -> HookStatus {
    if server.aliases.is_empty() {
        return HookStatus::DECLINED;
    }
    let uri = request.uri().unwrap_or_default();
    let matches = |pattern: &[u8], uri: &[u8]| active.regexes.get(pattern)?.find(uri);
    let mapped = map(uri, &server.aliases, matches);
    if request.logs(Level::Debug) {
        let found = mapped.as_ref().map(|to| (to, &*server.aliases[to.alias]));
        trace(request, uri, found);
    }
    let Some(mapped) = mapped else {
        return HookStatus::DECLINED;
    };
    let alias = mapped.alias.to_string();
    // Only a NUL byte makes this fail, and httpd itself answers a URI that decodes to one with 404.
    let stored = request
        .set_filename(&mapped.filename)
        .and_then(|()| request.notes().set(FORCED.to_bytes(), HANDLER.to_bytes()))
        .and_then(|()| request.notes().set(ALIAS.to_bytes(), alias.as_bytes()));
    if stored.is_err() {
        return HookStatus::status(404);
    }
    request.set_handler(HANDLER);
    HookStatus::OK
}

/// Logs which alias took the URL. At this moment httpd has not chosen the request's `<Directory>`
/// yet, so the LogLevel of the virtual host counts.
fn trace(request: Request<'_>, uri: &[u8], found: Option<(&Mapped, &ScriptAlias)>) {
    let uri = show(uri);
    let (level, text) = match found {
        None => (Level::Trace1, format!("no WSGIScriptAlias takes {uri}")),
        Some((mapped, alias)) => {
            let (directive, pattern) = match &alias.location {
                Location::Prefix(path) => ("WSGIScriptAlias", path),
                Location::Regex(pattern) => ("WSGIScriptAliasMatch", pattern),
            };
            let (pattern, file, place) = (show(pattern), show(&mapped.filename), &alias.place);
            let text = format!("{directive} {pattern} ({place}) leads {uri} to {file}");
            (Level::Debug, text)
        }
    };
    if request.logs(level) {
        request.log_words(level, text.as_bytes());
    }
}

/// The alias that matched the request's URL.
pub fn alias_of<'a>(request: Request<'_>, server: &'a ServerConfig) -> Option<&'a ScriptAlias> {
    let note = request.notes().get(ALIAS)?;
    let at: usize = std::str::from_utf8(note).ok()?.parse().ok()?;
    server.aliases.get(at).map(|alias| &**alias)
}

/// Whether an alias led to the script, so that `Options ExecCGI` is not needed.
pub fn is_aliased(request: Request<'_>) -> bool {
    request
        .notes()
        .get(FORCED)
        .is_some_and(|handler| handler.eq_ignore_ascii_case(HANDLER.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::alias::AliasOptions;
    use config::Place;

    fn alias(location: Location, target: &str) -> Arc<ScriptAlias> {
        Arc::new(ScriptAlias {
            location,
            target: target.as_bytes().into(),
            options: AliasOptions::default(),
            place: Place::default(),
        })
    }

    fn prefix(location: &str, target: &str) -> Arc<ScriptAlias> {
        alias(Location::Prefix(location.as_bytes().into()), target)
    }

    fn mapped(uri: &str, aliases: &[Arc<ScriptAlias>]) -> Option<(usize, String)> {
        // Stands for PCRE: the pattern `^/w/` matches those three bytes.
        let matches = |pattern: &[u8], uri: &[u8]| {
            assert_eq!(pattern, b"^/w/");
            let mut found = Matches::default();
            found[0] = uri.starts_with(b"/w/").then_some(0..3);
            found[0].is_some().then_some(found)
        };
        map(uri.as_bytes(), aliases, matches)
            .map(|found| (found.alias, String::from_utf8(found.filename).unwrap()))
    }

    #[test]
    fn the_first_alias_that_matches_takes_the_uri() {
        let aliases = [
            prefix("/shop/admin", "/srv/admin.wsgi"),
            alias(Location::Regex(b"^/w/"[..].into()), "/srv/w/"),
            prefix("/shop", "/srv/shop.wsgi"),
            prefix("/", "/srv/root.wsgi"),
        ];
        for (uri, found) in [
            ("/shop/admin/x", Some((0, "/srv/admin.wsgi/x"))),
            (
                "/shop/administration",
                Some((2, "/srv/shop.wsgi/administration")),
            ),
            ("/w/one", Some((1, "/srv/w/one"))),
            ("/other", Some((3, "/srv/root.wsgi/other"))),
            ("*", None),
            ("http://elsewhere/", None),
        ] {
            let found = found.map(|(at, file)| (at, file.to_owned()));
            assert_eq!(mapped(uri, &aliases), found, "{uri}");
        }
        assert_eq!(mapped("/other", &aliases[..3]), None);
    }
}
