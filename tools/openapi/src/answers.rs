//! Compares what a service answers with what its document says.

use axum::http::header;
use check::{Failure, Outcome, ensure};
use serde_json::{Value, json};

use crate::record::LINES;
use crate::{Answer, Document, unfit};

impl Document {
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
            let content = response["content"].as_object();
            return ensure(
                content.is_none_or(serde_json::Map::is_empty),
                &asked,
                format_args!("status {status} without content"),
                &response["content"],
            );
        };
        let content = &response["content"][media];
        let types = response["content"].as_object().into_iter();
        let types: Vec<_> = types.flat_map(serde_json::Map::keys).collect();
        ensure(
            content.is_object(),
            &asked,
            format_args!("status {status} with content of type {media}"),
            format_args!("types {types:?}"),
        )?;
        if media == LINES {
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
            let schema = &self.resolve(header)["schema"];
            // A header that may be null is one that not every answer has.
            let may_be_null = || {
                schema["type"]
                    .as_array()
                    .is_some_and(|types| types.contains(&"null".into()))
            };
            if value.is_none() && may_be_null() {
                continue;
            }
            let unsent = || "the service does not send it".to_owned();
            value
                .and_then(|value| value.to_str().ok())
                .ok_or_else(unsent)
                .and_then(|text| self.fits_text(schema, text))
                .map_err(|reason| {
                    let expected =
                        "which the document describes, with a value that fits its schema";
                    Failure::new(
                        asked,
                        format_args!("the header `{name}`, {expected}"),
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
                self.describes(schema, example)
                    .map_err(|reason| unfit(asked, example, reason))
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
