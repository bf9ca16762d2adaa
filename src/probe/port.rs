//! The `port` probe: connects, and says what came of it. Accepted is open, refused is closed, and everything else (a time-out, an
//! unreachable host, a name that cannot be resolved) is unknown.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::evidence::{Look, bounded};
use crate::runbook::duration;
use crate::runbook::model::{PortProbe, PortState};

/// Connects once to each address of the host, within the probe's time-out altogether.
pub(super) fn look(probe: &PortProbe) -> Look {
    let until = Instant::now() + probe.timeout;
    let place = format!("{}:{}", bounded(&probe.host, 120), probe.port);
    let addresses = match resolve(&probe.host, probe.port, probe.timeout) {
        Ok(addresses) => addresses,
        Err(why) => return Look::unknown(format!("{place}: {why}")),
    };
    let mut untold = None;
    for address in &addresses {
        match connect(address, until) {
            Ok(Answer::Accepted) => {
                return Look::told(probe.state == PortState::Open, format!("{place} accepts connections"));
            }
            Ok(Answer::Refused) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                untold.get_or_insert(format!("no answer within {}", duration::show(probe.timeout)));
            }
            Err(error) => {
                untold.get_or_insert(error.to_string());
            }
        }
    }
    match untold {
        Some(why) => Look::unknown(format!("whether {place} is open cannot be told: {why}")),
        None if addresses.is_empty() => Look::unknown(format!("{place}: the name has no address")),
        None => Look::told(probe.state == PortState::Closed, format!("{place} refuses connections")),
    }
}

enum Answer {
    Accepted,
    Refused,
}

fn connect(address: &SocketAddr, until: Instant) -> io::Result<Answer> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    match TcpStream::connect_timeout(address, left) {
        // Where nobody listens, a connection from the very same port can meet itself.
        Ok(stream) if stream.local_addr()? == *address => Ok(Answer::Refused),
        Ok(_) => Ok(Answer::Accepted),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Answer::Refused),
        Err(error) => Err(error),
    }
}

/// Resolves a name in a thread of its own, since the resolver knows no time-out.
fn resolve(host: &str, port: u16, timeout: Duration) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (tell, told) = mpsc::channel();
    let name = host.to_owned();
    let started = thread::Builder::new().name("resolve".to_owned()).spawn(move || {
        let addresses = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // Nobody listens any more when the time is over; the answer is then of no use.
        drop(tell.send(addresses));
    });
    if let Err(error) = started {
        return Err(format!("the name cannot be resolved: {error}"));
    }
    match told.recv_timeout(timeout) {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(format!("the name cannot be resolved: {error}")),
        Err(_) => Err(format!("the name was not resolved within {}", duration::show(timeout))),
    }
}
