//! A snapshot with something in each field, how bytes become text, and that docs/status.md tells of all.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// When it was made.
const AT: f64 = 1_795_412_809.5;

pub(super) fn remote(name: &str, health: Health) -> Remote {
    let outcomes = vec![Outcomes { outcome: "done".to_owned(), count: 12 }];
    let buckets = vec![Bucket { le: Some(0.005), count: 4 }, Bucket { le: None, count: 8 }];
    Remote {
        name: name.to_owned(),
        tree: "/srv/www".to_owned(),
        health,
        standing: "up".to_owned(),
        down_since: None,
        retry_at: None,
        behind_seconds: None,
        pending: 0,
        parked_deletions: 0,
        rate: 0,
        bytes: 123_456_789,
        in_flight: vec![],
        full_sync: FullSync {
            owed_since: None,
            done: 1,
            last_done: Some(AT - 60.0),
            trouble: None,
            held: false,
        },
        last_error: None,
        quarantine: Quarantine { paths: 0, first: vec![] },
        transfers: Transfers { outcomes, seconds: 3.25, buckets },
    }
}

fn down() -> Remote {
    Remote {
        standing: "unreachable".to_owned(),
        down_since: Some(AT - 754.0),
        retry_at: Some(AT + 12.0),
        behind_seconds: Some(760.2),
        pending: 1204,
        last_error: Some(LastError {
            at: AT - 3.0,
            outcome: "unreachable".to_owned(),
            words: "it does not answer or broke off".to_owned(),
            cure: "see whether the host is up and its rsync or ssh port is open; it is tried again"
                .to_owned(),
            status: 10,
            said: "rsync: [sender] failed to connect to 10.0.0.3: Connection refused (111)".to_owned(),
            over: false,
        }),
        ..remote("10.0.0.3::web", Health::Down)
    }
}

fn failing() -> Remote {
    let path = |path: &str| Quarantined {
        path: path.to_owned(),
        attempts: 4,
        reason: "Permission denied (13)".to_owned(),
        waiting_seconds: 34.0,
    };
    Remote {
        behind_seconds: Some(34.0),
        pending: 2,
        quarantine: Quarantine { paths: 2, first: vec![path("a/b"), path("目录/文件")] },
        ..remote("10.0.0.4::web", Health::Failing)
    }
}

fn syncing() -> Remote {
    let progress = Progress {
        files: 1200,
        bytes: 5 << 30,
        rate: 12 << 20,
        checked: 3000,
        entries: 9000,
        listing: false,
        percent: Some(33.3),
        seconds_left: Some(754.2),
    };
    let full = Flight {
        lane: "full".to_owned(),
        work: "full".to_owned(),
        paths: 0,
        seconds: 377.0,
        stalled: false,
        progress: Some(progress),
    };
    let owed =
        FullSync { owed_since: Some(AT - 377.0), done: 0, last_done: None, trouble: None, held: false };
    Remote {
        behind_seconds: Some(377.0),
        rate: 12 << 20,
        in_flight: vec![full],
        full_sync: owed,
        ..remote("backup.example::a-rather-long-name-of-a-module", Health::Behind)
    }
}

fn roles() -> Vec<Role> {
    let sandbox = Sandbox {
        no_new_privs: true,
        seccomp: true,
        landlock: true,
        capabilities: "0000000000000004".to_owned(),
    };
    let role = |name: &str, lane: Option<&str>, pid| Role {
        name: name.to_owned(),
        remote: lane.map(|_| "10.0.0.3::web".to_owned()),
        lane: lane.map(ToOwned::to_owned),
        state: "ready".to_owned(),
        pid: Some(pid),
        uid: Some(2_000_000_000),
        restarts: 0,
        memory: Some(6 << 20),
        sandbox: Some(sandbox.clone()),
    };
    let open = Sandbox { seccomp: false, ..sandbox.clone() };
    let died = Role { restarts: 2, sandbox: Some(open), ..role("syncer1", Some("full"), 1240) };
    let waits = Role {
        state: "waiting".to_owned(),
        pid: None,
        uid: None,
        memory: None,
        sandbox: None,
        ..died.clone()
    };
    vec![role("watcher", None, 1235), role("syncer0", Some("batch"), 1239), died, waits]
}

fn trees() -> Vec<Tree> {
    vec![
        Tree {
            path: "/srv/www".to_owned(),
            state: TreeState::Watched,
            reason: None,
            since: AT - 273_599.0,
            directories: 60_001,
            held_deletions: 1500,
            comparing: true,
        },
        Tree {
            path: "/mnt/usb".to_owned(),
            state: TreeState::Lost,
            reason: Some("it was unmounted".to_owned()),
            since: AT - 90.0,
            directories: 0,
            held_deletions: 0,
            comparing: false,
        },
    ]
}

/// One of each.
pub(super) fn example() -> Snapshot {
    let held = Remote { parked_deletions: 3, ..remote("10.0.0.6::web", Health::Held) };
    Snapshot {
        schema: SCHEMA,
        at: AT,
        health: Health::Down,
        supervisor: Supervisor {
            version: "0.1.0".to_owned(),
            pid: 1234,
            started: AT - 273_600.0,
            state: Stage::Running,
            config: "/etc/sersync/confxml.xml".to_owned(),
        },
        watch: Watch {
            watcher: "inotify".to_owned(),
            seen: Some(AT - 0.1),
            used: Some(60_001),
            allowed: Some(65_536),
            overflows: 1,
        },
        trees: trees(),
        remotes: vec![
            remote("10.0.0.2::web", Health::InSync),
            syncing(),
            failing(),
            down(),
            held,
            Remote { tree: "/mnt/usb".to_owned(), ..remote("10.0.0.5::usb", Health::Unwatched) },
        ],
        roles: roles(),
    }
}

/// `field` and `field.field`; what is in a list has `[]` between.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                fields(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| fields(value, &format!("{path}[]"), found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Each field has a row there, and each row is of a field.
#[test]
fn the_document_tells_of_each_field() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/status.md")).unwrap();
    let mut told = BTreeSet::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert!(cells.len() == 6 && cells.iter().skip(1).take(4).all(|cell| !cell.is_empty()), "{row}");
        assert!(told.insert(cells[1].trim_matches('`').to_owned()), "twice: {row}");
    }
    let mut found = BTreeSet::new();
    fields(&serde_json::to_value(example()).unwrap(), "", &mut found);
    assert_eq!(told, found);
    assert!(text.contains(&format!("`schema` is {SCHEMA}")));
    // Words that a program may compare.
    let words = [
        serde_json::to_string(&[Health::InSync, Health::Behind, Health::Held]).unwrap(),
        serde_json::to_string(&[Health::Failing, Health::Unwatched, Health::Down]).unwrap(),
        serde_json::to_string(&[TreeState::Watched, TreeState::Starting, TreeState::Lost]).unwrap(),
        serde_json::to_string(&[TreeState::Replaced, TreeState::Unwatched]).unwrap(),
        serde_json::to_string(&[Stage::Starting, Stage::Running, Stage::Stopping]).unwrap(),
    ]
    .concat();
    let outcomes = common::message::Outcome::ALL.map(crate::core::notice::word);
    let words = words.split('"').filter(|word| word.chars().all(|ch| ch.is_ascii_lowercase() || ch == '_'));
    for word in words.chain(outcomes).filter(|word| !word.is_empty()) {
        assert!(text.contains(&format!("`{word}`")), "docs/status.md says nothing of `{word}`");
    }
}

/// The other way round, as docs/status.md tells it.
fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                after
            }
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                after
            }
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    bytes
}

#[test]
fn text_that_tells_all_bytes() {
    assert_eq!(escaped("目录/a b".as_bytes()), "目录/a b");
    assert_eq!(escaped(b"\\x41\n\xff\x1b[2J\xc2\x85"), "\\\\x41\\x0a\\xff\\x1b[2J\\xc2\\x85");
}

proptest! {
    #[test]
    fn nothing_is_lost(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let text = escaped(&bytes);
        prop_assert!(!text.chars().any(char::is_control));
        prop_assert_eq!(unescaped(&text), bytes);
    }
}
