//! Just enough of ClickHouse's lexer to handle requests safely: where an INSERT's data begins, which output format
//! a text names, and whether more than one statement was sent.
//!
//! It owns no state and interprets nothing else: the engine parses the text for real. Whatever this file does not
//! understand is passed on unchanged, and the engine's own error is the answer.

/// A token's kind; its text is `&sql[start..end]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Quoted,
    Punctuation(u8),
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Token {
    kind: Kind,
    start: usize,
    end: usize,
}

/// Walks over tokens, skipping white space and comments.
struct Lexer<'a> {
    sql: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    fn new(sql: &'a [u8]) -> Self {
        Self { sql, at: 0 }
    }

    fn word(&self, token: Token, word: &str) -> bool {
        token.kind == Kind::Word && self.sql[token.start..token.end].eq_ignore_ascii_case(word.as_bytes())
    }

    /// Moves past white space and comments.
    fn skip_blank(&mut self) {
        while let Some(&byte) = self.sql.get(self.at) {
            let rest = &self.sql[self.at..];
            if byte.is_ascii_whitespace() || byte == 0 {
                self.at += 1;
            } else if rest.starts_with(b"--") || rest.starts_with(b"#!") || rest.starts_with(b"# ") {
                self.at += find(rest, b"\n").unwrap_or(rest.len());
            } else if rest.starts_with(b"/*") {
                self.at += find(&rest[2..], b"*/").map_or(rest.len(), |n| n + 4);
            } else {
                return;
            }
        }
    }

    /// The end of a quoted token that starts at `self.at` (backslash escapes; a doubled quote simply starts the
    /// next quoted token, which is the same to us).
    fn quoted_end(&self, quote: u8) -> usize {
        let mut at = self.at + 1;
        while let Some(&byte) = self.sql.get(at) {
            match byte {
                b'\\' => at += 2,
                b if b == quote => return at + 1,
                _ => at += 1,
            }
        }
        self.sql.len()
    }

    /// The end of `$tag$ ... $tag$`, when one starts here.
    fn heredoc_end(&self) -> Option<usize> {
        let rest = &self.sql[self.at..];
        let tag = rest[1..].iter().take_while(|b| is_word_byte(**b)).count();
        if rest.get(tag + 1) != Some(&b'$') {
            return None;
        }
        let opening = &rest[..tag + 2];
        find(&rest[opening.len()..], opening).map(|n| self.at + n + 2 * opening.len())
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.skip_blank();
        let start = self.at;
        let byte = *self.sql.get(start)?;
        let (kind, end) = match byte {
            b'\'' | b'"' | b'`' => (Kind::Quoted, self.quoted_end(byte)),
            b'$' => self.heredoc_end().map_or((Kind::Other, start + 1), |end| (Kind::Quoted, end)),
            b if is_word_byte(b) => {
                let length = self.sql[start..].iter().take_while(|b| is_word_byte(**b)).count();
                let kind = if b.is_ascii_digit() { Kind::Other } else { Kind::Word };
                (kind, start + length)
            }
            b => (Kind::Punctuation(b), start + 1),
        };
        self.at = end.min(self.sql.len());
        Some(Token { kind, start, end: self.at })
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|w| w == what)
}

/// The first keyword of the text.
pub(crate) fn first_word(sql: &[u8]) -> Option<&str> {
    let token = Lexer::new(sql).next()?;
    (token.kind == Kind::Word).then(|| std::str::from_utf8(&sql[token.start..token.end]).ok())?
}

/// Whether running this leaves something behind in the session: `USE`, `SET`, `CREATE TEMPORARY`.
pub(crate) fn changes_session(sql: &[u8]) -> bool {
    let mut lexer = Lexer::new(sql);
    let Some(first) = lexer.next() else { return false };
    if lexer.word(first, "CREATE") {
        // CREATE [OR REPLACE] TEMPORARY ...
        return (0..3).any(|_| lexer.next().is_some_and(|t| lexer.word(t, "TEMPORARY")));
    }
    lexer.word(first, "USE") || lexer.word(first, "SET")
}

/// Whether another statement follows the first one (ClickHouse's HTTP interface refuses that).
pub(crate) fn has_second_statement(sql: &[u8]) -> bool {
    Lexer::new(sql).skip_while(|t| t.kind != Kind::Punctuation(b';')).any(|t| t.kind != Kind::Punctuation(b';'))
}

/// The format named by a trailing `FORMAT x` clause.
pub(crate) fn named_format(sql: &[u8]) -> Option<&str> {
    let mut lexer = Lexer::new(sql);
    let mut named = None;
    let mut depth = 0_usize;
    while let Some(token) = lexer.next() {
        match token.kind {
            Kind::Punctuation(b'(') => depth += 1,
            Kind::Punctuation(b')') => depth = depth.saturating_sub(1),
            Kind::Word if depth == 0 && lexer.word(token, "FORMAT") => {
                named = lexer.next().filter(|t| t.kind == Kind::Word).or(named);
            }
            _ => {}
        }
    }
    std::str::from_utf8(&sql[named?.start..named?.end]).ok()
}

/// An INSERT whose rows come with the request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InsertWithData<'a> {
    /// Up to and including the column list.
    target: &'a [u8],
    /// `SETTINGS ... FORMAT x`, or what stands before `VALUES`.
    clauses: &'a [u8],
    /// `VALUES` was used: the format is `Values`.
    values: bool,
    /// Where the rows begin in the text.
    pub(crate) data_start: usize,
}

impl InsertWithData<'_> {
    /// The same insert, its rows read from `path`.
    pub(crate) fn reading_from(&self, path: &str) -> Vec<u8> {
        let mut sql = self.target.to_vec();
        sql.extend_from_slice(format!(" FROM INFILE '{path}' ").as_bytes());
        sql.extend_from_slice(self.clauses);
        if self.values {
            sql.extend_from_slice(b" FORMAT Values");
        }
        sql
    }
}

/// Splits an INSERT that carries rows (`FORMAT x ...` or `VALUES ...`); `None` for everything else
/// (INSERT ... SELECT, FROM INFILE, other statements).
pub(crate) fn insert_with_data(sql: &[u8]) -> Option<InsertWithData<'_>> {
    let mut lexer = Lexer::new(sql);
    let first = lexer.next()?;
    if !lexer.word(first, "INSERT") {
        return None;
    }
    skip_target(&mut lexer)?;
    let mut depth = 0_usize;
    let mut clauses_start = None;
    while let Some(token) = lexer.next() {
        match token.kind {
            Kind::Punctuation(b'(') => depth += 1,
            Kind::Punctuation(b')') => depth = depth.saturating_sub(1),
            Kind::Word if depth == 0 => {
                if ["SELECT", "WITH", "WATCH", "FROM"].iter().any(|w| lexer.word(token, w)) {
                    return None;
                }
                if lexer.word(token, "SETTINGS") {
                    clauses_start.get_or_insert(token.start);
                }
                let begin = clauses_start.unwrap_or(token.start);
                if lexer.word(token, "VALUES") {
                    return Some(split(sql, begin, token.start, token.end, true));
                }
                if lexer.word(token, "FORMAT") {
                    let name = lexer.next().filter(|t| t.kind == Kind::Word)?;
                    let values = sql[name.start..name.end].eq_ignore_ascii_case(b"Values");
                    let end = if values { token.start } else { name.end };
                    return Some(split(sql, begin, end, name.end, values));
                }
            }
            _ => {}
        }
    }
    None
}

fn split(sql: &[u8], begin: usize, clauses_end: usize, after: usize, values: bool) -> InsertWithData<'_> {
    InsertWithData { target: &sql[..begin], clauses: &sql[begin..clauses_end], values, data_start: data_start(sql, after) }
}

/// Moves past `[INTO] [TABLE|FUNCTION] name[.name]`, so that a table may be called `format`.
fn skip_target(lexer: &mut Lexer<'_>) -> Option<()> {
    let mut token = lexer.next()?;
    for optional in ["INTO", "TABLE", "FUNCTION"] {
        if lexer.word(token, optional) {
            token = lexer.next()?;
        }
    }
    loop {
        let resume = lexer.at;
        match lexer.next() {
            Some(dot) if dot.kind == Kind::Punctuation(b'.') => {
                lexer.next()?;
            }
            _ => {
                lexer.at = resume;
                return Some(());
            }
        }
    }
}

/// Rows begin after the rest of the line's blanks and one line end (ClickHouse's rule).
fn data_start(sql: &[u8], mut at: usize) -> usize {
    while matches!(sql.get(at), Some(b' ' | b'\t' | b'\r')) {
        at += 1;
    }
    at + usize::from(sql.get(at) == Some(&b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(sql: &str) -> Option<(String, &str)> {
        let insert = insert_with_data(sql.as_bytes())?;
        Some((String::from_utf8(insert.reading_from("/f")).unwrap(), &sql[insert.data_start..]))
    }

    #[test]
    fn an_insert_reads_its_rows_from_a_file_instead() {
        assert_eq!(
            rewritten("INSERT INTO d.t(a,`b`) FORMAT RowBinary\nxyz").unwrap(),
            ("INSERT INTO d.t(a,`b`)  FROM INFILE '/f' FORMAT RowBinary".into(), "xyz")
        );
        assert_eq!(
            rewritten("insert into t (a) settings x='FORMAT', y=1 format CSV 1,2").unwrap(),
            ("insert into t (a)  FROM INFILE '/f' settings x='FORMAT', y=1 format CSV".into(), "1,2")
        );
        assert_eq!(
            rewritten("INSERT INTO t VALUES (1, 'FORMAT')").unwrap(),
            ("INSERT INTO t  FROM INFILE '/f'  FORMAT Values".into(), "(1, 'FORMAT')")
        );
        assert_eq!(rewritten("INSERT INTO format.values FORMAT CSV\n1").unwrap().1, "1");
    }

    #[test]
    fn statements_without_rows_are_left_alone() {
        for sql in [
            "SELECT 1 FORMAT CSV",
            "INSERT INTO t SELECT * FROM u",
            "INSERT INTO t FROM INFILE '/x' FORMAT CSV",
            "INSERT INTO t (a)",
            "INSERT",
            "",
        ] {
            assert_eq!(insert_with_data(sql.as_bytes()), None, "{sql}");
        }
    }

    #[test]
    fn a_second_statement_is_seen_and_a_semicolon_in_text_is_not() {
        assert!(has_second_statement(b"SELECT 1; SELECT 2"));
        assert!(has_second_statement(b"SELECT 1; -- c\n DROP TABLE t"));
        for one in ["SELECT 1;", "SELECT ';' ;; -- ; x", "SELECT `a;b` /* ; */", "SELECT $q$; x$q$", r"SELECT '\'; x'"] {
            assert!(!has_second_statement(one.as_bytes()), "{one}");
        }
    }

    #[test]
    fn the_named_format_is_the_outer_one() {
        assert_eq!(named_format(b"SELECT 1 FORMAT JSON"), Some("JSON"));
        assert_eq!(named_format(b"SELECT 'FORMAT x'"), None);
        assert_eq!(named_format(b"SELECT * FROM (SELECT 1) FORMAT CSV SETTINGS a=1"), Some("CSV"));
    }

    #[test]
    fn what_outlives_its_query_is_known() {
        for sql in ["/* c */ use d", "SET a = 1", "CREATE TEMPORARY TABLE t (a Int8)", "CREATE OR REPLACE TEMPORARY TABLE t"] {
            assert!(changes_session(sql.as_bytes()), "{sql}");
        }
        assert!(!changes_session(b"SELECT 1"));
    }

    #[test]
    fn unfinished_text_ends_quietly() {
        for sql in ["'", "`a", "/* x", "$a$ x", "\"\\", "INSERT INTO", "INSERT INTO t FORMAT", "--"] {
            let _kind = insert_with_data(sql.as_bytes());
            let _second = has_second_statement(sql.as_bytes());
        }
    }
}
