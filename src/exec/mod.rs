//! Processes: start, contain, freeze, end, output.
