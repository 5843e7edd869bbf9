//! A TCP relay in front of a daemon that counts what passes, both ways.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::pause;

/// The relay; gone when dropped, with all its connections.
pub struct Proxy {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    bytes: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// In front of that port.
    pub fn new(target: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (bytes, connections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let over = Arc::new(AtomicBool::new(false));
        let (counted, made, end) = (bytes.clone(), connections.clone(), over.clone());
        let thread = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let Ok((client, _)) = listener.accept() else {
                    pause(Duration::from_millis(1));
                    continue;
                };
                made.fetch_add(1, Ordering::Relaxed);
                client.set_nonblocking(false).unwrap();
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) {
                    relay(&client, &server, &counted);
                    relay(&server, &client, &counted);
                }
            }
        });
        Proxy { port, bytes, connections, over, thread: Some(thread) }
    }

    /// What has passed, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many connections there were.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn relay(from: &TcpStream, to: &TcpStream, counted: &Arc<AtomicU64>) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let _ = to.set_nodelay(true);
    let counted = counted.clone();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            counted.fetch_add(length.try_into().unwrap(), Ordering::Relaxed);
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        // Whoever reads there learns of the end; whoever writes here too.
        let _ = to.shutdown(Shutdown::Write);
        let _ = from.shutdown(Shutdown::Read);
    });
}
