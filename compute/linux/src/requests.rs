//! What goes to a running container's keeper: exec, attach, resize.

use std::collections::VecDeque;

use compute::{Attachment, Error, Exec, ExecRunning, Kind, Result};
use keeper_protocol::{Frame, Order, Reply, Request};
use oci::runtime::ConsoleSize;
use tokio::sync::oneshot;

use crate::containers::{ExecEntry, Handle, Process, lock};
use crate::internal;
use crate::launch::{identity, register};

impl Handle {
    pub(crate) async fn exec(&self, exec: Exec) -> Result<ExecRunning> {
        let exec_id = exec.exec_id;
        let (told, exit) = oneshot::channel();
        {
            let mut execs = lock(&self.link.execs);
            if execs.contains_key(&exec_id) {
                let message = format!("exec {exec_id} is running already");
                return Err(Error::new(Kind::Conflict, message));
            }
            let entry = ExecEntry {
                process: None,
                exit: Some(told),
            };
            execs.insert(exec_id.clone(), entry);
        }
        let (mut bytes, mut fds) = (Vec::new(), VecDeque::new());
        let attach = exec.attachment.map(|attachment| {
            let (attach, stream, first) = register(&self.link, attachment);
            bytes = first;
            fds.push_back(stream);
            attach
        });
        let token = attach.as_ref().map(|a| a.token);
        let message = Request::Exec(Box::new(keeper_protocol::Exec {
            exec_id: exec_id.clone(),
            process: exec.process,
            identity: identity(exec.identity),
            open_stdin: exec.open_stdin,
            attach,
            unconfined: exec.unconfined,
        }));
        let started = self
            .call(Frame {
                message,
                bytes,
                fds,
            })
            .await
            .and_then(executed);
        match started {
            Ok(process) => {
                let pid = process.pid;
                // Not there any more: it has ended already.
                if let Some(entry) = lock(&self.link.execs).get_mut(&exec_id) {
                    entry.process = Some(process);
                }
                Ok(ExecRunning { pid, exit })
            }
            Err(error) => {
                lock(&self.link.execs).remove(&exec_id);
                self.forget(token);
                Err(error)
            }
        }
    }

    pub(crate) async fn attach(&self, exec: Option<&str>, attachment: Attachment) -> Result<()> {
        let (attach, stream, bytes) = register(&self.link, attachment);
        let token = attach.token;
        let message = Request::Attach {
            exec: exec.map(str::to_owned),
            attach,
        };
        let attached = self
            .call(Frame {
                message,
                bytes,
                fds: VecDeque::from([stream]),
            })
            .await;
        if attached.is_err() {
            self.forget(Some(token));
        }
        attached.map(drop)
    }

    pub(crate) async fn resize(&self, exec: Option<&str>, size: ConsoleSize) -> Result<()> {
        let exec = exec.map(str::to_owned);
        let request = Frame::new(Request::Resize { exec, size });
        self.call(request).await.map(drop)
    }

    /// Has the container's own runtime do something.
    pub(crate) async fn order(&self, order: Order) -> Result<()> {
        self.call(Frame::new(Request::Runtime(order)))
            .await
            .map(drop)
    }

    fn forget(&self, token: Option<u64>) {
        if let Some(token) = token {
            lock(&self.link.attachments).remove(&token);
        }
    }
}

fn executed(mut frame: Frame<Reply>) -> Result<Process> {
    let Reply::Executed { pid } = frame.message else {
        return Err(internal("the keeper gave another answer"));
    };
    let pidfd = frame.take_fd().map_err(internal)?;
    Ok(Process { pid, pidfd })
}
