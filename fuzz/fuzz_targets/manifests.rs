//! Documents of a registry.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci::image::{ImageConfig, Index, Manifest};

fn round<T>(data: &[u8])
where
    T: serde_json_bounds::Both,
{
    if let Ok(read) = serde_json::from_slice::<T>(data) {
        let written = serde_json::to_vec(&read).expect("what was read can be written");
        let again: T = serde_json::from_slice(&written).expect("what was written can be read");
        assert_eq!(again, read);
    }
}

mod serde_json_bounds {
    pub trait Both:
        serde::de::DeserializeOwned + serde::Serialize + PartialEq + std::fmt::Debug
    {
    }
    impl<T: serde::de::DeserializeOwned + serde::Serialize + PartialEq + std::fmt::Debug> Both for T {}
}

fuzz_target!(|data: &[u8]| {
    round::<Manifest>(data);
    round::<Index>(data);
    round::<ImageConfig>(data);
});
