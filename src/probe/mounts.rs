//! By which paths a directory can be reached: bind mounts and other mount namespaces show the same directory elsewhere. Worked out
//! from tables of mounts, `/proc/<pid>/mountinfo` (proc_pid_mountinfo(5)).

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where a directory lies inside its file system, whatever is mounted where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inside {
    /// `major:minor` of the file system.
    device: String,
    /// The path from the root of the file system.
    path: PathBuf,
}

struct Mount {
    id: u64,
    device: String,
    root: PathBuf,
    point: PathBuf,
}

/// Where the directory at `path`, on the mount of this id, lies inside its file system.
pub(super) fn inside(mountinfo: &str, mount_id: u64, path: &Path) -> Option<Inside> {
    let mount = mounts(mountinfo).find(|mount| mount.id == mount_id)?;
    let rest = path.strip_prefix(&mount.point).ok()?;
    Some(Inside { device: mount.device, path: joined(&mount.root, rest) })
}

/// Every path by which the directory, or a part of it, is seen with this table of mounts.
pub(super) fn paths_to(mountinfo: &str, directory: &Inside) -> Vec<PathBuf> {
    mounts(mountinfo)
        .filter(|mount| mount.device == directory.device)
        .filter_map(|mount| match directory.path.strip_prefix(&mount.root) {
            Ok(rest) => Some(joined(&mount.point, rest)),
            Err(_) => mount.root.starts_with(&directory.path).then_some(mount.point),
        })
        .collect()
}

/// Whether a path, as a link in `/proc` gives it, is one of these directories or lies below one.
pub(super) fn is_at_or_below(path: &[u8], directories: &[PathBuf]) -> bool {
    directories.iter().any(|directory| {
        let directory = directory.as_os_str().as_bytes();
        match path.strip_prefix(directory) {
            Some(rest) => rest.is_empty() || rest.starts_with(b"/") || directory == b"/",
            None => false,
        }
    })
}

fn joined(base: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { base.to_path_buf() } else { base.join(rest) }
}

fn mounts(mountinfo: &str) -> impl Iterator<Item = Mount> {
    mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let id = fields.next()?.parse().ok()?;
        let device = fields.nth(1)?.to_owned();
        let root = unescaped(fields.next()?);
        let point = unescaped(fields.next()?);
        Some(Mount { id, device, root, point })
    })
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut path = text.to_owned();
    for (code, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        path = path.replace(code, plain);
    }
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{inside, is_at_or_below, paths_to};

    const HERE: &str = "27 1 254:0 / / rw - ext4 /dev/vda rw\n30 27 254:1 / /srv rw - ext4 /dev/vdb rw\n\
                        31 27 254:1 /pg/main /data rw - ext4 /dev/vdb rw\n";
    const CONTAINER: &str = "90 80 0:50 / / rw - overlay overlay rw\n\
                             91 90 254:1 /pg /var/lib/postgresql\\040x rw - ext4 /dev/vdb rw\n\
                             92 90 254:1 /pg/main/pg_wal /wal rw - ext4 /dev/vdb rw\n";

    #[test]
    fn a_bind_mount_and_a_container_show_the_same_directory() {
        let directory = inside(HERE, 30, Path::new("/srv/pg/main")).unwrap();
        assert_eq!(directory, inside(HERE, 31, Path::new("/data")).unwrap());
        assert_eq!(paths_to(HERE, &directory), [PathBuf::from("/srv/pg/main"), PathBuf::from("/data")]);
        let seen = paths_to(CONTAINER, &directory);
        assert_eq!(seen, [PathBuf::from("/var/lib/postgresql x/main"), PathBuf::from("/wal")]);
    }

    #[test]
    fn a_sibling_whose_name_begins_the_same_is_not_below() {
        let directories = [PathBuf::from("/srv/pg/main")];
        assert!(is_at_or_below(b"/srv/pg/main", &directories));
        assert!(is_at_or_below(b"/srv/pg/main/base/1", &directories));
        assert!(!is_at_or_below(b"/srv/pg/main2/base/1", &directories));
        assert!(!is_at_or_below(b"/srv/pg", &directories));
    }
}
