//! What comes next.
