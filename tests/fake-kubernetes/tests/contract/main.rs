//! What a Kubernetes API server does, and the fake with it: one test for each behaviour, held against the fake and, where
//! `TEST_KUBECONFIG` names one, a real server. Behaviours that need a fault are held against the fake alone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

mod faults;
mod reading;
mod subject;
mod writing;
