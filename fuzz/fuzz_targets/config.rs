//! config.json: whatever the bytes, an answer; and what is accepted is read back as it was.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use oci::runtime::Spec;

fuzz_target!(|data: &[u8]| {
    let Ok(spec) = Spec::from_json(data) else {
        return;
    };
    let name = runtime::Name {
        id: "fuzz",
        bundle: Path::new("/bundle"),
    };
    let checked = runtime::check(&spec, Some(&name));
    let again = serde_json::to_vec(&spec).expect("what was read can be written");
    let read = Spec::from_json(&again).expect("what was written can be read");
    assert_eq!(read, spec);
    if checked.is_ok()
        && let Some(profile) = spec.linux.as_ref().and_then(|l| l.seccomp.as_ref())
    {
        let filter = runtime::Filter::compile(profile).expect("it was checked");
        assert_eq!(
            runtime::Filter::from_bytes(&filter.to_bytes()).as_ref(),
            Some(&filter)
        );
    }
    let _ = runtime::Filter::from_bytes(data);
});
