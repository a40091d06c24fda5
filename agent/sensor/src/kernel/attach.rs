//! Puts the probes to work: at their tracepoints, and behind the two programs that every system call passes.
//!
//! Each hook is attached by itself: one that this kernel refuses is off and says why.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, Object};

use super::{chain, load};
use crate::hooks::{Family, HOOKS, Hook, Place, Probe};

/// What keeps the probes at work; they stop when it is dropped.
#[derive(Default)]
pub struct Attached {
    // Links go first: nobody jumps into a table any more when it goes.
    links: Vec<Link>,
    tables: Vec<MapHandle>,
    /// Whether each hook is on, in the order of [`HOOKS`].
    pub on: Vec<bool>,
    /// Why a hook is off; empty when it is on.
    pub why: Vec<String>,
}

/// One go at attaching everything.
struct Attaching<'a> {
    objects: &'a [Result<Object, String>],
    /// Tables of the programs for system calls, by way (in, out), or why there are none.
    tables: Result<[MapHandle; 2], String>,
    links: Vec<Link>,
    /// Tracepoint programs that serve several hooks are attached once.
    known: HashMap<&'static str, Result<(), String>>,
}

/// Attaches what can be.
pub fn attach(objects: &[Result<Object, String>]) -> Attached {
    let mut attaching = Attaching { objects, tables: Err(String::new()), links: Vec::new(), known: HashMap::new() };
    attaching.tables = attaching.gates();
    let mut attached = Attached::default();
    for hook in &HOOKS {
        let why = attaching.hook(hook);
        match &why {
            None => tracing::debug!(hook = hook.name, "hook is on"),
            Some(why) => tracing::warn!(hook = hook.name, why, "hook is off: what it sees will be missing"),
        }
        attached.on.push(why.is_none());
        attached.why.push(why.unwrap_or_default());
    }
    attached.links = attaching.links;
    attached.tables = attaching.tables.into_iter().flatten().collect();
    attached
}

impl Attaching<'_> {
    /// Attaches the two programs that every system call passes.
    fn gates(&mut self) -> Result<[MapHandle; 2], String> {
        self.link(Family::Calls, "on_enter")?;
        self.link(Family::Calls, "on_leave")?;
        let object = self.object(Family::Calls)?;
        let table = |name: &str| load::handle(object, name).ok_or_else(|| format!("the object has no table {name}"));
        Ok([table("enter_calls")?, table("exit_calls")?])
    }

    /// Attaches a hook's probes; says why it cannot work.
    fn hook(&mut self, hook: &Hook) -> Option<String> {
        let refused = hook.probes.iter().filter_map(|probe| {
            let why = self.probe(probe).err()?;
            Some(format!("{}: {why}", probe.program))
        });
        let refused: Vec<String> = refused.collect();
        (!refused.is_empty()).then(|| refused.join("; "))
    }

    fn probe(&mut self, probe: &Probe) -> Result<(), String> {
        let (way, calls) = match probe.place {
            Place::Tracepoint => return self.link(probe.family, probe.program),
            Place::Enter(calls) => (0, calls),
            Place::Exit(calls) => (1, calls),
        };
        let tables = self.tables.as_ref().map_err(Clone::clone)?;
        let object = self.object(probe.family)?;
        let program = object.progs().find(|program| program.name() == probe.program);
        let program = program.ok_or("the program is not in the object")?.as_fd().as_raw_fd();
        for place in calls.iter().flat_map(|call| call.places()) {
            let entered = tables[way].update(&place.to_ne_bytes(), &program.to_ne_bytes(), MapFlags::ANY);
            entered.map_err(|error| chain(&error))?;
        }
        Ok(())
    }

    fn link(&mut self, family: Family, name: &'static str) -> Result<(), String> {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        let result = self.object(family).and_then(|object| {
            // An attached program is not changed by being attached; the loader's interface asks for a handle all the same.
            let program = object.progs_mut().find(|program| program.name() == name);
            program.ok_or("the program is not in the object".to_owned())?.attach().map_err(|error| chain(&error))
        });
        let result = result.map(|link| self.links.push(link));
        self.known.insert(name, result.clone());
        result
    }

    fn object(&self, family: Family) -> Result<&Object, String> {
        let at = Family::ALL.iter().position(|known| *known == family).unwrap_or(usize::MAX);
        match self.objects.get(at) {
            Some(Ok(object)) => Ok(object),
            Some(Err(why)) => Err(why.clone()),
            None => Err("the object is not known".into()),
        }
    }
}
