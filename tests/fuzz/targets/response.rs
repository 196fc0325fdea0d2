//! What a hostile worker may send, as an Apache child decodes it: a stream of frames.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::frame::{self, Kind};
use wire::response;

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    // Every step consumes at least a frame head, so this ends.
    while let Ok(Some((head, payload, after))) = frame::split(rest) {
        match head.kind {
            Kind::Head | Kind::Interim => {
                if let Ok(head) = response::decode_head(payload) {
                    assert_eq!(head.fields().count(), head.len());
                    for (name, value) in head.fields() {
                        assert!(name.len() + value.len() <= response::MAX_HEADER_LINE);
                        let _ = (response::valid_name(name), response::valid_value(value));
                    }
                }
            }
            Kind::Log => drop(response::Log::decode(payload)),
            Kind::File => {
                if let Ok(file) = response::File::decode(payload) {
                    assert!(file.offset + file.len <= i64::MAX as u64);
                }
            }
            Kind::Retry => drop(response::Retry::decode(payload)),
            Kind::Fail => drop(response::Fail::decode(payload)),
            Kind::End => drop(response::End::decode(payload)),
            Kind::Sent => drop(response::Sent::decode(payload)),
            Kind::BodyFailed => drop(response::BodyFailure::decode(payload)),
            _ => {}
        }
        rest = after;
    }
});
