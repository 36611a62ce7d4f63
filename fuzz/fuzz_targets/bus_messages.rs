//! Messages of D-Bus peers, and values written as text in annotations: what can be read can be
//! written, and is the same when it is read again.
#![no_main]

use dbus::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(message)) = Message::from_bytes(data)
        && let Ok(bytes) = message.to_bytes()
    {
        let again = Message::from_bytes(&bytes).expect("its own bytes");
        // By its text: a number that is none is not equal to itself.
        assert_eq!(format!("{:?}", Some(message)), format!("{again:?}"));
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(value) = dbus::from_text(text)
    {
        let mut message = Message::call("", "/", "", "M");
        message.body.push(value);
        let bytes = message.to_bytes().expect("a value that was accepted");
        Message::from_bytes(&bytes).expect("its own bytes");
    }
});
