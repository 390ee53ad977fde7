//! `new`, on small templates: what a generator can do wrong to a project. The real
//! templates are tried in `generated.rs`.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Project, outcome, snapshot, text};
use tempfile::TempDir;

type Snapshot = BTreeMap<PathBuf, Vec<u8>>;

/// Templates that show what they are given.
const TEMPLATES: [(&str, &str); 13] = [
    (
        "app/Cargo.toml.jinja",
        "[package]\nname = \"{{ app.name }}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
         [package.metadata.marketsvc]\ndatabase = \"{{ db }}\"\n\n[workspace]\n\n\
         [dependencies]\nfutures.path = \"futures\"\n",
    ),
    (
        "app/futures/Cargo.toml",
        "[package]\nname = \"futures\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    ),
    ("app/futures/src/lib.rs", ""),
    ("app/.gitignore", "/target\n"),
    (
        "app/src/lib.rs.jinja",
        "//! {{ app.title }} on {{ db }}.\n\n// begin modules: sorted\n// end modules\n",
    ),
    (
        "app/src/main.rs.jinja",
        "use {{ app.ident }} as _;\n\nfn main() {}\n",
    ),
    (
        "app/src/health.rs",
        "pub struct Health;\n\npub const ROUTES: [&str; 1] = [\"/healthz\"];\n",
    ),
    (
        "module/files/src/{{ module.folder }}/entity.rs.jinja",
        "pub struct {{ module.entity }} {\n    pub id: i64,\n    // begin fields\n\
         {% for field in fields %}\n    pub {{ field.ident }}: \
         {{ \"Option<\" ~ field.rust ~ \">\" if field.null else field.rust }},\n{% endfor %}\n    \
         // end fields\n}\n",
    ),
    (
        "module/files/migrations/{{ number }}_{{ module.table }}.sql.jinja",
        "CREATE TABLE {{ module.table | sql }} (\n    id INTEGER PRIMARY KEY\
         {% for field in fields %},\n    {{ field.name | sql }}{% endfor %}\n\n);\n",
    ),
    (
        "module/files/tests/{{ module.folder }}.rs.jinja",
        "// {{ module.title }} at /{{ module.route }}\n",
    ),
    (
        "module/lines.jinja",
        "@sorted src/lib.rs modules\npub mod {{ module.folder }};\n",
    ),
    (
        "field/files/migrations/{{ number }}_{{ module.table }}_{{ field.name }}.sql.jinja",
        "ALTER TABLE {{ module.table | sql }} ADD COLUMN {{ field.name | sql }}\
         {{ \" DEFAULT \" ~ field.default if field.default is not none else \"\" }};\n",
    ),
    (
        "field/lines.jinja",
        "@last src/{{ module.folder }}/entity.rs fields\n    pub {{ field.ident }}: \
         {{ \"Option<\" ~ field.rust ~ \">\" if field.null else field.rust }},\n",
    ),
];

/// The project with these templates, and a folder elsewhere for applications.
struct Place {
    project: Project,
    elsewhere: TempDir,
}

impl Place {
    fn new() -> Self {
        let project = Project::new();
        for (file, text) in TEMPLATES {
            project.write(&format!("tools/coach/templates/{file}"), text);
        }
        Self {
            project,
            elsewhere: tempfile::tempdir().unwrap(),
        }
    }

    /// As [`Self::new`], with an application in the folder `shop`.
    fn with_shop() -> Self {
        let place = Self::new();
        place.done("", &["app", "shop"]);
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.elsewhere.path().canonicalize().unwrap().join(path)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// `./run.sh new` with these arguments, in a folder elsewhere.
    fn new_in(&self, folder: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = self.project.command(env!("CARGO_BIN_EXE_coach"));
        command
            .current_dir(self.path(folder))
            .arg("--root")
            .arg(self.project.root())
            .arg("new")
            .args(arguments)
            // Nothing may be kept there.
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_DATA_HOME", self.path("data"));
        outcome(&command.output().unwrap())
    }

    fn done(&self, folder: &str, arguments: &[&str]) -> String {
        let (code, out, err) = self.new_in(folder, arguments);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        out
    }

    /// Fails with this code and says this, and nothing is written anywhere.
    fn refused(&self, folder: &str, arguments: &[&str], code: i32, part: &str) {
        let before = (snapshot(&self.path("")), self.project_files());
        let (got, out, err) = self.new_in(folder, arguments);
        assert_eq!(
            (got, out.as_str()),
            (Some(code), ""),
            "{arguments:?}: {err}"
        );
        assert!(err.contains(part), "{arguments:?}: {err}");
        assert_eq!((snapshot(&self.path("")), self.project_files()), before);
    }

    fn project_files(&self) -> Snapshot {
        snapshot(&self.project.root())
    }
}

/// What a file has in `after` that it has not in `before`; the rest must be the same.
fn added(before: &str, after: &str) -> Vec<String> {
    let mut rest = before.split_inclusive('\n').peekable();
    let mut new = Vec::new();
    for line in after.split_inclusive('\n') {
        if rest.peek() == Some(&line) {
            rest.next();
        } else {
            new.push(line.to_owned());
        }
    }
    assert_eq!(rest.next(), None, "lines are missing in:\n{after}");
    new
}

#[test]
fn an_application_a_module_and_a_field() {
    let place = Place::new();
    let out = place.done("", &["app", "my-shop", "--db", "postgres"]);
    assert!(out.contains("an application for PostgreSQL"), "{out}");
    assert!(out.contains("as my-shop/README.md says"), "{out}");
    assert_eq!(
        place.read("my-shop/src/lib.rs"),
        "//! My Shop on postgres.\n\n// begin modules: sorted\n// end modules\n"
    );
    assert_eq!(place.read("my-shop/.gitignore"), "/target\n");
    assert_eq!(
        place.read("my-shop/src/main.rs"),
        "use my_shop as _;\n\nfn main() {}\n"
    );
    let lock = place.read("my-shop/Cargo.lock");
    assert!(lock.contains("name = \"my-shop\""), "{lock}");
    assert!(!lock.contains("marketsvc"), "{lock}");
    // Nothing that is not in the templates.
    let there: Vec<_> = snapshot(&place.path("")).into_keys().collect();
    assert_eq!(there.len(), 8, "{there:?}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &str| fs::metadata(place.path(path)).unwrap().permissions().mode();
        fs::create_dir(place.path("usual")).unwrap();
        place.write("usual/file", "");
        assert_eq!(mode("my-shop"), mode("usual"));
        assert_eq!(mode("my-shop/Cargo.toml"), mode("usual/file"));
    }

    let out = place.done(
        "my-shop",
        &["module", "Authors", "--field", "name:text:unique"],
    );
    assert_eq!(
        out,
        "written   migrations/0001_authors.sql\nwritten   src/authors/entity.rs\n\
         written   tests/authors.rs\nchanged   src/lib.rs\n\
         added     the module author with the table authors and the endpoints /author\n\
         try it    cargo test, and cargo run: the migration runs at the next start\n"
    );
    place.done(
        "my-shop",
        &[
            "module",
            "ORDER_ITEM",
            "--field",
            "author:ref=author",
            "--field",
            "type:int:null",
        ],
    );
    assert_eq!(
        place.read("my-shop/src/order_items/entity.rs"),
        "pub struct OrderItem {\n    pub id: i64,\n    // begin fields\n    pub author_id: i64,\n    \
         pub r#type: Option<i64>,\n    // end fields\n}\n"
    );
    assert_eq!(
        place.read("my-shop/tests/order_items.rs"),
        "// Order item at /order-item\n"
    );
    let out = place.done("my-shop", &["field", "order-items", "Order:text"]);
    assert!(
        out.ends_with(
            "added     the field order to order_item; rows that are there get 'unknown'\n\
         try it    cargo test, and cargo run: the migration runs at the next start\n"
        ),
        "{out}"
    );
    assert_eq!(
        place.read("my-shop/migrations/0003_order_items_order.sql"),
        "ALTER TABLE order_items ADD COLUMN \"order\" DEFAULT 'unknown';\n"
    );
    let entity = place.read("my-shop/src/order_items/entity.rs");
    assert!(
        entity.contains("    pub order: String,\n    // end fields"),
        "{entity}"
    );
    // The next number follows the greatest one, however the file came there.
    place.write("my-shop/migrations/0041_mine.sql", "SELECT 1;\n");
    place.done("my-shop", &["field", "author", "born:date:null"]);
    assert!(
        place
            .path("my-shop/migrations/0042_authors_born.sql")
            .is_file()
    );
}

#[test]
fn a_wrong_word_is_refused_before_anything_is_written() {
    let place = Place::with_shop();
    place.done("shop", &["module", "author", "--field", "name:text"]);
    for (field, part) in [
        ("a:text:uniq", "there is no modifier \"uniq\""),
        ("a:text:null:null", "given twice"),
        ("a:varchar", "there is no kind \"varchar\""),
        ("a:int:max=x", "needs a whole number"),
        ("id:int", "every module has the field `id` already"),
        ("self:int", "a reserved word of Rust"),
        ("a-b.c:int", "is not a name"),
        ("a:ref=publisher", "the modules are: author"),
        ("good:text", "two fields `good`"),
    ] {
        let fields = ["--field", "good:int", "--field", field];
        let arguments = [&["module", "book"][..], &fields].concat();
        place.refused("shop", &arguments, 2, part);
    }
    for (arguments, part) in [
        (&["module", "book"][..], "at least one"),
        (&["module", "crate", "--field", "a:int"], "reserved word"),
        (
            &["module", "author", "--field", "a:int"],
            "there is a module author already, in src/authors",
        ),
        (
            &["module", "Author", "--field", "a:int"],
            "there is a module author already, in src/authors",
        ),
        (
            &["module", "healthz", "--field", "a:int"],
            "the path \"/healthz\" is taken, in src/health.rs",
        ),
        (
            &["module", "health", "--field", "a:int"],
            "a type `Health`, and so has src/health.rs",
        ),
        (
            &["module", "option", "--field", "a:int:null"],
            "its code uses another type",
        ),
        (
            &["module", "future", "--field", "a:int"],
            "a crate of that name",
        ),
        (&["field", "book", "a:int"], "the modules are: author"),
        (
            &["field", "author", "name:int"],
            "has a field `name` already",
        ),
        (&["field", "author", "a:int:uniq"], "there is no modifier"),
        (&["field", "author", "a:ref=author"], "allow null"),
        (&["field", "author", "a:text:unique"], "add :null"),
    ] {
        place.refused("shop", arguments, 2, part);
    }
    place.write("shop/src/keys.rs", "");
    place.refused(
        "shop",
        &["module", "key", "--field", "a:int"],
        2,
        "src/keys.rs exists already",
    );
    // What a command leaves that is killed before it changes src/app.rs.
    place.write("shop/src/app.rs", "use crate::authors::routes;");
    place.write("shop/src/boxes/entity.rs", "pub struct Box;");
    place.refused(
        "shop",
        &["module", "box", "--field", "a:int"],
        2,
        "src/boxes exists already, and the module box would be there; choose another name, or \
         remove what a command that was killed has left: git status shows it",
    );
    place.write(
        "shop/migrations/0009_mine.sql",
        "create table if not exists `books` (id int);",
    );
    place.refused(
        "shop",
        &["module", "book", "--field", "a:int"],
        2,
        "by migrations/0009_mine.sql",
    );
}

#[test]
fn a_name_that_begins_another_is_another() {
    for order in [["book", "bookmark"], ["bookmark", "book"]] {
        let place = Place::with_shop();
        for name in order {
            place.done("shop", &["module", name, "--field", "a:int"]);
        }
        let lib = place.read("shop/src/lib.rs");
        let sorted =
            "// begin modules: sorted\npub mod bookmarks;\npub mod books;\n// end modules\n";
        assert!(lib.ends_with(sorted), "{lib}");
        place.done("shop", &["field", order[0], "b:ref=bookmark:null"]);
        place.done("shop", &["field", order[1], "bb:int"]);
        place.done("shop", &["field", order[1], "b:int"]);
    }
}

#[test]
fn changes_made_by_hand_stay() {
    let place = Place::with_shop();
    // Comments, an import over several lines, line ends of Windows, no line end at last.
    let mine = "//! Mine\r\nuse std::{\r\n    fmt, // why\r\n    io,\r\n};\r\n\r\n\
                // begin modules: sorted, but for my words\r\n// authors are people\r\npub mod a; // first\r\n\r\n\
                pub mod z;\r\n// end modules\r\npub use fmt as _;";
    place.write("shop/src/lib.rs", mine);
    place.done("shop", &["module", "book", "--field", "a:int"]);
    let after = place.read("shop/src/lib.rs");
    assert_eq!(added(mine, &after), ["pub mod books;\r\n"]);
    assert!(
        after.contains("\r\n\r\npub mod books;\r\npub mod z;"),
        "{after}"
    );
    let entity = "shop/src/books/entity.rs";
    let mine = place
        .read(entity)
        .replace("pub id", "// the key\n    pub id");
    let mine = mine + "\nimpl Book {}\n";
    place.write(entity, &mine);
    place.done("shop", &["field", "book", "b:int"]);
    assert_eq!(added(&mine, &place.read(entity)), ["    pub b: i64,\n"]);
}

#[test]
fn without_markers_the_lines_are_shown_and_can_be_pasted() {
    let place = Place::with_shop();
    let command = ["module", "book", "--field", "a:int"];
    for lib in [
        "pub mod other;\n",
        "// begin modules\n",
        "// end modules\n// begin modules\n",
        "// begin modules\n// end modules\n// begin modules\n// end modules\n",
    ] {
        place.write("shop/src/lib.rs", lib);
        let shown = "in src/lib.rs, between the lines `// begin modules` and `// end modules`:\n\
                     pub mod books;\n";
        place.refused("shop", &command, 1, shown);
    }
    fs::remove_file(place.path("shop/src/lib.rs")).unwrap();
    place.refused("shop", &command, 1, "pub mod books;");
    let mine = "pub mod books;\npub mod other;\n";
    place.write("shop/src/lib.rs", mine);
    place.done("shop", &command);
    assert_eq!(place.read("shop/src/lib.rs"), mine);

    let entity = "shop/src/books/entity.rs";
    let whole = place.read(entity);
    place.write(entity, &whole.replace("// end fields", ""));
    place.refused("shop", &["field", "book", "b:int"], 1, "    pub b: i64,\n");
}

#[test]
fn what_is_there_is_not_overwritten() {
    let place = Place::with_shop();
    place.write("shop/tests/books.rs", "// mine\n");
    let command = ["module", "book", "--field", "a:int"];
    place.refused("shop", &command, 1, "tests/books.rs exists already");
    place.refused("", &["app", "shop"], 2, "is not an empty folder");
    place.refused("shop", &["app", "."], 2, "is not an empty folder");
    place.write("file", "");
    place.refused("", &["app", "file"], 2, "is not an empty folder");
    place.refused("", &["app", "no/where"], 2, "make it first");
    place.refused("", &["app", "axum.rs"], 2, "is not a name");
    let inside = place.project.path("steps/shop");
    place.refused(
        "",
        &["app", inside.to_str().unwrap()],
        2,
        "is inside this project",
    );
    // An empty folder is as good as none, also the one that we stand in.
    fs::create_dir_all(place.path("Empty")).unwrap();
    place.done("Empty", &["app", "."]);
    assert!(place.read("Empty/Cargo.toml").contains("name = \"empty\""));
    assert_eq!(fs::read_dir(place.path("Empty")).unwrap().count(), 5);
}

#[test]
fn a_failure_half_way_leaves_nothing() {
    let place = Place::with_shop();
    // There cannot be a folder of this name, and it is the last of the new files.
    place.write("shop/tests", "a file\n");
    place.refused(
        "shop",
        &["module", "book", "--field", "a:int"],
        3,
        "nothing was changed",
    );
    assert!(!place.path("shop/src/books").exists());
    assert!(!place.path("shop/migrations").exists());
    // A template with a mistake, before anything is written.
    place.project.write(
        "tools/coach/templates/module/files/z.jinja",
        "{{ module.nothing }}",
    );
    fs::remove_file(place.path("shop/tests")).unwrap();
    place.refused(
        "shop",
        &["module", "book", "--field", "a:int"],
        3,
        "z.jinja:1",
    );
    place
        .project
        .write("tools/coach/templates/app/z.jinja", "{{ app.nothing }}");
    place.refused("", &["app", "other"], 3, "z.jinja:1");
}

#[test]
fn the_folder_that_one_is_in_does_not_matter() {
    let place = Place::with_shop();
    place.done("shop/src", &["module", "author", "--field", "name:text"]);
    place.done("shop/src/authors", &["field", "author", "a:int"]);
    place.done(
        "",
        &["module", "book", "--field", "a:int", "--app", "shop/src"],
    );
    assert!(!place.path("shop/src/src").exists());
    assert!(place.path("shop/src/books/entity.rs").is_file());
    assert_eq!(
        place
            .read("shop/src/authors/entity.rs")
            .matches("pub a: i64")
            .count(),
        1
    );
    place.refused(
        "",
        &["module", "b", "--field", "a:int"],
        2,
        "no application here",
    );
    // A package that is somebody else's.
    place.write("other/Cargo.toml", "[package]\nname = \"other\"\n");
    place.write("other/src/lib.rs", "");
    place.refused(
        "other/src",
        &["field", "b", "a:int"],
        2,
        "no application here",
    );
}

#[test]
fn applications_do_not_disturb_each_other_and_nothing_is_kept_elsewhere() {
    let place = Place::new();
    let before = place.project_files();
    for (name, database) in [("one", "sqlite"), ("two", "mysql")] {
        place.done("", &["app", name, "--db", database]);
    }
    for name in ["one", "two", "one"] {
        let field = format!(
            "{}:text",
            if place.path("one/src/keys").exists() {
                "b"
            } else {
                "a"
            }
        );
        let module = if field == "b:text" { "key2" } else { "key" };
        place.done(
            name,
            &["module", module, "--field", &field, "--field", "key:int"],
        );
    }
    let sql = |app: &str| place.read(&format!("{app}/migrations/0001_keys.sql"));
    assert!(sql("one").contains("\"key\""), "{}", sql("one"));
    assert_eq!(place.project_files(), before);
    let there = fs::read_dir(place.path("")).unwrap();
    let mut there: Vec<_> = there.map(|it| it.unwrap().file_name()).collect();
    there.sort_unstable();
    assert_eq!(there, ["one", "two"], "nothing beside the applications");
}

/// What a dry run prints, applied by git, is what the command writes.
#[test]
fn a_dry_run_shows_what_would_be_written_and_writes_nothing() {
    let place = Place::with_shop();
    place.write(
        "shop/src/lib.rs",
        "// begin modules\r\npub mod a;\r\n// end modules",
    );
    place.done("shop", &["module", "author", "--field", "a:int"]);
    let commands = [
        &["module", "book", "--field", "a:text:null"][..],
        &["field", "author", "b:int"],
    ];
    for command in commands {
        let before = snapshot(&place.path(""));
        let patch = place.done("shop", &[command, &["--dry-run"]].concat());
        assert_eq!(snapshot(&place.path("")), before);
        place.done("shop", command);
        let after = snapshot(&place.path(""));
        write_all(&place.path(""), &before, &after);
        apply(&place.path("shop"), &patch);
        assert_eq!(snapshot(&place.path("")), after, "{patch}");
    }
    let patch = place.done("", &["app", "other", "--dry-run"]);
    assert!(!place.path("other").exists());
    place.done("", &["app", "other"]);
    fs::create_dir(place.path("patched")).unwrap();
    apply(&place.path("patched"), &patch);
    assert_eq!(
        snapshot(&place.path("patched")),
        snapshot(&place.path("other"))
    );
}

/// Brings back the files as they were `before`.
fn write_all(folder: &Path, before: &Snapshot, now: &Snapshot) {
    for file in now.keys().filter(|file| !before.contains_key(*file)) {
        fs::remove_file(folder.join(file)).unwrap();
    }
    for (file, bytes) in before {
        fs::write(folder.join(file), bytes).unwrap();
    }
}

fn apply(folder: &Path, patch: &str) {
    let file = folder.with_extension("patch");
    fs::write(&file, patch).unwrap();
    let output = Command::new("git")
        .args(["apply", "--whitespace=nowarn"])
        .arg(&file)
        .current_dir(folder)
        .env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap())
        .output()
        .unwrap();
    fs::remove_file(file).unwrap();
    assert!(output.status.success(), "{}{patch}", text(&output.stderr));
}
