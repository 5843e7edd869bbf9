//! Where the status socket stands: in the private directory, or where the config says.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use common::config::StatusConfig;
use common::log::Shown;
use log::warn;
use nix::unistd::Group;

use super::server::{Access, Place, StatusSocket};
use crate::runtime::Runtime;

/// Opens it, where it is on. Mirroring goes on without it.
pub fn open(runtime: &Runtime, config: &StatusConfig) -> Option<StatusSocket> {
    if !config.start {
        return None;
    }
    let (path, place) = match &config.socket {
        Some(path) => (PathBuf::from(path), Place::Elsewhere),
        None => (runtime.status_socket(), Place::Own),
    };
    let failed = |error: io::Error| {
        warn!("status socket {}: {error}; `sersync-supervisor status` finds nobody", Shown(path.as_os_str()));
    };
    access(config.mode, config.group.as_deref())
        .and_then(|access| StatusSocket::bind(&path, place, runtime.identity, access))
        .inspect_err(|error| failed(io::Error::new(error.kind(), error.to_string())))
        .ok()
}

/// Where the one stands that the config names.
pub fn named(config: &StatusConfig) -> Option<&Path> {
    config.socket.as_deref().map(Path::new)
}

/// Who may connect: bits, and a group by its name or number.
pub fn access(mode: u32, group: Option<&str>) -> io::Result<Access> {
    Ok(Access { mode, group: group.map(gid).transpose()? })
}

/// The number of a group.
fn gid(name: &str) -> io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let found = Group::from_name(name)?.map(|group| group.gid.as_raw());
    found.ok_or_else(|| io::Error::new(ErrorKind::NotFound, format!("there is no group {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_by_name_and_by_number() {
        assert_eq!(gid("root").unwrap(), 0);
        assert_eq!(gid("4321").unwrap(), 4321);
        assert!(gid("no such group").unwrap_err().to_string().contains("there is no group"));
    }
}
