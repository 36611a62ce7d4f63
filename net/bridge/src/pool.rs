//! The two background threads: one keeps namespaces ready, one takes links away.
//!
//! ```text
//! connect ── take ──► ready ◄── fill ── pool thread
//! disconnect ── bury ──► graves ── delete link, release address ── reaper thread
//! ```
//!
//! An address is released only after its link is gone, so nobody old answers for somebody new.
//! Ready namespaces are held by this process alone; when it dies the kernel takes them down.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use netlink::nft::Nft;
use netlink::route::{Requests, Route};
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::error::Error;
use crate::ipam::{Ipam, Refused};
use crate::namespace::{Wired, Wiring, random_mac};
use crate::types::Facts;

/// Links that one batch takes away: few enough that an address is soon free again.
const GRAVES_AT_ONCE: usize = 16;

/// What the threads and the callers share.
#[derive(Debug)]
pub(crate) struct Stock {
    pub(crate) wiring: Wiring,
    ipam: Mutex<Ipam>,
    /// Name of the bridge.
    bridge: String,
    /// What error messages call the pool of addresses.
    subnet: String,
    /// Any socket of the host's namespace, to look up interfaces by.
    probe: OwnedFd,
    target: usize,
    ready: Mutex<Ready>,
    refill: Condvar,
    made: Condvar,
    graves: Mutex<Graves>,
    dug: Condvar,
    buried: Condvar,
    routes: Mutex<Vec<Route>>,
    nfts: Mutex<Vec<Nft>>,
}

#[derive(Debug, Default)]
struct Ready {
    wired: VecDeque<Wired>,
    /// The address of the one that is being made.
    making: Option<Ipv4Addr>,
    stop: bool,
    /// The last attempt failed; try again when something changes.
    failed: bool,
}

#[derive(Debug, Default)]
struct Graves {
    waiting: VecDeque<Grave>,
    /// Addresses of links that are being deleted right now.
    digging: Vec<Ipv4Addr>,
    stop: bool,
}

#[derive(Debug)]
struct Grave {
    veth: String,
    ip: Ipv4Addr,
}

/// Joins the threads when dropped.
#[derive(Debug)]
pub(crate) struct Threads {
    stock: Arc<Stock>,
    handles: Vec<JoinHandle<()>>,
}

impl Stock {
    pub(crate) fn new(
        wiring: Wiring,
        ipam: Ipam,
        facts: &Facts,
        target: usize,
    ) -> Result<Stock, Error> {
        let flags = SocketFlags::CLOEXEC;
        let probe = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)
            .map_err(Error::system("open socket"))?;
        Ok(Stock {
            wiring,
            ipam: Mutex::new(ipam),
            bridge: facts.bridge.clone(),
            subnet: facts.subnet.to_string(),
            probe,
            target,
            ready: Mutex::default(),
            refill: Condvar::new(),
            made: Condvar::new(),
            graves: Mutex::default(),
            dug: Condvar::new(),
            buried: Condvar::new(),
            routes: Mutex::default(),
            nfts: Mutex::default(),
        })
    }

    /// A namespace with the next address: from the pool if one is ready, else made now.
    pub(crate) fn take(&self) -> Result<Wired, Error> {
        while let Some(wired) = self.pop() {
            if self.usable(&wired) {
                return Ok(wired);
            }
            self.bury(wired.veth, wired.ip);
        }
        self.make(None, None, None)
    }

    /// A namespace with this address or this link-layer address, made now; or the empty one given,
    /// joined now.
    pub(crate) fn make(
        &self,
        ip: Option<Ipv4Addr>,
        mac: Option<[u8; 6]>,
        given: Option<BorrowedFd<'_>>,
    ) -> Result<Wired, Error> {
        let ip = match ip {
            Some(ip) => self.take_exactly(ip).map(|()| ip)?,
            None => lock(&self.ipam).take().ok_or_else(|| self.exhausted())?,
        };
        self.wire(ip, mac, given)
    }

    /// Makes a namespace with an address that is taken already; releases it after a failure.
    fn wire(
        &self,
        ip: Ipv4Addr,
        mac: Option<[u8; 6]>,
        given: Option<BorrowedFd<'_>>,
    ) -> Result<Wired, Error> {
        let made = mac
            .map_or_else(random_mac, Ok)
            .and_then(|mac| self.with_route(|route| self.wiring.wire(route, ip, mac, given)));
        made.inspect_err(|_| lock(&self.ipam).release(ip))
    }

    /// Puts an unused namespace back.
    pub(crate) fn give_back(&self, wired: Wired) {
        let mut ready = lock(&self.ready);
        if ready.stop || ready.wired.len() >= self.target {
            drop(ready);
            self.bury(wired.veth, wired.ip);
        } else {
            ready.wired.push_front(wired);
        }
    }

    /// Has a link taken away, and its address released after that.
    pub(crate) fn bury(&self, veth: String, ip: Ipv4Addr) {
        lock(&self.graves).waiting.push_back(Grave { veth, ip });
        self.dug.notify_one();
    }

    /// Runs `work` with an rtnetlink socket of the host's namespace.
    pub(crate) fn with_route<T>(
        &self,
        work: impl FnOnce(&mut Route) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let spare = lock(&self.routes).pop();
        let mut route = match spare {
            Some(route) => route,
            None => Route::open().map_err(Error::system("open rtnetlink"))?,
        };
        let done = work(&mut route);
        lock(&self.routes).push(route);
        done
    }

    /// Runs `work` with an nf_tables socket of the host's namespace.
    pub(crate) fn with_nft<T>(
        &self,
        work: impl FnOnce(&mut Nft) -> Result<T, netlink::Error>,
    ) -> Result<T, netlink::Error> {
        let spare = lock(&self.nfts).pop();
        let mut nft = match spare {
            Some(nft) => nft,
            None => Nft::open()?,
        };
        let done = work(&mut nft);
        lock(&self.nfts).push(nft);
        done
    }

    fn exhausted(&self) -> Error {
        Error::AddressesExhausted(self.subnet.clone())
    }

    /// Takes one particular address, from the pool or from a link that is on its way out if it is
    /// one of those that have it.
    fn take_exactly(&self, ip: Ipv4Addr) -> Result<(), Error> {
        let pooled = {
            let mut ready = lock(&self.ready);
            while ready.making == Some(ip) {
                ready = self
                    .made
                    .wait(ready)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            let at = ready.wired.iter().position(|wired| wired.ip == ip);
            at.and_then(|at| ready.wired.remove(at))
        };
        if let Some(wired) = pooled {
            self.bury(wired.veth, wired.ip);
        }
        let mut graves = lock(&self.graves);
        while graves.has(ip) && !graves.stop {
            graves = self
                .buried
                .wait(graves)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(graves);
        lock(&self.ipam)
            .take_exactly(ip)
            .map_err(|refused| match refused {
                Refused::Taken => Error::AddressInUse(ip),
                Refused::Outside => Error::Invalid {
                    what: "IP address",
                    why: format!("{ip} is no endpoint's address in {}", self.subnet),
                },
            })
    }

    fn pop(&self) -> Option<Wired> {
        let mut ready = lock(&self.ready);
        ready.failed = false;
        let wired = ready.wired.pop_front();
        drop(ready);
        self.refill.notify_one();
        wired
    }

    /// Whether link and bridge are still there. Asked without rtnetlink, whose one lock somebody
    /// may be holding for milliseconds.
    fn usable(&self, wired: &Wired) -> bool {
        let index = |name: &str| name_to_index(&self.probe, name).ok();
        index(&wired.veth).is_some() && index(&self.bridge) == Some(self.wiring.bridge)
    }

    fn fill(&self) {
        let mut ready = lock(&self.ready);
        loop {
            if ready.stop {
                return;
            }
            if ready.failed || ready.wired.len() >= self.target {
                ready = self
                    .refill
                    .wait(ready)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            // Under the lock, so that no address is ever taken without anybody to ask about it.
            ready.making = lock(&self.ipam).take();
            let ip = ready.making.ok_or_else(|| self.exhausted());
            drop(ready);
            let made = ip.and_then(|ip| self.wire(ip, None, None));
            ready = lock(&self.ready);
            ready.making = None;
            self.made.notify_all();
            match made {
                // One was given back meanwhile.
                Ok(wired) if ready.wired.len() >= self.target => self.bury(wired.veth, wired.ip),
                Ok(wired) => ready.wired.push_back(wired),
                Err(error) => {
                    tracing::debug!(%error, "no namespace made ahead of time");
                    ready.failed = true;
                }
            }
        }
    }

    fn reap(&self) {
        let mut graves = lock(&self.graves);
        loop {
            if graves.waiting.is_empty() {
                if graves.stop {
                    return;
                }
                graves = self
                    .dug
                    .wait(graves)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let some = graves.waiting.len().min(GRAVES_AT_ONCE);
            let batch: Vec<_> = graves.waiting.drain(..some).collect();
            graves.digging = batch.iter().map(|grave| grave.ip).collect();
            drop(graves);
            self.delete(&batch);
            graves = lock(&self.graves);
            graves.digging.clear();
            self.buried.notify_all();
        }
    }

    fn delete(&self, graves: &[Grave]) {
        let mut requests = Requests::new();
        for grave in graves {
            requests.delete_link(&grave.veth);
            requests.delete_neighbour(self.wiring.bridge, grave.ip.into());
        }
        let outcomes = self.with_route(|route| {
            route
                .outcomes(&mut requests)
                .map_err(Error::system("delete endpoint links"))
        });
        let outcomes = outcomes.unwrap_or_else(|error| {
            tracing::warn!(%error, "endpoint links may be left behind");
            Vec::new()
        });
        // Even outcomes are the links; a neighbour that is not there is the rule.
        for (grave, outcome) in graves.iter().zip(outcomes.into_iter().step_by(2)) {
            match outcome {
                Err(error) if error.errno() != Some(Errno::NODEV) => {
                    tracing::warn!(%error, veth = grave.veth, "endpoint link is left behind");
                }
                // Only now does nobody answer to the address any more.
                _ => lock(&self.ipam).release(grave.ip),
            }
        }
        // Room again for a pool that had run out of addresses.
        lock(&self.ready).failed = false;
        self.refill.notify_one();
    }
}

impl Graves {
    fn has(&self, ip: Ipv4Addr) -> bool {
        self.digging.contains(&ip) || self.waiting.iter().any(|grave| grave.ip == ip)
    }
}

impl Threads {
    /// Starts both threads.
    pub(crate) fn start(stock: &Arc<Stock>) -> Result<Threads, Error> {
        let mut threads = Threads {
            stock: Arc::clone(stock),
            handles: Vec::new(),
        };
        threads.spawn("bridge-reaper", Stock::reap)?;
        if stock.target > 0 {
            threads.spawn("bridge-pool", Stock::fill)?;
        }
        Ok(threads)
    }

    fn spawn(&mut self, name: &str, work: fn(&Stock)) -> Result<(), Error> {
        let stock = Arc::clone(&self.stock);
        let builder = thread::Builder::new().name(name.to_owned());
        let handle: io::Result<_> = builder.spawn(move || work(&stock));
        self.handles
            .push(handle.map_err(Error::system("start thread"))?);
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let mut ready = lock(&self.stock.ready);
        ready.stop = true;
        let left: Vec<_> = ready.wired.drain(..).collect();
        drop(ready);
        self.stock.refill.notify_all();
        for wired in left {
            self.stock.bury(wired.veth, wired.ip);
        }
        // The pool thread may finish one more; it goes the same way.
        while self.handles.len() > 1 {
            let _ = self.handles.pop().map(JoinHandle::join);
        }
        let last: Vec<_> = lock(&self.stock.ready).wired.drain(..).collect();
        for wired in last {
            self.stock.bury(wired.veth, wired.ip);
        }
        lock(&self.stock.graves).stop = true;
        self.stock.dug.notify_all();
        let _ = self.handles.pop().map(JoinHandle::join);
        self.stock.buried.notify_all();
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
