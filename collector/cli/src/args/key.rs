//! Verbs and options of `key`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// What `key --help` says of keeping keys.
const KEEPING: &str = "\
Keeping keys
  The root key certifies operators and revokes them. Hosts pin its fingerprint when they enrol,
  and nothing on a server holds it. Make it on a machine without a network (`beffroi key` needs
  none), keep that machine or an encrypted medium in a safe, and a second copy elsewhere. It is
  needed once a month at most:

    offline   beffroi key root new --out /media/root --passphrase
    operator  beffroi key operator new --out ~/.config/beffroi --name alice --passphrase
              carry alice.pub over: it is no secret, but compare its id aloud
    offline   beffroi key certify --root /media/root --operator alice.pub --name alice \\
                --tenant interieur --expires 30d
              carry alice.beffroi back: private keys never travel
    operator  beffroi scan start ... --key alice.key --cert alice.beffroi

  A key that was lost or stolen is stopped on every host:

    offline   beffroi key revoke --root /media/root KEYID --out alice-lost.beffroi
    anybody   beffroi key publish alice-lost.beffroi

Files
  NAME.key      private key: PKCS#8 in PEM, mode 0600; with --passphrase encrypted by scrypt
                and AES-256-CBC
  NAME.pub      public key: SubjectPublicKeyInfo in PEM
  NAME.beffroi  certificate, revocation or order: a line `beffroi-signed-1 KIND`, then base64
                of the signed envelope
  No file is ever overwritten, and private keys that others can read are refused. A passphrase
  is asked for on the terminal, or read from the first line of --passphrase-file; it is never
  taken from an argument or the environment.";

/// Verbs of `key`.
#[derive(Debug, Subcommand)]
#[command(after_long_help = KEEPING)]
pub enum Key {
    /// What is done with keys and files alone.
    #[command(flatten)]
    Offline(KeyWork),
    /// Give a revocation to the collector, which hands it to every host (an admin of every tenant).
    Publish {
        /// The file that `key revoke` made.
        file: PathBuf,
    },
}

/// Verbs of `key` that ask no server.
#[derive(Debug, Subcommand)]
pub enum KeyWork {
    /// The root: certifies operators; hosts pin it when they enrol.
    #[command(subcommand)]
    Root(KeyRoot),
    /// Operators: their keys sign orders.
    #[command(subcommand)]
    Operator(KeyOperator),
    /// Let an operator's key sign orders for some tenants, for at most 30 days.
    #[command(after_long_help = KEEPING)]
    Certify {
        /// The root's private key (its certificate stands beside it), or the folder with root.key and root.beffroi.
        #[arg(long, value_name = "FILE|DIR")]
        root: PathBuf,
        /// Public key of the operator.
        #[arg(long, value_name = "FILE")]
        operator: PathBuf,
        /// Name of the operator, as hosts report it.
        #[arg(long)]
        name: String,
        /// Tenant whose hosts take orders from this key, or '*' for every one; repeat for several.
        #[arg(long, required = true)]
        tenant: Vec<String>,
        /// What the key may order; repeat for several.
        #[arg(long, default_value = "scan", value_parser = ["scan"])]
        role: Vec<String>,
        /// For how long, 30 days at most.
        #[arg(long, default_value = "30d", value_name = "DURATION")]
        expires: String,
        /// Where the certificate goes (default: beside the public key, as NAME.beffroi).
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// How to open the root's key.
        #[command(flatten)]
        secret: Passphrase,
    },
    /// Stop keys for good: a list of key ids, signed by the root. Hosts never forget a key that was stopped.
    Revoke {
        /// The root's private key, or the folder with root.key and root.beffroi.
        #[arg(long, value_name = "FILE|DIR")]
        root: PathBuf,
        /// Ids of the keys that stop, 64 hex digits each, as `key show` prints them.
        #[arg(required = true, value_name = "KEYID")]
        keys: Vec<String>,
        /// The revocation before this one: its keys are carried on, for hosts that never saw it.
        #[arg(long, value_name = "FILE")]
        previous: Option<PathBuf>,
        /// Where the revocation goes.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// How to open the root's key.
        #[command(flatten)]
        secret: Passphrase,
    },
    /// What a file of keys holds: kind, algorithm, id, tenants, expiry; never the secret.
    Show {
        /// A .key, .pub or .beffroi file.
        file: PathBuf,
        /// How to open it, if it is an encrypted key.
        #[command(flatten)]
        secret: Passphrase,
    },
}

/// Verbs of `key root`.
#[derive(Debug, Subcommand)]
pub enum KeyRoot {
    /// Make a root: a private key and its own certificate.
    #[command(after_long_help = KEEPING)]
    New {
        /// Folder for root.key and root.beffroi, or the path of the private key (ending .key).
        #[arg(long, value_name = "DIR|FILE")]
        out: PathBuf,
        /// Kind of key.
        #[arg(long, value_enum, default_value = "ed25519")]
        algorithm: Algorithm,
        /// Name of the root, for people.
        #[arg(long, default_value = "root")]
        name: String,
        /// How to close it.
        #[command(flatten)]
        secret: NewPassphrase,
    },
}

/// Verbs of `key operator`.
#[derive(Debug, Subcommand)]
pub enum KeyOperator {
    /// Make an operator's key: a private key, and the public one that the root certifies.
    #[command(after_long_help = KEEPING)]
    New {
        /// Folder for NAME.key and NAME.pub, or the path of the private key (ending .key).
        #[arg(long, value_name = "DIR|FILE")]
        out: PathBuf,
        /// Kind of key.
        #[arg(long, value_enum, default_value = "ed25519")]
        algorithm: Algorithm,
        /// Name of the files in a folder.
        #[arg(long, default_value = "operator")]
        name: String,
        /// How to close it.
        #[command(flatten)]
        secret: NewPassphrase,
    },
}

/// How a new private key is closed.
#[derive(Debug, Args)]
pub struct NewPassphrase {
    /// Encrypt the private key with a passphrase, asked for twice on the terminal.
    #[arg(long)]
    pub passphrase: bool,
    /// Encrypt the private key with the first line of this file, which only you may read.
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase")]
    pub passphrase_file: Option<PathBuf>,
}

/// How an encrypted private key is opened.
#[derive(Debug, Clone, Default, Args)]
pub struct Passphrase {
    /// File whose first line opens an encrypted key (default: asked for on the terminal).
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// Kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Algorithm {
    /// Edwards curve: the default.
    Ed25519,
    /// NIST P-256: what smart cards hold.
    P256,
}
