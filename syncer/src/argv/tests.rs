//! Argument vectors as they are.

use super::*;
use common::config::{Auth, Remote, RsyncOptions};
use common::confine::Confinement;
use std::os::unix::ffi::OsStrExt;

pub(crate) fn slice(params: &[&str]) -> SyncSlice {
    let rsync = RsyncOptions {
        params: params.iter().map(OsString::from).collect(),
        auth: None,
        port: None,
        timeout: None,
        bwlimit: None,
        ssh: None,
    };
    SyncSlice {
        root: "/srv/www".into(),
        remote: Remote { host: "10.0.0.2".into(), module: "web".into(), connections: 2, rsync },
        rsync_program: "/usr/bin/rsync".into(),
        rsync_version: (3, 5, 0),
        ssh: None,
        delete: true,
        filter: vec![],
        excludes: vec!["*.php".into(), "info/*".into()],
        warm: None,
        debug: false,
        confinement: Confinement::none(),
    }
}

pub(crate) fn sent(slice: &SyncSlice, form: Form, deletions: Deletions) -> String {
    shown(&argv(slice, Errand::Send(form, deletions), Abilities::default()))
}

#[test]
fn every_form() {
    use Deletions::{Held, Travel};
    let slice = slice(&["-artuz", "--bwlimit=500"]);
    let mut lines = Vec::new();
    for form in [Form::Shallow, Form::Deep, Form::Whole, Form::WholeListed] {
        for deletions in [Travel, Held] {
            lines.push(format!("{form:?} {deletions:?}: {}", sent(&slice, form, deletions)));
        }
    }
    for form in [Form::Deep, Form::Whole] {
        lines.push(format!(
            "look {form:?}: {}",
            shown(&argv(&slice, Errand::Look(form), Abilities::default()))
        ));
    }
    for (form, by) in [(Form::Shallow, Comparison::Times), (Form::Whole, Comparison::Checksums)] {
        let words = argv(&slice, Errand::Compare(form, Travel, by), Abilities::default());
        lines.push(format!("compare {form:?}: {}", shown(&words)));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn auth_port_timeout_and_ipv6() {
    let mut slice = slice(&["-artz"]);
    slice.remote.rsync.auth =
        Some(Auth { user: Some("bob".into()), password_file: Some("/etc/my pas".into()) });
    slice.remote.rsync.port = Some(874);
    slice.remote.rsync.timeout = Some(100);
    slice.remote.host = "fe80::1".into();
    slice.debug = true;
    insta::assert_snapshot!(sent(&slice, Form::Shallow, Deletions::Travel), @r#"/usr/bin/rsync -artz --no-recursive --delete --force --delete-missing-args '--out-format=%i %n%L' --files-from=- --from0 --relative --implied-dirs --modify-window=-1 --sockopts=TCP_NODELAY --contimeout=10 --timeout=100 --port=874 '--password-file=/etc/my pas' --no-motd -- ./ 'bob@[fe80::1]::web/'"#);
}

/// It became the name of a file, and the limit did not count.
#[test]
fn a_rate_among_many_names() {
    let slice = slice(&["-a"]);
    let words = argv(&slice, Errand::Send(Form::Shallow, Deletions::Travel), Abilities::default());
    let mut words = named(words, ["./a", "./b", "./c"].map(OsString::from).into_iter());
    slow_down(&mut words, &slice, Some(7));
    by_checksums(&mut words, &slice);
    assert!(shown(&words).ends_with("--no-motd --bwlimit=7 -- ./a ./b ./c 10.0.0.2::web/"), "{words:?}");
    assert!(shown(&words).starts_with("/usr/bin/rsync --timeout=60 --checksum -a "), "{words:?}");
}

/// What an old or strict remote is not asked for.
#[test]
fn less_able_remotes() {
    let slice = slice(&["-a", "--delete", "--delete-excluded"]);
    let (all, missing) = (Abilities::default(), Ability::Missing);
    let mut lines = Vec::new();
    for abilities in [
        Abilities { missing_args: missing, ..all },
        Abilities { nanoseconds: missing, ..all },
        Abilities { missing_args: missing, delete: missing, ..all },
    ] {
        for form in [Form::Shallow, Form::Deep, Form::Whole, Form::WholeListed] {
            let errand = Errand::Send(form, Deletions::Travel);
            lines.push(format!("{form:?}: {}", shown(&argv(&slice, errand, abilities))));
        }
        lines.push(format!("look: {}", shown(&argv(&slice, Errand::Look(Form::Deep), abilities))));
    }
    lines.push(format!("erase: {}", shown(&argv(&slice, Errand::Erase, all))));
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn what_the_user_sets_is_left_to_the_user() {
    let params = ["-art@-1", "--timeout", "5", "--contimeout=3", "--sockopts=SO_SNDBUF=9", "--delete"];
    let slice = slice(&params);
    let words = shown(&full_sync_argv(&slice, Deletions::Held));
    insta::assert_snapshot!(words, @r#"/usr/bin/rsync -art@-1 --timeout 5 --contimeout=3 --sockopts=SO_SNDBUF=9 --recursive --no-motd '--exclude=*.php' '--exclude=info/*' -- ./ 10.0.0.2::web/"#);
    assert_eq!(timeout(&slice), 5);
}

/// The part of a transfer never lets it send more than the user does.
#[test]
fn a_part_of_the_bandwidth() {
    for (params, own, rate, expected) in [
        (&["-a"][..], None, Some(100), Some("--bwlimit=100")),
        (&["-a", "--bwlimit=50"], None, Some(100), Some("--bwlimit=50")),
        (&["-a", "--bwlimit=1m"], None, Some(100), Some("--bwlimit=100")),
        (&["-a", "--bwlimit=50"], Some(70), Some(100), Some("--bwlimit=70")),
        (&["-a"], Some(70), None, Some("--bwlimit=70")),
        (&["-a"], None, None, None),
    ] {
        let mut slice = slice(params);
        slice.remote.rsync.bwlimit = own;
        let mut words = full_sync_argv(&slice, Deletions::Travel);
        slow_down(&mut words, &slice, rate);
        let last = words.iter().rfind(|word| word.as_bytes().starts_with(b"--bwlimit"));
        assert_eq!(last.and_then(|word| word.to_str()), expected, "{params:?} {own:?} {rate:?}");
        assert_eq!(words[words.len() - 3..], ["--", "./", "10.0.0.2::web/"]);
    }
}

#[test]
fn delete_off_holds_deletions_whatever_the_job_says() {
    let mut slice = slice(&["-a"]);
    slice.delete = false;
    assert_eq!(full_sync_argv(&slice, Deletions::Travel), full_sync_argv(&slice, Deletions::Held));
}
