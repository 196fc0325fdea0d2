//! The stack of a thread, as Python's faulthandler writes it.
//!
//! Runs in: the main thread.

/// Frames of ours, which say nothing about the application.
const OWN: &str = "<mod_wsgi ";

/// Lines of text, the innermost frame first.
pub struct Stack {
    pub text: String,
}

/// One frame: `  File "/srv/shop/views.py", line 210 in report`.
fn frame(line: &str) -> Option<String> {
    let rest = line.strip_prefix("  File \"")?;
    let (file, rest) = rest.rsplit_once("\", line ")?;
    let (number, function) = rest.split_once(" in ")?;
    (!file.starts_with(OWN)).then(|| format!("{function} ({file}:{number})"))
}

impl Stack {
    /// Cuts what is longer than `most` bytes.
    pub fn read(shown: &[u8], most: usize) -> Self {
        let shown = &shown[..shown.len().min(most)];
        let text = String::from_utf8_lossy(shown);
        let kept: Vec<_> = text
            .lines()
            .filter(|line| !line.contains(OWN) && !line.starts_with("Stack (most"))
            .collect();
        Self {
            text: kept.join("\n"),
        }
    }

    fn frames(&self) -> impl Iterator<Item = String> + '_ {
        self.text.lines().filter_map(frame)
    }

    /// The thread is in no Python code.
    pub fn is_empty(&self) -> bool {
        self.frames().next().is_none()
    }

    /// `, now in wait (/srv/db.py:728), called by report (/srv/views.py:210)`; nothing where it is
    /// not known.
    pub fn place(&self) -> String {
        let mut frames = self.frames();
        match (frames.next(), frames.next()) {
            (None, _) => String::new(),
            (Some(inner), None) => format!(", now in {inner}"),
            (Some(inner), Some(outer)) => format!(", now in {inner}, called by {outer}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_frames_of_the_application_are_named() {
        let shown = b"Stack (most recent call first):\n  File \"/srv/a \", line b.py\", line 7 in wait\n  \
                      File \"/srv/views.py\", line 210 in report\n  File \"<mod_wsgi x>\", line 1 in f\n";
        let stack = Stack::read(shown, 1000);
        assert_eq!(
            stack.place(),
            ", now in wait (/srv/a \", line b.py:7), called by report (/srv/views.py:210)"
        );
        assert_eq!(stack.text.lines().count(), 2);
        assert_eq!(Stack::read(b"", 9).place(), "");
        assert!(Stack::read(
            b"Stack (most recent call first):\n  <no Python frame>\n",
            99
        )
        .is_empty());
    }

    #[test]
    fn any_text_can_be_read() {
        for shown in [
            &b"\xff\xfe\n  File \""[..],
            b"  File \"x\", line ",
            b"  File \"x\", line 1",
        ] {
            for cut in 0..=shown.len() {
                let stack = Stack::read(shown, cut);
                assert!(stack.is_empty());
            }
        }
    }
}
