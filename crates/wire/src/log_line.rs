//! The level of a line in a worker's log pipe.
//!
//! Text that an application prints there has level error, as in the C module, and no mark. Lines of
//! the runtime at other levels begin with a mark: a byte that does not occur in printed text.

use crate::response::Level;

/// ASCII's record separator.
const MARK: u8 = 0x1e;

/// The mark of a level; errors have none.
pub fn mark(level: Level) -> Option<[u8; 2]> {
    (level != Level::Error).then_some([MARK, b'0' + level as u8])
}

/// A line's level and its text.
pub fn read(line: &[u8]) -> (Level, &[u8]) {
    match line {
        [MARK, digit @ b'0'..=b'9', text @ ..] => match Level::from_u8(digit - b'0') {
            Ok(level) => (level, text),
            Err(_) => (Level::Error, line),
        },
        _ => (Level::Error, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_line_has_its_level_and_any_other_is_an_error() {
        for level in [Level::Critical, Level::Warning, Level::Info] {
            let line = [&mark(level).unwrap()[..], b"text"].concat();
            assert_eq!(read(&line), (level, &b"text"[..]));
        }
        assert_eq!(mark(Level::Error), None);
        for line in [&b"text"[..], b"", b"\x1e", b"\x1e9text", b"<4>text"] {
            assert_eq!(read(line), (Level::Error, line));
        }
    }
}
