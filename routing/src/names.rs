//! Names of tools and prompts as clients see them when several targets stand behind one URL: `target_name`.
//!
//! Model APIs take `^[a-zA-Z0-9_-]{1,64}$` and refuse a whole request for one bad name, so a name that would be
//! longer or has other characters is shortened in the same way every time, with a hash of the full name at its end.

use crate::{Backend, Target, TargetName};
use std::sync::Arc;

/// The longest name a client is shown.
pub const LONGEST: usize = 64;

/// What `name` of `target` is called towards clients.
///
/// Legal names up to [`LONGEST`] are `target_name`; all others keep their legal characters (others become `_`), are
/// cut, and end with `_` and eight hexadecimal digits of a hash over the full name. See [`is_plain`].
#[must_use]
pub fn federated(target: &TargetName, name: &str) -> String {
    let target = target.as_str();
    let mut text = String::with_capacity(target.len() + 1 + name.len());
    text.push_str(target);
    text.push('_');
    if is_plain(target, name) {
        text.push_str(name);
        return text;
    }
    let hash = fnv1a(target.bytes().chain([b'_']).chain(name.bytes()));
    text.extend(name.chars().map(|c| if legal(c) { c } else { '_' }));
    text.truncate(LONGEST - 9);
    text.push('_');
    text.push_str(&format!("{:08x}", (hash >> 32) as u32 ^ hash as u32));
    text
}

/// Whether the federated form is just `target_name`, from which [`split`] finds the way back without a table.
#[must_use]
pub fn is_plain(target: &str, name: &str) -> bool {
    !name.is_empty() && target.len() + 1 + name.len() <= LONGEST && name.chars().all(legal)
}

/// Whether `federated` has the form of a shortened name, so that only a list of the target tells what it stands for.
#[must_use]
pub fn may_be_shortened(federated: &str) -> bool {
    match federated.rsplit_once('_') {
        Some((_, hash)) => hash.len() == 8 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
        None => false,
    }
}

/// The target that a federated name is addressed to and the name the target knows. A shortened name splits too, but
/// its second part is not what the target knows: a table that remembers shortened names goes first.
#[must_use]
pub fn split<'b, 'n>(backend: &'b Backend, federated: &'n str) -> Option<(&'b Arc<Target>, &'n str)> {
    let (target, name) = federated.split_once('_')?;
    if name.is_empty() {
        return None;
    }
    Some((backend.target(target)?, name))
}

/// What stands between a target and the name of its logger.
pub const BEHIND_LOGGER: &str = "/";

/// `name` as the log prefix of a target: `target/name`.
#[must_use]
pub fn logger(target: &TargetName, name: &str) -> String {
    format!("{target}{BEHIND_LOGGER}{name}")
}

fn legal(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// FNV-1a, 64 bit: short, fixed for ever, and good enough to tell the long names of one target apart.
fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BackendName;

    fn name(text: &str) -> TargetName {
        TargetName::parse(text).unwrap()
    }

    #[test]
    fn short_legal_names_get_a_prefix() {
        assert_eq!(federated(&name("time"), "get_now"), "time_get_now");
    }

    #[test]
    fn long_and_illegal_names_are_shortened_for_good() {
        let long = "x".repeat(80);
        let other = format!("{}y", "x".repeat(79));
        let shortened = federated(&name("time"), &long);
        assert_eq!(shortened.len(), LONGEST);
        assert!(shortened.starts_with("time_xxx"));
        assert_ne!(shortened, federated(&name("time"), &other));
        assert_eq!(shortened, federated(&name("time"), &long));

        assert!(may_be_shortened(&shortened));
        assert!(!may_be_shortened("time_get_now"));

        let dotted = federated(&name("time"), "a.b/ü");
        assert!(dotted.starts_with("time_a_b___"), "{dotted}");
        assert_ne!(dotted, federated(&name("time"), "a_b/ü"));
        assert!(dotted.chars().all(legal));
    }

    #[test]
    fn a_long_target_name_leaves_room_for_the_hash() {
        let target = name(&"t".repeat(63));
        let federated = federated(&target, "tool");
        assert!(federated.len() <= LONGEST);
    }

    #[test]
    fn splits_at_the_first_underscore() {
        let target = |text| Target::new(name(text), "127.0.0.1:1".parse().unwrap(), "/mcp");
        let backend = Backend::mcp(BackendName::default(), vec![target("a"), target("a-b")]).unwrap();
        let (target, tool) = split(&backend, "a-b_c_d").unwrap();
        assert_eq!((target.name().as_str(), tool), ("a-b", "c_d"));
        assert!(split(&backend, "a_").is_none());
        assert!(split(&backend, "b_c").is_none());
        assert!(split(&backend, "plain").is_none());
    }
}
