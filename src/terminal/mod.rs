//! Prompts and live progress.
