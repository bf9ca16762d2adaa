//! The kernel's process events: the proc connector (Documentation/driver-api/connector.rst, include/uapi/linux/cn_proc.h in the
//! kernel's source). Told of every program that starts and every change of user, at once. For root in the machine's first pid
//! namespace only. An event is a hint: it makes a watch look.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with, sockopt,
};

/// `CN_IDX_PROC` and `CN_VAL_PROC`: the connector of process events; the index is also its multicast group.
const PROCESS_EVENTS: u32 = 1;
/// `PROC_CN_MCAST_LISTEN` and `PROC_CN_MCAST_IGNORE`.
const LISTEN: u32 = 1;
const IGNORE: u32 = 2;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// The `what` of an acknowledgement, of an exec, and of a changed user id.
const NONE: u32 = 0;
const EXEC: u32 = 2;
const UID: u32 = 4;
/// Room for events that wait to be read: about 100,000 of them.
const QUEUE: usize = 8 * 1024 * 1024;

/// The lengths of `nlmsghdr` and `cn_msg`, which come before the event.
const NETLINK_HEADER: usize = 16;
const CONNECTOR_HEADER: usize = 20;
/// Where in the event the data begins: after `what`, `cpu` and the time stamp.
const EVENT_DATA: usize = 16;

/// A socket to which the kernel tells its process events.
pub(super) struct Connector {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// What draining the socket gave.
pub(super) struct Drained {
    /// The processes that started a program or changed their user, in order.
    pub(super) pids: Vec<u32>,
    /// Whether events were lost.
    pub(super) loss: Loss,
}

/// Whether events were lost because they came faster than they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// None was.
    None,
    /// Some were.
    Some,
}

impl Connector {
    /// Subscribes, and waits for the kernel to say that it did; the reason in words if it does not.
    pub(super) fn open() -> Result<Self, String> {
        let refused = |what: &str, errno: Errno| match errno {
            Errno::PERM | Errno::ACCESS => "they are for root only".to_owned(),
            errno => format!("{what}: {errno}"),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::CONNECTOR))
            .map_err(|errno| refused("no socket", errno))?;
        if sockopt::set_socket_recv_buffer_size_force(&socket, QUEUE).is_err() {
            // Without the right to exceed the limit, as much as the limit allows.
            sockopt::set_socket_recv_buffer_size(&socket, QUEUE).ok();
        }
        bind(&socket, &SocketAddrNetlink::new(0, PROCESS_EVENTS)).map_err(|errno| refused("no binding", errno))?;
        send(&socket, &subscription(&[LISTEN]), SendFlags::empty()).map_err(|errno| refused("no request", errno))?;
        let mut connector = Self { socket, buffer: vec![0; 64 * 1024] };
        connector.await_acknowledgement()?;
        // Newer kernels (6.6) tell only what is asked for. Older ones do not know this longer request, ignore it and tell everything.
        send(&connector.socket, &subscription(&[LISTEN, EXEC | UID]), SendFlags::empty())
            .map_err(|errno| refused("no request", errno))?;
        Ok(connector)
    }

    /// Reads every event that waits.
    pub(super) fn drain(&mut self) -> Drained {
        let mut drained = Drained { pids: Vec::new(), loss: Loss::None };
        loop {
            match recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((_, read)) => {
                    let told = self.buffer.get(..read).and_then(event);
                    drained.pids.extend(told.filter(|&(what, _)| what == EXEC || what == UID).map(|(_, pid)| pid));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return drained,
                // ENOBUFS is the kernel's word for lost events, said once; what still waits is read. After any other error nothing is
                // sure either; should it come again, there is no more to read.
                Err(_) if drained.loss == Loss::Some => return drained,
                Err(_) => drained.loss = Loss::Some,
            }
        }
    }

    fn await_acknowledgement(&mut self) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs(1);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("the kernel does not tell them here".to_owned());
            }
            let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) };
            poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&wait)).ok();
            if let Ok((_, read)) = recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::empty())
                && let Some((NONE, error)) = self.buffer.get(..read).and_then(event)
            {
                return if error == 0 { Ok(()) } else { Err(format!("the kernel refuses (error {error})")) };
            }
        }
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        // Older kernels go on making events for a listener that never said that it is gone.
        send(&self.socket, &subscription(&[IGNORE]), SendFlags::empty()).ok();
    }
}

impl AsFd for Connector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A netlink message that carries a request to the connector.
fn subscription(words: &[u32]) -> Vec<u8> {
    let payload = 4 * words.len();
    let total = NETLINK_HEADER + CONNECTOR_HEADER + payload;
    let mut message = Vec::with_capacity(total);
    message.extend(u32::try_from(total).expect("the message is short").to_ne_bytes());
    message.extend(DONE.to_ne_bytes());
    message.extend(0_u16.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    // The connector's header: index, value, sequence, acknowledgement, length, flags.
    message.extend(PROCESS_EVENTS.to_ne_bytes());
    message.extend(PROCESS_EVENTS.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(u16::try_from(payload).expect("the message is short").to_ne_bytes());
    message.extend(0_u16.to_ne_bytes());
    for word in words {
        message.extend(word.to_ne_bytes());
    }
    message
}

/// What happened, and the process it happened to (of an acknowledgement: its error).
fn event(message: &[u8]) -> Option<(u32, u32)> {
    let event = message.get(NETLINK_HEADER + CONNECTOR_HEADER..)?;
    let word = |at: usize| event.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    match word(0)? {
        NONE => Some((NONE, word(EVENT_DATA)?)),
        // The data begins with the id of the thread and then that of its process.
        what => Some((what, word(EVENT_DATA + 4)?)),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::{Connector, EXEC, Loss, event};

    #[test]
    fn the_kernel_tells_of_a_program_that_starts() {
        let mut connector = Connector::open().unwrap();
        let mut child = Command::new("/bin/true").spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(5);
        let mut told = false;
        while !told && Instant::now() < until {
            let second = Timespec { tv_sec: 1, tv_nsec: 0 };
            poll(&mut [PollFd::new(&connector, PollFlags::IN)], Some(&second)).unwrap();
            let drained = connector.drain();
            assert_eq!(drained.loss, Loss::None);
            told = drained.pids.contains(&child.id());
        }
        child.wait().unwrap();
        assert!(told);
    }

    #[test]
    fn a_message_that_is_cut_off_is_no_event() {
        for length in 0..60 {
            let message = vec![u8::try_from(EXEC).unwrap(); length];
            assert_eq!(event(&message).is_some(), length >= 60, "{length}");
        }
    }
}
