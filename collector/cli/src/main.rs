//! `beffroi`: the analyst's terminal. Sees nothing but the API; for `rules` and `detect`, files on this disk; for `bus`,
//! Kafka.
//!
//! Data goes to stdout, talk to stderr. Exit codes: 0 done, 1 found, 2 rules, 3 usage or configuration, 4 server or
//! network, 5 not every host was scanned, 130 interrupted.

#![forbid(unsafe_code)]

mod args;
mod certificate;
mod client;
mod commands;
mod config;
mod envelope;
mod errors;
mod filter;
mod keyfile;
mod output;
mod passphrase;
mod private_file;
mod safe;
mod when;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Alerts, Arguments, Enroll, Events, Gaps, Hosts, Key, Rules, Verb};
use crate::client::Client;
use crate::commands::{access, alerts, bus, detect, enroll, events, hosts, key, local, rules, scan, status};
use crate::config::Config;
use crate::errors::{Exit, Failure, Outcome};
use crate::output::Output;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(Exit::Usage as u8) } else { ExitCode::SUCCESS };
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.what.is_empty() {
                output::say(&failure.to_string());
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn run(arguments: Arguments) -> Outcome {
    let output = Output::new(arguments.output, arguments.tz.as_deref())?;
    match &arguments.verb {
        Verb::Rules(Rules::Check { paths }) => return rules::check(&output, paths),
        Verb::Rules(Rules::Test { folder }) => return rules::test(&output, folder),
        Verb::Rules(Rules::Inert { paths }) => return rules::inert(&output, paths),
        Verb::Rules(Rules::Explain { rule, event, record, reading }) => {
            return rules::explain(&output, rule, event, *record, reading);
        }
        Verb::Rules(Rules::Coverage { paths, navigator }) => return rules::coverage(&output, paths, navigator.as_deref()),
        Verb::Rules(Rules::Cost(judging)) => return detect::costs(&output, judging),
        Verb::Detect(arguments) => return detect::run(&output, arguments),
        Verb::Key(Key::Offline(work)) => return key::run(&output, work),
        Verb::Completions { shell } => return local::completions(&output, *shell),
        Verb::Man { folder } => return local::man(folder),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::usage(format!("cannot start the async runtime: {error}"), ""))?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = ask(arguments, &output) => outcome,
            _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
        }
    });
    // A thread that waits for a broker must not hold up the end.
    runtime.shutdown_background();
    outcome
}

/// Everything that asks the API or the bus.
async fn ask(arguments: Arguments, output: &Output) -> Outcome {
    if let Verb::Bus(verb) = arguments.verb {
        return bus::run(output, arguments.output, verb).await;
    }
    let mut config = Config::load(arguments.config.as_deref())?;
    config.api = arguments.api.or(config.api);
    config.token_file = arguments.token_file.or(config.token_file);
    let reason = arguments.reason.as_deref();
    let client = Client::new(&config, reason)?;
    match arguments.verb {
        Verb::Alerts(Alerts::List { span, filter, limit }) => alerts::list(&client, output, &span, &filter, limit).await,
        Verb::Alerts(Alerts::Show { id }) => alerts::show(&client, output, &id).await,
        Verb::Alerts(Alerts::Tail { filter }) => alerts::tail(&client, output, &filter).await,
        Verb::Events(verb) => ask_events(&client, output, verb).await,
        Verb::Hosts(Hosts::List { tenant, limit }) => hosts::list(&client, output, tenant.as_deref(), limit).await,
        Verb::Hosts(Hosts::Show { id }) => hosts::show(&client, output, &id).await,
        Verb::Hosts(Hosts::Revoke { id }) => hosts::revoke(&client, output, &id, reason).await,
        Verb::Enroll(verb) => ask_enroll(&client, output, config, verb).await,
        Verb::Gaps(Gaps::List { span, host, limit }) => hosts::gaps(&client, output, &span, host.as_deref(), limit).await,
        Verb::Status => status::status(&client, output).await,
        Verb::Rules(Rules::Backtest { paths, span, tenant, host, samples }) => {
            let asked = rules::Backtest { paths: &paths, span: &span, tenant: tenant.as_deref(), host: host.as_deref(), samples };
            rules::backtest(&client, output, asked).await
        }
        Verb::Key(Key::Publish { file }) => key::publish(&client, output, &file).await,
        Verb::Scan(verb) => scan::run(&client, output, &config, &verb).await,
        Verb::Token(verb) => access::token(&client, output, &verb).await,
        Verb::Audit(verb) => access::audit(&client, output, &verb).await,
        Verb::Whoami => access::whoami(&client, output).await,
        Verb::Bus(_) | Verb::Detect(_) | Verb::Key(_) | Verb::Rules(_) | Verb::Completions { .. } | Verb::Man { .. } => Ok(()),
    }
}

async fn ask_events(client: &Client, output: &Output, verb: Events) -> Outcome {
    match verb {
        Events::Search { filters, span, tenant, host, by, count, limit } => {
            let search = events::Search {
                filters: &filters,
                span: &span,
                tenant: tenant.as_deref(),
                host: host.as_deref(),
                by: by.as_deref(),
                count,
                limit,
            };
            events::search(client, output, search).await
        }
        Events::Tree { guid } => events::tree(client, output, &guid).await,
        Events::Around { alert, window, limit } => events::around(client, output, &alert, &window, limit).await,
    }
}

async fn ask_enroll(client: &Client, output: &Output, mut config: Config, verb: Enroll) -> Outcome {
    match verb {
        Enroll::Token { tenant, uses, expires, cidr, label, gateway, ca_file, root_cert, out } => {
            config.gateway = gateway.or(config.gateway);
            config.ca_file = ca_file.or(config.ca_file);
            config.root_cert = root_cert.or(config.root_cert);
            enroll::token(client, output, &config, enroll::Request { tenant, uses, expires, cidrs: cidr, labels: label, out })
                .await
        }
        Enroll::List => enroll::list(client, output).await,
        Enroll::Revoke { token_id } => enroll::revoke(client, output, &token_id).await,
    }
}
