//! The request message, as a worker decodes it: any bytes give an error or a request whose parts
//! can be walked, and what was decoded encodes to the same bytes again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::frame::{self, Kind};
use wire::request::{self, Builder, Key};

fuzz_target!(|input: &[u8]| {
    let Ok(request) = request::decode(input) else {
        return;
    };
    assert_eq!(request.environ.iter().count(), request.environ.len());
    let mut again = Vec::new();
    let mut builder = Builder::new(&mut again, &request.prologue).expect("decoded, so in bounds");
    let mut canonical = true;
    for (key, value) in request.environ.iter() {
        match key {
            Key::Known(code) => builder.known(code, value),
            Key::Named(name) => {
                // A known name written out is legal, and comes back as its code.
                canonical &= wire::keys::find(name).is_none();
                builder.named(name, value)
            }
        }
        .expect("decoded, so in bounds");
    }
    builder.finish(request.body).expect("decoded, so in bounds");
    let (head, payload, rest) = frame::split(&again).unwrap().unwrap();
    assert_eq!((head.kind, rest.len()), (Kind::Request, 0));
    if canonical {
        assert_eq!(payload, input);
    }
});
