//! What an operator can do when the brokers cannot be reached, from the client library's last word.
//!
//! Security that does not fit shows itself in a few well-known ways, none of which names an option of ours. Whatever is not
//! recognised gets the general advice; the library's own words stand beside it either way.

use crate::options::KafkaOptions;

/// When the library has said nothing, and no TLS is set: it keeps silent when a broker that wants TLS hangs up.
const SILENT: &str = "check that the brokers run at bus.brokers; if they do, they hang up on a connection without TLS: add [bus.tls], \
                      and [bus.sasl] where they ask who we are";
/// When nothing better is known.
const GENERAL: &str = "check that the brokers run, and bus.brokers, bus.tls and bus.sasl";

/// What is wrong, recognised by words of which all must occur (lower case), and what to do.
const KNOWN: &[(&[&str], &str)] = &[
    (
        &["authentication failed"],
        "check bus.sasl: mechanism, username and the password in password_file, and that the brokers know this user",
    ),
    (&["unsupported sasl mechanism"], "the brokers do not offer this bus.sasl.mechanism at this port; use one that they do"),
    (&["alert certificate expired"], "our certificate has expired: renew bus.tls.cert"),
    (&["alert certificate required"], "the brokers want a certificate from us: set bus.tls.cert and bus.tls.key"),
    (&["alert", "certificate"], "the brokers refuse our certificate: check bus.tls.cert, and the authorities that they trust"),
    (&["alert unknown ca"], "the brokers do not know who signed bus.tls.cert: check it, and the authorities that they trust"),
    (
        &["plaintext broker listener"],
        "the brokers speak no TLS at this port: name their TLS port in bus.brokers, or remove [bus.tls]",
    ),
    (&["wrong version number"], "the brokers speak no TLS at this port: name their TLS port in bus.brokers, or remove [bus.tls]"),
    (
        // The library does not say why.
        &["certificate verify failed"],
        "the broker's certificate is not accepted: it is signed by nobody in bus.tls.ca, or has expired, or is for another name \
         than bus.brokers has; `openssl s_client -connect HOST:PORT -CAfile CA -verify_hostname HOST` tells which",
    ),
];

/// What the client library says when a broker hangs up on the first request.
const HUNG_UP: &str = "incorrect security.protocol";

/// The advice for a last word.
pub(super) fn of(last: Option<&str>, options: &KafkaOptions) -> &'static str {
    let Some(last) = last.map(str::to_lowercase) else { return if options.tls.is_none() { SILENT } else { GENERAL } };
    if let Some((_, advice)) = KNOWN.iter().find(|(words, _)| words.iter().all(|word| last.contains(word))) {
        return advice;
    }
    match (last.contains(HUNG_UP), &options.tls, &options.sasl) {
        (true, None, _) => {
            "the brokers hang up on a connection without TLS: add [bus.tls], or name their plain port in bus.brokers"
        }
        (true, Some(_), None) => {
            "the brokers hang up after TLS: they refuse our certificate (bus.tls.cert), or they want [bus.sasl]"
        }
        (true, Some(_), Some(_)) => "the brokers hang up after TLS: check bus.sasl.mechanism, and that this port takes SASL",
        (false, ..) => GENERAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::TlsOptions;

    #[test]
    fn what_is_not_recognised_gets_the_general_advice() {
        let options = KafkaOptions { tls: Some(TlsOptions::default()), ..KafkaOptions::default() };
        assert_eq!(of(None, &options), GENERAL);
        assert_eq!(of(Some("Connect to ipv4#127.0.0.1:1 failed: Connection refused"), &KafkaOptions::default()), GENERAL);
    }

    #[test]
    fn a_broker_that_hangs_up_without_a_word_may_want_tls() {
        assert!(of(None, &KafkaOptions::default()).contains("add [bus.tls]"));
    }

    #[test]
    fn a_hang_up_means_something_else_with_tls_and_without() {
        let last = Some("Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol configuration");
        assert!(of(last, &KafkaOptions::default()).contains("add [bus.tls]"));
        let options = KafkaOptions { tls: Some(TlsOptions::default()), ..KafkaOptions::default() };
        assert!(of(last, &options).contains("bus.tls.cert"));
    }

    #[test]
    fn an_expired_certificate_of_ours_is_told_apart_from_the_brokers() {
        let ours = "SSL handshake failed: error:0A000415:SSL routines::ssl/tls alert certificate expired: SSL alert number 45";
        assert!(of(Some(ours), &KafkaOptions::default()).starts_with("our certificate"));
        let theirs =
            "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not be";
        assert!(of(Some(theirs), &KafkaOptions::default()).starts_with("the broker's certificate is not accepted"));
    }
}
