//! Secrets in command lines are replaced on the host, before an event leaves the sensor or a copy goes to a child's event.
//!
//! The name of an option stays, its value becomes `***`. What counts as a secret is decided by names (`names`), by tools
//! with one-letter password options (`tools`) and by texts that are secrets wherever they stand (headers, URLs, tokens of
//! known form: `text`). In doubt the value is masked: a masked word costs an analyst little, a leaked one much.

mod names;
mod text;
mod tools;

#[cfg(test)]
mod tests;

use names::is_secret_name;

/// What a secret becomes.
pub const MASK: &[u8] = b"***";

/// Masks the secrets of one command line in place; tells whether there were any.
pub fn mask_argv(argv: &mut [Vec<u8>]) -> bool {
    let mut any = mask_words(argv);
    for word in argv {
        if word.iter().any(u8::is_ascii_whitespace) {
            any |= mask_script(word);
        }
        any |= text::mask(word);
    }
    any
}

/// What the word before asks of the next one.
#[derive(Clone, Copy, PartialEq)]
enum Expect {
    Nothing,
    Secret,
    /// Only what stands behind the separator.
    After(u8),
    /// `pass:...`
    PassSource,
}

fn mask_words(words: &mut [Vec<u8>]) -> bool {
    let mut any = false;
    let mut tool = None;
    let mut expect = Expect::Nothing;
    for at in 0..words.len() {
        let script = at > 0 && is_script_flag(&words[at - 1]) && words[at].iter().any(u8::is_ascii_whitespace);
        let word = &mut words[at];
        if expect != Expect::Nothing && apply(expect, word, &mut any) {
            expect = Expect::Nothing;
            continue;
        }
        tool = tools::find(word, tool);
        expect = Expect::Nothing;
        if script {
            continue;
        }
        if let Some(value) = assigned_secret(word) {
            any |= replace_from(word, value);
        } else if let Some(tool) = tool {
            expect = tool.look_at(word, &mut any);
        }
        if expect == Expect::Nothing && is_secret_option(word) {
            expect = Expect::Secret;
        }
    }
    any
}

/// `-c`, `-lc`: the next word is a script and is looked at word by word.
fn is_script_flag(word: &[u8]) -> bool {
    word.len() <= 4 && word.starts_with(b"-") && word.ends_with(b"c")
}

/// Masks the value that an option asked for. False when the word is no value but the next option.
fn apply(expect: Expect, word: &mut Vec<u8>, any: &mut bool) -> bool {
    match expect {
        Expect::Nothing => false,
        // A lone dash means standard input, `--x` and `-x` are the next option.
        Expect::Secret if word.starts_with(b"-") => word.len() == 1,
        Expect::Secret => {
            *any |= replace_from(word, 0);
            true
        }
        Expect::After(separator) => {
            if let Some(at) = word.iter().position(|byte| *byte == separator) {
                *any |= replace_from(word, at + 1);
            }
            true
        }
        Expect::PassSource => {
            if word.starts_with(b"pass:") {
                *any |= replace_from(word, 5);
            }
            true
        }
    }
}

/// Replaces everything from `at`, but keeps a quote that opened before and closes at the end. False when nothing is there.
fn replace_from(word: &mut Vec<u8>, mut at: usize) -> bool {
    let quote = word.get(at).copied().filter(|byte| matches!(byte, b'"' | b'\''));
    let closing = word.last().copied().filter(|byte| matches!(byte, b'"' | b'\'') && word.len() > at + 1);
    at += usize::from(quote.is_some());
    if word.len() <= at || &word[at..] == MASK {
        return false;
    }
    word.truncate(at);
    word.extend_from_slice(MASK);
    word.extend(closing.filter(|closing| quote.is_none_or(|quote| quote == *closing)));
    true
}

/// Position of the value in `NAME=value`, `--name=value`, `-Dname=value`, `--env=NAME=value`, where the name is a secret's.
fn assigned_secret(word: &[u8]) -> Option<usize> {
    let mut start = word.iter().position(|byte| !matches!(byte, b'-' | b'"' | b'\''))?;
    if word.starts_with(b"-D") {
        start += 1;
    }
    while let Some(end) = word[start..].iter().position(|byte| *byte == b'=').map(|at| start + at) {
        if end + 1 < word.len() && is_secret_name(&word[start..end]) {
            return Some(end + 1);
        }
        start = end + 1;
    }
    None
}

/// `--password`, `-password`: the value is the next word.
fn is_secret_option(word: &[u8]) -> bool {
    let name = word.strip_prefix(b"--").or_else(|| word.strip_prefix(b"-").filter(|name| name.len() > 3));
    name.is_some_and(|name| !name.contains(&b'=') && is_secret_name(name))
}

/// Looks at a text with blanks as if it were a command line of its own.
fn mask_script(script: &mut Vec<u8>) -> bool {
    let mut pieces = split(script);
    // Words stand at even places, the blanks between them at odd ones.
    let mut words: Vec<Vec<u8>> = pieces.iter().step_by(2).cloned().collect();
    if !mask_words(&mut words) {
        return false;
    }
    for (piece, word) in pieces.iter_mut().step_by(2).zip(words) {
        *piece = word;
    }
    *script = pieces.concat();
    true
}

/// Words and the blanks between them, in turn, beginning with a word (which may be empty). Quotes hold a word together.
fn split(script: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = vec![Vec::new()];
    let mut quote = None;
    for byte in script {
        let blank = quote.is_none() && (byte.is_ascii_whitespace() || matches!(byte, b';' | b'|' | b'(' | b')'));
        if blank != (pieces.len() % 2 == 0) {
            pieces.push(Vec::new());
        }
        if let Some(last) = pieces.last_mut() {
            last.push(*byte);
        }
        match (quote, *byte) {
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    pieces
}
