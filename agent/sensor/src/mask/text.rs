//! Secrets that are told by their surroundings or by their own form, wherever they stand: headers, URLs, JSON members,
//! parameters, tokens of known makers.

use std::sync::LazyLock;

use regex::bytes::{Captures, Regex};

use super::MASK;
use super::names::is_secret_name;

/// A pattern whose group `s` is the secret; group `n`, where there is one, is a name that must be a secret's.
struct Pattern {
    regex: Regex,
    /// Cheap test before the pattern runs: most command lines hold none of these bytes.
    hint: u8,
}

static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    [
        // Authorization: Bearer x, Proxy-Authorization: Basic x
        (b':', r#"(?i)authorization\s*:\s*(?:(?:bearer|basic|token|digest|negotiate|apikey)\s+)?(?P<s>[^\s'"]+)"#),
        // Headers that are secrets as a whole.
        (b':', r#"(?i)\b(?:set-)?cookie\s*:\s*(?P<s>[^'"]+)"#),
        (b':', r#"(?i)\b(?P<n>(?:x-)?[a-z]+(?:-[a-z]+)*-(?:token|key|secret|password))\s*:\s*(?P<s>[^\s'"]+)"#),
        // user:password@host
        (b'@', r#"[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@'"]*:(?P<s>[^/\s'"]+)@"#),
        // token@host, as git hosts take it
        (b'@', r#"(?i)https?://(?P<s>[A-Za-z0-9_-]{20,})@"#),
        // name=value in queries, forms and assignments inside a longer text
        (b'=', r#"(?P<n>[A-Za-z_][A-Za-z0-9_.-]{0,63})=(?P<s>"[^"]*"|'[^']*'|[^\s&'";|#,)]+)"#),
        (b'=', r#"[?&](?:key|sig|signature|auth|code|x-amz-signature|x-amz-security-token)=(?P<s>[^\s&'";#]+)"#),
        // "password": "value"
        (b':', r#"\\?["'](?P<n>[A-Za-z_][A-Za-z0-9_.-]{0,63})\\?["']\s*:\s*\\?["'](?P<s>[^"'\\]+)"#),
        // Tokens of known form.
        (b'_', r"\b(?P<s>gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|sk_live_[A-Za-z0-9]{16,}|npm_[A-Za-z0-9]{30,})"),
        (b'-', r"\b(?P<s>glpat-[A-Za-z0-9_-]{16,}|xox[abprs]-[A-Za-z0-9-]{10,}|sk-[A-Za-z0-9_-]{32,})"),
        (b'.', r"\b(?P<s>hvs\.[A-Za-z0-9_-]{20,}|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+)"),
        (b'-', r"(?P<s>-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]+)"),
    ]
    .into_iter()
    .map(|(hint, pattern)| Pattern { regex: Regex::new(pattern).expect("the patterns are constants"), hint })
    .collect()
});

/// Masks what the patterns find; tells whether there was anything.
pub fn mask(text: &mut Vec<u8>) -> bool {
    let mut any = false;
    for pattern in PATTERNS.iter() {
        if !text.contains(&pattern.hint) {
            continue;
        }
        let mut changed = false;
        let replaced = pattern.regex.replace_all(text, |found: &Captures<'_>| replace(found, &mut changed)).into_owned();
        if changed {
            *text = replaced;
            any = true;
        }
    }
    any
}

fn replace(found: &Captures<'_>, changed: &mut bool) -> Vec<u8> {
    let whole = found.get(0).expect("group 0 is the match");
    let secret = found.name("s").map_or(whole.range(), |secret| secret.range());
    let harmless = found.name("n").is_some_and(|name| !is_secret_name(name.as_bytes()));
    let value = &whole.as_bytes()[secret.start - whole.start()..secret.end - whole.start()];
    if harmless || is_masked(value) {
        return whole.as_bytes().to_vec();
    }
    *changed = true;
    let quote: &[u8] = if matches!(value.first(), Some(b'"' | b'\'')) { &value[..1] } else { b"" };
    let before = &whole.as_bytes()[..secret.start - whole.start()];
    let after = &whole.as_bytes()[secret.end - whole.start()..];
    [before, quote, MASK, quote, after].concat()
}

fn is_masked(value: &[u8]) -> bool {
    let bare: Vec<u8> = value.iter().copied().filter(|byte| !matches!(byte, b'"' | b'\'')).collect();
    bare.is_empty() || bare == MASK
}
