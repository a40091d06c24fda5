//! Keys of what goes down: Ed25519, and P-256 for smart cards that know nothing else.
//!
//! Owns their forms (SubjectPublicKeyInfo, PKCS#8, PEM) and the two primitives, sign and verify. Secrets are never
//! printed: the debug form of a private key shows its id. A key that cannot be read is an error that does not repeat it.

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, Document, EncodePrivateKey, KeypairBytes, SecretDocument};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};

use super::{ALGORITHM_ED25519, ALGORITHM_P256, KeyId, OperatorCertificate};

/// DER of a SubjectPublicKeyInfo before the 32 bytes of an Ed25519 key (RFC 8410).
const SPKI_ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// DER of a SubjectPublicKeyInfo before the 65 bytes of an uncompressed point on P-256 (RFC 5480).
const SPKI_P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07, 0x03, 0x42, 0x00,
];
const LABEL_PUBLIC: &str = "PUBLIC KEY";
const LABEL_PRIVATE: &str = "PRIVATE KEY";

/// A key cannot be used. Never repeats what was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No public key in a form that is understood.
    #[error("not a public key: {0}; an Ed25519 or P-256 key as SubjectPublicKeyInfo (PEM label PUBLIC KEY) is expected")]
    Public(&'static str),
    /// No private key in a form that is understood.
    #[error("not a private key: {0}; an Ed25519 or P-256 key as unencrypted PKCS#8 (PEM label PRIVATE KEY) is expected")]
    Private(&'static str),
    /// The operating system has no randomness.
    #[error("the operating system gave no randomness; try again")]
    Randomness,
    /// The signer did not sign.
    #[error("it could not be signed: {0}")]
    Sign(String),
    /// An envelope cannot take another signature.
    #[error("the envelope cannot take another signature: {0}")]
    Full(&'static str),
}

/// A public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicKey {
    /// 32 bytes.
    Ed25519([u8; 32]),
    /// Uncompressed point: 4, x, y.
    P256([u8; 65]),
}

impl PublicKey {
    /// Number of its algorithm on the wire.
    pub fn algorithm(&self) -> u32 {
        match self {
            Self::Ed25519(_) => ALGORITHM_ED25519,
            Self::P256(_) => ALGORITHM_P256,
        }
    }

    /// Name of its algorithm for people.
    pub fn algorithm_name(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "ed25519",
            Self::P256(_) => "p256",
        }
    }

    /// The key as it stands in an [`OperatorCertificate`]: 32 or 65 bytes.
    pub fn raw(&self) -> &[u8] {
        match self {
            Self::Ed25519(bytes) => bytes,
            Self::P256(bytes) => bytes,
        }
    }

    /// DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(bytes) => [SPKI_ED25519.as_slice(), bytes].concat(),
            Self::P256(bytes) => [SPKI_P256.as_slice(), bytes].concat(),
        }
    }

    /// SHA-256 of the DER SubjectPublicKeyInfo.
    pub fn key_id(&self) -> KeyId {
        KeyId(Sha256::digest(self.spki()).into())
    }

    /// The key in a certificate.
    ///
    /// # Errors
    /// [`KeyError::Public`].
    pub fn from_certificate(certificate: &OperatorCertificate) -> Result<Self, KeyError> {
        Self::from_raw(certificate.algorithm, &certificate.public_key)
    }

    fn from_raw(algorithm: u32, bytes: &[u8]) -> Result<Self, KeyError> {
        match algorithm {
            ALGORITHM_ED25519 => bytes.try_into().map(Self::Ed25519).map_err(|_| KeyError::Public("32 bytes were expected")),
            ALGORITHM_P256 => match <[u8; 65]>::try_from(bytes) {
                Ok(point @ [4, ..]) => Ok(Self::P256(point)),
                _ => Err(KeyError::Public("an uncompressed point of 65 bytes was expected")),
            },
            _ => Err(KeyError::Public("its algorithm is unknown")),
        }
    }

    /// Reads a DER SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`KeyError::Public`].
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        if let Some(raw) = der.strip_prefix(&SPKI_ED25519) {
            return Self::from_raw(ALGORITHM_ED25519, raw);
        }
        match der.strip_prefix(&SPKI_P256) {
            Some(raw) => Self::from_raw(ALGORITHM_P256, raw),
            None => Err(KeyError::Public("its algorithm or form is unknown")),
        }
    }

    /// Reads PEM with the label `PUBLIC KEY`.
    ///
    /// # Errors
    /// [`KeyError::Public`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        match Document::from_pem(pem.trim()) {
            Ok((LABEL_PUBLIC, document)) => Self::from_spki(document.as_bytes()),
            Ok(_) => Err(KeyError::Public("its PEM label is another")),
            Err(_) => Err(KeyError::Public("it is no PEM")),
        }
    }

    /// PEM with the label `PUBLIC KEY`.
    ///
    /// # Errors
    /// [`KeyError::Public`] when the encoder refuses, which these few bytes give it no reason for.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        let document = Document::try_from(self.spki()).map_err(|_| KeyError::Public("it is no DER"))?;
        document.to_pem(LABEL_PUBLIC, LineEnding::LF).map_err(|_| KeyError::Public("it cannot be written as PEM"))
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(bytes) => {
                let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else { return false };
                VerifyingKey::from_bytes(bytes).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
            }
            Self::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok(),
        }
    }
}

/// The private key of a root or of an operator.
pub struct OperatorKey {
    secret: Secret,
    public: PublicKey,
}

enum Secret {
    Ed25519(SigningKey),
    // The document is kept because the pair cannot be written out again.
    P256(Box<EcdsaKeyPair>, SecretDocument),
}

impl std::fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OperatorKey({} {})", self.public.algorithm_name(), self.key_id())
    }
}

impl OperatorKey {
    /// A new Ed25519 key.
    ///
    /// # Errors
    /// [`KeyError::Randomness`].
    pub fn generate_ed25519() -> Result<Self, KeyError> {
        let mut seed = [0u8; 32];
        getrandom::fill(&mut seed).map_err(|_| KeyError::Randomness)?;
        Ok(Self::from_ed25519(SigningKey::from_bytes(&seed)))
    }

    /// A new P-256 key.
    ///
    /// # Errors
    /// [`KeyError::Randomness`].
    pub fn generate_p256() -> Result<Self, KeyError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyError::Randomness)?;
        Self::from_pkcs8_der(document.as_ref())
    }

    /// This Ed25519 key.
    pub fn from_ed25519(key: SigningKey) -> Self {
        Self { public: PublicKey::Ed25519(key.verifying_key().to_bytes()), secret: Secret::Ed25519(key) }
    }

    /// Reads an unencrypted PKCS#8 document; a P-256 key must name its public key, as `openssl` writes it.
    ///
    /// # Errors
    /// [`KeyError::Private`].
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        if let Ok(key) = SigningKey::from_pkcs8_der(der) {
            return Ok(Self::from_ed25519(key));
        }
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new())
            .map_err(|_| KeyError::Private("its algorithm or form is unknown, or it contradicts itself"))?;
        let public = PublicKey::from_raw(ALGORITHM_P256, pair.public_key().as_ref())?;
        let document = SecretDocument::try_from(der).map_err(|_| KeyError::Private("it is no DER"))?;
        Ok(Self { secret: Secret::P256(Box::new(pair), document), public })
    }

    /// Reads PEM with the label `PRIVATE KEY`.
    ///
    /// # Errors
    /// [`KeyError::Private`].
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, KeyError> {
        match SecretDocument::from_pem(pem.trim()) {
            Ok((LABEL_PRIVATE, document)) => Self::from_pkcs8_der(document.as_bytes()),
            Ok(("ENCRYPTED PRIVATE KEY", _)) => Err(KeyError::Private("it is encrypted")),
            Ok(_) => Err(KeyError::Private("its PEM label is another")),
            Err(_) => Err(KeyError::Private("it is no PEM")),
        }
    }

    /// PEM with the label `PRIVATE KEY`. The buffer is wiped when it is dropped.
    ///
    /// # Errors
    /// [`KeyError::Private`] when the encoder refuses.
    pub fn to_pkcs8_pem(&self) -> Result<zeroize::Zeroizing<String>, KeyError> {
        let pem = match &self.secret {
            // Without the public key (version 1), which every tool reads.
            Secret::Ed25519(key) => {
                KeypairBytes { secret_key: key.to_bytes(), public_key: None }.to_pkcs8_pem(LineEnding::LF).ok()
            }
            Secret::P256(_, document) => document.to_pem(LABEL_PRIVATE, LineEnding::LF).ok(),
        };
        pem.ok_or(KeyError::Private("it cannot be written as PEM"))
    }

    /// Its public half.
    pub fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Id of its public half.
    pub fn key_id(&self) -> KeyId {
        self.public.key_id()
    }

    /// Signs a message: 64 bytes.
    ///
    /// # Errors
    /// [`KeyError::Randomness`].
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        match &self.secret {
            Secret::Ed25519(key) => Ok(key.sign(message).to_bytes()),
            Secret::P256(pair, _) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(|_| KeyError::Randomness)?;
                signature.as_ref().try_into().map_err(|_| KeyError::Sign("the signature has another size".into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> [OperatorKey; 2] {
        [OperatorKey::generate_ed25519().unwrap(), OperatorKey::generate_p256().unwrap()]
    }

    #[test]
    fn keys_survive_their_files_and_sign_as_before() {
        for key in both() {
            let again = OperatorKey::from_pkcs8_pem(&key.to_pkcs8_pem().unwrap()).unwrap();
            assert_eq!(again.public_key(), key.public_key());
            let public = PublicKey::from_pem(&key.public_key().to_pem().unwrap()).unwrap();
            assert_eq!((public, public.key_id()), (key.public_key(), key.key_id()));
            let signature = again.sign(b"text").unwrap();
            assert!(public.verify(b"text", &signature));
            assert!(!public.verify(b"texu", &signature) && !public.verify(b"text", &signature[..63]));
        }
    }

    #[test]
    fn a_key_does_not_verify_what_another_signed() {
        let [ed, p256] = both();
        let other = OperatorKey::generate_p256().unwrap();
        let signature = p256.sign(b"text").unwrap();
        assert!(!other.public_key().verify(b"text", &signature) && !ed.public_key().verify(b"text", &signature));
        assert!(!PublicKey::P256([4; 65]).verify(b"text", &signature), "not a point of the curve");
    }

    #[test]
    fn the_debug_form_of_a_private_key_shows_its_id_only() {
        for key in both() {
            let expected = format!("OperatorKey({} {})", key.public_key().algorithm_name(), key.key_id());
            assert_eq!(format!("{key:?}"), expected);
        }
    }

    #[test]
    fn keys_made_by_openssl_are_read() {
        // openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256, and -algorithm ed25519; made for this test only.
        let p256 = include_str!("../../tests/fixtures/keys/openssl-p256.pem");
        let ed = include_str!("../../tests/fixtures/keys/openssl-ed25519.pem");
        for (pem, public) in [
            (p256, include_str!("../../tests/fixtures/keys/openssl-p256.pub")),
            (ed, include_str!("../../tests/fixtures/keys/openssl-ed25519.pub")),
        ] {
            let key = OperatorKey::from_pkcs8_pem(pem).unwrap();
            assert_eq!(key.public_key(), PublicKey::from_pem(public).unwrap());
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_repeating_it() {
        let pem = OperatorKey::generate_p256().unwrap().to_pkcs8_pem().unwrap().replace("PRIVATE", "ENCRYPTED PRIVATE");
        let secret = pem.lines().nth(1).unwrap().to_string();
        let error = OperatorKey::from_pkcs8_pem(&pem).unwrap_err().to_string();
        assert!(error.contains("encrypted") && !error.contains(&secret), "{error}");
        for text in ["", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert!(OperatorKey::from_pkcs8_pem(text).is_err() && PublicKey::from_pem(text).is_err());
        }
        assert!(PublicKey::from_spki(&[0; 200]).is_err() && PublicKey::from_raw(3, &[0; 32]).is_err());
    }
}
