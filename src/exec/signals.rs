#![expect(unsafe_code, reason = "ignoring a signal has no safe interface")]
//! Signals that must never stop this program: while it stands still, nobody watches what runs.

/// Lets this program write to its terminal from the background, and be told of an error where it reads from it, instead of being
/// stopped (SIGTTOU, SIGTTIN). What is started from here has these signals at their default again.
pub fn use_the_terminal_from_the_background() {
    for signal in [libc::SIGTTIN, libc::SIGTTOU] {
        // SAFETY: no handler is installed, and nothing else in this program sets these two.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
