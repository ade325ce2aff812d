//! Accounts: how names are compared, and what makes a password too weak.

use super::limits::*;

/// The form under which a username is unique (`Ann` and `ann` are one), or why it cannot be one.
pub fn normal_username(name: &str) -> Result<String, &'static str> {
    let length = name.chars().count();
    if !(USERNAME_MIN_CHARS..=USERNAME_MAX_CHARS).contains(&length) {
        return Err("must have 3 to 32 characters");
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        return Err("may contain A-Z a-z 0-9 _ . - only");
    }
    Ok(name.to_ascii_lowercase())
}

/// The form under which an address is unique. Only its shape is checked: whether it exists, a mail tells.
pub fn normal_email(email: &str) -> Result<String, &'static str> {
    if email.len() > EMAIL_MAX {
        return Err("must have at most 254 bytes");
    }
    let shaped = email.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && local.len() <= 64
            && domain.len() >= 3
            && domain.contains('.')
            && !domain.starts_with('.')
            && !domain.ends_with('.')
            && !domain.contains('@')
    });
    if !shaped || email.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("must be an email address");
    }
    Ok(email.to_lowercase())
}

/// What is wrong with a password, if anything: NIST SP 800-63B's length and blocklist, no rules of composition.
pub fn password_problem(password: &str, username: &str, email: &str) -> Option<&'static str> {
    if password.len() < PASSWORD_MIN {
        return Some("must have at least 8 bytes");
    }
    if password.len() > PASSWORD_MAX {
        return Some("must have at most 1,024 bytes");
    }
    if password.contains('\0') {
        return Some("must not contain NUL");
    }
    let lower = password.to_lowercase();
    if lower == username.to_lowercase() || lower == email.to_lowercase() {
        return Some("must not be the name or the email");
    }
    let mut first = lower.chars();
    let one_character = first.next().is_some_and(|c| first.all(|other| other == c));
    if one_character || COMMON_PASSWORDS.lines().any(|common| common == lower) {
        return Some("is too common");
    }
    None
}

/// Passwords of eight bytes or more that head the published lists of leaked ones, and obvious runs of keys.
const COMMON_PASSWORDS: &str = include_str!("common_passwords.txt");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usernames() {
        assert_eq!(normal_username("Ann.B-c_9").as_deref(), Ok("ann.b-c_9"));
        for bad in ["ab", "a b", "ann!", "änn", &"a".repeat(33)] {
            assert!(normal_username(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn emails() {
        assert_eq!(normal_email("Ann@Example.org").as_deref(), Ok("ann@example.org"));
        for bad in
            ["ann", "@example.org", "ann@org", "a b@example.org", "ann@ex@ample.org", "ann@.org", "ann@example.org."]
        {
            assert!(normal_email(bad).is_err(), "{bad}");
        }
        assert!(normal_email(&format!("{}@example.org", "a".repeat(64))).is_ok());
        assert!(normal_email(&format!("{}@example.org", "a".repeat(65))).is_err());
    }

    #[test]
    fn passwords() {
        assert_eq!(password_problem("correct horse", "ann", "ann@example.org"), None);
        for bad in ["short", "Password123", "12345678", "aaaaaaaaaa", "ann.the.one", &"x".repeat(1025)] {
            assert!(password_problem(bad, "Ann.The.One", "ann@example.org").is_some(), "{bad}");
        }
    }
}
