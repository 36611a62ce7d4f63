//! Imports from URLs: streamed, and refused with moby's statuses.

use engine::{ErrorKind, ImportOptions};

use super::*;

fn options(name: &str) -> ImportOptions {
    ImportOptions {
        reference: Some(name.to_owned()),
        message: "imported".into(),
        ..ImportOptions::default()
    }
}

async fn import(lab: &Lab, url: &str) -> Vec<JsonMessage> {
    let lines = lab.engine.image_import_url(url, options("made:1")).await;
    rest(&mut lines.unwrap()).await
}

#[tokio::test]
async fn a_file_system_comes_from_a_url() {
    let lab = Lab::new("import", 3).await;
    let bytes = gzip(&tar("a", &noise(7, 400_000)));
    lab.registry
        .put("/fs.tar.gz", "application/gzip", bytes.clone());
    lab.registry
        .order(|request, reply| match request.line.as_str() {
            "GET /moved?x=1" => Reply::new(302, "").with("Location", "/fs.tar.gz"),
            "GET /private" if request.header("authorization") != "Basic dTpw" => {
                Reply::new(401, "no")
            }
            "GET /private" => Reply::new(302, "").with("Location", "fs.tar.gz"),
            _ => reply,
        });
    let at = lab.registry.address;
    let url = format!("{at}/moved?x=1");
    let lines = import(&lab, &url).await;
    assert_eq!(lines[0].status, format!("Downloading from http://{url}"));
    let moving: Vec<_> = lines
        .iter()
        .filter(|line| line.status == "Importing")
        .collect();
    let total = bytes.len() as u64;
    let detail = |line: &JsonMessage| line.progress_detail.clone().unwrap();
    assert!(moving.iter().all(|line| detail(line).total == total));
    let image = lab.engine.image_inspect("made:1").unwrap();
    assert_eq!(lines.last().unwrap().status, image.id);
    assert_eq!(image.comment, "imported");

    // Credentials are used and not shown.
    let lines = import(&lab, &format!("http://u:p@{at}/private")).await;
    assert_eq!(
        lines[0].status,
        format!("Downloading from http://u:xxxxx@{at}/private")
    );
    assert!(lines.last().unwrap().error.is_empty(), "{lines:?}");
}

#[tokio::test]
async fn what_does_not_come_whole_makes_no_image() {
    let lab = Lab::new("import-fails", 3).await;
    let bytes = tar("a", &noise(7, 400_000));
    lab.registry.put("/fs.tar", "application/x-tar", bytes);
    lab.registry.order(|request, mut reply| {
        match request.line.as_str() {
            "GET /fs.tar" => reply.fault = Fault::Reset(100_000),
            "GET /refused" => return Reply::new(403, "not you\n"),
            "GET /bad" => return Reply::new(400, "what?"),
            "GET /broken" => return Reply::new(500, "oh"),
            "GET /round" => return Reply::new(302, "").with("Location", "/round"),
            _ => {}
        }
        reply
    });
    let at = lab.registry.address;
    let lines = import(&lab, &format!("http://{at}/fs.tar")).await;
    error(&lines);
    assert!(lab.engine.image_inspect("made:1").is_err());
    assert!(lab.settled().await.is_empty());

    let refused = async |url: String| {
        let asked = lab.engine.image_import_url(&url, options("made:1"));
        let error = asked.await.expect_err(&url);
        (error.kind, error.message)
    };
    for (path, kind, text) in [
        ("refused", ErrorKind::Forbidden, "403 Forbidden: not you"),
        ("bad", ErrorKind::InvalidParameter, "400 Bad Request: what?"),
        ("broken", ErrorKind::System, "500 Internal Server Error: oh"),
    ] {
        let url = format!("http://{at}/{path}");
        let whole = format!("failed to GET {url} with status {text}");
        assert_eq!(refused(url).await, (kind, whole));
    }
    let (kind, text) = refused(format!("{at}/nothing")).await;
    assert_eq!(kind, ErrorKind::NotFound);
    assert!(text.contains("with status 404 Not Found: "), "{text}");
    let (kind, text) = refused(format!("{at}/round")).await;
    assert_eq!(kind, ErrorKind::System);
    assert!(text.ends_with("stopped after 10 redirects"), "{text}");
    let (_, text) = refused("ftp://h/x".into()).await;
    assert_eq!(
        text,
        "Get \"ftp://h/x\": unsupported protocol scheme \"ftp\""
    );
    let before = lab.registry.seen("GET /fs.tar").len();
    let mut wrong = options("made:1");
    wrong.changes = vec!["NONSENSE x".into()];
    let url = format!("{at}/fs.tar");
    let asked = lab.engine.image_import_url(&url, wrong);
    assert_eq!(asked.await.unwrap_err().kind, ErrorKind::InvalidParameter);
    assert_eq!(lab.registry.seen("GET /fs.tar").len(), before, "not asked");
}

#[tokio::test]
async fn offline_nobody_is_asked() {
    let settings = RegistrySettings {
        offline: true,
        ..RegistrySettings::default()
    };
    let lab = Lab::with("import-offline", 3, settings).await;
    let url = format!("http://{}/fs.tar", lab.registry.address);
    let error = lab.engine.image_import_url(&url, options("made:1")).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("offline mode"), "{error}");
    assert!(lab.registry.seen("fs.tar").is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_ends_it() {
    let lab = Lab::new("import-left", 3).await;
    let bytes = tar("a", &noise(7, 400_000));
    lab.registry.put("/fs.tar", "application/x-tar", bytes);
    lab.registry.order(|request, mut reply| {
        if request.line == "GET /fs.tar" {
            reply.fault = Fault::Stall(100_000);
        }
        reply
    });
    let url = format!("http://{}/fs.tar", lab.registry.address);
    let lines = lab.engine.image_import_url(&url, options("made:1")).await;
    drop(lines.unwrap());
    assert!(lab.settled().await.is_empty());
    assert!(lab.engine.image_inspect("made:1").is_err());
}
