//! What a rule text may cost, each limit with its reason. Beyond it the rule is refused with a reason; others load.

/// One rule file: the largest public rule has about 60 KB; more is no rule.
pub const MAX_FILE_BYTES: u64 = 512 * 1024;
/// Files of one load: ten times what the public rule collections hold together.
pub const MAX_FILES: usize = 50_000;
/// Folder depth while looking for rules.
pub const MAX_DEPTH: usize = 32;
/// Documents of one file: collections keep one, some keep a dozen.
pub const MAX_DOCUMENTS: usize = 256;
/// One condition: the parser recurses over it.
pub const MAX_CONDITION_BYTES: usize = 4_096;
/// Nested parentheses of one condition: the parser recurses once for each.
pub const MAX_CONDITION_DEPTH: usize = 48;
/// Nested brackets of YAML in one text: the scanner needs time in proportion to their square.
pub const MAX_FLOW_DEPTH: usize = 512;
/// Values of one rule: bounds the compiled size (the largest public rule has about 1,500).
pub const MAX_VALUES: usize = 20_000;
/// Regular expressions of one rule: each may compile to megabytes.
pub const MAX_REGEXES: usize = 64;
/// One regular expression.
pub const MAX_REGEX_BYTES: usize = 4_096;
/// Counted repetitions (`{n}`) of one regular expression multiply its compiled size; no rule needs more than this.
pub const MAX_REGEX_REPEAT: u32 = 1_000;
/// Fields copied into one match: beyond these the evidence is in the event itself.
pub const MAX_MATCHED_FIELDS: usize = 32;
