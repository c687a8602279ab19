use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::json::{MAX_RECORDING_BYTES, ParseError};
use crate::name::Name;
use crate::recording::Recording;

/// Recordings in a directory: `NAME.json`, each of all runs so far.
///
/// A file is never changed, but replaced by a complete one that is on the disk, so whoever reads, and whoever is killed
/// at any moment, finds the old or the new. Writers wait for each other by a lock on the directory (flock(2)), so that
/// two agents lose nothing. Only who may write to the directory may add to it: it belongs to whoever runs the agent.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
}

/// Why a recording could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A step on a file or directory failed.
    #[error("{step} {path}: {source}", path = path.display())]
    File {
        /// Such as `writing`.
        step: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is none of ours, or damaged. It stays as it is.
    #[error("{path}: {source}", path = path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: ParseError,
    },
}

/// The ending of a recording's file.
const ENDING: &str = ".json";

/// What is being written, until it is complete. No recording's name begins with a dot. A writer that was killed leaves
/// it to the next.
const UNFINISHED: &str = ".unfinished";

impl Store {
    /// The recordings in this directory, which is made, for its owner only, if it is not there.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let directory = directory.into();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(failed("making the directory", &directory))?;
        Ok(Self { directory })
    }

    /// The recording of this name; `None` if there is none.
    pub fn read(&self, name: &Name) -> Result<Option<Recording>, StoreError> {
        match Recording::read(&self.path(name)) {
            Err(StoreError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// Adds runs to the recording of this name, and returns it with them.
    pub fn add(&self, name: &Name, runs: &Recording) -> Result<Recording, StoreError> {
        self.change(name, |recording| recording.merge(runs))
    }

    /// Changes the recording of this name, which is of no runs if there was none, and returns it. Nobody else changes it
    /// meanwhile.
    pub fn change(&self, name: &Name, change: impl FnOnce(&mut Recording)) -> Result<Recording, StoreError> {
        let directory = self.lock()?;
        let mut recording = self.read(name)?.unwrap_or_default();
        change(&mut recording);
        self.replace(&directory, name, &recording)?;
        Ok(recording)
    }

    /// Forgets a recording; whether there was one.
    pub fn remove(&self, name: &Name) -> Result<bool, StoreError> {
        let directory = self.lock()?;
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(failed("removing", &path))?,
        }
        directory.sync_all().map_err(failed("writing", &self.directory))?;
        Ok(true)
    }

    /// The names of all recordings, sorted.
    pub fn names(&self) -> Result<Vec<Name>, StoreError> {
        let entries = fs::read_dir(&self.directory).map_err(failed("listing", &self.directory))?;
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed("listing", &self.directory))?.file_name();
            names.extend(name.to_str().and_then(|name| name.strip_suffix(ENDING)?.parse().ok()));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The directory, which nobody else writes to until it is closed.
    fn lock(&self) -> Result<File, StoreError> {
        let directory = File::open(&self.directory).map_err(failed("opening", &self.directory))?;
        rustix::io::retry_on_intr(|| flock(&directory, FlockOperation::LockExclusive))
            .map_err(|errno| failed("locking", &self.directory)(errno.into()))?;
        Ok(directory)
    }

    /// Writes the file anew; `directory` is locked.
    fn replace(&self, directory: &File, name: &Name, recording: &Recording) -> Result<(), StoreError> {
        let unfinished = self.directory.join(UNFINISHED);
        let text = recording.to_json();
        let write = || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600).custom_flags(no_follow());
            let mut file = options.open(&unfinished)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(failed("writing", &unfinished))?;
        let path = self.path(name);
        fs::rename(&unfinished, &path).map_err(failed("replacing", &path))?;
        directory.sync_all().map_err(failed("writing", &self.directory))
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.directory.join(format!("{name}{ENDING}"))
    }
}

impl Recording {
    /// Reads the recording in a file, which may be one of another machine's.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let file = OpenOptions::new().read(true).custom_flags(no_follow()).open(path);
        let file = file.map_err(failed("opening", path))?;
        let mut bytes = Vec::new();
        let most = u64::try_from(MAX_RECORDING_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        file.take(most).read_to_end(&mut bytes).map_err(failed("reading", path))?;
        Self::from_json(&bytes).map_err(|source| StoreError::Content { path: path.to_owned(), source })
    }
}

fn no_follow() -> i32 {
    OFlags::NOFOLLOW.bits().cast_signed()
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::File { step, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Recorder;
    use tempfile::TempDir;

    fn store() -> (TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("a/b")).unwrap();
        (directory, store)
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn one_run() -> Recording {
        Recorder::new().recording()
    }

    #[test]
    fn runs_add_up_under_their_name() {
        let (_directory, store) = store();
        assert_eq!(store.read(&name("web")).unwrap(), None);
        store.add(&name("web"), &one_run()).unwrap();
        assert_eq!(store.add(&name("web"), &one_run()).unwrap().runs(), 2);
        store.add(&name("a.b"), &one_run()).unwrap();
        assert_eq!(store.read(&name("web")).unwrap().map(|recording| recording.runs()), Some(2));
        assert_eq!(store.names().unwrap(), [name("a.b"), name("web")]);
        assert!(store.remove(&name("web")).unwrap() && !store.remove(&name("web")).unwrap());
        assert_eq!(store.names().unwrap(), [name("a.b")]);
    }

    #[test]
    fn two_writers_lose_nothing() {
        let (_directory, ours) = store();
        let theirs = Store::open(&ours.directory).unwrap();
        std::thread::scope(|scope| {
            for store in [&ours, &theirs] {
                scope.spawn(move || (0..20).for_each(|_| drop(store.add(&name("web"), &one_run()).unwrap())));
            }
        });
        assert_eq!(ours.read(&name("web")).unwrap().map(|recording| recording.runs()), Some(40));
    }

    #[test]
    fn a_writer_that_was_killed_is_in_nobodys_way() {
        let (_directory, store) = store();
        store.add(&name("web"), &one_run()).unwrap();
        fs::write(store.directory.join(UNFINISHED), "{\"version\": 1, \"ru").unwrap();
        assert_eq!(store.read(&name("web")).unwrap().map(|recording| recording.runs()), Some(1));
        assert_eq!(store.names().unwrap(), [name("web")]);
        assert_eq!(store.add(&name("web"), &one_run()).unwrap().runs(), 2);
    }

    #[test]
    fn whoever_reads_meanwhile_finds_a_whole_recording() {
        let (_directory, store) = store();
        store.add(&name("web"), &one_run()).unwrap();
        std::thread::scope(|scope| {
            let writer =
                scope.spawn(|| (0..20).for_each(|_| drop(store.add(&name("web"), &one_run()).unwrap())));
            let mut last = 1;
            while !writer.is_finished() {
                let runs = store.read(&name("web")).unwrap().unwrap().runs();
                assert!(runs >= last);
                last = runs;
            }
        });
    }

    #[test]
    fn what_is_damaged_is_named_and_left_alone() {
        let (_directory, store) = store();
        let path = store.directory.join("web.json");
        fs::write(&path, "{").unwrap();
        let message = store.add(&name("web"), &one_run()).unwrap_err().to_string();
        assert!(message.contains("web.json") && message.contains("not a recording"), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{");
    }

    #[test]
    fn a_link_is_not_followed() {
        let (_directory, store) = store();
        let elsewhere = store.directory.join("../elsewhere");
        fs::write(&elsewhere, "precious").unwrap();
        for link in [UNFINISHED, "web.json"] {
            std::os::unix::fs::symlink(&elsewhere, store.directory.join(link)).unwrap();
            assert!(store.add(&name("web"), &one_run()).is_err(), "{link}");
            fs::remove_file(store.directory.join(link)).unwrap();
        }
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "precious");
    }
}
