//! Our own events shown as audit records, so that rules for `service: auditd` judge them: a start of a process is what
//! auditd writes as SYSCALL, EXECVE, CWD and PATH records, a file event is PATH, an outgoing connection is SYSCALL.
//!
//! Record types and field names are those of the audit record dictionary (linux-audit/audit-documentation on GitHub).

use std::borrow::Cow;

use beffroi_schema::{Category, Event, Field, Logsource, Product, Value};
use rsigma_eval::EventValue;

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

impl rsigma_eval::Event for AuditRecord<'_> {
    fn get_field(&self, path: &str) -> Option<EventValue<'_>> {
        let found = self.fields.iter().find(|(name, _)| name == path);
        found.map(|(_, value)| EventValue::Str(Cow::Borrowed(value)))
    }

    fn any_string_value(&self, pred: &dyn Fn(&str) -> bool) -> bool {
        self.fields.iter().any(|(_, value)| pred(value))
    }

    fn all_string_values(&self) -> Vec<Cow<'_, str>> {
        self.fields.iter().map(|(_, value)| Cow::Borrowed(value.as_ref())).collect()
    }

    fn to_json(&self) -> serde_json::Value {
        let pairs = self.fields.iter().map(|(name, value)| (name.to_string(), value.to_string().into()));
        serde_json::Value::Object(pairs.collect())
    }

    fn visit_top_level_keys(&self, visit: &mut dyn FnMut(&str)) -> bool {
        self.fields.iter().for_each(|(name, _)| visit(name));
        true
    }
}
