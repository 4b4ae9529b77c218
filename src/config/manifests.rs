//! Kubernetes manifests as a configuration: one file of them, or all in a folder.

use super::{Problem, Read, Settings};
use k8s_adapter::manifests;
use k8s_adapter::objects::Objects;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What makes a document a Kubernetes object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    api_version: Option<IgnoredAny>,
    kind: Option<IgnoredAny>,
}

/// Whether `text` is made of Kubernetes objects, and not a configuration of our own.
pub(super) fn is_one(text: &str) -> bool {
    match serde_saphyr::from_multiple::<Option<Header>>(text) {
        Ok(documents) => documents
            .iter()
            .flatten()
            .any(|document| document.api_version.is_some() && document.kind.is_some()),
        // Who reads it says what is wrong with it.
        Err(_) => text.lines().any(|line| line.starts_with("apiVersion:")),
    }
}

/// Reads all manifests in `folder`, in the order of their names.
pub(super) fn read_folder(folder: &Path) -> Read {
    let files = files(folder).map_err(|error| vec![Problem::unreadable(folder, &error)])?;
    if files.is_empty() {
        let message = "there is no *.yaml, *.yml or *.json in it".to_owned();
        return Err(vec![Problem::of_flag(&folder.display().to_string(), message)]);
    }
    let texts: Result<Vec<_>, Vec<Problem>> =
        files.into_iter().map(|path| Ok((path.display().to_string(), super::read_text(&path)?))).collect();
    read(&texts?)
}

/// The manifests in `folder`, by name.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let known = path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|it| end == *it));
        // Mounted ConfigMaps keep their files in hidden folders, and links to them.
        if known && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The bytes of all manifests in `folder`, and their names.
pub(super) fn bytes(folder: &Path) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    for file in files(folder)? {
        all.extend_from_slice(file.as_os_str().as_encoded_bytes());
        all.extend(std::fs::read(&file)?);
    }
    Ok(all)
}

/// Reads the texts of files with these names.
pub(super) fn read(texts: &[(String, String)]) -> Read {
    let mut objects = Objects::default();
    let (mut notes, mut problems) = (Vec::new(), Vec::new());
    for (name, text) in texts {
        match manifests::read(name, text, &mut objects) {
            Ok(more) => notes.extend(more),
            Err(more) => problems.extend(more),
        }
    }
    if problems.is_empty() {
        return Ok((Settings { manifests: Some(Arc::new(objects)), ..Settings::default() }, notes));
    }
    // The place stands in front already.
    let problem = |text: String| match text.split_once(": ") {
        Some((place, message)) => Problem::of_flag(place, message.to_owned()),
        None => Problem::of_flag("--config", text),
    };
    Err(problems.into_iter().map(problem).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_told_from_configurations() {
        for text in [
            "apiVersion: v1\nkind: Service\n",
            "# none here\n---\napiVersion: v1\nkind: Service\n---\n",
            "{\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": []}",
            "apiVersion: v1\nkind: [\n",
        ] {
            assert!(is_one(text), "{text}");
        }
        for text in ["", "mcpServers: {a: {url: 'http://a/'}}\n", "listen: [\n", "{\"mcpServers\": {}}"] {
            assert!(!is_one(text), "{text}");
        }
    }
}
