//! The API's document (OpenAPI 3.1), made from the table of routes and the types of its operations. It is committed as
//! `collector/api/openapi.json`; a test compares the two.

use std::collections::BTreeSet;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::ask::{Reach, Verb};
use crate::routes::{Entry, table};

const ABOUT: &str = "Everything that analysts, the command line and the console may ask and do. Times are RFC 3339 in UTC; where \
    a time is asked for, how long ago (30m, 24h, 7d) is taken as well. Every call of somebody who is known leaves an audit \
    record before its answer goes out; the header X-Beffroi-Reason (percent-encoded UTF-8) says why. Scopes: analyst < csirt < \
    admin. Another tenant's id is answered like one that does not exist. Too many calls are answered 429 with Retry-After.";

/// The whole document.
pub(crate) fn document() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for entry in table() {
        let path = paths.entry(entry.route.path).or_insert_with(|| json!({}));
        path[entry.route.verb.name().to_ascii_lowercase()] = operation(&entry, &mut generator);
    }
    let inputs: BTreeSet<String> = table().iter().filter_map(name).collect();
    let mut schemas: Map<String, Value> = generator.take_definitions(true);
    // Inputs stand where they are taken: as parameters, or as the body.
    schemas.retain(|name, _| !inputs.contains(name));
    schemas.insert("Error".into(), error());
    let document = json!({
        "openapi": "3.1.0",
        "info": { "title": "Beffroi", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT, "license": { "name": "Apache-2.0" } },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": refusals(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "description": "A personal token (bft_...) or the admin's." } },
        },
    });
    match document {
        Value::Object(document) => document,
        _ => Map::new(),
    }
}

/// Name of an operation's input among the schemas.
fn name(entry: &Entry) -> Option<String> {
    let mut generator = SchemaGenerator::default();
    let schema = (entry.input)(&mut generator).to_value();
    Some(schema.get("$ref")?.as_str()?.rsplit('/').next()?.to_owned())
}

fn error() -> Value {
    let text = |about: &str| json!({ "type": "string", "description": about });
    json!({
        "type": "object",
        "description": "Every refusal.",
        "required": ["code", "error", "hint"],
        "properties": { "code": text("Stable short code."), "error": text("What happened."), "hint": text("What to do next.") },
    })
}

/// The refusals that many operations share.
fn refusals() -> Value {
    let about = [
        ("BadRequest", "The call cannot be understood."),
        ("Unauthorized", "No token that is good."),
        ("Forbidden", "The token may not do this."),
        ("Unknown", "Nothing has this id, or another tenant has it."),
        ("TooMany", "Too many calls; see Retry-After."),
        ("Unavailable", "Store or bus cannot answer now, or the call could not be audited."),
    ];
    let content = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } });
    about.into_iter().map(|(name, about)| (name.to_owned(), json!({ "description": about, "content": content }))).collect()
}

fn operation(entry: &Entry, generator: &mut SchemaGenerator) -> Value {
    let route = &entry.route;
    let input = resolved((entry.input)(generator).to_value(), generator);
    let in_path: Vec<&str> = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
    let properties = input.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let is_post = route.verb == Verb::Post;
    let parameters: Vec<Value> = properties
        .iter()
        .filter(|(name, _)| in_path.contains(&name.as_str()) || !is_post)
        .map(|(name, schema)| parameter(name, schema, in_path.contains(&name.as_str())))
        .collect();
    let mut said = json!({
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.name.split('.').next().unwrap_or(route.name)],
        "x-beffroi-scope": route.scope.name(),
        "x-beffroi-tenants": route.reach.name(),
        "x-beffroi-rate": route.class.name(),
        "responses": responses(entry, generator, !in_path.is_empty()),
    });
    if !parameters.is_empty() {
        said["parameters"] = parameters.into();
    }
    if is_post {
        said["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": body(input, &in_path) } } });
    }
    said
}

/// The schema itself where it was named.
fn resolved(schema: Value, generator: &SchemaGenerator) -> Value {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    name.and_then(|name| generator.definitions().get(name).cloned()).unwrap_or(schema)
}

fn parameter(name: &str, schema: &Value, in_path: bool) -> Value {
    let mut schema = schema.clone();
    let description = schema.as_object_mut().and_then(|fields| fields.remove("description"));
    let place = if in_path { "path" } else { "query" };
    json!({ "name": name, "in": place, "required": in_path, "description": description, "schema": schema })
}

/// A body is the input without what the path says.
fn body(mut input: Value, in_path: &[&str]) -> Value {
    if let Some(properties) = input.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|name, _| !in_path.contains(&name.as_str()));
    }
    if let Some(required) = input.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !in_path.iter().any(|path| name == path));
    }
    input
}

fn responses(entry: &Entry, generator: &mut SchemaGenerator, names_one: bool) -> Value {
    let route = &entry.route;
    let refusal = |about: &str| json!({ "description": about, "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } } });
    let media = if route.name == "metrics" { "text/plain" } else { "application/json" };
    let schema = (entry.answer)(generator).to_value();
    let good = json!({ "description": route.summary, "content": { media: { "schema": schema } } });
    let mut responses = Map::new();
    let creates = route.name.ends_with(".create");
    if creates {
        responses.insert("201".into(), good.clone());
    }
    if !creates || route.name == "scans.create" {
        responses.insert("200".into(), good);
    }
    responses.insert("400".into(), refusal("BadRequest"));
    responses.insert("401".into(), refusal("Unauthorized"));
    if route.scope > beffroi_schema::control::ApiScope::Analyst || route.reach == Reach::Every {
        responses.insert("403".into(), refusal("Forbidden"));
    }
    if names_one {
        responses.insert("404".into(), refusal("Unknown"));
    }
    responses.insert("429".into(), refusal("TooMany"));
    responses.insert("503".into(), refusal("Unavailable"));
    Value::Object(responses)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set to write the document anew instead of comparing it.
    const WRITE: &str = "BEFFROI_WRITE_OPENAPI";

    #[test]
    fn the_committed_document_is_the_one_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let made = Value::Object(document());
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(path, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
        }
        let committed: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap_or_default()).unwrap_or_default();
        assert!(committed == made, "{path} is not what the code says: run this test once with {WRITE}=1 and commit the file");
    }

    #[test]
    fn every_operation_is_told_apart_and_every_reference_leads_somewhere() {
        let names: BTreeSet<&str> = table().iter().map(|entry| entry.route.name).collect();
        assert_eq!(names.len(), table().len());
        let document = Value::Object(document());
        let text = document.to_string();
        for part in text.split("\"#/components/").skip(1) {
            let place = format!("/components/{}", part.split('"').next().unwrap());
            assert!(document.pointer(&place).is_some(), "{place} is referred to and not there");
        }
        assert!(!text.contains("\"$ref\":\"#/$defs"), "a reference leads out of the document");
    }

    #[test]
    fn what_takes_a_path_parameter_says_so() {
        let document = Value::Object(document());
        let show = &document["paths"]["/v1/alerts/{id}"]["get"];
        assert_eq!((&show["parameters"][0]["name"], &show["parameters"][0]["in"]), (&json!("id"), &json!("path")));
        let cancel = &document["paths"]["/v1/scans/{id}/cancel"]["post"];
        let body = &cancel["requestBody"]["content"]["application/json"]["schema"];
        assert!(body["properties"].get("id").is_none() && body["properties"]["envelope"].is_object(), "{body}");
        assert_eq!(body["required"], json!(["envelope"]));
        assert_eq!(cancel["x-beffroi-scope"], "csirt");
    }
}
