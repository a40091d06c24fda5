//! XML as the JSON tree that tools for event logs agree on: an element is its text or an object of its children,
//! attributes stand under `#attributes`, text beside them under `#text`, a second child of one name has `_1` behind it,
//! and `Data` is named by its attribute.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use super::binxml::{Element, Node};

/// Elements whose `Data` children are the fields of the event.
const CONTAINERS: [&str; 2] = ["EventData", "UserData"];

/// The first element as an object with its name.
pub(super) fn object(nodes: &[Node]) -> Map<String, Json> {
    let mut object = Map::new();
    if let Some(element) = elements(nodes).next() {
        object.insert(element.name.to_string(), value(element));
    }
    object
}

fn elements(nodes: &[Node]) -> impl Iterator<Item = &Element> {
    nodes.iter().filter_map(|node| match node {
        Node::Element(element) => Some(element),
        _ => None,
    })
}

fn value(element: &Element) -> Json {
    let attributes: Map<String, Json> = element
        .attributes
        .iter()
        .filter_map(|(name, nodes)| Some((name.to_string(), content(nodes).filter(|value| !value.is_null())?)))
        .collect();
    let has_children = elements(&element.children).next().is_some();
    let text = content(&element.children);
    if attributes.is_empty() && !has_children {
        return text.unwrap_or(Json::Null);
    }
    let mut object = Map::new();
    if !attributes.is_empty() {
        object.insert("#attributes".into(), attributes.into());
    }
    if let Some(text) = text {
        object.insert("#text".into(), text);
    }
    members(element, CONTAINERS.contains(&&*element.name), &mut object);
    object.into()
}

fn members(element: &Element, is_container: bool, object: &mut Map<String, Json>) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut unnamed = Vec::new();
    let is_data = |child: &Element| is_container && &*child.name == "Data";
    let is_named = elements(&element.children).any(|child| is_data(child) && data_name(child).is_some());
    for child in elements(&element.children) {
        if is_data(child) {
            match data_name(child) {
                Some(name) => {
                    object.insert(name, data(child));
                }
                None if is_named => {}
                None => unnamed.push(data(child)),
            }
            continue;
        }
        let count = seen.entry(&child.name).or_insert(0);
        let name = if *count == 0 { child.name.to_string() } else { format!("{}_{count}", child.name) };
        *count += 1;
        object.insert(name, value(child));
    }
    if !unnamed.is_empty() {
        let text = if unnamed.len() == 1 { unnamed.remove(0) } else { Json::Array(unnamed) };
        object.insert("Data".into(), Json::Object(Map::from_iter([("#text".to_string(), text)])));
    }
}

fn data_name(element: &Element) -> Option<String> {
    let (_, nodes) = element.attributes.iter().find(|(name, _)| &**name == "Name")?;
    match content(nodes)? {
        Json::String(name) => Some(name),
        other => Some(other.to_string()),
    }
}

/// A field of the event: its attributes say nothing, and nothing in it is empty text.
fn data(element: &Element) -> Json {
    if elements(&element.children).next().is_none() {
        return content(&element.children).unwrap_or_else(|| "".into());
    }
    let mut object = Map::new();
    if let Some(text) = content(&element.children) {
        object.insert("#text".into(), text);
    }
    members(element, false, &mut object);
    object.into()
}

/// What an element says beside its children: a single value as it is, several as one text; none where nothing is said.
fn content(nodes: &[Node]) -> Option<Json> {
    let mut values = nodes.iter().filter_map(|node| match node {
        Node::Value(Json::Null) | Node::Element(_) => None,
        Node::Value(Json::String(text)) if text.is_empty() => None,
        Node::Value(value) => Some(value.clone()),
        Node::Values(list) => Some(Json::Array(list.clone())),
    });
    let first = values.next()?;
    let mut rest = values.peekable();
    if rest.peek().is_none() {
        return Some(first);
    }
    let text = |value: Json| match value {
        Json::String(text) => text,
        other => other.to_string(),
    };
    Some(std::iter::once(first).chain(rest).map(text).collect::<String>().into())
}
