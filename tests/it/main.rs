//! The integration tests, one binary. They run the program as a user would, on real processes, files and terminals.

mod quickstart;
mod runs;
mod support;
mod tidy;
