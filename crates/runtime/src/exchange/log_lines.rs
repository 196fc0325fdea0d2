//! Collects what an application prints into log records.
//!
//! Runs in: request threads and threads of the application. `print("a\nb")` reaches a stream as two
//! writes, `"a\nb"` and `"\n"`. A record is therefore whatever was written up to a write that ends
//! with a newline: text written in one go stays one record, with the newlines inside it.

use wire::response::MAX_LOG_TEXT;

/// Text that has not yet made a record. Holds at most [`MAX_LOG_TEXT`] bytes.
#[derive(Debug, Default)]
pub struct LogLines {
    pending: Vec<u8>,
}

impl LogLines {
    pub const fn new() -> Self {
        Self {
            pending: Vec::new(),
        }
    }

    /// Takes in `text` and passes each record that is complete to `record`, without its newline.
    pub fn write(&mut self, text: &[u8], mut record: impl FnMut(&[u8])) {
        let mut rest = text;
        // What no longer fits goes out in pieces, cut at a newline where there is one.
        while self.pending.len() + rest.len() > MAX_LOG_TEXT {
            let room = MAX_LOG_TEXT - self.pending.len();
            let cut = match rest[..room].iter().rposition(|&b| b == b'\n') {
                Some(newline) => newline + 1,
                None if self.pending.is_empty() => room,
                None => 0,
            };
            self.pending.extend_from_slice(&rest[..cut]);
            rest = &rest[cut..];
            self.flush(&mut record);
        }
        self.pending.extend_from_slice(rest);
        if rest.ends_with(b"\n") {
            self.flush(record);
        }
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Makes a record of what is pending, if anything is.
    pub fn flush(&mut self, mut record: impl FnMut(&[u8])) {
        if !self.pending.is_empty() {
            record(self.pending.strip_suffix(b"\n").unwrap_or(&self.pending));
            self.pending.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(writes: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut lines = LogLines::new();
        let mut out = Vec::new();
        for text in writes {
            lines.write(text, |record| out.push(record.to_vec()));
        }
        lines.flush(|record| out.push(record.to_vec()));
        out
    }

    #[test]
    fn text_written_at_once_is_one_record() {
        assert_eq!(records(&[b"a\nb\n"]), [b"a\nb"]);
        assert_eq!(records(&[b"a\nb", b"\n", b"c\n"]), [&b"a\nb"[..], b"c"]);
    }

    #[test]
    fn a_partial_line_waits_for_its_end_or_the_flush() {
        assert_eq!(records(&[b"a", b"b", b"\n"]), [b"ab"]);
        assert_eq!(records(&[b"tail"]), [b"tail"]);
        assert_eq!(records(&[b"\n"]), [b""]);
    }

    #[test]
    fn a_long_text_is_cut_at_a_newline_and_nothing_is_lost() {
        let line = [&[b'x'; 999][..], b"\n"].concat();
        let text = line.repeat(200);
        let out = records(&[&text]);
        assert!(out.iter().all(|r| r.len() <= MAX_LOG_TEXT));
        assert_eq!(out.join(&b"\n"[..]), text[..text.len() - 1]);
        let endless = vec![b'y'; MAX_LOG_TEXT * 2 + 5];
        assert_eq!(records(&[b"p", &endless]).concat().len(), endless.len() + 1);
    }
}
