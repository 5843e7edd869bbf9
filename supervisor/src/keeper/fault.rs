//! What is wrong with the state file, and what helps: another file, or another moment.

use std::io;

use common::keep::Trouble;
use common::log::escape;
use thiserror::Error;

/// Longest text about a fault that travels up, in bytes.
const MAX_TEXT: usize = 500;

/// The file cannot be used, or not now.
#[derive(Debug, Error)]
#[error("{why}")]
pub(super) struct Fault {
    pub(super) trouble: Trouble,
    why: String,
}

impl Fault {
    /// It holds what we never write there.
    pub(super) fn damaged(why: impl Into<String>) -> Fault {
        Fault { trouble: Trouble::Damaged, why: why.into() }
    }

    /// For people, escaped, at most 500 bytes.
    pub(super) fn text(&self) -> String {
        let mut text = escape(self.why.as_bytes());
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text
    }
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Fault {
        use redb::Error::{
            Backend, DatabaseAlreadyOpen, Io, LockPoisoned, LockProtocolMismatch, PreviousIo, Unsupported,
        };
        let trouble = match &error {
            Io(error) => trouble_of(error),
            // Somebody else has it at the moment, or the disk has failed us before.
            DatabaseAlreadyOpen | LockProtocolMismatch | PreviousIo | Backend(_) | Unsupported
            | LockPoisoned(_) => Trouble::Unwritable,
            // All else (checksums, types, formats) is about what the file holds.
            _ => Trouble::Damaged,
        };
        Fault { trouble, why: error.to_string() }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault { trouble: trouble_of(&error), why: error.to_string() }
    }
}

/// A file that ends too early or is no database at all is reported as an I/O error too.
fn trouble_of(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Trouble::Damaged,
        _ => Trouble::Unwritable,
    }
}

/// Each kind of call has an error type of its own.
macro_rules! from_redb {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for Fault {
            fn from(error: redb::$error) -> Fault {
                Fault::from(redb::Error::from(error))
            }
        }
        impl From<redb::$error> for super::Failure {
            fn from(error: redb::$error) -> super::Failure {
                super::Failure::File(Fault::from(error))
            }
        })*
    };
}

from_redb!(DatabaseError, TransactionError, TableError, StorageError, CommitError);
