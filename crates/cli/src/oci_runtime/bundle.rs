//! Adds to a bundle's `config.json` what the engine has dropped, and touches nothing else: what is not changed is
//! kept as it is written.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use super::settings::Settings;

/// The largest `config.json`; Kubernetes lets annotations alone have 256 KiB.
const MAX_CONFIG: u64 = 16 * 1024 * 1024;

/// A JSON object whose values are left as they are written.
type Object = IndexMap<String, Box<RawValue>>;

/// Why a bundle was not changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum BundleError {
    /// It cannot be read.
    #[error("the bundle's {path:?} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// It is too large.
    #[error("the bundle's {path:?} has more than {MAX_CONFIG} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is no container configuration.
    #[error("the bundle's {path:?} is malformed: {source}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It cannot be replaced.
    #[error("the bundle's {path:?} cannot be replaced: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
}

/// Where the profile of the container in `bundle` notifies calls and does not say whom, has it notify the agent.
pub(super) fn add_listener(bundle: &Path, settings: &Settings) -> Result<(), BundleError> {
    let path = bundle.join("config.json");
    let read = |source| BundleError::Read { path: path.clone(), source };
    let mut text = String::new();
    let file = std::fs::File::open(&path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    file.take(MAX_CONFIG + 1).read_to_string(&mut text).map_err(read)?;
    if text.len() as u64 > MAX_CONFIG {
        return Err(BundleError::TooLarge { path });
    }
    match with_listener(&text, settings) {
        Ok(None) => Ok(()),
        Ok(Some(changed)) => {
            replace(bundle, &path, &metadata, &changed).map_err(|source| BundleError::Write { path, source })
        }
        Err(source) => Err(BundleError::Malformed { path, source }),
    }
}

/// The changed configuration, if there is something to change.
fn with_listener(text: &str, settings: &Settings) -> Result<Option<String>, serde_json::Error> {
    let mut config: Object = serde_json::from_str(text)?;
    let Some(mut linux) = part::<Object>(&config, "linux")? else { return Ok(None) };
    let Some(mut seccomp) = part::<Object>(&linux, "seccomp")? else { return Ok(None) };
    if !notifies(&seccomp)? || text_of(&seccomp, "listenerPath")?.is_some() {
        return Ok(None);
    }
    seccomp.insert("listenerPath".into(), to_raw_value(&settings.listener_path)?);
    if let Some(metadata) = &settings.listener_metadata
        && text_of(&seccomp, "listenerMetadata")?.is_none()
    {
        seccomp.insert("listenerMetadata".into(), to_raw_value(metadata)?);
    }
    linux.insert("seccomp".into(), to_raw_value(&seccomp)?);
    config.insert("linux".into(), to_raw_value(&linux)?);
    serde_json::to_string(&config).map(Some)
}

/// Whether any rule is one to notify. runc starts no container that has one and says no `listenerPath`.
fn notifies(seccomp: &Object) -> Result<bool, serde_json::Error> {
    #[derive(Deserialize)]
    struct Rule {
        #[serde(default)]
        action: String,
    }
    const NOTIFY: &str = "SCMP_ACT_NOTIFY";
    let rules: Option<Vec<Rule>> = part(seccomp, "syscalls")?;
    Ok(rules.unwrap_or_default().iter().any(|rule| rule.action == NOTIFY)
        || part::<String>(seccomp, "defaultAction")?.is_some_and(|action| action == NOTIFY))
}

/// A string that says something.
fn text_of(object: &Object, name: &str) -> Result<Option<String>, serde_json::Error> {
    Ok(part::<String>(object, name)?.filter(|text| !text.is_empty()))
}

/// What `name` is in `object`; neither what is absent nor `null` is anything.
fn part<'a, T: Deserialize<'a>>(object: &'a Object, name: &str) -> Result<Option<T>, serde_json::Error> {
    object.get(name).map_or(Ok(None), |raw| serde_json::from_str(raw.get()))
}

/// Puts a new file in the place of `path`, in one step, with owner and mode of the old one.
fn replace(bundle: &Path, path: &Path, old: &std::fs::Metadata, text: &str) -> std::io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".config.json.").tempfile_in(bundle)?;
    file.write_all(text.as_bytes())?;
    fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
    file.as_file().set_permissions(old.permissions())?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::{Value, json};

    use super::*;

    fn settings() -> Settings {
        Settings {
            runtime: "runc".into(),
            listener_path: "/run/agent.socket".into(),
            listener_metadata: Some("a \"b\"".into()),
        }
    }

    fn changed(text: &str) -> Option<Value> {
        with_listener(text, &settings()).unwrap().map(|text| serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn only_a_profile_that_notifies_nobody_is_changed() {
        for seccomp in [
            json!(null),
            json!({}),
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": null}),
            json!({"syscalls": [{"names": ["SCMP_ACT_NOTIFY"], "action": "SCMP_ACT_ALLOW"}]}),
            json!({"listenerPath": "/other", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}),
        ] {
            assert_eq!(changed(&json!({"linux": {"seccomp": seccomp}}).to_string()), None, "{seccomp}");
        }
        for config in [json!({}), json!({"linux": null}), json!({"linux": {}})] {
            assert_eq!(changed(&config.to_string()), None, "{config}");
        }
    }

    #[test]
    fn path_and_metadata_are_added_and_an_empty_path_is_none() {
        for path in [json!(null), json!("")] {
            let config = json!({"linux": {"seccomp": {"listenerPath": path,
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}}});
            let seccomp = &changed(&config.to_string()).unwrap()["linux"]["seccomp"];
            assert_eq!(seccomp["listenerPath"], "/run/agent.socket");
            assert_eq!(seccomp["listenerMetadata"], "a \"b\"");
        }
        let default = r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_NOTIFY"}}}"#;
        assert!(changed(default).is_some());
    }

    #[test]
    fn everything_else_stays_as_it_is_written() {
        let before = r#"{"z": 1e400, "process":{"x":18446744073709551616, "args":["\u00e9", "a"]},
            "linux": {"b": 1.0, "seccomp": {"syscalls": [ {"action":"SCMP_ACT_NOTIFY","names":["mkdir"],"k":-0} ]},
            "a": [ 1,2 ]}, "hooks": {}}"#;
        let after = with_listener(before, &settings()).unwrap().unwrap();
        let expected = r#"{"z":1e400,"process":{"x":18446744073709551616, "args":["\u00e9", "a"]},"linux":{"b":1.0,"seccomp":{"syscalls":[ {"action":"SCMP_ACT_NOTIFY","names":["mkdir"],"k":-0} ],"listenerPath":"/run/agent.socket","listenerMetadata":"a \"b\""},"a":[ 1,2 ]},"hooks":{}}"#;
        assert_eq!(after, expected);
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_nothing_is_left_beside_it() {
        let bundle = tempfile::tempdir().unwrap();
        let path = bundle.path().join("config.json");
        let text = r#"{"linux":{"seccomp":{"syscalls":[{"action":"SCMP_ACT_NOTIFY"}]}}}"#;
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        add_listener(bundle.path(), &settings()).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("/run/agent.socket"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(std::fs::read_dir(bundle.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_configuration_that_is_missing_or_malformed_is_named_and_left() {
        let bundle = tempfile::tempdir().unwrap();
        let path = bundle.path().join("config.json");
        let error = add_listener(bundle.path(), &settings()).unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        for text in ["", "{", "[]", r#"{"linux":7}"#, r#"{"linux":{"seccomp":{"syscalls":{}}}}"#] {
            std::fs::write(&path, text).unwrap();
            let error = add_listener(bundle.path(), &settings()).unwrap_err();
            assert!(
                matches!(&error, BundleError::Malformed { path: named, .. } if *named == path),
                "{error}"
            );
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
