//! `deploy/Containerfile`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use seccomp_agent_tests::{Bed, Podman};

#[test]
fn the_containerfile_makes_the_same_image_of_the_same_program() {
    let bed = Bed::new().unwrap();
    let podman = Podman::over("runc", &bed).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/Containerfile");
    let context = |name: &str, content: &str, mode| {
        let context = bed.subdirectory(name).unwrap();
        let program = context.join("seccomp-agent");
        fs::write(&program, content).unwrap();
        fs::set_permissions(program, fs::Permissions::from_mode(mode)).unwrap();
        context
    };
    // Neither when nor from where nor under which umask counts.
    let image = podman.build(&file, &context("a.", "program", 0o700)).unwrap();
    let again = podman.build(&file, &context("b.", "program", 0o775)).unwrap();
    assert_eq!(image, again);
    assert_ne!(image, podman.build(&file, &context("c.", "another", 0o700)).unwrap());
    let entry = podman.inspect(&image, "{{.Config.Entrypoint}} {{.Config.User}}").unwrap();
    assert_eq!(entry.trim(), "[/seccomp-agent]");
}
