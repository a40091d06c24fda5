//! Passphrases of private keys, and the encrypted form of PKCS#8 (PBES2 of RFC 8018 with scrypt of RFC 7914 and
//! AES-256-CBC).
//!
//! A passphrase comes from the terminal, without echo, or from the first line of a private file: arguments and the
//! environment can be read by others on the same machine. What is wrong is said without repeating any of it.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pkcs5::der::asn1::OctetStringRef;
use pkcs5::der::{Encode, Reader, SliceReader};
use pkcs5::pbes2::{Kdf, Parameters};
use pkcs5::{EncryptionScheme, scrypt};
use zeroize::Zeroizing;

use crate::args::NewPassphrase;
use crate::errors::{Failure, Outcome};
use crate::private_file;

/// Largest file with a passphrase.
const MAX_FILE_BYTES: u64 = 4 * 1024;
/// Shortest passphrase: an encrypted root may be tried for years by whoever finds the medium.
const MIN_CHARS: usize = 12;
/// Most memory that scrypt may ask for when a file is opened: a foreign file must not take the machine's.
const MAX_SCRYPT_BYTES: u64 = 1 << 30;
/// Most rounds of PBKDF2 that are carried out: some seconds.
const MAX_PBKDF2_ROUNDS: u32 = 10_000_000;
/// Characters of a line of PEM.
const LINE: usize = 64;
const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";

/// How a new private key is closed; nothing: not at all.
pub type Closing = Option<Zeroizing<String>>;

/// Asks for the passphrase of a new key, if it shall have one.
pub fn closing(asked: &NewPassphrase) -> Outcome<Closing> {
    let passphrase = match (&asked.passphrase_file, asked.passphrase) {
        (Some(path), _) => from_file(path)?,
        (None, false) => return Ok(None),
        (None, true) => {
            let first = from_terminal("New passphrase: ")?;
            if first != from_terminal("The same again: ")? {
                return Err(Failure::usage("the two passphrases differ", "nothing was made; try again"));
            }
            first
        }
    };
    if passphrase.chars().count() < MIN_CHARS {
        let why = format!("the passphrase has fewer than {MIN_CHARS} characters");
        return Err(Failure::usage(why, "nothing was made; some words that nobody else would put together do well"));
    }
    Ok(Some(passphrase))
}

/// Asks on the terminal, without echo.
pub fn from_terminal(prompt: &str) -> Outcome<Zeroizing<String>> {
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| {
        Failure::usage(format!("a passphrase is needed and cannot be asked for: {error}"), "use --passphrase-file FILE")
    })
}

/// The first line of a file that nobody else can read.
pub fn from_file(path: &Path) -> Outcome<Zeroizing<String>> {
    const HINT: &str = "its first line must be the passphrase";
    let bytes = Zeroizing::new(private_file::read_private(path, MAX_FILE_BYTES, HINT)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::usage(format!("{} is no text", path.display()), HINT))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::usage(format!("{} has an empty first line", path.display()), HINT));
    }
    Ok(Zeroizing::new(line.to_string()))
}

/// The encrypted form of a private key in PEM (label `PRIVATE KEY`), as PEM.
pub fn encrypt(pem: &str, passphrase: &str) -> Outcome<Zeroizing<String>> {
    let bad = |what: &str| Failure::usage(format!("the private key cannot be encrypted: {what}"), "nothing was made");
    let body: Zeroizing<String> = Zeroizing::new(pem.lines().filter(|line| !line.starts_with('-')).collect());
    let plain = Zeroizing::new(STANDARD.decode(body.as_bytes()).map_err(|_| bad("its form"))?);
    let (mut salt, mut iv) = ([0u8; 16], [0u8; 16]);
    getrandom::fill(&mut salt).and_then(|()| getrandom::fill(&mut iv)).map_err(|_| bad("no randomness"))?;
    // Recommended: N = 2^17, r = 8, p = 1: 128 MiB and some tenths of a second for each try.
    let scheme = Parameters::generate_scrypt_aes256cbc(scrypt::Params::RECOMMENDED, &salt, iv).map_err(|_| bad("its scheme"))?;
    let closed = scheme.encrypt(passphrase, &plain).map_err(|_| bad("the cipher"))?;
    let der = info(scheme.into(), &closed).map_err(|_| bad("its form"))?;
    let mut text = format!("{BEGIN}\n");
    for line in STANDARD.encode(der).as_bytes().chunks(LINE) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(END);
    text.push('\n');
    Ok(Zeroizing::new(text))
}

/// EncryptedPrivateKeyInfo: a sequence of the scheme and the encrypted bytes.
fn info(scheme: EncryptionScheme, closed: &[u8]) -> Result<Vec<u8>, pkcs5::der::Error> {
    let parts = [scheme.to_der()?, OctetStringRef::new(closed)?.to_der()?].concat();
    let mut der = pkcs5::der::Header::new(pkcs5::der::Tag::Sequence, pkcs5::der::Length::try_from(parts.len())?).to_der()?;
    der.extend(parts);
    Ok(der)
}

/// Opens an encrypted private key in PEM: DER of the plain one; why not, in a few words.
pub fn decrypt(pem: &str, passphrase: &str) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let body = pem.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).ok_or("it is damaged (PEM)")?.0;
    let body: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|_| "it is damaged (base64)")?;
    let (scheme, closed) = read_info(&der).map_err(|_| "its encryption is unknown here; PBES2 is needed")?;
    check_cost(&scheme)?;
    scheme.decrypt(passphrase, closed).map(Zeroizing::new).map_err(|_| "the passphrase is wrong, or the file is damaged")
}

fn read_info(der: &[u8]) -> Result<(EncryptionScheme, &[u8]), pkcs5::der::Error> {
    let mut reader = SliceReader::new(der)?;
    let parts = reader.sequence(|reader| {
        let scheme = reader.decode::<EncryptionScheme>()?;
        let closed = reader.decode::<&OctetStringRef>()?;
        Ok::<_, pkcs5::der::Error>((scheme, closed.as_bytes()))
    })?;
    reader.finish()?;
    Ok(parts)
}

/// The work that a file asks for is its writer's choice; it ends somewhere.
fn check_cost(scheme: &EncryptionScheme) -> Result<(), &'static str> {
    let scheme = scheme.pbes2().ok_or("it is encrypted with an old scheme; PBES2 is needed")?;
    let is_bearable = match &scheme.kdf {
        Kdf::Scrypt(cost) => {
            let blocks = u64::from(cost.block_size) * u64::from(cost.parallelization);
            cost.cost_parameter.saturating_mul(blocks).saturating_mul(128) <= MAX_SCRYPT_BYTES
        }
        Kdf::Pbkdf2(rounds) => rounds.iteration_count <= MAX_PBKDF2_ROUNDS,
        _ => false,
    };
    if is_bearable { Ok(()) } else { Err("opening it would take too much memory or time") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::private_file::NewFile;
    use beffroi_schema::down::OperatorKey;

    #[test]
    fn an_encrypted_key_opens_with_its_passphrase_only() {
        let key = OperatorKey::generate_p256().unwrap();
        let pem = encrypt(&key.to_pkcs8_pem().unwrap(), "correct horse battery").unwrap();
        assert!(pem.starts_with(BEGIN) && pem.lines().all(|line| line.len() <= LINE), "{}", &*pem);
        let open = decrypt(&pem, "correct horse battery").unwrap();
        assert_eq!(OperatorKey::from_pkcs8_der(&open).unwrap().key_id(), key.key_id());
        assert!(decrypt(&pem, "correct horse batterz").unwrap_err().contains("passphrase is wrong"));
    }

    #[test]
    fn a_key_that_openssl_encrypted_opens() {
        // openssl genpkey -algorithm ed25519 | openssl pkcs8 -topk8 -v2 aes-256-cbc -passout pass:..., for this test only.
        let pem = include_str!("../tests/fixtures/openssl-encrypted.key");
        let open = decrypt(pem, "correct horse battery").unwrap();
        let public = include_str!("../tests/fixtures/openssl-encrypted.pub");
        let public = beffroi_schema::down::PublicKey::from_pem(public).unwrap();
        assert_eq!(OperatorKey::from_pkcs8_der(&open).unwrap().public_key(), public);
    }

    #[test]
    fn a_file_that_asks_for_too_much_work_and_damage_are_refused_without_work() {
        let hungry = scrypt::Params::new(24, 8, 1).unwrap();
        let scheme = Parameters::generate_scrypt_aes256cbc(hungry, &[1; 16], [2; 16]).unwrap();
        let der = info(scheme.into(), &[0; 64]).unwrap();
        let pem = format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(&der));
        assert!(decrypt(&pem, "x").unwrap_err().contains("too much memory"));
        let cut = format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(&der[..der.len() - 1]));
        for bad in [cut.as_str(), "", BEGIN, &format!("{BEGIN}%{END}"), &format!("{BEGIN}{END}")] {
            assert!(decrypt(bad, "x").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_passphrase_is_the_first_line_of_a_private_file_and_long_enough() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        let asked = |text: &str| {
            let _ = std::fs::remove_file(&path);
            NewFile::private(&path).unwrap().write(text, "").unwrap();
            closing(&NewPassphrase { passphrase: false, passphrase_file: Some(path.clone()) })
        };
        assert_eq!(asked("twelve letters\nsecond").unwrap().unwrap().as_str(), "twelve letters");
        assert!(asked("short").is_err() && asked("").is_err());
        assert!(closing(&NewPassphrase { passphrase: false, passphrase_file: None }).unwrap().is_none());
    }
}
