//! `WSGIScriptAlias` and `WSGIScriptAliasMatch`: which file a URI leads to.
//!
//! Runs in: Apache children, in `translate_name`, for every request.
//!
//! Regular expressions are httpd's (PCRE), so they are compiled and run by the layer over httpd;
//! this file compares literal prefixes and builds the target of a match.

use std::ops::Range;

use super::expand::Template;
use super::place::Place;
use super::words::Text;

/// How an alias is compared with a URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Starts with this path.
    Prefix(Text),
    /// Matches this regular expression somewhere.
    Regex(Text),
}

/// Options of an alias; they take precedence over the directory's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AliasOptions {
    /// `process-group=`
    pub process_group: Option<Template>,
    /// `application-group=`
    pub application_group: Option<Template>,
    /// `callable-object=`, literally: no template is expanded here.
    pub callable_object: Option<Text>,
    /// `pass-authorization=`
    pub pass_authorization: Option<bool>,
}

/// One alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptAlias {
    /// What it is compared with.
    pub location: Location,
    /// The file or directory; for a regular expression with `$0` to `$9`.
    pub target: Text,
    /// Its options.
    pub options: AliasOptions,
    /// Where it stands in the configuration.
    pub place: Place,
}

impl ScriptAlias {
    /// Where `uri` leads to if this alias is a prefix and matches: the target, and what follows it.
    /// `None` for no match and for a regular expression, which goes through
    /// [`ScriptAlias::substitute`].
    pub fn translate<'a>(&'a self, uri: &'a [u8]) -> Option<[&'a [u8]; 2]> {
        let Location::Prefix(prefix) = &self.location else {
            return None;
        };
        let matched = matched_length(uri, prefix)?;
        // The root takes no byte off the URI: "/" itself separates target and rest.
        let rest = if prefix[..] == b"/"[..] {
            uri
        } else {
            &uri[matched..]
        };
        Some([&self.target, rest])
    }

    /// The file `uri` leads to when the regular expression matched with `captures`: the whole
    /// match first, then the groups, as byte ranges of `uri`. A match of nothing does not count.
    ///
    /// `$0` to `$9` of the target stand for captures, a backslash makes the next character
    /// literal, and what follows the match in `uri` is appended.
    pub fn substitute(&self, uri: &[u8], captures: &[Option<Range<usize>>]) -> Option<Vec<u8>> {
        let whole = captures.first()?.clone()?;
        if whole.is_empty() {
            return None;
        }
        let mut file = Vec::with_capacity(self.target.len() + uri.len());
        let mut target = self.target.iter().copied().peekable();
        while let Some(byte) = target.next() {
            match (byte, target.peek()) {
                (b'$', Some(digit @ b'0'..=b'9')) => {
                    let group = captures.get(usize::from(digit - b'0')).cloned().flatten();
                    file.extend(group.and_then(|group| uri.get(group)).unwrap_or_default());
                    target.next();
                }
                (b'\\', Some(&literal)) => {
                    file.push(literal);
                    target.next();
                }
                _ => file.push(byte),
            }
        }
        // As with the prefix `/`: that slash belongs to what follows the target.
        let rest = match uri.split_at_checked(whole.end)? {
            (b"/", _) => uri,
            (_, rest) => rest,
        };
        file.extend(rest);
        Some(file)
    }
}

/// How many bytes of `uri` the prefix `alias` matches, or `None` if it does not match.
///
/// A slash of the alias stands for one or more in the URI. The last component must match whole,
/// so `/app` is no prefix of `/apple`; an alias that ends in a slash has no such component.
pub fn matched_length(uri: &[u8], alias: &[u8]) -> Option<usize> {
    let mut length = 0;
    let mut alias_at = 0;
    while let Some(&wanted) = alias.get(alias_at) {
        if uri.get(length) != Some(&wanted) {
            return None;
        }
        if wanted == b'/' {
            alias_at += slashes(&alias[alias_at..]);
            length += slashes(&uri[length..]);
        } else {
            alias_at += 1;
            length += 1;
        }
    }
    let component_ends = matches!(uri.get(length), None | Some(b'/'));
    (length > 0 && (alias.ends_with(b"/") || component_ends)).then_some(length)
}

fn slashes(text: &[u8]) -> usize {
    text.iter().take_while(|&&byte| byte == b'/').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(location: &str, target: &str) -> ScriptAlias {
        ScriptAlias {
            location: Location::Prefix(location.as_bytes().into()),
            target: target.as_bytes().into(),
            options: AliasOptions::default(),
            place: Place::default(),
        }
    }

    #[test]
    fn a_prefix_leads_to_target_and_rest() {
        for (location, target, uri, file) in [
            ("/", "/srv/app.wsgi", "/", Some("/srv/app.wsgi/")),
            ("/", "/srv/app.wsgi", "/a/b", Some("/srv/app.wsgi/a/b")),
            ("/", "/srv/app.wsgi", "//a", Some("/srv/app.wsgi//a")),
            ("/", "/srv/app.wsgi", "*", None),
            ("/app", "/srv/app.wsgi", "/app", Some("/srv/app.wsgi")),
            ("/app", "/srv/app.wsgi", "/app/", Some("/srv/app.wsgi/")),
            (
                "/app",
                "/srv/app.wsgi",
                "/app/x/y",
                Some("/srv/app.wsgi/x/y"),
            ),
            (
                "/app",
                "/srv/app.wsgi",
                "//app///x",
                Some("/srv/app.wsgi///x"),
            ),
            ("/app", "/srv/app.wsgi", "/apple", None),
            ("/app", "/srv/app.wsgi", "/ap", None),
            ("/app", "/srv/app.wsgi", "/App", None),
            ("/app", "/srv/app.wsgi", "/x/app", None),
            ("/a/b", "/srv/b.wsgi", "/a//b/c", Some("/srv/b.wsgi/c")),
            ("/a/b", "/srv/b.wsgi", "/a", None),
            ("/a/b", "/srv/b.wsgi", "/ab", None),
            ("/a//b", "/srv/b.wsgi", "/a/b", Some("/srv/b.wsgi")),
            (
                "/dir/",
                "/srv/scripts/",
                "/dir/one.wsgi/x",
                Some("/srv/scripts/one.wsgi/x"),
            ),
            (
                "/dir/",
                "/srv/scripts/",
                "/dir///one.wsgi",
                Some("/srv/scripts/one.wsgi"),
            ),
            ("/dir/", "/srv/scripts/", "/dir/", Some("/srv/scripts/")),
            ("/dir/", "/srv/scripts/", "/dir", None),
            ("/dir/", "/srv/scripts/", "/directory", None),
            // A trailing slash on one side only has the same result as in mod_alias.
            (
                "/dir",
                "/srv/scripts/",
                "/dir/one.wsgi",
                Some("/srv/scripts//one.wsgi"),
            ),
            (
                "/caf\u{e9}",
                "/srv/c.wsgi",
                "/caf\u{e9}/x",
                Some("/srv/c.wsgi/x"),
            ),
        ] {
            let alias = prefix(location, target);
            let found = alias.translate(uri.as_bytes()).map(|both| both.concat());
            let expected = file.map(|file| file.as_bytes().to_vec());
            assert_eq!(found, expected, "{location} against {uri}");
        }
    }

    #[test]
    fn no_uri_panics_whatever_the_alias() {
        for alias in ["", "/", "//", "/a", "/a/", "a"] {
            for uri in ["", "/", "//", "a", "/a", "/a/", "*"] {
                let length = matched_length(uri.as_bytes(), alias.as_bytes());
                assert!(length.is_none_or(|length| 0 < length && length <= uri.len()));
            }
        }
    }

    fn regex(target: &str) -> ScriptAlias {
        let location = Location::Regex(b"^/([^/]+)/wsgi(/x)?"[..].into());
        ScriptAlias {
            location,
            ..prefix("", target)
        }
    }

    #[test]
    fn captures_are_put_into_the_target_and_the_rest_appended() {
        let uri = b"/shop/wsgi/cart";
        let captures = [Some(0..10), Some(1..5), None];
        for (target, file) in [
            ("/srv/$1.wsgi", "/srv/shop.wsgi/cart"),
            ("/srv/$1$1/app.wsgi", "/srv/shopshop/app.wsgi/cart"),
            ("/srv$0", "/srv/shop/wsgi/cart"),
            ("/srv/$2/a", "/srv//a/cart"),
            ("/srv/$9a", "/srv/a/cart"),
            ("/srv/$x$", "/srv/$x$/cart"),
            (r"/srv/\$1\\a\", r"/srv/$1\a\/cart"),
            ("/srv/a&b", "/srv/a&b/cart"),
        ] {
            let found = regex(target).substitute(uri, &captures).unwrap();
            assert_eq!(String::from_utf8(found).unwrap(), file, "{target}");
        }
    }

    #[test]
    fn a_match_of_the_first_slash_alone_leaves_it_to_what_follows() {
        let found = |uri: &[u8], end| regex("/srv/a.wsgi").substitute(uri, &[Some(0..end)]);
        assert_eq!(found(b"/x", 1).unwrap(), b"/srv/a.wsgi/x");
        assert_eq!(found(b"/", 1).unwrap(), b"/srv/a.wsgi/");
        assert_eq!(found(b"/x/y", 2).unwrap(), b"/srv/a.wsgi/y");
    }

    #[test]
    fn a_match_of_nothing_is_no_match() {
        assert_eq!(regex("/srv/a").substitute(b"/x", &[Some(0..0)]), None);
        assert_eq!(regex("/srv/a").substitute(b"/x", &[Some(2..2)]), None);
        assert_eq!(regex("/srv/a").substitute(b"/x", &[None]), None);
        assert_eq!(regex("/srv/a").substitute(b"/x", &[]), None);
        assert_eq!(regex("/srv/a").translate(b"/x"), None);
    }
}
