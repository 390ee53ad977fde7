//! Checks that the document of an API (OpenAPI) says what a service does: the service is asked, and
//! the document must agree. They hold for every step that has a document, and for
//! `marketsvc`.
//!
//! [`Document`] is read from the service. [`Recorder`] keeps each answer that a router
//! gives, and [`Document::expect_answer`] compares one with the document.
#![allow(clippy::missing_errors_doc)] // a `Failure` says what was not as expected

mod answers;
mod record;
mod schema;
#[cfg(test)]
mod tests;

use std::fmt::Display;

use axum::http::Method;
use check::{Failure, Outcome, Reply, Service, ensure};
use serde_json::Value;

pub use self::record::{Answer, Recorder, expect_described};

/// Where the document is.
pub const DOCUMENT: &str = "/api-docs/openapi.json";

/// A document in the form of OpenAPI 3.1.
#[derive(Debug)]
pub struct Document {
    json: Value,
}

/// An endpoint in a document: a path with a method.
#[derive(Debug)]
pub struct Operation<'a> {
    pub method: Method,
    /// The path with its parameters in braces.
    pub path: &'a str,
    pub json: &'a Value,
}

/// A request that a document shows as an example.
#[derive(Debug)]
pub struct Example {
    pub method: Method,
    pub path: String,
    pub body: Option<Value>,
}

impl Document {
    /// Reads the document from the service.
    pub async fn read(service: &Service) -> Result<Self, Failure> {
        let reply = service.get(DOCUMENT).await?;
        reply.expect_status(200)?;
        let json = reply.json()?;
        let version = json["openapi"].as_str().unwrap_or_default();
        ensure(
            version.starts_with("3.1.") && json["info"]["title"].is_string(),
            reply.asked(),
            "an OpenAPI document: `openapi` is 3.1.*, and `info` has a title",
            format_args!("openapi {}, info {}", json["openapi"], json["info"]),
        )?;
        Ok(Self { json })
    }

    /// Returns all operations, by path.
    pub fn operations(&self) -> Vec<Operation<'_>> {
        let mut operations = Vec::new();
        for (path, item) in self.json["paths"].as_object().into_iter().flatten() {
            for (key, json) in item.as_object().into_iter().flatten() {
                let Ok(method) = key.to_uppercase().parse::<Method>() else {
                    continue;
                };
                // A path may have other keys (`summary`), which parse as methods, too.
                if json.get("responses").is_some() {
                    operations.push(Operation { method, path, json });
                }
            }
        }
        operations
    }

    /// Returns the operation with this method whose path fits this one.
    pub fn operation(&self, method: &Method, path: &str) -> Result<Operation<'_>, Failure> {
        self.operations()
            .into_iter()
            .filter(|operation| operation.method == *method && fits(operation.path, path))
            // `/catalog/separately` before `/catalog/{id}`.
            .min_by_key(|operation| operation.path.matches('{').count())
            .ok_or_else(|| {
                Failure::new(
                    format_args!("the document at {DOCUMENT}"),
                    format_args!("{method} {path}"),
                    "no such path with this method",
                )
            })
    }

    /// Follows `$ref`.
    fn resolve<'a>(&'a self, mut value: &'a Value) -> &'a Value {
        // No chain is longer than this, unless it is a circle.
        for _ in 0..8 {
            let Some(target) = value["$ref"].as_str() else {
                break;
            };
            value = self.target(target).unwrap_or(&Value::Null);
        }
        value
    }

    fn target(&self, reference: &str) -> Option<&Value> {
        self.json.pointer(reference.strip_prefix('#')?)
    }

    /// Fails unless each `$ref` names something in the document, each operation has
    /// responses with descriptions, and each parameter of a path is described once.
    pub fn expect_well_formed(&self) -> Outcome {
        self.expect_refs(&self.json)?;
        for operation in self.operations() {
            self.expect_parameters(&operation)?;
            let responses = operation.json["responses"].as_object();
            for (status, response) in responses.into_iter().flatten() {
                let known = status == "default"
                    || status.len() == 3 && status.starts_with(['1', '2', '3', '4', '5']);
                let description = &self.resolve(response)["description"];
                let described = description.as_str().is_some_and(|text| !text.is_empty());
                ensure(
                    known && described,
                    operation.said(),
                    "responses by status, each with a description",
                    format_args!("{status:?} with the description {description}"),
                )?;
            }
        }
        Ok(())
    }

    fn expect_refs(&self, value: &Value) -> Outcome {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    ensure(
                        self.target(target).is_some(),
                        format_args!("{{\"$ref\":\"{target}\"}} in the document at {DOCUMENT}"),
                        "something that the document has",
                        "nothing is there",
                    )?;
                }
                members
                    .values()
                    .try_for_each(|value| self.expect_refs(value))
            }
            Value::Array(values) => values.iter().try_for_each(|value| self.expect_refs(value)),
            _ => Ok(()),
        }
    }

    fn expect_parameters(&self, operation: &Operation) -> Outcome {
        let mut in_path = operation
            .path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .collect::<Vec<_>>();
        in_path.sort_unstable();
        let mut described = Vec::new();
        for parameter in self.parameters(operation) {
            let of_path = parameter["in"] == "path";
            ensure(
                parameter["name"].is_string()
                    && parameter["schema"].is_object()
                    && (!of_path || parameter["required"] == true),
                operation.said(),
                "a name and a schema for each parameter, and `required: true` for one of the path",
                parameter,
            )?;
            described.extend(parameter["name"].as_str().filter(|_| of_path));
        }
        described.sort_unstable();
        ensure(
            in_path == described,
            operation.said(),
            format_args!("parameters of the path: {in_path:?}"),
            format_args!("{described:?}"),
        )
    }

    fn parameters<'a>(&'a self, operation: &Operation<'a>) -> impl Iterator<Item = &'a Value> {
        let own = operation.json["parameters"].as_array();
        let shared = self.json["paths"][operation.path]["parameters"].as_array();
        own.into_iter()
            .chain(shared)
            .flatten()
            .map(|parameter| self.resolve(parameter))
    }

    /// Fails unless each operation has an id, and no other one has the same.
    pub fn expect_unique_ids(&self) -> Outcome {
        let operations = self.operations();
        for (index, operation) in operations.iter().enumerate() {
            let id = &operation.json["operationId"];
            ensure(
                id.as_str().is_some_and(|id| !id.is_empty()),
                operation.said(),
                "an operationId",
                id,
            )?;
            let mut earlier = operations[..index].iter();
            let same = earlier.find(|other| other.json["operationId"] == *id);
            ensure(
                same.is_none(),
                operation.said(),
                "an operationId that no other operation has",
                format_args!(
                    "{id}, as {} has",
                    same.map_or_else(String::new, Operation::said)
                ),
            )?;
        }
        Ok(())
    }

    /// Returns the schema of the JSON body that the operation takes.
    pub fn body_schema<'a>(&'a self, operation: &Operation<'a>) -> Result<&'a Value, Failure> {
        let body = self.resolve(&operation.json["requestBody"]);
        let schema = &body["content"]["application/json"]["schema"];
        ensure(
            schema.is_object(),
            operation.said(),
            "a requestBody of type application/json with a schema",
            &operation.json["requestBody"],
        )?;
        Ok(schema)
    }

    /// Returns the request that the examples of this operation make: those of its
    /// parameters, and that of its body.
    pub fn example(&self, operation: &Operation) -> Result<Example, Failure> {
        let mut path = operation.path.to_owned();
        let mut query = Vec::new();
        for parameter in self.parameters(operation) {
            let name = parameter["name"].as_str().unwrap_or_default();
            let example = self.examples(parameter).next().map(text_of);
            match (parameter["in"].as_str(), example) {
                (Some("path"), Some(text)) => {
                    path = path.replace(&format!("{{{name}}}"), &encoded(&text));
                }
                (Some("query"), Some(text)) => query.push(format!("{name}={}", encoded(&text))),
                _ if parameter["required"] == true => {
                    return Err(Failure::new(
                        operation.said(),
                        format_args!("an example for the parameter `{name}`"),
                        parameter,
                    ));
                }
                _ => {}
            }
        }
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        let body = &self.resolve(&operation.json["requestBody"])["content"]["application/json"];
        let example = self.examples(body).next();
        if !body.is_null() {
            let example = example
                .ok_or_else(|| Failure::new(operation.said(), "an example for the body", body))?;
            self.fits(&body["schema"], example)
                .map_err(|reason| unfit(operation.said(), example, reason))?;
        }
        Ok(Example {
            method: operation.method.clone(),
            path,
            body: example.cloned(),
        })
    }

    /// Returns the examples of a parameter or a body, and then that of its schema.
    fn examples<'a>(&'a self, value: &'a Value) -> impl Iterator<Item = &'a Value> {
        let schema = self.resolve(&value["schema"]);
        let shared = schema.get("example").or_else(|| schema["examples"].get(0));
        self.own_examples(value).into_iter().chain(shared)
    }

    /// Returns the examples of a parameter or a body, without that of its schema.
    fn own_examples<'a>(&'a self, value: &'a Value) -> Vec<&'a Value> {
        let named = value["examples"].as_object();
        let named = named.into_iter().flat_map(serde_json::Map::values);
        value
            .get("example")
            .into_iter()
            .chain(named.filter_map(|example| self.resolve(example).get("value")))
            .collect()
    }
}

impl Operation<'_> {
    /// Says where in the document this is, for a [`Failure`].
    pub fn said(&self) -> String {
        format!(
            "{} {} in the document at {DOCUMENT}",
            self.method, self.path
        )
    }
}

impl Example {
    /// Sends the example to the service.
    pub async fn send(&self, service: &Service) -> Result<Reply, Failure> {
        let json = [("content-type", "application/json")];
        let (headers, body) = match &self.body {
            Some(body) => (&json[..], body.to_string()),
            None => (&[][..], String::new()),
        };
        service
            .send(self.method.clone(), &self.path, headers, body)
            .await
    }
}

fn unfit(asked: impl Display, example: &Value, reason: String) -> Failure {
    let asked = format_args!("{asked}, its example {example}");
    Failure::new(asked, "an example that fits its schema", reason)
}

/// Returns the path without the names of its parameters: `/book/{}`.
pub fn pattern(path: &str) -> String {
    path.split('/')
        .map(|part| if part.starts_with('{') { "{}" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

/// Returns whether the path of a request is of this form.
fn fits(form: &str, path: &str) -> bool {
    let (form, path) = (form.split('/'), path.split('/'));
    form.clone().count() == path.clone().count()
        && form
            .zip(path)
            .all(|(part, value)| part.starts_with('{') || part == value)
}

/// Returns the text of a parameter: an array has commas between its values.
fn text_of(example: &Value) -> String {
    match example {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(text_of).collect::<Vec<_>>().join(","),
        value => value.to_string(),
    }
}

fn encoded(text: &str) -> String {
    text.replace('%', "%25").replace(' ', "%20")
}
