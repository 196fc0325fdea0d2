//! Frames that come in pieces of any size.

use super::*;
use crate::child::relay::tests::Script;
use wire::response::{append_head, Log};

fn all(frames: &mut FrameReader) -> Vec<Piece> {
    std::iter::from_fn(|| frames.next_piece().unwrap()).collect()
}

fn response() -> Vec<u8> {
    let mut out = Vec::new();
    append_head(&mut out, Kind::Head, 200, b"OK", [].into_iter()).unwrap();
    frame::append::<Malformed>(&mut out, Kind::Data, |out| {
        out.extend_from_slice(b"hello");
        Ok(())
    })
    .unwrap();
    End::default().append(&mut out);
    out
}

#[test]
fn frames_come_out_the_same_however_they_are_cut() {
    let bytes = response();
    for size in 1..=bytes.len() {
        let mut worker = Script::sending(&bytes).in_pieces_of(size);
        let mut frames = FrameReader::default();
        let mut body = Vec::new();
        let mut kinds = Vec::new();
        while frames.fill(&mut worker).unwrap() != Filled::End {
            for piece in all(&mut frames) {
                match piece {
                    Piece::Data(part) => body.extend_from_slice(frames.body(&part)),
                    Piece::Frame(kind, _) => kinds.push(kind),
                }
            }
        }
        assert_eq!(
            (&body[..], &kinds[..]),
            (&b"hello"[..], &[Kind::Head, Kind::End][..])
        );
        assert!(frames.is_between_frames());
    }
}

fn append_data(out: &mut Vec<u8>, body: &[u8]) {
    frame::append::<Malformed>(out, Kind::Data, |out| {
        out.extend_from_slice(body);
        Ok(())
    })
    .unwrap();
}

#[test]
fn frames_of_every_size_come_out_the_same_however_they_are_cut() {
    let sizes = [
        LARGE - 1,
        LARGE,
        0,
        BLOCK,
        BLOCK,
        1,
        BLOCK + 1,
        3 * BLOCK + LARGE / 2,
        7,
        BLOCK - 1,
    ];
    let (mut bytes, mut body) = (Vec::new(), Vec::new());
    for (at, size) in sizes.into_iter().enumerate() {
        let data: Vec<u8> = (0..size).map(|i| (i % 251 + at) as u8).collect();
        append_data(&mut bytes, &data);
        body.extend(data);
        let text = &vec![b'l'; if at % 3 == 0 { 20_000 } else { 3 }];
        let level = wire::response::Level::Error;
        Log { level, text }.append(&mut bytes);
    }
    End::default().append(&mut bytes);
    for piece in [999, 8192, LARGE, BLOCK, BLOCK + 8, BLOCK + 16, 1 << 20] {
        let mut worker = Script::sending(&bytes).in_pieces_of(piece);
        let mut frames = FrameReader::default();
        let (mut got, mut kinds) = (Vec::new(), Vec::new());
        while frames.fill(&mut worker).unwrap() != Filled::End {
            for piece in all(&mut frames) {
                match piece {
                    Piece::Data(part) => got.extend_from_slice(frames.body(&part)),
                    Piece::Frame(kind, _) => kinds.push(kind),
                }
            }
        }
        assert!(got == body && frames.is_between_frames());
        assert_eq!(kinds.len(), sizes.len() + 1);
        assert_eq!(kinds.last(), Some(&Kind::End));
    }
}

#[test]
fn a_stream_of_large_frames_takes_a_block_and_a_receive_each() {
    let mut bytes = Vec::new();
    for _ in 0..5 {
        append_data(&mut bytes, &[b'x'; BLOCK]);
    }
    let mut worker = Script::sending(&bytes);
    let mut frames = FrameReader::default();
    let mut receives = Vec::new();
    while frames.fill(&mut worker).unwrap() != Filled::End {
        receives.push(all(&mut frames));
    }
    // The first brings what fits beside a head, the second the rest of that frame.
    assert_eq!(receives.len(), 6);
    for pieces in &receives[2..] {
        let [Piece::Data(part @ Part::Block(_))] = &pieces[..] else {
            panic!("{pieces:?}");
        };
        assert_eq!(part.len(), BLOCK);
    }
}

#[test]
fn a_block_that_was_taken_stays_as_it_is() {
    let mut bytes = Vec::new();
    for byte in [b'a', b'b', b'c', b'd'] {
        append_data(&mut bytes, &vec![byte; BLOCK]);
    }
    let mut worker = Script::sending(&bytes);
    let mut frames = FrameReader::default();
    let mut kept = Vec::new();
    while frames.fill(&mut worker).unwrap() != Filled::End {
        for piece in all(&mut frames) {
            if let Piece::Data(Part::Block(range)) = piece {
                kept.push((frames.take_block(), range));
            }
        }
    }
    let firsts: Vec<u8> = kept
        .iter()
        .map(|(block, range)| block[range.start])
        .collect();
    assert_eq!(firsts, b"abcd");
    frames.recycle(kept.remove(0).0);
}

#[test]
fn the_end_is_seen_before_the_last_data_is_given_away() {
    let mut frames = FrameReader::default();
    frames.fill(&mut Script::sending(&response())).unwrap();
    assert!(matches!(
        frames.next_piece(),
        Ok(Some(Piece::Frame(Kind::Head, _)))
    ));
    assert_eq!(frames.end_follows(), None);
    assert!(matches!(frames.next_piece(), Ok(Some(Piece::Data(_)))));
    assert_eq!(frames.end_follows(), Some(End::default()));
}

#[test]
fn an_announced_length_reserves_nothing() {
    let head = frame::head(Kind::Head, Kind::Head.max_len()).unwrap();
    let mut frames = FrameReader::default();
    frames.fill(&mut Script::sending(&head)).unwrap();
    assert_eq!(frames.next_piece(), Ok(None));
    assert_eq!(frames.buf.len(), FIRST);
}

#[test]
fn a_long_frame_is_gathered_and_the_buffer_stays_near_its_size() {
    let mut bytes = Vec::new();
    let text = vec![b'x'; 60_000];
    Log {
        level: wire::response::Level::Error,
        text: &text,
    }
    .append(&mut bytes);
    let mut worker = Script::sending(&bytes).in_pieces_of(777);
    let mut frames = FrameReader::default();
    loop {
        frames.fill(&mut worker).unwrap();
        if let Some(Piece::Frame(Kind::Log, range)) = frames.next_piece().unwrap() {
            assert_eq!(range.len(), 60_001);
            break;
        }
    }
    assert!(frames.buf.len() <= bytes.len());
}

#[test]
fn what_no_worker_sends_is_refused_by_its_head_alone() {
    for kind in [Kind::Request, Kind::Body, Kind::BodyEnd, Kind::ToWorker] {
        let head = frame::head(kind, 0).unwrap();
        let mut frames = FrameReader::default();
        frames.fill(&mut Script::sending(&head)).unwrap();
        let unknown = Malformed::Unknown(kind as u8);
        assert_eq!(frames.next_piece(), Err(unknown.into()));
    }
}
