//! Which names (of options, variables, parameters, JSON members) stand for a secret.

/// A name with one of these words, or with a word that ends in one of them, is a secret's.
const SECRET_ENDINGS: [&str; 9] =
    ["password", "passwd", "passphrase", "passwort", "secret", "token", "apikey", "accesskey", "secretkey"];
/// A name with one of these words is a secret's.
const SECRET_WORDS: [&str; 8] = ["pass", "sshpass", "passcode", "credential", "credentials", "bearer", "jwt", "motdepasse"];
/// A `key` after one of these words is a secret; other keys (`sort-key`, `public-key`, `ssh-key`) are not.
const SECRET_KEYS: [&str; 10] =
    ["api", "access", "secret", "private", "auth", "account", "signing", "encryption", "master", "shared"];
/// A name that ends in one of these tells something about a secret, but is none.
const HARMLESS_ENDINGS: [&str; 49] = [
    "file",
    "files",
    "path",
    "endpoint",
    "url",
    "uri",
    "dir",
    "directory",
    "type",
    "ttl",
    "id",
    "ids",
    "name",
    "names",
    "length",
    "expiry",
    "expires",
    "expiration",
    "timeout",
    "policy",
    "prompt",
    "stdin",
    "fd",
    "env",
    "command",
    "cmd",
    "helper",
    "store",
    "manager",
    "field",
    "count",
    "limit",
    "limits",
    "min",
    "max",
    "algorithm",
    "format",
    "header",
    "age",
    "days",
    "location",
    "mode",
    "only",
    "version",
    "provider",
    "issuer",
    "size",
    "refresh",
    "script",
];
/// A name that begins with one of these is a switch or a verb.
const HARMLESS_BEGINNINGS: [&str; 14] =
    ["no", "without", "disable", "skip", "ask", "prompt", "require", "list", "show", "change", "generate", "reset", "use", "max"];
/// Longer names are no names.
const MAX_NAME: usize = 128;

/// Whether a value under this name is a secret.
pub fn is_secret_name(name: &[u8]) -> bool {
    let Some(words) = words(name) else { return false };
    let (Some(first), Some(last)) = (words.first(), words.last()) else { return false };
    if HARMLESS_ENDINGS.contains(&last.as_str()) || words.len() > 1 && HARMLESS_BEGINNINGS.contains(&first.as_str()) {
        return false;
    }
    let by_word = words
        .iter()
        .any(|word| SECRET_WORDS.contains(&word.as_str()) || SECRET_ENDINGS.iter().any(|ending| word.ends_with(ending)));
    // PWD alone is the working directory.
    let pwd = last == "pwd" && words.len() > 1 && first != "old";
    let key = words.windows(2).any(|pair| pair[1] == "key" && SECRET_KEYS.contains(&pair[0].as_str()));
    by_word || pwd || key
}

/// The words of a name, in lower case: `clientSecret`, `client_secret`, `client-secret` and `client.secret` are the same.
fn words(name: &[u8]) -> Option<Vec<String>> {
    if name.is_empty() || name.len() > MAX_NAME {
        return None;
    }
    let mut words = vec![String::new()];
    let mut lower_before = false;
    for byte in name {
        match byte {
            b'_' | b'-' | b'.' | b':' | b'[' | b']' => words.push(String::new()),
            byte if byte.is_ascii_alphanumeric() => {
                if byte.is_ascii_uppercase() && lower_before {
                    words.push(String::new());
                }
                words.last_mut()?.push(char::from(byte.to_ascii_lowercase()));
            }
            _ => return None,
        }
        lower_before = byte.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    Some(words)
}
