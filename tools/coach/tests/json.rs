//! The object of `check --json` is what its schema says, and the schema can be
//! broken: real output of every status, and the same output spoilt.

mod support;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::{Project, outcome};

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("check.schema.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The object, the exit code and stderr of a check.
fn check(project: &Project, arguments: &[&str]) -> (Value, Option<i32>, String) {
    let mut command = project.command(env!("CARGO_BIN_EXE_coach"));
    command.arg("check").args(arguments).arg("--json");
    let (code, out, err) = outcome(&command.output().unwrap());
    assert_eq!(out.lines().count(), 1, "one line: {out}{err}");
    (serde_json::from_str(&out).unwrap(), code, err)
}

/// Where a value is not what the schema says; nothing if it is.
///
/// Knows the words of JSON Schema that our schema uses, and panics at others,
/// so that none of them is believed to be checked.
fn faults(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    for (word, rule) in schema.as_object().expect("a schema is an object") {
        let ok = match word.as_str() {
            "$schema" | "$defs" | "title" | "description" => true,
            // With the properties, below.
            "additionalProperties" => {
                assert_eq!(rule, &json!(false), "only false is understood");
                true
            }
            "$ref" => {
                let path = rule.as_str().unwrap().strip_prefix('#').unwrap();
                faults(root, root.pointer(path).unwrap(), value, at, found);
                true
            }
            "oneOf" => {
                let fits = |one: &&Value| {
                    let mut found = Vec::new();
                    faults(root, one, value, at, &mut found);
                    found.is_empty()
                };
                rule.as_array().unwrap().iter().filter(fits).count() == 1
            }
            "type" => match rule {
                Value::Array(types) => types.iter().any(|one| is_a(value, one)),
                one => is_a(value, one),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value
                .as_f64()
                .is_none_or(|number| number >= rule.as_f64().unwrap()),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    faults(root, rule, item, &format!("{at}/{index}"), found);
                }
                true
            }
            "required" => rule
                .as_array()
                .unwrap()
                .iter()
                .all(|name| value.is_null() || value.get(name.as_str().unwrap()).is_some()),
            "properties" => {
                for (name, item) in value.as_object().into_iter().flatten() {
                    match rule.get(name) {
                        Some(rule) => faults(root, rule, item, &format!("{at}/{name}"), found),
                        None if schema.get("additionalProperties").is_some() => {
                            found.push(format!("{at}/{name}: not a member"));
                        }
                        None => {}
                    }
                }
                true
            }
            _ => panic!("the schema uses \"{word}\", which this test does not know"),
        };
        if !ok {
            found.push(format!("{at}: {word}"));
        }
    }
}

fn is_a(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the schema uses the type \"{other}\", which this test does not know"),
    }
}

fn assert_valid(value: &Value) {
    let schema = schema();
    let mut found = Vec::new();
    faults(&schema, &schema, value, "", &mut found);
    assert!(found.is_empty(), "{found:#?}\n{value:#}");
}

/// Every value of the object, spoilt in turn, is found.
fn assert_strict(value: &Value) {
    let schema = schema();
    let mut places = Vec::new();
    pointers(value, String::new(), &mut places);
    let mut spoilt = 0;
    for place in &places {
        let mut variants = Vec::new();
        // Nothing in it is a truth value.
        let mut other = value.clone();
        *other.pointer_mut(place).unwrap() = json!(true);
        variants.push(other);
        if let Some(object) = value.pointer(place).unwrap().as_object() {
            let mut more = object.clone();
            more.insert("unknown".into(), json!(null));
            let mut other = value.clone();
            *other.pointer_mut(place).unwrap() = more.into();
            variants.push(other);
            for name in object.keys() {
                let mut less = object.clone();
                less.remove(name);
                let mut other = value.clone();
                *other.pointer_mut(place).unwrap() = less.into();
                variants.push(other);
            }
        }
        for other in variants {
            let mut found = Vec::new();
            faults(&schema, &schema, &other, "", &mut found);
            assert!(!found.is_empty(), "accepted, spoilt at {place}: {other:#}");
            spoilt += 1;
        }
    }
    assert!(spoilt > 20);
}

fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                pointers(value, format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                pointers(value, format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
    found.push(at);
}

#[test]
fn a_red_check() {
    let project = Project::new();
    let (object, code, _) = check(&project, &["05"]);
    assert_eq!(code, Some(1));
    assert_valid(&object);
    assert_strict(&object);
    assert_eq!(
        object,
        json!({
            "step": "05-engine", "side": "exercise", "chapter": "steps/05-engine/README.md",
            "filter": null, "status": "failed", "message": null, "passed": 0, "failed": 1,
            "checks": [{
                "todo": "05.1", "name": "the answer", "status": "failed",
                "asked": "the \"answer\"", "expected": "2", "got": "1",
                "file": "steps/05-x/exercise/src/lib.rs", "line": 8,
                "reread": {"section": "1 · Two", "file": "steps/05-engine/README.md", "line": 10},
                "hint": "./run.sh hint 05.1",
            }],
            "errors": [], "now_works": null, "try": null, "next": null,
            "diff": "./run.sh diff 05",
        })
    );
}

#[test]
fn a_green_check() {
    let project = Project::new();
    project.solve_05();
    let (object, code, _) = check(&project, &["05"]);
    assert_eq!(code, Some(0));
    assert_valid(&object);
    assert_strict(&object);
    assert_eq!(object["status"], "passed");
    assert_eq!(object["checks"][0]["hint"], json!(null));
    let works = object["now_works"].as_str().unwrap();
    assert!(works.starts_with("queries share"), "{works}");
    let by_hand = object["try"].as_str().unwrap();
    assert!(by_hand.starts_with("`./run.sh run 05`, and"), "{by_hand}");
    assert_eq!(
        object["next"],
        json!({
            "step": "08-typed-rows", "chapter": "steps/08-typed-rows/README.md",
            "checkout": "./run.sh checkout 08",
        })
    );
    // A part, and our solution, lead nowhere; nor does the last step.
    for arguments in [&["05", "05.1"][..], &["05", "--solution"], &["08"]] {
        let (object, code, _) = check(&project, arguments);
        assert_eq!((code, &object["status"]), (Some(0), &json!("passed")));
        assert_valid(&object);
        assert_eq!(object["next"], json!(null), "{arguments:?}");
    }
}

#[test]
fn code_that_does_not_compile() {
    let project = Project::new();
    let lib = project
        .read("steps/05-engine/exercise/src/lib.rs")
        .replace("    1\n    // END", "    \"two\"\n    // END")
        .replace("    1\n}", "    one\n}");
    project.write("steps/05-engine/exercise/src/lib.rs", &lib);
    let (object, code, err) = check(&project, &["05"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("error[E0308]: mismatched types"), "{err}");
    assert_valid(&object);
    assert_strict(&object);
    assert_eq!(object["status"], "does-not-compile");
    let mut errors = object["errors"].as_array().unwrap().clone();
    errors.sort_by_key(|error| error["line"].as_u64());
    let facts: Vec<_> = errors
        .iter()
        .map(|error| (&error["line"], &error["todo"], &error["hint"]))
        .collect();
    assert_eq!(
        facts,
        [
            // Leads to the one task that has been changed.
            (&json!(4), &json!("05.1"), &json!("./run.sh hint 05.1")),
            (&json!(9), &json!("05.1"), &json!("./run.sh hint 05.1"))
        ]
    );

    let lib = lib.replace("    one\n}", "    1\n}");
    project.write("steps/05-engine/exercise/src/lib.rs", &lib);
    let (object, ..) = check(&project, &["05"]);
    assert_valid(&object);
    assert_eq!(
        object["errors"],
        json!([{
            "message": "mismatched types",
            "file": "steps/05-engine/exercise/src/lib.rs", "line": 9, "todo": "05.1",
            "reread": {"section": "1 · Two", "file": "steps/05-engine/README.md", "line": 10},
            "hint": "./run.sh hint 05.1",
        }])
    );
}

#[test]
fn a_check_that_breaks_off() {
    let project = Project::new();
    let lib = project
        .read("steps/05-engine/exercise/src/lib.rs")
        .replace("    1\n    // END", "    9\n    // END");
    project.write("steps/05-engine/exercise/src/lib.rs", &lib);
    let (object, code, _) = check(&project, &["05"]);
    assert_eq!(code, Some(1));
    assert_valid(&object);
    assert_eq!(object["status"], "broke-off");
    assert!(
        object["message"]
            .as_str()
            .unwrap()
            .contains("exit status: 0")
    );
}

/// With wrong usage or a broken environment nothing is on stdout.
#[test]
fn no_object_where_nothing_was_checked() {
    let project = Project::new();
    for (arguments, expected) in [(&["07"][..], 2), (&["05", "05.7"], 2)] {
        let mut command = project.command(env!("CARGO_BIN_EXE_coach"));
        command.arg("check").args(arguments).arg("--json");
        let (code, out, _) = outcome(&command.output().unwrap());
        assert_eq!((code, out.as_str()), (Some(expected), ""));
    }
}

#[test]
fn the_example_in_the_readme_is_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once("```json\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let example: Value = serde_json::from_str(example).unwrap();
    assert_valid(&example);
    assert_strict(&example);
}
