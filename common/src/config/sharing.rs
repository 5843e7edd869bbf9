//! `<connections>` and `<bandwidth>`: what all remotes together may take of a host, and of the line.
//!
//! Only what was written. Who gets how much of it, and when, is the supervisor's business.

/// Hours of a day.
pub const HOURS: usize = 24;

/// `<connections perHost/>` and `<bandwidth limit/>`, for all remotes of all trees together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sharing {
    /// `perHost`: most connections to one host at once, at least 1; `None` for no limit.
    pub per_host: Option<u16>,
    /// `<bandwidth>`.
    pub bandwidth: Bandwidth,
}

/// `<bandwidth limit><hours from to limit/></bandwidth>`: what all transfers together may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bandwidth {
    /// In KiB a second, at least 1, for each hour of the local clock; `None` for no limit.
    pub by_hour: [Option<u32>; HOURS],
}

impl Bandwidth {
    /// The limit in that hour of the local clock, 0 to 23, in KiB a second.
    pub fn at(&self, hour: u8) -> Option<u32> {
        self.by_hour.get(usize::from(hour)).copied().flatten()
    }

    /// Whether the hour makes a difference.
    pub fn depends_on_hour(&self) -> bool {
        self.by_hour.iter().any(|limit| Some(limit) != self.by_hour.first())
    }
}
