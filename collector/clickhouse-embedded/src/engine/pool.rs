//! Sessions: engine connections that are lent to one query at a time and handed back clean.
//!
//! Owns the idle sessions and one anchor connection that is never lent (closing the last connection would shut the
//! engine down). A query's database and settings are set before it and reset after it; a session that cannot be
//! reset (for example after `readonly=1`, which forbids changing it back) is closed instead of being reused.
//! How many sessions are lent at once is bounded by the caller's query permits; opening one costs about 0.3 ms.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::EngineError;
use super::boot::{Layout, Limits};
use super::ffi::{Connection, Engine, Output};

/// The database a session starts in.
const DEFAULT_DATABASE: &str = "default";

/// One query with everything it needs.
#[derive(Debug, Default)]
pub(crate) struct Statement {
    /// The SQL text, one statement.
    pub(crate) sql: Vec<u8>,
    /// Output format when the text names none.
    pub(crate) format: String,
    /// The database unqualified names belong to; `None` is `default`.
    pub(crate) database: Option<String>,
    /// Engine settings for this query alone.
    pub(crate) settings: Vec<(String, String)>,
    /// Bound parameters (names without the `param_` prefix, values in escaped form as ClickHouse's HTTP has them).
    pub(crate) parameters: Vec<(String, Vec<u8>)>,
    /// Refuse writes (a GET request).
    pub(crate) readonly: bool,
}

/// The sessions of one engine.
pub(crate) struct Pool {
    engine: Engine,
    layout: Layout,
    base: Vec<(String, String)>,
    idle: Mutex<Vec<Session>>,
    idle_limit: usize,
    _anchor: Mutex<Connection>,
}

impl Pool {
    /// Boots the engine; returns when it has answered `SELECT 1`. Blocks.
    pub(crate) fn boot(engine: Engine, layout: Layout, limits: &Limits, idle_limit: usize) -> Result<Self, EngineError> {
        let mut anchor = engine.connect(&layout.folder, &layout.config)?;
        anchor.query(b"SELECT 1", "TabSeparated", &[])?;
        Ok(Self {
            engine,
            layout,
            base: limits.session_settings(),
            idle: Mutex::new(Vec::new()),
            idle_limit,
            _anchor: Mutex::new(anchor),
        })
    }

    /// Runs one statement on a session of its own. Blocks until the engine is done.
    pub(crate) fn run(&self, statement: &Statement) -> Result<Output, EngineError> {
        let mut session = self.take(statement.readonly)?;
        let outcome = session.run(statement);
        if session.reset(&self.base).is_ok() {
            self.give_back(session);
        }
        outcome
    }

    fn take(&self, readonly: bool) -> Result<Session, EngineError> {
        {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = idle.iter().position(|s| s.readonly == readonly) {
                return Ok(idle.swap_remove(at));
            }
        }
        Session::open(self.engine.connect(&self.layout.folder, &self.layout.config)?, &self.base, readonly)
    }

    fn give_back(&self, session: Session) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= self.idle_limit {
            idle.remove(0); // the longest idle makes room, so both kinds stay available
        }
        idle.push(session);
    }
}

/// A connection and what differs from a fresh one.
struct Session {
    connection: Connection,
    readonly: bool,
    database: String,
    changed: BTreeSet<String>,
}

impl Session {
    fn open(mut connection: Connection, base: &[(String, String)], readonly: bool) -> Result<Self, EngineError> {
        connection.query(&assign(base), "TabSeparated", &[])?;
        if readonly {
            // 2: reads only, settings may change, except this one.
            connection.query(b"SET readonly = 2", "TabSeparated", &[])?;
        }
        Ok(Self { connection, readonly, database: DEFAULT_DATABASE.to_owned(), changed: BTreeSet::new() })
    }

    fn run(&mut self, statement: &Statement) -> Result<Output, EngineError> {
        self.use_database(statement.database.as_deref().unwrap_or(DEFAULT_DATABASE))?;
        if !statement.settings.is_empty() {
            self.changed.extend(statement.settings.iter().map(|(name, _)| name.clone()));
            self.connection.query(&assign(&statement.settings), "TabSeparated", &[])?;
        }
        if crate::sql::changes_session(&statement.sql) {
            // A USE, SET or temporary table of the caller ends with its query, as over stateless HTTP.
            self.changed.insert(String::new());
        }
        self.connection.query(&statement.sql, &statement.format, &statement.parameters)
    }

    fn use_database(&mut self, database: &str) -> Result<(), EngineError> {
        if self.database != database {
            let sql = format!("USE `{}`", database.replace('\\', "\\\\").replace('`', "\\`"));
            self.connection.query(sql.as_bytes(), "TabSeparated", &[])?;
            database.clone_into(&mut self.database);
        }
        Ok(())
    }

    /// Puts every changed setting back; an error means the session must not be used again.
    fn reset(&mut self, base: &[(String, String)]) -> Result<(), EngineError> {
        if self.changed.is_empty() {
            return Ok(());
        }
        if self.changed.contains("") {
            return Err(EngineError::Query { code: 0, message: "the session was changed by SQL".into() });
        }
        let names = std::mem::take(&mut self.changed);
        let back: Vec<String> = names
            .iter()
            .map(|name| match base.iter().find(|(known, _)| known == name) {
                Some((_, value)) => format!("{name} = {}", literal(value)),
                None => format!("{name} = DEFAULT"),
            })
            .collect();
        self.connection.query(format!("SET {}", back.join(", ")).as_bytes(), "TabSeparated", &[]).map(drop)
    }
}

/// `SET a = '1', b = '2'`; names were checked to be identifiers by the caller.
fn assign(settings: &[(String, String)]) -> Vec<u8> {
    let pairs: Vec<String> = settings.iter().map(|(name, value)| format!("{name} = {}", literal(value))).collect();
    format!("SET {}", pairs.join(", ")).into_bytes()
}

/// An SQL string literal.
fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settings_value_cannot_leave_its_literal() {
        assert_eq!(literal(r"a'b\"), r"'a\'b\\'");
        let sql = assign(&[("log_comment".into(), "x', readonly='0".into())]);
        assert_eq!(sql, br"SET log_comment = 'x\', readonly=\'0'");
    }
}
