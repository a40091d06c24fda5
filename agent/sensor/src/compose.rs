//! From decoded kernel records to events: resolves the process, its parent and ancestors, users, container and addresses,
//! and masks secrets. Owns the process table and the caches.

use std::net::IpAddr;

use beffroi_schema::ids::process_guid;
use beffroi_schema::limits::MAX_ANCESTORS;
use beffroi_schema::{AgentId, Category, Event, Field, Product, Text, Value};

use crate::address::{address, protocol};
use crate::arguments::Arguments;
use crate::clock::Clock;
use crate::container::{self, Containers};
use crate::process::{Key, Lineage, Process, Table};
use crate::procfs::{self, Snapshot};
use crate::raw::{Exec, FLAG_ARGS_CUT, FLAG_ARGS_HOLE, FLAG_PATH_CUT, FLAG_URING, File, FileOp, Header, Net, Raw};
use crate::users::Users;

const NET_ACCEPT: u16 = 2;
const NET_LISTEN: u16 = 3;
const NET_BIND: u16 = 4;
const NET_SEND: u16 = 5;
/// Names the source of events that tell what was asked for and not what became of it.
const URING: &str = "io_uring";

/// The composer.
pub struct Composer {
    agent: AgentId,
    boot_id: String,
    report_forks: bool,
    table: Table,
    users: Users,
    containers: Containers,
    /// Follows the wall clock; the sensor measures it anew every second.
    pub clock: Clock,
}

impl Composer {
    /// A composer with an empty table.
    pub fn new(agent: AgentId, boot_id: String, report_forks: bool) -> Self {
        Self {
            agent,
            boot_id,
            report_forks,
            table: Table::default(),
            users: Users::default(),
            containers: Containers::default(),
            clock: Clock::measure(),
        }
    }

    /// Processes in the table.
    pub fn processes(&self) -> usize {
        self.table.len()
    }

    /// Reads every running process into the table.
    pub fn load_running(&mut self) {
        for tgid in procfs::all_tgids() {
            if let Some(start_ticks) = procfs::start_ticks(tgid) {
                self.ensure(Key { tgid, start_ticks }, MAX_ANCESTORS);
            }
        }
    }

    /// The event of a record; none for records that only change the table.
    pub fn compose(&mut self, raw: &Raw) -> Option<Event> {
        match raw {
            Raw::Exec(exec) => Some(self.exec(exec)),
            Raw::Fork(header) => self.fork(header),
            Raw::Exit(header, status) => Some(self.exit(header, Some(*status))),
            Raw::Gone(header) => Some(self.exit(header, None)),
            Raw::File(file) => Some(self.file(file)),
            Raw::Net(net) => Some(self.net(net)),
        }
    }

    /// Makes sure that a process is in the table, from /proc where it still runs, and its parents up to `depth`.
    fn ensure(&mut self, key: Key, depth: usize) {
        if key.tgid == 0 || depth == 0 || self.table.get(key).is_some() {
            return;
        }
        let Some(found) = procfs::snapshot(key.tgid).filter(|found| found.start_ticks == key.start_ticks) else { return };
        let parent = Key { tgid: found.ppid, start_ticks: procfs::start_ticks(found.ppid).unwrap_or(0) };
        self.ensure(parent, depth - 1);
        let process = self.process_of_snapshot(&found, parent);
        self.table.insert(key, process);
    }

    fn process_of_snapshot(&mut self, found: &Snapshot, parent: Key) -> Process {
        Process {
            guid: self.guid(Key { tgid: found.tgid, start_ticks: found.start_ticks }),
            parent,
            image: found.exe.as_slice().into(),
            command_line: Arguments::new(&found.args).kept(),
            user: self.users.name(found.uid),
            container: container::find_id(&found.cgroup).map(Text::from),
            exec_seq: 1,
            lineage: None,
        }
    }

    fn guid(&self, key: Key) -> Text {
        process_guid(self.agent, &self.boot_id, key.tgid, key.start_ticks).to_string().into_bytes().into()
    }

    fn exec(&mut self, exec: &Exec) -> Event {
        let header = &exec.header;
        let key = key_of(header);
        let known = self.table.get(key);
        let (parent, exec_seq) = known.map_or((parent_of(header), 1), |known| (known.parent, known.exec_seq + 1));
        self.ensure(parent, MAX_ANCESTORS);
        let arguments = Arguments::new(&exec.args);
        let process = Process {
            guid: known_guid(self.table.get(key)).unwrap_or_else(|| self.guid(key)),
            parent,
            image: exec.exe.as_slice().into(),
            command_line: arguments.kept(),
            user: self.users.name(header.uid),
            container: self.containers.of(header.cgroup, &exec.cgroup_name, header.tgid),
            exec_seq,
            lineage: Some(self.table.lineage_through(parent)),
        };
        let mut event = self.event(Category::ProcessCreation, header, &process);
        event
            .set(Field::CURRENT_DIRECTORY, exec.cwd.as_slice())
            .set(Field::EXEC_PATH, exec.given.as_slice())
            .set(Field::EXEC_SEQ, exec_seq)
            .set(Field::COMM, exec.comm.as_slice())
            .set(Field::COMMAND_LINE, Value::Text(arguments.command_line))
            .set(Field::ARGV, Value::List(arguments.argv));
        if arguments.redacted {
            event.set(Field::REDACTED, true);
        }
        if arguments.cut || header.flags & (FLAG_ARGS_CUT | FLAG_ARGS_HOLE) != 0 {
            event.set(Field::TRUNCATED, true);
        }
        self.table.insert(key, process);
        event
    }

    fn fork(&mut self, header: &Header) -> Option<Event> {
        let (key, parent) = (key_of(header), parent_of(header));
        self.ensure(parent, MAX_ANCESTORS);
        let made_by = self.table.get(parent);
        let empty = || Text::from(&b""[..]);
        let process = Process {
            guid: self.guid(key),
            parent,
            image: made_by.map_or_else(empty, |parent| parent.image.clone()),
            command_line: made_by.map_or_else(empty, |parent| parent.command_line.clone()),
            user: made_by.and_then(|parent| parent.user.clone()),
            container: made_by.and_then(|parent| parent.container.clone()),
            exec_seq: 0,
            lineage: None,
        };
        let event = self.report_forks.then(|| self.event(Category::ProcessFork, header, &process));
        self.table.insert(key, process);
        event
    }

    fn exit(&mut self, header: &Header, status: Option<u32>) -> Event {
        let process = self.actor(header);
        let mut event = self.event(Category::ProcessTermination, header, &process);
        event.set_some(Field::EXIT_CODE, status.map(|status| Value::Int(exit_code(status))));
        event.set(Field::DURATION_US, header.ts.saturating_sub(header.start) / 1_000);
        self.table.end(key_of(header));
        event
    }

    fn file(&mut self, file: &File) -> Event {
        let process = self.actor(&file.header);
        let (category, action) = match file.op {
            FileOp::Create => (Category::FileEvent, "create"),
            FileOp::Overwrite => (Category::FileEvent, "overwrite"),
            FileOp::Link => (Category::FileEvent, "link"),
            FileOp::Symlink => (Category::FileEvent, "symlink"),
            FileOp::WriteClose => (Category::FileChange, "write_close"),
            FileOp::Rename => (Category::FileRename, "rename"),
            FileOp::Unlink => (Category::FileDelete, "unlink"),
            FileOp::Rmdir => (Category::FileDelete, "rmdir"),
        };
        let mut event = self.event(category, &file.header, &process);
        event.set(Field::ACTION, action);
        match &file.path2 {
            Some(new) => {
                event.set(Field::SOURCE_FILENAME, file.path.as_slice()).set(Field::TARGET_FILENAME, new.as_slice());
            }
            None => {
                event.set(Field::TARGET_FILENAME, file.path.as_slice());
            }
        }
        event
    }

    fn net(&mut self, net: &Net) -> Event {
        let process = self.actor(&net.header);
        let (local, remote) = (address(net.family, &net.saddr), address(net.family, &net.daddr));
        let listening = matches!(net.op, NET_LISTEN | NET_BIND);
        let category = if listening { Category::NetworkListen } else { Category::NetworkConnection };
        let mut event = self.event(category, &net.header, &process);
        event.set(Field::PROTOCOL, protocol(net.protocol).as_str());
        let mut set = |ip: Field, port: Field, address: IpAddr, number: u16| {
            event.set(ip, address.to_string());
            // Port 0 is no port: an attempt that failed before one was chosen.
            if number != 0 {
                event.set(port, u32::from(number));
            }
        };
        // Source is always the side that opens the connection.
        if net.op == NET_ACCEPT {
            set(Field::SOURCE_IP, Field::SOURCE_PORT, remote, net.dport);
            set(Field::DESTINATION_IP, Field::DESTINATION_PORT, local, net.sport);
        } else {
            set(Field::SOURCE_IP, Field::SOURCE_PORT, local, net.sport);
            if !listening {
                set(Field::DESTINATION_IP, Field::DESTINATION_PORT, remote, net.dport);
            }
        }
        let action = match (net.op, net.result) {
            (NET_ACCEPT, _) => "accept",
            (NET_LISTEN, _) => "listen",
            (NET_BIND, _) => "bind",
            (NET_SEND, _) => "send",
            (_, 0) => "connect",
            _ => "connect_failed",
        };
        event.set(Field::ACTION, action);
        if !listening {
            event.set(Field::INITIATED, net.op != NET_ACCEPT);
        }
        event
    }

    /// The process of a record, found, read from /proc or made up from the record alone.
    fn actor(&mut self, header: &Header) -> Process {
        let key = key_of(header);
        self.ensure(key, MAX_ANCESTORS);
        if let Some(process) = self.table.get(key) {
            if process.lineage.is_some() {
                return process.clone();
            }
            let lineage = self.table.lineage_through(process.parent);
            if let Some(process) = self.table.get_mut(key) {
                process.lineage = Some(lineage);
                return process.clone();
            }
        }
        let parent = parent_of(header);
        self.ensure(parent, MAX_ANCESTORS);
        let process = Process {
            guid: self.guid(key),
            parent,
            image: Text::from(&b""[..]),
            command_line: Text::from(&b""[..]),
            user: None,
            container: None,
            exec_seq: 0,
            lineage: Some(self.table.lineage_through(parent)),
        };
        self.table.insert(key, process.clone());
        process
    }

    /// An event with what is known of its process, parent and ancestors.
    fn event(&mut self, category: Category, header: &Header, process: &Process) -> Event {
        let mut event = Event::new(category, Product::Linux, self.clock.wall_us(header.ts));
        event
            .set(Field::PROCESS_ID, header.tgid)
            .set(Field::PROCESS_GUID, Value::Text(process.guid.clone()))
            .set(Field::PARENT_PROCESS_ID, process.parent.tgid)
            .set(Field::UID, header.uid)
            .set(Field::EUID, header.euid)
            .set(Field::GID, header.gid)
            .set_some(Field::USER, self.users.name(header.uid).map(Value::Text))
            .set_some(Field::CONTAINER_ID, process.container.clone().map(Value::Text));
        set_text(&mut event, Field::IMAGE, &process.image);
        set_text(&mut event, Field::COMMAND_LINE, &process.command_line);
        self.set_login(&mut event, header);
        self.set_parent(&mut event, process);
        if header.flags & FLAG_PATH_CUT != 0 {
            event.set(Field::TRUNCATED, true);
        }
        if header.flags & FLAG_URING != 0 {
            event.set(Field::PROVIDER_NAME, URING);
        }
        event
    }

    fn set_login(&mut self, event: &mut Event, header: &Header) {
        // Where nobody logged in, the user that the service runs as stands for the logon, as in Sysmon for Linux.
        event.set(Field::LOGON_ID, if header.loginuid == u32::MAX { header.uid } else { header.loginuid });
        if header.loginuid != u32::MAX {
            event.set(Field::LOGIN_UID, header.loginuid);
            event.set_some(Field::LOGIN_USER, self.users.name(header.loginuid).map(Value::Text));
        }
        if header.sessionid != u32::MAX {
            event.set(Field::SESSION_ID, header.sessionid);
        }
    }

    fn set_parent(&self, event: &mut Event, process: &Process) {
        if let Some(parent) = self.table.get(process.parent) {
            event.set(Field::PARENT_PROCESS_GUID, Value::Text(parent.guid.clone()));
            event.set_some(Field::PARENT_USER, parent.user.clone().map(Value::Text));
        }
        let Some(lineage) = &process.lineage else { return };
        set_first(event, Field::PARENT_IMAGE, &lineage.images);
        set_first(event, Field::PARENT_COMMAND_LINE, &lineage.command_lines);
        if !lineage.guids.is_empty() {
            let Lineage { guids, images, command_lines } = lineage.clone();
            event.set(Field::ANCESTOR_GUIDS, Value::List(guids));
            event.set(Field::ANCESTOR_IMAGES, Value::List(images));
            event.set(Field::ANCESTOR_COMMAND_LINES, Value::List(command_lines));
        }
    }
}

fn key_of(header: &Header) -> Key {
    Key::new(header.tgid, header.start)
}

fn parent_of(header: &Header) -> Key {
    Key::new(header.ppid, header.pstart)
}

fn known_guid(process: Option<&Process>) -> Option<Text> {
    process.map(|process| process.guid.clone())
}

fn set_text(event: &mut Event, field: Field, text: &Text) {
    if !text.is_empty() {
        event.set(field, Value::Text(text.clone()));
    }
}

fn set_first(event: &mut Event, field: Field, list: &[Text]) {
    if let Some(first) = list.first() {
        set_text(event, field, first);
    }
}

/// The exit code; for a process that a signal ended, the signal's number, negative.
fn exit_code(status: u32) -> i64 {
    match status & 0x7f {
        0 => i64::from(status >> 8 & 0xff),
        signal => -i64::from(signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::NS_PER_TICK;

    fn header(tgid: u32, ppid: u32) -> Header {
        Header {
            tgid,
            ppid,
            start: u64::from(tgid) * NS_PER_TICK,
            pstart: u64::from(ppid) * NS_PER_TICK,
            ts: 1_000_000_000_000,
            loginuid: u32::MAX,
            sessionid: u32::MAX,
            cgroup: 1,
            ..Header::default()
        }
    }

    fn exec(tgid: u32, ppid: u32, exe: &str, args: &[&str]) -> Raw {
        let args: Vec<u8> = args.iter().flat_map(|arg| arg.bytes().chain([0])).collect();
        Raw::Exec(Box::new(Exec {
            header: header(tgid, ppid),
            comm: b"x".to_vec(),
            exe: exe.into(),
            cwd: b"/tmp".to_vec(),
            given: exe.into(),
            cgroup_name: Vec::new(),
            args,
        }))
    }

    // Numbers far beyond pid_max: /proc never answers for them.
    const A: u32 = 2_000_000_001;
    const B: u32 = 2_000_000_002;
    const C: u32 = 2_000_000_003;

    fn composer() -> Composer {
        Composer::new(AgentId([1; 16]), "boot".into(), true)
    }

    #[test]
    fn a_child_names_its_parent_and_ancestors_with_masked_command_lines() {
        let mut composer = composer();
        composer.compose(&exec(A, 1, "/usr/bin/mysql", &["mysql", "--password", "hunter2"]));
        composer.compose(&Raw::Fork(header(B, A)));
        composer.compose(&exec(B, A, "/usr/bin/dash", &["sh", "-c", "x"]));
        composer.compose(&Raw::Fork(header(C, B)));
        let event = composer.compose(&exec(C, B, "/usr/bin/id", &["id", "-u"])).unwrap();
        assert_eq!(event.text(Field::PARENT_IMAGE), "/usr/bin/dash");
        assert_eq!(event.text(Field::ANCESTOR_IMAGES), "/usr/bin/dash /usr/bin/mysql");
        assert_eq!(event.text(Field::ANCESTOR_COMMAND_LINES), "sh -c x mysql --password ***");
        assert_eq!(event.uint(Field::EXEC_SEQ), Some(1));
        assert_eq!(event.get(Field::REDACTED), None);
        let again = composer.compose(&exec(C, B, "/usr/bin/env", &["env"])).unwrap();
        assert_eq!(again.uint(Field::EXEC_SEQ), Some(2));
        assert_eq!(again.get(Field::PROCESS_GUID), event.get(Field::PROCESS_GUID));
    }

    #[test]
    fn a_forked_child_without_exec_carries_its_parents_image() {
        let mut composer = composer();
        composer.compose(&exec(A, 1, "/usr/bin/bash", &["bash"]));
        let fork = composer.compose(&Raw::Fork(header(B, A))).unwrap();
        assert_eq!(fork.logsource.category, Category::ProcessFork);
        assert_eq!(fork.text(Field::IMAGE), "/usr/bin/bash");
        let exit = composer.compose(&Raw::Exit(header(B, A), 3 << 8)).unwrap();
        assert_eq!(exit.get(Field::EXIT_CODE), Some(&Value::Int(3)));
        assert_eq!(exit.text(Field::IMAGE), "/usr/bin/bash");
        assert_eq!(exit.text(Field::ANCESTOR_IMAGES), "/usr/bin/bash");
    }

    #[test]
    fn a_signal_is_a_negative_exit_code() {
        assert_eq!(exit_code(9), -9);
        assert_eq!(exit_code(0x8b), -11);
        assert_eq!(exit_code(255 << 8), 255);
    }
}
