//! Statements. Text of a statement can only be text of this program (`&'static str`): what an asker says becomes a bound
//! parameter, by type. A statement over tenants' rows starts with a [`TenantScope`].

use serde_json::Value as Json;

use crate::scope::TenantScope;

/// A value bound on the server's side (`{name:Type}`).
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Param {
    Text(String),
    Texts(Vec<String>),
    Int(i64),
    Uint(u64),
}

/// A statement with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sql {
    pub(crate) name: &'static str,
    pub(crate) text: String,
    pub(crate) params: Vec<(String, Param)>,
}

impl Sql {
    /// A statement that reads rows of tenants; `{scope}` in the text becomes the condition on `tenant`.
    pub(crate) fn scoped(name: &'static str, scope: &TenantScope, text: &'static str) -> Self {
        debug_assert!(text.contains("{scope}"), "{name} reads tenants' rows and must say where its scope goes");
        let mut sql = Self { name, text: String::with_capacity(text.len() + 256), params: Vec::new() };
        match scope.names() {
            None => sql.text.push_str(&text.replace("{scope}", "1")),
            Some(names) => {
                sql.text.push_str(&text.replace("{scope}", "tenant IN {tenants:Array(String)}"));
                sql.params.push(("tenants".into(), Param::Texts(names.into_iter().map(str::to_owned).collect())));
            }
        }
        sql
    }

    /// A statement over records that are about several tenants at once, listed in the column `tenants`; `{within}` in the
    /// text becomes the condition that all of them are in the scope.
    pub(crate) fn within(name: &'static str, scope: &TenantScope, text: &'static str) -> Self {
        debug_assert!(text.contains("{within}"), "{name} reads tenants' records and must say where its scope goes");
        let condition = "notEmpty(tenants) AND hasAll({tenants:Array(String)}, tenants)";
        match scope.names() {
            None => Self::operational(name, "").also(&text.replace("{within}", "1")),
            Some(names) => {
                let names = Param::Texts(names.into_iter().map(str::to_owned).collect());
                Self::operational(name, "").also(&text.replace("{within}", condition)).set("tenants", names)
            }
        }
    }

    fn also(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// A statement over the store's own figures, which belong to no tenant.
    pub(crate) fn operational(name: &'static str, text: &'static str) -> Self {
        Self { name, text: text.to_owned(), params: Vec::new() }
    }

    /// Adds text of this program.
    pub(crate) fn push(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Adds a placeholder and its value.
    pub(crate) fn bind(&mut self, param: Param) -> &mut Self {
        let name = format!("p{}", self.params.len());
        let kind = match &param {
            Param::Text(_) => "String",
            Param::Texts(_) => "Array(String)",
            Param::Int(_) => "Int64",
            Param::Uint(_) => "UInt64",
        };
        self.text.push_str(&format!("{{{name}:{kind}}}"));
        self.params.push((name, param));
        self
    }

    /// Gives the value of a placeholder that the text names itself.
    pub(crate) fn set(mut self, name: &'static str, param: Param) -> Self {
        self.params.push((name.into(), param));
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.bind(Param::Text(text.to_owned()))
    }

    pub(crate) fn int(&mut self, number: i64) -> &mut Self {
        self.bind(Param::Int(number))
    }

    pub(crate) fn uint(&mut self, number: u64) -> &mut Self {
        self.bind(Param::Uint(number))
    }

    /// `AND column >= since AND column < until` for the bounds that are given, microseconds since 1970.
    pub(crate) fn between(&mut self, column: &'static str, since: Option<i64>, until: Option<i64>) -> &mut Self {
        for (bound, sign) in [(since, " >= "), (until, " < ")] {
            if let Some(bound) = bound {
                self.push(" AND ").push(column).push(sign).push("fromUnixTimestamp64Micro(");
                self.int(crate::time::clamp(bound)).push(", 'UTC')");
            }
        }
        self
    }
}

/// One row of an answer.
pub(crate) type Row = serde_json::Map<String, Json>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_never_becomes_text_of_the_statement() {
        let mut sql = Sql::scoped("t", &TenantScope::only(["a"]), "SELECT 1 FROM x WHERE {scope} AND y = ");
        sql.text("'; DROP TABLE events; --").push(" LIMIT ").uint(3);
        assert_eq!(sql.text, "SELECT 1 FROM x WHERE tenant IN {tenants:Array(String)} AND y = {p1:String} LIMIT {p2:UInt64}");
        assert_eq!(sql.params.len(), 3);
    }
}
