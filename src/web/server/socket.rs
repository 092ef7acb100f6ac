//! Causeway's own Unix socket: a door for root and for the user Causeway runs as, and for nobody else.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User, geteuid};
use tokio::net::unix::UCred;

use crate::durable::make_private_dir;

/// A socket that is listened on; its file goes with it.
#[derive(Debug)]
pub(super) struct Socket {
    /// What connections come from.
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens on `path`, 0600; a file that a Causeway before left is replaced.
    ///
    /// # Errors
    /// Somebody listens there, something else than a socket is there, or it cannot be made.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            make_private_dir(dir).map_err(|error| error.cause)?;
        }
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "something that is no socket is there",
                ));
            }
            Ok(_) if UnixStream::connect(path).is_ok() => return Err(io::ErrorKind::AddrInUse.into()),
            _ => {}
        }
        // Under another name until its mode is right: nobody finds it open.
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&new)?;
        fs::set_permissions(&new, Permissions::from_mode(0o600))?;
        fs::rename(&new, path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.path);
    }
}

/// The name of who is at the other end, as the kernel knows him; `None` for everybody but root and our own user.
pub(super) fn caller(credentials: UCred) -> Option<String> {
    let uid = Some(Uid::from_raw(credentials.uid())).filter(|uid| is_let_in(*uid, geteuid()))?;
    Some(name_of(uid))
}

/// A user's name, as this host knows him.
pub(in crate::web) fn name_of(uid: Uid) -> String {
    let user = User::from_uid(uid).ok().flatten();
    user.map_or_else(|| format!("uid {uid}"), |user| user.name)
}

fn is_let_in(uid: Uid, own: Uid) -> bool {
    uid.is_root() || uid == own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_our_own_user_are_let_in_and_nobody_else() {
        let [root, own, other] = [0, 998, 65_534].map(Uid::from_raw);
        assert!(is_let_in(root, own) && is_let_in(own, own) && is_let_in(root, root));
        assert!(!is_let_in(other, own) && !is_let_in(other, root) && !is_let_in(own, root));
    }

    #[test]
    fn what_a_causeway_before_left_is_replaced_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/causeway.sock");
        // A socket that nobody listens on any more.
        make_private_dir(&dir.path().join("a")).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        let socket = Socket::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Socket::bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        assert!(!path.exists());
        fs::write(&path, "a file of somebody").unwrap();
        assert_eq!(Socket::bind(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "a file of somebody");
    }
}
