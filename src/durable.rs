//! Files that survive a crash: written whole, fsynced, and for nobody but us.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::Path;

use nix::unistd::geteuid;

/// A file that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {cause}")]
pub struct FileError {
    /// The file.
    pub path: String,
    /// Why.
    pub cause: std::io::Error,
}

impl FileError {
    /// Names the file of an error.
    pub fn of(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |cause| Self { path: path.display().to_string(), cause }
    }
}

/// Makes a directory that only we can enter, with its parents.
///
/// # Errors
/// It cannot be made.
pub fn make_private_dir(dir: &Path) -> Result<(), FileError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(FileError::of(dir))
}

/// Takes from everybody but the owner what `mode` does not give; what is not there is nobody's.
///
/// # Errors
/// It is somebody else's.
pub fn tighten(path: &Path, mode: u32) -> Result<(), FileError> {
    let tighten = || match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(found) if found.permissions().mode() & 0o777 & !mode == 0 => Ok(()),
        Ok(_) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        Err(error) => Err(error),
    };
    tighten().map_err(FileError::of(path))
}

/// Gives what root wrote into the directory of a Causeway that is not root to that one.
///
/// # Errors
/// It cannot be given.
pub fn give_to_owner_of_dir(path: &Path) -> Result<(), FileError> {
    let give = || {
        let owner = fs::metadata(dir_of(path))?;
        // Never what a link leads to: the directory is not root's.
        if geteuid().is_root() && owner.uid() != 0 {
            lchown(path, Some(owner.uid()), Some(owner.gid()))
        } else {
            Ok(())
        }
    };
    give().map_err(FileError::of(path))
}

/// The directory that a file is in.
#[must_use]
pub fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a new file, fsynced, 0600, without holding it in memory.
///
/// # Errors
/// It cannot be written.
pub fn write_synced(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), FileError> {
    let write = || {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut buffered = std::io::BufWriter::new(file);
        write(&mut buffered)?;
        buffered.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
    };
    write().map_err(FileError::of(path))
}

/// Fsyncs a directory, so that what was renamed inside it stays renamed.
///
/// # Errors
/// It cannot be fsynced.
pub fn sync_dir(dir: &Path) -> Result<(), FileError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(FileError::of(dir))
}

/// Replaces a file whole: a reader sees the old text or the new one, also after a crash.
///
/// # Errors
/// The file cannot be written or renamed.
pub fn replace_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    replace_file_with(path, mode, |file| file.write_all(bytes))
}

/// Replaces a file whole by what is written into it, without holding it in memory.
///
/// # Errors
/// The file cannot be written or renamed.
pub fn replace_file_with(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), FileError> {
    let dir = dir_of(path);
    let replace = || {
        let mut file =
            tempfile::Builder::new().permissions(fs::Permissions::from_mode(mode)).tempfile_in(dir)?;
        let mut buffered = std::io::BufWriter::new(&mut file);
        write(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    replace().map_err(FileError::of(path))?;
    sync_dir(dir)
}
