//! The same bytes through both runtimes, from a client and targets that are nothing but sockets.
//!
//! [`gateway`] runs the real command, [`wire`] is one scripted end of a connection, [`talk`] a script of
//! several. [`conversations`] and, across eras and transports, [`eras`] hold
//! them to equal transcripts, [`bulk`] to bounded memory, [`hygiene`] to the descriptors they leave behind,
//! [`system_calls`] to what they ask of the kernel.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

mod bulk;
mod conversations;
mod eras;
mod gateway;
mod hygiene;
mod system_calls;
mod talk;
mod wire;

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
