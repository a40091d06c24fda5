//! The filters of `events search`: `FIELD=VALUE` (`*` and `?` are wild), `FIELD!=VALUE`, `FIELD~TEXT` (holds TEXT, upper and lower case
//! alike), `FIELD~base64:TEXT` (holds TEXT in base64, at any offset), `FIELD~re:EXPRESSION` (RE2).

use serde_json::{Value, json};

use crate::errors::{Failure, Outcome};

/// Grammar, for `--help`.
pub const HELP: &str = "FIELD=VALUE           equal; * is any text, ? one character\n\
    FIELD!=VALUE          any other value, or none\n\
    FIELD~TEXT            holds TEXT, upper and lower case alike\n\
    FIELD~base64:TEXT     holds TEXT in base64, at any of the three offsets\n\
    FIELD~re:EXPRESSION   holds a match of an RE2 expression\n\
    FIELD is a Sigma name (Image, CommandLine, User, DestinationIp, ...),\n\
    or category, product, service, host, event_id.";

/// One filter as the API takes it.
pub fn parse(text: &str) -> Outcome<Value> {
    let bad = |why: &str| Failure::usage(format!("filter {text:?}: {why}"), format!("write\n{HELP}"));
    let at = text.find(['=', '~']).ok_or_else(|| bad("neither = nor ~ in it"))?;
    let (field, rest) = text.split_at(at);
    let (field, is_other) = match field.strip_suffix('!') {
        Some(field) if rest.starts_with('=') => (field, true),
        _ => (field, false),
    };
    if field.is_empty() || !field.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
        return Err(bad("it does not begin with a field name"));
    }
    let value = &rest[1..];
    let (op, value) = if is_other {
        if value.contains(['*', '?']) {
            return Err(bad("!= compares whole values: * and ? are not wild there"));
        }
        ("ne", value)
    } else if rest.starts_with('=') {
        (if value.contains(['*', '?']) { "glob" } else { "eq" }, value)
    } else if let Some(value) = value.strip_prefix("base64:") {
        ("base64", value)
    } else if let Some(value) = value.strip_prefix("re:") {
        ("regex", value)
    } else {
        ("contains", value)
    };
    if value.is_empty() && !matches!(op, "eq" | "ne") {
        return Err(bad("nothing to look for"));
    }
    Ok(json!({"field": field, "op": op, "value": value}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        for (text, field, op, value) in [
            ("Image=*/java", "Image", "glob", "*/java"),
            ("User=root", "User", "eq", "root"),
            ("User=", "User", "eq", ""),
            ("CommandLine~base64", "CommandLine", "contains", "base64"),
            ("CommandLine~base64:whoami", "CommandLine", "base64", "whoami"),
            ("CommandLine~re:^sh .*-c", "CommandLine", "regex", "^sh .*-c"),
            ("User!=root", "User", "ne", "root"),
            ("User!=", "User", "ne", ""),
            ("CommandLine!=a~b", "CommandLine", "ne", "a~b"),
            ("CommandLine=a!=b", "CommandLine", "eq", "a!=b"),
            ("CommandLine=a=b~c", "CommandLine", "eq", "a=b~c"),
        ] {
            assert_eq!(parse(text).unwrap(), json!({"field": field, "op": op, "value": value}), "{text}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_the_grammar() {
        for text in ["", "Image", "=x", "Im age=x", "Image~", "Image';DROP=1", "Image!=*/x", "Image!~x", "!=x"] {
            assert!(parse(text).unwrap_err().hint.contains("FIELD=VALUE"), "{text:?}");
        }
    }
}
