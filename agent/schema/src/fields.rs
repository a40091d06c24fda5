//! The field table: every name an event may carry, with its number on the wire, its kind and its privacy class.
//!
//! Names follow the Sigma and Sysmon taxonomy, so rules need no mapping. Numbers are frozen: new fields are appended.
//! Names that are not in the table travel as `extra`.

use std::collections::HashMap;
use std::sync::OnceLock;

/// How a field's value is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// Bytes, usually UTF-8 (Linux paths are bytes, Windows strings WTF-8).
    Text = 0,
    /// Unsigned 64 bits.
    Uint = 1,
    /// Signed 64 bits.
    Int = 2,
    /// True or false.
    Bool = 3,
    /// A list of texts.
    List = 4,
}

impl Kind {
    /// The kind with this number on the wire.
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Text, Self::Uint, Self::Int, Self::Bool, Self::List].into_iter().find(|kind| *kind as u32 == number)
    }
}

/// What a field can tell about a person; later pseudonyms are chosen by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Names a person or account.
    User,
    /// A path, which may hold a home folder.
    Path,
    /// A command line or free text.
    Command,
    /// A network address or host name.
    Address,
    /// Nothing personal.
    None,
}

/// Number of a field on the wire and in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Field(pub u16);

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct FieldInfo {
    /// Number on the wire.
    pub field: Field,
    /// Sigma name.
    pub name: &'static str,
    /// Type of its value.
    pub kind: Kind,
    /// Privacy class.
    pub class: Class,
}

macro_rules! fields {
    ($($number:literal $constant:ident $name:literal $kind:ident $class:ident;)*) => {
        impl Field {
            $(#[doc = concat!("`", $name, "`")] pub const $constant: Field = Field($number);)*
        }
        /// Every field, in the order of the numbers.
        pub static TABLE: &[FieldInfo] = &[
            $(FieldInfo { field: Field($number), name: $name, kind: Kind::$kind, class: Class::$class },)*
        ];
    };
}

fields! {
    1 IMAGE "Image" Text Path;
    2 COMMAND_LINE "CommandLine" Text Command;
    3 PARENT_IMAGE "ParentImage" Text Path;
    4 PARENT_COMMAND_LINE "ParentCommandLine" Text Command;
    5 USER "User" Text User;
    6 CURRENT_DIRECTORY "CurrentDirectory" Text Path;
    7 LOGON_ID "LogonId" Uint User;
    8 PROCESS_ID "ProcessId" Uint None;
    9 PARENT_PROCESS_ID "ParentProcessId" Uint None;
    10 PROCESS_GUID "ProcessGuid" Text None;
    11 PARENT_PROCESS_GUID "ParentProcessGuid" Text None;
    12 TARGET_FILENAME "TargetFilename" Text Path;
    13 SOURCE_FILENAME "SourceFilename" Text Path;
    14 DESTINATION_IP "DestinationIp" Text Address;
    15 DESTINATION_PORT "DestinationPort" Uint None;
    16 DESTINATION_HOSTNAME "DestinationHostname" Text Address;
    17 SOURCE_IP "SourceIp" Text Address;
    18 SOURCE_PORT "SourcePort" Uint None;
    19 INITIATED "Initiated" Bool None;
    20 PROTOCOL "Protocol" Text None;
    21 QUERY_NAME "QueryName" Text Address;
    22 QUERY_RESULTS "QueryResults" Text Address;
    23 QUERY_STATUS "QueryStatus" Text None;
    24 HASHES "Hashes" Text None;
    25 ARGV "argv" List Command;
    26 CONTAINER_ID "ContainerId" Text None;
    27 EXEC_SEQ "ExecSeq" Uint None;
    28 PARENT_USER "ParentUser" Text User;
    29 LOGIN_USER "LoginUser" Text User;
    30 UID "Uid" Uint User;
    31 GID "Gid" Uint User;
    32 EUID "Euid" Uint User;
    33 LOGIN_UID "LoginUid" Uint User;
    34 SIGNATURE "Signature" Text None;
    35 FILENAME "Filename" Text Path;
    36 MESSAGE "message" Text Command;
    37 EXIT_CODE "ExitCode" Int None;
    38 DURATION_US "DurationUs" Uint None;
    39 EXEC_PATH "ExecPath" Text Path;
    40 ANCESTOR_GUIDS "AncestorGuids" List None;
    41 ANCESTOR_IMAGES "AncestorImages" List Path;
    42 ANCESTOR_COMMAND_LINES "AncestorCommandLines" List Command;
    43 REDACTED "Redacted" Bool None;
    44 TRUNCATED "Truncated" Bool None;
    45 ACTION "Action" Text None;
    46 SHA256 "sha256" Text None;
    47 SESSION_ID "SessionId" Uint None;
    48 COMM "comm" Text None;
    49 QUERY "query" Text Address;
    50 ANSWER "answer" Text Address;
    51 RECORD_TYPE "record_type" Text None;
    52 ORIGINAL_FILE_NAME "OriginalFileName" Text None;
    53 DESCRIPTION "Description" Text None;
    54 PRODUCT "Product" Text None;
    55 COMPANY "Company" Text None;
    56 INTEGRITY_LEVEL "IntegrityLevel" Text None;
    57 TARGET_OBJECT "TargetObject" Text Path;
    58 DETAILS "Details" Text Command;
    59 SCRIPT_BLOCK_TEXT "ScriptBlockText" Text Command;
    60 IMAGE_LOADED "ImageLoaded" Text Path;
    61 SIGNED "Signed" Text None;
    62 SIGNATURE_STATUS "SignatureStatus" Text None;
    63 SOURCE_IMAGE "SourceImage" Text Path;
    64 TARGET_IMAGE "TargetImage" Text Path;
    65 GRANTED_ACCESS "GrantedAccess" Text None;
    66 CALL_TRACE "CallTrace" Text None;
    67 PIPE_NAME "PipeName" Text None;
    68 EVENT_ID "EventID" Uint None;
    69 CHANNEL "Channel" Text None;
    70 PROVIDER_NAME "Provider_Name" Text None;
    71 COMPUTER "Computer" Text Address;
    72 FILE_BYTES "FileBytes" Uint None;
    73 RULE_NAMESPACE "RuleNamespace" Text None;
    74 MATCHED_STRINGS "MatchedStrings" List Command;
    75 SCAN_OUTCOME "ScanOutcome" Text None;
    76 SOURCE_HOSTNAME "SourceHostname" Text Address;
    77 ORDER_ID "OrderId" Text None;
    78 REASON "Reason" Text Command;
    79 FILES_SCANNED "FilesScanned" Uint None;
    80 FILES_MATCHED "FilesMatched" Uint None;
    81 FILES_SKIPPED "FilesSkipped" Uint None;
    82 FILES_TIMED_OUT "FilesTimedOut" Uint None;
    83 FILES_UNKNOWN "FilesUnknown" Uint None;
    84 ENTRIES_SCANNED "EntriesScanned" Uint None;
    85 BYTES_SCANNED "BytesScanned" Uint None;
    86 ORDERS "Orders" List None;
}

/// First number of the fields that a body names itself (`extra`): never in the table.
pub const FIRST_EXTRA: u32 = 0x1_0000;

impl Field {
    /// The table's row of this field; none for numbers of a newer agent.
    pub fn info(self) -> Option<&'static FieldInfo> {
        // Numbers are dense from 1, which a test holds.
        TABLE.get(usize::from(self.0).checked_sub(1)?)
    }

    /// The field with this name.
    pub fn by_name(name: &str) -> Option<Self> {
        static NAMES: OnceLock<HashMap<&'static str, Field>> = OnceLock::new();
        NAMES.get_or_init(|| TABLE.iter().map(|info| (info.name, info.field)).collect()).get(name).copied()
    }

    /// Its name, or `field_N` for a number that this version does not know.
    pub fn name(self) -> std::borrow::Cow<'static, str> {
        match self.info() {
            Some(info) => info.name.into(),
            None => format!("field_{}", self.0).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_from_one_and_names_are_unique() {
        for (index, info) in TABLE.iter().enumerate() {
            assert_eq!(usize::from(info.field.0), index + 1, "{}", info.name);
            assert_eq!(Field::by_name(info.name), Some(info.field));
        }
        assert!(TABLE.len() < crate::limits::MAX_FIELDS);
    }

    #[test]
    fn an_unknown_number_has_no_row_but_a_name() {
        assert!(Field(0).info().is_none());
        assert!(Field(9_999).info().is_none());
        assert_eq!(Field(9_999).name(), "field_9999");
    }
}
