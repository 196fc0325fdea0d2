//! The control conversations: any packet is refused or encodes to the same bytes again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::control::{FromSupervisor, FromWorker, ToSupervisor, ToWorker};

fuzz_target!(|packet: &[u8]| {
    if let Ok(message) = ToSupervisor::decode(packet) {
        assert_eq!(message.encode().as_deref(), Ok(packet));
    }
    if let Ok(message) = FromSupervisor::decode(packet) {
        assert_eq!(message.encode().as_deref(), Ok(packet));
    }
    if let Ok(message) = ToWorker::decode(packet) {
        assert_eq!(message.encode().as_deref(), Ok(packet));
    }
    if let Ok(message) = FromWorker::decode(packet) {
        assert_eq!(message.encode().as_deref(), Ok(packet));
    }
});
