//! Mistakes of an author: what, where, and how they are shown.
