//! The JSON Schema of an environment file, made from the types. Owns its two forms (one file, the whole) and a cursor to
//! walk it; refuses to know documents.

use std::sync::OnceLock;

use serde_json::{Map, Value as Json};

use super::types::Environment;

/// The schema of one environment file, for editors. Nothing is required in a file, since it may stand in its base.
pub fn schema() -> Json {
    let mut schema = whole().clone();
    forget_required(&mut schema);
    let Some(root) = schema.as_object_mut() else { return schema };
    root.insert("title".to_owned(), Json::from("An environment of infra"));
    if let Some(properties) = root.get_mut("properties").and_then(Json::as_object_mut) {
        properties.extend(overlay_keys());
    }
    schema
}

/// The keys that a file may have besides the environment's own.
pub(crate) fn overlay_keys() -> Map<String, Json> {
    let extends = serde_json::json!({
        "type": "string",
        "description": "Name of the file this one builds on, without `.toml`. Tables merge, values and arrays replace."
    });
    let remove = serde_json::json!({
        "type": "array",
        "items": { "type": "string" },
        "description": "Dotted paths of inherited values that this environment does not have, such as `[\"postgres\"]`."
    });
    Map::from_iter([("extends".to_owned(), extends), ("remove".to_owned(), remove)])
}

/// The schema of a complete environment, with what is required.
pub(crate) fn whole() -> &'static Json {
    static WHOLE: OnceLock<Json> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let mut schema = schemars::schema_for!(Environment).to_value();
        forget_null(&mut schema);
        schema
    })
}

/// TOML has no null: an optional key is one that may be left out.
pub(crate) fn forget_null(schema: &mut Json) {
    match schema {
        Json::Array(items) => items.iter_mut().for_each(forget_null),
        Json::Object(object) => {
            if let Some(Json::Array(types)) = object.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if object.get("default").is_some_and(Json::is_null) {
                object.remove("default");
            }
            if let Some(Json::Array(branches)) = object.get_mut("anyOf") {
                branches.retain(|branch| branch.get("type").is_none_or(|kind| kind != "null"));
                if let [only] = branches.as_slice() {
                    let only = only.clone();
                    object.remove("anyOf");
                    if let Json::Object(only) = only {
                        only.into_iter().for_each(|(key, value)| {
                            object.entry(key).or_insert(value);
                        });
                    }
                }
            }
            object.values_mut().for_each(forget_null);
        }
        _ => {}
    }
}

fn forget_required(schema: &mut Json) {
    match schema {
        Json::Array(items) => items.iter_mut().for_each(forget_required),
        Json::Object(object) => {
            // `required` is also the name of a keyword only, never of a key of ours.
            object.remove("required");
            object.values_mut().for_each(forget_required);
        }
        _ => {}
    }
}

/// A place in a schema.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape<'a> {
    root: &'a Json,
    node: &'a Json,
}

impl<'a> Shape<'a> {
    /// The top of a schema.
    pub fn root(schema: &'a Json) -> Self {
        Shape { root: schema, node: schema }
    }

    /// Something the schema says here, looking through a reference.
    pub fn get(&self, keyword: &str) -> Option<&'a Json> {
        self.node.get(keyword).or_else(|| self.target()?.get(keyword))
    }

    fn target(&self) -> Option<Shape<'a>> {
        let reference = self.node.get("$ref")?.as_str()?.strip_prefix('#')?;
        Some(Shape { root: self.root, node: self.root.pointer(reference)? })
    }

    /// The name of the type that is referred to here.
    pub fn reference(&self) -> Option<&'a str> {
        self.node.get("$ref")?.as_str()?.rsplit('/').next()
    }

    /// Something that the type says which is referred to here, or that stands here when nothing is referred to.
    pub fn of_type(&self, keyword: &str) -> Option<&'a Json> {
        match self.target() {
            Some(target) => target.get(keyword),
            None => self.node.get(keyword),
        }
    }

    /// The shape of any key's value, where any key is allowed.
    pub fn any_key(&self) -> Option<Shape<'a>> {
        let node = self.get("additionalProperties").filter(|any| any.is_object())?;
        Some(Shape { root: self.root, node })
    }

    /// The keys that a table may have here, in order of the types.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.get("properties")
            .and_then(Json::as_object)
            .into_iter()
            .flat_map(|keys| keys.keys().map(String::as_str))
    }

    /// The shape of a key's value: of a declared key, or of any key where any is allowed.
    pub fn key(&self, key: &str) -> Option<Shape<'a>> {
        let declared = self.get("properties").and_then(|properties| properties.get(key));
        declared.map(|node| Shape { root: self.root, node }).or_else(|| self.any_key())
    }

    /// The shape of an array's elements.
    pub fn items(&self) -> Option<Shape<'a>> {
        Some(Shape { root: self.root, node: self.get("items")? })
    }

    /// The keys that a table must have here.
    pub fn required(&self) -> impl Iterator<Item = &'a str> {
        self.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
    }

    /// The alternatives, where there are some.
    pub fn branches(&self) -> Option<Vec<Shape<'a>>> {
        let list = self.get("anyOf").or_else(|| self.get("oneOf"))?.as_array()?;
        Some(list.iter().map(|node| Shape { root: self.root, node }).collect())
    }

    /// The key by which elements of an array are told apart in overlays.
    pub fn keyed_by(&self) -> Option<&'a str> {
        self.get("keyed-by")?.as_str()
    }

    /// The words allowed here, where only certain ones are.
    pub fn words(&self) -> Option<Vec<&'a Json>> {
        if let Some(word) = self.get("const") {
            return Some(vec![word]);
        }
        if let Some(words) = self.get("enum").and_then(Json::as_array) {
            return Some(words.iter().collect());
        }
        let branches = self.branches()?;
        let words: Option<Vec<Vec<&Json>>> = branches.iter().map(Shape::words).collect();
        Some(words?.into_iter().flatten().collect())
    }
}
