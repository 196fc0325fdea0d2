//! Logs what a script does that takes long to load: its requests wait, and an administrator would
//! not know for what. The commonest reason is a server that the script itself has started, which
//! never returns.
//!
//! Runs in: the main thread, or the thread that handles the supervisor's messages while the main
//! thread loads scripts.

use wire::log_id::{LOAD_GIVEN_UP, SCRIPT_LOADS_SLOWLY};
use wire::response::Level;

use super::stack_dump::Stack;
use crate::process::process_log;
use crate::process::scoreboard;

/// Microseconds after which the stack of a loading script is examined for a server, which would
/// never return.
pub const SERVING: u64 = 5_000_000;
/// Microseconds between two looks whether a script that is still being loaded then has changed.
pub const GLANCE: u64 = 500_000;
/// Microseconds after which other scripts are logged, too.
const SLOW: u64 = 15_000_000;

/// Logs that a load is not waited for any more, since it would bring what the script was before.
pub fn log_given_up(script: &str, elapsed: u64) {
    let text = format!(
        "{LOAD_GIVEN_UP}: {script} has changed while it was being loaded, for {:.1} s so far: that load \
         is given up, the process is replaced, and requests that wait for it go to the successor",
        elapsed as f64 / 1e6
    );
    process_log::record_at(Level::Notice, text.as_bytes());
}

/// What was found out and logged of one load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SlowLoadStage {
    #[default]
    Never,
    /// It ran no server at [`SERVING`].
    Once,
    /// It was logged.
    Enough,
}

impl SlowLoadStage {
    /// How many microseconds a load must take until it is examined.
    pub fn next(self) -> Option<u64> {
        match self {
            SlowLoadStage::Never => Some(SERVING),
            SlowLoadStage::Once => Some(SLOW),
            SlowLoadStage::Enough => None,
        }
    }

    /// The stage after a load that has taken `elapsed` microseconds was found at `stack`; logs what
    /// there is to log. `whom` it is loaded for: `for GET /`.
    pub fn look(self, script: &str, elapsed: u64, whom: &str, stack: &Stack) -> SlowLoadStage {
        let what = match stack.server() {
            Some(server) => format!(
                "it has started a server of its own{server}. A script must define its application and \
                 return: app.run() and its like belong under `if __name__ == '__main__':`"
            ),
            None if elapsed < SLOW => return SlowLoadStage::Once,
            None => format!("requests for it wait{}", stack.place()),
        };
        let seconds = elapsed as f64 / 1e6;
        let text = format!(
            "{SCRIPT_LOADS_SLOWLY}: {script} is still being loaded after {seconds:.1} s {whom}: {what}"
        );
        scoreboard::error(&text);
        process_log::record_at(Level::Warning, text.as_bytes());
        SlowLoadStage::Enough
    }
}
