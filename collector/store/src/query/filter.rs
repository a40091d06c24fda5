//! Filters over events: a closed list of columns and operations. A field beyond the list is a key of `extra`, bound like
//! any value. Text is compared without regard to (ASCII) case, as Sigma does; base64 and regular expressions with.

use base64::Engine;
use beffroi_schema::EventId;
use beffroi_schema::fields::{Field, Kind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::rows::events::TYPED;
use crate::sql::{Param, Sql};

/// Longest value of a filter; longer than any path, shorter than what an engine would choke on.
const MAX_VALUE_BYTES: usize = 8 * 1024;
/// Longest regular expression: RE2 runs in linear time, but its programs take memory.
const MAX_REGEX_BYTES: usize = 512;
/// Shortest value of a base64 search: of fewer bytes nothing certain is left at the odd offsets.
const MIN_BASE64_BYTES: usize = 3;
/// Longest field name.
const MAX_FIELD_BYTES: usize = 256;

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Equal.
    Eq,
    /// Not equal; an event without the field counts as well.
    Ne,
    /// `*` is any text, `?` one character.
    Glob,
    /// Holds this text.
    Contains,
    /// Holds this text in base64, at any of the three offsets.
    Base64,
    /// Holds a match of this RE2 expression.
    Regex,
}

/// One condition; several of a search hold together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Filter {
    /// Field name, as in Sigma; also `category`, `product`, `service`, `host`, `agent_id`, `event_id`, `replayed`, `clock_suspect`.
    pub field: String,
    /// How it is compared.
    pub op: Op,
    /// With what.
    pub value: String,
}

/// Where a field stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Text(&'static str),
    Number(&'static str),
    Signed(&'static str),
    Bool(&'static str),
    List(&'static str),
    EventId,
    Extra,
}

fn place(name: &str) -> Place {
    match name {
        "category" => return Place::Text("category"),
        "product" => return Place::Text("product"),
        "service" => return Place::Text("service"),
        "host" | "hostname" => return Place::Text("host"),
        "agent_id" | "agent" => return Place::Text("agent"),
        "tenant" => return Place::Text("tenant"),
        "replayed" => return Place::Bool("replayed"),
        "clock_suspect" => return Place::Bool("clock_suspect"),
        "event_id" => return Place::EventId,
        _ => {}
    }
    let info = Field::by_name(name).filter(|field| TYPED.contains(field)).and_then(Field::info);
    match info.map(|info| (info.kind, info.name)) {
        Some((Kind::Text, column)) => Place::Text(column),
        Some((Kind::Uint, column)) => Place::Number(column),
        Some((Kind::Int, column)) => Place::Signed(column),
        Some((Kind::Bool, column)) => Place::Bool(column),
        Some((Kind::List, column)) => Place::List(column),
        None => Place::Extra,
    }
}

fn refused(filter: &Filter, why: &str) -> Result<(), StoreError> {
    Err(StoreError::Filter { field: filter.field.chars().take(80).collect(), why: why.into() })
}

/// Adds ` AND (condition)`.
pub(super) fn push(sql: &mut Sql, filter: &Filter) -> Result<(), StoreError> {
    let refuse = |why: &str| refused(filter, why);
    if filter.field.is_empty() || filter.field.len() > MAX_FIELD_BYTES {
        return refuse("a field name has 1 to 256 bytes");
    }
    if filter.value.len() > MAX_VALUE_BYTES {
        return refuse("a value has at most 8192 bytes");
    }
    if filter.op == Op::Regex && filter.value.len() > MAX_REGEX_BYTES {
        return refuse("a regular expression has at most 512 bytes");
    }
    if filter.op == Op::Base64 && filter.value.len() < MIN_BASE64_BYTES {
        return refuse("a base64 search needs at least 3 bytes");
    }
    if filter.op == Op::Ne {
        sql.push(" AND NOT ifNull((");
        condition(sql, &Filter { op: Op::Eq, ..filter.clone() })?;
        sql.push("), 0)");
        return Ok(());
    }
    sql.push(" AND (");
    condition(sql, filter)?;
    sql.push(")");
    Ok(())
}

/// The condition itself.
fn condition(sql: &mut Sql, filter: &Filter) -> Result<(), StoreError> {
    let refuse = |why: &str| refused(filter, why);
    match (place(&filter.field), filter.op) {
        (Place::Number(column), Op::Eq) => match filter.value.parse::<u64>() {
            Ok(number) => drop(sql.push(column).push(" = ").uint(number)),
            Err(_) => return refuse("it holds numbers, and the value is none"),
        },
        (Place::Signed(column), Op::Eq) => match filter.value.parse::<i64>() {
            Ok(number) => drop(sql.push(column).push(" = ").int(number)),
            Err(_) => return refuse("it holds numbers, and the value is none"),
        },
        (Place::Bool(column), Op::Eq) => match filter.value.as_str() {
            "true" | "1" => drop(sql.push(column)),
            "false" | "0" => drop(sql.push("NOT ").push(column)),
            _ => return refuse("it holds true or false"),
        },
        (Place::Bool(_), _) => return refuse("it holds true or false, which can only be compared with ="),
        (Place::EventId, Op::Eq) => match filter.value.parse::<EventId>() {
            Ok(id) => event_id(sql, &id),
            Err(_) => return refuse("not an event id (agent-epoch-stream-number)"),
        },
        (Place::EventId, _) => return refuse("an event id can only be compared with ="),
        (Place::List(column), Op::Eq) => {
            sql.push("has(arrayMap(x -> lower(x), ").push(column).push("), ").text(&filter.value.to_ascii_lowercase()).push(")");
        }
        (place, op) => text(sql, place, filter, op),
    }
    Ok(())
}

fn event_id(sql: &mut Sql, id: &EventId) {
    sql.push("agent = ").text(&id.agent.to_string());
    sql.push(" AND epoch = ").text(&id.epoch.to_string());
    sql.push(" AND stream = ").uint(id.stream.number().into());
    sql.push(" AND seq = ").uint(id.seq);
}

/// The field as text.
fn expression(sql: &mut Sql, place: Place, field: &str) {
    match place {
        Place::Text(column) => drop(sql.push(column)),
        Place::Number(column) | Place::Signed(column) | Place::Bool(column) => {
            sql.push("ifNull(toString(").push(column).push("), '')");
        }
        Place::List(column) => drop(sql.push("arrayStringConcat(").push(column).push(", ' ')")),
        Place::EventId => drop(sql.push("concat(agent, '-', epoch, '-', toString(stream), '-', toString(seq))")),
        Place::Extra => drop(sql.push("extra[").text(field).push("]")),
    }
}

/// The expression that groups are made of.
pub(super) fn group_expression(sql: &mut Sql, field: &str) -> Result<(), StoreError> {
    if field.is_empty() || field.len() > MAX_FIELD_BYTES {
        return Err(StoreError::Filter {
            field: field.chars().take(80).collect(),
            why: "a field name has 1 to 256 bytes".into(),
        });
    }
    expression(sql, place(field), field);
    Ok(())
}

fn text(sql: &mut Sql, place: Place, filter: &Filter, op: Op) {
    let lowered = filter.value.to_ascii_lowercase();
    let mut compare = |head: &'static str, middle: &'static str, param: Param| {
        sql.push(head);
        expression(sql, place, &filter.field);
        sql.push(middle).bind(param);
    };
    match op {
        // `Ne` is asked as the opposite of `Eq`, see `push`.
        Op::Eq | Op::Ne => compare("lower(", ") = ", Param::Text(lowered)),
        Op::Glob => compare("lower(", ") LIKE ", Param::Text(like(&lowered, true))),
        Op::Contains => compare("lower(", ") LIKE ", Param::Text(format!("%{}%", like(&lowered, false)))),
        Op::Base64 => {
            compare("multiSearchAny(", ", ", Param::Texts(base64_variants(filter.value.as_bytes())));
            sql.push(")");
        }
        Op::Regex => {
            compare("match(", ", ", Param::Text(filter.value.clone()));
            sql.push(")");
        }
    }
}

/// A pattern of LIKE: its own signs are escaped, `*` and `?` become them when asked for.
fn like(text: &str, wildcards: bool) -> String {
    let mut pattern = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '%' | '_' | '\\' => pattern.extend(['\\', character]),
            '*' if wildcards => pattern.push('%'),
            '?' if wildcards => pattern.push('_'),
            other => pattern.push(other),
        }
    }
    pattern
}

/// What base64 makes of these bytes at each of the three offsets, without the characters that their neighbours decide.
fn base64_variants(bytes: &[u8]) -> Vec<String> {
    (0..3usize)
        .map(|offset| {
            let shifted = [vec![0; offset], bytes.to_vec()].concat();
            let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&shifted);
            let start = [0, 2, 3][offset];
            let end = shifted.len() * 8 / 6;
            text[start..end].to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::TenantScope;

    fn sql(field: &str, op: Op, value: &str) -> Result<Sql, StoreError> {
        let mut sql = Sql::scoped("t", &TenantScope::all(), "{scope}");
        push(&mut sql, &Filter { field: field.into(), op, value: value.into() })?;
        Ok(sql)
    }

    #[test]
    fn likes_own_signs_are_escaped() {
        assert_eq!(like("*/a_%\\b?", true), "%/a\\_\\%\\\\b_");
        assert_eq!(like("a*?", false), "a*?");
    }

    #[test]
    fn base64_is_found_at_every_offset() {
        let variants = base64_variants(b"/bin/sh");
        for before in ["", "x", "xy", "xyz"] {
            let whole = base64::engine::general_purpose::STANDARD.encode(format!("{before}/bin/sh -i"));
            assert!(variants.iter().any(|variant| whole.contains(variant)), "{before:?}: {whole} {variants:?}");
        }
    }

    #[test]
    fn a_hostile_field_or_value_is_bound_and_never_text() {
        for hostile in ["x'; DROP TABLE events; --", "`a`", "Image) OR (1=1", "{p0:String}"] {
            for op in [Op::Eq, Op::Ne, Op::Glob, Op::Contains, Op::Base64, Op::Regex] {
                let built = sql(hostile, op, hostile).unwrap();
                assert!(
                    !built.text.contains("DROP") && !built.text.contains("1=1") && !built.text.contains('`'),
                    "{}",
                    built.text
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_a_reason() {
        assert!(sql("DestinationPort", Op::Eq, "x").unwrap_err().to_string().contains("numbers"));
        assert!(sql("Initiated", Op::Glob, "*").unwrap_err().to_string().contains("true or false"));
        assert!(sql("event_id", Op::Eq, "1").unwrap_err().to_string().contains("event id"));
        assert!(sql("Image", Op::Regex, &"a".repeat(513)).unwrap_err().to_string().contains("512"));
        assert!(sql(&"a".repeat(300), Op::Eq, "").is_err());
    }
}
