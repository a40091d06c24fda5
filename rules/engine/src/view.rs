//! Our own events shown as audit records, so that rules for `service: auditd` judge them: a start of a process is what
//! auditd writes as SYSCALL, EXECVE, CWD and PATH records, a file event is PATH, an outgoing connection is SYSCALL.
//!
//! Record types and field names are those of the audit record dictionary (linux-audit/audit-documentation on GitHub).

use std::borrow::Cow;

use beffroi_schema::{Category, Event, Field, Logsource, Product, Value};

use crate::eval::{Datum, FieldId, Frame, Names};

/// Arguments shown as a0, a1, ...: rules look at the first ten at most.
const MAX_ARGUMENTS: usize = 64;

/// One audit record: values with the numbers that rules know their fields by.
#[derive(Debug, Default)]
pub(crate) struct AuditRecord<'a> {
    fields: Vec<(Option<FieldId>, Cow<'a, str>)>,
}

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

/// Which fields of the view some rules read, and by which numbers, looked up once for all events.
#[derive(Debug)]
pub(crate) struct Columns(Vec<Option<Option<FieldId>>>);

impl Columns {
    /// Those that are wanted.
    pub(crate) fn new(names: &Names, is_wanted: impl Fn(Option<FieldId>) -> bool) -> Self {
        let arguments = (0..MAX_ARGUMENTS).map(|index| format!("a{index}"));
        let all = NAMES.iter().map(ToString::to_string).chain(arguments);
        Self(all.map(|name| Some(names.find(&name)).filter(|field| is_wanted(*field))).collect())
    }
}

/// Whether events of this logsource have a view.
pub(crate) fn serves(logsource: &Logsource) -> bool {
    logsource.product == Product::Linux
        && matches!(
            logsource.category,
            Category::ProcessCreation
                | Category::FileEvent
                | Category::FileRename
                | Category::FileDelete
                | Category::NetworkConnection
        )
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

/// The audit records of an event with the fields that are wanted; none where it has no view.
pub(crate) fn records<'a>(event: &'a Event, columns: &Columns) -> Vec<AuditRecord<'a>> {
    if !serves(&event.logsource) {
        return Vec::new();
    }
    let writer = Writer { event, columns };
    match event.logsource.category {
        Category::ProcessCreation => writer.started(),
        Category::NetworkConnection if event.text(Field::INITIATED) == "true" => vec![writer.syscall("connect")],
        Category::FileEvent => vec![writer.syscall("openat"), writer.path(Field::TARGET_FILENAME, "CREATE")],
        Category::FileRename => vec![
            writer.syscall("rename"),
            writer.path(Field::SOURCE_FILENAME, "DELETE"),
            writer.path(Field::TARGET_FILENAME, "CREATE"),
        ],
        Category::FileDelete => vec![writer.syscall("unlinkat"), writer.path(Field::TARGET_FILENAME, "DELETE")],
        _ => Vec::new(),
    }
}

struct Writer<'a, 'w> {
    event: &'a Event,
    columns: &'w Columns,
}

impl<'a> Writer<'a, '_> {
    fn started(&self) -> Vec<AuditRecord<'a>> {
        let mut execve = self.record("EXECVE");
        if let Some(Value::List(arguments)) = self.event.get(Field::ARGV) {
            self.push(&mut execve, const { column("argc") }, || arguments.len().to_string().into());
            for (column, argument) in (NAMES.len()..NAMES.len() + MAX_ARGUMENTS).zip(arguments.iter()) {
                self.push(&mut execve, column, || Datum::Text(argument).text());
            }
        }
        let mut cwd = self.record("CWD");
        self.copy(&mut cwd, Field::CURRENT_DIRECTORY, const { column("cwd") });
        vec![self.syscall("execve"), execve, cwd, self.path(Field::IMAGE, "NORMAL")]
    }

    fn syscall(&self, name: &'static str) -> AuditRecord<'a> {
        let mut record = self.record("SYSCALL");
        self.push(&mut record, const { column("SYSCALL") }, || name.into());
        self.push(&mut record, const { column("syscall") }, || name.into());
        self.push(&mut record, const { column("success") }, || "yes".into());
        for (field, column) in SAME_EVERYWHERE {
            self.copy(&mut record, field, column);
        }
        if self.event.get(Field::COMM).is_none() {
            let image = || self.event.text(Field::IMAGE);
            self.push(&mut record, const { column("comm") }, || {
                image().rsplit('/').next().unwrap_or_default().to_string().into()
            });
        }
        record
    }

    fn path(&self, field: Field, kind: &'static str) -> AuditRecord<'a> {
        let mut record = self.record("PATH");
        self.push(&mut record, const { column("nametype") }, || kind.into());
        self.copy(&mut record, field, const { column("name") });
        record
    }

    fn record(&self, kind: &'static str) -> AuditRecord<'a> {
        let mut record = AuditRecord::default();
        self.push(&mut record, const { column("type") }, || kind.into());
        record
    }

    fn push(&self, record: &mut AuditRecord<'a>, column: usize, value: impl FnOnce() -> Cow<'a, str>) {
        if let Some(Some(field)) = self.columns.0.get(column) {
            record.fields.push((*field, value()));
        }
    }

    fn copy(&self, record: &mut AuditRecord<'a>, field: Field, column: usize) {
        if let Some(value) = self.event.get(field) {
            self.push(record, column, || match value {
                Value::Text(bytes) => Datum::Text(bytes).text(),
                other => other.to_text(),
            });
        }
    }
}

impl AuditRecord<'_> {
    /// Fills a frame with the record.
    pub(crate) fn fill<'f>(&'f self, frame: &mut Frame<'f>) {
        for (field, value) in &self.fields {
            frame.push(*field, Datum::Text(value.as_bytes()));
        }
    }
}
