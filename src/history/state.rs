//! The state of a run, as the fold of its events.
