//! A platform on which nothing ever runs.

use std::os::fd::OwnedFd;

use compute::{
    Adopted, Attachment, Compute, Error, Exec, ExecRunning, Features, Kind, Launch, Result,
    Running, Usage,
};
use oci::runtime::{ConsoleSize, Resources};

#[derive(Debug, Default)]
pub(crate) struct Idle(Features);

fn refuse<T>() -> Result<T> {
    Err(Error {
        kind: Kind::Unsupported,
        message: "nothing runs here".into(),
    })
}

#[async_trait::async_trait]
impl Compute for Idle {
    fn features(&self) -> &Features {
        &self.0
    }

    async fn launch(&self, _: Launch) -> Result<Running> {
        refuse()
    }

    async fn adopt(&self, _: &str) -> Result<Adopted> {
        Ok(Adopted::Gone)
    }

    async fn exec(&self, _: &str, _: Exec) -> Result<ExecRunning> {
        refuse()
    }

    async fn attach(&self, _: &str, _: Option<&str>, _: Attachment) -> Result<()> {
        refuse()
    }

    async fn signal(&self, _: &str, _: Option<&str>, _: i32) -> Result<()> {
        refuse()
    }

    async fn resize(&self, _: &str, _: Option<&str>, _: ConsoleSize) -> Result<()> {
        refuse()
    }

    async fn pause(&self, _: &str) -> Result<()> {
        refuse()
    }

    async fn resume(&self, _: &str) -> Result<()> {
        refuse()
    }

    async fn update(&self, _: &str, _: &Resources) -> Result<()> {
        refuse()
    }

    async fn usage(&self, _: &str) -> Result<Usage> {
        refuse()
    }

    async fn processes(&self, _: &str) -> Result<Vec<u32>> {
        refuse()
    }

    async fn root(&self, _: &str) -> Result<OwnedFd> {
        refuse()
    }

    async fn known(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn release(&self, _: &str) -> Result<()> {
        Ok(())
    }
}
