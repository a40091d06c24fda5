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
/// Modifiers of one field that change its texts: each makes more or longer texts of all that the one before it made, and
/// `utf16le|base64offset|windash|expand` is the longest chain that means something.
pub const MAX_ENCODERS: usize = 8;
/// Forms that one text of a rule takes: spellings of options, offsets of base64, values of placeholders.
pub const MAX_FORMS: usize = 10_000;
/// Fields copied into one match: beyond these the evidence is in the event itself.
pub const MAX_MATCHED_FIELDS: usize = 32;
/// Correlations of one set: each costs memory for each tenant.
pub const MAX_CORRELATIONS: usize = 10_000;
/// Rules that one correlation refers to: the bits of one number.
pub const MAX_RELATED_RULES: usize = 64;
/// Rules of one `temporal_ordered` correlation: what is kept for a group grows with their cube.
pub const MAX_ORDERED_RULES: usize = 16;
/// Fields of one group, and of one counted value.
pub const MAX_GROUP_FIELDS: usize = 16;
/// Longest window of a correlation: a year. Its state is held for as long, bounded by what a correlator may keep whatever the
/// timespan; what is older is not acted upon any more.
pub const MAX_TIMESPAN_SECONDS: u64 = 366 * 86_400;
/// Events in the window of one group: a condition that needs more is refused.
pub const MAX_WINDOW_EVENTS: usize = 100_000;
/// A value that groups or is counted; a longer one is cut and told apart by its hash.
pub const MAX_GROUP_VALUE_BYTES: usize = 256;
/// Events that a correlation's match names: the first and the last of its window.
pub const MAX_MATCH_EVENTS: usize = 20;
