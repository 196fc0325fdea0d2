//! The position of a directive in the configuration.
//!
//! Runs in: the Apache parent (configuration), Apache children (messages that name a line).

use std::fmt;

/// The position of one directive. It is stored with every value that a later message may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, as httpd names it.
    pub file: String,
    /// The line in `file`, from 1.
    pub line: u32,
    /// The enclosing `<Directory>`, `<Location>` or `<Files>` section's argument, if any.
    pub directory: Option<String>,
    /// The enclosing `<VirtualHost>`, or `None` in the main server.
    pub virtual_host: Option<VirtualHost>,
    /// It stands in an `.htaccess`, and a request waits.
    pub in_htaccess: bool,
}

/// A `<VirtualHost>`, known before its ServerName has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualHost {
    /// Identifies the server later (see [`crate::groups::Server`]); unique within one reading of
    /// the configuration.
    pub id: usize,
    /// Its argument, such as `*:443`, for messages only.
    pub address: String,
}

impl Place {
    /// Whether something was said at a place, or is what holds without a word.
    pub fn is_known(&self) -> bool {
        !self.file.is_empty()
    }

    /// The identity of the enclosing virtual host; `None` for the main server.
    pub fn server(&self) -> Option<usize> {
        self.virtual_host.as_ref().map(|host| host.id)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_file_and_line() {
        let place = Place {
            file: "sites/shop.conf".into(),
            line: 14,
            ..Place::default()
        };
        assert_eq!(place.to_string(), "sites/shop.conf:14");
        assert_eq!(place.server(), None);
    }
}
