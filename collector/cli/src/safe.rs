//! Text from endpoints is hostile: it may hold terminal codes, bidirectional overrides, formulas for a spreadsheet.
//! Everything that is printed for a person goes through [`terminal`]; every CSV cell through [`cell`].

/// Text in which every character that a terminal might act on, or that hides or reorders others, is shown as `\u{..}`.
pub fn terminal(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_dangerous(c) { safe.extend(c.escape_unicode()) } else { safe.push(c) }
    }
    safe
}

fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Text for a CSV cell: made safe for terminals, and with an apostrophe before what a spreadsheet would compute (CWE-1236).
pub fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let safe = terminal(text);
    if formula { format!("'{safe}") } else { safe }
}

/// Text cut to `width` characters with an ellipsis.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width { text.into() } else { text.chars().take(width.saturating_sub(1)).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on_gets_through() {
        for hostile in ["\u{1b}[2J", "\u{9b}31m", "a\rb", "a\nb", "\u{202e}gpj.exe", "\u{200b}", "\u{7}", "\u{feff}", "\u{2066}x"]
        {
            let safe = terminal(hostile);
            assert!(safe.chars().all(|c| !is_dangerous(c)), "{safe:?}");
            assert!(safe.contains("\\u{"), "{safe:?}");
        }
        assert_eq!(terminal("café /usr/bin/été 日本"), "café /usr/bin/été 日本");
    }

    #[test]
    fn a_spreadsheet_gets_no_formula() {
        for formula in ["=1+1", "+cmd", "-2", "@SUM(A1)", "\t=1", "\r=1"] {
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
