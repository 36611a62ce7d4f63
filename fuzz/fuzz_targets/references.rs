//! Image references: what is accepted has one normal form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci::{Digest, Platform, Reference};

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        let written = reference.to_string();
        let again: Reference = written.parse().expect("the normal form is one");
        assert_eq!(again, reference);
        let familiar: Reference = reference.familiar().parse().expect("the short form is one");
        assert_eq!(familiar.familiar(), reference.familiar());
        let _ = reference.or_latest();
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string().parse::<Digest>().as_ref(), Ok(&digest));
    }
    let _ = text.parse::<Platform>();
});
