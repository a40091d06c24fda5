//! How text becomes part of a page. Text from endpoints is hostile: it may hold markup, terminal codes, marks that reorder
//! or hide what stands beside them. The templates know no other escaper than [`Visible`], so that no template can forget
//! it: markup is escaped, and what would be invisible or reorder others is shown by its code.

use std::fmt::{Result, Write};

use askama::filters::Escaper;

/// Escapes for texts and quoted attributes of HTML, and makes the invisible visible: `⟨U+202E⟩`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Visible;

impl Escaper for Visible {
    fn write_escaped_str<W: Write>(&self, mut page: W, text: &str) -> Result {
        let mut plain = 0;
        for (at, c) in text.char_indices() {
            if !is_plain(c) {
                page.write_str(&text[plain..at])?;
                write_special(&mut page, c)?;
                plain = at + c.len_utf8();
            }
        }
        page.write_str(&text[plain..])
    }
}

fn is_plain(c: char) -> bool {
    !matches!(c, '&' | '<' | '>' | '"' | '\'') && !is_hidden(c)
}

fn write_special(page: &mut impl Write, c: char) -> Result {
    match c {
        '&' => page.write_str("&amp;"),
        '<' => page.write_str("&lt;"),
        '>' => page.write_str("&gt;"),
        '"' => page.write_str("&#34;"),
        '\'' => page.write_str("&#39;"),
        hidden => write!(page, "⟨U+{:04X}⟩", u32::from(hidden)),
    }
}

/// Controls (C0, DEL, C1), and characters that show nothing or move others: soft hyphen, joiners, bidirectional marks, line
/// separators, fillers, variation selectors, tags, and what is no character.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{fffe}' | '\u{ffff}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut page = String::new();
        Visible.write_escaped_str(&mut page, text).unwrap();
        page
    }

    #[test]
    fn markup_stays_text_in_elements_and_in_attributes() {
        assert_eq!(shown("<script>alert('x')</script>"), "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;");
        assert_eq!(shown("\" onmouseover=x &amp;"), "&#34; onmouseover=x &amp;amp;");
        assert_eq!(shown("café /usr/bin/été 日本 a b"), "café /usr/bin/été 日本 a b");
    }

    #[test]
    fn what_hides_or_reorders_is_shown_by_its_code() {
        assert_eq!(shown("\u{202e}gpj.exe"), "⟨U+202E⟩gpj.exe");
        assert_eq!(shown("a\u{1b}[2J\n\tb\u{0}"), "a⟨U+001B⟩[2J⟨U+000A⟩⟨U+0009⟩b⟨U+0000⟩");
        for hidden in ['\u{200b}', '\u{2066}', '\u{feff}', '\u{9b}', '\u{7f}', '\u{e0041}', '\u{2029}', '\u{ad}'] {
            let page = shown(&format!("x{hidden}y"));
            assert!(page.starts_with("x⟨U+") && page.ends_with("⟩y") && !page.contains(hidden), "{hidden:?}: {page}");
        }
    }

    #[test]
    fn numbers_keep_their_narrow_spaces() {
        assert_eq!(shown("12\u{202f}345\u{a0}Mio"), "12\u{202f}345\u{a0}Mio");
    }
}
