use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Who the command runs as: numbers in the user namespace of the launcher.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
}

/// A text that is no user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no user: it should be UID, UID:GID or UID:GID,GID…, all numbers")]
pub struct InvalidUser {
    /// The text.
    pub text: String,
}

/// `UID[:GID[,GID…]]`; without a group, the group has the number of the user.
impl FromStr for User {
    type Err = InvalidUser;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidUser { text: text.to_owned() };
        // All bits set means "leave as it is" to the kernel.
        let id = |word: &str| word.parse().ok().filter(|id| *id != u32::MAX).ok_or_else(invalid);
        let (uid, gids) = text.split_once(':').map_or((text, None), |(uid, gids)| (uid, Some(gids)));
        let uid = id(uid)?;
        let mut gids = gids.map_or(Ok(vec![uid]), |gids| gids.split(',').map(id).collect())?;
        let gid = gids.remove(0);
        Ok(Self { uid, gid, groups: gids })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_parsed_with_its_groups() {
        let user = |uid, gid, groups: &[u32]| Ok(User { uid, gid, groups: groups.to_vec() });
        assert_eq!("7".parse(), user(7, 7, &[]));
        assert_eq!("7:8".parse(), user(7, 8, &[]));
        assert_eq!("7:8,9,10".parse(), user(7, 8, &[9, 10]));
        for wrong in ["", ":", "7:", "root", "7:8,", "-1", "4294967295", "7:8:9"] {
            assert!(wrong.parse::<User>().is_err(), "{wrong}");
        }
    }
}
