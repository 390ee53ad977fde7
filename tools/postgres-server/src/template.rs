//! New data, made once by `initdb`, from which every server takes its own.

use std::env;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::programs::{folder, in_folder, output};

/// The data is packed, since one file is read in a tenth of the time that a folder of a
/// thousand takes. Without `--no-sync` the new files take longer than most programs that
/// use a server. It does not change the server's own settings.
const MAKE: &str = "initdb --auth=trust --encoding=UTF8 --locale=C --username=market \
                    --no-sync --pgdata=data >log && tar -cf data.tar data";

/// How long that may take.
const LIMIT: Duration = Duration::from_mins(2);

/// The archive of a folder `data`, as these programs make it. It is kept among the files
/// that cargo builds.
pub(crate) fn template(programs: &Path, account: Option<(u32, u32)>) -> io::Result<File> {
    let postgres = fs::metadata(programs.join("postgres"))?;
    let mut version = DefaultHasher::new();
    (MAKE, programs, postgres.len(), postgres.modified()?).hash(&mut version);
    let kept = built()?.join(format!("postgres-{:016x}.tar", version.finish()));
    if let Ok(file) = File::open(&kept) {
        return Ok(file);
    }
    let folder = folder(true)?;
    let mut make = in_folder(programs, folder.path(), account, "/bin/sh")?;
    output(make.args(["-c", MAKE]), LIMIT)?;
    // Another program may make the same one now; each of them is whole when it is named.
    let mut file = NamedTempFile::new_in(built()?)?;
    io::copy(&mut File::open(folder.path().join("data.tar"))?, &mut file)?;
    file.persist(&kept)?;
    File::open(kept)
}

/// Where cargo has put this program, as `target/debug`: tests and examples have a folder of
/// their own in it.
fn built() -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    let mut folders = program.ancestors().skip(1);
    let folder = folders.find(|it| !it.ends_with("deps") && !it.ends_with("examples"));
    Ok(folder.unwrap_or(&program).to_owned())
}
