//! Loads the compiled probes: every object at the same time, over maps that they share.
//!
//! An object that this kernel refuses costs the hooks it serves, with the kernel's reason, and nothing else.

use std::os::fd::AsFd;
use std::thread;

use libbpf_rs::{MapCore, MapHandle, MapType, Object, ObjectBuilder, libbpf_sys};

use super::{SensorOptions, chain};
use crate::hooks::{Family, HOOKS, wanted_numbers};

/// Bytes of `struct counters`.
const COUNTERS_BYTES: u32 = 40;
/// Processes of the agent itself (`excluded` in `bpf/common.h`).
const MAX_EXCLUDED: u32 = 256;

/// The loader reads the objects in place and wants them aligned.
#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

static CALLS_OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/calls.bpf.o")));
static EXEC_OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/exec.bpf.o")));
static FILE_OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/file.bpf.o")));
static NET_OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/net.bpf.o")));
static URING_OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/uring.bpf.o")));

impl Family {
    /// All of them.
    pub const ALL: [Family; 5] = [Self::Calls, Self::Exec, Self::File, Self::Net, Self::Uring];

    fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Exec => "exec",
            Self::File => "file",
            Self::Net => "net",
            Self::Uring => "uring",
        }
    }

    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Calls => &CALLS_OBJECT.0,
            Self::Exec => &EXEC_OBJECT.0,
            Self::File => &FILE_OBJECT.0,
            Self::Net => &NET_OBJECT.0,
            Self::Uring => &URING_OBJECT.0,
        }
    }
}

/// The maps that every object is given instead of its own.
pub struct Shared {
    /// Counters of every hook, for each CPU.
    pub counters: MapHandle,
    /// The agent's own processes.
    pub excluded: MapHandle,
    /// Ring of files and network.
    pub activity_ring: MapHandle,
}

impl Shared {
    /// Makes them.
    ///
    /// # Errors
    /// What the kernel says, for instance without the privilege.
    pub fn create(options: &SensorOptions) -> libbpf_rs::Result<Self> {
        let hooks = u32::try_from(HOOKS.len()).unwrap_or(u32::MAX);
        Ok(Self {
            counters: create(MapType::PercpuArray, "counters", (4, COUNTERS_BYTES), hooks)?,
            excluded: create(MapType::Hash, "excluded", (4, 1), MAX_EXCLUDED)?,
            activity_ring: create(MapType::RingBuf, "activity_ring", (0, 0), options.activity_ring_bytes)?,
        })
    }
}

fn create(kind: MapType, name: &str, (key, value): (u32, u32), entries: u32) -> libbpf_rs::Result<MapHandle> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    MapHandle::create(kind, Some(name), key, value, entries, &options)
}

/// The objects in the order of [`Family::ALL`], each or why it is refused.
pub fn objects(shared: &Shared, options: &SensorOptions) -> Vec<Result<Object, String>> {
    // Reading the kernel's types and having the probes checked takes 20 to 300 ms for each.
    thread::scope(|scope| {
        let loading = Family::ALL.map(|family| scope.spawn(move || load(family, shared, options)));
        let loaded = Family::ALL.into_iter().zip(loading).map(|(family, loading)| {
            let refused = |why: String| format!("the kernel refuses the {} probes: {why}", family.name());
            match loading.join() {
                Ok(result) => result.map_err(|error| refused(chain(&error))),
                Err(_) => Err(refused("loading them ended in an error of this program".into())),
            }
        });
        loaded.collect()
    })
}

fn load(family: Family, shared: &Shared, options: &SensorOptions) -> libbpf_rs::Result<Object> {
    let mut open = ObjectBuilder::default().name(family.name())?.open_memory(family.bytes())?;
    for mut map in open.maps_mut() {
        match map.name().to_str() {
            Some("process_ring") => map.set_max_entries(options.process_ring_bytes)?,
            Some("exec_scratches") => map.set_max_entries(u32::try_from(libbpf_rs::num_possible_cpus()?).unwrap_or(1))?,
            Some("activity_ring") => map.reuse_fd(shared.activity_ring.as_fd())?,
            Some("calls.rodata") => map.set_initial_value(&wanted_numbers())?,
            Some("counters") => map.reuse_fd(shared.counters.as_fd())?,
            Some("excluded") => map.reuse_fd(shared.excluded.as_fd())?,
            _ => {}
        }
    }
    open.load()
}

/// A map of an object, by name, to be kept when the object goes.
pub fn handle(object: &Object, name: &str) -> Option<MapHandle> {
    object.maps().find(|map| map.name() == name).and_then(|map| MapHandle::try_from(&map).ok())
}
