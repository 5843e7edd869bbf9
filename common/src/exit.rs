//! Exit codes, one enum for the whole product, after `sysexits.h`.
//!
//! Scripts and systemd units rely on these numbers; docs/operations.md lists them.

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for was done.
    Ok,
    /// It was done, and the answer is no: a remote differs, or has not confirmed in time (1).
    No,
    /// The command line was wrong (`EX_USAGE`, 64).
    Usage,
    /// A file or directory that was named does not exist or cannot be read (`EX_NOINPUT`, 66).
    NoInput,
    /// Something needed is not there: rsync, a plugin (`EX_UNAVAILABLE`, 69).
    Unavailable,
    /// The program itself failed (`EX_SOFTWARE`, 70).
    Software,
    /// The operating system refused something (`EX_OSERR`, 71).
    OsError,
    /// The runtime directory cannot be made (`EX_CANTCREAT`, 73).
    CantCreate,
    /// Another supervisor already runs on this config (`EX_TEMPFAIL`, 75).
    AlreadyRunning,
    /// A privilege could not be dropped or is missing (`EX_NOPERM`, 77).
    NoPermission,
    /// The config file is wrong (`EX_CONFIG`, 78).
    Config,
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::No => 1,
            Exit::Usage => 64,
            Exit::NoInput => 66,
            Exit::Unavailable => 69,
            Exit::Software => 70,
            Exit::OsError => 71,
            Exit::CantCreate => 73,
            Exit::AlreadyRunning => 75,
            Exit::NoPermission => 77,
            Exit::Config => 78,
        }
    }
}

impl Exit {
    /// Every way to end.
    pub const ALL: [Exit; 11] = [
        Exit::Ok,
        Exit::No,
        Exit::Usage,
        Exit::NoInput,
        Exit::Unavailable,
        Exit::Software,
        Exit::OsError,
        Exit::CantCreate,
        Exit::AlreadyRunning,
        Exit::NoPermission,
        Exit::Config,
    ];

    /// What a child that ended with `code` meant; [`Exit::Software`] for a number of no meaning.
    pub fn from_code(code: i32) -> Exit {
        Exit::ALL.into_iter().find(|exit| i32::from(exit.code()) == code).unwrap_or(Exit::Software)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
