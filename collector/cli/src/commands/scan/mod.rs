//! `beffroi scan`: signed orders to look through files on hosts, and what came of them.
//!
//! The server is asked to pass on what is signed here; it cannot sign, and what it says of a scan is what hosts answered.

mod cancel;
mod order;
mod progress;
mod results;
mod rules;
mod select;
mod start;
mod status;
mod summary;

use crate::args::Scan;
use crate::client::Client;
use crate::config::Config;
use crate::errors::Outcome;
use crate::output::Output;

/// Every verb.
pub async fn run(client: &Client, output: &Output, config: &Config, verb: &Scan) -> Outcome {
    match verb {
        Scan::Start(asked) => start::start(client, output, config, asked).await,
        Scan::List { tenant, limit } => status::list(client, output, tenant.as_deref(), *limit).await,
        Scan::Status { id } => status::status(client, output, id).await,
        Scan::Results { id, limit } => results::results(client, output, id, *limit).await,
        Scan::Cancel { id, signer } => cancel::cancel(client, output, config, id, signer).await,
    }
}
