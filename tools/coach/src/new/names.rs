//! Names: from what was typed, in any case, to those of Rust, SQL and the URL.

use heck::{ToKebabCase, ToSnakeCase, ToTitleCase, ToUpperCamelCase};
use serde::Serialize;

use crate::trouble::Trouble;

/// The longest name that is accepted.
const LONGEST: usize = 40;

/// The reserved words of Rust, in small letters.
const RUST: &str = "abstract as async await become box break const continue crate do dyn else
    enum extern false final fn for gen if impl in let loop macro match mod move mut override
    priv pub ref return self static struct super trait true try type typeof unsafe unsized use
    virtual where while yield";

/// Reserved words that `r#` does not help.
const NEVER_RAW: [&str; 3] = ["crate", "self", "super"];

/// The reserved words of SQLite, PostgreSQL, MySQL and MariaDB. A word that only one of
/// them reserves is quoted for all, which does no harm.
const SQL: &str = "abort accessible action add after all alter always analyse analyze and any
    array as asc asensitive asymmetric attach authorization autoincrement before begin between
    bigint binary blob body both by call cascade case cast change char character check collate
    collation column commit concurrently condition conflict constraint continue convert create
    cross cube cume_dist current current_catalog current_date current_role current_schema
    current_time current_timestamp current_user cursor database databases day_hour
    day_microsecond day_minute day_second dec decimal declare default deferrable deferred delayed
    delete delete_domain_id dense_rank desc describe detach deterministic distinct distinctrow
    div do do_domain_ids double drop dual each else elseif elsif empty enclosed end escape
    escaped except exclude exclusive exists exit explain fail false fetch filter first
    first_value float float4 float8 following for force foreign freeze from full fulltext function
    general generated get glob goto grant group grouping groups having high_priority history
    hour_microsecond hour_minute hour_second if ignore ignore_domain_ids ignore_server_ids ilike
    immediate in index indexed infile initially inner inout insensitive insert instead int int1
    int2 int3 int4 int8 integer intersect interval into io_after_gtids io_before_gtids is isnull
    iterate join json_table key keys kill lag last last_value lateral lead leading leave left like
    limit linear lines load localtime localtimestamp lock long longblob longtext loop
    low_priority manual master_bind master_heartbeat_period master_ssl_verify_server_cert match
    materialized maxvalue mediumblob mediumint mediumtext middleint minute_microsecond
    minute_second mod modifies natural no no_write_to_binlog not nothing notnull nth_value ntile
    null nulls numeric of off offset on only optimize optimizer_costs option optionally or order
    others out outer outfile over overlaps package page_checksum parallel parse_vcol_expr partition
    percent_rank period placing plan portion position pragma preceding precision primary procedure
    purge qualify query raise range rank read read_write reads real recursive ref_system_id references
    regexp reindex release rename repeat replace require resignal restrict return returning
    revoke right rlike rollback row row_number rowcount rownum rows rowtype savepoint schema schemas
    second_microsecond select sensitive separator session_user set show signal similar slow
    smallint some spatial specific sql sql_big_result sql_calc_found_rows sql_small_result
    sqlexception sqlstate sqlwarning ssl starting stats_auto_recalc stats_persistent
    stats_sample_pages stored straight_join symmetric sysdate system system_user system_versioning
    table tablesample temp temporary terminated then ties tinyblob tinyint tinytext to
    trailing transaction trigger true unbounded undo union unique unlock unsigned update usage use
    user using utc_date utc_time utc_timestamp vacuum value values varbinary varchar varcharacter
    variadic varying verbose versioning view virtual when where while window with without write
    xor year_month zerofill";

/// The names of one thing, in all the places where it is named.
#[allow(
    clippy::struct_field_names,
    reason = "templates call it so: module.name"
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Name {
    /// `order_item`: in JSON, in SQL and for people.
    pub name: String,
    /// The same in Rust: `order_item`, or `r#type`.
    pub ident: String,
    /// `order-item`: in paths and names of packages.
    pub route: String,
    /// `Order item`, to begin a sentence or a heading with.
    pub title: String,
    /// `OrderItem`: the type in Rust.
    pub entity: String,
    /// `order_items`: the table.
    pub table: String,
    /// `order_items`: the folder, which is the module in Rust.
    pub folder: String,
}

impl Name {
    /// The name that was typed. `what` says of whom, for the message of a refusal.
    pub fn new(what: &str, typed: &str) -> Result<Self, Trouble> {
        let refused = |why: String| Trouble::usage(format!("{what} \"{typed}\" {why}"));
        let fits = |it: char| it.is_ascii_alphanumeric() || " -_".contains(it);
        if !typed.starts_with(|it: char| it.is_ascii_alphabetic()) || !typed.chars().all(fits) {
            return Err(refused(
                "is not a name: it begins with a letter from a to z, and letters, digits, - and _ \
                 follow, as in order_item, order-item or OrderItem"
                    .into(),
            ));
        }
        let name = typed.to_snake_case();
        if name.len() > LONGEST {
            return Err(refused(format!("is longer than {LONGEST} characters")));
        }
        if NEVER_RAW.contains(&&*name) {
            return Err(refused(
                "cannot be used: it is a reserved word of Rust, even with r# before it; \
                 choose another name"
                    .into(),
            ));
        }
        let ident = if is_in(&name, RUST) {
            format!("r#{name}")
        } else {
            name.clone()
        };
        let mut title = name.replace('_', " ");
        title[..1].make_ascii_uppercase();
        let table = plural(&name);
        Ok(Self {
            ident,
            route: name.to_kebab_case(),
            title,
            entity: name.to_upper_camel_case(),
            folder: table.clone(),
            table,
            name,
        })
    }

    /// The name of a module, which may be typed in the plural.
    pub fn module(typed: &str) -> Result<Self, Trouble> {
        let Self { name, .. } = Self::new("module", typed)?;
        let name = Self::new("module", &singular(&name))?;
        if is_in(&name.folder, RUST) {
            return Err(Trouble::usage(format!(
                "module \"{typed}\" cannot be used: its folder would be src/{}, which is a \
                 reserved word of Rust; choose another name",
                name.folder
            )));
        }
        if name.table.starts_with("sqlite_") {
            return Err(Trouble::usage(format!(
                "module \"{typed}\" cannot be used: SQLite keeps names that begin with sqlite_ \
                 for itself; choose another name"
            )));
        }
        Ok(name)
    }
}

/// `My Shop` out of `my-shop`.
pub fn title(name: &str) -> String {
    name.to_title_case()
}

/// Whether the word is in the list.
fn is_in(word: &str, list: &str) -> bool {
    list.split_whitespace().any(|it| it == word)
}

/// Whether a crate cannot have this name: rustc could not name it without `r#`.
pub fn is_reserved(name: &str) -> bool {
    is_in(name, RUST)
}

/// A column or a table as it is written in SQL: a reserved word has quotes.
pub fn sql(name: &str, quote: char) -> String {
    if is_in(name, SQL) {
        format!("{quote}{name}{quote}")
    } else {
        name.to_owned()
    }
}

// ---- one and many

/// Words whose plural no rule makes.
const IRREGULAR: &[(&str, &str)] = &[
    ("analysis", "analyses"),
    ("axis", "axes"),
    ("basis", "bases"),
    ("child", "children"),
    ("crisis", "crises"),
    ("criterion", "criteria"),
    ("diagnosis", "diagnoses"),
    ("foot", "feet"),
    ("goose", "geese"),
    ("half", "halves"),
    ("hero", "heroes"),
    ("hypothesis", "hypotheses"),
    ("knife", "knives"),
    ("leaf", "leaves"),
    ("life", "lives"),
    ("loaf", "loaves"),
    ("man", "men"),
    ("matrix", "matrices"),
    ("medium", "media"),
    ("mouse", "mice"),
    ("person", "people"),
    ("potato", "potatoes"),
    ("quiz", "quizzes"),
    ("shelf", "shelves"),
    ("synthesis", "syntheses"),
    ("thesis", "theses"),
    ("thief", "thieves"),
    ("tomato", "tomatoes"),
    ("tooth", "teeth"),
    ("vertex", "vertices"),
    ("wife", "wives"),
    ("wolf", "wolves"),
    ("woman", "women"),
];

/// Words that are one and many, or that have no plural.
const UNCOUNTED: &str = "advice aircraft cash data equipment feedback fish information metadata
    money moose news rice series sheep software species staff stuff";

/// Words in `s` that are singular, although they do not end as such words mostly do.
const SINGULAR: &str = "alias atlas bias canvas gas lens";

/// Words whose plural in `ies`, `ches`, `xes` or `uses` has lost only its last letter.
const KEEP_E: &str = "ache avalanche axe cache cookie excuse fuse genie headache hoodie movie niche
    pie rookie selfie smoothie tie use zombie";

/// The plural of a name's last word: `order_items`.
pub fn plural(name: &str) -> String {
    let (before, word) = split(name);
    if is_in(word, UNCOUNTED) {
        return name.to_owned();
    }
    if let Some((_, many)) = IRREGULAR.iter().find(|(one, _)| *one == word) {
        return format!("{before}{many}");
    }
    let hisses = ["s", "x", "z", "ch", "sh"];
    if let Some(stem) = word.strip_suffix('y')
        && stem.ends_with(|it| !"aeiou".contains(it))
    {
        format!("{before}{stem}ies")
    } else if hisses.iter().any(|end| word.ends_with(end)) {
        format!("{name}es")
    } else {
        format!("{name}s")
    }
}

/// The singular of a name's last word, which may be singular already.
pub fn singular(name: &str) -> String {
    let (before, word) = split(name);
    if is_in(word, UNCOUNTED) || is_in(word, SINGULAR) {
        return name.to_owned();
    }
    if let Some((one, _)) = IRREGULAR.iter().find(|(_, many)| *many == word) {
        return format!("{before}{one}");
    }
    let Some(less) = word.strip_suffix('s') else {
        return name.to_owned();
    };
    // `address`, `status`, `basis` and `s` itself.
    let is_one = less.ends_with(['s', 'u', 'i']) && !is_in(less, "guru kiwi menu taxi");
    if less.is_empty() || is_one {
        return name.to_owned();
    }
    let Some(stem) = less.strip_suffix('e').filter(|_| !is_in(less, KEEP_E)) else {
        return format!("{before}{less}");
    };
    let hisses = ["ss", "x", "tz", "ch", "sh"];
    if let Some(stem) = stem.strip_suffix('i').filter(|it| !it.is_empty()) {
        return format!("{before}{stem}y");
    }
    // `statuses`, and not `houses` or `causes`.
    let in_us = stem.ends_with("us") && !stem.ends_with("ous") && !stem.ends_with("aus");
    if in_us || is_in(stem, SINGULAR) || hisses.iter().any(|end| stem.ends_with(end)) {
        return format!("{before}{stem}");
    }
    format!("{before}{less}")
}

/// What is before a name's last word, and that word.
fn split(name: &str) -> (&str, &str) {
    name.split_at(name.rfind('_').map_or(0, |at| at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_case_becomes_the_same_names() {
        let expected = Name::module("order_item").unwrap();
        assert_eq!(expected.name, "order_item");
        assert_eq!(expected.ident, "order_item");
        assert_eq!(expected.route, "order-item");
        assert_eq!(expected.title, "Order item");
        assert_eq!(expected.entity, "OrderItem");
        assert_eq!(expected.table, "order_items");
        for typed in [
            "OrderItem",
            "orderItem",
            "order-items",
            "ORDER_ITEM",
            "Order Items",
            "OrderItems",
            "order_items",
        ] {
            assert_eq!(Name::module(typed).unwrap(), expected, "{typed}");
        }
    }

    #[test]
    fn one_and_many_lead_back_to_each_other() {
        let words = "book=books category=categories day=days box=boxes branch=branches
            dish=dishes class=classes address=addresses status=statuses bus=buses virus=viruses
            house=houses warehouse=warehouses cause=causes clause=clauses case=cases
            database=databases purchase=purchases license=licenses response=responses
            course=courses size=sizes prize=prizes quiz=quizzes cache=caches movie=movies
            cookie=cookies tie=ties use=uses hero=heroes photo=photos shoe=shoes person=people
            child=children woman=women shelf=shelves curve=curves index=indexes matrix=matrices
            analysis=analyses alias=aliases canvas=canvases lens=lenses idea=ideas area=areas
            sheep=sheep series=series data=data news=news key=keys company=companies
            employee=employees file=files page=pages note=notes menu=menus tax=taxes s=ses y=ys";
        for pair in words.split_whitespace() {
            let (one, many) = pair.split_once('=').unwrap();
            assert_eq!(plural(one), many, "the plural of {one}");
            assert_eq!(singular(one), one, "the singular of {one}");
            if one.len() > 1 {
                assert_eq!(singular(many), one, "the singular of {many}");
            }
            let (one, many) = (format!("order_{one}"), format!("order_{many}"));
            assert_eq!(plural(&one), many);
        }
    }

    #[test]
    fn reserved_words_are_escaped_or_refused() {
        for word in ["type", "match", "gen", "try", "async", "Self_"] {
            match Name::new("field", word) {
                Ok(name) => assert_eq!(name.ident, format!("r#{word}")),
                Err(trouble) => assert!(trouble.to_string().contains("reserved word of Rust")),
            }
        }
        for word in ["self", "Self", "super", "crate"] {
            let trouble = Name::new("field", word).unwrap_err();
            assert_eq!(trouble.code, 2);
            assert!(
                trouble.to_string().contains("reserved word of Rust"),
                "{trouble}"
            );
        }
        assert_eq!(sql("order", '"'), "\"order\"");
        assert_eq!(sql("key", '`'), "`key`");
        assert_eq!(sql("book_name", '"'), "book_name");
        // The plural of a module can be reserved, too.
        assert!(Name::module("a").is_err());
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for typed in [
            "", "2fa", "_x", "-x", "a.b", "a/b", "größe", "a\nb", "x'; --",
        ] {
            let trouble = Name::module(typed).unwrap_err();
            assert!(trouble.to_string().contains("is not a name"), "{trouble}");
        }
        let long = "a".repeat(LONGEST + 1);
        let trouble = Name::module(&long).unwrap_err();
        assert!(trouble.to_string().contains("longer than"), "{trouble}");
    }
}
