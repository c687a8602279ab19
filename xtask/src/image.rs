//! An image of one program and nothing else, byte for byte the same for the same program.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// What an image is.
pub(crate) struct Image<'a> {
    /// Its name and tag.
    pub(crate) name: &'a str,
    /// Its only file: `/` and the program's name.
    pub(crate) program: &'a Path,
    /// Labels (`org.opencontainers.image.*`).
    pub(crate) labels: &'a [(&'a str, &'a str)],
}

/// The beginning of time: when an image was made is no part of what it is.
const CREATED: &str = "1970-01-01T00:00:00Z";

impl Image<'_> {
    /// The image as an archive that is both an OCI image layout (`image-layout.md` of the OCI image specification) and
    /// what `docker save` writes: for `ctr images import`, `podman load`, `docker load` and `skopeo`.
    pub(crate) fn archive(&self) -> anyhow::Result<Vec<u8>> {
        let name =
            self.program.file_name().and_then(|name| name.to_str()).context("the program has no name")?;
        let content =
            std::fs::read(self.program).with_context(|| format!("cannot read {}", self.program.display()))?;
        let layer = tarred(&[(name, 0o755, &content)])?;
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": CREATED,
            "config": {
                "Entrypoint": [format!("/{name}")],
                "Labels": Value::Object(self.labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()),
            },
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
            "history": [{"created": CREATED, "created_by": "cargo xtask dist"}],
        });
        let config = config.to_string().into_bytes();
        let described = |kind: &str, blob: &[u8]| json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest(blob), "size": blob.len()});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described("config.v1+json", &config),
            "layers": [described("layer.v1.tar", &layer)],
        });
        let manifest = manifest.to_string().into_bytes();
        let mut entry = described("manifest.v1+json", &manifest);
        entry["annotations"] = json!({
            "io.containerd.image.name": self.name,
            "org.opencontainers.image.ref.name": self.name.rsplit(':').next(),
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry],
        });
        let blob = |content: &[u8]| format!("blobs/sha256/{}", hex(content));
        let saved = json!([{"Config": blob(&config), "RepoTags": [self.name], "Layers": [blob(&layer)]}]);
        let layout = json!({"imageLayoutVersion": "1.0.0"});
        tarred(&[
            (&blob(&config), 0o644, &config),
            (&blob(&layer), 0o644, &layer),
            (&blob(&manifest), 0o644, &manifest),
            ("index.json", 0o644, index.to_string().as_bytes()),
            ("manifest.json", 0o644, saved.to_string().as_bytes()),
            ("oci-layout", 0o644, layout.to_string().as_bytes()),
        ])
    }
}

/// The SHA-256 of `content`, in hexadecimal.
pub(crate) fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex(content))
}

/// A tar of files with these names and modes, of nobody but root and of no time.
fn tarred(files: &[(&str, u32, &[u8])]) -> anyhow::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for (name, mode, content) in files {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(*mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len().try_into()?);
        tar.append_data(&mut header, name, *content)?;
    }
    Ok(tar.into_inner()?)
}

/// What the OCI calls the machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, FileTimes};
    use std::time::SystemTime;

    #[test]
    fn the_same_program_makes_the_same_image_whenever_and_wherever() {
        let archive = |content: &str, time| {
            let folder = tempfile::tempdir().unwrap();
            let program = folder.path().join("program");
            fs::write(&program, content).unwrap();
            let file = fs::File::options().write(true).open(&program).unwrap();
            file.set_times(FileTimes::new().set_modified(time)).unwrap();
            Image { name: "example:1", program: &program, labels: &[("a", "b")] }.archive().unwrap()
        };
        let first = archive("content", SystemTime::UNIX_EPOCH);
        assert!(first == archive("content", SystemTime::now()));
        assert!(first != archive("another", SystemTime::now()));
    }

    #[test]
    fn everything_that_is_named_is_in_the_archive() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, "content").unwrap();
        let archive = Image { name: "example:1", program: &program, labels: &[] }.archive().unwrap();
        let mut files = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            files.insert(path, content);
        }
        let named = |digest: &Value| format!("blobs/sha256/{}", &digest.as_str().unwrap()["sha256:".len()..]);
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let manifest: Value =
            serde_json::from_slice(&files[&named(&index["manifests"][0]["digest"])]).unwrap();
        let config: Value = serde_json::from_slice(&files[&named(&manifest["config"]["digest"])]).unwrap();
        assert_eq!(config["config"]["Entrypoint"][0], "/program");
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        let layer = &files[&named(&manifest["layers"][0]["digest"])];
        let mut layer = tar::Archive::new(layer.as_slice());
        let entries: Vec<_> =
            layer.entries().unwrap().map(|entry| entry.unwrap().header().mode().unwrap()).collect();
        assert_eq!(entries, [0o755]);
    }
}
