//! History for people and programs.
