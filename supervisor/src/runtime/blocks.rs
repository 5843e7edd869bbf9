//! Which uids a supervisor may hand out. On a host those from two thousand millions on; in a user
//! namespace (a container without privileges, `unshare -r`) only what is mapped there, if anything.

use std::fs;

use common::confine::Footing;

use super::UIDS;

/// First uid of the first block: above what distributions and containers hand out, below
/// what the kernel reserves.
const FIRST_BLOCK: u64 = 2_000_000_000;
/// Blocks that may be claimed on one host.
const BLOCKS: u64 = 4096;
/// Whoever has no id here is shown as this one, and the next one is none for old system calls.
const NOBODY: u64 = 65534;
/// Lines that a map may have (`user_namespaces(7)`).
const MAX_LINES: usize = 340;

/// Ids from the first to before the second.
type Range = (u64, u64);

/// Looks at this process, and whether there are uids that it could give; `say` is told where not.
pub fn footing(say: impl FnOnce(&str)) -> Footing {
    let mut footing = Footing::find();
    // Groups are given up with an identity of one's own, which a namespace may forbid.
    let denied = fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny");
    if footing.gives_uids && (denied || Blocks::find().is_none()) {
        footing.gives_uids = false;
        say(
            "user namespace: no block of 64 uids and gids is mapped that roles could have, or setgroups is denied \
             (/proc/self/uid_map, gid_map and setgroups): map 65536 of both",
        );
    }
    footing
}

/// The first uid that a supervisor takes here.
pub fn usual_uid() -> u32 {
    Blocks::find().map_or(u32::MAX, |blocks| blocks.first_of(0))
}

/// Uids for a doctor's probes: from `first` on where those are mapped, else the block that
/// supervisors come to last.
pub fn for_probes(first: u32) -> Option<u32> {
    let last = || Blocks::find().map(|blocks| blocks.first_of(blocks.count().saturating_sub(1)));
    Some(first).filter(|first| is_mapped(*first)).or_else(last)
}

/// Whether the block from `first` is mapped.
pub fn is_mapped(first: u32) -> bool {
    let first = u64::from(first);
    common().iter().any(|range| holds(*range, first))
}

/// The blocks that may be claimed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocks {
    /// The usual ones, as many of them as are mapped.
    Usual(u64),
    /// As many below this uid, the highest first.
    Below(u64, u64),
}

impl Blocks {
    /// Asks the kernel; `None` where there is not one.
    pub(super) fn find() -> Option<Blocks> {
        Blocks::among(&common())
    }

    fn among(ranges: &[Range]) -> Option<Blocks> {
        if let Some((_, end)) = ranges.iter().find(|range| holds(**range, FIRST_BLOCK)) {
            return Some(Blocks::Usual(blocks(FIRST_BLOCK, *end)));
        }
        let usable = ranges.iter().map(|range| usable(*range));
        let (start, end) = usable.max_by_key(|(start, end)| end.saturating_sub(*start))?;
        Some(Blocks::Below(end, blocks(start, end))).filter(|_| start < end && blocks(start, end) > 0)
    }

    /// How many there are.
    pub(super) fn count(self) -> u32 {
        let (Blocks::Usual(count) | Blocks::Below(_, count)) = self;
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The first uid of a block.
    pub(super) fn first_of(self, block: u32) -> u32 {
        let (block, size) = (u64::from(block), u64::from(UIDS));
        let first = match self {
            Blocks::Usual(_) => FIRST_BLOCK.saturating_add(block.saturating_mul(size)),
            Blocks::Below(end, _) => end.saturating_sub(block.saturating_add(1).saturating_mul(size)),
        };
        u32::try_from(first).unwrap_or(u32::MAX)
    }
}

/// How many blocks fit in there; no more than may be claimed.
fn blocks(start: u64, end: u64) -> u64 {
    end.saturating_sub(start).checked_div(UIDS.into()).unwrap_or(0).min(BLOCKS)
}

fn holds((start, end): Range, first: u64) -> bool {
    start <= first && first.saturating_add(UIDS.into()) <= end
}

/// The upper half of a range, since accounts are numbered from below; without "nobody".
fn usable((start, end): Range) -> Range {
    let half = start.midpoint(end);
    let past = NOBODY.saturating_add(2);
    if end >= past.saturating_add(UIDS.into()) { (half.max(past), end) } else { (half, end.min(NOBODY)) }
}

/// Ids that are both uids and gids here.
fn common() -> Vec<Range> {
    let read = |name: &str| ranges(&fs::read_to_string(name).unwrap_or_default());
    both(&read("/proc/self/uid_map"), &read("/proc/self/gid_map"))
}

fn both(uids: &[Range], gids: &[Range]) -> Vec<Range> {
    let pairs = uids.iter().flat_map(|uid| gids.iter().map(move |gid| (uid, gid)));
    let common = pairs.map(|(uid, gid)| (uid.0.max(gid.0), uid.1.min(gid.1)));
    common.filter(|(start, end)| start < end).collect()
}

/// The ids of a map: each line has the first of them, what that is outside, and how many there
/// are. Neighbours become one.
fn ranges(map: &str) -> Vec<Range> {
    let range = |line: &str| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u32>().ok());
        let (first, _, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some((u64::from(first), u64::from(first).saturating_add(count.into())))
    };
    let mut found: Vec<Range> = map.lines().take(MAX_LINES).filter_map(range).collect();
    found.sort_unstable();
    let mut joined: Vec<Range> = Vec::new();
    for (start, end) in found {
        match joined.last_mut().filter(|last| last.1 >= start) {
            Some(last) => last.1 = last.1.max(end),
            None => joined.push((start, end)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "         0          0 4294967295\n";
    const ROOTLESS: &str = "0 1000 1\n1 100000 65536\n";

    #[test]
    fn maps() {
        for (map, expected) in [
            (HOST, vec![(0, 4_294_967_295)]),
            ("0 1000 1\n", vec![(0, 1)]),
            // Two lines that follow one another are one range.
            (ROOTLESS, vec![(0, 65537)]),
            ("100 1 10\n0 5 50\n", vec![(0, 50), (100, 110)]),
            ("", vec![]),
            ("x 1 2\n0 1\n-1 0 5\n", vec![]),
        ] {
            assert_eq!(ranges(map), expected, "{map:?}");
        }
        assert_eq!(both(&[(0, 50), (100, 200)], &[(20, 150)]), [(20, 50), (100, 150)]);
    }

    #[test]
    fn blocks_where_there_are_uids() {
        for (uids, gids, expected) in [
            (HOST, HOST, Some((4096, 2_000_000_000, 2_000_000_064))),
            // `unshare -r`.
            ("0 0 1\n", "0 0 1\n", None),
            ("0 0 1\n", HOST, None),
            ("", "", None),
            // podman: below "nobody", in the upper half.
            (ROOTLESS, ROOTLESS, Some((511, 65470, 65406))),
            // LXC.
            ("0 100000 1000000000\n", "0 100000 1000000000\n", Some((4096, 999_999_936, 999_999_872))),
            ("0 100000 70000\n", "0 100000 70000\n", Some((69, 69936, 69872))),
            // Not even one.
            ("0 100000 100\n", "0 100000 100\n", None),
            ("0 100000 128\n", "0 100000 1000\n", Some((1, 64, 0))),
            // The usual ones, but for the end.
            ("0 0 2000000200\n", HOST, Some((3, 2_000_000_000, 2_000_000_064))),
        ] {
            let found = Blocks::among(&both(&ranges(uids), &ranges(gids)));
            let seen = found.map(|found| (found.count(), found.first_of(0), found.first_of(1)));
            assert_eq!(seen, expected, "{uids:?} {gids:?}");
        }
    }
}
