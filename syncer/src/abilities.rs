//! What the rsyncs at both ends can do: assumed until a run proves it, or until a remote that
//! is old, or that refuses an option, makes plain that it cannot. Pure.
//!
//! It is found out once for each remote, by the syncer of that remote, and then kept.

use std::ffi::OsString;

use crate::argv::{MISSING_ARGS, NANOSECONDS};
use crate::fallback::can_erase;

/// Whether something can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ability {
    /// As far as is known.
    #[default]
    Assumed,
    /// A run that asked for it was accepted.
    Proven,
    /// It is not asked for any more: the remote has named it.
    Missing,
    /// It is not asked for now: a remote that just hangs up did not do so without it. A broken
    /// network may look the same, so this is put to the test again.
    Guessed,
}

impl Ability {
    /// Whether it is asked for.
    pub(crate) fn is_there(self) -> bool {
        match self {
            Ability::Assumed | Ability::Proven => true,
            Ability::Missing | Ability::Guessed => false,
        }
    }
}

/// All that is asked for and that not every rsync knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Abilities {
    /// `--delete-missing-args`: 3.1 and later.
    pub(crate) missing_args: Ability,
    /// `--modify-window=-1`: 3.1.3 and later.
    pub(crate) nanoseconds: Ability,
    /// `--delete`: every rsync, but a daemon may refuse it.
    pub(crate) delete: Ability,
    /// A second `--fuzzy`: 3.1 and later, but not a module without chroot. Only what is faster hangs on it.
    pub(crate) far_basis: Ability,
}

/// What a run that failed says about the remote's abilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Nothing.
    None,
    /// A remote that is old, or strict, may end like that.
    Perhaps,
    /// These are what is left.
    Left(Abilities),
}

/// Exit statuses that an old or strict remote leads to. Often it just closes the connection.
const STATUSES: [i32; 5] = [1, 2, 4, 10, 12];
/// With these words the failure is about something else.
#[rustfmt::skip]
const ELSEWHERE: &[&str] = &[
    "failed to connect", "Connection refused", "onnection timed out", "timeout", "getaddrinfo", "@ERROR",
    "password", "read only", "not found", "shell clean", "rather than greeting", "No such file",
    "No space left", "Host key", "Permission denied", "ssh:", "Syntax error", "daemon connection",
    // ssh. Of a reset it tells the address and the port, where rsync says "by peer".
    "kex_exchange", "Connection closed by", "client_loop:", "not responding",
];

/// A daemon that refuses `--delete-missing-args` may accept it and stumble over the first
/// missing name, which travels with this mode.
const MISSING_REFUSED: &str = "invalid file mode 00 for";

impl Abilities {
    /// Notes that a run with these words was accepted.
    pub(crate) fn prove(&mut self, argv: &[OsString]) {
        for (ability, word) in self.asked() {
            if *ability == Ability::Assumed && argv.iter().any(|given| given == word) {
                *ability = Ability::Proven;
            }
        }
    }

    /// What to think of a run with these words that ended with `status`, saying `said`.
    pub(crate) fn hint(mut self, argv: &[OsString], status: i32, said: &str) -> Hint {
        let asks = |word: &str| argv.iter().any(|given| given == word);
        if said.contains(MISSING_REFUSED) && asks(MISSING_ARGS) {
            return Hint::Left(Abilities { missing_args: Ability::Missing, ..self });
        }
        let doubted = |(ability, word): (&mut Ability, &str)| *ability == Ability::Assumed && asks(word);
        if !STATUSES.contains(&status) || !self.asked().into_iter().any(doubted) {
            return Hint::None;
        }
        let mut complaints = said.lines().filter(|line| is_complaint(line)).peekable();
        if complaints.peek().is_none() {
            let guessable = self.guessed().into_iter().any(doubted);
            return if guessable && !is_elsewhere(said) { Hint::Perhaps } else { Hint::None };
        }
        let before = self;
        complaints.for_each(|line| self.drop_named(line));
        if self == before { Hint::None } else { Hint::Left(self) }
    }

    /// The same without whatever may be guessed to be missing.
    pub(crate) fn least(mut self) -> Abilities {
        for (ability, _) in self.guessed() {
            if *ability == Ability::Assumed {
                *ability = Ability::Guessed;
            }
        }
        self
    }

    /// What may be left if one of them alone is missing.
    pub(crate) fn guesses(self) -> impl Iterator<Item = Abilities> {
        let least = self.least();
        let without = [
            Abilities { nanoseconds: least.nanoseconds, ..self },
            Abilities { missing_args: least.missing_args, ..self },
        ];
        // What is proven stays; what is missing is no news.
        without.into_iter().filter(move |guess| *guess != self && *guess != least)
    }

    /// The same with all that was only guessed to be missing.
    pub(crate) fn hopes(mut self) -> Abilities {
        for (ability, _) in self.guessed() {
            if *ability == Ability::Guessed {
                *ability = Ability::Assumed;
            }
        }
        self
    }

    /// What is missing and what that means with these parameters; `None` when nothing is.
    pub(crate) fn lacks(self, params: &[OsString]) -> Option<String> {
        let mut parts = Vec::new();
        if !self.delete.is_there() {
            parts.push("no --delete: nothing is removed there");
        } else if !self.missing_args.is_there() && !can_erase(params) {
            parts.push(
                "no --delete-missing-args, and --include, --filter, --exclude-from or -C among the \
                 parameters: single removals are left to full syncs",
            );
        } else if !self.missing_args.is_there() {
            parts.push("no --delete-missing-args: removals take a second run");
        }
        if !self.nanoseconds.is_there() {
            parts.push("no --modify-window=-1: contents are compared, which costs reading them");
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// What a remote that hangs up may be guessed to lack. Not `--delete`: were the guess wrong,
    /// removals would be lost.
    fn guessed(&mut self) -> [(&mut Ability, &'static str); 2] {
        [(&mut self.missing_args, MISSING_ARGS), (&mut self.nanoseconds, NANOSECONDS)]
    }

    /// Each ability of the remote with the word that asks for it.
    fn asked(&mut self) -> [(&mut Ability, &'static str); 3] {
        [
            (&mut self.missing_args, MISSING_ARGS),
            (&mut self.nanoseconds, NANOSECONDS),
            (&mut self.delete, "--delete"),
        ]
    }

    fn drop_named(&mut self, complaint: &str) {
        let lost = |ability: &mut Ability| {
            if *ability == Ability::Assumed {
                *ability = Ability::Missing;
            }
        };
        if complaint.contains("delete-missing-args") {
            lost(&mut self.missing_args);
        } else if complaint.contains("-@") || complaint.contains("modify-window") {
            lost(&mut self.nanoseconds);
        } else if complaint.contains("refuse --del") {
            // The daemon counts the other one as a kind of it.
            lost(&mut self.delete);
            lost(&mut self.missing_args);
        }
    }
}

/// Whether the failure is about something else.
fn is_elsewhere(said: &str) -> bool {
    let is_reset_of_ssh = |line: &str| line.contains("Connection reset by") && line.contains(" port ");
    ELSEWHERE.iter().any(|words| said.contains(words)) || said.lines().any(is_reset_of_ssh)
}

/// Lines in which rsync, or a daemon, names an option that it does not take.
fn is_complaint(line: &str) -> bool {
    line.contains("unknown option") || line.contains("configured to refuse")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Ability = Ability::Missing;

    fn full() -> Vec<OsString> {
        ["rsync", "--delete", MISSING_ARGS, NANOSECONDS].map(OsString::from).into()
    }

    #[test]
    fn what_remotes_say() {
        let all = Abilities::default();
        for (status, said, wanted) in [
            (
                12,
                "rsync: --delete-missing-args: unknown option",
                Hint::Left(Abilities { missing_args: NONE, ..all }),
            ),
            (12, "rsync: -@-1: unknown option\nx", Hint::Left(Abilities { nanoseconds: NONE, ..all })),
            (
                4,
                "rsync: The server is configured to refuse --modify-window (-@)",
                Hint::Left(Abilities { nanoseconds: NONE, ..all }),
            ),
            (
                4,
                "rsync: The server is configured to refuse --delete",
                Hint::Left(Abilities { missing_args: NONE, delete: NONE, ..all }),
            ),
            (4, "rsync: The server is configured to refuse --links", Hint::None),
            (1, "rsync: --no-such-thing: unknown option", Hint::None),
            (12, "rsync: read error: Connection reset by peer (104)", Hint::Perhaps),
            (12, "rsync: connection unexpectedly closed (8 bytes received so far) [sender]", Hint::Perhaps),
            (10, "rsync: failed to connect to 10.0.0.2: Connection refused (111)", Hint::None),
            (1, "ERROR: module is read only", Hint::None),
            (5, "@ERROR: auth failed on module m", Hint::None),
            (30, "io timeout after 2 seconds", Hint::None),
            (23, "", Hint::None),
        ] {
            assert_eq!(all.hint(&full(), status, said), wanted, "{status} {said}");
        }
        let mut known = all;
        known.prove(&full());
        assert_eq!(known.hint(&full(), 12, "read error: Connection reset by peer"), Hint::None);
        assert_eq!(known.hint(&full(), 12, "rsync: -@-1: unknown option"), Hint::None);
        let stumbles = known.hint(&full(), 2, "invalid file mode 00 for d/s/c [Receiver]");
        assert_eq!(stumbles, Hint::Left(Abilities { missing_args: NONE, ..known }));
    }

    /// What ssh says of a network that breaks off is no sign of an old rsync.
    #[test]
    fn a_broken_network_in_the_words_of_ssh() {
        for said in [
            "kex_exchange_identification: read: Connection reset by peer",
            "Connection closed by 10.0.0.2 port 22",
            "Connection reset by 10.0.0.2 port 22",
            "client_loop: send disconnect: Broken pipe",
            "Timeout, server 10.0.0.2 not responding.",
        ] {
            let said =
                format!("{said}\nrsync: connection unexpectedly closed (0 bytes received so far) [sender]");
            assert_eq!(Abilities::default().hint(&full(), 12, &said), Hint::None, "{said}");
        }
    }

    const GUESS: Ability = Ability::Guessed;

    #[test]
    fn guesses_keep_what_is_proven() {
        let all = Abilities::default();
        let wanted = [Abilities { nanoseconds: GUESS, ..all }, Abilities { missing_args: GUESS, ..all }];
        assert_eq!(all.guesses().collect::<Vec<_>>(), wanted);
        assert_eq!(all.least(), Abilities { missing_args: GUESS, nanoseconds: GUESS, ..all });
        let proven = Abilities { nanoseconds: Ability::Proven, ..all };
        assert_eq!(proven.guesses().count(), 0);
        assert_eq!(proven.least(), Abilities { missing_args: GUESS, ..proven });
        let old = Abilities { missing_args: NONE, ..all };
        assert_eq!(old.least(), Abilities { nanoseconds: GUESS, ..old });
        assert_eq!(old.least().hopes(), old);
    }

    /// A guess that was wrong would lose every removal.
    #[test]
    fn deleting_is_never_guessed_away() {
        let all = Abilities::default();
        assert!(all.least().delete.is_there() && all.guesses().all(|guess| guess.delete.is_there()));
        let proven = Abilities { missing_args: Ability::Proven, nanoseconds: Ability::Proven, ..all };
        assert_eq!(proven.hint(&full(), 12, "connection unexpectedly closed"), Hint::None);
        let told = Hint::Left(Abilities { delete: NONE, ..proven });
        assert_eq!(proven.hint(&full(), 4, "configured to refuse --delete"), told);
    }
}
