//! What a worker shows of itself while it works: memory it shares with the supervisor.
//!
//! Written by the worker's request threads, each in cells of its own, with plain stores; read by
//! the supervisor from a copy it has made. Nothing here is a message: cells of one copy may be of
//! different moments, and the application, which lives in the same process, can write whatever it
//! likes. So [`read`] is total on any numbers, and what it returns is for showing to people, never
//! for deciding something that would hurt another group.
//!
//! Times are microseconds of the monotonic clock, which is the same in both processes.

use std::sync::atomic::{AtomicU64, Ordering};

/// Maximum number of threads on a scoreboard; further threads are not shown.
pub const MAX_THREADS: u32 = 1024;
/// Most bytes shown of method and path.
pub const MAX_LINE: usize = 128;
/// Most bytes shown of an application group's name.
pub const MAX_GROUP: usize = 64;

/// First cell of a scoreboard: the number of its layout.
const LAYOUT: u64 = 0x7773_6769_0000_0001;

/// Cells of the process, at the front. One cache line.
mod process {
    pub const LAYOUT: usize = 0;
    pub const GENERATION: usize = 1;
    pub const STARTED: usize = 2;
    /// When a thread last had the GIL; for deadlock detection.
    pub const HEARTBEAT: usize = 3;
    /// Number of the last error's log id, `WSGI0nnn`.
    pub const ERROR: usize = 4;
    pub const ERROR_AT: usize = 5;
    pub const CELLS: usize = 8;
}

/// Cells of one thread. Four cache lines, its counters and the beginning of the line in the first.
mod thread {
    use super::{MAX_GROUP, MAX_LINE};
    /// When the thread began the current request; 0 if it is idle.
    pub const SINCE: usize = 0;
    pub const REQUESTS: usize = 1;
    pub const BUSY: usize = 2;
    pub const QUEUED: usize = 3;
    /// How long the current request waited.
    pub const QUEUE_TIME: usize = 4;
    pub const LINE_LENGTH: usize = 5;
    pub const GROUP_LENGTH: usize = 6;
    pub const LINE: usize = 7;
    pub const GROUP: usize = LINE + MAX_LINE / 8;
    /// As `SINCE`, written when the text is complete.
    pub const COMPLETE: usize = 31;
    pub const CELLS: usize = 32;
    const _: () = assert!(GROUP + MAX_GROUP / 8 <= COMPLETE && MAX_GROUP <= MAX_LINE);
}

/// Cells of the board of a worker with so many request threads.
pub fn cells(threads: u32) -> usize {
    process::CELLS + threads.min(MAX_THREADS) as usize * thread::CELLS
}

/// The worker's side. Methods of one thread's number are for that thread alone; a thread without
/// cells shows nothing.
#[derive(Debug, Clone, Copy)]
pub struct Scoreboard<'a>(pub &'a [AtomicU64]);

/// The request that a thread begins.
#[derive(Debug, Clone, Copy)]
pub struct RequestStart<'a> {
    pub now: u64,
    /// How long the request waited for a thread.
    pub queue_time: u64,
    pub method: &'a [u8],
    /// Path of the URL, without the query string.
    pub path: &'a [u8],
    pub application_group: &'a [u8],
}

/// What a thread has done, as the worker itself reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// When the thread began the current request; 0 if it is idle.
    pub since: u64,
    /// Requests that have ended.
    pub requests: u64,
    /// Time spent on them.
    pub busy: u64,
}

impl Scoreboard<'_> {
    fn put(self, at: usize, value: u64) {
        if let Some(cell) = self.0.get(at) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    fn add(self, at: usize, value: u64) {
        if let Some(cell) = self.0.get(at) {
            // Written by one thread: no need for an atomic addition.
            let sum = cell.load(Ordering::Relaxed).wrapping_add(value);
            cell.store(sum, Ordering::Relaxed);
        }
    }

    /// Describes the process. To be called first.
    pub fn describe(self, generation: u32, now: u64) {
        self.put(process::GENERATION, generation.into());
        self.put(process::STARTED, now);
        self.put(process::LAYOUT, LAYOUT);
    }

    /// A thread has the GIL now.
    pub fn beat(self, now: u64) {
        self.put(process::HEARTBEAT, now);
    }

    /// Something was logged under `WSGI0nnn`.
    pub fn error(self, number: u32, now: u64) {
        self.put(process::ERROR, number.into());
        self.put(process::ERROR_AT, now);
    }

    /// Thread `number`, counted from 1, begins a request.
    pub fn begin(self, number: u32, begun: &RequestStart<'_>) {
        let Some(own) = thread_cells(self.0, number) else {
            return;
        };
        let own = Scoreboard(own);
        own.put(thread::COMPLETE, 0);
        let path = begun.path.split(|&byte| byte == b'?').next();
        let path = path.unwrap_or_default();
        let method = begun.method.get(..16).unwrap_or(begun.method);
        let words = [method, b" ", path];
        own.text(thread::LINE, thread::LINE_LENGTH, MAX_LINE, words);
        let group = [begun.application_group, b"", b""];
        own.text(thread::GROUP, thread::GROUP_LENGTH, MAX_GROUP, group);
        own.put(thread::QUEUE_TIME, begun.queue_time);
        for at in [thread::COMPLETE, thread::SINCE] {
            own.0[at].store(begun.now.max(1), Ordering::Release);
        }
    }

    /// Thread `number` is idle again. `served` says whether the request counts.
    pub fn end(self, number: u32, now: u64, served: bool) {
        let Some(own) = thread_cells(self.0, number) else {
            return;
        };
        let since = own[thread::SINCE].load(Ordering::Relaxed);
        let queued = own[thread::QUEUE_TIME].load(Ordering::Relaxed);
        own[thread::SINCE].store(0, Ordering::Release);
        if served && since != 0 {
            let own = Scoreboard(own);
            own.add(thread::REQUESTS, 1);
            own.add(thread::BUSY, now.saturating_sub(since));
            own.add(thread::QUEUED, queued);
        }
    }

    /// The counters of thread `number`; zeros if it has no cells.
    pub fn counters(self, number: u32) -> Counters {
        let cell = |at: usize| {
            let own = thread_cells(self.0, number);
            own.map_or(0, |own| own[at].load(Ordering::Relaxed))
        };
        Counters {
            since: cell(thread::SINCE),
            requests: cell(thread::REQUESTS),
            busy: cell(thread::BUSY),
        }
    }

    /// Writes the words without a gap, eight bytes in each cell, and their total length.
    fn text(self, at: usize, length_at: usize, max: usize, words: [&[u8]; 3]) {
        let mut bytes = [0; MAX_LINE];
        let (mut filled, mut length) = (0, 0);
        for word in words {
            let part = &word[..word.len().min(max - filled)];
            bytes[filled..filled + part.len()].copy_from_slice(part);
            filled += part.len();
            length += word.len();
        }
        for (cell, eight) in bytes[..filled.next_multiple_of(8)]
            .chunks_exact(8)
            .enumerate()
        {
            // A chunk of exactly that size.
            let value = u64::from_le_bytes(eight.try_into().unwrap_or_default());
            self.put(at + cell, value);
        }
        self.put(length_at, length as u64);
    }
}

fn thread_cells<T>(cells: &[T], number: u32) -> Option<&[T]> {
    let index = usize::try_from(number.checked_sub(1)?).ok()?;
    let at = process::CELLS.checked_add(index.checked_mul(thread::CELLS)?)?;
    cells.get(at..at.checked_add(thread::CELLS)?)
}

/// The contents of a copied scoreboard. Counters are sums over all threads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScoreboardCopy {
    pub generation: u32,
    /// When the process became ready; 0 before that.
    pub started: u64,
    pub heartbeat: u64,
    /// The last error's number, 0 to 9999, and when it was; 0 for none.
    pub error: (u32, u64),
    pub requests: u64,
    /// Time spent on them.
    pub busy: u64,
    /// Time that requests waited for a thread.
    pub queued: u64,
    /// The running requests, in order of threads.
    pub running: Vec<RunningRequest>,
}

/// A running request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningRequest {
    /// From 1.
    pub thread: u32,
    /// How long it has run.
    pub age: u64,
    pub queue_time: u64,
    /// Method and path; empty where they were just being written. `...` ends what was cut.
    pub line: Vec<u8>,
    pub application_group: Vec<u8>,
}

/// Reads a copy, whatever it contains. `now` is the time of the copy.
pub fn read(cells: &[u64], now: u64) -> ScoreboardCopy {
    let at = |index: usize| cells.get(index).copied().unwrap_or(0);
    if at(process::LAYOUT) != LAYOUT {
        return ScoreboardCopy::default();
    }
    let mut seen = ScoreboardCopy {
        generation: u32::try_from(at(process::GENERATION)).unwrap_or(0),
        started: at(process::STARTED).min(now),
        heartbeat: at(process::HEARTBEAT).min(now),
        error: match u32::try_from(at(process::ERROR)) {
            Ok(number @ 1..=9999) => (number, at(process::ERROR_AT).min(now)),
            _ => (0, 0),
        },
        ..ScoreboardCopy::default()
    };
    for number in 1..=MAX_THREADS {
        let Some(own) = thread_cells(cells, number) else {
            break;
        };
        seen.requests = seen.requests.saturating_add(own[thread::REQUESTS]);
        seen.busy = seen.busy.saturating_add(own[thread::BUSY]);
        seen.queued = seen.queued.saturating_add(own[thread::QUEUED]);
        let since = own[thread::SINCE];
        if since == 0 {
            continue;
        }
        let whole = own[thread::COMPLETE] == since;
        let text = |at: usize, length: usize, max: usize| {
            if whole {
                text(own, at, length, max)
            } else {
                Vec::new()
            }
        };
        seen.running.push(RunningRequest {
            thread: number,
            age: now.saturating_sub(since),
            queue_time: own[thread::QUEUE_TIME],
            line: text(thread::LINE, thread::LINE_LENGTH, MAX_LINE),
            application_group: text(thread::GROUP, thread::GROUP_LENGTH, MAX_GROUP),
        });
    }
    seen
}

fn text(own: &[u64], at: usize, length_at: usize, max: usize) -> Vec<u8> {
    let length = usize::try_from(own[length_at]).unwrap_or(usize::MAX);
    let bytes = own[at..at + max / 8].iter().flat_map(|c| c.to_le_bytes());
    let mut text: Vec<u8> = bytes.take(length).collect();
    if length > max {
        text.truncate(max - 3);
        text.extend_from_slice(b"...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(threads: u32) -> Vec<AtomicU64> {
        (0..cells(threads)).map(|_| AtomicU64::new(0)).collect()
    }

    fn copy(cells: &[AtomicU64]) -> Vec<u64> {
        cells.iter().map(|c| c.load(Ordering::Relaxed)).collect()
    }

    fn begun(path: &[u8], now: u64) -> RequestStart<'_> {
        RequestStart {
            now,
            queue_time: 30,
            method: b"GET",
            path,
            application_group: b"shop.example|/shop",
        }
    }

    #[test]
    fn a_request_is_seen_while_it_runs_and_counted_when_it_has() {
        let cells = board(2);
        let own = Scoreboard(&cells);
        own.describe(3, 1000);
        own.beat(1500);
        own.error(312, 1600);
        own.begin(2, &begun(b"/shop/cart?card=4111", 2000));
        let seen = read(&copy(&cells), 7000);
        assert_eq!((seen.generation, seen.started), (3, 1000));
        assert_eq!((seen.heartbeat, seen.error), (1500, (312, 1600)));
        let running = RunningRequest {
            thread: 2,
            age: 5000,
            queue_time: 30,
            line: b"GET /shop/cart".to_vec(),
            application_group: b"shop.example|/shop".to_vec(),
        };
        assert_eq!(seen.running, [running]);
        assert_eq!(seen.requests, 0);
        own.end(2, 9000, true);
        own.begin(1, &begun(b"/", 9000));
        own.end(1, 9001, false);
        let seen = read(&copy(&cells), 9500);
        assert_eq!((seen.requests, seen.busy, seen.queued), (1, 7000, 30));
        assert!(seen.running.is_empty());
    }

    #[test]
    fn a_short_text_after_a_long_one_is_alone_and_a_long_one_is_cut() {
        let cells = board(1);
        let own = Scoreboard(&cells);
        own.describe(1, 1);
        own.begin(1, &begun(&[b'x'; 5000], 2));
        let line = &read(&copy(&cells), 3).running[0].line.clone();
        assert_eq!(line.len(), MAX_LINE);
        assert!(line.starts_with(b"GET xxx") && line.ends_with(b"x..."));
        own.begin(1, &begun(b"/a", 4));
        assert_eq!(read(&copy(&cells), 5).running[0].line, b"GET /a");
        for length in MAX_LINE - 12..MAX_LINE - 3 {
            let path = vec![b'y'; length];
            own.begin(1, &begun(&path, 4));
            let line = &read(&copy(&cells), 5).running[0].line.clone();
            assert_eq!(line[4..], path);
        }
    }

    #[test]
    fn a_text_that_is_being_written_is_not_shown() {
        let cells = board(1);
        let own = Scoreboard(&cells);
        own.describe(1, 1);
        own.begin(1, &begun(b"/a", 2));
        let mut torn = copy(&cells);
        torn[process::CELLS + thread::COMPLETE] = 0;
        let running = &read(&torn, 5).running[0];
        assert!(running.line.is_empty() && running.age == 3);
    }

    #[test]
    fn the_worker_reads_what_each_thread_has_counted() {
        let cells = board(2);
        let own = Scoreboard(&cells);
        own.begin(1, &begun(b"/a", 2000));
        own.end(1, 2500, true);
        own.begin(1, &begun(b"/a", 3000));
        let counters = Counters {
            since: 3000,
            requests: 1,
            busy: 500,
        };
        assert_eq!(own.counters(1), counters);
        for number in [0, 2, 3, u32::MAX] {
            assert_eq!(own.counters(number), Counters::default());
        }
    }

    #[test]
    fn threads_without_cells_show_nothing_and_harm_nobody() {
        assert_eq!(cells(u32::MAX), cells(MAX_THREADS));
        let cells = board(1);
        for number in [0, 2, u32::MAX] {
            Scoreboard(&cells).begin(number, &begun(b"/", 1));
            Scoreboard(&cells).end(number, 2, true);
        }
        assert!(copy(&cells).iter().all(|&cell| cell == 0));
        Scoreboard(&[]).describe(1, 1);
    }

    #[test]
    fn any_numbers_can_be_read() {
        // A generator is enough: what matters is every kind of value in every cell.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match state % 4 {
                0 => 0,
                1 => u64::MAX,
                2 => state % 200,
                _ => state,
            }
        };
        for length in (0..200).chain([cells(3), cells(MAX_THREADS), 40_000]) {
            let mut cells: Vec<u64> = (0..length).map(|_| random()).collect();
            for layout in [random(), LAYOUT] {
                if let Some(first) = cells.first_mut() {
                    *first = layout;
                }
                let now = random();
                let seen = read(&cells, now);
                assert!(seen.running.len() <= MAX_THREADS as usize);
                assert!(seen.started <= now && seen.error.0 < 10_000);
                for running in seen.running {
                    assert!(running.line.len() <= MAX_LINE && running.age <= now);
                    assert!(running.application_group.len() <= MAX_GROUP);
                }
            }
        }
    }
}
