//! Who operates: from what the kernel and the environment say of a process to the person whom a policy knows.

use std::fmt;

use super::policy::Policy;
use crate::history::entry::Who;
use crate::id::Person;

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The number, where it is known.
    pub uid: Option<u32>,
    /// The name, where there is one.
    pub name: Option<String>,
}

/// The account that decides who operates, and how it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acting {
    /// The one that logged in, as the kernel keeps it through `sudo` and `su` (`/proc/self/loginuid`).
    LoggedIn(Account),
    /// The one that called `sudo`, as the environment of a process of root says it.
    CalledSudo(Account),
    /// The one whose process it is.
    Own(Account),
}

/// Why nobody whom a policy knows operates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnOperator {
    /// The account is nobody's.
    #[error("{acting} is not the user of any person in {policy}, so nobody may operate as it")]
    Unmapped {
        /// The account.
        acting: Acting,
        /// The policy.
        policy: String,
    },
    /// The account is two persons'.
    #[error("{acting} is by its name the user of {first} and by its number that of {second} in {policy}")]
    Ambiguous {
        /// The account.
        acting: Acting,
        /// The one by name.
        first: Person,
        /// The one by number.
        second: Person,
        /// The policy.
        policy: String,
    },
    /// The person may not operate.
    #[error("{person} ({acting}) is not one of those who may operate under {policy}")]
    NotListed {
        /// The person.
        person: Person,
        /// The account.
        acting: Acting,
        /// The policy.
        policy: String,
    },
}

impl Acting {
    /// The account that decides. Who logged in goes before all else, and alone decides where the kernel knows it: an account that is
    /// nobody's gets nowhere by naming another in its environment. Where the kernel does not know it (no audit in the kernel, a
    /// service), a process of root is its caller's by `SUDO_USER`, which root could set as it likes; that of anybody else is its own.
    /// `name_of` finds the name of a user by number.
    pub fn of(who: &Who, name_of: impl FnOnce(u32) -> Option<String>) -> Self {
        match (who.login_uid, &who.sudo_user) {
            (Some(uid), _) if uid == who.uid => Self::LoggedIn(Account { uid: Some(uid), name: who.user.clone() }),
            (Some(uid), _) => Self::LoggedIn(Account { uid: Some(uid), name: name_of(uid) }),
            (None, Some(name)) if who.uid == 0 => Self::CalledSudo(Account { uid: None, name: Some(name.clone()) }),
            (None, _) => Self::Own(Account { uid: Some(who.uid), name: who.user.clone() }),
        }
    }

    /// The account, however it is known.
    pub fn account(&self) -> &Account {
        match self {
            Self::LoggedIn(account) | Self::CalledSudo(account) | Self::Own(account) => account,
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.uid) {
            (Some(name), _) => write!(f, "`{}`", name.escape_debug()),
            (None, Some(uid)) => write!(f, "number {uid}"),
            (None, None) => f.write_str("without a name"),
        }
    }
}

impl fmt::Display for Acting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoggedIn(account) => write!(f, "the user {account}, who logged in,"),
            Self::CalledSudo(account) => write!(f, "the user {account}, who called sudo,"),
            Self::Own(account) => write!(f, "the user {account}"),
        }
    }
}

impl Policy {
    /// The person who operates.
    ///
    /// # Errors
    /// If the policy gives the account to nobody, or to somebody who may not operate.
    pub fn operator(&self, acting: &Acting) -> Result<Person, NotAnOperator> {
        let account = acting.account();
        let owner = |user: &str| self.persons.iter().find(|(_, users)| users.contains(user)).map(|(person, _)| person);
        let by_name = account.name.as_deref().and_then(owner);
        let by_number = account.uid.and_then(|uid| owner(&uid.to_string()));
        let policy = self.name.clone();
        let person = match (by_name, by_number) {
            (Some(first), Some(second)) if first != second => {
                let (first, second) = (first.clone(), second.clone());
                return Err(NotAnOperator::Ambiguous { acting: acting.clone(), first, second, policy });
            }
            (Some(person), _) | (None, Some(person)) => person.clone(),
            (None, None) => return Err(NotAnOperator::Unmapped { acting: acting.clone(), policy }),
        };
        if !self.operators.contains(&person) {
            return Err(NotAnOperator::NotListed { person, acting: acting.clone(), policy });
        }
        Ok(person)
    }
}
