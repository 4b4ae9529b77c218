//! The whole gateway between real clients and real servers, on both runtimes.
//!
//! [`parts`] finds what `tests/parts/install` has put under `target/parts` and starts servers from it, [`gateway`]
//! starts the gateway before them, [`clients`], [`conformance`] and [`matrix`] run official programs against it, and
//! [`rmcp`] is the Rust client among them. [`seed`] does by hand what they do. In [`kubernetes`] a cluster says what the
//! gateway serves.

mod clients;
mod conformance;
mod gateway;
mod kubernetes;
mod matrix;
mod parts;
mod process;
mod rmcp;
mod seed;

/// Runs each of these functions as a test of its own on either runtime.
#[macro_export]
macro_rules! on_both_runtimes {
    ($($test:ident),* $(,)?) => {
        mod tokio {
            $(#[test] fn $test() { super::$test($crate::gateway::Runtime::Tokio); })*
        }
        mod glommio {
            $(#[test] fn $test() { super::$test($crate::gateway::Runtime::Glommio); })*
        }
    };
}
