//! What an error of the operating system means to the core.

use mcp_proto::Fault;
use std::io::{Error, ErrorKind};

pub(crate) fn fault(error: &Error) -> Fault {
    match error.kind() {
        ErrorKind::ConnectionRefused => Fault::Refused,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Fault::Reset,
        ErrorKind::TimedOut => Fault::TimedOut,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            Fault::Unreachable
        }
        _ => Fault::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_operating_system_become_faults() {
        // Numbers as Linux gives them.
        let table = [
            (111, Fault::Refused),
            (104, Fault::Reset),
            (103, Fault::Reset),
            (32, Fault::Reset),
            (110, Fault::TimedOut),
            (113, Fault::Unreachable),
            (101, Fault::Unreachable),
            (100, Fault::Unreachable),
            (24, Fault::Other),
            (22, Fault::Other),
        ];
        for (number, expected) in table {
            assert_eq!(fault(&Error::from_raw_os_error(number)), expected, "errno {number}");
        }
    }
}
