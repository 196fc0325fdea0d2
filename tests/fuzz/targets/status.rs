//! What a worker may scribble on its board, as the supervisor reads it, and the report that the
//! supervisor makes of boards, as an Apache child reads it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::scoreboard;
use wire::status::StatusReport;

fuzz_target!(|input: &[u8]| {
    let (words, _) = input.as_chunks::<8>();
    let cells: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let (now, cells) = cells.split_first().map_or((0, &[][..]), |(now, cells)| (*now, cells));
    let _ = scoreboard::read(cells, now);
    if let Ok(report) = StatusReport::decode(input) {
        assert_eq!(StatusReport::decode(&report.encode()).as_ref(), Ok(&report));
    }
});
