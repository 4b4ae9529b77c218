//! The probe against a real kernel.

use std::process::Command;

/// Set in the child, which runs the same test with less memory to lock.
const CHILD: &str = "PROBE_CHILD";

#[test]
fn too_little_locked_memory_is_named() {
    if std::env::var_os(CHILD).is_some() {
        return println!("{}", runtime_glommio::probe().unwrap_err());
    }
    let output = Command::new("sh")
        .args(["-c", "ulimit -l 64 && exec \"$0\" --exact too_little_locked_memory_is_named --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let advice = " The limit on locked memory is 64 KiB and 512 KiB are needed: raise it (`ulimit -l 512`, \
                  LimitMEMLOCK=512K in a systemd unit, `--ulimit memlock=524288` for a container). \
                  `--runtime tokio` works without.";
    assert!(said.contains("it may lock too little memory."), "{said}");
    assert!(said.contains(advice), "{said}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
