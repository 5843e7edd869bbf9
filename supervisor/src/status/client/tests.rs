//! Whoever it is that writes there: what it says is checked.

use std::os::unix::net::UnixListener;
use std::thread;

use super::*;
use crate::status::tests::example;

fn said(bytes: &[u8]) -> Result<(Snapshot, String), Error> {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let bytes = bytes.to_vec();
    let says = thread::spawn(move || {
        let _ = theirs.write_all(&bytes);
    });
    let heard = hear(&ours);
    says.join().unwrap();
    heard
}

#[test]
fn what_was_made_is_read() {
    let snapshot = example();
    let text = serde_json::to_string(&snapshot).unwrap();
    let (read, line) = said(format!("{text}\n").as_bytes()).unwrap();
    assert_eq!((read, line), (snapshot, format!("{text}\n")));
    assert_eq!(exit_of(&example()), Exit::No);
    assert_eq!(exit_of(&Snapshot { health: Health::InSync, ..example() }), Exit::Ok);
}

/// A newer supervisor may tell more, and an older program does not care.
#[test]
fn what_is_new_is_left_out() {
    let text = serde_json::to_string(&example()).unwrap();
    let newer = text.replacen('{', "{\"weather\":\"fine\",", 1);
    assert_eq!(said(newer.as_bytes()).unwrap().0, example());
}

#[test]
fn lies() {
    let text = serde_json::to_string(&example()).unwrap();
    let version = text.replacen("\"schema\":1", "\"schema\":2", 1);
    assert!(matches!(said(version.as_bytes()), Err(Error::Version(2))));
    let half = &text.as_bytes()[..text.len() / 2];
    let two = format!("{text}\n{text}\n");
    let lines = text.replacen(',', ",\n", 1);
    let word = text.replacen("\"down\"", "\"\\u001b[2J\"", 1);
    for lie in [
        b"HTTP/1.0 200 OK\n",
        half,
        b"\xff\xfe",
        two.as_bytes(),
        lines.as_bytes(),
        word.as_bytes(),
        b"{}",
        b"[1]",
    ] {
        let error = said(lie).unwrap_err();
        assert!(matches!(error, Error::Nonsense(_)), "{error}");
        assert_eq!(error.exit(), Exit::Software);
        assert!(!error.to_string().chars().any(char::is_control), "{error}");
    }
    assert!(matches!(said(b""), Err(Error::Silent)));
}

/// JSON for a terminal has another way to write what would steer it.
#[test]
fn json_steers_no_terminal() {
    let mut snapshot = example();
    snapshot.supervisor.config = "a\u{202e}b\u{85}c\u{1b}[2J".to_owned();
    let text = serde_json::to_string(&snapshot).unwrap();
    let (read, line) = said(text.as_bytes()).unwrap();
    assert_eq!(read, snapshot);
    assert!(line.contains("a\\u202eb\\u0085c\\u001b[2J"), "{line}");
    assert_eq!(serde_json::from_str::<Snapshot>(&line).unwrap(), snapshot);
}

#[test]
fn one_that_never_ends() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let says = thread::spawn(move || while theirs.write_all(&vec![b' '; 1 << 20]).is_ok() {});
    let error = hear(&ours).unwrap_err();
    drop(ours);
    says.join().unwrap();
    assert!(matches!(&error, Error::Nonsense(_) | Error::Silent), "{error}");
}

#[test]
fn nobody_there() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("status");
    let wish = |socket: &Path| Wish {
        config: "/nonexistent".into(),
        socket: Some(socket.into()),
        form: Form::Screen,
        times: Times::Once,
    };
    assert_eq!(ask(&wish(&socket)).unwrap_err().exit(), Exit::Unavailable);
    drop(UnixListener::bind(&socket).unwrap());
    assert_eq!(ask(&wish(&socket)).unwrap_err().exit(), Exit::Unavailable);
    let no_config = Wish { socket: None, ..wish(&socket) };
    assert_eq!(ask(&no_config).unwrap_err().exit(), Exit::NoInput);
}
