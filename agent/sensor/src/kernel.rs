//! Loads and attaches the probes, drains their rings, reads their counters.
//!
//! Each hook is attached by itself: one that this kernel refuses is off, says why, and the others go on.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, Object, ObjectBuilder, PrintLevel, RingBuffer, RingBufferBuilder};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::SensorOptions;
use crate::error::SensorError;
use crate::hooks::{Family, HOOKS, Hook, Probe};
use crate::raw::Raw;
use crate::tracefs;

/// Records taken from one ring in one go: bounds the memory of a flood and the time until the other ring is looked at.
const MAX_DRAIN: usize = 32_768;

/// The loader reads the objects in place and wants them aligned.
#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

static EXEC_OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/exec.bpf.o")));
static FILE_OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/file.bpf.o")));
static NET_OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/net.bpf.o")));

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
    // Rings and links go before the objects that own their maps and programs.
    activity: Option<RingBuffer<'static>>,
    process: Option<RingBuffer<'static>>,
    links: Vec<Link>,
    objects: HashMap<&'static str, Object>,
    excluded: Option<MapHandle>,
    /// Why a hook is off, or what it goes without; empty when all is well.
    pub why: Vec<String>,
    /// Whether each hook is on.
    pub on: Vec<bool>,
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

impl Family {
    const ALL: [Family; 3] = [Self::Exec, Self::File, Self::Net];

    fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::File => "file",
            Self::Net => "net",
        }
    }

    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Exec => &EXEC_OBJECT.0,
            Self::File => &FILE_OBJECT.0,
            Self::Net => &NET_OBJECT.0,
        }
    }
}

impl Kernel {
    /// Loads and attaches what this kernel allows.
    ///
    /// # Errors
    /// [`SensorError::Kernel`] when not even program starts can be seen; the caller falls back.
    pub fn start(options: &SensorOptions) -> Result<Self, SensorError> {
        libbpf_rs::set_print(Some((PrintLevel::Info, |_, text| tracing::debug!(target: "libbpf", "{}", text.trim_end()))));
        if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
            return Err(SensorError::Kernel(
                "the kernel gives no type information (/sys/kernel/btf/vmlinux); it must be built with CONFIG_DEBUG_INFO_BTF"
                    .into(),
            ));
        }
        let mut kernel = Self {
            activity: None,
            process: None,
            links: Vec::new(),
            objects: HashMap::new(),
            excluded: None,
            why: vec![String::new(); HOOKS.len()],
            on: vec![false; HOOKS.len()],
            inbox: SharedInbox::default(),
        };
        let refused = kernel.load(options);
        kernel.open_rings()?;
        for tgid in &options.exclude_tgids {
            kernel.exclude(*tgid);
        }
        kernel.attach(&refused);
        if !kernel.on[0] {
            return Err(SensorError::Kernel(kernel.why[0].clone()));
        }
        Ok(kernel)
    }

    /// Loads the objects; returns why some were refused.
    fn load(&mut self, options: &SensorOptions) -> HashMap<&'static str, String> {
        let mut refused = HashMap::new();
        for family in Family::ALL {
            match self.load_one(family, options) {
                Ok(object) => {
                    if family == Family::Exec {
                        self.excluded = handle(&object, "excluded");
                    }
                    self.objects.insert(family.name(), object);
                }
                Err(error) => {
                    refused.insert(family.name(), format!("the kernel refuses the {} probes: {}", family.name(), chain(&error)));
                }
            }
        }
        refused
    }

    fn load_one(&self, family: Family, options: &SensorOptions) -> libbpf_rs::Result<Object> {
        let mut open = ObjectBuilder::default().name(family.name())?.open_memory(family.bytes())?;
        let shared_ring = self.objects.get(Family::File.name()).and_then(|object| handle(object, "activity_ring"));
        for mut map in open.maps_mut() {
            match map.name().to_str() {
                Some("process_ring") => map.set_max_entries(options.process_ring_bytes)?,
                Some("activity_ring") => {
                    map.set_max_entries(options.activity_ring_bytes)?;
                    if let Some(ring) = &shared_ring {
                        map.reuse_fd(ring.as_fd())?;
                    }
                }
                Some("exec_scratches") => map.set_max_entries(u32::try_from(libbpf_rs::num_possible_cpus()?).unwrap_or(1))?,
                Some("excluded") => {
                    if let Some(excluded) = &self.excluded {
                        map.reuse_fd(excluded.as_fd())?;
                    }
                }
                _ => {}
            }
        }
        open.load()
    }

    fn open_rings(&mut self) -> Result<(), SensorError> {
        let ring = |object: Option<&Object>, name: &str| -> Result<Option<RingBuffer<'static>>, SensorError> {
            let Some(map) = object.and_then(|object| handle(object, name)) else { return Ok(None) };
            let inbox = Arc::clone(&self.inbox);
            let mut builder = RingBufferBuilder::new();
            let receive = move |bytes: &[u8]| {
                let mut inbox = inbox.lock().unwrap_or_else(PoisonError::into_inner);
                match Raw::decode(bytes) {
                    Some(record) => inbox.records.push(record),
                    None => inbox.malformed += 1,
                }
                0
            };
            let opened = builder.add(&map, receive).map(|_| ()).and_then(|()| builder.build());
            opened.map(Some).map_err(|error| SensorError::Kernel(format!("ring {name}: {}", chain(&error))))
        };
        let activity = self.objects.get("file").or_else(|| self.objects.get("net"));
        let (process, activity) = (ring(self.objects.get("exec"), "process_ring")?, ring(activity, "activity_ring")?);
        self.process = process;
        self.activity = activity;
        Ok(())
    }

    fn attach(&mut self, refused: &HashMap<&'static str, String>) {
        let names: Vec<_> = HOOKS.iter().flat_map(|hook| hook.probes).filter_map(|probe| probe.tracepoint).collect();
        let numbers = tracefs::numbers(&names);
        let mut attached: HashMap<(&str, &str), Result<(), String>> = HashMap::new();
        for (index, hook) in HOOKS.iter().enumerate() {
            let mut missing = Vec::new();
            let mut on = true;
            for probe in hook.probes {
                let key = (probe.family.name(), probe.program);
                let result = match attached.get(&key) {
                    Some(known) => known.clone(),
                    None => self.attach_one(probe, &numbers, refused),
                };
                attached.insert(key, result.clone());
                if let Err(why) = result {
                    on &= !probe.needed;
                    missing.push(format!("{}: {why}", probe.tracepoint.unwrap_or(probe.program)));
                }
            }
            self.on[index] = on;
            self.why[index] = missing.join("; ");
            report(hook, on, &self.why[index]);
        }
    }

    fn attach_one(
        &mut self,
        probe: &Probe,
        numbers: &Result<HashMap<&'static str, u64>, String>,
        refused: &HashMap<&'static str, String>,
    ) -> Result<(), String> {
        let family = probe.family.name();
        let Some(object) = self.objects.get(family) else {
            return Err(refused.get(family).cloned().unwrap_or_default());
        };
        let program = object.progs_mut().find(|program| program.name() == probe.program);
        let program = program.ok_or_else(|| "the program is not in the object".to_owned())?;
        let link = match probe.tracepoint {
            None => program.attach().map_err(|error| chain(&error))?,
            Some(tracepoint) => {
                let number = numbers.as_ref().map_err(Clone::clone)?.get(tracepoint);
                let number = number.ok_or("this kernel has no such tracepoint")?;
                let event = tracefs::open(*number).map_err(|error| format!("perf_event_open: {error}"))?;
                // The link owns the descriptor from here on.
                program.attach_perf_event(event.into_raw_fd()).map_err(|error| chain(&error))?
            }
        };
        self.links.push(link);
        Ok(())
    }

    /// Leaves out everything that this process does from now on, until it ends. False when it could not be noted.
    pub fn exclude(&self, tgid: u32) -> bool {
        let map = self.excluded.as_ref();
        map.is_some_and(|map| map.update(&tgid.to_ne_bytes(), &[1], MapFlags::ANY).is_ok())
    }

    /// Waits until there is a record or the time is over.
    ///
    /// # Errors
    /// [`SensorError::Wait`]; an interruption by a signal is none.
    pub fn wait(&self, timeout: Duration) -> Result<(), SensorError> {
        let rings = [self.process.as_ref(), self.activity.as_ref()];
        // SAFETY: the rings own these descriptors and outlive this call.
        let borrow = |ring: &RingBuffer<'static>| unsafe { BorrowedFd::borrow_raw(ring.epoll_fd()) };
        let mut fds: Vec<_> = rings.into_iter().flatten().map(|ring| PollFd::new(borrow(ring), PollFlags::POLLIN)).collect();
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
        for ring in [self.activity.as_ref(), self.process.as_ref()].into_iter().flatten() {
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
        for object in self.objects.values() {
            let Some(map) = object.maps().find(|map| map.name() == "counters") else { continue };
            for (index, sum) in sums.iter_mut().enumerate() {
                let key = u32::try_from(index).unwrap_or(u32::MAX).to_ne_bytes();
                let cpus = map.lookup_percpu(&key, MapFlags::ANY).ok().flatten().unwrap_or_default();
                cpus.iter().for_each(|cpu| sum.add(cpu));
            }
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

fn handle(object: &Object, name: &str) -> Option<MapHandle> {
    object.maps().find(|map| map.name() == name).and_then(|map| MapHandle::try_from(&map).ok())
}

/// An error with its causes, in one line.
fn chain(error: &libbpf_rs::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}

fn report(hook: &Hook, on: bool, why: &str) {
    match (on, why) {
        (true, "") => tracing::debug!(hook = hook.name, "hook is on"),
        (true, why) => tracing::info!(hook = hook.name, missing = why, "hook is on, without some forms of the call"),
        (false, why) => tracing::warn!(hook = hook.name, why, "hook is off: what it sees will be missing"),
    }
}
