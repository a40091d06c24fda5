//! The event: flat, typed, named after the Sigma taxonomy (design section 5). One representation serves the
//! sensor, the batches, the detection engine and the store.

use std::sync::Arc;

use crate::fields::Field;
use crate::ids::Stream;

/// Shared bytes: a string of a decoded batch is stored once however many events name it.
pub type Text = Arc<[u8]>;

/// A typed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Bytes, usually UTF-8.
    Text(Text),
    /// Unsigned.
    Uint(u64),
    /// Signed.
    Int(i64),
    /// True or false.
    Bool(bool),
    /// List of texts.
    List(Arc<[Text]>),
}

impl Value {
    /// The value as text for people and for rules: numbers in decimal, lists joined by one space, bad UTF-8 replaced.
    pub fn to_text(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Self::Text(bytes) => String::from_utf8_lossy(bytes),
            Self::Uint(number) => number.to_string().into(),
            Self::Int(number) => number.to_string().into(),
            Self::Bool(true) => "true".into(),
            Self::Bool(false) => "false".into(),
            Self::List(list) => list.iter().map(|text| String::from_utf8_lossy(text)).collect::<Vec<_>>().join(" ").into(),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.as_bytes().into())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Text(bytes.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into_bytes().into())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Text(bytes.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Uint(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Uint(number.into())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

macro_rules! numbered_names {
    ($(#[$doc:meta])* $type:ident { $($number:literal $variant:ident $name:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
            /// A number that this version does not know.
            Other(u32),
        }

        impl $type {
            /// All that this version knows.
            pub const ALL: &'static [$type] = &[$($type::$variant,)*];

            /// Number on the wire.
            pub fn number(self) -> u32 {
                match self { $(Self::$variant => $number,)* Self::Other(number) => number }
            }

            /// The variant of this number.
            pub fn from_number(number: u32) -> Self {
                match number { $($number => Self::$variant,)* other => Self::Other(other) }
            }

            /// Sigma name; empty for none and for unknown numbers.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* Self::Other(_) => "" }
            }

            /// The variant of this Sigma name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

numbered_names! {
    /// Sigma category of an event.
    Category {
        0 None "";
        1 ProcessCreation "process_creation";
        2 ProcessTermination "process_termination";
        3 FileEvent "file_event";
        4 FileRename "file_rename";
        5 FileDelete "file_delete";
        6 FileChange "file_change";
        7 NetworkConnection "network_connection";
        8 NetworkListen "network_listen";
        9 Antivirus "antivirus";
        10 DnsQuery "dns_query";
        11 Dns "dns";
        12 ProcessFork "process_fork";
        13 ImageLoad "image_load";
        14 RegistrySet "registry_set";
        15 RegistryEvent "registry_event";
        16 RegistryAdd "registry_add";
        17 RegistryDelete "registry_delete";
        18 ProcessAccess "process_access";
        19 PipeCreated "pipe_created";
        20 CreateRemoteThread "create_remote_thread";
        21 DriverLoad "driver_load";
        22 PsScript "ps_script";
        23 PsModule "ps_module";
        24 CreateStreamHash "create_stream_hash";
        25 WmiEvent "wmi_event";
        26 Authentication "authentication";
        27 Webserver "webserver";
        28 Proxy "proxy";
        29 Scan "scan";
    }
}

numbered_names! {
    /// Sigma product of an event.
    Product {
        0 None "";
        1 Linux "linux";
        2 Windows "windows";
        3 Macos "macos";
    }
}

impl Category {
    /// What the sensor of Linux hosts sends without being told to send more (`process_fork` is sent on request only):
    /// rules for other categories of `product: linux` load and can never fire.
    pub const SENSED_ON_LINUX: &'static [Category] = &[
        Category::ProcessCreation,
        Category::ProcessTermination,
        Category::FileEvent,
        Category::FileRename,
        Category::FileDelete,
        Category::FileChange,
        Category::NetworkConnection,
        Category::NetworkListen,
        Category::Antivirus,
        Category::Scan,
    ];

    /// The stream that carries events of this category.
    pub fn stream(self) -> Stream {
        match self {
            Self::Antivirus | Self::Authentication | Self::Scan => Stream::Detection,
            Self::ProcessCreation | Self::ProcessTermination | Self::ProcessAccess | Self::CreateRemoteThread => Stream::Exec,
            Self::NetworkConnection | Self::NetworkListen | Self::DnsQuery | Self::Dns => Stream::Network,
            Self::FileEvent | Self::FileRename | Self::FileDelete | Self::FileChange | Self::CreateStreamHash => Stream::File,
            _ => Stream::Bulk,
        }
    }
}

/// Where an event comes from, in Sigma's terms.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Logsource {
    /// `category`.
    pub category: Category,
    /// `product`.
    pub product: Product,
    /// `service`, for log lines.
    pub service: Option<Text>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Number in its stream, from 1; 0 until the sensor has given one.
    pub seq: u64,
    /// The agent's clock, microseconds since 1970.
    pub ts: i64,
    /// Logsource.
    pub logsource: Logsource,
    /// Recorded elsewhere and sent again (`origin=replay`).
    pub replayed: bool,
    fields: Vec<(Field, Value)>,
    extra: Vec<(Arc<str>, Value)>,
}

impl Event {
    /// An event without fields.
    pub fn new(category: Category, product: Product, ts: i64) -> Self {
        Self {
            seq: 0,
            ts,
            logsource: Logsource { category, product, service: None },
            replayed: false,
            fields: Vec::with_capacity(24),
            extra: Vec::new(),
        }
    }

    /// Sets a field, replacing an earlier value.
    pub fn set(&mut self, field: Field, value: impl Into<Value>) -> &mut Self {
        match self.fields.binary_search_by_key(&field, |(known, _)| *known) {
            Ok(at) => self.fields[at].1 = value.into(),
            Err(at) => self.fields.insert(at, (field, value.into())),
        }
        self
    }

    /// Sets a field where there is a value.
    pub fn set_some(&mut self, field: Field, value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.set(field, value);
        }
        self
    }

    /// Sets a field by name; a name that the table does not have goes to `extra`.
    pub fn set_named(&mut self, name: &str, value: Value) -> &mut Self {
        match Field::by_name(name) {
            Some(field) => self.set(field, value),
            None => {
                self.extra.retain(|(known, _)| &**known != name);
                self.extra.push((name.into(), value));
                self
            }
        }
    }

    /// Removes a field.
    pub fn remove(&mut self, field: Field) -> Option<Value> {
        let at = self.fields.binary_search_by_key(&field, |(known, _)| *known).ok()?;
        Some(self.fields.remove(at).1)
    }

    /// The value of a field.
    pub fn get(&self, field: Field) -> Option<&Value> {
        let at = self.fields.binary_search_by_key(&field, |(known, _)| *known).ok()?;
        Some(&self.fields[at].1)
    }

    /// The value of a field by its Sigma name, `extra` included.
    pub fn get_named(&self, name: &str) -> Option<&Value> {
        match Field::by_name(name) {
            Some(field) => self.get(field),
            None => self.extra.iter().find(|(known, _)| &**known == name).map(|(_, value)| value),
        }
    }

    /// A text field as text, bad UTF-8 replaced; empty when absent.
    pub fn text(&self, field: Field) -> std::borrow::Cow<'_, str> {
        self.get(field).map(Value::to_text).unwrap_or_default()
    }

    /// An unsigned field.
    pub fn uint(&self, field: Field) -> Option<u64> {
        match self.get(field)? {
            Value::Uint(number) => Some(*number),
            _ => None,
        }
    }

    /// Fields of the table, in the order of their numbers.
    pub fn fields(&self) -> &[(Field, Value)] {
        &self.fields
    }

    /// Fields beyond the table.
    pub fn extra(&self) -> &[(Arc<str>, Value)] {
        &self.extra
    }

    /// The stream that carries it.
    pub fn stream(&self) -> Stream {
        self.logsource.category.stream()
    }

    /// Builds an event from fields that are already sorted by number, each once (the decoder's path).
    pub(crate) fn from_sorted(
        seq: u64,
        ts: i64,
        logsource: Logsource,
        replayed: bool,
        fields: Vec<(Field, Value)>,
        extra: Vec<(Arc<str>, Value)>,
    ) -> Self {
        debug_assert!(fields.windows(2).all(|pair| pair[0].0 < pair[1].0));
        Self { seq, ts, logsource, replayed, fields, extra }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_number_and_by_name() {
        let mut event = Event::new(Category::ProcessCreation, Product::Linux, 5);
        event.set(Field::COMMAND_LINE, "id -u").set(Field::IMAGE, "/usr/bin/id").set_named("Odd", Value::Uint(3));
        event.set(Field::IMAGE, "/bin/id");
        assert_eq!(event.text(Field::IMAGE), "/bin/id");
        assert_eq!(event.get_named("CommandLine"), Some(&Value::from("id -u")));
        assert_eq!(event.get_named("Odd"), Some(&Value::Uint(3)));
        assert_eq!(event.get_named("odd"), None);
        assert_eq!(event.fields().len(), 2);
        assert_eq!(event.remove(Field::IMAGE), Some(Value::from("/bin/id")));
        assert_eq!(event.get(Field::IMAGE), None);
    }

    #[test]
    fn every_category_has_one_number_and_one_name() {
        for category in Category::ALL {
            assert_eq!(Category::from_number(category.number()), *category);
            assert_eq!(Category::from_name(category.name()), Some(*category));
        }
        assert_eq!(Category::from_number(900), Category::Other(900));
    }

    #[test]
    fn detections_outlive_file_events_in_a_full_spool() {
        assert!(Category::Antivirus.stream() < Category::ProcessCreation.stream());
        assert!(Category::ProcessCreation.stream() < Category::NetworkConnection.stream());
        assert!(Category::NetworkConnection.stream() < Category::FileEvent.stream());
        assert!(Category::FileEvent.stream() < Category::None.stream());
    }
}
