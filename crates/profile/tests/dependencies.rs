//! What a profile means does not depend on the machine that is asked.

use std::process::Command;

#[test]
fn nothing_that_it_depends_on_knows_an_operating_system() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "-p",
            env!("CARGO_PKG_NAME"),
            "-e",
            "normal",
            "--prefix",
            "none",
            "-f",
            "{p}",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.contains("serde_json "), "the tree is read: {tree}");
    for line in tree.lines() {
        let package = line.split(' ').next().unwrap();
        assert!(
            !["libc", "rustix", "nix", "tokio", "seccompiler", "linux-raw-sys"].contains(&package),
            "{tree}"
        );
    }
}
