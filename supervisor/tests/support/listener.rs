//! Somebody to be told: a TCP listener that keeps what each connection brought.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::pause;

/// What a listener does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Reads to the end.
    Listens,
    /// Reads a request with its body and answers `200 OK`, after so long.
    Answers(Duration),
    /// Accepts and never reads or says anything.
    Silent,
}

/// The listener; gone when dropped.
pub struct Listener {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// On a free port.
    pub fn new(manner: Manner) -> Listener {
        Listener::on(0, manner)
    }

    /// On that port.
    pub fn on(port: u16, manner: Manner) -> Listener {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heard, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (keep, end) = (heard.clone(), over.clone());
        let thread = thread::spawn(move || {
            let mut held = Vec::new();
            while !end.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) if manner == Manner::Silent => held.push(stream),
                    Ok((stream, _)) => {
                        let keep = keep.clone();
                        thread::spawn(move || serve(stream, manner, &keep));
                    }
                    Err(_) => pause(Duration::from_millis(2)),
                }
            }
        });
        Listener { port, heard, over, thread: Some(thread) }
    }

    /// What each connection brought so far, as text.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// Whether some connection brought exactly that.
    pub fn has(&self, wanted: &str) -> bool {
        self.heard.lock().unwrap().iter().any(|bytes| bytes == wanted.as_bytes())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut stream: TcpStream, manner: Manner, keep: &Mutex<Vec<Vec<u8>>>) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut bytes = Vec::new();
    match manner {
        Manner::Answers(after) => loop {
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).unwrap_or(0);
            bytes.extend_from_slice(&buffer[..length]);
            if length > 0 && !is_complete(&bytes) {
                continue;
            }
            if bytes.is_empty() {
                return;
            }
            pause(after);
            keep.lock().unwrap().push(std::mem::take(&mut bytes));
            let answer = b"HTTP/1.1 200 OK\r\nwhatsup: content=\"succeed\"\r\nContent-Length: 0\r\n\r\n";
            if stream.write_all(answer).is_err() || length == 0 {
                return;
            }
        },
        Manner::Listens => {
            if stream.read_to_end(&mut bytes).is_ok() {
                keep.lock().unwrap().push(bytes);
            }
        }
        Manner::Silent => {}
    }
}

/// Whether a request's headers and body are there.
fn is_complete(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    body.len() >= length.unwrap_or(0)
}
