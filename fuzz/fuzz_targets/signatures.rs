//! Signatures of others: none of these bytes was made with a key that anybody has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signature::{
    Action, Artifact, Bundle, Envelope, Identities, PublicKey, Rules, SIGNED, TrustPolicy,
};

/// A key whose other half nobody has kept.
const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n\
    6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n\
    -----END PUBLIC KEY-----\n";

fuzz_target!(|data: &[u8]| {
    let artifact = Artifact {
        media_type: "application/vnd.oci.image.manifest.v1+json",
        digest: "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        bytes: b"{}",
    };
    if let Ok(bundle) = Bundle::parse(data) {
        let keys = PublicKey::from_pem(KEY.as_bytes()).into_iter().collect::<Vec<_>>();
        let verdict = bundle.verify(&keys, &[SIGNED.to_owned()], &artifact);
        assert!(verdict.is_err());
    }
    if let Ok(envelope) = Envelope::parse(data) {
        let rules = Rules {
            timestamp: Action::Skip,
            expiry: Action::Skip,
            revocation: Action::Skip,
            identities: Identities::Any,
        };
        let verdict = envelope.verify(&[], &rules, jiff::Timestamp::UNIX_EPOCH, &artifact);
        assert!(verdict.is_err());
    }
    let _ = TrustPolicy::parse(data);
    let _ = PublicKey::from_pem(data);
});
