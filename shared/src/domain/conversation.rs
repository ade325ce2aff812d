//! Conversations: their kinds, their roles, and the one table that says who may do what.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConversationKind {
    /// Exactly two people; its id is derived from them, nobody joins, leaves or renames.
    Direct,
    Group,
}

impl ConversationKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Group => "group",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "direct" => Some(Self::Direct),
            "group" => Some(Self::Group),
            _ => None,
        }
    }
}

/// A member's standing in a group, lowest first. In a direct conversation both are `Member`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Member,
    Moderator,
    Admin,
    Owner,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Moderator => "moderator",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "member" => Some(Self::Member),
            "moderator" => Some(Self::Moderator),
            "admin" => Some(Self::Admin),
            "owner" => Some(Self::Owner),
            _ => None,
        }
    }
}

/// What a member may want to do in a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Permission {
    Send,
    EditOwn,
    DeleteOwn,
    DeleteOthers,
    Rename,
    AddMembers,
    RemoveMember { target: Role },
    Leave,
    CloseConversation,
}

/// The permission table. Rows are permissions, columns are the kind of conversation and the actor's role; everything
/// that is not a member is answered `not_found` before this is asked.
pub fn may(kind: ConversationKind, role: Role, permission: Permission) -> bool {
    use Permission::*;
    match kind {
        ConversationKind::Direct => matches!(permission, Send | EditOwn | DeleteOwn),
        ConversationKind::Group => match permission {
            Send | EditOwn | DeleteOwn | Leave => true,
            DeleteOthers => role >= Role::Moderator,
            Rename | AddMembers => role >= Role::Admin,
            // Whoever removes stands above the removed; two owners cannot remove each other.
            RemoveMember { target } => role >= Role::Moderator && role > target,
            CloseConversation => role == Role::Owner,
        },
    }
}

/// May `actor` turn a member of role `from` into role `to`? Admins and owners; nobody touches an equal or a superior, and
/// nobody makes another more than himself. An owner may make another owner (that is how ownership is handed over).
pub fn may_set_role(actor: Role, from: Role, to: Role) -> bool {
    match actor {
        Role::Owner => from != Role::Owner,
        Role::Admin => from < Role::Admin && to < Role::Admin,
        Role::Moderator | Role::Member => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const ROLES: [Role; 4] = [Role::Member, Role::Moderator, Role::Admin, Role::Owner];

    #[test]
    fn a_higher_role_may_everything_a_lower_one_may() {
        use Permission::*;
        for permission in [Send, EditOwn, DeleteOwn, DeleteOthers, Rename, AddMembers, Leave, CloseConversation] {
            for pair in ROLES.windows(2) {
                let (low, high) = (pair[0], pair[1]);
                let allowed = |role| may(ConversationKind::Group, role, permission);
                assert!(!allowed(low) || allowed(high), "{permission:?}: {low:?} may, {high:?} may not");
            }
        }
    }

    #[test]
    fn nobody_removes_an_equal_or_a_superior() {
        for actor in ROLES {
            for target in ROLES {
                let allowed = may(ConversationKind::Group, actor, Permission::RemoveMember { target });
                assert_eq!(allowed, actor >= Role::Moderator && actor > target);
            }
        }
    }

    #[test]
    fn a_direct_conversation_is_only_talked_in() {
        use Permission::*;
        for permission in
            [DeleteOthers, Rename, AddMembers, Leave, CloseConversation, RemoveMember { target: Role::Member }]
        {
            assert!(ROLES.iter().all(|role| !may(ConversationKind::Direct, *role, permission)));
        }
    }

    #[test]
    fn roles_are_given_downwards() {
        assert!(may_set_role(Role::Owner, Role::Member, Role::Owner));
        assert!(!may_set_role(Role::Owner, Role::Owner, Role::Member));
        assert!(may_set_role(Role::Admin, Role::Member, Role::Moderator));
        assert!(!may_set_role(Role::Admin, Role::Member, Role::Admin));
        assert!(!may_set_role(Role::Moderator, Role::Member, Role::Moderator));
    }
}
