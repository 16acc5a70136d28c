//! Which node of a cluster a data directory is of: the file `NODE`.
//!
//! It is in no backup, since what is made of one is of another node as a rule. A restore writes it where it is told
//! the name, and so does the first start as a node.

use std::io::ErrorKind;
use std::path::Path;

use super::OpenError;
use crate::fsutil;

/// Beside `FORMAT`.
const FILE: &str = "NODE";

/// What `NODE` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName {
    pub name: String,
    /// Messages that were kept up to this sequence number are those of the node whose backup this was: that one brings them into
    /// the log.
    pub kept_after: u64,
}

/// The node that a directory is of; none where it was never said.
///
/// # Errors
/// It cannot be read.
pub fn read_node(dir: &Path) -> Result<Option<NodeName>, OpenError> {
    let path = dir.join(FILE);
    let read = fsutil::open(&path).and_then(|file| fsutil::contents(file, fsutil::SMALL_BYTES_MAX));
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io("read", &path)(error)),
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let said = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let name = said("node ").filter(|name| !name.is_empty()).map(str::to_owned);
    let kept_after = said("kept after ").map_or(Some(0), |number| number.parse().ok());
    match name.zip(kept_after) {
        Some((name, kept_after)) => Ok(Some(NodeName { name, kept_after })),
        None => Err(OpenError::Format { path, text }),
    }
}

/// Says which node a directory is of. On disk when it returns.
///
/// # Errors
/// It cannot be written.
pub fn write_node(dir: &Path, node: &NodeName) -> Result<(), OpenError> {
    let path = dir.join(FILE);
    let NodeName { name, kept_after } = node;
    let text = format!("node {name}\nkept after {kept_after}\n");
    fsutil::replace(&path, 0o600, |_| text.into_bytes()).map_err(OpenError::io("write", &path))
}

/// An error where a directory is that of another node.
///
/// # Errors
/// [`OpenError::OtherNode`], or `NODE` cannot be read.
pub fn expect_node(dir: &Path, name: &str) -> Result<(), OpenError> {
    match read_node(dir)? {
        Some(found) if found.name != name => Err(OpenError::OtherNode {
            path: dir.to_owned(),
            found: found.name,
            wanted: name.to_owned(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_knows_its_node() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(read_node(dir).unwrap(), None);
        expect_node(dir, "node1").unwrap();
        let node = NodeName { name: "node1".to_owned(), kept_after: 7 };
        write_node(dir, &node).unwrap();
        assert_eq!(read_node(dir).unwrap(), Some(node));
        expect_node(dir, "node1").unwrap();
        let other = expect_node(dir, "node2").unwrap_err().to_string();
        for part in ["node \"node1\"", "cluster.node is \"node2\"", "cluster seed", "/NODE"] {
            assert!(other.contains(part), "{other}");
        }
        std::fs::write(dir.join(FILE), "node node1\n").unwrap();
        assert_eq!(read_node(dir).unwrap().unwrap().kept_after, 0);
        for damaged in ["", "x", "node \n", "node a\nkept after x\n"] {
            std::fs::write(dir.join(FILE), damaged).unwrap();
            assert!(read_node(dir).is_err(), "{damaged:?}");
        }
    }
}
