//! Our own events shown as audit records, so that rules for `service: auditd` judge them: a start of a process is what
//! auditd writes as SYSCALL, EXECVE, CWD and PATH records, a file event is PATH, an outgoing connection is SYSCALL.
//!
//! Record types and field names are those of the audit record dictionary (linux-audit/audit-documentation on GitHub).

use std::collections::BTreeSet;

use beffroi_schema::batch::{TextRef, ValueRef};
use beffroi_schema::{Category, Field, Logsource, Product};

use crate::eval::{Datum, FieldId, Frame, Names, Subject, Wanted};

/// Arguments shown as a0, a1, ...: rules look at the first ten at most.
const MAX_ARGUMENTS: usize = 64;

/// Fields of audit records; arguments stand behind them.
const NAMES: [&str; 17] = [
    "type", "SYSCALL", "syscall", "success", "exe", "comm", "pid", "ppid", "uid", "euid", "gid", "auid", "ses", "argc", "cwd",
    "nametype", "name",
];

/// Place of a field among [`NAMES`], found when this is compiled.
const fn column(name: &str) -> usize {
    let mut place = 0;
    while place < NAMES.len() {
        if same(NAMES[place].as_bytes(), name.as_bytes()) {
            return place;
        }
        place += 1;
    }
    panic!("no field of the audit view has this name");
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// One of the records that an event is shown as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuditRecord {
    /// The system call of this name.
    Syscall(&'static str),
    /// The arguments of a program.
    Execve,
    /// The working directory.
    Cwd,
    /// A path, which one of our fields says, and its `nametype`.
    Path(Field, &'static str),
}

/// The records that events of this logsource are shown as; none where they have no view.
pub(crate) fn records(logsource: &Logsource) -> &'static [AuditRecord] {
    use AuditRecord::{Cwd, Execve, Path, Syscall};
    if logsource.product != Product::Linux {
        return &[];
    }
    match logsource.category {
        Category::ProcessCreation => &[Syscall("execve"), Execve, Cwd, Path(Field::IMAGE, "NORMAL")],
        Category::NetworkConnection => &[Syscall("connect")],
        Category::FileEvent => &[Syscall("openat"), Path(Field::TARGET_FILENAME, "CREATE")],
        Category::FileRename => {
            &[Syscall("rename"), Path(Field::SOURCE_FILENAME, "DELETE"), Path(Field::TARGET_FILENAME, "CREATE")]
        }
        Category::FileDelete => &[Syscall("unlinkat"), Path(Field::TARGET_FILENAME, "DELETE")],
        _ => &[],
    }
}

/// Whether events of this logsource have a view.
pub(crate) fn serves(logsource: &Logsource) -> bool {
    !records(logsource).is_empty()
}

/// Whether this event is one that its records tell of: of connections only those that the host made.
pub(crate) fn shows<'a>(logsource: &Logsource, event: impl Subject<'a>) -> bool {
    logsource.category != Category::NetworkConnection || matches!(event.get(Field::INITIATED), Some(ValueRef::Bool(true)))
}

/// Audit fields that say the same in every record of an event, and our own of the same meaning.
const SAME_EVERYWHERE: [(Field, usize); 9] = [
    (Field::IMAGE, column("exe")),
    (Field::COMM, column("comm")),
    (Field::PROCESS_ID, column("pid")),
    (Field::PARENT_PROCESS_ID, column("ppid")),
    (Field::UID, column("uid")),
    (Field::EUID, column("euid")),
    (Field::GID, column("gid")),
    (Field::LOGIN_UID, column("auid")),
    (Field::SESSION_ID, column("ses")),
];

/// Our own field for one of the audit view: what a correlation over `auditd` rules groups by when it names `exe` or `auid`.
/// None of those that say something else in each record of an event (`type`, `name`, `a0`).
pub fn field_of(name: &str) -> Option<Field> {
    let folder = [(Field::CURRENT_DIRECTORY, column("cwd"))];
    SAME_EVERYWHERE.iter().chain(&folder).find(|(_, known)| NAMES[*known] == name).map(|(field, _)| *field)
}

/// Which fields of the view some rules read, and by which numbers, looked up once for all events.
#[derive(Debug)]
pub(crate) struct Columns {
    /// By column; none for what nobody reads.
    fields: Vec<Option<Option<FieldId>>>,
    /// How many arguments have to be looked at.
    arguments: usize,
}

impl Columns {
    /// Those that are wanted.
    pub(crate) fn new(names: &Names, is_wanted: impl Fn(Option<FieldId>) -> bool) -> Self {
        let arguments = (0..MAX_ARGUMENTS).map(|index| format!("a{index}"));
        let all = NAMES.iter().map(ToString::to_string).chain(arguments);
        let fields: Vec<_> = all.map(|name| Some(names.find(&name)).filter(|field| is_wanted(*field))).collect();
        let arguments = fields.iter().skip(NAMES.len()).rposition(Option::is_some).map_or(0, |last| last + 1);
        Self { fields, arguments }
    }

    /// Those that rules with these wants read.
    pub(crate) fn wanted(names: &Names, wanted: &Wanted) -> Self {
        Self::new(names, |field| wanted.wants(field))
    }
}

impl AuditRecord {
    /// Tells what the record says in every event.
    pub(crate) fn each_constant(self, columns: &Columns, mut tell: impl FnMut(Option<FieldId>, &'static str)) {
        let mut say = |column: usize, text| {
            if let Some(Some(field)) = columns.fields.get(column) {
                tell(*field, text);
            }
        };
        match self {
            Self::Syscall(name) => {
                say(const { column("type") }, "SYSCALL");
                say(const { column("SYSCALL") }, name);
                say(const { column("syscall") }, name);
                say(const { column("success") }, "yes");
            }
            Self::Execve => say(const { column("type") }, "EXECVE"),
            Self::Cwd => say(const { column("type") }, "CWD"),
            Self::Path(_, kind) => {
                say(const { column("type") }, "PATH");
                say(const { column("nametype") }, kind);
            }
        }
    }

    /// The fields that differ from event to event, where rules know them.
    pub(crate) fn open_fields(self, names: &Names) -> BTreeSet<FieldId> {
        let own: Vec<&str> = match self {
            Self::Syscall(_) => SAME_EVERYWHERE.iter().map(|(_, column)| NAMES[*column]).collect(),
            Self::Execve => vec!["argc"],
            Self::Cwd => vec!["cwd"],
            Self::Path(..) => vec!["name"],
        };
        let arguments = if self == Self::Execve { MAX_ARGUMENTS } else { 0 };
        let arguments = (0..arguments).filter_map(|index| names.find(&format!("a{index}")));
        own.iter().filter_map(|name| names.find(name)).chain(arguments).collect()
    }

    /// Tells what the record says of an event beside its constants.
    pub(crate) fn each<'f>(
        self,
        columns: &Columns,
        event: impl Subject<'f>,
        mut tell: impl FnMut(Option<FieldId>, ValueRef<'f>),
    ) {
        let mut say = |column: usize, value: &dyn Fn() -> Option<ValueRef<'f>>| {
            if let Some(Some(field)) = columns.fields.get(column)
                && let Some(value) = value()
            {
                tell(*field, value);
            }
        };
        match self {
            Self::Syscall(_) => {
                for (field, column) in SAME_EVERYWHERE {
                    say(column, &|| event.get(field));
                }
                let name = || event.get(Field::IMAGE).filter(|_| event.get(Field::COMM).is_none()).map(base_name);
                say(const { column("comm") }, &name);
            }
            Self::Execve => {
                let Some(ValueRef::List(arguments)) = event.get(Field::ARGV) else { return };
                say(const { column("argc") }, &|| Some(ValueRef::Uint(arguments.len() as u64)));
                for (column, argument) in (NAMES.len()..NAMES.len() + columns.arguments).zip(arguments.texts()) {
                    say(column, &|| Some(ValueRef::Text(argument)));
                }
            }
            Self::Cwd => say(const { column("cwd") }, &|| event.get(Field::CURRENT_DIRECTORY)),
            Self::Path(field, _) => say(const { column("name") }, &|| event.get(field)),
        }
    }

    /// Fills a frame with the record of an event.
    pub(crate) fn fill<'f>(self, frame: &mut Frame<'f>, columns: &Columns, event: impl Subject<'f>) {
        self.each_constant(columns, |field, text| frame.push(field, Datum::Text(text.as_bytes())));
        self.each(columns, event, |field, value| frame.push_value(field, value));
    }
}

/// What stands behind the last slash of a path.
fn base_name(path: ValueRef<'_>) -> ValueRef<'_> {
    match path {
        ValueRef::Text(path) => {
            let bytes = path.bytes.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            ValueRef::Text(TextRef { bytes, number: None })
        }
        other => other,
    }
}
