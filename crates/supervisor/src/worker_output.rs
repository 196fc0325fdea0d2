//! Copies a worker's standard output and error, line by line, into its group's log.
//!
//! Runs in: the supervisor. Workers hold no log file: they write into a pipe that the supervisor
//! reads. A line beyond the bound is written in pieces. A line without a newline is written when
//! the worker has ended.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use wire::log_line;

use crate::error_log::{ErrorLog, MAX_LABEL, MAX_TEXT};

/// Maximum number of bytes read per turn, so that one worker cannot starve the others.
const MAX_TURN: usize = 64 * 1024;

/// The reading end of one worker's pipe.
#[derive(Debug)]
pub struct WorkerOutput {
    pipe: File,
    /// The worker's process.
    pid: u32,
    /// The prefix of its lines.
    label: Vec<u8>,
    /// A line whose newline has not arrived yet.
    partial: Vec<u8>,
}

/// Whether more can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pipe {
    Open,
    /// All writers have closed it.
    Closed,
}

impl WorkerOutput {
    pub fn new(pipe: OwnedFd, pid: u32) -> io::Result<Self> {
        os::descriptor::set_nonblocking(pipe.as_fd())?;
        Ok(Self {
            pipe: pipe.into(),
            pid,
            label: Vec::new(),
            partial: Vec::new(),
        })
    }

    /// Adds the process group's name to each line, because several groups may share a log.
    pub fn name(&mut self, group: &[u8]) {
        let name = &group[..group.len().min(MAX_LABEL - 10)];
        self.label = [b"[group ", name, b"] "].concat();
    }

    /// Copies available bytes to the log, up to a bound.
    pub fn copy_to_log(&mut self, log: &ErrorLog) -> Pipe {
        let mut buffer = [0; 8192];
        let mut copied = 0;
        while copied < MAX_TURN {
            match self.pipe.read(&mut buffer) {
                Ok(0) => {
                    self.finish(log);
                    return Pipe::Closed;
                }
                Ok(count) => {
                    self.split(&buffer[..count], log);
                    copied += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Pipe::Closed,
            }
        }
        Pipe::Open
    }

    /// Writes an incomplete line: the worker will not complete it.
    pub fn finish(&mut self, log: &ErrorLog) {
        if !self.partial.is_empty() {
            let line = std::mem::take(&mut self.partial);
            self.write(&line, log);
        }
    }

    /// Writes a line, or a piece of one.
    fn write(&self, line: &[u8], log: &ErrorLog) {
        let (level, text) = log_line::read(line);
        log.write(level, self.pid, &[&self.label, text].concat());
    }

    fn split(&mut self, mut bytes: &[u8], log: &ErrorLog) {
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            self.append(&bytes[..end], log);
            let line = std::mem::take(&mut self.partial);
            self.write(&line, log);
            bytes = &bytes[end + 1..];
        }
        self.append(bytes, log);
    }

    fn append(&mut self, mut bytes: &[u8], log: &ErrorLog) {
        while self.partial.len() + bytes.len() > MAX_TEXT {
            let (now, later) = bytes.split_at(MAX_TEXT - self.partial.len());
            self.partial.extend_from_slice(now);
            let piece = std::mem::take(&mut self.partial);
            self.write(&piece, log);
            bytes = later;
        }
        self.partial.extend_from_slice(bytes);
    }
}

impl AsFd for WorkerOutput {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use wire::response::Level;

    use super::*;
    use crate::error_log::{LogTarget, Style};

    fn relayed(pieces: &[&[u8]]) -> Vec<String> {
        let (log_reader, log_writer) = os::descriptor::pipe().unwrap();
        let style = Style {
            threshold: Level::Notice,
            threads: false,
        };
        let journal = ErrorLog::new(LogTarget::Descriptor(log_writer), style);
        let (reader, writer) = os::descriptor::pipe().unwrap();
        let mut writer = File::from(writer);
        let mut relay = WorkerOutput::new(reader, 9).unwrap();
        relay.name(b"shop");
        for piece in pieces {
            writer.write_all(piece).unwrap();
            assert_eq!(relay.copy_to_log(&journal), Pipe::Open);
        }
        drop(writer);
        assert_eq!(relay.copy_to_log(&journal), Pipe::Closed);
        drop(journal);
        let mut text = String::new();
        File::from(log_reader).read_to_string(&mut text).unwrap();
        let tag = "[wsgi:error] [pid 9] [group shop] ";
        text.lines()
            .map(|line| line[line.find(tag).unwrap() + tag.len()..].to_owned())
            .collect()
    }

    #[test]
    fn lines_are_lines_however_they_come() {
        let lines = relayed(&[b"one\ntw", b"o\n\nthr", b"ee"]);
        assert_eq!(lines, ["one", "two", "", "three"]);
    }

    #[test]
    fn a_line_of_the_runtime_has_its_own_level() {
        // The logs in the tests have the level notice.
        let lines = relayed(&[b"\x1e6not shown\n\x1e9shown\n"]);
        assert_eq!(lines, [r"\x1e9shown"]);
    }

    #[test]
    fn an_endless_line_comes_in_pieces() {
        let long = vec![b'x'; MAX_TEXT * 2 + 5];
        let lines = relayed(&[&long, b"\nnext\n"]);
        let lengths: Vec<usize> = lines.iter().map(String::len).collect();
        assert_eq!(lengths, [MAX_TEXT, MAX_TEXT, 5, 4]);
    }
}
