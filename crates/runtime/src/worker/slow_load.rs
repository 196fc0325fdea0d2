//! Says what a script is at that takes long to be loaded: while it does, its requests wait, and
//! nobody would know for what. The commonest reason is a server of its own that the script has
//! started, which never comes back.
//!
//! Runs in: the main thread, or the thread that attends to the supervisor while the main thread
//! loads scripts.

use wire::log_id::LOADS_SLOWLY;
use wire::response::Level;

use super::stack_dump::Stack;
use crate::process::process_log;
use crate::process::scoreboard;

/// After so many microseconds a script is looked at. What serves does not come back.
const SERVING: u64 = 5_000_000;
/// After so many it is said of others, too.
const SLOW: u64 = 15_000_000;

/// How far one load has been looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Looked {
    #[default]
    Never,
    /// It did not serve then.
    Once,
    /// All has been said.
    Enough,
}

impl Looked {
    /// How long a load has to take, in microseconds, until it is looked at.
    pub fn next(self) -> Option<u64> {
        match self {
            Looked::Never => Some(SERVING),
            Looked::Once => Some(SLOW),
            Looked::Enough => None,
        }
    }

    /// What is known after a load that has taken so many microseconds was found at `stack`; says what
    /// there is to be said. `whom` it is loaded for: `for GET /`.
    pub fn look(self, script: &str, taken: u64, whom: &str, stack: &Stack) -> Looked {
        let what = match stack.server() {
            Some(server) => format!(
                "it has started a server of its own{server}. A script must define its application and \
                 return: app.run() and its like belong under `if __name__ == '__main__':`"
            ),
            None if taken < SLOW => return Looked::Once,
            None => format!("requests for it wait{}", stack.place()),
        };
        let seconds = taken as f64 / 1e6;
        let text = format!(
            "{LOADS_SLOWLY}: {script} is still being loaded after {seconds:.1} s {whom}: {what}"
        );
        scoreboard::error(&text);
        process_log::record_at(Level::Warning, text.as_bytes());
        Looked::Enough
    }
}
