//! Where things are: the repository, `build/`, and what `run.sh` found on this machine.

use crate::error::{Context, Result, message};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The root of the repository, as `run.sh` said or as seen from the current folder.
pub fn root() -> Result<PathBuf> {
    if let Some(root) = variable("ANTARES_ROOT") {
        return Ok(PathBuf::from(root));
    }
    let here = std::env::current_dir().context("tell the current folder")?;
    here.ancestors()
        .find(|folder| folder.join("run.sh").is_file() && folder.join("boot/host").is_dir())
        .map(Path::to_path_buf)
        .ok_or_else(|| message("this is not an Antares checkout: start it by its run.sh"))
}

/// A folder under `build/`, made if it is not there (`""` is `build/` itself).
pub fn build(below: &str) -> Result<PathBuf> {
    let folder = root()?.join("build").join(below);
    fs::create_dir_all(&folder).context(format_args!("make the folder {}", folder.display()))?;
    Ok(folder)
}

/// A path as the user meant it, who may have started `run.sh` from another folder.
pub fn of_user(path: &str) -> PathBuf {
    match variable("ANTARES_CWD") {
        Some(folder) => Path::new(&folder).join(path),
        None => PathBuf::from(path),
    }
}

/// An environment variable that is set and not empty.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Holds `build/lock`: one build or image at a time, released when dropped.
pub struct Lock(#[expect(dead_code, reason = "held for its lock, which ends with the file")] File);

impl Lock {
    /// Waits for the lock.
    pub fn take() -> Result<Lock> {
        let path = build("")?.join("lock");
        let file = File::create(&path).context(format_args!("open {}", path.display()))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).context("lock build/lock")?;
        Ok(Lock(file))
    }
}

/// A folder for one run's sockets and copies, removed when dropped.
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes one in the system's folder for temporary files; its path is short enough for Unix sockets.
    pub fn new() -> Result<TempDir> {
        use std::os::unix::fs::DirBuilderExt;
        let base = std::env::temp_dir();
        remove_stale(&base);
        for attempt in 0..1000u32 {
            let nanos = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |time| time.subsec_nanos());
            let path = base.join(format!("antares-{}-{}", std::process::id(), nanos.wrapping_add(attempt)));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(TempDir(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(message(format!(
                        "cannot make a temporary folder in {}: {error}",
                        base.display()
                    )));
                }
            }
        }
        Err(message(format!("cannot make a temporary folder in {}", base.display())))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes the folders of runs that were killed.
fn remove_stale(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix("antares-")?.split_once('-')?.0.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Removes all but the newest `keep` folders in `folder` whose names begin with a digit.
pub fn keep_newest(folder: &Path, keep: usize) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let is_numbered = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_digit()))
    };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_numbered).collect();
    folders.sort();
    for old in folders.iter().rev().skip(keep) {
        let _ = fs::remove_dir_all(old);
    }
}

/// Copies a file if size or time differ, so that the copy appears whole or not at all.
pub fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let source = fs::metadata(from).context(format_args!("read {}", from.display()))?;
    let modified = source.modified().context("tell a file's time")?;
    if let Ok(target) = fs::metadata(to)
        && target.len() == source.len()
        && target.modified().is_ok_and(|time| time == modified)
    {
        return Ok(());
    }
    let mut name = to.as_os_str().to_owned();
    name.push(".new");
    let temp = PathBuf::from(name);
    fs::copy(from, &temp).context(format_args!("copy {} to {}", from.display(), temp.display()))?;
    let file = File::options().write(true).open(&temp).context(format_args!("open {}", temp.display()))?;
    file.set_modified(modified).context(format_args!("set the time of {}", temp.display()))?;
    fs::rename(&temp, to).context(format_args!("rename {}", temp.display()))
}
