//! JSON Schema 2020-12, as far as documents of these steps use it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use regex::Regex;
use serde_json::Value;

use crate::Document;

/// A keyword with a limit, and how a number, or a length, compares with it.
type Limit = (&'static str, fn(&f64, &f64) -> bool);

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
        for key in ["allOf", "anyOf", "oneOf"] {
            let schemas = schema[key].as_array().map_or(&[][..], Vec::as_slice);
            let unfit = schemas.iter().map(|schema| self.fits(schema, value));
            let reasons: Vec<_> = unfit.filter_map(Result::err).collect();
            let fitting = schemas.len() - reasons.len();
            if key == "oneOf" && fitting > 1 {
                return wrong("it fits more than one of `oneOf`".to_owned());
            }
            if !reasons.is_empty() && (fitting == 0 || key == "allOf") {
                return Err(reasons.join("; or "));
            }
        }
        #[expect(clippy::cast_precision_loss)] // no document has so long values
        let length = |length: usize| length as f64;
        let (size, limits): (f64, &[Limit]) = match value {
            Value::Number(number) => (
                number.as_f64().unwrap_or_default(),
                &[
                    ("minimum", f64::ge),
                    ("maximum", f64::le),
                    ("exclusiveMinimum", f64::gt),
                    ("exclusiveMaximum", f64::lt),
                    ("multipleOf", is_multiple),
                ],
            ),
            Value::String(text) => (
                length(text.chars().count()),
                &[("minLength", f64::ge), ("maxLength", f64::le)],
            ),
            Value::Array(values) => (
                length(values.len()),
                &[("minItems", f64::ge), ("maxItems", f64::le)],
            ),
            Value::Object(members) => (
                length(members.len()),
                &[("minProperties", f64::ge), ("maxProperties", f64::le)],
            ),
            _ => (0.0, &[]),
        };
        for (key, holds) in limits {
            if let Some(limit) = schema[key].as_f64()
                && !holds(&size, &limit)
            {
                return Err(format!("{size} is not what `{key}` {limit} allows"));
            }
        }
        match value {
            Value::String(text) => pattern(&schema["pattern"], text),
            Value::Array(values) => match schema.get("items") {
                Some(items) => values.iter().try_for_each(|value| self.fits(items, value)),
                None => Ok(()),
            },
            Value::Object(members) => {
                for name in schema["required"].as_array().into_iter().flatten() {
                    if value.get(name.as_str().unwrap_or_default()).is_none() {
                        return wrong(format!("{name} is missing"));
                    }
                }
                let others = schema.get("additionalProperties");
                members.iter().try_for_each(|(name, member)| {
                    match schema["properties"].get(name).or(others) {
                        Some(schema) => self
                            .fits(schema, member)
                            .map_err(|reason| format!("`{name}` is {reason}")),
                        None => Ok(()),
                    }
                })
            }
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

    /// Adds the schema and all that is in it, but its examples, to `found`.
    pub(crate) fn inner_schemas<'a>(&'a self, schema: &'a Value, found: &mut Vec<&'a Value>) {
        // A schema can contain itself.
        if found.iter().any(|known| std::ptr::eq(*known, schema)) {
            return;
        }
        found.push(schema);
        let referred = schema.get("$ref").map(|_| self.resolve(schema));
        let members = schema.as_object().into_iter().flatten();
        let members = members.filter(|(key, _)| !key.starts_with("example"));
        let members = members.map(|(_, value)| value);
        let values = schema.as_array().into_iter().flatten();
        for inner in referred.into_iter().chain(members).chain(values) {
            self.inner_schemas(inner, found);
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

#[expect(clippy::trivially_copy_pass_by_ref)] // as those of f64
fn is_multiple(number: &f64, of: &f64) -> bool {
    // 0.07 / 0.01 is not exactly 7.
    let quotient = number / of;
    (quotient - quotient.round()).abs() < 1e-6
}

static PATTERNS: Mutex<BTreeMap<String, Option<Regex>>> = Mutex::new(BTreeMap::new());

/// Returns why the text does not fit the pattern, if there is one.
fn pattern(pattern: &Value, text: &str) -> Result<(), String> {
    let Some(pattern) = pattern.as_str() else {
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
