//! What every role relies on, run against both transports: the embedded bus always, a real Kafka when Java and its
//! jars are there (otherwise each test says that it was skipped).

mod certificates;
mod control;
mod embedded_only;
mod full_disk;
mod harness;
mod kafka_only;
mod kafka_secure;
mod suite;

/// Runs each contract on both transports.
macro_rules! on_both {
    ($($module:ident: $($name:ident),+ $(,)?;)+) => {
        mod embedded {
            $($(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                crate::$module::$name(&crate::harness::Harness::embedded()).await;
            })+)+
        }
        mod kafka {
            $($(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let Some(harness) = crate::harness::Harness::kafka(stringify!($name)).await else { return };
                crate::$module::$name(&harness).await;
            })+)+
        }
    };
}

on_both! {
    suite:
        records_of_a_key_keep_their_order,
        what_was_not_committed_comes_again_after_a_restart,
        what_was_committed_does_not_come_again_and_its_metadata_does,
        two_members_share_the_partitions_and_the_last_one_gets_all,
        a_member_cannot_commit_what_it_has_lost,
        every_group_gets_every_record,
        a_tail_reads_everything_and_then_what_comes,
        a_tail_from_now_sees_only_what_comes,
        lag_counts_what_a_group_has_yet_to_read,
        keys_headers_and_values_may_be_any_bytes,
        a_record_over_the_limit_is_refused_and_one_at_the_limit_passes,
        a_seek_reads_again,
        a_poll_keeps_to_its_limits,
        an_abandoned_poll_loses_nothing,
        ids_stay_and_the_bus_says_that_it_works,
        unusable_names_and_metadata_are_refused;
    control:
        of_a_thousand_hosts_with_a_token_for_one_exactly_one_wins,
        state_is_the_same_after_a_restart_and_for_every_reader,
        what_is_no_control_record_is_skipped;
}
