//! Messages of the kernel.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netlink::parse::{attributes, messages, outcome, text};
use netlink::route::{Address, Destination, Link};

fuzz_target!(|data: &[u8]| {
    for message in messages(data) {
        let _ = outcome(&message);
        let _ = Link::parse(&message);
        let _ = Address::parse(&message);
        let _ = Destination::parse(&message);
        for (_, value) in attributes(message.payload) {
            let _ = text(value);
            let _ = attributes(value).count();
        }
    }
});
