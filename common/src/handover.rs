//! BOUNDARY: descriptors that the supervisor opened for a role, which could not open them itself. They are
//! sent before the role is started, over a socket that is empty then, so nobody waits.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Most descriptors that are handed over at once.
pub const MOST: usize = 4;

/// Puts copies of `descriptors` into `socket`, with one byte. At most [`MOST`]; never blocks.
pub fn give(socket: impl AsFd, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if descriptors.len() > MOST || !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors at once"));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(socket, &[IoSlice::new(&[0])], &mut ancillary, flags)?;
    Ok(())
}

/// Takes what [`give`] put there; waits until it is there.
pub fn take(socket: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut taken = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            taken.extend(descriptors);
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write, pipe};
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_is_given_is_taken() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (mut reader, writer) = pipe().unwrap();
        give(&ours, &[writer.as_fd(), reader.as_fd()]).unwrap();
        (&ours).write_all(b"after").unwrap();
        drop(writer);
        let mut taken = take(&theirs).unwrap();
        assert_eq!(taken.len(), 2);
        taken.pop();
        io::PipeWriter::from(taken.pop().unwrap()).write_all(b"x").unwrap();
        let (mut said, mut rest) = (String::new(), [0; 5]);
        reader.read_to_string(&mut said).unwrap();
        theirs.read_exact(&mut rest).unwrap();
        assert_eq!((said.as_str(), &rest), ("x", b"after"));
    }

    #[test]
    fn nothing_and_too_much() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        assert!(give(&ours, &[theirs.as_fd(); MOST + 1]).is_err());
        drop(ours);
        assert!(take(&theirs).unwrap().is_empty());
    }
}
