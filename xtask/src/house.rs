//! What holds for the workspace as a whole, as tests: which crate may depend on which, where `unsafe` may be,
//! and how long a file may get.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::command;

/// Which crates of the workspace each library may name in its manifest. The binary may name all.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("syscall", &[]),
    ("notify", &["syscall"]),
    ("readarg", &["notify", "syscall"]),
    ("nsenter", &["notify", "syscall"]),
    ("registry", &["notify", "readarg", "syscall"]),
    ("recorder", &["registry", "profile", "syscall"]),
    ("handlers", &["registry", "nsenter"]),
    ("kuberesolver", &["registry"]),
    ("falco", &["registry"]),
    ("policy", &["registry", "handlers", "recorder", "syscall"]),
    ("profile", &["syscall"]),
    ("agent", &["registry", "notify", "syscall"]),
    ("launcher", &["notify", "profile", "syscall"]),
    ("sandbox", &["notify", "syscall"]),
];

/// Crates that may make raw system calls: four libraries, and the program that tests run in containers.
const MAY_BE_UNSAFE: [&str; 5] =
    ["crates/notify", "crates/readarg", "crates/nsenter", "crates/launcher", "tests/probe"];

/// What the operating system is reached through. A profile's meaning does not depend on one.
const OPERATING_SYSTEM: [&str; 5] = ["libc", "rustix", "nix", "tokio", "mio"];

/// More lines than this in one file are more than one subject.
const LONGEST_FILE: usize = 600;

/// The prefix that the packages of `crates/` have, but for the binary's.
const PREFIX: &str = "seccomp-agent-";

#[test]
fn a_crate_depends_on_no_more_than_its_place_allows() {
    let folders = std::fs::read_dir(root().join("crates")).unwrap();
    for folder in folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        if folder == "cli" {
            continue;
        }
        let row = MAY_DEPEND_ON.iter().find(|(name, _)| *name == folder);
        let (_, allowed) = row.unwrap_or_else(|| panic!("crates/{folder} has no row in the table"));
        for dependency in tree(&format!("{PREFIX}{folder}"), &["--depth", "1"]).iter().skip(1) {
            if let Some(dependency) = dependency.strip_prefix(PREFIX) {
                assert!(allowed.contains(&dependency), "crates/{folder} must not depend on {dependency}");
            }
        }
    }
}

#[test]
fn a_profiles_meaning_needs_no_operating_system() {
    let names: BTreeSet<_> = tree("seccomp-agent-profile", &[]).into_iter().collect();
    for name in OPERATING_SYSTEM {
        assert!(!names.contains(name), "seccomp-agent-profile depends on {name}");
    }
}

#[test]
fn unsafe_is_only_where_system_calls_are_made() {
    for file in sources() {
        if MAY_BE_UNSAFE.iter().any(|folder| file.starts_with(root().join(folder))) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for opening in ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"] {
            // Not even in a string: this file has to build what it looks for.
            let quoted = format!("\"{opening}\"");
            let found = code.clone().find(|line| line.contains(opening) && !line.contains(&quoted));
            assert_eq!(found, None, "{}", file.display());
        }
    }
}

#[test]
fn no_file_is_about_everything() {
    for file in sources() {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= LONGEST_FILE, "{} has {lines} lines", file.display());
    }
}

#[test]
fn the_bounds_in_the_security_model_are_those_of_the_sources() {
    let text = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut count = 0;
    for row in rows {
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [name, value, file, ..] = cells[..] else { panic!("{row}") };
        let source = std::fs::read_to_string(root().join(file)).unwrap();
        let defined =
            source.lines().find(|line| line.contains(&format!("const {name}: "))).unwrap_or_default();
        assert!(defined.ends_with(&format!(" = {value};")), "{name} is {defined:?} in {file}, not {value}");
        count += 1;
    }
    assert!(count > 10, "the table of bounds is not where it was");
}

fn root() -> PathBuf {
    command::root().unwrap()
}

/// The names of the packages that `package` is built from, itself first.
fn tree(package: &str, more: &[&str]) -> Vec<String> {
    let mut cargo =
        command::cargo(["tree", "--edges", "normal", "--prefix", "none", "--format", "{p}"]).unwrap();
    cargo.args(["--offline", "--package", package]).args(more);
    let said = command::output(&mut cargo).unwrap_or_else(|| panic!("cargo tree --package {package} failed"));
    said.lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
}

/// All Rust files of the workspace.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["bench", "crates", "examples", "tests", "xtask"] {
        collect(&root().join(folder), &mut found);
    }
    assert!(found.len() > 10, "the workspace's sources are not where they were");
    found
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}
