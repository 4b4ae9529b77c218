//! A cluster is followed, and statuses are written, against an API server with all its faults.
//!
//! Times are short here, so that what takes minutes in earnest takes a moment; no test depends on how short.

// All of it is test: it stops at the first surprise.
#![cfg(test)]

mod log;
mod reading;
mod scene;
mod troubles;
mod writing;
