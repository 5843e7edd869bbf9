//! The other end of a connection: a listener whose manners the test chooses.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// Longest time that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A listener, and what those it heard have said.
pub(crate) struct Peer<T> {
    /// Where it listens, on 127.0.0.1.
    pub(crate) port: u16,
    heard: Receiver<T>,
}

impl<T: Send + 'static> Peer<T> {
    /// Each connection is served by `serve` on a thread of its own, which ends with the test.
    pub(crate) fn new(serve: impl Fn(TcpStream, &Sender<T>) + Clone + Send + 'static) -> Peer<T> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, heard) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (serve, sender) = (serve.clone(), sender.clone());
                thread::spawn(move || serve(stream.unwrap(), &sender));
            }
        });
        Peer { port, heard }
    }

    /// The next thing it has to tell.
    pub(crate) fn next(&self) -> T {
        self.heard.recv_timeout(PATIENCE).unwrap()
    }

    /// Whatever it has told so far.
    pub(crate) fn all(&self) -> Vec<T> {
        self.heard.try_iter().collect()
    }
}

/// Reads to the end of the stream, and tells it.
pub(crate) fn listen(mut stream: TcpStream, sender: &Sender<Vec<u8>>) {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    sender.send(all).unwrap();
}

/// Reads the head of a request.
pub(crate) fn head(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.extend_from_slice(&byte);
    }
    Some(head)
}

/// Says `word` again and again, until nobody listens or 1 GiB is out.
pub(crate) fn flood(stream: &mut impl Write, word: &[u8]) {
    let chunk = word.repeat(64 * 1024 / word.len());
    let mut said = 0_usize;
    while said < 1 << 30 && stream.write_all(&chunk).is_ok() {
        said += chunk.len();
    }
}

/// A port where nobody listens.
pub(crate) fn deaf_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
