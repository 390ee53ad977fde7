//! Fields: `name:kind[:modifier …]` on the command line, and what templates see of it.

use serde::Serialize;

use super::names::Name;
use crate::trouble::Trouble;

/// How a field is written.
const KINDS: &str = "text, int, float, money, bool, date, time, ref=MODULE";
const MODIFIERS: &str = "unique, null, min=N, max=N";

/// Names that no column may have: the key, and what PostgreSQL keeps for itself.
const TAKEN: [&str; 7] = ["id", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// PostgreSQL's names have at most 63 bytes; a foreign key is called `TABLE_FIELD_fkey`.
const LONGEST_PAIR: usize = 57;

/// The most characters that a text may be given. An index of MySQL holds fewer.
const LONGEST_TEXT: i64 = 10_000;
const LONGEST_UNIQUE_TEXT: i64 = 600;
const DEFAULT_TEXT: i64 = 200;

/// The greatest amount of money; in cents a float still holds it exactly.
const MOST_MONEY: i64 = 1_000_000_000_000;
const DEFAULT_MONEY: i64 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Text,
    Int,
    Float,
    Money,
    Bool,
    Date,
    Time,
    Ref,
}

/// A limit of a field. In a template it is a number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Limit {
    Int(i64),
    Float(f64),
}

/// A field as the templates see it.
#[derive(Clone, Debug, Serialize)]
pub struct Field {
    /// In JSON and in SQL.
    pub name: String,
    /// In Rust: `r#type` for a reserved word.
    pub ident: String,
    /// `Author id`, to begin a sentence with.
    pub title: String,
    pub kind: Kind,
    pub unique: bool,
    pub null: bool,
    /// The type in Rust, without `Option`.
    pub rust: &'static str,
    /// The smallest value, the fewest units of money.
    pub min: Option<Limit>,
    /// The greatest value, the most units of money, the most characters of a text.
    pub max: Option<Limit>,
    /// The module that a `ref` leads to.
    pub references: Option<Name>,
    /// What the rows that are there get, as SQL, where the field may not be null.
    pub default: Option<String>,
    /// From 1, in the order of the command line.
    pub index: usize,
}

impl Field {
    /// Reads `name:kind[:modifier …]`.
    pub fn parse(typed: &str, index: usize) -> Result<Self, Trouble> {
        let refused = |why: String| {
            Trouble::usage(format!(
                "--field '{typed}': {why}\na field is 'name:kind[:modifier …]', as in \
                 'isbn:text:unique'\nkinds: {KINDS}\nmodifiers: {MODIFIERS}"
            ))
        };
        let mut parts = typed.split(':');
        let name = parts.next().unwrap_or_default();
        let kind = parts
            .next()
            .ok_or_else(|| refused("the kind is missing".into()))?;
        let (kind, target) = match kind.split_once('=') {
            Some(("ref", target)) => (Kind::Ref, Some(target)),
            _ => (
                match kind {
                    "text" => Kind::Text,
                    "int" => Kind::Int,
                    "float" => Kind::Float,
                    "money" => Kind::Money,
                    "bool" => Kind::Bool,
                    "date" => Kind::Date,
                    "time" => Kind::Time,
                    "ref" => {
                        return Err(refused(
                            "ref needs the module that it leads to, as in ref=author".into(),
                        ));
                    }
                    other => return Err(refused(format!("there is no kind \"{other}\""))),
                },
                None,
            ),
        };
        let mut name = Name::new("field", name)?;
        let references = target.map(Name::module).transpose()?;
        if kind == Kind::Ref && !name.name.ends_with("_id") {
            name = Name::new("field", &format!("{}_id", name.name))?;
        }
        if TAKEN.contains(&&*name.name) {
            let why = if name.name == "id" {
                "every module has the field `id` already, its key".to_owned()
            } else {
                format!(
                    "PostgreSQL keeps the name `{}` for itself; choose another",
                    name.name
                )
            };
            return Err(refused(why));
        }
        let mut field = Self {
            name: name.name,
            ident: name.ident,
            title: name.title,
            kind,
            unique: false,
            null: false,
            rust: kind.rust(),
            min: None,
            max: None,
            references,
            default: None,
            index,
        };
        for modifier in parts {
            field.modify(modifier).map_err(refused)?;
        }
        field.settle().map_err(refused)?;
        Ok(field)
    }

    /// Takes in one modifier.
    fn modify(&mut self, modifier: &str) -> Result<(), String> {
        let is_repeated = match modifier.split_once('=') {
            None if modifier == "unique" => std::mem::replace(&mut self.unique, true),
            None if modifier == "null" => std::mem::replace(&mut self.null, true),
            Some(("min", number)) => self.min.replace(self.limit(modifier, number)?).is_some(),
            Some(("max", number)) => self.max.replace(self.limit(modifier, number)?).is_some(),
            _ => return Err(format!("there is no modifier \"{modifier}\"")),
        };
        if is_repeated {
            let name = modifier.split('=').next().unwrap_or_default();
            return Err(format!("the modifier \"{name}\" is given twice"));
        }
        Ok(())
    }

    fn limit(&self, modifier: &str, number: &str) -> Result<Limit, String> {
        let whole = || {
            let number = number.parse().map(Limit::Int);
            number.map_err(|_| format!("\"{modifier}\" needs a whole number"))
        };
        match self.kind {
            Kind::Text if modifier.starts_with("min") => {
                Err("a text has no min: it has at least one character that is not blank".into())
            }
            Kind::Text | Kind::Int | Kind::Money => whole(),
            Kind::Float => {
                let number = number
                    .parse()
                    .ok()
                    .filter(|number: &f64| number.is_finite());
                let number = number.map(Limit::Float);
                number.ok_or_else(|| format!("\"{modifier}\" needs a number"))
            }
            _ => Err(format!(
                "min and max are for text, int, float and money, not for {}",
                self.kind.name()
            )),
        }
    }

    /// Fills in the limits that were not given, and refuses what cannot be.
    fn settle(&mut self) -> Result<(), String> {
        let (least, most, min, max) = match self.kind {
            Kind::Text => {
                let most = if self.unique {
                    LONGEST_UNIQUE_TEXT
                } else {
                    LONGEST_TEXT
                };
                (1, most, None, Some(DEFAULT_TEXT))
            }
            Kind::Money => (-MOST_MONEY, MOST_MONEY, Some(0), Some(DEFAULT_MONEY)),
            _ => (i64::MIN, i64::MAX, None, None),
        };
        self.min = self.min.or(min.map(Limit::Int));
        self.max = self.max.or(max.map(Limit::Int));
        for limit in [self.min, self.max].into_iter().flatten() {
            if let Limit::Int(number) = limit
                && !(least..=most).contains(&number)
            {
                let what = match self.kind {
                    Kind::Text if self.unique => "characters of a text that is unique",
                    Kind::Text => "characters of a text",
                    _ => "units of money",
                };
                return Err(format!(
                    "{number} is not from {least} to {most}, as {what} must be"
                ));
            }
        }
        let is_reversed = match (self.min, self.max) {
            (Some(Limit::Int(min)), Some(Limit::Int(max))) => min > max,
            (Some(Limit::Float(min)), Some(Limit::Float(max))) => min > max,
            _ => false,
        };
        if is_reversed {
            return Err("min is greater than max".into());
        }
        if self.unique && self.kind == Kind::Bool {
            return Err("a bool that is unique would allow two rows at most".into());
        }
        if !self.null {
            self.default = self.fitting();
        }
        Ok(())
    }

    /// The value, as SQL, for rows that were there before the field was; of the allowed
    /// ones that which says least. No row that a ref could lead to is a fitting one.
    fn fitting(&self) -> Option<String> {
        let nearest = |least: Option<Limit>, most: Option<Limit>| match (least, most) {
            (Some(Limit::Int(least)), _) if least > 0 => least.to_string(),
            (_, Some(Limit::Int(most))) if most < 0 => most.to_string(),
            (Some(Limit::Float(least)), _) if least > 0.0 => format!("{least:?}"),
            (_, Some(Limit::Float(most))) if most < 0.0 => format!("{most:?}"),
            _ => "0".to_owned(),
        };
        match self.kind {
            // Not empty: the model would refuse that.
            Kind::Text => match self.max {
                Some(Limit::Int(most)) if most < 7 => Some("'-'".into()),
                _ => Some("'unknown'".into()),
            },
            Kind::Int | Kind::Float => Some(nearest(self.min, self.max)),
            Kind::Money => {
                let cents = |limit| match limit {
                    Some(Limit::Int(units)) => Some(Limit::Int(units * 100)),
                    other => other,
                };
                Some(nearest(cents(self.min), cents(self.max)))
            }
            Kind::Bool => Some("FALSE".into()),
            Kind::Date => Some("'1970-01-01'".into()),
            Kind::Time => Some("'1970-01-01 00:00:00'".into()),
            Kind::Ref => None,
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Int => "int",
            Self::Float => "float",
            Self::Money => "money",
            Self::Bool => "bool",
            Self::Date => "date",
            Self::Time => "time",
            Self::Ref => "ref",
        }
    }

    /// The type in Rust.
    fn rust(self) -> &'static str {
        match self {
            // Dates and times are texts in the database, too.
            Self::Text | Self::Date | Self::Time => "String",
            Self::Int | Self::Ref => "i64",
            Self::Float => "f64",
            Self::Money => "Money",
            Self::Bool => "bool",
        }
    }
}

/// Reads all fields of a module, whose names must differ.
pub fn parse_all(module: &Name, typed: &[String]) -> Result<Vec<Field>, Trouble> {
    let mut fields: Vec<Field> = Vec::new();
    for (index, typed) in typed.iter().enumerate() {
        let field = Field::parse(typed, index + 1)?;
        if fields.iter().any(|other| other.name == field.name) {
            return Err(Trouble::usage(format!(
                "--field '{typed}': there are two fields `{}`",
                field.name
            )));
        }
        fits(module, &field)?;
        fields.push(field);
    }
    if fields.is_empty() {
        return Err(Trouble::usage(format!(
            "module {} has no fields: give it at least one, as in --field 'name:text'\nkinds: {KINDS}",
            module.name
        )));
    }
    Ok(fields)
}

/// Refuses a field that cannot be in this module.
pub fn fits(module: &Name, field: &Field) -> Result<(), Trouble> {
    if module.table.len() + field.name.len() > LONGEST_PAIR {
        return Err(Trouble::usage(format!(
            "the names {} and {} together are longer than {LONGEST_PAIR} characters, and PostgreSQL \
             would cut off the names of their indexes; choose shorter ones",
            module.table, field.name
        )));
    }
    if field.references.as_ref() == Some(module) && !field.null {
        return Err(Trouble::usage(format!(
            "the first {0} could not be stored: its field `{1}` would have to lead to another {0}; \
             allow null: '{1}:ref={0}:null'",
            module.name, field.name
        )));
    }
    Ok(())
}

/// Refuses a field that the rows of a table that exists could not get.
pub fn fits_rows(module: &Name, field: &Field) -> Result<(), Trouble> {
    let why = if field.null {
        return Ok(());
    } else if field.kind == Kind::Ref {
        "which row they should lead to is not known"
    } else if field.unique {
        "they would all get the same value, and it is to be unique"
    } else {
        return Ok(());
    };
    Err(Trouble::usage(format!(
        "the rows that are in {} already cannot get a field `{}` that is not null: {why}; \
         add :null",
        module.table, field.name
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(typed: &str) -> String {
        let trouble = Field::parse(typed, 1).unwrap_err();
        assert_eq!(trouble.code, 2, "{typed}");
        trouble.to_string()
    }

    #[test]
    fn each_kind_and_modifier_is_read() {
        let kinds = [
            ("text", "String"),
            ("int", "i64"),
            ("float", "f64"),
            ("money", "Money"),
            ("bool", "bool"),
            ("date", "String"),
            ("time", "String"),
        ];
        for (kind, rust) in kinds {
            let field = Field::parse(&format!("some-name:{kind}:null"), 3).unwrap();
            assert_eq!(field.name, "some_name");
            assert_eq!((field.kind.name(), field.rust), (kind, rust));
            assert!(field.null && !field.unique && field.default.is_none());
        }
        let field = Field::parse("Type:text:max=9:unique", 1).unwrap();
        assert_eq!((&*field.name, &*field.ident), ("type", "r#type"));
        assert!(field.unique);
        assert_eq!(field.max, Some(Limit::Int(9)));
        let field = Field::parse("author:ref=Authors", 1).unwrap();
        assert_eq!(field.name, "author_id");
        assert_eq!(field.references.unwrap().table, "authors");
        assert_eq!(
            Field::parse("author_id:ref=author", 1).unwrap().name,
            "author_id"
        );
    }

    #[test]
    fn a_modifier_is_never_ignored() {
        for typed in [
            "a:text:uniq",
            "a:text:unique:",
            "a:text:unique=1",
            "a:text:null=false",
            "a:int:index",
            "a:text{30}",
            "a:date:min=5",
            "a:bool:max=1",
            "a:ref=book:max=1",
        ] {
            let refusal = refusal(typed);
            assert!(refusal.contains(&format!("'{typed}'")), "{refusal}");
            assert!(
                refusal.contains("modifiers: unique, null, min=N, max=N"),
                "{refusal}"
            );
            assert!(refusal.contains("kinds: text, int"), "{refusal}");
        }
        assert!(refusal("a:text:null:null").contains("\"null\" is given twice"));
        assert!(refusal("a:int:min=1:min=2").contains("\"min\" is given twice"));
        assert!(refusal("a:int:min=x").contains("needs a whole number"));
        assert!(refusal("a:float:min=nan").contains("needs a number"));
        assert!(refusal("a:int:min=3:max=2").contains("greater than max"));
        assert!(refusal("a:text:min=3").contains("a text has no min"));
        assert!(refusal("a:text:max=0").contains("not from 1 to 10000"));
        assert!(refusal("a:text:unique:max=601").contains("not from 1 to 600"));
        assert!(refusal("a:bool:unique").contains("two rows at most"));
    }

    #[test]
    fn kinds_and_names_that_cannot_be_are_refused() {
        for kind in ["", "string", "Text", "int8", "ref", "text=5"] {
            let refusal = refusal(&format!("a:{kind}"));
            assert!(refusal.contains("kinds: text"), "{refusal}");
        }
        assert!(refusal("a").contains("the kind is missing"));
        assert!(refusal("ID:int").contains("`id` already"));
        assert!(refusal("ctid:int").contains("PostgreSQL keeps"));
        assert!(refusal("self:int").contains("reserved word"));
        assert!(refusal("a b;:int").contains("is not a name"));
    }

    #[test]
    fn old_rows_get_an_allowed_value() {
        for (typed, default) in [
            ("a:text", Some("'unknown'")),
            ("a:text:max=6", Some("'-'")),
            ("a:int", Some("0")),
            ("a:int:min=-3:max=-1", Some("-1")),
            ("a:int:min=7", Some("7")),
            ("a:float:min=0.5", Some("0.5")),
            ("a:money:min=2", Some("200")),
            ("a:bool", Some("FALSE")),
            ("a:date", Some("'1970-01-01'")),
            ("a:time", Some("'1970-01-01 00:00:00'")),
            ("a:int:null", None),
            ("a:ref=b", None),
        ] {
            let field = Field::parse(typed, 1).unwrap();
            assert_eq!(field.default.as_deref(), default, "{typed}");
        }
        let book = Name::module("book").unwrap();
        for (typed, part) in [
            ("a:ref=b", "which row they should lead to"),
            ("a:text:unique", "all get the same value"),
        ] {
            let field = Field::parse(typed, 1).unwrap();
            let refusal = fits_rows(&book, &field).unwrap_err().to_string();
            assert!(
                refusal.contains(part) && refusal.contains("add :null"),
                "{refusal}"
            );
            let field = Field::parse(&format!("{typed}:null"), 1).unwrap();
            assert!(fits_rows(&book, &field).is_ok());
        }
    }

    #[test]
    fn fields_of_a_module_differ_and_can_be_stored() {
        let book = Name::module("book").unwrap();
        let all = |typed: &[&str]| {
            let typed: Vec<String> = typed.iter().map(|it| (*it).to_owned()).collect();
            parse_all(&book, &typed).map(|fields| fields.len())
        };
        assert_eq!(all(&["a:int", "b:int"]).unwrap(), 2);
        assert_eq!(all(&["parent:ref=book:null"]).unwrap(), 1);
        for (typed, part) in [
            (
                &["bookName:int", "book-name:text"][..],
                "two fields `book_name`",
            ),
            (
                &["author:ref=author", "author_id:int"],
                "two fields `author_id`",
            ),
            (&["parent:ref=books"], "'parent_id:ref=book:null'"),
            (&[], "at least one"),
        ] {
            let refusal = all(typed).unwrap_err().to_string();
            assert!(refusal.contains(part), "{refusal}");
        }
        let long = Name::module(&"b".repeat(30)).unwrap();
        let typed = [format!("{}:int", "f".repeat(30))];
        let refusal = parse_all(&long, &typed).unwrap_err().to_string();
        assert!(refusal.contains("longer than 57"), "{refusal}");
    }
}
