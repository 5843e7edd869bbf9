//! What is typed, and what it means.

use super::*;

fn run(line: &str) -> Result<Settings, ErrorKind> {
    let args = std::iter::once("sersync-supervisor").chain(line.split_whitespace()).map(OsString::from);
    match parse(args) {
        Ok(Command::Run(settings)) => Ok(settings),
        Ok(other) => panic!("{line}: {other:?}"),
        Err(error) => Err(error.kind()),
    }
}

#[test]
fn bundles_and_long_forms() {
    for line in ["-rdo x.xml -n 3", "-r -d -ox.xml -n3", "--full-sync --daemon --config x.xml --workers=3"] {
        let settings = run(line).unwrap();
        assert_eq!(
            (settings.config.to_str(), settings.full_sync, settings.detach, settings.workers),
            (Some("x.xml"), true, Detach::Start, 3),
            "{line}"
        );
    }
    assert_eq!(run("").unwrap().config, DEFAULT_CONFIG);
}

#[test]
fn workers_as_the_original_read_them() {
    for (line, workers, warned) in [
        ("", 10, false),
        ("-n 5", 5, false),
        ("-n 0", 10, true),
        ("-n abc", 10, true),
        ("-n 99999", 1024, true),
    ] {
        let settings = run(line).unwrap();
        assert_eq!((settings.workers, !settings.warnings.is_empty()), (workers, warned), "{line}");
    }
    assert!(run("-n -3").is_err());
}

#[test]
fn stray_words_warn_and_errors_are_errors() {
    let settings = run("foo -n 4 bar").unwrap();
    assert_eq!((settings.workers, settings.warnings.len()), (4, 2));
    assert_eq!(run("-h").unwrap_err(), ErrorKind::DisplayHelp);
    assert_eq!(run("--version").unwrap_err(), ErrorKind::DisplayVersion);
    for line in ["-x", "-o", "-m", "-m bogus", "-m sersync", "--no-such"] {
        assert!(!matches!(run(line).unwrap_err(), ErrorKind::DisplayHelp), "{line}");
    }
    let empty = parse(["x", "-o", ""].map(OsString::from)).unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::ValueValidation);
}

/// Each started a mirror, with a warning.
#[test]
fn a_misspelt_command_starts_no_mirror() {
    for (line, meant) in [
        ("chekc", "check"),
        ("-o x.xml Check", "check"),
        ("statsu --watch", "status"),
        ("plna", "plan"),
        ("-r verfy", "verify"),
        ("doctro foo", "doctor"),
    ] {
        let words = std::iter::once("x").chain(line.split_whitespace());
        let error = parse(words.map(OsString::from)).unwrap_err();
        assert!(error.use_stderr(), "{line}");
        assert!(error.to_string().contains(&format!("did you mean `{meant}`?")), "{line}: {error}");
    }
    for line in ["start", "daemon", "foo chekc", "true", "x"] {
        assert!(!run(line).unwrap().warnings.is_empty(), "{line}");
    }
}

/// Behind `--` it is a word that is ignored, and a mirror starts.
#[test]
fn nobody_is_told_to_pass_an_option_as_a_word() {
    let error = parse(["x", "--foo"].map(OsString::from)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownArgument);
    let text = error.to_string();
    assert!(text.contains("'--foo'") && !text.contains("-- --foo") && !text.contains("as a value"), "{text}");
}

fn asked(line: &str) -> Result<Command, ErrorKind> {
    let args = std::iter::once("sersync-supervisor").chain(line.split_whitespace()).map(OsString::from);
    parse(args).map_err(|error| error.kind())
}

#[test]
fn commands_for_a_running_supervisor() {
    let remote = || Some("10.0.0.2::web".to_owned());
    let verify = |remote, repair, by| Request::Verify { remote, repair, by };
    let deletes = |tree: Option<&str>, what| Request::Deletes { tree: tree.map(Into::into), what };
    for (line, config, request) in [
        ("verify", DEFAULT_CONFIG, verify(None, Repair::Off, Comparison::Times)),
        (
            "-o x.xml verify --repair --checksum --remote 10.0.0.2::web",
            "x.xml",
            verify(remote(), Repair::On, Comparison::Checksums),
        ),
        ("wait", DEFAULT_CONFIG, Request::Wait { remote: None, timeout: None }),
        (
            "wait --timeout 0 --remote=10.0.0.2::web -ox.xml",
            "x.xml",
            Request::Wait { remote: remote(), timeout: Some(0) },
        ),
        ("deletes list", DEFAULT_CONFIG, deletes(None, DeletesWhat::List)),
        (
            "--tree /srv//www/./a/ deletes approve",
            DEFAULT_CONFIG,
            deletes(Some("/srv/www/a"), DeletesWhat::Approve),
        ),
        ("deletes drop --tree / -o x.xml", "x.xml", deletes(Some("/"), DeletesWhat::Drop)),
    ] {
        assert_eq!(asked(line), Ok(Command::Control(config.into(), request)), "{line}");
    }
    let here = std::env::current_dir().unwrap().join("w").into_os_string();
    let relative = Request::Deletes { tree: Some(here), what: DeletesWhat::List };
    assert_eq!(asked("deletes list --tree w/"), Ok(Command::Control(DEFAULT_CONFIG.into(), relative)));
}

#[test]
fn looks_at_a_config() {
    let all = Wants { remotes: true, dump: true, strict: true };
    for (line, meant) in [
        ("check", Command::Check(DEFAULT_CONFIG.into(), Wants::default())),
        ("-ox.xml check --remotes --dump --strict", Command::Check("x.xml".into(), all)),
        ("plan", Command::Plan(DEFAULT_CONFIG.into(), None)),
        ("plan --remote a::b -o x.xml", Command::Plan("x.xml".into(), Some("a::b".into()))),
        ("explain ../a/b", Command::Explain(DEFAULT_CONFIG.into(), "../a/b".into())),
    ] {
        assert_eq!(asked(line), Ok(meant), "{line}");
    }
}

#[test]
fn what_does_not_belong_together() {
    for line in [
        "--repair",
        "--checksum",
        "--remote r",
        "--timeout 1",
        "--tree /t",
        "-r --repair",
        "foo --repair",
        "demo --repair",
        "doctor --remote r",
        "doctor --state-dir /s",
        "demo --state-dir /s",
        "--strict",
        "verify --dump",
        "check x",
        "check --remote r",
        "check -r",
        "plan x",
        "plan --timeout 1",
        "explain",
        "explain a b",
        "explain a --remotes",
        "verify x",
        "verify --timeout 1",
        "verify --tree /t",
        "verify --state-dir /s",
        "verify -r",
        "verify -d",
        "verify -n 3",
        "verify -m socket",
        "verify --remote=",
        "verify --repair=yes",
        "wait x",
        "wait --repair",
        "wait --checksum",
        "wait --timeout -1",
        "wait --timeout soon",
        "wait --timeout 31536001",
        "wait --tree /t",
        "deletes",
        "deletes all",
        "deletes list approve",
        "deletes list --remote r",
        "deletes list --tree=",
        "deletes approve --timeout 1",
        "deletes list -rd",
    ] {
        let kind = asked(line).expect_err(line);
        assert!(!matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion), "{line}");
    }
    for args in [["x", "verify", "-o", ""], ["x", "wait", "--remote", ""]] {
        assert!(parse(args.map(OsString::from)).is_err(), "{args:?}");
    }
    // Not the first word: ignored with a warning, as ever.
    assert_eq!(run("foo verify").unwrap().warnings.len(), 2);
    assert_eq!(asked("doctor -r -n 3"), Ok(Command::Doctor(DEFAULT_CONFIG.into())));
}

#[test]
fn where_the_state_is() {
    assert_eq!(run("--state-dir /s -r").unwrap().state_dir, Some("/s".into()));
    assert_eq!(run("-r").unwrap().state_dir, None);
    assert!(parse(["x", "--state-dir", ""].map(OsString::from)).is_err());
}

#[test]
fn help_names_every_flag() {
    let help = Typed::command().render_long_help().to_string();
    for flag in [
        "-h",
        "-r",
        "-d",
        "-n",
        "-o",
        "-m",
        "--state-dir",
        "--repair",
        "--checksum",
        "--remote",
        "--timeout",
        "--tree",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
}
