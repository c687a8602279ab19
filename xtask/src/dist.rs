//! What a release is made of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use seccomp_agent_tests::binaries;

use crate::command;
use crate::image::{Image, hex};

/// The options of `dist`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to put it [default: `dist` in the target directory]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// What the manifests in `deploy/` call the image.
pub(crate) const IMAGE: &str = concat!("docker.io/library/seccomp-agent:", env!("CARGO_PKG_VERSION"));

/// The shells that completions are made for, and what their scripts are called.
const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "seccomp-agent.bash"), ("zsh", "_seccomp-agent"), ("fish", "seccomp-agent.fish")];

/// Makes the program, linked statically, its manual pages, completions and image.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let output = options
        .output
        .clone()
        .map_or_else(|| Ok(binaries::target_directory()?.join("dist")), Ok::<_, anyhow::Error>)?;
    let program = build()?;
    empty(&output)?;
    let agent = output.join("seccomp-agent");
    fs::copy(&program, &agent).with_context(|| format!("cannot copy {}", program.display()))?;
    let (man, completions) = (output.join("man"), output.join("completions"));
    empty(&man)?;
    empty(&completions)?;
    command::run(Command::new(&agent).arg("man").arg(&man))?;
    for (shell, name) in COMPLETIONS {
        let script = command::output(Command::new(&agent).args(["completion", shell]));
        fs::write(
            completions.join(name),
            script.with_context(|| format!("no completions for {shell}"))? + "\n",
        )?;
    }
    write_image(&agent, &output)?;
    let sums = sums(&output)?;
    fs::write(output.join("SHA256SUMS"), &sums)?;
    println!("{sums}{} has it all", output.display());
    Ok(())
}

/// The agent as tests put it into pods: linked statically as the one that is shipped, but not optimised. Returns its image.
pub(crate) fn for_tests() -> anyhow::Result<PathBuf> {
    let output = binaries::target_directory()?.join(binaries::IMAGE_DIRECTORY);
    let mut build = command::cargo(["rustc", "--quiet", "--package", "seccomp-agent"])?;
    command::run(build.args(["--", "-C", "target-feature=+crt-static", "-C", "strip=symbols"]))?;
    empty(&output)?;
    let agent = output.join("seccomp-agent");
    fs::copy(binaries::target_directory()?.join("debug/seccomp-agent"), &agent)?;
    write_image(&agent, &output)
}

/// Builds the program. What it is does not depend on where: paths of this machine are left out, and what it is linked with is
/// locked. The C library is the one that the tests run with; since glibc 2.34 names are looked up by what is in it.
fn build() -> anyhow::Result<PathBuf> {
    let directory = binaries::target_directory()?.join("dist-build");
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home =
        cargo_home.or_else(|| Some(std::env::home_dir()?.join(".cargo"))).context("there is no home")?;
    let flags = format!(
        "-Ctarget-feature=+crt-static -Cstrip=symbols --remap-path-prefix={}=/seccomp-agent --remap-path-prefix={}=/cargo",
        command::root()?.display(),
        cargo_home.display(),
    );
    let target =
        command::output(Command::new("rustc").arg("--print=host-tuple")).context("rustc does not run")?;
    let mut build = command::cargo(["build", "--release", "--locked", "--package", "seccomp-agent"])?;
    // With a target named, the flags are not for what runs while it is built.
    build.arg("--target").arg(&target).arg("--target-dir").arg(&directory).env("RUSTFLAGS", flags);
    command::run(&mut build)?;
    Ok(directory.join(target).join("release/seccomp-agent"))
}

fn write_image(agent: &Path, output: &Path) -> anyhow::Result<PathBuf> {
    let labels = [
        ("org.opencontainers.image.title", "seccomp-agent"),
        ("org.opencontainers.image.version", env!("CARGO_PKG_VERSION")),
        ("org.opencontainers.image.source", env!("CARGO_PKG_REPOSITORY")),
        ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE")),
    ];
    let archive = Image { name: IMAGE, program: agent, labels: &labels }.archive()?;
    let path = output.join(binaries::IMAGE_FILE);
    fs::write(&path, archive).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// A directory that is there, and empty.
fn empty(directory: &Path) -> anyhow::Result<()> {
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))
}

/// What `sha256sum --check` reads.
fn sums(directory: &Path) -> anyhow::Result<String> {
    let sum = |name: &&str| Ok(format!("{}  {name}\n", hex(&fs::read(directory.join(name))?)));
    ["seccomp-agent", binaries::IMAGE_FILE].iter().map(sum).collect()
}
