//! A legacy target asks while it works on a modern client's call: parked calls.
