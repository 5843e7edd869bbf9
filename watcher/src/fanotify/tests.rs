use super::*;

#[test]
fn numbers_are_used_again() {
    let mut handles = Handles::new();
    let add = |handles: &mut Handles, key| handles.add(Key(key)).unwrap();
    let (a, b) = (add(&mut handles, 1), add(&mut handles, 2));
    assert_eq!((a, b), (-2, -3));
    assert_eq!(add(&mut handles, 1), a);
    handles.remove(a);
    // Once more, and what never was there.
    handles.remove(a);
    handles.remove(NO_WATCH);
    handles.remove(7);
    handles.remove(-100);
    assert_eq!(handles.find(Key(1)), None);
    assert_eq!(handles.find(Key(2)), Some(b));
    assert_eq!(add(&mut handles, 3), a);
    assert_eq!(add(&mut handles, 4), -4);
    assert_eq!(handles.find(Key(3)), Some(a));
}

/// A record as the kernel writes it.
fn record(kind: u8, handle: &[u8], name: &[u8]) -> Vec<u8> {
    let mut body = b"filesyst".to_vec();
    body.extend(u32::try_from(handle.len()).unwrap().to_ne_bytes());
    body.extend(1_i32.to_ne_bytes());
    body.extend(handle);
    body.extend(name);
    body.extend([0; 3]);
    let mut record = vec![kind, 0];
    record.extend(u16::try_from(body.len() + 4).unwrap().to_ne_bytes());
    record.extend(body);
    record
}

fn event(mask: u64, records: &[Vec<u8>]) -> Vec<u8> {
    let records = records.concat();
    let mut event = u32::try_from(HEAD + records.len()).unwrap().to_ne_bytes().to_vec();
    event.extend([3, 0]);
    event.extend(u16::try_from(HEAD).unwrap().to_ne_bytes());
    event.extend(mask.to_ne_bytes());
    event.extend([0xff; 8]);
    event.extend(records);
    event
}

/// Mask, cookie, directory and name of each event.
fn told(bytes: &[u8]) -> Vec<(u32, u32, Option<&'static str>, String)> {
    let keys = Keys([RandomState::new(), RandomState::new()]);
    let known = [("here", &b"here"[..]), ("there", b"there is more"), ("nameless", b"")]
        .map(|(name, handle)| (name, keys.of(b"filesyst", 1, handle)));
    let events = Events { rest: bytes, keys, cookie: 6, current: None };
    let told = events.map(|event| {
        let directory = match event.of {
            Of::Watch(wd) => {
                assert_eq!(wd, NO_WATCH);
                None
            }
            Of::Handle(key) => known.iter().find(|(_, other)| *other == key).map(|(name, _)| *name),
        };
        let name = event.name.unwrap_or_default().to_string_lossy().into_owned();
        (event.mask, event.cookie, directory, name)
    });
    told.collect()
}

#[test]
fn what_was_merged_is_told_in_an_order_that_can_be() {
    use nix::libc::{FAN_CLOSE_WRITE, FAN_CREATE, FAN_DELETE, FAN_ONDIR, FAN_Q_OVERFLOW, FAN_RENAME};
    let (at, file, old, new) = (2, 1, 10, 12);
    let bytes = [
        event(
            FAN_DELETE | FAN_CLOSE_WRITE | FAN_CREATE,
            &[record(at, b"here", b"f"), record(file, b"x", b"")],
        ),
        // Nothing but the file itself.
        event(FAN_CLOSE_WRITE, &[record(file, b"x", b"")]),
        event(
            FAN_RENAME | FAN_ONDIR,
            &[record(old, b"here", b"d"), record(new, b"there is more", b"e"), record(file, b"d", b"")],
        ),
        event(FAN_Q_OVERFLOW, &[]),
        event(FAN_CREATE, &[record(at, b"elsewhere", b"g")]),
    ]
    .concat();
    let cookie = OWN_COOKIE | 9;
    let expected = [
        (bits::CREATE, 0, Some("here"), "f"),
        (bits::CLOSE_WRITE, 0, Some("here"), "f"),
        (bits::DELETE, 0, Some("here"), "f"),
        (bits::MOVED_FROM | bits::ISDIR, cookie, Some("here"), "d"),
        (bits::MOVED_TO | bits::ISDIR, cookie, Some("there"), "e"),
        (bits::Q_OVERFLOW, 0, None, ""),
        (bits::CREATE, 0, None, "g"),
    ];
    let expected = expected.map(|(mask, cookie, of, name)| (mask, cookie, of, name.to_owned()));
    assert_eq!(told(&bytes), expected);
    // Cut anywhere, it is no more than its beginning.
    for length in 0..bytes.len() {
        let told = told(&bytes[..length]);
        assert!(told.len() <= expected.len() && told[..] == expected[..told.len()], "{length}: {told:?}");
    }
    // And whatever a byte is, it comes to an end.
    for place in 0..bytes.len() {
        for byte in [0, 1, 2, 0x7f, 0xff] {
            let mut bytes = bytes.clone();
            bytes[place] = byte;
            told(&bytes);
        }
    }
}
