//! The status report: what the supervisor reports about itself and its process groups.
//!
//! An Apache child connects to the status socket and reads one [`StatusReport`] until end of file.
//! It sends nothing. Times are ages in milliseconds, so the two processes need no common clock.

use crate::codec::{Bytes, Field, Malformed, Reader};
use crate::message;

/// Longest report, in bytes. What does not fit is left out by the supervisor, which says so.
pub const MAX_REPORT: usize = 4 << 20;
/// First byte of a report.
const VERSION: u8 = 1;

message! {
    /// Everything at one moment.
    pub struct StatusReport {
        /// The supervisor.
        pub pid: u32,
        pub age: u64,
        /// Bytes of its memory that are not swapped out.
        pub resident: u64,
        /// Whether something was left out because the report would be too long.
        pub is_cut: bool,
        pub groups: Vec<GroupStatus>,
    }
}

message! {
    pub struct GroupStatus {
        pub name: Bytes,
        pub generation: u32,
        pub state: State,
        /// Why it is in that state, where it is not `Ready`; a sentence, or nothing.
        pub reason: Bytes,
        /// Milliseconds until a start is tried again.
        pub next_start: u64,
        /// As configured.
        pub processes: u32,
        /// As configured, of each process.
        pub threads: u32,
        pub uid: u32,
        /// Connections in the accept queue. `None` if the kernel does not report the number.
        pub waiting: Option<u32>,
        /// Processes started since the start of the supervisor.
        pub starts: u64,
        /// Of these, processes that replaced one which exited in order.
        pub replacements: u64,
        /// Processes that ended unexpectedly.
        pub deaths: u64,
        /// Sums over all processes of the group, including those that have ended.
        pub totals: RequestTotals,
        /// Age and text of the supervisor's last line about the group at level warning or above.
        pub last_error: Option<(u64, Bytes)>,
        pub workers: Vec<WorkerStatus>,
    }
}

message! {
    /// What processes have done so far. The processes count themselves, so an application can forge
    /// these numbers.
    #[derive(Default, Copy)]
    pub struct RequestTotals {
        pub requests: u64,
        /// Microseconds in which threads worked on requests.
        pub busy: u64,
        /// Microseconds in which requests waited for a thread.
        pub queued: u64,
    }
}

message! {
    pub struct WorkerStatus {
        pub pid: u32,
        pub generation: u32,
        pub state: State,
        /// Why it is to be replaced; a few words, or nothing.
        pub reason: Bytes,
        /// Milliseconds since its start.
        pub age: u64,
        pub resident: u64,
        pub totals: RequestTotals,
        /// Number of the last error it has logged as `WSGI0nnn`, and its age.
        pub last_error: Option<(u32, u64)>,
        /// Threads at work.
        pub busy: u32,
        /// The requests that they run, as far as the scoreboard has room for them.
        pub running: Vec<RunningRequest>,
    }
}

message! {
    pub struct RunningRequest {
        pub thread: u32,
        /// Microseconds.
        pub age: u64,
        /// Microseconds.
        pub queue_time: u64,
        /// Method and path, as the client wrote them: any bytes.
        pub line: Bytes,
        pub application_group: Bytes,
    }
}

/// Where a group or a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    Starting = 1,
    Ready = 2,
    /// Finishes its requests and takes no more.
    Draining = 3,
    /// Must exit at once.
    Stopping = 4,
    /// Cannot be started; it is tried again after a while.
    BackingOff = 5,
}

impl State {
    /// All of them.
    pub const ALL: [State; 5] = [
        State::Starting,
        State::Ready,
        State::Draining,
        State::Stopping,
        State::BackingOff,
    ];

    /// One word, for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Ready => "ready",
            State::Draining => "draining",
            State::Stopping => "stopping",
            State::BackingOff => "backing-off",
        }
    }
}

impl Field for State {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn get(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let tag = input.u8()?;
        let known = Self::ALL.into_iter().find(|state| *state as u8 == tag);
        known.ok_or(Malformed::Unknown(tag))
    }
}

impl StatusReport {
    /// The report as it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        self.put(&mut out);
        out
    }

    /// Decodes a whole report.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_REPORT {
            return Err(Malformed::TooLong);
        }
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            VERSION => {}
            other => return Err(Malformed::Unknown(other)),
        }
        let report = Self::get(&mut reader)?;
        reader.finish()?;
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> StatusReport {
        let running = RunningRequest {
            thread: 1,
            age: 5,
            queue_time: 6,
            line: "GET /".into(),
            application_group: "".into(),
        };
        let totals = RequestTotals {
            requests: 7,
            busy: 8,
            queued: 9,
        };
        let worker = WorkerStatus {
            pid: 10,
            generation: 11,
            state: State::Draining,
            reason: "its script has changed".into(),
            age: 12,
            resident: 13,
            totals,
            last_error: Some((312, 14)),
            busy: 1,
            running: vec![running],
        };
        let group = GroupStatus {
            name: "shop".into(),
            generation: 11,
            state: State::BackingOff,
            reason: "no".into(),
            next_start: 15,
            processes: 16,
            threads: 17,
            uid: 18,
            waiting: Some(19),
            starts: 20,
            replacements: 21,
            deaths: 22,
            totals,
            last_error: Some((23, "WSGI0338".into())),
            workers: vec![worker],
        };
        StatusReport {
            pid: 1,
            age: 2,
            resident: 3,
            is_cut: true,
            groups: vec![group],
        }
    }

    #[test]
    fn a_report_round_trips_and_every_prefix_is_refused() {
        let bytes = report().encode();
        assert_eq!(StatusReport::decode(&bytes), Ok(report()));
        for cut in 0..bytes.len() {
            assert!(StatusReport::decode(&bytes[..cut]).is_err());
        }
        assert_eq!(
            StatusReport::decode(&[bytes, vec![0]].concat()),
            Err(Malformed::Trailing)
        );
    }

    #[test]
    fn a_report_with_any_byte_changed_is_read_or_refused() {
        let bytes = report().encode();
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                let _ = StatusReport::decode(&changed);
            }
        }
        let endless = vec![0xff; MAX_REPORT + 1];
        assert_eq!(StatusReport::decode(&endless), Err(Malformed::TooLong));
    }
}
