//! Paths as a process with `chroot=` sees them.
//!
//! Runs in: the Apache parent and its children. Plain bytes; nothing is looked up.

/// `path` as seen below `root`. `None` where it lies elsewhere.
pub fn inside<'p>(root: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    let root = root.strip_suffix(b"/").unwrap_or(root);
    match path.strip_prefix(root)? {
        b"" => Some(b"/"),
        rest => rest.starts_with(b"/").then_some(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn what_is_seen_from_inside_begins_at_the_root() {
        let seen = |root: &str, path: &'static str| {
            let seen = inside(root.as_bytes(), path.as_bytes());
            seen.map(|path| String::from_utf8_lossy(path).into_owned())
        };
        assert_eq!(
            seen("/jail", "/jail/srv/a.wsgi").as_deref(),
            Some("/srv/a.wsgi")
        );
        assert_eq!(seen("/jail/", "/jail/a").as_deref(), Some("/a"));
        assert_eq!(seen("/jail", "/jail").as_deref(), Some("/"));
        assert_eq!(seen("/", "/a").as_deref(), Some("/a"));
        assert_eq!(seen("/jail", "/jailed/a"), None);
        assert_eq!(seen("/jail", "/srv/a"), None);
    }
}
