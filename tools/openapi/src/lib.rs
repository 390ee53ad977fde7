//! Checks that the document of an API (OpenAPI) says what a service does: the service is asked, and
//! the document must agree. They hold for every step that has a document, and for
//! `marketsvc`.
//!
//! [`Document`] is read from the service. [`Recorder`] keeps each answer that a router
//! gives, and [`Document::expect_answer`] compares one with the document.
#![allow(clippy::missing_errors_doc)] // a `Failure` says what was not as expected

mod record;
mod schema;
#[cfg(test)]
mod tests;

use axum::http::{Method, header};
use check::{Failure, Outcome, Reply, Service, ensure};
use serde_json::{Value, json};

pub use record::{Answer, Recorder};

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
            value = target
                .strip_prefix('#')
                .and_then(|pointer| self.json.pointer(pointer))
                .unwrap_or(&Value::Null);
        }
        value
    }

    /// Fails unless each `$ref` names something in the document, each operation has
    /// responses with descriptions, each parameter of a path is described once, and
    /// each schema is one.
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
        schema::expect_schemas(&self.json, "")
    }

    fn expect_refs(&self, value: &Value) -> Outcome {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    let found = target
                        .strip_prefix('#')
                        .and_then(|pointer| self.json.pointer(pointer));
                    ensure(
                        found.is_some(),
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
            ensure(
                parameter["name"].is_string() && parameter["schema"].is_object(),
                operation.said(),
                "a name and a schema for each parameter",
                parameter,
            )?;
            if parameter["in"] == "path" {
                ensure(
                    parameter["required"] == true,
                    operation.said(),
                    "`required: true` for a parameter of the path",
                    parameter,
                )?;
                described.extend(parameter["name"].as_str());
            }
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
            if let Some(other) = operations[..index]
                .iter()
                .find(|other| other.json["operationId"] == *id)
            {
                return Err(Failure::new(
                    operation.said(),
                    "an operationId that no other operation has",
                    format_args!("{id}, as {} {} has", other.method, other.path),
                ));
            }
        }
        Ok(())
    }

    /// Returns the schema of the JSON body that the operation takes.
    pub fn body_schema(&self, operation: &Operation<'_>) -> Result<&Value, Failure> {
        let content = &self.resolve(&operation.json["requestBody"])["content"]["application/json"];
        // The same content, with the life of the document.
        let pointer = format!(
            "/paths/{}/{}",
            operation.path.replace('~', "~0").replace('/', "~1"),
            operation.method.as_str().to_lowercase()
        );
        let schema = self.json.pointer(&pointer).map_or(&Value::Null, |json| {
            &self.resolve(&json["requestBody"])["content"]["application/json"]["schema"]
        });
        ensure(
            content.is_object() && schema.is_object(),
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
        let body = if body.is_null() {
            None
        } else {
            let example = self
                .examples(body)
                .next()
                .ok_or_else(|| Failure::new(operation.said(), "an example for the body", body))?;
            self.fits(&body["schema"], example).map_err(|reason| {
                Failure::new(
                    format_args!("{}, its example {example}", operation.said()),
                    "an example that fits the schema of the body",
                    reason,
                )
            })?;
            Some(example.clone())
        };
        Ok(Example {
            method: operation.method.clone(),
            path,
            body,
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

    /// Fails unless the document says of this answer's operation that it can be so:
    /// the status, the headers, the type of the body, and its schema. An example of the
    /// body must fit that schema, too.
    pub fn expect_answer(&self, answer: &Answer) -> Outcome {
        let operation = self.operation(&answer.method, &answer.path)?;
        let asked = format!("{}; the service answers {answer}", operation.said());
        let status = answer.status.to_string();
        let response = self.resolve(&operation.json["responses"][&status]);
        ensure(
            response.is_object(),
            &asked,
            format_args!("a response with status {status}"),
            "no such response",
        )?;
        self.expect_headers(&asked, response, answer)?;
        let Some(media) = &answer.media else {
            return ensure(
                response
                    .get("content")
                    .is_none_or(|content| content == &Value::Object(serde_json::Map::new())),
                &asked,
                format_args!("status {status} without content"),
                &response["content"],
            );
        };
        let content = &response["content"][media];
        let types = response["content"]
            .as_object()
            .map_or_else(Vec::new, |content| content.keys().collect::<Vec<_>>());
        ensure(
            content.is_object(),
            &asked,
            format_args!("status {status} with content of type {media}"),
            format_args!("types {types:?}"),
        )?;
        if media == "application/x-ndjson" {
            return self.expect_lines(&asked, response, content, answer);
        }
        let body: Value = check::parse_json(&asked, &answer.body)?;
        ensure(
            content["schema"].is_object(),
            &asked,
            format_args!("a schema for status {status}"),
            content,
        )?;
        self.describes(&content["schema"], &body)
            .map_err(|reason| Failure::new(&asked, "an answer that fits its schema", reason))?;
        self.expect_examples(&asked, content, answer)
    }

    /// Fails unless the response describes `Location` and `Retry-After` where the answer
    /// has them, and the answer has each header that the response describes, with a value
    /// that fits its schema.
    fn expect_headers(&self, asked: &str, response: &Value, answer: &Answer) -> Outcome {
        let described = || response["headers"].as_object().into_iter().flatten();
        for name in [header::LOCATION, header::RETRY_AFTER] {
            let found = described().any(|(key, _)| key.eq_ignore_ascii_case(name.as_str()));
            ensure(
                found || !answer.headers.contains_key(&name),
                asked,
                format_args!("status {} with the header `{name}`", answer.status),
                "this header is not in the document",
            )?;
        }
        for (name, header) in described() {
            let value = answer.headers.get(name.as_str());
            let text = value.and_then(|value| value.to_str().ok()).ok_or_else(|| {
                Failure::new(
                    asked,
                    format_args!("the header `{name}`, which the document describes"),
                    "the service does not send it",
                )
            })?;
            self.fits_text(&self.resolve(header)["schema"], text)
                .map_err(|reason| {
                    Failure::new(
                        asked,
                        format_args!("the header `{name}` with a value that fits its schema"),
                        reason,
                    )
                })?;
        }
        Ok(())
    }

    /// Fails unless the service could send each example of this content. A schema that
    /// several responses share can have one for all of them, so only an example of this
    /// response itself must have its status.
    fn expect_examples(&self, asked: &str, content: &Value, answer: &Answer) -> Outcome {
        if answer.media.as_deref() == Some("application/problem+json") {
            for example in self.own_examples(content) {
                ensure(
                    example["status"] == answer.status,
                    asked,
                    format_args!("an example with the status {}", answer.status),
                    example,
                )?;
            }
        }
        let schema = &content["schema"];
        let own = self.own_examples(content).into_iter();
        let mut schemas = Vec::new();
        self.inner_schemas(schema, &mut schemas);
        // The docs page makes an example of those of the fields.
        let of_schemas = schemas
            .into_iter()
            .filter_map(|schema| Some((schema, schema.get("example")?)));
        own.map(|example| (schema, example))
            .chain(of_schemas)
            .try_for_each(|(schema, example)| {
                self.describes(schema, example).map_err(|reason| {
                    Failure::new(
                        format_args!("{asked}, its example {example}"),
                        "an example that fits its schema",
                        reason,
                    )
                })
            })
    }

    /// Fails unless the content says that it is lines, and its examples are: several
    /// lines are not one JSON value, so the schema, if there is one, must be a string.
    /// The lines of the answer and those of the examples must be what the array of the
    /// same response has.
    fn expect_lines(
        &self,
        asked: &str,
        response: &Value,
        content: &Value,
        answer: &Answer,
    ) -> Outcome {
        let schema = self.resolve(&content["schema"]);
        ensure(
            schema.is_null() || schema["type"] == "string",
            asked,
            "`\"type\": \"string\"` for application/x-ndjson, since lines are not one JSON value",
            schema,
        )?;
        let examples: Vec<_> = self.examples(content).collect();
        let texts: Vec<_> = examples.iter().filter_map(|text| text.as_str()).collect();
        ensure(
            !texts.is_empty() && texts.iter().all(|text| text.ends_with('\n')),
            asked,
            "an example for application/x-ndjson: lines, each with a line feed",
            format_args!("{examples:?}"),
        )?;
        let array = &response["content"]["application/json"]["schema"];
        let sent = String::from_utf8_lossy(&answer.body);
        let sent = sent.lines().map(|line| (line, "the answer"));
        let shown = texts.iter().flat_map(|text| text.lines());
        for (line, of) in shown.map(|line| (line, "its example")).chain(sent) {
            let row: Value = serde_json::from_str(line)
                .map_err(|error| Failure::new(asked, "a JSON value in each line", error))?;
            self.describes(array, &json!([row])).map_err(|reason| {
                Failure::new(
                    format_args!("{asked}, the line {line} of {of}"),
                    "what the array of the same response has",
                    reason,
                )
            })?;
        }
        Ok(())
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
