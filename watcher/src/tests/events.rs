//! What is reported of which operation, switch by switch.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use common::config::Switches;
use common::event::Dirt::{Deep, Removed, RemovedDir, Touched};
use common::event::TreeId;
use common::filter::EntryKind;
use common::message::{WORTH_MOVING, WatcherReport};
use common::path::RelPath;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::stat::Mode;

use super::Bench;

fn expect(bench: &mut Bench, expected: &[(&str, common::event::Dirt)]) {
    let mut taken = bench.taken();
    taken.sort();
    taken.dedup();
    let mut expected: Vec<_> = expected.iter().map(|&(path, dirt)| (path.to_owned(), dirt)).collect();
    expected.sort();
    assert_eq!(taken, expected);
}

#[test]
fn files() {
    let mut bench = Bench::watching(Switches::default());
    bench.write("f");
    bench.write("gone");
    symlink("f", bench.at("link")).unwrap();
    bench.write(".hidden");
    bench.settle("1");
    expect(&mut bench, &[("f", Touched), ("gone", Touched)]);
    fs::remove_file(bench.at("gone")).unwrap();
    fs::remove_file(bench.at("link")).unwrap();
    fs::remove_file(bench.at(".hidden")).unwrap();
    bench.rename("f", "g");
    bench.settle("2");
    expect(&mut bench, &[("f", Removed), ("g", Touched), ("gone", Removed), ("link", Removed)]);
    bench.rename("g", ".g");
    bench.rename(".g", "h");
    bench.settle("3");
    expect(&mut bench, &[("g", Removed), ("h", Touched)]);
}

#[test]
fn every_switch_on() {
    let on =
        Switches { create_file: true, attrib: true, modify: true, hidden_file: true, ..Switches::default() };
    let mut bench = Bench::watching(on);
    symlink("f", bench.at("link")).unwrap();
    nix::unistd::mkfifo(&bench.at("fifo"), Mode::S_IRWXU).unwrap();
    bench.write(".hidden");
    bench.settle("1");
    expect(&mut bench, &[(".hidden", Touched), ("fifo", Touched), ("link", Touched)]);
}

#[test]
fn attributes_do_not_touch_watches() {
    let mut bench = Bench::watching(Switches { attrib: true, ..Switches::default() });
    bench.mkdir("d/e");
    bench.settle("1");
    bench.taken();
    fs::set_permissions(bench.at("d"), fs::Permissions::from_mode(0o700)).unwrap();
    bench.settle("2");
    expect(&mut bench, &[("d", Touched)]);
    bench.write("d/e/f");
    bench.until_dirty("d/e/f", Touched);
}

#[test]
fn a_renamed_directory_keeps_being_watched() {
    let mut bench = Bench::watching(Switches::default());
    bench.mkdir("d0/sub");
    bench.settle("s");
    for round in 0..30 {
        let (from, to) = (format!("d{round}"), format!("d{}", round + 1));
        bench.taken();
        bench.rename(&from, &to);
        bench.write(format!("{to}/f{round}"));
        bench.write(format!("{to}/sub/f{round}"));
        bench.until_dirty(&to, Deep);
        assert!(bench.taken().contains(&(from, RemovedDir)));
        // Watched under the new name, and only there.
        bench.write(format!("{to}/sub/g"));
        bench.until_dirty(format!("{to}/sub/g"), Touched);
    }
}

#[test]
fn both_names_of_a_directory_are_told_ahead_of_its_changes() {
    let moved = |report: &WatcherReport| matches!(report, WatcherReport::Moved { .. });
    let switches = Switches::default();
    for (switches, filter, told) in [
        (switches, &[][..], true),
        (switches, &[r".*\.tmp"], false),
        (Switches { delete: false, ..switches }, &[], false),
        (Switches { move_from: false, ..switches }, &[], false),
        (Switches { move_to: false, ..switches }, &[], false),
    ] {
        let mut bench = Bench::prepared(switches, filter, |bench| bench.mkdir("a/old"));
        bench.write("f");
        bench.rename("a/old", "new");
        bench.rename("f", "g");
        bench.settle("s");
        let [from, to] = ["a/old", "new"].map(|name| RelPath::new(name).unwrap());
        let of_it = |report: &WatcherReport| match report {
            WatcherReport::Changes(_, changes) => changes.iter().any(|it| it.path == from || it.path == to),
            _ => false,
        };
        let places: Vec<usize> = (0..bench.seen.len()).filter(|&at| moved(&bench.seen[at])).collect();
        let first = bench.seen.iter().position(of_it);
        let said = places.first().map(|&at| (&bench.seen[at], first.is_some_and(|first| at < first)));
        let kind = EntryKind::Directory;
        let hint = WatcherReport::Moved { tree: TreeId(0), kind, from: from.clone(), to: to.clone() };
        assert_eq!((said, places.len()), (told.then_some((&hint, true)), usize::from(told)), "{switches:?}");
    }
}

/// A file so large that its bytes matter, and none else; a filter says nothing of its other names.
#[test]
fn both_names_of_a_large_file_are_told_ahead_of_its_changes() {
    let switches = Switches::default();
    for (switches, filter, told) in [
        (switches, &[][..], true),
        (switches, &[r".*\.tmp"], true),
        (switches, &[r".*\.old"], false),
        (Switches { delete: false, ..switches }, &[], false),
        (Switches { move_from: false, ..switches }, &[], false),
        (Switches { move_to: false, ..switches }, &[], false),
    ] {
        let large = WORTH_MOVING;
        let mut bench = Bench::prepared(switches, filter, |bench| {
            bench.mkdir("a");
            for (name, size) in [("a/f.old", large), ("small", large - 1), ("out", large)] {
                fs::File::create(bench.at(name)).unwrap().set_len(size).unwrap();
            }
        });
        bench.rename("small", "smaller");
        fs::rename(bench.at("out"), bench.temp.path().join("out")).unwrap();
        fs::rename(bench.temp.path().join("out"), bench.at("in")).unwrap();
        bench.rename("a/f.old", "new");
        bench.settle("s");
        let [from, to] = ["a/f.old", "new"].map(|name| RelPath::new(name).unwrap());
        let is_hint = |report: &&WatcherReport| matches!(report, WatcherReport::Moved { .. });
        let hints: Vec<&WatcherReport> = bench.seen.iter().filter(is_hint).collect();
        let kind = EntryKind::File;
        let hint = WatcherReport::Moved { tree: TreeId(0), kind, from: from.clone(), to: to.clone() };
        assert_eq!(hints, if told { vec![&hint] } else { vec![] }, "{switches:?} {filter:?}");
        let of_it = |report: &WatcherReport| match report {
            WatcherReport::Changes(_, changes) => changes.iter().any(|it| it.path == from || it.path == to),
            _ => false,
        };
        let hinted = bench.seen.iter().position(|it| is_hint(&it));
        assert!(!told || hinted < bench.seen.iter().position(of_it));
    }
}

#[test]
fn a_directory_from_elsewhere_and_away_again() {
    let mut bench = Bench::watching(Switches::default());
    let outside = bench.temp.path().join("outside");
    fs::create_dir_all(outside.join("a/b")).unwrap();
    fs::rename(&outside, bench.at("in")).unwrap();
    bench.until_dirty("in", Deep);
    bench.write("in/a/b/f");
    bench.until_dirty("in/a/b/f", Touched);
    bench.taken();
    fs::rename(bench.at("in"), &outside).unwrap();
    bench.until_dirty("in", RemovedDir);
    bench.taken();
    let live = |bench: &Bench| bench.watcher.roots[0].live().unwrap().tree.directories();
    while live(&bench) > 1 {
        bench.turn();
    }
    fs::write(outside.join("a/b/g"), "").unwrap();
    bench.settle("s");
    expect(&mut bench, &[]);
}

#[test]
fn two_directories_trade_names() {
    let mut bench = Bench::watching(Switches::default());
    bench.mkdir("a/in_a");
    bench.mkdir("b/in_b");
    bench.settle("1");
    bench.taken();
    renameat2(AT_FDCWD, &bench.at("a"), AT_FDCWD, &bench.at("b"), RenameFlags::RENAME_EXCHANGE).unwrap();
    bench.until(|seen| {
        let deep: Vec<_> =
            super::changes(seen, 0).filter(|&(_, dirt)| dirt == Deep).map(|(path, _)| path).collect();
        deep.contains(&&b"a"[..]) && deep.contains(&&b"b"[..])
    });
    bench.settle("2");
    bench.taken();
    for name in ["a/in_b/f", "b/in_a/f", "a/f", "b/f"] {
        bench.write(name);
    }
    bench.settle("3");
    expect(&mut bench, &[("a/f", Touched), ("a/in_b/f", Touched), ("b/f", Touched), ("b/in_a/f", Touched)]);
}

#[test]
fn a_directory_takes_the_place_of_an_empty_one() {
    let mut bench = Bench::watching(Switches::default());
    bench.mkdir("a/sub");
    bench.mkdir("b");
    bench.settle("1");
    bench.rename("a", "b");
    bench.until_dirty("b", Deep);
    bench.rename("b", "c");
    bench.until_dirty("c", Deep);
    bench.settle("2");
    bench.taken();
    bench.write("c/sub/f");
    bench.settle("3");
    expect(&mut bench, &[("c/sub/f", Touched)]);
    assert_eq!(bench.watcher.roots[0].needed(), 3);
}

#[test]
fn create_folder_off() {
    let off = Switches { create_folder: false, ..Switches::default() };
    let mut bench = Bench::prepared(off, &[], |bench| bench.mkdir("old"));
    bench.mkdir("new/sub");
    bench.settle("1");
    bench.write("new/f");
    bench.write("new/sub/f");
    bench.write("old/f");
    bench.settle("2");
    expect(&mut bench, &[("old/f", Touched)]);
    bench.rename("new", "moved");
    bench.until_dirty("moved", Deep);
    bench.write("moved/sub/f");
    bench.until_dirty("moved/sub/f", Touched);
}

#[test]
fn move_to_off() {
    let off = Switches { move_to: false, ..Switches::default() };
    let mut bench = Bench::prepared(off, &[], |bench| bench.mkdir("d/sub"));
    bench.write("f");
    bench.settle("1");
    bench.taken();
    bench.rename("f", "g");
    bench.rename("d", "e");
    bench.settle("2");
    expect(&mut bench, &[("d", RemovedDir), ("f", Removed)]);
    bench.write("e/sub/f");
    bench.settle("3");
    expect(&mut bench, &[]);
    assert_eq!(bench.watcher.roots[0].needed(), 1);
}

#[test]
fn move_from_off() {
    let off = Switches { move_from: false, ..Switches::default() };
    let mut bench = Bench::prepared(off, &[], |bench| bench.mkdir("d"));
    bench.rename("d", "e");
    bench.until_dirty("e", Deep);
    bench.write("e/f");
    bench.settle("1");
    expect(&mut bench, &[("e", Deep), ("e/f", Touched)]);
}

#[test]
fn delete_off() {
    let off = Switches { delete: false, ..Switches::default() };
    let mut bench = Bench::prepared(off, &[], |bench| bench.mkdir("d/sub"));
    bench.write("f");
    bench.settle("1");
    bench.taken();
    fs::remove_file(bench.at("f")).unwrap();
    fs::remove_dir_all(bench.at("d")).unwrap();
    bench.settle("2");
    expect(&mut bench, &[]);
    assert_eq!(bench.watcher.roots[0].needed(), 1);
}

#[test]
fn excluded_directories_are_not_watched() {
    let mut bench = Bench::prepared(Switches::default(), &["(.*/|)skip", ".*\\.tmp"], |bench| {
        bench.mkdir("skip/deep");
        bench.mkdir("a/skip/deep");
        bench.mkdir("skip2");
    });
    assert_eq!(bench.watcher.roots[0].needed(), 3);
    for name in ["skip/f", "a/skip/f", "a/f.tmp", "a/f", "skip2/f"] {
        bench.write(name);
    }
    bench.settle("1");
    expect(&mut bench, &[("a/f", Touched), ("skip2/f", Touched)]);
    // Out of the excluded name, and into it.
    bench.rename("skip", "seen");
    bench.until_dirty("seen", Deep);
    bench.write("seen/deep/f");
    bench.until_dirty("seen/deep/f", Touched);
    bench.taken();
    bench.rename("seen", "skip");
    bench.write("skip/deep/f");
    bench.settle("2");
    expect(&mut bench, &[("seen", RemovedDir)]);
    assert_eq!(bench.watcher.roots[0].needed(), 3);
    // What a new directory holds is filtered too.
    fs::create_dir_all(bench.temp.path().join("out/skip/x")).unwrap();
    fs::rename(bench.temp.path().join("out"), bench.at("in")).unwrap();
    bench.until_dirty("in", Deep);
    assert_eq!(bench.watcher.roots[0].needed(), 4);
}

#[test]
fn what_a_new_directory_holds_travels_with_it() {
    let mut bench = Bench::prepared(Switches::default(), &[".*\\.tmp"], |_| ());
    // All of it is there before the watcher looks: only a scan can find it.
    bench.mkdir("new/.sub");
    for name in ["new/.hidden", "new/f~", "new/f.tmp", "new/.sub/4913"] {
        bench.write(name);
    }
    symlink("..", bench.at("new/.sub/up")).unwrap();
    bench.settle("1");
    let expected = ["new", "new/.hidden", "new/.sub", "new/.sub/4913", "new/.sub/up", "new/f~"];
    expect(&mut bench, &expected.map(|path| (path, Touched)));
}

#[test]
fn links_to_directories_are_not_followed() {
    let mut bench = Bench::prepared(Switches::default(), &[], |bench| {
        bench.mkdir("a");
        bench.mkdir("b");
        for name in ["a/up", "b/up", "b/up2"] {
            symlink("..", bench.at(name)).unwrap();
        }
        symlink(bench.temp.path(), bench.at("out")).unwrap();
    });
    assert_eq!(bench.watcher.roots[0].needed(), 3);
    fs::write(bench.temp.path().join("outside"), "").unwrap();
    bench.write("a/up/b/f");
    bench.settle("1");
    expect(&mut bench, &[("b/f", Touched)]);
}

#[test]
fn names_that_are_no_text() {
    let mut bench = Bench::watching(Switches::default());
    let names = [&b"\xff\xfe"[..], b"new\nline", b"tab\t", b"-rf", b"*", b"a b'\"\\"];
    for name in names {
        fs::create_dir(bench.at(name)).unwrap();
        bench.write([name, b"/f"].concat());
        bench.until_dirty([name, b"/f"].concat(), Touched);
        let moved = [b"moved ", name].concat();
        let (from, to) = (bench.at(name), bench.at(&moved));
        assert!(CString::new(from.as_os_str().as_bytes()).is_ok());
        fs::rename(from, to).unwrap();
        bench.until_dirty(&moved, Deep);
    }
}

#[test]
fn a_path_that_is_too_long_is_left_out() {
    let mut bench = Bench::watching(Switches::default());
    let name = "x".repeat(200);
    let mut dir = fs::File::open(bench.at("")).unwrap();
    for _ in 0..25 {
        nix::sys::stat::mkdirat(&dir, name.as_str(), Mode::S_IRWXU).unwrap();
        let flags = nix::fcntl::OFlag::O_DIRECTORY;
        dir = nix::fcntl::openat(&dir, name.as_str(), flags, Mode::empty()).unwrap().into();
    }
    bench.settle("1");
    // 4095 bytes hold twenty names of 200, and their slashes.
    assert_eq!(bench.watcher.roots[0].needed(), 21);
    // Away, a level at a time, for the clean-up of the test knows no paths of that length.
    bench.rename(&name, "short");
    bench.until_dirty("short", Deep);
}

#[test]
fn one_root_inside_another() {
    let mut bench = Bench::of(&["root", "root/in"], Switches::default(), &[]);
    bench.mkdir("in/sub");
    bench.until(|seen| seen.len() == 3);
    bench.write("in/sub/f");
    bench.until(|seen| super::changes(seen, 0).any(|(path, _)| path == b"in/sub/f"));
    bench.until(|seen| super::changes(seen, 1).any(|(path, _)| path == b"sub/f"));
    bench.rename("in/sub", "in/moved");
    bench.until(|seen| super::changes(seen, 0).any(|change| change == (b"in/moved", Deep)));
    bench.until(|seen| super::changes(seen, 1).any(|change| change == (b"moved", Deep)));
}
