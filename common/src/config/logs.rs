//! `<log>`: where the log goes, in which form, and how much of it there is.

use std::ffi::OsString;

/// `<log to path format files/>`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogConfig {
    /// `to`.
    pub to: LogTarget,
    /// `format`.
    pub form: LogForm,
    /// `files`: a line for each path that has arrived.
    pub files: bool,
}

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LogTarget {
    /// Standard error, which may be the journal.
    #[default]
    Errors,
    /// `/dev/log`.
    Syslog,
    /// Appended to the file of that absolute path, which is opened again on SIGHUP.
    File(OsString),
}

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogForm {
    /// For people.
    #[default]
    Text,
    /// An object for each.
    Json,
}
