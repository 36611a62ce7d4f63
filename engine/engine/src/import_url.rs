//! `import` from a URL: the answer's body is unpacked while it comes, as a client's own would be.
//!
//! ```text
//!  server ─► feed (a task: told to the client, ended with it) ─► image_ops::import (a thread)
//! ```

use std::sync::Arc;

use bytes::Bytes;
use registry::{Kind, Opened};
use tokio::sync::mpsc;

use crate::options::ImportOptions;
use crate::pull::Report;
use crate::{Engine, Error, Inner, Lines, Result, image_ops};

/// Lines that may wait for a slow client.
const QUEUE: usize = 16;
/// Chunks that may wait for the thread that unpacks.
const CHUNKS: usize = 8;
/// Bytes between two lines of progress, unless a hundredth of the whole is less.
const STEP: u64 = 512 << 10;

impl Engine {
    /// Makes an image of a tar of a root file system that lies at a URL, by HTTP or HTTPS and through
    /// the proxies for registries. It ends when its lines are no longer read.
    ///
    /// # Errors
    /// Invalid parameter; not found, unauthorized, forbidden and invalid parameter when the server
    /// says so; not found for a host without an address; unavailable when offline. Later failures
    /// come as a line.
    pub async fn image_import_url(
        &self,
        url: &str,
        options: ImportOptions,
    ) -> Result<Lines<dockerapi::JsonMessage>> {
        let options = image_ops::checked(options)?;
        let opened = self.0.registries.client().open(url).await;
        let opened = opened.map_err(failure)?;
        let (out, lines) = mpsc::channel(QUEUE);
        let report = Report::new(out);
        let inner = Arc::clone(&self.0);
        let text = format!("Downloading from {}", opened.asked());
        tokio::spawn(async move {
            report.say("", text).await;
            match run(inner, opened, options, &report).await {
                Ok(id) => report.say("", id).await,
                Err(error) => report.fail(error).await,
            }
        });
        Ok(lines)
    }
}

async fn run(
    inner: Arc<Inner>,
    opened: Opened,
    options: images::ImportOptions,
    report: &Report,
) -> Result<String> {
    let (sender, body) = mpsc::channel(CHUNKS);
    let making = tokio::task::spawn_blocking(move || image_ops::import(&inner, body, options));
    feed(opened, sender, report).await;
    let made = making.await.map_err(|_| Error::system("interrupted"))?;
    Ok(made?.to_string())
}

/// Hands on what comes, until it ends or nobody wants it. A failure is the last thing handed on.
async fn feed(mut from: Opened, to: mpsc::Sender<Result<Bytes>>, report: &Report) {
    let total = from.length().unwrap_or(0);
    let step = match total {
        0 => STEP,
        total => STEP.min(total / 100),
    };
    let (mut current, mut told) = (0, 0);
    loop {
        let next = tokio::select! {
            biased;
            () = report.closed() => {
                let _ = to.send(Err(Error::system("context canceled"))).await;
                return;
            }
            next = from.next() => next,
        };
        let next = match next {
            Ok(None) => {
                report.progress("", "Importing", current, total);
                // dockerd's way to end the line that the bar stands in.
                report.say("", String::new()).await;
                return;
            }
            Ok(Some(bytes)) => Ok(bytes),
            Err(error) => Err(failure(error)),
        };
        if let Ok(bytes) = &next {
            current += bytes.len() as u64;
            if current - told > step {
                told = current;
                report.progress("", "Importing", current, total);
            }
        }
        let last = next.is_err();
        // The thread that unpacks ends early when it fails: then it says why.
        if to.send(next).await.is_err() || last {
            return;
        }
    }
}

/// Statuses are moby's for a URL, which is no repository that could be hidden.
fn failure(error: registry::Error) -> Error {
    match error.kind {
        Kind::Denied => Error::forbidden(error.message),
        _ => error.into(),
    }
}
