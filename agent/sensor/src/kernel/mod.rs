//! The probes at work: starts them, drains their rings, reads their counters.
//!
//! Each hook is attached by itself: one that this kernel refuses is off, says why, and the others go on.

mod attach;
mod load;

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libbpf_rs::{MapCore, MapFlags, MapHandle, Object, PrintLevel, RingBuffer, RingBufferBuilder};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::SensorOptions;
use crate::error::SensorError;
use crate::hooks::{Family, HOOKS};
use crate::raw::Raw;
use attach::Attached;
use load::Shared;

/// Records taken from one ring in one go: bounds the memory of a flood and the time until the other ring is looked at.
const MAX_DRAIN: usize = 32_768;
/// Where the kernel describes its own types.
const TYPES: &str = "/sys/kernel/btf/vmlinux";

/// Counters of one hook, summed over the CPUs, since the probes were loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Something to report was found.
    pub seen: u64,
    /// It is in the ring.
    pub submitted: u64,
    /// The ring was full.
    pub dropped: u64,
    /// It was cut to fit.
    pub oversized: u64,
    /// It was the agent's own and was left out.
    pub excluded: u64,
}

#[derive(Default)]
struct Inbox {
    records: Vec<Raw>,
    malformed: u64,
}

type SharedInbox = Arc<Mutex<Inbox>>;

/// The probes at work.
pub struct Kernel {
    attached: Attached,
    activity: RingBuffer<'static>,
    process: RingBuffer<'static>,
    shared: Shared,
    inbox: SharedInbox,
}

/// What one turn of draining brought.
pub struct Drained {
    /// Records in the order of the rings: activity first, process second.
    pub records: Vec<Raw>,
    /// A ring may still hold records: its last one here has this time. Nothing later is complete.
    pub complete_until: Option<u64>,
    /// Records that did not decode (a broken invariant between probe and sensor), since the start.
    pub malformed: u64,
}

impl Kernel {
    /// Loads and attaches what this kernel allows.
    ///
    /// # Errors
    /// [`SensorError::Kernel`] when not even program starts can be seen; the caller falls back.
    pub fn start(options: &SensorOptions) -> Result<Self, SensorError> {
        libbpf_rs::set_print(Some((PrintLevel::Info, |_, text| tracing::debug!(target: "libbpf", "{}", text.trim_end()))));
        if !std::path::Path::new(TYPES).exists() {
            return Err(SensorError::Kernel(format!(
                "the kernel gives no type information ({TYPES}); it must be built with CONFIG_DEBUG_INFO_BTF"
            )));
        }
        let shared = Shared::create(options).map_err(|error| SensorError::Kernel(chain(&error)))?;
        let objects = load::objects(&shared, options);
        let inbox = SharedInbox::default();
        let process = ring(&process_ring(&objects)?, &inbox)?;
        let activity = ring(&shared.activity_ring, &inbox)?;
        let mut kernel = Self { attached: Attached::default(), activity, process, shared, inbox };
        for tgid in &options.exclude_tgids {
            kernel.exclude(*tgid);
        }
        // The kernel keeps what is attached; the objects' own memory goes here.
        kernel.attached = attach::attach(&objects);
        match kernel.attached.on.first() {
            Some(true) => Ok(kernel),
            _ => Err(SensorError::Kernel(kernel.attached.why.first().cloned().unwrap_or_default())),
        }
    }

    /// Whether each hook is on, in the order of [`HOOKS`].
    pub fn on(&self) -> &[bool] {
        &self.attached.on
    }

    /// Why a hook is off; empty when it is on.
    pub fn why(&self) -> &[String] {
        &self.attached.why
    }

    /// Leaves out everything that this process does from now on, until it ends. False when it could not be noted.
    pub fn exclude(&self, tgid: u32) -> bool {
        self.shared.excluded.update(&tgid.to_ne_bytes(), &[1], MapFlags::ANY).is_ok()
    }

    /// Waits until there is a record or the time is over.
    ///
    /// # Errors
    /// [`SensorError::Wait`]; an interruption by a signal is none.
    pub fn wait(&self, timeout: Duration) -> Result<(), SensorError> {
        // SAFETY: the rings own these descriptors and outlive this call.
        let borrow = |ring: &RingBuffer<'static>| unsafe { BorrowedFd::borrow_raw(ring.epoll_fd()) };
        let mut fds = [&self.process, &self.activity].map(|ring| PollFd::new(borrow(ring), PollFlags::POLLIN));
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes what the rings hold. The activity ring goes first: whatever a process did before it was drained, its own
    /// start is then already in the other ring.
    pub fn drain(&mut self) -> Drained {
        let mut complete_until: Option<u64> = None;
        for ring in [&self.activity, &self.process] {
            if ring.consume_raw_n(MAX_DRAIN) >= MAX_DRAIN as i32 {
                let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
                let last = inbox.records.last().map_or(0, |record| record.header().ts);
                complete_until = Some(complete_until.map_or(last, |known| known.min(last)));
            }
        }
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        Drained { records: std::mem::take(&mut inbox.records), complete_until, malformed: inbox.malformed }
    }

    /// The counters of every hook, in the order of [`HOOKS`].
    pub fn counters(&self) -> Vec<Counters> {
        let mut sums = vec![Counters::default(); HOOKS.len()];
        for (index, sum) in sums.iter_mut().enumerate() {
            let key = u32::try_from(index).unwrap_or(u32::MAX).to_ne_bytes();
            let cpus = self.shared.counters.lookup_percpu(&key, MapFlags::ANY).ok().flatten().unwrap_or_default();
            cpus.iter().for_each(|cpu| sum.add(cpu));
        }
        sums
    }
}

impl Counters {
    fn add(&mut self, bytes: &[u8]) {
        let fields = [&mut self.seen, &mut self.submitted, &mut self.dropped, &mut self.oversized, &mut self.excluded];
        for (field, bytes) in fields.into_iter().zip(bytes.chunks_exact(8)) {
            *field += u64::from_ne_bytes(bytes.try_into().expect("chunks of eight bytes"));
        }
    }
}

/// The ring of exec, fork and exit. Without its object there is nothing to watch with.
fn process_ring(objects: &[Result<Object, String>]) -> Result<MapHandle, SensorError> {
    let at = Family::ALL.iter().position(|family| *family == Family::Exec);
    let object = at.and_then(|at| objects.get(at)).ok_or_else(|| SensorError::Kernel("no exec object".into()))?;
    let object = object.as_ref().map_err(|why| SensorError::Kernel(why.clone()))?;
    load::handle(object, "process_ring").ok_or_else(|| SensorError::Kernel("the exec object has no ring".into()))
}

fn ring(map: &MapHandle, inbox: &SharedInbox) -> Result<RingBuffer<'static>, SensorError> {
    let inbox = Arc::clone(inbox);
    let receive = move |bytes: &[u8]| {
        let mut inbox = inbox.lock().unwrap_or_else(PoisonError::into_inner);
        match Raw::decode(bytes) {
            Some(record) => inbox.records.push(record),
            None => inbox.malformed += 1,
        }
        0
    };
    let mut builder = RingBufferBuilder::new();
    let opened = builder.add(map, receive).map(|_| ()).and_then(|()| builder.build());
    opened.map_err(|error| SensorError::Kernel(format!("a ring cannot be opened: {}", chain(&error))))
}

/// An error with its causes, in one line.
fn chain(error: &libbpf_rs::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}
