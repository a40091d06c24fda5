//! Where in a document a problem is, and what to do about it: the parser's errors carry words, not lines.

/// A place in a document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Lines after the document's first.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// Stable short code of the problem.
    pub code: &'static str,
    /// What to do.
    pub hint: String,
}

/// (beginning of the reason, what to look for in the text, code, hint); `{}` in the needle is the quoted word.
const KINDS: &[(&str, &str, &str, &str)] = &[
    (
        "Unknown modifier",
        "|{}",
        "modifier",
        "use a modifier of the Sigma specification, such as contains, endswith, all, re, cidr",
    ),
    ("`not` is not a value", "|not", "modifier", "negate in the condition instead"),
    ("Condition", "condition:", "condition", "write a condition such as `selection and not 1 of filter_*`"),
    ("condition", "condition:", "condition", "write a condition such as `selection and not 1 of filter_*`"),
    ("unknown detection", "condition:", "condition", "define that selection under detection, or correct its name"),
    ("Missing required field 'condition'", "detection:", "missing_field", "add `condition:` under detection"),
    ("Missing required field", "", "missing_field", "add the field that is named"),
    ("Invalid detection", "detection:", "detection", "a selection is a mapping or a list"),
    ("Invalid correlation", "correlation:", "correlation", "correct the correlation section"),
    ("Invalid timespan", "timespan:", "correlation", "write a timespan such as 15s, 10m, 1h or 7d"),
    ("Invalid field specification", "detection:", "detection", "write a field name, then modifiers after |"),
    ("Invalid rule: logsource", "logsource:", "logsource", "logsource is a mapping of category, product, service"),
    ("Unknown collection action", "action:", "action", "use global, reset or repeat"),
    ("invalid regex", "|re", "regex", "correct the expression; look-around and back-references are not supported"),
    ("regular expression", "|re", "regex", "write a smaller expression"),
    ("invalid CIDR", "|cidr", "cidr", "write a network such as 10.0.0.0/8"),
    ("invalid modifier", "|", "modifier", "these modifiers cannot be used together"),
    ("incompatible value", "detection:", "value", "give a value of the kind that the modifier needs"),
    ("expected numeric", "detection:", "value", "give a number"),
    ("invalid level", "level:", "level", "use informational, low, medium, high or critical"),
    ("invalid status", "status:", "status", "use stable, test, experimental, deprecated or unsupported"),
    ("related", "related:", "related", "list mappings of id and type"),
    ("'related'", "related:", "related", "list mappings of id and type"),
    ("duplicate id", "id:", "duplicate_id", "give every rule its own id"),
    ("correlation names", "rules:", "unknown_rule", "name the id or the name of a loaded rule"),
    ("filter names", "rules:", "unknown_rule", "name the id, name or title of a loaded rule, or `any`"),
    ("filter keeps", "condition:", "filter", "a filter that excludes says `condition: not selection`"),
    ("filter", "filter:", "filter", "correct the filter's selections"),
    ("too many values", "detection:", "too_large", "split the rule"),
    ("Document is not", "", "yaml", "a rule is a mapping that begins with title"),
];

impl Place {
    /// The place that `reason` talks about in `text`.
    pub(crate) fn of(reason: &str, text: &str) -> Self {
        let Some((_, needle, code, hint)) = KINDS.iter().find(|(start, ..)| reason.starts_with(start)) else {
            let (line, column) = first_key(text);
            return Self { line, column, code: "rule", hint: "compare it with the Sigma specification".into() };
        };
        let word = reason.split('\'').nth(1).unwrap_or_default();
        let needle = needle.replace("{}", word);
        let (line, column) = find(text, &needle).unwrap_or_else(|| first_key(text));
        Self { line, column, code, hint: (*hint).into() }
    }
}

fn find(text: &str, needle: &str) -> Option<(u32, u32)> {
    if needle.is_empty() {
        return None;
    }
    text.lines().enumerate().find_map(|(line, content)| {
        // A key stands at the beginning of its line (after blanks); modifiers stand anywhere.
        let is_key = needle.ends_with(':');
        let at =
            if is_key { content.trim_start().starts_with(needle).then(|| content.find(needle))? } else { content.find(needle) };
        at.map(|at| (line as u32, content[..at].chars().count() as u32 + 1))
    })
}

/// The first line that is no comment.
fn first_key(text: &str) -> (u32, u32) {
    let at = text.lines().position(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    (at.unwrap_or(0) as u32, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_placed_at_the_words_it_talks_about() {
        let text = "# note\ntitle: x\ndetection:\n  s:\n    Image|ends: a\n  condition: s and\n";
        let place = Place::of("Unknown modifier 'ends'", text);
        assert_eq!((place.line, place.column, place.code), (4, 10, "modifier"));
        let place = Place::of("Condition parse error: unexpected end", text);
        assert_eq!((place.line, place.column, place.code), (5, 3, "condition"));
        let place = Place::of("Missing required field 'logsource'", text);
        assert_eq!((place.line, place.code), (1, "missing_field"));
    }
}
