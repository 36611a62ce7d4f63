//! The user's files of an image, and a wish for a user: ids in range or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci::runtime::User;
use runtime::Identity;

fuzz_target!(|data: (&str, &str, &str, Vec<String>)| {
    let (user, passwd, group, extra_groups) = data;
    let identity = Identity {
        user,
        extra_groups: &extra_groups,
    };
    if let Ok(found) = runtime::resolve_user(&User::default(), &identity, passwd, group) {
        // The primary group leads the others, each of which is there once.
        assert_eq!(found.additional_gids.first(), Some(&found.gid));
        let mut sorted = found.additional_gids.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), found.additional_gids.len());
    }
});
