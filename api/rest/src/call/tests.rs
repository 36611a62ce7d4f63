//! Decoding of requests.

use bytes::Bytes;
use engine::ErrorKind;
use http::{HeaderMap, Method};
use serde_json::Value;

use super::Call;
use crate::body::RequestBody;
use crate::version::ApiVersion;

fn call(uri: &str, kind: Option<&'static str>, body: &'static str) -> engine::Result<Call> {
    let mut headers = HeaderMap::new();
    if let Some(kind) = kind {
        headers.insert("content-type", kind.parse().expect("header"));
    }
    let body = RequestBody::Full(Bytes::from_static(body.as_bytes()));
    let uri = uri.parse().expect("uri");
    Call::decode(Method::POST, &uri, headers, body, ApiVersion::oldest())
}

async fn json(kind: Option<&'static str>, body: &'static str) -> Result<Value, String> {
    let call = call("/v1.40/x", kind, body).expect("decodes");
    call.json().await.map_err(|error: engine::Error| {
        assert_eq!(error.kind, ErrorKind::InvalidParameter);
        error.message
    })
}

#[tokio::test]
async fn bodies_are_exactly_one_json_value() {
    let kind = Some("application/json; charset=utf-8");
    assert_eq!(json(kind, " {\"a\":1} \n").await.expect("one")["a"], 1);
    assert_eq!(
        json(kind, "{}{}").await.expect_err("two"),
        "unexpected content after JSON"
    );
    assert_eq!(
        json(kind, "{} x").await.expect_err("more"),
        "unexpected content after JSON"
    );
    assert_eq!(
        json(kind, "  ").await.expect_err("none"),
        "invalid JSON: got EOF while reading request body"
    );
    assert!(
        json(kind, "{\"a\":")
            .await
            .expect_err("cut")
            .starts_with("invalid JSON: ")
    );
}

#[tokio::test]
async fn bodies_must_say_that_they_are_json() {
    assert_eq!(
        json(Some("text/plain"), "{}").await.expect_err("text"),
        "unsupported Content-Type header (text/plain): must be 'application/json'"
    );
    assert_eq!(
        json(None, "{}").await.expect_err("unsaid"),
        "malformed Content-Type header (): mime: no media type"
    );
}

#[test]
fn paths_are_decoded_below_the_version() {
    let call = call("/v1.40/images/localhost%3A5000%2Fa/json?x=1", None, "").expect("decodes");
    assert_eq!(call.path, "/images/localhost:5000/a/json");
    assert_eq!(call.version, ApiVersion::new(1, 40));
    assert!(call.query.flag("x"));
}

#[test]
fn credentials_in_both_alphabets() {
    let mut call = call("/x", None, "").expect("decodes");
    assert!(call.registry_auth().is_none());
    // {"username":"ü?>","password":"p"}
    for text in [
        "eyJ1c2VybmFtZSI6IsO8Pz4iLCJwYXNzd29yZCI6InAifQ==",
        "eyJ1c2VybmFtZSI6IsO8Pz4iLCJwYXNzd29yZCI6InAifQ",
    ] {
        call.headers
            .insert("x-registry-auth", text.parse().expect("header"));
        let auth = call.registry_auth().expect("credentials");
        assert_eq!(
            (auth.username.as_str(), auth.password.as_str()),
            ("ü?>", "p")
        );
    }
    call.headers
        .insert("x-registry-auth", "***".parse().expect("header"));
    assert!(call.registry_auth().is_none());
}
