//! Deliveries for real: the production code against listeners, servers and programs that
//! behave, refuse, hang, break off and flood. Nothing is written outside temporary directories.

#[cfg(test)]
mod cdn;
#[cfg(test)]
mod command;
#[cfg(test)]
mod http;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod socket;

#[cfg(test)]
mod common_ground {
    use std::cell::RefCell;
    use std::ffi::OsString;
    use std::fs::File;

    use common::config::{Call, Format, PluginKind};
    use common::confine::Confinement;
    use common::event::TreeId;
    use common::message::{EventKind, PluginEvent, PluginSlice, RemoteOutcome};
    use common::path::RelPath;
    use plugins::Plugin;

    thread_local! {
        /// A plugin logs on the thread of its test.
        static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    struct Logger;

    impl log::Log for Logger {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            LOGGED.with_borrow_mut(|all| all.push(format!("{} {}", record.level(), record.args())));
        }

        fn flush(&self) {}
    }

    /// What this thread has logged since its first [`slice`].
    pub(crate) fn logged() -> Vec<String> {
        LOGGED.with_borrow(Clone::clone)
    }

    /// The watched root; nothing is ever looked for there.
    pub(crate) const ROOT: &str = "/w";

    /// One call a change in the original's format, at most `timeout` seconds each.
    pub(crate) fn single(timeout: u32) -> Call {
        Call { batch: false, format: Format::Original, timeout }
    }

    pub(crate) fn batch(timeout: u32) -> Call {
        Call { batch: true, ..single(timeout) }
    }

    pub(crate) fn json(call: Call) -> Call {
        Call { format: Format::Json, ..call }
    }

    pub(crate) fn slice(kind: PluginKind, call: Call) -> PluginSlice {
        // Whoever is first sets it for all.
        let _ = log::set_logger(&Logger);
        log::set_max_level(log::LevelFilter::Info);
        PluginSlice {
            kind,
            call,
            roots: vec![OsString::from(ROOT)],
            remotes: vec!["10.0.0.2::web".to_owned()],
            debug: true,
            confinement: Confinement::none(),
        }
    }

    pub(crate) fn plugin(kind: PluginKind, call: Call) -> Plugin {
        Plugin::new(slice(kind, call), File::options().write(true).open("/dev/null").unwrap()).unwrap()
    }

    pub(crate) fn event(path: impl AsRef<[u8]>) -> PluginEvent {
        PluginEvent {
            tree: TreeId(0),
            path: RelPath::new(path.as_ref()).unwrap(),
            kind: EventKind::Changed,
            directory: false,
            mask: 8,
            time: 1_700_000_000_123,
            remotes: vec![(0, RemoteOutcome::Done)],
        }
    }

    /// What JSON says of [`event`].
    pub(crate) fn object(path: &str) -> String {
        let remotes = r#"[{"remote":"10.0.0.2::web","outcome":"done"}]"#;
        format!(
            r#"{{"path":"/w/{path}","kind":"changed","dir":false,"mask":8,"time":1700000000123,"remotes":{remotes}}}"#
        )
    }

    /// As long as a path below the root can be.
    pub(crate) fn longest() -> Vec<u8> {
        let component = [b'x'; 254];
        let mut path = component.to_vec();
        while path.len() + 1 + component.len() <= common::path::MAX_PATH {
            path.push(b'/');
            path.extend_from_slice(&component);
        }
        path
    }
}
