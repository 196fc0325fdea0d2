//! The server's own group: the process group that needs no definition.
//!
//! Runs in: every process. The group's name is empty, as applications are told. People see and write
//! it as `%{GLOBAL}`, everywhere alike: in the configuration, in log lines, in status reports, in
//! the process list.

/// The group's name.
pub const NAME: &[u8] = b"";

/// The name as it is written and shown. No other group can have it: names begin with no `%`.
pub const SHOWN: &[u8] = b"%{GLOBAL}";

/// The name of any group as it is shown.
pub fn shown(name: &[u8]) -> &[u8] {
    match name {
        NAME => SHOWN,
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_shown_as_it_is_written_and_others_by_their_name() {
        assert_eq!(shown(b""), b"%{GLOBAL}");
        assert_eq!(shown(b"shop"), b"shop");
    }
}
