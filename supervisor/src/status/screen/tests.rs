//! What is drawn: as it looks, in how many columns, and that nothing foreign gets through.

use proptest::prelude::*;

use super::*;
use crate::status::tests::{example, remote};

fn assert_fits(text: &str, width: usize) {
    for line in text.lines() {
        let columns: usize = line.chars().map(width_of).sum();
        assert!(columns <= width, "{columns} columns: {line}");
        assert_eq!(line, line.trim_end(), "blanks at the end");
    }
}

#[test]
fn eighty_columns() {
    let text = draw(&example(), 80, Colour::None);
    assert_fits(&text, 80);
    insta::assert_snapshot!("eighty_columns", text);
}

#[test]
fn forty_columns() {
    let text = draw(&example(), 40, Colour::None);
    assert_fits(&text, 40);
    insta::assert_snapshot!("forty_columns", text);
}

#[test]
fn all_is_well() {
    let mut snapshot = example();
    snapshot.remotes = vec![remote("10.0.0.2::web", Health::InSync), remote("10.0.0.3::web", Health::InSync)];
    snapshot.trees.truncate(1);
    (snapshot.trees[0].held_deletions, snapshot.trees[0].comparing) = (0, false);
    (snapshot.watch.used, snapshot.watch.overflows) = (Some(1204), 0);
    snapshot.health = Health::InSync;
    snapshot.roles.truncate(2);
    insta::assert_snapshot!("all_is_well", draw(&snapshot, 80, Colour::None));
    // Nothing is red or yellow then.
    let colours = draw(&snapshot, 80, Colour::Ansi);
    assert!(colours.contains("\u{1b}[32m") && !colours.contains("[33m") && !colours.contains("[1;31m"));
}

/// Who was only knocked at made rsync say what it never did.
#[test]
fn whose_words_they_are() {
    let mut snapshot = example();
    let error = snapshot.remotes.iter_mut().find_map(|it| it.last_error.as_mut()).unwrap();
    error.said = format!("{NOT_STARTED}10.0.0.3:873: Connection refused (os error 111)");
    let text = draw(&snapshot, 120, Colour::None);
    assert!(
        text.contains("  no rsync was started: 10.0.0.3:873: ") && !text.contains("rsync said"),
        "{text}"
    );
}

#[test]
fn colours_change_nothing_but_colours() {
    for width in [40, 80, 120] {
        let text = draw(&example(), width, Colour::Ansi);
        assert!(text.contains("\u{1b}[1;31mDOWN\u{1b}[0m"));
        let mut plain = text;
        for code in ["\u{1b}[32m", "\u{1b}[33m", "\u{1b}[1;31m", "\u{1b}[0m"] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, draw(&example(), width, Colour::None));
    }
}

#[test]
fn times_sizes_and_dates() {
    let told =
        [0.0, 9.96, 10.0, 59.9, 60.0, 3599.0, 3600.0, 86_399.0, 86_400.0, 9e15, -1.0, f64::NAN].map(time);
    let wanted = "0.0s 10.0s 10s 59s 1m00s 59m59s 1h00m 23h59m 1d00h 1157407d09h 0.0s 0.0s";
    assert_eq!(told.join(" "), wanted);
    let told = [0, 999, 1000, 1 << 20, 5 << 30, u64::MAX].map(bytes);
    assert_eq!(told.join(", "), "0 B, 999 B, 1.0 KiB, 1.0 MiB, 5.0 GiB, 16384.0 PiB");
    assert_eq!([0, 999, 1000, 1_234_567].map(number).join(" "), "0 999 1,000 1,234,567");
    let dates = [0.0, 951_782_400.0, 1_709_251_199.9, 1_795_412_809.5].map(date);
    let wanted =
        "1970-01-01 00:00:00 UTC, 2000-02-29 00:00:00 UTC, 2024-02-29 23:59:59 UTC, 2026-11-23 05:46:49 UTC";
    assert_eq!(dates.join(", "), wanted);
}

proptest! {
    /// Whatever a socket says, it steers no terminal and leaves no column.
    #[test]
    fn nothing_foreign_gets_through(
        foreign in any::<String>(),
        width in 20_usize..130,
        number in any::<f64>(),
        count in any::<u64>(),
    ) {
        let mut snapshot = example();
        snapshot.supervisor.config.clone_from(&foreign);
        snapshot.supervisor.version.clone_from(&foreign);
        snapshot.watch.watcher.clone_from(&foreign);
        snapshot.watch.used = Some(count);
        snapshot.at = number;
        for remote in &mut snapshot.remotes {
            for field in [&mut remote.name, &mut remote.tree, &mut remote.standing] {
                field.clone_from(&foreign);
            }
            (remote.pending, remote.rate, remote.behind_seconds) = (count, count, Some(number));
            if let Some(error) = &mut remote.last_error {
                for field in [&mut error.words, &mut error.cure, &mut error.said] {
                    field.clone_from(&foreign);
                }
            }
            for path in &mut remote.quarantine.first {
                path.path.clone_from(&foreign);
                path.reason.clone_from(&foreign);
            }
            for flight in &mut remote.in_flight {
                flight.work = "batch".to_owned();
                flight.seconds = 100.0;
            }
        }
        for role in &mut snapshot.roles {
            role.name.clone_from(&foreign);
            role.state.clone_from(&foreign);
            role.lane = Some(foreign.clone());
        }
        snapshot.trees[0].path.clone_from(&foreign);
        snapshot.trees[1].reason = Some(foreign.clone());
        let text = draw(&snapshot, width, Colour::None);
        prop_assert!(text.chars().all(|ch| ch == '\n' || !ch.is_control()));
        let hidden = ['\u{202e}', '\u{200b}', '\u{2066}'];
        prop_assert!(!text.contains(hidden));
        for line in text.lines() {
            let columns: usize = line.chars().map(width_of).sum();
            prop_assert!(columns <= width, "{} columns in {}: {}", columns, width, line);
        }
    }
}

#[test]
fn what_hides_is_shown() {
    assert_eq!(clean("a\u{202e}b\u{1b}[2J\u{200b}"), "a\\u{202e}b\\u{1b}[2J\\u{200b}");
    assert_eq!(clean("目录 é ok"), "目录 é ok");
}

/// "all 1 in sync" is no English.
#[test]
fn one_remote_alone() {
    let mut snapshot = example();
    snapshot.remotes = vec![remote("10.0.0.2::web", Health::InSync)];
    snapshot.health = Health::InSync;
    let text = draw(&snapshot, 80, Colour::None);
    assert_eq!(text.lines().nth(1), Some("in sync"), "{text}");
    snapshot.remotes[0].health = Health::Behind;
    assert_eq!(draw(&snapshot, 80, Colour::None).lines().nth(1), Some("1 behind, 0 of 1 in sync"));
}

/// The remote was HELD, and nothing behind it said why.
#[test]
fn a_replaced_root_says_why_it_holds() {
    let mut snapshot = example();
    snapshot.remotes = vec![remote("10.0.0.2::web", Health::Held)];
    snapshot.trees.truncate(1);
    (snapshot.trees[0].state, snapshot.trees[0].held_deletions) = (TreeState::Replaced, 0);
    for parked in [0, 3] {
        snapshot.remotes[0].parked_deletions = parked;
        let text = draw(&snapshot, 120, Colour::None);
        let why = "why: another directory stands in place of /srv/www; deletions wait for the old one";
        let cure = "do: bring it back, or restart the supervisor to accept what stands there";
        assert!(text.contains(why) && text.matches(cure).count() == 1, "{text}");
        assert_eq!(text.contains("held for the watched directory: 3 deletions"), parked == 3, "{text}");
    }
}
