//! What registries and their settings say: `hosts.toml`, and the headers of a 401.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(endpoints) = registry::parsers::hosts_file(text)
    {
        // The registry itself comes last, whatever is before it.
        assert!(endpoints > 0);
    }
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let _ = registry::parsers::challenge(&lines);
});
