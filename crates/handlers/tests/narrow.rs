//! A 32-bit program's calls, answered as any other's. Needs root, and a C compiler for 32-bit code without
//! libraries.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used)] // A failure ends the test, in its helpers too.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use seccomp_agent_handlers::{Directories, Numbers, Owners};
use seccomp_agent_notify::Features;
use seccomp_agent_registry::Registry;

/// Makes a directory, gives it away by the call with 16-bit ids, and exits with the sum of both errors.
const PROGRAM: &str = r#"
static int call(int number, const void *path, int first, int second) {
    int outcome;
    __asm__ volatile("int $0x80" : "=a"(outcome) : "a"(number), "b"(path), "c"(first), "d"(second) : "memory");
    return outcome;
}
void _start(void) {
    int made = call(39, "narrow", 0777, 0);
    int given = call(182, "narrow", 0xffff, 2000);
    call(1, (void *)(-made - given), 0, 0);
}
"#;

#[test]
fn a_32_bit_program_is_served_with_its_own_call_numbers() {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    support::tree::build(root.path());
    let (source, program) = (root.path().join("narrow.c"), root.path().join("narrow"));
    fs::write(&source, PROGRAM).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args([
        "-m32",
        "-nostdlib",
        "-static",
        "-ffreestanding",
        "-fno-pie",
        "-no-pie",
        "-fno-stack-protector",
        "-o",
    ]);
    assert!(compiler.arg(&program).arg(&source).status().unwrap().success());

    let mut registry = Registry::new();
    registry.on("mkdir", Directories::with_suffix("-made")).unwrap();
    // Where the directory has another name, chown fails: ENOENT, 2.
    registry.on("chown", Owners::granting(Numbers::none(), Numbers::all())).unwrap();
    let script = format!("cd {0}/w; {0}/narrow; echo $?", root.path().display());
    let said = support::script(Some(registry), Features::probe(), 1000, || (), script.clone());
    assert_eq!(said, "2\n");
    let made = fs::metadata(root.path().join("w/narrow-made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (1000, 1000));

    let mut registry = Registry::new();
    registry.on("mkdir", Directories::new()).unwrap();
    registry.on("chown", Owners::granting(Numbers::none(), Numbers::all())).unwrap();
    assert_eq!(support::script(Some(registry), Features::probe(), 1000, || (), script), "0\n");
    let made = fs::metadata(root.path().join("w/narrow")).unwrap();
    assert_eq!(
        (made.uid(), made.gid()),
        (1000, 2000),
        "-1 of 16 bits leaves the owner, the group is granted"
    );
}
