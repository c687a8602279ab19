use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use seccomp_agent_recorder::{Name, Recording, Store};

use super::directory::Directory;

/// The options of `recordings merge`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "seccomp-agent recordings merge NAME FILE|DIR…\n       seccomp-agent recordings merge --all DIR…",
    long_about = "Add the runs of other recordings, such as those of other nodes\n\n\
    A FILE is a recording, whatever its name. Of a DIR it is the recording NAME in it, or with --all every one, each \
    added to that of its own name here. Nothing is changed unless all of them can be read."
)]
pub(super) struct MergeArgs {
    /// Every recording in the directories, each by its own name
    #[arg(long)]
    all: bool,
    /// The recording to add to, and what to add
    #[arg(required = true, value_name = "NAME, FILE or DIR")]
    words: Vec<PathBuf>,
}

#[allow(clippy::print_stdout)] // What was done.
pub(super) fn merge(directory: &Directory, args: &MergeArgs) -> anyhow::Result<()> {
    let additions = if args.all { every(&args.words)? } else { named(&args.words)? };
    ensure!(!additions.is_empty(), "there is nothing to add");
    let store = directory.open()?;
    let here = directory.path().canonicalize().context("the directory of recordings")?;
    for addition in &additions {
        let from = addition.from.canonicalize()?;
        ensure!(from.parent() != Some(&here), "{} is here already", addition.from.display());
    }
    for Addition { name, recording, from } in &additions {
        let merged = store.add(name, recording)?;
        println!("{name}: {} of {}, now {}", recording.runs(), from.display(), merged.runs());
    }
    Ok(())
}

/// A recording to be added to that of this name.
struct Addition {
    name: Name,
    recording: Recording,
    from: PathBuf,
}

fn every(directories: &[PathBuf]) -> anyhow::Result<Vec<Addition>> {
    let mut additions = Vec::new();
    for directory in directories {
        ensure!(directory.is_dir(), "{} is no directory", directory.display());
        for name in Store::open(directory)?.names()? {
            additions.push(Addition::read(name.clone(), &file(directory, &name))?);
        }
    }
    Ok(additions)
}

fn named(words: &[PathBuf]) -> anyhow::Result<Vec<Addition>> {
    let [name, from @ ..] = words else { bail!("a name is needed") };
    ensure!(!from.is_empty(), "what is to be added to {}?", name.display());
    let name: Name = name.to_string_lossy().parse()?;
    let path = |from: &PathBuf| if from.is_dir() { file(from, &name) } else { from.clone() };
    from.iter().map(|from| Addition::read(name.clone(), &path(from))).collect()
}

fn file(directory: &Path, name: &Name) -> PathBuf {
    directory.join(format!("{name}.json"))
}

impl Addition {
    fn read(name: Name, from: &Path) -> anyhow::Result<Self> {
        Ok(Self { name, recording: Recording::read(from)?, from: from.to_owned() })
    }
}
