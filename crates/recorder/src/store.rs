use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use crate::json::{MAX_RECORDING_BYTES, ParseError};
use crate::name::Name;
use crate::recording::Recording;
use crate::run_id::RunId;

/// Recordings in a directory: `NAME.json`, each of all runs so far; beside it `NAME.RUN.run` of each run that has not
/// ended, and `NAME.violations` of what a profile did not allow. A run that is saved several times counts once.
///
/// A file is never changed, but replaced by a complete one that is on the disk, so whoever reads, and whoever is killed
/// at any moment, finds the old or the new. Writers wait for each other by a lock on the directory (flock(2)), so that
/// two agents lose nothing. Only who may write to the directory may add to it: it belongs to whoever runs the agent.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
}

/// What there is under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The name.
    pub name: Name,
    /// The recording, with the runs that have not ended; `None` where there are violations only.
    pub recording: Option<Recording>,
    /// What a profile did not allow, if there was anything.
    pub violations: Option<Recording>,
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
    /// Others may write to the directory, and so decide what profiles allow.
    #[error("{path} may be written to by others than its owner, or is neither root's nor this user's", path = path.display())]
    Untrusted {
        /// Which directory.
        path: PathBuf,
    },
    /// There are as many recordings as there may be.
    #[error("{name} is not recorded: there are {most} other recordings")]
    Full {
        /// Which would be one more.
        name: Name,
        /// How many there may be.
        most: usize,
    },
}

/// The ending of a recording's file.
const ENDING: &str = ".json";

/// That of the file of a run that has not ended.
const RUN: &str = ".run";

/// That of the file of violations.
const VIOLATIONS: &str = ".violations";

/// The bits of a directory's mode by which its group and everybody else may write to it.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// What is being written, until it is complete. No recording's name begins with a dot. A writer that was killed leaves
/// it to the next.
const UNFINISHED: &str = ".unfinished";

impl Store {
    /// The recordings in this directory, which is made, for its owner only, if it is not there. Nobody else may write to
    /// it than root or this user.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let directory = directory.into();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(failed("making the directory", &directory))?;
        let metadata = fs::metadata(&directory).map_err(failed("looking at", &directory))?;
        let is_ours = [0, rustix::process::geteuid().as_raw()].contains(&metadata.uid());
        if !is_ours || metadata.mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(StoreError::Untrusted { path: directory });
        }
        Ok(Self { directory })
    }

    /// The recordings in a directory of another machine or user, to be read: whoever may write to it.
    pub fn foreign(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The recording of this name, with the runs that have not ended; `None` if there is none.
    pub fn read(&self, name: &Name) -> Result<Option<Recording>, StoreError> {
        let unfinished = self.unfinished()?.into_iter().filter(|(of, _)| of == name);
        self.read_with(name, &unfinished.map(|(_, path)| path).collect::<Vec<_>>())
    }

    /// Keeps what is known of one run that has not ended, in place of what was kept of it before. It is there for
    /// whoever comes after a killed agent; a machine that loses power may lose it.
    pub fn save(&self, name: &Name, run: RunId, recording: &Recording) -> Result<(), StoreError> {
        let _directory = self.lock()?;
        self.write(&self.run_path(name, run), recording, false)
    }

    /// Adds runs to the recording of this name, and returns it with them. They have ended: what was [saved](Self::save)
    /// of them before is not needed any more.
    pub fn add(&self, name: &Name, runs: &Recording) -> Result<Recording, StoreError> {
        self.change(name, |recording| recording.merge(runs))
    }

    /// Changes the recording of this name, which is one of no runs if there is none, and returns it as it is then. Nobody
    /// else changes it meanwhile. Runs that have not ended are not in it, unless the change adds them.
    pub fn change(&self, name: &Name, change: impl FnOnce(&mut Recording)) -> Result<Recording, StoreError> {
        let directory = self.lock()?;
        let mut recording = read_file(&self.path(name))?.unwrap_or_default();
        change(&mut recording);
        self.replace(&directory, name, &recording)?;
        Ok(recording)
    }

    /// Adds all runs to their recordings that are saved as not ended: those that agents which were killed left behind.
    /// Those of an agent that lives it goes on to save, and nothing counts twice. Returns their names; a file that is
    /// empty is removed, and one that is damaged stays, and is the error in the end.
    pub fn adopt(&self) -> Result<Vec<Name>, StoreError> {
        let directory = self.lock()?;
        let mut adopted = Vec::new();
        let mut damaged = None;
        for (name, path) in self.unfinished()? {
            let adopt = || {
                let Some(run) = read_unsynced(&path)? else { return remove_file(&path).map(|_| false) };
                let mut recording = read_file(&self.path(&name))?.unwrap_or_default();
                recording.merge(&run);
                self.replace(&directory, &name, &recording).map(|()| true)
            };
            match adopt() {
                Ok(true) => adopted.push(name),
                Ok(false) => {}
                Err(error) => damaged = Some(error),
            }
        }
        damaged.map_or(Ok(adopted), Err)
    }

    /// What containers of this name did that their profile does not allow, as a recording of the calls; `None` if there
    /// was nothing.
    pub fn violations(&self, name: &Name) -> Result<Option<Recording>, StoreError> {
        read_unsynced(&self.violations_path(name))
    }

    /// Adds to the [violations](Self::violations), and returns all of them.
    pub fn add_violations(&self, name: &Name, runs: &Recording) -> Result<Recording, StoreError> {
        let _directory = self.lock()?;
        let mut violations = self.violations(name)?.unwrap_or_default();
        violations.merge(runs);
        self.write(&self.violations_path(name), &violations, false)?;
        Ok(violations)
    }

    /// Takes what was a violation for something that the containers need: adds it to the recording, and forgets it as a
    /// violation. Returns the recording; `None` if there was no violation.
    pub fn amend(&self, name: &Name) -> Result<Option<Recording>, StoreError> {
        let directory = self.lock()?;
        let Some(violations) = self.violations(name)? else { return Ok(None) };
        let mut recording = read_file(&self.path(name))?.unwrap_or_default();
        recording.merge(&violations);
        self.replace(&directory, name, &recording)?;
        remove_file(&self.violations_path(name))?;
        Ok(Some(recording))
    }

    /// Forgets a recording with all that belongs to it; whether there was one.
    pub fn remove(&self, name: &Name) -> Result<bool, StoreError> {
        let directory = self.lock()?;
        let mut paths = vec![self.path(name), self.violations_path(name)];
        paths.extend(self.unfinished()?.into_iter().filter(|(of, _)| of == name).map(|(_, path)| path));
        let mut was_there = false;
        for path in paths {
            was_there |= remove_file(&path)?;
        }
        directory.sync_all().map_err(failed("writing", &self.directory))?;
        Ok(was_there)
    }

    /// The names of all recordings, and of those of which there are violations only, sorted.
    pub fn names(&self) -> Result<Vec<Name>, StoreError> {
        Ok(self.by_name()?.into_keys().collect())
    }

    /// Everything, by name; each is read when it is asked for, and is left out if it has been removed by then.
    pub fn entries(&self) -> Result<impl Iterator<Item = Result<Entry, StoreError>>, StoreError> {
        let entry = |(name, unfinished): (Name, Vec<PathBuf>)| {
            let recording = self.read_with(&name, &unfinished)?;
            let violations = self.violations(&name)?;
            let is_there = recording.is_some() || violations.is_some();
            Ok(is_there.then_some(Entry { name, recording, violations }))
        };
        Ok(self.by_name()?.into_iter().map(entry).filter_map(Result::transpose))
    }

    /// Whether a recording of this name is there, or may be begun where there are to be at `most` so many.
    pub(crate) fn has_room_for(&self, name: &Name, most: usize) -> Result<bool, StoreError> {
        Ok(self.path(name).exists() || self.violations_path(name).exists() || self.names()?.len() < most)
    }

    /// The directory, which nobody else writes to until it is closed.
    fn lock(&self) -> Result<File, StoreError> {
        let directory = File::open(&self.directory).map_err(failed("opening", &self.directory))?;
        rustix::io::retry_on_intr(|| flock(&directory, FlockOperation::LockExclusive))
            .map_err(|errno| failed("locking", &self.directory)(errno.into()))?;
        Ok(directory)
    }

    /// Writes the recording anew; `directory` is locked. Of its runs nothing is unfinished from then on.
    fn replace(&self, directory: &File, name: &Name, recording: &Recording) -> Result<(), StoreError> {
        self.write(&self.path(name), recording, true)?;
        directory.sync_all().map_err(failed("writing", &self.directory))?;
        for (run, _) in recording.each_run() {
            remove_file(&self.run_path(name, run))?;
        }
        Ok(())
    }

    /// Writes a file anew; the directory is locked.
    fn write(&self, path: &Path, recording: &Recording, survives_power_loss: bool) -> Result<(), StoreError> {
        let unfinished = self.directory.join(UNFINISHED);
        let text = text_that_can_be_read(recording);
        let write = || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600).custom_flags(no_follow());
            let mut file = options.open(&unfinished)?;
            file.write_all(text.as_bytes())?;
            if survives_power_loss { file.sync_all() } else { Ok(()) }
        };
        write().map_err(failed("writing", &unfinished))?;
        fs::rename(&unfinished, path).map_err(failed("replacing", path))
    }

    /// The recording of this name, with the runs in these files, of which some may have been completed meanwhile.
    fn read_with(&self, name: &Name, unfinished: &[PathBuf]) -> Result<Option<Recording>, StoreError> {
        // First what may become part of the other.
        let mut runs = Vec::new();
        for path in unfinished {
            runs.extend(read_unsynced(path)?);
        }
        let mut recording = read_file(&self.path(name))?;
        for run in runs {
            recording.get_or_insert_default().merge(&run);
        }
        Ok(recording)
    }

    /// All names, each with the files of its runs that have not ended.
    fn by_name(&self) -> Result<BTreeMap<Name, Vec<PathBuf>>, StoreError> {
        let mut all = BTreeMap::<Name, Vec<PathBuf>>::new();
        for file in self.files()? {
            if let Some(name) = of_run(&file) {
                all.entry(name).or_default().push(self.directory.join(&file));
            }
            let complete = [ENDING, VIOLATIONS].into_iter().find_map(|ending| file.strip_suffix(ending));
            if let Some(name) = complete.and_then(|name| name.parse().ok()) {
                all.entry(name).or_default();
            }
        }
        Ok(all)
    }

    /// The files of runs that have not ended, each with the name of its recording.
    fn unfinished(&self) -> Result<Vec<(Name, PathBuf)>, StoreError> {
        let files = self.files()?.into_iter();
        Ok(files.filter_map(|file| Some((of_run(&file)?, self.directory.join(&file)))).collect())
    }

    fn files(&self) -> Result<Vec<String>, StoreError> {
        let entries = fs::read_dir(&self.directory).map_err(failed("listing", &self.directory))?;
        let mut files = Vec::new();
        for entry in entries {
            files.extend(entry.map_err(failed("listing", &self.directory))?.file_name().into_string().ok());
        }
        files.sort_unstable();
        Ok(files)
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.directory.join(format!("{name}{ENDING}"))
    }

    fn run_path(&self, name: &Name, run: RunId) -> PathBuf {
        self.directory.join(format!("{name}.{run}{RUN}"))
    }

    fn violations_path(&self, name: &Name) -> PathBuf {
        self.directory.join(format!("{name}{VIOLATIONS}"))
    }
}

impl Recording {
    /// Reads the recording in a file, which may be one of another machine's.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let missing = || failed("opening", path)(io::ErrorKind::NotFound.into());
        read_file(path)?.ok_or_else(missing)
    }
}

/// The name of the recording, of a run's file.
fn of_run(file: &str) -> Option<Name> {
    let (name, run) = file.strip_suffix(RUN)?.rsplit_once('.')?;
    run.parse::<RunId>().ok()?;
    name.parse().ok()
}

fn read_file(path: &Path) -> Result<Option<Recording>, StoreError> {
    let file = match OpenOptions::new().read(true).custom_flags(no_follow()).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed("opening", path))?,
    };
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_RECORDING_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes).map_err(failed("reading", path))?;
    let content = |source| StoreError::Content { path: path.to_owned(), source };
    Recording::from_json(&bytes).map(Some).map_err(content)
}

/// Reads a file that need not survive a loss of power: that may leave it empty, which is as if it were not there.
fn read_unsynced(path: &Path) -> Result<Option<Recording>, StoreError> {
    let is_empty = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0);
    if is_empty { Ok(None) } else { read_file(path) }
}

/// Whether there was one.
fn remove_file(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other.map(|()| true).map_err(failed("removing", path)),
    }
}

fn no_follow() -> i32 {
    OFlags::NOFOLLOW.bits().cast_signed()
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::File { step, path, source }
}

/// A recording as JSON: with its oldest runs added up where all of them apart would be more than is ever read.
fn text_that_can_be_read(recording: &Recording) -> String {
    let mut text = recording.to_json();
    let mut smaller = recording.clone();
    while text.len() > MAX_RECORDING_BYTES && smaller.apart() > 0 {
        smaller.add_up(smaller.apart() / 2);
        text = smaller.to_json();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Recorder;
    use std::os::unix::fs::PermissionsExt;
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
    fn what_a_loss_of_power_left_empty_is_as_if_it_were_not_there() {
        let (_directory, store) = store();
        let web = name("web");
        store.add(&web, &one_run()).unwrap();
        let (run, violations) = (store.run_path(&web, RunId::now()), store.violations_path(&web));
        fs::write(&run, "").unwrap();
        fs::write(&violations, "").unwrap();
        let entries: Vec<_> = store.entries().unwrap().map(Result::unwrap).collect();
        assert_eq!((entries.len(), &entries[0].violations), (1, &None));
        assert_eq!(store.read(&web).unwrap().map(|recording| recording.runs()), Some(1));
        assert_eq!(store.adopt().unwrap(), []);
        assert!(!run.exists());
        assert_eq!(store.add_violations(&web, &one_run()).unwrap().runs(), 1);
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
    fn nobody_else_may_write_to_the_directory() {
        let (_directory, store) = store();
        for (mode, is_taken) in [(0o755, true), (0o770, false), (0o1777, false), (0o700, true)] {
            fs::set_permissions(&store.directory, fs::Permissions::from_mode(mode)).unwrap();
            let opened = Store::open(&store.directory);
            let is_refused =
                matches!(&opened, Err(StoreError::Untrusted { path }) if *path == store.directory);
            assert_eq!((opened.is_ok(), is_refused), (is_taken, !is_taken), "{mode:o}");
            assert_eq!(Store::foreign(&store.directory).names().unwrap(), []);
        }
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

    #[test]
    fn a_run_that_has_not_ended_can_be_read_and_counts_once_when_it_has() {
        let (_directory, store) = store();
        let (web, recorder) = (name("web"), Recorder::new());
        let runs = || store.read(&web).unwrap().map(|recording| recording.runs());
        for _ in 0..2 {
            store.save(&web, recorder.run(), &recorder.recording()).unwrap();
            assert_eq!((runs(), store.names().unwrap()), (Some(1), vec![web.clone()]));
        }
        store.add(&web, &one_run()).unwrap();
        assert_eq!(runs(), Some(2));
        store.add(&web, &recorder.recording()).unwrap();
        assert_eq!((runs(), store.files().unwrap()), (Some(2), vec!["web.json".to_owned()]));
    }

    #[test]
    fn what_a_killed_agent_left_is_adopted_and_a_living_one_goes_on() {
        let (_directory, store) = store();
        let (web, recorder) = (name("web.old"), Recorder::new());
        store.save(&web, recorder.run(), &recorder.recording()).unwrap();
        store.save(&name("api"), recorder.run(), &recorder.recording()).unwrap();
        assert_eq!(store.adopt().unwrap(), [name("api"), web.clone()]);
        assert_eq!(store.files().unwrap(), ["api.json", "web.old.json"]);
        store.save(&web, recorder.run(), &recorder.recording()).unwrap();
        assert_eq!(store.adopt().unwrap(), std::slice::from_ref(&web));
        store.save(&web, recorder.run(), &recorder.recording()).unwrap();
        store.add(&web, &recorder.recording()).unwrap();
        assert_eq!(store.read(&web).unwrap().map(|recording| recording.runs()), Some(1));
        assert!(store.adopt().unwrap().is_empty());
    }

    #[test]
    fn violations_are_kept_apart_until_they_are_amended() {
        let (_directory, store) = store();
        let web = name("web");
        assert_eq!(store.amend(&web).unwrap(), None);
        store.add(&web, &one_run()).unwrap();
        let violation = one_run();
        for _ in 0..2 {
            assert_eq!(store.add_violations(&web, &violation).unwrap().runs(), 1);
        }
        assert_eq!(store.read(&web).unwrap().map(|recording| recording.runs()), Some(1));
        assert_eq!(store.names().unwrap(), [name("web")]);
        let api = name("api");
        store.add_violations(&api, &violation).unwrap();
        let entries = store.entries().unwrap().map(Result::unwrap);
        let entries: Vec<_> = entries
            .map(|Entry { name, recording, violations }| {
                (name, recording.map(|recording| recording.runs()), violations.is_some())
            })
            .collect();
        assert_eq!(entries, [(api.clone(), None, true), (web.clone(), Some(1), true)]);
        assert!(!store.has_room_for(&name("other"), 2).unwrap() && store.has_room_for(&api, 2).unwrap());
        assert_eq!(store.amend(&web).unwrap().map(|recording| recording.runs()), Some(2));
        assert_eq!((store.violations(&web).unwrap(), store.amend(&web).unwrap()), (None, None));
    }
}
