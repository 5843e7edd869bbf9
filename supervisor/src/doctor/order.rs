//! What the doctor and its probes say to each other.

use std::ffi::OsString;

use common::confine::Confinement;
use common::confine::attempts::{Targets, Verdict};
use serde::{Deserialize, Serialize};

/// To a probe.
#[derive(Debug, Serialize, Deserialize)]
pub enum ProbeOrder {
    /// The first order.
    Enter(Box<Enter>),
    /// Go ahead.
    Go,
}

/// What a probe is to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Enter {
    /// What it may keep.
    pub confinement: Confinement,
    /// Where it makes its attempts.
    pub place: Place,
    /// What it tries.
    pub trial: Trial,
    /// What it has to be able to do.
    pub needs: Needs,
}

/// What a role cannot work without.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Needs {
    /// Directories that it lists; rsync runs in the first.
    pub directories: Vec<OsString>,
    /// Files that it, or what it starts, reads.
    pub files: Vec<OsString>,
    /// What it starts.
    pub program: Option<OsString>,
}

/// What is tried, on whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Trial {
    /// Names of attempts, in order.
    pub attempts: Vec<String>,
    /// On whom.
    pub targets: Targets,
}

/// Where a probe makes its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// In the role's own process.
    Role,
    /// In a program that the role starts.
    Program,
    /// Nowhere: it looks for what it needs.
    Work,
    /// Nowhere: it is there to be attacked.
    Victim,
}

/// From a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeReport {
    /// Confined.
    Confined,
    /// How the next attempt of the list went.
    Tried(Verdict),
    /// Something that it needs and has not; for people.
    Lacks(String),
}
