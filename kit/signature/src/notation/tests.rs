//! Envelopes as notation makes them, and as nobody should.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CrlDistributionPoint, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, SigningKey as _, date_time_ymd,
};
use serde_json::json;

use super::*;

const MANIFEST: &[u8] = b"{}";
const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
const KIND: &str = "application/vnd.oci.image.manifest.v1+json";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("authority")
}

fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    for (kind, value) in [
        (DnType::CountryName, "US"),
        (DnType::StateOrProvinceName, "WA"),
        (DnType::OrganizationName, "acme"),
    ] {
        params.distinguished_name.push(kind, value);
    }
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params
}

struct Signer {
    key: KeyPair,
    chain: Vec<Vec<u8>>,
    name: &'static str,
}

impl Signer {
    fn of(authority: &Authority, params: &CertificateParams) -> Self {
        Self::with(authority, params, &PKCS_ECDSA_P256_SHA256, "ES256")
    }

    fn with(
        authority: &Authority,
        params: &CertificateParams,
        kind: &'static rcgen::SignatureAlgorithm,
        name: &'static str,
    ) -> Self {
        let key = KeyPair::generate_for(kind).expect("key");
        let own = params.signed_by(&key, authority).expect("certificate");
        Self {
            chain: vec![own.der().to_vec(), authority.der().to_vec()],
            key,
            name,
        }
    }

    /// `change` is made to the protected headers, `digest` is what is signed.
    fn sign(&self, digest: &str, change: impl Fn(&mut Value)) -> Value {
        let mut protected = json!({
            "alg": self.name, "cty": PAYLOAD, SCHEME: "notary.x509",
            TIME: "2026-01-01T00:00:00Z", "crit": [SCHEME],
        });
        change(&mut protected);
        let payload = json!({"targetArtifact":
            {"mediaType": KIND, "digest": digest, "size": MANIFEST.len()}});
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let (protected, payload) = (encoded(&protected), encoded(&payload));
        let input = format!("{protected}.{payload}");
        let signature = self.key.sign(input.as_bytes()).expect("signature");
        let half = if self.name == "ES256" { 32 } else { 48 };
        let chain: Vec<String> = self.chain.iter().map(|it| STANDARD.encode(it)).collect();
        json!({"payload": payload, "protected": protected, "header": {"x5c": chain},
            "signature": URL_SAFE_NO_PAD.encode(raw(&signature, half))})
    }
}

/// The two numbers of a signature in DER, each of so many bytes.
fn raw(signature: &[u8], half: usize) -> Vec<u8> {
    let (numbers, _) = der::element(signature, der::SEQUENCE).expect("sequence");
    let (r, rest) = der::element(numbers, der::INTEGER).expect("r");
    let (s, _) = der::element(rest, der::INTEGER).expect("s");
    [r, s]
        .iter()
        .flat_map(|number| {
            let number = &number[number.len().saturating_sub(half)..];
            let mut all = vec![0; half - number.len()];
            all.extend_from_slice(number);
            all
        })
        .collect()
}

fn rules() -> Rules {
    Rules {
        timestamp: Action::Enforce,
        expiry: Action::Enforce,
        revocation: Action::Enforce,
        identities: Identities::Any,
    }
}

fn checked(envelope: &Value, root: &Authority, rules: &Rules) -> Result<Vec<String>, Refused> {
    let artifact = Artifact {
        media_type: KIND,
        digest: DIGEST,
        bytes: MANIFEST,
    };
    let now = "2026-06-01T00:00:00Z".parse().expect("time");
    let envelope = Envelope::parse(envelope.to_string().as_bytes())?;
    envelope.verify(&[root.der().to_vec()], rules, now, &artifact)
}

fn refused(envelope: &Value, root: &Authority, rules: &Rules, why: &str) {
    let error = checked(envelope, root, rules).expect_err(why);
    assert!(error.0.contains(why), "{why}: {error}");
}

#[test]
fn what_a_trusted_signer_signed() {
    let root = authority("root");
    let signer = Signer::of(&root, &params());
    let good = signer.sign(DIGEST, |_| {});
    assert_eq!(checked(&good, &root, &rules()), Ok(Vec::new()));
    let other = Signer::with(&root, &params(), &PKCS_ECDSA_P384_SHA384, "ES384");
    let good = other.sign(DIGEST, |_| {});
    assert_eq!(checked(&good, &root, &rules()), Ok(Vec::new()));

    let stranger = authority("root");
    let from_stranger = Signer::of(&stranger, &params()).sign(DIGEST, |_| {});
    refused(&from_stranger, &root, &rules(), "cert");
    let elsewhere = Signer::of(&authority("other"), &params()).sign(DIGEST, |_| {});
    refused(&elsewhere, &root, &rules(), "vouches for its signer");
    let digest = format!("sha256:{}", "0".repeat(64));
    refused(
        &signer.sign(&digest, |_| {}),
        &root,
        &rules(),
        "it is for sha256:00",
    );

    // Somebody else's key with the signer's certificates.
    let mut forged = Signer::of(&authority("other"), &params());
    forged.chain.clone_from(&signer.chain);
    refused(
        &forged.sign(DIGEST, |_| {}),
        &root,
        &rules(),
        "verification failed",
    );
    let mut changed = signer.sign(DIGEST, |_| {});
    let payload = json!({"targetArtifact": {"mediaType": KIND, "digest": DIGEST, "size": 3}});
    changed["payload"] = URL_SAFE_NO_PAD.encode(payload.to_string()).into();
    refused(&changed, &root, &rules(), "verification failed");
}

#[test]
fn times() {
    let root = authority("root");
    let signer = Signer::of(&root, &params());
    let expiring = |at: &str| {
        signer.sign(DIGEST, |header| {
            header[EXPIRY] = at.into();
            header["crit"] = json!([SCHEME, EXPIRY]);
        })
    };
    assert!(checked(&expiring("2026-07-01T00:00:00Z"), &root, &rules()).is_ok());
    let late = expiring("2026-05-01T00:00:00Z");
    refused(&late, &root, &rules(), "expired at 2026-05-01");
    let told = checked(
        &late,
        &root,
        &Rules {
            expiry: Action::Log,
            ..rules()
        },
    );
    assert_eq!(told.expect("told").len(), 1);

    let mut old = params();
    old.not_after = date_time_ymd(2026, 2, 1);
    let signer = Signer::of(&root, &old);
    let signed = signer.sign(DIGEST, |_| {});
    refused(&signed, &root, &rules(), "a certificate has expired");
    let lax = Rules {
        timestamp: Action::Log,
        ..rules()
    };
    assert_eq!(checked(&signed, &root, &lax).expect("told").len(), 1);
    // It was not valid when it was made, either.
    let later = signer.sign(DIGEST, |header| {
        header[TIME] = "2026-03-01T00:00:00Z".into();
    });
    refused(&later, &root, &lax, "a certificate has expired");

    // An authority's word for the time counts.
    let by_authority = |time: &str| {
        signer.sign(DIGEST, |header| {
            header[SCHEME] = "notary.x509.signingAuthority".into();
            header[AUTHENTIC] = time.into();
            header["crit"] = json!([SCHEME, AUTHENTIC]);
        })
    };
    assert!(checked(&by_authority("2026-01-01T00:00:00Z"), &root, &rules()).is_ok());
    refused(
        &by_authority("2026-03-01T00:00:00Z"),
        &root,
        &lax,
        "has expired",
    );
}

#[test]
fn who_may_sign() {
    let root = authority("root");
    let signed = |params: &CertificateParams| Signer::of(&root, params).sign(DIGEST, |_| {});
    let trusting = |text: &str| Rules {
        identities: Identities::parse(&[format!("x509.subject: {text}")]).expect("identity"),
        ..rules()
    };
    let good = signed(&params());
    assert!(checked(&good, &root, &trusting("C=US, ST=WA, O=acme")).is_ok());
    for text in ["C=US, ST=WA, O=Acme", "C=US, ST=WA, O=acme, OU=x"] {
        refused(
            &good,
            &root,
            &trusting(text),
            "none of the trusted identities",
        );
    }
    let mut other = params();
    other.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    refused(&signed(&other), &root, &rules(), "certificate");
    let mut other = params();
    other.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    refused(&signed(&other), &root, &rules(), "not for signatures");
    let mut other = params();
    other.crl_distribution_points = vec![CrlDistributionPoint {
        uris: vec!["http://crl.example/x".into()],
    }];
    let revocable = signed(&other);
    refused(&revocable, &root, &rules(), "revoked is not known");
    let skipping = Rules {
        revocation: Action::Skip,
        ..rules()
    };
    assert_eq!(checked(&revocable, &root, &skipping), Ok(Vec::new()));
    let mut signer = Signer::of(&root, &params());
    signer.chain.push(b"of which nothing is known".to_vec());
    let strange = signer.sign(DIGEST, |_| {});
    refused(&strange, &root, &rules(), "revoked is not known");
}

#[test]
fn what_is_not_understood_is_refused() {
    let root = authority("root");
    let signer = Signer::of(&root, &params());
    for (name, value, why) in [
        ("alg", json!("PS256"), "does not fit"),
        ("alg", json!("none"), "does not fit"),
        ("cty", json!("text/plain"), "unknown content"),
        (SCHEME, json!("x"), "unknown signing scheme"),
        (
            "crit",
            json!([SCHEME, "io.cncf.notary.verificationPlugin"]),
            "critical",
        ),
        ("crit", json!([]), "critical"),
        (EXPIRY, json!("2030-01-01T00:00:00Z"), "critical"),
        (TIME, json!("yesterday"), "signingTime"),
    ] {
        let signed = signer.sign(DIGEST, |header| header[name] = value.clone());
        refused(&signed, &root, &rules(), why);
    }
    let mut none = signer.sign(DIGEST, |_| {});
    none["header"]["x5c"] = json!([]);
    refused(&none, &root, &rules(), "0 certificates");
    assert!(Envelope::parse(b"\xd2\x84").is_err());
}

/// A public key of RSA, 2048 bits, and its signature of `message` (PSS, SHA-256), made with OpenSSL: no
/// such keys can be made here.
const RSA: &str = concat!(
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA5D/7ToCaRsddQj5LQfscoigq8oPpXeAM6opiC5EKIbzy",
    "Iy05uuAClYN9w44kxVr9/rdH6kTL5sbBcQte6fwvpIECxAl7hirNeXI/SefWx2XabAq+wqKL5mTId9uxZhNc7BsN",
    "+vx/D/oSTjW7i5aj6mIAJBY4eGjKTzrQWEpsfmqYa4LPRBR4cjGZDJTP/t1w813X3FofQs5JiNwzVGd+Ag4ERBWD",
    "SQVKSr5lKkYFUx5ZQtDmqAV2HVAnf703Z/PiC/QWtssj/AjqBYmucwxECzAUS/xBtrsAF4Z7zsZokAPuIzJIC4u7",
    "ZzKNrPgPZE4tPd/hoOkw8yiFDJf4wEkagQIDAQAB",
);
const RSA_SIGNATURE: &str = concat!(
    "wNNSCwQjsWMHHM5lTwvkFAtlU9QfJkH50VxmRZ//FVCvNEoYmCi+cx0LZJyITsB8CTRJpxazWUTRYET+l/KxaU4R",
    "vZFycL4B7ryfWxNtdfGn874DL5JIZDbphvfvqE2jpJZP+SWzfY+/UZM8M3yBTJ7ud8ZYkyjOciQF3QheXGrE1+PU",
    "Y/Dt4hHCylGWqiucNtDCBQZLU06lQMemtxbdvIPsVvthjx+Gm1M+aP8225AWka3ybQev+tebcwu9m1n8vwhbTzAe",
    "hkRPvRCJAlL/SY5wPwiTaCKjlYZFfpzj3epuwYHT3HSpDDImLudfkf2cxYjo6WfMM54I1oHwu3a2lQ==",
);

#[test]
fn keys_of_rsa_sign_in_one_way() {
    let info = STANDARD.decode(RSA).expect("key");
    let signature = STANDARD.decode(RSA_SIGNATURE).expect("signature");
    let (name, algorithm) = algorithm(&info).expect("known");
    assert_eq!(name, "PS256");
    let (_, key) = der::key_info(&info).expect("key");
    let verify = |message: &[u8]| algorithm.verify_signature(key, message, &signature);
    assert!(verify(b"message").is_ok());
    assert!(verify(b"massage").is_err());
}
