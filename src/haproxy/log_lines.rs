//! HAProxy's own log lines, received over a datagram socket that its chroot can reach.

use std::path::Path;

use tokio::net::UnixDatagram;

use crate::durable::FileError;

/// Binds the socket anew (a running HAProxy finds the new one by its name) and passes every line on.
pub(super) fn receive(
    path: &Path,
    owner: Option<(nix::unistd::Uid, nix::unistd::Gid)>,
) -> Result<(), FileError> {
    let _absent = std::fs::remove_file(path);
    let socket = UnixDatagram::bind(path).map_err(FileError::of(path))?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, mode).map_err(FileError::of(path))?;
    if let Some((user, group)) = owner {
        std::os::unix::fs::chown(path, Some(user.as_raw()), Some(group.as_raw()))
            .map_err(FileError::of(path))?;
    }
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length) = socket.recv(&mut buffer).await {
            let line = String::from_utf8_lossy(&buffer[..length]);
            let line = line.trim();
            // What HAProxy says of its servers matters to people; one line a request does not, unless asked for.
            if line.starts_with("Server ")
                || line.starts_with("backend ")
                || line.contains("no server available")
            {
                tracing::info!(target: "haproxy", "{line}");
            } else {
                tracing::debug!(target: "haproxy", "{line}");
            }
        }
    });
    Ok(())
}
