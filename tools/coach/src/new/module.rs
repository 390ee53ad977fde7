//! `new module` and `new field`: additions to an application that exists.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use minijinja::Value;
use minijinja::value::Serde;
use serde_json::json;

use super::fields::{self, Field};
use super::names::{self, Name};
use super::plan::{Files, Plan};
use super::render::{self, Renderer};
use super::{App, Common, Database, metadata};
use crate::project::Project;
use crate::screen;
use crate::trouble::Trouble;

/// What an application's manifest says of it: `[package.metadata.marketsvc]`, `database`.
const MARK: &str = "marketsvc";

/// The name of a module that nobody would give to one.
const OTHER: &str = "name_of_another";

/// An application that `new app` has made.
struct Application {
    folder: PathBuf,
    app: App,
    database: Database,
    /// The crates that it uses.
    crates: Vec<String>,
    /// Its Rust code and its migrations, by path.
    sources: Vec<(PathBuf, String)>,
}

/// Adds a module with these fields.
pub fn module(
    project: &Project,
    name: &str,
    typed: &[String],
    common: &Common,
) -> Result<(), Trouble> {
    let module = Name::module(name)?;
    let fields = fields::parse_all(&module, typed)?;
    let application = Application::find(project, common)?;
    application.has_room_for(&module)?;
    for field in &fields {
        application.has_target_of(field, &module)?;
    }
    let number = application.next_migration()?;
    let renderer = Renderer::new(project, application.database)?;
    let Application { app, database, .. } = &application;
    let context = |module: &Name| {
        Value::from(Serde(json!({
            "app": app, "db": database, "number": number, "module": module, "fields": fields,
        })))
    };
    // The code that another module would have names the types that this one must not have.
    let other = Name::module(OTHER)?;
    let others = renderer.tree("module/files", &context(&other))?;
    let context = context(&module);
    let files = renderer.tree("module/files", &context)?;
    application.has_no_type_of(&files, &others)?;
    application.carry_out(&renderer, files, "module/lines.jinja", &context, common)?;
    if !common.dry_run {
        screen::print(&format!(
            "added     the module {} with the table {} and the endpoints /{}\n\
             try it    cargo test, and cargo run: the migration runs at the next start\n",
            module.name, module.table, module.route
        ));
    }
    Ok(())
}

/// Adds a field to a module.
pub fn field(project: &Project, name: &str, typed: &str, common: &Common) -> Result<(), Trouble> {
    let module = Name::module(name)?;
    let mut field = Field::parse(typed, 1)?;
    fields::fits(&module, &field)?;
    fields::fits_rows(&module, &field)?;
    let application = Application::find(project, common)?;
    let entity = format!("src/{}/entity.rs", module.folder);
    let Some(text) = application.source(&entity) else {
        return Err(Trouble::usage(format!(
            "there is no module {}: {entity} is missing; {}",
            module.name,
            application.modules()
        )));
    };
    let line = format!("pub {}:", field.ident);
    if text.lines().any(|it| it.trim_start().starts_with(&line)) {
        return Err(Trouble::usage(format!(
            "the module {} has a field `{}` already, in {entity}",
            module.name, field.name
        )));
    }
    // Behind those that are there, the key among them.
    let fields = text.lines().map(str::trim_start);
    field.index = fields
        .filter(|it| it.starts_with("pub ") && it.contains(':'))
        .count();
    application.has_target_of(&field, &module)?;
    let number = application.next_migration()?;
    let renderer = Renderer::new(project, application.database)?;
    let Application { app, database, .. } = &application;
    let context = json!({
        "app": app, "db": database, "number": number, "module": module, "field": field,
        "fields": [&field],
    });
    let context = Value::from(Serde(context));
    let files = renderer.tree("field/files", &context)?;
    application.carry_out(&renderer, files, "field/lines.jinja", &context, common)?;
    if !common.dry_run {
        let old = field.default.as_deref().unwrap_or("null");
        screen::print(&format!(
            "added     the field {} to {}; rows that are there get {old}\n\
             try it    cargo test, and cargo run: the migration runs at the next start\n",
            field.name, module.name
        ));
    }
    Ok(())
}

impl Application {
    /// The application in the folder given, else in the current one or above it.
    fn find(project: &Project, common: &Common) -> Result<Self, Trouble> {
        let here = env::current_dir().map_err(Trouble::at("the current folder"))?;
        let start = common.app.as_ref().map_or(here.clone(), |it| here.join(it));
        let start = start
            .canonicalize()
            .map_err(|error| Trouble::usage(format!("{}: {error}", start.display())))?;
        let missing = || {
            Trouble::usage(format!(
                "no application here: neither {} nor a folder above it was made by \
                 ./run.sh new app; go to the application's folder, or name it with --app",
                start.display()
            ))
        };
        let folder = start
            .ancestors()
            .find(|folder| folder.join("Cargo.toml").is_file())
            .ok_or_else(missing)?;
        let manifest = folder.join("Cargo.toml");
        let package = metadata(project, &manifest)?
            .packages
            .into_iter()
            .find(|package| package.manifest_path == manifest)
            .ok_or_else(missing)?;
        let crates = package.dependencies.into_iter();
        let crates = crates.map(|it| it.name.replace('-', "_")).collect();
        let mark = package.metadata.and_then(|mut it| it.remove(MARK));
        let database = mark.as_ref().and_then(|it| it.get("database"));
        let database = database.ok_or_else(missing)?.clone();
        let database = serde_json::from_value(database).map_err(|error| {
            Trouble::failed(format!("{}: the database: {error}", manifest.display()))
        })?;
        let mut sources = Vec::new();
        for file in course::files(folder).map_err(|it| Trouble::environment(it.to_string()))? {
            if file.starts_with("src") || file.starts_with("migrations") {
                let path = folder.join(&file);
                let text = fs::read_to_string(&path).map_err(Trouble::at(&path))?;
                sources.push((file, text));
            }
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            app: App::new(&package.name),
            database,
            crates,
            sources,
        })
    }

    fn source(&self, file: &str) -> Option<&str> {
        let mut all = self.sources.iter();
        all.find(|(path, _)| path == Path::new(file))
            .map(|(_, text)| text.as_str())
    }

    /// The modules that there are, for a message.
    fn modules(&self) -> String {
        let entity = |(path, _): &(PathBuf, String)| {
            let folder = path.strip_prefix("src").ok()?.parent()?.to_str()?;
            let is_it = path.ends_with("entity.rs") && !folder.is_empty();
            is_it.then(|| names::singular(folder))
        };
        let found: Vec<String> = self.sources.iter().filter_map(entity).collect();
        if found.is_empty() {
            "the application has no modules yet".into()
        } else {
            format!("the modules are: {}", found.join(", "))
        }
    }

    /// Refuses a module whose place, path or table is taken.
    fn has_room_for(&self, module: &Name) -> Result<(), Trouble> {
        let Name {
            name,
            folder,
            route,
            table,
            ..
        } = module;
        // A command that was killed can leave files that the application does not use.
        let is_used = |app: &str| app.contains(&format!("{folder}::"));
        if self.source(&format!("src/{folder}/entity.rs")).is_some()
            && self.source("src/app.rs").is_none_or(is_used)
        {
            return Err(Trouble::usage(format!(
                "there is a module {name} already, in src/{folder}; choose another name, or add a \
                 field: ./run.sh new field {name} 'note:text:null'"
            )));
        }
        let taken = [format!("src/{folder}"), format!("src/{folder}.rs")];
        if let Some(taken) = taken.iter().find(|it| self.folder.join(it).exists()) {
            return Err(Trouble::usage(format!(
                "{taken} exists already, and the module {name} would be there; choose another \
                 name, or remove what a command that was killed has left: git status shows it"
            )));
        }
        if self.crates.contains(folder) {
            return Err(Trouble::usage(format!(
                "the module {name} would be src/{folder}, and the application uses a crate of \
                 that name; choose another name"
            )));
        }
        let route = format!("\"/{route}");
        let uses = |text: &str| {
            text.split(&route)
                .skip(1)
                .any(|rest| rest.starts_with(['"', '/']))
        };
        let is_code = |path: &Path| path.extension().is_some_and(|end| end == "rs");
        if let Some((file, _)) = self
            .sources
            .iter()
            .find(|(file, text)| is_code(file) && uses(text))
        {
            return Err(Trouble::usage(format!(
                "the path {}\" is taken, in {}; choose another name than {name}",
                route,
                course::slashed(file)
            )));
        }
        if let Some((file, _)) = self
            .sources
            .iter()
            .find(|(file, text)| !is_code(file) && creates(text, table))
        {
            return Err(Trouble::usage(format!(
                "the table {table} exists already, by {}; choose another name than {name}",
                course::slashed(file)
            )));
        }
        Ok(())
    }

    /// Refuses a field that leads to a module that is not there.
    fn has_target_of(&self, field: &Field, module: &Name) -> Result<(), Trouble> {
        let Some(target) = &field.references else {
            return Ok(());
        };
        let entity = format!("src/{}/entity.rs", target.folder);
        if target == module || self.source(&entity).is_some() {
            return Ok(());
        }
        Err(Trouble::usage(format!(
            "the field `{}` cannot lead to {}, as there is no such module: {entity} is missing; {}",
            field.name,
            target.name,
            self.modules()
        )))
    }

    /// Refuses a module with a type that the application has, or that its own code uses as
    /// another module's code, `others`, does.
    fn has_no_type_of(&self, files: &Files, others: &Files) -> Result<(), Trouble> {
        let code = |files| Files::iter(files).filter(|(file, _)| file.starts_with("src"));
        for name in code(files).flat_map(|(_, text)| declared(text)) {
            let refused = |whose: String| {
                Trouble::usage(format!(
                    "the module would have a type `{name}`, and {whose}; choose another name"
                ))
            };
            if code(others).any(|(_, text)| render::types_in(text).any(|it| it == name)) {
                return Err(refused("its code uses another type of that name".into()));
            }
            let mut sources = self.sources.iter();
            if let Some((file, _)) = sources.find(|(_, text)| declared(text).any(|it| it == name)) {
                return Err(refused(format!("so has {}", course::slashed(file))));
            }
        }
        Ok(())
    }

    /// The number of the next migration, four digits or as many as the others have.
    fn next_migration(&self) -> Result<String, Trouble> {
        let number = |(path, _): &(PathBuf, String)| {
            let name = path.strip_prefix("migrations").ok()?.to_str()?;
            let digits = name.find(|it: char| !it.is_ascii_digit())?;
            name[..digits].parse().ok()
        };
        let greatest: i64 = self.sources.iter().filter_map(number).max().unwrap_or(0);
        let next = greatest.checked_add(1).ok_or_else(|| {
            Trouble::failed("the greatest number of a migration is the greatest that there is")
        })?;
        Ok(format!("{next:04}"))
    }

    fn carry_out(
        &self,
        renderer: &Renderer,
        mut files: Files,
        lines: &str,
        context: &Value,
        common: &Common,
    ) -> Result<(), Trouble> {
        render::format(&mut files);
        let insertions = renderer.insertions(lines, context)?;
        let plan = Plan::new(&self.folder, files, &insertions)?;
        if common.dry_run {
            plan.show();
            Ok(())
        } else {
            plan.write()
        }
    }
}

/// The types that a file declares.
fn declared(text: &str) -> impl Iterator<Item = &str> {
    let code = text.lines().filter(|it| !it.trim_start().starts_with("//"));
    code.filter_map(|line| {
        let mut words = line.split(|it: char| !it.is_alphanumeric() && it != '_');
        let word = words.find(|word| !["pub", "crate", "super", ""].contains(word));
        let declares = word.is_some_and(|word| ["struct", "enum", "trait", "type"].contains(&word));
        words.next().filter(|_| declares)
    })
}

/// Whether a migration creates this table.
fn creates(sql: &str, table: &str) -> bool {
    let sql = sql.to_lowercase();
    let words = sql.split(|it: char| !it.is_alphanumeric() && it != '_');
    let words: Vec<&str> = words
        .filter(|word| !["", "if", "not", "exists"].contains(word))
        .collect();
    words
        .windows(3)
        .any(|three| three == ["create", "table", table])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_and_tables_are_found() {
        let text = "pub struct Book {\n    pub(crate) enum Kind<T> {\n// struct Not\nlet structure = X;\ntype Pool = A;\n";
        let found: Vec<&str> = declared(text).collect();
        assert_eq!(found, ["Book", "Kind", "Pool"]);
        let sql =
            "-- books\nCREATE TABLE IF NOT EXISTS \"books\" (id INT);\ncreate table bookmarks(";
        assert!(creates(sql, "books") && creates(sql, "bookmarks"));
        assert!(!creates(sql, "book") && !creates(sql, "id"));
    }
}
