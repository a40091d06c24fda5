//! Our own events shown as audit records, so that rules for `service: auditd` judge them: a start of a process is what
//! auditd writes as SYSCALL, EXECVE, CWD and PATH records, a file event is PATH, an outgoing connection is SYSCALL.
//!
//! Record types and field names are those of the audit record dictionary (linux-audit/audit-documentation on GitHub).

use std::borrow::Cow;

use beffroi_schema::{Category, Event, Field, Logsource, Product, Value};

use crate::eval::{Datum, Frame, Names};

/// Arguments shown as a0, a1, ...: rules look at the first ten at most.
const MAX_ARGUMENTS: usize = 64;

/// One audit record.
#[derive(Debug, Default)]
pub(crate) struct AuditRecord<'a> {
    fields: Vec<(Cow<'static, str>, Cow<'a, str>)>,
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

/// The audit records of an event; none where it has no view.
pub(crate) fn records(event: &Event) -> Vec<AuditRecord<'_>> {
    if !serves(&event.logsource) {
        return Vec::new();
    }
    match event.logsource.category {
        Category::ProcessCreation => started(event),
        Category::NetworkConnection if event.text(Field::INITIATED) == "true" => vec![syscall(event, "connect")],
        Category::FileEvent => vec![syscall(event, "openat"), path(event, Field::TARGET_FILENAME, "CREATE")],
        Category::FileRename => vec![
            syscall(event, "rename"),
            path(event, Field::SOURCE_FILENAME, "DELETE"),
            path(event, Field::TARGET_FILENAME, "CREATE"),
        ],
        Category::FileDelete => vec![syscall(event, "unlinkat"), path(event, Field::TARGET_FILENAME, "DELETE")],
        _ => Vec::new(),
    }
}

fn started(event: &Event) -> Vec<AuditRecord<'_>> {
    let mut execve = AuditRecord::of("EXECVE");
    if let Some(Value::List(arguments)) = event.get(Field::ARGV) {
        execve.push("argc", arguments.len().to_string().into());
        for (index, argument) in arguments.iter().take(MAX_ARGUMENTS).enumerate() {
            execve.fields.push((format!("a{index}").into(), String::from_utf8_lossy(argument)));
        }
    }
    let mut cwd = AuditRecord::of("CWD");
    cwd.copy(event, Field::CURRENT_DIRECTORY, "cwd");
    vec![syscall(event, "execve"), execve, cwd, path(event, Field::IMAGE, "NORMAL")]
}

fn syscall<'a>(event: &'a Event, name: &'static str) -> AuditRecord<'a> {
    let mut record = AuditRecord::of("SYSCALL");
    record.push("SYSCALL", name.into());
    record.push("syscall", name.into());
    record.push("success", "yes".into());
    for (field, name) in [
        (Field::IMAGE, "exe"),
        (Field::COMM, "comm"),
        (Field::PROCESS_ID, "pid"),
        (Field::PARENT_PROCESS_ID, "ppid"),
        (Field::UID, "uid"),
        (Field::EUID, "euid"),
        (Field::GID, "gid"),
        (Field::LOGIN_UID, "auid"),
        (Field::SESSION_ID, "ses"),
    ] {
        record.copy(event, field, name);
    }
    if event.get(Field::COMM).is_none() {
        let image = event.text(Field::IMAGE);
        record.push("comm", image.rsplit('/').next().unwrap_or_default().to_string().into());
    }
    record
}

fn path<'a>(event: &'a Event, field: Field, kind: &'static str) -> AuditRecord<'a> {
    let mut record = AuditRecord::of("PATH");
    record.push("nametype", kind.into());
    record.copy(event, field, "name");
    record
}

impl<'a> AuditRecord<'a> {
    fn of(kind: &'static str) -> Self {
        let mut record = Self::default();
        record.push("type", kind.into());
        record
    }

    fn push(&mut self, name: &'static str, value: Cow<'a, str>) {
        self.fields.push((name.into(), value));
    }

    fn copy(&mut self, event: &'a Event, field: Field, name: &'static str) {
        if let Some(value) = event.get(field) {
            self.push(name, value.to_text());
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
