//! Text from endpoints is hostile: it may hold terminal codes, bidirectional overrides, formulas for a spreadsheet.
//! Everything that is printed for a person goes through [`terminal`], every CSV cell through [`cell`], every JSON text
//! through [`json`].

use std::fmt::Write;

/// Text in which every character that a terminal might act on, or that hides or reorders others, is shown as `\u{..}`.
pub fn terminal(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_dangerous(c) { safe.extend(c.escape_unicode()) } else { safe.push(c) }
    }
    safe
}

/// Lines for a terminal: as [`terminal`], but lines end where they ended.
pub fn lines(text: &str) -> String {
    text.split('\n').map(terminal).collect::<Vec<_>>().join("\n")
}

/// JSON text (which must be valid) that means the same and holds nothing that a terminal acts on: JSON itself leaves C1
/// codes and bidirectional overrides as they are. They can only stand in strings, where `\uXXXX` stands for them.
pub fn json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || !is_dangerous(c) {
            safe.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(safe, "\\u{unit:04x}");
        }
    }
    safe
}

/// Controls (C0, DEL, C1), and characters that show nothing or move others: soft hyphen, joiners, bidirectional marks,
/// line separators, fillers, variation selectors, tags.
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e01ef}')
}

/// Text for a CSV cell: made safe for terminals, and with an apostrophe before what a spreadsheet would compute
/// (CWE-1236). The full-width signs count: spreadsheets of some languages take them for the plain ones.
pub fn cell(text: &str) -> String {
    let begins = ['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
    let safe = terminal(text);
    if text.starts_with(begins) { format!("'{safe}") } else { safe }
}

/// Text cut to `width` characters with an ellipsis.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width { text.into() } else { text.chars().take(width.saturating_sub(1)).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&str; 11] = [
        "\u{1b}[2J",
        "\u{9b}31m",
        "a\rb",
        "a\nb",
        "\u{202e}gpj.exe",
        "\u{200b}",
        "\u{7}",
        "\u{feff}",
        "\u{2066}x",
        "\u{e0041}",
        "\u{7f}",
    ];

    #[test]
    fn nothing_that_a_terminal_acts_on_gets_through() {
        for hostile in HOSTILE {
            let safe = terminal(hostile);
            assert!(safe.chars().all(|c| !is_dangerous(c)), "{safe:?}");
            assert!(safe.contains("\\u{"), "{safe:?}");
        }
        assert_eq!(terminal("café /usr/bin/été 日本"), "café /usr/bin/été 日本");
        assert_eq!(lines("a\u{1b}\nb"), "a\\u{1b}\nb");
    }

    #[test]
    fn json_says_the_same_without_what_a_terminal_acts_on() {
        for hostile in HOSTILE {
            let value = serde_json::json!({ hostile: [hostile] });
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let safe = json(&text);
                assert!(safe.chars().all(|c| c == '\n' || !is_dangerous(c)), "{safe:?}");
                assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
            }
        }
    }

    #[test]
    fn a_spreadsheet_gets_no_formula() {
        for formula in ["=1+1", "+cmd", "-2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"] {
            assert!(cell(formula).starts_with('\''), "{formula:?}");
        }
        assert_eq!(cell("plain"), "plain");
    }

    #[test]
    fn long_text_is_cut_by_characters() {
        assert_eq!(cut("été à la plage", 5), "été …");
        assert_eq!(cut("ab", 5), "ab");
    }
}
