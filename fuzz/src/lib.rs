//! What each fuzzer does with its bytes. The workspace's own tests do the same with the corpus, on
//! stable Rust (`supervisor/tests/corpus.rs`).
#![allow(
    unreachable_pub,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a panic is what a fuzzer looks for"
)]

use common::config::{Config, PluginKind, Severity, dump, parse, render};
use common::keep::KeeperReport;
use common::message::{PageReport, PluginReport, SyncerReport, WatcherReport};
use common::wire::{MAX_FRAME, decode};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A config file: read or refused, and what is read is written so that it reads the same.
pub fn config(bytes: &[u8]) {
    let parsed = parse(bytes);
    let _ = render(&parsed, "confxml.xml");
    for diagnostic in &parsed.diagnostics {
        let place = diagnostic.span.clone();
        assert!(parsed.text.is_empty() || parsed.text.get(place).is_some(), "{diagnostic:?}");
        assert!(diagnostic.help.is_some(), "{diagnostic:?}");
    }
    let is_bad = parsed.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    assert_eq!(parsed.config.is_none(), is_bad);
    if let Some(config) = parsed.config {
        let text = dump(&config);
        let again = parse(&text);
        assert_eq!(again.config, Some(without_secrets(config)), "{}", render(&again, "dump"));
    }
}

/// Passwords are not written.
fn without_secrets(mut config: Config) -> Config {
    for plugin in &mut config.plugins {
        if let PluginKind::RefreshCdn(cdn) = &mut plugin.kind {
            "***".clone_into(&mut cdn.password);
        }
    }
    config
}

/// A frame from a role, the first byte says which: refused, or a report that is the same when it is
/// sent on.
pub fn frame(bytes: &[u8]) {
    let (role, frame) = bytes.split_first().unwrap_or((&0, &[]));
    match role % 4 {
        0 => report::<WatcherReport>(frame),
        1 => report::<SyncerReport>(frame),
        2 => {
            report::<PluginReport>(frame);
            // Of the same bytes: what the first byte means to the frames of the corpus stays.
            report::<PageReport>(frame);
        }
        _ => report::<KeeperReport>(frame),
    }
}

fn report<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(frame: &[u8]) {
    if frame.len() > MAX_FRAME {
        return;
    }
    let Ok(report) = decode::<T>(frame) else { return };
    let again = postcard::to_allocvec(&report).expect("what was decoded has an encoding");
    assert_eq!(decode::<T>(&again).ok().as_ref(), Some(&report));
}

/// Dirty paths into lists, or, by the first byte, the words of an rsync.
pub fn lists(bytes: &[u8]) {
    let (which, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let told = if which % 2 == 0 { syncer::fuzzed::lists(rest) } else { syncer::fuzzed::words(rest) };
    if let Err(broken) = told {
        panic!("{broken}");
    }
}
