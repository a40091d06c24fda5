//! Certificates on the operator's disk: read, judged, and put beside the key that they are for.
//!
//! A certificate that a host would refuse is refused here, before anything is signed with it: the checks are the ones of
//! the contract (`beffroi_schema::down`).

use std::path::Path;

use beffroi_schema::down::{
    self, EVERY_TENANT, KeyId, OperatorCertificate, OperatorKey, PublicKey, ROLE_ROOT, Signed, SignedKind, signed_bytes,
};
use prost::Message;

use crate::envelope;
use crate::errors::{Failure, Outcome};

/// A certificate as it stands in a file.
pub struct Certificate {
    /// The envelope, encoded: what travels beside a signature.
    pub encoded: Vec<u8>,
    /// What it says.
    pub body: OperatorCertificate,
    /// Whose key it is for.
    pub key: PublicKey,
    /// Id of that key.
    pub id: KeyId,
    /// Id of the key that signed it.
    pub issuer: Option<KeyId>,
    signed: Signed,
}

impl Certificate {
    /// Reads a certificate file. Verifies nothing.
    pub fn read(path: &Path) -> Outcome<Self> {
        Self::of(envelope::read(path)?).map_err(|why| {
            Failure::usage(format!("{}: {why}", path.display()), "name a certificate: a .beffroi file of `beffroi key`")
        })
    }

    /// The certificate in an envelope; why not, in a few words.
    pub fn of(signed: Signed) -> Result<Self, String> {
        let encoded = signed.encode_to_vec();
        let (body, key) = down::read_certificate(&encoded).map_err(|error| error.to_string())?;
        let issuer = signed.signatures.first().and_then(|signature| Some(KeyId(signature.key_id.as_slice().try_into().ok()?)));
        Ok(Self { id: key.key_id(), encoded, body, key, issuer, signed })
    }

    /// Reads the certificate of a root: signed by its own key, with the root's role, in time.
    pub fn read_root(path: &Path, now_us: i64) -> Outcome<Self> {
        let certificate = Self::read(path)?;
        let bad = |why: &str| {
            Failure::usage(format!("{}: {why}", path.display()), "name the certificate that `beffroi key root new` wrote")
        };
        if !certificate.body.roles.iter().any(|role| role == ROLE_ROOT) {
            return Err(bad("this is no root's certificate"));
        }
        if !certificate.is_signed_by(&certificate.key) {
            return Err(bad("its signature does not hold: it was altered"));
        }
        if now_us >= certificate.body.not_after {
            return Err(bad("it has expired"));
        }
        Ok(certificate)
    }

    /// Id of the root at the end of the chain in an operator's certificate, or its own if it is a root's.
    pub fn root(&self) -> Option<KeyId> {
        if self.issuer == Some(self.id) {
            return Some(self.id);
        }
        let (_, key) = down::read_certificate(&self.signed.signatures.first()?.certificate).ok()?;
        Some(key.key_id())
    }

    /// Whether one of its signatures is by this key.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let bytes = signed_bytes(self.signed.kind, self.signed.threshold, &self.signed.body);
        let mut own = self.signed.signatures.iter().filter(|signature| signature.key_id == key.key_id().0);
        own.any(|signature| signature.algorithm == key.algorithm() && key.verify(&bytes, &signature.signature))
    }

    /// Whether it lets its key speak to this tenant.
    pub fn covers(&self, tenant: &str) -> bool {
        self.body.tenants.iter().any(|own| own == EVERY_TENANT || own == tenant)
    }
}

/// An operator who can sign: a key and its certificate.
pub struct Signer {
    /// The key.
    pub key: OperatorKey,
    /// Its certificate.
    pub certificate: Certificate,
}

impl Signer {
    /// Puts key and certificate together, if they belong together and the certificate is still good.
    pub fn new(key: OperatorKey, certificate: Certificate, now_us: i64) -> Outcome<Self> {
        if key.key_id() != certificate.id {
            let what = format!("the certificate is for key {}, and the key is {}", short(&certificate.id), short(&key.key_id()));
            return Err(Failure::usage(what, "name the certificate that belongs to the key: --cert"));
        }
        if now_us >= certificate.body.not_after {
            let what = format!("the certificate of {:?} has expired", certificate.body.name);
            return Err(Failure::usage(what, "whoever holds the root makes a new one: `beffroi key certify`"));
        }
        Ok(Self { key, certificate })
    }

    /// An envelope signed with this key, with the certificate beside the signature.
    pub fn sign(&self, kind: SignedKind, body: &impl Message) -> Outcome<Signed> {
        sign(kind, body, &self.key, self.certificate.encoded.clone())
    }
}

/// An envelope with one signature.
pub fn sign(kind: SignedKind, body: &impl Message, key: &OperatorKey, certificate: Vec<u8>) -> Outcome<Signed> {
    down::sign(kind, body, key, certificate).map_err(|error| Failure::usage(error.to_string(), "nothing was signed"))
}

/// First digits of a key's id: enough to tell keys apart in a sentence.
pub fn short(id: &KeyId) -> String {
    id.to_string().chars().take(12).collect()
}
