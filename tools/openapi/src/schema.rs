//! JSON Schema 2020-12, as far as documents of these steps use it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use check::{Outcome, ensure};
use regex::Regex;
use serde_json::Value;

use crate::{DOCUMENT, Document};

impl Document {
    /// Returns why `value` does not fit `schema`.
    pub fn fits(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let wrong = |reason: String| Err(format!("{value}: {reason}"));
        if *schema == Value::Bool(false) {
            return wrong("nothing fits here".to_owned());
        }
        if schema["$ref"].is_string() {
            self.fits(self.resolve(schema), value)?;
        }
        let types = match &schema["type"] {
            Value::String(one) => vec![one.as_str()],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !types.is_empty() && !types.iter().any(|name| is_type(name, value)) {
            return wrong(format!("its type should be {}", types.join(" or ")));
        }
        if let Some(values) = schema["enum"].as_array()
            && !values.contains(value)
        {
            return wrong(format!("it should be one of {values:?}"));
        }
        if let Some(constant) = schema.get("const")
            && constant != value
        {
            return wrong(format!("it should be {constant}"));
        }
        let fitting = |key: &str| {
            schema[key].as_array().map(|schemas| {
                let fits = |schema| self.fits(schema, value);
                (
                    schemas
                        .iter()
                        .filter_map(|schema| fits(schema).err())
                        .collect::<Vec<_>>(),
                    schemas.len(),
                )
            })
        };
        if let Some((reasons, _)) = fitting("allOf")
            && let Some(reason) = reasons.first()
        {
            return Err(reason.clone());
        }
        if let Some((reasons, of)) = fitting("anyOf")
            && reasons.len() == of
        {
            return Err(reasons.join("; or "));
        }
        if let Some((reasons, of)) = fitting("oneOf")
            && reasons.len() + 1 != of
        {
            return Err(if reasons.len() == of {
                reasons.join("; or ")
            } else {
                format!("{value}: it fits more than one of `oneOf`")
            });
        }
        match value {
            Value::Number(_) => number(schema, value),
            Value::String(text) => string(schema, text),
            Value::Array(values) => self.array(schema, values),
            Value::Object(_) => self.object(schema, value),
            _ => Ok(()),
        }
    }

    /// Returns why `schema` does not describe `value`: the value does not fit, or has a
    /// member that the schema does not name. JSON Schema allows such a member, but a
    /// client that was generated from the schema does not have it.
    pub fn describes(&self, schema: &Value, value: &Value) -> Result<(), String> {
        self.fits(schema, value)?;
        self.names_members(&[schema], value)
    }

    fn names_members(&self, schemas: &[&Value], value: &Value) -> Result<(), String> {
        let parts: Vec<&Value> = schemas
            .iter()
            .flat_map(|schema| self.parts(schema, value))
            .collect();
        // A reference that leads nowhere is found by `expect_well_formed`.
        if parts.contains(&&Value::Null) {
            return Ok(());
        }
        match value {
            Value::Array(values) => {
                let items: Vec<_> = parts.iter().filter_map(|part| part.get("items")).collect();
                values
                    .iter()
                    .try_for_each(|value| self.names_members(&items, value))
            }
            Value::Object(members) => members.iter().try_for_each(|(name, member)| {
                let named: Vec<_> = parts
                    .iter()
                    .filter_map(|part| {
                        let property = part["properties"].get(name);
                        property.or_else(|| part.get("additionalProperties"))
                    })
                    .filter(|schema| schema.is_object())
                    .collect();
                if named.is_empty() {
                    return Err(format!("{value}: the schema does not have `{name}`"));
                }
                self.names_members(&named, member)
            }),
            _ => Ok(()),
        }
    }

    /// Returns the schema and those of which it consists, as far as they are true of this
    /// value.
    fn parts<'a>(&'a self, schema: &'a Value, value: &Value) -> Vec<&'a Value> {
        let several = |key: &str| schema[key].as_array().into_iter().flatten();
        let referred = schema.get("$ref").map(|_| self.resolve(schema));
        let chosen = several("anyOf")
            .chain(several("oneOf"))
            .filter(|schema| self.fits(schema, value).is_ok());
        let inner = referred.into_iter().chain(several("allOf")).chain(chosen);
        let mut parts = vec![schema];
        parts.extend(inner.flat_map(|schema| self.parts(schema, value)));
        parts
    }

    /// Adds the schema and all schemas in it to `found`.
    pub(crate) fn inner_schemas<'a>(&'a self, schema: &'a Value, found: &mut Vec<&'a Value>) {
        // A schema can contain itself.
        if found.iter().any(|known| std::ptr::eq(*known, schema)) {
            return;
        }
        found.push(schema);
        let referred = schema.get("$ref").map(|_| self.resolve(schema));
        let single = ["items", "additionalProperties"]
            .into_iter()
            .filter_map(|key| schema.get(key));
        let several = ["allOf", "anyOf", "oneOf"]
            .into_iter()
            .filter_map(|key| schema[key].as_array())
            .flatten();
        let properties = schema["properties"].as_object();
        let properties = properties.into_iter().flat_map(serde_json::Map::values);
        let inner = referred.into_iter().chain(single).chain(several);
        for schema in inner.chain(properties) {
            self.inner_schemas(schema, found);
        }
    }

    /// Returns why a header with this text does not fit `schema`. Numbers and booleans
    /// are written as in JSON.
    pub(crate) fn fits_text(&self, schema: &Value, text: &str) -> Result<(), String> {
        let string = self.fits(schema, &Value::String(text.to_owned()));
        match serde_json::from_str(text) {
            Ok(value @ (Value::Number(_) | Value::Bool(_))) => {
                string.or_else(|_| self.fits(schema, &value))
            }
            _ => string,
        }
    }

    fn array(&self, schema: &Value, values: &[Value]) -> Result<(), String> {
        let (least, most) = bounds(schema, "minItems", "maxItems");
        if !(least..=most).contains(&values.len()) {
            return Err(format!(
                "{} items, not from {least} to {most}",
                values.len()
            ));
        }
        let items = schema.get("items");
        values
            .iter()
            .try_for_each(|value| items.map_or(Ok(()), |items| self.fits(items, value)))
    }

    fn object(&self, schema: &Value, value: &Value) -> Result<(), String> {
        for name in schema["required"].as_array().into_iter().flatten() {
            if value.get(name.as_str().unwrap_or_default()).is_none() {
                return Err(format!("{value}: {name} is missing"));
            }
        }
        let members = value.as_object().map_or(0, serde_json::Map::len);
        let (least, most) = bounds(schema, "minProperties", "maxProperties");
        if !(least..=most).contains(&members) {
            return Err(format!(
                "{value}: {members} members, not from {least} to {most}"
            ));
        }
        for (name, member) in value.as_object().into_iter().flatten() {
            if let Some(schema) = schema["properties"].get(name) {
                self.fits(schema, member)
                    .map_err(|reason| format!("`{name}` is {reason}"))?;
            } else if let Some(schema) = schema.get("additionalProperties") {
                self.fits(schema, member)
                    .map_err(|reason| format!("`{name}` is {reason}"))?;
            }
        }
        Ok(())
    }
}

/// Fails unless each `schema` below `value`, and each of `components`, is one: types
/// have names that exist, and bounds are numbers.
pub(crate) fn expect_schemas(value: &Value, path: &str) -> Outcome {
    for (name, member) in value.as_object().into_iter().flatten() {
        let path = format!("{path}/{name}");
        match name.as_str() {
            "schema" => expect_schema(member, &path)?,
            "schemas" if path == "/components/schemas" => {
                for (name, schema) in member.as_object().into_iter().flatten() {
                    expect_schema(schema, &format!("{path}/{name}"))?;
                }
            }
            // An example may have members of any name.
            "example" | "examples" => {}
            _ => expect_schemas(member, &path)?,
        }
    }
    let values = value.as_array().into_iter().flatten();
    values
        .enumerate()
        .try_for_each(|(index, value)| expect_schemas(value, &format!("{path}/{index}")))
}

fn expect_schema(schema: &Value, path: &str) -> Outcome {
    const TYPES: [&str; 7] = [
        "null", "boolean", "integer", "number", "string", "array", "object",
    ];
    let is_name = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    ensure(
        schema.is_object() || schema.is_boolean(),
        format_args!("{path} in the document at {DOCUMENT}"),
        "a schema",
        schema,
    )?;
    for (keyword, value) in schema.as_object().into_iter().flatten() {
        let path = format!("{path}/{keyword}");
        let several = value.as_array().map_or(&[][..], Vec::as_slice);
        let good = match keyword.as_str() {
            "type" => is_name(value) || !several.is_empty() && several.iter().all(is_name),
            "minLength" | "maxLength" | "minItems" | "maxItems" => value.is_u64(),
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => value.is_number(),
            "multipleOf" => value.as_f64().is_some_and(|of| of > 0.0),
            "pattern" => value.as_str().is_some_and(|text| Regex::new(text).is_ok()),
            "required" => several.iter().all(Value::is_string) && value.is_array(),
            // OpenAPI 3.0 had it; 3.1 says `"type": ["string", "null"]`.
            "nullable" => false,
            "items" | "not" | "additionalProperties" => {
                expect_schema(value, &path)?;
                true
            }
            "allOf" | "anyOf" | "oneOf" => {
                for (index, schema) in several.iter().enumerate() {
                    expect_schema(schema, &format!("{path}/{index}"))?;
                }
                !several.is_empty()
            }
            "properties" => {
                for (name, schema) in value.as_object().into_iter().flatten() {
                    expect_schema(schema, &format!("{path}/{name}"))?;
                }
                value.is_object()
            }
            _ => true,
        };
        ensure(
            good,
            format_args!("{path} in the document at {DOCUMENT}"),
            "a keyword of JSON Schema 2020-12 with a value of its kind",
            value,
        )?;
    }
    Ok(())
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

fn number(schema: &Value, value: &Value) -> Result<(), String> {
    let number = value.as_f64().unwrap_or_default();
    let bound = |key: &str| schema[key].as_f64();
    let too_small = bound("minimum").is_some_and(|least| number < least)
        || bound("exclusiveMinimum").is_some_and(|limit| number <= limit);
    let too_large = bound("maximum").is_some_and(|most| number > most)
        || bound("exclusiveMaximum").is_some_and(|limit| number >= limit);
    if too_small || too_large {
        return Err(format!(
            "{value}: it is too {}",
            if too_small { "small" } else { "large" }
        ));
    }
    // 0.07 / 0.01 is not exactly 7.
    let multiple = bound("multipleOf").is_none_or(|of| {
        let quotient = number / of;
        (quotient - quotient.round()).abs() < 1e-6
    });
    if multiple {
        Ok(())
    } else {
        Err(format!(
            "{value}: it is not a multiple of {}",
            schema["multipleOf"]
        ))
    }
}

static PATTERNS: Mutex<BTreeMap<String, Option<Regex>>> = Mutex::new(BTreeMap::new());

fn string(schema: &Value, text: &str) -> Result<(), String> {
    let (least, most) = bounds(schema, "minLength", "maxLength");
    let length = text.chars().count();
    if !(least..=most).contains(&length) {
        return Err(format!("{length} characters, not from {least} to {most}"));
    }
    let Some(pattern) = schema["pattern"].as_str() else {
        return Ok(());
    };
    // Compiling a pattern takes longer than a request.
    let mut compiled = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
    let regex = compiled
        .entry(pattern.to_owned())
        .or_insert_with(|| Regex::new(pattern).ok());
    match regex {
        Some(regex) if regex.is_match(text) => Ok(()),
        _ => Err(format!("{text:?} does not fit the pattern {pattern}")),
    }
}

fn bounds(schema: &Value, least: &str, most: &str) -> (usize, usize) {
    let bound = |key: &str| {
        schema[key]
            .as_u64()
            .map(|bound| usize::try_from(bound).unwrap_or(usize::MAX))
    };
    (bound(least).unwrap_or(0), bound(most).unwrap_or(usize::MAX))
}
