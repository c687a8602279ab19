use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use seccomp_agent_recorder::{Name, Recording, Store};

use super::directory::Directory;
use crate::output::print;

/// The options of `recordings merge`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "seccomp-agent recordings merge NAME FILE|DIR…\n       seccomp-agent recordings merge --all DIR…",
    long_about = "Add the runs of other recordings, such as those of other nodes\n\n\
    A FILE is a recording, whatever its name. Of a DIR it is the recording NAME in it, or with --all every one, each \
    added to that of its own name here. Runs that have not ended are added as far as they are known, and completed when \
    they are merged again. Nothing is changed unless all of them can be read."
)]
pub(super) struct MergeArgs {
    /// Every recording in the directories, each by its own name
    #[arg(long)]
    all: bool,
    /// The recording to add to, and what to add
    #[arg(required = true, value_name = "NAME, FILE or DIR")]
    words: Vec<PathBuf>,
}

pub(super) fn merge(directory: &Directory, args: &MergeArgs) -> anyhow::Result<()> {
    let additions = if args.all { every(&args.words)? } else { named(&args.words)? };
    ensure!(!additions.is_empty(), "there is nothing to add");
    let store = directory.open()?;
    // What cannot be said is done nonetheless.
    let mut told = Ok(());
    let here = directory.path().canonicalize().context("the directory of recordings")?;
    for addition in &additions {
        let from = addition.from.canonicalize()?;
        let place = if from.is_dir() { Some(from.as_path()) } else { from.parent() };
        ensure!(place != Some(&here), "{} is here already", addition.from.display());
    }
    for Addition { name, recording, from } in &additions {
        let merged = store.add(name, recording)?;
        let line = format!("{name}: {} of {}, now {}\n", recording.runs(), from.display(), merged.runs());
        told = told.and(print(line));
    }
    told
}

/// A recording to be added to that of this name.
struct Addition {
    name: Name,
    recording: Recording,
    /// A file, or a directory.
    from: PathBuf,
}

fn every(directories: &[PathBuf]) -> anyhow::Result<Vec<Addition>> {
    let mut additions = Vec::new();
    for directory in directories {
        ensure!(directory.is_dir(), "{} is no directory", directory.display());
        for entry in Store::foreign(directory).entries()? {
            let entry = entry?;
            let addition = |recording| Addition { name: entry.name, recording, from: directory.clone() };
            additions.extend(entry.recording.map(addition));
        }
    }
    Ok(additions)
}

fn named(words: &[PathBuf]) -> anyhow::Result<Vec<Addition>> {
    let [name, from @ ..] = words else { bail!("a name is needed") };
    ensure!(!from.is_empty(), "what is to be added to {}?", name.display());
    let name: Name = name.to_string_lossy().parse()?;
    let read = |from: &PathBuf| {
        let recording = if from.is_dir() {
            let missing = || format!("there is no recording {:?} in {}", name.as_str(), from.display());
            Store::foreign(from).read(&name)?.with_context(missing)?
        } else {
            Recording::read(from)?
        };
        Ok(Addition { name: name.clone(), recording, from: from.clone() })
    };
    from.iter().map(read).collect()
}
