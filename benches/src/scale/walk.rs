//! The bare minimum that a watcher of a tree has to do: read every directory and put a watch on it,
//! with two threads. Nothing is remembered.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use inotify::{Inotify, WatchMask, Watches};

use crate::outcome::{Outcome, failed};

/// How many threads walk.
const THREADS: usize = 2;

/// What the threads share.
struct Walk {
    waiting: Mutex<Vec<PathBuf>>,
    /// Directories that are waiting or being read.
    open: AtomicUsize,
    watched: AtomicUsize,
}

/// Walks `top`; how long it took, and how many directories it watched.
pub(crate) fn walk(top: &Path) -> Outcome<(Duration, usize)> {
    let inotify = Inotify::init()?;
    let walk = Walk {
        waiting: Mutex::new(vec![top.to_owned()]),
        open: AtomicUsize::new(1),
        watched: AtomicUsize::new(0),
    };
    let start = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| walk.turn(inotify.watches()))).collect();
        for thread in threads {
            thread.join().map_err(|_| failed("a walking thread died"))??;
        }
        Ok::<(), std::io::Error>(())
    })?;
    Ok((start.elapsed(), walk.watched.load(Ordering::Relaxed)))
}

impl Walk {
    fn turn(&self, mut watches: Watches) -> Outcome<()> {
        let mask = WatchMask::CREATE | WatchMask::CLOSE_WRITE | WatchMask::DELETE | WatchMask::MOVE;
        while self.open.load(Ordering::Acquire) > 0 {
            let next = self.waiting.lock().map_err(|_| failed("a walking thread died"))?.pop();
            let Some(directory) = next else {
                thread::yield_now();
                continue;
            };
            watches.add(&directory, mask)?;
            self.watched.fetch_add(1, Ordering::Relaxed);
            let mut below = Vec::new();
            for entry in fs::read_dir(&directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    below.push(entry.path());
                }
            }
            self.open.fetch_add(below.len(), Ordering::AcqRel);
            self.waiting.lock().map_err(|_| failed("a walking thread died"))?.append(&mut below);
            self.open.fetch_sub(1, Ordering::AcqRel);
        }
        Ok(())
    }
}
