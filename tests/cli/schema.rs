//! Checks answers against the schemas of the API description: just as much of JSON Schema as that document uses.
//!
//! Stricter than the standard on purpose: a property the schema does not name is an error, for it means that the
//! description has fallen behind.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The description, and which of its properties have been seen in an answer.
pub struct Schemas {
    pub document: Value,
    pub seen: BTreeSet<String>,
}

impl Schemas {
    pub fn new() -> Schemas {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/control/openapi.json")).unwrap();
        Schemas { document: serde_json::from_str(&text).unwrap(), seen: BTreeSet::new() }
    }

    fn component(&self, name: &str) -> Value {
        let schema = &self.document["components"]["schemas"][name];
        assert!(schema.is_object(), "{name} is not described");
        schema.clone()
    }

    /// Panics unless `value` is a `name`.
    pub fn check(&mut self, name: &str, value: &Value) {
        let schema = self.component(name);
        if let Err(why) = self.fits(&schema, value, name) {
            panic!("{why}\n{value:#}");
        }
    }

    fn fits(&mut self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            let schema = self.component(name);
            return self.fits(&schema, value, name);
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let fitting = choices.iter().filter(|choice| self.fits(choice, value, at).is_ok()).count();
            return if fitting == 1 { Ok(()) } else { Err(format!("{at}: fits {fitting} of the choices")) };
        }
        if !schema["const"].is_null() && schema["const"] != *value {
            return Err(format!("{at}: not {}", schema["const"]));
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            return Err(format!("{at}: {value} is none of the words"));
        }
        match (schema["type"].as_str(), value) {
            (None, _)
            | (Some("string"), Value::String(_))
            | (Some("boolean"), Value::Bool(_))
            | (Some("number"), Value::Number(_)) => Ok(()),
            (Some("integer"), Value::Number(number)) if number.is_u64() || schema["minimum"].is_null() => Ok(()),
            (Some("array"), Value::Array(items)) => {
                items.iter().try_for_each(|item| self.fits(&schema["items"], item, at))
            }
            (Some("object"), Value::Object(object)) => self.object(schema, object, at),
            (Some(kind), _) => Err(format!("{at}: {value} is no {kind}")),
        }
    }

    fn object(&mut self, schema: &Value, object: &Map<String, Value>, at: &str) -> Result<(), String> {
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(required) {
                return Err(format!("{at}: {required} is missing"));
            }
        }
        for (name, value) in object {
            let place = format!("{at}.{name}");
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Null | Value::Bool(false)) => {
                    return Err(format!("{place}: not described"));
                }
                (Value::Null, others) => self.fits(&others.clone(), value, &place)?,
                (property, _) => self.fits(&property.clone(), value, &place)?,
            }
            self.seen.insert(place);
        }
        Ok(())
    }

    /// Properties of the component `name` that no answer has shown.
    pub fn unseen(&self, name: &str) -> Vec<String> {
        let properties = self.component(name)["properties"].as_object().cloned().unwrap_or_default();
        properties
            .keys()
            .map(|property| format!("{name}.{property}"))
            .filter(|place| !self.seen.contains(place))
            .collect()
    }

    /// Names of all components.
    pub fn names(&self) -> Vec<String> {
        self.document["components"]["schemas"].as_object().unwrap().keys().cloned().collect()
    }
}

#[test]
fn the_checker_finds_faults() {
    let mut schemas = Schemas::new();
    let mut fits = |name: &str, text: &str| {
        let schema = schemas.component(name);
        schemas.fits(&schema, &serde_json::from_str(text).unwrap(), name).is_ok()
    };
    assert!(fits("Head", r#"{"sequence":1,"hash":"x"}"#));
    assert!(!fits("Head", r#"{"sequence":1}"#), "missing");
    assert!(!fits("Head", r#"{"sequence":-1,"hash":"x"}"#), "negative");
    assert!(!fits("Head", r#"{"sequence":1,"hash":"x","more":1}"#), "not described");
    assert!(!fits("Head", r#"{"sequence":"1","hash":"x"}"#), "wrong type");
    assert!(fits("Order", r#"{"kind":"ranges","ranges":[{"first":0,"end":1}]}"#));
    assert!(!fits("Order", r#"{"kind":"sideways"}"#));
}
