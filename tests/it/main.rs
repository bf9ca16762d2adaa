//! The integration tests, one binary. They run the program as a user would, on real processes, files, databases and terminals.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a test fails it, with its place")]

mod approvals;
mod archives;
mod audit_reading;
mod audit_report;
mod bundles;
mod checkpoints;
mod command_lines;
mod crash;
#[path = "../executable.rs"]
mod executable;
mod exports;
mod faults;
mod glass;
mod incident;
mod interrupts;
#[path = "../lab/mod.rs"]
mod lab;
mod locks;
mod log_keys;
mod monit_states;
mod monitoring;
mod mutations;
mod overrides;
mod planned;
mod planned_signed;
mod plans;
mod playing;
mod policy;
mod postgres_states;
mod programs;
mod quickstart;
mod random;
mod redact;
mod redact_words;
mod reruns;
mod runs;
mod signatures;
mod signed_overrides;
mod signed_unlock;
mod signing;
mod sinks;
mod support;
mod take_over;
mod telling;
mod terminal;
mod tidy;
mod unlock;
mod way_back;
mod worked_example;
mod years;
