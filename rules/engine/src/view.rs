//! Our own events shown as audit records, so that rules for `service: auditd` judge them: a start of a process is what
//! auditd writes as SYSCALL, EXECVE, CWD and PATH records, a file event is PATH, an outgoing connection is SYSCALL.
//!
//! Record types and field names are those of the audit record dictionary (linux-audit/audit-documentation on GitHub).

use std::borrow::Cow;
use std::sync::LazyLock;

use beffroi_schema::{Category, Event, Field, Logsource, Product, Value};

use crate::eval::{Datum, Frame, Names};

/// Arguments shown as a0, a1, ...: rules look at the first ten at most.
const MAX_ARGUMENTS: usize = 64;

/// One audit record.
#[derive(Debug, Default)]
pub(crate) struct AuditRecord<'a> {
    fields: Vec<(&'static str, Cow<'a, str>)>,
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
const SAME_EVERYWHERE: [(Field, &str); 9] = [
    (Field::IMAGE, "exe"),
    (Field::COMM, "comm"),
    (Field::PROCESS_ID, "pid"),
    (Field::PARENT_PROCESS_ID, "ppid"),
    (Field::UID, "uid"),
    (Field::EUID, "euid"),
    (Field::GID, "gid"),
    (Field::LOGIN_UID, "auid"),
    (Field::SESSION_ID, "ses"),
];

/// Our own field for one of the audit view: what a correlation over `auditd` rules groups by when it names `exe` or `auid`.
/// None of those that say something else in each record of an event (`type`, `name`, `a0`).
pub fn field_of(name: &str) -> Option<Field> {
    let folder = [(Field::CURRENT_DIRECTORY, "cwd")];
    SAME_EVERYWHERE.iter().chain(&folder).find(|(_, known)| *known == name).map(|(field, _)| *field)
}

/// Names of the arguments of a program, made once.
static ARGUMENTS: LazyLock<Vec<String>> = LazyLock::new(|| (0..MAX_ARGUMENTS).map(|index| format!("a{index}")).collect());

/// The audit records of an event; none where it has no view.
pub(crate) fn records(event: &Event) -> Vec<AuditRecord<'_>> {
    wanted_records(event, &|_| true)
}

/// The same with the fields that are wanted.
pub(crate) fn wanted_records<'a>(event: &'a Event, wanted: &dyn Fn(&str) -> bool) -> Vec<AuditRecord<'a>> {
    if !serves(&event.logsource) {
        return Vec::new();
    }
    let writer = Writer { event, wanted };
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
    wanted: &'w dyn Fn(&str) -> bool,
}

impl<'a> Writer<'a, '_> {
    fn started(&self) -> Vec<AuditRecord<'a>> {
        let mut execve = self.record("EXECVE");
        if let Some(Value::List(arguments)) = self.event.get(Field::ARGV) {
            self.push(&mut execve, "argc", || arguments.len().to_string().into());
            for (name, argument) in ARGUMENTS.iter().zip(arguments.iter()) {
                self.push(&mut execve, name, || Datum::Text(argument).text());
            }
        }
        let mut cwd = self.record("CWD");
        self.copy(&mut cwd, Field::CURRENT_DIRECTORY, "cwd");
        vec![self.syscall("execve"), execve, cwd, self.path(Field::IMAGE, "NORMAL")]
    }

    fn syscall(&self, name: &'static str) -> AuditRecord<'a> {
        let mut record = self.record("SYSCALL");
        self.push(&mut record, "SYSCALL", || name.into());
        self.push(&mut record, "syscall", || name.into());
        self.push(&mut record, "success", || "yes".into());
        for (field, name) in SAME_EVERYWHERE {
            self.copy(&mut record, field, name);
        }
        if self.event.get(Field::COMM).is_none() {
            let image = || self.event.text(Field::IMAGE);
            self.push(&mut record, "comm", || image().rsplit('/').next().unwrap_or_default().to_string().into());
        }
        record
    }

    fn path(&self, field: Field, kind: &'static str) -> AuditRecord<'a> {
        let mut record = self.record("PATH");
        self.push(&mut record, "nametype", || kind.into());
        self.copy(&mut record, field, "name");
        record
    }

    fn record(&self, kind: &'static str) -> AuditRecord<'a> {
        let mut record = AuditRecord::default();
        self.push(&mut record, "type", || kind.into());
        record
    }

    fn push(&self, record: &mut AuditRecord<'a>, name: &'static str, value: impl FnOnce() -> Cow<'a, str>) {
        if (self.wanted)(name) {
            record.fields.push((name, value()));
        }
    }

    fn copy(&self, record: &mut AuditRecord<'a>, field: Field, name: &'static str) {
        if let Some(value) = self.event.get(field) {
            self.push(record, name, || match value {
                Value::Text(bytes) => Datum::Text(bytes).text(),
                other => other.to_text(),
            });
        }
    }
}

impl AuditRecord<'_> {
    /// Fills a frame with the record.
    pub(crate) fn fill<'f>(&'f self, frame: &mut Frame<'f>, names: &Names) {
        for (name, value) in &self.fields {
            frame.push(names.find(name), Datum::Text(value.as_bytes()));
        }
    }
}
