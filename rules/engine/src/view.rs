//! Our own events shown as audit records, so that rules for `service: auditd` judge them: a start of a process is what
//! auditd writes as SYSCALL, EXECVE, CWD and PATH records, a file event is PATH, an outgoing connection is SYSCALL.
//!
//! Record types and field names are those of the audit record dictionary (linux-audit/audit-documentation on GitHub).

use std::collections::BTreeSet;

use beffroi_schema::batch::{ListRef, TextRef, ValueRef};
use beffroi_schema::{Category, Field, Logsource, Product};

use crate::eval::{Datum, FieldId, Frame, Names, Subject};

/// Arguments shown as a0, a1, ...: rules look at the first ten at most.
const MAX_ARGUMENTS: usize = 64;

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

impl std::fmt::Display for AuditRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Syscall(name) => write!(f, "{} of {name}", self.kind()),
            Self::Path(_, kind) => write!(f, "{} {kind}", self.kind()),
            Self::Execve | Self::Cwd => f.write_str(self.kind()),
        }
    }
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

/// Where a field of an audit record comes from.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// It says this in every event.
    Constant(&'static str),
    /// What the event says.
    Open(Open),
    /// The argument at this place.
    Argument(usize),
}

/// What an event says in a field of an audit record.
#[derive(Debug, Clone, Copy)]
enum Open {
    /// One of our own fields.
    Own(Field),
    /// What the process calls itself, or else the name of its program.
    Name,
    /// How many arguments there are.
    Count,
}

impl Open {
    fn value<'a>(self, event: impl Subject<'a>) -> Option<ValueRef<'a>> {
        match self {
            Self::Own(field) => event.get(field),
            Self::Name => event.get(Field::COMM).or_else(|| event.get(Field::IMAGE).map(base_name)),
            Self::Count => Some(ValueRef::Uint(arguments(event)?.len() as u64)),
        }
    }
}

/// What of one of our own fields a field of an audit record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it; of a list each text.
    Whole,
    /// What stands behind the last slash.
    BaseName,
    /// How many texts a list has.
    Count,
    /// The text of a list at this place.
    Argument(usize),
}

fn arguments<'a>(event: impl Subject<'a>) -> Option<ListRef<'a>> {
    match event.get(Field::ARGV) {
        Some(ValueRef::List(arguments)) => Some(arguments),
        _ => None,
    }
}

/// What stands behind the last slash of a path.
pub(crate) fn base_name(path: ValueRef<'_>) -> ValueRef<'_> {
    match path {
        ValueRef::Text(path) => {
            let bytes = path.bytes.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            ValueRef::Text(TextRef { bytes, number: None })
        }
        other => other,
    }
}

impl AuditRecord {
    /// All of its fields.
    fn fields(self) -> Vec<(String, Source)> {
        let own = |(field, name): &(Field, &str)| match *field {
            Field::COMM => (name.to_string(), Source::Open(Open::Name)),
            field => (name.to_string(), Source::Open(Open::Own(field))),
        };
        let constant = |name: &str, text| (name.to_string(), Source::Constant(text));
        let mut fields = vec![constant("type", self.kind())];
        match self {
            Self::Syscall(name) => {
                fields.extend([constant("SYSCALL", name), constant("syscall", name), constant("success", "yes")]);
                fields.extend(SAME_EVERYWHERE.iter().map(own));
            }
            Self::Execve => {
                fields.push(("argc".into(), Source::Open(Open::Count)));
                fields.extend((0..MAX_ARGUMENTS).map(|place| (format!("a{place}"), Source::Argument(place))));
            }
            Self::Cwd => fields.push(("cwd".into(), Source::Open(Open::Own(Field::CURRENT_DIRECTORY)))),
            Self::Path(field, kind) => {
                fields.extend([constant("nametype", kind), ("name".into(), Source::Open(Open::Own(field)))]);
            }
        }
        fields
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Syscall(_) => "SYSCALL",
            Self::Execve => "EXECVE",
            Self::Cwd => "CWD",
            Self::Path(..) => "PATH",
        }
    }

    /// What it says in every event.
    pub(crate) fn known<'f>(self, names: &Names) -> Frame<'f> {
        let mut known = Frame::new(names);
        let whole = Form::new(self, names, |_| true);
        whole.constants().for_each(|(field, text)| known.push(field, Datum::Text(text.as_bytes())));
        known
    }

    /// The fields that differ from event to event, where rules know them.
    pub(crate) fn open_fields(self, names: &Names) -> BTreeSet<FieldId> {
        let open = self.fields().into_iter().filter(|(_, source)| !matches!(source, Source::Constant(_)));
        open.filter_map(|(name, _)| names.find(&name)).collect()
    }
}

/// One kind of audit record, of which only what some rules read is filled in.
#[derive(Debug)]
pub(crate) struct Form {
    constants: Vec<(Option<FieldId>, &'static str)>,
    open: Vec<(Option<FieldId>, Open)>,
    /// By place of the argument.
    arguments: Vec<(usize, Option<FieldId>)>,
}

impl Form {
    /// With the fields that are wanted.
    pub(crate) fn new(record: AuditRecord, names: &Names, is_wanted: impl Fn(Option<FieldId>) -> bool) -> Self {
        let mut form = Self { constants: Vec::new(), open: Vec::new(), arguments: Vec::new() };
        for (name, source) in record.fields() {
            let field = names.find(&name);
            match source {
                _ if !is_wanted(field) => {}
                Source::Constant(text) => form.constants.push((field, text)),
                Source::Argument(place) => form.arguments.push((place, field)),
                Source::Open(open) => form.open.push((field, open)),
            }
        }
        form
    }

    /// What it says in every event.
    pub(crate) fn constants(&self) -> impl Iterator<Item = (Option<FieldId>, &'static str)> {
        self.constants.iter().copied()
    }

    /// Which of our own fields it shows, and what of them, of events that have these.
    pub(crate) fn parts(&self, has: impl Fn(Field) -> bool) -> impl Iterator<Item = (Option<FieldId>, Field, Part)> {
        let open = self.open.iter().map(move |(field, open)| match *open {
            Open::Own(own) => (*field, own, Part::Whole),
            Open::Name if has(Field::COMM) => (*field, Field::COMM, Part::Whole),
            Open::Name => (*field, Field::IMAGE, Part::BaseName),
            Open::Count => (*field, Field::ARGV, Part::Count),
        });
        open.chain(self.arguments.iter().map(|(place, field)| (*field, Field::ARGV, Part::Argument(*place))))
    }

    /// What it says of one event in the fields that are read.
    fn of<'f>(
        &self,
        event: impl Subject<'f>,
        is_read: impl Fn(Option<FieldId>) -> bool + Copy,
    ) -> impl Iterator<Item = (Option<FieldId>, ValueRef<'f>)> {
        let own = self.open.iter().filter(move |(field, _)| is_read(*field));
        let own = own.filter_map(move |(field, open)| Some((*field, open.value(event)?)));
        let texts = (!self.arguments.is_empty()).then(|| arguments(event)).flatten();
        let texts = texts.into_iter().flat_map(move |texts| {
            let there = self.arguments.iter().take_while(move |(place, _)| *place < texts.len());
            let there = there.filter(move |(_, field)| is_read(*field));
            there.filter_map(move |(place, field)| Some((*field, ValueRef::Text(texts.get(*place)?))))
        });
        own.chain(texts)
    }

    /// Fills a frame with the record of an event, as far as its fields are read.
    pub(crate) fn fill<'f>(
        &self,
        frame: &mut Frame<'f>,
        event: impl Subject<'f>,
        is_read: impl Fn(Option<FieldId>) -> bool + Copy,
    ) {
        let constants = self.constants().filter(|(field, _)| is_read(*field));
        constants.for_each(|(field, text)| frame.push(field, Datum::Text(text.as_bytes())));
        self.of(event, is_read).for_each(|(field, value)| frame.push_value(field, value));
    }
}
